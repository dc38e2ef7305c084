// What changed since an older backup: each rule over WAL made by hand, sums of random indexes against a slow model, the
// walk over forks and holes, and the choice of the backup to build on.
#include "catalog/changed_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/clock.h"
#include "testing/fake_wal_catalog.h"
#include "testing/wal_records.h"

namespace pgark {
namespace {

using pg::Fork;
using pg::RelationFile;
using pg::TimelineHistory;
using pg::WalFork;
using pg::WalIndex;
using pg::WalRelation;
using pg::WalSegment;
using testing::create;
using ::testing::ElementsAre;
using testing::end_record;
using testing::FakeWalCatalog;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::sample_wal_index;
using testing::SampleRecord;
using testing::touch;
using testing::truncate;
using testing::WalBuilder;
using testing::WalBuilderOptions;

constexpr uint32_t kFileBlocks = 100;  // Of a relation segment file here.
constexpr uint32_t kSegment = 1u << 20;
constexpr TimelineId kOne{1};
constexpr TimelineId kTwo{2};
constexpr WalRelation kTable{pg::kDefaultTablespaceOid, 5, 16384};
constexpr WalRelation kOther{pg::kDefaultTablespaceOid, 5, 16385};

RelationFile file_of(const WalRelation& relation, uint32_t segment = 0, Fork fork = Fork::kMain) {
  return {relation.tablespace_oid,
          relation.database_oid,
          {.relfilenode = relation.relfilenode, .fork = fork, .segment = segment}};
}

/// Segments of a builder, which may lack an end: made into indexes on being asked, and joined, as a repository does.
class BuiltWal final : public WalCatalog {
 public:
  uint32_t segment_bytes() const override { return kSegment; }
  bool has(const WalSegment& segment) const override { return segments_.contains(segment); }
  std::vector<uint64_t> segments_of(TimelineId) const override { return {}; }
  std::vector<TimelineId> timelines() const override { return {}; }
  const std::vector<TimelineHistory>& histories() const override { return histories_; }
  Result<WalIndex> index(const WalSegment& segment, const WalIndex* before = nullptr) override {
    const auto found = segments_.find(segment);
    if (found == segments_.end()) return Error(Errc::kNotFound, "it is not there");
    return make(found->second, segment, before);
  }
  Result<std::vector<pg::WalTransactionEnd>> transaction_ends(const WalSegment&, const WalIndex*) override {
    return std::vector<pg::WalTransactionEnd>{};
  }

  static Result<WalIndex> make(Bytes content, const WalSegment& segment, const WalIndex* before) {
    TRY_ASSIGN(WalIndex index, pg::make_wal_index(content, segment));
    if (before != nullptr) TRY(pg::complete_wal_index(*before, index));
    return index;
  }

  /// Add what the builder wrote as segments of `timeline`; zeros fill the last.
  void add(WalBuilder& wal, TimelineId timeline = kOne) {
    std::vector<std::byte> bytes = wal.bytes();
    bytes.resize((bytes.size() + kSegment - 1) / kSegment * kSegment);
    const uint64_t first = wal.options().start.bytes / kSegment;
    for (size_t at = 0; at < bytes.size(); at += kSegment)
      segments_[{timeline, first + at / kSegment}].assign(bytes.begin() + static_cast<ptrdiff_t>(at),
                                                          bytes.begin() + static_cast<ptrdiff_t>(at + kSegment));
  }
  std::vector<std::byte>& bytes(const WalSegment& segment) { return segments_.at(segment); }
  void remove(const WalSegment& segment) { segments_.erase(segment); }

