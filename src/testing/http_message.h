// Messages of HTTP/1.1 as they come in over a socket: start line, headers, body. Shared by the fake server and the
// proxy; written for tests, which must be able to see and to break what a real library would hide.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgark::testing {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;  // Names as they were written.

/// Value of the first header of that name, whatever its case; nullptr if there is none.
const std::string* find_header(const HttpHeaders& headers, std::string_view name);

/// Everything before the body.
struct HttpHead {
  std::string start_line = {};  // "GET /x HTTP/1.1" or "HTTP/1.1 200 OK"
  HttpHeaders headers = {};
  std::string raw = {};  // As it came, the empty line included.

  /// Status of an answer; 0 if this is none.
  int status() const;
};

/// How the end of a body is known.
struct HttpFraming {
  enum class Kind : unsigned char { kNone, kLength, kChunked, kUntilClose };
  Kind kind = Kind::kNone;
  size_t bytes = 0;  // Of kLength.
};
HttpFraming request_framing(const HttpHead& head);
/// `method`: of the request, because an answer to HEAD has a length and no body.
HttpFraming answer_framing(const HttpHead& head, std::string_view method);

/// Parts of an absolute path with a query: "/b/k%20x?a=1&b" gives path "/b/k%20x" and query "a=1&b".
std::pair<std::string, std::string> split_target(std::string_view target);
/// Undo %XX; `plus_is_space` as in form data.
std::string percent_decode(std::string_view text, bool plus_is_space = false);
/// Write all but letters, digits and "-._~" as %XX; `keep_slash`: in a path.
std::string percent_encode(std::string_view text, bool keep_slash);
/// Names and values of a query or of form data, decoded.
HttpHeaders parse_query(std::string_view query, bool plus_is_space = false);

/// A buffered reader of messages from a blocking socket, which it does not own.
class HttpStream {
 public:
  explicit HttpStream(int socket) : socket_(socket) {}

  /// Next head; nothing when the peer closed, or sent what is not HTTP or more than 256 KiB of it.
  std::optional<HttpHead> read_head();
  /// Hand over a body piece by piece: `raw` as it came, chunk headers included, and the `data` in it. False when the
  /// peer closed before the end or `sink` returned false.
  bool read_body(const HttpFraming& framing,
                 const std::function<bool(std::string_view raw, std::string_view data)>& sink);
  /// Whether bytes beyond the last message have been received already.
  bool has_buffered() const { return begin_ < buffer_.size(); }

 private:
  bool fill();
  std::string_view pending() const { return std::string_view(buffer_).substr(begin_); }
  /// Next line with its end; empty when the peer closed.
  std::string take_line();

  int socket_;
  std::string buffer_;
  size_t begin_ = 0;
};

}  // namespace pgark::testing
