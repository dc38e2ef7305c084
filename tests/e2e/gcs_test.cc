// The GCS store and repositories in it, on the stand-in for the service's JSON API: every promise of stores, tokens
// that end in the middle, uploads that the service takes in small pieces, and the life of a repository with the real
// binary. Its S3 face, which HMAC keys are for, is tried on a real S3 server.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "store/gcs_store.h"
#include "store_cycle.h"
#include "store_scene.h"
#include "testing/gcs_fake.h"
#include "testing/object_servers.h"
#include "testing/scratch.h"

namespace pgark::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Scene {
  ScratchDir scratch;
  std::unique_ptr<GcsFake> service;
  std::string key_file;

  static Result<Scene> create(const GcsOptions& options = {}) {
    Scene scene;
    TRY_ASSIGN(scene.scratch, ScratchDir::create("gcs"));
    TRY_ASSIGN(scene.service, GcsFake::start(options));
    scene.key_file = scene.scratch / "account.json";
    std::ofstream(scene.key_file) << scene.service->service_account_json();
    return scene;
  }

  GcsSettings settings() const {
    GcsSettings settings;
    settings.cloud.prefix = "demo/";
    settings.bucket = "pgark-test";
    settings.endpoint = service->url();
    settings.key = key_file;
    return settings;
  }
};

TEST(GcsStore, KeepsEveryPromiseOfStores) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create());
  ASSERT_OK_AND_ASSIGN(auto store, GcsStore::open(scene.settings()));
  expect_conformance(*store);
  EXPECT_THAT(scene.service->list("pgark-test"), IsEmpty());
  EXPECT_EQ(scene.service->unfinished_uploads(), 0u);
  EXPECT_EQ(scene.service->tokens_issued(), 1u) << "a token serves until it ends";
}

TEST(GcsStore, KeepsThemWhereTheServiceTakesLittleAtATime) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create({.page_items_max = 7, .persisted_bytes_max = 512u << 10}));
  GcsSettings settings = scene.settings();
  settings.cloud.prefix = "a b/+x&<\"ä>/";
  settings.cloud.chunk_bytes = 2u << 20;
  settings.cloud.tags = {{"owner", "team \"ä\""}};
  ASSERT_OK_AND_ASSIGN(auto store, GcsStore::open(settings));
  expect_conformance(*store);
  EXPECT_EQ(scene.service->unfinished_uploads(), 0u);
}

TEST(GcsStore, KeepsThemOverABadNetwork) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create());
  GcsSettings settings = scene.settings();
  settings.cloud.chunk_bytes = 256u << 10;
  expect_conformance_over_a_bad_network<GcsStore>(settings, "127.0.0.1", scene.service->port(), 1'000'000);
  EXPECT_THAT(scene.service->list("pgark-test"), IsEmpty());
}

TEST(GcsStore, GoesOnWhenItsTokensEnd) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create());
  GcsSettings settings = scene.settings();
  settings.cloud.chunk_bytes = 1u << 20;
  ASSERT_OK_AND_ASSIGN(auto store, GcsStore::open(settings));
  const Buffer content = noise((5u << 20) + 11, 7);
  ASSERT_OK_AND_ASSIGN(auto writer, store->create({"a/large"}));
  for (size_t at = 0; at < content.size(); at += 1u << 20) {
    ASSERT_OK(writer->append(content.bytes().subspan(at, std::min<size_t>(1u << 20, content.size() - at))));
    scene.service->expire_tokens();
  }
  ASSERT_OK(std::move(*writer).commit());
  scene.service->expire_tokens();
  ASSERT_NO_FATAL_FAILURE(expect_content(*store, {"a/large"}, content));
  EXPECT_THAT(scene.service->list("pgark-test"), ElementsAre("demo/a/large"));
  EXPECT_GT(scene.service->tokens_issued(), 1u);
}

TEST(GcsStore, LosesToTheFirstOfTwoWriters) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create());
  GcsSettings settings = scene.settings();
  settings.cloud.chunk_bytes = 256u << 10;
  ASSERT_OK_AND_ASSIGN(auto store, GcsStore::open(settings));
  ASSERT_NO_FATAL_FAILURE(expect_first_of_two_writers_wins(*store, {"large"}, noise((1u << 20) + 11, 7)));
  EXPECT_EQ(scene.service->unfinished_uploads(), 0u);
}

TEST(GcsStore, TellsAWrongTokenAWrongBucketAndAWrongHost) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create());
  const auto expect = [&](const GcsSettings& settings, Errc code, const std::string& text) {
    ASSERT_OK_AND_ASSIGN(auto store, GcsStore::open(settings));
    expect_all_calls_refused(*store, code, text, "gs://", "hunter2");
  };
  GcsSettings wrong = scene.settings();
  wrong.key_type = GcsKeyType::kToken;
  wrong.key = "hunter2";
  expect(wrong, Errc::kPermission, "HTTP 401");
  wrong = scene.settings();
  wrong.bucket = "pgark-not-there";
  expect(wrong, Errc::kInvalid, "create the bucket");
  wrong = scene.settings();
  wrong.endpoint = "http://127.0.0.1:1";
  expect(wrong, Errc::kTransient, "127.0.0.1");
}

TEST(GcsCycle, BackupsArchivesRestoresAndExpires) {
  ASSERT_OK_AND_ASSIGN(const Scene scene, Scene::create());
  run_store_cycle({.repository = {{"repo1-type", "gcs"},
                                  {"repo1-path", "/cycle"},
                                  {"repo1-gcs-bucket", "pgark-test"},
                                  {"repo1-gcs-endpoint", scene.service->url()},
                                  {"repo1-gcs-key", scene.key_file}},
                   .list = [&]() -> Result<std::vector<std::string>> { return scene.service->list("pgark-test"); }});
  EXPECT_EQ(scene.service->unfinished_uploads(), 0u);
}

TEST(GcsHmacCycle, WorksOnTheS3FaceOfTheService) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  run_store_cycle({.repository = {{"repo1-type", "gcs"},
                                  {"repo1-path", "/cycle"},
                                  {"repo1-gcs-bucket", bucket},
                                  {"repo1-gcs-endpoint", endpoint.url()},
                                  {"repo1-gcs-key-type", "hmac"},
                                  {"repo1-gcs-key", endpoint.keys.access_key + ":" + endpoint.keys.secret}},
                   .list = [&] { return raw.list(bucket); }});
}

}  // namespace
}  // namespace pgark::testing
