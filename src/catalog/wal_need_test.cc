// What backups need of the archive, along timelines that fork, meet none, or have lost their history.
#include "catalog/wal_need.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/clock.h"

namespace pgark {
namespace {

constexpr uint32_t kSegment = 16u << 20;
constexpr TimelineId kOne{1}, kTwo{2}, kThree{3};

Lsn at(uint64_t number) { return {number * kSegment + 40}; }

WalUser user(TimelineId timeline, uint64_t first, uint64_t last, bool whole = true) {
  return {timeline, timeline, at(first), first, last, whole};
}

TEST(WalNeed, KeepsFromTheOldestWholeBackupOn) {
  const WalNeed need({user(kOne, 5, 6), user(kOne, 9, 10)}, {});
  EXPECT_EQ(need.whole_from(kOne), 5u);
  EXPECT_FALSE(need.needs({kOne, 4}));
  EXPECT_TRUE(need.needs({kOne, 5}));
  EXPECT_TRUE(need.needs({kOne, 1000}));
}

TEST(WalNeed, BackupOutsideTheWindowKeepsWhatMakesItConsistent) {
  const WalNeed need({user(kOne, 5, 6, false), user(kOne, 9, 10)}, {});
  for (const auto& [number, needed] :
       {std::pair{4u, false}, {5u, true}, {6u, true}, {7u, false}, {8u, false}, {9u, true}, {11u, true}})
    EXPECT_EQ(need.needs({kOne, number}), needed) << number;
  EXPECT_TRUE(need.needs(kOne, 3, 5));
  EXPECT_FALSE(need.needs(kOne, 7, 8));
  EXPECT_TRUE(need.needs(kOne, 7, 9));
}

TEST(WalNeed, TimelineIsNeededByBackupsThatLeadToIt) {
  // Timeline 2 left timeline 1 in segment 8; timeline 3 left 1 in segment 4.
  const std::vector<pg::TimelineHistory> histories{{kTwo, {{kOne, at(8), ""}}}, {kThree, {{kOne, at(4), ""}}}};
  const WalNeed need({user(kOne, 6, 7)}, histories);
  EXPECT_TRUE(need.needs({kTwo, 8}));
  EXPECT_FALSE(need.needs({kThree, 8})) << "it left timeline 1 before the backup began";
  EXPECT_EQ(need.whole_from(kThree), std::nullopt);
  // The parent behind the fork is needed while a backup of it is there, and not by one of the child.
  EXPECT_TRUE(need.needs({kOne, 100}));
  const WalNeed child({user(kTwo, 9, 9)}, histories);
  EXPECT_EQ(child.whole_from(kOne), std::nullopt);
  EXPECT_FALSE(child.needs({kOne, 100}));
  EXPECT_FALSE(child.needs({kTwo, 8}));
  EXPECT_TRUE(child.needs({kTwo, 9}));
}

TEST(WalNeed, TimelineWithoutAHistoryMayComeFromAnyEarlierOne) {
  const WalNeed need({user(kOne, 6, 7)}, {});
  EXPECT_EQ(need.whole_from(kTwo), 6u);
  EXPECT_FALSE(need.needs({kTwo, 5}));
}

TEST(WalNeed, SaysFromWhereOnWalIsWholeWhereABackupDoesWithout) {
  EXPECT_TRUE(WalNeed({user(kOne, 5, 6), user(kOne, 9, 10)}, {}).expired().empty());
  EXPECT_EQ(WalNeed({user(kOne, 5, 6, false), user(kOne, 9, 10)}, {}).expired(), (ExpiredWal{{kOne, 9}}));
  // A backup of timeline 1 does without the way to timeline 2, where WAL is whole from 12 on.
  const std::vector<pg::TimelineHistory> histories{{kTwo, {{kOne, at(8), ""}}}, {kThree, {{kOne, at(4), ""}}}};
  EXPECT_EQ(WalNeed({user(kOne, 5, 6, false), user(kTwo, 12, 13)}, histories).expired(),
            (ExpiredWal{{kOne, std::nullopt}, {kTwo, 12}}));
}

TEST(WalNeed, BackupThatCrossedTimelinesNeedsBoth) {
  const WalNeed need({{kOne, kTwo, at(5), 5, 7, false}}, {});
  EXPECT_TRUE(need.needs({kOne, 6}));
  EXPECT_TRUE(need.needs({kTwo, 7}));
  EXPECT_FALSE(need.needs({kTwo, 8}));
  EXPECT_FALSE(need.needs({kThree, 6}));
}

TEST(WalUser, ComesFromTheNamesOfTheSegments) {
  const auto made = wal_user(kOne, kOne, at(256), "000000010000000100000000", "000000010000000100000002", kSegment);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->first, 256u);
  EXPECT_EQ(made->last, 258u);
  EXPECT_FALSE(wal_user(kOne, kOne, at(2), "000000010000000000000003", "000000010000000000000002", kSegment));
  EXPECT_FALSE(wal_user(kOne, kOne, at(2), "000000010000000000000100", "000000010000000000000101", kSegment));
}

TEST(ArchivedWal, IsToldByItsKey) {
  using Kind = ArchivedWal::Kind;
  const auto parse = [](std::string_view below) { return parse_archived_wal(below, kSegment); };
  const auto segment = parse("00000002/00000001/000000020000000100000003");
  ASSERT_TRUE(segment.has_value());
  EXPECT_EQ(segment->kind, Kind::kSegment);
  EXPECT_EQ(segment->segment, (pg::WalSegment{kTwo, 259}));
  EXPECT_EQ(segment->generation, 0u);
  EXPECT_EQ(parse("00000002/00000001/000000020000000100000003.r12")->generation, 12u);
  EXPECT_EQ(parse("000000020000000100000003.partial")->kind, Kind::kPartial);
  EXPECT_EQ(parse("000000020000000100000003.partial.r1")->generation, 1u);
  EXPECT_EQ(parse("000000020000000100000003.00000028.backup")->kind, Kind::kBackup);
  EXPECT_EQ(parse("00000003.history")->kind, Kind::kHistory);
  EXPECT_EQ(parse("00000003.history")->segment.timeline, kThree);
  EXPECT_EQ(parse("dropped/000000020000000100000003")->kind, Kind::kDropped);
  for (const std::string_view other :
       {"000000020000000100000003", "00000002/00000002/000000020000000100000003", "stream/000000020000000100000003",
        "00000002/00000001/000000020000000100000003.r0", "00000002/00000001/000000020000000100000003.x",
        "00000002/00000001/000000020000000100000103", "dropped/00000003.history", "", "00000002/"})
    EXPECT_FALSE(parse(other).has_value()) << other;
}

/// The same, said backup by backup.
bool needs_by_definition(const std::vector<WalUser>& users, const std::vector<pg::TimelineHistory>& histories,
                         TimelineId timeline, uint64_t first, uint64_t last) {
  const auto history = std::find_if(histories.begin(), histories.end(),
                                    [&](const pg::TimelineHistory& one) { return one.timeline() == timeline; });
  return std::any_of(users.begin(), users.end(), [&](const WalUser& user) {
    const bool leads = user.start_timeline == timeline ||
                       (user.start_timeline < timeline &&
                        (history == histories.end() || history->contains(user.start_timeline, user.start_lsn)));
    const bool own = user.start_timeline <= timeline && timeline <= user.stop_timeline;
    return (user.whole && leads && last >= user.first) || (own && first <= user.last && last >= user.first);
  });
}

TEST(WalNeed, OfManyBackupsIsWhatEachOfThemNeeds) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<WalUser> users;
    for (uint64_t i = rng.below(12); i > 0; --i) {
      const TimelineId start{static_cast<uint32_t>(1 + rng.below(4))};
      const TimelineId stop{start.value + static_cast<uint32_t>(rng.below(8) == 0 ? rng.below(3) : 0)};
      const uint64_t first = 1 + rng.below(60);
      users.push_back({start, stop, at(first), first, first + rng.below(4), rng.below(4) == 0});
    }
    std::vector<pg::TimelineHistory> histories;
    for (uint32_t timeline = 2; timeline <= 4; ++timeline)
      if (rng.below(2) == 0)
        histories.push_back(
            {TimelineId{timeline},
             {{TimelineId{1 + static_cast<uint32_t>(rng.below(timeline - 1))}, at(1 + rng.below(60)), ""}}});
    const WalNeed need(users, histories);
    for (uint32_t timeline = 1; timeline <= 6; ++timeline)
      for (uint64_t first = 1; first < 70; ++first)
        for (const uint64_t last : {first, first + 3})
          ASSERT_EQ(need.needs(TimelineId{timeline}, first, last),
                    needs_by_definition(users, histories, TimelineId{timeline}, first, last))
              << "round " << round << ", timeline " << timeline << ", " << first << " to " << last;
  }
}

}  // namespace
}  // namespace pgark
