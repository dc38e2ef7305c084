#include "repo/block_hashes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "pipe/task_group.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::HasSubstr;

constexpr char kLabel[] = "20261122-101500F";

/// Packs of random extents, and what the hashes of each should be.
struct Packs {
  MemoryStore store;
  std::unique_ptr<Repository> repository = new_repository(store);
  std::vector<ExtentRef> extents;
  std::vector<std::vector<uint64_t>> hashes;  // Of each extent.
  std::vector<PackName> names;

  explicit Packs(size_t extent_count, uint64_t pack_bytes = 200000) {
    PackSet set(*repository, "main", kLabel);
    PackWriter writer(set, Codec::kZstd, 1, pack_bytes);
    for (size_t i = 0; i < extent_count; ++i) {
      const Buffer raw = random_bytes(kHashBlockBytes * (i % 16 + 1), i);
      const auto bytes = static_cast<uint32_t>(raw.size());
      auto ref = writer.append(raw, {{"base/1/" + std::to_string(i), 0, 0, bytes}});
      EXPECT_TRUE(ref.has_value());
      extents.push_back(*ref);
      content_hash(raw, hashes.emplace_back());
    }
    EXPECT_TRUE(writer.close().has_value());
    EXPECT_TRUE(set.finish().has_value());
    for (uint32_t number = 1; number <= set.count(); ++number) names.push_back({kLabel, number});
  }
};

TEST(BlockHashes, AreThoseOfTheBlocksThatWereStored) {
  const Packs packs(100);
  ASSERT_GT(packs.names.size(), 5u);
  BlockHashes hashes(*packs.repository, "main", packs.names);
  std::vector<uint64_t> found{1, 2, 3};
  for (size_t i = 0; i < packs.extents.size(); ++i) {
    const auto result = hashes.of(packs.extents[i], found);
    ASSERT_TRUE(result.has_value()) << result.error().to_string();
    EXPECT_EQ(found, packs.hashes[i]);
    for (uint32_t block = 0; block < found.size(); ++block)
      EXPECT_EQ(hashes.of_block(packs.extents[i], block * 8192).value(), found[block]);
  }
  EXPECT_EQ(hashes.reads(), packs.names.size()) << "each list is read once";
}

TEST(BlockHashes, FollowThePackTableNotThePacksNumber) {
  const Packs packs(60);
  std::vector<PackName> reversed(packs.names.rbegin(), packs.names.rend());
  BlockHashes hashes(*packs.repository, "main", reversed);
  std::vector<uint64_t> found;
  for (size_t i = 0; i < packs.extents.size(); ++i) {
    ExtentRef extent = packs.extents[i];
    extent.pack = static_cast<uint32_t>(packs.names.size() - 1 - extent.pack);
    ASSERT_TRUE(hashes.of(extent, found).has_value());
    EXPECT_EQ(found, packs.hashes[i]);
  }
}

TEST(BlockHashes, StayRightAndWithinTheBudgetWhenListsAreEvicted) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  const Packs packs(200);
  constexpr size_t kBudget = 2000;  // About three lists of these small packs.
  BlockHashes hashes(*packs.repository, "main", packs.names, kBudget);
  std::vector<uint64_t> found;
  for (int n = 0; n < 2000; ++n) {
    const size_t i = rng.below(packs.extents.size());
    ASSERT_TRUE(hashes.of(packs.extents[i], found).has_value());
    EXPECT_EQ(found, packs.hashes[i]);
    EXPECT_LE(hashes.bytes(), kBudget);
  }
  EXPECT_GT(hashes.reads(), 2 * packs.names.size()) << "nothing was evicted: the test tested nothing";
}

TEST(BlockHashes, KeepTheListUsedLastWhateverTheBudget) {
  const Packs packs(40);
  BlockHashes hashes(*packs.repository, "main", packs.names, 0);
  std::vector<uint64_t> found;
  for (size_t i = 0; i < packs.extents.size(); ++i) {
    ASSERT_TRUE(hashes.of(packs.extents[i], found).has_value());
    EXPECT_EQ(found, packs.hashes[i]);
  }
  EXPECT_EQ(hashes.reads(), packs.names.size()) << "going through a pack must not read its list again and again";
}

