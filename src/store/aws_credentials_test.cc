// Every place credentials of AWS come from, against a server that plays metadata and token services; and their renewal
// by a clock of our own.
#include "store/aws_credentials.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/file.h"
#include "net/http_client.h"
#include "store/aws_profile.h"
#include "store/fresh_value.h"
#include "store/metadata_http.h"
#include "store/s3_store.h"
#include "store/token_test_util.h"
#include "testing/credential_test_base.h"
#include "testing/http_fake.h"

namespace pgark {
namespace {

using std::chrono::minutes;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using Seen = testing::HttpRequest;

class AwsCredentialsTest : public testing::CredentialTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(start("aws", [](const Seen&) { return HttpAnswer{.status = 404}; }));
    auto http = HttpClient::create(metadata_http_options({}, env()));
    ASSERT_TRUE(http.has_value());
    http_ = std::move(*http);
    set("HOME", scratch_.path());
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", fake_->url());
  }

  std::unique_ptr<AwsCredentialSource> source(S3KeyType type = S3KeyType::kAuto) {
    settings_.key_type = type;
    auto made = make_aws_credentials(settings_, *http_, clock_, env());
    EXPECT_TRUE(made.has_value());
    return std::move(*made);
  }
  Result<AwsCredentials> ask(S3KeyType type = S3KeyType::kAuto) { return source(type)->get(); }
  /// The document of a metadata service with credentials that end in so many minutes.
  std::string document(std::string_view key, minutes lifetime) {
    return fmt::format(
        R"({{"Code":"Success","AccessKeyId":"{}","SecretAccessKey":"hidden-{}","Token":"hidden-t","Expiration":"{}"}})",
        key, key, utc_text(clock_.now() + lifetime));
  }
  /// An instance with the role "db-role".
  HttpAnswer instance(const Seen& seen, minutes lifetime = minutes(360)) {
    if (seen.path == "/latest/api/token") {
      if (seen.method != "PUT" || !seen.has_header("x-aws-ec2-metadata-token-ttl-seconds")) return {.status = 400};
      return {.body = "session"};
    }
    if (seen.header("x-aws-ec2-metadata-token") != "session") return {.status = 401};
    if (seen.path == "/latest/meta-data/iam/security-credentials/") return {.body = "db-role\n"};
    if (seen.path == "/latest/meta-data/iam/security-credentials/db-role") {
      return {.body = document(fmt::format("INST{}", ++documents_), lifetime)};
    }
    return {.status = 404};
  }

  S3Settings settings_{.bucket = "b", .endpoint = "e", .region = "eu-west-1"};
  std::unique_ptr<HttpClient> http_;
  std::atomic<int> documents_ = 0;
};

TEST_F(AwsCredentialsTest, SharedAreThoseOfTheOptions) {
  settings_.key = "AK";
  settings_.key_secret = "SK";
  settings_.token = "ST";
  set("AWS_ACCESS_KEY_ID", "other");
  auto got = ask(S3KeyType::kShared);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->access_key, "AK");
  EXPECT_EQ(got->secret_key, "SK");
  EXPECT_EQ(got->session_token, "ST");
  EXPECT_FALSE(got->expires.has_value());
  settings_.key_secret.clear();
  auto none = make_aws_credentials(settings_, *http_, clock_, env());
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), Errc::kInvalid);
}

TEST_F(AwsCredentialsTest, EnvironmentGoesFirst) {
  set("AWS_ACCESS_KEY_ID", "ENVKEY");
  set("AWS_SECRET_ACCESS_KEY", "hidden");
  set("AWS_SESSION_TOKEN", "tok");
  write(".aws/credentials", "[default]\naws_access_key_id = FILEKEY\naws_secret_access_key = hidden\n");
  auto got = ask();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(got->access_key, "ENVKEY");
  EXPECT_EQ(got->session_token, "tok");
  set("AWS_ACCESS_KEY_ID", "");
  expect_error(ask(), Errc::kPermission, "only one of");
}

