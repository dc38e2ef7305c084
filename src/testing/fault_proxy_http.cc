// Requests and answers of HTTP/1.1, one at a time on each connection: a blocking thread that can tell where they begin
// and end, and so can answer, lose, cut, repeat or hold them.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "testing/fault_proxy.h"
#include "testing/tcp.h"

namespace pgark::testing {
namespace {

constexpr size_t kPieceBytes = 16u << 10;
constexpr auto kLookAround = std::chrono::milliseconds(5);
constexpr auto kBandwidthWait = std::chrono::milliseconds(1);

/// The head to be sent on: without "Expect", which the proxy has answered itself.
std::string forwarded_head(const HttpHead& head) {
  if (find_header(head.headers, "expect") == nullptr) return head.raw;
  std::string out = head.start_line + "\r\n";
  for (const auto& header : head.headers) {
    if (find_header({header}, "expect") == nullptr) out += header.first + ": " + header.second + "\r\n";
  }
  return out + "\r\n";
}

/// Whether the peer has closed its side. Of a client that waits for an answer: it has given up.
bool has_closed(int socket) {
  pollfd state{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

std::string method_of(const HttpHead& head) { return head.start_line.substr(0, head.start_line.find(' ')); }

}  // namespace

/// One connection of a client, and the one to the server that goes with it.
class HttpRelay {
 public:
  HttpRelay(FaultProxy& proxy, FaultProxy::Connection& connection, int client, int server, uint64_t drop_at)
      : proxy_(proxy),
        connection_(connection),
        client_(client),
        server_(server),
        drop_at_(drop_at),
        requests_(client),
        answers_(server) {}

  /// Pass on until an end; whether the client is to see a reset.
  bool run() {
    const ProxyRules rules = proxy_.rules();
    if (!wait(rules.delay_to_server + rules.delay_to_client)) return true;
    for (;;) {
      const auto head = requests_.read_head();
      if (!head) return false;
      const auto fault = proxy_.next_fault(*head);
      if (fault && fault->kind == HttpFault::Kind::kDrop) return true;
      if (!wait(proxy_.rules().delay_to_server)) return true;
      if (find_header(head->headers, "expect") != nullptr && !to_client("HTTP/1.1 100 Continue\r\n\r\n")) return true;
      switch (relay(*head, fault)) {
        case Outcome::kNext:
          break;
        case Outcome::kEnd:
          return false;
        case Outcome::kReset:
          return true;
      }
    }
  }

 private:
  enum class Outcome : unsigned char { kNext, kEnd, kReset };
  using Kind = HttpFault::Kind;

  Outcome relay(const HttpHead& head, const std::optional<HttpFault>& fault) {
    const HttpFraming framing = request_framing(head);
    if (fault && fault->kind == Kind::kAnswer) {
      // The body has to go, or the client would see a reset while it still sends.
      if (!requests_.read_body(framing, [](std::string_view, std::string_view) { return true; })) return Outcome::kEnd;
      return answer(fault->answer, method_of(head)) ? Outcome::kNext : Outcome::kEnd;
    }
    if (fault && (fault->kind == Kind::kHoldRequest || fault->kind == Kind::kHoldAnswer)) {
      proxy_.count_held(true);
      hold(head, framing, *fault);
      proxy_.count_held(false);
      return Outcome::kReset;
    }
    if (fault && fault->kind == Kind::kDuplicate) {
      std::string whole = forwarded_head(head);
      const bool read = requests_.read_body(framing, [&](std::string_view raw, std::string_view) {
        whole += raw;
        return true;
      });
      if (!read) return Outcome::kEnd;
      if (!send_apart(whole, head) || !to_server(whole)) return Outcome::kReset;
    } else {
      if (!to_server(forwarded_head(head))) return Outcome::kReset;
      // A server that refuses early stops reading: the answer is worth more than the rest of the body.
      bool sent = true;
      const bool whole = requests_.read_body(framing, [&](std::string_view raw, std::string_view) {
        sent = sent && to_server(raw);
        return !used_up_ && !proxy_.is_over(connection_);
      });
      if (!whole) return Outcome::kReset;
    }
    if (fault && fault->kind == Kind::kLoseAnswer) {
      (void)swallow_answer(answers_, head);
      return Outcome::kReset;
    }
    const auto cut_after =
        fault && fault->kind == Kind::kCutAnswer ? std::optional(fault->cut_after) : std::optional<size_t>();
    return pass_answer(head, cut_after);
  }

  /// Let the client wait until it gives up. What was held may be done after that, when the client has long sent it
  /// again: a network that was slow delivers late.
  void hold(const HttpHead& head, const HttpFraming& framing, const HttpFault& fault) {
    std::string whole = forwarded_head(head);
    const bool read = requests_.read_body(framing, [&](std::string_view raw, std::string_view) {
      whole += raw;
      return true;
    });
    if (!read) return;
    const bool at_once = fault.kind == Kind::kHoldAnswer;
    if (at_once && (!to_server(whole) || !swallow_answer(answers_, head))) return;
    while (!has_closed(client_)) {
      if (!wait(kLookAround)) return;
    }
    if (proxy_.is_over(connection_)) return;  // It was closed by the proxy.
    proxy_.count_given_up();
    if (!at_once && wait(fault.delay) && to_server(whole)) (void)swallow_answer(answers_, head);
  }

  static bool swallow_answer(HttpStream& answers, const HttpHead& request) {
    auto head = answers.read_head();
    while (head && head->status() < 200) head = answers.read_head();
    return head && answers.read_body(answer_framing(*head, method_of(request)),
                                     [](std::string_view, std::string_view) { return true; });
  }

  /// Send a request on a connection of its own, because the server may close that after it.
  bool send_apart(const std::string& whole, const HttpHead& request) {
    const auto server = connect_to(proxy_.server_host_, proxy_.server_port_);
    if (!server || !send_all(server->fd(), whole)) return false;
    const timeval bound{.tv_sec = 30, .tv_usec = 0};  // Nobody else could wake this thread.
    (void)::setsockopt(server->fd(), SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    HttpStream answers(server->fd());
    return swallow_answer(answers, request);
  }

  Outcome pass_answer(const HttpHead& request, std::optional<size_t> cut_after) {
    auto head = answers_.read_head();
    if (!head || !wait(proxy_.rules().delay_to_client)) return Outcome::kReset;
    while (head && head->status() < 200) {
      if (!to_client(head->raw)) return Outcome::kReset;
      head = answers_.read_head();
    }
    if (!head || !to_client(head->raw)) return Outcome::kReset;
    const HttpFraming framing = answer_framing(*head, method_of(request));
    size_t passed = 0;
    if (cut_after && *cut_after == 0) return Outcome::kReset;
    const bool whole = answers_.read_body(framing, [&](std::string_view raw, std::string_view data) {
      if (cut_after && data.size() >= *cut_after - passed) {
        (void)to_client(raw.substr(0, *cut_after - passed));
        return false;
      }
      passed += data.size();
      return to_client(raw);
    });
    if (!whole) return Outcome::kReset;
    const std::string* connection = find_header(head->headers, "connection");
    const bool ends =
        framing.kind == HttpFraming::Kind::kUntilClose || (connection != nullptr && *connection == "close");
    return ends ? Outcome::kEnd : Outcome::kNext;
  }

  /// An answer of the proxy itself; whether the connection stays.
  bool answer(const HttpAnswer& answer, const std::string& method) {
    if (!wait(answer.delay + proxy_.rules().delay_to_client)) return false;
    return to_client(render_answer(answer, method)) && !answer.close && answer.raw.empty();
  }

  bool to_server(std::string_view data) { return pass(FaultProxy::Direction::kToServer, server_, data); }
  bool to_client(std::string_view data) { return pass(FaultProxy::Direction::kToClient, client_, data); }

  /// Send at the pace of the rules; false when the connection is lost or is to be.
  bool pass(FaultProxy::Direction direction, int to, std::string_view data) {
    while (!data.empty()) {
      if (proxy_.is_over(connection_)) return false;
      if (proxy_.rules().stalled) {
        if (!proxy_.pause(kLookAround)) return false;
        continue;
      }
      size_t bytes = proxy_.allowance(direction, std::min(data.size(), kPieceBytes));
      if (bytes == 0) {
        if (!proxy_.pause(kBandwidthWait)) return false;
        continue;
      }
      if (drop_at_ > 0) bytes = std::min<size_t>(bytes, drop_at_ - passed_);
      if (!send_all(to, data.substr(0, bytes))) return false;
      proxy_.spend(direction, bytes);
      passed_ += bytes;
      data.remove_prefix(bytes);
      if (drop_at_ > 0 && passed_ >= drop_at_) {
        used_up_ = true;
        proxy_.count_drop();
        return false;
      }
    }
    return true;
  }

  bool wait(std::chrono::nanoseconds duration) {
    if (duration.count() > 0 && !proxy_.pause(duration)) return false;
    return !proxy_.is_over(connection_);
  }

  FaultProxy& proxy_;
  FaultProxy::Connection& connection_;
  const int client_;
  const int server_;
  const uint64_t drop_at_;
  uint64_t passed_ = 0;
  bool used_up_ = false;  // Dropped, after all the bytes it was allowed.
  HttpStream requests_;
  HttpStream answers_;
};

bool FaultProxy::serve_http(Connection& connection, uint64_t drop_at) {
  int client = -1;
  int server = -1;
  {
    const MutexLock lock(mu_);
    client = connection.client.fd();
    server = connection.server.fd();
  }
  return HttpRelay(*this, connection, client, server, drop_at).run();
}

}  // namespace pgark::testing
