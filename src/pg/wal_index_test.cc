// Each rule of what a record means for an index, held against made-up WAL.
#include "pg/wal_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/clock.h"
#include "testing/wal_records.h"

namespace pgark::pg {
namespace {

using pgark::testing::block_ref;
using pgark::testing::create;
using pgark::testing::End;
using pgark::testing::end_record;
using pgark::testing::sample_bytes;
using pgark::testing::SampleRecord;
using pgark::testing::touch;
using pgark::testing::truncate;
using pgark::testing::WalBuilder;
using pgark::testing::WalBuilderOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr WalRelation kTable{kDefaultTablespaceOid, 5, 16384};
constexpr WalRelation kOther{kDefaultTablespaceOid, 5, 16385};
constexpr WalFork kMain{kTable, Fork::kMain};
constexpr WalFork kMap{kTable, Fork::kVisibilityMap};
constexpr uint32_t kHeapPerMapPage = 32672;
constexpr int64_t kNoonPg = pgark::testing::kSampleNoonPg;
constexpr Timestamp kNoon = pgark::testing::kSampleNoon;

WalSegment segment_of(const WalBuilderOptions& options, uint64_t index = 0) {
  return {options.timeline, options.start.bytes / options.segment_bytes + index};
}

Bytes segment_bytes_of(WalBuilder& wal, uint64_t index) {
  const size_t bytes = wal.options().segment_bytes;
  return Bytes(wal.bytes()).subspan(index * bytes, bytes);
}

/// The index of the builder's first segment, which is switched first.
WalIndex index_of(WalBuilder& wal) {
  wal.add_switch();
  auto index = make_wal_index(segment_bytes_of(wal, 0), segment_of(wal.options()));
  EXPECT_TRUE(index.has_value()) << index.error().to_string();
  EXPECT_TRUE(index->is_complete()) << index->end_reason;
  return std::move(*index);
}

std::vector<uint32_t> blocks_of(const WalIndex& index, const WalFork& fork) {
  const auto found = index.changes.find(fork);
  return found == index.changes.end() ? std::vector<uint32_t>{} : found->second.blocks;
}
std::optional<uint32_t> limit_of(const WalIndex& index, const WalFork& fork) {
  const auto found = index.changes.find(fork);
  return found == index.changes.end() ? std::nullopt : found->second.limit_block;
}

TEST(WalIndex, ListsChangedBlocksOfAllForksButFreeSpaceMaps) {
  WalBuilder wal;
  wal.add(touch(kTable, 7));
  wal.add(touch(kTable, 3));
  wal.add(touch(kTable, 7));
  wal.add(touch(kTable, 1, Fork::kVisibilityMap));
  wal.add(touch(kTable, 0, Fork::kInit));
  wal.add(touch(kTable, 9, Fork::kFreeSpaceMap));
  SampleRecord many{.rmgr = wal_rmgr::kGin, .blocks = {block_ref(0, kOther, 4), block_ref(2, kTable, 0xffff'fffe)}};
  wal.add(many);
  const WalIndex index = index_of(wal);
  EXPECT_THAT(index.changes, SizeIs(4));
  EXPECT_THAT(blocks_of(index, kMain), ElementsAre(3, 7, 0xffff'fffe));
  EXPECT_THAT(blocks_of(index, kMap), ElementsAre(1));
  EXPECT_THAT(blocks_of(index, {kTable, Fork::kInit}), ElementsAre(0));
  EXPECT_THAT(blocks_of(index, {kOther, Fork::kMain}), ElementsAre(4));
  EXPECT_EQ(limit_of(index, kMain), std::nullopt);
  EXPECT_EQ(index.record_count, 8u);
}

TEST(WalIndex, KeepsBlocksOnceEachHoweverOftenAndInWhichOrder) {
  WalBuilder wal;
  for (uint32_t i = 0; i < 15000; ++i) wal.add(touch(i % 3 == 0 ? kOther : kTable, i * 7919 % 1000));
  const WalIndex index = index_of(wal);
  std::vector<uint32_t> all(1000);
  for (uint32_t i = 0; i < 1000; ++i) all[i] = i;
  EXPECT_EQ(blocks_of(index, kMain), all);
  EXPECT_EQ(blocks_of(index, {kOther, Fork::kMain}), all);
}

TEST(WalIndex, CreatedForkIsVoidInOlderBackups) {
  WalBuilder wal;
  wal.add(touch(kTable, 5));  // Of a file that had the same name.
  wal.add(create(kTable, 0, Xid{700}));
  wal.add(touch(kTable, 2));
  wal.add(create(kTable, 1));
  wal.add(create(kTable, 3));
  const WalIndex index = index_of(wal);
  EXPECT_EQ(limit_of(index, kMain), 0u);
  EXPECT_THAT(blocks_of(index, kMain), ElementsAre(2));
  EXPECT_EQ(limit_of(index, {kTable, Fork::kInit}), 0u);
  EXPECT_THAT(index.changes, SizeIs(2));
  ASSERT_THAT(index.events, SizeIs(1));
  EXPECT_EQ(index.events[0].kind, WalEventKind::kCreate);
  EXPECT_EQ(index.events[0].xid, Xid{700});
  EXPECT_EQ(index.events[0].relation, kTable);
}

TEST(WalIndex, TruncationVoidsWhatWasBehindIt) {
  WalBuilder wal;
  for (const uint32_t block : {2u, 10u, 11u, 500u}) wal.add(touch(kTable, block));
  wal.add(truncate(kTable, 11, 7));
  wal.add(touch(kTable, 30));  // The file grew again.
  wal.add(truncate(kTable, 20, 7));
  wal.add(touch(kTable, 25));
  const WalIndex index = index_of(wal);
  EXPECT_EQ(limit_of(index, kMain), 11u);
  EXPECT_THAT(blocks_of(index, kMain), ElementsAre(2, 10, 25));
  ASSERT_THAT(index.events, SizeIs(2));
  EXPECT_EQ(index.events[1].kind, WalEventKind::kShrink);
  EXPECT_EQ(index.events[1].count, 20u);
}

TEST(WalIndex, TruncationOfVisibilityMapCountsPagesOfHeapBlocks) {
  struct Case {
    uint32_t blocks;
    uint32_t flags;
    std::optional<uint32_t> main_limit;
    std::optional<uint32_t> map_limit;
    std::vector<uint32_t> map_blocks;
  };
  for (const Case& c : {Case{0, 7, 0, 0, {}}, Case{1, 7, 1, 1, {0}}, Case{kHeapPerMapPage, 3, kHeapPerMapPage, 1, {0}},
                        Case{kHeapPerMapPage + 1, 3, kHeapPerMapPage + 1, 2, {1}}, Case{5, 1, 5, {}, {}},
                        Case{0, 2, {}, 0, {}}, Case{5, 4, {}, {}, {}}}) {
    SCOPED_TRACE(::testing::Message() << c.blocks << " blocks, flags " << c.flags);
    WalBuilder wal;
    wal.add(touch(kTable, 9, Fork::kVisibilityMap));
    wal.add(truncate(kTable, c.blocks, c.flags));
    const WalIndex index = index_of(wal);
    EXPECT_EQ(limit_of(index, kMain), c.main_limit);
    EXPECT_EQ(limit_of(index, kMap), c.map_limit);
    if (!c.map_limit) continue;
    EXPECT_EQ(blocks_of(index, kMap), c.map_blocks);
  }
}

class WalIndexOf : public ::testing::TestWithParam<uint32_t> {
 protected:
  WalBuilderOptions options() const { return {.major = PgMajor{GetParam()}}; }
};
INSTANTIATE_TEST_SUITE_P(Each, WalIndexOf, ::testing::Range(10u, 20u),
                         [](const auto& major) { return "Pg" + std::to_string(major.param); });

TEST_P(WalIndexOf, DropsEndWithTheirTransaction) {
  for (const uint8_t opcode : std::initializer_list<uint8_t>{0x00, 0x20, 0x30, 0x40}) {
    SCOPED_TRACE(::testing::Message() << "opcode " << int{opcode});
    const bool prepared = opcode >= 0x30;
    const bool aborted = opcode == 0x20 || opcode == 0x40;
    WalBuilder wal(options());
    wal.add(touch(kTable, 4));
    wal.add(touch(kTable, 1, Fork::kVisibilityMap));
    const End end{.opcode = opcode,
                  .xid = prepared ? Xid{} : Xid{900},
                  .subxids = {901, 905},
                  .dropped = {kTable, kOther},
                  .prepared = prepared ? Xid{900} : Xid{},
                  .database = true,
                  .stats = GetParam() >= 15 ? 3u : 0u,
                  .invalidations = aborted ? 0u : 5u};
    const Lsn lsn = wal.add(end_record(end, GetParam()));
    const WalIndex index = index_of(wal);
    for (const WalRelation& relation : end.dropped)
      for (const Fork fork : {Fork::kMain, Fork::kVisibilityMap, Fork::kInit}) {
        EXPECT_EQ(limit_of(index, {relation, fork}), 0u);
        EXPECT_THAT(blocks_of(index, {relation, fork}), IsEmpty());
      }
    EXPECT_EQ(index.xid_first, Xid{900});
    EXPECT_EQ(index.xid_last, Xid{905});
    EXPECT_EQ(index.whole_reasons, 0);
    EXPECT_EQ(index.first_commit.has_value(), !aborted);
    EXPECT_THAT(index.events, SizeIs(aborted ? 0 : 2));
    const auto ends = read_transaction_ends(segment_bytes_of(wal, 0), segment_of(wal.options()));
    ASSERT_TRUE(ends.has_value());
    WalTransactionEnd want;
    want.lsn = lsn;
    want.end = (*ends)[0].end;
    want.time = kNoon;
    want.xid = Xid{900};
    want.aborted = aborted;
    want.subxids = {Xid{901}, Xid{905}};
    want.prev = (*ends)[0].prev;
    EXPECT_LT(want.prev, lsn);
    EXPECT_GT(want.prev, Lsn{});
    EXPECT_THAT(*ends, ElementsAre(want));
    if (aborted) continue;
    EXPECT_EQ(index.events[1], (WalEvent{WalEventKind::kDrop, lsn, kNoon, Xid{900}, kOther, 0}));
  }
}

TEST_P(WalIndexOf, CutListOfDropsIsNotTrusted) {
  WalBuilder wal(options());
  SampleRecord record = end_record({.xid = Xid{900}, .dropped = {kTable, kOther}});
  record.main_data.resize(record.main_data.size() - 4);
  wal.add(record);
  const WalIndex index = index_of(wal);
  EXPECT_EQ(index.whole_reasons, static_cast<uint8_t>(WalWholeReason::kUnknownFileChange));
  EXPECT_TRUE(index.first_commit.has_value());
}

TEST_P(WalIndexOf, DatabasesCreatedAndDroppedAreWhole) {
  const uint32_t major = GetParam();
  const auto record = [&](uint8_t info, std::initializer_list<uint32_t> numbers) {
    ByteWriter data;
    for (const uint32_t number : numbers) data.fixed(number);
    return SampleRecord{.rmgr = wal_rmgr::kDatabase, .info = info, .main_data = std::move(data).take()};
  };
  WalBuilder wal(options());
  wal.add(touch({1663, 20000, 1259}, 3));  // What is known of the whole makes this needless.
  wal.add(touch({1663, 20001, 1259}, 3));
  wal.add(record(0x01, {20000, 1663, 1, 1663}));
  if (major >= 15) wal.add(record(0x11, {20002, 1700}));
  if (major < 13)
    wal.add(record(0x11, {20003, 1701}));
  else
    wal.add(record(major < 15 ? 0x11 : 0x21, {20003, 2, 1701, 1702}));
  const WalIndex index = index_of(wal);
  std::vector<WalDatabase> want{{1663, 20000}};
  if (major >= 15) want.push_back({1700, 20002});
  want.push_back({1701, 20003});
  if (major >= 13) want.push_back({1702, 20003});
  EXPECT_EQ(index.whole_databases, want);
  EXPECT_EQ(index.whole_reasons, 0);
  EXPECT_THAT(index.changes, SizeIs(1));
  ASSERT_THAT(index.events, SizeIs(want.size()));
  EXPECT_EQ(index.events.front().kind, WalEventKind::kCreateDatabase);
  EXPECT_EQ(index.events.back().kind, WalEventKind::kDropDatabase);
  EXPECT_EQ(index.events.back().relation, (WalRelation{want.back().tablespace_oid, 20003, 0}));
}

TEST(WalIndex, NotesTablespaces) {
  for (const uint8_t opcode : std::initializer_list<uint8_t>{0x00, 0x10}) {
    WalBuilder wal;
    ByteWriter data;
    data.fixed<uint32_t>(16999);
    data.raw(as_bytes("/srv/somewhere"));
    wal.add({.rmgr = wal_rmgr::kTablespace, .info = opcode, .main_data = std::move(data).take()});
    const WalIndex index = index_of(wal);
    EXPECT_TRUE(index.tablespaces_changed);
    ASSERT_THAT(index.events, SizeIs(opcode == 0 ? 0 : 1));
    if (opcode == 0) continue;
    EXPECT_EQ(index.events[0].relation, (WalRelation{16999, 0, 0}));
  }
}

TEST(WalIndex, HeapRecordsThatClearVisibilityMarkTheirMapPage) {
  constexpr uint32_t kFirst = 5;
  constexpr uint32_t kSecond = kHeapPerMapPage * 3 + 1;
  struct Case {
    const char* what;
    WalRmgr rmgr;
    uint8_t info;
    size_t flags_at;
    uint8_t flags;
    bool two_blocks;
    std::vector<uint32_t> map;
  };
  const auto heap = wal_rmgr::kHeap;
  const auto heap2 = wal_rmgr::kHeap2;
  const std::vector<Case> cases{
      {"insert", heap, 0x00, 2, 1, false, {0}},
      {"insert into a new page", heap, 0x80, 2, 1, false, {0}},
      {"insert, no bit cleared", heap, 0x00, 2, 0xfe, false, {}},
      {"delete", heap, 0x10, 7, 1, false, {0}},
      {"delete, no bit cleared", heap, 0x10, 7, 0xfe, false, {}},
      {"update, old page, the same", heap, 0x20, 7, 1, false, {0}},
      {"update, old page", heap, 0x20, 7, 1, true, {3}},
      {"update, new page", heap, 0xa0, 7, 2, true, {0}},
      {"update, both pages", heap, 0x20, 7, 3, true, {0, 3}},
      {"update in the page", heap, 0x40, 7, 1, false, {0}},
      {"update, no bit cleared", heap, 0x20, 7, 0xfc, true, {}},
      {"lock", heap, 0x60, 7, 1, false, {0}},
      {"lock, no bit cleared", heap, 0x60, 7, 0xfe, false, {}},
      {"inplace", heap, 0x70, 7, 1, false, {}},
      {"multi insert", heap2, 0x50, 0, 1, false, {0}},
      {"multi insert into a new page", heap2, 0xd0, 0, 1, false, {0}},
      {"multi insert, no bit cleared", heap2, 0x50, 0, 0xfe, false, {}},
      {"lock updated", heap2, 0x60, 7, 1, false, {0}},
      {"lock updated, no bit cleared", heap2, 0x60, 7, 0xfe, false, {}},
      {"prune", heap2, 0x10, 7, 1, false, {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    WalBuilder wal;
    SampleRecord record{.rmgr = c.rmgr, .info = c.info, .blocks = {block_ref(0, kTable, kFirst)}};
    if (c.two_blocks) record.blocks.push_back(block_ref(1, kTable, kSecond));
    record.main_data.resize(14);
    record.main_data[c.flags_at] = std::byte{c.flags};
    wal.add(record);
    const WalIndex index = index_of(wal);
    EXPECT_EQ(blocks_of(index, kMap), c.map);
  }
}

TEST(WalIndex, OldPageIsNotMistakenForAMapPageThatIsReferredTo) {
  // Servers that name the map page give it an id of its own.
  WalBuilder wal({.major = PgMajor{19}});
  SampleRecord record{.rmgr = wal_rmgr::kHeap,
                      .info = 0x20,
                      .blocks = {block_ref(0, kTable, 5), block_ref(1, kTable, 7, Fork::kVisibilityMap)}};
  record.main_data.resize(14);
  record.main_data[7] = std::byte{1};
  wal.add(record);
  EXPECT_THAT(blocks_of(index_of(wal), kMap), ElementsAre(0, 7));
}

TEST_P(WalIndexOf, MinimalWalMakesEverythingUnknown) {
  const uint32_t major = GetParam();
  struct Case {
    uint8_t info;
    size_t level_at;
    bool says;
  };
  for (const Case& c : {Case{0x60, major >= 12 ? 20u : 16u, true}, Case{0x90, 16, major >= 17},
                        Case{0x00, 20, major >= 17}, Case{0x10, 20, major >= 17}, Case{0xe0, 0, true}}) {
    if (c.info == 0xe0 && major < 17) continue;
    for (const uint8_t level : std::initializer_list<uint8_t>{0, 1, 2}) {
      SCOPED_TRACE(::testing::Message() << "info " << int{c.info} << ", level " << int{level});
      WalBuilder wal(options());
      SampleRecord record{.rmgr = wal_rmgr::kXlog, .info = c.info};
      record.main_data.assign(88, std::byte{0});
      for (std::byte& byte : record.main_data) byte = std::byte{1};
      for (size_t i = 0; i < 4; ++i) record.main_data[c.level_at + i] = std::byte{i == 0 ? level : uint8_t{0}};
      wal.add(record);
      const auto want = level == 0 && c.says ? static_cast<uint8_t>(WalWholeReason::kMinimalWal) : uint8_t{0};
      EXPECT_EQ(index_of(wal).whole_reasons, want);
    }
  }
}

TEST(WalIndex, SwitchedChecksumsMakeEverythingUnknown) {
  WalBuilder wal({.major = PgMajor{19}});
  wal.add({.rmgr = wal_rmgr::kXlog2, .info = 0x00, .main_data = sample_bytes(4)});
  EXPECT_EQ(index_of(wal).whole_reasons, static_cast<uint8_t>(WalWholeReason::kChecksumsSwitched));
}

TEST(WalIndex, RecordsThatSayTheyChangeFilesAreUnderstoodOrFeared) {
  const auto reasons = [](const SampleRecord& record) {
    WalBuilder wal;
    wal.add(record);
    return index_of(wal).whole_reasons;
  };
  const auto feared = static_cast<uint8_t>(WalWholeReason::kUnknownFileChange);
  EXPECT_EQ(reasons({.rmgr = WalRmgr{130}, .info = 0x51, .main_data = sample_bytes(9)}), feared);
  EXPECT_EQ(reasons({.rmgr = WalRmgr{130}, .info = 0x50, .main_data = sample_bytes(9)}), 0);
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kXlog, .info = 0xb1, .main_data = sample_bytes(9)}), feared);
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kHeap, .info = 0x71, .main_data = sample_bytes(9)}), feared);
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kStorage, .info = 0x31, .main_data = sample_bytes(20)}), feared);
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kStorage, .info = 0x11, .main_data = sample_bytes(9)}), feared);  // Cut.
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kStorage, .info = 0x21, .main_data = sample_bytes(9)}), feared);
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kDatabase, .info = 0x01, .main_data = sample_bytes(4)}), feared);
  EXPECT_EQ(reasons({.rmgr = wal_rmgr::kDatabase, .info = 0x71, .main_data = sample_bytes(4)}), feared);
  EXPECT_EQ(reasons(create(kTable)), 0);
  EXPECT_EQ(reasons(truncate(kTable, 1, 7)), 0);
}

