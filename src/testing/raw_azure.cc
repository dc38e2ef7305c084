// "Authorize with Shared Key" of the Azure Storage REST reference.
#include "testing/raw_azure.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <utility>

#include "testing/raw_s3.h"

namespace pgark::testing {
namespace {

constexpr const char* kApiVersion = "2021-12-02";

std::string base64_encode(std::string_view data) {
  std::string out((data.size() + 2) / 3 * 4 + 1, '\0');
  const int bytes = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                    reinterpret_cast<const unsigned char*>(data.data()), static_cast<int>(data.size()));
  out.resize(static_cast<size_t>(bytes));
  return out;
}

std::string base64_decode(std::string_view text) {
  std::string out(text.size(), '\0');
  const int bytes = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                    reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  const auto padding = static_cast<size_t>(std::count(text.begin(), text.end(), '='));
  out.resize(bytes < 0 ? 0 : static_cast<size_t>(bytes) - padding);
  return out;
}

std::string hmac_base64(const std::string& key, const std::string& data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned bytes = 0;
  const std::string raw_key = base64_decode(key);
  (void)HMAC(EVP_sha256(), raw_key.data(), static_cast<int>(raw_key.size()),
             reinterpret_cast<const unsigned char*>(data.data()), data.size(), out.data(), &bytes);
  return base64_encode({reinterpret_cast<const char*>(out.data()), bytes});
}

std::string http_time() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return text;
}

// What the key signs: `headers` and `query` are sorted and have lower-case names.
std::string string_to_sign(const std::string& method, const std::string& resource,
                           const std::map<std::string, std::string>& headers,
                           const std::map<std::string, std::string>& query) {
  std::string out = method + "\n";
  for (const char* name : {"content-encoding", "content-language", "content-length", "content-md5", "content-type",
                           "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"}) {
    const auto found = headers.find(name);
    // An empty body has no length here, since version 2015-02-21.
    if (found != headers.end() && !(std::string_view(name) == "content-length" && found->second == "0"))
      out += found->second;
    out += "\n";
  }
  for (const auto& [name, value] : headers) {
    if (name.starts_with("x-ms-")) out += fmt::format("{}:{}\n", name, value);
  }
  out += resource;
  for (const auto& [name, value] : query) out += fmt::format("\n{}:{}", name, value);
  return out;
}

}  // namespace

std::string AzureEndpoint::url() const {
  return fmt::format("{}://{}:{}/{}", ca_file.empty() ? "http" : "https", host, port, account);
}

RawAzure RawAzure::with_key(std::string base64_key) const {
  AzureEndpoint other = endpoint_;
  other.key = std::move(base64_key);
  return RawAzure(std::move(other));
}

Result<HttpReply> RawAzure::request(const std::string& method, const std::string& path, const HttpHeaders& query,
                                    std::string_view body, HttpHeaders headers) const {
  const std::string encoded_path = percent_encode("/" + endpoint_.account + path, true);
  std::map<std::string, std::string> signed_query;
  std::string target = encoded_path;
  for (const auto& [name, value] : query) {
    signed_query[lower_case(name)] = value;
    target += fmt::format("{}{}={}", target == encoded_path ? "?" : "&", percent_encode(name, false),
                          percent_encode(value, false));
  }
  headers.emplace_back("x-ms-date", http_time());
  headers.emplace_back("x-ms-version", kApiVersion);
  std::map<std::string, std::string> signed_headers;
  for (const auto& [name, value] : headers) signed_headers[lower_case(name)] = value;
  if (!body.empty()) signed_headers["content-length"] = std::to_string(body.size());
  const std::string text = string_to_sign(method, "/" + endpoint_.account + encoded_path, signed_headers, signed_query);
  headers.emplace_back("Authorization",
                       fmt::format("SharedKey {}:{}", endpoint_.account, hmac_base64(endpoint_.key, text)));
  return http_exchange(endpoint_.host, endpoint_.port, method, target, headers, body);
}

Result<> RawAzure::put(const std::string& container, const std::string& blob, std::string_view content) const {
  return expect_success(request("PUT", "/" + container + "/" + blob, {}, content, {{"x-ms-blob-type", "BlockBlob"}}),
                        "put " + blob);
}

Result<std::string> RawAzure::get(const std::string& container, const std::string& blob) const {
  auto reply = request("GET", "/" + container + "/" + blob);
  TRY(expect_success(reply, "get " + blob));
  return std::move(reply->body);
}

Result<> RawAzure::remove(const std::string& container, const std::string& blob) const {
  return expect_success(request("DELETE", "/" + container + "/" + blob), "remove " + blob);
}

Result<std::vector<std::string>> RawAzure::list(const std::string& container, const std::string& prefix) const {
  return list_pages([&](const HttpHeaders& query) { return request("GET", "/" + container, query); },
                    {{"restype", "container"}, {"comp", "list"}, {"prefix", prefix}}, "Name", "marker", "NextMarker");
}

Result<std::string> RawAzure::new_container() const {
  std::string name = unique_name("pgark");
  TRY(expect_success(request("PUT", "/" + name, {{"restype", "container"}}), "create container"));
  return name;
}

}  // namespace pgark::testing
