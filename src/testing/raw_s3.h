// S3 requests signed by the shortest code that does it, written apart from the product's signer: tests set up buckets
// with it and look at, or damage, what pgark stored.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "testing/http_client.h"

namespace pgark::testing {

struct S3Keys {
  std::string access_key = {};
  std::string secret = {};
  std::string token = {};  // Of temporary credentials; else empty.
};

/// Where a server is and who may use it.
struct S3Endpoint {
  std::string host = {};      // An address: buckets are in the path.
  int port = 0;               // Plain HTTP.
  int tls_port = 0;           // 0: none.
  std::string ca_file = {};   // Of the certificate on tls_port.
  std::string dns_name = {};  // Resolves to `host` in curl, as do names of buckets before it; empty: path style only.
  std::string region = {};
  S3Keys keys = {};
  std::string admin_conf = {};  // Configuration of the cluster behind it, for S3Server's helpers.

  /// "http://HOST:PORT"
  std::string url() const;
};

/// A client that sends each request on a connection of its own.
class RawS3 {
 public:
  explicit RawS3(S3Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

  const S3Endpoint& endpoint() const { return endpoint_; }
  RawS3 with_keys(S3Keys keys) const;

  /// A signed request. `path` "/bucket/key" and `query` are not encoded yet; `headers` are signed.
  Result<HttpReply> request(const std::string& method, const std::string& path, HttpHeaders query = {},
                            std::string_view body = {}, HttpHeaders headers = {}) const;

  // Errors of these: kInternal with the server's answer unless it is a success; kNotFound for 404.
  Result<> create_bucket(const std::string& bucket, const HttpHeaders& headers = {}) const;
  Result<> put(const std::string& bucket, const std::string& key, std::string_view content) const;
  Result<std::string> get(const std::string& bucket, const std::string& key) const;
  Result<> remove(const std::string& bucket, const std::string& key) const;
  /// All keys that begin with `prefix`, in order.
  Result<std::vector<std::string>> list(const std::string& bucket, const std::string& prefix = {}) const;
  /// Keys of multipart uploads that were begun and neither completed nor aborted.
  Result<std::vector<std::string>> unfinished_uploads(const std::string& bucket) const;
  /// Create a bucket that no other test has; its name.
  Result<std::string> new_bucket(const HttpHeaders& headers = {}) const;

 private:
  S3Endpoint endpoint_;
};

/// Name for a bucket or container that no other process or call makes.
std::string unique_name(std::string_view prefix);

}  // namespace pgark::testing
