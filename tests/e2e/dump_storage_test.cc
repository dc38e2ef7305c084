// What the other commands make of dumps in a repository: verify, repo-copy, repo-get, repo-ls, stanza-delete. No server
// is needed: the dump is the golden one.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "testing/pgark_cli.h"
#include "testing/scratch.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kLabel = "20261122-101500L";

class DumpStorage : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("dump-storage");
    ASSERT_TRUE(scratch.has_value()) << scratch.error().to_string();
    scratch_.emplace(std::move(*scratch));
    auto cli = PgarkCli::create(scratch_->path());
    ASSERT_TRUE(cli.has_value()) << cli.error().to_string();
    cli_.emplace(std::move(*cli));
    fs::copy(PGARK_SOURCE_DIR "/tests/golden/format-1-dump/repo", cli_->repo_path(), fs::copy_options::recursive);
    fs::create_directory(repo2());
    ASSERT_TRUE(cli_->set("global", "repo2-path", repo2()).has_value());
    const ProcessResult copied = run({"repo-copy", "--from=1", "--to=2"});
    ASSERT_EQ(copied.exit_code, 0) << copied.to_string();
    ASSERT_THAT(copied.out, HasSubstr("copied dump " + kLabel));
  }
  ProcessResult run(const std::vector<std::string>& args, const std::string& input = "") {
    ProcessOptions options;
    options.standard_input = input;
    auto result = cli_->run(args, options);
    EXPECT_TRUE(result.has_value()) << result.error().to_string();
    return result.value_or(ProcessResult());
  }
  json run_json(std::vector<std::string> args) {
    args.emplace_back("--output=json");
    const ProcessResult result = run(args);
    const json parsed = json::parse(result.out, nullptr, false);
    EXPECT_TRUE(parsed.is_object()) << result.to_string();
    return parsed;
  }
  std::string repo2() const { return scratch_->path() + "/repo2"; }
  void damage(const std::string& object) {
    std::fstream file(cli_->repo_path() + "/main/dump/" + kLabel + "/" + object,
                      std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(file.good());
    file.seekp(3000);
    file.put('X');
  }

  std::optional<ScratchDir> scratch_;
  std::optional<PgarkCli> cli_;
};

TEST_F(DumpStorage, VerifyReadsDumpsInEveryRepository) {
  const json verified = run_json({"verify"});
  EXPECT_EQ(verified["ok"], true);
  ASSERT_EQ(verified["repositories"].size(), 2u);
  for (const json& one : verified["repositories"]) {
    EXPECT_EQ(one["dumps_verified"], json::array({kLabel}));
    EXPECT_EQ(one["dump_packs"]["count"], 3);
    EXPECT_THAT(one["dumps"], IsEmpty());
  }
  EXPECT_EQ(run_json({"verify", "--set=" + kLabel})["ok"], true);
  const ProcessResult absent = run({"verify", "--set=20300101-000000L"});
  EXPECT_NE(absent.exit_code, 0);
  EXPECT_THAT(absent.err, AllOf(HasSubstr("dump 20300101-000000L"), HasSubstr("dump-ls")));
}

TEST_F(DumpStorage, DamageIsToldWithWhereAGoodCopyIs) {
  damage("000001");
  const ProcessResult verified = run({"verify", "--repo=1"});
  EXPECT_EQ(verified.exit_code, 1) << verified.to_string();
  EXPECT_THAT(verified.out,
              AllOf(HasSubstr("DAMAGED pack of dump: " + kLabel + "/000001"), HasSubstr("CANNOT BE LOADED"),
                    HasSubstr("repo2 has a good copy"), HasSubstr("--repo=2 load --set=" + kLabel)));
  EXPECT_EQ(run_json({"verify", "--repo=2"})["ok"], true);
  // Nor is a damaged dump copied.
  const std::string repo3 = scratch_->path() + "/repo3";
  fs::create_directory(repo3);
  ASSERT_TRUE(cli_->set("global", "repo3-path", repo3).has_value());
  const ProcessResult copied = run({"repo-copy", "--from=1", "--to=3"});
  EXPECT_EQ(copied.exit_code, 1) << copied.to_string();
  EXPECT_THAT(copied.out, HasSubstr("NOT COPIED, because of damage: dump " + kLabel));
  EXPECT_FALSE(fs::exists(repo3 + "/main/dump/" + kLabel + "/manifest"));
  const ProcessResult good = run({"repo-copy", "--from=2", "--to=3", "--set=" + kLabel});
  EXPECT_EQ(good.exit_code, 0) << good.to_string();
  EXPECT_EQ(run_json({"verify", "--repo=3"})["ok"], true);
}

TEST_F(DumpStorage, ObjectsAreShownAsJson) {
  const ProcessResult manifest = run({"repo-get", "main/dump/" + kLabel + "/manifest", "--repo=1"});
  ASSERT_EQ(manifest.exit_code, 0) << manifest.to_string();
  const json shown = json::parse(manifest.out);
  EXPECT_EQ(shown["dump"]["label"], kLabel);
  EXPECT_EQ(shown["streams"].size(), 6u);
  EXPECT_EQ(shown["tables"][0]["name"], "orders");
  const ProcessResult pack = run({"repo-get", "main/dump/" + kLabel + "/000001", "--repo=1"});
  EXPECT_FALSE(json::parse(pack.out)["frames"].empty()) << pack.to_string();
  const ProcessResult hold = run({"repo-get", "main/dump/" + kLabel + "/hold.2", "--repo=1"});
  EXPECT_EQ(json::parse(hold.out)["reason"], "golden");
  EXPECT_THAT(run({"repo-ls", "--repo=1", "main/dump"}).out, HasSubstr(kLabel));
}

TEST_F(DumpStorage, StanzaDeleteRemovesThem) {
  const ProcessResult deleted = run({"stanza-delete", "--repo=1", "--force"});
  ASSERT_EQ(deleted.exit_code, 0) << deleted.to_string();
  EXPECT_THAT(deleted.out, HasSubstr("1 dump, "));
  EXPECT_FALSE(fs::exists(cli_->repo_path() + "/main/dump/" + kLabel));
  EXPECT_EQ(run_json({"verify", "--repo=2"})["ok"], true);
}

}  // namespace
}  // namespace pgark::testing
