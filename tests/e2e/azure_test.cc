// The Azure store and repositories in it, on a real server: every promise of stores, kinds of authorization, refusals,
// large objects in blocks, and the life of a repository with the real binary.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "net/http_client.h"
#include "store/azure_client.h"
#include "store/azure_store.h"
#include "store_cycle.h"
#include "store_scene.h"
#include "testing/azure_server.h"
#include "testing/object_servers.h"

namespace pgark::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

AzureSettings settings_of(const AzureEndpoint& endpoint, const std::string& container, std::string prefix = "demo/") {
  AzureSettings settings;
  settings.cloud.prefix = std::move(prefix);
  settings.cloud.ca_file = endpoint.ca_file;
  settings.account = endpoint.account;
  settings.container = container;
  settings.endpoint =
      fmt::format("{}://{}:{}", endpoint.ca_file.empty() ? "http" : "https", endpoint.host, endpoint.port);
  settings.uri_style = AzureUriStyle::kPath;
  settings.key = endpoint.key;
  return settings;
}

/// A signature that allows `permissions` on a container for an hour.
/// Source: Microsoft, "Create a service SAS", versions 2020-12-06 and later.
std::string sign_container(const AzureEndpoint& endpoint, const std::string& container, std::string_view permissions,
                           std::chrono::seconds life = std::chrono::hours(1)) {
  const auto expiry = std::chrono::time_point_cast<std::chrono::seconds>(system_clock().now()) + life;
  const std::time_t seconds = expiry.time_since_epoch().count();
  std::tm civil{};
  ::gmtime_r(&seconds, &civil);
  const std::string until = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", civil.tm_year + 1900, civil.tm_mon + 1,
                                        civil.tm_mday, civil.tm_hour, civil.tm_min, civil.tm_sec);
  const std::string text = fmt::format("{}\n\n{}\n/blob/{}/{}\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n", permissions, until,
                                       endpoint.account, container);
  const auto key = base64_decode(endpoint.key).value();
  return fmt::format("sv=2021-12-02&sr=c&sp={}&se={}&sig={}", permissions, url_encode(until),
                     url_encode(base64_encode(hmac_sha256(key, text))));
}

TEST(AzureStore, KeepsEveryPromiseOfStores) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, raw.new_container());
  AzureSettings settings = settings_of(endpoint, container);
  settings.cloud.chunk_bytes = 4u << 20;
  ASSERT_OK_AND_ASSIGN(auto store, AzureStore::open(settings));
  expect_conformance(*with_retries(std::move(store)));
  ASSERT_OK_AND_ASSIGN(const auto left, raw.list(container));
  EXPECT_THAT(left, IsEmpty());
}

/// A token as Azurite wants it: not checked beyond its form, its times and its audience.
class MadeUpToken final : public BearerTokenSource {
 public:
  Result<std::string> get() override {
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(system_clock().now().time_since_epoch()).count();
    const auto part = [](const nlohmann::json& json) { return base64_encode(json.dump(), Base64::kUrlNoPadding); };
    return part({{"alg", "RS256"}, {"typ", "JWT"}}) + "." +
           part({{"aud", "https://storage.azure.com"},
                 {"iss", "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/"},
                 {"iat", now - 60},
                 {"nbf", now - 60},
                 {"exp", now + 3600}}) +
           "." + base64_encode("signature", Base64::kUrlNoPadding);
  }
  void invalidate() override {}
};

TEST(AzureStore, KeepsThemOverTlsWithTokensUnderAnOddPrefix) {
  {
    PGARK_REQUIRE_AZURE(installed);  // Or skip.
    ASSERT_NE(installed.port, 0);
  }
  ASSERT_OK_AND_ASSIGN(auto server, AzureServer::start({.tls = true}));
  AzureSettings settings = settings_of(server->endpoint(), "box", "a b/+x&<\"ä>/");
  ASSERT_OK_AND_ASSIGN(auto owner, AzureClient::create(settings, nullptr));  // The raw client speaks no TLS.
  const AzureRequest creation{.method = "PUT", .query = {{"restype", "container"}}, .call = CloudCall::kRepeat};
  ASSERT_OK_AND_ASSIGN(const auto created, owner->perform(creation, "create container"));
  ASSERT_EQ(created.status, 201);
  settings.key_type = AzureKeyType::kManagedIdentity;
  settings.key.clear();
  ASSERT_OK_AND_ASSIGN(auto store, AzureStore::open(settings, std::make_unique<MadeUpToken>()));
  expect_conformance(*with_retries(std::move(store)));
}

