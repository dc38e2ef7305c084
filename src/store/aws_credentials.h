// Where the credentials of S3 requests come from, and that they are fresh when a request is signed.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/clock.h"
#include "core/result.h"
#include "store/environment.h"

namespace pgark {

struct AwsCredentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token{};         // Empty for those of a user.
  std::optional<Timestamp> expires{};  // None: they do not.
  std::string origin{};  // For messages: "repo1-s3-key", "~/.aws/credentials [default]", "instance metadata".
};

/// Safe from several threads.
class AwsCredentialSource {
 public:
  virtual ~AwsCredentialSource() = default;
  /// Credentials good for at least another minute: refreshed some minutes before they expire, so that an upload in the
  /// middle goes on; while a refresh fails and the old ones are still good, these.
  /// Errors: kPermission if there are none, naming where was looked; kTransient if the place that has them is not
  /// reached.
  virtual Result<AwsCredentials> get() = 0;
  /// The store said that they are not good (ExpiredToken): the next get() asks anew.
  virtual void invalidate() = 0;
};

struct S3Settings;
class HttpClient;
/// As settings.key_type says; kAuto looks in the order of AWS's tools: environment, web identity of the environment,
/// profile of ~/.aws, container, instance. `metadata_http` is for requests to metadata and token services: make it with
/// metadata_http_options(). It and `clock` must outlive the source.
/// Errors: kInvalid if a setting that the type needs is missing; nothing is asked yet.
Result<std::unique_ptr<AwsCredentialSource>> make_aws_credentials(const S3Settings& settings, HttpClient& metadata_http,
                                                                  Clock& clock,
                                                                  const Environment& env = process_environment());

}  // namespace pgark
