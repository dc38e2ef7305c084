// The object store servers themselves: they start as an ordinary user, know their keys, can be lost and found again,
// and end with whoever started them.
#include "testing/object_servers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "testing/azure_server.h"
#include "testing/pg_server.h"
#include "testing/process.h"
#include "testing/s3_server.h"
#include "testing/scratch.h"
#include "testing/tcp.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(S3Server, AnswersSignedRequestsAndRefusesOthers) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 s3(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, s3.new_bucket());
  const std::string odd_key = "a b/+x&<\"ä>/~%2F";
  ASSERT_OK(s3.put(bucket, odd_key, "content"));
  ASSERT_OK_AND_ASSIGN(const auto keys, s3.list(bucket));
  EXPECT_THAT(keys, ElementsAre(odd_key));
  ASSERT_OK_AND_ASSIGN(const std::string content, s3.get(bucket, odd_key));
  EXPECT_EQ(content, "content");

  S3Keys wrong = endpoint.keys;
  wrong.secret += "x";
  ASSERT_OK_AND_ASSIGN(const HttpReply refused, s3.with_keys(wrong).request("GET", "/" + bucket));
  EXPECT_EQ(refused.status, 403);
  ASSERT_OK_AND_ASSIGN(const HttpReply bare, http_exchange(endpoint.host, endpoint.port, "GET", "/" + bucket));
  EXPECT_EQ(bare.status, 403);

  ASSERT_OK(s3.remove(bucket, odd_key));
  const auto gone = s3.get(bucket, odd_key);
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code(), Errc::kNotFound);
}

TEST(S3Server, GivesNothingToAUserWithoutRights) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 s3(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, s3.new_bucket());
  ASSERT_OK_AND_ASSIGN(const S3Keys stranger, create_s3_user(endpoint, unique_name("stranger")));
  ASSERT_OK_AND_ASSIGN(const HttpReply reply, s3.with_keys(stranger).request("GET", "/" + bucket));
  EXPECT_EQ(reply.status, 403);
  EXPECT_THAT(reply.body, HasSubstr("<Code>AccessDenied</Code>"));
}

TEST(S3Server, CreatesAKeyOnlyOnceWhenAsked) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 s3(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, s3.new_bucket());
  std::atomic<int> created{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 8; ++i) {
    writers.emplace_back([&, i] {
      const auto reply = s3.request("PUT", "/" + bucket + "/key", {}, std::to_string(i), {{"If-None-Match", "*"}});
      if (reply && reply->status == 200) ++created;
      if (reply && (reply->status == 412 || reply->status == 409)) ++refused;
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(created, 1);
  EXPECT_EQ(refused, 7);
}

TEST(S3Server, SpeaksTlsWithACertificateOfItsOwnAuthority) {
  PGARK_REQUIRE_S3(endpoint);
  std::vector<std::string> connect{"openssl", "s_client", "-verify_return_error", "-connect",
                                   endpoint.host + ":" + std::to_string(endpoint.tls_port)};
  ASSERT_OK_AND_ASSIGN(const ProcessResult stranger, run(connect));
  EXPECT_FALSE(stranger.ok());
  for (const char* name : {"s3.localhost", "bucket.s3.localhost", "localhost"}) {
    auto trusting = connect;
    trusting.insert(trusting.end(), {"-CAfile", endpoint.ca_file, "-verify_hostname", name});
    ASSERT_OK_AND_ASSIGN(const ProcessResult trusted, run(trusting));
    EXPECT_TRUE(trusted.ok()) << name << trusted.to_string();
  }
}

TEST(S3Server, IsLostAndFoundAgainWithItsContent) {
  PGARK_REQUIRE_OWN_S3();
  ASSERT_OK_AND_ASSIGN(const auto server, S3Server::start());
  const RawS3 s3(server->endpoint());
  ASSERT_OK_AND_ASSIGN(const std::string bucket, s3.new_bucket());
  ASSERT_OK(s3.put(bucket, "key", "content"));

  ASSERT_OK(server->kill_gateway());
  const auto refused = s3.get(bucket, "key");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kTransient) << refused.error().to_string();
  ASSERT_OK(server->start_gateway());
  ASSERT_OK_AND_ASSIGN(const std::string again, s3.get(bucket, "key"));
  EXPECT_EQ(again, "content");

  ASSERT_OK(server->pause());
  std::atomic<bool> answered{false};
  std::thread reader([&] {
    EXPECT_TRUE(s3.get(bucket, "key").has_value());
    answered = true;
  });
  EXPECT_FALSE(wait_until([&] { return answered.load(); }, std::chrono::milliseconds(300)));
  EXPECT_TRUE(server->resume().has_value());
  reader.join();
}

TEST(S3Server, RunsThreeTimesAtOnce) {
  PGARK_REQUIRE_OWN_S3();
  std::vector<std::unique_ptr<S3Server>> regions;
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK_AND_ASSIGN(auto server, S3Server::start());
    regions.push_back(std::move(server));
  }
  for (const auto& region : regions) {
    const RawS3 s3(region->endpoint());
    ASSERT_OK(s3.create_bucket("same-name"));
    ASSERT_OK(s3.put("same-name", "key", std::to_string(region->endpoint().port)));
  }
  for (const auto& region : regions) {
    ASSERT_OK_AND_ASSIGN(const std::string content, RawS3(region->endpoint()).get("same-name", "key"));
    EXPECT_EQ(content, std::to_string(region->endpoint().port));
  }
}

