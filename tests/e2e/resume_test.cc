// Backups killed on their way, and the next one: it stores what the killed one had not stored, or what has changed
// since, and nothing else.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/file.h"
#include "restore_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::IsEmpty;

// Packs are of 64 MiB, and count only once they are whole: the big table fills seven and a half of them.
constexpr uint64_t kBigBytes = 480u << 20;
constexpr uint64_t kBigRows = kBigBytes / 8192 * 4;

class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    PgOptions options;
    for (const char* line : {"autovacuum = off", "max_wal_size = 4GB", "checkpoint_timeout = 1h"})
      options.config.emplace_back(line);
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install, options));
    hold_ = scene_->scratch / "hold";
    // While the file is there and more packs than it says, no WAL arrives: a backup cannot end before it is killed.
    ASSERT_OK(server().configure(fmt::format(
        "archive_command = '(test ! -e {0} || test $(find {1}/main/pack -name \"0*\" | wc -l) -le $(cat {0})) && {2}'",
        hold_, scene_->cli->repo_path(), scene_->cli->archive_command())));
    ASSERT_OK(server().reload());
  }

  PgServer& server() { return *scene_->server; }

  /// A table that fills four rows to a page. Its pages do not look alike, and have been read: no hint bit is set later.
  Result<> create_big() {
    TRY(server().exec(
        fmt::format("CREATE TABLE big AS SELECT g AS id, 0 AS version, md5(g::text) || repeat('x', 1900) AS pad "
                    "FROM generate_series(1, {}) g",
                    kBigRows)));
    return server().exec("SELECT count(ctid) FROM big");
  }
  Result<std::string> fingerprint(PgServer& of) {
    TRY_ASSIGN(
        const PgRows rows,
        of.query("SELECT count(*) || ' ' || sum(version) || ' ' || md5(string_agg(id || '.' || version || pad, ',' "
                 "ORDER BY id)) FROM big WHERE version > 0 OR id % 50 = 0"));
    return rows.text();
  }

  static std::vector<std::string> args(const std::string& type, std::vector<std::string> more = {}) {
    // One worker, one open pack: all others are there when it is killed. Uncompressed, so that packs are many.
    std::vector<std::string> all{"backup",          "--type=" + type,       "--start-fast",
                                 "--process-max=1", "--compress-type=none", "--archive-timeout=300"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// Sizes of the packs in the repository, of all backups. One being written is not there yet.
  std::vector<uint64_t> packs() const {
    std::vector<uint64_t> sizes;
    std::error_code ignored;
    for (fs::recursive_directory_iterator at(scene_->cli->repo_path() + "/main/pack", ignored), end; at != end;
         at.increment(ignored))
      if (at->path().filename().string().starts_with("0")) sizes.push_back(at->file_size(ignored));
    return sizes;
  }
  uint64_t pack_count() const { return packs().size(); }
  uint64_t pack_bytes() const {
    const auto sizes = packs();
    return std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
  }

  /// Start a backup and kill it once it has added this many packs.
  void kill_after(uint64_t packs, const std::string& type) {
    const uint64_t before = pack_count();
    ASSERT_OK(server().archive_all());
    ASSERT_OK(write_file_durable(hold_, std::to_string(before)));
    // Two packs a second: whoever looks at it comes in time, also on a busy machine.
    ASSERT_OK_AND_ASSIGN(Process backup, scene_->cli->start(args(type, {"--pg1-bandwidth-max=128MiB"})));
    ASSERT_TRUE(
        wait_until([&] { return pack_count() >= before + packs || !backup.running(); }, std::chrono::seconds(240)));
    ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.kill_and_wait());
    ASSERT_EQ(ended.signal, SIGKILL) << ended.to_string();
    ASSERT_GE(pack_count(), before + packs);
    fs::remove(hold_);
  }

  /// Six of the seven and a half packs.
  void kill_at_four_fifths(const std::string& type) { kill_after(6, type); }

  Result<json> backup(const std::string& type, std::vector<std::string> more = {}) {
    return scene_->cli->run_json(args(type, std::move(more)));
  }

  /// Restore the newest backup to the end of WAL and compare the big table.
  void verify(const std::string& place) {
    ASSERT_OK_AND_ASSIGN(const std::string expected, fingerprint(server()));
    ASSERT_OK(server().archive_all());
    ASSERT_OK(scene_->cli->run_ok(scene_->restore_args(place, {"--archive-mode=off"})));
    ASSERT_OK_AND_ASSIGN(auto restored, scene_->adopt(place));
    ASSERT_OK(restored->start());
    ASSERT_OK(restored->wait_for_recovery_end());
    ASSERT_OK_AND_ASSIGN(const std::string found, fingerprint(*restored));
    EXPECT_EQ(found, expected);
  }

  /// How much of what lay in orphaned packs the next backup used, in hundredths.
  static uint64_t reused_percent(const json& resumed, uint64_t orphaned) {
    const uint64_t percent = number(resumed, "reused_bytes") * 100 / orphaned;
    std::printf("stored %llu of %llu MiB, %llu %% of the orphaned packs are used again\n",
                static_cast<unsigned long long>(number(resumed, "stored_bytes") >> 20),
                static_cast<unsigned long long>(number(resumed, "logical_bytes") >> 20),
                static_cast<unsigned long long>(percent));
    return percent;
  }

  static uint64_t number(const json& report, const char* member) { return report.at(member).get<uint64_t>(); }

  std::unique_ptr<RestoreScene> scene_;
  std::string hold_;
};

