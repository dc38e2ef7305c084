// What a store behind HTTP says when it refuses, and what our caller may do about it. Shared by S3, Azure and GCS.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "net/http_client.h"

namespace pgark {

struct CloudFailure {
  int status = 0;
  std::string code{};        // The store's word: "SlowDown", "AuthenticationFailed", "rateLimitExceeded"; may be empty.
  std::string message{};     // The store's sentence, on one line, at most 300 bytes.
  std::string request_id{};  // What its operator finds the request by.
};

/// Read the <Error> document of S3 and Azure; headers where there is no body, as after HEAD.
CloudFailure read_xml_failure(const HttpResponse& response);
/// Read the {"error": ...} document of Google's JSON API and of OAuth services.
CloudFailure read_json_failure(const HttpResponse& response);

/// What was asked, as far as a failure's meaning depends on it.
enum class CloudCall : unsigned char {
  kRead,    // GET, HEAD, listings: nothing changes.
  kRepeat,  // A part, a deletion: done twice it is as if done once.
  kCreate,  // Makes an object under a condition: if the answer is lost, it may exist.
};

/// The code of a failure: 404 of an object kNotFound, of a bucket or container kInvalid; taken names kAlreadyExists;
/// throttling, time-outs, damage on the way and 5xx kTransient, for kCreate kOutcomeUnknown where it may have happened;
/// quotas kNoSpace; refusals kPermission (also by locks and immutability); 501 kUnsupported; the rest kInvalid.
Errc cloud_errc(const CloudFailure& failure, CloudCall call);

/// "WHAT: HTTP 403 AccessDenied: Access Denied (request id ...)" with code and hints. `what`: "verb object 'k' in
/// repo1 at ...".
Error cloud_error(const CloudFailure& failure, CloudCall call, std::string_view what);

/// Foreign text as part of one line of ours: control characters become spaces, at most `bytes_max` bytes.
std::string one_line(std::string_view text, size_t bytes_max = 300);

}  // namespace pgark
