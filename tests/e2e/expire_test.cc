// expire on repositories of real clusters: what stays recovers to every moment it should, what went is gone, a restore
// in its way ends well, and a run that was killed is taken up by the next.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/clock.h"
#include "restore_scene.h"
#include "testing/realistic_data.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// Names of everything below "<repo>/main/<what>", directories with a slash behind them. Not the temporary files of
/// writers that were killed: they stay for an hour at least.
std::vector<std::string> names_below(const RestoreScene& scene, const std::string& what) {
  const fs::path root = fs::path(scene.cli->repo_path()) / "main" / what;
  std::vector<std::string> names;
  if (!fs::exists(root)) return names;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (!entry.path().filename().string().starts_with(".tmp-"))
      names.push_back(entry.path().lexically_relative(root).string() + (entry.is_directory() ? "/" : ""));
  return names;
}

std::vector<std::string> labels(const RestoreScene& scene) { return listed_labels(*scene.cli); }

Result<json> make(const RestoreScene& scene, const std::string& type) {
  return scene.cli->run_json({"backup", "--type=" + type, "--start-fast"});
}

/// The time of a row's commit, a microsecond later.
LedgerTarget just_after(const LedgerRow& row) {
  return LedgerTarget::at_time(row.committed_at + std::chrono::microseconds(1));
}

TEST(ExpireRun, WhatStaysRecoversAndWhatWentIsGone) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto scene, RestoreScene::create(install));
  PgarkCli& cli = *scene->cli;
  Ledger& ledger = *scene->ledger;
  ASSERT_OK(cli.set("global", "repo1-retention-full", "1"));
  ASSERT_OK(cli.set("global", "expire-grace", "0"));

  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json first, make(*scene, "full"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json first_incr, make(*scene, "incr"));
  EXPECT_EQ(first_incr.at("type"), "incr");
  // A hold keeps it though its full goes.
  ASSERT_OK_AND_ASSIGN(const json held,
                       cli.run_json({"hold", "--set=" + first_incr.at("label").get<std::string>(), "--reason=audit"}));
  EXPECT_EQ(held.at("held"), true);
  EXPECT_EQ(held.at("until_us"), nullptr);
  ASSERT_OK(ledger.commit_rows(20));
  const LedgerRow between = ledger.last();
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json second, make(*scene, "full"));
  const json& expired = second.at("expire").at("repo1");
  EXPECT_EQ(expired.at("backups").at(0).at("outcome"), "removed");
  EXPECT_EQ(expired.at("backups").at(0).at("reasons").at(0).at("rule"), "retention-full");
  EXPECT_EQ(expired.at("backups").at(1).at("reasons").at(0).at("rule"), "hold");
  ASSERT_OK(ledger.commit_rows(20));
  const LedgerRow after = ledger.last();
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json second_incr, make(*scene, "incr"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(scene->server->archive_all());

  // The incremental is complete without its full, and has all WAL since.
  EXPECT_THAT(labels(*scene), ElementsAre(first_incr.at("label"), second.at("label"), second_incr.at("label")));
  ASSERT_OK(scene->restore_and_verify("between", just_after(between)));
  ASSERT_OK(scene->restore_and_verify("after", just_after(after)));
  ASSERT_OK(cli.run_ok({"verify"}));

  // The last one that can be restored cannot be removed, one that is held neither.
  ASSERT_OK_AND_ASSIGN(ProcessResult refused,
                       cli.run({"expire", "--set=" + first_incr.at("label").get<std::string>()}));
  EXPECT_EQ(refused.exit_code, 2) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("is held"));
  ASSERT_OK(cli.run_ok({"hold", "--set=" + first_incr.at("label").get<std::string>(), "--release"}));
  ASSERT_OK_AND_ASSIGN(const json told, cli.run_json({"expire", "--dry-run"}));
  EXPECT_EQ(labels(*scene).size(), 3u);
  ASSERT_OK_AND_ASSIGN(const json done, cli.run_json({"expire"}));
  EXPECT_EQ(told.at("repositories").at(0).at("freed_bytes"), done.at("repositories").at(0).at("freed_bytes"));
  EXPECT_GT(done.at("repositories").at(0).at("wal").at("count"), 0);

  // Nothing is left of what went, not even a directory.
  const std::string gone = first.at("label");
  for (const char* what : {"backup", "pack"}) EXPECT_THAT(names_below(*scene, what), Not(Contains(HasSubstr(gone))));
  EXPECT_THAT(names_below(*scene, "expire"), IsEmpty());
  const std::string wal_start = second.at("wal_start");
  for (const std::string& name : names_below(*scene, "wal/1/00000001"))
    if (!name.ends_with('/')) {
      EXPECT_GE(fs::path(name).filename().string(), wal_start);
    }
  ASSERT_OK(scene->restore_and_verify("last", LedgerTarget::latest()));
  ASSERT_OK(cli.run_ok({"check"}));

  // And what is left can go with its stanza.
  ASSERT_OK(cli.run_ok({"expire", "--expire-grace=1d", "--set=" + second.at("label").get<std::string>()}));
  EXPECT_THAT(names_below(*scene, "expire"), ElementsAre(second.at("label")));
  ASSERT_OK(scene->server->stop());
  ASSERT_OK(cli.run_ok({"stanza-delete"}));
  EXPECT_FALSE(fs::exists(cli.repo_path() + "/main"));
}

