// One thread accepts, one serves each connection; simplicity before speed.
#include "testing/http_fake.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>
#include <tuple>
#include <utility>

#include "testing/tcp.h"

namespace pgark::testing {
namespace {

constexpr size_t kRecordedBodyBytesMax = 1u << 20;

std::optional<std::string> find_value(const HttpHeaders& pairs, std::string_view name) {
  for (const auto& [have, value] : pairs) {
    if (have == name) return value;
  }
  return std::nullopt;
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  // Names of days and months are English whatever the locale: the tests set none.
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

// A request without its body; false if the start line is none of a request.
bool parse_start(const HttpHead& head, HttpRequest& request) {
  const size_t first = head.start_line.find(' ');
  const size_t last = head.start_line.rfind(' ');
  if (first == std::string::npos || first == last) return false;
  request.method = head.start_line.substr(0, first);
  request.target = head.start_line.substr(first + 1, last - first - 1);
  std::tie(request.path, request.query) = split_target(request.target);
  request.headers = head.headers;
  return true;
}

std::string answer_head(const HttpAnswer& answer) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", answer.status, http_reason(answer.status));
  for (const auto& [name, value] : answer.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (find_header(answer.headers, "date") == nullptr) head += fmt::format("Date: {}\r\n", http_date());
  const bool bodiless = answer.status == 204 || answer.status == 304 || answer.status < 200;
  if (answer.chunked) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (!bodiless && find_header(answer.headers, "content-length") == nullptr) {
    head += fmt::format("Content-Length: {}\r\n", answer.body.size());
  }
  if (answer.close) head += "Connection: close\r\n";
  return head + "\r\n";
}

}  // namespace

std::string_view http_reason(int status) {
  static constexpr std::pair<int, std::string_view> kReasons[] = {
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {206, "Partial Content"},
      {301, "Moved Permanently"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {409, "Conflict"},
      {410, "Gone"},
      {412, "Precondition Failed"},
      {416, "Range Not Satisfiable"},
      {429, "Too Many Requests"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
  };
  for (const auto& [number, reason] : kReasons) {
    if (number == status) return reason;
  }
  return "Unknown";
}

std::string render_answer(const HttpAnswer& answer, std::string_view method) {
  if (!answer.raw.empty()) return answer.raw;
  std::string out = answer_head(answer);
  if (method == "HEAD" || answer.status == 204 || answer.status == 304) return out;
  if (!answer.chunked) return out + answer.body;
  if (!answer.body.empty()) out += fmt::format("{:x}\r\n{}\r\n", answer.body.size(), answer.body);
  return out + "0\r\n\r\n";
}

std::string HttpRequest::header(std::string_view name) const {
  const std::string* value = find_header(headers, name);
  return value != nullptr ? *value : std::string();
}

std::optional<std::string> HttpRequest::parameter(std::string_view name) const {
  return find_value(parse_query(query), name);
}

std::optional<std::string> HttpRequest::form(std::string_view name) const {
  return find_value(parse_query(body, true), name);
}

Result<std::unique_ptr<HttpFake>> HttpFake::start(HttpHandler handler) {
  TRY_ASSIGN(File listener, listen_on_loopback());
  TRY_ASSIGN(const int port, local_port(listener));
  return std::unique_ptr<HttpFake>(new HttpFake(std::move(listener), port, std::move(handler)));
}

HttpFake::HttpFake(File listener, int port, HttpHandler handler)
    : listener_(std::move(listener)), port_(port), handler_(std::move(handler)), acceptor_([this] { accept_all(); }) {}

HttpFake::~HttpFake() {
  {
    const MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  (void)::shutdown(listener_.fd(), SHUT_RDWR);
  acceptor_.join();  // From here on no connection is added.
  close_connections();
  std::list<Connection> connections;
  {
    const MutexLock lock(mu_);
    connections.swap(connections_);  // Moves no element: the threads' references stay good.
  }
  for (Connection& connection : connections) connection.thread.join();
}

std::string HttpFake::url(std::string_view path) const { return fmt::format("http://127.0.0.1:{}{}", port_, path); }

void HttpFake::set_handler(HttpHandler handler) {
  const MutexLock lock(handler_mu_);
  handler_ = std::move(handler);
}

std::vector<HttpRequest> HttpFake::requests() const {
  const MutexLock lock(mu_);
  return requests_;
}

size_t HttpFake::request_count() const {
  const MutexLock lock(mu_);
  return requests_.size();
}

size_t HttpFake::connection_count() const {
  const MutexLock lock(mu_);
  return accepted_;
}

void HttpFake::close_connections() {
  const MutexLock lock(mu_);
  for (Connection& connection : connections_) {
    if (connection.socket.is_open()) (void)::shutdown(connection.socket.fd(), SHUT_RDWR);
  }
}

bool HttpFake::pause(std::chrono::milliseconds duration) {
  const auto until = std::chrono::steady_clock::now() + duration;
  const MutexLock lock(mu_);
  while (!stopping_) {
    const auto left = until - std::chrono::steady_clock::now();
    if (left <= std::chrono::steady_clock::duration::zero()) return true;
    changed_.wait_for(mu_, std::chrono::ceil<std::chrono::milliseconds>(left));
  }
  return false;
}

void HttpFake::accept_all() {
  for (;;) {
    auto socket = accept_connection(listener_);
    if (!socket) return;
    std::list<Connection> ended;
    {
      const MutexLock lock(mu_);
      if (stopping_) return;
      for (auto at = connections_.begin(); at != connections_.end();) {
        const auto next = std::next(at);
        if (at->done) ended.splice(ended.end(), connections_, at);
        at = next;
      }
      Connection& connection = connections_.emplace_back();
      connection.socket = std::move(*socket);
      connection.thread = std::thread([this, &connection, number = accepted_++] { serve(connection, number); });
    }
    for (Connection& connection : ended) connection.thread.join();
  }
}

void HttpFake::serve(Connection& connection, size_t number) {
  int socket = -1;
  {
    const MutexLock lock(mu_);
    socket = connection.socket.fd();
  }
  HttpStream stream(socket);
  for (;;) {
    const auto head = stream.read_head();
    HttpRequest request;
    if (!head || !parse_start(*head, request)) break;
    request.connection = number;
    if (const std::string* expected = find_header(head->headers, "expect");
        expected != nullptr && *expected == "100-continue" && !send_all(socket, "HTTP/1.1 100 Continue\r\n\r\n")) {
      break;
    }
    const bool whole = stream.read_body(request_framing(*head), [&](std::string_view, std::string_view data) {
      request.body += data;
      return true;
    });
    if (!whole) break;
    const std::string method = request.method;
    const bool wants_close = request.header("connection") == "close";
    if (!send_answer(socket, handle(request), method) || wants_close) break;
  }
  const MutexLock lock(mu_);
  (void)connection.socket.close();
  connection.done = true;
}

HttpAnswer HttpFake::handle(const HttpRequest& request) {
  const MutexLock one_at_a_time(handler_mu_);
  {
    const MutexLock lock(mu_);
    requests_.push_back(request);
    if (request.body.size() > kRecordedBodyBytesMax) requests_.back().body.clear();
  }
  return handler_(request);
}

bool HttpFake::send_answer(int socket, const HttpAnswer& answer, std::string_view method) {
  if (answer.delay.count() > 0 && !pause(answer.delay)) return false;
  if (answer.reset) reset_on_close(socket);
  if (answer.no_answer) return false;
  if (!answer.raw.empty()) {
    (void)send_all(socket, answer.raw);
    return false;
  }
  std::string head = answer_head(answer);
  std::string_view body = answer.body;
  if (method == "HEAD" || answer.status == 204 || answer.status == 304) body = {};
  const bool cut = answer.cut_after.has_value();
  if (cut) body = body.substr(0, std::min(body.size(), *answer.cut_after));
  // Head and body in one send when there is no reason against it, as real servers do.
  if (answer.piece_bytes == 0 && !answer.chunked) {
    if (body.size() <= 64u << 10) {
      head += body;
      return send_all(socket, head) && !cut && !answer.close;
    }
    return send_all(socket, head) && send_all(socket, body) && !cut && !answer.close;
  }
  if (!send_all(socket, head)) return false;
  const size_t piece_bytes = answer.piece_bytes > 0 ? answer.piece_bytes : std::max<size_t>(body.size() / 3, 1);
  while (!body.empty()) {
    const std::string_view piece = body.substr(0, piece_bytes);
    body.remove_prefix(piece.size());
    if (answer.piece_delay.count() > 0 && !pause(answer.piece_delay)) return false;
    if (answer.chunked && !send_all(socket, fmt::format("{:x}\r\n{}\r\n", piece.size(), piece))) return false;
    if (!answer.chunked && !send_all(socket, piece)) return false;
  }
  if (cut) return false;
  if (answer.chunked && method != "HEAD" && !send_all(socket, "0\r\n\r\n")) return false;
  return !answer.close;
}

}  // namespace pgark::testing
