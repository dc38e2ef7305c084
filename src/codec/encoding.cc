#include "codec/encoding.h"

#include <array>
#include <cstdint>

namespace pgark {
namespace {

constexpr std::string_view kStandardAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrlAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr uint8_t kNoDigit = 0xff;

constexpr std::array<uint8_t, 256> digit_values(std::string_view alphabet) {
  std::array<uint8_t, 256> values{};
  for (uint8_t& value : values) value = kNoDigit;
  for (size_t i = 0; i < alphabet.size(); ++i)
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<uint8_t>(i);
  return values;
}

constexpr auto kStandardValues = digit_values(kStandardAlphabet);
constexpr auto kUrlValues = digit_values(kUrlAlphabet);

bool is_url(Base64 form) { return form == Base64::kUrl || form == Base64::kUrlNoPadding; }
bool is_padded(Base64 form) { return form == Base64::kStandard || form == Base64::kUrl; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Error not_base64() { return {Errc::kInvalid, "decode base64: not the base64 of any bytes"}; }

}  // namespace

std::string base64_encode(Bytes bytes, Base64 form) {
  const std::string_view alphabet = is_url(form) ? kUrlAlphabet : kStandardAlphabet;
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? std::to_integer<uint32_t>(bytes[at + i]) : 0);
    for (size_t i = 0; i <= count; ++i) text += alphabet[group >> (18 - 6 * i) & 63];
    if (is_padded(form)) text.append(3 - count, '=');
  }
  return text;
}

Result<std::vector<std::byte>> base64_decode(std::string_view text, Base64 form) {
  if (is_padded(form)) {
    if (text.size() % 4 != 0) return not_base64();
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return not_base64();
  const auto& values = is_url(form) ? kUrlValues : kStandardValues;
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  unsigned bit_count = 0;
  for (const char c : text) {
    const uint8_t value = values[static_cast<unsigned char>(c)];
    if (value == kNoDigit) return not_base64();
    bits = (bits << 6 | value) & 0xfff;
    bit_count += 6;
    if (bit_count < 8) continue;
    bit_count -= 8;
    bytes.push_back(static_cast<std::byte>(bits >> bit_count));
  }
  if ((bits & ((1u << bit_count) - 1)) != 0) return not_base64();
  return bytes;
}

Result<std::vector<std::byte>> from_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 2);
  const Error error(Errc::kInvalid, "decode hexadecimal: not pairs of hexadecimal digits");
  if (text.size() % 2 != 0) return error;
  for (size_t at = 0; at < text.size(); at += 2) {
    const int high = hex_digit(text[at]);
    const int low = hex_digit(text[at + 1]);
    if (high < 0 || low < 0) return error;
    bytes.push_back(static_cast<std::byte>(high * 16 + low));
  }
  return bytes;
}

}  // namespace pgark
