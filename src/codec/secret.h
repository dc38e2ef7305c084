// Bytes that must not outlive their use or be seen: keys, passphrases, credentials; and the source of randomness.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace pgark {

/// Secret bytes on pages of their own: wiped when they go, left out of core files, not written to swap as far as the
/// limit of locked memory allows. Moved, or cloned on purpose; there is no way to print one.
class Secret {
 public:
  Secret() = default;
  /// `size` zero bytes, to be filled through bytes().
  explicit Secret(size_t size);
  static Secret copy_of(Bytes bytes);
  /// Take the text over and wipe where it was.
  static Secret from_text(std::string&& text);
  Secret(Secret&& other) noexcept { swap(other); }
  Secret& operator=(Secret&& other) noexcept {
    Secret taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Secret();

  Secret clone() const { return copy_of(bytes()); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Bytes bytes() const { return {data_, size_}; }
  MutableBytes bytes() { return {data_, size_}; }
  /// The bytes as text, for an API that wants text; never for a message.
  std::string_view text() const { return as_text(bytes()); }
  /// Keep the first `size` bytes and wipe the others.
  void truncate(size_t size);

 private:
  void swap(Secret& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
  }

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_bytes_ = 0;
};

std::ostream& operator<<(std::ostream&, const Secret&) = delete;

/// Overwrite memory that held a secret, in a way the compiler keeps.
void wipe(MutableBytes bytes);
/// Overwrite and empty a text.
void wipe(std::string& text);

/// Fill `out` with random bytes fit for keys.
/// Errors: kTransient if the system has none to give.
Result<> random_bytes(MutableBytes out);

}  // namespace pgark
