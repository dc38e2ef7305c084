// Options and callbacks of one libcurl transfer, and the classification of its failures.
#include "net/http_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/version.h"
#include "net/libcurl.h"

namespace pgark {
namespace {

// A body above this goes over a connection of its own, with HTTP/1.1: streams of HTTP/2 share one TCP connection with
// its one window, so that parallel parts would be no faster than one.
constexpr size_t kSmallBytes = 1u << 20;
constexpr size_t kHeaderBytesMax = 256u << 10;
constexpr size_t kReserveBytesMax = 8u << 20;
// What one recv(2) or send(2) moves at most: libcurl does one for each wake-up.
constexpr long kLargeBufferBytes = 512L << 10;
constexpr long kSmallBufferBytes = 64L << 10;

HttpTransfer& self_of(void* self) { return *static_cast<HttpTransfer*>(self); }

bool is_plain(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f; });
}

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// As our messages begin, but for words like "SSL".
std::string uncapitalized(std::string_view text) {
  std::string out(text);
  if (out.size() > 1 && out[1] >= 'a' && out[1] <= 'z') out.front() = lower(text.substr(0, 1)).front();
  return out;
}

std::string bracketed(const std::string& host) {
  return host.find(':') != std::string::npos && host.front() != '[' ? "[" + host + "]" : host;
}

bool has_prefix_ignoring_case(std::string_view text, std::string_view prefix) {
  return lower(text.substr(0, prefix.size())) == prefix;
}

}  // namespace

std::string_view url_origin(std::string_view url) {
  const size_t scheme = url.find("://");
  const size_t host = scheme == std::string_view::npos ? 0 : scheme + 3;
  const size_t end = std::min(url.find_first_of("/?#", host), url.size());
  // What stands before an '@' may be a password.
  const size_t at = url.substr(0, end).rfind('@');
  if (at != std::string_view::npos && at >= host) return url.substr(at + 1, end - at - 1);
  return url.substr(0, end);
}

HttpTransfer::HttpTransfer(HttpRequest request, const HttpOptions& options)
    : request_(std::move(request)), options_(options) {}

void HttpTransfer::free_lists() {
  curl().slist_free_all(headers_);
  curl().slist_free_all(connect_to_);
  headers_ = nullptr;
  connect_to_ = nullptr;
}

Result<> HttpTransfer::prepare(CURL* easy) {
  easy_ = easy;
  if (!is_plain(request_.url) || !is_plain(request_.method) || request_.method.empty()) {
    return Error(Errc::kInvalid,
                 fmt::format("{}: method or address has characters that do not belong there", subject()));
  }
  set_request(easy);
  set_connection(easy);
  set_trust(easy);
  set_callbacks(easy);
  return set_headers(easy);
}

void HttpTransfer::set_request(CURL* easy) {
  curl().easy_setopt(easy, CURLOPT_URL, request_.url.c_str());
  curl().easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl().easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl().easy_setopt(easy, CURLOPT_USERAGENT, fmt::format("pgark/{}", kVersion).c_str());
  const bool with_body = !request_.body.empty() || request_.method == "PUT" || request_.method == "POST";
  if (request_.method == "HEAD") {
    curl().easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (with_body) {
    // As an upload whatever the method is: libcurl's own POST would add a Content-Type.
    curl().easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl().easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    curl().easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  } else if (request_.method != "GET") {
    curl().easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
}

void HttpTransfer::set_connection(CURL* easy) {
  const bool large = request_.body.size() > kSmallBytes || request_.into.size() > kSmallBytes;
  // No PIPEWAIT: requests would stand still until the first handshake told that the server has no HTTP/2.
  curl().easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     static_cast<long>(large ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
  curl().easy_setopt(easy, CURLOPT_BUFFERSIZE, large ? kLargeBufferBytes : kSmallBufferBytes);
  curl().easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, large ? kLargeBufferBytes : kSmallBufferBytes);
  curl().easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  curl().easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl().easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl().easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
  curl().easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);
  curl().easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  // A name server that is silent must not hold up the thread of all transfers when one of them is given up.
  curl().easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  curl().easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  // http_proxy is not for us: plain HTTP goes to metadata services and to test servers.
  if (has_prefix_ignoring_case(request_.url, "http:")) curl().easy_setopt(easy, CURLOPT_PROXY, "");
  if (!options_.connect_host.empty() || options_.connect_port != 0) {
    const std::string port = options_.connect_port != 0 ? std::to_string(options_.connect_port) : std::string();
    const std::string host = options_.connect_host.empty() ? std::string() : bracketed(options_.connect_host);
    connect_to_ = curl().slist_append(nullptr, fmt::format("::{}:{}", host, port).c_str());
    curl().easy_setopt(easy, CURLOPT_CONNECT_TO, connect_to_);
  }
}

void HttpTransfer::set_trust(CURL* easy) {
  curl().easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options_.verify_tls ? 1L : 0L);
  curl().easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options_.verify_tls ? 2L : 0L);
  if (options_.ca_file.empty() && options_.ca_path.empty()) return;
  // Instead of the system's authorities, of which libcurl knows a file and a directory.
  curl().easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.empty() ? nullptr : options_.ca_file.c_str());
  curl().easy_setopt(easy, CURLOPT_CAPATH, options_.ca_path.empty() ? nullptr : options_.ca_path.c_str());
}

