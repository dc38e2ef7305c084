// What the stores behind HTTP share: the meaning of refusals, endpoints, prefixes and times.
#include "store/cloud_errors.h"

#include <gtest/gtest.h>

#include "store/cloud_util.h"

namespace pgark {
namespace {

HttpResponse answer(int status, std::string_view body, std::vector<HttpHeader> headers = {}) {
  HttpResponse response;
  response.status = status;
  response.body.append(as_bytes(body));
  response.headers = std::move(headers);
  return response;
}

TEST(CloudErrors, ReadTheDocumentsOfS3AndAzure) {
  const auto s3 = read_xml_failure(
      answer(403,
             "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access\nDenied</Message><RequestId>R1"
             "</RequestId></Error>"));
  EXPECT_EQ(s3.code, "AccessDenied");
  EXPECT_EQ(s3.message, "Access Denied");
  EXPECT_EQ(s3.request_id, "R1");
  const auto head = read_xml_failure(answer(404, "", {{"x-ms-error-code", "BlobNotFound"}, {"x-ms-request-id", "R2"}}));
  EXPECT_EQ(head.code, "BlobNotFound");
  EXPECT_EQ(head.request_id, "R2");
  const auto sts =
      read_xml_failure(answer(400, "<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>"));
  EXPECT_EQ(sts.code, "ExpiredToken");
  for (const char* odd : {"", "<html>gateway", "<Error>", "\x01\x02"}) {
    const auto failure = read_xml_failure(answer(502, odd));
    EXPECT_EQ(failure.status, 502);
    EXPECT_EQ(failure.code, "");
  }
}

TEST(CloudErrors, ReadTheDocumentsOfGoogle) {
  const auto limited = read_json_failure(
      answer(403, R"({"error":{"code":403,"message":"Slow\tdown","errors":[{"reason":"rateLimitExceeded"}]}})"));
  EXPECT_EQ(limited.code, "rateLimitExceeded");
  EXPECT_EQ(limited.message, "Slow down");
  EXPECT_EQ(read_json_failure(answer(400, R"({"error":"invalid_grant","error_description":"no"})")).code,
            "invalid_grant");
  EXPECT_EQ(read_json_failure(answer(503, "come again")).message, "come again");
  for (const char* odd : {"", "[]", "{", R"({"error":7})", R"({"error":{"errors":[]}})", "<html>"})
    EXPECT_EQ(read_json_failure(answer(500, odd)).code, "") << odd;
}

TEST(CloudErrors, SayWhatTheCallerMayDo) {
  struct Case {
    int status;
    const char* code;
    Errc read, repeat, create;
  };
  using enum Errc;
  const std::vector<Case> cases{
      {404, "NoSuchKey", kNotFound, kNotFound, kNotFound},
      {404, "", kNotFound, kNotFound, kNotFound},
      {404, "NoSuchBucket", kInvalid, kInvalid, kInvalid},
      {404, "ContainerNotFound", kInvalid, kInvalid, kInvalid},
      {412, "PreconditionFailed", kTransient, kTransient, kAlreadyExists},
      {409, "BlobAlreadyExists", kTransient, kTransient, kAlreadyExists},
      {409, "BlobImmutableDueToPolicy", kPermission, kPermission, kPermission},
      {409, "ConditionalRequestConflict", kTransient, kTransient, kTransient},
      {403, "AccessDenied", kPermission, kPermission, kPermission},
      {401, "", kPermission, kPermission, kPermission},
      {403, "rateLimitExceeded", kTransient, kTransient, kTransient},
      {400, "ExpiredToken", kPermission, kPermission, kPermission},
      {400, "BadDigest", kTransient, kTransient, kTransient},
      {400, "RequestTimeout", kTransient, kTransient, kTransient},
      {400, "InvalidArgument", kInvalid, kInvalid, kInvalid},
      {403, "InvalidObjectState", kUnsupported, kUnsupported, kUnsupported},
      {403, "QuotaExceeded", kNoSpace, kNoSpace, kNoSpace},
      {507, "", kNoSpace, kNoSpace, kNoSpace},
      {501, "NotImplemented", kUnsupported, kUnsupported, kUnsupported},
      {503, "SlowDown", kTransient, kTransient, kTransient},
      {429, "", kTransient, kTransient, kTransient},
      {503, "", kTransient, kTransient, kOutcomeUnknown},
      {500, "InternalError", kTransient, kTransient, kOutcomeUnknown},
      {500, "OperationTimedOut", kTransient, kTransient, kOutcomeUnknown},
      {504, "", kTransient, kTransient, kOutcomeUnknown},
      {301, "PermanentRedirect", kInvalid, kInvalid, kInvalid},
  };
  for (const Case& one : cases) {
    const CloudFailure failure{.status = one.status, .code = one.code};
    EXPECT_EQ(cloud_errc(failure, CloudCall::kRead), one.read) << one.status << one.code;
    EXPECT_EQ(cloud_errc(failure, CloudCall::kRepeat), one.repeat) << one.status << one.code;
    EXPECT_EQ(cloud_errc(failure, CloudCall::kCreate), one.create) << one.status << one.code;
  }
}

TEST(CloudErrors, NameWhatWasDoneAndTheNextStep) {
  const Error error =
      cloud_error({.status = 404, .code = "NoSuchBucket", .message = "It is not there.", .request_id = "R"},
                  CloudCall::kRead, "read object 'k' in repo1 at s3://b/");
  EXPECT_EQ(error.message(),
            "read object 'k' in repo1 at s3://b/: HTTP 404 NoSuchBucket: It is not there (request id R)");
  ASSERT_EQ(error.hints().size(), 1u);
}

TEST(CloudErrors, ForeignTextStaysOnOneLine) {
  EXPECT_EQ(one_line("a\r\nb\x1b[31m \n"), "a  b [31m");
  EXPECT_EQ(one_line(std::string(1000, 'x')).size(), 300u);
}

TEST(CloudUtil, ReadsEndpoints) {
  const auto check = [](std::string_view text, std::string_view origin) {
    const auto endpoint = parse_cloud_endpoint(text, "repo1-s3-endpoint");
    ASSERT_TRUE(endpoint.has_value()) << endpoint.error().to_string();
    EXPECT_EQ(endpoint->origin(), origin) << text;
  };
  check("s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com");
  check("Minio:9000", "https://minio:9000");
  check("http://127.0.0.1:9000/", "http://127.0.0.1:9000");
  check("https://h:443", "https://h");
  check("http://h:80", "http://h");
  check("http://[::1]:9000", "http://[::1]:9000");
  check("[fe80::1]", "https://[fe80::1]");
  for (const char* bad : {"", "http://", "ftp://h", "h:", "h:0", "h:65536", "h:1x", "h/path", "a b", "user@h", "[::1",
                          "[::1]9000", "h:1:2", "http://h?x"})
    EXPECT_FALSE(parse_cloud_endpoint(bad, "o").has_value()) << bad;
}

TEST(CloudUtil, ChecksPrefixes) {
  for (const char* good : {"", "a/", "a/b c/", "ä+&/", "a.b/...c/"}) EXPECT_TRUE(check_cloud_prefix(good).has_value());
  for (const std::string& bad :
       {std::string("a"), std::string("/"), std::string("/a/"), std::string("a//b/"), std::string("a/../b/"),
        std::string("./"), std::string("a\n/"), std::string(512, 'x') + "/"})
    EXPECT_FALSE(check_cloud_prefix(bad).has_value()) << bad;
}

TEST(CloudUtil, ReadsTimes) {
  const auto time = Timestamp(std::chrono::sys_days{std::chrono::year{2026} / 11 / 22}) + std::chrono::hours(22) +
                    std::chrono::minutes(10) + std::chrono::seconds(5);
  EXPECT_EQ(parse_http_date("Sun, 22 Nov 2026 22:10:05 GMT"), time);
  EXPECT_EQ(parse_utc_time("2026-11-22T22:10:05Z"), time);
  EXPECT_EQ(parse_utc_time("2026-11-22T22:10:05.250Z"), time + std::chrono::milliseconds(250));
  EXPECT_EQ(parse_utc_time("2026-11-22T22:10:05.1234567Z"), time + std::chrono::microseconds(123456));
  EXPECT_EQ(format_basic_time(time), "20261122T221005Z");
  for (const char* bad : {"", "now", "Sun, 32 Nov 2026 22:10:05 GMT", "Sun, 22 Non 2026 22:10:05 GMT",
                          "Sun, 22 Nov 2026 22:10:05 CET", "2026-11-22T22:10:05", "2026-13-22T22:10:05Z"}) {
    EXPECT_FALSE(parse_http_date(bad).has_value()) << bad;
    EXPECT_FALSE(parse_utc_time(bad).has_value()) << bad;
  }
}

TEST(CloudUtil, MarksAreNeverTheSame) {
  EXPECT_EQ(new_writer_mark().size(), 32u);
  EXPECT_NE(new_writer_mark(), new_writer_mark());
}

}  // namespace
}  // namespace pgark
