#include "catalog/damage.h"

#include <fmt/format.h>
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
using ::testing::SizeIs;

uint64_t seed_of_run() {
  const char* given = std::getenv("SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
}

Timestamp minute(int number) { return Timestamp(std::chrono::minutes(number)); }

TEST(PackDamage, HitsExactlyTheExtentsThatTouchAPlace) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<ExtentRef> extents;
    uint64_t at = 64;
    for (int i = 0; i < 20; ++i) {
      at += rng.below(2) * rng.below(100);
      ExtentRef extent;
      extent.offset = at;
      extent.stored_bytes = static_cast<uint32_t>(1 + rng.below(50));
      at += extent.stored_bytes;
      extents.push_back(extent);
    }
    PackDamage damage;
    std::set<uint64_t> bad;
    for (const ExtentRef& extent : extents) {
      if (rng.below(3) > 0) continue;
      bad.insert(extent.offset);
      add_place(damage.places, {extent.offset, extent.stored_bytes});
    }
    for (const ExtentRef& extent : extents) EXPECT_EQ(damage.hits(extent), bad.contains(extent.offset));
    for (size_t i = 1; i < damage.places.size(); ++i) {
      EXPECT_GT(damage.places[i].offset, damage.places[i - 1].offset + damage.places[i - 1].bytes) << "joined";
    }
  }
  PackDamage missing;
  missing.missing = true;
  EXPECT_TRUE(missing.hits({}));
}

TEST(DamagedFiles, BlocksAreThoseOfTheRunsInDamagedExtents) {
  FileChunk chunk;
  chunk.extents.resize(3);
  chunk.extents[1].pack = 1;
  chunk.extents[2].pack = 1;
  FileEntry file;
  file.path = "base/5/1";
  file.bytes = 10 * kHashBlockBytes - 100;
  // Block 0 whole, 1 and 2 good, 3 in two runs, the last one short.
  file.runs = {{0, kHashBlockBytes, 1, 0},
               {kHashBlockBytes, 2 * kHashBlockBytes, 0, 0},
               {3 * kHashBlockBytes, kHashBlockBytes, 1, kHashBlockBytes},
               {4 * kHashBlockBytes, 6 * kHashBlockBytes - 100, 2, 0}};
  FileEntry other;
  other.path = "base/5/2";
  other.bytes = kHashBlockBytes;
  other.runs = {{0, kHashBlockBytes, 0, 3 * kHashBlockBytes}};
  chunk.files = {file, other};
  const std::vector<PackName> packs{{"A", 1}, {"B", 7}};
  DamagedFiles files;
  find_damaged_files(chunk, {false, true, true}, packs, files);
  ASSERT_THAT(files.files(), SizeIs(1));
  EXPECT_EQ(files.files()[0].path, "base/5/1");
  EXPECT_THAT(files.files()[0].blocks, ElementsAre(DamagedRange{0, 0}, DamagedRange{3, 9}));
  EXPECT_EQ(files.files()[0].block_count, 8u);
  EXPECT_EQ(files.files()[0].packs, (std::vector<PackName>{{"B", 7}}));
}

TEST(DamagedFiles, AreBoundedAndCounted) {
  DamagedFiles files;
  for (int i = 0; i < 3000; ++i) {
    for (uint64_t block = 0; block < 400; block += 2) {
      files.add(fmt::format("{:05}", i), block * kHashBlockBytes, kHashBlockBytes, {"A", static_cast<uint32_t>(block)});
    }
  }
  EXPECT_EQ(files.count(), 3000u);
  const auto kept = files.files();
  ASSERT_THAT(kept, SizeIs(DamagedFiles::kFilesMax));
  EXPECT_EQ(kept.front().path, "00000");
  EXPECT_EQ(kept.front().block_count, 200u);
  EXPECT_THAT(kept.front().blocks, SizeIs(kDamagedRangesMax));
  EXPECT_THAT(kept.front().packs, SizeIs(kDamagedPacksMax));
}

/// Coverage of one timeline, from ranges of (from, to) as LSN and minute alike.
TimelineCoverage timeline(uint32_t id, std::vector<std::pair<int, int>> ranges, int end) {
  TimelineCoverage one;
  one.timeline = TimelineId{id};
  one.end = Lsn{static_cast<uint64_t>(end)};
  pg::WalCommit commit;
  commit.time = minute(end);
  one.last_commit = commit;
  for (const auto& [from, to] : ranges) {
    one.recoverable.push_back(
        {minute(from), Lsn{static_cast<uint64_t>(from)}, minute(to), Lsn{static_cast<uint64_t>(to)}, {"b"}});
  }
  return one;
}
WalCoverage coverage(std::vector<TimelineCoverage> timelines) {
  WalCoverage all;
  all.timelines = std::move(timelines);
  return all;
}

