// Azure Blob requests signed with a shared key, written apart from the product's signer: tests set up containers with
// it and look at, or damage, what pgark stored.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "testing/http_client.h"

namespace pgark::testing {

struct AzureEndpoint {
  std::string host = {};  // An address: the account is the first part of the path.
  int port = 0;
  std::string account = {};
  std::string key = {};      // Base64.
  std::string ca_file = {};  // Not empty: the port speaks TLS, with a certificate of this authority.

  /// "http://HOST:PORT/ACCOUNT", or https.
  std::string url() const;
};

/// A client over plain HTTP that sends each request on a connection of its own.
class RawAzure {
 public:
  explicit RawAzure(AzureEndpoint endpoint) : endpoint_(std::move(endpoint)) {}

  const AzureEndpoint& endpoint() const { return endpoint_; }
  RawAzure with_key(std::string base64_key) const;

  /// A signed request. `path` "/container/blob" and `query` are not encoded yet.
  Result<HttpReply> request(const std::string& method, const std::string& path, const HttpHeaders& query = {},
                            std::string_view body = {}, HttpHeaders headers = {}) const;

  // Errors of these: kInternal with the server's answer unless it is a success; kNotFound for 404.
  Result<> put(const std::string& container, const std::string& blob, std::string_view content) const;
  Result<std::string> get(const std::string& container, const std::string& blob) const;
  Result<> remove(const std::string& container, const std::string& blob) const;
  /// Names of all blobs that begin with `prefix`, in order.
  Result<std::vector<std::string>> list(const std::string& container, const std::string& prefix = {}) const;
  /// Create a container that no other test has; its name.
  Result<std::string> new_container() const;

 private:
  AzureEndpoint endpoint_;
};

}  // namespace pgark::testing
