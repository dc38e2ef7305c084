// The collector of changed blocks, held against a set.
#include "pg/wal_index_build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>

namespace pgark::pg {
namespace {

using ::testing::ElementsAreArray;

constexpr WalFork kFork{{kDefaultTablespaceOid, 5, 16384}, Fork::kMain};

TEST(WalChangeCollector, GivesBlocksOfAnyOrderSortedAndOnce) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  // Few and many, within one digit of the sort and over all of them.
  for (const size_t count : {3u, 255u, 256u, 5000u, 40'000u}) {
    for (const uint32_t block_max : {0u, 200u, 2047u, 2048u, 100'000u, 4'194'304u, UINT32_MAX}) {
      std::uniform_int_distribution<uint32_t> block(0, block_max);
      WalChangeCollector collector;
      std::set<uint32_t> expected;
      for (size_t i = 0; i < count; ++i) {
        const uint32_t marked = block(random);
        collector.mark(kFork, marked);
        expected.insert(marked);
      }
      std::map<WalFork, WalForkChanges> found;
      collector.finish(found);
      ASSERT_EQ(found.size(), 1u);
      EXPECT_THAT(found.begin()->second.blocks, ElementsAreArray(expected)) << count << " up to " << block_max;
    }
  }
}

}  // namespace
}  // namespace pgark::pg