TEST(ExpireRun, WalThatARuleLetGoIsNotMissed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto scene, RestoreScene::create(install));
  PgarkCli& cli = *scene->cli;
  ASSERT_OK(cli.set("global", "repo1-retention-full", "3"));
  ASSERT_OK(cli.set("global", "repo1-retention-archive", "1"));
  ASSERT_OK(cli.set("global", "expire-grace", "0"));
  std::vector<json> made;
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(scene->ledger->commit_rows(10));
    ASSERT_OK_AND_ASSIGN(made.emplace_back(), make(*scene, "full"));
    ASSERT_OK(scene->ledger->commit_rows(10));
    ASSERT_OK(scene->server->archive_all());
    ASSERT_OK(scene->server->archive_all());
  }
  ASSERT_OK(scene->ledger->commit_rows(10));
  ASSERT_OK(scene->server->archive_all());
  EXPECT_EQ(labels(*scene).size(), 3u);
  EXPECT_GT(made.back().at("expire").at("repo1").at("wal").at("count"), 0);

  // Nobody takes it for lost.
  ASSERT_OK_AND_ASSIGN(const json info, cli.run_json({"info"}));
  const json& timeline = info.at("stanzas").at(0).at("clusters").at(0).at("timelines").at(0);
  EXPECT_THAT(timeline.at("gaps"), IsEmpty());
  EXPECT_THAT(timeline.at("broken"), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const ProcessResult checked, cli.run({"check", "--output=json"}));
  EXPECT_THAT(checked.out, Not(HasSubstr("wal_gap")));
  ASSERT_OK(cli.run_ok({"verify"}));
  ASSERT_OK(cli.run_ok({"archive-heal"}));

  // The oldest is consistent at its end, the newest recovers to the end of WAL.
  ASSERT_OK_AND_ASSIGN(const Lsn stop, parse_lsn(made.front().at("stop_lsn").get<std::string>()));
  ASSERT_OK(scene->restore_and_verify("oldest", LedgerTarget::immediate(stop),
                                      {"--set=" + made.front().at("label").get<std::string>()}));
  ASSERT_OK(scene->restore_and_verify("newest", LedgerTarget::latest()));
}

TEST(ExpireRun, RestoreThatReadsTheBackupEndsWell) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto scene, RestoreScene::create(install));
  PgarkCli& cli = *scene->cli;
  ASSERT_OK(cli.set("global", "repo1-retention-full", "1"));
  ASSERT_OK(cli.set("global", "process-max", "1"));
  ASSERT_OK(fill_realistic(*scene->server, 80));
  ASSERT_OK(scene->ledger->commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json first, make(*scene, "full"));
  ASSERT_OK(scene->server->archive_all());

  // Stopped in the middle of its copy, while the backup it reads is expired. It reads slowly, or it would be over
  // before a busy machine looks at it.
  const std::string label = first.at("label");
  ASSERT_OK_AND_ASSIGN(Process restore, cli.start(scene->restore_args(
                                            "restored", {"--set=" + label, "--type=immediate",
                                                         "--target-action=promote", "--repo1-bandwidth-max=6MiB"})));
  ASSERT_TRUE(wait_until([&] { return fs::exists(scene->place("restored") + "/base/1") || !restore.running(); }));
  ASSERT_OK(restore.signal(SIGSTOP));
  ASSERT_TRUE(restore.running()) << "the restore was over before it could be stopped";
  ASSERT_FALSE(fs::exists(scene->place("restored") + "/global/pg_control"));
  ASSERT_OK_AND_ASSIGN(const json second, make(*scene, "full"));
  EXPECT_THAT(labels(*scene), ElementsAre(second.at("label")));
  EXPECT_GT(second.at("expire").at("repo1").at("waiting_packs").at("count"), 0);
  ASSERT_OK(restore.signal(SIGCONT));
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, restore.wait());
  ASSERT_TRUE(ended.ok()) << ended.to_string();
  // It recovers, too: the WAL it needs waits as well.
  ASSERT_OK_AND_ASSIGN(auto restored, scene->adopt("restored"));
  ASSERT_OK(restored->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, restored->wait_for_recovery_end());
  EXPECT_EQ(end, RecoveryEnd::kPromoted);
  ASSERT_OK_AND_ASSIGN(const Lsn stop, parse_lsn(first.at("stop_lsn").get<std::string>()));
  ASSERT_OK(scene->ledger->verify(*restored, LedgerTarget::immediate(stop)));

  // Once the grace period is over it is all gone.
  ASSERT_OK(cli.run_ok({"expire", "--expire-grace=0"}));
  EXPECT_THAT(names_below(*scene, "pack"), Not(Contains(HasSubstr(label))));
}

