#include "catalog/coverage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/fake_wal_catalog.h"

namespace pgark {
namespace {

using pg::TimelineHistory;
using pg::WalSegment;
using ::testing::ElementsAre;
using testing::FakeWalCatalog;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kSegment = 1u << 20;
constexpr TimelineId kOne{1};
constexpr TimelineId kTwo{2};
constexpr TimelineId kThree{3};
constexpr const char* kPromoted = "no recovery target specified";

Lsn at(uint64_t number, uint64_t offset = 0) { return Lsn{number * kSegment + offset}; }
Timestamp minute(int64_t count) { return Timestamp(std::chrono::minutes(count)); }
std::string name(TimelineId timeline, uint64_t number) { return pg::segment_name({timeline, number}, kSegment); }

/// A backup of `timeline` that lies in segment `number`, whole, and ended at that minute.
BackupMeta backup(const std::string& label, TimelineId timeline, uint64_t number, int64_t stopped) {
  BackupMeta meta;
  meta.label = label;
  meta.start_timeline = meta.stop_timeline = timeline;
  meta.start_lsn = at(number, 0x28);
  meta.stop_lsn = at(number, 0x1000);
  meta.stopped = minute(stopped);
  return meta;
}

class Coverage : public ::testing::Test {
 protected:
  /// Segments with a commit each, at the minute that is their number, in the middle.
  void add(TimelineId timeline, uint64_t first, uint64_t last) {
    for (uint64_t number = first; number <= last; ++number) {
      pg::WalTransactionEnd end;
      end.lsn = at(number, kSegment / 2);
      end.end = at(number, kSegment / 2 + 64);
      end.time = minute(static_cast<int64_t>(number));
      end.xid = Xid{static_cast<uint32_t>(number)};
      wal_.add(WalSegment{timeline, number}, {end});
    }
  }
  void remove(TimelineId timeline, uint64_t first, uint64_t last) {
    for (uint64_t number = first; number <= last; ++number) wal_.remove({timeline, number});
  }
  /// A segment in which WAL ends early.
  void cut_short(TimelineId timeline, uint64_t number) {
    pg::WalIndex index = testing::sample_wal_index({timeline, number}, kSegment);
    index.valid_to = at(number, 0x2000);
    index.end_reason = "record of 40 bytes has a wrong CRC";
    wal_.add(std::move(index));
  }
  WalCoverage survey() {
    auto result = wal_coverage(wal_, request_);
    EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().to_string());
    return result ? std::move(*result) : WalCoverage{};
  }
  /// "2..4" of each gap, with "!" if damaged.
  static std::vector<std::string> gaps(const std::vector<CoverageGap>& list) {
    std::vector<std::string> out;
    for (const CoverageGap& gap : list) {
      out.push_back(gap.first + (gap.count > 1 ? " " + std::to_string(gap.count) : "") +
                    (gap.damage.empty() ? "" : "!"));
    }
    return out;
  }

  FakeWalCatalog wal_{kSegment};
  CoverageRequest request_;
};

TEST_F(Coverage, OfNothingIsNothing) {
  const WalCoverage coverage = survey();
  EXPECT_THAT(coverage.timelines, IsEmpty());
  EXPECT_EQ(coverage.current_timeline(), nullptr);
}

TEST_F(Coverage, RangeGoesFromTheEndOfTheBackupToTheLastCommit) {
  add(kOne, 1, 9);
  request_.backups = {backup("A", kOne, 3, 3), backup("B", kOne, 5, 5)};
  const WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines, SizeIs(1));
  const TimelineCoverage& one = coverage.timelines[0];
  EXPECT_EQ(one.fork, TimelineFork::kRoot);
  ASSERT_THAT(one.recoverable, SizeIs(1));
  EXPECT_EQ(one.recoverable[0].from, minute(3));
  EXPECT_EQ(one.recoverable[0].from_lsn, at(3, 0x1000));
  EXPECT_EQ(one.recoverable[0].to, minute(9));
  EXPECT_EQ(one.recoverable[0].to_lsn, at(10));
  EXPECT_THAT(one.recoverable[0].backups, ElementsAre("A", "B"));
  EXPECT_THAT(one.broken, IsEmpty());
  EXPECT_THAT(one.gaps, IsEmpty());
  EXPECT_EQ(coverage.index_reads, 1u) << "only the end of the run needs to be looked at";
}

