// A repository in a container of Azure Blob Storage.
#pragma once

#include <memory>
#include <string>

#include "store/bearer_token.h"
#include "store/cloud_settings.h"
#include "store/object_store.h"

namespace pgark {

enum class AzureKeyType : unsigned char { kShared, kSas, kManagedIdentity };
enum class AzureUriStyle : unsigned char { kHost, kPath };

struct AzureSettings {
  CloudSettings cloud{};
  std::string account;
  std::string container;
  std::string endpoint = "blob.core.windows.net";  // May have a scheme and a port.
  AzureKeyType key_type = AzureKeyType::kShared;
  AzureUriStyle uri_style = AzureUriStyle::kHost;
  std::string key{};  // kShared: base64; kSas: the token without '?'.
};

class AzureStore : public ObjectStore {
 public:
  /// No request is made yet. `tokens` are for kManagedIdentity; without any, the machine's own are used.
  /// Errors: kInvalid for settings that contradict each other.
  static Result<std::unique_ptr<AzureStore>> open(AzureSettings settings,
                                                  std::unique_ptr<BearerTokenSource> tokens = nullptr);
};

}  // namespace pgark