TEST_F(AwsCredentialsTest, FilesHaveProfiles) {
  write(".aws/credentials",
        "# comment\n[default]\naws_access_key_id = DEF\naws_secret_access_key = s/e=c+ret\n"
        "[ other ]\naws_access_key_id=OTHER\naws_secret_access_key=x\naws_session_token = tt\n");
  write(".aws/config", "[default]\nregion = x\naws_access_key_id = LATER\ns3 =\n  aws_secret_access_key = nested\n");
  auto got = ask();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(got->access_key, "DEF");
  EXPECT_EQ(got->secret_key, "s/e=c+ret");
  EXPECT_THAT(got->origin, HasSubstr("credentials [default]"));
  set("AWS_PROFILE", "other");
  got = ask();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(got->access_key, "OTHER");
  EXPECT_EQ(got->session_token, "tt");
  set("AWS_PROFILE", "absent");
  expect_error(ask(), Errc::kInvalid, "profile 'absent'");
}

TEST_F(AwsCredentialsTest, FilesMayBeElsewhere) {
  set("AWS_SHARED_CREDENTIALS_FILE", write("a", "[p]\naws_access_key_id = A\naws_secret_access_key = B\n"));
  set("AWS_CONFIG_FILE", write("c", "[profile q]\naws_access_key_id = C\naws_secret_access_key = D\n"));
  set("AWS_PROFILE", "p");
  EXPECT_EQ(ask().value().access_key, "A");
  set("AWS_PROFILE", "q");
  EXPECT_EQ(ask().value().access_key, "C");
}

TEST_F(AwsCredentialsTest, ProfileMayNameAProgram) {
  const std::string script = write("creds.sh",
                                   R"(echo '{"Version": 1, "AccessKeyId": "PROC", "SecretAccessKey": "hidden",
    "SessionToken": "st", "Expiration": "2026-01-01T02:00:00Z"}')");
  write(".aws/config", "[profile p]\ncredential_process = sh " + script + "\n");
  set("AWS_PROFILE", "p");
  auto got = ask();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(got->access_key, "PROC");
  EXPECT_EQ(got->session_token, "st");
  ASSERT_TRUE(got->expires.has_value());
}

TEST_F(AwsCredentialsTest, ProgramThatFailsIsTold) {
  settings_.credential_process = "echo hidden; exit 7";
  expect_error(ask(S3KeyType::kProcess), Errc::kPermission, "7");
  settings_.credential_process = "echo hidden";
  expect_error(ask(S3KeyType::kProcess), Errc::kInvalid, "not a JSON object");
  settings_.credential_process = R"(echo '{"Version": 2, "AccessKeyId": "hidden", "SecretAccessKey": "hidden"}')";
  expect_error(ask(S3KeyType::kProcess), Errc::kInvalid, "version 1");
  settings_.credential_process = R"(echo '{"Version": 1, "AccessKeyId": "hidden"}')";
  expect_error(ask(S3KeyType::kProcess), Errc::kInvalid, "no credentials");
  settings_.credential_process = R"(echo '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B"}')";
  EXPECT_EQ(ask(S3KeyType::kProcess).value().access_key, "A");
}

TEST_F(AwsCredentialsTest, ProfileThatNeedsTheAwsToolsSaysSo) {
  write(".aws/config",
        "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n"
        "[profile s]\nsso_session = corp\n");
  expect_error(ask(), Errc::kUnsupported, "export-credentials --profile default");
  set("AWS_PROFILE", "s");
  expect_error(ask(), Errc::kUnsupported, "export-credentials --profile s");
}

TEST_F(AwsCredentialsTest, WebIdentityIsExchanged) {
  set("AWS_WEB_IDENTITY_TOKEN_FILE", write("token", "hidden.jwt+/=\n"));
  set("AWS_ROLE_ARN", "arn:aws:iam::1:role/db");
  set("AWS_ENDPOINT_URL_STS", fake_->url());
  fake_->set_handler([&](const Seen& seen) {
    if (seen.method != "POST" || seen.form("Action") != "AssumeRoleWithWebIdentity") return HttpAnswer{.status = 400};
    if (seen.form("WebIdentityToken") != "hidden.jwt+/=") return HttpAnswer{.status = 403};
    return HttpAnswer{
        .body = fmt::format("<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                            "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WEB</AccessKeyId>"
                            "<SecretAccessKey>hidden</SecretAccessKey><SessionToken>a&amp;b</SessionToken>"
                            "<Expiration>{}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                            "</AssumeRoleWithWebIdentityResponse>",
                            utc_text(clock_.now() + minutes(60)))};
  });
  for (const S3KeyType type : {S3KeyType::kAuto, S3KeyType::kWebIdentity}) {
    auto got = ask(type);
    ASSERT_TRUE(got.has_value()) << got.error().to_string();
    EXPECT_EQ(got->access_key, "WEB");
    EXPECT_EQ(got->session_token, "a&b");
    EXPECT_EQ(got->expires, clock_.now() + minutes(60));
    EXPECT_EQ(fake_->requests().back().form("RoleArn"), "arn:aws:iam::1:role/db");
  }
  settings_.role = "arn:aws:iam::1:role/mine";
  ASSERT_TRUE(ask(S3KeyType::kWebIdentity).has_value());
  EXPECT_EQ(fake_->requests().back().form("RoleArn"), "arn:aws:iam::1:role/mine");
}

