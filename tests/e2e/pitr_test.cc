// Recovery to every kind of target, held against the ledger: the rows that must be there are, and no other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "restore_scene.h"

namespace pgark::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// One cluster for all tests of the file: backed up under load, with rows before, during and after the backup.
class Pitr : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto install = find_install(15);
    if (!install) return;
    auto scene = RestoreScene::create(*install);
    if (!scene) {
      ADD_FAILURE() << scene.error().to_string();
      return;
    }
    scene_ = scene->release();
    if (const auto filled = fill(); !filled) {
      ADD_FAILURE() << filled.error().to_string();
      delete std::exchange(scene_, nullptr);
    }
  }
  static void TearDownTestSuite() { delete std::exchange(scene_, nullptr); }
  void SetUp() override { ASSERT_NE(scene_, nullptr) << "there is no cluster to restore"; }

  static Result<> fill() {
    Ledger& ledger = *scene_->ledger;
    TRY(ledger.commit_rows(20));
    TRY(ledger.start());
    TRY(ledger.wait_for_rows(20));
    TRY_ASSIGN(const nlohmann::json backup, scene_->backup());
    label_ = backup["label"].get<std::string>();
    TRY_ASSIGN(backup_stop_, parse_lsn(backup["stop_lsn"].get<std::string>()));
    backup_stopped_ = Timestamp(std::chrono::microseconds(backup["stopped_us"].get<int64_t>()));
    TRY(ledger.wait_for_rows(40));
    TRY(ledger.stop());
    TRY(ledger.restore_point("before the accident"));
    TRY(ledger.commit_rows(40));
    // More than the targets need, so that no recovery runs out of WAL before its target.
    target_rows_ = ledger.rows();
    TRY(ledger.commit_rows(10));
    TRY(scene_->server->archive_all());
    return {};
  }

  /// A random row that was committed after the backup had ended.
  LedgerRow any_row(Rng& rng) {
    for (;;) {
      const LedgerRow& row = target_rows_[rng.below(target_rows_.size())];
      if (row.acknowledged && row.before_commit > backup_stop_ && row.committed_at > backup_stopped_) return row;
    }
  }

  void check(const LedgerTarget& target, const std::vector<std::string>& options = {}) {
    SCOPED_TRACE(target.to_string());
    const std::string name = "restored" + std::to_string(++restores_);
    ASSERT_OK(scene_->restore_and_verify(name, target, options));
    ASSERT_OK(remove_tree(scene_->place(name)));
  }

  static inline RestoreScene* scene_ = nullptr;
  static inline std::string label_;
  static inline Lsn backup_stop_;
  static inline Timestamp backup_stopped_;
  static inline std::vector<LedgerRow> target_rows_;
  static inline int restores_ = 0;
};

// One test for all kinds: each test is a process of its own, and the cluster with its backup is what takes time.
TEST_F(Pitr, EveryTargetStopsWhereTheLedgerSays) {
  Rng rng(test_seed());
  check(LedgerTarget::latest());
  check(LedgerTarget::immediate(backup_stop_));
  check(LedgerTarget::at_name("before the accident"));
  const LedgerRow by_time = any_row(rng);
  check(LedgerTarget::at_time(by_time.committed_at));
  check(LedgerTarget::at_time(by_time.committed_at, true));
  const LedgerRow by_xid = any_row(rng);
  check(LedgerTarget::at_xid(by_xid.xid));
  check(LedgerTarget::at_xid(by_xid.xid, true));
  const LedgerRow by_lsn = any_row(rng);
  check(LedgerTarget::at_lsn(by_lsn.after_commit));
  check(LedgerTarget::at_lsn(by_lsn.before_commit, true));
}

TEST_F(Pitr, PausesOrShutsDownAtTheTarget) {
  Rng rng(test_seed());
  const LedgerTarget target = LedgerTarget::at_xid(any_row(rng).xid);
  const auto restored = scene_->restore("paused", target.restore_options());
  ASSERT_OK(restored);
  ASSERT_TRUE(restored->ok()) << restored->to_string();
  EXPECT_THAT(restored->out, HasSubstr("it pauses at the target"));
  ASSERT_OK_AND_ASSIGN(auto server, scene_->adopt("paused"));
  ASSERT_OK(server->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, server->wait_for_recovery_end());
  EXPECT_EQ(end, RecoveryEnd::kPaused);
  ASSERT_OK(scene_->ledger->verify(*server, target));

  std::vector<std::string> options = LedgerTarget::at_name("before the accident").restore_options();
  options.emplace_back("--target-action=shutdown");
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("shut", options)));
  ASSERT_OK_AND_ASSIGN(auto shut, scene_->adopt("shut"));
  ASSERT_OK(shut->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd shut_end, shut->wait_for_recovery_end());
  EXPECT_EQ(shut_end, RecoveryEnd::kShutDown);
}

