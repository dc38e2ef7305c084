// The restore command on real clusters: what comes back, what is refused, and what is left when it dies half way.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/file.h"
#include "restore_scene.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

class RestoreCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install));
  }
  /// Rows and a backup, and rows behind it.
  void back_up() {
    ASSERT_OK(scene_->ledger->commit_rows(10));
    ASSERT_OK_AND_ASSIGN(backup_, scene_->backup());
    ASSERT_OK(scene_->ledger->commit_rows(10));
    ASSERT_OK(scene_->server->archive_all());
  }
  std::string label() const { return backup_["label"].get<std::string>(); }

  /// Restore must exit with `code` and say all of it.
  void expect_refused(const std::vector<std::string>& options, int code, const std::vector<std::string>& parts,
                      const std::string& name = "restored") {
    const auto result = scene_->restore(name, options);
    ASSERT_OK(result);
    EXPECT_EQ(result->exit_code, code) << result->to_string();
    for (const std::string& part : parts) EXPECT_THAT(result->to_string(), HasSubstr(part));
  }
  void expect_cannot_start(const std::string& name = "restored") {
    EXPECT_FALSE(fs::exists(scene_->place(name) + "/global/pg_control"));
    ASSERT_OK_AND_ASSIGN(auto server, scene_->adopt(name));
    EXPECT_FALSE(server->start().has_value());
  }
  void expect_all_rows(const std::string& name = "restored") {
    ASSERT_OK_AND_ASSIGN(auto server, scene_->adopt(name));
    ASSERT_OK(server->launch());
    ASSERT_OK(server->wait_for_recovery_end());
    ASSERT_OK(scene_->ledger->verify(*server, LedgerTarget::latest()));
  }

  std::unique_ptr<RestoreScene> scene_;
  nlohmann::json backup_;
};

TEST_F(RestoreCommand, BringsBackAClusterThatPassesEveryCheck) {
  const PgInstall& install = scene_->server->install();
  const bool amcheck = install.has("pg_amcheck");
  if (amcheck) ASSERT_OK(scene_->server->exec("CREATE EXTENSION amcheck"));
  ASSERT_OK(scene_->server->exec(
      "CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 50000) n; CREATE INDEX ON t (m);"
      "CREATE UNLOGGED TABLE u AS SELECT 1 AS x"));
  ASSERT_OK(scene_->ledger->start());
  ASSERT_OK(scene_->ledger->wait_for_rows(20));
  ASSERT_OK(scene_->backup());
  ASSERT_OK(scene_->ledger->wait_for_rows(20));
  ASSERT_OK(scene_->ledger->stop());
  ASSERT_OK(scene_->server->archive_all());
  {
    ASSERT_OK_AND_ASSIGN(const auto server, scene_->restore_and_verify("restored", LedgerTarget::latest()));
    ASSERT_OK_AND_ASSIGN(const PgRows unlogged, server->query("SELECT count(*) FROM u"));
    EXPECT_EQ(unlogged.integer(), 0) << "unlogged tables come back empty";
    if (amcheck)
      ASSERT_OK(run_ok({install.program("pg_amcheck"), "--host=" + server->socket_dir(),
                        "--port=" + std::to_string(server->port()), "--username=postgres", "--all", "--heapallindexed",
                        "--parent-check"}));
    ASSERT_OK(server->stop());
  }
  if (install.has("pg_checksums"))
    ASSERT_OK(run_ok({install.program("pg_checksums"), "--check", "-D", scene_->place("restored")}));
}

