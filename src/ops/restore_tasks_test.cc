// Reads of a restore that wait for a store side by side, while no more processors work than were asked for.
#include "ops/restore_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "ops/restore_pieces.h"
#include "testing/meeting_store.h"
#include "testing/restore_fixture.h"

namespace pgark {
namespace {

using ::pgark::testing::kSampleLabel;
using ::pgark::testing::MeetingStore;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::pgark::testing::seed_of_test;

/// Which reads are looked at: not the lists of packs, which a delta restore reads one after the other.
bool of_packs(const ObjectKey& key, size_t bytes) {
  return key.value.find("/pack/") != std::string::npos && bytes > (100u << 10);
}

class RestoreReads : public RestoreFixture {
 protected:
  /// Restore 90 MiB that do not compress with `workers`, from a store that calls itself `kind`.
  void restore_from(MeetingStore& store, unsigned workers, bool delta) {
    ASSERT_OK_AND_ASSIGN(const auto opened, Repository::open(store));
    RestoreRequest asked = request();
    asked.process_max = workers;
    asked.delta = delta;
    Progress progress;
    ASSERT_OK(run_restore(*opened, "main", asked, system_clock(), cancel_, progress));
  }
  void make_large() {
    Rng rng(seed_of_test());
    backup_.emplace(*repository_, kSampleLabel);
    backup_->minimal_cluster();
    const std::string some = noise(rng, 1u << 20);
    for (int i = 0; i < 3; ++i) {
      std::string content;
      for (int part = 0; part < 30; ++part)
        content += some.substr(static_cast<size_t>(part) * 17) + some.substr(0, 8192);
      backup_->file("base/1/" + std::to_string(20000 + i), content);
    }
    finish(*backup_);
  }

  std::optional<SampleBackup> backup_;
};

TEST_F(RestoreReads, WaitForAFarStoreSideBySideThoughOneProcessorWorks) {
  make_large();
  const unsigned wanted = 1 + read_shape(MeetingStore(*store_, "s3", 1)).waiting_max;
  ASSERT_GE(wanted, 6u);
  MeetingStore far(*store_, "s3", wanted, of_packs);
  restore_from(far, 1, false);
  EXPECT_EQ(far.most(), wanted);
  EXPECT_GT(far.largest(), 3u << 20) << "one request brings much";
  EXPECT_LE(far.largest(), (4u << 20) + kExtentBytes + kFrameOverheadBytes) << "but memory stays bounded";
  expect_files(*backup_);
}

TEST_F(RestoreReads, OfADeltaDoSoToo) {
  make_large();
  MeetingStore near(*store_, "posix", 1);
  restore_from(near, 2, false);
  for (int i = 0; i < 3; ++i)
    ASSERT_OK(write_file_durable(root() + "/base/1/" + std::to_string(20000 + i), std::string(30u << 20, 'x')));
  MeetingStore far(*store_, "s3", 4, of_packs);
  restore_from(far, 1, true);
  EXPECT_GE(far.most(), 4u);
  expect_files(*backup_);
}

TEST_F(RestoreReads, OfALocalDiskAreAsManyAsWorkers) {
  make_large();
  MeetingStore near(*store_, "posix", 3, of_packs);
  restore_from(near, 2, false);
  EXPECT_EQ(near.most(), 2u);
  EXPECT_LE(near.largest(), (1u << 20) + kExtentBytes + kFrameOverheadBytes);
  expect_files(*backup_);
}

TEST(WorkSlots, LetOnlySoManyWorkAtOnce) {
  WorkSlots slots(2);
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  TaskGroup group;
  for (int thread = 0; thread < 6; ++thread)
    group.spawn([&]() -> Result<> {
      for (int i = 0; i < 2000; ++i) {
        const WorkSlot slot(&slots);
        const int here = ++now;
        int seen = most;
        while (here > seen && !most.compare_exchange_weak(seen, here)) {
        }
        std::this_thread::yield();
        --now;
      }
      return {};
    });
  ASSERT_OK(group.wait());
  EXPECT_EQ(most, 2);
}

TEST(WorkShares, AreStretchesThatAreHelpedOutFromTheEnd) {
  WorkShares shares;
  shares.share_out(10, 3);  // 0-2, 3-5, 6-9.
  for (const size_t expected : {0u, 1u, 2u, 9u, 5u, 8u}) EXPECT_EQ(shares.take(0), expected);
  EXPECT_EQ(shares.take(2), 6u);
  EXPECT_EQ(shares.take(1), 3u);
  EXPECT_EQ(shares.take(1), 4u);
  EXPECT_EQ(shares.take(1), 7u);
  for (const size_t share : {0u, 1u, 2u}) EXPECT_EQ(shares.take(share), std::nullopt);
}

TEST(WorkShares, GiveEveryPieceOnce) {
  constexpr size_t kCount = 20'000;
  WorkShares shares;
  shares.share_out(kCount, 5);
  std::vector<std::atomic<int>> taken(kCount);
  TaskGroup group;
  for (size_t thread = 0; thread < 4; ++thread)  // One share has nobody of its own.
    group.spawn([&, thread]() -> Result<> {
      while (const auto piece = shares.take(thread)) ++taken[*piece];
      return {};
    });
  ASSERT_OK(group.wait());
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(taken[i], 1) << i;
}

TEST(WorkSlots, WithoutThemEverybodyWorks) {
  const WorkSlot one(nullptr);
  const WorkSlot another(nullptr);
}

}  // namespace
}  // namespace pgark
