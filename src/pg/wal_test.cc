// First pages of real segments are in golden_samples_test.cc.
#include "pg/wal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/clock.h"

namespace pgark::pg {
namespace {

constexpr uint32_t kMiB = 1u << 20;
constexpr TimelineId kOne{1};

TEST(WalSegment, NamesAreThoseOfPostgresForEverySegmentSize) {
  // pg_walfile_name of position 2/34567890 for each size.
  const Lsn lsn{0x2'3456'7890};
  EXPECT_EQ(segment_name(segment_at(kOne, lsn, 1 * kMiB), 1 * kMiB), "000000010000000200000345");
  EXPECT_EQ(segment_name(segment_at(kOne, lsn, 16 * kMiB), 16 * kMiB), "000000010000000200000034");
  EXPECT_EQ(segment_name(segment_at(kOne, lsn, 64 * kMiB), 64 * kMiB), "00000001000000020000000D");
  EXPECT_EQ(segment_name(segment_at(kOne, lsn, 1024 * kMiB), 1024 * kMiB), "000000010000000200000000");
}

TEST(WalSegment, NamesReadBackForEverySegmentSize) {
  const char* env = std::getenv("SEED");
  const uint64_t seed = env != nullptr ? std::strtoull(env, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (uint32_t bytes = kWalSegmentBytesMin; bytes <= kWalSegmentBytesMax; bytes *= 2) {
    for (int round = 0; round < 100; ++round) {
      const TimelineId timeline{static_cast<uint32_t>(1 + rng.below(0xffffffff))};
      const WalSegment segment = segment_at(timeline, Lsn{rng.next() >> rng.below(64)}, bytes);
      const std::string name = segment_name(segment, bytes);
      ASSERT_EQ(name.size(), 24u);
      EXPECT_EQ(parse_segment_name(name, bytes).value(), segment);
      EXPECT_EQ(to_string(parse_wal_file_name(name).value()), name);
      EXPECT_EQ(segment_at(timeline, segment_start(segment, bytes), bytes), segment);
    }
  }
}

TEST(WalSegment, BoundariesBelongToTheNextSegment) {
  const Lsn boundary{0x1'0000'0000};
  const WalSegment at = segment_at(kOne, boundary, 16 * kMiB);
  EXPECT_EQ(segment_name(at, 16 * kMiB), "000000010000000100000000");
  EXPECT_EQ(segment_name(segment_before(kOne, boundary, 16 * kMiB), 16 * kMiB), "0000000100000000000000FF");
  EXPECT_EQ(segment_before(kOne, boundary, 16 * kMiB).next(), at);
  EXPECT_EQ(segment_end(segment_before(kOne, boundary, 16 * kMiB), 16 * kMiB), boundary);
  EXPECT_EQ(segment_before(kOne, Lsn{boundary.bytes + 1}, 16 * kMiB), at);
}

TEST(WalSegment, RejectsNamesThatCannotBe) {
  for (const char* name : {"", "00000001000000000000000", "0000000100000000000000011", "00000001000000000000000g",
                           "00000001000000000000000a", "000000000000000000000001", "000000010000000000000001.partial"})
    EXPECT_EQ(parse_segment_name(name, 16 * kMiB).error().code(), Errc::kInvalid) << name;
  EXPECT_TRUE(parse_segment_name("0000000100000000000000FF", 16 * kMiB).has_value());
  EXPECT_EQ(parse_segment_name("000000010000000000000100", 16 * kMiB).error().message(),
            "WAL segment 000000010000000000000100 cannot exist with segments of 16 MiB");
  EXPECT_TRUE(parse_segment_name("000000010000000000000FFF", 1 * kMiB).has_value());
  EXPECT_FALSE(parse_segment_name("000000010000000000000004", 1024 * kMiB).has_value());
}

TEST(WalSegment, SizesArePowersOfTwoInRange) {
  for (const uint64_t good : {1ull << 20, 16ull << 20, 1ull << 30}) EXPECT_TRUE(is_wal_segment_bytes(good));
  for (const uint64_t bad : {0ull, 1ull << 19, 3ull << 20, (16ull << 20) + 1, 1ull << 31, 1ull << 32})
    EXPECT_FALSE(is_wal_segment_bytes(bad)) << bad;
}

TEST(WalFileName, ClassifiesWhatPostgresHandsOver) {
  const WalSegmentName segment{.timeline = {2}, .log = 1, .seg = 0xab};
  const auto parse = [](const char* name) { return parse_wal_file_name(name).value(); };
  EXPECT_EQ(parse("0000000200000001000000AB"), WalFileName(segment));
  EXPECT_EQ(parse("0000000200000001000000AB.partial"), WalFileName(WalPartialName{segment}));
  EXPECT_EQ(parse("0000000200000001000000AB.00000028.backup"), WalFileName(WalBackupName{segment, 0x28}));
  EXPECT_EQ(parse("0000000A.history"), WalFileName(WalHistoryName{TimelineId{10}}));
  for (const char* name : {"0000000200000001000000AB", "0000000200000001000000AB.partial",
                           "0000000200000001000000AB.00000028.backup", "0000000A.history"})
    EXPECT_EQ(to_string(parse(name)), name);
}

TEST(WalFileName, RejectsEverythingElse) {
  for (const char* name :
       {"", ".", "..", "0000000200000001000000AB.", "0000000200000001000000AB.PARTIAL",
        "0000000200000001000000AB.partial2", "0000000200000001000000AB.0000028.backup",
        "0000000200000001000000AB.00000028.backup.x", "0000000200000001000000AB.0000002g.backup", "0000000a.history",
        "00000000.history", "0000000A.histor", "A.history", "xlogtemp.123", "RECOVERYXLOG", "archive_status",
        "0000000200000001000000AB/", "../0000000200000001000000", "0000000200000001000000ab"})
    EXPECT_EQ(parse_wal_file_name(name).error().code(), Errc::kInvalid) << name;
}

TEST(WalFileName, BackupHistoryNameHoldsTheOffset) {
  const Lsn start{0x0'1200'0028};
  EXPECT_EQ(backup_history_name(segment_at(kOne, start, 16 * kMiB), start, 16 * kMiB),
            "000000010000000000000012.00000028.backup");
}

TEST(WalPageHeader, DecodesShortAndLongHeaders) {
  std::vector<std::byte> page(40);
  const auto set = [&](size_t at, auto value) { std::memcpy(page.data() + at, &value, sizeof value); };
  set(0, uint16_t{0xd110});
  set(2, uint16_t{0x0001});
  set(4, uint32_t{7});
  set(8, uint64_t{0x123456000});
  set(16, uint32_t{55});
  WalPageHeader h = decode_wal_page_header(Bytes(page).first(24)).value();
  EXPECT_FALSE(h.is_long);
  EXPECT_EQ(h.header_bytes(), 24u);
  EXPECT_TRUE(h.first_is_continuation());
  EXPECT_EQ(h.timeline.value, 7u);
  EXPECT_EQ(h.address.bytes, 0x123456000u);
  EXPECT_EQ(h.rem_len_bytes, 55u);

  set(2, uint16_t{0x0002});
  set(24, uint64_t{42});
  set(32, uint32_t{16 * kMiB});
  set(36, uint32_t{8192});
  EXPECT_EQ(decode_wal_page_header(Bytes(page).first(39)).error().code(), Errc::kCorrupt);
  h = decode_wal_page_header(page).value();
  EXPECT_EQ(h.header_bytes(), 40u);
  EXPECT_EQ(h.system_id, 42u);
  EXPECT_EQ(h.segment_bytes, 16 * kMiB);

  set(2, uint16_t{0x0010});
  EXPECT_EQ(decode_wal_page_header(page).error().message(), "WAL page has unknown flags 0010");
  set(0, uint16_t{0xd093});
  EXPECT_EQ(decode_wal_page_header(page).error().message(), "WAL page magic D093 is of no known PostgreSQL version");
}

TEST(WalPageHeader, OverwrittenContinuationMovedInNineteen) {
  WalPageHeader h;
  h.info = 0x0004;
  EXPECT_FALSE(h.first_is_overwritten_continuation(PgMajor{18}));
  EXPECT_TRUE(h.first_is_overwritten_continuation(PgMajor{19}));
  h.info = 0x0008;
  EXPECT_TRUE(h.first_is_overwritten_continuation(PgMajor{15}));
}

}  // namespace
}  // namespace pgark::pg
