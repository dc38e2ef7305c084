#include "catalog/timeline_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/fake_wal_catalog.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using testing::FakeWalCatalog;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::sample_wal_index;
using ::testing::SizeIs;

constexpr uint32_t kSegmentBytes = 16u << 20;
constexpr Timestamp kNoon{std::chrono::sys_days{std::chrono::year{2026} / 11 / 22} + std::chrono::hours(12)};
constexpr pg::WalRelation kOrders{1663, 5, 16390};
constexpr pg::WalRelation kOrdersNew{1663, 5, 16402};

Timestamp at(int seconds) { return kNoon + std::chrono::seconds(seconds); }
pg::WalSegment segment(uint64_t number, uint32_t timeline = 1) { return {TimelineId{timeline}, number}; }
Lsn lsn(uint64_t number, uint64_t offset) { return Lsn{number * kSegmentBytes + offset}; }

pg::WalTransactionEnd end_of(uint32_t xid, Lsn where, Timestamp time, bool aborted = false) {
  pg::WalTransactionEnd end;
  end.lsn = where;
  end.end = Lsn{where.bytes + 64};
  end.time = time;
  end.xid = Xid{xid};
  end.aborted = aborted;
  return end;
}

pg::WalEvent event(pg::WalEventKind kind, uint32_t xid, Lsn where, pg::WalRelation relation, uint32_t count = 0,
                   Timestamp time = {}) {
  return {kind, where, time, Xid{xid}, relation, count};
}

/// A segment in which these transactions ended and these events happened.
void add(FakeWalCatalog& wal, uint64_t number, const std::vector<pg::WalTransactionEnd>& ends,
         std::vector<pg::WalEvent> events = {}) {
  pg::WalIndex index = sample_wal_index(segment(number), kSegmentBytes, ends);
  index.events = std::move(events);
  wal.add(std::move(index), ends);
}

std::vector<TimelineEntry> report(FakeWalCatalog& wal, TimelineReportOptions options = {}) {
  auto made = report_timeline(wal, options);
  EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().to_string());
  return made ? std::move(made->entries) : std::vector<TimelineEntry>();
}

std::vector<TimelineEntry> only(TimelineKind kind, FakeWalCatalog& wal) {
  TimelineReportOptions options;
  options.kinds = {kind};
  return report(wal, options);
}

TEST(TimelineReport, CountsCommitsOfAMinuteAcrossSegments) {
  FakeWalCatalog wal;
  add(wal, 1, {end_of(10, lsn(1, 100), at(1)), end_of(11, lsn(1, 200), at(2), true)});
  add(wal, 2, {end_of(12, lsn(2, 100), at(59)), end_of(13, lsn(2, 200), at(61))});
  const auto entries = only(TimelineKind::kCommits, wal);
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].time, at(0));
  EXPECT_EQ(entries[0].count, 2u);
  EXPECT_EQ(entries[0].abort_count, 1u);
  EXPECT_EQ(entries[1].time, at(60));
  EXPECT_EQ(entries[1].count, 1u);
}

TEST(TimelineReport, TellsADropOfSeveralFilesOnce) {
  FakeWalCatalog wal;
  const pg::WalRelation index{1663, 5, 16395};
  add(wal, 1, {end_of(10, lsn(1, 500), at(1))},
      {event(pg::WalEventKind::kDrop, 10, lsn(1, 500), kOrders, 0, at(1)),
       event(pg::WalEventKind::kDrop, 10, lsn(1, 500), index, 0, at(1))});
  const auto entries = only(TimelineKind::kDrop, wal);
  ASSERT_THAT(entries, SizeIs(1));
  EXPECT_THAT(entries[0].relations, ElementsAre(kOrders, index));
  EXPECT_EQ(entries[0].xid, Xid{10});
  EXPECT_EQ(entries[0].lsn, lsn(1, 500));
  EXPECT_EQ(entries[0].time, at(1));
}

TEST(TimelineReport, TellsTruncateFromDropAndRewriteByWhatWasWrittenBefore) {
  for (const auto& [blocks, kind] :
       std::vector<std::pair<uint32_t, TimelineKind>>{{0, TimelineKind::kTruncate}, {500, TimelineKind::kRewrite}}) {
    FakeWalCatalog wal;
    // Created in one segment, committed in the next.
    add(wal, 1, {}, {event(pg::WalEventKind::kCreate, 10, lsn(1, 400), kOrdersNew, blocks)});
    add(wal, 2, {end_of(10, lsn(2, 500), at(1))}, {event(pg::WalEventKind::kDrop, 10, lsn(2, 500), kOrders, 0, at(1))});
    const auto entries = only(kind, wal);
    ASSERT_THAT(entries, SizeIs(1));
    EXPECT_THAT(entries[0].relations, ElementsAre(kOrders));
    EXPECT_THAT(entries[0].replaced_by, ElementsAre(kOrdersNew));
    EXPECT_THAT(only(TimelineKind::kDrop, wal), IsEmpty());
  }
}

TEST(TimelineReport, SumsDeletesOverSegmentsAndDatesThemByTheCommit) {
  FakeWalCatalog wal;
  add(wal, 1, {}, {event(pg::WalEventKind::kDelete, 10, lsn(1, 100), kOrders, 600)});
  add(wal, 2, {}, {event(pg::WalEventKind::kDelete, 10, lsn(2, 100), kOrders, 700)});
  add(wal, 3, {end_of(10, lsn(3, 300), at(5))});
  const auto entries = only(TimelineKind::kDelete, wal);
  ASSERT_THAT(entries, SizeIs(1));
  EXPECT_EQ(entries[0].count, 1300u);
  EXPECT_EQ(entries[0].time, at(5));
  EXPECT_EQ(entries[0].lsn, lsn(3, 300));
}

