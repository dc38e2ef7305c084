// The HTTP client where TLS agrees on HTTP/2, against a server of Node.js.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "net/http_client.h"
#include "testing/process.h"
#include "testing/scratch.h"
#include "testing/wait.h"

namespace pgark {
namespace {

// Answers with version, method and length of the body; breaks off in the ways HTTP/2 knows.
constexpr std::string_view kServer = R"(
const http2 = require('http2'), fs = require('fs'), dir = process.argv[2];
const options = {key: fs.readFileSync(dir + '/key.pem'), cert: fs.readFileSync(dir + '/cert.pem'), allowHTTP1: true};
const server = http2.createSecureServer(options, (request, response) => {
  let bytes = 0;
  request.on('data', data => bytes += data.length);
  request.on('end', () => {
    const stream = request.stream;
    if (request.url == '/reset') return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    if (request.url == '/goaway') { stream.session.goaway(); return stream.session.destroy(); }
    if (request.url == '/short') {
      response.writeHead(200, {'content-length': 1000});
      response.write('x'.repeat(500));
      return setTimeout(() => stream.close(http2.constants.NGHTTP2_NO_ERROR), 20);
    }
    if (request.url == '/wait') return;
    response.end(`${request.httpVersion} ${request.method} ${bytes}`);
  });
});
server.listen(0, '127.0.0.1', () => {
  fs.writeFileSync(dir + '/port.new', String(server.address().port));
  fs.renameSync(dir + '/port.new', dir + '/port');
});
)";

class HttpClientHttp2 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto node = testing::run_ok({"node", "--version"}); !node) {
      GTEST_SKIP() << "no server of HTTP/2: node is not installed";
    }
    auto scratch = testing::ScratchDir::create("http2");
    ASSERT_TRUE(scratch.has_value());
    scratch_ = std::move(*scratch);
    auto made = testing::run_ok({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                 "-nodes", "-keyout", scratch_ / "key.pem", "-out", scratch_ / "cert.pem", "-days", "2",
                                 "-subj", "/CN=pgark", "-addext", "subjectAltName=IP:127.0.0.1"});
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
    ASSERT_TRUE(write_file_durable(scratch_ / "server.js", kServer).has_value());
    auto server = testing::Process::start({"node", scratch_ / "server.js", scratch_.path()},
                                          {.output_path = scratch_ / "server.log", .die_with_caller = true});
    ASSERT_TRUE(server.has_value()) << server.error().to_string();
    server_ = std::move(*server);
    ASSERT_TRUE(testing::wait_until([&] { return read_file(scratch_ / "port").has_value() || !server_.running(); }));
    auto port = read_file(scratch_ / "port");
    ASSERT_TRUE(port.has_value()) << read_file(scratch_ / "server.log").value_or("");
    origin_ = "https://127.0.0.1:" + *port;
    auto client = HttpClient::create({.ca_file = scratch_ / "cert.pem"});
    ASSERT_TRUE(client.has_value());
    client_ = std::move(*client);
  }

  HttpRequest request(const std::string& path, std::string method = "GET", Bytes body = {}) {
    return {.method = std::move(method), .url = origin_ + path, .headers = {}, .body = body};
  }
  std::string text(HttpRequest asked) {
    auto answer = client_->perform(std::move(asked));
    return answer ? std::string(as_text(answer->body.bytes())) : answer.error().to_string();
  }
  Errc code(HttpRequest asked) {
    auto answer = client_->perform(std::move(asked));
    return answer ? Errc::kInternal : answer.error().code();
  }

  testing::ScratchDir scratch_;
  testing::Process server_;
  std::string origin_;
  std::unique_ptr<HttpClient> client_;
};

TEST_F(HttpClientHttp2, CarriesWhatIsSmall) {
  EXPECT_EQ(text(request("/")), "2.0 GET 0");
  EXPECT_EQ(text(request("/", "POST")), "2.0 POST 0");
  const std::string body(200'000, 'x');
  EXPECT_EQ(text(request("/", "PUT", as_bytes(body))), "2.0 PUT 200000");
  std::vector<std::unique_ptr<HttpCall>> calls;
  for (int i = 0; i < 100; ++i) calls.push_back(client_->start(request("/")));
  for (auto& call : calls) {
    auto answer = call->wait();
    ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
    EXPECT_EQ(as_text(answer->body.bytes()), "2.0 GET 0");
  }
}

TEST_F(HttpClientHttp2, LeavesLargeBodiesToConnectionsOfTheirOwn) {
  EXPECT_EQ(text(request("/")), "2.0 GET 0");
  const std::string body(3u << 20, 'x');
  EXPECT_EQ(text(request("/", "PUT", as_bytes(body))), fmt::format("1.1 PUT {}", body.size()));
}

TEST_F(HttpClientHttp2, TellsWhatWasLost) {
  const std::string body(1000, 'x');
  for (const char* path : {"/reset", "/goaway", "/short"}) {
    EXPECT_EQ(code(request(path)), Errc::kTransient) << path;
    HttpRequest once = request(path, "PUT", as_bytes(body));
    once.repeatable = false;
    EXPECT_EQ(code(std::move(once)), Errc::kOutcomeUnknown) << path;
    EXPECT_EQ(text(request("/")), "2.0 GET 0") << "after " << path;
  }
}

TEST_F(HttpClientHttp2, LetsGoOfOneCallAndKeepsTheOthers) {
  auto waiting = client_->start(request("/wait"));
  EXPECT_EQ(text(request("/")), "2.0 GET 0");
  waiting.reset();
  EXPECT_EQ(text(request("/")), "2.0 GET 0");
}

}  // namespace
}  // namespace pgark
