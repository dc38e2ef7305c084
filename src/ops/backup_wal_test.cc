// The wait for a backup's WAL: what shows that archiving works, what does not, and when it is given up.
#include "ops/backup_wal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/wal.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_cluster.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;
using ::pgark::testing::SampleCluster;
using ::pgark::testing::ScriptedServer;
using ::pgark::testing::StepClock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BackupWalTest : public ::testing::Test {
 protected:
  BackupWalTest() {
    for (int i = 0; i < 2; ++i) {
      stores_.push_back(std::make_unique<MemoryStore>());
      repositories_.push_back(new_repository(*stores_.back()));
      destinations_.push_back({"repo" + std::to_string(i + 1), repositories_.back().get()});
    }
  }

  BackupWal wal() {
    return {*targets_,
            {.stanza = "main",
             .segment_bytes = SampleCluster::kSegmentBytes,
             .data_directory = cluster_.data(),
             .timeout = 60s},
            clock_,
            cancel_,
            warnings_};
  }
  void archive(size_t repository, unsigned number) {
    const auto key = wal_key("main", 1, server_.segment(number));
    ASSERT_TRUE(key.has_value());
    ASSERT_TRUE(stores_[repository]->put(*key, as_bytes("wal")).has_value());
  }
  /// Look every second, as a backup that copies does, for `seconds`.
  Result<> look_for(BackupWal& wal, int seconds) {
    for (int i = 0; i < seconds; ++i) {
      clock_.sleep_for(1s);
      TRY(wal.look());
    }
    return {};
  }

  SampleCluster cluster_;
  ScriptedServer server_{cluster_};
  StepClock clock_;
  CancelToken cancel_;
  std::vector<std::unique_ptr<MemoryStore>> stores_;
  std::vector<std::unique_ptr<Repository>> repositories_;
  std::vector<BackupDestination> destinations_;
  std::vector<std::string> warnings_;
  std::optional<BackupTargets> targets_;
  const Lsn start_{0x200028};  // In segment 2.
};

TEST_F(BackupWalTest, ArchivingThatGoesElsewhereIsAnErrorWhileCopying) {
  destinations_.resize(1);
  targets_.emplace(destinations_, warnings_);
  BackupWal wal = this->wal();
  ASSERT_TRUE(wal.begin_check(TimelineId{1}, start_, server_).has_value());
  const auto looked = look_for(wal, 58);
  EXPECT_TRUE(looked.has_value()) << looked.error().to_string();
  const auto late = look_for(wal, 5);
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code(), Errc::kTransient);
  EXPECT_THAT(late.error().to_string(), HasSubstr(server_.segment(1)));
  EXPECT_THAT(late.error().to_string(), HasSubstr("last failed with"));
}

TEST_F(BackupWalTest, SegmentArchivedLongAgoIsNoProofSoANewOneIsFinished) {
  destinations_.resize(1);
  targets_.emplace(destinations_, warnings_);
  server_.overrides.emplace_back("'past'", [] { return PgRows{{"past"}}; });
  server_.overrides.emplace_back("pg_create_restore_point", [] { return PgRows{{"0/200100"}}; });
  server_.overrides.emplace_back("pg_switch_wal", [this]() -> Result<PgRows> {
    archive(0, 2);
    return PgRows{{server_.segment(2)}};
  });
  BackupWal wal = this->wal();
  ASSERT_TRUE(wal.begin_check(TimelineId{1}, start_, server_).has_value());
  ASSERT_TRUE(wal.look().has_value());
  EXPECT_THAT(server_.asked, IsEmpty());  // It may be over before anything is known.
  const auto looked = look_for(wal, 120);
  EXPECT_TRUE(looked.has_value()) << looked.error().to_string();
  EXPECT_TRUE(server_.was_asked("pg_switch_wal"));
}

TEST_F(BackupWalTest, OnlyTheRepositoryThatLacksTheSegmentIsLeftBehind) {
  targets_.emplace(destinations_, warnings_);
  archive(1, 1);
  BackupWal wal = this->wal();
  ASSERT_TRUE(wal.begin_check(TimelineId{1}, start_, server_).has_value());
  const auto looked = look_for(wal, 120);
  EXPECT_TRUE(looked.has_value()) << looked.error().to_string();
  EXPECT_TRUE(targets_->set().has_failed(0));
  EXPECT_FALSE(targets_->set().has_failed(1));
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("repo1 is left behind")));
}

TEST_F(BackupWalTest, EverySegmentOfTheBackupHasToArrive) {
  destinations_.resize(1);
  targets_.emplace(destinations_, warnings_);
  archive(0, 2);
  archive(0, 4);
  BackupWal wal = this->wal();
  const auto waited = wal.wait({TimelineId{1}, 2}, {TimelineId{1}, 4}, &server_);
  ASSERT_FALSE(waited.has_value());
  EXPECT_THAT(waited.error().to_string(), HasSubstr(server_.segment(3)));
  archive(0, 3);
  EXPECT_TRUE(wal.wait({TimelineId{1}, 2}, {TimelineId{1}, 4}, &server_).has_value());
}

}  // namespace
}  // namespace pgark
