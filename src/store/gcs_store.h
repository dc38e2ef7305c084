// A repository in a bucket of Google Cloud Storage, over its JSON API.
#pragma once

#include <memory>
#include <string>

#include "store/bearer_token.h"
#include "store/cloud_settings.h"
#include "store/object_store.h"

namespace pgark {

/// HMAC keys belong to the XML API, which is S3's: repo-gcs-key-type=hmac opens an S3Store on storage.googleapis.com.
enum class GcsKeyType : unsigned char { kService, kToken, kMetadata };

struct GcsSettings {
  CloudSettings cloud{};
  std::string bucket;
  std::string endpoint = "storage.googleapis.com";  // May have a scheme and a port.
  GcsKeyType key_type = GcsKeyType::kService;
  std::string key{};  // kService: path of the JSON file of a service account; kToken: a bearer token.
  std::string user_project{};
};

class GcsStore : public ObjectStore {
 public:
  /// No request is made yet. Without `tokens`, those that settings.key_type names are used.
  /// Errors: kInvalid for settings that contradict each other, or a key file that cannot be read.
  static Result<std::unique_ptr<GcsStore>> open(GcsSettings settings,
                                                std::unique_ptr<BearerTokenSource> tokens = nullptr);
};

}  // namespace pgark
