// The proxy does to connections what its rules say, and nothing else.
#include "testing/fault_proxy.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>

#include "testing/http_client.h"
#include "testing/pg_server.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

/// A server that answers each request with its number and what it got, and a proxy before it.
class Proxy : public ::testing::Test {
 protected:
  void start(const ProxyOptions& options = {}) {
    ASSERT_OK_AND_ASSIGN(server_, HttpFake::start([](const HttpRequest&) { return HttpAnswer{}; }));
    set_prefix({});
    served_ = 0;
    ASSERT_OK_AND_ASSIGN(proxy_, FaultProxy::start("127.0.0.1", server_->port(), options));
  }
  void set_prefix(const std::string& prefix) {
    server_->set_handler([this, prefix](const HttpRequest& request) -> HttpAnswer {
      return {.body = prefix + std::to_string(++served_) + request.body};
    });
  }
  Result<HttpReply> get(const std::string& target = "/", std::string_view body = {}) {
    return http_exchange("127.0.0.1", proxy_->port(), body.empty() ? "GET" : "PUT", target, {}, body);
  }
  /// Body of the answer, or "failed".
  std::string body(const std::string& target = "/", std::string_view sent = {}) {
    const auto reply = get(target, sent);
    return reply ? reply->body : "failed";
  }

  std::atomic<int> served_{0};
  std::unique_ptr<HttpFake> server_;
  std::unique_ptr<FaultProxy> proxy_;
};

TEST_F(Proxy, PassesEverythingOnInBothModes) {
  const std::string sent(3u << 20, 's');
  const std::string prefix(3u << 20, 'p');
  for (const bool http : {false, true}) {
    start({.http = http});
    set_prefix(prefix);
    EXPECT_EQ(body("/", sent), prefix + "1" + sent) << http;
    EXPECT_EQ(body(), prefix + "2") << http;
    EXPECT_EQ(proxy_->connection_count(), 2u);
    EXPECT_GT(proxy_->bytes_to_server(), sent.size());
    EXPECT_GT(proxy_->bytes_to_client(), 2 * prefix.size());
    EXPECT_EQ(proxy_->faults_fired() + proxy_->connections_dropped(), 0u);
  }
}

TEST_F(Proxy, TakesAtLeastTheDelayAndTheBandwidth) {
  for (const bool http : {false, true}) {
    start({.http = http, .rules = {.delay_to_server = milliseconds(20), .delay_to_client = milliseconds(10)}});
    auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(get()->status, 200);
    // A round trip for the handshake, one for the request.
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(60)) << http;
    proxy_->set_rules({.bytes_per_second = 10'000'000});
    begin = std::chrono::steady_clock::now();
    EXPECT_EQ(get("/", std::string(1'000'000, 'x'))->status, 200);
    // Less the twentieth of a second that may go at once, each way.
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(75)) << http;
  }
}

