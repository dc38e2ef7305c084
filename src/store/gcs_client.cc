// Requests to one bucket of Google Cloud Storage over its JSON API.
#include "store/gcs_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "codec/encoding.h"
#include "store/cloud_util.h"

namespace pgark {
namespace {

using Json = nlohmann::json;

Error corrupt(std::string_view what) { return Error(Errc::kCorrupt, fmt::format("read the answer: {}", what)); }

std::string text_of(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Result<GcsObject> read_object(const Json& json) {
  if (!json.is_object()) return corrupt("it is not the resource of an object");
  GcsObject object{.name = text_of(json, "name")};
  const std::string bytes = text_of(json, "size");  // 64 bits do not fit a number of JSON.
  const auto [end, error] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), object.bytes);
  if (object.name.empty() || bytes.empty() || error != std::errc() || end != bytes.data() + bytes.size())
    return corrupt(fmt::format("an object '{}' of size '{}'", one_line(object.name), one_line(bytes, 40)));
  const std::string created = text_of(json, "timeCreated");
  const auto time = parse_utc_time(created);
  if (!time) return corrupt(fmt::format("the time of '{}' is '{}'", one_line(object.name), one_line(created, 40)));
  object.created = *time;
  object.crc32c = text_of(json, "crc32c");
  object.generation = text_of(json, "generation");
  if (const auto metadata = json.find("metadata"); metadata != json.end() && metadata->is_object())
    object.writer = text_of(*metadata, kWriterMarkName);
  return object;
}

Result<Json> parse_json(Bytes text) {
  Json json = Json::parse(as_text(text), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return corrupt("it is not JSON");
  return json;
}

bool is_bucket_name(std::string_view name) {
  return name.size() >= 3 && name.size() <= 222 && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

Result<GcsObject> parse_gcs_object(Bytes json) {
  TRY_ASSIGN(const Json document, parse_json(json));
  return read_object(document);
}

Result<GcsPage> parse_gcs_page(Bytes json) {
  TRY_ASSIGN(const Json document, parse_json(json));
  if (!document.is_object()) return corrupt("it is not a listing");
  GcsPage page{.objects = {}, .next_token = text_of(document, "nextPageToken")};
  const auto items = document.find("items");
  if (items == document.end()) return page;
  if (!items->is_array()) return corrupt("it is not a listing");
  for (const Json& item : *items) {
    TRY_ASSIGN(GcsObject object, read_object(item));
    page.objects.push_back(std::move(object));
  }
  return page;
}

std::string gcs_crc32c(uint32_t crc) {
  const std::array<std::byte, 4> bytes{std::byte(crc >> 24), std::byte(crc >> 16 & 0xff), std::byte(crc >> 8 & 0xff),
                                       std::byte(crc & 0xff)};
  return base64_encode(bytes);
}

Result<std::unique_ptr<GcsClient>> GcsClient::create(const GcsSettings& settings,
                                                     std::unique_ptr<BearerTokenSource> tokens) {
  const std::string& label = settings.cloud.label;
  if (!is_bucket_name(settings.bucket))
    return Error(Errc::kInvalid, fmt::format("read option {}-gcs-bucket: '{}' is not the name of a bucket", label,
                                             one_line(settings.bucket)));
  TRY(check_cloud_prefix(settings.cloud.prefix));
  TRY_ASSIGN(const CloudEndpoint endpoint, parse_cloud_endpoint(settings.endpoint, label + "-gcs-endpoint"));
  std::unique_ptr<GcsClient> client(new GcsClient);
  client->cloud_ = settings.cloud;
  client->tokens_ = std::move(tokens);
  client->origin_ = endpoint.origin();
  client->objects_path_ = fmt::format("/storage/v1/b/{}/o", settings.bucket);
  client->upload_path_ = "/upload" + client->objects_path_;
  client->user_project_ = settings.user_project;
  client->place_ = fmt::format("{} at gs://{}", label, settings.bucket);
  if (!settings.cloud.prefix.empty())
    client->place_ += "/" + settings.cloud.prefix.substr(0, settings.cloud.prefix.size() - 1);
  TRY_ASSIGN(client->http_, HttpClient::create(http_options(settings.cloud)));
  return client;
}

std::string GcsClient::object_path(std::string_view name) const {
  return fmt::format("{}/{}", objects_path_, url_encode(name));
}

Result<HttpRequest> GcsClient::prepare(const GcsRequest& request) {
  HttpRequest http;
  http.method = request.method;
  http.headers = request.headers;
  http.body = request.body;
  http.into = request.into;
  http.broken_off = request.broken_off;
  // A removal sent twice would say of what it has removed that it was not there.
  http.repeatable = request.call != CloudCall::kCreate && request.method != "DELETE";
  // A session's address is a secret that stands for the token; should it lead elsewhere, the token stays here.
  const bool ours = request.session.empty() || request.session.starts_with(origin_ + "/");
  if (ours) {
    TRY_ASSIGN(const std::string token, tokens_->get());
    http.headers.push_back({"Authorization", "Bearer " + token});
  }
  if (!request.session.empty()) {
    http.url = request.session;
    return http;
  }
  http.url = origin_ + request.path;
  char separator = '?';
  const auto add = [&](std::string_view name, std::string_view value) {
    http.url += fmt::format("{}{}={}", separator, url_encode(name), url_encode(value));
    separator = '&';
  };
  for (const auto& [name, value] : request.query) add(name, value);
  if (!user_project_.empty()) add("userProject", user_project_);
  return http;
}

Result<HttpResponse> GcsClient::perform(const GcsRequest& request, std::string_view what) {
  for (bool again = false;; again = true) {
    TRY_ASSIGN_CTX(HttpRequest http, prepare(request), what);
    TRY_ASSIGN_CTX(HttpResponse answer, http_->perform(std::move(http)), what);
    TRY(wait_as_asked(answer, cloud_, what));
    if (answer.status != 401 || again) return answer;
    tokens_->invalidate();
  }
}

Result<std::unique_ptr<HttpCall>> GcsClient::start(const GcsRequest& request, std::string_view what) {
  TRY_ASSIGN_CTX(HttpRequest http, prepare(request), what);
  return http_->start(std::move(http));
}

Error GcsClient::failure(const HttpResponse& answer, const GcsRequest& request, std::string_view what) const {
  CloudFailure failure = read_json_failure(answer);
  const std::string_view message = failure.message;
  const bool has_message = !message.empty();
  Error error = cloud_error(failure, request.call, what);
  if (error.code() == Errc::kNotFound) {
    // The object, the bucket, the session of an upload, or the guess of a proxy: only the sentence tells which.
    if (message.starts_with("No such object")) return error;
    error = std::move(error).with_code(Errc::kInvalid);
    if (message.find("bucket does not exist") != std::string_view::npos)
      return std::move(error).with_hint("create the bucket, or correct its name; pgark does not create it");
    return error;
  }
  const bool about = request.call == CloudCall::kCreate && has_message;
  // To replace an object one must be allowed to delete it; to create one, not. Asked of a creation, it was there.
  if (about && answer.status == 403 && message.find("storage.objects.delete") != std::string_view::npos)
    return std::move(error).with_code(Errc::kAlreadyExists);
  if (about && answer.status == 400 && message.find("match calculated") != std::string_view::npos)
    return std::move(error).with_code(Errc::kTransient);  // The checksum: it was damaged on the way.
  return hinted(std::move(error), failure);
}

Error GcsClient::hinted(Error error, const CloudFailure& failure) const {
  const std::string& code = failure.code;
  if (code == "retentionPolicyNotMet")
    return std::move(error).with_hint("it cannot be deleted yet: the bucket keeps objects for a time");
  if (code == "objectUnderActiveHold" || code == "ObjectUnderActiveHold")
    return std::move(error).with_hint("it cannot be deleted yet: a hold is on it");
  if (failure.status == 401)
    return std::move(error).with_hint(
        fmt::format("check {}-gcs-key and {}-gcs-key-type; a token that is given as an option ends after an hour",
                    cloud_.label, cloud_.label));
  if (code == "userProjectMissing" || failure.message.find("requester pays") != std::string::npos)
    return std::move(error).with_hint(
        fmt::format("the bucket lets its users pay: set {}-gcs-user-project", cloud_.label));
  if (failure.status == 403 && (code == "forbidden" || code == "insufficientPermissions"))
    return std::move(error).with_hint(
        "give the account the role Storage Object User (roles/storage.objectUser) on the bucket");
  return error;
}

Result<std::optional<GcsObject>> GcsClient::find(std::string_view name, std::string_view what) {
  GcsRequest request{.path = object_path(name)};
  request.query = {{"fields", std::string(kGcsObjectFields)}};
  TRY_ASSIGN(const HttpResponse answer, perform(request, what));
  if (answer.status == 200) {
    TRY_ASSIGN_CTX(GcsObject object, parse_gcs_object(answer.body), what);
    return std::optional(std::move(object));
  }
  Error error = failure(answer, request, what);
  if (error.code() == Errc::kNotFound) return std::optional<GcsObject>();
  return error;
}

}  // namespace pgark
