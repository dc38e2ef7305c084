// Records that lie in two segments or more, and segments that do not follow each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pg/wal_index.h"
#include "testing/wal_records.h"

namespace pgark::pg {
namespace {

using pgark::testing::End;
using pgark::testing::end_record;
using pgark::testing::sample_bytes;
using pgark::testing::SampleRecord;
using pgark::testing::touch;
using pgark::testing::WalBuilder;
using pgark::testing::WalBuilderOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr WalRelation kTable{kDefaultTablespaceOid, 5, 16384};
constexpr WalRelation kOther{kDefaultTablespaceOid, 5, 16385};
constexpr WalFork kMain{kTable, Fork::kMain};
constexpr int64_t kNoonPg = pgark::testing::kSampleNoonPg;
constexpr Timestamp kNoon = pgark::testing::kSampleNoon;

WalSegment segment_of(const WalBuilderOptions& options, uint64_t index) {
  return {options.timeline, options.start.bytes / options.segment_bytes + index};
}

Bytes segment_bytes_of(WalBuilder& wal, uint64_t index) {
  const size_t bytes = wal.options().segment_bytes;
  return Bytes(wal.bytes()).subspan(index * bytes, bytes);
}

std::vector<uint32_t> blocks_of(const WalIndex& index, const WalFork& fork) {
  const auto found = index.changes.find(fork);
  return found == index.changes.end() ? std::vector<uint32_t>{} : found->second.blocks;
}
std::optional<uint32_t> limit_of(const WalIndex& index, const WalFork& fork) {
  const auto found = index.changes.find(fork);
  return found == index.changes.end() ? std::nullopt : found->second.limit_block;
}

/// Segments of a builder, their indexes alone, and joined in both ways.
class Joined : public ::testing::Test {
 protected:
  /// A segment filled up so that `room_bytes` are left of it.
  static void fill(WalBuilder& wal, size_t room_bytes) {
    const size_t segment = wal.options().segment_bytes;
    const size_t page = wal.options().block_bytes;
    const auto position = [&] { return (wal.bytes().size() + 7) / 8 * 8 % segment; };
    const auto left = [&] { return segment - position(); };
    while (left() > 2 * page) wal.add_bytes(4096);
    // One record up to there, over the headers of the pages that begin on the way.
    const size_t target = segment - room_bytes;
    const size_t headers = (target + page - 1) / page - (position() + page - 1) / page;
    wal.add_bytes(target - position() - 24 * headers);
    ASSERT_EQ(left(), room_bytes);
  }

  static Result<WalIndex> alone(WalBuilder& wal, uint64_t index) {
    return make_wal_index(segment_bytes_of(wal, index), segment_of(wal.options(), index));
  }

