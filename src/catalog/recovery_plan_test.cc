// The planner, rule by rule over WAL made by hand, and at random against a list of everything that happened.
#include "catalog/recovery_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "testing/fake_wal_catalog.h"

namespace pgark {
namespace {

using pg::TimelineHistory;
using pg::WalSegment;
using pg::WalTransactionEnd;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FakeWalCatalog;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kSegment = 1u << 20;
constexpr TimelineId kOne{1};
constexpr TimelineId kTwo{2};
constexpr uint32_t kRecord = 64;  // Bytes of the records here.

Lsn at(uint64_t number, uint64_t offset = 0) { return Lsn{number * kSegment + offset}; }
Timestamp minute(int64_t count) { return Timestamp(std::chrono::minutes(30000000 + count)); }
std::string name(TimelineId timeline, uint64_t number) { return pg::segment_name({timeline, number}, kSegment); }

/// A backup that lies in segment `number` alone, from its start to offset 0x1000.
BackupMeta backup(const std::string& label, uint64_t number, int64_t stopped, TimelineId timeline = kOne) {
  BackupMeta meta;
  meta.label = label;
  meta.pg_major = 15;
  meta.wal_segment_bytes = kSegment;
  meta.start_timeline = meta.stop_timeline = timeline;
  meta.start_lsn = at(number, 0x28);
  meta.stop_lsn = at(number, 0x1000);
  meta.wal_start = meta.wal_stop = name(timeline, number);
  meta.started = minute(stopped) - std::chrono::seconds(30);
  meta.stopped = minute(stopped);
  return meta;
}

WalTransactionEnd ended(Lsn lsn, Timestamp time, uint32_t xid, bool aborted = false, std::vector<Xid> subxids = {}) {
  WalTransactionEnd end;
  end.lsn = lsn;
  end.end = Lsn{lsn.bytes + kRecord};
  end.time = time;
  end.xid = Xid{xid};
  end.aborted = aborted;
  end.subxids = std::move(subxids);
  return end;
}

RestoreTarget to_time(Timestamp time, bool exclusive = false) {
  return {.kind = TargetKind::kTime, .text = "", .time = time, .lsn = {}, .xid = {}, .exclusive = exclusive};
}
RestoreTarget to_lsn(Lsn lsn, bool exclusive = false) {
  return {.kind = TargetKind::kLsn, .text = to_string(lsn), .time = {}, .lsn = lsn, .xid = {}, .exclusive = exclusive};
}
RestoreTarget to_xid(uint32_t xid, bool exclusive = false) {
  return {.kind = TargetKind::kXid,
          .text = std::to_string(xid),
          .time = {},
          .lsn = {},
          .xid = Xid{xid},
          .exclusive = exclusive};
}
RestoreTarget to_name(const std::string& name) {
  return {.kind = TargetKind::kName, .text = name, .time = {}, .lsn = {}, .xid = {}, .exclusive = false};
}
RestoreTarget to(TargetKind kind) {
  return {.kind = kind, .text = "", .time = {}, .lsn = {}, .xid = {}, .exclusive = false};
}

class Plan : public ::testing::Test {
 protected:
  /// Segments of a timeline, each with a commit in its middle: at the minute and of the transaction of its number.
  void add(TimelineId timeline, uint64_t first, uint64_t last) {
    for (uint64_t number = first; number <= last; ++number) wal_.add(WalSegment{timeline, number}, {commit_in(number)});
  }
  static WalTransactionEnd commit_in(uint64_t number) {
    return ended(at(number, kSegment / 2), minute(static_cast<int64_t>(number)), static_cast<uint32_t>(number));
  }
  void add_point(uint64_t number, const std::string& point_name, uint64_t offset = 0x90000) {
    pg::WalRestorePoint point;
    point.lsn = at(number, offset);
    point.end = Lsn{point.lsn.bytes + 104};
    point.time = minute(static_cast<int64_t>(number));
    point.name = point_name;
    wal_.add(WalSegment{kOne, number}, {commit_in(number)}, {point});
  }

  Result<RecoveryPlan> plan(const RestoreTarget& target, const std::string& timeline = "",
                            const std::optional<std::string>& set = {}) {
    return plan_recovery(backups_, wal_, {.target = target, .set = set, .timeline = timeline});
  }
  RecoveryPlan planned(const RestoreTarget& target, const std::string& timeline = "",
                       const std::optional<std::string>& set = {}) {
    auto result = plan(target, timeline, set);
    EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().to_string());
    return result ? std::move(*result) : RecoveryPlan{};
  }
  std::string refused(const RestoreTarget& target, Errc code, const std::string& timeline = "",
                      const std::optional<std::string>& set = {}) {
    auto result = plan(target, timeline, set);
    EXPECT_FALSE(result.has_value()) << describe_target(target);
    if (result) return "";
    EXPECT_EQ(result.error().code(), code) << result.error().to_string();
    return result.error().to_string();
  }
  static uint32_t xid_of(const std::optional<pg::WalCommit>& commit) { return commit ? commit->xid.value : 0; }
  static std::vector<std::string> wal_of(const RecoveryPlan& plan) {
    std::vector<std::string> out;
    for (const PlannedWal& part : plan.wal) out.push_back(part.first + "-" + part.last);
    return out;
  }