TEST_F(Proxy, DropsAfterABudgetOfBytes) {
  for (const bool http : {false, true}) {
    start({.http = http, .rules = {.drop_after_bytes = 100'000}});
    set_prefix(std::string(60'000, 'p'));
    EXPECT_NE(body(), "failed");
    EXPECT_EQ(body("/", std::string(60'000, 's')), "failed");
    EXPECT_EQ(proxy_->connections_dropped(), 1u);
    proxy_->set_rules({.drop_after_bytes_mean = 30'000});
    // At most twice the mean.
    EXPECT_EQ(body("/", std::string(60'000, 's')), "failed");
    EXPECT_EQ(proxy_->connections_dropped(), 2u);
    proxy_->set_rules({});
    EXPECT_NE(body(), "failed");
  }
}

TEST_F(Proxy, RefusesAndAcceptsAgain) {
  start();
  EXPECT_EQ(body(), "1");
  ASSERT_OK(proxy_->refuse_connections());
  EXPECT_FALSE(accepts_connections(proxy_->port()));
  EXPECT_THAT(get().error().message(), HasSubstr("refused"));
  ASSERT_OK(proxy_->accept_connections());
  EXPECT_EQ(body(), "2");
}

TEST_F(Proxy, HoldsEverythingWhileStalled) {
  for (const bool http : {false, true}) {
    start({.http = http, .rules = {.stalled = true}});
    std::atomic<bool> answered{false};
    std::thread client([&] {
      EXPECT_EQ(get()->status, 200);
      answered = true;
    });
    EXPECT_FALSE(wait_until([&] { return answered.load(); }, milliseconds(100)));
    EXPECT_EQ(server_->request_count(), 0u);
    proxy_->change_rules([](ProxyRules& rules) { rules.stalled = false; });
    client.join();
  }
}

TEST_F(Proxy, DropsWhatIsOpen) {
  for (const bool http : {false, true}) {
    start({.http = http});
    ASSERT_OK_AND_ASSIGN(const File socket, connect_to("127.0.0.1", proxy_->port()));
    ASSERT_TRUE(send_all(socket.fd(), "GET / HTTP/1.1\r\n\r\n"));
    HttpStream stream(socket.fd());
    ASSERT_TRUE(stream.read_head().has_value());
    proxy_->drop_connections();
    char byte = 0;
    ssize_t count = 0;
    while ((count = ::recv(socket.fd(), &byte, 1, 0)) > 0) {
    }
    EXPECT_EQ(count, -1) << "an orderly end instead of a reset";
    EXPECT_EQ(proxy_->connections_dropped(), 1u);
  }
}

TEST_F(Proxy, AnswersInsteadOfTheServer) {
  start({.http = true});
  proxy_->add_fault({.method = "PUT",
                     .target_contains = "/key",
                     .skip = 1,
                     .times = 2,
                     .answer = {.status = 503, .headers = {{"Retry-After", "1"}}, .body = "SlowDown"}});
  EXPECT_EQ(get("/key", "a")->status, 200);
  ASSERT_OK_AND_ASSIGN(const HttpReply slow, get("/key", "b"));
  EXPECT_EQ(slow.status, 503);
  EXPECT_EQ(slow.header("retry-after"), "1");
  EXPECT_EQ(slow.body, "SlowDown");
  EXPECT_EQ(get("/key")->status, 200);
  EXPECT_EQ(get("/other", "c")->status, 200);
  EXPECT_EQ(get("/key", "d")->status, 503);
  EXPECT_EQ(get("/key", "e")->status, 200);
  EXPECT_EQ(proxy_->faults_fired(), 2u);
  EXPECT_EQ(proxy_->request_count(), 6u);
  EXPECT_EQ(server_->request_count(), 4u);
}

TEST_F(Proxy, LosesCutsAndRepeats) {
  start({.http = true});
  proxy_->add_fault({.kind = HttpFault::Kind::kLoseAnswer, .target_contains = "/lose"});
  proxy_->add_fault({.kind = HttpFault::Kind::kDrop, .target_contains = "/drop"});
  proxy_->add_fault({.kind = HttpFault::Kind::kCutAnswer, .target_contains = "/cut", .cut_after = 3});
  proxy_->add_fault({.kind = HttpFault::Kind::kDuplicate, .target_contains = "/twice"});
  EXPECT_EQ(body("/lose", "x"), "failed");
  EXPECT_EQ(server_->request_count(), 1u);
  EXPECT_EQ(body("/drop", "x"), "failed");
  EXPECT_EQ(server_->request_count(), 1u);
  set_prefix("prefix");
  EXPECT_EQ(body("/cut"), "failed");
  EXPECT_EQ(server_->request_count(), 2u);
  EXPECT_EQ(body("/twice", "x"), "prefix4x");
  EXPECT_EQ(server_->request_count(), 4u);
  EXPECT_EQ(proxy_->faults_fired(), 4u);
  EXPECT_EQ(body("/lose", "x"), "prefix5x");
}

TEST_F(Proxy, HoldsARequestUntilItIsGivenUp) {
  using Kind = HttpFault::Kind;
  for (const Kind kind : {Kind::kHoldRequest, Kind::kHoldAnswer}) {
    start({.http = true});
    const bool late = kind == Kind::kHoldRequest;
    proxy_->add_fault({.kind = kind, .target_contains = "/hold", .delay = milliseconds(50)});
    ASSERT_OK_AND_ASSIGN(File client, connect_to("127.0.0.1", proxy_->port()));
    ASSERT_TRUE(send_all(client.fd(), "PUT /hold HTTP/1.1\r\nContent-Length: 4\r\n\r\nheld"));
    ASSERT_TRUE(wait_until([&] { return proxy_->holding() == 1 && (late || server_->request_count() == 1); }));
    pollfd answer{.fd = client.fd(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&answer, 1, 100), 0) << "neither an answer nor an end";
    EXPECT_EQ(body("/other"), late ? "1" : "2") << "others pass";
    EXPECT_EQ(proxy_->given_up(), 0u);
    ASSERT_OK(client.close());
    ASSERT_TRUE(wait_until([&] { return proxy_->holding() == 0; }));
    EXPECT_EQ(proxy_->given_up(), 1u);
    EXPECT_EQ(server_->request_count(), 2u) << "the server got it, and once";
    EXPECT_EQ(body("/hold", "x"), "3x") << "the next one passes";
  }
}

TEST_F(Proxy, EndsWhileItHoldsARequest) {
  start({.http = true});
  proxy_->add_fault({.kind = HttpFault::Kind::kHoldRequest});
  ASSERT_OK_AND_ASSIGN(const File client, connect_to("127.0.0.1", proxy_->port()));
  ASSERT_TRUE(send_all(client.fd(), "GET / HTTP/1.1\r\n\r\n"));
  ASSERT_TRUE(wait_until([&] { return proxy_->holding() == 1; }));
  proxy_.reset();
  EXPECT_EQ(server_->request_count(), 0u);
}

}  // namespace
}  // namespace pgark::testing
