#include "store/gcs_token.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "codec/encoding.h"
#include "codec/libcrypto.h"
#include "codec/secret.h"
#include "core/file.h"
#include "store/cloud_errors.h"
#include "store/metadata_http.h"
#include "store/oauth_token.h"

namespace pgark {
namespace {

constexpr std::string_view kScope = "https://www.googleapis.com/auth/devstorage.read_write";
constexpr std::string_view kTokenUri = "https://oauth2.googleapis.com/token";

// --- Signatures.

struct FreeKey {
  void operator()(EVP_PKEY* key) const { crypto().EVP_PKEY_free(key); }
};
struct FreeBio {
  void operator()(BIO* bio) const { crypto().BIO_free(bio); }
};
struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { crypto().EVP_MD_CTX_free(context); }
};

int no_passphrase(char*, int, int, void*) { return -1; }  // OpenSSL would ask at the terminal.

Result<std::unique_ptr<EVP_PKEY, FreeKey>> read_key(const std::string& pem) {
  const std::unique_ptr<BIO, FreeBio> bio(crypto().BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::unique_ptr<EVP_PKEY, FreeKey> key(
      bio ? crypto().PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr) : nullptr);
  crypto().ERR_clear_error();
  if (!key || crypto().EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) {
    return Error(Errc::kInvalid, "read private key of service account: it is no RSA key in PEM");
  }
  return key;
}

Result<std::string> sign_rs256(const std::string& pem, std::string_view text) {
  TRY_ASSIGN(const auto key, read_key(pem));
  const std::unique_ptr<EVP_MD_CTX, FreeDigest> context(crypto().EVP_MD_CTX_new());
  const auto* data = reinterpret_cast<const unsigned char*>(text.data());
  std::string signature(static_cast<size_t>(crypto().EVP_PKEY_get_size(key.get())), '\0');
  size_t bytes = signature.size();
  const bool ok = context &&
                  crypto().EVP_DigestSignInit(context.get(), nullptr, crypto().EVP_sha256(), nullptr, key.get()) == 1 &&
                  crypto().EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &bytes,
                                          data, text.size()) == 1;
  crypto().ERR_clear_error();
  if (!ok) return Error(Errc::kInvalid, "sign with private key of service account: the key cannot be used");
  signature.resize(bytes);
  return signature;
}

// --- Service accounts.

Result<ServiceAccountClaim> read_account(const std::string& path) {
  const std::string what = fmt::format("read key file of service account '{}'", path);
  TRY_ASSIGN(std::string text, read_file(path, 1u << 20));
  auto fields = read_json_fields(text, what);
  wipe(text);
  TRY(fields);
  const std::string type = (*fields)["type"];
  if (type != "service_account") {
    return Error(Errc::kInvalid, fmt::format("{}: it is of type '{}'", what, one_line(type, 40)))
        .with_hint("make a JSON key of a service account: gcloud iam service-accounts keys create");
  }
  ServiceAccountClaim account{.client_email = (*fields)["client_email"],
                              .private_key = std::move((*fields)["private_key"]),
                              .key_id = (*fields)["private_key_id"],
                              .token_uri = (*fields)["token_uri"]};
  if (account.token_uri.empty()) account.token_uri = kTokenUri;
  if (account.client_email.empty() || account.private_key.empty()) {
    return Error(Errc::kInvalid, fmt::format("{}: it lacks client_email or private_key", what));
  }
  if (!is_private_url(account.token_uri)) {
    return Error(Errc::kInvalid, fmt::format("{}: its token_uri is not https", what));
  }
  TRY_CTX(read_key(account.private_key), what);
  return account;
}

Result<OauthToken> token_of_account(const std::string& path, HttpClient& http, Timestamp now) {
  TRY_ASSIGN(ServiceAccountClaim account, read_account(path));
  auto claim = sign_service_account_claim(account, now);
  wipe(account.private_key);
  TRY(claim);
  const std::string form =
      encode_form({{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"}, {"assertion", *claim}});
  HttpRequest request{.method = "POST",
                      .url = account.token_uri,
                      .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                      .body = as_bytes(form)};
  const std::string what = fmt::format("ask for a token for service account {}", one_line(account.client_email));
  return ask_for_token(http, std::move(request), now, what, *claim);
}

// --- Metadata server.

Result<OauthToken> token_of_instance(const Environment& env, HttpClient& http, Timestamp now) {
  std::string host = env("GCE_METADATA_HOST");
  if (host.empty()) host = "metadata.google.internal";
  HttpRequest request{.method = "GET",
                      .url = fmt::format("http://{}/computeMetadata/v1/instance/service-accounts/default/token", host),
                      .headers = {{"Metadata-Flavor", "Google"}}};
  auto token = ask_for_token(http, std::move(request), now, "ask the metadata server for a token");
  if (token || token.error().code() == Errc::kCancelled) return token;
  return std::move(token).error().with_hint(
      "repo-gcs-key-type=auto works where Google runs the machine and gave it a service account");
}

class FixedToken final : public BearerTokenSource {
 public:
  explicit FixedToken(std::string token) : token_(std::move(token)) {}
  Result<std::string> get() override { return token_; }
  void invalidate() override {}

 private:
  const std::string token_;
};

}  // namespace

Result<std::string> sign_service_account_claim(const ServiceAccountClaim& account, Timestamp now) {
  const int64_t issued = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  nlohmann::json header{{"alg", "RS256"}, {"typ", "JWT"}};
  if (!account.key_id.empty()) header["kid"] = account.key_id;
  const nlohmann::json claims{{"iss", account.client_email},
                              {"scope", kScope},
                              {"aud", account.token_uri},
                              {"iat", issued},
                              {"exp", issued + 3600}};
  const auto encode = [](const nlohmann::json& json) {
    // A key file with broken UTF-8 is no reason to throw.
    return base64_encode(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), Base64::kUrlNoPadding);
  };
  const std::string text = encode(header) + "." + encode(claims);
  TRY_ASSIGN(const std::string signature, sign_rs256(account.private_key, text));
  return text + "." + base64_encode(signature, Base64::kUrlNoPadding);
}

Result<std::unique_ptr<BearerTokenSource>> make_gcs_token_source(const GcsSettings& settings, const Environment& env) {
  const std::string& label = settings.cloud.label;
  AskForToken ask;
  switch (settings.key_type) {
    case GcsKeyType::kToken:
      if (settings.key.empty()) return Error(Errc::kInvalid, fmt::format("{}-gcs-key is not set", label));
      return std::unique_ptr<BearerTokenSource>(std::make_unique<FixedToken>(settings.key));
    case GcsKeyType::kService: {
      if (settings.key.empty()) return Error(Errc::kInvalid, fmt::format("{}-gcs-key is not set", label));
      auto account = read_account(settings.key);
      if (!account) return std::move(account).error().with_code(Errc::kInvalid);
      wipe(account->private_key);
      ask = [path = settings.key](HttpClient& http, Timestamp now) { return token_of_account(path, http, now); };
      break;
    }
    case GcsKeyType::kMetadata:
      ask = [env](HttpClient& http, Timestamp now) { return token_of_instance(env, http, now); };
      break;
  }
  return make_token_source(settings.cloud, env, std::move(ask), fmt::format("refresh token of {}", label));
}

}  // namespace pgark
