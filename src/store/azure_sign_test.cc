// Signatures and checksums of requests to Azure Storage, and ranges of answers, against values made elsewhere.
#include "store/azure_sign.h"

#include <gtest/gtest.h>

#include "codec/encoding.h"
#include "store/azure_crc64.h"
#include "store/http_range.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;

/// The published key of Azure's emulators. The signatures were made with Python's hmac module.
std::vector<std::byte> emulator_key() {
  return base64_decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
      .value();
}

TEST(AzureSign, MatchesTheExampleOfTheDocumentation) {
  // Microsoft, "Authorize with Shared Key": Get Container Metadata.
  const AzureRequestToSign request{
      .method = "GET",
      .account = "myaccount",
      .path = "/mycontainer",
      .query = {{"restype", "container"}, {"comp", "metadata"}, {"timeout", "20"}},
      .headers = {{"x-ms-version", "2015-02-21"}, {"x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"}},
  };
  EXPECT_EQ(azure_string_to_sign(request),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
            "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20");
  EXPECT_EQ(azure_authorization(request, emulator_key()),
            "SharedKey myaccount:1u9lui2jDxj0+fpbHjQ5m5NnastJRSYM+PSmfi8TXx4=");
}

TEST(AzureSign, SignsHeadersLengthAndEncodedPath) {
  const AzureRequestToSign request{
      .method = "PUT",
      .account = "acct",
      .path = "/acct/box/a/b%20c",  // The account a second time, as addresses of path style have it.
      .headers = {{"If-None-Match", "*"},
                  {"x-ms-tags", " a=b%20c "},
                  {"Content-Type", "application/octet-stream"},
                  {"X-Ms-Version", "2021-12-02"},
                  {"Content-MD5", "XrY7u+Ae7tCTyyK7j1rNww=="},
                  {"x-ms-date", "Sun, 22 Nov 2026 10:15:00 GMT"},
                  {"User-Agent", "not signed"},
                  {"x-ms-blob-type", "BlockBlob"}},
      .body_bytes = 11,
  };
  EXPECT_EQ(azure_authorization(request, emulator_key()),
            "SharedKey acct:aA81G09OnXUq96Z/rXWyPN/Jof61Ut9dFf6FrShtKd0=");
  AzureRequestToSign other = request;
  other.body_bytes = 12;
  EXPECT_NE(azure_authorization(other, emulator_key()), azure_authorization(request, emulator_key()));
}

TEST(AzureSign, JoinsValuesOfAParameterInOrder) {
  const AzureRequestToSign request{
      .method = "GET", .account = "a", .path = "/c", .query = {{"Include", "tags"}, {"include", "metadata"}}};
  EXPECT_TRUE(azure_string_to_sign(request).ends_with("/a/c\ninclude:metadata,tags"));
}

TEST(AzureSign, WritesDatesInEnglish) {
  const auto time = Timestamp(std::chrono::sys_days(std::chrono::year(2026) / 11 / 22)) + 10h + 15min + 999999us;
  EXPECT_EQ(format_http_date(time), "Sun, 22 Nov 2026 10:15:00 GMT");
  EXPECT_EQ(format_http_date(Timestamp()), "Thu, 01 Jan 1970 00:00:00 GMT");
}

TEST(AzureCrc64, HasTheCheckValueOfNvme) {
  EXPECT_EQ(azure_crc64(as_bytes("123456789")), 0xae8b14860a799888u);
  EXPECT_EQ(azure_crc64({}), 0u);
  EXPECT_EQ(azure_crc64_header(as_bytes("hello world")), "vo7q9sPVKY0=");
  std::string text;
  for (int i = 0; i < 3 * 256; ++i) text += static_cast<char>(i);
  EXPECT_EQ(azure_crc64(as_bytes(text)), 0x4ef1921c56f5c1a6u);
}

HttpResponse partial(std::string_view range, size_t filled, int status = 206) {
  HttpResponse answer;
  answer.status = status;
  answer.headers = {{"content-range", std::string(range)}};
  answer.into_bytes = filled;
  return answer;
}

TEST(HttpRange, IsWrittenWithItsLastByte) {
  EXPECT_EQ(http_range(0, 1), "bytes=0-0");
  EXPECT_EQ(http_range(10, 10), "bytes=10-19");
  EXPECT_EQ(http_range(~uint64_t{0} - 1, 10), "bytes=18446744073709551614-18446744073709551615");
}

TEST(HttpRange, IsShortOnlyAtTheEnd) {
  EXPECT_EQ(check_range_answer(partial("bytes 10-19/100", 10), 10, 10).value(), 10u);
  EXPECT_EQ(check_range_answer(partial("bytes 90-99/100", 10), 90, 50).value(), 10u);
  EXPECT_EQ(check_range_answer(partial("bytes 10-14/100", 5), 10, 10).error().code(), Errc::kTransient);
  EXPECT_EQ(check_range_answer(partial("bytes 90-99/100", 9), 90, 50).error().code(), Errc::kTransient);
}

TEST(HttpRange, TakesAnEmptyRangeForTheEnd) {
  EXPECT_EQ(check_range_answer(partial("bytes 100-99/100", 0), 100, 10).value(), 0u);
  EXPECT_EQ(check_range_answer(partial("bytes 0--1/0", 0), 0, 10).value(), 0u);
  EXPECT_FALSE(check_range_answer(partial("bytes 50-49/100", 0), 50, 10).has_value());
}

TEST(HttpRange, RefusesOtherBytesThanWereAskedFor) {
  for (const char* range : {"", "bytes 0-9/100", "bytes 11-20/100", "bytes 10-19/*", "bytes 10-19", "items 10-19/100",
                            "bytes 10-19/15", "bytes 10-19/100x", "bytes -10/100"})
    EXPECT_EQ(check_range_answer(partial(range, 10), 10, 10).error().code(), Errc::kCorrupt) << range;
  EXPECT_EQ(check_range_answer(partial("", 7, 200), 0, 10).value(), 7u);
  EXPECT_EQ(check_range_answer(partial("", 7, 200), 1, 10).error().code(), Errc::kCorrupt);
}

}  // namespace
}  // namespace pgark