TEST(WalIndex, TellsCommitsAbortsAndTheirTimes) {
  const auto at = [](int seconds) { return kNoonPg + int64_t{seconds} * 1'000'000; };
  WalBuilder wal;
  wal.add(end_record({.opcode = 0x20, .xid = Xid{100}, .time = at(-3600)}));
  const Lsn first = wal.add(end_record({.xid = Xid{103}, .time = at(10)}));
  wal.add(end_record({.xid = Xid{102}, .time = at(70)}));
  wal.add(end_record({.xid = Xid{104}, .time = at(20)}));  // The clock was set back.
  const Lsn last = wal.add(end_record({.xid = Xid{105}, .time = at(21)}));
  wal.add(end_record({.opcode = 0x20, .xid = Xid{106}, .time = at(7200)}));
  const WalIndex index = index_of(wal);
  ASSERT_TRUE(index.first_commit && index.last_commit);
  EXPECT_EQ(index.first_commit->lsn, first);
  EXPECT_EQ(index.first_commit->xid, Xid{103});
  EXPECT_EQ(index.first_commit->time, kNoon + std::chrono::seconds(10));
  EXPECT_GT(index.first_commit->end, first);
  EXPECT_EQ(index.last_commit->lsn, last);
  EXPECT_EQ(index.commit_time_min, kNoon + std::chrono::seconds(10));
  EXPECT_EQ(index.commit_time_max, kNoon + std::chrono::seconds(70));
  EXPECT_EQ(index.end_time_min, kNoon - std::chrono::hours(1));
  EXPECT_EQ(index.end_time_max, kNoon + std::chrono::hours(2));
  EXPECT_TRUE(index.has_ends);
  EXPECT_THAT(index.minutes, ElementsAre(WalMinute{kNoon - std::chrono::hours(1), 0, 1}, WalMinute{kNoon, 1, 0},
                                         WalMinute{kNoon + std::chrono::minutes(1), 1, 0}, WalMinute{kNoon, 2, 0},
                                         WalMinute{kNoon + std::chrono::hours(2), 0, 1}));
  const auto ends = read_transaction_ends(segment_bytes_of(wal, 0), segment_of(wal.options()));
  ASSERT_TRUE(ends && ends->size() == 6);
  EXPECT_EQ(static_cast<const WalCommit&>((*ends)[1]), *index.first_commit);
  EXPECT_EQ(static_cast<const WalCommit&>((*ends)[4]), *index.last_commit);
  EXPECT_TRUE((*ends)[0].aborted && (*ends)[5].aborted);
}

