// The places temporary credentials of AWS come from: token service, container, instance, program. Each asks once and
// keeps nothing.
#pragma once

#include <optional>
#include <string>

#include "net/http_client.h"
#include "store/aws_credentials.h"
#include "store/environment.h"

namespace pgark {

struct WebIdentity {
  std::string token_file;  // Read each time: whoever put it there replaces it before it expires.
  std::string role_arn;
  std::string session_name{};  // Empty: "pgark".
  std::string region{};        // Empty: the global endpoint.
};

/// AssumeRoleWithWebIdentity, at AWS_ENDPOINT_URL_STS or the region's endpoint.
/// Errors: kPermission if it is refused; kTransient if the service is not reached. The token is in no text.
Result<AwsCredentials> web_identity_credentials(HttpClient& http, const WebIdentity& identity, const Environment& env);

/// Of a container, where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI says; nothing if neither is set.
/// Errors: kInvalid for an address that would send the authorization token elsewhere in clear; kPermission;
///         kTransient.
Result<std::optional<AwsCredentials>> container_credentials(HttpClient& http, const Environment& env);

/// Of an instance, by its metadata service, version 2. `role`: empty for the one the service names.
/// Errors: kPermission if the instance has no role; kTransient if the service is not reached.
Result<AwsCredentials> instance_credentials(HttpClient& http, const std::string& role, const Environment& env);

/// Of a program that writes JSON to its standard output, as AWS's tools define credential_process.
/// Errors: kPermission if it fails; kInvalid if it prints something else; kTransient if it does not end.
Result<AwsCredentials> process_credentials(const std::string& command, std::string_view origin);

}  // namespace pgark