TEST_F(Coverage, GapBreaksRecoveryUntilTheNextBackup) {
  add(kOne, 1, 12);
  remove(kOne, 5, 6);
  request_.backups = {backup("A", kOne, 2, 2)};
  WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines[0].broken, SizeIs(1));
  BrokenRange broken = coverage.timelines[0].broken[0];
  EXPECT_TRUE(broken.needs_backup());
  EXPECT_EQ(broken.from, minute(4));
  EXPECT_EQ(broken.from_lsn, at(5));
  ASSERT_THAT(gaps(broken.gaps), ElementsAre(name(kOne, 5) + " 2"));
  EXPECT_EQ(broken.gaps[0].since, minute(4));
  EXPECT_TRUE(broken.gaps[0].since_is_commit);
  EXPECT_EQ(broken.gaps[0].end, at(7));
  EXPECT_EQ(coverage.timelines[0].recoverable[0].to, minute(4));

  request_.backups.push_back(backup("B", kOne, 9, 9));
  coverage = survey();
  broken = coverage.timelines[0].broken[0];
  EXPECT_FALSE(broken.needs_backup());
  EXPECT_EQ(broken.backup_after, "B");
  EXPECT_EQ(broken.to, minute(9));
  ASSERT_THAT(coverage.timelines[0].recoverable, SizeIs(2));
  EXPECT_EQ(coverage.timelines[0].recoverable[1].to, minute(12));
}

TEST_F(Coverage, WalThatARuleLetGoIsNoGap) {
  add(kOne, 1, 20);
  remove(kOne, 3, 4);    // Between A and B.
  remove(kOne, 12, 13);  // Behind B.
  request_.backups = {backup("A", kOne, 2, 2), backup("B", kOne, 5, 5), backup("C", kOne, 15, 15)};
  request_.expired = {{kOne, 15}};
  WalCoverage coverage = survey();
  EXPECT_THAT(coverage.timelines[0].gaps, IsEmpty());
  EXPECT_THAT(coverage.timelines[0].broken, IsEmpty());
  ASSERT_THAT(coverage.timelines[0].recoverable, SizeIs(3));
  EXPECT_EQ(coverage.timelines[0].recoverable[0].to, minute(2));
  // What lacks behind the place where WAL is whole is one, and so is what a backup itself needs.
  remove(kOne, 17, 17);
  remove(kOne, 5, 5);
  coverage = survey();
  EXPECT_THAT(gaps(coverage.timelines[0].gaps), ElementsAre(name(kOne, 3) + " 3", name(kOne, 17)));
  EXPECT_TRUE(coverage.needs_backup());
  // Of a timeline that is no longer kept whole anywhere, all of it.
  request_.expired = {{kOne, std::nullopt}};
  EXPECT_THAT(gaps(survey().timelines[0].gaps), ElementsAre(name(kOne, 3) + " 3"));
}

TEST_F(Coverage, BackupBehindTheGapLeavesTheGapShownAndNothingBroken) {
  add(kOne, 1, 9);
  remove(kOne, 3, 3);
  request_.backups = {backup("A", kOne, 5, 5)};
  const WalCoverage coverage = survey();
  EXPECT_THAT(coverage.timelines[0].broken, IsEmpty());
  EXPECT_THAT(gaps(coverage.timelines[0].gaps), ElementsAre(name(kOne, 3)));
}

TEST_F(Coverage, BackupWithoutItsOwnWalIsNamed) {
  add(kOne, 1, 4);
  BackupMeta unfinished = backup("A", kOne, 4, 4);
  unfinished.stop_lsn = at(6, 0x100);
  request_.backups = {unfinished};
  const WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines[0].broken_backups, SizeIs(1));
  EXPECT_EQ(coverage.timelines[0].broken_backups[0].label, "A");
  EXPECT_EQ(coverage.timelines[0].broken_backups[0].missing, name(kOne, 5));
  EXPECT_THAT(coverage.timelines[0].recoverable, IsEmpty());
  ASSERT_THAT(coverage.timelines[0].broken, SizeIs(1));
  EXPECT_TRUE(coverage.timelines[0].broken[0].needs_backup()) << "a backup that cannot be restored heals nothing";
}

