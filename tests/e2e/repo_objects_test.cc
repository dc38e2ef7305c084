// repo-check, repo-put and repo-rm with the real binary, on a directory; repo-check also on object stores.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "testing/object_servers.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/scratch.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) out.push_back(entry.path().string());
  return out;
}

class RepoObjects : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(scratch_, ScratchDir::create("objects"));
    ASSERT_OK_AND_ASSIGN(auto made, PgarkCli::create(scratch_.path()));
    cli_.emplace(std::move(made));
    fs::create_directories(cli_->repo_path());
  }

  ScratchDir scratch_;
  std::optional<PgarkCli> cli_;
};

TEST_F(RepoObjects, CheckNeedsNoStanzaAndLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(const json checked, cli_->run_json({"repo-check"}));
  EXPECT_EQ(checked.at("ok"), true);
  EXPECT_EQ(checked.at("kind"), "posix");
  EXPECT_EQ(checked.at("atomic_create_only"), true);
  EXPECT_GT(checked.at("put").at("bytes_per_second"), 0);
  EXPECT_THAT(files_below(cli_->repo_path()), IsEmpty());
}

TEST_F(RepoObjects, BandwidthOfARepositoryIsLimited) {
  ASSERT_OK(cli_->set("global", "repo1-bandwidth-max", "24MiB"));
  ASSERT_OK_AND_ASSIGN(const json checked, cli_->run_json({"repo-check"}));
  // 64 MiB in both directions; a second's worth may have been saved up.
  for (const char* direction : {"put", "get"}) {
    EXPECT_LE(checked.at(direction).at("bytes_per_second"), 48u << 20) << direction;
    EXPECT_EQ(checked.at(direction).at("bytes"), 64u << 20);
  }
}

TEST_F(RepoObjects, CheckOfARepositoryThatIsNotThereFails) {
  ASSERT_OK(cli_->set("global", "repo1-path", scratch_.path() + "/absent"));
  ASSERT_OK_AND_ASSIGN(const ProcessResult checked, cli_->run({"repo-check"}));
  EXPECT_GT(checked.exit_code, 1) << checked.to_string();
  EXPECT_THAT(checked.err, HasSubstr("repo1-path"));
}

TEST_F(RepoObjects, ObjectsOfOnesOwnComeAndGo) {
  ASSERT_OK_AND_ASSIGN(const ProcessResult put,
                       cli_->run({"repo-put", "notes/today"}, {.standard_input = std::string(3'000'000, 'x')}));
  ASSERT_TRUE(put.ok()) << put.to_string();
  EXPECT_EQ(fs::file_size(cli_->repo_path() + "/notes/today"), 3'000'000u);
  ASSERT_OK_AND_ASSIGN(const ProcessResult again, cli_->run({"repo-put", "notes/today"}, {.standard_input = "y"}));
  EXPECT_EQ(again.exit_code, 4) << again.to_string();
  ASSERT_OK_AND_ASSIGN(const std::string listed, cli_->run_ok({"repo-ls", "--recurse"}));
  EXPECT_EQ(listed, "notes/today\n");
  ASSERT_OK_AND_ASSIGN(const std::string got, cli_->run_ok({"repo-get", "--raw", "notes/today"}));
  EXPECT_EQ(got, std::string(3'000'000, 'x'));
  ASSERT_OK(cli_->run_ok({"repo-rm", "notes/today"}));
  EXPECT_THAT(files_below(cli_->repo_path()), IsEmpty());
}

TEST_F(RepoObjects, PutIsRefusedWhilePgarkIsStopped) {
  ASSERT_OK(cli_->run_ok({"stop"}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult put, cli_->run({"repo-put", "notes/today"}, {.standard_input = "x"}));
  EXPECT_EQ(put.exit_code, 2) << put.to_string();
  ASSERT_OK(cli_->run_ok({"start"}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult allowed, cli_->run({"repo-put", "notes/today"}, {.standard_input = "x"}));
  EXPECT_TRUE(allowed.ok()) << allowed.to_string();
}

// -- Object stores, by the names of which ctest starts their servers.

class RepoCheckCommand : public RepoObjects {
 protected:
  Result<json> check_bucket(const S3Endpoint& endpoint, const std::string& bucket) {
    for (const auto& [option, value] :
         std::vector<std::pair<std::string, std::string>>{{"repo1-type", "s3"},
                                                          {"repo1-path", "/demo"},
                                                          {"repo1-s3-bucket", bucket},
                                                          {"repo1-s3-endpoint", endpoint.url()},
                                                          {"repo1-s3-region", endpoint.region},
                                                          {"repo1-s3-uri-style", "path"},
                                                          {"repo1-s3-key", endpoint.keys.access_key},
                                                          {"repo1-s3-key-secret", endpoint.keys.secret}})
      TRY(cli_->set("global", option, value));
    return cli_->run_json({"repo-check"});
  }
};

TEST_F(RepoCheckCommand, FindsS3GoodAndLeavesTheBucketAsItWas) {
  PGARK_REQUIRE_S3(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK(raw.put(bucket, "demo/main/cluster/1", "kept"));
  ASSERT_OK_AND_ASSIGN(const json checked, check_bucket(endpoint, bucket));
  EXPECT_EQ(checked.at("ok"), true);
  EXPECT_EQ(checked.at("kind"), "s3");
  EXPECT_EQ(checked.at("lacks"), json::array());
  EXPECT_GT(checked.at("get").at("bytes_per_second"), 0);
  ASSERT_OK_AND_ASSIGN(const auto left, raw.list(bucket));
  EXPECT_THAT(left, ElementsAre("demo/main/cluster/1"));
  ASSERT_OK_AND_ASSIGN(const auto unfinished, raw.unfinished_uploads(bucket));
  EXPECT_THAT(unfinished, IsEmpty());
}

TEST_F(RepoCheckCommand, TellsWhatSwiftLacks) {
  PGARK_REQUIRE_SWIFT(endpoint);
  const RawS3 raw(endpoint);
  ASSERT_OK_AND_ASSIGN(const std::string bucket, raw.new_bucket());
  ASSERT_OK_AND_ASSIGN(const json checked, check_bucket(endpoint, bucket));
  EXPECT_EQ(checked.at("ok"), true) << checked.dump(2);
  EXPECT_EQ(checked.at("atomic_create_only"), false);
  ASSERT_EQ(checked.at("lacks").size(), 1u);
  EXPECT_THAT(checked.at("lacks").at(0).at("remedy").get<std::string>(), HasSubstr("one host"));
}

}  // namespace
}  // namespace pgark::testing