Result<> HttpTransfer::set_headers(CURL* easy) {
  // Waiting for "100 Continue" would cost a round trip, and a second where a server does not send it.
  headers_ = curl().slist_append(nullptr, "Expect:");
  for (const HttpHeader& header : request_.headers) {
    if (header.name.empty() || !is_plain(header.name) || !is_plain(header.value) ||
        header.name.find(':') != std::string::npos) {
      return Error(Errc::kInvalid, fmt::format("{}: a header has characters that do not belong there", subject()));
    }
    // libcurl's way to say that a header is there and empty.
    const std::string line = header.value.empty() ? header.name + ";" : header.name + ": " + header.value;
    headers_ = curl().slist_append(headers_, line.c_str());
  }
  curl().easy_setopt(easy, CURLOPT_HTTPHEADER, headers_);
  return {};
}

void HttpTransfer::set_callbacks(CURL* easy) {
  curl().easy_setopt(easy, CURLOPT_ERRORBUFFER, curl_text_);
  curl().easy_setopt(easy, CURLOPT_READFUNCTION, &HttpTransfer::on_read);
  curl().easy_setopt(easy, CURLOPT_READDATA, this);
  curl().easy_setopt(easy, CURLOPT_SEEKFUNCTION, &HttpTransfer::on_seek);
  curl().easy_setopt(easy, CURLOPT_SEEKDATA, this);
  curl().easy_setopt(easy, CURLOPT_HEADERFUNCTION, &HttpTransfer::on_header);
  curl().easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl().easy_setopt(easy, CURLOPT_WRITEFUNCTION, &HttpTransfer::on_body);
  curl().easy_setopt(easy, CURLOPT_WRITEDATA, this);
  curl().easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &HttpTransfer::on_progress);
  curl().easy_setopt(easy, CURLOPT_XFERINFODATA, this);
  curl().easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl().easy_setopt(easy, CURLOPT_PREREQFUNCTION, &HttpTransfer::on_request);
  curl().easy_setopt(easy, CURLOPT_PREREQDATA, this);
}

size_t HttpTransfer::on_read(char* into, size_t size, size_t count, void* self) {
  HttpTransfer& transfer = self_of(self);
  const Bytes left = transfer.request_.body.subspan(transfer.body_sent_);
  const size_t bytes = std::min(left.size(), size * count);
  if (bytes > 0) std::memcpy(into, left.data(), bytes);
  transfer.body_sent_ += bytes;
  return bytes;
}

