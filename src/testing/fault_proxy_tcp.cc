// Bytes of any protocol: a thread with poll(2) for each connection. What arrives is kept with the time at which it is
// due on the other side, so that a delay takes nothing from the throughput.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>

#include "testing/fault_proxy.h"

namespace pgark::testing {
namespace {

using Steady = std::chrono::steady_clock;

constexpr size_t kPieceBytes = 256u << 10;
constexpr size_t kQueuedBytesMax = 64u << 20;                // More than fits into a fast network with latency.
constexpr auto kLookAround = std::chrono::milliseconds(20);  // How soon a change of rules is seen.
constexpr auto kBandwidthWait = std::chrono::milliseconds(1);

struct Piece {
  Steady::time_point due;
  std::string data;
};

/// One direction of a connection.
struct Lane {
  int from = -1;
  int to = -1;
  std::deque<Piece> queue = {};
  std::string received = {};  // Room for the next one.
  size_t queued_bytes = 0;
  size_t sent_of_front = 0;
  bool ended = false;    // Nothing more comes.
  bool closed = false;   // The other side was told so.
  bool blocked = false;  // The other side takes nothing now.
};

void set_nonblocking(int socket) { (void)::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK); }

// Read what is there; false when the connection is lost.
bool receive(Lane& lane, Steady::time_point due) {
  lane.received.resize(kPieceBytes);
  const ssize_t count = ::recv(lane.from, lane.received.data(), lane.received.size(), 0);
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  if (count == 0) {
    lane.ended = true;
    return true;
  }
  lane.queue.push_back({due, lane.received.substr(0, static_cast<size_t>(count))});
  lane.queued_bytes += static_cast<size_t>(count);
  return true;
}

short wanted_events(bool in, bool out) { return static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0)); }

timespec until(Steady::time_point time) {
  const auto left = std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(time - Steady::now()));
  return {.tv_sec = static_cast<time_t>(left.count() / 1'000'000'000), .tv_nsec = left.count() % 1'000'000'000};
}

}  // namespace

bool FaultProxy::serve_tcp(Connection& connection, uint64_t drop_at) {
  std::array<Lane, 2> lanes;
  Lane& up = lanes[static_cast<size_t>(Direction::kToServer)];
  Lane& down = lanes[static_cast<size_t>(Direction::kToClient)];
  {
    const MutexLock lock(mu_);
    up.from = down.to = connection.client.fd();
    up.to = down.from = connection.server.fd();
  }
  set_nonblocking(up.from);
  set_nonblocking(up.to);
  const auto opened = Steady::now();
  uint64_t passed = 0;

  // Send what is due; false when the connection is lost or was to be dropped.
  const auto flush = [&](Direction direction, Steady::time_point& wake) {
    Lane& lane = lanes[static_cast<size_t>(direction)];
    lane.blocked = false;
    while (!lane.queue.empty()) {
      const Piece& piece = lane.queue.front();
      if (piece.due > Steady::now()) {
        wake = std::min(wake, piece.due);
        return true;
      }
      size_t bytes = allowance(direction, piece.data.size() - lane.sent_of_front);
      if (bytes == 0) {
        wake = std::min(wake, Steady::now() + kBandwidthWait);
        return true;
      }
      if (drop_at > 0) bytes = std::min(bytes, drop_at - passed);
      const ssize_t sent = ::send(lane.to, piece.data.data() + lane.sent_of_front, bytes, MSG_NOSIGNAL);
      if (sent < 0) {
        lane.blocked = true;
        return errno == EAGAIN || errno == EINTR;
      }
      spend(direction, static_cast<size_t>(sent));
      passed += static_cast<uint64_t>(sent);
      lane.sent_of_front += static_cast<size_t>(sent);
      if (drop_at > 0 && passed >= drop_at) {
        count_drop();
        return false;
      }
      if (lane.sent_of_front < piece.data.size()) continue;
      lane.queued_bytes -= piece.data.size();
      lane.sent_of_front = 0;
      lane.queue.pop_front();
    }
    if (lane.ended && !lane.closed) {
      (void)::shutdown(lane.to, SHUT_WR);
      lane.closed = true;
    }
    return true;
  };

  while (!(up.closed && down.closed)) {
    if (is_over(connection)) return true;
    const ProxyRules now = rules();
    auto wake = Steady::now() + kLookAround;
    if (!now.stalled && !(flush(Direction::kToServer, wake) && flush(Direction::kToClient, wake))) return true;
    const auto wants = [&](const Lane& lane) {
      return !now.stalled && !lane.ended && lane.queued_bytes < kQueuedBytesMax;
    };
    std::array<pollfd, 2> sockets{{{.fd = up.from, .events = wanted_events(wants(up), down.blocked), .revents = 0},
                                   {.fd = down.from, .events = wanted_events(wants(down), up.blocked), .revents = 0}}};
    // A socket of which nothing is wanted would still report its end, over and over.
    for (pollfd& socket : sockets) {
      if (socket.events == 0) socket.fd = -1;
    }
    const timespec timeout = until(wake);
    if (::ppoll(sockets.data(), sockets.size(), &timeout, nullptr) <= 0) continue;
    // The handshake of a connection takes a round trip before anything can be sent.
    const auto base = std::max(Steady::now(), opened + now.delay_to_server + now.delay_to_client);
    if (sockets[0].revents != 0 && wants(up) && !receive(up, base + now.delay_to_server)) return true;
    if (sockets[1].revents != 0 && wants(down) && !receive(down, base + now.delay_to_client)) return true;
  }
  return false;
}

}  // namespace pgark::testing
