// The stored form of an index: it comes back as it was, the first version of it stays readable, and nothing in it is
// trusted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/clock.h"
#include "pg/wal_index.h"

namespace pgark::pg {
namespace {

using ::testing::HasSubstr;

uint64_t seed_of_run() {
  const char* env = std::getenv("SEED");
  return env != nullptr ? std::strtoull(env, nullptr, 10) : random_seed();
}

Timestamp at(int64_t seconds) { return Timestamp(std::chrono::seconds(1'795'348'800 + seconds)); }

/// A record of 5000 bytes of which `seen` are there; all main data.
WalFragment open_record(Lsn lsn, uint32_t seen) {
  ByteWriter raw;
  raw.fixed<uint32_t>(5000);
  raw.fixed<uint32_t>(771);
  raw.fixed<uint64_t>(lsn.bytes - 64);
  raw.fixed<uint32_t>(0x0100);  // Commit.
  raw.fixed<uint32_t>(0);
  raw.fixed<uint8_t>(254);
  raw.fixed<uint32_t>(5000 - 29);
  std::vector<std::byte> bytes = std::move(raw).take();
  bytes.resize(seen, std::byte{7});
  WalFragment out;
  out.begin(lsn, 5000);
  out.append(bytes, {.major = PgMajor{15}, .main_data_kept_bytes_max = 100'000});
  return out;
}

/// One of everything.
WalIndex sample() {
  constexpr uint64_t kStart = 0x1'2300'0000;
  WalIndex index;
  index.major = PgMajor{15};
  index.system_id = 7570000000000000001;
  index.segment_bytes = kWalSegmentBytesDefault;
  index.segment = {TimelineId{3}, kStart / kWalSegmentBytesDefault};
  index.first_timeline = TimelineId{2};
  index.last_timeline = TimelineId{3};
  index.valid_to = Lsn{kStart + 0x80'0000};
  index.end_reason = "crc: record at 1/23800000 has CRC 00000001, expected 00000002";
  index.record_count = 4321;
  index.first_record = Lsn{kStart + 0x100};
  index.first_record_prev = Lsn{kStart - 0x48};
  index.last_record = Lsn{kStart + 0x7f'ff00};
  index.continuation_bytes = 200;
  index.continuation = {std::byte{1}, std::byte{2}, std::byte{3}};
  index.fragment = open_record(Lsn{kStart + 0x7f'ff80}, 40);
  index.changes[{{1663, 5, 1259}, Fork::kMain}].blocks = {0, 1, 2, 3, 9};
  index.changes[{{1663, 5, 16384}, Fork::kMain}].blocks = {7, 100, 101, 0xffff'fffe, 0xffff'ffff};
  index.changes[{{1663, 5, 16384}, Fork::kMain}].limit_block = 50;
  index.changes[{{1663, 5, 16384}, Fork::kVisibilityMap}].blocks = {0};
  index.changes[{{1663, 5, 16385}, Fork::kInit}].limit_block = 0;
  index.changes[{{1664, 0, 1262}, Fork::kMain}].blocks = {0};
  index.whole_databases = {{1663, 16400}, {1700, 16400}};
  index.whole_reasons = 5;
  index.tablespaces_changed = true;
  index.first_commit = {Lsn{kStart + 0x200}, Lsn{kStart + 0x240}, at(1), Xid{770}, false};
  index.last_commit = {Lsn{kStart + 0x7f'0000}, Lsn{kStart + 0x7f'0040}, at(90), Xid{4'000'000'000}, false};
  index.commit_time_min = at(0);
  index.commit_time_max = at(100);
  index.end_time_min = at(-5);
  index.end_time_max = at(105);
  index.has_ends = true;
  index.xid_first = Xid{4'000'000'000};
  index.xid_last = Xid{900};
  index.minutes = {{at(0), 500, 2}, {at(60), 400, 0}, {at(0), 3, 1}};
  index.restore_points = {{Lsn{kStart + 0x300}, Lsn{kStart + 0x370}, at(2), "before the migration"}};
  index.events = {{WalEventKind::kCreate, Lsn{kStart + 0x180}, {}, Xid{770}, {1663, 5, 16385}, 0},
                  {WalEventKind::kDrop, Lsn{kStart + 0x200}, at(1), Xid{770}, {1663, 5, 16384}, 0},
                  {WalEventKind::kDelete, Lsn{kStart + 0x400}, {}, Xid{773}, {1663, 5, 1259}, 5000},
                  {WalEventKind::kDropTablespace, Lsn{kStart + 0x500}, {}, Xid{}, {1700, 0, 0}, 0}};
  return index;
}

/// The first version, as it was written first: never to be changed.
constexpr std::string_view kVersion1 =
    "01f8030f0100b575e40a0e6980808008804003a3020203808080083d6372633a207265636f726420617420312f3233383030"
    "30303020686173204352432030303030303030312c206578706563746564203030303030303032e12180048f0180fcff0705"
    "c8010301020380ffff9b1288272892910309881300000303000040ff7f23010000000001000000000000fe6b130000070707"
    "0707070707070707000402ff0c05eb090401020807957607320eb70100affeffff1f0002000901010002800d00ee09020002"
    "ff0c908001a40d90800180084080c9c0f886b7b006820680f8f7074080a1f05480d0acf30effa9ea558084af5fffb0916480"
    "def36880d0acf30e84b7d38c0103e0d2c41cf403020290030001030101fff3f70770ff9e9d62146265666f72652074686520"
    "6d6967726174696f6e0401ff05ff0c058206828002e28002ff887a0155800888278506a9ec01088004a40d0000d513";

std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> out;
  for (size_t i = 0; i + 1 < text.size(); i += 2)
    out.push_back(static_cast<std::byte>(std::stoul(std::string(text.substr(i, 2)), nullptr, 16)));
  return out;
}

TEST(WalIndexCodec, FirstVersionStaysReadable) {
  EXPECT_EQ(to_hex(encode_wal_index(sample())), kVersion1);
  const auto decoded = decode_wal_index(from_hex(kVersion1));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
  EXPECT_EQ(*decoded, sample());
}

TEST(WalIndexCodec, GivesBackAnEmptyIndex) {
  WalIndex index;
  index.major = PgMajor{19};
  index.segment_bytes = kWalSegmentBytesMin;
  const auto decoded = decode_wal_index(encode_wal_index(index));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
  EXPECT_EQ(*decoded, index);
}

TEST(WalIndexCodec, GivesBackRandomIndexes) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(::testing::Message() << "SEED=" << seed);
  Rng rng(seed);
  for (int round = 0; round < 200; ++round) {
    WalIndex index = sample();
    index.changes.clear();
    for (uint64_t i = rng.below(50); i > 0; --i) {
      const WalRelation relation{static_cast<uint32_t>(1663 + rng.below(2)), static_cast<uint32_t>(rng.below(3)),
                                 static_cast<uint32_t>(rng.next())};
      constexpr std::array kForks{Fork::kMain, Fork::kVisibilityMap, Fork::kInit};
      WalForkChanges& changes = index.changes[{relation, kForks[rng.below(3)]}];
      if (rng.below(3) == 0) changes.limit_block = static_cast<uint32_t>(rng.next());
      uint64_t block = rng.below(1000);
      for (uint64_t n = rng.below(300); n > 0; --n) {
        changes.blocks.push_back(static_cast<uint32_t>(block));
        block += rng.below(4) == 0 ? 1 + rng.below(1u << 20) : 1;
      }
      if (changes.blocks.empty()) changes.limit_block = 0;
    }
    for (uint64_t i = rng.below(50); i > 0; --i) {
      WalEvent event = index.events[rng.below(index.events.size())];
      event.lsn = Lsn{rng.next()};
      event.xid = Xid{static_cast<uint32_t>(rng.below(3))};
      event.relation.relfilenode = static_cast<uint32_t>(rng.next());
      event.count = static_cast<uint32_t>(rng.below(2) * rng.next());
      event.time = Timestamp(std::chrono::microseconds(static_cast<int64_t>(rng.below(2) * rng.next())));
      index.events.push_back(event);
    }
    index.end_time_max = Timestamp::max();
    index.end_time_min = Timestamp::min();
    const auto decoded = decode_wal_index(encode_wal_index(index));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
    ASSERT_EQ(*decoded, index);
  }
}

TEST(WalIndexCodec, RefusesWhatIsCutOrLonger) {
  std::vector<std::byte> raw = encode_wal_index(sample());
  for (size_t bytes = 0; bytes < raw.size(); ++bytes) {
    const auto decoded = decode_wal_index(Bytes(raw).first(bytes));
    ASSERT_FALSE(decoded.has_value()) << bytes;
    EXPECT_EQ(decoded.error().code(), Errc::kCorrupt);
  }
  raw.push_back(std::byte{0});
  EXPECT_THAT(decode_wal_index(raw).error().message(), HasSubstr("left over"));
}

TEST(WalIndexCodec, RefusesAnotherVersion) {
  std::vector<std::byte> raw = encode_wal_index(sample());
  raw[0] = std::byte{2};
  EXPECT_EQ(decode_wal_index(raw).error().code(), Errc::kUnsupported);
}

TEST(WalIndexCodec, ChangedBytesAreRefusedOrMeanSomethingElse) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(::testing::Message() << "SEED=" << seed);
  Rng rng(seed);
  const std::vector<std::byte> good = encode_wal_index(sample());
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> raw = good;
    for (uint64_t n = 1 + rng.below(3); n > 0; --n) raw[rng.below(raw.size())] = static_cast<std::byte>(rng.next());
    const auto decoded = decode_wal_index(raw);
    if (!decoded) continue;
    const auto again = decode_wal_index(encode_wal_index(*decoded));
    ASSERT_TRUE(again.has_value() && *again == *decoded);
  }
}

TEST(WalIndexCodec, RunOfBlocksIsNoLongerThanASegmentAllows) {
  WalIndex index = sample();
  index.changes.clear();
  auto& blocks = index.changes[{{1663, 5, 16384}, Fork::kMain}].blocks;
  blocks.resize(kWalSegmentBytesDefault / 4);
  for (uint32_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  EXPECT_TRUE(decode_wal_index(encode_wal_index(index)).has_value());
  blocks.push_back(static_cast<uint32_t>(blocks.size()));
  EXPECT_THAT(decode_wal_index(encode_wal_index(index)).error().message(), HasSubstr("more blocks"));
}

}  // namespace
}  // namespace pgark::pg
