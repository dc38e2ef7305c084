// Signature Version 4 of AWS: what makes a request one of somebody who knows a secret key.
#pragma once

#include <string>
#include <string_view>

#include "core/clock.h"
#include "net/http_client.h"
#include "store/aws_credentials.h"

namespace pgark {

struct SigV4Scope {
  std::string region;
  std::string service;  // "s3", "sts", ...
};

/// The payload hash of requests without a body.
inline constexpr std::string_view kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Add x-amz-date, x-amz-security-token (of temporary credentials), for service "s3" x-amz-content-sha256, and
/// Authorization. Every header that is there is signed, and so are method, host, path, query and body.
/// Shape:  `request.url` is absolute and encoded as it will be sent: path and query by url_encode(). Its parameters may
///         stand in any order, "uploads" without '=' too. `payload_sha256` is in hexadecimal.
/// Source: AWS IAM User Guide, "Create a signed AWS API request"; Amazon S3 API Reference, "Signature Calculations for
///         the Authorization Header": S3 neither normalizes paths nor encodes them a second time, all others do.
void sign_sigv4(HttpRequest& request, std::string_view payload_sha256, const AwsCredentials& credentials, Timestamp now,
                const SigV4Scope& scope);

/// The text whose hash is signed, and the names of the headers in it: for tests, and for what a server says about it.
struct SigV4Canonical {
  std::string request;
  std::string signed_headers;  // "host;range;x-amz-date"
};
SigV4Canonical sigv4_canonical(const HttpRequest& request, std::string_view payload_sha256, bool is_s3);

}  // namespace pgark
