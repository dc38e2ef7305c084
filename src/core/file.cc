#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace pgark {

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open(std::string path, int flags, mode_t mode) {
  int fd = -1;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return errno_error(errno, "open '" + path + "'");
  return File(fd, std::move(path));
}

Result<size_t> File::pread(MutableBytes into, uint64_t offset) const {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(fd_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read '" + path_ + "'");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<> File::pwrite(Bytes data, uint64_t offset) const {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write '" + path_ + "'");
    data = data.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<> File::write(Bytes data) const {
  while (!data.empty()) {
    const ssize_t n = ::write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write '" + path_ + "'");
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> File::fsync() const {
  if (::fsync(fd_) != 0) return errno_error(errno, "fsync '" + path_ + "'");
  return {};
}

Result<> File::truncate(uint64_t bytes) const {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return errno_error(errno, "truncate '" + path_ + "'");
  return {};
}

Result<struct stat> File::stat() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return errno_error(errno, "stat '" + path_ + "'");
  return status;
}

Result<> File::close() {
  if (::close(std::exchange(fd_, -1)) != 0) return errno_error(errno, "close '" + path_ + "'");
  return {};
}

Result<std::string> read_file(const std::string& path, uint64_t bytes_max) {
  TRY_ASSIGN(const File file, File::open(path, O_RDONLY));
  std::string content;
  // Files of /proc have no size: read until the end rather than trusting stat.
  for (;;) {
    const size_t old = content.size();
    content.resize(old + 65536);
    TRY_ASSIGN(const size_t n, file.pread({reinterpret_cast<std::byte*>(content.data()) + old, 65536}, old));
    content.resize(old + n);
    if (content.size() > bytes_max)
      return Error(Errc::kInvalid, fmt::format("read '{}': file is larger than {} bytes", path, bytes_max));
    if (n < 65536) return content;
  }
}

Result<> write_file_durable(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = path + ".pgark.tmp";
  {
    TRY_ASSIGN(File file, File::open(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    TRY(file.write(as_bytes(content)));
    TRY(file.fsync());
    TRY(file.close());
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return errno_error(errno, "rename '" + temporary + "' to '" + path + "'");
  return fsync_directory(parent_path(path));
}

Result<> fsync_directory(const std::string& path) {
  TRY_ASSIGN(const File directory, File::open(path, O_RDONLY | O_DIRECTORY));
  return directory.fsync();
}

Result<> make_directories(const std::string& path, mode_t mode) {
  if (path.empty() || ::mkdir(path.c_str(), mode) == 0) return {};
  int failure = errno;
  if (failure == ENOENT) {
    TRY(make_directories(parent_path(path), mode));
    if (::mkdir(path.c_str(), mode) == 0) return {};
    failure = errno;
  }
  struct stat status {};
  if (failure == EEXIST && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
  return errno_error(failure, "create directory '" + path + "'");
}

std::string parent_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  if (slash == 0) return "/";
  return path.substr(0, slash);
}

}  // namespace pgark