TEST_F(Coverage, TreeTellsWhereAndWhyTimelinesFork) {
  add(kOne, 1, 9);
  add(kTwo, 4, 8);
  add(kThree, 4, 5);
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(4, 0x800), "before 2026-11-22 10:00:00+00"}}));
  wal_.add_history(TimelineHistory(kThree, {{kOne, at(4, 0x800), kPromoted}}));
  request_.backups = {backup("A", kOne, 2, 2)};
  const WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines, SizeIs(3));
  EXPECT_THAT(coverage.timelines[0].children, ElementsAre(kTwo, kThree));
  EXPECT_EQ(coverage.timelines[1].fork, TimelineFork::kTarget);
  EXPECT_EQ(coverage.timelines[2].fork, TimelineFork::kPromotion);
  EXPECT_EQ(coverage.timelines[1].parent, kOne);
  EXPECT_EQ(coverage.timelines[1].begin, at(4, 0x800));
  EXPECT_EQ(coverage.current, kThree);
  // One backup, three ways on.
  EXPECT_EQ(coverage.timelines[0].recoverable[0].to, minute(9));
  EXPECT_EQ(coverage.timelines[1].recoverable[0].to, minute(8));
  EXPECT_EQ(coverage.timelines[2].recoverable[0].to, minute(5));
}

TEST_F(Coverage, ChainOfForksIsOneWay) {
  add(kOne, 1, 3);
  add(kTwo, 3, 6);
  add(kThree, 6, 9);
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(3, 0x800), kPromoted}}));
  wal_.add_history(TimelineHistory(kThree, {{kOne, at(3, 0x800), kPromoted}, {kTwo, at(6, 0x800), kPromoted}}));
  request_.backups = {backup("A", kOne, 1, 1)};
  const WalCoverage coverage = survey();
  for (const TimelineCoverage& one : coverage.timelines) EXPECT_THAT(one.gaps, IsEmpty()) << one.timeline.value;
  EXPECT_EQ(coverage.current_timeline()->recoverable[0].to, minute(9));

  // A hole on the way concerns the timelines behind it, and is told once, where it belongs.
  remove(kTwo, 4, 5);
  const WalCoverage holed = survey();
  EXPECT_THAT(holed.timelines[0].broken, IsEmpty());
  ASSERT_THAT(holed.timelines[2].broken, SizeIs(1));
  EXPECT_THAT(gaps(holed.timelines[2].broken[0].gaps), ElementsAre(name(kTwo, 4) + " 2"));
  EXPECT_THAT(gaps(holed.timelines[1].gaps), ElementsAre(name(kTwo, 4) + " 2"));
  EXPECT_THAT(holed.timelines[2].gaps, IsEmpty());
}

TEST_F(Coverage, TimelineThatNoBackupLeadsToNeedsOne) {
  add(kOne, 1, 9);
  add(kTwo, 4, 8);
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(4, 0x800), "after transaction 7"}}));
  EXPECT_FALSE(survey().needs_backup()) << "there is none at all, which is told elsewhere";
  request_.backups = {backup("behind the switch", kOne, 6, 6)};
  EXPECT_TRUE(survey().needs_backup());
  request_.current = kOne;
  EXPECT_FALSE(survey().needs_backup());
  request_.current = kTwo;
  request_.backups.push_back(backup("own", kTwo, 7, 7));
  EXPECT_FALSE(survey().needs_backup());
}

TEST_F(Coverage, WhatTheParentLostBehindTheSwitchIsNoGapOfTheChild) {
  add(kOne, 1, 9);
  remove(kOne, 6, 7);
  add(kTwo, 4, 8);
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(4, 0x800), "after transaction 7"}}));
  request_.backups = {backup("A", kOne, 2, 2)};
  const WalCoverage coverage = survey();
  EXPECT_THAT(gaps(coverage.timelines[0].gaps), ElementsAre(name(kOne, 6) + " 2"));
  EXPECT_THAT(coverage.timelines[0].broken, SizeIs(1));
  EXPECT_THAT(coverage.timelines[1].broken, IsEmpty());
  EXPECT_THAT(coverage.timelines[1].gaps, IsEmpty());
  EXPECT_EQ(coverage.timelines[1].recoverable[0].to, minute(8));
}

