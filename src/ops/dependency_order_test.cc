// Tests of putting names in order of what they depend on.
#include "ops/dependency_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "core/clock.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(DependencyOrder, WithoutDependenciesItIsByName) {
  const auto result = order_by_dependencies({"c", "a", "b"}, {});
  EXPECT_THAT(result.order, ElementsAre("a", "b", "c"));
  EXPECT_THAT(result.cycles, IsEmpty());
}

TEST(DependencyOrder, WhatIsNeededComesFirst) {
  const auto result = order_by_dependencies({"app", "shared", "types", "zoo"},
                                            {{"app", "shared"}, {"app", "types"}, {"shared", "zoo"}, {"app", "app"}});
  EXPECT_THAT(result.order, ElementsAre("zoo", "shared", "types", "app"));
  EXPECT_THAT(result.cycles, IsEmpty());
}

TEST(DependencyOrder, CyclesStandTogetherAndAreReported) {
  const auto result = order_by_dependencies({"a", "b", "c", "d", "e", "f"},
                                            {{"b", "c"}, {"c", "d"}, {"d", "b"}, {"a", "d"}, {"e", "f"}, {"f", "e"}});
  EXPECT_THAT(result.order, ElementsAre("b", "c", "d", "a", "e", "f"));
  EXPECT_THAT(result.cycles, ElementsAre(ElementsAre("b", "c", "d"), ElementsAre("e", "f")));
}

TEST(DependencyOrder, NamesThatAreNotAskedForCountForNothing) {
  const auto result = order_by_dependencies({"a", "b"}, {{"a", "pg_catalog"}, {"pg_catalog", "b"}});
  EXPECT_THAT(result.order, ElementsAre("a", "b"));
}

TEST(DependencyOrder, LongChainsNeedNoStack) {
  std::vector<std::string> names;
  std::vector<std::pair<std::string, std::string>> depends;
  for (int i = 0; i < 100'000; ++i) {
    names.push_back("s" + std::to_string(i));
    if (i > 0) depends.emplace_back(names[static_cast<size_t>(i) - 1], names.back());
  }
  const auto result = order_by_dependencies(names, depends);
  ASSERT_EQ(result.order.size(), names.size());
  std::reverse(names.begin(), names.end());
  EXPECT_EQ(result.order, names);
}

TEST(DependencyOrder, HoldsForRandomGraphs) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 200; ++round) {
    const size_t count = 1 + rng.below(12);
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) names.push_back(std::string(1, static_cast<char>('a' + i)));
    std::vector<std::pair<std::string, std::string>> depends;
    for (uint64_t i = rng.below(2 * count); i > 0; --i)
      depends.emplace_back(names[rng.below(count)], names[rng.below(count)]);
    const auto result = order_by_dependencies(names, depends);
    auto sorted = result.order;
    std::sort(sorted.begin(), sorted.end());
    ASSERT_EQ(sorted, names);
    const auto place = [&](const std::string& name) {
      return std::find(result.order.begin(), result.order.end(), name) - result.order.begin();
    };
    const auto in_one_cycle = [&](const std::string& a, const std::string& b) {
      return std::any_of(result.cycles.begin(), result.cycles.end(), [&](const std::vector<std::string>& cycle) {
        return std::count(cycle.begin(), cycle.end(), a) > 0 && std::count(cycle.begin(), cycle.end(), b) > 0;
      });
    };
    for (const auto& [name, need] : depends)
      EXPECT_TRUE(name == need || place(need) < place(name) || in_one_cycle(name, need)) << name << " needs " << need;
  }
}

}  // namespace
}  // namespace pgark
