// One HTTP request on a connection of its own: what test servers are looked at with, behind the back of the client
// under test.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

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

}  // namespace pgark::testing