TEST_F(AwsCredentialsTest, WebIdentityThatIsRefusedIsTold) {
  expect_error(ask(S3KeyType::kWebIdentity), Errc::kPermission, "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
  set("AWS_WEB_IDENTITY_TOKEN_FILE", write("token", "hidden"));
  expect_error(ask(S3KeyType::kWebIdentity), Errc::kPermission, "AWS_ROLE_ARN is not set");
  set("AWS_ROLE_ARN", "arn:aws:iam::1:role/db");
  set("AWS_ENDPOINT_URL_STS", fake_->url());
  const auto answer_error = [&](int status, const std::string& code) {
    fake_->set_handler([=](const Seen&) {
      return HttpAnswer{.status = status,
                        .body = "<ErrorResponse><Error><Type>Sender</Type><Code>" + code +
                                "</Code><Message>Token hidden is bad</Message></Error></ErrorResponse>"};
    });
  };
  answer_error(400, "ExpiredTokenException");
  expect_error(ask(), Errc::kPermission, "ExpiredTokenException");
  answer_error(403, "AccessDenied");
  expect_error(ask(), Errc::kPermission, "AccessDenied");
  answer_error(400, "IDPCommunicationError");
  expect_error(ask(), Errc::kTransient, "IDPCommunicationError");
  answer_error(503, "ServiceUnavailable");
  expect_error(ask(), Errc::kTransient, "ServiceUnavailable");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.no_answer = true}; });
  expect_error(ask(), Errc::kTransient, "closed");
  set("AWS_WEB_IDENTITY_TOKEN_FILE", scratch_ / "none");
  expect_error(ask(), Errc::kPermission, "none");  // kNotFound would be taken for a missing object.
}

TEST_F(AwsCredentialsTest, ContainerIsAskedWithItsToken) {
  fake_->set_handler([&](const Seen& seen) {
    if (seen.header("authorization") != "Bearer hidden") return HttpAnswer{.status = 401};
    return HttpAnswer{.body = document("CONT", minutes(60))};
  });
  set("AWS_CONTAINER_CREDENTIALS_FULL_URI", fake_->url("/v1/credentials"));
  expect_error(ask(), Errc::kPermission, "HTTP 401");
  set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer hidden");
  EXPECT_EQ(ask().value().access_key, "CONT");
  set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "");
  set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", write("auth", "Bearer hidden\n"));
  EXPECT_EQ(ask().value().access_key, "CONT");
  EXPECT_EQ(fake_->requests().back().path, "/v1/credentials");
  for (const char* elsewhere : {"http://example.invalid/", "http://127.0.0.1@example.invalid/", "ftp://localhost/",
                                "http://169.254.170.2.example.invalid/"}) {
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", elsewhere);
    expect_error(ask(), Errc::kInvalid, "neither https nor on this machine");
  }
}

TEST_F(AwsCredentialsTest, InstanceIsAskedWithASession) {
  fake_->set_handler([&](const Seen& seen) { return instance(seen); });
  auto got = ask();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(got->access_key, "INST1");
  EXPECT_EQ(got->session_token, "hidden-t");
  EXPECT_THAT(got->origin, HasSubstr("db-role"));
  settings_.role = "db-role";
  EXPECT_EQ(ask().value().access_key, "INST2");
  EXPECT_EQ(fake_->request_count(), 3u + 2u);
  settings_.role = "absent";
  expect_error(ask(), Errc::kPermission, "'absent'");
}

