// Delta restore of real clusters: whatever happened to a data directory, it becomes what a fresh restore makes, the
// rows are those of the target, and a run that is killed is completed by the next.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "codec/hash.h"
#include "core/clock.h"
#include "core/file.h"
#include "restore_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

class DeltaRestoreCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install));
    ASSERT_OK(scene_->server->exec(
        "CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 200000) n; CREATE INDEX ON t (m)"));
    // What autovacuum would do to all pages some time later.
    ASSERT_OK(scene_->server->exec("VACUUM FREEZE ANALYZE t"));
    ASSERT_OK(scene_->ledger->commit_rows(20));
    ASSERT_OK_AND_ASSIGN(backup_, scene_->backup());
    ASSERT_OK(scene_->ledger->commit_rows(20));
    ASSERT_OK(scene_->server->archive_all());
  }
  std::string label() const { return backup_["label"].get<std::string>(); }
  std::string at(const std::string& path, const std::string& name = "restored") const {
    return scene_->place(name) + "/" + path;
  }
  std::vector<std::string> delta_args(std::vector<std::string> options = {}) const {
    options.emplace_back("--delta");
    return scene_->restore_args("restored", options);
  }

  /// Kind, mode, size, time and content of all below a directory; of what each restore writes anew no times.
  std::map<std::string, std::string> tree(const std::string& name) const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(scene_->place(name))) {
      struct stat status {};
      ::lstat(entry.path().c_str(), &status);
      const std::string path = entry.path().lexically_relative(scene_->place(name)).string();
      // restore_command names the data directory.
      const bool is_settings = path == "postgresql.auto.conf";
      const bool written_anew = path == "backup_label" || path == "recovery.signal" || is_settings;
      std::string text = fmt::format("mode {:o}", status.st_mode);
      if (S_ISREG(status.st_mode)) {
        std::string content = read_file(entry.path(), 1u << 30).value_or("?");
        if (is_settings) content = std::regex_replace(content, std::regex(scene_->place(name)), "PLACE");
        text += fmt::format(" size {} hash {:x} time {}", content.size(), seeded_hash(as_bytes(content), 0),
                            written_anew ? 0 : status.st_mtim.tv_sec);
      }
      found[path] = text;
    }
    return found;
  }
  void expect_same(const std::string& name, const std::string& other) const {
    const auto a = tree(name);
    const auto b = tree(other);
    for (const auto& [path, text] : a) {
      ASSERT_TRUE(b.contains(path)) << path << " is missing";
      EXPECT_EQ(b.at(path), text) << path;
    }
    for (const auto& [path, text] : b) EXPECT_TRUE(a.contains(path)) << path << " does not belong";
  }
  void expect_rows(const LedgerTarget& target) {
    ASSERT_OK_AND_ASSIGN(auto server, scene_->adopt("restored"));
    ASSERT_OK(server->launch());
    ASSERT_OK(server->wait_for_recovery_end());
    ASSERT_OK(scene_->ledger->verify(*server, target));
    ASSERT_OK_AND_ASSIGN(const PgRows sum, server->query("SELECT count(*), sum(n) FROM t WHERE m = md5(n::text)"));
    EXPECT_EQ(sum.integer(0, 0), 200000);
    ASSERT_OK(server->stop());
  }
  /// Relation files of some size, by path.
  std::vector<std::string> large_files() const {
    std::vector<std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(scene_->place("restored") + "/base"))
      if (entry.is_regular_file() && entry.file_size() > 100000) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  void overwrite_pages(Rng& rng, int count) const {
    const auto paths = large_files();
    ASSERT_FALSE(paths.empty());
    for (int i = 0; i < count; ++i) {
      const std::string& path = paths[rng.below(paths.size())];
      ASSERT_OK_AND_ASSIGN(const File file, File::open(path, O_WRONLY));
      ASSERT_OK(file.pwrite(as_bytes(std::string(8192, static_cast<char>('a' + rng.below(26)))),
                            rng.below(fs::file_size(path) / 8192) * 8192));
    }
  }

  std::unique_ptr<RestoreScene> scene_;
  nlohmann::json backup_;
};

