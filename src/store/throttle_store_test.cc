#include "store/throttle_store.h"

#include <gtest/gtest.h>

#include "core/clock_test_util.h"
#include "store/conformance.h"
#include "store/conformance_util.h"
#include "store/fault_store.h"
#include "store/memory_store.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;

/// A store of 1 MB/s above one that counts calls.
struct Scene {
  Scene() {
    auto faults = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    counted = faults.get();
    store = std::make_unique<ThrottleStore>(std::move(faults), 1'000'000, clock, &cancel);
  }
  SleepingClock clock;
  CancelToken cancel;
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
  scene.clock.on_sleep = [&] {
    if (scene.clock.elapsed() >= 2s) scene.cancel.cancel();
  };
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
