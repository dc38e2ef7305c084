// Tokens of Google and Azure against a server that plays their token and metadata services.
#include "store/bearer_token.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <nlohmann/json.hpp>

#include "codec/encoding.h"
#include "core/file.h"
#include "store/azure_token.h"
#include "store/gcs_token.h"
#include "store/oauth_token.h"
#include "store/token_test_util.h"
#include "testing/credential_test_base.h"
#include "testing/http_fake.h"

namespace pgark {
namespace {

using std::chrono::minutes;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using ::testing::Not;
using Seen = testing::HttpRequest;

class BearerTokenTest : public testing::CredentialTest {
 protected:
  void SetUp() override {
    start("token", [this](const Seen&) { return token_answer(); });
  }
  /// "token-1", "token-2", ... for an hour each.
  HttpAnswer token_answer() {
    return {.body = fmt::format(R"({{"access_token":"token-{}","expires_in":3599,"token_type":"Bearer"}})", ++tokens_)};
  }
  CloudSettings cloud() { return {.clock = &clock_}; }

  int tokens_ = 0;
};

// --- Google.

class GcsTokenTest : public BearerTokenTest {
 protected:
  static EVP_PKEY* key() {
    static EVP_PKEY* made = EVP_RSA_gen(2048);
    return made;
  }
  static std::string pem() {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(bio, key(), nullptr, nullptr, 0, nullptr, nullptr);
    char* data = nullptr;
    const auto bytes = static_cast<size_t>(BIO_get_mem_data(bio, &data));
    std::string text(data, bytes);
    BIO_free(bio);
    return text;
  }
  static bool verifies(const std::string& text, const std::vector<std::byte>& signature) {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const bool good =
        EVP_DigestVerifyInit(context, nullptr, EVP_sha256(), nullptr, key()) == 1 &&
        EVP_DigestVerify(context, reinterpret_cast<const unsigned char*>(signature.data()), signature.size(),
                         reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1;
    EVP_MD_CTX_free(context);
    return good;
  }
  nlohmann::json account() {
    return {{"type", "service_account"},
            {"client_email", "backup@project.iam.gserviceaccount.com"},
            {"private_key_id", "kid-1"},
            {"private_key", pem()},
            {"token_uri", fake_->url("/token")}};
  }
  Result<std::unique_ptr<BearerTokenSource>> source(GcsKeyType type, const std::string& key = {}) {
    GcsSettings settings{.cloud = cloud(), .bucket = "b"};
    settings.key_type = type;
    settings.key = key;
    return make_gcs_token_source(settings, env());
  }
};

TEST_F(GcsTokenTest, ServiceAccountExchangesASignedClaim) {
  auto made = source(GcsKeyType::kService, write("key.json", account().dump()));
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  EXPECT_EQ(fake_->request_count(), 0u);
  auto token = (*made)->get();
  ASSERT_TRUE(token.has_value()) << token.error().to_string();
  EXPECT_EQ(*token, "token-1");

  const Seen seen = fake_->requests().at(0);
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.path, "/token");
  EXPECT_EQ(seen.header("content-type"), "application/x-www-form-urlencoded");
  EXPECT_EQ(seen.form("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
  const std::string claim = seen.form("assertion").value();
  const size_t first = claim.find('.');
  const size_t second = claim.rfind('.');
  const auto part = [&](size_t from, size_t to) {
    return base64_decode(std::string_view(claim).substr(from, to - from), Base64::kUrlNoPadding).value();
  };
  EXPECT_TRUE(verifies(claim.substr(0, second), part(second + 1, claim.size())));
  const auto header = nlohmann::json::parse(as_text(part(0, first)));
  EXPECT_EQ(header["alg"], "RS256");
  EXPECT_EQ(header["kid"], "kid-1");
  const auto body = nlohmann::json::parse(as_text(part(first + 1, second)));
  EXPECT_EQ(body["iss"], "backup@project.iam.gserviceaccount.com");
  EXPECT_EQ(body["aud"], fake_->url("/token"));
  EXPECT_EQ(body["iat"], 1767225600);
  EXPECT_EQ(body["exp"], 1767225600 + 3600);
  EXPECT_THAT(body["scope"].get<std::string>(), HasSubstr("devstorage.read_write"));
}

TEST_F(GcsTokenTest, TokenIsKeptUntilFiveMinutesBeforeItExpires) {
  auto made = source(GcsKeyType::kService, write("key.json", account().dump()));
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ((*made)->get().value(), "token-1");
  clock_.advance(minutes(54));
  EXPECT_EQ((*made)->get().value(), "token-1");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.status = 503}; });
  clock_.advance(minutes(1));
  EXPECT_EQ((*made)->get().value(), "token-1");
  fake_->set_handler([this](const Seen&) { return token_answer(); });
  clock_.advance(minutes(1));
  EXPECT_EQ((*made)->get().value(), "token-2");
  (*made)->invalidate();
  EXPECT_EQ((*made)->get().value(), "token-3");
}

TEST_F(GcsTokenTest, KeyFileThatCannotBeUsedIsToldAtOnce) {
  expect_error(source(GcsKeyType::kService), Errc::kInvalid, "repo1-gcs-key is not set");
  expect_error(source(GcsKeyType::kService, scratch_ / "none.json"), Errc::kInvalid, "none.json");
  expect_error(source(GcsKeyType::kService, write("a", "hidden")), Errc::kInvalid, "not a JSON object");
  auto json = account();
  json["type"] = "authorized_user";
  expect_error(source(GcsKeyType::kService, write("b", json.dump())), Errc::kInvalid, "'authorized_user'");
  json = account();
  json["private_key"] = "hidden";
  expect_error(source(GcsKeyType::kService, write("c", json.dump())), Errc::kInvalid, "no RSA key");
  json = account();
  json["token_uri"] = "http://example.invalid/token";
  expect_error(source(GcsKeyType::kService, write("d", json.dump())), Errc::kInvalid, "not https");
  json = account();
  json.erase("client_email");
  expect_error(source(GcsKeyType::kService, write("e", json.dump())), Errc::kInvalid, "client_email");
}

TEST_F(GcsTokenTest, RefusalIsToldWithoutTheClaim) {
  auto made = source(GcsKeyType::kService, write("key.json", account().dump()));
  ASSERT_TRUE(made.has_value());
  fake_->set_handler([](const Seen&) {
    return HttpAnswer{.status = 400,
                      .body = R"({"error":"invalid_grant","error_description":"Invalid JWT Signature."})"};
  });
  expect_error((*made)->get(), Errc::kPermission, "invalid_grant: Invalid JWT Signature");
  fake_->set_handler([](const Seen& seen) {
    return HttpAnswer{
        .status = 400,
        .body = R"({"error":"invalid_grant","error_description":"no: )" + *seen.form("assertion") + "\"}"};
  });
  auto token = (*made)->get();
  ASSERT_FALSE(token.has_value());
  EXPECT_THAT(token.error().to_string(), Not(HasSubstr("eyJ")));
  fake_->set_handler([](const Seen&) { return HttpAnswer{.status = 429}; });
  expect_error((*made)->get(), Errc::kTransient, "429");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.body = R"({"access_token":"hidden"})"}; });
  expect_error((*made)->get(), Errc::kInvalid, "how long");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.no_answer = true}; });
  expect_error((*made)->get(), Errc::kTransient, "POST http://127.0.0.1");
  ASSERT_TRUE(testing::remove_tree(scratch_ / "key.json").has_value());
  expect_error((*made)->get(), Errc::kPermission, "key.json");  // Not kNotFound: that would be a missing object.
}

