// Backups of a standby: it is the standby's files that are read, the primary finishes the WAL, and a promotion in the
// middle is noticed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "restore_scene.h"
#include "testing/realistic_data.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class StandbyBackup : public ::testing::Test {
 protected:
  void make(const PgInstall& install) {
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install));
    ASSERT_OK(scene_->backup());
    const std::string conninfo =
        fmt::format("host={} port={} user=postgres", scene_->server->socket_dir(), scene_->server->port());
    ASSERT_OK(scene_->cli->run_ok(
        scene_->restore_args("standby", {"--type=standby", "--recovery-option=primary_conninfo=" + conninfo})));
    ASSERT_OK_AND_ASSIGN(standby_, scene_->adopt("standby"));
    ASSERT_OK(standby_->start());
  }

  /// Options that name the standby as the second node, which runs here; of the first only the connection is needed.
  std::vector<std::string> args(const std::vector<std::string>& options) const {
    std::vector<std::string> all{"backup",
                                 "--start-fast",
                                 "--pg2-user=postgres",
                                 "--pg2-path=" + standby_->data_dir(),
                                 "--pg2-socket-path=" + standby_->socket_dir(),
                                 fmt::format("--pg2-port={}", standby_->port())};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }
  Result<json> backup(const std::vector<std::string>& options) const { return scene_->cli->run_json(args(options)); }

  std::unique_ptr<RestoreScene> scene_;
  std::unique_ptr<PgServer> standby_;
};

class StandbyBackupOf : public StandbyBackup, public ::testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(Each, StandbyBackupOf, ::testing::Values(15, 10, 12, 18),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(StandbyBackupOf, FullAndIncrementalUnderLoadRestoreToTheLastRow) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_NO_FATAL_FAILURE(make(install));
  ASSERT_OK(scene_->ledger->start());
  ASSERT_OK(scene_->ledger->wait_for_rows(20));
  ASSERT_OK_AND_ASSIGN(const json incremental, backup({"--backup-standby=y"}));
  EXPECT_EQ(incremental.at("source"), "standby");
  EXPECT_EQ(incremental.at("type"), "incr");
  EXPECT_EQ(incremental.at("scan"), "wal") << incremental.dump(2);
  ASSERT_OK_AND_ASSIGN(const json full, backup({"--backup-standby=prefer", "--type=full"}));
  EXPECT_EQ(full.at("source"), "standby");
  ASSERT_OK_AND_ASSIGN(const json next, backup({"--backup-standby=y"}));
  EXPECT_EQ(next.at("prior"), full.at("label"));
  ASSERT_OK_AND_ASSIGN(const json primary, backup({}));
  EXPECT_EQ(primary.at("source"), "primary");
  EXPECT_EQ(primary.at("prior"), next.at("label"));
  ASSERT_OK(scene_->ledger->wait_for_rows(40));
  ASSERT_OK(scene_->ledger->stop());
  ASSERT_OK(scene_->server->archive_all());
  int number = 0;
  for (const json* report : {&incremental, &full, &next, &primary})
    ASSERT_OK(scene_->restore_and_verify(fmt::format("restored{}", ++number), LedgerTarget::latest(),
                                         {"--set=" + report->at("label").get<std::string>()}));
}

TEST_F(StandbyBackup, PromotionInTheMiddleIsNoticed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_NO_FATAL_FAILURE(make(install));
  ASSERT_OK(fill_realistic(*scene_->server, 60));
  // Some 90 MiB at this pace take 40 seconds: it is not done before the promotion, however long that takes to begin.
  ASSERT_OK_AND_ASSIGN(
      auto running,
      scene_->cli->start(args({"--backup-standby=y", "--type=full", "--process-max=1", "--pg2-bandwidth-max=2MiB"})));
  ASSERT_OK(wait_for("the backup to begin", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, standby_->query("SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                                  "'pgark [backup]' AND query LIKE '%pg_last_wal_replay_lsn%'"));
    return rows.integer() > 0;
  }));
  ASSERT_OK(standby_->promote());
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, running.wait());
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_THAT(ended.err + ended.out, HasSubstr("promoted"));
  ASSERT_OK_AND_ASSIGN(const json after, scene_->cli->run_json({"info"}));
  EXPECT_EQ(after.at("stanzas")[0].at("backups").size(), 1u) << "only the one the standby was made of";
}

TEST_F(StandbyBackup, NeedsOneAndSaysSo) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_NO_FATAL_FAILURE(make(install));
  ASSERT_OK(standby_->stop());
  ASSERT_OK_AND_ASSIGN(const ProcessResult none, scene_->cli->run(args({"--backup-standby=y"})));
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err + none.out, HasSubstr("no standby of the stanza runs on this machine"));
  ASSERT_OK_AND_ASSIGN(const json primary, backup({"--backup-standby=prefer"}));
  EXPECT_EQ(primary.at("source"), "primary");
}

}  // namespace
}  // namespace pgark::testing
