#include "core/rate_limiter.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "core/clock_test_util.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;

TEST(RateLimiter, LetsThroughWhatTheLimitAllows) {
  SleepingClock clock;
  RateLimiter limiter(1'000'000, clock);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(limiter.take(50'000).has_value());
  EXPECT_EQ(clock.elapsed(), 5000ms);
  EXPECT_EQ(limiter.waited(), 5000ms);
}

TEST(RateLimiter, IdleTimeSavesUpASecondAtMost) {
  SleepingClock clock;
  RateLimiter limiter(1000, clock);
  clock.sleep_for(3600s);
  ASSERT_TRUE(limiter.take(1000).has_value());
  EXPECT_EQ(clock.elapsed(), 3600s);
  ASSERT_TRUE(limiter.take(500).has_value());
  EXPECT_EQ(clock.elapsed(), 3600s + 500ms);
}

TEST(RateLimiter, ShareLargerThanASecondsWorthIsPaidAfterwards) {
  SleepingClock clock;
  RateLimiter limiter(1000, clock);
  ASSERT_TRUE(limiter.take(60'000).has_value());
  EXPECT_EQ(clock.elapsed(), 60s);
  ASSERT_TRUE(limiter.take(0).has_value());
  EXPECT_EQ(clock.elapsed(), 60s);
}

TEST(RateLimiter, HugeAmountsDoNotOverflow) {
  SleepingClock clock;
  RateLimiter limiter(uint64_t{1} << 50, clock);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(limiter.take(uint64_t{1} << 50).has_value());
  EXPECT_NEAR(static_cast<double>(clock.elapsed().count()), 8000, 10);
}

TEST(RateLimiter, WaitEndsWhenItIsCancelled) {
  SleepingClock clock;
  CancelToken cancel;
  int sleeps = 0;
  clock.on_sleep = [&] {
    if (++sleeps == 3) cancel.cancel();
  };
  RateLimiter limiter(1, clock);
  const auto taken = limiter.take(1'000'000, &cancel);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code(), Errc::kCancelled);
  EXPECT_EQ(sleeps, 3);
  EXPECT_LE(clock.longest_sleep(), 200ms) << "a longer nap would notice a cancellation late";
}

TEST(RateLimiter, ThreadsShareOneLimit) {
  // On the machine's clock: that the sum of all is bounded does not depend on how fast it is.
  RateLimiter limiter(10'000'000, system_clock());
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10; ++k) EXPECT_TRUE(limiter.take(50'000).has_value());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(std::chrono::steady_clock::now() - began, 399ms);
}

}  // namespace
}  // namespace pgark
