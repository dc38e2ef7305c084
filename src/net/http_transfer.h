// One HTTP request on its way through libcurl: what is sent, where the answer goes, and what a failure means.
// Private to this folder.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "net/http_client.h"

namespace pgark {

/// Used by the event thread alone between prepare() and finish() or give_up().
class HttpTransfer {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// `options` must outlive the transfer.
  HttpTransfer(HttpRequest request, const HttpOptions& options);
  ~HttpTransfer() { free_lists(); }
  HttpTransfer(const HttpTransfer&) = delete;
  HttpTransfer& operator=(const HttpTransfer&) = delete;

  /// Set up `easy`, a fresh handle or one that was reset.
  /// Errors: kInvalid for a request that cannot be sent.
  Result<> prepare(CURL* easy);
  /// The answer, once libcurl said `code`.
  Result<HttpResponse> finish(CURLcode code);
  /// The error of a transfer that ends before libcurl says so; `cause` is what the caller is told.
  Error give_up(Errc code, std::string_view cause);

  /// When it must be given up unless something happens; nothing if there is no limit.
  std::optional<TimePoint> deadline() const;
  /// The error if the deadline has passed: kTransient or kOutcomeUnknown.
  std::optional<Error> overdue(TimePoint now);

 private:
  /// Why a callback of ours stopped libcurl.
  enum class Stop : unsigned char {
    kNone,
    kBodyTooLong,
    kBodyEnough,  // Of an answer that is no success: its beginning says what there is to say.
    kHeadersTooLong,
    kSecondAttempt,
  };

  static size_t on_read(char* into, size_t size, size_t count, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);
  static size_t on_header(char* line, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static int on_progress(void* self, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up);
  static int on_request(void* self, char* remote_ip, char* local_ip, int remote_port, int local_port);

  bool take_header(std::string_view line);
  bool take_body(Bytes data);
  void set_request(CURL* easy);
  void set_connection(CURL* easy);
  void set_trust(CURL* easy);
  Result<> set_headers(CURL* easy);
  void set_callbacks(CURL* easy);
  void free_lists();

  /// Whether the peer may have acted on a request that must not be taken as sent twice.
  bool may_have_arrived() const;
  Error lost(std::string_view cause) const;
  Error trust_error() const;
  Error failure(CURLcode code) const;
  /// What the system said, or libcurl.
  std::string cause_of(CURLcode code) const;
  std::string subject() const;

  const HttpRequest request_;
  const HttpOptions& options_;
  const TimePoint begun_ = std::chrono::steady_clock::now();
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  curl_slist* connect_to_ = nullptr;
  char curl_text_[CURL_ERROR_SIZE] = {};

  HttpResponse response_;
  size_t body_sent_ = 0;
  size_t header_bytes_ = 0;
  unsigned attempts_ = 0;  // Of libcurl, which repeats a request if a kept connection proves dead.
  Stop stop_ = Stop::kNone;
  TimePoint last_moved_{};  // When a byte last went in either direction, from the time the connection stood.
  curl_off_t moved_ = 0;
};

/// Scheme, host and port of a URL: what messages may show of it.
std::string_view url_origin(std::string_view url);

}  // namespace pgark
