// Lenient where real clients and servers differ, strict about lengths: a test must notice a body that is cut.
#include "testing/http_message.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace pgark::testing {
namespace {

constexpr size_t kHeadBytesMax = 256u << 10;
constexpr size_t kReadBytes = 64u << 10;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos)
    text.remove_suffix(1);
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
  return -1;
}

HttpFraming declared_framing(const HttpHead& head, HttpFraming otherwise) {
  if (const std::string* coding = find_header(head.headers, "transfer-encoding");
      coding != nullptr && same_word(*coding, "chunked")) {
    return {.kind = HttpFraming::Kind::kChunked};
  }
  if (const std::string* length = find_header(head.headers, "content-length"); length != nullptr) {
    return {.kind = HttpFraming::Kind::kLength, .bytes = std::strtoul(length->c_str(), nullptr, 10)};
  }
  return otherwise;
}

}  // namespace

const std::string* find_header(const HttpHeaders& headers, std::string_view name) {
  for (const auto& [have, value] : headers) {
    if (same_word(have, name)) return &value;
  }
  return nullptr;
}

int HttpHead::status() const {
  if (!start_line.starts_with("HTTP/1.") || start_line.size() < 12) return 0;
  return std::atoi(start_line.c_str() + 9);
}

HttpFraming request_framing(const HttpHead& head) { return declared_framing(head, {}); }

HttpFraming answer_framing(const HttpHead& head, std::string_view method) {
  const int status = head.status();
  if (method == "HEAD" || status == 204 || status == 304 || status < 200) return {};
  return declared_framing(head, {.kind = HttpFraming::Kind::kUntilClose});
}

std::pair<std::string, std::string> split_target(std::string_view target) {
  const size_t mark = target.find('?');
  if (mark == std::string_view::npos) return {std::string(target), {}};
  return {std::string(target.substr(0, mark)), std::string(target.substr(mark + 1))};
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || (keep_slash && c == '/');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

HttpHeaders parse_query(std::string_view query, bool plus_is_space) {
  HttpHeaders out;
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const size_t mark = std::min(pair.find('='), pair.size());
    out.emplace_back(percent_decode(pair.substr(0, mark), plus_is_space),
                     percent_decode(pair.substr(std::min(mark + 1, pair.size())), plus_is_space));
  }
  return out;
}

bool HttpStream::fill() {
  if (begin_ == buffer_.size()) {
    buffer_.clear();
    begin_ = 0;
  }
  const size_t had = buffer_.size();
  buffer_.resize(had + kReadBytes);
  ssize_t count = 0;
  do {
    count = ::recv(socket_, buffer_.data() + had, kReadBytes, 0);
  } while (count < 0 && errno == EINTR);
  buffer_.resize(had + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  return count > 0;
}

std::string HttpStream::take_line() {
  size_t end = 0;
  while ((end = pending().find('\n')) == std::string_view::npos) {
    if (pending().size() > kHeadBytesMax || !fill()) return {};
  }
  std::string line(pending().substr(0, end + 1));
  begin_ += line.size();
  return line;
}

std::optional<HttpHead> HttpStream::read_head() {
  HttpHead head;
  for (;;) {
    std::string line = take_line();
    if (line.empty() || head.raw.size() + line.size() > kHeadBytesMax) return std::nullopt;
    const std::string_view text = trimmed(line);
    if (text.empty() && head.start_line.empty()) continue;  // A client may send an empty line between requests.
    head.raw += line;
    if (text.empty()) return head;
    if (head.start_line.empty()) {
      if (text.find("HTTP/1.") == std::string_view::npos) return std::nullopt;
      head.start_line = text;
      continue;
    }
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    head.headers.emplace_back(text.substr(0, colon), trimmed(text.substr(colon + 1)));
  }
}

bool HttpStream::read_body(const HttpFraming& framing,
                           const std::function<bool(std::string_view raw, std::string_view data)>& sink) {
  using Kind = HttpFraming::Kind;
  const auto pass = [&](size_t bytes) {  // That many bytes of data.
    while (bytes > 0) {
      if (pending().empty() && !fill()) return false;
      const std::string_view piece = pending().substr(0, bytes);
      begin_ += piece.size();
      bytes -= piece.size();
      if (!sink(piece, piece)) return false;
    }
    return true;
  };
  if (framing.kind == Kind::kNone) return true;
  if (framing.kind == Kind::kLength) return pass(framing.bytes);
  if (framing.kind == Kind::kUntilClose) {
    while (!pending().empty() || fill()) {
      if (!pass(pending().size())) return false;
    }
    return true;
  }
  for (;;) {
    const std::string size_line = take_line();
    if (size_line.empty() || !sink(size_line, {})) return false;
    const size_t bytes = std::strtoul(size_line.c_str(), nullptr, 16);
    if (!pass(bytes)) return false;
    // The end of the chunk, or trailers up to an empty line.
    for (;;) {
      const std::string line = take_line();
      if (line.empty() || !sink(line, {})) return false;
      if (trimmed(line).empty()) break;
    }
    if (bytes == 0) return true;
  }
}

}  // namespace pgark::testing
