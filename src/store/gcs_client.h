// Requests to one bucket of Google Cloud Storage over its JSON API: addresses, tokens, object resources, and what
// refusals mean.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http_client.h"
#include "store/bearer_token.h"
#include "store/cloud_errors.h"
#include "store/gcs_store.h"

namespace pgark {

/// A request; Authorization and userProject are added.
struct GcsRequest {
  std::string method = "GET";
  std::string path{};                                        // Encoded: GcsClient::object_path() and its like.
  std::vector<std::pair<std::string, std::string>> query{};  // Not encoded.
  std::string session{};                                     // Of a resumable upload: its address, instead of a path.
  std::vector<HttpHeader> headers{};
  Bytes body{};
  MutableBytes into{};
  HttpResponse* broken_off = nullptr;  // As HttpRequest::broken_off.
  CloudCall call = CloudCall::kRead;
};

/// What we read of an object's resource.
struct GcsObject {
  std::string name;
  uint64_t bytes = 0;
  Timestamp created{};
  std::string crc32c{};      // Base64.
  std::string generation{};  // Empty where it was not asked for.
  std::string writer{};      // The mark of the writer that made it; empty if it has none.
};

/// Parameter "fields" of requests that answer with the resource of one object.
inline constexpr std::string_view kGcsObjectFields = "name,size,timeCreated,crc32c,generation,metadata";

/// Errors: kCorrupt.
Result<GcsObject> parse_gcs_object(Bytes json);

struct GcsPage {
  std::vector<GcsObject> objects;
  std::string next_token;  // Empty: no further page.
};
/// Errors: kCorrupt.
Result<GcsPage> parse_gcs_page(Bytes json);

/// CRC-32C as the service writes it: base64 of its four bytes, the highest first.
std::string gcs_crc32c(uint32_t crc);

/// Safe from several threads.
class GcsClient {
 public:
  static Result<std::unique_ptr<GcsClient>> create(const GcsSettings& settings,
                                                   std::unique_ptr<BearerTokenSource> tokens);

  /// "repo1 at gs://bucket/prefix".
  const std::string& place() const { return place_; }
  /// Of the object `name`, prefix included.
  std::string object_path(std::string_view name) const;
  const std::string& objects_path() const { return objects_path_; }
  const std::string& upload_path() const { return upload_path_; }

  /// The answer, whatever its status; asked once more with a new token if the old one was refused.
  /// Errors: of the transport, with `what` before them.
  Result<HttpResponse> perform(const GcsRequest& request, std::string_view what);
  /// Send without waiting for the answer, and without a second try.
  Result<std::unique_ptr<HttpCall>> start(const GcsRequest& request, std::string_view what);

  /// What an answer that is no success means: kNotFound only if the object is what is missing.
  Error failure(const HttpResponse& answer, const GcsRequest& request, std::string_view what) const;

  /// The resource of the object `name`, prefix included; no value if it is absent.
  Result<std::optional<GcsObject>> find(std::string_view name, std::string_view what);

 private:
  GcsClient() = default;
  Result<HttpRequest> prepare(const GcsRequest& request);
  Error hinted(Error error, const CloudFailure& failure) const;

  CloudSettings cloud_;
  std::string origin_;        // "https://storage.googleapis.com".
  std::string objects_path_;  // "/storage/v1/b/bucket/o".
  std::string upload_path_;   // "/upload/storage/v1/b/bucket/o".
  std::string place_;
  std::string user_project_;
  std::unique_ptr<BearerTokenSource> tokens_;
  std::unique_ptr<HttpClient> http_;
};

}  // namespace pgark