  FakeWalCatalog wal_{kSegment};
  std::vector<BackupMeta> backups_ = {backup("A", 2, 2)};
};

// -- Time.

TEST_F(Plan, TimeStopsBeforeTheFirstLaterCommit) {
  add(kOne, 2, 9);
  const RecoveryPlan found = planned(to_time(minute(5) + std::chrono::seconds(30)));
  EXPECT_EQ(found.server_target, TargetKind::kLsn);
  EXPECT_EQ(found.stop, (RecoveryStop{at(6, kSegment / 2), false}));
  EXPECT_EQ(found.server_timeline, "1");
  EXPECT_EQ(xid_of(found.last_commit), 5u);
  EXPECT_EQ(xid_of(found.next_commit), 6u);
  EXPECT_EQ(found.end, at(6, kSegment / 2));
  EXPECT_THAT(wal_of(found), ElementsAre(name(kOne, 2) + "-" + name(kOne, 6)));
  EXPECT_EQ(found.wal_segment_count(), 5u);
  EXPECT_THAT(found.notes, IsEmpty());
}

TEST_F(Plan, TimeOfACommitIncludesOrExcludesIt) {
  add(kOne, 2, 9);
  EXPECT_EQ(planned(to_time(minute(5))).stop, (RecoveryStop{at(6, kSegment / 2), false}));
  const RecoveryPlan before = planned(to_time(minute(5), true));
  EXPECT_EQ(before.stop, (RecoveryStop{at(5, kSegment / 2), false}));
  EXPECT_EQ(xid_of(before.last_commit), 4u);
}

TEST_F(Plan, TimeStopsBeforeALaterAbortToo) {
  add(kOne, 2, 5);
  wal_.add(WalSegment{kOne, 6}, {ended(at(6, 0x100), minute(60), 600, true), ended(at(6, 0x200), minute(6), 601)});
  const RecoveryPlan found = planned(to_time(minute(7)));
  EXPECT_EQ(found.stop, (RecoveryStop{at(6, 0x100), false})) << "the server stops at whatever carries a later time";
  EXPECT_EQ(xid_of(found.last_commit), 5u);
  EXPECT_EQ(xid_of(found.next_commit), 601u);
}

TEST_F(Plan, TimeFollowsTheOrderOfWalWhenTheClockJumpsBack) {
  // 10, 70, then an hour back: 11, 12. The first that is later than 20 is the one at 70.
  for (const auto& [number, at_minute] : {std::pair(2u, 3), {3u, 10}, {4u, 70}, {5u, 11}, {6u, 12}, {7u, 90}})
    wal_.add(WalSegment{kOne, number}, {ended(at(number, 0x8000), minute(at_minute), number)});
  const RecoveryPlan found = planned(to_time(minute(20)));
  EXPECT_EQ(found.stop, (RecoveryStop{at(4, 0x8000), false}));
  EXPECT_EQ(xid_of(found.last_commit), 3u);
  EXPECT_EQ(planned(to_time(minute(70))).stop, (RecoveryStop{at(7, 0x8000), false}));
  // Within one segment, too.
  wal_.add(WalSegment{kOne, 8}, {ended(at(8, 0x10), minute(95), 80), ended(at(8, 0x100), minute(35), 81),
                                 ended(at(8, 0x200), minute(99), 82)});
  const RecoveryPlan jumped = planned(to_time(minute(96)));
  EXPECT_EQ(jumped.stop, (RecoveryStop{at(8, 0x200), false}));
  EXPECT_EQ(xid_of(jumped.last_commit), 81u);
}

TEST_F(Plan, SaysWhenTheClockWasSetBackBetweenBackups) {
  add(kOne, 2, 12);
  backups_ = {backup("A", 2, 70), backup("B", 6, 11)};
  EXPECT_THAT(planned(to_time(minute(80))).notes,
              Contains(AllOf(HasSubstr("set back between backups A and B"), HasSubstr("--set=A"))));
}

TEST_F(Plan, CommitsDuringTheBackupDoNotStopIt) {
  // The clock was set back while the backup ran: what has a later time lies before its end.
  wal_.add(WalSegment{kOne, 2}, {ended(at(2, 0x100), minute(500), 20), ended(at(2, 0x2000), minute(4), 21)});
  add(kOne, 3, 9);
  const RecoveryPlan found = planned(to_time(minute(5)));
  EXPECT_EQ(found.stop, (RecoveryStop{at(6, kSegment / 2), false}));
  EXPECT_EQ(wal_.segment_reads(), 2u) << "of the backup, because it seemed to hold a later one, and of the target";
}

TEST_F(Plan, TimePastTheLastCommitIsClamped) {
  add(kOne, 2, 5);
  wal_.add_empty(kOne, 6, 7);
  const RecoveryPlan found = planned(to_time(minute(1000)));
  EXPECT_EQ(found.stop, (RecoveryStop{at(5, kSegment / 2), true}));
  EXPECT_EQ(xid_of(found.last_commit), 5u);
  EXPECT_FALSE(found.next_commit);
  EXPECT_TRUE(found.clamped);
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("pg_switch_wal"), HasSubstr("lies behind the last commit"),
                                       HasSubstr("goes on to 0/800000")));
  EXPECT_THAT(wal_of(found), ElementsAre(name(kOne, 2) + "-" + name(kOne, 5)));
}

TEST_F(Plan, TimeWithoutAnyCommitEndsWithTheBackup) {
  wal_.add_empty(kOne, 2, 4);
  const RecoveryPlan found = planned(to_time(minute(1000)));
  EXPECT_EQ(found.server_target, TargetKind::kImmediate);
  EXPECT_FALSE(found.stop);
  EXPECT_EQ(found.end, at(2, 0x1000));
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("pg_switch_wal"), HasSubstr("recovery ends with it")));
}

