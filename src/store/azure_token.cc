#include "store/azure_token.h"

#include <fmt/format.h>

#include <utility>

#include "store/metadata_http.h"
#include "store/oauth_token.h"

namespace pgark {
namespace {

constexpr std::string_view kResource = "https://storage.azure.com/";

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::string variable_or(const Environment& env, const char* name, const char* otherwise) {
  std::string value = env(name);
  return value.empty() ? otherwise : value;
}

// Federation: the token of a Kubernetes service account is exchanged for one of Azure.
Result<OauthToken> federated_token(const Environment& env, HttpClient& http, Timestamp now) {
  constexpr std::string_view kWhat = "exchange federated token for a token of Azure";
  // Read each time: the one who put it there replaces it before it expires.
  TRY_ASSIGN_CTX(const std::string assertion, read_token_file(env("AZURE_FEDERATED_TOKEN_FILE")), kWhat);
  const std::string form =
      encode_form({{"client_id", env("AZURE_CLIENT_ID")},
                   {"scope", std::string(kResource) + ".default"},
                   {"grant_type", "client_credentials"},
                   {"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
                   {"client_assertion", assertion}});
  const std::string authority = variable_or(env, "AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com");
  HttpRequest request{
      .method = "POST",
      .url = fmt::format("{}/{}/oauth2/v2.0/token", without_slash(authority), url_encode(env("AZURE_TENANT_ID"))),
      .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
      .body = as_bytes(form)};
  return ask_for_token(http, std::move(request), now, kWhat, assertion);
}

std::string identity_query(const Environment& env, std::string_view version) {
  std::string query = fmt::format("?api-version={}&resource={}", version, url_encode(kResource));
  if (const std::string client = env("AZURE_CLIENT_ID"); !client.empty()) query += "&client_id=" + url_encode(client);
  return query;
}

Result<OauthToken> service_token(const Environment& env, HttpClient& http, Timestamp now) {
  HttpRequest request{.method = "GET",
                      .url = env("IDENTITY_ENDPOINT") + identity_query(env, "2019-08-01"),
                      .headers = {{"X-IDENTITY-HEADER", env("IDENTITY_HEADER")}}};
  return ask_for_token(http, std::move(request), now, "ask the identity endpoint of Azure for a token",
                       env("IDENTITY_HEADER"));
}

Result<OauthToken> machine_token(const Environment& env, HttpClient& http, Timestamp now) {
  const std::string host = variable_or(env, "AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254");
  HttpRequest request{
      .method = "GET",
      .url = without_slash(host) + "/metadata/identity/oauth2/token" + identity_query(env, "2018-02-01"),
      .headers = {{"Metadata", "true"}}};
  auto token = ask_for_token(http, std::move(request), now, "ask instance metadata of Azure for a token");
  if (token || token.error().code() == Errc::kCancelled) return token;
  return std::move(token).error().with_hint(
      "repo-azure-key-type=auto works where Azure runs the machine and gave it a managed identity; of several, "
      "AZURE_CLIENT_ID chooses one");
}

}  // namespace

Result<std::unique_ptr<BearerTokenSource>> make_azure_token_source(const CloudSettings& cloud, const Environment& env) {
  const std::string what = fmt::format("refresh token of {}", cloud.label);
  AskForToken ask;
  if (!env("AZURE_FEDERATED_TOKEN_FILE").empty()) {
    for (const char* name : {"AZURE_TENANT_ID", "AZURE_CLIENT_ID"}) {
      if (env(name).empty()) {
        return Error(Errc::kInvalid,
                     fmt::format("{}: AZURE_FEDERATED_TOKEN_FILE is set in the environment and {} is not", what, name));
      }
    }
    if (const std::string host = env("AZURE_AUTHORITY_HOST"); !host.empty() && !is_private_url(host)) {
      return Error(Errc::kInvalid, fmt::format("{}: AZURE_AUTHORITY_HOST is not https", what));
    }
    ask = [env](HttpClient& http, Timestamp now) { return federated_token(env, http, now); };
  } else if (!env("IDENTITY_ENDPOINT").empty() && !env("IDENTITY_HEADER").empty()) {
    ask = [env](HttpClient& http, Timestamp now) { return service_token(env, http, now); };
  } else {
    ask = [env](HttpClient& http, Timestamp now) { return machine_token(env, http, now); };
  }
  return make_token_source(cloud, env, std::move(ask), what);
}

}  // namespace pgark
