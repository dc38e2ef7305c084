// Talking to the services that hand out credentials: metadata of a machine, security token services, OAuth.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http_client.h"
#include "store/cloud_settings.h"
#include "store/environment.h"

namespace pgark {

/// Options of the client that talks to these services. Their certificates are checked against the system's authorities
/// (or AWS_CA_BUNDLE), whatever is set for the store: they belong to somebody else.
HttpOptions metadata_http_options(const CloudSettings& settings, const Environment& env = process_environment());

/// Send a request to such a service. `what` names it in errors: "ask instance metadata for a role".
/// Errors: as HttpCall::wait(); kPermission for an answer 4xx, kTransient for 408, 429 and 5xx.
Result<HttpResponse> ask_service(HttpClient& http, HttpRequest request, std::string_view what);

/// Fields of a form as its body.
std::string encode_form(const std::vector<std::pair<std::string, std::string>>& fields);

/// Texts and numbers at the top of a JSON object. Errors: kInvalid, without showing the document.
Result<std::map<std::string, std::string>> read_json_fields(std::string_view document, std::string_view what);

/// Read a file that holds a token, without the line break at its end. Errors: of reading; kInvalid if it is empty.
Result<std::string> read_token_file(const std::string& path);

}  // namespace pgark