TEST_F(Plan, TimeBeforeEveryBackupIsRefusedWithTheRange) {
  add(kOne, 2, 9);
  EXPECT_THAT(refused(to_time(minute(1)), Errc::kInvalid),
              AllOf(HasSubstr("before the end of the oldest backup A"), HasSubstr(format_timestamp_both(minute(2))),
                    HasSubstr("to 0/A00000, last commit " + format_timestamp_both(minute(9))), HasSubstr("HINT:")));
  backups_.push_back(backup("B", 6, 6));
  EXPECT_THAT(refused(to_time(minute(5)), Errc::kInvalid, "", "B"),
              AllOf(HasSubstr("before the end of the chosen backup B"), HasSubstr("leave out --set")));
}

// -- Choice of the backup.

TEST_F(Plan, TakesTheNewestBackupThatEndedByTheTarget) {
  add(kOne, 2, 12);
  backups_ = {backup("A", 2, 2), backup("B", 5, 5), backup("C", 8, 8)};
  EXPECT_EQ(planned(to_time(minute(4))).backup.label, "A");
  EXPECT_EQ(planned(to_time(minute(5))).backup.label, "B");
  EXPECT_EQ(planned(to_time(minute(99))).backup.label, "C");
  EXPECT_EQ(planned(to_lsn(at(5, 0xfff))).backup.label, "A");
  EXPECT_EQ(planned(to_lsn(at(5, 0x1000))).backup.label, "B");
  EXPECT_EQ(planned(to_xid(3)).backup.label, "A");
  EXPECT_EQ(planned(to_xid(7)).backup.label, "B");
  EXPECT_EQ(planned(to_xid(8)).backup.label, "C");
  EXPECT_EQ(planned(to_xid(8), "", "A").backup.label, "A");
  for (const TargetKind kind :
       {TargetKind::kDefault, TargetKind::kImmediate, TargetKind::kStandby, TargetKind::kPreserve, TargetKind::kNone})
    EXPECT_EQ(planned(to(kind)).backup.label, "C");
}

TEST_F(Plan, PassesOverABackupWhoseOwnWalIsMissing) {
  add(kOne, 2, 8);
  backups_ = {backup("A", 2, 2), backup("B", 9, 9)};
  const RecoveryPlan found = planned(to(TargetKind::kDefault));
  EXPECT_EQ(found.backup.label, "A");
  EXPECT_THAT(found.notes, ElementsAre(AllOf(HasSubstr("backup B is passed over"), HasSubstr(name(kOne, 9)))));
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound, "", "B"),
              HasSubstr("backup B needs WAL segment " + name(kOne, 9)));
  EXPECT_EQ(planned(to(TargetKind::kImmediate)).backup.label, "A");
  EXPECT_EQ(planned(to(TargetKind::kNone)).backup.label, "B") << "WAL is not looked at";
}

TEST_F(Plan, SaysThatThereIsNoBackupOrNoSuchSet) {
  add(kOne, 2, 4);
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound, "", "X"), HasSubstr("backup set X does not exist"));
  backups_.clear();
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound), HasSubstr("there is no backup"));
}

// -- Gaps.

class PlanWithGap : public Plan {
 protected:
  void SetUp() override {
    add(kOne, 2, 12);
    wal_.remove({kOne, 6});
    wal_.remove({kOne, 7});
  }
};

TEST_F(PlanWithGap, DefaultIsRefusedAndNamesTheSegments) {
  const std::string text = refused(to(TargetKind::kDefault), Errc::kNotFound);
  EXPECT_THAT(text, AllOf(HasSubstr("WAL segments " + name(kOne, 6) + " to " + name(kOne, 7) + " (2) are not"),
                          HasSubstr("recovery ends at 0/600000, after transaction 5"),
                          HasSubstr("the first that is known behind the gap is transaction 8"),
                          HasSubstr("--type=lsn --target=0/580000")));
  // What the hint says works, and keeps all that lies before the gap.
  EXPECT_EQ(xid_of(planned(to_lsn(at(5, kSegment / 2))).last_commit), 5u);
}

TEST_F(PlanWithGap, ABackupBehindItIsChosen) {
  backups_.push_back(backup("B", 9, 9));
  const RecoveryPlan found = planned(to(TargetKind::kDefault));
  EXPECT_EQ(found.backup.label, "B");
  EXPECT_EQ(found.end, at(13));
  EXPECT_EQ(xid_of(found.last_commit), 12u);
  EXPECT_EQ(planned(to_time(minute(11))).backup.label, "B");
  EXPECT_EQ(planned(to_time(minute(4))).backup.label, "A");
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound, "", "A"), HasSubstr("(2) are not"));
  // Reached neither from the one nor from the other; both ranges are told.
  EXPECT_THAT(refused(to_time(minute(7)), Errc::kNotFound),
              AllOf(HasSubstr("(backup A) to 0/600000"), HasSubstr("; and"), HasSubstr("(backup B) to 0/D00000")));
}

TEST_F(PlanWithGap, AnOlderBackupDoesNotHelp) {
  // B's own WAL lies in the gap.
  backups_.push_back(backup("B", 7, 7));
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound), HasSubstr("(2) are not"));
  EXPECT_THAT(refused(to_time(minute(10)), Errc::kNotFound), HasSubstr("(2) are not"));
  EXPECT_EQ(planned(to_time(minute(4))).backup.label, "A");
}