TEST(AzureStore, KeepsThemOverABadNetwork) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, raw.new_container());
  AzureSettings settings = settings_of(endpoint, container);
  settings.cloud.chunk_bytes = 64u << 10;
  expect_conformance_over_a_bad_network<AzureStore>(settings, endpoint.host, endpoint.port, 2'000'000);
  ASSERT_OK_AND_ASSIGN(const auto left, raw.list(container));
  EXPECT_THAT(left, IsEmpty());
}

TEST(AzureStore, WritesLargeObjectsInBlocks) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, raw.new_container());
  AzureSettings settings = settings_of(endpoint, container);
  settings.cloud.tags = {{"who", "pgark"}, {"a b", "c-d e"}};
  settings.cloud.chunk_bytes = 4u << 20;
  ASSERT_OK_AND_ASSIGN(auto store, AzureStore::open(settings));
  const Buffer content = noise((17u << 20) + 11, 7);
  ASSERT_OK_AND_ASSIGN(auto given_up, store->create({"given-up"}));
  ASSERT_OK(given_up->append(content));
  given_up.reset();
  ASSERT_NO_FATAL_FAILURE(expect_first_of_two_writers_wins(*store, {"a/large"}, content));
  ASSERT_OK_AND_ASSIGN(const auto names, raw.list(container));
  EXPECT_THAT(names, ElementsAre("demo/a/large"));
  ASSERT_OK_AND_ASSIGN(const HttpReply tags, raw.request("GET", "/" + container + "/demo/a/large", {{"comp", "tags"}}));
  EXPECT_THAT(tags.body, AllOf(HasSubstr("<Key>a b</Key><Value>c-d e</Value>"), HasSubstr("<Value>pgark</Value>")));
}

TEST(AzureStore, WorksWithASignatureOfSharedAccess) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, raw.new_container());
  AzureSettings settings = settings_of(endpoint, container);
  settings.key_type = AzureKeyType::kSas;
  settings.cloud.chunk_bytes = 1u << 20;
  settings.key = sign_container(endpoint, container, "rcwdl");
  ASSERT_OK_AND_ASSIGN(auto store, AzureStore::open(settings));
  expect_conformance(*with_retries(std::move(store)));

  // One with which nothing can be replaced or deleted: enough to back up.
  settings.key = sign_container(endpoint, container, "rcl");
  ASSERT_OK_AND_ASSIGN(auto careful, AzureStore::open(settings));
  ASSERT_OK(careful->put({"small"}, as_bytes("content")));
  const auto again = careful->put({"small"}, as_bytes("other"));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code(), Errc::kAlreadyExists) << again.error().to_string();
  const auto removed = careful->remove({"small"});
  ASSERT_FALSE(removed.has_value());
  EXPECT_EQ(removed.error().code(), Errc::kPermission) << removed.error().to_string();

  settings.key = sign_container(endpoint, container, "rcwdl", std::chrono::hours(-1));
  ASSERT_OK_AND_ASSIGN(auto late, AzureStore::open(settings));
  const auto refused = late->stat({"small"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kPermission) << refused.error().to_string();
  const std::string text = late->remove({"small"}).error().to_string();
  EXPECT_THAT(text, AllOf(HasSubstr("ended at"), Not(HasSubstr("sig="))));
}

TEST(AzureStore, TellsAWrongKeyAWrongContainerAndAWrongHost) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, raw.new_container());
  const auto expect = [&](const AzureSettings& settings, Errc code, const std::string& text) {
    ASSERT_OK_AND_ASSIGN(auto store, AzureStore::open(settings));
    expect_all_calls_refused(*store, code, text, "azure://", settings.key);
  };
  AzureSettings wrong = settings_of(endpoint, container);
  wrong.key = base64_encode("not the key at all");
  expect(wrong, Errc::kPermission, "create object 'key'");
  expect(settings_of(endpoint, container + "-not-there"), Errc::kInvalid, "ContainerNotFound");
  wrong = settings_of(endpoint, container);
  wrong.endpoint = "http://127.0.0.1:1";
  expect(wrong, Errc::kTransient, "127.0.0.1");
}

TEST(AzureCycle, BackupsArchivesRestoresAndExpires) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, raw.new_container());
  run_store_cycle({.repository = repository_options(endpoint, container), .list = [&] { return raw.list(container); }});
}

}  // namespace
}  // namespace pgark::testing