 private:
  std::map<WalSegment, std::vector<std::byte>> segments_;
  std::vector<TimelineHistory> histories_;
};

/// The sum of one segment for each list of records.
ChangedBlocks sum_of(const std::vector<std::vector<SampleRecord>>& segments) {
  ChangedBlocks changes(kFileBlocks);
  for (const auto& records : segments) {
    WalBuilder wal;
    for (const SampleRecord& record : records) wal.add(record);
    wal.add_switch();
    const auto index = BuiltWal::make(wal.bytes(), {kOne, wal.options().start.bytes / kSegment}, nullptr);
    EXPECT_TRUE(index.has_value() && index->is_complete());
    changes.add(*index);
  }
  return changes;
}

void fill(WalBuilder& wal, size_t room_bytes) {
  while (kSegment - wal.bytes().size() % kSegment > 9000 + room_bytes) wal.add_bytes(600);
}

TEST(ChangedBlocks, ListsBlocksByFile) {
  const ChangedBlocks changes =
      sum_of({{touch(kTable, 7), touch(kTable, 99), touch(kTable, 100)}, {touch(kTable, 3), touch(kTable, 350)}});
  EXPECT_THAT(changes.of(file_of(kTable)).blocks, ElementsAre(3, 7, 99));
  EXPECT_THAT(changes.of(file_of(kTable, 1)).blocks, ElementsAre(0));
  EXPECT_TRUE(changes.of(file_of(kTable, 2)).none());
  EXPECT_THAT(changes.of(file_of(kTable, 3)).blocks, ElementsAre(50));
  EXPECT_TRUE(changes.of(file_of(kOther)).none());
  EXPECT_EQ(changes.block_count(), 5u);
  EXPECT_EQ(changes.segment_count(), 2u);
  EXPECT_EQ(changes.whole_reasons(), 0);
}

TEST(ChangedBlocks, TakesMapsAndInitForksAndTemporaryFilesWhole) {
  // A record that clears bits of the visibility map names the heap page alone (heap delete, XLH_DELETE_ALL_VISIBLE...).
  SampleRecord cleared = touch(kTable, 1);
  cleared.rmgr = pg::wal_rmgr::kHeap;
  cleared.info = 0x10;
  cleared.main_data.resize(8);
  cleared.main_data[7] = std::byte{1};
  const ChangedBlocks changes = sum_of({{cleared}});
  EXPECT_TRUE(changes.of(file_of(kTable, 0, Fork::kVisibilityMap)).whole);
  EXPECT_TRUE(changes.of(file_of(kOther, 0, Fork::kVisibilityMap)).whole);  // Vacuum mends maps without a record.
  EXPECT_TRUE(changes.of(file_of(kOther, 0, Fork::kFreeSpaceMap)).whole);
  EXPECT_TRUE(changes.of(file_of(kOther, 0, Fork::kInit)).whole);
  RelationFile temporary = file_of(kOther);
  temporary.name.is_temporary = true;
  EXPECT_TRUE(changes.of(temporary).whole);
  EXPECT_THAT(changes.of(file_of(kTable)).blocks, ElementsAre(1));
}

TEST(ChangedBlocks, EverythingFromTheSmallestLimitOnComesFromTheFile) {
  // The file was cut, and grew past its old length over several segments, the last pages of zeros without a record.
  const ChangedBlocks changes = sum_of({{touch(kTable, 5), touch(kTable, 60)},
                                        {truncate(kTable, 40, 7), touch(kTable, 40), touch(kTable, 20)},
                                        {touch(kTable, 41), truncate(kTable, 45, 7), touch(kTable, 45)},
                                        {touch(kTable, 46), touch(kTable, 10)}});
  const FileChanges file = changes.of(file_of(kTable));
  EXPECT_FALSE(file.whole);
  EXPECT_EQ(file.limit_block, 40u);
  EXPECT_THAT(file.blocks, ElementsAre(5, 10, 20));
  EXPECT_TRUE(changes.of(file_of(kTable, 1)).whole);
  EXPECT_TRUE(changes.of(file_of(kOther)).none());
}

TEST(ChangedBlocks, LimitCountsFromTheFileItLiesIn) {
  const ChangedBlocks changes = sum_of({{truncate(kTable, 200, 7)}, {truncate(kTable, 130, 7)}, {touch(kTable, 290)}});
  EXPECT_TRUE(changes.of(file_of(kTable, 0)).none());
  EXPECT_EQ(changes.of(file_of(kTable, 1)).limit_block, 30u);
  EXPECT_FALSE(changes.of(file_of(kTable, 1)).whole);
  EXPECT_TRUE(changes.of(file_of(kTable, 2)).whole);  // Shrunk by two files and grown again: nothing there is old.
  const ChangedBlocks at_the_edge = sum_of({{truncate(kTable, 100, 7)}});
  EXPECT_TRUE(at_the_edge.of(file_of(kTable, 0)).none());
  EXPECT_TRUE(at_the_edge.of(file_of(kTable, 1)).whole);
}

TEST(ChangedBlocks, LimitHoldsInWhicheverOrderSegmentsAreAdded) {
  std::vector<std::vector<SampleRecord>> segments{{touch(kTable, 5), touch(kTable, 60), truncate(kTable, 80, 7)},
                                                  {truncate(kTable, 30, 7), touch(kTable, 30)},
                                                  {touch(kTable, 50), touch(kTable, 29)}};
  std::ranges::sort(segments, {}, [](const auto& segment) { return segment.size(); });
  std::vector<size_t> order{0, 1, 2};
  do {
    const ChangedBlocks changes = sum_of({segments[order[0]], segments[order[1]], segments[order[2]]});
    const FileChanges file = changes.of(file_of(kTable));
    EXPECT_EQ(file.limit_block, 30u);
    EXPECT_THAT(file.blocks, ElementsAre(5, 29));
    EXPECT_EQ(changes.block_count(), 2u);
  } while (std::ranges::next_permutation(order).found);
}

TEST(ChangedBlocks, FileDroppedOrCreatedMeanwhileIsWhole) {
  const ChangedBlocks created = sum_of({{create(kTable), touch(kTable, 0)}});
  EXPECT_TRUE(created.of(file_of(kTable)).whole);
  EXPECT_TRUE(created.of(file_of(kTable, 3)).whole);
  EXPECT_TRUE(created.of(file_of(kOther)).none());
  // Dropped and made again under the same number, by a record each, in segments of their own.
  const ChangedBlocks again = sum_of({{end_record({.xid = Xid{700}, .dropped = {kTable}})}, {touch(kTable, 3)}});
  EXPECT_TRUE(again.of(file_of(kTable)).whole);
  // Rolled back: the file the transaction made is gone.
  const ChangedBlocks undone = sum_of({{end_record({.opcode = 0x20, .xid = Xid{700}, .dropped = {kTable}})}});
  EXPECT_TRUE(undone.of(file_of(kTable)).whole);
}

SampleRecord database_record(uint8_t opcode, const std::vector<uint32_t>& words) {
  ByteWriter data;
  for (const uint32_t word : words) data.fixed(word);
  return {.rmgr = pg::wal_rmgr::kDatabase, .info = opcode, .main_data = std::move(data).take()};
}

TEST(ChangedBlocks, DatabaseMadeAsAWholeIsWholeAlsoUnderTheOldOid) {
  constexpr uint32_t kElsewhere = 17000;
  const ChangedBlocks changes =
      sum_of({{touch(kTable, 5)},
              {database_record(0x20, {5, 1, pg::kDefaultTablespaceOid})},             // Dropped,
              {database_record(0x00, {5, pg::kDefaultTablespaceOid, 1, 1663})},       // made by file copy,
              {database_record(0x00, {6, kElsewhere, 6, 1663}), touch(kOther, 1)}});  // and another one moved.
  EXPECT_TRUE(changes.of(file_of(kTable)).whole);
  EXPECT_TRUE(changes.of(file_of(kOther)).whole);
  EXPECT_TRUE(changes.of(file_of({kElsewhere, 6, 16384})).whole);
  EXPECT_TRUE(changes.of(file_of({pg::kDefaultTablespaceOid, 6, 16384})).none());
  EXPECT_TRUE(changes.of(file_of({kElsewhere, 5, 16384})).none());
  EXPECT_TRUE(changes.of(file_of({pg::kGlobalTablespaceOid, 0, 1262})).none());
}

TEST(ChangedBlocks, SaysWhenNoOlderBackupCounts) {
  SampleRecord minimal{.rmgr = pg::wal_rmgr::kXlog, .info = 0x60};  // Parameters changed: wal_level is the sixth.
  minimal.main_data.resize(28);
  SampleRecord replica = minimal;
  replica.main_data[20] = std::byte{1};
  EXPECT_EQ(sum_of({{replica}}).whole_reasons(), 0);
  EXPECT_EQ(sum_of({{minimal}, {touch(kTable, 1)}, {replica}}).whole_reasons(),
            static_cast<uint8_t>(pg::WalWholeReason::kMinimalWal));
  SampleRecord unknown{.rmgr = pg::WalRmgr{200}, .info = 0x11};  // Of an extension; says it changes relation files.
  EXPECT_EQ(sum_of({{unknown}}).whole_reasons(), static_cast<uint8_t>(pg::WalWholeReason::kUnknownFileChange));
  unknown.info = 0x10;
  EXPECT_EQ(sum_of({{unknown}}).whole_reasons(), 0);
}

TEST(ChangedBlocks, KeepsDenseAndSparseChunksOfLargeRelations) {
  constexpr uint32_t kRelationSegment = 131072;
  ChangedBlocks changes(kRelationSegment);
  WalIndex index;
  pg::WalForkChanges& large = index.changes[WalFork{kTable, Fork::kMain}];
  for (uint32_t block = 60000; block < 140000; ++block) large.blocks.push_back(block);
  large.blocks.push_back(0xffff'fffe);  // The last a relation can have.
  changes.add(index);
  changes.add(index);
  EXPECT_EQ(changes.block_count(), 80001u);
  const FileChanges first = changes.of(file_of(kTable));
  ASSERT_EQ(first.blocks.size(), 131072u - 60000u);
  EXPECT_EQ(first.blocks.front(), 60000u);
  EXPECT_EQ(first.blocks.back(), 131071u);
  const FileChanges second = changes.of(file_of(kTable, 1));
  ASSERT_EQ(second.blocks.size(), 140000u - 131072u);
  EXPECT_EQ(second.blocks.front(), 0u);
  EXPECT_THAT(changes.of(file_of(kTable, 0xffff'fffeu / kRelationSegment)).blocks, ElementsAre(131070));
  WalIndex cut;
  cut.changes[WalFork{kTable, Fork::kMain}].limit_block = 70000;
  changes.add(cut);
  EXPECT_EQ(changes.block_count(), 10000u);
  EXPECT_EQ(changes.of(file_of(kTable)).blocks.back(), 69999u);
  EXPECT_EQ(changes.of(file_of(kTable)).limit_block, 70000u);
  EXPECT_TRUE(changes.of(file_of(kTable, 1)).whole);
}

/// The same told record by record: a block may be taken from the older backup only if it never changed and the fork was
/// never shorter.
struct SlowModel {
  std::map<WalRelation, std::set<uint32_t>> changed;
  std::map<WalRelation, uint32_t> limit;
  std::set<pg::WalDatabase> databases;

  void check(const ChangedBlocks& changes, const WalRelation& relation, uint32_t segment) const {
    const FileChanges file = changes.of(file_of(relation, segment));
    ASSERT_TRUE(std::ranges::is_sorted(file.blocks, std::ranges::less_equal{}));
    const bool whole = databases.contains({relation.tablespace_oid, relation.database_oid});
    const auto cut = limit.find(relation);
    const auto known = changed.find(relation);
    bool any = false;
    for (uint32_t block = 0; block < kFileBlocks; ++block) {
      const uint32_t number = segment * kFileBlocks + block;
      const bool void_now = whole || (cut != limit.end() && number >= cut->second) ||
                            (known != changed.end() && known->second.contains(number));
      const bool said = file.whole || block >= file.limit_block || std::ranges::binary_search(file.blocks, block);
      ASSERT_EQ(said, void_now) << "block " << number << " of " << relation.relfilenode;
      any = any || void_now;
    }
    ASSERT_EQ(file.none(), !any);
    if (!file.blocks.empty()) {
      ASSERT_LT(file.blocks.back(), std::min(file.limit_block, kFileBlocks));
    }
  }
};

TEST(ChangedBlocks, AgreesWithASlowModelOnRandomHistories) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  Rng rng(seed);
  const auto below = [&rng](uint32_t bound) { return static_cast<uint32_t>(rng.below(bound)); };
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    ChangedBlocks changes(kFileBlocks);
    SlowModel model;
    const uint32_t blocks = 1 + below(5 * kFileBlocks);
    const auto relation = [&] { return WalRelation{1663, 5 + below(3), 16384 + below(3)}; };
    for (uint32_t count = below(8); count > 0; --count) {
      WalIndex index;
      for (uint32_t forks = below(5); forks > 0; --forks) {
        const WalRelation changed = relation();
        pg::WalForkChanges& fork = index.changes[WalFork{changed, below(4) == 0 ? Fork::kVisibilityMap : Fork::kMain}];
        std::set<uint32_t> marks(fork.blocks.begin(), fork.blocks.end());
        for (uint32_t i = below(40); i > 0; --i) marks.insert(below(blocks));
        fork.blocks.assign(marks.begin(), marks.end());
        if (below(4) == 0) fork.limit_block = std::min(fork.limit_block.value_or(blocks), below(blocks));
      }
      if (below(12) == 0) index.whole_databases.push_back({1663, 5 + below(3)});
      for (const auto& [fork, marked] : index.changes) {
        if (fork.fork != Fork::kMain) continue;
        model.changed[fork.relation].insert(marked.blocks.begin(), marked.blocks.end());
        if (marked.limit_block) {
          const auto [at, fresh] = model.limit.emplace(fork.relation, *marked.limit_block);
          at->second = std::min(at->second, *marked.limit_block);
        }
      }
      model.databases.insert(index.whole_databases.begin(), index.whole_databases.end());
      changes.add(index);
    }
    for (uint32_t database = 5; database < 8; ++database)
      for (uint32_t number = 16384; number < 16387; ++number)
        for (uint32_t segment = 0; segment < 6; ++segment) {
          model.check(changes, {1663, database, number}, segment);
          ASSERT_FALSE(HasFatalFailure()) << "SEED=" << seed;
        }
  }
}

Lsn at(uint64_t number, uint64_t offset = 0) { return Lsn{number * kSegment + offset}; }
std::string name(TimelineId timeline, uint64_t number) { return pg::segment_name({timeline, number}, kSegment); }

WalIndex index_that_touches(const WalSegment& segment, uint32_t block) {
  WalIndex index = sample_wal_index(segment, kSegment);
  index.changes[WalFork{kTable, Fork::kMain}].blocks = {block};
  return index;
}
/// WAL of segments 3 to 8, each of which changes the block of its number.
FakeWalCatalog plain_wal() {
  FakeWalCatalog wal(kSegment);
  for (uint64_t number = 3; number <= 8; ++number)
    wal.add(index_that_touches({kOne, number}, static_cast<uint32_t>(number)));
  return wal;
}
std::vector<uint32_t> blocks_of(const WalChanges& changes) {
  EXPECT_TRUE(changes.blocks.has_value()) << changes.hole;
  return changes.blocks ? changes.blocks->of(file_of(kTable)).blocks : std::vector<uint32_t>{};
}
WalChanges gather(WalCatalog& wal, Lsn begin, Lsn end, const TimelineHistory& history = TimelineHistory(kOne),
                  const std::function<Result<std::optional<WalIndex>>(const WalSegment&, const WalIndex*)>& live = {}) {
  auto changes = gather_wal_changes(wal, history, begin, end, kFileBlocks, live);
  EXPECT_TRUE(changes.has_value()) << changes.error().to_string();
  return changes ? std::move(*changes) : WalChanges{};
}

TEST(GatherWalChanges, ReadsTheSegmentsFromBeginToEndAndNoOther) {
  FakeWalCatalog wal = plain_wal();
  EXPECT_THAT(blocks_of(gather(wal, at(4, 0x28), at(6, 0x28))), ElementsAre(4, 5, 6));
  EXPECT_THAT(blocks_of(gather(wal, at(4, 0x28), at(6))), ElementsAre(4, 5));  // The last byte before it is in 5.
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(4, 1))), ElementsAre(4));
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(4))), IsEmpty());
  EXPECT_THAT(blocks_of(gather(wal, at(4, 0x500), at(4, 0x500))), IsEmpty());
  EXPECT_EQ(gather(wal, at(3), at(9)).blocks->segment_count(), 6u);
}

