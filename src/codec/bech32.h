// Bech32, the text form of age keys: lower or upper case throughout, with a checksum that finds any four wrong
// characters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"

namespace pgark {

struct Bech32 {
  std::string prefix;  // The human-readable part, in the case it had.
  std::vector<std::byte> data;
};

/// Encode; the case of the prefix is that of the whole.
/// Errors: kInvalid if the prefix is empty, of mixed case or not printable ASCII, or the text would pass 90 characters.
/// Source: BIP-173.
Result<std::string> bech32_encode(std::string_view prefix, Bytes data);

/// Decode what bech32_encode() can have written, and nothing else.
/// Errors: kInvalid, without showing the text: it may be a secret.
Result<Bech32> bech32_decode(std::string_view text);

}  // namespace pgark
