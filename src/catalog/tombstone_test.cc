// Tombstones: what is written comes back, damage is told, and a store that refuses gathers few of them.
#include "catalog/tombstone.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;

constexpr Timestamp kNow{std::chrono::seconds(1795342500)};

Tombstone sample(unsigned generation = 0) {
  Tombstone tombstone;
  tombstone.label = "20261122-101500F_20261123-101500I";
  tombstone.expired = kNow;
  tombstone.rule = "retention-full";
  tombstone.reason = "older than the last 2 full backups";
  tombstone.cluster_number = 2;
  tombstone.start_timeline = {3};
  tombstone.stop_timeline = {4};
  tombstone.start_lsn = Lsn{0x1600000028};
  tombstone.wal_start = "000000030000001600000000";
  tombstone.wal_stop = "000000040000001600000001";
  tombstone.packs = {{"20261122-101500F", 1}, {"20261122-101500F", 7}, {tombstone.label, 1}};
  tombstone.generation = generation;
  return tombstone;
}

TEST(Tombstone, ComesBackAsItWasWritten) {
  MemoryStore store;
  const auto repository = new_repository(store);
  ASSERT_TRUE(write_tombstone(*repository, "main", sample(1)).has_value());
  ASSERT_TRUE(write_tombstone(*repository, "main", sample()).has_value());
  EXPECT_EQ(write_tombstone(*repository, "main", sample()).error().code(), Errc::kAlreadyExists);
  const auto listed = list_tombstones(*repository, "main");
  ASSERT_TRUE(listed.has_value());
  ASSERT_EQ(listed->size(), 2u);
  const Tombstone& read = listed->front().tombstone;
  EXPECT_EQ(read.label, sample().label);
  EXPECT_EQ(read.key.value, "main/expire/20261122-101500F_20261123-101500I");
  EXPECT_EQ(listed->back().tombstone.key.value, "main/expire/20261122-101500F_20261123-101500I.r1");
  EXPECT_EQ(listed->back().tombstone.generation, 1u);
  EXPECT_EQ(read.expired, kNow);
  EXPECT_EQ(read.rule, sample().rule);
  EXPECT_EQ(read.reason, sample().reason);
  EXPECT_EQ(read.cluster_number, 2u);
  EXPECT_EQ(read.start_timeline, TimelineId{3});
  EXPECT_EQ(read.stop_timeline, TimelineId{4});
  EXPECT_EQ(read.start_lsn, sample().start_lsn);
  EXPECT_EQ(read.wal_start, sample().wal_start);
  EXPECT_EQ(read.wal_stop, sample().wal_stop);
  EXPECT_EQ(read.packs, sample().packs);
}

TEST(Tombstone, DamageIsToldWithTheLabel) {
  MemoryStore store;
  const auto repository = new_repository(store);
  ASSERT_TRUE(write_tombstone(*repository, "main", sample()).has_value());
  MemoryStore damaged;
  copy_with_flipped_bit(store, damaged, tombstone_key("main", sample().label, 0), 64 * 8 + 30);
  const auto other = new_repository(damaged);
  const auto listed = list_tombstones(*other, "main");
  ASSERT_TRUE(listed.has_value());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().tombstone.label, sample().label);
  ASSERT_TRUE(listed->front().error.has_value());
  EXPECT_EQ(listed->front().error->code(), Errc::kCorrupt);
}

TEST(Tombstone, YoungOneIsUsedAndAnOldOneIsNot) {
  EXPECT_EQ(next_tombstone_step({}, kNow, 24h), TombstoneStep::kWrite);
  EXPECT_EQ(next_tombstone_step({kNow - 1h}, kNow, 24h), TombstoneStep::kReuse);
  EXPECT_EQ(next_tombstone_step({kNow - 3h}, kNow, 24h), TombstoneStep::kWrite);
  EXPECT_EQ(next_tombstone_step({kNow}, kNow, 0h), TombstoneStep::kWrite);
}

TEST(Tombstone, RunsKilledOneAfterTheOtherMakeNobodyWait) {
  std::vector<Timestamp> times;
  for (const auto seconds : {0s, 5s, 6s, 7s, 8s, 20s}) {
    const Timestamp now = kNow + seconds;
    EXPECT_EQ(next_tombstone_step(times, now, 0h), TombstoneStep::kWrite) << seconds.count();
    times.push_back(now);
  }
  times.push_back(kNow + 2h);
  EXPECT_EQ(next_tombstone_step(times, kNow + 3h, 0h), TombstoneStep::kWait);
}

TEST(Tombstone, StoreThatRefusesForAYearGathersFew) {
  std::vector<Timestamp> times;
  for (int hour = 0; hour < 366 * 24; ++hour)
    if (next_tombstone_step(times, kNow + std::chrono::hours(hour), 24h) == TombstoneStep::kWrite)
      times.push_back(kNow + std::chrono::hours(hour));
  EXPECT_LE(times.size(), 14u);
  EXPECT_GE(times.size(), 8u);
}

}  // namespace
}  // namespace pgark