TEST(TimelineReport, LeavesOutWhatWasRolledBackOrIsSmall) {
  FakeWalCatalog wal;
  add(wal, 1, {end_of(10, lsn(1, 300), at(5), true), end_of(11, lsn(1, 400), at(6))},
      {event(pg::WalEventKind::kDelete, 10, lsn(1, 100), kOrders, 5000),
       event(pg::WalEventKind::kDelete, 11, lsn(1, 200), kOrders, 999)});
  EXPECT_THAT(only(TimelineKind::kDelete, wal), IsEmpty());
}

TEST(TimelineReport, CountsDeletesOfSubtransactionsToTheirParent) {
  FakeWalCatalog wal;
  auto end = end_of(10, lsn(1, 300), at(5));
  end.subxids = {Xid{11}};
  add(wal, 1, {end},
      {event(pg::WalEventKind::kDelete, 10, lsn(1, 100), kOrders, 600),
       event(pg::WalEventKind::kDelete, 11, lsn(1, 200), kOrders, 600)});
  const auto entries = only(TimelineKind::kDelete, wal);
  ASSERT_THAT(entries, SizeIs(1));
  EXPECT_EQ(entries[0].count, 1200u);
  EXPECT_EQ(entries[0].xid, Xid{10});
}

TEST(TimelineReport, ShowsOnlyTheTimeAskedForAndReadsLittleMore) {
  FakeWalCatalog wal;
  // A segment every ten minutes for four days.
  for (uint64_t i = 0; i < 576; ++i) {
    const Timestamp time = at(static_cast<int>(i) * 600);
    add(wal, i + 1, {end_of(static_cast<uint32_t>(100 + i), lsn(i + 1, 100), time)});
  }
  TimelineReportOptions options;
  options.since = at(571 * 600);
  options.until = at(573 * 600);
  const auto entries = report(wal, options);
  ASSERT_THAT(entries, SizeIs(3));
  EXPECT_EQ(entries.front().time, at(571 * 600));
  EXPECT_LT(wal.index_reads(), 100u);
  EXPECT_EQ(wal.segment_reads(), 0u);

  // By default the last day.
  EXPECT_THAT(report(wal), SizeIs(145));
}

TEST(TimelineReport, FindsAnEventAfterTheClockJumpedBack) {
  FakeWalCatalog wal;
  add(wal, 1, {end_of(10, lsn(1, 100), at(7200))});
  add(wal, 2, {end_of(11, lsn(2, 100), at(3600))},
      {event(pg::WalEventKind::kDrop, 11, lsn(2, 100), kOrders, 0, at(3600))});
  TimelineReportOptions options;
  options.since = at(3000);
  options.until = at(4000);
  options.kinds = {TimelineKind::kDrop};
  EXPECT_THAT(report(wal, options), SizeIs(1));
}

TEST(TimelineReport, NamesGapsAndGoesOnBehindThem) {
  FakeWalCatalog wal;
  for (uint64_t number = 1; number <= 6; ++number) {
    add(wal, number, {end_of(static_cast<uint32_t>(number), lsn(number, 100), at(static_cast<int>(number)))});
  }
  wal.remove(segment(3));
  wal.remove(segment(4));
  const auto gaps = only(TimelineKind::kGap, wal);
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps[0].name, "000000010000000000000003");
  EXPECT_EQ(gaps[0].count, 2u);
  uint64_t commits = 0;
  for (const auto& entry : only(TimelineKind::kCommits, wal)) commits += entry.count;
  EXPECT_EQ(commits, 4u);
}

TEST(TimelineReport, FollowsTheHistoryAndShowsForks) {
  FakeWalCatalog wal;
  add(wal, 1, {end_of(10, lsn(1, 100), at(1))});
  // Of timeline 1 after it was left.
  add(wal, 2, {end_of(11, lsn(2, 100), at(2)), end_of(12, lsn(2, 200), at(3))});
  add(wal, 3, {end_of(13, lsn(3, 100), at(4))});
  const pg::TimelineHistory history(TimelineId{2}, {{TimelineId{1}, lsn(2, 50), "before the accident"}});
  wal.add_history(history);
  wal.add(segment(2, 2), {end_of(20, lsn(2, 150), at(5))});
  TimelineReportOptions options;
  options.history = history;
  options.kinds = {TimelineKind::kFork, TimelineKind::kCommits};
  const auto entries = report(wal, options);
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].kind, TimelineKind::kCommits);
  EXPECT_EQ(entries[0].count, 2u);
  EXPECT_EQ(entries[1].kind, TimelineKind::kFork);
  EXPECT_EQ(entries[1].timeline, TimelineId{2});
  EXPECT_EQ(entries[1].name, "before the accident");
}

TEST(TimelineReport, SaysThatATimelineHasNoWal) {
  FakeWalCatalog wal;
  const auto made = report_timeline(wal, {});
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code(), Errc::kNotFound);
  EXPECT_THAT(made.error().message(), HasSubstr("timeline 1"));
}

TEST(TimelineReport, KnowsItsKindsByName) {
  for (int kind = 0; kind <= static_cast<int>(TimelineKind::kGap); ++kind) {
    const auto name = timeline_kind_name(static_cast<TimelineKind>(kind));
    const auto parsed = parse_timeline_kind(name);
    ASSERT_TRUE(parsed.has_value()) << name;
    EXPECT_EQ(static_cast<int>(*parsed), kind);
  }
  EXPECT_FALSE(parse_timeline_kind("dropped").has_value());
}

}  // namespace
}  // namespace pgark