TEST(ExpireRun, KilledAtAnyMomentTheNextRunGoesOn) {
  PGARK_REQUIRE_PG(install, 15);
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  PgOptions options;
  options.wal_segment_mib = 1;
  ASSERT_OK_AND_ASSIGN(auto scene, RestoreScene::create(install, options));
  PgarkCli& cli = *scene->cli;
  ASSERT_OK(cli.set("global", "expire-auto", "n"));
  ASSERT_OK(cli.set("global", "expire-grace", "0"));
  std::string last;
  for (int round = 0; round < 6; ++round) {
    ASSERT_OK(scene->ledger->commit_rows(10));
    for (int i = 0; i < 8; ++i)
      ASSERT_OK(scene->server->exec("SELECT pg_switch_wal(); CREATE TABLE t" + std::to_string(round * 8 + i) +
                                    " AS SELECT 1 AS i"));
    ASSERT_OK_AND_ASSIGN(const json made, make(*scene, round % 2 == 0 ? "full" : "incr"));
    last = made.at("label");
  }
  ASSERT_OK(scene->server->archive_all());
  ASSERT_OK(cli.set("global", "repo1-retention-full", "1"));

  int killed = 0;
  for (int run = 0; run < 40; ++run) {
    ASSERT_OK_AND_ASSIGN(Process expire, cli.start({"expire"}));
    // Chance decides how far it comes, further each time; what must hold afterwards holds wherever that is. The first
    // is killed at once: at least one has not come to its end, however busy the machine is.
    if (run > 0)
      std::this_thread::sleep_for(std::chrono::microseconds(rng.below(1000 * static_cast<uint64_t>(run + 1))));
    ASSERT_OK_AND_ASSIGN(const ProcessResult ended, expire.kill_and_wait());
    killed += ended.signal == SIGKILL ? 1 : 0;
    if (run % 8 == 7) ASSERT_OK(cli.run_ok({"verify"}));
    if (ended.ok()) break;
  }
  EXPECT_GT(killed, 0);
  ASSERT_OK(cli.run_ok({"verify"}));
  ASSERT_OK(cli.run_ok({"expire"}));
  EXPECT_EQ(labels(*scene).size(), 2u);
  EXPECT_THAT(labels(*scene), Contains(last));
  EXPECT_THAT(names_below(*scene, "expire"), IsEmpty());
  std::set<std::string> with_packs;
  // One that was killed may leave a directory without a pack.
  for (const std::string& name : names_below(*scene, "pack"))
    if (!name.ends_with('/')) with_packs.insert(name.substr(0, name.find('/')));
  EXPECT_LE(with_packs.size(), 2u);
  // What the killed ones were writing goes when it is old.
  size_t temporaries = 0;
  for (const auto& entry : fs::recursive_directory_iterator(cli.repo_path())) {
    if (!entry.path().filename().string().starts_with(".tmp-")) continue;
    ++temporaries;
    fs::last_write_time(entry.path(), fs::file_time_type::clock::now() - std::chrono::hours(2));
  }
  std::printf("%zu temporary files\n", temporaries);
  ASSERT_OK_AND_ASSIGN(const json again, cli.run_json({"expire"}));
  EXPECT_EQ(again.at("repositories").at(0).at("freed_bytes"), 0);
  EXPECT_EQ(again.at("repositories").at(0).at("temporaries").at("count"), temporaries);
  for (const auto& entry : fs::recursive_directory_iterator(cli.repo_path()))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
  ASSERT_OK(scene->restore_and_verify("restored", LedgerTarget::latest()));
}

}  // namespace
}  // namespace pgark::testing