TEST_F(GcsTokenTest, MetadataServerIsAskedAsGoogleWants) {
  variables_["GCE_METADATA_HOST"] = fmt::format("127.0.0.1:{}", fake_->port());
  auto made = source(GcsKeyType::kMetadata);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ((*made)->get().value(), "token-1");
  const Seen seen = fake_->requests().at(0);
  EXPECT_EQ(seen.method, "GET");
  EXPECT_EQ(seen.path, "/computeMetadata/v1/instance/service-accounts/default/token");
  EXPECT_EQ(seen.header("metadata-flavor"), "Google");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.status = 404}; });
  (*made)->invalidate();
  expect_error((*made)->get(), Errc::kPermission, "service account");
}

TEST_F(GcsTokenTest, FixedTokenIsTakenAsItIs) {
  auto made = source(GcsKeyType::kToken, "ya29.x");
  ASSERT_TRUE(made.has_value());
  (*made)->invalidate();
  EXPECT_EQ((*made)->get().value(), "ya29.x");
}

// --- Azure.

class AzureTokenTest : public BearerTokenTest {
 protected:
  Result<std::unique_ptr<BearerTokenSource>> source() { return make_azure_token_source(cloud(), env()); }
};

TEST_F(AzureTokenTest, MachineAsksItsMetadata) {
  variables_["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = fake_->url();
  fake_->set_handler([](const Seen&) {
    return HttpAnswer{.body = R"({"access_token":"az","expires_in":"86399","expires_on":"1","resource":"r"})"};
  });
  auto made = source();
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ((*made)->get().value(), "az");
  Seen seen = fake_->requests().at(0);
  EXPECT_EQ(seen.path, "/metadata/identity/oauth2/token");
  EXPECT_EQ(seen.header("metadata"), "true");
  EXPECT_EQ(seen.parameter("api-version"), "2018-02-01");
  EXPECT_EQ(seen.parameter("resource"), "https://storage.azure.com/");
  EXPECT_FALSE(seen.parameter("client_id").has_value());
  variables_["AZURE_CLIENT_ID"] = "id-1";
  (*made)->invalidate();
  EXPECT_EQ((*made)->get().value(), "az");
  EXPECT_EQ(fake_->requests().back().parameter("client_id"), "id-1");
  clock_.advance(minutes(60 * 23 + 50));
  EXPECT_EQ((*made)->get().value(), "az");
  EXPECT_EQ(fake_->request_count(), 2u);
  fake_->set_handler([](const Seen&) {
    return HttpAnswer{.status = 400, .body = R"({"error":"invalid_request","error_description":"Identity not found"})"};
  });
  (*made)->invalidate();
  expect_error((*made)->get(), Errc::kPermission, "Identity not found");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.status = 410}; });
  expect_error((*made)->get(), Errc::kTransient, "410");
}