TEST_F(PlanWithGap, TargetsBeforeItAreReached) {
  EXPECT_EQ(planned(to_time(minute(4))).stop, (RecoveryStop{at(5, kSegment / 2), false}));
  EXPECT_FALSE(planned(to_time(minute(3))).gap_follows);
  EXPECT_EQ(planned(to_xid(5)).stop, (RecoveryStop{at(5, kSegment / 2), true}));
  EXPECT_TRUE(planned(to_xid(5)).gap_follows) << "a server that reads ahead must not ask for it";
  EXPECT_FALSE(planned(to_xid(4)).gap_follows);
  EXPECT_THAT(refused(to_time(minute(5)), Errc::kNotFound), HasSubstr("(2) are not"))
      << "commits later than that, but not later than the target, may be missing";
  EXPECT_THAT(refused(to_xid(9), Errc::kNotFound), HasSubstr("which no backup reaches"));
  EXPECT_THAT(refused(to_lsn(at(6, 0x100)), Errc::kNotFound), HasSubstr("(2) are not"));
  EXPECT_THAT(refused(to_lsn(at(9, 0x100)), Errc::kNotFound), HasSubstr("(2) are not"));
}

TEST_F(PlanWithGap, AStandbyMayStreamWhatIsMissing) {
  EXPECT_THAT(planned(to(TargetKind::kStandby)).notes, ElementsAre(HasSubstr("(2) are not")));
}

TEST_F(Plan, DamageIsAGap) {
  add(kOne, 2, 9);
  pg::WalIndex torn = testing::sample_wal_index({kOne, 6}, kSegment);
  torn.valid_to = at(6, 0x2000);
  torn.end_reason = "record at 0/602000 has a wrong CRC";
  wal_.add(std::move(torn));
  EXPECT_THAT(refused(to_time(minute(8)), Errc::kNotFound),
              AllOf(HasSubstr("WAL segment " + name(kOne, 6) + " is damaged: record at"), HasSubstr("ends at 0/602000"),
                    HasSubstr("after transaction 5")));
  wal_.damage({kOne, 6});
  EXPECT_THAT(refused(to_time(minute(8)), Errc::kNotFound),
              AllOf(HasSubstr("WAL segment " + name(kOne, 6) + " is damaged"), HasSubstr("ends at 0/600000")));
  EXPECT_EQ(planned(to_time(minute(4))).stop, (RecoveryStop{at(5, kSegment / 2), false}));
}

TEST_F(Plan, WalThatEndsWithinTheLastSegmentIsItsEnd) {
  add(kOne, 2, 5);
  pg::WalIndex last = testing::sample_wal_index({kOne, 6}, kSegment);
  last.valid_to = at(6, 0x2000);
  last.end_reason = "zero_length";
  wal_.add(std::move(last));
  const RecoveryPlan found = planned(to(TargetKind::kDefault));
  EXPECT_EQ(found.end, at(6, 0x2000));
  EXPECT_EQ(xid_of(found.last_commit), 5u);
}

// -- Default, immediate, standby, preserve, none.

TEST_F(Plan, DefaultGoesToTheEndAndReadsOnlyTheLastSegments) {
  add(kOne, 2, 1000);
  const RecoveryPlan found = planned(to(TargetKind::kDefault));
  EXPECT_EQ(found.server_target, TargetKind::kDefault);
  EXPECT_EQ(found.server_timeline, "") << "as asked: WAL may still arrive, on a new timeline too";
  EXPECT_FALSE(found.stop);
  EXPECT_EQ(found.end, at(1001));
  EXPECT_EQ(xid_of(found.last_commit), 1000u);
  EXPECT_EQ(found.wal_segment_count(), 999u);
  EXPECT_LE(wal_.index_reads(), 6u);
  EXPECT_EQ(wal_.segment_reads(), 0u);
  ASSERT_EQ(found.path.size(), 1u);
  EXPECT_FALSE(found.path[0].end);
}

TEST_F(Plan, LastCommitIsFoundBehindIdleSegments) {
  add(kOne, 2, 5);
  wal_.add_empty(kOne, 6, 20);
  EXPECT_EQ(xid_of(planned(to(TargetKind::kDefault)).last_commit), 5u);
  backups_.push_back(backup("B", 8, 8));
  EXPECT_FALSE(planned(to(TargetKind::kDefault)).last_commit) << "those before the backup are in it";
}

TEST_F(Plan, ImmediateEndsWithTheBackupAndReadsNothing) {
  add(kOne, 2, 1000);
  const RecoveryPlan found = planned(to(TargetKind::kImmediate));
  EXPECT_EQ(found.server_target, TargetKind::kImmediate);
  EXPECT_EQ(found.server_timeline, "current");
  EXPECT_EQ(found.end, at(2, 0x1000));
  EXPECT_THAT(wal_of(found), ElementsAre(name(kOne, 2) + "-" + name(kOne, 2)));
  EXPECT_EQ(wal_.index_reads(), 0u);
}

TEST_F(Plan, PreserveAndNoneNeedNoWal) {
  for (const TargetKind kind : {TargetKind::kPreserve, TargetKind::kNone}) {
    const RecoveryPlan found = planned(to(kind));
    EXPECT_EQ(found.server_target, kind);
    EXPECT_THAT(found.wal, IsEmpty());
  }
}

// -- LSN.