int HttpTransfer::on_seek(void* self, curl_off_t offset, int origin) {
  HttpTransfer& transfer = self_of(self);
  if (origin != SEEK_SET || offset < 0 || static_cast<size_t>(offset) > transfer.request_.body.size()) {
    return CURL_SEEKFUNC_FAIL;
  }
  transfer.body_sent_ = static_cast<size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t HttpTransfer::on_header(char* line, size_t size, size_t count, void* self) {
  const std::string_view text(line, size * count);
  return self_of(self).take_header(text) ? text.size() : 0;
}

bool HttpTransfer::take_header(std::string_view line) {
  last_moved_ = std::chrono::steady_clock::now();
  header_bytes_ += line.size();
  if (header_bytes_ > kHeaderBytesMax) {
    stop_ = Stop::kHeadersTooLong;
    return false;
  }
  if (line.starts_with("HTTP/")) {  // Also after an interim answer, or of a second attempt.
    response_ = HttpResponse();
    return true;
  }
  const std::string_view text = trim(line);
  if (text.empty()) {
    long status = 0;
    curl().easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    return true;
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return true;
  response_.headers.push_back({lower(trim(text.substr(0, colon))), std::string(trim(text.substr(colon + 1)))});
  return true;
}

size_t HttpTransfer::on_body(char* data, size_t size, size_t count, void* self) {
  const Bytes bytes(reinterpret_cast<const std::byte*>(data), size * count);
  return self_of(self).take_body(bytes) ? bytes.size() : 0;
}

bool HttpTransfer::take_body(Bytes data) {
  if (data.empty()) return true;
  if (response_.ok() && !request_.into.empty()) {
    if (data.size() > request_.into.size() - response_.into_bytes) {
      stop_ = Stop::kBodyTooLong;
      return false;
    }
    std::memcpy(request_.into.data() + response_.into_bytes, data.data(), data.size());
    response_.into_bytes += data.size();
    return true;
  }
  Buffer& body = response_.body;
  if (body.empty()) {
    curl_off_t announced = -1;
    curl().easy_getinfo(easy_, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (announced > 0) {
      body.reserve(std::min({static_cast<size_t>(announced), request_.body_max, kReserveBytesMax}));
    }
  }
  const size_t room = request_.body_max - body.size();
  body.append(data.first(std::min(room, data.size())));
  if (data.size() <= room) return true;
  stop_ = response_.ok() ? Stop::kBodyTooLong : Stop::kBodyEnough;
  return false;
}

int HttpTransfer::on_progress(void* self, curl_off_t, curl_off_t down, curl_off_t, curl_off_t up) {
  HttpTransfer& transfer = self_of(self);
  if (transfer.attempts_ > 0 && down + up != transfer.moved_) {
    transfer.moved_ = down + up;
    transfer.last_moved_ = std::chrono::steady_clock::now();
  }
  return 0;
}

int HttpTransfer::on_request(void* self, char*, char*, int, int) {
  HttpTransfer& transfer = self_of(self);
  ++transfer.attempts_;
  transfer.last_moved_ = std::chrono::steady_clock::now();
  // libcurl asks to seek only if some of the body was sent, not if it was read and then could not be.
  transfer.body_sent_ = 0;
  if (transfer.attempts_ == 1) return CURL_PREREQFUNC_OK;
  // libcurl repeats by itself what it sent over a kept connection that was then found closed. The first may have
  // arrived all the same, and a conditional create would then be told that "somebody" made the object.
  if (!transfer.request_.repeatable) {
    transfer.stop_ = Stop::kSecondAttempt;
    return CURL_PREREQFUNC_ABORT;
  }
  transfer.response_ = HttpResponse();
  return CURL_PREREQFUNC_OK;
}

std::optional<HttpTransfer::TimePoint> HttpTransfer::deadline() const {
  std::optional<TimePoint> at;
  if (options_.total_timeout.count() > 0) at = begun_ + options_.total_timeout;
  if (attempts_ > 0 && options_.stall_timeout.count() > 0) {
    const TimePoint stalled = last_moved_ + options_.stall_timeout;
    at = at ? std::min(*at, stalled) : stalled;
  }
  return at;
}

std::optional<Error> HttpTransfer::overdue(TimePoint now) {
  if (const auto at = deadline(); !at || now < *at) return std::nullopt;
  if (options_.total_timeout.count() > 0 && now - begun_ >= options_.total_timeout) {
    return lost(fmt::format("no answer within {} ms", options_.total_timeout.count()));
  }
  return lost(fmt::format("nothing moved for {} ms", options_.stall_timeout.count()));
}

Error HttpTransfer::give_up(Errc code, std::string_view cause) {
  return Error(code, fmt::format("{}: {}", subject(), cause));
}

Result<HttpResponse> HttpTransfer::finish(CURLcode code) {
  if (code == CURLE_OK || stop_ == Stop::kBodyEnough) {
    curl_off_t seconds = 0;
    if (!response_.header("retry-after").empty()) curl().easy_getinfo(easy_, CURLINFO_RETRY_AFTER, &seconds);
    response_.retry_after = std::chrono::seconds(std::max<curl_off_t>(seconds, 0));
    return std::move(response_);
  }
  switch (stop_) {
    case Stop::kBodyTooLong:
      return Error(Errc::kCorrupt,
                   fmt::format("{}: the body of answer {} is longer than the {} bytes expected", subject(),
                               response_.status, request_.into.empty() ? request_.body_max : request_.into.size()));
    case Stop::kHeadersTooLong:
      return Error(Errc::kCorrupt, fmt::format("{}: the headers of the answer are too long", subject()));
    case Stop::kSecondAttempt:
      return Error(Errc::kOutcomeUnknown,
                   fmt::format("{}: the connection was closed before an answer came", subject()));
    case Stop::kNone:
    case Stop::kBodyEnough:
      break;
  }
  return failure(code);
}

Error HttpTransfer::failure(CURLcode code) const {
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return trust_error();
    case CURLE_SSL_CACERT_BADFILE:
      return Error(Errc::kInvalid, fmt::format("{}: read certificates of authorities: {}", subject(), cause_of(code)));
    case CURLE_URL_MALFORMAT:
      return Error(Errc::kInvalid, fmt::format("{}: {}", subject(), cause_of(code)));
    case CURLE_UNSUPPORTED_PROTOCOL:
      if (attempts_ > 0) return lost("the answer is not HTTP");
      return Error(Errc::kInvalid, fmt::format("{}: {}", subject(), cause_of(code)));
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
      return Error(Errc::kInternal, fmt::format("{}: {}", subject(), cause_of(code)));
    case CURLE_SSL_CONNECT_ERROR:
      return lost("TLS handshake: " + cause_of(code)).with_hint("is this port one that speaks HTTPS?");
    case CURLE_PARTIAL_FILE:
      return lost("the body of the answer ended early");
    case CURLE_GOT_NOTHING:
      return lost("the connection was closed before an answer came");
    default:
      return lost(cause_of(code));
  }
}

Error HttpTransfer::trust_error() const {
  return Error(Errc::kPermission, fmt::format("{}: the certificate is not trusted: {}", subject(),
                                              cause_of(CURLE_PEER_FAILED_VERIFICATION)))
      .with_hint(fmt::format("name the certificate of the authority that signed it in {}", options_.ca_option));
}

bool HttpTransfer::may_have_arrived() const {
  if (request_.repeatable || attempts_ == 0) return false;
  // Nobody acts on a request whose announced body did not come whole.
  curl_off_t sent = 0;
  curl().easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &sent);
  return static_cast<size_t>(sent) >= request_.body.size();
}

Error HttpTransfer::lost(std::string_view cause) const {
  if (request_.broken_off != nullptr) {
    request_.broken_off->status = response_.status;
    request_.broken_off->headers = response_.headers;
    request_.broken_off->into_bytes = response_.into_bytes;
  }
  return Error(may_have_arrived() ? Errc::kOutcomeUnknown : Errc::kTransient, fmt::format("{}: {}", subject(), cause));
}

std::string HttpTransfer::cause_of(CURLcode code) const {
  switch (code) {
    // Texts of which it is known that they hold no more than host, port and what TLS says.
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      if (curl_text_[0] != '\0') return uncapitalized(trim(curl_text_));
      break;
    default:
      break;
  }
  long system_error = 0;
  curl().easy_getinfo(easy_, CURLINFO_OS_ERRNO, &system_error);
  std::string text = uncapitalized(curl().easy_strerror(code));
  if (system_error != 0) text += ": " + std::generic_category().message(static_cast<int>(system_error));
  return text;
}

std::string HttpTransfer::subject() const { return fmt::format("{} {}", request_.method, url_origin(request_.url)); }

}  // namespace pgark
