#include "core/bytes.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace pgark {
namespace {
constexpr size_t kHugePageWorthBytes = size_t{8} << 20;
}

void Buffer::reserve(size_t capacity) {
  if (capacity <= capacity_) return;
  auto* raw = static_cast<std::byte*>(::operator new[](capacity, std::align_val_t{kAlignment}));
  // Touching a large buffer for the first time costs a fault for every 4 KiB, with huge pages one for every 2 MiB.
  // A kernel that does not know them refuses, which changes nothing.
  if (capacity >= kHugePageWorthBytes) ::madvise(raw, capacity, MADV_HUGEPAGE);
  if (size_ > 0) std::memcpy(raw, data_.get(), size_);
  data_.reset(raw);
  capacity_ = capacity;
}

void Buffer::resize(size_t size) {
  if (size > capacity_) reserve(std::max(size, capacity_ * 2));
  size_ = size;
}

void Buffer::append(Bytes bytes) {
  if (bytes.empty()) return;
  const size_t old = size_;
  resize(old + bytes.size());
  std::memcpy(data_.get() + old, bytes.data(), bytes.size());
}

void ByteWriter::varint(uint64_t value) {
  while (value >= 0x80) {
    out_.push_back(static_cast<std::byte>(value | 0x80));
    value >>= 7;
  }
  out_.push_back(static_cast<std::byte>(value));
}

uint64_t ByteReader::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = fixed<uint8_t>();
    if (failed_) return 0;
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      // The tenth byte has room for one bit; anything more would be lost.
      if (shift == 63 && byte > 1) break;
      return value;
    }
  }
  failed_ = true;
  return 0;
}

std::string to_hex(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    text += kDigits[std::to_integer<unsigned>(b) >> 4];
    text += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

}  // namespace pgark
