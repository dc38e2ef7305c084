#include "store/cloud_errors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

namespace pgark {
namespace {

template <size_t N>
bool is_one_of(std::string_view code, const std::array<std::string_view, N>& codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

// Words of S3, Azure and GCS by what they mean for us. Where a word decides it goes before the status, which the three
// choose differently.
// Sources: S3 API Reference "Error responses", Azure "Blob service error codes", GCS JSON API "HTTP status and error
// codes", the XML API's "HTTP status and error codes".

// Refused before anything was done; later it may work.
constexpr std::array<std::string_view, 15> kThrottled{"SlowDown",
                                                      "SlowDownRead",
                                                      "SlowDownWrite",
                                                      "Throttling",
                                                      "ThrottlingException",
                                                      "RequestLimitExceeded",
                                                      "RequestThrottled",
                                                      "TooManyRequests",
                                                      "BandwidthLimitExceeded",
                                                      "ServerBusy",
                                                      "rateLimitExceeded",
                                                      "userRateLimitExceeded",
                                                      "ConditionalRequestConflict",
                                                      "OperationAborted",
                                                      "conflict"};
// The bytes that arrived are not those that were sent; nothing was kept.
constexpr std::array<std::string_view, 9> kGarbled{
    "BadDigest",           "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch",
    "RequestTimeout",      "Md5Mismatch",   "Crc64Mismatch",  "XAmzContentChecksumMismatch",
    "MissingContentLength"};
constexpr std::array<std::string_view, 7> kTaken{"PreconditionFailed",
                                                 "BlobAlreadyExists",
                                                 "ConditionNotMet",
                                                 "conditionNotMet",
                                                 "TargetConditionNotMet",
                                                 "ObjectAlreadyExists",
                                                 "UnmodifiedSinceConditionNotMet"};
constexpr std::array<std::string_view, 4> kNoPlace{"NoSuchBucket", "ContainerNotFound", "InvalidBucketName",
                                                   "InvalidResourceName"};
constexpr std::array<std::string_view, 5> kFull{"QuotaExceeded", "quotaExceeded", "InsufficientCapacity",
                                                "InsufficientStorage", "XMinioStorageFull"};
constexpr std::array<std::string_view, 9> kLocked{"BlobImmutableDueToPolicy",
                                                  "BlobImmutableDueToLegalHold",
                                                  "SnapshotsPresent",
                                                  "LeaseIdMissing",
                                                  "ObjectLocked",
                                                  "InvalidRetentionPeriod",
                                                  "retentionPolicyNotMet",
                                                  "ObjectUnderActiveHold",
                                                  "objectUnderActiveHold"};
constexpr std::array<std::string_view, 13> kRefused{
    "AccessDenied",         "InvalidAccessKeyId",   "SignatureDoesNotMatch",    "ExpiredToken",   "InvalidToken",
    "TokenRefreshRequired", "RequestTimeTooSkewed", "RequestExpired",           "AccountProblem", "AllAccessDisabled",
    "AuthenticationFailed", "AuthorizationFailure", "InvalidAuthenticationInfo"};
constexpr std::array<std::string_view, 5> kFrozen{"InvalidObjectState", "BlobArchived", "BlobBeingRehydrated",
                                                  "InvalidBlobTier", "CannotVerifyCopySource"};

std::string child(const pugi::xml_node& node, const char* name) { return one_line(node.child_value(name)); }

std::string string_of(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? one_line(found->get_ref<const std::string&>()) : std::string();
}

Errc errc_of_status(int status, CloudCall call) {
  const Errc unknown = call == CloudCall::kCreate ? Errc::kOutcomeUnknown : Errc::kTransient;
  switch (status) {
    case 401:
    case 403:
    case 407:
      return Errc::kPermission;
    case 404:
    case 410:
      return Errc::kNotFound;
    case 409:
    case 412:
      // No other call carries a condition: another request on the same name was in the way.
      return call == CloudCall::kCreate ? Errc::kAlreadyExists : Errc::kTransient;
    case 408:
    case 425:
    case 429:
      return Errc::kTransient;
    case 501:
      return Errc::kUnsupported;
    case 507:
      return Errc::kNoSpace;
    default:
      return status >= 500 ? unknown : Errc::kInvalid;
  }
}

void add_hint(Error& error, const CloudFailure& failure) {
  const auto hint = [&](std::string text) { error = std::move(error).with_hint(std::move(text)); };
  const std::string& code = failure.code;
  if (is_one_of(code, kNoPlace)) {
    hint("create the bucket or container, or correct its name; pgark does not create it");
  } else if (code == "RequestTimeTooSkewed") {
    hint("set the clock of this machine; the store does not accept its time");
  } else if (code == "InvalidAccessKeyId" || code == "SignatureDoesNotMatch" || code == "AuthenticationFailed") {
    hint("check the key and its secret, and that they belong to this endpoint");
  } else if (code == "ExpiredToken" || code == "InvalidToken") {
    hint("the temporary credentials have ended; give new ones, or a key type that renews them");
  } else if (is_one_of(code, kFrozen)) {
    hint(
        "the object is in an archive tier: have the provider restore it, and keep repositories in a tier that is read "
        "at once");
  } else if (is_one_of(code, kFull)) {
    hint("raise the quota of the bucket or account, or let `pgark expire` remove backups");
  }
}

}  // namespace

std::string one_line(std::string_view text, size_t bytes_max) {
  std::string line;
  line.reserve(std::min(text.size(), bytes_max));
  for (const char c : text) {
    if (line.size() == bytes_max) break;
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 || byte == 0x7f ? ' ' : c;
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

CloudFailure read_xml_failure(const HttpResponse& response) {
  CloudFailure failure{.status = response.status};
  pugi::xml_document document;
  if (!response.body.empty() && document.load_buffer(response.body.data(), response.body.size())) {
    const pugi::xml_node error = document.child("Error") ? document.child("Error") : document.child("ErrorResponse");
    // STS nests it once more.
    const pugi::xml_node inner = error.child("Error") ? error.child("Error") : error;
    failure.code = child(inner, "Code");
    failure.message = child(inner, "Message");
    failure.request_id = child(error, "RequestId");
  }
  if (failure.code.empty()) failure.code = one_line(response.header("x-ms-error-code"));
  for (const char* name : {"x-amz-request-id", "x-ms-request-id", "x-goog-request-id"})
    if (failure.request_id.empty()) failure.request_id = one_line(response.header(name));
  return failure;
}

CloudFailure read_json_failure(const HttpResponse& response) {
  CloudFailure failure{.status = response.status};
  const std::string_view body = as_text(response.body.bytes());
  const auto document = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (document.is_object()) {
    const auto error = document.find("error");
    if (error != document.end() && error->is_object()) {
      failure.message = string_of(*error, "message");
      const auto errors = error->find("errors");
      if (errors != error->end() && errors->is_array() && !errors->empty() && errors->front().is_object())
        failure.code = string_of(errors->front(), "reason");
      if (failure.code.empty()) failure.code = string_of(*error, "status");
    } else {  // OAuth: {"error": "invalid_grant", "error_description": "..."}
      failure.code = string_of(document, "error");
      failure.message = string_of(document, "error_description");
    }
  } else if (!body.starts_with('<')) {
    failure.message = one_line(body);  // Uploads are refused in plain words.
  }
  for (const char* name : {"x-guploader-uploadid", "x-goog-request-id"})
    if (failure.request_id.empty()) failure.request_id = one_line(response.header(name), 64);
  return failure;
}

Errc cloud_errc(const CloudFailure& failure, CloudCall call) {
  const std::string& code = failure.code;
  if (is_one_of(code, kThrottled) || is_one_of(code, kGarbled)) return Errc::kTransient;
  if (is_one_of(code, kTaken) && call == CloudCall::kCreate) return Errc::kAlreadyExists;
  if (is_one_of(code, kNoPlace)) return Errc::kInvalid;
  if (is_one_of(code, kFull)) return Errc::kNoSpace;
  if (is_one_of(code, kLocked) || is_one_of(code, kRefused)) return Errc::kPermission;
  if (is_one_of(code, kFrozen)) return Errc::kUnsupported;
  if (code == "NotImplemented") return Errc::kUnsupported;
  return errc_of_status(failure.status, call);
}

Error cloud_error(const CloudFailure& failure, CloudCall call, std::string_view what) {
  std::string text = fmt::format("{}: HTTP {}", what, failure.status);
  if (!failure.code.empty()) text += " " + failure.code;
  if (!failure.message.empty()) {
    std::string_view message = failure.message;
    if (message.ends_with('.')) message.remove_suffix(1);
    text += fmt::format(": {}", message);
  }
  if (!failure.request_id.empty()) text += fmt::format(" (request id {})", failure.request_id);
  Error error(cloud_errc(failure, call), std::move(text));
  add_hint(error, failure);
  return error;
}

}  // namespace pgark
