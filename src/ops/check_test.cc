#include "ops/check.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <array>

#include "catalog/wal_dropped.h"
#include "testing/check_scene.h"

namespace pgark {
namespace {

using ::pgark::testing::sample_segment;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// What every cluster without backups, drills and retention is told is not what these tests are about.
class Check : public CheckScene {
 protected:
  Check() { silent_ = {"no_backup", "backup_old", "drill_none", "verify_none"}; }
};

TEST_F(Check, FindsNothingWhereAllIsWell) {
  EXPECT_THAT(run(), IsEmpty());
  EXPECT_FALSE(state_->failed());
  EXPECT_EQ(state_->archived_segment, "000000010000000000000005");
  EXPECT_TRUE(state_->repositories[0].store->list_all("main/probe/")->empty()) << "the probe was left behind";
}

TEST_F(Check, NamesWhatIsWrongWithSettings) {
  const auto with = [this](const std::string& name, const std::string& value) {
    SetUp();
    server_.settings = FakeServer{}.settings;
    server_.settings[name] = value;
    return run();
  };
  EXPECT_THAT(with("archive_mode", "off"), ElementsAre("error archive_mode_off"));
  EXPECT_THAT(with("wal_level", "minimal"), ElementsAre("error wal_level_minimal"));
  EXPECT_THAT(with("archive_command", ""), ElementsAre("error archive_command_empty"));
  EXPECT_THAT(with("archive_command", "pgark --stanza=other archive-push %p"),
              ElementsAre("error archive_command_other_stanza"));
  EXPECT_THAT(with("archive_command", "pgark --stanza 'main' archive-push %p"), IsEmpty());
  EXPECT_THAT(with("archive_command", "/usr/local/bin/archive.sh %p"), ElementsAre("warning archive_command_foreign"));
  EXPECT_THAT(with("archive_library", "basic_archive"), ElementsAre("warning archive_library_set"));
}

TEST_F(Check, RefusesAnotherCluster) {
  server_.system_id = 42;
  EXPECT_THAT(run(), ElementsAre("error stanza_of_another_cluster"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("not 42"));
}

TEST_F(Check, WaitsNoLongerThanArchiveTimeout) {
  server_.on_switch = [] {};
  options_.archive_timeout = std::chrono::seconds(7);
  EXPECT_THAT(run(), ElementsAre("error wal_not_archived"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("within 7 s"));
  EXPECT_LE(clock_.steady().time_since_epoch(), std::chrono::seconds(8));
}

TEST_F(Check, StopsWaitingWhenTheArchiverFails) {
  server_.on_switch = [] {};
  server_.on_look = [](FakeServer& server) { ++server.failed_count; };
  EXPECT_THAT(run(), ElementsAre("error wal_not_archived"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("archive_command failed"));
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("server's log"));
  EXPECT_LE(clock_.steady().time_since_epoch(), std::chrono::seconds(1));
}

TEST_F(Check, ReadsTheSegmentBack) {
  server_.on_switch = [this] { archive(sample_segment({TimelineId{1}, 6}, 1)); };
  EXPECT_THAT(run(), ElementsAre("error wal_not_readable"));
}

TEST_F(Check, StandbyIsNotSwitched) {
  server_.in_recovery = true;
  server_.settings["archive_command"] = "";
  bool switched = false;
  server_.on_switch = [&] { switched = true; };
  EXPECT_THAT(run(), ElementsAre("info standby_archive_mode_on"));
  EXPECT_FALSE(switched);
}

TEST_F(Check, RepositoryThatCannotBeWrittenIsAFinding) {
  store_->set_rules({{.prefix = "main/probe/", .fault = Fault::kFail, .code = Errc::kNoSpace}});
  EXPECT_THAT(run(), ElementsAre("error repository_not_writable"));
}

TEST_F(Check, AppendOnlyRepositoryIsFine) {
  store_->set_rules({{.call = StoreCall::kRemove, .fault = Fault::kFail, .code = Errc::kPermission}});
  EXPECT_THAT(run(), ElementsAre("info repository_append_only"));
  EXPECT_FALSE(state_->failed());
}

TEST_F(Check, RepositoryThatIsDownKeepsNothingFromTheOthers) {
  options_.repositories = {1, 2};
  EXPECT_THAT(run(), ElementsAre("error repository_unreachable"));
  EXPECT_EQ(state_->findings[0].repo, 2u);
  EXPECT_TRUE(state_->repositories[0].archived_after.has_value());
  EXPECT_FALSE(state_->repositories[1].archived_after.has_value());
}

TEST_F(Check, GapIsAnErrorUntilABackupCoversIt) {
  back_up("20261122-101500F", 2);
  EXPECT_THAT(run(), ElementsAre("error wal_gap"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr(segment_name(3) + " to " + segment_name(4) + " (2 segments)"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("2026-11-22 10:16:00")) << "the last commit before it";
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("take a new backup"));
  EXPECT_EQ(state_->findings[0].repo, 1u);

  SetUp();
  back_up("20261122-101500F", 2);
  back_up("20261122-121500F", 5);
  server_.on_switch = [] {};
  EXPECT_THAT(run(), ElementsAre("warning wal_gap"));
  EXPECT_THAT(state_->findings[0].why, HasSubstr("20261122-121500F"));
  EXPECT_FALSE(state_->failed());
}

TEST_F(Check, WalThatWasGivenUpIsToldWithTheReason) {
  back_up("20261122-101500F", 2);
  ASSERT_OK(write_dropped_wal(*repository_, "main", 1,
                              {.first = segment_name(3),
                               .last = segment_name(4),
                               .time = Timestamp(std::chrono::seconds(1795342600)),
                               .host = "db1",
                               .queue_bytes = 5000,
                               .limit_bytes = 4096},
                              SampleWal{}.segment_bytes));
  EXPECT_THAT(run(), ElementsAre("error wal_dropped"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("on db1, when 5000 bytes waited"));
}

TEST_F(Check, GapThatPgWalCanFillSaysSo) {
  const testing::SampleCluster cluster;
  testing::SampleCluster::put_absolute(cluster.at("pg_wal/" + segment_name(4)),
                                       std::string(SampleWal{}.segment_bytes, 'x'));
  options_.data_directory = cluster.data();
  back_up("20261122-101500F", 2);
  EXPECT_THAT(run(), ElementsAre("error wal_gap"));
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("archive-heal' soon: 1 of them is still in"));
}

TEST_F(Check, BackupWithoutItsWalIsTold) {
  back_up("20261122-101500F", 4);
  ASSERT_OK(store_->remove(*wal_key("main", 1, segment_name(4))));
  EXPECT_THAT(run(), ElementsAre("error wal_gap", "error backup_without_wal"));
  EXPECT_THAT(state_->findings[1].what, HasSubstr(segment_name(4)));
}

TEST_F(Check, HistoryThatDiffersIsAConflict) {
  const testing::SampleCluster cluster;
  options_.data_directory = cluster.data();
  const std::string history = "1\t0/300000\tno recovery target specified\n";
  testing::SampleCluster::put_absolute(cluster.at("pg_wal/00000002.history"), history);
  ASSERT_OK(write_stored_file(*repository_, *wal_key("main", 1, "00000002.history"), as_bytes(history), "{}"));
  EXPECT_THAT(run(), IsEmpty());

  SetUp();
  const std::string other = "1\t0/400000\tno recovery target specified\n";
  ASSERT_OK(write_stored_file(*repository_, *wal_key("main", 1, "00000002.history"), as_bytes(other), "{}"));
  EXPECT_THAT(run(), ElementsAre("error history_conflict"));
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("stanza of its own"));
}

TEST_F(Check, LagIsToldOfServerAndRepository) {
  const testing::SampleCluster cluster;
  options_.data_directory = cluster.data();
  for (const uint64_t number : {7u, 6u, 8u}) {
    const std::string note = cluster.at("pg_wal/archive_status/" + segment_name(number) + ".ready");
    testing::SampleCluster::put_absolute(note, "");
    const time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(kNow.time_since_epoch()).count() -
                           1000 * static_cast<time_t>(10 - number);
    const std::array<timespec, 2> times{timespec{seconds, 0}, timespec{seconds, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, note.c_str(), times.data(), 0), 0);
  }
  server_.current_lsn = "0/A00100";
  EXPECT_THAT(run(), ElementsAre("warning archive_lag", "warning repository_behind"));
  ASSERT_TRUE(state_->queue.has_value());
  EXPECT_EQ(state_->queue->ready_count, 3u);
  EXPECT_EQ(state_->queue->oldest, segment_name(6));
  EXPECT_EQ(state_->repositories[0].last_segment, segment_name(5));
  EXPECT_EQ(state_->repositories[0].behind_segments, 4u);
}

TEST_F(Check, MissingStanzaNamesTheNextStep) {
  ASSERT_OK(store_->remove(cluster_key("main", 1)));
  EXPECT_THAT(run(), ElementsAre("error stanza_missing"));
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("stanza-create"));
}

TEST_F(Check, EveryFailingStoreCallIsAFinding) {
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    SetUp();
    store_->set_rules({{.nth = n, .times_max = 1, .fault = Fault::kFail, .code = Errc::kPermission}});
    FaultStore* store = store_;
    // The archiver's own write goes elsewhere, so that only calls of check are failed.
    server_.on_switch = [this] {
      const auto archiver = new_repository(store_->inner());
      ASSERT_OK(write_stored_file(*archiver, *wal_key("main", 1, "000000010000000000000005"),
                                  sample_segment({TimelineId{1}, 5}, 1), "{}"));
    };
    const auto findings = run();
    if (store->fired().empty()) {
      EXPECT_THAT(findings, IsEmpty());
      ASSERT_GT(n, 8u);
      break;
    }
    EXPECT_EQ(findings.size(), 1u) << store_call_name(store->fired()[0].call);
  }
}

}  // namespace
}  // namespace pgark