TEST_F(RestoreCommand, TellsWhatItDidAsJson) {
  back_up();
  ASSERT_OK_AND_ASSIGN(const nlohmann::json report, scene_->cli->run_json(scene_->restore_args("restored")));
  EXPECT_EQ(report["label"], label());
  EXPECT_EQ(report["stanza"], "main");
  EXPECT_EQ(report["target"]["type"], "default");
  EXPECT_EQ(report["timeline"], 1);
  EXPECT_EQ(report["data_directory"], scene_->place("restored"));
  EXPECT_EQ(report["signal_file"], "recovery.signal");
  EXPECT_EQ(report["logical_bytes"], backup_["logical_bytes"]);
  EXPECT_GT(report["written_bytes"].get<uint64_t>(), 1u << 20);
  EXPECT_GT(report["elapsed_ms"].get<int64_t>(), 0);
  EXPECT_TRUE(report["target"]["value"].is_null());
  EXPECT_THAT(report["next_step"].get<std::string>(), HasSubstr("start the server"));
}

TEST_F(RestoreCommand, RefusesDirectoriesInUse) {
  back_up();
  const std::string place = scene_->place("restored");
  fs::create_directory(place);
  ASSERT_OK(write_file_durable(place + "/notes.txt", "mine"));
  expect_refused({}, 2, {"is not empty", "notes.txt", "--force"});
  expect_refused({"--force"}, 2, {"no PG_VERSION"});
  EXPECT_EQ(read_file(place + "/notes.txt").value_or(""), "mine");
  // The running original, which the configuration names: not even by force.
  const auto result = scene_->cli->run({"restore", "--force"});
  ASSERT_OK(result);
  EXPECT_EQ(result->exit_code, 2) << result->to_string();
  EXPECT_THAT(result->to_string(), HasSubstr("a PostgreSQL server is running"));
  ASSERT_OK(scene_->ledger->verify(*scene_->server, LedgerTarget::latest()));
}

TEST_F(RestoreCommand, RestoresInPlaceByForceAfterTheClusterIsLost) {
  ASSERT_OK_AND_ASSIGN(const std::string space, scene_->server->create_tablespace("ts"));
  ASSERT_OK(scene_->server->exec("CREATE TABLE in_ts TABLESPACE ts AS SELECT generate_series(1, 1000) AS n"));
  back_up();
  ASSERT_OK(scene_->server->stop(StopMode::kImmediate));
  fs::remove_all(scene_->server->data_dir() + "/base");
  const auto refused = scene_->cli->run({"restore"});
  ASSERT_OK(refused);
  EXPECT_EQ(refused->exit_code, 2) << refused->to_string();
  ASSERT_OK(scene_->cli->run_ok({"restore", "--force", "--archive-mode=off"}));
  ASSERT_OK(scene_->server->launch());
  ASSERT_OK(scene_->server->wait_for_recovery_end());
  ASSERT_OK_AND_ASSIGN(const PgRows count, scene_->server->query("SELECT count(*) FROM in_ts"));
  EXPECT_EQ(count.integer(), 1000);
  ASSERT_OK_AND_ASSIGN(const PgRows archiving, scene_->server->query("SHOW archive_mode"));
  EXPECT_EQ(archiving.text(), "off");
  ASSERT_OK(scene_->ledger->verify(*scene_->server, LedgerTarget::latest()));
  EXPECT_FALSE(fs::is_empty(space));
}

TEST_F(RestoreCommand, RestoresTablespacesBesideTheOriginal) {
  ASSERT_OK_AND_ASSIGN(const std::string space, scene_->server->create_tablespace("ts"));
  ASSERT_OK(scene_->server->exec("CREATE TABLE in_ts TABLESPACE ts AS SELECT generate_series(1, 1000) AS n"));
  back_up();
  expect_refused({}, 2, {"tablespace ts", space, "--tablespace-map"});
  EXPECT_FALSE(fs::exists(scene_->place("restored")));
  const std::string new_space = scene_->place("new_space");
  ASSERT_OK_AND_ASSIGN(const auto copy, scene_->restore_and_verify("restored", LedgerTarget::latest(),
                                                                   {"--tablespace-map=ts=" + new_space}));
  ASSERT_OK_AND_ASSIGN(const PgRows location,
                       copy->query("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'ts'"));
  EXPECT_EQ(location.text(), new_space);
  ASSERT_OK(copy->exec("UPDATE in_ts SET n = n + 1"));
  ASSERT_OK_AND_ASSIGN(const PgRows sum, scene_->server->query("SELECT sum(n) FROM in_ts"));
  EXPECT_EQ(sum.integer(), 500500) << "the original must not notice";
}

