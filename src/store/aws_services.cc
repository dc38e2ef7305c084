#include "store/aws_services.h"

#include <fmt/format.h>

#include <pugixml.hpp>

#include "core/command_output.h"
#include "store/cloud_errors.h"
#include "store/cloud_util.h"
#include "store/metadata_http.h"

namespace pgark {
namespace {

using Fields = std::map<std::string, std::string>;

HttpRequest get(std::string url) { return {.method = "GET", .url = std::move(url), .headers = {}}; }

std::string field(const Fields& fields, const std::string& name) {
  const auto at = fields.find(name);
  return at == fields.end() ? std::string() : at->second;
}

Result<AwsCredentials> checked(AwsCredentials credentials, const std::string& expires, bool must_expire,
                               std::string_view what) {
  if (credentials.access_key.empty() || credentials.secret_key.empty()) {
    return Error(Errc::kInvalid, fmt::format("{}: the answer holds no credentials", what));
  }
  if (!expires.empty()) credentials.expires = parse_utc_time(expires);
  if (!credentials.expires && (must_expire || !expires.empty())) {
    return Error(Errc::kInvalid, fmt::format("{}: the answer does not say when they expire", what));
  }
  return credentials;
}

// The document that metadata services of containers and instances send.
Result<AwsCredentials> read_credentials(const HttpResponse& response, std::string origin, std::string_view what) {
  TRY_ASSIGN(const Fields fields, read_json_fields(as_text(response.body.bytes()), what));
  if (const std::string code = field(fields, "Code"); !code.empty() && code != "Success") {
    return Error(Errc::kPermission, fmt::format("{}: the service says {}", what, one_line(code)));
  }
  AwsCredentials credentials{.access_key = field(fields, "AccessKeyId"),
                             .secret_key = field(fields, "SecretAccessKey"),
                             .session_token = field(fields, "Token"),
                             .origin = std::move(origin)};
  return checked(std::move(credentials), field(fields, "Expiration"), true, what);
}

// --- Token service.

std::string sts_endpoint(const std::string& region, const Environment& env) {
  for (const char* name : {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"}) {
    if (std::string url = env(name); !url.empty()) return url.ends_with('/') ? url : url + "/";
  }
  if (region.empty()) return "https://sts.amazonaws.com/";
  return fmt::format("https://sts.{}.amazonaws.com{}/", region, region.starts_with("cn-") ? ".cn" : "");
}

Error sts_error(const HttpResponse& response, const std::string& token, std::string_view what) {
  CloudFailure failure = read_xml_failure(response);
  // Its beginning is enough: the message is cut.
  if (failure.message.find(token.substr(0, 16)) != std::string::npos) failure.message.clear();
  Error error = cloud_error(failure, CloudCall::kRead, what);
  // "The identity provider could not be reached" is no verdict about us.
  if (failure.code == "IDPCommunicationError" || error.code() == Errc::kTransient) {
    return std::move(error).with_code(Errc::kTransient);
  }
  return std::move(error)
      .with_code(Errc::kPermission)
      .with_hint("check the role's trust policy, and that the token file is kept fresh");
}

Result<AwsCredentials> read_sts_answer(const HttpResponse& response, std::string origin, std::string_view what) {
  pugi::xml_document document;
  if (!document.load_buffer(response.body.data(), response.body.size())) {
    return Error(Errc::kInvalid, fmt::format("{}: the answer is no XML document", what));
  }
  const pugi::xml_node node =
      document.child("AssumeRoleWithWebIdentityResponse").child("AssumeRoleWithWebIdentityResult").child("Credentials");
  AwsCredentials credentials{.access_key = node.child_value("AccessKeyId"),
                             .secret_key = node.child_value("SecretAccessKey"),
                             .session_token = node.child_value("SessionToken"),
                             .origin = std::move(origin)};
  return checked(std::move(credentials), node.child_value("Expiration"), true, what);
}

// --- Containers.

constexpr std::string_view kContainerHost = "169.254.170.2";

// Hosts to which the authorization may go without TLS: this machine and the agents of ECS and EKS.
bool is_near(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return false;
  const std::string_view rest = url.substr(kScheme.size());
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) return false;
  const std::string_view host = authority.starts_with('[') ? authority.substr(0, authority.find(']') + 1)
                                                           : authority.substr(0, authority.find(':'));
  return host == "localhost" || host.starts_with("127.") || host == "[::1]" || host == kContainerHost ||
         host == "169.254.170.23" || host == "[fd00:ec2::23]";
}

Result<std::string> container_authorization(const Environment& env) {
  if (const std::string file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty()) {
    TRY_ASSIGN_CTX(std::string token, read_token_file(file), "authorize at the container's credentials");
    return token;
  }
  return env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
}

// --- Instances.

std::string instance_endpoint(const Environment& env) {
  std::string url = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (url.empty()) {
    const std::string mode = env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    url = mode == "IPv6" || mode == "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
  }
  while (url.ends_with('/')) url.pop_back();
  return url;
}

Result<std::string> instance_token(HttpClient& http, const std::string& endpoint) {
  HttpRequest request = get(endpoint + "/latest/api/token");
  request.method = "PUT";
  request.headers = {{"x-aws-ec2-metadata-token-ttl-seconds", "300"}};
  auto response = ask_service(http, std::move(request), "ask instance metadata for a session");
  if (!response) {
    Error error = std::move(response).error();
    if (error.code() == Errc::kCancelled) return error;
    return std::move(error).with_hint(
        "where the service does not answer in a container, raise the hop limit of the instance's metadata to 2");
  }
  return std::string(as_text(response->body.bytes()));
}

Result<std::string> instance_role(HttpClient& http, const std::string& url, const HttpHeader& session) {
  HttpRequest request = get(url);
  request.headers = {session};
  constexpr std::string_view kWhat = "ask instance metadata for the instance's role";
  auto response = ask_service(http, std::move(request), kWhat);
  if (!response) {
    Error error = std::move(response).error();
    if (error.code() != Errc::kPermission) return error;
    return std::move(error).with_hint("give the instance a role (instance profile)");
  }
  const std::string_view body = as_text(response->body.bytes());
  const std::string_view role = body.substr(0, body.find_first_of("\r\n"));
  if (role.empty()) return Error(Errc::kPermission, fmt::format("{}: it has none", kWhat));
  return std::string(role);
}

}  // namespace

Result<AwsCredentials> web_identity_credentials(HttpClient& http, const WebIdentity& identity, const Environment& env) {
  constexpr std::string_view kWhat = "exchange web identity for credentials";
  TRY_ASSIGN_CTX(const std::string token, read_token_file(identity.token_file), kWhat);
  const std::string form =
      encode_form({{"Action", "AssumeRoleWithWebIdentity"},
                   {"Version", "2011-06-15"},
                   {"RoleArn", identity.role_arn},
                   {"RoleSessionName", identity.session_name.empty() ? "pgark" : identity.session_name},
                   {"WebIdentityToken", token}});
  HttpRequest request{
      .method = "POST",
      .url = sts_endpoint(identity.region, env),
      .headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}, {"Accept", "application/xml"}},
      .body = as_bytes(form),
      .body_max = 1u << 20};
  TRY_ASSIGN_CTX(const HttpResponse response, http.perform(std::move(request)), kWhat);
  if (!response.ok()) return sts_error(response, token, fmt::format("{} as '{}'", kWhat, identity.role_arn));
  return read_sts_answer(response, fmt::format("web identity as {}", identity.role_arn), kWhat);
}