TEST_F(Plan, LsnIsGivenAsItIs) {
  add(kOne, 2, 900);
  const RecoveryPlan found = planned(to_lsn(at(500, kSegment / 2)));
  EXPECT_EQ(found.stop, (RecoveryStop{at(500, kSegment / 2), true}));
  EXPECT_EQ(xid_of(found.last_commit), 500u) << "the record at the target is replayed";
  EXPECT_EQ(xid_of(found.next_commit), 501u);
  EXPECT_LE(wal_.index_reads(), 4u);
  const RecoveryPlan before = planned(to_lsn(at(500, kSegment / 2), true));
  EXPECT_EQ(before.stop, (RecoveryStop{at(500, kSegment / 2), false}));
  EXPECT_EQ(xid_of(before.last_commit), 499u);
  EXPECT_EQ(xid_of(before.next_commit), 500u);
  EXPECT_EQ(xid_of(planned(to_lsn(at(500, kSegment / 2 + 1))).last_commit), 500u);
}

TEST_F(Plan, InclusiveLsnTakesTheFirstRecordBehindItAlong) {
  add(kOne, 2, 4);
  WalTransactionEnd first = ended(at(5, 0x5000), minute(5), 5);
  first.prev = at(5, 0x4000);
  wal_.add(WalSegment{kOne, 5}, {first});
  add(kOne, 6, 7);
  EXPECT_EQ(xid_of(planned(to_lsn(at(5, 0x4001))).last_commit), 5u) << "no record begins in between";
  EXPECT_EQ(xid_of(planned(to_lsn(at(5, 0x4000))).last_commit), 4u) << "the record at 4000 is the one";
  EXPECT_EQ(xid_of(planned(to_lsn(at(5, 0x4001), true)).last_commit), 4u);
}

TEST_F(Plan, LsnPastTheEndIsRefused) {
  add(kOne, 2, 5);
  EXPECT_THAT(refused(to_lsn(at(9)), Errc::kInvalid), AllOf(HasSubstr("past the archived WAL, which ends at 0/600000"),
                                                            HasSubstr(name(kOne, 9)), HasSubstr("pg_switch_wal")));
  EXPECT_THAT(refused(to_lsn(at(2, 0x500)), Errc::kInvalid), HasSubstr("before the end of the oldest backup A"));
}

TEST_F(Plan, LsnBehindTheLastRecordEndsWithIt) {
  add(kOne, 2, 5);  // The last record is the commit.
  const Lsn last = at(5, kSegment / 2);
  const RecoveryPlan found = planned(to_lsn(Lsn{last.bytes + kRecord}));
  EXPECT_EQ(found.stop, (RecoveryStop{last, true}));
  EXPECT_EQ(xid_of(found.last_commit), 5u);
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("recovery ends with the last one")));
}

// -- Transactions.

TEST_F(Plan, XidStopsAtItsEnd) {
  add(kOne, 2, 9);
  const RecoveryPlan found = planned(to_xid(6));
  EXPECT_EQ(found.stop, (RecoveryStop{at(6, kSegment / 2), true}));
  EXPECT_EQ(xid_of(found.last_commit), 6u);
  EXPECT_EQ(xid_of(found.next_commit), 7u);
  const RecoveryPlan before = planned(to_xid(6, true));
  EXPECT_EQ(before.stop, (RecoveryStop{at(6, kSegment / 2), false}));
  EXPECT_EQ(xid_of(before.last_commit), 5u);
  EXPECT_EQ(xid_of(before.next_commit), 6u);
}

TEST_F(Plan, XidOfASubtransactionIsItsParents) {
  add(kOne, 2, 3);
  wal_.add(WalSegment{kOne, 4},
           {ended(at(4, 0x100), minute(4), 40, false, {Xid{41}, Xid{43}}), ended(at(4, 0x200), minute(4), 42, true)});
  const RecoveryPlan found = planned(to_xid(43));
  EXPECT_EQ(found.stop, (RecoveryStop{at(4, 0x100), true}));
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("43 is a subtransaction of transaction 40")));
  EXPECT_THAT(planned(to_xid(42)).notes, ElementsAre(HasSubstr("was rolled back")));
}

TEST_F(Plan, XidUsedAgainMeansTheFirstBehindTheBackup) {
  add(kOne, 2, 4);
  wal_.add(WalSegment{kOne, 5}, {ended(at(5, 0x2000), minute(5), 777)});
  add(kOne, 6, 6);
  wal_.add(WalSegment{kOne, 7}, {ended(at(7, 0x2000), minute(7), 777)});
  EXPECT_EQ(planned(to_xid(777)).stop->lsn, at(5, 0x2000));
  backups_.push_back(backup("B", 6, 6));
  EXPECT_EQ(planned(to_xid(777)).stop->lsn, at(7, 0x2000));
  EXPECT_EQ(planned(to_xid(777), "", "A").stop->lsn, at(5, 0x2000));
}

TEST_F(Plan, UnknownXidIsRefusedWithTheRange) {
  add(kOne, 2, 9);
  EXPECT_THAT(refused(to_xid(12345), Errc::kNotFound),
              AllOf(HasSubstr("transaction 12345 is not in the WAL on the way to timeline 1"),
                    HasSubstr("(backup A) to 0/A00000"), HasSubstr("leaves no trace")));
}

// -- Restore points.

TEST_F(Plan, NameStopsAtItsRestorePoint) {
  add(kOne, 2, 9);
  add_point(5, "before release");
  const RecoveryPlan found = planned(to_name("before release"));
  EXPECT_EQ(found.stop, (RecoveryStop{at(5, 0x90000), true}));
  EXPECT_EQ(xid_of(found.last_commit), 5u);
  EXPECT_EQ(xid_of(found.next_commit), 6u);
  EXPECT_EQ(found.end.bytes, at(5, 0x90000).bytes + 104);
  EXPECT_THAT(refused(to_name("other"), Errc::kNotFound), HasSubstr("restore point 'other' is not in the WAL"));
}

