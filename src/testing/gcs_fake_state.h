// What the parts of the fake Google Cloud Storage share: buckets, uploads, tokens and the shape of answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "core/thread_annotations.h"
#include "testing/gcs_fake.h"
#include "testing/http_fake.h"

namespace pgark::testing {

struct GcsObject {
  std::string content = {};
  std::string content_type = "application/octet-stream";
  std::string storage_class = "STANDARD";
  nlohmann::json metadata = nullptr;  // Of the user.
  int64_t generation = 0;
  int64_t metageneration = 1;
  std::string crc32c = {};  // Base64, big-endian.
  std::string md5 = {};     // Base64; empty for composite objects.
  std::string time_created = {};
};

/// One resumable upload.
struct GcsUpload {
  std::string bucket = {};
  std::string name = {};
  nlohmann::json resource = {};    // What the client said of the object to be.
  HttpHeaders preconditions = {};  // ifGenerationMatch and the like.
  std::string received = {};
  std::optional<int64_t> finished_generation = {};
};

/// Everything, used by one request at a time; `mu` is for the test's own calls.
struct GcsState {
  mutable Mutex mu;
  GcsOptions options;
  std::map<std::string, std::map<std::string, GcsObject>> buckets GUARDED_BY(mu);
  std::map<std::string, GcsUpload> uploads GUARDED_BY(mu);
  std::map<std::string, std::chrono::steady_clock::time_point> tokens GUARDED_BY(mu);  // Until when they are good.
  size_t tokens_issued GUARDED_BY(mu) = 0;
  int64_t next_generation GUARDED_BY(mu) = 1'700'000'000'000'000;
  uint64_t next_id GUARDED_BY(mu) = 1;
  std::string key_pem = {};  // Of the service account.
  std::string base_url = {};
  static constexpr const char* kAccount = "backup@pgark-test.iam.gserviceaccount.com";
};

/// An answer with a JSON body.
HttpAnswer gcs_json(const nlohmann::json& document, int status = 200);
/// An error as the JSON API reports it.
HttpAnswer gcs_error(int status, std::string_view reason, const std::string& message);
HttpAnswer gcs_no_such_object(const std::string& bucket, const std::string& name);
/// Whether preconditions of a request (its query) hold for what is there, or is not; else the answer.
std::optional<HttpAnswer> gcs_check_preconditions(const HttpHeaders& query, const GcsObject* object);
/// The Object resource.
nlohmann::json gcs_resource(const GcsState& state, const HttpRequest& request, const std::string& bucket,
                            const std::string& name, const GcsObject& object);
/// Store an object and answer with its resource; refuse if checksums in `resource` are not its own.
HttpAnswer gcs_store(GcsState& state, const HttpRequest& request, const std::string& bucket, const std::string& name,
                     std::string content, const nlohmann::json& resource) REQUIRES(state.mu);
void gcs_set_checksums(GcsObject& object);
/// "https://..." as the client reached this server, so that a proxy in between stays there.
std::string gcs_base_url(const HttpRequest& request);

/// POST /upload/storage/v1/b/BUCKET/o, and what follows on a session.
HttpAnswer gcs_upload(GcsState& state, const HttpRequest& request, const std::string& bucket) REQUIRES(state.mu);
/// Token endpoints; nothing if the request is not for them.
std::optional<HttpAnswer> gcs_token(GcsState& state, const HttpRequest& request) REQUIRES(state.mu);
/// Whether a request carries a token that is good; else the answer.
std::optional<HttpAnswer> gcs_check_token(GcsState& state, const HttpRequest& request) REQUIRES(state.mu);
std::string gcs_issue_token(GcsState& state) REQUIRES(state.mu);
Result<std::string> gcs_new_key();

}  // namespace pgark::testing
