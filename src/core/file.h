// System calls on files as Results: every error names the operation and the path.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>

#include "core/bytes.h"
#include "core/result.h"

namespace pgark {

/// An open file descriptor, closed by the destructor. EINTR is retried; short transfers are continued.
class File {
 public:
  File() = default;
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~File();

  /// open(2) with O_CLOEXEC added.
  static Result<File> open(std::string path, int flags, mode_t mode = 0640);

  /// Take over a descriptor opened elsewhere; `path` names it in errors.
  static File adopt(int fd, std::string path) { return File(fd, std::move(path)); }

  /// Read at `offset` until `into` is full or the file ends; the count read.
  Result<size_t> pread(MutableBytes into, uint64_t offset) const;
  Result<> pwrite(Bytes data, uint64_t offset) const;
  Result<> write(Bytes data) const;
  Result<> fsync() const;
  Result<> truncate(uint64_t bytes) const;
  Result<struct stat> stat() const;
  Result<> close();  // Reports what close(2) reports; the descriptor is gone either way.

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;
  std::string path_;
};

/// Whole content of a file. Errors: kInvalid if it holds more than `bytes_max`.
Result<std::string> read_file(const std::string& path, uint64_t bytes_max = 64u << 20);
/// Replace `path` with `content`: temporary file, fsync, rename, fsync of the directory.
Result<> write_file_durable(const std::string& path, std::string_view content, mode_t mode = 0640);
Result<> fsync_directory(const std::string& path);
/// Create a directory and its missing parents with `mode`; an existing directory is success.
Result<> make_directories(const std::string& path, mode_t mode = 0750);
/// Part of a path before the last slash; "." if there is none.
std::string parent_path(const std::string& path);

}  // namespace pgark
