// Plain blocking sockets: a thread that waits in one is woken by shutdown(2) from another.
#include "testing/tcp.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace pgark::testing {
namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void no_delay(int socket) {
  const int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// connect(2) with a bound: not blocking for that one call.
Result<> connect_within(const File& socket, const sockaddr* address, socklen_t bytes, std::chrono::milliseconds bound) {
  const int flags = ::fcntl(socket.fd(), F_GETFL);
  (void)::fcntl(socket.fd(), F_SETFL, flags | O_NONBLOCK);
  if (::connect(socket.fd(), address, bytes) != 0) {
    if (errno != EINPROGRESS) return errno_error(errno, "connect to " + socket.path());
    pollfd waiting{.fd = socket.fd(), .events = POLLOUT, .revents = 0};
    int ready = 0;
    while ((ready = ::poll(&waiting, 1, static_cast<int>(bound.count()))) < 0 && errno == EINTR) {
    }
    if (ready == 0) return Error(Errc::kTransient, fmt::format("connect to {}: timed out", socket.path()));
    int error = 0;
    socklen_t error_bytes = sizeof error;
    (void)::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &error_bytes);
    if (error != 0) return errno_error(error, "connect to " + socket.path());
  }
  (void)::fcntl(socket.fd(), F_SETFL, flags);
  return {};
}

}  // namespace

Result<File> listen_on_loopback(int port) {
  const std::string name = fmt::format("127.0.0.1:{}", port);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno_error(errno, "create socket");
  File socket = File::adopt(fd, name);
  const int on = 1;
  (void)::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error(errno, "bind " + name);
  if (::listen(fd, 512) != 0) return errno_error(errno, "listen on " + name);
  return socket;
}

Result<int> local_port(const File& socket) {
  sockaddr_in address{};
  socklen_t bytes = sizeof address;
  if (::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0)
    return errno_error(errno, "get port of socket");
  return int{ntohs(address.sin_port)};
}

Result<int> free_port() {
  TRY_ASSIGN(const File socket, listen_on_loopback());
  return local_port(socket);
}

Result<File> accept_connection(const File& listener) {
  for (;;) {
    const int fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      no_delay(fd);
      return File::adopt(fd, "connection to " + listener.path());
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EINVAL || errno == EBADF) return Error(Errc::kCancelled, "accept connection: listener was shut down");
    return errno_error(errno, "accept connection");
  }
}

Result<File> connect_to(const std::string& host, int port, std::chrono::milliseconds bound) {
  const std::string name = fmt::format("{}:{}", host, port);
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found); status != 0)
    return Error(Errc::kTransient, fmt::format("look up {}: {}", host, ::gai_strerror(status)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  Result<> outcome = Error(Errc::kTransient, "connect to " + name + ": no address");
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const int fd = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno_error(errno, "create socket");
    File socket = File::adopt(fd, name);
    outcome = connect_within(socket, address->ai_addr, address->ai_addrlen, bound);
    if (!outcome) continue;
    no_delay(fd);
    return socket;
  }
  return std::move(outcome).error();
}

bool accepts_connections(int port) { return connect_to("127.0.0.1", port, std::chrono::seconds(1)).has_value(); }

bool send_all(int socket, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void reset_on_close(int socket) {
  const linger abort{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
}

}  // namespace pgark::testing
