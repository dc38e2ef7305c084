// Of several hosts one has a lease, whatever the store does, and a holder that died is succeeded.
#include "repo/lease.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Time passes by sleeping, and when the test says so. What happens while somebody sleeps is the hook's.
class LeaseClock final : public Clock {
 public:
  Timestamp now() override {
    return Timestamp(std::chrono::hours(490'000)) + std::chrono::milliseconds(passed_.load());
  }
  std::chrono::steady_clock::time_point steady() override {
    return std::chrono::steady_clock::time_point(std::chrono::milliseconds(passed_.load()));
  }
  void sleep_for(std::chrono::milliseconds duration) override {
    pass(duration);
    if (hook) hook();
  }
  void pass(std::chrono::milliseconds duration) { passed_ += duration.count(); }
  std::chrono::milliseconds passed() const { return std::chrono::milliseconds(passed_.load()); }

  std::function<void()> hook;

 private:
  std::atomic<int64_t> passed_ = 1000;
};

class LeaseTest : public ::testing::Test {
 protected:
  LeaseTest()
      : store_(std::make_unique<MemoryStore>("repo1", clock_), {}, clock_), repository_(new_repository(store_)) {}

  Result<Lease> take(const std::string& host, CancelToken* cancel = nullptr) {
    return Lease::acquire(*repository_, "main", "backup",
                          {.host = host, .pid = 42, .command = "backup", .started = clock_.now()}, clock_,
                          cancel != nullptr ? *cancel : cancel_, ++seed_);
  }
  std::string refusal(const std::string& host) {
    auto taken = take(host);
    EXPECT_FALSE(taken.has_value());
    if (taken) return "";
    EXPECT_EQ(taken.error().code(), Errc::kInvalid) << taken.error().to_string();
    return taken.error().to_string();
  }
  std::vector<std::string> names() {
    std::vector<std::string> names;
    const auto listed = store_.list_all("main/lease/");
    for (const ObjectInfo& object : *listed) names.push_back(object.key.value);
    return names;
  }

  LeaseClock clock_;
  FaultStore store_;
  std::unique_ptr<Repository> repository_;
  CancelToken cancel_;
  std::atomic<uint64_t> seed_ = 0;
};

TEST_F(LeaseTest, IsHadByOneAndThenByTheNext) {
  auto first = take("db1");
  ASSERT_TRUE(first.has_value()) << first.error().to_string();
  EXPECT_TRUE(first->check().has_value());
  ASSERT_TRUE(first->renew().has_value());
  ASSERT_TRUE(first->release().has_value());
  const auto before = clock_.passed();
  auto second = take("db2");
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  EXPECT_EQ(clock_.passed(), before) << "it waited for a lease that was released";
  EXPECT_EQ(second->epoch(), first->epoch() + 1);
  EXPECT_THAT(names(), ::testing::ElementsAre("main/lease/backup.00000002")) << "old objects are removed";
}

TEST_F(LeaseTest, IsRefusedWhileItsHolderLives) {
  auto first = take("db1");
  ASSERT_TRUE(first.has_value());
  clock_.hook = [&] { ASSERT_TRUE(first->renew().has_value()); };
  const auto before = clock_.passed();
  EXPECT_THAT(refusal("db2"), AllOf(HasSubstr("backup on db1 (pid 42)"), HasSubstr("expires after 60 s")));
  EXPECT_LT(clock_.passed() - before, std::chrono::seconds(5)) << "known with the first renewal";
  EXPECT_TRUE(first->check().has_value());
}

TEST_F(LeaseTest, OfADeadHolderIsTakenOverWhenItHasExpired) {
  auto dead = take("db1");
  ASSERT_TRUE(dead.has_value());
  ASSERT_TRUE(dead->renew().has_value());
  const auto died = clock_.passed();
  clock_.pass(std::chrono::seconds(20));
  auto next = take("db2");
  ASSERT_TRUE(next.has_value()) << next.error().to_string();
  EXPECT_GE(clock_.passed() - died, LeaseTimes{}.expiry);
  EXPECT_LE(clock_.passed() - died, LeaseTimes{}.expiry + LeaseTimes{}.poll);
  // What was only paused finds out, in whatever way it asks.
  EXPECT_EQ(dead->renew().error().code(), Errc::kInvalid);
  EXPECT_FALSE(dead->check().has_value());
  EXPECT_TRUE(next->check().has_value());
  EXPECT_TRUE(next->renew().has_value());
  // One that died long ago is not waited for.
  clock_.pass(std::chrono::hours(5));
  const auto before = clock_.passed();
  ASSERT_TRUE(take("db3").has_value());
  EXPECT_EQ(clock_.passed(), before);
}

TEST_F(LeaseTest, DoesNotTrustTheClockOfEitherHost) {
  // The store tells no time at all: it is watched for all of the expiry, whatever the document says.
  class Timeless final : public Clock {
   public:
    Timestamp now() override { return {}; }
    std::chrono::steady_clock::time_point steady() override { return {}; }
    void sleep_for(std::chrono::milliseconds) override {}
  } timeless;
  MemoryStore store("repo1", timeless);
  const auto repository = new_repository(store);
  const auto acquire = [&](const char* host, Timestamp started) {
    return Lease::acquire(*repository, "main", "backup",
                          {.host = host, .pid = 1, .command = "backup", .started = started}, clock_, cancel_, ++seed_);
  };
  auto first = acquire("db1", Timestamp(std::chrono::hours(1)));  // By its clock long ago.
  ASSERT_TRUE(first.has_value());
  const auto before = clock_.passed();
  int polls = 0;
  clock_.hook = [&] {
    if (++polls == 8) {
      ASSERT_TRUE(first->renew().has_value());
    }
  };
  EXPECT_FALSE(acquire("db2", clock_.now()).has_value());
  clock_.hook = nullptr;
  const auto renewed = clock_.passed();
  EXPECT_GT(renewed, before);
  ASSERT_TRUE(acquire("db2", clock_.now()).has_value());
  EXPECT_GE(clock_.passed() - renewed, LeaseTimes{}.expiry);
}

TEST_F(LeaseTest, HolderStopsBeforeAnotherMayBegin) {
  auto lease = take("db1");
  ASSERT_TRUE(lease.has_value());
  clock_.pass(LeaseTimes{}.give_up - std::chrono::milliseconds(1));
  EXPECT_TRUE(lease->check().has_value());
  clock_.pass(std::chrono::milliseconds(1));
  EXPECT_EQ(lease->check().error().code(), Errc::kTransient);
  EXPECT_LT(LeaseTimes{}.give_up, LeaseTimes{}.expiry);
}

TEST_F(LeaseTest, OneOfManyThatRaceWins) {
  for (int round = 0; round < 30; ++round) {
    // Of a free lease, and of one that was released.
    std::atomic<int> winners = 0;
    std::vector<std::optional<Lease>> taken(8);
    std::vector<std::thread> threads;
    LeaseTimes times;
    times.expiry = std::chrono::seconds(0);  // Not even the losers wait: what they see has expired already.
    for (size_t i = 0; i < taken.size(); ++i)
      threads.emplace_back([&, i] {
        auto lease = Lease::acquire(*repository_, "main", "backup",
                                    {.host = "db" + std::to_string(i), .pid = 1, .command = "backup", .started = {}},
                                    clock_, cancel_, ++seed_);
        if (!lease) return;
        ++winners;
        taken[i].emplace(std::move(*lease));
      });
    for (std::thread& thread : threads) thread.join();
    // Time passes when losers wait, so that one of them may outlive the winner, who must then know.
    int unchallenged = 0;
    for (auto& lease : taken)
      if (lease && lease->check().has_value()) ++unchallenged;
    EXPECT_LE(unchallenged, 1);
    EXPECT_GE(winners.load(), 1);
    for (auto& lease : taken)
      if (lease && lease->check().has_value()) {
        ASSERT_TRUE(lease->release().has_value());
      }
  }
}

TEST_F(LeaseTest, LateTakerYieldsToWhoCameAndClearedAway) {
  // One has listed an expired lease and is about to take the next number, while others take, release and clear.
  auto dead = take("db0");
  ASSERT_TRUE(dead.has_value());
  clock_.pass(std::chrono::minutes(5));
  std::optional<Lease> holder;
  store_.set_rules({{.call = StoreCall::kCreate,
                     .prefix = "main/lease/backup.00000002",
                     .fault = Fault::kDelay,
                     .delay = std::chrono::milliseconds(1)}});
  clock_.hook = [&] {
    clock_.hook = nullptr;
    auto quick = take("db1");
    ASSERT_TRUE(quick.has_value()) << quick.error().to_string();
    ASSERT_TRUE(quick->release().has_value());
    auto slow = take("db2");
    ASSERT_TRUE(slow.has_value()) << slow.error().to_string();
    holder.emplace(std::move(*slow));
  };
  EXPECT_THAT(refusal("db3"), HasSubstr("db2"));
  ASSERT_TRUE(store_.unfired().empty());
  ASSERT_TRUE(holder.has_value());
  EXPECT_EQ(holder->epoch(), 3u);
  EXPECT_TRUE(holder->check().has_value());
  EXPECT_TRUE(holder->renew().has_value());
}

TEST_F(LeaseTest, WaitEndsWhenCancelled) {
  ASSERT_TRUE(take("db1").has_value());
  CancelToken cancel;
  clock_.hook = [&] { cancel.cancel(); };
  auto taken = take("db2", &cancel);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code(), Errc::kCancelled);
}

TEST_F(LeaseTest, EveryStoreCallMayFailAndNeverAreThereTwo) {
  for (const auto& [fault, code] :
       {std::pair(Fault::kFail, Errc::kTransient), std::pair(Fault::kFailAfter, Errc::kOutcomeUnknown),
        std::pair(Fault::kFail, Errc::kOutcomeUnknown), std::pair(Fault::kDuplicate, Errc::kTransient)}) {
    uint64_t nth = 1;
    for (;; ++nth) {
      MemoryStore inner("repo1", clock_);
      {
        const auto made = new_repository(inner);
        // An expired lease has to be taken over.
        auto dead = Lease::acquire(*made, "main", "backup", {.host = "db0", .pid = 1, .command = "b", .started = {}},
                                   clock_, cancel_, ++seed_);
        ASSERT_TRUE(dead.has_value());
        ASSERT_TRUE(dead->renew().has_value());
        clock_.pass(std::chrono::minutes(2));
      }
      FaultStore faulty(std::make_unique<testing::ForwardingStore>(inner), {}, clock_);
      const auto repository = Repository::open(faulty).value();
      const auto good = Repository::open(inner).value();
      faulty.set_rules({{.nth = nth, .fault = fault, .code = code}});
      const auto acquire = [&](const Repository& in, const char* host) {
        return Lease::acquire(in, "main", "backup", {.host = host, .pid = 1, .command = "backup", .started = {}},
                              clock_, cancel_, ++seed_);
      };
      auto first = acquire(*repository, "db1");
      if (first) (void)first->renew();
      const bool fired = faulty.unfired().empty();
      // Another host, with a good store: it gets the lease if, and when, the first does not live any more.
      if (first) clock_.hook = [&] { (void)first->renew(); };
      auto second = acquire(*good, "db2");
      clock_.hook = nullptr;
      EXPECT_NE(first.has_value(), second.has_value()) << "call " << nth;
      if (first) {
        EXPECT_TRUE(first->check().has_value()) << "call " << nth;
      }
      if (!fired) break;
    }
    EXPECT_GT(nth, 8u);
  }
}

TEST_F(LeaseTest, LivesOnWithoutTheRightToRemove) {
  store_.set_rules({{.call = StoreCall::kRemove, .every = 1, .code = Errc::kPermission}});
  for (const char* host : {"db1", "db2", "db3"}) {
    auto lease = take(host);
    ASSERT_TRUE(lease.has_value()) << lease.error().to_string();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(lease->renew().has_value());
    EXPECT_TRUE(lease->check().has_value());
    ASSERT_TRUE(lease->release().has_value());
  }
}

TEST_F(LeaseTest, ForeignObjectsBesideItDoNotMatter) {
  for (const char* name : {"main/lease/backup.probe-1", "main/lease/backup.x", "main/lease/backup.00000001.what",
                           "main/lease/backup.1", "main/lease/backups.00000007"})
    ASSERT_TRUE(store_.put(ObjectKey{name}, as_bytes("?")).has_value());
  auto lease = take("db1");
  ASSERT_TRUE(lease.has_value()) << lease.error().to_string();
  EXPECT_EQ(lease->epoch(), 1u);
}

/// Threads and the machine's clock, with times of a few milliseconds.
class HeldLeaseTest : public ::testing::Test {
 protected:
  HeldLeaseTest() : store_(std::make_unique<MemoryStore>()), repository_(new_repository(store_)) {}

