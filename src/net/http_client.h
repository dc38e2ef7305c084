// HTTP and HTTPS requests over libcurl's multi interface: one thread drives all transfers of a client, and connections
// are kept and shared.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/cancel.h"
#include "core/result.h"

namespace pgark {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url{};                  // Absolute; path and query encoded already, and sent as they stand.
  std::vector<HttpHeader> headers{};  // Without Host and Content-Length, which the client makes.
  Bytes body{};                       // Must live until the answer is there.
  /// Where the body of a 2xx answer goes, if not empty: one that is longer is kCorrupt. Bodies of other answers, and of
  /// all if it is empty, go to HttpResponse::body, at most `body_max` bytes.
  MutableBytes into{};
  size_t body_max = 8u << 20;
  /// If not null: gets status, headers and into_bytes of an answer whose transfer broke off, so that the rest alone can
  /// be asked for. Must live until the answer is there.
  struct HttpResponse* broken_off = nullptr;
  /// Whether sending it twice does no harm and tells no lie: then every failure is kTransient.
  bool repeatable = true;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;  // Names in lower case.
  Buffer body;
  size_t into_bytes = 0;  // Of HttpRequest::into that were filled.
  /// What the server asks for before another attempt (Retry-After, a number or a time), whatever the status; 0:
  /// nothing.
  std::chrono::seconds retry_after{0};

  /// Value of the first header of this (lower-case) name; empty if there is none.
  std::string_view header(std::string_view name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

struct HttpOptions {
  unsigned connections_max = 32;  // Requests under way; further ones wait their turn.
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{60'000};  // No byte in either direction for so long ends a transfer.
  std::chrono::milliseconds total_timeout{0};       // Of one request, from its start; 0: none.
  bool verify_tls = true;
  std::string ca_file{};  // PEM; empty: the system's.
  std::string ca_path{};
  std::string ca_option = "repo1-storage-ca-file";  // For the hint about a certificate that is not trusted.
  std::string connect_host{};           // Connect here whatever the URL's host is; the name in URL and TLS stays.
  uint16_t connect_port = 0;            // 0: the URL's.
  const CancelToken* cancel = nullptr;  // Ends requests with kCancelled within a second.
};

/// A request under way. Destroying it before wait() gives it up.
class HttpCall {
 public:
  virtual ~HttpCall() = default;
  /// The answer, whatever its status: a status is no error here.
  /// Errors: kTransient if no answer came (and the request is repeatable or never left); kOutcomeUnknown if a request
  ///         that is not repeatable may have arrived; kPermission if the certificate is not trusted; kCancelled;
  ///         kCorrupt for a body longer than agreed. Texts name method and host, never query or headers.
  virtual Result<HttpResponse> wait() = 0;
};

/// Safe from several threads. Redirects are not followed; HTTP/2 is used where TLS agrees on it; no cookies, no proxies
/// from the environment except https_proxy/no_proxy as curl reads them.
class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> create(HttpOptions options);
  virtual ~HttpClient() = default;

  virtual std::unique_ptr<HttpCall> start(HttpRequest request) = 0;
  Result<HttpResponse> perform(HttpRequest request) { return start(std::move(request))->wait(); }
};

/// RFC 3986 encoding of everything but A-Z a-z 0-9 - . _ ~ (and '/', where kept), with upper-case digits.
std::string url_encode(std::string_view text, bool keep_slash = false);

}  // namespace pgark
