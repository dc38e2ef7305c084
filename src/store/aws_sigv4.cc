#include "store/aws_sigv4.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "codec/digest.h"
#include "store/cloud_util.h"

namespace pgark {
namespace {

struct UrlParts {
  std::string_view authority;
  std::string_view path;   // "/" if the URL has none.
  std::string_view query;  // Without '?'.
};

UrlParts split_url(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  UrlParts parts;
  const size_t query = url.find('?');
  if (query != std::string_view::npos) parts.query = url.substr(query + 1);
  url = url.substr(0, query);
  const size_t slash = url.find('/');
  parts.authority = url.substr(0, slash);
  parts.path = slash == std::string_view::npos ? "/" : url.substr(slash);
  return parts;
}

/// RFC 3986 section 5.2.4, with empty components dropped as well.
std::string normalized(std::string_view path) {
  std::vector<std::string_view> kept;
  const bool ends_at_slash = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (component == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (!component.empty() && component != ".") {
      kept.push_back(component);
    }
  }
  std::string out;
  for (const std::string_view component : kept) out.append("/").append(component);
  if (out.empty() || ends_at_slash) out += '/';
  return out;
}

std::string canonical_query(std::string_view query) {
  std::vector<std::pair<std::string_view, std::string_view>> parameters;
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(one.size() + 1, query.size()));
    if (one.empty()) continue;
    const size_t equal = one.find('=');
    parameters.emplace_back(one.substr(0, equal), equal == std::string_view::npos ? "" : one.substr(equal + 1));
  }
  std::sort(parameters.begin(), parameters.end());
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (!out.empty()) out += '&';
    out.append(name).append("=").append(value);
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return out;
}

/// Without spaces at both ends, and with one where there were several.
std::string trimmed(std::string_view value) {
  std::string out;
  for (const char c : value)
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

SigV4Canonical sigv4_canonical(const HttpRequest& request, std::string_view payload_sha256, bool is_s3) {
  const UrlParts url = split_url(request.url);
  std::vector<std::pair<std::string, std::string>> headers{{"host", std::string(url.authority)}};
  for (const HttpHeader& header : request.headers) headers.emplace_back(lower(header.name), trimmed(header.value));
  std::stable_sort(headers.begin(), headers.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

  SigV4Canonical canonical;
  std::string lines;
  for (size_t i = 0; i < headers.size();) {
    const std::string& name = headers[i].first;
    std::string value = headers[i].second;
    size_t next = i + 1;
    for (; next < headers.size() && headers[next].first == name; ++next) value.append(",").append(headers[next].second);
    lines.append(name).append(":").append(value).append("\n");
    if (!canonical.signed_headers.empty()) canonical.signed_headers += ';';
    canonical.signed_headers += name;
    i = next;
  }
  const std::string path = is_s3 ? std::string(url.path) : url_encode(normalized(url.path), /*keep_slash=*/true);
  canonical.request = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, path, canonical_query(url.query), lines,
                                  canonical.signed_headers, payload_sha256);
  return canonical;
}

void sign_sigv4(HttpRequest& request, std::string_view payload_sha256, const AwsCredentials& credentials, Timestamp now,
                const SigV4Scope& scope) {
  const bool is_s3 = scope.service == "s3";
  const std::string time = format_basic_time(now);
  const std::string day = time.substr(0, 8);
  request.headers.push_back({"x-amz-date", time});
  if (is_s3) request.headers.push_back({"x-amz-content-sha256", std::string(payload_sha256)});
  if (!credentials.session_token.empty())
    request.headers.push_back({"x-amz-security-token", credentials.session_token});

  const SigV4Canonical canonical = sigv4_canonical(request, payload_sha256, is_s3);
  const std::string where = fmt::format("{}/{}/{}/aws4_request", day, scope.region, scope.service);
  const std::string to_sign =
      fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", time, where, to_hex(sha256(canonical.request)));

  Sha256Digest key = hmac_sha256(as_bytes("AWS4" + credentials.secret_key), day);
  for (const std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service), std::string_view("aws4_request")})
    key = hmac_sha256(key, part);
  request.headers.push_back(
      {"Authorization",
       fmt::format("AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}", credentials.access_key, where,
                   canonical.signed_headers, to_hex(hmac_sha256(key, to_sign)))});
}

}  // namespace pgark
