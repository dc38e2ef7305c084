// The proxy without its two ways to pass bytes on: listening, rules, accounts.
#include "testing/fault_proxy.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "testing/tcp.h"

namespace pgark::testing {

Result<std::unique_ptr<FaultProxy>> FaultProxy::start(std::string server_host, int server_port,
                                                      const ProxyOptions& options) {
  std::unique_ptr<FaultProxy> proxy(new FaultProxy(std::move(server_host), server_port, options));
  TRY(proxy->listen(options.port));
  return proxy;
}

FaultProxy::FaultProxy(std::string host, int server_port, const ProxyOptions& options)
    : server_host_(std::move(host)),
      server_port_(server_port),
      http_(options.http),
      rules_(options.rules),
      rng_(options.seed) {}

FaultProxy::~FaultProxy() {
  (void)refuse_connections();
  std::list<Connection> connections;
  {
    const MutexLock lock(mu_);
    stopping_ = true;
    for (Connection& connection : connections_) {
      for (const File* socket : {&connection.client, &connection.server}) {
        if (socket->is_open()) (void)::shutdown(socket->fd(), SHUT_RDWR);
      }
    }
  }
  changed_.notify_all();
  {
    const MutexLock lock(mu_);
    connections.swap(connections_);  // Moves no element: the threads' references stay good.
  }
  for (Connection& connection : connections) connection.thread.join();
}

std::string FaultProxy::url(std::string_view path) const { return fmt::format("http://127.0.0.1:{}{}", port_, path); }

Result<> FaultProxy::listen(int port) {
  const MutexLock lock(listen_mu_);
  TRY_ASSIGN(listener_, listen_on_loopback(port));
  if (port_ == 0) {
    TRY_ASSIGN(port_, local_port(listener_));
  }
  const File* listener = &listener_;  // Closed only after this thread has ended.
  acceptor_ = std::thread([this, listener] { accept_all(*listener); });
  return {};
}

Result<> FaultProxy::refuse_connections() {
  const MutexLock lock(listen_mu_);
  if (!listener_.is_open()) return {};
  (void)::shutdown(listener_.fd(), SHUT_RDWR);
  acceptor_.join();
  return listener_.close();
}

Result<> FaultProxy::accept_connections() {
  {
    const MutexLock lock(listen_mu_);
    if (listener_.is_open()) return {};
  }
  return listen(port_);
}

void FaultProxy::accept_all(const File& listener) {
  for (;;) {
    auto client = accept_connection(listener);
    if (!client) return;
    join_ended();
    const MutexLock lock(mu_);
    uint64_t drop_at = rules_.drop_after_bytes;
    if (rules_.drop_after_bytes_mean > 0) drop_at = 1 + rng_.below(2 * rules_.drop_after_bytes_mean);
    ++accepted_;
    Connection& connection = connections_.emplace_back();
    connection.client = std::move(*client);
    connection.thread = std::thread([this, &connection, drop_at] { serve(connection, drop_at); });
  }
}

void FaultProxy::join_ended() {
  std::list<Connection> ended;
  {
    const MutexLock lock(mu_);
    for (auto at = connections_.begin(); at != connections_.end();) {
      const auto next = std::next(at);
      if (at->done) ended.splice(ended.end(), connections_, at);
      at = next;
    }
  }
  for (Connection& connection : ended) connection.thread.join();
}

void FaultProxy::serve(Connection& connection, uint64_t drop_at) {
  bool reset = true;
  if (auto server = connect_to(server_host_, server_port_); server) {
    bool go_on = false;
    {
      const MutexLock lock(mu_);
      connection.server = std::move(*server);
      go_on = !stopping_ && !connection.dropped;
    }
    if (go_on) reset = http_ ? serve_http(connection, drop_at) : serve_tcp(connection, drop_at);
  }
  const MutexLock lock(mu_);
  if (reset || connection.dropped) {
    reset_on_close(connection.client.fd());
    if (connection.server.is_open()) reset_on_close(connection.server.fd());
  }
  (void)connection.client.close();
  if (connection.server.is_open()) (void)connection.server.close();
  connection.done = true;
}

ProxyRules FaultProxy::rules() const {
  const MutexLock lock(mu_);
  return rules_;
}

void FaultProxy::set_rules(const ProxyRules& rules) {
  const MutexLock lock(mu_);
  rules_ = rules;
}

void FaultProxy::change_rules(const std::function<void(ProxyRules&)>& change) {
  const MutexLock lock(mu_);
  change(rules_);
}

void FaultProxy::drop_connections() {
  {
    const MutexLock lock(mu_);
    for (Connection& connection : connections_) {
      if (connection.done || connection.dropped) continue;
      connection.dropped = true;
      ++dropped_;
      // Wakes its thread, which then resets it. The client's side is not told yet: that would be an orderly end.
      if (connection.client.is_open()) (void)::shutdown(connection.client.fd(), SHUT_RD);
      if (connection.server.is_open()) (void)::shutdown(connection.server.fd(), SHUT_RDWR);
    }
  }
  changed_.notify_all();
}

void FaultProxy::add_fault(HttpFault fault) {
  const MutexLock lock(mu_);
  faults_.push_back({.fault = std::move(fault)});
}

void FaultProxy::clear_faults() {
  const MutexLock lock(mu_);
  faults_.clear();
}

std::optional<HttpFault> FaultProxy::next_fault(const HttpHead& head) {
  const size_t end_of_method = std::min(head.start_line.find(' '), head.start_line.size());
  const std::string_view method = std::string_view(head.start_line).substr(0, end_of_method);
  const std::string_view target = std::string_view(head.start_line).substr(end_of_method);
  const MutexLock lock(mu_);
  ++requests_;
  for (auto& [fault, matched] : faults_) {
    if (!fault.method.empty() && fault.method != method) continue;
    if (target.find(fault.target_contains) == std::string_view::npos) continue;
    ++matched;
    if (matched <= fault.skip || matched - fault.skip > fault.times) continue;
    ++fired_;
    return fault;
  }
  return std::nullopt;
}

bool FaultProxy::pause(std::chrono::nanoseconds duration) {
  const auto until = Steady::now() + duration;
  const MutexLock lock(mu_);
  while (!stopping_) {
    const auto left = until - Steady::now();
    if (left <= Steady::duration::zero()) return true;
    changed_.wait_for(mu_, std::chrono::ceil<std::chrono::milliseconds>(left));
  }
  return false;
}

bool FaultProxy::is_over(const Connection& connection) const {
  const MutexLock lock(mu_);
  return stopping_ || connection.dropped;
}

size_t FaultProxy::allowance(Direction direction, size_t wanted) {
  const MutexLock lock(mu_);
  if (rules_.bytes_per_second == 0) return wanted;
  Bucket& bucket = buckets_[static_cast<size_t>(direction)];
  const auto now = Steady::now();
  const auto rate = static_cast<double>(rules_.bytes_per_second);
  const double most = std::max(rate / 50, 2048.0);  // What may go at once after an idle time.
  bucket.bytes = std::min(most, bucket.bytes + rate * std::chrono::duration<double>(now - bucket.filled).count());
  bucket.filled = now;
  if (bucket.bytes < std::min(1024.0, static_cast<double>(wanted))) return 0;  // No dribble of tiny packets.
  return std::min(wanted, static_cast<size_t>(bucket.bytes));
}

void FaultProxy::spend(Direction direction, size_t bytes) {
  const MutexLock lock(mu_);
  const auto index = static_cast<size_t>(direction);
  bytes_[index] += bytes;
  // May fall below zero, when connections asked at the same time; it is filled up again first.
  if (rules_.bytes_per_second > 0) buckets_[index].bytes -= static_cast<double>(bytes);
}

void FaultProxy::count_drop() {
  const MutexLock lock(mu_);
  ++dropped_;
}

void FaultProxy::count_held(bool begun) {
  const MutexLock lock(mu_);
  if (begun) {
    ++holding_;
  } else {
    --holding_;
  }
}

void FaultProxy::count_given_up() {
  const MutexLock lock(mu_);
  ++given_up_;
}

size_t FaultProxy::faults_fired() const {
  const MutexLock lock(mu_);
  return fired_;
}

size_t FaultProxy::connection_count() const {
  const MutexLock lock(mu_);
  return accepted_;
}

size_t FaultProxy::connections_dropped() const {
  const MutexLock lock(mu_);
  return dropped_;
}

size_t FaultProxy::request_count() const {
  const MutexLock lock(mu_);
  return requests_;
}

size_t FaultProxy::holding() const {
  const MutexLock lock(mu_);
  return holding_;
}

size_t FaultProxy::given_up() const {
  const MutexLock lock(mu_);
  return given_up_;
}

uint64_t FaultProxy::bytes_to_server() const {
  const MutexLock lock(mu_);
  return bytes_[static_cast<size_t>(Direction::kToServer)];
}

uint64_t FaultProxy::bytes_to_client() const {
  const MutexLock lock(mu_);
  return bytes_[static_cast<size_t>(Direction::kToClient)];
}

}  // namespace pgark::testing
