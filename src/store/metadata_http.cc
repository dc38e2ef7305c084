#include "store/metadata_http.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "store/cloud_errors.h"

namespace pgark {

HttpOptions metadata_http_options(const CloudSettings& settings, const Environment& env) {
  HttpOptions options;
  options.connections_max = 2;
  // Those of the machine are one hop away, and asked in vain where there are none.
  options.connect_timeout = std::chrono::milliseconds(3000);
  options.stall_timeout = std::chrono::milliseconds(10'000);
  options.total_timeout = std::chrono::milliseconds(20'000);
  options.ca_file = env("AWS_CA_BUNDLE");
  options.ca_option = "the environment variable AWS_CA_BUNDLE, or among those of the system";
  options.cancel = settings.cancel;
  return options;
}

Result<HttpResponse> ask_service(HttpClient& http, HttpRequest request, std::string_view what) {
  request.body_max = 1u << 20;
  TRY_ASSIGN_CTX(HttpResponse response, http.perform(std::move(request)), what);
  if (response.ok()) return response;
  // The body is left out here: it may repeat what was sent. Callers that know its form say more.
  const int status = response.status;
  const Errc code = status == 408 || status == 429 || status >= 500 ? Errc::kTransient : Errc::kPermission;
  return Error(code, fmt::format("{}: HTTP {}", what, status));
}

std::string encode_form(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    if (!out.empty()) out += '&';
    out += url_encode(name) + "=" + url_encode(value);
  }
  return out;
}

Result<std::map<std::string, std::string>> read_json_fields(std::string_view document, std::string_view what) {
  const auto json = nlohmann::json::parse(document, nullptr, false);
  if (!json.is_object()) return Error(Errc::kInvalid, fmt::format("{}: the answer is not a JSON object", what));
  std::map<std::string, std::string> fields;
  for (const auto& [name, value] : json.items()) {
    if (value.is_string()) fields[name] = value.get_ref<const std::string&>();
    if (value.is_number()) fields[name] = value.dump();
  }
  return fields;
}

Result<std::string> read_token_file(const std::string& path) {
  TRY_ASSIGN(std::string token, read_file(path, 1u << 20));
  const auto end = token.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return Error(Errc::kInvalid, fmt::format("read '{}': it is empty", path));
  token.resize(end + 1);
  return token;
}

}  // namespace pgark
