// Signatures against those AWS publishes: the examples of the S3 API Reference and of the IAM User Guide, and the test
// suite of Signature Version 4.
#include "store/aws_sigv4.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "codec/digest.h"

namespace pgark {
namespace {

std::string header_of(const HttpRequest& request, std::string_view name) {
  const auto found = std::find_if(request.headers.begin(), request.headers.end(),
                                  [&](const HttpHeader& header) { return header.name == name; });
  return found == request.headers.end() ? std::string() : found->value;
}

std::string signature_of(const HttpRequest& request) {
  const std::string authorization = header_of(request, "Authorization");
  const size_t at = authorization.find("Signature=");
  return at == std::string::npos ? authorization : authorization.substr(at + 10);
}

// -- Amazon S3 API Reference, "Examples: Signature Calculations": all of one key, day and bucket.

const AwsCredentials kS3Credentials{.access_key = "AKIAIOSFODNN7EXAMPLE",
                                    .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
const Timestamp kS3Time = std::chrono::sys_days{std::chrono::year{2013} / 5 / 24};
const SigV4Scope kS3Scope{"us-east-1", "s3"};

std::string sign_s3(HttpRequest request, std::string_view body = "") {
  request.url = "https://examplebucket.s3.amazonaws.com" + request.url;
  sign_sigv4(request, to_hex(sha256(body)), kS3Credentials, kS3Time, kS3Scope);
  EXPECT_TRUE(header_of(request, "Authorization")
                  .starts_with("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                               "SignedHeaders="));
  EXPECT_EQ(header_of(request, "x-amz-date"), "20130524T000000Z");
  return signature_of(request);
}

TEST(SigV4, SignsGetWithRangeAsPublished) {
  EXPECT_EQ(sign_s3({.method = "GET", .url = "/test.txt", .headers = {{"Range", "bytes=0-9"}}}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4, SignsPutAsPublished) {
  EXPECT_EQ(
      sign_s3({.method = "PUT",
               .url = "/test%24file.text",
               .headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}},
              "Welcome to Amazon S3."),
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(SigV4, SignsParameterWithoutValueAsPublished) {
  EXPECT_EQ(sign_s3({.method = "GET", .url = "/?lifecycle"}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(SigV4, SignsListingAsPublishedWhateverTheOrderOfParameters) {
  for (const char* url : {"/?max-keys=2&prefix=J", "/?prefix=J&max-keys=2"})
    EXPECT_EQ(sign_s3({.method = "GET", .url = url}),
              "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

// -- The suite of Signature Version 4: service "service", half past noon on 30 August 2015.

const AwsCredentials kSuiteCredentials{.access_key = "AKIDEXAMPLE",
                                       .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
const Timestamp kSuiteTime = Timestamp(std::chrono::sys_days{std::chrono::year{2015} / 8 / 30}) +
                             std::chrono::hours(12) + std::chrono::minutes(36);

std::string sign_suite(HttpRequest request, std::string_view body = "", std::string service = "service",
                       std::string host = "example.amazonaws.com") {
  request.url = "https://" + host + request.url;
  sign_sigv4(request, to_hex(sha256(body)), kSuiteCredentials, kSuiteTime, {"us-east-1", std::move(service)});
  EXPECT_EQ(header_of(request, "x-amz-content-sha256"), "");
  return signature_of(request);
}

TEST(SigV4, PassesTheSuiteOfAws) {
  constexpr std::string_view kVanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
  EXPECT_EQ(sign_suite({.method = "GET", .url = "/"}), kVanilla);
  EXPECT_EQ(sign_suite({.method = "GET", .url = ""}), kVanilla);
  EXPECT_EQ(sign_suite({.method = "POST", .url = "/"}),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
  EXPECT_EQ(sign_suite({.method = "GET", .url = "/?Param2=value2&Param1=value1"}),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  EXPECT_EQ(
      sign_suite(
          {.method = "GET", .url = "/", .headers = {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\" "}}}),
      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
  EXPECT_EQ(
      sign_suite({.method = "POST", .url = "/", .headers = {{"Content-Type", "application/x-www-form-urlencoded"}}},
                 "Param1=value1"),
      "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

TEST(SigV4, NormalizesAndEncodesPathsOfAllServicesButS3) {
  constexpr std::string_view kVanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
  for (const char* path : {"//", "/./", "/example/..", "/example1/example2/../.."})
    EXPECT_EQ(sign_suite({.method = "GET", .url = path}), kVanilla) << path;
  EXPECT_EQ(sign_suite({.method = "GET", .url = "/\u1234"}),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
  const HttpRequest odd{.method = "GET", .url = "https://h/b//a/../%20"};
  EXPECT_NE(sigv4_canonical(odd, kEmptySha256, true).request.find("\n/b//a/../%20\n"), std::string::npos);
  EXPECT_NE(sigv4_canonical(odd, kEmptySha256, false).request.find("\n/b/%2520\n"), std::string::npos);
}

TEST(SigV4, SignsTheExampleOfTheIamGuide) {
  EXPECT_EQ(sign_suite({.method = "GET",
                        .url = "/?Action=ListUsers&Version=2010-05-08",
                        .headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}}},
                       "", "iam", "iam.amazonaws.com"),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

TEST(SigV4, SignsTokenHostWithPortAndRepeatedHeaders) {
  HttpRequest request{.method = "GET", .url = "http://127.0.0.1:9000/b/k", .headers = {{"X-B", "1"}, {"x-b", "2"}}};
  AwsCredentials credentials = kSuiteCredentials;
  credentials.session_token = "token";
  sign_sigv4(request, kEmptySha256, credentials, kSuiteTime, {"r", "s3"});
  EXPECT_EQ(header_of(request, "x-amz-security-token"), "token");
  EXPECT_NE(header_of(request, "Authorization")
                .find("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-b,"),
            std::string::npos);
  const std::string text = sigv4_canonical(request, kEmptySha256, true).request;
  EXPECT_NE(text.find("host:127.0.0.1:9000\n"), std::string::npos) << text;
  EXPECT_NE(text.find("x-b:1,2\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace pgark
