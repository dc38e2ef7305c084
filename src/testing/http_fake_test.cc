// The fake HTTP server does what its script says, also when that is to misbehave.
#include "testing/http_fake.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <array>
#include <atomic>

#include "testing/pg_server.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// What a peer sends until it closes.
std::string read_to_end(const File& socket) {
  std::string out;
  std::array<char, 4096> piece{};
  ssize_t count = 0;
  while ((count = ::recv(socket.fd(), piece.data(), piece.size(), 0)) > 0) {
    out.append(piece.data(), static_cast<size_t>(count));
  }
  return out;
}

/// Send `text`, end the sending side, read the answers.
std::string talk(int port, std::string_view text) {
  auto socket = connect_to("127.0.0.1", port);
  if (!socket || !send_all(socket->fd(), text)) return "no connection";
  (void)::shutdown(socket->fd(), SHUT_WR);
  return read_to_end(*socket);
}

TEST(HttpFake, HandsOverTheRequestAndSendsTheAnswer) {
  ASSERT_OK_AND_ASSIGN(const auto fake, HttpFake::start([](const HttpRequest& request) -> HttpAnswer {
                         return {.status = 201, .headers = {{"ETag", "\"x\""}}, .body = "got " + request.body};
                       }));
  const std::string answer = talk(fake->port(),
                                  "PUT /b/a%20k?uploads&x=1%2F2 HTTP/1.1\r\nHost: h\r\nX-Token:  t \r\n"
                                  "Content-Length: 4\r\n\r\nbody");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 201 Created\r\nETag: \"x\"\r\nDate: "));
  EXPECT_THAT(answer, EndsWith("\r\nContent-Length: 8\r\n\r\ngot body"));
  ASSERT_EQ(fake->request_count(), 1u);
  const HttpRequest request = fake->requests().front();
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/b/a%20k?uploads&x=1%2F2");
  EXPECT_EQ(request.path, "/b/a%20k");
  EXPECT_EQ(request.parameter("x"), "1/2");
  EXPECT_EQ(request.parameter("uploads"), "");
  EXPECT_EQ(request.parameter("y"), std::nullopt);
  EXPECT_EQ(request.header("x-token"), "t");
}

TEST(HttpFake, KeepsConnectionsAndReadsChunkedBodies) {
  ASSERT_OK_AND_ASSIGN(const auto fake, HttpFake::start([](const HttpRequest& request) -> HttpAnswer {
                         return {.body = "<" + request.body + ">"};
                       }));
  const std::string answer =
      talk(fake->port(),
           "POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"
           "GET /2 HTTP/1.1\r\n\r\nHEAD /3 HTTP/1.1\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("\r\n\r\n<abcd>HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\n<>HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, EndsWith("Content-Length: 2\r\n\r\n"));
  EXPECT_EQ(fake->request_count(), 3u);
  EXPECT_EQ(fake->connection_count(), 1u);
}

TEST(HttpFake, AnswersExpectBeforeTheBody) {
  ASSERT_OK_AND_ASSIGN(const auto fake, HttpFake::start([](const HttpRequest&) { return HttpAnswer{}; }));
  EXPECT_THAT(talk(fake->port(), "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"),
              StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"));
}

TEST(HttpFake, SendsChunksSlowlyCutsAndStaysSilent) {
  ASSERT_OK_AND_ASSIGN(const auto fake, HttpFake::start([](const HttpRequest&) { return HttpAnswer{}; }));
  const auto get = [&](const HttpAnswer& answer) {
    fake->set_handler([answer](const HttpRequest&) { return answer; });
    return talk(fake->port(), "GET / HTTP/1.1\r\n\r\n");
  };
  EXPECT_THAT(get({.body = "abcdef", .chunked = true, .piece_bytes = 4, .piece_delay = std::chrono::milliseconds(1)}),
              EndsWith("\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"));
  EXPECT_THAT(get({.body = "abcdef", .cut_after = 2}), EndsWith("Content-Length: 6\r\n\r\nab"));
  EXPECT_THAT(get({.body = "abcdef", .chunked = true, .piece_bytes = 4, .cut_after = 5}),
              EndsWith("4\r\nabcd\r\n1\r\ne\r\n"));
  EXPECT_EQ(get({.no_answer = true}), "");
  EXPECT_EQ(get({.raw = "not http"}), "not http");
  fake->set_handler([](const HttpRequest&) -> HttpAnswer { return {.body = "x", .close = true}; });
  EXPECT_THAT(talk(fake->port(), "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
              ::testing::AllOf(HasSubstr("Connection: close"), Not(HasSubstr("xHTTP/1.1"))));
}

TEST(HttpFake, StopsWhileAnAnswerIsUnderWay) {
  std::atomic<bool> asked{false};
  ASSERT_OK_AND_ASSIGN(auto fake, HttpFake::start([&](const HttpRequest&) -> HttpAnswer {
                         asked = true;
                         return {.delay = std::chrono::hours(1)};
                       }));
  ASSERT_OK_AND_ASSIGN(const File socket, connect_to("127.0.0.1", fake->port()));
  ASSERT_TRUE(send_all(socket.fd(), "GET / HTTP/1.1\r\n\r\n"));
  ASSERT_TRUE(wait_until([&] { return asked.load(); }));
  fake.reset();
  EXPECT_EQ(read_to_end(socket), "");
}

}  // namespace
}  // namespace pgark::testing