TEST(GatherWalChanges, ClusterBehindTheOlderBackupIsAHole) {
  FakeWalCatalog wal = plain_wal();
  const WalChanges changes = gather(wal, at(6), at(5));
  EXPECT_FALSE(changes.blocks.has_value());
  EXPECT_THAT(changes.hole, HasSubstr("behind the start of the older backup"));
}

TEST(GatherWalChanges, NamesTheSegmentThatIsMissing) {
  FakeWalCatalog wal = plain_wal();
  wal.remove({kOne, 5});
  for (const uint64_t end : {6u, 7u, 8u}) {
    const WalChanges changes = gather(wal, at(4, 40), at(end));
    EXPECT_FALSE(changes.blocks.has_value());
    EXPECT_THAT(changes.hole, HasSubstr(name(kOne, 5)));
  }
  EXPECT_THAT(blocks_of(gather(wal, at(4, 40), at(5))), ElementsAre(4));
  EXPECT_THAT(blocks_of(gather(wal, at(6, 40), at(7))), ElementsAre(6));
}

TEST(GatherWalChanges, DamageIsAHoleThatTheClusterMayFill) {
  FakeWalCatalog wal = plain_wal();
  wal.damage({kOne, 5});
  const WalChanges without = gather(wal, at(4), at(7));
  EXPECT_FALSE(without.blocks.has_value());
  EXPECT_THAT(without.hole, HasSubstr("segment " + name(kOne, 5) + " is damaged"));
  const auto live = [](const WalSegment& segment, const WalIndex*) {
    return Result<std::optional<WalIndex>>(index_that_touches(segment, 50));
  };
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(7), TimelineHistory(kOne), live)), ElementsAre(4, 6, 50));
}

