// The HTTP client against a server that answers well, badly, late and not at all.
#include "net/http_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "testing/http_fake.h"
#include "testing/process.h"
#include "testing/scratch.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using testing::HttpFake;
using ::testing::Not;
using Seen = testing::HttpRequest;

std::unique_ptr<HttpFake> start_fake(testing::HttpHandler handler) {
  auto fake = HttpFake::start(std::move(handler));
  EXPECT_TRUE(fake.has_value());
  return std::move(*fake);
}

std::unique_ptr<HttpFake> answering(HttpAnswer answer) {
  return start_fake([answer = std::move(answer)](const Seen&) { return answer; });
}

std::unique_ptr<HttpClient> make_client(HttpOptions options = {}) {
  auto client = HttpClient::create(std::move(options));
  EXPECT_TRUE(client.has_value());
  return std::move(*client);
}

HttpRequest get(std::string url) { return {.method = "GET", .url = std::move(url), .headers = {}}; }

HttpRequest put(std::string url, Bytes body) {
  return {.method = "PUT", .url = std::move(url), .headers = {}, .body = body};
}

std::string pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

Errc code_of(const Result<HttpResponse>& result) { return result ? Errc::kInternal : result.error().code(); }

TEST(HttpClient, GivesStatusHeadersAndBody) {
  auto fake = answering({.status = 404, .headers = {{"X-Thing", " two words "}, {"Empty", ""}}, .body = "not here"});
  auto client = make_client();
  auto answer = client->perform(get(fake->url("/a%20b//c?x=%2F&y")));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->status, 404);
  EXPECT_FALSE(answer->ok());
  EXPECT_EQ(as_text(answer->body), "not here");
  EXPECT_EQ(answer->header("x-thing"), "two words");
  EXPECT_EQ(answer->header("empty"), "");
  EXPECT_EQ(answer->header("x-none"), "");
  EXPECT_EQ(fake->requests().at(0).target, "/a%20b//c?x=%2F&y");
}

TEST(HttpClient, TellsWhenTheServerWantsToBeAskedAgain) {
  std::string value;
  auto fake = start_fake([&](const Seen&) {
    return value.empty() ? HttpAnswer{.status = 503} : HttpAnswer{.status = 503, .headers = {{"Retry-After", value}}};
  });
  auto client = make_client();
  const auto asked = [&](const std::string& text) {
    value = text;
    const auto answer = client->perform(get(fake->url("/")));
    EXPECT_TRUE(answer.has_value());
    return answer ? answer->retry_after.count() : -1;
  };
  EXPECT_EQ(asked("120"), 120);
  EXPECT_EQ(asked(""), 0) << "on the same connection";
  EXPECT_EQ(asked("soon"), 0);
  EXPECT_EQ(asked("-5"), 0);
  EXPECT_EQ(asked("Sun, 22 Nov 2020 22:10:00 GMT"), 0) << "has passed";
  // Times end at whole seconds, and one may pass meanwhile.
  const auto then = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now() + std::chrono::minutes(10));
  std::tm utc{};
  ::gmtime_r(&then, &utc);
  char text[64];
  ASSERT_GT(std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc), 0u);
  const auto seconds = asked(text);
  EXPECT_GT(seconds, 500);
  EXPECT_LE(seconds, 600);
}

TEST(HttpClient, SendsPathsAsTheyStand) {
  auto fake = answering({});
  auto client = make_client();
  ASSERT_TRUE(client->perform(get(fake->url("/a/../b/./c%2Fd?q=1+2"))).has_value());
  EXPECT_EQ(fake->requests().at(0).target, "/a/../b/./c%2Fd?q=1+2");
}

