// One cluster, several repositories: written from one read, each as good as the others when one is damaged or gone.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "restore_scene.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// repo1 is plain, repo2 encrypted; both are directories.
class MultiRepo : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    auto second = ScratchDir::create("second");
    ASSERT_OK(second);
    second_ = std::move(*second);
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install, {}, {},
                                                      {{"repo2-path", second_ / "repo"},
                                                       {"repo2-cipher-type", "aes-256-gcm"},
                                                       {"repo2-cipher-pass", "correct horse battery staple"}}));
    ASSERT_OK(scene_->server->exec("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 100000) n"));
    ASSERT_OK(scene_->ledger->commit_rows(20));
  }

  /// A full backup and WAL behind it, in both.
  void back_up() {
    ASSERT_OK_AND_ASSIGN(backup_, scene_->backup());
    EXPECT_EQ(backup_.at("repositories"), json::parse(R"(["repo1", "repo2"])"));
    ASSERT_OK(scene_->ledger->commit_rows(20));
    middle_ = scene_->ledger->last();
    ASSERT_OK(scene_->ledger->commit_rows(20));
    ASSERT_OK(scene_->server->archive_all());
  }
  std::string label() const { return backup_.at("label"); }
  std::string first() const { return scene_->cli->repo_path(); }
  LedgerTarget middle() const { return LedgerTarget::at_time(middle_.committed_at + std::chrono::microseconds(1)); }

  /// Turn bits in the middle of a file of repo1.
  void damage(const std::string& path) {
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    ASSERT_OK_AND_ASSIGN(const File file, File::open(path, O_RDWR));
    const auto place = static_cast<uint64_t>(fs::file_size(path) / 2);
    ASSERT_OK(file.pwrite(as_bytes(std::string_view("damaged")), place));
  }
  std::string largest_pack() const {
    std::string largest;
    for (const auto& entry : fs::directory_iterator(first() + "/main/pack/" + label()))
      if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
    return largest;
  }
  static json source(const json& report, const std::string& name) {
    for (const json& one : report.at("sources"))
      if (one.at("repository") == name) return one;
    return json();
  }

  ScratchDir second_;
  std::unique_ptr<RestoreScene> scene_;
  json backup_;
  LedgerRow middle_;
};

TEST_F(MultiRepo, RestoreTakesFromTheOtherWhatIsDamaged) {
  ASSERT_NO_FATAL_FAILURE(back_up());
  const std::string pack = largest_pack();
  ASSERT_NO_FATAL_FAILURE(damage(pack));
  ASSERT_OK_AND_ASSIGN(const json report, scene_->cli->run_json(scene_->restore_args("one")));
  EXPECT_EQ(report.at("repository"), "repo1");
  EXPECT_EQ(source(report, "repo2").at("extent_count"), 1) << report.dump(2);
  EXPECT_EQ(source(report, "repo1").at("failure_count"), 1);
  EXPECT_THAT(source(report, "repo1").at("failures").at(0).at("object").get<std::string>(),
              HasSubstr(fs::path(pack).filename().string()));
  ASSERT_OK(scene_->restore_and_verify("two", middle()));
  // repo1 alone says what is wrong.
  ASSERT_OK_AND_ASSIGN(const ProcessResult alone, scene_->restore("three", {"--repo=1"}));
  EXPECT_EQ(alone.exit_code, 5) << alone.err;

  // A manifest that cannot be read, and a segment.
  ASSERT_NO_FATAL_FAILURE(damage(first() + "/main/backup/" + label() + "/manifest"));
  const std::string segment = backup_.at("wal_start");
  ASSERT_NO_FATAL_FAILURE(
      damage(first() + "/main/wal/1/" + segment.substr(0, 8) + "/" + segment.substr(8, 8) + "/" + segment));
  ASSERT_OK_AND_ASSIGN(const json other, scene_->cli->run_json(scene_->restore_args("four")));
  EXPECT_EQ(other.at("repository"), "repo2");
  ASSERT_OK(scene_->restore_and_verify("five", LedgerTarget::latest()));
}

TEST_F(MultiRepo, RestoreDoesWithoutTheFirst) {
  ASSERT_NO_FATAL_FAILURE(back_up());
  fs::rename(first(), first() + ".away");
  ASSERT_OK_AND_ASSIGN(const json report, scene_->cli->run_json(scene_->restore_args("one")));
  EXPECT_EQ(report.at("repository"), "repo2");
  EXPECT_THAT(report.at("warnings").dump(), HasSubstr("--repo=2"));
  // Recovery has to know where WAL ends, which nobody can tell who sees only one of two.
  ASSERT_OK(scene_->restore_and_verify("two", middle(), {"--repo=2"}));
  ASSERT_OK(scene_->restore_and_verify("three", LedgerTarget::latest(), {"--repo=2"}));
  fs::rename(first() + ".away", first());
}

TEST_F(MultiRepo, OneThatWasAwayCatchesUpWithTheNextBackup) {
  ASSERT_NO_FATAL_FAILURE(back_up());
  fs::rename(second_ / "repo", second_ / "away");
  ASSERT_OK(scene_->ledger->commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const ProcessResult without,
                       scene_->cli->run({"backup", "--type=incr", "--start-fast", "--output=json"}));
  EXPECT_EQ(without.exit_code, 8) << without.err;
  const json missed = json::parse(without.out);
  EXPECT_EQ(missed.at("repositories"), json::parse(R"(["repo1"])"));
  EXPECT_EQ(missed.at("left_behind").at(0).at("repository"), "repo2");

  fs::rename(second_ / "away", second_ / "repo");
  ASSERT_OK(scene_->ledger->commit_rows(20));
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK_AND_ASSIGN(const json next, scene_->cli->run_json({"backup", "--type=incr", "--start-fast"}));
  EXPECT_EQ(next.at("prior"), missed.at("label")) << next.dump(2);
  EXPECT_EQ(next.at("left_behind"), json::array());
  ASSERT_OK(scene_->ledger->commit_rows(20));
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK(scene_->cli->run_ok({"verify", "--repo=2"}));
  fs::rename(first(), first() + ".away");
  ASSERT_OK(scene_->restore_and_verify("latest", LedgerTarget::latest(), {"--repo=2"}));
  fs::rename(first() + ".away", first());
}

TEST_F(MultiRepo, ACopyIsAsGoodAsTheOriginal) {
  ASSERT_NO_FATAL_FAILURE(back_up());
  ASSERT_OK(scene_->cli->set("global", "repo3-path", second_ / "third"));
  ASSERT_OK(scene_->cli->run_ok({"repo-copy", "--from=2", "--to=3"}));
  ASSERT_OK(scene_->cli->run_ok({"verify", "--repo=3"}));
  ASSERT_OK(scene_->restore_and_verify("middle", middle(), {"--repo=3"}));
  ASSERT_OK(scene_->restore_and_verify("latest", LedgerTarget::latest(), {"--repo=3"}));
  // Packs that are gone from the first and damaged nowhere else: the third is read extent by extent.
  fs::remove_all(first() + "/main/pack");
  fs::rename(second_ / "repo", second_ / "away");
  ASSERT_OK_AND_ASSIGN(const json report, scene_->cli->run_json(scene_->restore_args("one")));
  EXPECT_EQ(report.at("repository"), "repo1");
  EXPECT_GT(source(report, "repo3").at("fetched_bytes"), 0);
  fs::rename(second_ / "away", second_ / "repo");
}

}  // namespace
}  // namespace pgark::testing