TEST_F(AwsCredentialsTest, NothingFoundSaysWhereWasLooked) {
  set("AWS_EC2_METADATA_DISABLED", "true");
  expect_error(ask(), Errc::kPermission, "none in the environment");
  EXPECT_EQ(fake_->request_count(), 0u);
  set("AWS_EC2_METADATA_DISABLED", "");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.no_answer = true}; });
  expect_error(ask(), Errc::kPermission, "repo1-s3-key");
  fake_->set_handler([&](const Seen& seen) {
    return seen.path == "/latest/api/token" ? HttpAnswer{.body = "s"} : HttpAnswer{.status = 404};
  });
  expect_error(ask(), Errc::kPermission, "role");
}

TEST_F(AwsCredentialsTest, AreKeptUntilFiveMinutesBeforeTheyExpire) {
  fake_->set_handler([&](const Seen& seen) { return instance(seen, minutes(60)); });
  auto held = source();
  EXPECT_EQ(held->get().value().access_key, "INST1");
  clock_.advance(minutes(54));
  EXPECT_EQ(held->get().value().access_key, "INST1");
  clock_.advance(minutes(2));
  EXPECT_EQ(held->get().value().access_key, "INST2");
  EXPECT_EQ(held->get().value().access_key, "INST2");
  held->invalidate();
  EXPECT_EQ(held->get().value().access_key, "INST3");
}

TEST_F(AwsCredentialsTest, FailureToRefreshIsToleratedWhileTheOldAreGood) {
  fake_->set_handler([&](const Seen& seen) { return instance(seen, minutes(60)); });
  auto held = source();
  EXPECT_EQ(held->get().value().access_key, "INST1");
  fake_->set_handler([](const Seen&) { return HttpAnswer{.status = 503}; });
  clock_.advance(minutes(56));
  const size_t before = fake_->request_count();
  EXPECT_EQ(held->get().value().access_key, "INST1");
  EXPECT_EQ(held->get().value().access_key, "INST1");
  EXPECT_EQ(fake_->request_count(), before + 1);  // Not at every request of the store.
  clock_.advance(minutes(1));
  EXPECT_EQ(held->get().value().access_key, "INST1");
  EXPECT_EQ(fake_->request_count(), before + 2);
  clock_.advance(minutes(3));
  expect_error(held->get(), Errc::kTransient, "503");  // It has answered before, so it may again.
  fake_->set_handler([&](const Seen& seen) { return instance(seen, minutes(60)); });
  EXPECT_EQ(held->get().value().access_key, "INST2");
}

TEST_F(AwsCredentialsTest, ExpiredOnesAreNotHandedOut) {
  fake_->set_handler([&](const Seen& seen) { return instance(seen, minutes(-1)); });
  expect_error(ask(), Errc::kTransient, "expired already");
}

TEST(AwsProfile, ReadsSectionsAsTheAwsToolsWriteThem) {
  bool found = false;
  const auto settings = read_aws_section(
      "\xEF\xBB\xBF; head\n[profile  a b ]\r\nKey = v # no comment \r\n\n= x\nbroken\n[other]\nkey = w", "profile a b",
      found);
  EXPECT_TRUE(found);
  EXPECT_EQ(settings.at("key"), "v # no comment");
  found = false;
  EXPECT_TRUE(read_aws_section("[x]\nk=v\n", "y", found).empty());
  EXPECT_FALSE(found);
}

TEST(FreshValue, IsFetchedByOneThreadWhileOthersGoOn) {
  StandingClock clock;
  std::atomic<int> fetches = 0;
  std::atomic<bool> may_end = true;
  FreshValue<int> value(
      [&]() -> Result<FreshValue<int>::Fetched> {
        const int number = ++fetches;
        while (!may_end) std::this_thread::yield();
        return FreshValue<int>::Fetched{number, clock.now() + minutes(60)};
      },
      clock, "refresh");
  // All that come while there is none wait for the same one.
  may_end = false;
  std::vector<std::thread> threads;
  std::atomic<int> sum = 0;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { sum += value.get().value(); });
  may_end = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 8);
  // While one thread refreshes, others get the old.
  clock.advance(minutes(56));
  may_end = false;
  std::thread refresher([&] { EXPECT_EQ(value.get().value(), 2); });
  while (fetches != 2) std::this_thread::yield();
  EXPECT_EQ(value.get().value(), 1);
  may_end = true;
  refresher.join();
  EXPECT_EQ(value.get().value(), 2);
  EXPECT_EQ(fetches, 2);
}

}  // namespace
}  // namespace pgark