TEST(HttpClient, SendsHeadersAndNothingThatWasNotAskedFor) {
  auto fake = answering({});
  auto client = make_client();
  HttpRequest request = put(fake->url("/k"), as_bytes("hello"));
  request.headers = {{"x-amz-meta-a", "b c"}, {"x-empty", ""}};
  ASSERT_TRUE(client->perform(std::move(request)).has_value());
  const Seen seen = fake->requests().at(0);
  EXPECT_EQ(seen.method, "PUT");
  EXPECT_EQ(seen.body, "hello");
  EXPECT_EQ(seen.header("content-length"), "5");
  EXPECT_EQ(seen.header("x-amz-meta-a"), "b c");
  EXPECT_TRUE(seen.has_header("x-empty"));
  EXPECT_FALSE(seen.has_header("expect"));
  EXPECT_FALSE(seen.has_header("content-type"));
  EXPECT_FALSE(seen.has_header("transfer-encoding"));
  EXPECT_THAT(seen.header("user-agent"), HasSubstr("pgark/"));
}

TEST(HttpClient, SendsEveryMethodWithTheRightLength) {
  auto fake = answering({.status = 204});
  auto client = make_client();
  for (const char* method : {"POST", "PUT", "DELETE", "GET"}) {
    HttpRequest request = get(fake->url("/"));
    request.method = method;
    ASSERT_TRUE(client->perform(std::move(request)).has_value()) << method;
    const Seen seen = fake->requests().back();
    EXPECT_EQ(seen.method, method);
    const bool sends_length = method[0] == 'P';
    EXPECT_EQ(seen.header("content-length"), sends_length ? "0" : "") << method;
  }
  HttpRequest post = get(fake->url("/?delete"));
  post.method = "POST";
  post.body = as_bytes("<Delete/>");
  ASSERT_TRUE(client->perform(std::move(post)).has_value());
  EXPECT_EQ(fake->requests().back().body, "<Delete/>");
  EXPECT_EQ(fake->connection_count(), 1u);
}

TEST(HttpClient, RefusesHeadersThatWouldBreakOut) {
  auto fake = answering({});
  auto client = make_client();
  HttpRequest request = get(fake->url("/"));
  request.headers = {{"x-a", "b\r\nx-c: d"}};
  EXPECT_EQ(code_of(client->perform(std::move(request))), Errc::kInvalid);
  EXPECT_EQ(code_of(client->perform(get(fake->url("/\r\nx")))), Errc::kInvalid);
  EXPECT_EQ(code_of(client->perform(get("file:///etc/passwd"))), Errc::kInvalid);
  EXPECT_EQ(fake->request_count(), 0u);
}

TEST(HttpClient, KeepsItsConnection) {
  auto fake = answering({.body = "x"});
  auto client = make_client();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client->perform(get(fake->url("/"))).has_value());
  EXPECT_EQ(fake->connection_count(), 1u);
}

TEST(HttpClient, ConnectsAgainWhenAnIdleConnectionWasClosed) {
  auto fake = answering({.body = "x"});
  auto client = make_client();
  for (int i = 0; i < 3; ++i) {
    auto answer = client->perform(put(fake->url("/"), as_bytes("abc")));
    ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
    fake->close_connections();
  }
  EXPECT_EQ(fake->requests().back().body, "abc");
}

TEST(HttpClient, RunsManyRequestsOverFewConnections) {
  auto fake = start_fake([](const Seen& seen) { return HttpAnswer{.body = seen.path}; });
  auto client = make_client({.connections_max = 8});
  std::vector<std::unique_ptr<HttpCall>> calls;
  for (int i = 0; i < 64; ++i) calls.push_back(client->start(get(fake->url("/" + std::to_string(i)))));
  for (int i = 0; i < 64; ++i) {
    auto answer = calls[static_cast<size_t>(i)]->wait();
    ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
    EXPECT_EQ(as_text(answer->body), "/" + std::to_string(i));
  }
  EXPECT_LE(fake->connection_count(), 8u);
}

TEST(HttpClient, ServesManyThreads) {
  auto fake = start_fake([](const Seen& seen) { return HttpAnswer{.body = seen.body}; });
  auto client = make_client({.connections_max = 4});
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        const std::string body = fmt::format("{}-{}", t, i);
        auto answer = client->perform(put(fake->url("/"), as_bytes(body)));
        if (answer && as_text(answer->body) == body) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 200);
}