TEST_F(Plan, NameGivenTwiceIsRefusedWithBoth) {
  add(kOne, 2, 9);
  add_point(4, "again");
  add_point(7, "again", 0x91000);
  backups_.push_back(backup("B", 6, 6));
  EXPECT_THAT(refused(to_name("again"), Errc::kInvalid),
              AllOf(HasSubstr("made 2 times"), HasSubstr("0/490000 on timeline 1"), HasSubstr("0/791000 on timeline 1"),
                    HasSubstr("--type=lsn --target=0/791000"), HasSubstr(format_timestamp_both(minute(4)))));
  EXPECT_EQ(planned(to_name("again"), "", "B").stop->lsn, at(7, 0x91000)) << "on the way from B there is one only";
  EXPECT_EQ(planned(to_lsn(at(4, 0x90000))).backup.label, "A");
}

TEST_F(Plan, NameOfTheSegmentOfABackupIsFoundOnItsSide) {
  add(kOne, 2, 9);
  backups_.push_back(backup("B", 6, 6));
  add_point(6, "during B", 0x800);
  EXPECT_EQ(planned(to_name("during B")).backup.label, "A") << "B is not consistent there";
  EXPECT_THAT(refused(to_name("during B"), Errc::kNotFound, "", "B"), HasSubstr("is not in the WAL"));
}

// -- Timelines.

/// Timeline 2 left timeline 1 in segment 6, before the commit there; both went on.
class PlanAcrossTimelines : public Plan {
 protected:
  void SetUp() override {
    add(kOne, 2, 9);
    for (uint64_t number = 6; number <= 10; ++number) {
      const auto end =
          ended(at(number, 0x60000), minute(100 + static_cast<int64_t>(number)), static_cast<uint32_t>(100 + number));
      std::vector<WalTransactionEnd> ends{end};
      wal_.add(WalSegment{kTwo, number}, ends);
    }
    wal_.add_history(TimelineHistory(kTwo, {{kOne, fork_, "reason"}}));
    backups_ = {backup("A", 2, 2), backup("B", 8, 8), backup("C", 9, 109, kTwo)};
  }
  const Lsn fork_ = at(6, 0x50000);
};

TEST_F(PlanAcrossTimelines, FollowsTheHistory) {
  const RecoveryPlan found = planned(to_time(minute(107)));
  EXPECT_EQ(found.backup.label, "A") << "B lies on the branch that was left, C behind the target";
  EXPECT_EQ(found.timeline, kTwo);
  EXPECT_EQ(found.server_timeline, "2");
  EXPECT_EQ(found.stop, (RecoveryStop{at(8, 0x60000), false}));
  EXPECT_EQ(xid_of(found.last_commit), 107u);
  EXPECT_THAT(wal_of(found), ElementsAre(name(kOne, 2) + "-" + name(kOne, 5), name(kTwo, 6) + "-" + name(kTwo, 8)));
  ASSERT_EQ(found.path.size(), 2u);
  EXPECT_EQ(found.path[0].end, fork_);
  EXPECT_EQ(found.path[1].end, at(8, 0x60000));
}

TEST_F(PlanAcrossTimelines, OtherTimelinesAreTakenWhenAskedFor) {
  EXPECT_EQ(planned(to(TargetKind::kDefault)).backup.label, "C");
  const RecoveryPlan old = planned(to(TargetKind::kDefault), "1");
  EXPECT_EQ(old.backup.label, "B");
  EXPECT_EQ(xid_of(old.last_commit), 9u);
  EXPECT_EQ(old.server_timeline, "1");
  EXPECT_EQ(planned(to(TargetKind::kDefault), "0x1").server_timeline, "1");
  EXPECT_EQ(planned(to(TargetKind::kDefault), "current", "A").timeline, kOne);
  EXPECT_EQ(planned(to(TargetKind::kImmediate), "", "B").timeline, kOne);
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kInvalid, "latest", "B"),
              HasSubstr("backup B does not lie on the way to timeline 2"));
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound, "9"), HasSubstr("timeline 9 has no history file"));
}

TEST_F(PlanAcrossTimelines, SaysOnWhichTimelineATransactionIs) {
  EXPECT_THAT(refused(to_xid(7), Errc::kNotFound),
              AllOf(HasSubstr("belongs to timeline 1"), HasSubstr("--target-timeline=1")));
  EXPECT_EQ(planned(to_xid(7), "1").stop->lsn, at(7, kSegment / 2));
}

TEST_F(PlanAcrossTimelines, WithoutTheNewTimelinesSegmentsItEndsAtTheFork) {
  for (uint64_t number = 6; number <= 10; ++number) wal_.remove({kTwo, number});
  backups_ = {backup("A", 2, 2)};
  const RecoveryPlan found = planned(to(TargetKind::kDefault));
  // The server would go on in the parent's segment 6, with what the history leaves out.
  EXPECT_EQ(found.stop, (RecoveryStop{fork_, false}));
  EXPECT_EQ(xid_of(found.last_commit), 5u);
  EXPECT_THAT(found.notes, ElementsAre(HasSubstr("no WAL of timeline 2")));
  const RecoveryPlan timed = planned(to_time(minute(50)));
  EXPECT_EQ(xid_of(timed.last_commit), 5u);
  EXPECT_EQ(timed.stop, (RecoveryStop{at(5, kSegment / 2), true}));
  // Its first segment alone is missing: a gap.
  wal_.add(WalSegment{kTwo, 7}, {});
  EXPECT_THAT(refused(to(TargetKind::kDefault), Errc::kNotFound),
              HasSubstr("WAL segment " + name(kTwo, 6) + " is not in the repository"));
}