TEST_F(Pitr, ReadsTimeWithoutZoneInZoneOfMachine) {
  Rng rng(test_seed());
  const LedgerRow row = any_row(rng);
  const LedgerTarget target = LedgerTarget::at_time(row.committed_at);
  // "--target=2026-11-22 13:05:27.123456+00", read on a machine five and a half hours east of it.
  const std::string utc = target.restore_options()[1].substr(std::string("--target=").size());
  const auto time = Timestamp(row.committed_at) + std::chrono::minutes(330);
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  char local[64];
  std::snprintf(local, sizeof local, "%04d-%02u-%02u %02d:%02d:%02d.%06d", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  const ProcessOptions india{.env = {"TZ=IST-5:30"}, .standard_input = "", .working_directory = "", .output_path = ""};
  const auto result = scene_->cli->run(
      scene_->restore_args("zoned", {"--type=time", std::string("--target=") + local, "--target-action=promote"}),
      india);
  ASSERT_OK(result);
  ASSERT_TRUE(result->ok()) << result->to_string();
  EXPECT_THAT(result->out, AllOf(HasSubstr(utc), HasSubstr(std::string(local) + " IST")));
  ASSERT_OK_AND_ASSIGN(auto server, scene_->adopt("zoned"));
  ASSERT_OK(server->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, server->wait_for_recovery_end());
  EXPECT_EQ(end, RecoveryEnd::kPromoted);
  ASSERT_OK(scene_->ledger->verify(*server, target));
}

TEST_F(Pitr, RefusesTargetsOutOfReachWithTheRange) {
  ASSERT_FALSE(scene_->ledger->rows().empty());
  const LedgerTarget target = LedgerTarget::at_time(scene_->ledger->rows().front().committed_at);
  const auto result = scene_->restore("early", target.restore_options());
  ASSERT_OK(result);
  EXPECT_EQ(result->exit_code, 2) << result->to_string();
  EXPECT_THAT(result->to_string(),
              AllOf(HasSubstr("is before the end of the oldest backup"), HasSubstr(label_), HasSubstr("last commit")));
  const auto late = scene_->restore("late", {"--type=lsn", "--target=7F/0"});
  ASSERT_OK(late);
  EXPECT_EQ(late->exit_code, 2) << late->to_string();
  EXPECT_THAT(late->to_string(), HasSubstr("past the archived WAL"));
}

TEST_F(Pitr, StandbyFollowsTheArchive) {
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("standby", {"--type=standby"})));
  ASSERT_OK_AND_ASSIGN(auto standby, scene_->adopt("standby"));
  ASSERT_OK(standby->start());
  ASSERT_OK_AND_ASSIGN(const PgRows recovering, standby->query("SELECT pg_is_in_recovery()::int"));
  EXPECT_EQ(recovering.integer(), 1);
  ASSERT_OK(standby->promote());
  ASSERT_OK(scene_->ledger->verify(*standby, LedgerTarget::latest()));
}

/// A restored cluster goes on as the stanza's cluster, is backed up, and is restored again along either timeline.
TEST(PitrTimelines, RestoresAcrossThem) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto scene, RestoreScene::create(install));
  Ledger& ledger = *scene->ledger;
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK_AND_ASSIGN(const nlohmann::json base, scene->backup());
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK(ledger.restore_point("fork"));
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK(scene->server->archive_all());
  // On timeline 1, past the fork.
  ASSERT_OK_AND_ASSIGN(const nlohmann::json abandoned, scene->backup());
  ASSERT_OK(scene->server->archive_all());
  ASSERT_OK(scene->server->stop());

  // Timeline 2 leaves at the fork and archives into the same stanza.
  ASSERT_OK(scene->cli->run_ok(scene->restore_args("second", {"--type=name", "--target=fork", "--target-action=promote",
                                                              "--set=" + base["label"].get<std::string>()})));
  ASSERT_OK_AND_ASSIGN(auto second, PgServer::adopt(scene->place("second"), install, {}));
  ASSERT_OK(second->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, second->wait_for_recovery_end());
  ASSERT_EQ(end, RecoveryEnd::kPromoted);
  ASSERT_OK(ledger.verify(*second, LedgerTarget::at_name("fork")));
  ASSERT_OK(ledger.continue_on(*second));
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK(second->archive_all());

  // The newest backup lies on the abandoned branch: it must be passed over.
  ASSERT_OK_AND_ASSIGN(const auto latest, scene->restore_and_verify("latest", LedgerTarget::latest()));
  ASSERT_OK_AND_ASSIGN(const TimelineId timeline, latest->timeline());
  EXPECT_EQ(timeline.value, 3u);
  const auto refused = scene->restore("refused", {"--set=" + abandoned["label"].get<std::string>()});
  ASSERT_OK(refused);
  EXPECT_EQ(refused->exit_code, 2) << refused->to_string();
  EXPECT_THAT(refused->to_string(), HasSubstr("does not lie on the way to timeline 2"));
  // Asked for by name, the branch is there.
  const auto branch =
      scene->restore("branch", {"--set=" + abandoned["label"].get<std::string>(), "--target-timeline=1"});
  ASSERT_OK(branch);
  EXPECT_TRUE(branch->ok()) << branch->to_string();
}

}  // namespace
}  // namespace pgark::testing
