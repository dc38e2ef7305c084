// Reads of a restore that wait for a store side by side, while no more processors work than were asked for.
#include "ops/restore_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "ops/restore_pieces.h"
#include "testing/restore_fixture.h"

namespace pgark {
namespace {

using ::pgark::testing::BorrowedStore;
using ::pgark::testing::kSampleLabel;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::pgark::testing::seed_of_test;

/// A store whose reads of packs wait for each other, until `wanted` of them are under way or it is clear that they
/// never will be. Tells how many were, and how large the largest was.
class MeetingStore final : public ObjectStore {
 public:
  MeetingStore(ObjectStore& inner, std::string kind, unsigned wanted)
      : inner_(inner), kind_(std::move(kind)), wanted_(wanted) {}

  StoreCaps caps() const override { return {.kind = kind_}; }
  std::string describe() const override { return inner_.describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override { return inner_.create(key); }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return inner_.stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    // Not the lists of packs, which a delta restore reads one after the other.
    if (key.value.find("/pack/") == std::string::npos || into.size() <= kListBytes)
      return inner_.read(key, offset, into);
    meet(into.size());
    auto result = inner_.read(key, offset, into);
    const MutexLock lock(mu_);
    --now_;
    return result;
  }
  Result<ListPage> list(const ListRequest& asked) override { return inner_.list(asked); }
  Result<bool> remove(const ObjectKey& key) override { return inner_.remove(key); }

  unsigned most() {
    const MutexLock lock(mu_);
    return most_;
  }
  size_t largest() {
    const MutexLock lock(mu_);
    return largest_;
  }
  unsigned reads() {
    const MutexLock lock(mu_);
    return reads_;
  }

 private:
  void meet(size_t bytes) {
    MutexLock lock(mu_);
    ++reads_;
    largest_ = std::max(largest_, bytes);
    most_ = std::max(most_, ++now_);
    changed_.notify_all();
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (most_ < wanted_ && !given_up_ && std::chrono::steady_clock::now() < until)
      changed_.wait_for(mu_, std::chrono::milliseconds(10));
    given_up_ = true;  // They have met, or they do not: nobody waits any more.
  }

  static constexpr std::chrono::seconds kPatience{2};
  static constexpr size_t kListBytes = 100u << 10;
  ObjectStore& inner_;
  const std::string kind_;
  const unsigned wanted_;
  Mutex mu_;
  CondVar changed_;
  unsigned now_ GUARDED_BY(mu_) = 0;
  unsigned most_ GUARDED_BY(mu_) = 0;
  unsigned reads_ GUARDED_BY(mu_) = 0;
  size_t largest_ GUARDED_BY(mu_) = 0;
  bool given_up_ GUARDED_BY(mu_) = false;
};

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
  MeetingStore far(*store_, "s3", wanted);
  restore_from(far, 1, false);
  EXPECT_EQ(far.most(), wanted);
  EXPECT_GT(far.largest(), 3u << 20) << "one request brings much";
  EXPECT_LE(far.largest(), (4u << 20) + kExtentBytes + kFrameOverheadBytes) << "but memory stays bounded";
  expect_files(*backup_);
}

TEST_F(RestoreReads, OfADeltaDoSoToo) {
  make_large();
  restore_from(*std::make_unique<MeetingStore>(*store_, "posix", 1), 2, false);
  for (int i = 0; i < 3; ++i)
    ASSERT_OK(write_file_durable(root() + "/base/1/" + std::to_string(20000 + i), std::string(30u << 20, 'x')));
  MeetingStore far(*store_, "s3", 4);
  restore_from(far, 1, true);
  EXPECT_GE(far.most(), 4u);
  expect_files(*backup_);
}

TEST_F(RestoreReads, OfALocalDiskAreAsManyAsWorkers) {
  make_large();
  MeetingStore near(*store_, "posix", 3);
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

TEST(WorkSlots, WithoutThemEverybodyWorks) {
  const WorkSlot one(nullptr);
  const WorkSlot another(nullptr);
}

}  // namespace
}  // namespace pgark
