// Signing of requests to Azure Storage: the canonical text of a request, and its HMAC-SHA256.
#include "store/azure_sign.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>

#include "codec/digest.h"
#include "codec/encoding.h"

namespace pgark {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string azure_string_to_sign(const AzureRequestToSign& request) {
  std::map<std::string, std::string> headers;
  for (const HttpHeader& header : request.headers) headers[lower(header.name)] = trimmed(header.value);
  // The service knows the length from the request; since 2015-02-21 a length of zero is signed as an empty line.
  headers["content-length"] = request.body_bytes == 0 ? "" : std::to_string(request.body_bytes);
  // The moment is in x-ms-date, and then the line of Date is empty.
  static constexpr std::array<std::string_view, 11> kStandard{
      "content-encoding",  "content-language", "content-length", "content-md5",         "content-type", "date",
      "if-modified-since", "if-match",         "if-none-match",  "if-unmodified-since", "range"};
  std::string text = request.method;
  for (const std::string_view name : kStandard) {
    text += '\n';
    if (const auto found = headers.find(std::string(name)); found != headers.end()) text += found->second;
  }
  text += '\n';
  for (const auto& [name, value] : headers)
    if (name.starts_with("x-ms-")) text += fmt::format("{}:{}\n", name, value);
  text += fmt::format("/{}{}", request.account, request.path);
  std::map<std::string, std::vector<std::string>> parameters;
  for (const auto& [name, value] : request.query) parameters[lower(name)].push_back(value);
  for (auto& [name, values] : parameters) {
    std::ranges::sort(values);
    text += fmt::format("\n{}:{}", name, fmt::join(values, ","));
  }
  return text;
}

std::string azure_authorization(const AzureRequestToSign& request, Bytes key) {
  return fmt::format("SharedKey {}:{}", request.account,
                     base64_encode(hmac_sha256(key, azure_string_to_sign(request))));
}

std::string format_http_date(Timestamp time) {
  // By hand: strftime() would write the names of days and months of the locale.
  static constexpr std::array<std::string_view, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<std::string_view, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  std::tm civil{};
  ::gmtime_r(&seconds, &civil);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[static_cast<size_t>(civil.tm_wday)],
                     civil.tm_mday, kMonths[static_cast<size_t>(civil.tm_mon)], civil.tm_year + 1900, civil.tm_hour,
                     civil.tm_min, civil.tm_sec);
}

}  // namespace pgark
