#include "catalog/wal_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/posix_store.h"
#include "testing/fake_wal_catalog.h"
#include "testing/memory_repository.h"
#include "testing/sample_cluster_record.h"
#include "testing/wal_records.h"

namespace pgark {
namespace {

using ::pgark::testing::end_record;
using ::pgark::testing::FakeWalCatalog;
using ::pgark::testing::SampleRecord;
using ::pgark::testing::touch;
using ::pgark::testing::WalBuilder;
using ::pgark::testing::WalBuilderOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kSegmentBytes = 1u << 20;
constexpr pg::WalRelation kTable{1663, 5, 16384};

/// Four segments of made-up WAL of timeline 1, numbers 16 to 19; a commit crosses from 16 into 17, and a long record
/// from 17 over 18 into 19.
class RepositoryWalTest : public ::testing::Test {
 protected:
  RepositoryWalTest() {
    fill();
    first_commit_ = wal_.add(end_record({.xid = Xid{700}, .invalidations = 100}));
    wal_.add(touch(kTable, 1));
    SampleRecord longest = touch(kTable, 77);
    longest.main_data = ::pgark::testing::sample_bytes(size_t{3} << 19);
    fill();
    wal_.add(longest);
    wal_.add(end_record({.xid = Xid{701}}));
    wal_.add_switch();
    repository_ = new_repository(store_);
  }

  /// Up to a hundred bytes or so before the segment's end.
  void fill() {
    const auto left = [&] { return kSegmentBytes - wal_.bytes().size() % kSegmentBytes; };
    while (left() > 9000) wal_.add_bytes(4000);
    while (left() > 400) wal_.add_bytes(200);
  }

  Bytes content(uint64_t number) { return Bytes(wal_.bytes()).subspan((number - 16) * kSegmentBytes, kSegmentBytes); }
  static pg::WalSegment segment(uint64_t number, uint32_t timeline = 1) { return {TimelineId{timeline}, number}; }
  static ObjectKey key(uint64_t number, unsigned generation = 0, uint32_t timeline = 1) {
    return wal_key("main", 1, pg::segment_name(segment(number, timeline), kSegmentBytes), generation).value();
  }
  std::vector<std::byte> index_of(uint64_t number) {
    return pg::encode_wal_index(pg::make_wal_index(content(number), segment(number)).value());
  }
  void put(uint64_t number, Bytes index, unsigned generation = 0) {
    ASSERT_TRUE(
        write_stored_file(*repository_, key(number, generation), content(number), "{}", Codec::kZstd, 1, 1, index)
            .has_value());
  }
  void put_all() {
    for (uint64_t number = 16; number < 20; ++number) put(number, index_of(number));
  }
  void flip(const ObjectKey& victim, uint64_t from_end) {
    auto object = store_.get(victim);
    ASSERT_TRUE(object.has_value());
    object->data()[object->size() - from_end] ^= std::byte{1};
    ASSERT_TRUE(store_.remove(victim).value());
    ASSERT_TRUE(store_.put(victim, *object).has_value());
  }
  RepositoryWal open() {
    auto wal = RepositoryWal::open(*repository_, "main", cluster_);
    EXPECT_TRUE(wal.has_value()) << wal.error().to_string();
    return std::move(*wal);
  }

