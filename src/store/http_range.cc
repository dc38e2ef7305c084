// Reading a piece of an object over HTTP.
#include "store/http_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace pgark {
namespace {

constexpr size_t kProgressBytesMin = 64u << 10;

/// "bytes 10-19/100". Source: RFC 9110, section 14.4.
struct ContentRange {
  uint64_t first = 0, last = 0, total = 0;
};

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return {};
  text.remove_prefix(kUnit.size());
  const auto number = [&text](uint64_t& value, std::string_view behind) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(stop - text.data()));
    if (behind.empty() ? !text.empty() : !text.starts_with(behind)) return false;
    text.remove_prefix(behind.size());
    return true;
  };
  ContentRange range;
  if (!number(range.first, "-") || !number(range.last, "/") || !number(range.total, "")) return {};
  if (range.first > range.last || range.last >= range.total) return {};
  return range;
}

/// Size of the object: what stands behind the slash.
std::optional<uint64_t> parse_total(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return {};
  uint64_t total = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, total);
  if (error != std::errc() || stop != end) return {};
  return total;
}

}  // namespace

std::string http_range(uint64_t offset, size_t wanted) {
  const uint64_t last = std::min<uint64_t>(wanted - 1, ~uint64_t{0} - offset) + offset;
  return fmt::format("bytes={}-{}", offset, last);
}

Result<size_t> check_range_answer(const HttpResponse& answer, uint64_t offset, size_t wanted) {
  const size_t filled = answer.into_bytes;
  if (answer.status == 200) {
    // The whole object, which is no longer than what was asked for, or the range was not heeded.
    if (offset != 0) return Error(Errc::kCorrupt, "the answer is not the range that was asked for");
    return filled;
  }
  const std::string_view held = answer.header("content-range");
  // Past the end some servers answer with an empty range: "bytes 100-99/100".
  if (filled == 0 && parse_total(held).value_or(~uint64_t{0}) <= offset) return 0;
  const auto range = parse_content_range(held);
  if (!range || range->first != offset)
    return Error(Errc::kCorrupt,
                 fmt::format("the answer holds '{}', not the range that was asked for", held.substr(0, 100)));
  const uint64_t expected = std::min<uint64_t>(wanted, range->total - offset);
  if (filled < expected)
    return Error(Errc::kTransient, fmt::format("the answer ends after {} of {} bytes", filled, expected));
  return filled;
}

Result<size_t> read_resumed(uint64_t offset, MutableBytes into, const AskRange& ask) {
  for (size_t done = 0;;) {
    HttpResponse broken_off;
    auto got = ask(offset + done, into.subspan(done), broken_off);
    if (got.has_value()) return done + *got;
    const size_t came = broken_off.into_bytes;
    if (got.error().code() != Errc::kTransient || came < kProgressBytesMin) return got;
    // What came must be the beginning of what was asked for.
    const auto range = parse_content_range(broken_off.header("content-range"));
    if (broken_off.status != 206 || !range || range->first != offset + done) return got;
    done += came;
    if (done == into.size()) return done;
  }
}

}  // namespace pgark
