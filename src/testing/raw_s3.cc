// AWS Signature Version 4 as "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference describes it.
#include "testing/raw_s3.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <utility>

namespace pgark::testing {
namespace {

std::string sha256(std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned bytes = 0;
  (void)EVP_Digest(data.data(), data.size(), out.data(), &bytes, EVP_sha256(), nullptr);
  return {reinterpret_cast<const char*>(out.data()), bytes};
}

std::string hmac_sha256(std::string_view key, std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned bytes = 0;
  (void)HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(data.data()), data.size(), out.data(), &bytes);
  return {reinterpret_cast<const char*>(out.data()), bytes};
}

std::string hex(std::string_view data) {
  std::string out;
  for (const char c : data) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &utc)};
}

std::string join_query(HttpHeaders query) {
  for (auto& [name, value] : query) {
    name = percent_encode(name, false);
    value = percent_encode(value, false);
  }
  std::sort(query.begin(), query.end());
  std::string out;
  for (const auto& [name, value] : query) out += fmt::format("{}{}={}", out.empty() ? "" : "&", name, value);
  return out;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// Value of the Authorization header; `headers` are all that is signed.
std::string authorization(const S3Endpoint& at, const std::string& method, const std::string& path,
                          const std::string& query, HttpHeaders headers, const std::string& body_hash,
                          const std::string& time) {
  for (auto& [name, value] : headers) name = lower(name);
  std::sort(headers.begin(), headers.end());
  std::string canonical;
  std::string names;
  for (const auto& [name, value] : headers) {
    canonical += fmt::format("{}:{}\n", name, value);
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string request = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", method, path, query, canonical, names, body_hash);
  const std::string day = time.substr(0, 8);
  const std::string scope = fmt::format("{}/{}/s3/aws4_request", day, at.region);
  const std::string to_sign = fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", time, scope, hex(sha256(request)));
  std::string key = "AWS4" + at.keys.secret;
  for (const std::string& step : {day, at.region, std::string("s3"), std::string("aws4_request")}) {
    key = hmac_sha256(key, step);
  }
  return fmt::format("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}", at.keys.access_key, scope,
                     names, hex(hmac_sha256(key, to_sign)));
}

}  // namespace

std::string S3Endpoint::url() const { return fmt::format("http://{}:{}", host, port); }

RawS3 RawS3::with_keys(S3Keys keys) const {
  S3Endpoint other = endpoint_;
  other.keys = std::move(keys);
  return RawS3(std::move(other));
}

Result<HttpReply> RawS3::request(const std::string& method, const std::string& path, HttpHeaders query,
                                 std::string_view body, HttpHeaders headers) const {
  const std::string encoded_path = percent_encode(path, true);
  const std::string encoded_query = join_query(std::move(query));
  const std::string time = utc_now();
  const std::string body_hash = hex(sha256(body));
  headers.emplace_back("Host", fmt::format("{}:{}", endpoint_.host, endpoint_.port));
  headers.emplace_back("x-amz-date", time);
  headers.emplace_back("x-amz-content-sha256", body_hash);
  if (!endpoint_.keys.token.empty()) headers.emplace_back("x-amz-security-token", endpoint_.keys.token);
  headers.emplace_back("Authorization",
                       authorization(endpoint_, method, encoded_path, encoded_query, headers, body_hash, time));
  const std::string target = encoded_query.empty() ? encoded_path : encoded_path + "?" + encoded_query;
  return http_exchange(endpoint_.host, endpoint_.port, method, target, headers, body);
}

Result<> RawS3::create_bucket(const std::string& bucket, const HttpHeaders& headers) const {
  return expect_success(request("PUT", "/" + bucket, {}, {}, headers), "create bucket " + bucket);
}

Result<> RawS3::put(const std::string& bucket, const std::string& key, std::string_view content) const {
  return expect_success(request("PUT", "/" + bucket + "/" + key, {}, content), "put " + key);
}

Result<std::string> RawS3::get(const std::string& bucket, const std::string& key) const {
  auto reply = request("GET", "/" + bucket + "/" + key);
  TRY(expect_success(reply, "get " + key));
  return std::move(reply->body);
}

Result<> RawS3::remove(const std::string& bucket, const std::string& key) const {
  return expect_success(request("DELETE", "/" + bucket + "/" + key), "remove " + key);
}

Result<std::vector<std::string>> RawS3::list(const std::string& bucket, const std::string& prefix) const {
  return list_pages([&](const HttpHeaders& query) { return request("GET", "/" + bucket, query); },
                    {{"list-type", "2"}, {"prefix", prefix}}, "Key", "continuation-token", "NextContinuationToken");
}

Result<std::vector<std::string>> RawS3::unfinished_uploads(const std::string& bucket) const {
  auto reply = request("GET", "/" + bucket, {{"uploads", ""}});
  TRY(expect_success(reply, "list uploads of " + bucket));
  return xml_values(reply->body, "Key");
}

Result<std::string> RawS3::new_bucket(const HttpHeaders& headers) const {
  std::string name = unique_name("pgark");
  TRY(create_bucket(name, headers));
  return name;
}

std::string unique_name(std::string_view prefix) {
  static std::atomic<unsigned> next{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  // The time too: numbers of processes come again while a shared server lives.
  return fmt::format("{}-{}-{:x}-{}", prefix, ::getpid(),
                     std::chrono::duration_cast<std::chrono::milliseconds>(now).count() & 0xffffffff, next++);
}

}  // namespace pgark::testing
