// A bad network for benchmarks: a proxy with latency and limits before a real server. Ends on SIGTERM or SIGINT.
// usage: fault_proxy [--port=N] [--http] [--rtt-ms=N] [--bytes-per-second=N] [--drop-after-bytes-mean=N] HOST:PORT
// Prints "listening on 127.0.0.1:PORT"; then takes lines: rtt-ms N, bytes-per-second N, stall, go, refuse, accept,
// drop, counts. The last is answered by "requests N connections N to-server BYTES to-client BYTES", all since the
// start.
#include "testing/fault_proxy.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using pgark::testing::FaultProxy;
using pgark::testing::ProxyOptions;
using pgark::testing::ProxyRules;

// "--name=value" or "name value"; whether it is that one.
bool takes(std::string_view text, std::string_view name, uint64_t& value) {
  if (text.starts_with("--")) text.remove_prefix(2);
  if (!text.starts_with(name) || text.size() <= name.size() + 1) return false;
  if (text[name.size()] != '=' && text[name.size()] != ' ') return false;
  value = std::strtoull(std::string(text.substr(name.size() + 1)).c_str(), nullptr, 10);
  return true;
}

// Whether `text` changes a rule.
bool set_rule(std::string_view text, ProxyRules& rules) {
  uint64_t value = 0;
  if (takes(text, "rtt-ms", value)) {
    rules.delay_to_server = std::chrono::milliseconds(value - value / 2);
    rules.delay_to_client = std::chrono::milliseconds(value / 2);
    return true;
  }
  return takes(text, "bytes-per-second", rules.bytes_per_second) ||
         takes(text, "drop-after-bytes-mean", rules.drop_after_bytes_mean);
}

void obey(FaultProxy& proxy, std::string_view line) {
  ProxyRules rules = proxy.rules();
  bool known = true;
  pgark::Result<> done;
  if (line == "stall" || line == "go") {
    rules.stalled = line == "stall";
  } else if (line == "refuse") {
    done = proxy.refuse_connections();
  } else if (line == "accept") {
    done = proxy.accept_connections();
  } else if (line == "counts") {
    fmt::print("requests {} connections {} to-server {} to-client {}\n", proxy.request_count(),
               proxy.connection_count(), proxy.bytes_to_server(), proxy.bytes_to_client());
    (void)std::fflush(stdout);
  } else if (line == "drop") {
    proxy.drop_connections();
  } else {
    known = set_rule(line, rules);
  }
  proxy.set_rules(rules);
  if (!known) fmt::print(stderr, "fault_proxy: unknown line '{}'\n", line);
  if (!done) fmt::print(stderr, "fault_proxy: {}\n", done.error().to_string());
}

// Until a signal comes.
void serve(FaultProxy& proxy, int signals) {
  pollfd waiting[] = {{.fd = signals, .events = POLLIN, .revents = 0},
                      {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0}};
  std::string text;
  for (;;) {
    if (::poll(waiting, 2, -1) < 0) continue;
    if (waiting[0].revents != 0) return;
    char piece[256];
    const ssize_t count = ::read(STDIN_FILENO, piece, sizeof piece);
    if (count <= 0) {
      waiting[1].fd = -1;  // Nobody gives orders any more; the proxy goes on.
      continue;
    }
    text.append(piece, static_cast<size_t>(count));
    for (size_t end = 0; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
      obey(proxy, std::string_view(text).substr(0, end));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  ProxyOptions options;
  std::string server;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    uint64_t value = 0;
    if (argument == "--http") {
      options.http = true;
    } else if (takes(argument, "port", value)) {
      options.port = static_cast<int>(value);
    } else if (argument.starts_with("--") ? !set_rule(argument, options.rules) : !server.empty()) {
      server.clear();
      break;
    } else if (!argument.starts_with("--")) {
      server = argument;
    }
  }
  const size_t colon = server.rfind(':');
  if (colon == std::string::npos) {
    fmt::print(stderr,
               "usage: fault_proxy [--port=N] [--http] [--rtt-ms=N] [--bytes-per-second=N] [--drop-after-bytes-mean=N] "
               "HOST:PORT\n");
    return 2;
  }
  // Before any thread is there to get them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  (void)sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int stop = ::signalfd(-1, &signals, SFD_CLOEXEC);
  auto proxy = FaultProxy::start(server.substr(0, colon), std::atoi(server.c_str() + colon + 1), options);
  if (!proxy) {
    fmt::print(stderr, "fault_proxy: {}\n", proxy.error().to_string());
    return 1;
  }
  fmt::print("listening on 127.0.0.1:{}\n", (*proxy)->port());
  (void)std::fflush(stdout);
  serve(**proxy, stop);
  return 0;
}