TEST_F(Coverage, WhatTheParentLostBeforeTheSwitchBreaksTheChild) {
  add(kOne, 1, 3);  // The old primary died with 4 and 5.
  add(kTwo, 6, 8);
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(6, 0x800), kPromoted}}));
  request_.backups = {backup("A", kOne, 2, 2)};
  request_.partials = {name(kOne, 6) + ".partial"};
  const WalCoverage coverage = survey();
  EXPECT_THAT(gaps(coverage.timelines[0].gaps), ElementsAre(name(kOne, 4) + " 2"));
  EXPECT_THAT(coverage.timelines[0].partials, ElementsAre(name(kOne, 6) + ".partial"));
  ASSERT_THAT(coverage.timelines[1].broken, SizeIs(1));
  EXPECT_TRUE(coverage.timelines[1].broken[0].needs_backup());
  EXPECT_EQ(coverage.timelines[1].broken[0].from, minute(3));
}

TEST_F(Coverage, ChildWhoseFirstSegmentHasNotArrivedReadsItsParents) {
  add(kOne, 1, 5);
  // The switch lies before the commit in the middle of segment 5.
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(5, 0x800), kPromoted}}));
  request_.backups = {backup("A", kOne, 2, 2)};
  WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines, SizeIs(2));
  EXPECT_THAT(coverage.timelines[1].gaps, IsEmpty());
  EXPECT_THAT(coverage.timelines[1].broken, IsEmpty());
  EXPECT_EQ(coverage.timelines[1].recoverable[0].to_lsn, at(5, 0x800));
  EXPECT_EQ(coverage.timelines[1].recoverable[0].to, minute(4));

  // Once a later one is there, the first one is missing.
  add(kTwo, 6, 6);
  coverage = survey();
  ASSERT_THAT(coverage.timelines[1].broken, SizeIs(1));
  EXPECT_THAT(gaps(coverage.timelines[1].gaps), ElementsAre(name(kTwo, 5)));
}

TEST_F(Coverage, SwitchAtTheStartOfASegmentNeedsTheWholeParent) {
  add(kOne, 1, 4);
  add(kTwo, 5, 6);
  wal_.add_history(TimelineHistory(kTwo, {{kOne, at(5), kPromoted}}));
  request_.backups = {backup("A", kOne, 2, 2)};
  EXPECT_THAT(survey().timelines[1].broken, IsEmpty());
  remove(kOne, 4, 4);
  EXPECT_THAT(gaps(survey().timelines[1].broken.at(0).gaps), ElementsAre(name(kOne, 4)));
}

TEST_F(Coverage, DamagedSegmentsCountAsGapsWithTheirReason) {
  add(kOne, 1, 9);
  remove(kOne, 5, 5);
  wal_.damage({kOne, 4});
  cut_short(kOne, 3);
  request_.backups = {backup("A", kOne, 1, 1)};
  const WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines[0].broken, SizeIs(1));
  const auto& list = coverage.timelines[0].broken[0].gaps;
  EXPECT_THAT(gaps(list), ElementsAre(name(kOne, 3) + "!", name(kOne, 4) + "!", name(kOne, 5)));
  EXPECT_THAT(list[0].damage, HasSubstr("wrong CRC"));
  EXPECT_EQ(coverage.timelines[0].broken[0].from, minute(2));
}

TEST_F(Coverage, RepositoryNothingOfWhichCanBeReadIsNotReadWhole) {
  add(kOne, 1, 2000);
  for (uint64_t number = 1; number <= 2000; ++number) wal_.damage({kOne, number});
  request_.backups = {backup("A", kOne, 1, 1)};
  const WalCoverage coverage = survey();
  EXPECT_LE(coverage.index_reads, 400u);
  ASSERT_THAT(coverage.timelines[0].broken, SizeIs(1));
  EXPECT_TRUE(coverage.timelines[0].broken[0].needs_backup());
}