TEST(WalIndex, KeepsTheRangeOfTransactionsAcrossTheirEnd) {
  WalBuilder wal;
  for (const uint32_t xid : {0xffff'fff0u, 0xffff'fff8u, 5u, 0xffff'ffe0u, 3u})
    wal.add(end_record({.xid = Xid{xid}, .subxids = {xid + 1}}));
  const WalIndex index = index_of(wal);
  EXPECT_EQ(index.xid_first, Xid{0xffff'ffe0u});
  EXPECT_EQ(index.xid_last, Xid{6});
  for (const uint32_t xid : {0xffff'ffe0u, 0xffff'ffffu, 3u, 6u}) EXPECT_TRUE(index.may_hold(Xid{xid})) << xid;
  for (const uint32_t xid : {0xffff'ffdfu, 7u, 0x8000'0000u}) EXPECT_FALSE(index.may_hold(Xid{xid})) << xid;
  EXPECT_FALSE(WalIndex{}.may_hold(Xid{3}));
}

TEST(WalIndex, TellsRestorePoints) {
  WalBuilder wal;
  ByteWriter data;
  data.fixed(kNoonPg);
  data.raw(as_bytes("before the migration"));
  auto raw = std::move(data).take();
  raw.resize(72);
  const Lsn lsn = wal.add({.rmgr = wal_rmgr::kXlog, .info = 0x70, .main_data = raw});
  const WalIndex index = index_of(wal);
  ASSERT_THAT(index.restore_points, SizeIs(1));
  EXPECT_EQ(index.restore_points[0],
            (WalRestorePoint{lsn, index.restore_points[0].end, kNoon, "before the migration"}));
  EXPECT_GT(index.restore_points[0].end, lsn);
}

SampleRecord delete_of(Xid xid, const WalRelation& relation) {
  SampleRecord record{.rmgr = wal_rmgr::kHeap, .info = 0x10, .xid = xid, .blocks = {block_ref(0, relation, 1)}};
  record.main_data.resize(8);
  return record;
}

TEST(WalIndex, CountsDeletesOfTransactionsWithTheirSubtransactions) {
  WalBuilder wal;
  const Lsn first = wal.add(delete_of(Xid{50}, kTable));
  for (uint32_t i = 1; i < kWalDeletesMin; ++i) {
    wal.add(delete_of(i % 2 == 0 ? Xid{50} : Xid{51}, kTable));
    wal.add(delete_of(Xid{60}, kTable));  // One short of an event.
    wal.add(delete_of(Xid{70}, kOther));
    wal.add(delete_of(Xid{70}, kOther));
  }
  const Lsn open = wal.add(delete_of(Xid{80}, kOther));
  for (uint32_t i = 1; i < kWalDeletesMin; ++i) wal.add(delete_of(Xid{80}, kOther));
  wal.add(end_record({.xid = Xid{50}, .subxids = {51}}));
  wal.add(end_record({.xid = Xid{60}}));
  wal.add(end_record({.opcode = 0x20, .xid = Xid{70}}));
  EXPECT_THAT(index_of(wal).events,
              ElementsAre(WalEvent{WalEventKind::kDelete, first, {}, Xid{50}, kTable, kWalDeletesMin},
                          WalEvent{WalEventKind::kDelete, open, {}, Xid{80}, kOther, kWalDeletesMin}));
}

TEST(WalIndex, NamesTheTopTransactionOfWhatASubtransactionDid) {
  WalBuilder wal;
  const Lsn by_commit = wal.add(create(kTable, 0, Xid{91}));
  SampleRecord named = create(kOther, 0, Xid{96});
  named.top_xid = Xid{95};
  const Lsn by_record = wal.add(named);
  wal.add(end_record({.xid = Xid{90}, .subxids = {91}}));
  EXPECT_THAT(index_of(wal).events, ElementsAre(WalEvent{WalEventKind::kCreate, by_commit, {}, Xid{90}, kTable, 0},
                                                WalEvent{WalEventKind::kCreate, by_record, {}, Xid{95}, kOther, 0}));
}

TEST(WalIndex, TellsTruncatesAsLogicalDecodingSeesThem) {
  WalBuilder wal;
  ByteWriter data;
  for (const uint32_t number : {5u, 2u, 0u, 16384u, 16390u}) data.fixed(number);
  const Lsn lsn = wal.add({.rmgr = wal_rmgr::kHeap, .info = 0x30, .xid = Xid{9}, .main_data = std::move(data).take()});
  const WalEvent want{WalEventKind::kTruncate, lsn, {}, Xid{9}, {0, 5, 16384}, 0};
  WalEvent other = want;
  other.relation.relfilenode = 16390;
  EXPECT_THAT(index_of(wal).events, ElementsAre(want, other));
}

TEST(WalIndex, SaysWhereAndWhyWalEndsInTheSegment) {
  WalBuilder wal;
  const Lsn kept = wal.add(touch(kTable, 1));
  const Lsn damaged = wal.add(touch(kTable, 2));
  wal.add(touch(kTable, 3));
  wal.add_switch();
  wal.bytes()[damaged.bytes - wal.options().start.bytes + 30] ^= std::byte{1};
  const auto index = make_wal_index(segment_bytes_of(wal, 0), segment_of(wal.options()));
  ASSERT_TRUE(index.has_value());
  EXPECT_FALSE(index->is_complete());
  EXPECT_EQ(index->valid_to, damaged);
  EXPECT_THAT(index->end_reason, HasSubstr("crc: record at"));
  EXPECT_EQ(index->last_record, kept);
  EXPECT_THAT(blocks_of(*index, kMain), ElementsAre(1));
  EXPECT_EQ(index->fragment, std::nullopt);
}

TEST(WalIndex, RefusesWhatIsNotTheSegmentOfItsName) {
  WalBuilder wal;
  wal.add_switch();
  const Bytes content = segment_bytes_of(wal, 0);
  EXPECT_EQ(make_wal_index(content, segment_of(wal.options(), 1)).error().code(), Errc::kCorrupt);
  EXPECT_EQ(make_wal_index(content.first(content.size() / 2), segment_of(wal.options())).error().code(),
            Errc::kCorrupt);
  EXPECT_EQ(make_wal_index(Bytes(sample_bytes(1 << 20)), segment_of(wal.options())).error().code(), Errc::kUnsupported);
  EXPECT_FALSE(make_wal_index(content.first(20), segment_of(wal.options())).has_value());
}

}  // namespace
}  // namespace pgark::pg