TEST_F(Resume, OfAKilledFullStoresOnlyTheRest) {
  ASSERT_OK(create_big());
  ASSERT_NO_FATAL_FAILURE(kill_at_four_fifths("full"));
  const uint64_t orphaned = pack_bytes();
  ASSERT_OK_AND_ASSIGN(const json info, scene_->cli->run_json({"info"}));
  EXPECT_THAT(info.at("stanzas").at(0).at("backups"), IsEmpty());

  ASSERT_OK_AND_ASSIGN(const json resumed, backup("full"));
  const uint64_t logical = number(resumed, "logical_bytes");
  EXPECT_GT(logical, kBigBytes);
  EXPECT_GT(reused_percent(resumed, orphaned), 98u) << resumed.dump();
  EXPECT_LT(number(resumed, "stored_bytes"), logical / 4) << resumed.dump();
  verify("resumed");

  // What a manifest names is no orphan: the next full is a full.
  ASSERT_OK_AND_ASSIGN(const json anew, backup("full"));
  EXPECT_EQ(number(anew, "reused_bytes"), 0u);
  EXPECT_GT(number(anew, "stored_bytes"), kBigBytes);
}

TEST_F(Resume, DoesNotUseWhatHasChangedSince) {
  ASSERT_OK(create_big());
  ASSERT_NO_FATAL_FAILURE(kill_at_four_fifths("full"));
  const uint64_t orphaned = pack_bytes();
  // A row on every tenth page.
  ASSERT_OK(server().exec("UPDATE big SET version = 1 WHERE id % 40 = 0"));
  ASSERT_OK_AND_ASSIGN(const json resumed, backup("full"));
  const uint64_t percent = reused_percent(resumed, orphaned);
  EXPECT_LT(percent, 91u) << resumed.dump();
  EXPECT_GT(percent, 85u) << resumed.dump();
  verify("resumed");
}

TEST_F(Resume, CanBeSwitchedOff) {
  ASSERT_OK(create_big());
  ASSERT_NO_FATAL_FAILURE(kill_after(1, "full"));
  ASSERT_OK_AND_ASSIGN(const json anew, backup("full", {"--no-resume"}));
  EXPECT_EQ(number(anew, "reused_bytes"), 0u);
  EXPECT_GT(number(anew, "stored_bytes"), kBigBytes);
}

TEST_F(Resume, OfAKilledIncrementalStoresOnlyTheRest) {
  ASSERT_OK_AND_ASSIGN(const json full, backup("full"));
  const uint64_t stored = pack_bytes();
  ASSERT_OK(create_big());
  ASSERT_NO_FATAL_FAILURE(kill_at_four_fifths("incr"));
  const uint64_t orphaned = pack_bytes() - stored;
  ASSERT_OK_AND_ASSIGN(const json resumed, backup("incr"));
  EXPECT_EQ(resumed.at("type"), "incr");
  EXPECT_EQ(resumed.at("prior"), full.at("label"));
  EXPECT_GT(reused_percent(resumed, orphaned), 98u) << resumed.dump();
  EXPECT_LT(number(resumed, "stored_bytes"), kBigBytes / 4) << resumed.dump();
  verify("resumed");
}

TEST_F(Resume, OfBackupsKilledOneAfterTheOtherUsesThemAll) {
  ASSERT_OK(create_big());
  ASSERT_NO_FATAL_FAILURE(kill_after(3, "full"));
  // What this one adds comes after what the first has.
  ASSERT_NO_FATAL_FAILURE(kill_after(2, "full"));
  const uint64_t orphaned = pack_bytes();
  ASSERT_OK_AND_ASSIGN(const json resumed, backup("full"));
  EXPECT_GT(reused_percent(resumed, orphaned), 98u) << resumed.dump();
  verify("resumed");
}

}  // namespace
}  // namespace pgark::testing
