// Views and buffers of raw bytes, and the little-endian and varint encoding every pgark format uses.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace pgark {

static_assert(std::endian::native == std::endian::little,
              "pgark reads PostgreSQL's native-endian files on the same kind of machine");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }
inline std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// Load a little-endian integer from the front of `bytes`; the caller has checked the length.
template <typename T>
T load_le(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// A growable byte buffer aligned for direct I/O and vector loads, whose new bytes are not zeroed.
class Buffer {
 public:
  static constexpr size_t kAlignment = 4096;

  Buffer() = default;
  explicit Buffer(size_t size) { resize(size); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }

  void clear() { size_ = 0; }
  void reserve(size_t capacity);
  /// New bytes have unspecified values.
  void resize(size_t size);
  void append(Bytes bytes);

  MutableBytes bytes() { return {data(), size_}; }
  Bytes bytes() const { return {data(), size_}; }
  operator Bytes() const { return bytes(); }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kAlignment}); }
  };
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  std::unique_ptr<std::byte[], Free> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

/// Append integers and strings to a byte vector: fixed-width little-endian, or unsigned LEB128 varints.
class ByteWriter {
 public:
  template <typename T>
  requires std::is_integral_v<T>
  void fixed(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    out_.insert(out_.end(), raw, raw + sizeof value);
  }
  void varint(uint64_t value);
  /// Signed values as zigzag varints.
  void svarint(int64_t value) { varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63)); }
  void raw(Bytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  /// Length as a varint, then the bytes.
  void string(std::string_view text) {
    varint(text.size());
    raw(as_bytes(text));
  }

  size_t size() const { return out_.size(); }
  Bytes bytes() const { return out_; }
  std::vector<std::byte> take() && { return std::move(out_); }
  void clear() { out_.clear(); }

 private:
  std::vector<std::byte> out_;
};

/// Read what ByteWriter wrote, never past the end. After a read that did not fit, every further read returns zero and
/// ok() is false; decoders check once, at the end or before trusting a count.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

  template <typename T>
  requires std::is_integral_v<T> T fixed() {
    if (!take(sizeof(T))) return T{};
    return load_le<T>(bytes_.data() + at_ - sizeof(T));
  }
  uint64_t varint();
  int64_t svarint() {
    const uint64_t raw = varint();
    return static_cast<int64_t>(raw >> 1) ^ -static_cast<int64_t>(raw & 1);
  }
  Bytes raw(size_t count) {
    if (!take(count)) return {};
    return bytes_.subspan(at_ - count, count);
  }
  std::string_view string() {
    const uint64_t count = varint();
    if (count > remaining()) {
      failed_ = true;
      return {};
    }
    return as_text(raw(static_cast<size_t>(count)));
  }
  void skip(size_t count) { take(count); }

  bool ok() const { return !failed_; }
  size_t offset() const { return at_; }
  size_t remaining() const { return bytes_.size() - at_; }

 private:
  bool take(size_t count) {
    if (failed_ || count > bytes_.size() - at_) {
      failed_ = true;
      return false;
    }
    at_ += count;
    return true;
  }

  Bytes bytes_;
  size_t at_ = 0;
  bool failed_ = false;
};

/// Lower-case hexadecimal of `bytes`.
std::string to_hex(Bytes bytes);

}  // namespace pgark
