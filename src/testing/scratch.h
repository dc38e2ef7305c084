// A scratch directory of one test: short enough for Unix sockets, gone when the test passed, kept when it failed.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"

namespace pgark::testing {

/// A unique directory (mode 0700) under $TMPDIR or /tmp. The destructor removes it with everything in it, unless
/// PGARK_KEEP=1 is set, keep() was called or the running GoogleTest test has failed; then it prints the path.
class ScratchDir {
 public:
  /// Create "<parent>/pgark-<name>-XXXXXX". A $TMPDIR too long for a socket path inside is passed over for /tmp.
  static Result<ScratchDir> create(std::string_view name = "test");

  ScratchDir() = default;
  ScratchDir(ScratchDir&& other) noexcept
      : path_(std::exchange(other.path_, {})), keep_(std::exchange(other.keep_, false)) {}
  ScratchDir& operator=(ScratchDir&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(keep_, other.keep_);
    return *this;
  }
  ~ScratchDir();

  const std::string& path() const { return path_; }
  /// Path of something inside.
  std::string operator/(std::string_view relative) const { return path_ + "/" + std::string(relative); }
  void keep() { keep_ = true; }

 private:
  std::string path_;
  bool keep_ = false;
};

/// Remove a tree, directories without write permission included. Absence is success.
Result<> remove_tree(const std::string& path);

/// Copy a tree of files, directories and symbolic links (not followed), keeping permissions.
Result<> copy_tree(const std::string& from, const std::string& to);

}  // namespace pgark::testing