TEST(GatherWalChanges, WalThatEndsEarlyIsAHoleUnlessNothingBehindIsNeeded) {
  FakeWalCatalog wal = plain_wal();
  WalIndex damaged = index_that_touches({kOne, 6}, 6);
  damaged.valid_to = at(6, 0x8000);
  damaged.end_reason = "crc: of a record is wrong";
  wal.add(damaged);
  const WalChanges behind = gather(wal, at(4), at(6, 0x8001));
  EXPECT_FALSE(behind.blocks.has_value());
  EXPECT_THAT(behind.hole, AllOf(HasSubstr(name(kOne, 6)), HasSubstr("0/608000"), HasSubstr("crc: of a record")));
  EXPECT_FALSE(gather(wal, at(4), at(8)).blocks.has_value());
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(6, 0x8000))), ElementsAre(4, 5, 6));
}

TEST(GatherWalChanges, AsksTheClusterForWhatIsNotArchivedYet) {
  FakeWalCatalog wal = plain_wal();
  wal.remove({kOne, 7});
  wal.remove({kOne, 8});
  std::vector<WalSegment> asked;
  uint64_t reaches = 0x5000;
  const auto live = [&](const WalSegment& segment, const WalIndex* before) -> Result<std::optional<WalIndex>> {
    asked.push_back(segment);
    EXPECT_TRUE(before != nullptr && before->segment.number + 1 == segment.number);
    WalIndex index = index_that_touches(segment, static_cast<uint32_t>(segment.number));
    if (segment.number == 8) index.valid_to = at(8, reaches);
    return std::optional<WalIndex>(index);
  };
  EXPECT_THAT(blocks_of(gather(wal, at(5, 40), at(8, 0x5000), TimelineHistory(kOne), live)), ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(asked, ElementsAre(WalSegment{kOne, 7}, WalSegment{kOne, 8}));
  reaches = 0x4fff;
  const WalChanges torn = gather(wal, at(5, 40), at(8, 0x5000), TimelineHistory(kOne), live);
  EXPECT_FALSE(torn.blocks.has_value());
  EXPECT_THAT(torn.hole, HasSubstr(name(kOne, 8)));
  // The cluster has it no more either.
  const auto nothing = [](const WalSegment&, const WalIndex*) { return Result<std::optional<WalIndex>>(std::nullopt); };
  EXPECT_THAT(gather(wal, at(5), at(8, 1), TimelineHistory(kOne), nothing).hole, HasSubstr(name(kOne, 7)));
}

TEST(GatherWalChanges, PassesErrorsOfTheClusterOnButTakesDamageAsAHole) {
  FakeWalCatalog wal = plain_wal();
  wal.remove({kOne, 8});
  Errc code = Errc::kPermission;
  const auto live = [&](const WalSegment&, const WalIndex*) -> Result<std::optional<WalIndex>> {
    return Error(code, "read it: no");
  };
  const auto denied = gather_wal_changes(wal, TimelineHistory(kOne), at(7), at(8, 1), kFileBlocks, live);
  ASSERT_FALSE(denied.has_value());
  EXPECT_EQ(denied.error().code(), Errc::kPermission);
  code = Errc::kCorrupt;
  EXPECT_THAT(gather(wal, at(7), at(8, 1), TimelineHistory(kOne), live).hole, HasSubstr("read it: no"));
}

/// Timeline 2 left timeline 1 in segment 5.
TimelineHistory forked() { return {kTwo, {{kOne, at(5, 0x4000), "no recovery target specified"}}}; }

TEST(GatherWalChanges, CrossesAForkInTheSegmentOfTheChild) {
  FakeWalCatalog wal = plain_wal();
  wal.add(index_that_touches({kTwo, 5}, 25));
  wal.add(index_that_touches({kTwo, 6}, 26));
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(6, 0x100), forked())), ElementsAre(4, 25, 26));
  EXPECT_THAT(blocks_of(gather(wal, at(6), at(6, 0x100), forked())), ElementsAre(26));
}

