// Plain HTTP only: servers that also speak TLS are looked at through their other port.
#include "testing/http_client.h"

#include <fmt/format.h>

#include <utility>

#include "testing/tcp.h"

namespace pgark::testing {
namespace {

std::string without_entities(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&amp;", "&"}};
  for (const auto& [entity, character] : kEntities) {
    for (size_t at = 0; (at = text.find(entity, at)) != std::string::npos; at += character.size()) {
      text.replace(at, entity.size(), character);
    }
  }
  return text;
}

}  // namespace

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

Result<> expect_success(const Result<HttpReply>& reply, const std::string& what) {
  TRY_CTX(reply, what);
  if (reply->status >= 200 && reply->status < 300) return {};
  return Error(reply->status == 404 ? Errc::kNotFound : Errc::kInternal,
               fmt::format("{}: {} {}", what, reply->status, reply->body));
}

std::vector<std::string> xml_values(std::string_view document, std::string_view name) {
  const std::string begin = fmt::format("<{}>", name);
  const std::string end = fmt::format("</{}>", name);
  std::vector<std::string> values;
  for (size_t at = 0; (at = document.find(begin, at)) != std::string_view::npos;) {
    at += begin.size();
    const size_t stop = document.find(end, at);
    if (stop == std::string_view::npos) break;
    values.push_back(without_entities(std::string(document.substr(at, stop - at))));
    at = stop;
  }
  return values;
}

Result<std::vector<std::string>> list_pages(const std::function<Result<HttpReply>(const HttpHeaders& query)>& ask,
                                            const HttpHeaders& query, std::string_view value_tag,
                                            const std::string& marker_name, std::string_view marker_tag) {
  std::vector<std::string> names;
  std::string marker;
  do {
    HttpHeaders with_marker = query;
    if (!marker.empty()) with_marker.emplace_back(marker_name, marker);
    const auto reply = ask(with_marker);
    TRY(expect_success(reply, "list"));
    for (std::string& name : xml_values(reply->body, value_tag)) names.push_back(std::move(name));
    const auto next = xml_values(reply->body, marker_tag);
    marker = next.empty() ? std::string() : next.front();
  } while (!marker.empty());
  return names;
}

}  // namespace pgark::testing