TEST_F(DeltaRestoreCommand, MakesADamagedDirectoryWhatAFreshRestoreIs) {
  Rng rng(test_seed());
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("fresh")));
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored")));
  overwrite_pages(rng, 20);
  const auto paths = large_files();
  ASSERT_GT(paths.size(), 8u);
  const std::string outside = scene_->place("outside");
  fs::create_hard_link(paths[0], outside);
  const std::string linked = read_file(outside, 1u << 30).value_or("");
  {
    ASSERT_OK_AND_ASSIGN(const File file, File::open(paths[0], O_WRONLY));
    ASSERT_OK(file.pwrite(as_bytes("damage"), 5));
  }
  const std::string damaged = read_file(outside, 1u << 30).value_or("");
  ASSERT_NE(damaged, linked);
  fs::resize_file(paths[1], 12345);
  fs::resize_file(paths[2], fs::file_size(paths[2]) + 100000);
  fs::remove(paths[3]);
  fs::remove(paths[4]);
  fs::create_directory(paths[4]);
  fs::remove(paths[5]);
  fs::create_symlink(outside, paths[5]);
  ASSERT_EQ(::chmod(paths[6].c_str(), 0), 0);
  ASSERT_EQ(::chmod(paths[7].c_str(), 0666), 0);
  fs::remove_all(at("pg_xact"));
  fs::remove_all(at("pg_multixact"));
  fs::create_directory_symlink(scene_->place("fresh") + "/pg_multixact", at("pg_multixact"));
  fs::create_directories(at("base/999999/below"));
  ASSERT_OK(write_file_durable(at("base/999999/below/1"), "x"));
  ASSERT_OK(write_file_durable(at("pg_wal/00000001000000000000007F"), "x"));
  ASSERT_EQ(::chmod(at("global").c_str(), 0500), 0);

  ASSERT_OK_AND_ASSIGN(const nlohmann::json report, scene_->cli->run_json(delta_args()));
  expect_same("fresh", "restored");
  EXPECT_EQ(read_file(outside, 1u << 30).value_or(""), damaged) << "what else has the file must not change";
  EXPECT_GE(report["delta"]["removed_count"].get<uint64_t>(), 9u);
  EXPECT_GT(report["delta"]["changed_file_count"].get<uint64_t>(), 7u);
  EXPECT_LT(report["delta"]["matched_bytes"].get<uint64_t>(), report["delta"]["compared_bytes"].get<uint64_t>());
  EXPECT_LT(report["written_bytes"].get<uint64_t>(), report["logical_bytes"].get<uint64_t>());
  expect_rows(LedgerTarget::latest());
}

TEST_F(DeltaRestoreCommand, FetchesInProportionToTheDamage) {
  Rng rng(test_seed());
  ASSERT_OK_AND_ASSIGN(const nlohmann::json whole, scene_->cli->run_json(scene_->restore_args("restored")));
  EXPECT_TRUE(whole["delta"].is_null());
  ASSERT_OK_AND_ASSIGN(const nlohmann::json nothing, scene_->cli->run_json(delta_args()));
  EXPECT_LT(nothing["written_bytes"].get<uint64_t>(), 8192u) << nothing;
  EXPECT_EQ(nothing["delta"]["changed_file_count"], 1) << "postgresql.auto.conf, which the restore before appended to";
  overwrite_pages(rng, 10);
  ASSERT_OK_AND_ASSIGN(const nlohmann::json some, scene_->cli->run_json(delta_args()));
  EXPECT_LE(some["written_bytes"].get<uint64_t>(), 11u * 8192);
  EXPECT_LT(some["fetched_bytes"].get<uint64_t>(), 12u * 131072);
  EXPECT_LT(some["fetched_bytes"].get<uint64_t>() * 4, whole["fetched_bytes"].get<uint64_t>());
  const auto text = scene_->cli->run_ok(delta_args());
  ASSERT_OK(text);
  EXPECT_THAT(*text, HasSubstr("compared "));
  EXPECT_THAT(*text, HasSubstr(" matched; 1 file was mended; "));
}