TEST_F(Coverage, LastSegmentMayEndEarly) {
  add(kOne, 1, 3);
  cut_short(kOne, 4);
  request_.backups = {backup("A", kOne, 1, 1)};
  const WalCoverage coverage = survey();
  EXPECT_THAT(coverage.timelines[0].gaps, IsEmpty());
  EXPECT_EQ(coverage.timelines[0].end, at(4, 0x2000));
  EXPECT_EQ(coverage.timelines[0].recoverable[0].to, minute(3)) << "the commit is further back";
}

TEST_F(Coverage, KnownDamageInTheMiddleOfARunIsAGap) {
  add(kOne, 1, 9);
  request_.damaged[{kOne, 5}] = "frame 3 has a wrong tag";
  request_.backups = {backup("A", kOne, 1, 1)};
  EXPECT_THAT(gaps(survey().timelines[0].gaps), ElementsAre(name(kOne, 5) + "!"));
}

TEST_F(Coverage, WalGivenUpOnPurposeIsBrokenBeforeAnythingFollows) {
  add(kOne, 1, 5);
  request_.backups = {backup("A", kOne, 2, 2)};
  request_.given_up = {{{kOne, 6}, {kOne, 8}, "archive-push-queue-max"}};
  const WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines[0].broken, SizeIs(1));
  EXPECT_THAT(gaps(coverage.timelines[0].broken[0].gaps), ElementsAre(name(kOne, 6) + " 3"));
  EXPECT_EQ(coverage.timelines[0].broken[0].gaps[0].dropped, "archive-push-queue-max");
}

TEST_F(Coverage, WithoutACommitTheTimeOfStoringTells) {
  wal_.add_empty(kOne, 1, 3);
  wal_.add_empty(kOne, 5, 6);
  request_.backups = {backup("A", kOne, 1, 1)};
  request_.stored_at = [](const WalSegment& segment) -> Result<std::optional<Timestamp>> {
    EXPECT_EQ(segment.number, 3u);
    return minute(77);
  };
  const WalCoverage coverage = survey();
  EXPECT_EQ(coverage.timelines[0].gaps.at(0).since, minute(77));
  EXPECT_FALSE(coverage.timelines[0].gaps.at(0).since_is_commit);
  EXPECT_FALSE(coverage.timelines[0].recoverable[0].to.has_value()) << "nothing was committed after the backup";
}

TEST_F(Coverage, MissingHistoryIsTold) {
  add(kOne, 1, 3);
  add(kTwo, 3, 4);
  const WalCoverage coverage = survey();
  EXPECT_FALSE(coverage.timelines[0].history_missing);
  EXPECT_TRUE(coverage.timelines[1].history_missing);
}

TEST_F(Coverage, AncestorsWithoutAFileAreKnownFromDescendants) {
  add(kOne, 1, 2);
  add(kThree, 4, 5);
  wal_.add_history(TimelineHistory(kThree, {{kOne, at(2, 0x800), kPromoted}, {kTwo, at(4, 0x800), kPromoted}}));
  request_.backups = {backup("A", kOne, 1, 1)};
  const WalCoverage coverage = survey();
  ASSERT_THAT(coverage.timelines, SizeIs(3));
  EXPECT_EQ(coverage.timelines[1].parent, kOne);
  EXPECT_THAT(gaps(coverage.timelines[1].gaps), ElementsAre(name(kTwo, 2) + " 2"));
}

TEST_F(Coverage, StoreFailureIsAnErrorAndNotAGap) {
  class Failing final : public WalCatalog {
   public:
    uint32_t segment_bytes() const override { return kSegment; }
    bool has(const WalSegment&) const override { return true; }
    std::vector<uint64_t> segments_of(TimelineId) const override { return {1, 2}; }
    std::vector<TimelineId> timelines() const override { return {kOne}; }
    const std::vector<TimelineHistory>& histories() const override { return histories_; }
    Result<pg::WalIndex> index(const WalSegment&, const pg::WalIndex*) override {
      return Error(Errc::kTransient, "read: connection reset");
    }
    Result<std::vector<pg::WalTransactionEnd>> transaction_ends(const WalSegment&, const pg::WalIndex*) override {
      return Error(Errc::kTransient, "read: connection reset");
    }

   private:
    std::vector<TimelineHistory> histories_;
  } failing;
  const auto result = wal_coverage(failing, request_);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Errc::kTransient);
}

}  // namespace
}  // namespace pgark