  /// Indexes of all segments, each completed with the one before; both ways of completing give the same.
  static void join_all(WalBuilder& wal, std::vector<WalIndex>& out) {
    const size_t count = wal.bytes().size() / wal.options().segment_bytes;
    for (size_t i = 0; i < count; ++i) {
      auto index = alone(wal, i);
      ASSERT_TRUE(index.has_value()) << index.error().to_string();
      EXPECT_EQ(index->is_joined, index->continuation_bytes == 0 || index->continuation_overwritten);
      if (i > 0) {
        const WalIndex& before = out.back();
        const WalFragment* fragment = before.fragment ? &*before.fragment : nullptr;
        auto anew = make_wal_index(segment_bytes_of(wal, i), segment_of(wal.options(), i), fragment);
        ASSERT_TRUE(anew.has_value()) << anew.error().to_string();
        ASSERT_TRUE(complete_wal_index(before, *anew).has_value());
        const auto completed = complete_wal_index(before, *index);
        if (!completed) {
          ASSERT_EQ(completed.error().code(), Errc::kNotFound) << completed.error().to_string();
          EXPECT_GT(index->continuation_bytes, kWalContinuationKeptMax);
          index = std::move(*anew);
        } else {
          EXPECT_EQ(*index, *anew);
        }
        EXPECT_TRUE(index->is_joined);
      }
      const auto decoded = decode_wal_index(encode_wal_index(*index));
      ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
      EXPECT_EQ(*decoded, *index);
      out.push_back(std::move(*index));
    }
  }
};

TEST_F(Joined, RecordCountsWhereverTheSegmentEndsInIt) {
  const End end{.xid = Xid{900},
                .subxids = {901, 902},
                .dropped = {kTable, kOther, {1663, 5, 7}},
                .invalidations = 60};  // Longer than a record's headers can be.
  const size_t total = pgark::testing::encode_record(end_record(end), Lsn{8}, PgMajor{15}).size();
  for (size_t room = 8; room < total; room += room < 64 ? 8 : 88) {
    SCOPED_TRACE(room);
    WalBuilder wal;
    wal.add(touch(kTable, 1));
    fill(wal, room);
    const Lsn lsn = wal.add(end_record(end));
    wal.add(touch(kTable, 2));
    wal.add(end_record({.xid = Xid{920}, .time = kNoonPg + 1}));
    wal.add_switch();
    std::vector<WalIndex> indexes;
    join_all(wal, indexes);
    ASSERT_THAT(indexes, SizeIs(2));
    EXPECT_FALSE(indexes[0].has_ends);
    ASSERT_TRUE(indexes[1].first_commit.has_value());
    EXPECT_EQ(indexes[1].first_commit->lsn, lsn);
    EXPECT_EQ(indexes[1].last_commit->xid, Xid{920});
    EXPECT_THAT(indexes[1].minutes, ElementsAre(WalMinute{kNoon, 2, 0}));
    EXPECT_EQ(indexes[1].xid_first, Xid{900});
    EXPECT_EQ(limit_of(indexes[1], kMain), 0u);
    EXPECT_THAT(blocks_of(indexes[1], kMain), ElementsAre(2));
    EXPECT_THAT(indexes[1].events, SizeIs(3));
    const auto ends =
        read_transaction_ends(segment_bytes_of(wal, 1), segment_of(wal.options(), 1), &*indexes[0].fragment);
    ASSERT_TRUE(ends && ends->size() == 2);
    EXPECT_EQ((*ends)[0].subxids, (std::vector{Xid{901}, Xid{902}}));
    EXPECT_EQ(static_cast<const WalCommit&>((*ends)[0]), *indexes[1].first_commit);  // Its end, too.
  }
}

TEST_F(Joined, RecordOverManySegmentsCountsInTheLast) {
  WalBuilder wal;
  fill(wal, 4000);
  SampleRecord record = touch(kTable, 77);
  record.main_data = sample_bytes(size_t{5} << 19);
  const Lsn lsn = wal.add(record);
  wal.add(touch(kTable, 78));
  fill(wal, 800);
  record.main_data = sample_bytes(2000);
  record.blocks[0].ref.block = 79;
  wal.add(record);
  wal.add_switch();
  std::vector<WalIndex> indexes;
  join_all(wal, indexes);
  ASSERT_THAT(indexes, SizeIs(5));
  EXPECT_LT(encode_wal_index(indexes[1]).size(), 4000u);  // Nobody needs its main data.
  for (const size_t middle : {1u, 2u}) {
    EXPECT_TRUE(indexes[middle].continuation_reaches_end);
    EXPECT_EQ(indexes[middle].record_count, 0u);
    ASSERT_TRUE(indexes[middle].fragment.has_value());
    EXPECT_EQ(indexes[middle].fragment->lsn(), lsn);
    EXPECT_THAT(indexes[middle].changes, IsEmpty());
  }
  EXPECT_THAT(blocks_of(indexes[3], kMain), ElementsAre(77, 78));
  EXPECT_THAT(blocks_of(indexes[4], kMain), ElementsAre(79));
}

TEST_F(Joined, RecordOfUnknownBeginningStaysUnknown) {
  WalBuilder wal;
  fill(wal, 4000);
  SampleRecord record = touch(kTable, 77);
  record.main_data = sample_bytes(size_t{3} << 19);
  wal.add(record);
  wal.add(touch(kTable, 78));
  wal.add_switch();
  const WalIndex middle = alone(wal, 1).value();
  WalIndex last = alone(wal, 2).value();
  EXPECT_TRUE(middle.continuation_reaches_end && !middle.is_joined);
  ASSERT_TRUE(complete_wal_index(middle, last).has_value());
  EXPECT_FALSE(last.is_joined);
  EXPECT_THAT(blocks_of(last, kMain), ElementsAre(78));
}

TEST_F(Joined, RecordGivenUpByTheServerDoesNotCount) {
  for (const size_t pages : {1u, 2u, 3u}) {  // Given up at the segment's end, or some pages into the next.
    SCOPED_TRACE(pages);
    WalBuilder wal;
    fill(wal, 400);
    SampleRecord lost = end_record({.xid = Xid{900}, .dropped = {kTable}});
    lost.main_data.resize(60000);
    wal.add_given_up(lost, pages);
    wal.set_prev(wal.prev());
    wal.add_notice();
    wal.add(touch(kTable, 3));
    wal.add_switch();
    std::vector<WalIndex> indexes;
    join_all(wal, indexes);
    ASSERT_THAT(indexes, SizeIs(2));
    EXPECT_TRUE(indexes[0].fragment.has_value());
    EXPECT_TRUE(indexes[1].continuation_overwritten);
    EXPECT_FALSE(indexes[1].has_ends);
    EXPECT_EQ(limit_of(indexes[1], kMain), std::nullopt);
    EXPECT_THAT(blocks_of(indexes[1], kMain), ElementsAre(3));
  }
}

TEST_F(Joined, SwitchRecordThatCrossesMakesTheNextSegmentComplete) {
  WalBuilder wal;
  fill(wal, 8);
  wal.add_switch();
  wal.add(touch(kTable, 3));
  wal.add_switch();
  EXPECT_FALSE(alone(wal, 1)->is_complete());  // Who does not know what crosses in sees zeros.
  std::vector<WalIndex> indexes;
  join_all(wal, indexes);
  ASSERT_THAT(indexes, SizeIs(3));
  EXPECT_TRUE(indexes[1].is_complete());
  EXPECT_EQ(indexes[1].valid_to, segment_end(indexes[1].segment, indexes[1].segment_bytes));
}

TEST_F(Joined, FirstSegmentOfATimelineJoinsItsParents) {
  WalBuilder wal;
  fill(wal, 160);
  wal.add(
      end_record({.xid = Xid{10}, .subxids = {11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27}}));
  wal.add(end_record({.xid = Xid{10}, .invalidations = 20}));
  wal.add(end_record({.xid = Xid{30}}));
  wal.set_timeline(TimelineId{2});  // The page the parent's WAL ends in stays the parent's.
  wal.add_bytes(10000);
  wal.add(end_record({.xid = Xid{31}}));
  wal.add_switch();
  const WalIndex parent = alone(wal, 0).value();
  auto child = make_wal_index(segment_bytes_of(wal, 1), {TimelineId{2}, parent.segment.number + 1});
  ASSERT_TRUE(child.has_value());
  EXPECT_TRUE(child->is_complete()) << child->end_reason;
  EXPECT_EQ(child->first_timeline, TimelineId{1});
  EXPECT_EQ(child->last_timeline, TimelineId{2});
  ASSERT_TRUE(complete_wal_index(parent, *child).has_value());
  EXPECT_EQ(child->first_commit->xid, Xid{10});
  EXPECT_EQ(child->last_commit->xid, Xid{31});
  auto as_parent = make_wal_index(segment_bytes_of(wal, 1), {TimelineId{1}, parent.segment.number + 1});
  ASSERT_TRUE(as_parent.has_value());
  EXPECT_THAT(as_parent->end_reason, HasSubstr("page_timeline"));
}

TEST_F(Joined, SegmentsThatDoNotFollowEachOtherAreRefused) {
  WalBuilder wal;
  fill(wal, 160);
  wal.add(end_record({.xid = Xid{10}, .invalidations = 20}));
  wal.add(touch(kTable, 1));
  wal.add_switch();
  wal.add(touch(kTable, 2));
  wal.add_switch();
  const WalIndex first = alone(wal, 0).value();
  const WalIndex second = alone(wal, 1).value();
  const WalIndex third = alone(wal, 2).value();
  const auto refuse = [](const WalIndex& before, WalIndex index, std::string_view why) {
    const auto completed = complete_wal_index(before, index);
    ASSERT_FALSE(completed.has_value()) << why;
    EXPECT_EQ(completed.error().code(), Errc::kCorrupt);
    EXPECT_THAT(completed.error().message(), HasSubstr(std::string(why)));
  };
  refuse(first, third, "does not join the one before: that is");
  refuse(third, second, "that is");
  WalIndex other = first;
  other.system_id = 7;
  refuse(other, second, "of system 7");
  other = first;
  other.fragment.reset();
  other.last_record = second.first_record_prev;
  refuse(other, second, "continues a record where none is open");
  other = second;
  other.last_record = Lsn{8};
  refuse(other, third, "expected 0/8");
  other = first;
  other.end_reason = "crc: damaged";
  refuse(other, second, "crc: damaged");
  other = second;
  other.continuation_bytes += 8;
  refuse(first, other, "lacks");
  other = second;
  other.continuation.back() ^= std::byte{1};
  refuse(first, other, "wrong CRC");
  other = third;
  other.first_record_prev = first.fragment->lsn();
  WalIndex open = second;
  open.fragment = first.fragment;
  refuse(open, other, "does not continue the record");
}

}  // namespace
}  // namespace pgark::pg
