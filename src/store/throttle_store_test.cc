#include "store/throttle_store.h"

#include <gtest/gtest.h>

#include "store/conformance.h"
#include "store/conformance_util.h"
#include "store/fault_store.h"
#include "store/memory_store.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;

/// Time that passes only by sleeping.
class SleepingClock final : public Clock {
 public:
  Timestamp now() override { return {}; }
  std::chrono::steady_clock::time_point steady() override {
    MutexLock lock(mu_);
    return time_;
  }
  void sleep_for(std::chrono::milliseconds duration) override {
    MutexLock lock(mu_);
    time_ += duration;
    if (cancel_at_ != 0ms && time_.time_since_epoch() >= cancel_at_) cancel.cancel();
  }
  std::chrono::milliseconds elapsed() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(steady().time_since_epoch());
  }
  std::chrono::milliseconds cancel_at_{0};
  CancelToken cancel;

 private:
  Mutex mu_;
  std::chrono::steady_clock::time_point time_{};
};

/// A store of 1 MB/s above one that counts calls.
struct Scene {
  Scene() {
    auto faults = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    counted = faults.get();
    store = std::make_unique<ThrottleStore>(std::move(faults), 1'000'000, clock, &clock.cancel);
  }
  SleepingClock clock;
  FaultStore* counted = nullptr;
  std::unique_ptr<ThrottleStore> store;
};

TEST(ThrottleStore, WritesAndReadsShareTheLimit) {
  Scene scene;
  const Buffer content = conformance::pattern(1, 3'000'000);
  ASSERT_TRUE(scene.store->put({"a"}, content).has_value());
  EXPECT_EQ(scene.clock.elapsed(), 3s);
  const auto read = scene.store->get({"a"});
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(conformance::same_bytes(*read, content));
  EXPECT_EQ(scene.clock.elapsed(), 6s);
  EXPECT_GE(scene.counted->calls(StoreCall::kRead), 3u) << "a large read goes in pieces of a second's worth";
}

TEST(ThrottleStore, OnlyBytesThatArriveCount) {
  Scene scene;
  ASSERT_TRUE(scene.store->put({"a"}, conformance::pattern(1, 1000)).has_value());
  const auto before = scene.clock.elapsed();
  Buffer into(900'000);
  EXPECT_EQ(scene.store->read({"a"}, 500, into.bytes()).value(), 500u);
  EXPECT_EQ(scene.store->read({"a"}, 5000, into.bytes()).value(), 0u);
  EXPECT_LE(scene.clock.elapsed() - before, 2ms);
}

TEST(ThrottleStore, CancellationEndsTheWait) {
  Scene scene;
  scene.clock.cancel_at_ = 2s;
  const auto put = scene.store->put({"a"}, conformance::pattern(1, 60'000'000));
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code(), Errc::kCancelled);
  EXPECT_LE(scene.clock.elapsed(), 3s);
  EXPECT_FALSE(scene.store->stat({"a"})->has_value());
}

class ThrottleConformance : public testing::TestWithParam<size_t> {};

TEST_P(ThrottleConformance, KeepsThePromisesOfTheStoreBelow) {
  const ConformanceCheck& check = conformance_checks()[GetParam()];
  SleepingClock clock;
  ThrottleStore store(std::make_unique<MemoryStore>(), 100'000, clock);
  const Result<> result = run_conformance_check(check, store, "conformance", 8);
  EXPECT_TRUE(result.has_value()) << check.promise << "\n" << result.error().to_string();
}

INSTANTIATE_TEST_SUITE_P(All, ThrottleConformance, testing::Range(size_t{0}, conformance_checks().size()),
                         [](const auto& run) { return conformance_checks()[run.param].name; });

}  // namespace
}  // namespace pgark
