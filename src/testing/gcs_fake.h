// A stand-in for Google Cloud Storage, of which there is no server to install: the part of its JSON API that a backup
// store may use, written from Google's reference and strict where the reference is, with its token endpoints.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "testing/http_fake.h"

namespace pgark::testing {

struct GcsOptions {
  std::string bucket = "pgark-test";  // There from the start.
  size_t page_items_max = 1000;       // A page may hold fewer than were asked for, at the service's pleasure.
  size_t persisted_bytes_max = 0;     // Not 0: keep at most so much of a chunk, as the service is free to do.
  int token_seconds = 3600;
};

struct GcsState;

/// The service, on 127.0.0.1: JSON API under /storage/v1, /upload/storage/v1, /download/storage/v1 and
/// /batch/storage/v1, OAuth 2.0 token endpoint at /token, a virtual machine's metadata server at /computeMetadata/v1.
/// Source: https://cloud.google.com/storage/docs/json_api/v1, .../docs/performing-resumable-uploads and
/// https://developers.google.com/identity/protocols/oauth2/service-account.
class GcsFake {
 public:
  static Result<std::unique_ptr<GcsFake>> start(const GcsOptions& options = {});
  ~GcsFake();

  int port() const { return server_->port(); }
  std::string url(std::string_view path = {}) const { return server_->url(path); }
  HttpFake& server() { return *server_; }

  /// Key file of a service account that may do everything; its token_uri is this server.
  std::string service_account_json() const;
  /// A bearer token, as if one had been asked for.
  std::string new_token();
  /// Refuse all tokens given out so far.
  void expire_tokens();
  size_t tokens_issued() const;

  void create_bucket(const std::string& bucket);
  // Objects behind the back of the client.
  void put(const std::string& bucket, const std::string& name, std::string content);
  std::optional<std::string> get(const std::string& bucket, const std::string& name) const;
  void remove(const std::string& bucket, const std::string& name);
  std::vector<std::string> list(const std::string& bucket, const std::string& prefix = {}) const;
  /// Change stored bytes and keep the checksums that the service reports of them.
  bool damage(const std::string& bucket, const std::string& name);
  /// Resumable uploads that were begun and neither finished nor cancelled.
  size_t unfinished_uploads() const;

 private:
  explicit GcsFake(std::unique_ptr<GcsState> state);

  std::unique_ptr<GcsState> state_;
  std::unique_ptr<HttpFake> server_;  // Last: its threads use the state.
};

}  // namespace pgark::testing
