// Unix sockets below spool-path, however long its name is.
#include "ops/push_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace pgark {
namespace {

constexpr const char* kSocketName = "push.sock";

/// The name of the socket as the kernel takes it: 108 bytes at most, so it goes through the open directory.
struct SocketAddress {
  sockaddr_un raw{};
  socklen_t bytes = sizeof(sockaddr_un);
};
SocketAddress address_of(const File& directory, const std::string& name) {
  SocketAddress address;
  address.raw.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory.fd(), name);
  path.copy(address.raw.sun_path, sizeof(address.raw.sun_path) - 1);
  return address;
}

Result<File> new_socket(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno_error(errno, "make a socket");
  return File::adopt(fd, path);
}

Result<File> listen_in(const std::string& directory) {
  TRY_ASSIGN(const File opened, File::open(directory, O_RDONLY | O_DIRECTORY));
  const std::string path = fmt::format("{}/{}", directory, kSocketName);
  TRY_ASSIGN(File listener, new_socket(path));
  // Under another name first: whoever sees the socket's own finds somebody listening.
  const std::string temporary = fmt::format(".{}.{}", kSocketName, ::getpid());
  ::unlinkat(opened.fd(), temporary.c_str(), 0);
  const SocketAddress address = address_of(opened, temporary);
  if (::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&address.raw), address.bytes) != 0)
    return errno_error(errno, fmt::format("make socket '{}'", path));
  const bool listens = ::fchmodat(opened.fd(), temporary.c_str(), 0600, 0) == 0 && ::listen(listener.fd(), 64) == 0 &&
                       ::renameat(opened.fd(), temporary.c_str(), opened.fd(), kSocketName) == 0;
  if (listens) return listener;
  const int failure = errno;
  ::unlinkat(opened.fd(), temporary.c_str(), 0);
  return errno_error(failure, fmt::format("listen on '{}'", path));
}

}  // namespace

Error about_spool(Error error, const std::string& directory) {
  const Errc code = error.code();
  error = std::move(error).with_context(fmt::format("archive through '{}'", directory));
  if (code == Errc::kNoSpace) return std::move(error).with_hint("make room on the file system of spool-path");
  return std::move(error).with_hint(
      "spool-path has to be a local directory that the user PostgreSQL runs as can write: create it (chown it to that "
      "user, mode 0750), or set spool-path to another one");
}

std::string push_directory(const std::string& spool_path, const std::string& stanza) {
  return fmt::format("{}/archive/{}", spool_path, stanza);
}

Result<> make_push_directory(const std::string& directory) {
  auto made = make_directories(directory, 0750);
  if (!made) return about_spool(std::move(made).error(), directory);
  if (::access(directory.c_str(), R_OK | W_OK | X_OK) == 0) return {};
  return about_spool(errno_error(errno, fmt::format("use '{}'", directory)), directory);
}

Result<std::optional<File>> connect_push_socket(const std::string& directory) {
  auto opened = File::open(directory, O_RDONLY | O_DIRECTORY);
  if (!opened && opened.error().code() == Errc::kNotFound) return std::optional<File>();
  if (!opened) return about_spool(std::move(opened).error(), directory);
  const std::string path = fmt::format("{}/{}", directory, kSocketName);
  TRY_ASSIGN(File socket, new_socket(path));
  const SocketAddress address = address_of(*opened, kSocketName);
  while (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address.raw), address.bytes) != 0) {
    if (errno == EINTR) continue;
    // EAGAIN: its queue of callers is full, for the moment.
    if (errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN) return std::optional<File>();
    return about_spool(errno_error(errno, fmt::format("connect to '{}'", path)), directory);
  }
  return std::optional<File>(std::move(socket));
}

Result<File> listen_push_socket(const std::string& directory) {
  auto listener = listen_in(directory);
  if (!listener) return about_spool(std::move(listener).error(), directory);
  return listener;
}

void remove_push_socket(const std::string& directory) {
  ::unlink(fmt::format("{}/{}", directory, kSocketName).c_str());
}

}  // namespace pgark
