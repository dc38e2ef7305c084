#include "store/oauth_token.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "store/cloud_errors.h"
#include "store/metadata_http.h"

namespace pgark {
namespace {

// Beyond this a number is nonsense, and near it sums with a time stay far from overflowing.
constexpr int64_t kSecondsMax = 366 * 86400;

class KeptToken final : public BearerTokenSource {
 public:
  KeptToken(std::unique_ptr<HttpClient> http, Clock& clock, AskForToken ask, std::string what)
      : http_(std::move(http)),
        held_([this, ask = std::move(ask), &clock] { return ask(*http_, clock.now()); }, clock, std::move(what)) {}
  Result<std::string> get() override { return held_.get(); }
  void invalidate() override { held_.invalidate(); }

 private:
  const std::unique_ptr<HttpClient> http_;
  FreshValue<std::string> held_;
};

// Azure writes the number as a text, and some proxies with a fraction.
std::optional<std::chrono::seconds> lifetime(const std::string& text) {
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = end == text.data() + text.size() || *end == '.';
  if (error != std::errc() || !whole || seconds <= 0 || seconds > kSecondsMax) return std::nullopt;
  return std::chrono::seconds(seconds);
}

Error refused(const HttpResponse& response, std::string_view what, std::string_view secret) {
  CloudFailure failure = read_json_failure(response);
  // Its beginning is enough: the message is cut.
  if (!secret.empty() && failure.message.find(secret.substr(0, 16)) != std::string::npos) failure.message.clear();
  Error error = cloud_error(failure, CloudCall::kRead, what);
  // 410: the metadata service of Azure is being replaced under us.
  const int status = response.status;
  const bool passes = status == 408 || status == 410 || status == 429 || status >= 500;
  return std::move(error).with_code(passes ? Errc::kTransient : Errc::kPermission);
}

}  // namespace

Result<std::unique_ptr<BearerTokenSource>> make_token_source(const CloudSettings& cloud, const Environment& env,
                                                             AskForToken ask, std::string what) {
  TRY_ASSIGN(auto http, HttpClient::create(metadata_http_options(cloud, env)));
  return std::unique_ptr<BearerTokenSource>(
      std::make_unique<KeptToken>(std::move(http), *cloud.clock, std::move(ask), std::move(what)));
}

Result<OauthToken> ask_for_token(HttpClient& http, HttpRequest request, Timestamp now, std::string_view what,
                                 std::string_view secret) {
  request.body_max = 1u << 20;
  TRY_ASSIGN_CTX(const HttpResponse response, http.perform(std::move(request)), what);
  if (!response.ok()) return refused(response, what, secret);
  TRY_ASSIGN(const auto fields, read_json_fields(as_text(response.body.bytes()), what));
  const auto token = fields.find("access_token");
  const auto expires = fields.find("expires_in");
  const auto lasts = expires == fields.end() ? std::nullopt : lifetime(expires->second);
  if (token == fields.end() || token->second.empty() || !lasts) {
    return Error(Errc::kInvalid, fmt::format("{}: the answer holds no token, or not how long it lasts", what));
  }
  return OauthToken{token->second, now + *lasts};
}

bool is_private_url(std::string_view url) {
  if (url.starts_with("https://")) return true;
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return false;
  const std::string_view rest = url.substr(kScheme.size());
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) return false;
  if (authority == "[::1]" || authority.starts_with("[::1]:")) return true;
  const std::string_view host = authority.substr(0, authority.find(':'));
  return host == "localhost" || host == "127.0.0.1";
}

}  // namespace pgark