Result<std::optional<AwsCredentials>> container_credentials(HttpClient& http, const Environment& env) {
  constexpr std::string_view kWhat = "ask for credentials of the container";
  const std::string relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const std::string full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (relative.empty() && full.empty()) return std::optional<AwsCredentials>();
  if (!relative.empty() && relative[0] != '/') {
    return Error(Errc::kInvalid, fmt::format("{}: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path", kWhat));
  }
  const std::string url = relative.empty() ? full : fmt::format("http://{}{}", kContainerHost, relative);
  if (!url.starts_with("https://") && !is_near(url)) {
    return Error(Errc::kInvalid,
                 fmt::format("{}: AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this machine", kWhat));
  }
  TRY_ASSIGN(const std::string authorization, container_authorization(env));
  HttpRequest request = get(url);
  if (!authorization.empty()) request.headers = {{"Authorization", authorization}};
  TRY_ASSIGN(const HttpResponse response, ask_service(http, std::move(request), kWhat));
  TRY_ASSIGN(AwsCredentials credentials, read_credentials(response, "container credentials", kWhat));
  return std::optional<AwsCredentials>(std::move(credentials));
}

Result<AwsCredentials> instance_credentials(HttpClient& http, const std::string& role, const Environment& env) {
  const std::string endpoint = instance_endpoint(env);
  TRY_ASSIGN(const std::string token, instance_token(http, endpoint));
  const HttpHeader session{"x-aws-ec2-metadata-token", token};
  const std::string base = endpoint + "/latest/meta-data/iam/security-credentials/";
  std::string name = role;
  if (name.empty()) {
    TRY_ASSIGN(name, instance_role(http, base, session));
  }
  const std::string what = fmt::format("ask instance metadata for credentials of role '{}'", one_line(name));
  HttpRequest request = get(base + url_encode(name));
  request.headers = {session};
  TRY_ASSIGN(const HttpResponse response, ask_service(http, std::move(request), what));
  return read_credentials(response, fmt::format("instance metadata, role {}", one_line(name)), what);
}

Result<AwsCredentials> process_credentials(const std::string& command, std::string_view origin) {
  const std::string what = fmt::format("get credentials from credential_process of {}", origin);
  auto output = command_output(command);
  if (!output) {
    Error error = std::move(output).error().with_context(what);
    if (error.code() == Errc::kInvalid) return std::move(error).with_code(Errc::kPermission);
    return error;
  }
  TRY_ASSIGN(const Fields fields, read_json_fields(*output, what));
  if (const std::string version = field(fields, "Version"); version != "1") {
    return Error(Errc::kInvalid, fmt::format("{}: its output is not of version 1", what));
  }
  AwsCredentials credentials{.access_key = field(fields, "AccessKeyId"),
                             .secret_key = field(fields, "SecretAccessKey"),
                             .session_token = field(fields, "SessionToken"),
                             .origin = fmt::format("credential_process of {}", origin)};
  return checked(std::move(credentials), field(fields, "Expiration"), false, what);
}

}  // namespace pgark
