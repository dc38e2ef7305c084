// The S3 store and repositories in it, on a real server: every promise of stores, refusals, large objects in parts, and
// the life of a repository with the real binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "codec/encoding.h"
#include "core/file.h"
#include "store/s3_store.h"
#include "store_cycle.h"
#include "store_scene.h"
#include "testing/object_servers.h"
#include "testing/s3_server.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

S3Settings settings_of(const S3Endpoint& endpoint, const std::string& bucket, std::string prefix = "demo/") {
  S3Settings settings;
  settings.cloud.prefix = std::move(prefix);
  settings.bucket = bucket;
  settings.endpoint = endpoint.url();
  settings.region = endpoint.region;
  settings.uri_style = S3UriStyle::kPath;
  settings.key = endpoint.keys.access_key;
  settings.key_secret = endpoint.keys.secret;
  return settings;
}

TEST(S3Store, KeepsEveryPromiseOfStores) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings_of(endpoint, bucket)));
  expect_conformance(*store);
  ASSERT_OK_AND_ASSIGN(const auto left, raw.list(bucket));
  EXPECT_THAT(left, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto unfinished, raw.unfinished_uploads(bucket));
  EXPECT_THAT(unfinished, IsEmpty());
}

TEST(S3Store, KeepsThemOverTlsUnderAnOddPrefix) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK(raw.put(bucket, "a b/+x&<\"ä>/of another", "theirs"));
  S3Settings settings = settings_of(endpoint, bucket, "a b/+x&<\"ä>/");
  settings.endpoint = endpoint.dns_name + ":" + std::to_string(endpoint.tls_port);
  settings.uri_style = S3UriStyle::kHost;
  settings.cloud.ca_file = endpoint.ca_file;
  settings.cloud.storage_host = endpoint.host;
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings));
  expect_conformance(*with_retries(std::move(store)));
  ASSERT_OK_AND_ASSIGN(const auto left, raw.list(bucket));
  EXPECT_THAT(left, ElementsAre("a b/+x&<\"ä>/of another"));

  settings.cloud.ca_file = "";
  ASSERT_OK_AND_ASSIGN(auto distrustful, S3Store::open(settings));
  const auto refused = distrustful->stat({"key"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kPermission) << refused.error().to_string();
}

TEST(S3Store, WritesLargeObjectsInPartsAndDropsThoseGivenUp) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  S3Settings settings = settings_of(endpoint, bucket);
  settings.cloud.tags = {{"who", "pgark"}, {"a b", "c&d=e"}};
  settings.sse_customer_key = base64_encode("0123456789abcdef0123456789abcdef");
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings));
  const Buffer content = noise((37u << 20) + 11, 7);
  ASSERT_OK_AND_ASSIGN(auto given_up, store->create({"given-up"}));
  ASSERT_OK(given_up->append(content));
  ASSERT_OK_AND_ASSIGN(const auto under_way, raw.unfinished_uploads(bucket));
  EXPECT_THAT(under_way, ElementsAre("demo/given-up"));
  given_up.reset();

  ASSERT_NO_FATAL_FAILURE(expect_first_of_two_writers_wins(*store, {"a/large"}, content));
  ASSERT_OK_AND_ASSIGN(const auto unfinished, raw.unfinished_uploads(bucket));
  EXPECT_THAT(unfinished, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const HttpReply tags, raw.request("GET", "/" + bucket + "/demo/a/large", {{"tagging", ""}}));
  EXPECT_THAT(xml_values(tags.body, "Value"), ::testing::UnorderedElementsAre("pgark", "c&d=e"))
      << tags.status << tags.body;

  // Without the key nobody reads it.
  settings.sse_customer_key = "";
  ASSERT_OK_AND_ASSIGN(auto keyless, S3Store::open(settings));
  EXPECT_FALSE(keyless->get({"a/large"}).has_value());
}

TEST(S3Store, DropsUploadsOfWritersThatDied) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  for (const char* key : {"demo/of us", "other/of somebody"}) {
    ASSERT_OK_AND_ASSIGN(const HttpReply begun, raw.request("POST", "/" + bucket + "/" + key, {{"uploads", ""}}));
    ASSERT_EQ(begun.status, 200) << begun.body;
  }
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings_of(endpoint, bucket)));
  ASSERT_OK_AND_ASSIGN(const StaleTemporaries young, store->remove_stale_temporaries(std::chrono::hours(1)));
  EXPECT_EQ(young.removed, 0u);
  EXPECT_EQ(young.kept, 1u);
  ASSERT_TRUE(wait_until([&] {
    const auto old = store->remove_stale_temporaries(std::chrono::seconds(1));
    return old.has_value() && old->removed == 1;
  }));
  ASSERT_OK_AND_ASSIGN(const auto unfinished, raw.unfinished_uploads(bucket));
  EXPECT_THAT(unfinished, ElementsAre("other/of somebody"));
}