  Result<std::unique_ptr<HeldLease>> hold(const char* host) {
    return HeldLease::acquire(
        *repository_, "main", "backup", {.host = host, .pid = 1, .command = "backup", .started = {}}, system_clock(),
        cancel_, ++seed_, [this](const Error&) { job_.cancel(); }, times_);
  }
  bool wait_for(const std::function<bool()>& condition) {
    for (int i = 0; i < 3000; ++i) {
      if (condition()) return true;
      system_clock().sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  FaultStore store_;
  std::unique_ptr<Repository> repository_;
  CancelToken cancel_;
  CancelToken job_;
  uint64_t seed_ = 0;
  LeaseTimes times_{.beat = std::chrono::milliseconds(20),
                    .give_up = std::chrono::seconds(20),
                    .expiry = std::chrono::seconds(60),
                    .poll = std::chrono::milliseconds(10)};
};

TEST_F(HeldLeaseTest, IsRenewedAndReleased) {
  {
    auto lease = hold("db1");
    ASSERT_TRUE(lease.has_value()) << lease.error().to_string();
    ASSERT_TRUE(wait_for([&] { return store_.calls(StoreCall::kCommit) > 6; }));
    EXPECT_FALSE(hold("db2").has_value());
    EXPECT_TRUE((*lease)->check().has_value());
    EXPECT_FALSE(job_.cancelled());
  }
  EXPECT_TRUE(hold("db2").has_value());
}

TEST_F(HeldLeaseTest, CancelsTheJobWhenItCannotBeRenewed) {
  times_.give_up = std::chrono::milliseconds(200);
  auto lease = hold("db1");
  ASSERT_TRUE(lease.has_value());
  store_.set_rules({{.prefix = "main/lease/", .every = 1, .code = Errc::kTransient}});
  EXPECT_TRUE(wait_for([&] { return job_.cancelled(); }));
  store_.set_rules({});
  EXPECT_EQ((*lease)->check().error().code(), Errc::kTransient) << "once lost, always lost";
}

TEST_F(HeldLeaseTest, CancelsTheJobWhenAnotherHasTakenOver) {
  auto lease = hold("db1");
  ASSERT_TRUE(lease.has_value());
  const auto other =
      Lease::acquire(*repository_, "main", "backup", {.host = "db2", .pid = 1, .command = "backup", .started = {}},
                     system_clock(), cancel_, 77, {.expiry = std::chrono::milliseconds(0)});
  ASSERT_TRUE(other.has_value()) << other.error().to_string();
  EXPECT_TRUE(wait_for([&] { return job_.cancelled(); }));
  EXPECT_THAT((*lease)->check().error().to_string(), HasSubstr("taken over: backup on db2"));
}

}  // namespace
}  // namespace pgark
