// Tokens: for an assertion that the service account's key has signed, and from a virtual machine's metadata server.
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <ctime>

#include "codec/encoding.h"
#include "testing/gcs_fake_state.h"

namespace pgark::testing {
namespace {

using nlohmann::json;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool signature_is_good(const std::string& key_pem, std::string_view content, const std::vector<std::byte>& signature) {
  const Bio bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())), BIO_free);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  const Digest digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  return EVP_DigestVerifyInit(digest.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1 &&
         EVP_DigestVerify(digest.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size(),
                          reinterpret_cast<const unsigned char*>(content.data()), content.size()) == 1;
}

// Why an assertion is not good; empty if it is.
std::string check_assertion(const GcsState& state, const std::string& assertion, const std::string& own_url) {
  const size_t first = assertion.find('.');
  const size_t second = assertion.rfind('.');
  if (first == std::string::npos || first == second) return "Bad Request";
  const auto header = base64_decode(std::string_view(assertion).substr(0, first), Base64::kUrlNoPadding);
  const auto claims =
      base64_decode(std::string_view(assertion).substr(first + 1, second - first - 1), Base64::kUrlNoPadding);
  const auto signature = base64_decode(std::string_view(assertion).substr(second + 1), Base64::kUrlNoPadding);
  if (!header || !claims || !signature) return "Bad Request";
  const json head = json::parse(text_of(*header), nullptr, false);
  const json claim = json::parse(text_of(*claims), nullptr, false);
  if (!head.is_object() || !claim.is_object() || head.value("alg", "") != "RS256")
    return "Invalid JWT: algorithm must be RS256.";
  if (!signature_is_good(state.key_pem, std::string_view(assertion).substr(0, second), *signature))
    return "Invalid JWT Signature.";
  if (claim.value("iss", "") != GcsState::kAccount) return "Invalid issuer.";
  if (claim.value("aud", "") != own_url && claim.value("aud", "") != state.base_url + "/token")
    return "Invalid audience.";
  if (claim.value("scope", "").find("https://www.googleapis.com/auth/") == std::string::npos) return "Invalid scope.";
  const int64_t now = std::time(nullptr);
  const int64_t issued = claim.value("iat", int64_t{0});
  const int64_t expires = claim.value("exp", int64_t{0});
  // Up to an hour, and clocks may differ a little.
  if (expires - issued > 3600 || issued > now + 60 || expires < now) {
    return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
  }
  return {};
}

HttpAnswer token_answer(GcsState& state) REQUIRES(state.mu) {
  return gcs_json({{"access_token", gcs_issue_token(state)},
                   {"expires_in", state.options.token_seconds},
                   {"token_type", "Bearer"}});
}

}  // namespace

Result<std::string> gcs_new_key() {
  const Key key(EVP_RSA_gen(2048), EVP_PKEY_free);
  const Bio bio(BIO_new(BIO_s_mem()), BIO_free);
  if (key == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Error(Errc::kInternal, "make key of service account");
  }
  char* text = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<size_t>(bytes));
}

std::string gcs_issue_token(GcsState& state) {
  std::string token = fmt::format("ya29.test-{}", state.next_id++);
  state.tokens[token] = std::chrono::steady_clock::now() + std::chrono::seconds(state.options.token_seconds);
  ++state.tokens_issued;
  return token;
}

std::optional<HttpAnswer> gcs_token(GcsState& state, const HttpRequest& request) {
  if (request.path == "/token" && request.method == "POST") {
    const auto refuse = [](const std::string& error, const std::string& why) {
      return gcs_json({{"error", error}, {"error_description", why}}, 400);
    };
    if (request.form("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer") {
      return refuse("unsupported_grant_type", "Invalid grant_type: " + request.form("grant_type").value_or(""));
    }
    const std::string why =
        check_assertion(state, request.form("assertion").value_or(""), gcs_base_url(request) + "/token");
    return why.empty() ? token_answer(state) : refuse("invalid_grant", why);
  }
  if (request.path.starts_with("/computeMetadata/v1/")) {
    if (request.header("metadata-flavor") != "Google") {
      return HttpAnswer{
          .status = 403, .headers = {{"Content-Type", "text/html"}}, .body = "Missing Metadata-Flavor:Google header."};
    }
    HttpAnswer answer{.status = 404};
    if (request.path == "/computeMetadata/v1/instance/service-accounts/default/token") answer = token_answer(state);
    answer.headers.emplace_back("Metadata-Flavor", "Google");
    return answer;
  }
  return std::nullopt;
}

std::optional<HttpAnswer> gcs_check_token(GcsState& state, const HttpRequest& request) {
  const std::string authorization = request.header("authorization");
  if (authorization.empty()) {
    HttpAnswer answer = gcs_error(
        401, "required", "Anonymous caller does not have storage.objects access to the Google Cloud Storage object.");
    answer.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"https://accounts.google.com/\"");
    return answer;
  }
  if (authorization.starts_with("Bearer ")) {
    const auto found = state.tokens.find(authorization.substr(7));
    if (found != state.tokens.end() && found->second > std::chrono::steady_clock::now()) return std::nullopt;
  }
  HttpAnswer answer = gcs_error(401, "authError", "Invalid Credentials");
  answer.headers.emplace_back("WWW-Authenticate",
                              "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"");
  return answer;
}

}  // namespace pgark::testing
