// Tests of the compact form of runs: it comes back as it was, in the order it was put, and it is compact.
#include "ops/backup_parts.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/clock.h"

namespace pgark {
namespace {

uint64_t seed() {
  const char* given = std::getenv("SEED");
  const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  ::testing::Test::RecordProperty("seed", std::to_string(value));
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(value));
  return value;
}

PartRuns random_part(Rng& rng, uint64_t begin) {
  PartRuns part;
  part.bytes = begin + (1u << 30);
  uint64_t offset = begin;
  for (uint64_t i = rng.below(40); i > 0; --i) {
    const ExtentRef extent{static_cast<uint32_t>(rng.below(5)), 64 + rng.below(1u << 26),
                           static_cast<uint32_t>(25 + rng.below(131072)),
                           static_cast<uint32_t>(8192 * (1 + rng.below(16))), static_cast<Codec>(rng.below(3))};
    uint32_t extent_offset = 0;
    for (uint64_t j = 1 + rng.below(3); j > 0 && extent_offset < extent.raw_bytes; --j) {
      offset += 8192 * rng.below(3);
      part.add(extent, {offset, 8192, 0, extent_offset});
      offset += 8192;
      extent_offset += 8192;
    }
  }
  for (uint64_t i = rng.below(4); i > 0; --i) part.bad_blocks.push_back(static_cast<uint32_t>(rng.below(1u << 17)));
  return part;
}

TEST(PartStore, GivesBackWhatWasPut) {
  Rng rng(seed());
  PartStore store;
  std::vector<PartRuns> parts;
  std::vector<PartStore::Place> places;
  for (int i = 0; i < 2000; ++i) {
    parts.push_back(random_part(rng, 0));
    places.push_back(store.put(parts.back()));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    PartRuns back;
    store.get(places[i], back);
    EXPECT_EQ(back.bytes, parts[i].bytes);
    EXPECT_EQ(back.runs, parts[i].runs);
    EXPECT_EQ(back.extents, parts[i].extents);
    EXPECT_EQ(back.bad_blocks, parts[i].bad_blocks);
    EXPECT_EQ(store.first_extent(places[i]).has_value(), !parts[i].runs.empty());
  }
}

TEST(PartStore, PartsOfOneFileJoinInOrder) {
  Rng rng(seed());
  PartStore store;
  const PartRuns first = random_part(rng, 0);
  const PartRuns second = random_part(rng, 256u << 20);
  const auto place1 = store.put(first);
  const auto place2 = store.put(second);
  PartRuns joined;
  store.get(place1, joined);
  store.get(place2, joined);
  ASSERT_EQ(joined.runs.size(), first.runs.size() + second.runs.size());
  for (size_t i = 0; i < joined.runs.size(); ++i) {
    const PartRuns& from = i < first.runs.size() ? first : second;
    const pgark::Run& run = from.runs[i < first.runs.size() ? i : i - first.runs.size()];
    EXPECT_EQ(joined.runs[i].file_offset, run.file_offset);
    EXPECT_EQ(joined.extents[joined.runs[i].extent], from.extents[run.extent]);
  }
}

TEST(PartStore, FirstExtentSortsByPackThenOffset) {
  PartStore store;
  const auto key = [&](uint32_t pack, uint64_t offset) {
    PartRuns part;
    part.add({pack, offset, 100, 8192, Codec::kZstd}, {0, 8192, 0, 0});
    return store.first_extent(store.put(part)).value();
  };
  EXPECT_LT(key(0, 1ull << 39), key(1, 64));
  EXPECT_LT(key(1, 64), key(1, 65));
}

TEST(PartRuns, NeighboursInFileAndExtentBecomeOneRun) {
  PartRuns part;
  const ExtentRef extent{0, 64, 1000, 131072, Codec::kZstd};
  part.add(extent, {0, 8192, 0, 0});
  part.add(extent, {8192, 8192, 0, 8192});
  part.add(extent, {32768, 100, 0, 16384});
  ASSERT_EQ(part.runs.size(), 2u);
  EXPECT_EQ(part.runs[0].bytes, 16384u);
  EXPECT_EQ(part.extents.size(), 1u);
}

TEST(PartStore, TakesFourBytesForAnExtentOfALargeFile) {
  // 1 TiB is 8 Mi extents: at 4 bytes each they take 32 MiB of the 512 that are allowed.
  PartStore store;
  PartRuns part;
  constexpr uint64_t kExtents = 2048;
  uint64_t offset = 64;
  for (uint64_t i = 0; i < kExtents; ++i) {
    const uint32_t stored = 40'000 + static_cast<uint32_t>(i % 977);
    part.add({3, offset, stored, kExtentBytes, Codec::kZstd}, {i * kExtentBytes, kExtentBytes, 0, 0});
    offset += stored;
  }
  store.put(part);
  EXPECT_LE(store.bytes(), kExtents * 4 + 64);
}

/// A full backup's extents, of which single pages are in new ones now.
PartRuns scattered_part(Rng& rng) {
  PartRuns part;
  ExtentRef old{3, 64, 0, kExtentBytes, Codec::kZstd};
  ExtentRef fresh{9, 64, 0, 8192, Codec::kZstd};
  for (uint64_t i = 0; i < 500; ++i) {
    old.offset += old.stored_bytes;
    old.stored_bytes = static_cast<uint32_t>(20'000 + rng.below(100'000));
    const uint64_t begin = i * kExtentBytes;
    const uint64_t changed = rng.below(32) * 8192;  // Beyond the extent: none of it is.
    if (changed >= kExtentBytes) {
      part.add(old, {begin, kExtentBytes, 0, 0});
      continue;
    }
    if (changed > 0) part.add(old, {begin, changed, 0, 0});
    fresh.offset += fresh.stored_bytes;
    fresh.stored_bytes = static_cast<uint32_t>(100 + rng.below(8000));
    part.add(fresh, {begin + changed, 8192, 0, 0});
    const uint64_t rest = changed + 8192;
    if (rest < kExtentBytes) part.add(old, {begin + rest, kExtentBytes - rest, 0, static_cast<uint32_t>(rest)});
  }
  part.bytes = 500 * kExtentBytes;
  return part;
}

TEST(PartStore, GivesBackPartsWithScatteredChanges) {
  Rng rng(seed());
  for (int round = 0; round < 20; ++round) {
    PartStore store;
    const PartRuns part = scattered_part(rng);
    const auto place = store.put(part);
    PartRuns back;
    store.get(place, back);
    ASSERT_EQ(back.runs.size(), part.runs.size());
    for (size_t i = 0; i < part.runs.size(); ++i) {
      EXPECT_EQ(back.runs[i].file_offset, part.runs[i].file_offset);
      EXPECT_EQ(back.runs[i].bytes, part.runs[i].bytes);
      EXPECT_EQ(back.runs[i].extent_offset, part.runs[i].extent_offset);
      EXPECT_EQ(back.extents[back.runs[i].extent], part.extents[part.runs[i].extent]);
    }
    EXPECT_EQ(store.first_extent(place).has_value(), true);
  }
}

}  // namespace
}  // namespace pgark
