// Segments as a running server leaves them in pg_wal: half written, recycled, made for later.
#include "ops/live_wal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "testing/scratch.h"
#include "testing/wal_records.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::SampleRecord;
using testing::touch;
using testing::WalBuilder;
using testing::WalBuilderOptions;

constexpr uint32_t kSegment = 1u << 20;
constexpr pg::WalRelation kTable{1663, 5, 16384};
constexpr pg::WalFork kMain{kTable, pg::Fork::kMain};

class LiveWal : public ::testing::Test {
 protected:
  void SetUp() override {
    scratch_ = testing::ScratchDir::create("live").value();
    ASSERT_TRUE(make_directories(scratch_ / "pg_wal").has_value());
  }
  pg::WalSegment segment(uint64_t index = 0) const {
    return {TimelineId{1}, wal_.options().start.bytes / kSegment + index};
  }
  /// Write segment `index` of the builder as it would be while it is written: `behind` after what there is of it.
  void write(uint64_t index = 0, const std::string& behind = std::string(kSegment, '\0')) {
    std::string content(as_text(wal_.bytes()).substr(std::min<size_t>(index * kSegment, wal_.bytes().size())));
    content.resize(std::min<size_t>(content.size(), kSegment));
    content += behind.substr(content.size());
    put(index, content);
  }
  void put(uint64_t index, const std::string& content) {
    const std::string path = scratch_ / "pg_wal/" + pg::segment_name(segment(index), kSegment);
    ASSERT_TRUE(write_file_durable(path, content).has_value());
  }
  Result<std::optional<pg::WalIndex>> read(uint64_t index = 0, const pg::WalIndex* before = nullptr,
                                           Lsn end = Lsn{UINT64_MAX}) const {
    return read_live_segment(scratch_.path(), segment(index), kSegment, end, before);
  }

  testing::ScratchDir scratch_;
  WalBuilder wal_;
};

std::vector<uint32_t> blocks_of(const pg::WalIndex& index) {
  const auto found = index.changes.find(kMain);
  return found == index.changes.end() ? std::vector<uint32_t>{} : found->second.blocks;
}

/// A segment full of WAL of an address before that of the builder, as a recycled file has it.
std::string recycled() {
  WalBuilder old({.start = Lsn{0x80'0000}});
  while (old.bytes().size() < kSegment) old.add(touch(kTable, 99));
  return std::string(as_text(Bytes(old.bytes()).first(kSegment)));
}

TEST_F(LiveWal, EndsWhereTheServerHasWritten) {
  wal_.add(touch(kTable, 1));
  for (int i = 0; i < 50; ++i) wal_.add_bytes(700);
  wal_.add(touch(kTable, 2));
  const uint64_t end = (wal_.position().bytes + 7) / 8 * 8;
  for (const std::string& behind : {std::string(kSegment, '\0'), recycled()}) {
    write(0, behind);
    const auto index = read();
    ASSERT_TRUE(index.has_value() && index->has_value()) << (index ? "none" : index.error().to_string());
    EXPECT_EQ((*index)->valid_to, Lsn{end});
    EXPECT_FALSE((*index)->is_complete());
    EXPECT_THAT(blocks_of(**index), ElementsAre(1, 2));
  }
}

TEST_F(LiveWal, ReadsNotMuchFurtherThanItIsAskedFor) {
  wal_.add(touch(kTable, 1));
  wal_.add_bytes(700);
  const Lsn end = wal_.add(touch(kTable, 2));  // Up to its begin.
  while (wal_.bytes().size() < kSegment / 2) wal_.add_bytes(700);
  wal_.add(touch(kTable, 3));
  write();
  const auto index = read(0, nullptr, end);
  ASSERT_TRUE(index.has_value() && index->has_value()) << (index ? "none" : index.error().to_string());
  EXPECT_GE((*index)->valid_to, end);
  EXPECT_THAT(blocks_of(**index), ElementsAre(1, 2));
  // Of a segment before the end all is read.
  const auto whole = read(0, nullptr, wal_.position());
  ASSERT_TRUE(whole.has_value() && whole->has_value());
  EXPECT_THAT(blocks_of(**whole), ElementsAre(1, 2, 3));
}

TEST_F(LiveWal, DoesNotBelieveHalfARecord) {
  wal_.add(touch(kTable, 1));
  SampleRecord large = touch(kTable, 2);
  large.main_data = testing::sample_bytes(20000);
  const Lsn torn = wal_.add(large);
  wal_.bytes().resize(wal_.bytes().size() - 9000);
  write();
  const auto index = read();
  ASSERT_TRUE(index.has_value() && index->has_value());
  EXPECT_EQ((*index)->valid_to, torn);
  EXPECT_THAT(blocks_of(**index), ElementsAre(1));
}

TEST_F(LiveWal, SaysNothingOfFilesThatAreNotYetThatSegment) {
  const auto none = [&] {
    const auto index = read();
    return index.has_value() && !index->has_value();
  };
  EXPECT_TRUE(none());  // No file.
  put(0, std::string(kSegment, '\0'));
  EXPECT_TRUE(none());
  put(0, recycled());
  EXPECT_TRUE(none());
  wal_.add(touch(kTable, 1));
  write();
  EXPECT_FALSE(none());
  put(0, std::string(as_text(wal_.bytes())));  // Being created: not of its size yet.
  EXPECT_TRUE(none());
  put(0, "");
  EXPECT_TRUE(none());
}

TEST_F(LiveWal, CountsTheRecordThatCrossesIn) {
  // Of a continuation that an index keeps, and of one that is too long for it.
  for (const size_t bytes : {size_t{30000}, size_t{200000}}) {
    SCOPED_TRACE(bytes);
    wal_ = WalBuilder();
    while (wal_.bytes().size() < kSegment - 9000) wal_.add_bytes(600);
    SampleRecord crossing = touch(kTable, 77);
    crossing.main_data = testing::sample_bytes(bytes);
    wal_.add(crossing);
    wal_.add(touch(kTable, 3));
    write(0);
    write(1);
    const auto before = read(0);
    ASSERT_TRUE(before.has_value() && before->has_value());
    ASSERT_TRUE((*before)->fragment.has_value());
    const auto index = read(1, &**before);
    ASSERT_TRUE(index.has_value() && index->has_value()) << (index ? "none" : index.error().to_string());
    EXPECT_THAT(blocks_of(**index), ElementsAre(3, 77));
    const auto alone = read(1);
    ASSERT_TRUE(alone.has_value() && alone->has_value());
    EXPECT_THAT(blocks_of(**alone), ElementsAre(3));
  }
}

TEST_F(LiveWal, RefusesASegmentThatDoesNotJoin) {
  wal_.add(touch(kTable, 1));
  wal_.add_switch();
  wal_.add(touch(kTable, 2));
  write(0);
  const auto before = read(0);
  ASSERT_TRUE(before.has_value() && before->has_value());
  wal_ = WalBuilder();
  wal_.add(touch(kTable, 5));
  wal_.add(touch(kTable, 6));
  wal_.add_switch();
  wal_.add(touch(kTable, 2));
  write(1);
  const auto index = read(1, &**before);
  ASSERT_FALSE(index.has_value());
  EXPECT_EQ(index.error().code(), Errc::kCorrupt);
  EXPECT_THAT(index.error().to_string(), HasSubstr("does not join"));
}

}  // namespace
}  // namespace pgark