TEST_F(DeltaRestoreCommand, SurvivesKillAtAnyMoment) {
  Rng rng(test_seed());
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored")));
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("fresh")));
  int killed_half_way = 0;
  // At least 15 times, and on until one was hit: how long a restore takes changes with what else the machine does.
  for (int round = 0; round < 15 || (killed_half_way == 0 && round < 100); ++round) {
    // Now and then it is a plain restore that is killed, and a delta restore goes on.
    const bool plain = rng.below(3) == 0;
    // What was killed may have left nothing to overwrite.
    if (!plain && fs::exists(at("base")) && !large_files().empty()) overwrite_pages(rng, 30);
    // A plain one reads so slowly that it cannot be over before it is killed.
    ASSERT_OK_AND_ASSIGN(
        Process process,
        scene_->cli->start(plain ? scene_->restore_args("restored", {"--force", "--repo1-bandwidth-max=6MiB"})
                                 : delta_args()));
    const auto moment = std::chrono::microseconds(rng.below(static_cast<uint64_t>(whole.count())));
    const auto deadline = std::chrono::steady_clock::now() + moment;
    wait_until([&] { return std::chrono::steady_clock::now() >= deadline || !process.running(); });
    ASSERT_OK(process.kill_and_wait());
    const bool startable = fs::exists(at("global/pg_control"));
    const bool marked = fs::exists(at("pgark.restore"));
    EXPECT_TRUE(startable || marked) << "round " << round;
    if (!startable) ++killed_half_way;
    if (rng.below(3) != 0) continue;
    ASSERT_OK(scene_->cli->run_ok(delta_args()));
    expect_same("fresh", "restored");
  }
  EXPECT_GT(killed_half_way, 0) << "no kill hit the comparison";
  ASSERT_OK(scene_->cli->run_ok(delta_args()));
  expect_same("fresh", "restored");
  expect_rows(LedgerTarget::latest());
}

TEST_F(DeltaRestoreCommand, GoesBackInPlaceAfterTheClusterRanOn) {
  ASSERT_OK_AND_ASSIGN(const std::string space, scene_->server->create_tablespace("ts"));
  ASSERT_OK(scene_->server->exec("CREATE TABLE in_ts TABLESPACE ts AS SELECT generate_series(1, 1000) AS n"));
  ASSERT_OK(scene_->backup());
  ASSERT_OK(scene_->ledger->commit_rows(10));
  const LedgerRow last = scene_->ledger->last();
  ASSERT_OK(scene_->ledger->commit_rows(10));
  ASSERT_OK(
      scene_->server->exec("UPDATE t SET m = 'gone' WHERE n % 10 = 0; DROP TABLE in_ts; CREATE TABLE extra (x int)"));
  ASSERT_OK(scene_->server->exec("VACUUM t"));
  ASSERT_OK(scene_->server->archive_all());
  const auto running = scene_->cli->run({"restore", "--delta"});
  ASSERT_OK(running);
  EXPECT_EQ(running->exit_code, 2) << running->to_string();
  EXPECT_THAT(running->to_string(), HasSubstr("a PostgreSQL server is running"));
  ASSERT_OK(scene_->server->stop());
  std::vector<std::string> args = LedgerTarget::at_xid(last.xid).restore_options();
  args.insert(args.begin(), {"restore", "--delta", "--target-action=promote", "--archive-mode=off"});
  ASSERT_OK_AND_ASSIGN(const nlohmann::json report, scene_->cli->run_json(args));
  EXPECT_GT(report["delta"]["matched_bytes"].get<uint64_t>(), 10u << 20);
  ASSERT_OK(scene_->server->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, scene_->server->wait_for_recovery_end());
  EXPECT_EQ(end, RecoveryEnd::kPromoted);
  ASSERT_OK(scene_->ledger->verify(*scene_->server, LedgerTarget::at_xid(last.xid)));
  ASSERT_OK_AND_ASSIGN(const PgRows rows, scene_->server->query("SELECT count(*) FROM t WHERE m = md5(n::text)"));
  EXPECT_EQ(rows.integer(), 200000);
  ASSERT_OK_AND_ASSIGN(const PgRows in_ts, scene_->server->query("SELECT sum(n) FROM in_ts"));
  EXPECT_EQ(in_ts.integer(), 500500);
}

