#include "store/calls_at_once.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "store/memory_store.h"
#include "testing/meeting_store.h"

namespace pgark {
namespace {

using testing::MeetingStore;

class CallsAtOnce : public ::testing::Test {
 protected:
  Result<> read(ObjectStore& store, size_t count) {
    return for_each_call(store, count, [&](size_t) -> Result<> {
      Buffer byte(1);
      return store.read_exact({"key"}, 0, byte.bytes());
    });
  }
  MemoryStore memory_;
};

TEST_F(CallsAtOnce, AreSeveralOnAFarStoreAndOneOnANearOne) {
  ASSERT_TRUE(memory_.put({"key"}, as_bytes("x")).has_value());
  MeetingStore far(memory_, "s3", kCallsAtOnce + 1);
  ASSERT_TRUE(read(far, 3 * kCallsAtOnce).has_value());
  EXPECT_EQ(far.most(), kCallsAtOnce);
  MeetingStore near(memory_, "posix", 2);
  ASSERT_TRUE(read(near, 3).has_value());
  EXPECT_EQ(near.most(), 1u);
}

TEST_F(CallsAtOnce, AreSeveralOnADirectoryThatIsFar) {
  class FarDirectory final : public testing::ForwardingStore {
   public:
    using ForwardingStore::ForwardingStore;
    StoreCaps caps() const override { return {.kind = "posix", .far = true}; }
  };
  FarDirectory store(memory_);
  EXPECT_TRUE(is_far(store));
  EXPECT_GT(list_page(store), 1000u) << "its directories are read again for every page";
}

TEST_F(CallsAtOnce, EachIsMadeOnce) {
  for (const char* kind : {"s3", "posix"}) {
    MeetingStore store(memory_, kind, 1);
    for (const size_t count : {0u, 1u, 2u, 100u}) {
      std::vector<std::atomic<int>> made(count);
      const auto done = for_each_call(store, count, [&](size_t i) -> Result<> {
        ++made[i];
        return {};
      });
      ASSERT_TRUE(done.has_value());
      for (const auto& one : made) EXPECT_EQ(one, 1);
    }
  }
}

TEST_F(CallsAtOnce, ErrorEndsThemAndIsReturned) {
  for (const char* kind : {"s3", "posix"}) {
    MeetingStore store(memory_, kind, 1);
    std::atomic<size_t> made = 0;
    const auto failed = for_each_call(store, 100'000, [&](size_t i) -> Result<> {
      ++made;
      if (i == 5) return Error(Errc::kPermission, "no");
      return {};
    });
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().code(), Errc::kPermission);
    EXPECT_LT(made, 100'000u);
  }
}

}  // namespace
}  // namespace pgark