TEST_F(PlanAcrossTimelines, ATimelineWithoutHistoryFileIsCurrentOnly) {
  wal_.add(WalSegment{TimelineId{5}, 3}, {});
  add(TimelineId{5}, 3, 5);
  backups_ = {backup("A", 3, 3, TimelineId{5})};
  const RecoveryPlan found = planned(to_xid(4), "current");
  EXPECT_EQ(found.timeline, TimelineId{5});
  EXPECT_EQ(found.server_timeline, "current") << "a server refuses the number of a timeline without history";
}

// -- At random.

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// Everything that happened, in the order of WAL, and what of it is archived.
struct World {
  static constexpr uint64_t kFirst = 2;
  static constexpr uint64_t kLast = 40;

  struct Event {
    WalTransactionEnd end;
    bool is_point = false;
    std::string name;
    uint64_t segment = 0;  // In which it ends.
  };
  std::vector<Event> events;
  std::vector<BackupMeta> backups;
  std::vector<bool> present = std::vector<bool>(kLast + 1, true);
  FakeWalCatalog wal{kSegment};

  explicit World(Rng& rng) {
    int64_t clock_s = 1000;
    uint32_t xid = 100;
    Timestamp stopped{};
    for (uint64_t number = kFirst; number <= kLast; ++number) {
      uint64_t offset = 0x2000;
      const uint64_t count = rng.below(4) == 0 ? 0 : rng.below(6);
      for (uint64_t i = 0; i < count; ++i) {
        clock_s += static_cast<int64_t>(rng.below(40)) - (rng.below(12) == 0 ? 400 : 0);
        offset += 0x100 + rng.below(0x8000);
        Event event;
        event.segment = number;
        event.is_point = rng.below(8) == 0;
        event.name = "p" + std::to_string(rng.below(25));
        if (rng.below(20) != 0) ++xid;  // Else it is used again.
        std::vector<Xid> subxids;
        if (rng.below(5) == 0) subxids.push_back(Xid{++xid});
        const bool crosses = i == 0 && number > kFirst && rng.below(4) == 0;
        event.end = ended(crosses ? Lsn{at(number).bytes - 16} : at(number, offset), time_of(clock_s), xid,
                          rng.below(4) == 0, subxids);
        events.push_back(event);
      }
      if (rng.below(6) == 0 || number == kFirst) {
        BackupMeta meta = backup("B" + std::to_string(100 + number), number, 0);
        if (number + 1 < kLast && rng.below(3) == 0) {
          meta.stop_lsn = at(number + 1, 0x1000 + rng.below(0x10000));
          meta.wal_stop = name(kOne, number + 1);
        }
        stopped = std::max(stopped, time_of(clock_s));
        meta.stopped = stopped;
        backups.push_back(meta);
      }
    }
    const uint64_t gaps = rng.below(3);
    for (uint64_t i = 0; i < gaps; ++i) present[kFirst + rng.below(kLast - kFirst + 1)] = false;
    for (uint64_t number = kFirst; number <= kLast; ++number) {
      if (!present[number]) continue;
      std::vector<WalTransactionEnd> ends;
      std::vector<pg::WalRestorePoint> points;
      for (const Event& event : events) {
        if (event.segment != number) continue;
        if (event.is_point) {
          points.push_back({event.end.lsn, event.end.end, event.end.time, event.name});
        } else {
          ends.push_back(event.end);
        }
      }
      wal.add(WalSegment{kOne, number}, ends, points);
    }
  }
  static Timestamp time_of(int64_t seconds) { return minute(0) + std::chrono::seconds(seconds); }

  bool usable(const BackupMeta& meta) const {
    for (uint64_t number = meta.start_lsn.bytes / kSegment; number <= meta.stop_lsn.bytes / kSegment; ++number)
      if (!present[number]) return false;
    return true;
  }
  /// Last segment without a gap from the backup on.
  uint64_t reach(const BackupMeta& meta) const {
    uint64_t number = meta.stop_lsn.bytes / kSegment;
    while (number < kLast && present[number + 1]) ++number;
    return number;
  }
  bool ends_in_gap(uint64_t reach) const {
    for (uint64_t number = reach + 1; number <= kLast; ++number)
      if (present[number]) return true;
    return false;
  }
  std::vector<const Event*> behind(const BackupMeta& meta) const {
    std::vector<const Event*> out;
    for (const Event& event : events)
      if (event.end.lsn >= meta.stop_lsn && event.segment <= reach(meta)) out.push_back(&event);
    return out;
  }
};

/// What must come out: refused, or a backup and a position.
struct Expected {
  bool refused = false;
  std::string label;
  std::optional<RecoveryStop> stop;  // None: with the end of the backup.
};

Expected expect_time(const World& world, Timestamp time, bool exclusive) {
  for (auto meta = world.backups.rbegin(); meta != world.backups.rend(); ++meta) {
    if (meta->stopped > time || !world.usable(*meta)) continue;
    std::optional<Lsn> last;
    for (const World::Event* event : world.behind(*meta)) {
      if (event->is_point) continue;
      if (exclusive ? event->end.time >= time : event->end.time > time)
        return {false, meta->label, RecoveryStop{event->end.lsn, false}};
      if (!event->end.aborted) last = event->end.lsn;
    }
    if (world.ends_in_gap(world.reach(*meta))) return {.refused = true, .label = "", .stop = {}};
    return {false, meta->label, last ? std::optional(RecoveryStop{*last, true}) : std::nullopt};
  }
  return {.refused = true, .label = "", .stop = {}};
}