TEST(GatherWalChanges, ParentStandsInForTheSegmentOfTheForkOnlyUpToIt) {
  FakeWalCatalog wal = plain_wal();
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(5, 0x4000), forked())), ElementsAre(4, 5));
  const WalChanges beyond = gather(wal, at(4), at(5, 0x4001), forked());
  EXPECT_FALSE(beyond.blocks.has_value());
  EXPECT_THAT(beyond.hole, HasSubstr(name(kTwo, 5)));
  wal.add(index_that_touches({kTwo, 6}, 26));
  EXPECT_FALSE(gather(wal, at(4), at(6, 0x100), forked()).blocks.has_value());
  // What the parent went on to write is another way, whatever the child lacks.
  EXPECT_THAT(gather(wal, at(6), at(7, 0x100), forked()).hole, HasSubstr(name(kTwo, 7)));
}

TEST(GatherWalChanges, AForkAtTheEndOfASegmentLeavesTheSegmentToTheParent) {
  FakeWalCatalog wal = plain_wal();
  wal.add(index_that_touches({kTwo, 6}, 26));
  const TimelineHistory history(kTwo, {{kOne, at(6), ""}});
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(6, 0x100), history)), ElementsAre(4, 5, 26));
  EXPECT_THAT(blocks_of(gather(wal, at(4), at(6), history)), ElementsAre(4, 5));
}

