// Signing of requests to Azure Storage with an account's key ("Shared Key").
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "net/http_client.h"

namespace pgark {

/// What a signature covers.
struct AzureRequestToSign {
  std::string method;
  std::string account;
  std::string path;                                          // Of the URL, as it is sent: "/container/a/b".
  std::vector<std::pair<std::string, std::string>> query{};  // Not encoded.
  std::vector<HttpHeader> headers{};                         // All that are sent, but Authorization.
  size_t body_bytes = 0;
};

/// The text whose HMAC is the signature.
/// Source: Microsoft, "Authorize with Shared Key", versions 2015-02-21 and later.
std::string azure_string_to_sign(const AzureRequestToSign& request);

/// Value of the header Authorization.
std::string azure_authorization(const AzureRequestToSign& request, Bytes key);

/// "Sun, 22 Nov 2026 10:15:00 GMT", as x-ms-date wants it.
std::string format_http_date(Timestamp time);

}  // namespace pgark
