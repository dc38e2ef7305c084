// Bytes as text: base64 in its four usual forms, and reading hexadecimal (core/bytes.h writes it).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"

namespace pgark {

/// Alphabet and padding. Source: RFC 4648, sections 4 and 5.
enum class Base64 : unsigned char {
  kStandard,           // '+' and '/', padded with '='.
  kStandardNoPadding,  // As age writes it.
  kUrl,                // '-' and '_', padded with '='.
  kUrlNoPadding,       // As JSON web tokens write it.
};

std::string base64_encode(Bytes bytes, Base64 form = Base64::kStandard);
inline std::string base64_encode(std::string_view text, Base64 form = Base64::kStandard) {
  return base64_encode(as_bytes(text), form);
}

/// Decode exactly what base64_encode() would write: no white space, no missing or surplus padding, no stray bits, so
/// that two different texts never mean the same bytes.
/// Errors: kInvalid, without showing the text: it may be a secret.
Result<std::vector<std::byte>> base64_decode(std::string_view text, Base64 form = Base64::kStandard);

/// Decode hexadecimal of either case.
/// Errors: kInvalid, without showing the text.
Result<std::vector<std::byte>> from_hex(std::string_view text);

}  // namespace pgark