TEST(HttpClient, FillsTheCallersMemory) {
  const std::string content = pattern(3'000'000);
  auto fake = answering({.status = 206, .body = content});
  auto client = make_client();
  std::vector<std::byte> into(content.size() + 10);
  HttpRequest request = get(fake->url("/"));
  request.into = into;
  auto answer = client->perform(std::move(request));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->into_bytes, content.size());
  EXPECT_TRUE(answer->body.empty());
  EXPECT_EQ(std::memcmp(into.data(), content.data(), content.size()), 0);
}

TEST(HttpClient, KeepsBodiesOfErrorsOutOfTheCallersMemory) {
  auto fake = answering({.status = 416, .body = "<Error/>"});
  auto client = make_client();
  std::vector<std::byte> into(2);
  HttpRequest request = get(fake->url("/"));
  request.into = into;
  auto answer = client->perform(std::move(request));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->into_bytes, 0u);
  EXPECT_EQ(as_text(answer->body), "<Error/>");
}

TEST(HttpClient, CallsABodyThatIsTooLongCorrupt) {
  auto fake = answering({.body = pattern(100'000)});
  auto client = make_client();
  std::vector<std::byte> into(99'999);
  HttpRequest request = get(fake->url("/object?X-Amz-Signature=hidden"));
  request.into = into;
  auto answer = client->perform(request);
  ASSERT_EQ(code_of(answer), Errc::kCorrupt);
  EXPECT_THAT(answer.error().to_string(), AllOf(HasSubstr("longer than the 99999 bytes"), Not(HasSubstr("hidden"))));
  request.into = {};
  request.body_max = 1000;
  EXPECT_EQ(code_of(client->perform(request)), Errc::kCorrupt);
}

TEST(HttpClient, KeepsTheBeginningOfALongErrorBody) {
  auto fake = answering({.status = 500, .body = pattern(1u << 20)});
  auto client = make_client();
  HttpRequest request = get(fake->url("/"));
  request.body_max = 1000;
  auto answer = client->perform(std::move(request));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->status, 500);
  EXPECT_EQ(answer->body.size(), 1000u);
}

TEST(HttpClient, ReadsChunkedAnswersInPieces) {
  const std::string content = pattern(50'000);
  auto fake = answering({.body = content, .chunked = true, .piece_bytes = 777});
  auto client = make_client();
  auto answer = client->perform(get(fake->url("/")));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(as_text(answer->body), content);
}

TEST(HttpClient, DoesNotWaitForTheBodyOfHead) {
  auto fake = answering({.headers = {{"Content-Length", "123456"}}});
  auto client = make_client();
  HttpRequest request = get(fake->url("/"));
  request.method = "HEAD";
  auto answer = client->perform(std::move(request));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->header("content-length"), "123456");
  EXPECT_EQ(answer->body.size(), 0u);
}

TEST(HttpClient, SendsLargeBodies) {
  const std::string content = pattern(64u << 20);
  std::atomic<bool> same = false;
  auto fake = start_fake([&](const Seen& request) {
    same = request.body == content;
    return HttpAnswer{};
  });
  auto client = make_client();
  auto answer = client->perform(put(fake->url("/"), as_bytes(content)));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_TRUE(same);
}

TEST(HttpClient, TakesATruncatedBodyForAFailure) {
  for (const bool reset : {false, true}) {
    auto fake = answering({.body = pattern(200'000), .cut_after = 150'000, .reset = reset});
    auto client = make_client();
    std::vector<std::byte> into(200'000);
    HttpRequest request = get(fake->url("/"));
    request.into = into;
    EXPECT_EQ(code_of(client->perform(request)), Errc::kTransient);
    request.repeatable = false;
    EXPECT_EQ(code_of(client->perform(request)), Errc::kOutcomeUnknown);
  }
}

TEST(HttpClient, TakesATruncatedChunkedBodyForAFailure) {
  auto fake = answering({.body = pattern(20'000), .chunked = true, .piece_bytes = 1000, .cut_after = 15'000});
  auto client = make_client();
  EXPECT_EQ(code_of(client->perform(get(fake->url("/")))), Errc::kTransient);
}

TEST(HttpClient, DoesNotKnowTheOutcomeWithoutAnAnswer) {
  for (const bool reset : {false, true}) {
    auto fake = answering({.reset = reset, .no_answer = true});
    auto client = make_client();
    HttpRequest request = put(fake->url("/k?sig=hidden"), as_bytes("abc"));
    EXPECT_EQ(code_of(client->perform(request)), Errc::kTransient);
    request.repeatable = false;
    auto answer = client->perform(request);
    EXPECT_EQ(code_of(answer), Errc::kOutcomeUnknown);
    EXPECT_THAT(answer.error().to_string(), AllOf(HasSubstr("PUT http://127.0.0.1:"), Not(HasSubstr("hidden"))));
  }
}

TEST(HttpClient, NeverRepeatsByItselfWhatIsNotRepeatable) {
  // The connection is kept after the first answer and then closed under the second request, which is when libcurl
  // would send it once more.
  for (const bool with_body : {true, false}) {
    auto fake = start_fake([](const Seen& seen) { return HttpAnswer{.no_answer = seen.path == "/second"}; });
    auto client = make_client();
    ASSERT_TRUE(client->perform(get(fake->url("/first"))).has_value());
    HttpRequest request = put(fake->url("/second"), as_bytes(with_body ? "abc" : ""));
    request.repeatable = false;
    EXPECT_EQ(code_of(client->perform(std::move(request))), Errc::kOutcomeUnknown);
    EXPECT_EQ(fake->request_count(), 2u);
  }
}

TEST(HttpClient, SaysThatNobodyListens) {
  auto client = make_client();
  // A port that nobody is given by chance, also by a test that runs at the same time.
  HttpRequest request = put("http://127.0.0.1:1/bucket?secret=hidden", as_bytes("abc"));
  request.repeatable = false;
  auto answer = client->perform(std::move(request));
  ASSERT_EQ(code_of(answer), Errc::kTransient);  // It never left.
  EXPECT_THAT(answer.error().to_string(),
              AllOf(HasSubstr("PUT http://127.0.0.1"), HasSubstr("refused"), Not(HasSubstr("hidden"))));
}

TEST(HttpClient, NamesTheHostThatIsNotKnown) {
  auto client = make_client();
  auto answer = client->perform(get("http://user:hidden@no-such-host.invalid/x?y=hidden"));
  ASSERT_EQ(code_of(answer), Errc::kTransient);
  EXPECT_THAT(answer.error().to_string(), AllOf(HasSubstr("no-such-host.invalid"), Not(HasSubstr("hidden"))));
}

TEST(HttpClient, GivesUpWhenNothingMoves) {
  auto fake = answering({.delay = std::chrono::seconds(60)});
  auto client = make_client({.stall_timeout = milliseconds(200)});
  auto answer = client->perform(get(fake->url("/")));
  ASSERT_EQ(code_of(answer), Errc::kTransient);
  EXPECT_THAT(answer.error().message(), HasSubstr("nothing moved for 200 ms"));
  HttpRequest request = put(fake->url("/"), as_bytes("abc"));
  request.repeatable = false;
  EXPECT_EQ(code_of(client->perform(std::move(request))), Errc::kOutcomeUnknown);
}

TEST(HttpClient, WaitsForASlowAnswerThatMoves) {
  const std::string content = pattern(12);
  auto fake = answering({.body = content, .piece_bytes = 1, .piece_delay = milliseconds(500)});
  auto client = make_client({.stall_timeout = milliseconds(5000)});
  auto answer = client->perform(get(fake->url("/")));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(as_text(answer->body), content);
}

TEST(HttpClient, BoundsTheWholeRequest) {
  auto fake = answering({.body = pattern(1000), .piece_bytes = 1, .piece_delay = milliseconds(20)});
  auto client = make_client({.total_timeout = milliseconds(300)});
  auto answer = client->perform(get(fake->url("/")));
  ASSERT_EQ(code_of(answer), Errc::kTransient);
  EXPECT_THAT(answer.error().message(), HasSubstr("no answer within 300 ms"));
}

TEST(HttpClient, StopsWhenCancelled) {
  auto fake = answering({.delay = std::chrono::seconds(60)});
  CancelToken cancel;
  auto client = make_client({.connections_max = 1, .cancel = &cancel});
  auto running = client->start(get(fake->url("/")));
  auto queued = client->start(get(fake->url("/")));
  ASSERT_TRUE(testing::wait_until([&] { return fake->request_count() == 1; }));
  cancel.cancel();
  EXPECT_EQ(code_of(running->wait()), Errc::kCancelled);
  EXPECT_EQ(code_of(queued->wait()), Errc::kCancelled);
  EXPECT_EQ(code_of(client->perform(get(fake->url("/")))), Errc::kCancelled);
}

TEST(HttpClient, LetsGoOfACallUnderWay) {
  auto fake = start_fake([](const Seen& seen) {
    return HttpAnswer{.body = pattern(1u << 20), .delay = milliseconds(seen.path == "/slow" ? 60'000 : 0)};
  });
  auto client = make_client({.connections_max = 2});
  auto waiting = client->start(get(fake->url("/slow")));
  ASSERT_TRUE(testing::wait_until([&] { return fake->request_count() == 1; }));
  for (int i = 0; i < 50; ++i) {
    auto memory = std::make_unique<std::byte[]>(1u << 20);
    HttpRequest request = get(fake->url("/"));
    request.into = {memory.get(), 1u << 20};
    auto call = client->start(std::move(request));
    auto in_queue = client->start(get(fake->url("/queued")));
    call.reset();  // `memory` goes with it, in the middle of being filled.
  }
  waiting.reset();
  EXPECT_TRUE(client->perform(get(fake->url("/"))).has_value());
}

TEST(HttpClient, EndsCallsWhenItGoes) {
  auto fake = answering({.delay = std::chrono::seconds(60)});
  auto client = make_client({.connections_max = 1});
  auto running = client->start(get(fake->url("/")));
  auto queued = client->start(get(fake->url("/")));
  ASSERT_TRUE(testing::wait_until([&] { return fake->request_count() == 1; }));
  client.reset();
  EXPECT_EQ(code_of(running->wait()), Errc::kCancelled);
  EXPECT_EQ(code_of(queued->wait()), Errc::kCancelled);
}

TEST(HttpClient, ConnectsWhereItIsTold) {
  auto fake = answering({.body = "here"});
  auto client = make_client({.connect_host = "127.0.0.1", .connect_port = static_cast<uint16_t>(fake->port())});
  auto answer = client->perform(get("http://bucket.s3.example.invalid/key"));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(as_text(answer->body), "here");
  EXPECT_EQ(fake->requests().at(0).header("host"), "bucket.s3.example.invalid");
}

TEST(HttpClient, DoesNotFollowRedirects) {
  auto fake = answering({.status = 307, .headers = {{"Location", "http://127.0.0.1:1/elsewhere"}}});
  auto client = make_client();
  auto answer = client->perform(get(fake->url("/")));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, 307);
  EXPECT_EQ(answer->header("location"), "http://127.0.0.1:1/elsewhere");
}

TEST(HttpClient, TakesWhatIsNoHttpForAFailure) {
  auto fake = answering({.raw = "SSH-2.0-OpenSSH_9.2\r\n"});
  auto client = make_client();
  EXPECT_EQ(code_of(client->perform(get(fake->url("/")))), Errc::kTransient);
  fake->set_handler([](const Seen&) {
    return HttpAnswer{.raw = "HTTP/1.1 200 OK\r\nx: " + std::string(90'000, 'a') +
                             "\r\ny: " + std::string(90'000, 'a') + "\r\nz: " + std::string(90'000, 'a') + "\r\n\r\n"};
  });
  EXPECT_EQ(code_of(client->perform(get(fake->url("/")))), Errc::kCorrupt);
}

TEST(HttpClient, SkipsInterimAnswers) {
  auto fake = answering({.raw = "HTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\n"
                                "HTTP/1.1 200 OK\r\nx-late: 1\r\nContent-Length: 2\r\n\r\nok"});
  auto client = make_client();
  auto answer = client->perform(get(fake->url("/")));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->header("x-early"), "");
  EXPECT_EQ(answer->header("x-late"), "1");
  EXPECT_EQ(as_text(answer->body), "ok");
}

/// "openssl s_server" with a certificate that it signed itself, for 127.0.0.1.
class HttpClientTls : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = testing::ScratchDir::create("tls");
    ASSERT_TRUE(scratch.has_value());
    scratch_ = std::move(*scratch);
    const std::string key = scratch_ / "key.pem";
    auto made = testing::run_ok({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                 "-nodes", "-keyout", key, "-out", certificate(), "-days", "2", "-subj", "/CN=pgark",
                                 "-addext", "subjectAltName=IP:127.0.0.1"});
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
    for (int attempt = 0; attempt < 5 && port_ == 0; ++attempt) {
      auto port = testing::free_port();
      ASSERT_TRUE(port.has_value());
      auto server = testing::Process::start({"openssl", "s_server", "-accept", fmt::format("127.0.0.1:{}", *port),
                                             "-cert", certificate(), "-key", key, "-www", "-quiet"},
                                            {.output_path = scratch_ / "server.log", .die_with_caller = true});
      ASSERT_TRUE(server.has_value()) << server.error().to_string();
      server_ = std::move(*server);
      const bool up = testing::wait_until([&] { return testing::accepts_connections(*port) || !server_.running(); });
      if (up && server_.running()) port_ = *port;
    }
    ASSERT_NE(port_, 0);
  }
  std::string certificate() const { return scratch_ / "cert.pem"; }
  std::string url(const std::string& host = "127.0.0.1") const { return fmt::format("https://{}:{}/", host, port_); }

  testing::ScratchDir scratch_;
  testing::Process server_;
  int port_ = 0;
};

TEST_F(HttpClientTls, RefusesACertificateNobodyVouchesFor) {
  auto client = make_client({.ca_option = "repo2-storage-ca-file"});
  auto answer = client->perform(get(url()));
  ASSERT_EQ(code_of(answer), Errc::kPermission);
  EXPECT_THAT(answer.error().to_string(), AllOf(HasSubstr("not trusted"), HasSubstr("repo2-storage-ca-file")));
}

TEST_F(HttpClientTls, TrustsTheAuthorityItIsGiven) {
  auto client = make_client({.ca_file = certificate()});
  auto answer = client->perform(get(url()));
  ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
  EXPECT_EQ(answer->status, 200);
}

TEST_F(HttpClientTls, RefusesACertificateForAnotherName) {
  auto client = make_client({.ca_file = certificate(), .connect_host = "127.0.0.1"});
  EXPECT_EQ(code_of(client->perform(get(url("other.example.invalid")))), Errc::kPermission);
  auto trusting = make_client({.verify_tls = false, .connect_host = "127.0.0.1"});
  EXPECT_TRUE(trusting->perform(get(url("other.example.invalid"))).has_value());
}

TEST_F(HttpClientTls, NamesAnAuthoritysFileThatIsNotThere) {
  auto client = make_client({.ca_file = scratch_ / "none.pem"});
  auto answer = client->perform(get(url()));
  ASSERT_EQ(code_of(answer), Errc::kInvalid);
  EXPECT_THAT(answer.error().to_string(), HasSubstr("none.pem"));
}

TEST_F(HttpClientTls, SaysWhenThePortSpeaksPlainHttp) {
  auto fake = answering({});
  auto client = make_client();
  auto answer = client->perform(get(fmt::format("https://127.0.0.1:{}/", fake->port())));
  ASSERT_EQ(code_of(answer), Errc::kTransient);
  EXPECT_THAT(answer.error().to_string(), HasSubstr("speaks HTTPS"));
}

TEST(UrlEncode, KeepsWhatIsUnreserved) {
  EXPECT_EQ(url_encode("AZaz09-._~"), "AZaz09-._~");
  EXPECT_EQ(url_encode("a b/c+d=\xc3\xa4"), "a%20b%2Fc%2Bd%3D%C3%A4");
  EXPECT_EQ(url_encode("a/b*", true), "a/b%2A");
}

}  // namespace
}  // namespace pgark