TEST(S3Store, RemovesManyAtOnce) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings_of(endpoint, bucket, "a&b <c>/")));
  std::vector<ObjectKey> keys;
  for (int i = 0; i < 20; ++i) {
    keys.push_back({"k/" + std::to_string(i)});
    ASSERT_OK(store->put(keys.back(), as_bytes("x")));
  }
  ASSERT_OK(store->put({"kept"}, as_bytes("x")));
  keys.push_back({"not/there"});
  keys.push_back({"not legal"});
  const auto results = store->remove_many(keys);
  ASSERT_EQ(results.size(), keys.size());
  for (size_t i = 0; i < 21; ++i) EXPECT_TRUE(results[i].has_value()) << results[i].error().to_string();
  ASSERT_FALSE(results[21].has_value());
  EXPECT_EQ(results[21].error().code(), Errc::kInvalid);
  ASSERT_OK_AND_ASSIGN(const auto left, store->list_all(""));
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].key.value, "kept");
}

TEST(S3Store, TellsAWrongKeyAWrongBucketAndAStranger) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  const auto expect = [&](const S3Settings& settings, Errc code, const std::string& text) {
    ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings));
    expect_all_calls_refused(*store, code, text, "s3://", settings.key_secret);
  };
  S3Settings wrong = settings_of(endpoint, bucket);
  wrong.key_secret += "x";
  expect(wrong, Errc::kPermission, "write object 'key'");
  wrong = settings_of(endpoint, bucket);
  wrong.key = "NOBODY";
  expect(wrong, Errc::kPermission, "HTTP 403");
  expect(settings_of(endpoint, bucket + "-that-is-not-there"), Errc::kInvalid, "NoSuchBucket");
  ASSERT_OK_AND_ASSIGN(const S3Keys stranger, create_s3_user(endpoint, unique_name("stranger")));
  wrong = settings_of(endpoint, bucket);
  wrong.key = stranger.access_key;
  wrong.key_secret = stranger.secret;
  expect(wrong, Errc::kPermission, "AccessDenied");
  wrong = settings_of(endpoint, bucket);
  wrong.endpoint = "http://127.0.0.1:1";
  expect(wrong, Errc::kTransient, "127.0.0.1");
}

TEST(S3Store, LockedObjectsStayUntilTheLockEnds) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket({{"x-amz-bucket-object-lock-enabled", "true"}}));
  S3Settings settings = settings_of(endpoint, bucket);
  settings.object_lock_mode = "governance";
  settings.object_lock_days = 2;
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings));
  ASSERT_OK(store->put({"main/pack/1"}, as_bytes("content")));
  ASSERT_OK(store->put({"main/pack/2"}, noise(9u << 20, 1)));
  ASSERT_OK(store->put({"main/lease/backup"}, as_bytes("content")));
  for (const char* key : {"main/pack/1", "main/pack/2"}) {
    const auto refused = store->remove({key});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Errc::kPermission) << refused.error().to_string();
    EXPECT_THAT(refused.error().to_string(), HasSubstr("locked until"));
  }
  ASSERT_OK_AND_ASSIGN(const bool removed, store->remove({"main/lease/backup"}));
  EXPECT_TRUE(removed);
  // Not merely its name: no version is left to be paid for.
  ASSERT_OK_AND_ASSIGN(const HttpReply versions, raw.request("GET", "/" + bucket, {{"versions", ""}}));
  EXPECT_THAT(xml_values(versions.body, "Key"), ElementsAre("demo/main/pack/1", "demo/main/pack/2"));
  ASSERT_OK(store->put({"main/lease/backup"}, as_bytes("again")));
  const auto many = store->remove_many(std::vector<ObjectKey>{{"main/pack/1"}, {"main/lease/backup"}});
  EXPECT_FALSE(many[0].has_value());
  EXPECT_TRUE(many[1].has_value());
}

// -- Swift, whose S3 interface refuses creation under a condition (501).