TEST(S3Server, EndsWithTheRunThatItWasStartedFor) {
  PGARK_REQUIRE_OWN_S3();
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("shared"));
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "object_servers";
  // The shell stands for ctest: what it started ends with it, stopped or not.
  ASSERT_OK_AND_ASSIGN(
      const std::string state,
      run_ok({"sh", "-c", program + " start s3 " + scratch.path() + " && cat " + scratch / "s3.json" + " && true"}, {},
             std::chrono::seconds(300)));
  const auto endpoint = nlohmann::json::parse(state, nullptr, false);
  ASSERT_TRUE(endpoint.is_object()) << state;
  EXPECT_TRUE(wait_until([&] { return !accepts_connections(endpoint.at("port")); }));
  // What is left is no hindrance.
  ASSERT_OK(run_ok({program, "stop", "s3", scratch.path()}));
  EXPECT_FALSE(std::filesystem::exists(scratch / "s3.json"));
}

TEST(AzureServer, AnswersSignedRequestsAndRefusesOthers) {
  PGARK_REQUIRE_AZURE(endpoint);
  const RawAzure azure(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string container, azure.new_container());
  const std::string odd_name = "a b/+x&<ä>/~";
  ASSERT_OK(azure.put(container, odd_name, "content"));
  ASSERT_OK_AND_ASSIGN(const auto names, azure.list(container));
  EXPECT_THAT(names, ElementsAre(odd_name));
  ASSERT_OK_AND_ASSIGN(const std::string content, azure.get(container, odd_name));
  EXPECT_EQ(content, "content");
  ASSERT_OK_AND_ASSIGN(const HttpReply taken, azure.request("PUT", "/" + container + "/" + odd_name, {}, "other",
                                                            {{"x-ms-blob-type", "BlockBlob"}, {"If-None-Match", "*"}}));
  EXPECT_EQ(taken.status, 409) << taken.body;
  const RawAzure wrong = azure.with_key("d3Jvbmc=");
  ASSERT_OK_AND_ASSIGN(const HttpReply refused, wrong.request("GET", "/" + container + "/" + odd_name));
  EXPECT_EQ(refused.status, 403);
  ASSERT_OK(azure.remove(container, odd_name));
  EXPECT_EQ(azure.get(container, odd_name).error().code(), Errc::kNotFound);
}

TEST(SwiftServer, AnswersSignedRequestsAndKnowsNoConditionalCreate) {
  PGARK_REQUIRE_SWIFT(endpoint);
  const RawS3 swift(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, swift.new_bucket());
  const std::string odd_key = "a b/+x&<\"ä>/~%2F";
  ASSERT_OK(swift.put(bucket, odd_key, "content"));
  ASSERT_OK_AND_ASSIGN(const auto keys, swift.list(bucket));
  EXPECT_THAT(keys, ElementsAre(odd_key));
  ASSERT_OK_AND_ASSIGN(const std::string content, swift.get(bucket, odd_key));
  EXPECT_EQ(content, "content");
  ASSERT_OK_AND_ASSIGN(const HttpReply conditional,
                       swift.request("PUT", "/" + bucket + "/new", {}, "x", {{"If-None-Match", "*"}}));
  EXPECT_EQ(conditional.status, 501) << conditional.body;
  S3Keys wrong = endpoint.keys;
  wrong.secret += "x";
  ASSERT_OK_AND_ASSIGN(const HttpReply refused, swift.with_keys(wrong).request("GET", "/" + bucket));
  EXPECT_EQ(refused.status, 403);
}

}  // namespace
}  // namespace pgark::testing