TEST(GatherWalChanges, CountsTheRecordThatCrossesSegments) {
  WalBuilder builder;
  const uint64_t first = builder.options().start.bytes / kSegment;
  builder.add(touch(kTable, 1));
  fill(builder, 4000);
  SampleRecord crossing = touch(kTable, 77);
  crossing.main_data = testing::sample_bytes(20000);
  builder.add(crossing);
  const Lsn behind = builder.add(touch(kTable, 2));
  const Lsn end = builder.add(touch(kTable, 3));
  BuiltWal wal;
  wal.add(builder);
  EXPECT_THAT(blocks_of(gather(wal, at(first, 40), end)), ElementsAre(1, 2, 3, 77));
  // From the second segment on the record began before, and what it did is in the older backup.
  EXPECT_THAT(blocks_of(gather(wal, behind, end)), ElementsAre(2, 3));
  // The end within the second segment, read from the cluster, which has it whole up to there.
  const std::vector<std::byte> second = wal.bytes({kOne, first + 1});
  wal.remove({kOne, first + 1});
  const auto live = [&](const WalSegment& segment, const WalIndex* before) -> Result<std::optional<WalIndex>> {
    TRY_ASSIGN(WalIndex index, BuiltWal::make(second, segment, before));
    return std::optional<WalIndex>(std::move(index));
  };
  EXPECT_THAT(blocks_of(gather(wal, at(first, 40), end, TimelineHistory(kOne), live)), ElementsAre(1, 2, 3, 77));
}

