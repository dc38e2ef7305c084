// A scriptable HTTP/1.1 server inside the test: answers come from a callback, and may be slow, cut or missing. For
// tests of an HTTP client and of whatever talks to token, metadata and storage services.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/file.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "testing/http_message.h"

namespace pgark::testing {

struct HttpRequest {
  std::string method = {};
  std::string target = {};  // As it was sent: "/a%20b?x=1"
  std::string path = {};    // Of the target, not decoded.
  std::string query = {};   // Of the target, not decoded.
  HttpHeaders headers = {};
  std::string body = {};  // Without chunk headers.
  size_t connection = 0;  // Number of its connection, from 0 in the order they were accepted.

  /// Value of a header, whatever the case of its name; empty if it is missing.
  std::string header(std::string_view name) const;
  bool has_header(std::string_view name) const { return find_header(headers, name) != nullptr; }
  /// Decoded value of a parameter of the query; nothing if it is missing.
  std::optional<std::string> parameter(std::string_view name) const;
  /// Decoded value of a parameter of a form in the body; nothing if it is missing.
  std::optional<std::string> form(std::string_view name) const;
};

/// What to answer. Content-Length, or Transfer-Encoding, and Date are added unless `headers` has them.
struct HttpAnswer {
  int status = 200;
  HttpHeaders headers = {};
  std::string body = {};
  bool chunked = false;
  bool close = false;                       // "Connection: close", and close after the answer.
  std::chrono::milliseconds delay{};        // Before the status line.
  size_t piece_bytes = 0;                   // Not 0: send the body in pieces of this size ...
  std::chrono::milliseconds piece_delay{};  // ... with this wait before each.
  std::optional<size_t> cut_after = {};     // Close after so many bytes of the body; its length is announced in full.
  bool reset = false;                       // With cut_after and no_answer: a TCP reset instead of an orderly end.
  bool no_answer = false;                   // Close without a word: the client cannot know what happened.
  std::string raw = {};                     // Not empty: send exactly this instead, then close.
};

/// Called for one request at a time, by threads of the server: what it shares with the test needs a lock or an atomic.
using HttpHandler = std::function<HttpAnswer(const HttpRequest&)>;

/// The server, on a free port of 127.0.0.1. The destructor stops it and interrupts answers that are under way.
class HttpFake {
 public:
  static Result<std::unique_ptr<HttpFake>> start(HttpHandler handler);
  ~HttpFake();
  HttpFake(const HttpFake&) = delete;
  HttpFake& operator=(const HttpFake&) = delete;

  int port() const { return port_; }
  std::string host() const { return "127.0.0.1"; }
  /// "http://127.0.0.1:PORT" and `path`.
  std::string url(std::string_view path = {}) const;

  void set_handler(HttpHandler handler);
  /// Requests so far, in the order in which their handlers ran; those with more than 1 MiB of body without it.
  std::vector<HttpRequest> requests() const;
  size_t request_count() const;
  size_t connection_count() const;
  /// Close all connections that are open now, as a server does with idle ones.
  void close_connections();

 private:
  struct Connection {
    File socket;
    std::thread thread;
    bool done = false;
  };

  HttpFake(File listener, int port, HttpHandler handler);
  void accept_all();
  void serve(Connection& connection, size_t number);
  HttpAnswer handle(const HttpRequest& request);
  /// Send an answer; whether the connection stays.
  bool send_answer(int socket, const HttpAnswer& answer, std::string_view method);
  /// Wait, unless the server is being stopped: false then.
  bool pause(std::chrono::milliseconds duration);

  File listener_;
  int port_;
  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mu_) = false;
  HttpHandler handler_ GUARDED_BY(handler_mu_);
  std::vector<HttpRequest> requests_ GUARDED_BY(mu_);
  std::list<Connection> connections_ GUARDED_BY(mu_);
  size_t accepted_ GUARDED_BY(mu_) = 0;
  Mutex handler_mu_;
  std::thread acceptor_;
};

/// An answer as it is sent, delays and cuts left out. `method`: of the request, because HEAD gets no body.
std::string render_answer(const HttpAnswer& answer, std::string_view method);
/// "OK", "Not Found", ...: reason phrase of a status.
std::string_view http_reason(int status);

}  // namespace pgark::testing
