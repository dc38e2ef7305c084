#include "core/ids.h"

#include <fmt/format.h>

#include <charconv>

namespace pgark {

std::string to_string(Lsn lsn) { return fmt::format("{:X}/{:X}", lsn.bytes >> 32, lsn.bytes & 0xffffffffu); }

Result<Lsn> parse_lsn(std::string_view text) {
  const auto half = [](std::string_view part, uint32_t& out) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), out, 16);
    return !part.empty() && part.size() <= 8 && error == std::errc{} && end == part.data() + part.size();
  };
  const size_t slash = text.find('/');
  uint32_t high = 0;
  uint32_t low = 0;
  if (slash == std::string_view::npos || !half(text.substr(0, slash), high) || !half(text.substr(slash + 1), low))
    return Error(Errc::kInvalid, fmt::format("'{}' is not an LSN", text)).with_hint("an LSN looks like 16/B374D848");
  return Lsn{static_cast<uint64_t>(high) << 32 | low};
}

}  // namespace pgark