Expected expect_xid(const World& world, Xid xid, bool exclusive) {
  for (auto meta = world.backups.rbegin(); meta != world.backups.rend(); ++meta) {
    if (!world.usable(*meta)) continue;
    for (const World::Event* event : world.behind(*meta)) {
      if (event->is_point) continue;
      const bool sub = std::ranges::find(event->end.subxids, xid) != event->end.subxids.end();
      if (event->end.xid == xid || sub) return {false, meta->label, RecoveryStop{event->end.lsn, !exclusive}};
    }
  }
  return {.refused = true, .label = "", .stop = {}};
}

Expected expect_name(const World& world, const std::string& name) {
  std::map<Lsn, std::string> hits;  // Newest backup first, so the first to see it keeps it.
  for (auto meta = world.backups.rbegin(); meta != world.backups.rend(); ++meta) {
    if (!world.usable(*meta)) continue;
    for (const World::Event* event : world.behind(*meta))
      if (event->is_point && event->name == name) hits.emplace(event->end.lsn, meta->label);
  }
  if (hits.size() != 1) return {.refused = true, .label = "", .stop = {}};
  return {false, hits.begin()->second, RecoveryStop{hits.begin()->first, true}};
}

Expected expect_lsn(const World& world, Lsn lsn, bool exclusive) {
  for (auto meta = world.backups.rbegin(); meta != world.backups.rend(); ++meta) {
    if (meta->stop_lsn > lsn || !world.usable(*meta)) continue;
    if (lsn.bytes / kSegment > world.reach(*meta)) return {.refused = true, .label = "", .stop = {}};
    return {false, meta->label, RecoveryStop{lsn, !exclusive}};
  }
  return {.refused = true, .label = "", .stop = {}};
}

/// Commits kept and dropped, by the position alone.
void check_commits(const World& world, const RecoveryPlan& plan) {
  std::optional<pg::WalCommit> last;
  std::optional<pg::WalCommit> next;
  for (const World::Event* event : world.behind(plan.backup)) {
    if (event->is_point || event->end.aborted) continue;
    const Lsn lsn = event->end.lsn;
    if (lsn < plan.stop->lsn || (plan.stop->inclusive && lsn == plan.stop->lsn)) {
      last = event->end;
    } else if (!next) {
      next = event->end;
    }
  }
  EXPECT_EQ(plan.last_commit, last);
  EXPECT_EQ(plan.next_commit, next);
}

TEST(PlanAtRandom, AgreesWithTheListOfEverything) {
  const uint64_t seed = test_seed();
  size_t reached = 0;
  for (uint64_t round = 0; round < 150; ++round) {
    Rng rng(seed + round);
    World world(rng);
    for (int i = 0; i < 40; ++i) {
      RestoreTarget target;
      Expected expected;
      const bool exclusive = rng.below(2) == 0;
      const World::Event& any = world.events[rng.below(world.events.size())];
      switch (rng.below(4)) {
        case 0:
          target = to_time(any.end.time + std::chrono::seconds(rng.below(3)) - std::chrono::seconds(1), exclusive);
          if (rng.below(10) == 0) target.time += std::chrono::hours(10);
          expected = expect_time(world, target.time, exclusive);
          break;
        case 1:
          target = to_xid(any.end.xid.value + static_cast<uint32_t>(rng.below(2)), exclusive);
          expected = expect_xid(world, target.xid, exclusive);
          break;
        case 2:
          target = to_name("p" + std::to_string(rng.below(25)));
          expected = expect_name(world, target.text);
          break;
        default:
          // At a commit or before one, so that there is a record behind it.
          target = to_lsn(Lsn{any.end.lsn.bytes - rng.below(2) * 8}, exclusive);
          expected = expect_lsn(world, target.lsn, exclusive);
          // What the last record of a segment is, is another test's.
          if (!exclusive && target.lsn != any.end.lsn) continue;
          if (any.is_point) continue;
          // A record whose end is not archived is no record.
          if (any.end.lsn.bytes / kSegment != any.segment && !world.present[any.segment]) continue;
          break;
      }
      SCOPED_TRACE("SEED=" + std::to_string(seed) + " round " + std::to_string(round) + ": " + describe_target(target) +
                   (exclusive ? " exclusive" : ""));
      const auto plan = plan_recovery(world.backups, world.wal, {.target = target, .set = {}, .timeline = ""});
      ASSERT_EQ(plan.has_value(), !expected.refused) << (plan ? "reached" : plan.error().to_string());
      if (!plan) {
        EXPECT_FALSE(plan.error().hints().empty()) << plan.error().to_string();
        continue;
      }
      ++reached;
      EXPECT_EQ(plan->backup.label, expected.label);
      EXPECT_EQ(plan->stop, expected.stop);
      EXPECT_EQ(plan->server_target, expected.stop ? TargetKind::kLsn : TargetKind::kImmediate);
      if (plan->stop) check_commits(world, *plan);
      for (const PlannedWal& part : plan->wal) EXPECT_EQ(part.timeline, kOne);
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(reached, 1000u);
}

}  // namespace
}  // namespace pgark