TEST_F(DeltaRestoreCommand, GoesFromOneBackupToAnother) {
  ASSERT_OK(scene_->server->exec("UPDATE t SET m = md5(n::text) WHERE n < 4000; CREATE TABLE late AS SELECT 1 AS x"));
  ASSERT_OK_AND_ASSIGN(const nlohmann::json incr, scene_->cli->run_json({"backup", "--type=incr", "--start-fast"}));
  const std::string newer = incr["label"].get<std::string>();
  ASSERT_OK(scene_->ledger->commit_rows(5));
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("newer", {"--set=" + newer})));
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("older", {"--set=" + label()})));
  ASSERT_OK(scene_->cli->run_ok(delta_args({"--set=" + label()})));
  expect_same("older", "restored");
  ASSERT_OK_AND_ASSIGN(const nlohmann::json report, scene_->cli->run_json(delta_args({"--set=" + newer})));
  EXPECT_EQ(report["label"], newer);
  EXPECT_LT(report["written_bytes"].get<uint64_t>() * 2, report["logical_bytes"].get<uint64_t>());
  expect_same("newer", "restored");
  ASSERT_OK(scene_->cli->run_ok(delta_args({"--set=" + label()})));
  expect_same("older", "restored");
  expect_rows(LedgerTarget::latest());
  // And once more over what has run since.
  ASSERT_OK(scene_->cli->run_ok(delta_args({"--set=" + newer})));
  expect_same("newer", "restored");
}

TEST_F(DeltaRestoreCommand, LosesNoWalThatWasNotArchived) {
  PgServer& server = *scene_->server;
  ASSERT_OK(server.exec("ALTER SYSTEM SET archive_command = 'false'"));
  ASSERT_OK(server.reload());
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(scene_->ledger->commit_rows(10));
    ASSERT_OK(server.exec("SELECT pg_switch_wal()"));
  }
  ASSERT_OK(server.stop(StopMode::kImmediate));
  const auto refused = scene_->cli->run({"restore", "--delta"});
  ASSERT_OK(refused);
  EXPECT_EQ(refused->exit_code, 2) << refused->to_string();
  EXPECT_THAT(refused->to_string(), HasSubstr("WAL files that the repository does not have"));
  std::vector<std::string> ready;
  for (const auto& entry : fs::directory_iterator(server.data_dir() + "/pg_wal/archive_status"))
    if (entry.path().extension() == ".ready") ready.push_back(entry.path().stem());
  std::sort(ready.begin(), ready.end());
  ASSERT_GE(ready.size(), 2u);
  for (const std::string& name : ready)
    ASSERT_OK(scene_->cli->run_ok({"archive-push", server.data_dir() + "/pg_wal/" + name}));
  ASSERT_OK(scene_->cli->run_ok({"restore", "--delta", "--archive-mode=off"}));
  ASSERT_OK(server.launch());
  ASSERT_OK(server.wait_for_recovery_end());
  ASSERT_OK(scene_->ledger->verify(server, LedgerTarget::latest()));
}

TEST_F(DeltaRestoreCommand, RefusesTheDirectoryOfAnotherCluster) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto other, PgServer::create(install, {}));
  const std::vector<std::string> args{"restore", "--delta", "--pg1-path=" + other->data_dir()};
  const auto refused = scene_->cli->run(args);
  ASSERT_OK(refused);
  EXPECT_EQ(refused->exit_code, 2) << refused->to_string();
  EXPECT_THAT(refused->to_string(), HasSubstr("holds another cluster"));
  ASSERT_OK(other->start());
  ASSERT_OK(other->stop());
}

}  // namespace
}  // namespace pgark::testing