  WalBuilder wal_{WalBuilderOptions{.segment_bytes = kSegmentBytes}};
  Lsn first_commit_;
  FaultStore store_{std::make_unique<MemoryStore>()};
  std::unique_ptr<Repository> repository_;
  ClusterRecord cluster_ = testing::sample_cluster_record(WalBuilderOptions{}.system_id, kSegmentBytes);
};

TEST_F(RepositoryWalTest, ListsSegmentsAndHistories) {
  put_all();
  put(17, {}, 1);
  ASSERT_TRUE(write_stored_file(*repository_, key(18, 0, 2), content(18), "{}").has_value());
  const ObjectKey history = wal_key("main", 1, "00000002.history").value();
  ASSERT_TRUE(write_stored_file(*repository_, history, as_bytes("1\t0/1200000\tno reason\n"), "{}").has_value());
  const RepositoryWal wal = open();
  EXPECT_EQ(wal.segment_bytes(), kSegmentBytes);
  EXPECT_THAT(wal.timelines(), ElementsAre(TimelineId{1}, TimelineId{2}));
  EXPECT_THAT(wal.segments_of(TimelineId{1}), ElementsAre(16, 17, 18, 19));
  EXPECT_THAT(wal.segments_of(TimelineId{2}), ElementsAre(18));
  EXPECT_THAT(wal.segments_of(TimelineId{3}), IsEmpty());
  EXPECT_TRUE(wal.has(segment(18, 2)));
  EXPECT_FALSE(wal.has(segment(19, 2)));
  ASSERT_EQ(wal.histories().size(), 1u);
  EXPECT_EQ(wal.histories()[0].timeline(), TimelineId{2});
  EXPECT_EQ(wal.histories()[0].begin(), Lsn{0x120'0000});
}

TEST_F(RepositoryWalTest, DamagedHistoryIsRepairedByItsCopyOrNamed) {
  const ObjectKey history = wal_key("main", 1, "00000002.history").value();
  ASSERT_TRUE(write_stored_file(*repository_, history, as_bytes("1\t0/1200000\tno reason\n"), "{}").has_value());
  flip(history, 5);
  const auto refused = RepositoryWal::open(*repository_, "main", cluster_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kCorrupt);
  EXPECT_THAT(refused.error().message(), HasSubstr("00000002.history"));
  const ObjectKey copy = wal_key("main", 1, "00000002.history", 1).value();
  ASSERT_TRUE(write_stored_file(*repository_, copy, as_bytes("1\t0/1200000\tno reason\n"), "{}").has_value());
  EXPECT_EQ(open().histories().size(), 1u);
}

TEST_F(RepositoryWalTest, IndexIsReadWithoutItsSegment) {
  // Of a size that does not fit into one read of the object's end.
  std::vector<std::byte> raw = ::pgark::testing::sample_bytes(kSegmentBytes);
  pg::WalIndex index = pg::make_wal_index(content(16), segment(16)).value();
  for (uint32_t i = 0; i < 50000; ++i) index.changes[{kTable, pg::Fork::kMain}].blocks.push_back(i * i);
  ASSERT_TRUE(
      write_stored_file(*repository_, key(16), raw, "{}", Codec::kNone, 1, 1, pg::encode_wal_index(index)).has_value());
  RepositoryWal wal = open();
  const uint64_t read_before = store_.bytes_read();
  const uint64_t calls_before = store_.calls();
  const auto got = wal.index(segment(16));
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(*got, index);
  EXPECT_LT(store_.bytes_read() - read_before, kSegmentBytes / 2);
  EXPECT_LE(store_.calls() - calls_before, 3u);  // Size, end, index.
}

TEST_F(RepositoryWalTest, SegmentWithoutIndexIsIndexedWhenNeeded) {
  put_all();
  for (const uint64_t number : {16u, 17u, 18u, 19u}) ASSERT_TRUE(store_.remove(key(number)).value());
  for (const uint64_t number : {16u, 17u, 18u, 19u}) put(number, {});
  RepositoryWal wal = open();
  EXPECT_EQ(wal.index(segment(17)).value(), pg::make_wal_index(content(17), segment(17)).value());
}

TEST_F(RepositoryWalTest, IndexThatCannotBeUsedIsMadeAnew) {
  const pg::WalIndex want = pg::make_wal_index(content(17), segment(17)).value();
  std::vector<std::byte> newer = index_of(17);
  newer[0] = std::byte{99};
  pg::WalIndex foreign = want;
  foreign.system_id += 1;
  for (const auto& stored : {newer, index_of(16), pg::encode_wal_index(foreign), ::pgark::testing::sample_bytes(100)}) {
    put(17, stored);
    RepositoryWal wal = open();
    const auto got = wal.index(segment(17));
    ASSERT_TRUE(got.has_value()) << got.error().to_string();
    EXPECT_EQ(*got, want);
    ASSERT_TRUE(store_.remove(key(17)).value());
  }
}

TEST_F(RepositoryWalTest, DamagedCopiesArePassedOver) {
  put(17, index_of(17));
  flip(key(17), 10);
  {
    RepositoryWal wal = open();
    const auto got = wal.index(segment(17));
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code(), Errc::kCorrupt);
    EXPECT_THAT(got.error().message(), HasSubstr("000000010000000000000011"));
    EXPECT_EQ(wal.transaction_ends(segment(17)).error().code(), Errc::kCorrupt);
  }
  put(17, index_of(17), 1);
  RepositoryWal wal = open();
  EXPECT_EQ(wal.index(segment(17)).value(), pg::make_wal_index(content(17), segment(17)).value());
  EXPECT_TRUE(wal.transaction_ends(segment(17)).has_value());
}

TEST_F(RepositoryWalTest, AbsentSegmentIsNotFound) {
  RepositoryWal wal = open();
  EXPECT_EQ(wal.index(segment(17)).error().code(), Errc::kNotFound);
  EXPECT_EQ(wal.transaction_ends(segment(17)).error().code(), Errc::kNotFound);
}

TEST_F(RepositoryWalTest, TroubleOfTheStoreIsNotAbsence) {
  put_all();
  RepositoryWal wal = open();
  for (const Errc code : {Errc::kTransient, Errc::kPermission}) {
    store_.set_rules({{.prefix = "main/wal/1/00000001/", .nth = 1, .every = 1, .code = code}});
    EXPECT_EQ(wal.index(segment(17)).error().code(), code);
    EXPECT_EQ(wal.transaction_ends(segment(17)).error().code(), code);
    EXPECT_THAT(store_.unfired(), IsEmpty());
  }
}

TEST_F(RepositoryWalTest, WalkJoinsWhatCrossesEvenIfAnIndexHoldsTooLittle) {
  put_all();
  RepositoryWal wal = open();
  WalWalk walk(wal, pg::TimelineHistory(TimelineId{1}), Lsn{16 * uint64_t{kSegmentBytes} + 100});
  std::vector<pg::WalIndex> indexes;
  for (;;) {
    auto index = walk.next();
    ASSERT_TRUE(index.has_value()) << index.error().to_string();
    if (!*index) break;
    EXPECT_EQ(walk.segment(), (*index)->segment);
    const auto ends = wal.transaction_ends(walk.segment(), walk.before());
    ASSERT_TRUE(ends.has_value()) << ends.error().to_string();
    if (walk.segment().number == 17) {
      ASSERT_EQ(ends->size(), 1u);
      EXPECT_EQ((*ends)[0].lsn, first_commit_);
    }
    indexes.push_back(std::move(**index));
  }
  ASSERT_EQ(indexes.size(), 4u);
  EXPECT_EQ(walk.segment(), segment(20));
  EXPECT_EQ(indexes[1].first_commit->lsn, first_commit_);
  EXPECT_GT(indexes[2].continuation_bytes, pg::kWalContinuationKeptMax);
  const auto& blocks = indexes[3].changes.at({kTable, pg::Fork::kMain}).blocks;
  EXPECT_THAT(blocks, ElementsAre(77));
  EXPECT_EQ(indexes[3].first_commit->xid, Xid{701});
}

TEST_F(RepositoryWalTest, WalkRefusesSegmentsThatDoNotJoin) {
  WalBuilder other(WalBuilderOptions{.segment_bytes = kSegmentBytes, .start = Lsn{17 * uint64_t{kSegmentBytes}}});
  other.add_bytes(100);
  other.add_switch();
  put(16, index_of(16));
  ASSERT_TRUE(write_stored_file(*repository_, key(17), other.bytes(), "{}").has_value());
  RepositoryWal wal = open();
  WalWalk walk(wal, pg::TimelineHistory(TimelineId{1}), Lsn{16 * uint64_t{kSegmentBytes}});
  ASSERT_TRUE(walk.next().has_value());
  const auto refused = walk.next();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kCorrupt);
  EXPECT_THAT(refused.error().message(), HasSubstr("000000010000000000000011 does not join"));
}

/// WAL with indexes as the first version wrote it: it stays readable for ever, and its indexes are what would be made
/// today.
TEST(GoldenWal, StaysReadable) {
  auto store = PosixStore::open(PGARK_SOURCE_DIR "/tests/golden/format-1-wal/repo");
  ASSERT_TRUE(store.has_value()) << store.error().to_string();
  const auto repository = Repository::open(**store).value();
  const ClusterRecord cluster = current_cluster(*repository, "main").value();
  RepositoryWal wal = RepositoryWal::open(*repository, "main", cluster).value();
  EXPECT_THAT(wal.segments_of(TimelineId{1}), ElementsAre(2, 3));
  for (const uint64_t number : {2u, 3u}) {
    const pg::WalSegment segment{TimelineId{1}, number};
    const ObjectKey key = wal_key("main", 1, pg::segment_name(segment, kSegmentBytes)).value();
    const auto stored = read_stored_index(*repository, key);
    ASSERT_TRUE(stored.has_value() && stored->has_value());
    const auto decoded = pg::decode_wal_index(**stored);
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    const auto file = read_stored_file(*repository, key);
    ASSERT_TRUE(file.has_value()) << file.error().to_string();
    EXPECT_EQ(*decoded, pg::make_wal_index(file->raw, segment).value());
  }
  const pg::WalIndex first = wal.index({TimelineId{1}, 2}).value();
  const pg::WalIndex second = wal.index({TimelineId{1}, 3}, &first).value();
  EXPECT_EQ(first.system_id, 7512345678901234567u);
  EXPECT_EQ(first.first_commit->xid, Xid{730});
  EXPECT_EQ(first.first_commit->time, ::pgark::testing::kSampleNoon);
  EXPECT_EQ(first.minutes.size(), 2u);
  const pg::WalForkChanges& changes = first.changes.at({kTable, pg::Fork::kMain});
  EXPECT_EQ(changes.limit_block, 60u);
  EXPECT_THAT(changes.blocks, ElementsAre(5, 7, 8, 9));
  EXPECT_TRUE(first.fragment.has_value());
  EXPECT_EQ(second.first_commit->xid, Xid{732});
  EXPECT_EQ(second.xid_last, Xid{733});
  EXPECT_EQ(second.changes.at({{1663, 5, 16390}, pg::Fork::kMain}).limit_block, 0u);
  ASSERT_EQ(second.restore_points.size(), 1u);
  EXPECT_EQ(second.restore_points[0].name, "golden");
  EXPECT_EQ(second.whole_databases.size(), 1u);
}

/// Timeline 2 left 1 within segment 4, timeline 3 left 2 right at the start of 7.
class Walking : public ::testing::Test {
 protected:
  static constexpr uint64_t kBytes = kSegmentBytes;