TEST_F(AzureTokenTest, FederatedTokenIsExchanged) {
  variables_["AZURE_FEDERATED_TOKEN_FILE"] = write("federated", "hidden.federated.jwt\n");
  expect_error(source(), Errc::kInvalid, "AZURE_TENANT_ID");
  variables_["AZURE_TENANT_ID"] = "tenant";
  variables_["AZURE_CLIENT_ID"] = "client";
  variables_["AZURE_AUTHORITY_HOST"] = "http://example.invalid";
  expect_error(source(), Errc::kInvalid, "not https");
  variables_["AZURE_AUTHORITY_HOST"] = fake_->url("/");
  auto made = source();
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ((*made)->get().value(), "token-1");
  const Seen seen = fake_->requests().at(0);
  EXPECT_EQ(seen.path, "/tenant/oauth2/v2.0/token");
  EXPECT_EQ(seen.form("client_id"), "client");
  EXPECT_EQ(seen.form("scope"), "https://storage.azure.com/.default");
  EXPECT_EQ(seen.form("grant_type"), "client_credentials");
  EXPECT_EQ(seen.form("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
  EXPECT_EQ(seen.form("client_assertion"), "hidden.federated.jwt");
  fake_->set_handler([](const Seen&) {
    return HttpAnswer{.status = 401,
                      .body = R"({"error":"invalid_client","error_description":"hidden.federated.jwt ?"})"};
  });
  (*made)->invalidate();
  expect_error((*made)->get(), Errc::kPermission, "invalid_client");
}

TEST_F(AzureTokenTest, ServiceAsksItsIdentityEndpoint) {
  variables_["IDENTITY_ENDPOINT"] = fake_->url("/msi/token");
  variables_["IDENTITY_HEADER"] = "hidden-header";
  auto made = source();
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ((*made)->get().value(), "token-1");
  const Seen seen = fake_->requests().at(0);
  EXPECT_EQ(seen.path, "/msi/token");
  EXPECT_EQ(seen.header("x-identity-header"), "hidden-header");
  EXPECT_EQ(seen.parameter("api-version"), "2019-08-01");
}

TEST(PrivateUrl, IsHttpsOrThisMachine) {
  for (const char* good : {"https://example.com/x", "http://127.0.0.1:80/", "http://localhost", "http://[::1]:9/x"}) {
    EXPECT_TRUE(is_private_url(good)) << good;
  }
  for (const char* bad : {"http://example.com", "http://127.0.0.1@example.com/", "http://127.0.0.1.example.com/",
                          "http://localhost.example.com", "http://[::1].example.com/", "ftp://localhost", ""}) {
    EXPECT_FALSE(is_private_url(bad)) << bad;
  }
}

}  // namespace
}  // namespace pgark