TEST(GatherWalChanges, SegmentsThatDoNotJoinAreAHole) {
  WalBuilder builder;
  const uint64_t first = builder.options().start.bytes / kSegment;
  builder.add(touch(kTable, 1));
  builder.add_switch();
  const Lsn end = builder.add(touch(kTable, 2));
  BuiltWal wal;
  wal.add(builder);
  EXPECT_THAT(blocks_of(gather(wal, at(first), end)), ElementsAre(1, 2));
  WalBuilder other;  // A twin of the cluster wrote the same positions otherwise.
  other.add(touch(kTable, 1));
  other.add(touch(kTable, 3));
  other.add_switch();
  wal.add(other);
  const WalChanges changes = gather(wal, at(first), end);
  EXPECT_FALSE(changes.blocks.has_value());
  EXPECT_THAT(changes.hole, AllOf(HasSubstr(name(kOne, first + 1)), HasSubstr("does not join")));
}

TEST(GatherWalChanges, ADamagedRecordIsAHole) {
  WalBuilder builder;
  const uint64_t first = builder.options().start.bytes / kSegment;
  builder.add(touch(kTable, 1));
  const Lsn damaged = builder.add(touch(kTable, 2));
  const Lsn end = builder.add(touch(kTable, 3));
  builder.add_switch();
  BuiltWal wal;
  wal.add(builder);
  wal.bytes({kOne, first})[damaged.bytes % kSegment + 30] ^= std::byte{0x10};
  EXPECT_THAT(gather(wal, at(first), end).hole, HasSubstr(name(kOne, first)));
  EXPECT_THAT(blocks_of(gather(wal, at(first), damaged)), ElementsAre(1));
}

BackupMeta backup(const std::string& label, BackupType type, uint64_t number, TimelineId timeline = kOne) {
  BackupMeta meta;
  meta.label = label;
  meta.type = type;
  meta.start_timeline = meta.stop_timeline = timeline;
  meta.start_lsn = at(number, 0x28);
  meta.stop_lsn = at(number, 0x1000);
  meta.checksum_version = 1;
  return meta;
}
PriorRequest request(BackupType type = BackupType::kIncr, const TimelineHistory& history = TimelineHistory(kOne)) {
  return {.type = type, .checksum_version = 1, .now = at(9), .history = history};
}
std::string chosen(const PriorChoice& choice) { return choice.prior ? choice.prior->label : ""; }