  std::vector<std::string> walk(uint64_t from = 2) {
    std::vector<std::string> out;
    WalWalk walk(wal_, history_, Lsn{from * kBytes + 40});
    for (;;) {
      const auto index = walk.next();
      if (!index) {
        out.push_back(std::string(errc_name(index.error().code())));
        return out;
      }
      const std::string name =
          std::to_string(walk.segment().timeline.value) + "/" + std::to_string(walk.segment().number);
      if (!*index) {
        out.push_back("end " + name);
        return out;
      }
      out.push_back(name);
    }
  }

  pg::TimelineHistory history_{TimelineId{3},
                               {{TimelineId{1}, Lsn{4 * kBytes + 500}, ""}, {TimelineId{2}, Lsn{7 * kBytes}, ""}}};
  FakeWalCatalog wal_{kSegmentBytes};
};

TEST_F(Walking, TakesTheNewestTimelineThatHadBegun) {
  wal_.add_empty(TimelineId{1}, 1, 9);
  wal_.add_empty(TimelineId{2}, 4, 8);
  wal_.add_empty(TimelineId{3}, 7, 8);
  EXPECT_THAT(walk(), ElementsAre("1/2", "1/3", "2/4", "2/5", "2/6", "3/7", "3/8", "end 3/9"));
  EXPECT_THAT(walk(5), ElementsAre("2/5", "2/6", "3/7", "3/8", "end 3/9"));
  EXPECT_THAT(walk(12), ElementsAre("end 3/12"));
}

TEST_F(Walking, EndsWhereASegmentIsMissing) {
  wal_.add_empty(TimelineId{1}, 1, 4);
  wal_.add_empty(TimelineId{2}, 4, 6);
  wal_.add_empty(TimelineId{3}, 8, 9);
  EXPECT_THAT(walk(), ElementsAre("1/2", "1/3", "2/4", "2/5", "2/6", "end 3/7"));
  wal_.remove({TimelineId{2}, 5});
  EXPECT_THAT(walk(), ElementsAre("1/2", "1/3", "2/4", "end 2/5"));
}

TEST_F(Walking, AncestorStandsInUpToWhereItWasLeft) {
  wal_.add_empty(TimelineId{1}, 1, 9);
  wal_.add_empty(TimelineId{2}, 5, 6);
  EXPECT_THAT(walk(), ElementsAre("1/2", "1/3", "1/4", "end 2/4"));
}

TEST_F(Walking, DamageIsAnError) {
  wal_.add_empty(TimelineId{1}, 1, 9);
  wal_.damage({TimelineId{1}, 3});
  EXPECT_THAT(walk(), ElementsAre("1/2", "corrupt"));
}

TEST_F(Walking, FindsTheSegmentRecoveryWouldRead) {
  wal_.add_empty(TimelineId{1}, 3, 5);
  wal_.add_empty(TimelineId{3}, 4, 7);
  const auto found = [&](uint64_t number) {
    const auto segment = find_segment_on(wal_, history_, number);
    return segment ? segment->timeline.value : 0;
  };
  EXPECT_EQ(found(3), 1u);
  EXPECT_EQ(found(4), 1u);  // Timeline 3 had not begun.
  EXPECT_EQ(found(5), 0u);  // Nor did timeline 1 go on in this history.
  EXPECT_EQ(found(6), 0u);
  EXPECT_EQ(found(7), 3u);
}

}  // namespace
}  // namespace pgark
