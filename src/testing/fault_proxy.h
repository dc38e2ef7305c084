// A TCP proxy that makes a good network bad: latency, little bandwidth, lost and silent connections; and for plain HTTP
// wrong answers, cut answers, answers that get lost after the server has done what it was asked, and requests that
// take longer than anybody waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/file.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "testing/http_fake.h"
#include "testing/http_message.h"

namespace pgark::testing {

/// How bytes and connections fare. May be changed at any time; holds for open connections too, unless said otherwise.
struct ProxyRules {
  std::chrono::milliseconds delay_to_server{};  // Half of the round trip each. A new connection waits both once before
  std::chrono::milliseconds delay_to_client{};  // its first byte goes, as its handshake would.
  uint64_t bytes_per_second = 0;                // In each direction, of all connections together; 0: no limit.
  bool stalled = false;                         // Connections are accepted and nothing moves on any of them.
  uint64_t drop_after_bytes = 0;                // Reset a connection after so many bytes (both ways); 0: never ...
  uint64_t drop_after_bytes_mean = 0;           // ... or after a random number around this. New connections only.
};

/// What is done to certain HTTP requests.
struct HttpFault {
  enum class Kind : unsigned char {
    kAnswer,       // The proxy answers by itself; the server does not hear of the request.
    kDrop,         // The connection is reset, the server does not hear of the request.
    kLoseAnswer,   // The server does it; the connection is reset instead of the answer.
    kCutAnswer,    // The connection is reset after `cut_after` bytes of the body of the answer.
    kDuplicate,    // The server gets it twice; the client gets the second answer.
    kHoldRequest,  // The client hears nothing until it gives up and closes. The server gets it `delay` after that.
    kHoldAnswer,   // The server does it at once; the client hears nothing until it gives up and closes.
  };
  Kind kind = Kind::kAnswer;
  std::string method = {};           // Of the requests it is for; empty: all.
  std::string target_contains = {};  // Likewise.
  size_t skip = 0;                   // So many of them pass first,
  size_t times = 1;                  // then it happens to so many.
  HttpAnswer answer = {.status = 503};
  size_t cut_after = 0;
  std::chrono::milliseconds delay{};
};

struct ProxyOptions {
  bool http = false;  // Understand HTTP/1.1, which HttpFault needs. Without, any protocol passes, TLS too.
  ProxyRules rules = {};
  uint64_t seed = 1;  // Of what is random.
  int port = 0;       // To listen on; 0: a free one.
};

/// The proxy, on 127.0.0.1. The destructor closes everything. All methods may be called at any time by any thread.
class FaultProxy {
 public:
  static Result<std::unique_ptr<FaultProxy>> start(std::string server_host, int server_port,
                                                   const ProxyOptions& options = {});
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  int port() const { return port_; }
  std::string url(std::string_view path = {}) const;

  ProxyRules rules() const;
  void set_rules(const ProxyRules& rules);
  void change_rules(const std::function<void(ProxyRules&)>& change);
  /// Refuse new connections, and listen again.
  Result<> refuse_connections();
  Result<> accept_connections();
  /// Reset all connections that are open now.
  void drop_connections();

  /// Add a fault; of several that fit a request, the first added that has not run out happens.
  void add_fault(HttpFault fault);
  void clear_faults();

  // What has happened so far, so that a test can tell that its faults did.
  size_t faults_fired() const;
  size_t connection_count() const;
  size_t connections_dropped() const;  // By drop_after_bytes and drop_connections().
  size_t request_count() const;        // HTTP only.
  size_t holding() const;              // Requests held now, by kHoldRequest until the server has answered them.
  size_t given_up() const;             // Requests held that the client closed the connection of.
  uint64_t bytes_to_server() const;
  uint64_t bytes_to_client() const;

 private:
  friend class HttpRelay;  // Of the implementation: one connection in HTTP mode.
  using Steady = std::chrono::steady_clock;
  enum class Direction : unsigned char { kToServer, kToClient };

  struct Connection {
    File client;
    File server;
    std::thread thread;
    bool dropped = false;
    bool done = false;
  };
  struct ActiveFault {
    HttpFault fault;
    size_t matched = 0;
  };
  /// Tokens of a direction: how many bytes may pass now.
  struct Bucket {
    double bytes = 0;
    Steady::time_point filled{};
  };

  FaultProxy(std::string host, int server_port, const ProxyOptions& options);
  Result<> listen(int port);
  void accept_all(const File& listener);
  void join_ended();
  void serve(Connection& connection, uint64_t drop_at);
  /// Pass bytes on until an end; whether the client is to see a reset.
  bool serve_tcp(Connection& connection, uint64_t drop_at);
  bool serve_http(Connection& connection, uint64_t drop_at);
  /// Wait, unless the proxy is being stopped: false then.
  bool pause(std::chrono::nanoseconds duration);
  /// Whether a connection is to end now.
  bool is_over(const Connection& connection) const;
  /// How many of `wanted` bytes the bandwidth lets pass now; and that so many did.
  size_t allowance(Direction direction, size_t wanted);
  void spend(Direction direction, size_t bytes);
  std::optional<HttpFault> next_fault(const HttpHead& head);
  void count_drop();
  void count_held(bool begun);
  void count_given_up();

  const std::string server_host_;
  const int server_port_;
  const bool http_;
  int port_ = 0;

  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mu_) = false;
  ProxyRules rules_ GUARDED_BY(mu_);
  Rng rng_ GUARDED_BY(mu_);
  std::list<Connection> connections_ GUARDED_BY(mu_);
  std::list<ActiveFault> faults_ GUARDED_BY(mu_);
  Bucket buckets_[2] GUARDED_BY(mu_);
  uint64_t bytes_[2] GUARDED_BY(mu_) = {0, 0};
  size_t accepted_ GUARDED_BY(mu_) = 0;
  size_t dropped_ GUARDED_BY(mu_) = 0;
  size_t fired_ GUARDED_BY(mu_) = 0;
  size_t requests_ GUARDED_BY(mu_) = 0;
  size_t holding_ GUARDED_BY(mu_) = 0;
  size_t given_up_ GUARDED_BY(mu_) = 0;

  Mutex listen_mu_;  // Of the two below: refusing and accepting again.
  File listener_ GUARDED_BY(listen_mu_);
  std::thread acceptor_ GUARDED_BY(listen_mu_);
};

}  // namespace pgark::testing