TEST(LostRanges, AreWhatLiesBetweenTheRangesThatAreLeft) {
  const WalCoverage ideal = coverage({timeline(1, {{10, 100}}, 100)});
  EXPECT_THAT(find_lost_ranges(ideal, ideal), IsEmpty());
  const auto lost = find_lost_ranges(ideal, coverage({timeline(1, {{20, 40}, {60, 80}}, 80)}));
  EXPECT_THAT(lost, ElementsAre(LostRange{TimelineId{1}, minute(10), Lsn{10}, minute(20), Lsn{20}, false},
                                LostRange{TimelineId{1}, minute(40), Lsn{40}, minute(60), Lsn{60}, false},
                                LostRange{TimelineId{1}, minute(80), Lsn{80}, minute(100), Lsn{100}, true}));
  EXPECT_THAT(find_lost_ranges(ideal, coverage({timeline(1, {}, 100)})),
              ElementsAre(LostRange{TimelineId{1}, minute(10), Lsn{10}, minute(100), Lsn{100}, true}));
  // No backup, nothing to lose.
  EXPECT_THAT(find_lost_ranges(coverage({timeline(1, {}, 100)}), coverage({timeline(1, {}, 100)})), IsEmpty());
}

TEST(LostRanges, AreToldOfTheTimelineThatWroteThem) {
  TimelineCoverage child = timeline(2, {{10, 150}}, 150);
  child.parent = TimelineId{1};
  child.begin = Lsn{50};
  TimelineCoverage cut = timeline(2, {{10, 30}}, 150);
  cut.begin = child.begin;
  const auto lost =
      find_lost_ranges(coverage({timeline(1, {{10, 100}}, 100), child}), coverage({timeline(1, {{10, 30}}, 100), cut}));
  EXPECT_THAT(lost, ElementsAre(LostRange{TimelineId{1}, minute(30), Lsn{30}, minute(100), Lsn{100}, true},
                                LostRange{TimelineId{2}, std::nullopt, Lsn{50}, minute(150), Lsn{150}, true}));
}

TEST(LostRanges, MissingEndOfTheWalIsLost) {
  TimelineCoverage ideal = timeline(1, {{10, 60}}, 60);
  CoverageGap gap;
  gap.begin = Lsn{60};
  gap.end = Lsn{90};
  ideal.gaps.push_back(gap);
  BrokenRange broken;
  broken.from = minute(60);
  broken.from_lsn = Lsn{60};
  ideal.broken.push_back(broken);
  const auto lost = find_lost_ranges(coverage({ideal}), coverage({timeline(1, {{10, 60}}, 60)}));
  EXPECT_THAT(lost, ElementsAre(LostRange{TimelineId{1}, minute(60), Lsn{60}, std::nullopt, Lsn{90}, true}));
}

TEST(LostRanges, GapUpToTheNextBackupIsLostOnce) {
  // Nothing is damaged beside the segments that are missing between.
  TimelineCoverage one = timeline(1, {{10, 40}, {70, 100}}, 100);
  BrokenRange broken;
  broken.from = minute(40);
  broken.from_lsn = Lsn{40};
  broken.to = minute(70);
  broken.to_lsn = Lsn{70};
  broken.backup_after = "b";
  one.broken.push_back(broken);
  EXPECT_THAT(find_lost_ranges(coverage({one}), coverage({one})),
              ElementsAre(LostRange{TimelineId{1}, minute(40), Lsn{40}, minute(70), Lsn{70}, false}));
}

TEST(LostRanges, WhatWasExpiredIsNotLost) {
  // Of the older backup only the WAL it needs was kept.
  const WalCoverage ideal = coverage({timeline(1, {{10, 12}, {60, 100}}, 100)});
  EXPECT_THAT(find_lost_ranges(ideal, ideal), IsEmpty());
  EXPECT_THAT(find_lost_ranges(ideal, coverage({timeline(1, {{60, 100}}, 100)})),
              ElementsAre(LostRange{TimelineId{1}, minute(10), Lsn{10}, minute(12), Lsn{12}, false}));
}

}  // namespace
}  // namespace pgark
