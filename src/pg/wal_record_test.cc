#include "pg/wal_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/clock.h"
#include "testing/wal_builder.h"

namespace pgark::pg {
namespace {

using pgark::testing::encode_record;
using pgark::testing::sample_bytes;
using pgark::testing::SampleBlock;
using pgark::testing::SampleRecord;
using ::testing::HasSubstr;

constexpr uint32_t kPage = 8192;

std::vector<uint32_t> all_majors() {
  std::vector<uint32_t> out;
  for (const PgVersionFacts& facts : pg_versions()) out.push_back(facts.major.value);
  return out;
}

WalBlockRef plain_ref(uint8_t id, uint32_t block) {
  WalBlockRef ref;
  ref.id = id;
  ref.data_bytes = 5;
  ref.relation = {kDefaultTablespaceOid, 5, 16384};
  ref.block = block;
  return ref;
}

WalBlockRef image_ref(uint8_t id, WalImageCompression compression, uint16_t image_bytes, uint16_t hole_offset,
                      uint16_t hole) {
  WalBlockRef ref = plain_ref(id, 7);
  ref.data_bytes = 0;
  ref.has_image = true;
  ref.image_applies = true;
  ref.image_compression = compression;
  ref.image_bytes = image_bytes;
  ref.hole_offset_bytes = hole_offset;
  ref.hole_bytes = hole;
  return ref;
}

Result<WalRecordHead> decode(Bytes raw, uint32_t major) {
  WalRecordHead out;
  TRY(decode_wal_record_head(raw, PgMajor{major}, kPage, out));
  return out;
}

void expect_same(const WalBlockRef& got, const WalBlockRef& want) {
  EXPECT_EQ(got.id, want.id);
  EXPECT_EQ(got.fork, want.fork);
  EXPECT_EQ(got.has_image, want.has_image);
  EXPECT_EQ(got.image_applies, want.image_applies);
  EXPECT_EQ(got.will_init, want.will_init);
  EXPECT_EQ(got.image_compression, want.image_compression);
  EXPECT_EQ(got.image_bytes, want.image_bytes);
  EXPECT_EQ(got.hole_offset_bytes, want.hole_offset_bytes);
  EXPECT_EQ(got.hole_bytes, want.hole_bytes);
  EXPECT_EQ(got.data_bytes, want.data_bytes);
  EXPECT_EQ(got.relation, want.relation);
  EXPECT_EQ(got.block, want.block);
}

class WalRecordOf : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Each, WalRecordOf, ::testing::ValuesIn(all_majors()),
                         [](const auto& major) { return "Pg" + std::to_string(major.param); });

TEST_P(WalRecordOf, DecodesWhatWasWritten) {
  const uint32_t major = GetParam();
  SampleRecord record{.rmgr = wal_rmgr::kBtree, .info = 0x31, .xid = Xid{4711}};
  record.blocks.push_back({image_ref(0, WalImageCompression::kNone, 5000, 100, 3192)});
  record.blocks.push_back({plain_ref(1, 0xffff'fffe), true});
  record.blocks.push_back({image_ref(4, WalImageCompression::kPglz, 700, 28, 4000), true});
  WalBlockRef check = image_ref(5, WalImageCompression::kPglz, 700, 0, 0);
  check.image_applies = false;
  check.fork = Fork::kVisibilityMap;
  check.data_bytes = 65535;
  check.relation = {kGlobalTablespaceOid, 0, 1262};
  record.blocks.push_back({check});
  WalBlockRef last = plain_ref(32, 1);
  last.will_init = true;
  last.fork = Fork::kInit;
  record.blocks.push_back({last});
  if (major >= 15) {
    record.blocks[2].ref.image_compression = WalImageCompression::kLz4;
    record.blocks[3].ref.image_compression = WalImageCompression::kZstd;
  }
  record.main_data = sample_bytes(300);
  record.origin = 17;
  if (major >= 14) record.top_xid = Xid{4000};

  const auto raw = encode_record(record, Lsn{0x1'2345'6780}, PgMajor{major});
  const auto got = decode(raw, major);
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(got->header.total_bytes, raw.size());
  EXPECT_EQ(got->header.xid, Xid{4711});
  EXPECT_EQ(got->header.prev, Lsn{0x1'2345'6780});
  EXPECT_EQ(got->header.rmgr, wal_rmgr::kBtree);
  EXPECT_EQ(got->header.opcode(), 0x30);
  EXPECT_TRUE(got->header.changes_relation_files());
  EXPECT_EQ(got->origin, 17);
  EXPECT_EQ(got->top_xid, record.top_xid);
  EXPECT_EQ(got->image_bytes, 5000u + 700 + 700);
  EXPECT_EQ(got->main_data_bytes, 300u);
  EXPECT_EQ(got->main_data_offset_bytes, raw.size() - 300);
  ASSERT_EQ(got->blocks().size(), record.blocks.size());
  for (size_t i = 0; i < record.blocks.size(); ++i) {
    SCOPED_TRACE(i);
    expect_same(got->blocks()[i], record.blocks[i].ref);
  }
  EXPECT_TRUE(decode(Bytes(raw).first(kWalRecordHeadBytesMax), major).has_value());
}

TEST(WalRecord, ReadsImageFlagsByVersion) {
  // 0x02 and 0x04 changed places in 15.
  SampleRecord record;
  record.blocks.push_back({image_ref(0, WalImageCompression::kNone, 8192, 0, 0)});
  const auto of_15 = encode_record(record, Lsn{8}, PgMajor{15});
  EXPECT_TRUE(decode(of_15, 15)->blocks()[0].image_applies);
  EXPECT_THAT(decode(of_15, 14).error().message(), HasSubstr("flags 02"));
}

TEST(WalRecord, LongestHeadFitsItsBound) {
  SampleRecord record;
  for (uint8_t id = 0; id < kWalBlockRefsMax; ++id)
    record.blocks.push_back({image_ref(id, WalImageCompression::kPglz, 100, 24, 24)});
  record.origin = 1;
  record.top_xid = Xid{1};
  record.main_data = sample_bytes(70000);
  const auto raw = encode_record(record, Lsn{8}, PgMajor{15});
  EXPECT_EQ(raw.size(), kWalRecordHeadBytesMax + 33 * 100 + 70000);
  EXPECT_TRUE(decode(Bytes(raw).first(kWalRecordHeadBytesMax), 15).has_value());
  EXPECT_THAT(decode(Bytes(raw).first(kWalRecordHeadBytesMax - 1), 15).error().message(), HasSubstr("pass the end"));
}

TEST(WalRecord, RejectsHeadersThatContradictThemselves) {
  const auto refuse = [](const SampleRecord& record, std::string_view why, size_t at = 0, uint8_t value = 0) {
    auto raw = encode_record(record, Lsn{8}, PgMajor{15});
    if (at > 0) raw[at] = std::byte{value};
    const auto got = decode(raw, 15);
    ASSERT_FALSE(got.has_value()) << why;
    EXPECT_EQ(got.error().code(), Errc::kCorrupt);
    EXPECT_THAT(got.error().message(), HasSubstr(std::string(why)));
  };
  const SampleRecord two{.blocks = {{plain_ref(3, 1)}, {plain_ref(2, 1)}}};
  refuse(two, "block reference 2 follows 3");
  refuse({.blocks = {{plain_ref(0, 1), true}}}, "where none came before");
  const SampleRecord one{.blocks = {{plain_ref(0, 1)}}, .main_data = sample_bytes(9)};
  refuse(one, "is of fork 4", 25, 0x24);
  refuse(one, "against its flags", 25, 0x00);
  refuse(one, "header id 33", 24, 33);
  refuse(one, "bytes of data in a record of", 26, 6);
  refuse({.main_data = sample_bytes(9)}, "announce", 25, 8);
  refuse({.blocks = {{image_ref(0, WalImageCompression::kNone, 8191, 0, 0)}}}, "cannot be");
  refuse({.blocks = {{image_ref(0, WalImageCompression::kNone, 8092, 8150, 100)}}}, "hole of 100 at 8150");
  refuse({.blocks = {{image_ref(0, WalImageCompression::kPglz, 8192, 0, 0)}}}, "cannot be");
  refuse({.blocks = {{image_ref(0, WalImageCompression::kZstd, 50, 24, 100)}}}, "flags 1B", 32, 0x1b);
  EXPECT_EQ(decode(sample_bytes(23), 15).error().code(), Errc::kCorrupt);
}

TEST(WalRecord, KnowsResourceManagersByVersion) {
  EXPECT_TRUE(is_wal_rmgr(wal_rmgr::kLogicalMessage, PgMajor{10}));
  EXPECT_FALSE(is_wal_rmgr(wal_rmgr::kXlog2, PgMajor{18}));
  EXPECT_TRUE(is_wal_rmgr(wal_rmgr::kXlog2, PgMajor{19}));
  EXPECT_FALSE(is_wal_rmgr(WalRmgr{23}, PgMajor{19}));
  EXPECT_FALSE(is_wal_rmgr(wal_rmgr::kCustomMin, PgMajor{14}));
  EXPECT_TRUE(is_wal_rmgr(WalRmgr{255}, PgMajor{15}));
  EXPECT_EQ(to_string(wal_rmgr::kHeap2), "Heap2");
  EXPECT_EQ(to_string(wal_rmgr::kXlog2), "XLOG2");
  EXPECT_EQ(to_string(wal_rmgr::kCustomMin), "custom128");
}

TEST(WalFragment, GivesTheSameRecordHoweverItIsCut) {
  const char* env = std::getenv("SEED");
  const uint64_t seed = env != nullptr ? std::strtoull(env, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  const WalFragment::Limits limits{PgMajor{15}, kPage, size_t{1} << 20};
  for (const size_t main_bytes : {0u, 10u, 890u, 891u, 892u, 899u, 900u, 901u, 902u, 903u, 904u, 40000u}) {
    for (const bool with_image : {false, true}) {
      SampleRecord record{.main_data = sample_bytes(main_bytes)};
      if (with_image) record.blocks.push_back({image_ref(0, WalImageCompression::kNone, 8192, 0, 0)});
      const auto raw = encode_record(record, Lsn{8}, PgMajor{15});
      for (int round = 0; round < 20; ++round) {
        WalFragment fragment;
        fragment.begin(Lsn{4096}, static_cast<uint32_t>(raw.size()));
        while (fragment.missing_bytes() > 0) {
          const size_t bytes = std::min<size_t>(fragment.missing_bytes(), rng.below(round < 10 ? 40 : 9000));
          fragment.append(Bytes(raw).subspan(fragment.seen_bytes(), bytes), limits);
        }
        ASSERT_TRUE(fragment.crc_matches());
        WalRecord got;
        ASSERT_TRUE(fragment.decode(limits, got).has_value());
        ASSERT_EQ(got.lsn, Lsn{4096});
        ASSERT_TRUE(std::ranges::equal(got.main_data, record.main_data)) << main_bytes;
        ASSERT_TRUE(got.main_data_is_whole());
      }
    }
  }
}

TEST(WalFragment, KeepsNoMoreMainDataThanAsked) {
  const SampleRecord record{.main_data = sample_bytes(100000)};
  const auto raw = encode_record(record, Lsn{8}, PgMajor{15});
  for (const size_t kept : {0u, 1u, 900u, 5000u}) {
    const WalFragment::Limits limits{PgMajor{15}, kPage, kept};
    WalFragment fragment;
    fragment.begin(Lsn{4096}, static_cast<uint32_t>(raw.size()));
    while (fragment.missing_bytes() > 0)
      fragment.append(Bytes(raw).subspan(fragment.seen_bytes()).first(std::min(8000u, fragment.missing_bytes())),
                      limits);
    WalRecord got;
    ASSERT_TRUE(fragment.decode(limits, got).has_value());
    EXPECT_TRUE(fragment.crc_matches());
    EXPECT_FALSE(got.main_data_is_whole());
    EXPECT_EQ(got.main_data_bytes, 100000u);
    EXPECT_EQ(got.main_data.size(), kept);
    EXPECT_TRUE(std::ranges::equal(got.main_data, Bytes(record.main_data).first(kept)));
  }
}

}  // namespace
}  // namespace pgark::pg
