// One HTTP request on a connection of its own: what test servers are looked at with, behind the back of the client
// under test.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "testing/http_message.h"

namespace pgark::testing {

struct HttpReply {
  int status = 0;
  HttpHeaders headers = {};
  std::string body = {};

  std::string header(std::string_view name) const;
};

/// Send a request and read its answer to the end. Host, Content-Length and "Connection: close" are added.
/// Errors: kTransient when there is no whole answer.
Result<HttpReply> http_exchange(const std::string& host, int port, const std::string& method, const std::string& target,
                                const HttpHeaders& headers = {}, std::string_view body = {},
                                std::chrono::milliseconds connect_bound = std::chrono::seconds(10));

/// Errors: kInternal with the server's answer unless it is a success; kNotFound for 404.
Result<> expect_success(const Result<HttpReply>& reply, const std::string& what);

/// Text between <NAME> and </NAME>, once for each, entities undone.
std::vector<std::string> xml_values(std::string_view document, std::string_view name);

/// What a listing in pages names.
/// Shape:  `ask` is called with a query, to which the page's marker is added from the second one on as `marker_name`;
///         names are in `value_tag`s of the answer, and the marker of the next page, if there is one, in `marker_tag`.
Result<std::vector<std::string>> list_pages(const std::function<Result<HttpReply>(const HttpHeaders& query)>& ask,
                                            const HttpHeaders& query, std::string_view value_tag,
                                            const std::string& marker_name, std::string_view marker_tag);

}  // namespace pgark::testing
