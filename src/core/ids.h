// Integers that could be swapped get a type: WAL positions, timelines, transaction ids.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace pgark {

/// Byte position in the WAL stream.
struct Lsn {
  uint64_t bytes = 0;
  auto operator<=>(const Lsn&) const = default;
};

/// "16/B374D848", as PostgreSQL up to 18 prints it.
std::string to_string(Lsn lsn);

/// Parse "X/X" with one to eight hexadecimal digits on each side (19 pads the right one with zeros).
/// Errors: kInvalid, naming the text.
Result<Lsn> parse_lsn(std::string_view text);

/// Timeline id; 0 is none.
struct TimelineId {
  uint32_t value = 0;
  auto operator<=>(const TimelineId&) const = default;
};

/// 32-bit transaction id.
struct Xid {
  uint32_t value = 0;
  auto operator<=>(const Xid&) const = default;
};

}  // namespace pgark
