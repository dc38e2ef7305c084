#include "pipe/task_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <numeric>
#include <stdexcept>

#include "core/clock.h"

namespace pgark {
namespace {

/// What a task does that runs until it is told to stop.
Result<> run_until_cancelled(const CancelToken& cancel) {
  while (!cancel.cancelled()) std::this_thread::yield();
  return cancel.check();
}

TEST(TaskGroup, RunsEveryTask) {
  std::atomic<int> sum = 0;
  TaskGroup group;
  for (int i = 1; i <= 20; ++i)
    group.spawn([&sum, i]() -> Result<> {
      sum += i;
      return {};
    });
  EXPECT_TRUE(group.wait().has_value());
  EXPECT_EQ(sum, 210);
  EXPECT_FALSE(group.cancel().cancelled());
}

TEST(TaskGroup, FirstErrorStopsTheOthersAndIsReported) {
  TaskGroup group;
  for (int i = 0; i < 4; ++i) group.spawn([&group] { return run_until_cancelled(group.cancel()); });
  group.spawn([]() -> Result<> { return Error(Errc::kNoSpace, "disk full"); });
  const auto result = group.wait();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Errc::kNoSpace) << "the cause, not the cancellations it led to";
}

TEST(TaskGroup, CauseThatComesAfterACancellationIsReportedAllTheSame) {
  std::latch cancelled(1);
  TaskGroup group;
  group.spawn([&]() -> Result<> {
    cancelled.wait();
    return Error(Errc::kCorrupt, "bad block");
  });
  group.spawn([&]() -> Result<> {
    group.cancel().cancel();
    auto result = run_until_cancelled(group.cancel());
    cancelled.count_down();
    return result;
  });
  EXPECT_EQ(group.wait().error().code(), Errc::kCorrupt);
}

TEST(TaskGroup, StrayExceptionIsAnInternalError) {
  TaskGroup group;
  group.spawn([]() -> Result<> { throw std::runtime_error("stray"); });
  const auto result = group.wait();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Errc::kInternal);
  EXPECT_NE(result.error().message().find("stray"), std::string::npos);
}

TEST(TaskGroup, DestructorCancelsAndJoins) {
  std::atomic<int> stopped = 0;
  {
    TaskGroup group;
    for (int i = 0; i < 3; ++i)
      group.spawn([&]() -> Result<> {
        auto result = run_until_cancelled(group.cancel());
        ++stopped;
        return result;
      });
  }
  EXPECT_EQ(stopped, 3);
}

TEST(TaskGroup, ParentsTokenStopsTheTasks) {
  CancelToken parent;
  TaskGroup group(&parent);
  group.spawn([&] { return run_until_cancelled(group.cancel()); });
  parent.cancel();
  EXPECT_EQ(group.wait().error().code(), Errc::kCancelled);
}

TEST(BoundedQueue, HandsOverEveryItemOnceInOrderOfItsProducer) {
  constexpr int kItems = 2000;
  BoundedQueue<int> queue(10);
  std::vector<std::vector<int>> taken(3);
  TaskGroup consumers;
  for (auto& mine : taken)
    consumers.spawn([&]() -> Result<> {
      while (auto item = queue.pop()) mine.push_back(*item);
      return {};
    });
  TaskGroup producers;
  for (int p = 0; p < 2; ++p)
    producers.spawn([&, p]() -> Result<> {
      for (int i = 0; i < kItems; ++i) EXPECT_TRUE(queue.push(p * kItems + i, 1));
      return {};
    });
  ASSERT_TRUE(producers.wait().has_value());
  queue.close();
  ASSERT_TRUE(consumers.wait().has_value());
  std::vector<int> all;
  for (const auto& mine : taken) {
    for (int p = 0; p < 2; ++p) {
      std::vector<int> of_producer;
      for (const int item : mine)
        if (item / kItems == p) of_producer.push_back(item);
      EXPECT_TRUE(std::is_sorted(of_producer.begin(), of_producer.end()));
    }
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(2 * kItems);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

TEST(BoundedQueue, NeverHoldsMoreThanItsBound) {
  const char* text = std::getenv("SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  constexpr int64_t kBound = 100;
  BoundedQueue<int64_t> queue(kBound);
  std::atomic<int64_t> held = 0;
  std::atomic<int64_t> held_max = 0;
  TaskGroup group;
  group.spawn([&]() -> Result<> {
    Rng rng(seed);
    for (int i = 0; i < 2000; ++i) {
      const auto cost = static_cast<int64_t>(1 + rng.below(60));
      queue.push(cost, static_cast<size_t>(cost));
      const int64_t now = held += cost;
      if (now > held_max) held_max = now;
    }
    queue.close();
    return {};
  });
  // An item leaves the count only after it has left the queue, and may be counted late: an item of slack on each side.
  while (const auto cost = queue.pop()) held -= *cost;
  ASSERT_TRUE(group.wait().has_value());
  EXPECT_EQ(held, 0);
  EXPECT_LE(held_max, kBound + 60);
}

TEST(BoundedQueue, LetsInAloneWhatIsDearerThanItsBound) {
  BoundedQueue<int> queue(10);
  EXPECT_TRUE(queue.push(1, 1000));
  TaskGroup group;
  std::atomic<bool> pushed = false;
  group.spawn([&]() -> Result<> {
    EXPECT_TRUE(queue.push(2, 1000));
    pushed = true;
    return {};
  });
  EXPECT_FALSE(pushed) << "the second has no room beside the first";
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_TRUE(group.wait().has_value());
}

TEST(BoundedQueue, CloseRefusesPushesWakesWaitersAndDrains) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.push(1, 1));
  std::atomic<int> refused = 0;
  TaskGroup group;
  for (int i = 0; i < 3; ++i)
    group.spawn([&]() -> Result<> {
      if (!queue.push(2, 1)) ++refused;
      return {};
    });
  queue.close();
  EXPECT_TRUE(group.wait().has_value());
  EXPECT_EQ(refused, 3);
  EXPECT_FALSE(queue.push(3, 0));
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

}  // namespace
}  // namespace pgark