TEST(ChoosePrior, TakesTheNewestOfTheTypeItBuildsOn) {
  const std::vector<BackupMeta> backups{backup("A", BackupType::kFull, 2), backup("B", BackupType::kFull, 3),
                                        backup("B_1", BackupType::kDiff, 4), backup("B_2", BackupType::kIncr, 5)};
  EXPECT_EQ(chosen(choose_prior(backups, request())), "B_2");
  EXPECT_EQ(chosen(choose_prior(backups, request(BackupType::kDiff))), "B");
  EXPECT_EQ(choose_prior(backups, request()).reason, "");
  EXPECT_EQ(chosen(choose_prior(backups, request(BackupType::kFull))), "");
}

TEST(ChoosePrior, SaysWhenThereIsNothingToBuildOn) {
  EXPECT_EQ(choose_prior({}, request()).reason, "there is no backup");
  EXPECT_EQ(choose_prior({}, request(BackupType::kDiff)).reason, "there is no full backup");
}

/// Both passed over for a reason that names the newest; with an older one that fits, that is taken.
void expect_passed_over(BackupMeta unfit, const PriorRequest& wanted, const std::string& why) {
  SCOPED_TRACE(why);
  unfit.label = "newest";
  const PriorChoice none = choose_prior({unfit}, wanted);
  EXPECT_EQ(chosen(none), "");
  EXPECT_THAT(none.reason, AllOf(HasSubstr("backup newest"), HasSubstr(why)));
  const PriorChoice older = choose_prior({backup("older", BackupType::kFull, 2), unfit}, wanted);
  EXPECT_EQ(chosen(older), "older");
  EXPECT_EQ(older.reason, none.reason);
}

TEST(ChoosePrior, PassesOverWhatIsOfAnotherKindOfCluster) {
  BackupMeta unfit = backup("", BackupType::kIncr, 5);
  unfit.cluster_number = 2;
  expect_passed_over(unfit, request(), "is of cluster 2");
  unfit = backup("", BackupType::kIncr, 5);
  unfit.checksum_version = 0;
  expect_passed_over(unfit, request(), "before page checksums were turned on");
  unfit = backup("", BackupType::kIncr, 5);
  unfit.relation_segment_blocks = 16;
  expect_passed_over(unfit, request(), "another size");
  unfit = backup("", BackupType::kIncr, 5);
  unfit.block_bytes = 16384;
  expect_passed_over(unfit, request(), "another size");
}

TEST(ChoosePrior, PassesOverWhatTheClusterDoesNotDescendFrom) {
  const PriorRequest wanted = request(BackupType::kIncr, forked());  // Left timeline 1 at 5/4000.
  EXPECT_EQ(chosen(choose_prior({backup("before", BackupType::kFull, 4)}, wanted)), "before");
  BackupMeta at_fork = backup("at the fork", BackupType::kFull, 5);
  at_fork.stop_lsn = at(5, 0x4000);
  EXPECT_EQ(chosen(choose_prior({at_fork}, wanted)), "at the fork");
  BackupMeta across = backup("", BackupType::kFull,
                             5);  // It began before, and has pages of the abandoned part.
  across.stop_lsn = at(5, 0x4001);
  expect_passed_over(across, wanted, "timeline 2 left at 0/504000");
  expect_passed_over(backup("", BackupType::kIncr, 6), wanted, "timeline 2 left at");
  expect_passed_over(backup("", BackupType::kIncr, 6, TimelineId{3}), wanted, "is of timeline 3");
  EXPECT_EQ(chosen(choose_prior({backup("after", BackupType::kIncr, 6, kTwo)}, wanted)), "after");
  BackupMeta promoted = backup("", BackupType::kIncr,
                               5);  // Of a standby that was promoted meanwhile.
  promoted.stop_timeline = kTwo;
  promoted.stop_lsn = at(6);
  EXPECT_TRUE(choose_prior({promoted}, wanted).prior.has_value());
  promoted.start_lsn = at(5, 0x5000);
  EXPECT_FALSE(choose_prior({promoted}, wanted).prior.has_value());
}

TEST(ChoosePrior, PassesOverWhatIsAheadOfTheCluster) {
  PriorRequest wanted = request();
  wanted.now = at(5);
  BackupMeta exact = backup("exact", BackupType::kIncr, 4);
  exact.stop_lsn = at(5);
  EXPECT_EQ(chosen(choose_prior({exact}, wanted)), "exact");
  exact.stop_lsn = at(5, 1);
  expect_passed_over(exact, wanted, "older copy");
}

}  // namespace
}  // namespace pgark
