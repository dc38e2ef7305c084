// Plain HTTP only: servers that also speak TLS are looked at through their other port.
#include "testing/http_client.h"

#include <fmt/format.h>

#include <utility>

#include "testing/tcp.h"

namespace pgark::testing {

std::string HttpReply::header(std::string_view name) const {
  const std::string* value = find_header(headers, name);
  return value != nullptr ? *value : std::string();
}

Result<HttpReply> http_exchange(const std::string& host, int port, const std::string& method, const std::string& target,
                                const HttpHeaders& headers, std::string_view body,
                                std::chrono::milliseconds connect_bound) {
  TRY_ASSIGN(const File socket, connect_to(host, port, connect_bound));
  std::string request = fmt::format("{} {} HTTP/1.1\r\nConnection: close\r\n", method, target);
  if (find_header(headers, "host") == nullptr) request += fmt::format("Host: {}:{}\r\n", host, port);
  for (const auto& [name, value] : headers) request += fmt::format("{}: {}\r\n", name, value);
  if (!body.empty() || method == "PUT" || method == "POST")
    request += fmt::format("Content-Length: {}\r\n", body.size());
  request += "\r\n";
  // A server that refuses early may close before it has read all: its answer counts, not the failure to send.
  (void)(send_all(socket.fd(), request) && send_all(socket.fd(), body));
  HttpStream stream(socket.fd());
  const Error cut(Errc::kTransient, fmt::format("{} {}: no whole answer from {}:{}", method, target, host, port));
  auto head = stream.read_head();
  while (head && head->status() >= 100 && head->status() < 200) head = stream.read_head();
  if (!head || head->status() == 0) return cut;
  HttpReply reply{.status = head->status(), .headers = head->headers};
  const bool whole = stream.read_body(answer_framing(*head, method), [&](std::string_view, std::string_view data) {
    reply.body += data;
    return true;
  });
  if (!whole) return cut;
  return reply;
}

}  // namespace pgark::testing