TEST_F(RestoreCommand, MovesWalToAnotherPlace) {
  back_up();
  ASSERT_OK(
      scene_->restore_and_verify("restored", LedgerTarget::latest(), {"--link-map=pg_wal=" + scene_->place("wal")}));
  EXPECT_EQ(fs::read_symlink(scene_->place("restored") + "/pg_wal"), scene_->place("wal"));
  EXPECT_FALSE(fs::is_empty(scene_->place("wal")));
}

TEST_F(RestoreCommand, RefusesUnknownSetAndBadTargets) {
  back_up();
  expect_refused({"--set=20200101-000000F"}, 3, {"backup set 20200101-000000F does not exist", label()});
  expect_refused({"--type=time"}, 2, {"target is required"});
  expect_refused({"--type=time", "--target=2026-11-22"}, 2, {"has no time of day"});
  expect_refused({"--target=5"}, 2, {"not valid with --type=default"});
  expect_refused({"--type=xid", "--target=x"}, 2, {"is not a transaction id"});
  expect_refused({"--target-timeline=9"}, 3, {"timeline 9 has no history file"});
  expect_refused({"--tablespace-map=nope=/x"}, 2, {"tablespace 'nope'"});
  EXPECT_FALSE(fs::exists(scene_->place("restored")));
}

TEST_F(RestoreCommand, RefusesPlaceItCannotWrite) {
  if (::geteuid() == 0) GTEST_SKIP() << "root writes everywhere";
  back_up();
  fs::create_directory(scene_->place("locked"));
  ASSERT_EQ(::chmod(scene_->place("locked").c_str(), 0500), 0);
  expect_refused({}, 8, {"locked"}, "locked/data");
  ASSERT_EQ(::chmod(scene_->place("locked").c_str(), 0700), 0);
}

TEST_F(RestoreCommand, NamesMissingWal) {
  back_up();
  const std::string wal = scene_->cli->repo_path() + "/main/wal/1/00000001/00000000";
  // One behind the backup: the end of the WAL is out of reach, the end of the backup is not.
  const auto stop = std::stoull(backup_["wal_stop"].get<std::string>().substr(16), nullptr, 16);
  ASSERT_OK(scene_->ledger->commit_rows(2));
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK(scene_->ledger->commit_rows(2));
  ASSERT_OK(scene_->server->archive_all());
  char behind[32];
  std::snprintf(behind, sizeof behind, "0000000100000000%08llX", stop + 1);
  ASSERT_TRUE(fs::remove(wal + "/" + behind));
  expect_refused({}, 3, {"WAL segment " + std::string(behind) + " is not in the repository", "--type=immediate"},
                 "late");
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored", {"--type=immediate"})));
  // One of the backup itself.
  const std::string needed = backup_["wal_stop"].get<std::string>();
  ASSERT_TRUE(fs::remove(wal + "/" + needed));
  expect_refused({}, 3, {"needs WAL segment " + needed}, "other");
}

TEST_F(RestoreCommand, NamesDamageAndLeavesNothingThatStarts) {
  back_up();
  const std::string packs = scene_->cli->repo_path() + "/main/pack/" + label();
  // The largest: that of a worker which came late may be so small that the middle is not data.
  std::string pack;
  for (const auto& entry : fs::directory_iterator(packs))
    if (pack.empty() || entry.file_size() > fs::file_size(pack)) pack = entry.path();
  ASSERT_EQ(::chmod(pack.c_str(), 0600), 0);
  {
    ASSERT_OK_AND_ASSIGN(const File file, File::open(pack, O_RDWR));
    const uint64_t middle = fs::file_size(pack) / 2;
    std::byte byte{};
    ASSERT_OK(file.pread({&byte, 1}, middle));
    byte ^= std::byte{1};
    ASSERT_OK(file.pwrite({&byte, 1}, middle));
  }
  expect_refused({}, 5, {"backup " + label() + ": file ", " blocks ", "main/pack/" + label() + "/", "--set"});
  expect_cannot_start();
}

