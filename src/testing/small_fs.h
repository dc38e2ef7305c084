// A tiny file system for disk-full tests, mounted without being root.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/result.h"

namespace pgark::testing {

/// A tmpfs of a few MiB at a directory, seen by this process and all it starts from then on. The process joins a user
/// and mount namespace of its own for that, with its user id kept, so servers and pgark run in it as ever. It must
/// still have a single thread; call it first in the test. The destructor unmounts.
class SmallFs {
 public:
  /// Errors: kUnsupported with the reason where the kernel does not permit it or the process has threads: skip the
  /// test.
  static Result<SmallFs> mount(std::string directory, uint64_t bytes);

  SmallFs() = default;
  SmallFs(SmallFs&& other) noexcept : directory_(std::exchange(other.directory_, {})) {}
  SmallFs& operator=(SmallFs&& other) noexcept {
    std::swap(directory_, other.directory_);
    return *this;
  }
  ~SmallFs();

  const std::string& directory() const { return directory_; }
  /// Grow or shrink it; content stays.
  Result<> resize(uint64_t bytes);

 private:
  std::string directory_;
};

}  // namespace pgark::testing
