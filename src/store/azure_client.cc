// Requests to one container of Azure Blob Storage.
#include "store/azure_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "codec/encoding.h"
#include "core/check.h"
#include "core/log.h"
#include "store/azure_sign.h"

namespace pgark {
namespace {

/// Has conditions, tags, checksums and block sizes as we use them; every region and Azurite know it.
constexpr std::string_view kVersion = "2021-12-02";
constexpr std::chrono::minutes kClockSkewMax{10};  // The service allows 15.

bool is_name(std::string_view text, std::string_view also, size_t bytes_min, size_t bytes_max) {
  return text.size() >= bytes_min && text.size() <= bytes_max && std::ranges::all_of(text, [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || also.find(c) != std::string_view::npos;
         });
}

Result<> check_settings(const AzureSettings& settings) {
  const std::string& label = settings.cloud.label;
  // The rules of the service are stricter for accounts; emulators are not.
  if (!is_name(settings.account, "-", 1, 63))
    return Error(Errc::kInvalid, fmt::format("read option {}-azure-account: '{}' is not the name of a storage account",
                                             label, one_line(settings.account)));
  if (settings.container != "$root" && !is_name(settings.container, "-", 3, 63))
    return Error(Errc::kInvalid, fmt::format("read option {}-azure-container: '{}' is not the name of a container",
                                             label, one_line(settings.container)))
        .with_hint("names of containers have 3 to 63 lower-case letters, digits and hyphens");
  if (settings.key_type != AzureKeyType::kManagedIdentity && settings.key.empty())
    return Error(Errc::kInvalid, fmt::format("open {}: {}-azure-key is not set", label, label))
        .with_hint(fmt::format("set it, or {}-azure-key-type=auto to use the managed identity of this machine", label));
  return check_cloud_prefix(settings.cloud.prefix);
}

/// Query of a URL; an empty value keeps its '='.
std::string encode_query(const std::vector<std::pair<std::string, std::string>>& query) {
  std::string text;
  for (const auto& [name, value] : query)
    text += fmt::format("{}{}={}", text.empty() ? "" : "&", url_encode(name), url_encode(value));
  return text;
}

/// When a shared access signature ends, as far as it says so itself: "...&se=2026-11-22T10%3A15%3A00Z&...".
std::optional<Timestamp> sas_end(std::string_view token) {
  constexpr std::string_view kName = "se=";
  while (!token.empty()) {
    const std::string_view field = token.substr(0, token.find('&'));
    token.remove_prefix(std::min(token.size(), field.size() + 1));
    if (!field.starts_with(kName)) continue;
    std::string time;
    for (size_t at = kName.size(); at < field.size(); ++at) {
      const bool colon = field.substr(at, 3) == "%3A" || field.substr(at, 3) == "%3a";
      time += colon ? ':' : field[at];
      if (colon) at += 2;
    }
    return parse_utc_time(time);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<AzureClient>> AzureClient::create(const AzureSettings& settings,
                                                         std::unique_ptr<BearerTokenSource> tokens) {
  CHECK((tokens != nullptr) == (settings.key_type == AzureKeyType::kManagedIdentity));
  TRY(check_settings(settings));
  const std::string& label = settings.cloud.label;
  TRY_ASSIGN(CloudEndpoint endpoint, parse_cloud_endpoint(settings.endpoint, label + "-azure-endpoint"));
  std::unique_ptr<AzureClient> client(new AzureClient);
  client->settings_ = settings;
  client->tokens_ = std::move(tokens);
  if (settings.uri_style == AzureUriStyle::kPath) {
    client->base_path_ = fmt::format("/{}/{}", settings.account, settings.container);
  } else {
    // The portal shows endpoints with the account in front; taken as they are.
    if (!endpoint.host.starts_with(settings.account + "."))
      endpoint.host = fmt::format("{}.{}", settings.account, endpoint.host);
    client->base_path_ = "/" + settings.container;
  }
  client->origin_ = endpoint.origin();
  client->place_ = fmt::format("{} at azure://{}/{}", label, settings.account, settings.container);
  if (!settings.cloud.prefix.empty())
    client->place_ += "/" + settings.cloud.prefix.substr(0, settings.cloud.prefix.size() - 1);
  if (settings.key_type == AzureKeyType::kShared) {
    auto key = base64_decode(settings.key);
    if (!key.has_value())
      return Error(Errc::kInvalid, fmt::format("read option {}-azure-key: it is not base64", label))
          .with_hint(fmt::format("take one of the two keys of the storage account as it is shown, or set "
                                 "{}-azure-key-type=sas for a shared access signature",
                                 label));
    client->key_ = Secret::copy_of(*key);
    wipe(MutableBytes(*key));
  } else if (settings.key_type == AzureKeyType::kSas) {
    const std::string_view token = settings.key;
    client->sas_ = Secret::copy_of(as_bytes(token.substr(token.starts_with('?') ? 1 : 0)));
    client->sas_end_ = sas_end(client->sas_.text());
  }
  wipe(client->settings_.key);
  TRY_ASSIGN(client->http_, HttpClient::create(http_options(settings.cloud)));
  return client;
}

Result<HttpRequest> AzureClient::prepare(const AzureRequest& request) {
  HttpRequest http;
  http.method = request.method;
  http.headers = request.headers;
  http.body = request.body;
  http.into = request.into;
  http.broken_off = request.broken_off;
  // A removal sent twice would say of what it has removed that it was not there.
  http.repeatable = request.call != CloudCall::kCreate && request.method != "DELETE";
  const std::string path =
      request.blob.empty() ? base_path_ : fmt::format("{}/{}", base_path_, url_encode(request.blob, true));
  std::string query = encode_query(request.query);
  http.headers.push_back({"x-ms-version", std::string(kVersion)});
  http.headers.push_back({"x-ms-date", format_http_date(now())});
  switch (settings_.key_type) {
    case AzureKeyType::kShared: {
      const AzureRequestToSign to_sign{.method = request.method,
                                       .account = settings_.account,
                                       .path = path,
                                       .query = request.query,
                                       .headers = http.headers,
                                       .body_bytes = request.body.size()};
      http.headers.push_back({"Authorization", azure_authorization(to_sign, key_.bytes())});
      break;
    }
    case AzureKeyType::kSas:
      query += query.empty() ? "" : "&";
      query += sas_.text();
      break;
    case AzureKeyType::kManagedIdentity: {
      TRY_ASSIGN(const std::string token, tokens_->get());
      http.headers.push_back({"Authorization", "Bearer " + token});
      break;
    }
  }
  http.url = fmt::format("{}{}{}{}", origin_, path, query.empty() ? "" : "?", query);
  return http;
}

Result<HttpResponse> AzureClient::perform(const AzureRequest& request, std::string_view what) {
  for (bool again = false;; again = true) {
    TRY_ASSIGN_CTX(HttpRequest http, prepare(request), what);
    TRY_ASSIGN_CTX(HttpResponse answer, http_->perform(std::move(http)), what);
    TRY(wait_as_asked(answer, settings_.cloud, what));
    if (again) return answer;
    if (answer.status == 401 && tokens_ != nullptr) {
      tokens_->invalidate();
    } else if (answer.status != 403 || !correct_clock(answer)) {
      return answer;
    }
  }
}

/// Whether a request was refused for its time, and may be signed again with another.
bool AzureClient::correct_clock(const HttpResponse& answer) {
  if (settings_.key_type != AzureKeyType::kShared || error_code(answer) != "AuthenticationFailed") return false;
  const auto theirs = parse_http_date(answer.header("date"));
  if (!theirs || std::chrono::abs(now() - *theirs) < kClockSkewMax) return false;
  const auto skew = *theirs - settings_.cloud.clock->now();
  if (skew_us_.exchange(skew.count()) == 0)
    log_warn("{}: the clock of this machine is {} s {}; requests are signed with the service's time", place_,
             std::abs(std::chrono::duration_cast<std::chrono::seconds>(skew).count()),
             skew.count() > 0 ? "slow" : "fast");
  return true;
}

Result<std::unique_ptr<HttpCall>> AzureClient::start(const AzureRequest& request, std::string_view what) {
  TRY_ASSIGN_CTX(HttpRequest http, prepare(request), what);
  return http_->start(std::move(http));
}

std::string AzureClient::error_code(const HttpResponse& answer) {
  // In a header whatever the method; the body, which says more, does not come after HEAD.
  const std::string_view code = answer.header("x-ms-error-code");
  return code.empty() ? read_xml_failure(answer).code : std::string(code);
}

Error AzureClient::failure(const HttpResponse& answer, const AzureRequest& request, std::string_view what) const {
  CloudFailure failure = read_xml_failure(answer);
  // The service writes the number and the time of the request into the sentence too.
  if (const size_t at = failure.message.find(" RequestId:"); at != std::string::npos) failure.message.resize(at);
  Error error = cloud_error(failure, request.call, what);
  // Only these say that a name is taken; other conflicts (a container that is being deleted) are not about the object.
  static constexpr std::array<std::string_view, 5> kTaken{
      "BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "UnauthorizedBlobOverwrite", "InvalidBlobType"};
  const bool taken = std::ranges::find(kTaken, failure.code) != kTaken.end();
  if (taken && request.call == CloudCall::kCreate) return std::move(error).with_code(Errc::kAlreadyExists);
  // Absence is proven only if the service says that it is the blob that is missing; a proxy's 404 says nothing.
  if (error.code() == Errc::kNotFound && failure.code != "BlobNotFound")
    error = std::move(error).with_code(Errc::kInvalid);
  if (error.code() == Errc::kAlreadyExists) error = std::move(error).with_code(Errc::kOutcomeUnknown);
  return hinted(std::move(error), failure);
}

Error AzureClient::hinted(Error error, const CloudFailure& failure) const {
  const std::string& label = settings_.cloud.label;
  const std::string& code = failure.code;
  if (failure.status == 403 && sas_end_ && *sas_end_ < settings_.cloud.clock->now())
    return std::move(error).with_hint(fmt::format(
        "the shared access signature in {}-azure-key ended at {}; set a new one", label, format_http_date(*sas_end_)));
  if (code == "AuthenticationFailed" || code == "InvalidAuthenticationInfo") {
    if (settings_.key_type == AzureKeyType::kSas)
      return std::move(error).with_hint(
          fmt::format("see whether the shared access signature in {}-azure-key is whole and still good", label));
  }
  if (code == "KeyBasedAuthenticationNotPermitted")
    return std::move(error).with_hint(fmt::format(
        "the account takes no keys: set {}-azure-key-type=auto to use the machine's managed identity", label));
  if (code == "AuthorizationPermissionMismatch" || code == "AuthorizationResourceTypeMismatch")
    return std::move(error).with_hint(
        settings_.key_type == AzureKeyType::kManagedIdentity
            ? "give the managed identity the role Storage Blob Data Contributor on the container"
            : "the shared access signature has to allow read, create, write, delete and list, and tags if there are "
              "any");
  if (code == "AuthorizationFailure" || code == "AuthorizationSourceIPMismatch")
    return std::move(error).with_hint("see whether the network rules of the account let this machine in");
  if (code == "BlobImmutableDueToPolicy" || code == "BlobImmutableDueToLegalHold")
    return std::move(error).with_hint("it cannot be deleted yet: an immutability policy or a legal hold keeps it");
  return error;
}

}  // namespace pgark