TEST(BlockHashes, OfTheSameListAreReadOnceForAllThreads) {
  const Packs packs(100);
  BlockHashes hashes(*packs.repository, "main", packs.names);
  TaskGroup group;
  for (int t = 0; t < 8; ++t)
    group.spawn([&]() -> Result<> {
      std::vector<uint64_t> found;
      for (size_t i = 0; i < packs.extents.size(); ++i) {
        TRY(hashes.of(packs.extents[i], found));
        if (found != packs.hashes[i]) return Error(Errc::kInternal, "wrong hashes of extent " + std::to_string(i));
      }
      return {};
    });
  const auto result = group.wait();
  ASSERT_TRUE(result.has_value()) << result.error().to_string();
  EXPECT_EQ(hashes.reads(), packs.names.size());
}

TEST(BlockHashes, AreRightForThreadsThatEvictEachOthersLists) {
  const Packs packs(200);
  BlockHashes hashes(*packs.repository, "main", packs.names, 1500);
  TaskGroup group;
  for (uint64_t t = 0; t < 4; ++t)
    group.spawn([&, t]() -> Result<> {
      Rng rng(t);
      for (int n = 0; n < 1000; ++n) {
        const size_t i = rng.below(packs.extents.size());
        const size_t block = rng.below(packs.hashes[i].size());
        TRY_ASSIGN(const uint64_t hash, hashes.of_block(packs.extents[i], static_cast<uint32_t>(block * 8192)));
        if (hash != packs.hashes[i][block]) return Error(Errc::kInternal, "wrong hash");
      }
      return {};
    });
  const auto result = group.wait();
  EXPECT_TRUE(result.has_value()) << result.error().to_string();
}

TEST(BlockHashes, OfADamagedListAreAnErrorThatNamesThePack) {
  const Packs packs(40);
  const ObjectKey victim = pack_key("main", kLabel, 2);
  const auto listing = ContainerReader::open(*packs.repository, victim, ContainerKind::kPack);
  ASSERT_TRUE(listing.has_value());
  const FrameRef pieces = listing->frames().back();
  ASSERT_EQ(pieces.type, FrameType::kPieces);
  MemoryStore damaged;
  copy_with_flipped_bit(const_cast<MemoryStore&>(packs.store), damaged, victim, (pieces.offset + 20) * 8);
  const auto repository = Repository::open(damaged);
  ASSERT_TRUE(repository.has_value());
  BlockHashes hashes(**repository, "main", packs.names);
  std::vector<uint64_t> found;
  for (size_t i = 0; i < packs.extents.size(); ++i) {
    const auto result = hashes.of(packs.extents[i], found);
    if (packs.extents[i].pack != 1) {
      ASSERT_TRUE(result.has_value()) << result.error().to_string();
      continue;
    }
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), Errc::kCorrupt);
    EXPECT_THAT(result.error().message(), HasSubstr(victim.value));
  }
}

TEST(BlockHashes, OfAnAbsentPackAreAnErrorEachTimeAndForEveryThread) {
  const Packs packs(10);
  BlockHashes hashes(*packs.repository, "main", {{kLabel, 77}});
  ExtentRef extent = packs.extents[0];
  extent.pack = 0;
  TaskGroup group;
  std::atomic<int> told = 0;
  for (int t = 0; t < 4; ++t)
    group.spawn([&]() -> Result<> {
      std::vector<uint64_t> found;
      const auto result = hashes.of(extent, found);
      if (!result.has_value() && result.error().code() == Errc::kNotFound) ++told;
      return {};
    });
  EXPECT_TRUE(group.wait().has_value());
  EXPECT_EQ(told, 4);
}

TEST(BlockHashes, OfAnExtentThePackDoesNotListAreCorrupt) {
  const Packs packs(10);
  BlockHashes hashes(*packs.repository, "main", packs.names);
  std::vector<uint64_t> found;
  ExtentRef moved = packs.extents[3];
  moved.offset += 1;
  ExtentRef longer = packs.extents[3];
  longer.raw_bytes += 8192;
  for (const ExtentRef& extent : {moved, longer}) {
    const auto result = hashes.of(extent, found);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), Errc::kCorrupt);
    EXPECT_THAT(result.error().message(), HasSubstr(pack_key("main", kLabel, extent.pack + 1).value));
    EXPECT_TRUE(found.empty());
  }
  const auto past = hashes.of_block(packs.extents[3], packs.extents[3].raw_bytes);
  ASSERT_FALSE(past.has_value());
  EXPECT_EQ(past.error().code(), Errc::kCorrupt);
}

}  // namespace
}  // namespace pgark