TEST(S3StoreOnSwift, KeepsEveryPromiseButThatOfWritersAtTheSameMoment) {
  PGARK_REQUIRE_SWIFT(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK_AND_ASSIGN(auto opened, S3Store::open(settings_of(endpoint, bucket)));
  const auto store = with_retries(std::move(opened));
  for (const ConformanceOutcome& outcome : run_conformance(*store, "conformance", 4)) {
    if (outcome.check->name == "OneOfRacingWritersWins") continue;  // Nobody can, there.
    EXPECT_TRUE(outcome.result.has_value()) << outcome.check->name << ": " << outcome.result.error().to_string();
  }
  EXPECT_FALSE(store->caps().atomic_create_only);
  ASSERT_OK_AND_ASSIGN(const auto left, raw.list(bucket));
  EXPECT_THAT(left, IsEmpty());
}

TEST(S3StoreOnSwift, LaterWriterOfALargeObjectIsRefused) {
  PGARK_REQUIRE_SWIFT(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK_AND_ASSIGN(auto store, S3Store::open(settings_of(endpoint, bucket)));
  expect_first_of_two_writers_wins(*store, {"large"}, noise(12u << 20, 3));
}

// -- The binary.

TEST(S3Cycle, BackupsArchivesRestoresAndExpires) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_NO_FATAL_FAILURE(
      run_store_cycle({.repository = repository_options(endpoint, bucket), .list = [&] { return raw.list(bucket); }}));
  ASSERT_OK_AND_ASSIGN(const auto unfinished, raw.unfinished_uploads(bucket));
  EXPECT_THAT(unfinished, IsEmpty());
}

TEST(S3Cycle, DoesSoWithoutConditionalCreate) {
  PGARK_REQUIRE_SWIFT(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  run_store_cycle({.repository = repository_options(endpoint, bucket), .list = [&] { return raw.list(bucket); }});
}

TEST(S3Cycle, DoesSoOverTlsWithTheBucketInTheHostName) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  auto options = repository_options(endpoint, bucket);
  std::erase_if(options,
                [](const auto& one) { return one.first == "repo1-s3-endpoint" || one.first == "repo1-s3-uri-style"; });
  options.insert(options.end(), {{"repo1-s3-endpoint", endpoint.dns_name + ":" + std::to_string(endpoint.tls_port)},
                                 {"repo1-storage-host", endpoint.host},
                                 {"repo1-storage-ca-file", endpoint.ca_file}});
  ASSERT_NO_FATAL_FAILURE(
      run_store_cycle({.repository = std::move(options), .data_mib = 10, .list = [&] { return raw.list(bucket); }}));
}

TEST(S3Cycle, BackupOutlivesAServiceThatIsAwayForAWhile) {
  PGARK_REQUIRE_OWN_S3();
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto server, S3Server::start());
  const RawS3 raw(server->endpoint());
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK_AND_ASSIGN(auto scene,
                       RestoreScene::create(install, {}, {}, repository_options(server->endpoint(), bucket)));
  ASSERT_OK(fill_realistic(*scene->server, 100));
  ASSERT_OK(scene->ledger->commit_rows(20));
  // What it stores, 35 MiB, takes nine seconds, and the first pack half of them: its first part is looked for, and not
  // the pack, which on a busy machine is found when all is over.
  ASSERT_OK(scene->cli->set("global", "repo1-bandwidth-max", "4MiB"));
  const std::string output = scene->place("output");
  ASSERT_OK_AND_ASSIGN(Process backup,
                       scene->cli->start({"backup", "--type=full", "--start-fast"}, {.output_path = output}));
  ASSERT_TRUE(wait_until([&] {
    const auto uploads = raw.unfinished_uploads(bucket);
    return uploads && std::any_of(uploads->begin(), uploads->end(),
                                  [](const std::string& key) { return key.find("/pack/") != std::string::npos; });
  }));
  ASSERT_OK(server->kill_gateway());
  ASSERT_TRUE(wait_until([&] {
    const auto text = read_file(output, 1u << 20);
    return !backup.running() || (text && text->find("trying on for") != std::string::npos);
  }));
  ASSERT_TRUE(backup.running()) << read_file(output, 1u << 20).value_or("");
  ASSERT_OK(server->start_gateway());
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.wait());
  ASSERT_TRUE(ended.ok()) << ended.to_string() << read_file(output, 1u << 20).value_or("");
  ASSERT_OK(scene->cli->set("global", "repo1-bandwidth-max", ""));
  ASSERT_OK(scene->ledger->commit_rows(20));
  ASSERT_OK(scene->server->archive_all());
  ASSERT_OK(scene->cli->run_ok({"verify"}));
  ASSERT_OK(scene->restore_and_verify("restored", LedgerTarget::latest()));
}

}  // namespace
}  // namespace pgark::testing