TEST_F(RestoreCommand, NeedsMoreRoomThanThereIs) {
  back_up();
  // The process has no threads left: the ledger's clients have ended.
  auto small = SmallFs::mount(scene_->place("small"), 16u << 20);
  if (!small) GTEST_SKIP() << small.error().to_string();
  expect_refused({}, 9, {"bytes are needed for", "are free"}, "small/data");
  EXPECT_TRUE(fs::is_empty(scene_->place("small")));
}

// Restores that are to be ended on their way read so slowly that they cannot be faster than the signal.
constexpr const char* kSlowly = "--repo1-bandwidth-max=6MiB";
// And those that are to be ended once something is seen, so that it may be seen late: some ten seconds.
constexpr const char* kVerySlowly = "--repo1-bandwidth-max=1MiB";

TEST_F(RestoreCommand, SurvivesKillAtAnyMoment) {
  Rng rng(test_seed());
  ASSERT_OK(scene_->server->exec("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 200000) n"));
  back_up();
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored", {kSlowly})));
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  int killed_half_way = 0;
  for (int round = 0; round < 12; ++round) {
    ASSERT_OK_AND_ASSIGN(Process process, scene_->cli->start(scene_->restore_args("restored", {"--force", kSlowly})));
    const auto moment = std::chrono::microseconds(rng.below(static_cast<uint64_t>(whole.count())));
    const auto deadline = std::chrono::steady_clock::now() + moment;
    wait_until([&] { return std::chrono::steady_clock::now() >= deadline || !process.running(); });
    ASSERT_OK(process.kill_and_wait());
    const bool startable = fs::exists(scene_->place("restored") + "/global/pg_control");
    const bool marked = fs::exists(scene_->place("restored") + "/pgark.restore");
    // Not begun: the restore before, whole. Half way: marked and not startable. Ended: whole.
    EXPECT_TRUE(startable || marked) << "round " << round;
    if (!startable) ++killed_half_way;
  }
  EXPECT_GT(killed_half_way, 0) << "no kill hit the copy";
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored", {"--force"})));
  expect_all_rows();
}

TEST_F(RestoreCommand, HalfARestoreDoesNotStart) {
  ASSERT_OK(scene_->server->exec("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 200000) n"));
  back_up();
  ASSERT_OK_AND_ASSIGN(Process process, scene_->cli->start(scene_->restore_args("restored", {kVerySlowly})));
  ASSERT_TRUE(wait_until([&] { return fs::exists(scene_->place("restored") + "/base"); }));
  ASSERT_OK(process.kill_and_wait());
  expect_cannot_start();
  expect_refused({}, 2, {"did not end", "--force"});
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored", {"--force"})));
  expect_all_rows();
}

TEST_F(RestoreCommand, StopsCleanlyWhenAsked) {
  ASSERT_OK(scene_->server->exec("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 200000) n"));
  back_up();
  ASSERT_OK_AND_ASSIGN(Process process, scene_->cli->start(scene_->restore_args("restored", {kVerySlowly})));
  ASSERT_TRUE(wait_until([&] { return fs::exists(scene_->place("restored") + "/base"); }));
  ASSERT_OK(process.signal(SIGTERM));
  ASSERT_OK_AND_ASSIGN(const ProcessResult result, process.wait());
  EXPECT_EQ(result.exit_code, 128 + SIGTERM) << result.to_string();
  EXPECT_THAT(result.to_string(), HasSubstr("--force"));
  expect_cannot_start();
}

}  // namespace
}  // namespace pgark::testing
