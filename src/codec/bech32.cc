#include "codec/bech32.h"

#include <algorithm>
#include <cstdint>

#include "codec/secret.h"

namespace pgark {
namespace {

constexpr std::string_view kAlphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
constexpr size_t kTextMax = 90;
constexpr size_t kChecksumDigits = 6;

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
char lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }

bool is_mixed(std::string_view text) {
  return std::any_of(text.begin(), text.end(), is_lower) && std::any_of(text.begin(), text.end(), is_upper);
}

Error invalid(std::string_view what) { return {Errc::kInvalid, "decode bech32 text: " + std::string(what)}; }

// The checksum of BIP-173: a BCH code over GF(32), one digit of five bits a step.
class Checksum {
 public:
  explicit Checksum(std::string_view prefix) {
    for (const char c : prefix) add(static_cast<uint32_t>(lower(c)) >> 5);
    add(0);
    for (const char c : prefix) add(static_cast<uint32_t>(lower(c)) & 31);
  }
  void add(uint32_t digit) {
    static constexpr uint32_t kGenerator[] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
    const uint32_t top = value_ >> 25;
    value_ = (value_ & 0x1ffffff) << 5 ^ digit;
    for (unsigned i = 0; i < 5; ++i)
      if ((top >> i & 1) != 0) value_ ^= kGenerator[i];
  }
  uint32_t value() const { return value_; }

 private:
  uint32_t value_ = 1;
};

bool is_prefix(std::string_view prefix) {
  return !prefix.empty() && !is_mixed(prefix) &&
         std::all_of(prefix.begin(), prefix.end(), [](char c) { return c >= 33 && c <= 126; });
}

}  // namespace

Result<std::string> bech32_encode(std::string_view prefix, Bytes data) {
  const size_t digit_count = (data.size() * 8 + 4) / 5;
  if (!is_prefix(prefix) || prefix.size() + 1 + digit_count + kChecksumDigits > kTextMax)
    return Error(Errc::kInvalid, "encode bech32 text: prefix or length is not allowed");
  const bool is_upper_case = std::any_of(prefix.begin(), prefix.end(), is_upper);
  std::string text;
  text.reserve(kTextMax);  // So that no copy of a secret stays behind in a smaller buffer.
  text.append(prefix).append(1, '1');
  Checksum checksum(prefix);
  const auto put = [&](uint32_t digit) {
    text += is_upper_case ? upper(kAlphabet[digit]) : kAlphabet[digit];
    checksum.add(digit);
  };
  uint32_t bits = 0;
  unsigned bit_count = 0;
  for (const std::byte b : data) {
    bits = (bits << 8 | std::to_integer<uint32_t>(b)) & 0xfff;
    for (bit_count += 8; bit_count >= 5; bit_count -= 5) put(bits >> (bit_count - 5) & 31);
  }
  if (bit_count > 0) put(bits << (5 - bit_count) & 31);
  Checksum finished = checksum;
  for (size_t i = 0; i < kChecksumDigits; ++i) finished.add(0);
  const uint32_t wanted = finished.value() ^ 1;
  for (unsigned i = 0; i < kChecksumDigits; ++i) put(wanted >> (5 * (5 - i)) & 31);
  return text;
}

Result<Bech32> bech32_decode(std::string_view text) {
  if (text.size() > kTextMax) return invalid("longer than 90 characters");
  if (is_mixed(text)) return invalid("upper and lower case mixed");
  const size_t separator = text.rfind('1');
  if (separator == std::string_view::npos || text.size() - separator - 1 < kChecksumDigits)
    return invalid("too short, or without the separator");
  Bech32 out{std::string(text.substr(0, separator)), {}};
  if (!is_prefix(out.prefix)) return invalid("prefix is empty or not printable");
  std::string_view digits = text.substr(separator + 1);
  const size_t data_digits = digits.size() - kChecksumDigits;
  out.data.reserve(data_digits * 5 / 8 + 1);
  Checksum checksum(out.prefix);
  uint32_t bits = 0;
  unsigned bit_count = 0;
  const auto fail = [&](std::string_view what) {
    wipe(out.data);
    return invalid(what);
  };
  for (size_t i = 0; i < digits.size(); ++i) {
    const size_t digit = kAlphabet.find(lower(digits[i]));
    if (digit == std::string_view::npos) return fail("a character is not of the alphabet");
    checksum.add(static_cast<uint32_t>(digit));
    if (i >= data_digits) continue;
    bits = (bits << 5 | static_cast<uint32_t>(digit)) & 0xfff;
    bit_count += 5;
    if (bit_count < 8) continue;
    bit_count -= 8;
    out.data.push_back(static_cast<std::byte>(bits >> bit_count));
  }
  if (checksum.value() != 1) return fail("the checksum is wrong; a character was changed or lost");
  if (bit_count >= 5 || (bits & ((1u << bit_count) - 1)) != 0) return fail("stray bits at the end");
  return out;
}

}  // namespace pgark
