#include "store/retry_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/posix_store.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;

/// Retries over faults over memory.
struct Stack {
  explicit Stack(std::vector<FaultRule> rules, RetryPolicy policy = {}, std::unique_ptr<ObjectStore> inner = nullptr) {
    if (!inner) inner = std::make_unique<MemoryStore>();
    auto owned = std::make_unique<FaultStore>(std::move(inner), std::move(rules), clock);
    faults = owned.get();
    store = std::make_unique<RetryStore>(std::move(owned), policy, clock, 1);
  }
  std::string content(const std::string& key) {
    return std::string(as_text(faults->inner().get({key}).value().bytes()));
  }

  NoWaitClock clock;
  FaultStore* faults = nullptr;
  std::unique_ptr<RetryStore> store;
};

TEST(RetryStore, PassingErrorsOfEveryCallAreTriedAgain) {
  std::vector<FaultRule> rules;
  for (const StoreCall call : {StoreCall::kCreate, StoreCall::kAppend, StoreCall::kCommit, StoreCall::kStat,
                               StoreCall::kRead, StoreCall::kList, StoreCall::kRemove})
    rules.push_back({.call = call, .nth = 1});
  Stack stack(rules);
  const auto put = stack.store->put({"a"}, as_bytes("content"));
  ASSERT_TRUE(put.has_value()) << put.error().to_string();
  EXPECT_TRUE(stack.store->stat({"a"}).value().has_value());
  EXPECT_EQ(as_text(stack.store->get({"a"}).value().bytes()), "content");
  EXPECT_EQ(stack.store->list_all("").value().size(), 1u);
  EXPECT_TRUE(stack.store->remove({"a"}).value());
  EXPECT_THAT(stack.faults->unfired(), IsEmpty());
  EXPECT_EQ(stack.store->retries(), 7u);
}

TEST(RetryStore, OtherErrorsPassAtOnce) {
  for (const Errc code : {Errc::kPermission, Errc::kNoSpace, Errc::kCorrupt, Errc::kInvalid, Errc::kNotFound,
                          Errc::kUnsupported, Errc::kCancelled, Errc::kInternal}) {
    Stack stack({{.nth = 1, .every = 1, .code = code}});
    EXPECT_EQ(stack.store->stat({"a"}).error().code(), code);
    EXPECT_EQ(stack.store->put({"a"}, {}).error().code(), code);
    EXPECT_EQ(stack.store->retries(), 0u) << errc_name(code);
    EXPECT_EQ(stack.faults->calls(), 2u);
  }
}

TEST(RetryStore, AttemptsAreBoundedAndDelaysGrowWithJitterToTheirBound) {
  RetryPolicy policy{.attempts_max = 8, .delay_first = milliseconds(100), .delay_max = milliseconds(1000)};
  Stack stack({{.call = StoreCall::kStat, .nth = 1, .every = 1}}, policy);
  const auto failed = stack.store->stat({"a"});
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Errc::kTransient) << "never absence";
  EXPECT_THAT(failed.error().message(), HasSubstr("given up after 8 attempts: stat object 'a'"));
  EXPECT_EQ(stack.faults->calls(StoreCall::kStat), 8u);
  const auto waits = stack.clock.waits();
  ASSERT_EQ(waits.size(), 7u);
  for (size_t i = 0; i < waits.size(); ++i) {
    const auto whole = std::min(milliseconds(100) * (1 << i), milliseconds(1000));
    EXPECT_GE(waits[i], whole / 2) << i;
    EXPECT_LE(waits[i], whole) << i;
  }
  EXPECT_NE(waits[5], waits[6]) << "two delays at the bound are drawn apart";
}

TEST(RetryStore, PatienceIsForAStoreThatHasAnsweredBefore) {
  const RetryPolicy policy{.attempts_max = 3, .delay_max = milliseconds(1000), .patience = milliseconds(20'000)};
  Stack never({{.call = StoreCall::kStat, .nth = 1, .every = 1}}, policy);
  EXPECT_FALSE(never.store->stat({"a"}).has_value());
  EXPECT_EQ(never.faults->calls(StoreCall::kStat), 3u);

  Stack away({{.call = StoreCall::kStat, .nth = 2, .every = 1}}, policy);
  ASSERT_TRUE(away.store->stat({"a"}).has_value());
  EXPECT_FALSE(away.store->stat({"a"}).has_value());
  auto waited = milliseconds(0);
  for (const auto wait : away.clock.waits()) waited += wait;
  EXPECT_GE(waited, policy.patience);
  EXPECT_LT(waited, policy.patience + policy.delay_max);

  Stack back({{.call = StoreCall::kStat, .nth = 2, .every = 1, .times_max = 15}}, policy);
  ASSERT_TRUE(back.store->stat({"a"}).has_value());
  EXPECT_TRUE(back.store->stat({"a"}).has_value());
}

TEST(RetryStore, CancellationEndsTheWaiting) {
  CancelToken cancel;
  cancel.cancel();
  Stack stack({{.call = StoreCall::kStat, .nth = 1, .every = 1}}, {.cancel = &cancel});
  const auto failed = stack.store->stat({"a"});
  EXPECT_EQ(failed.error().code(), Errc::kCancelled);
  EXPECT_THAT(failed.error().message(), HasSubstr("injected fault"));
  EXPECT_EQ(stack.faults->calls(), 1u);
}

TEST(RetryStore, CommitWhoseAnswerWasLostIsFoundToBeOurs) {
  for (const size_t replay_bytes_max : {size_t{0}, size_t{1} << 20}) {  // Whether or not it could be sent again.
    Stack stack({{.call = StoreCall::kCommit, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown}},
                {.replay_bytes_max = replay_bytes_max});
    const auto put = stack.store->put({"a"}, as_bytes("content"));
    ASSERT_TRUE(put.has_value()) << put.error().to_string();
    EXPECT_EQ(put->bytes, 7u);
    EXPECT_EQ(stack.faults->calls(StoreCall::kCommit), 1u) << "not committed twice";
    EXPECT_THAT(stack.faults->unfired(), IsEmpty());
  }
}

TEST(RetryStore, CommitThatDidNotHappenIsSentAgainWhole) {
  for (const Errc code : {Errc::kOutcomeUnknown, Errc::kTransient}) {
    Stack stack({{.call = StoreCall::kCommit, .fault = Fault::kFail, .code = code},
                 {.call = StoreCall::kAppend, .nth = 3, .fault = Fault::kTruncate}});
    auto writer = std::move(stack.store->create({"a"})).value();
    ASSERT_TRUE(writer->append(as_bytes("first ")).has_value());
    ASSERT_TRUE(writer->append(as_bytes("second")).has_value());
    const auto committed = std::move(*writer).commit();
    ASSERT_TRUE(committed.has_value()) << committed.error().to_string();
    EXPECT_EQ(stack.content("a"), "first second");
    EXPECT_THAT(stack.faults->unfired(), IsEmpty());
  }
}

TEST(RetryStore, AppendThatBrokeOffInTheMiddleIsMadeGood) {
  Stack stack({{.call = StoreCall::kAppend, .nth = 2, .fault = Fault::kTruncate},
               {.call = StoreCall::kAppend, .nth = 4, .fault = Fault::kFail}});
  auto writer = std::move(stack.store->create({"a"})).value();
  for (const char* piece : {"one ", "two ", "three ", "four"}) ASSERT_TRUE(writer->append(as_bytes(piece)).has_value());
  ASSERT_TRUE(std::move(*writer).commit().has_value());
  EXPECT_EQ(stack.content("a"), "one two three four");
  EXPECT_THAT(stack.faults->unfired(), IsEmpty());
}

TEST(RetryStore, AnothersObjectIsNeverTakenForOurs) {
  // Both have the same length; ours was not written, and its answer was lost.
  Stack stack({{.call = StoreCall::kCommit, .fault = Fault::kFail, .code = Errc::kOutcomeUnknown}});
  auto writer = std::move(stack.store->create({"a"})).value();
  ASSERT_TRUE(writer->append(as_bytes("our text")).has_value());
  ASSERT_TRUE(stack.faults->inner().put({"a"}, as_bytes("the text")).has_value());
  const auto committed = std::move(*writer).commit();
  ASSERT_FALSE(committed.has_value());
  EXPECT_EQ(committed.error().code(), Errc::kAlreadyExists);
  EXPECT_EQ(stack.content("a"), "the text");
}

TEST(RetryStore, NameThatWasTakenFromTheStartIsNotOurs) {
  Stack stack({});
  ASSERT_TRUE(stack.store->put({"a"}, as_bytes("same")).has_value());
  EXPECT_EQ(stack.store->put({"a"}, as_bytes("same")).error().code(), Errc::kAlreadyExists)
      << "the same bytes, but written by another call";
}

TEST(RetryStore, LargeObjectThatIsLostIsTheCallersToMakeAgain) {
  Stack stack({{.call = StoreCall::kCommit, .fault = Fault::kFail, .code = Errc::kOutcomeUnknown},
               {.call = StoreCall::kAppend, .prefix = "b", .nth = 2}},
              {.replay_bytes_max = 10});
  const auto put = stack.store->put({"a"}, as_bytes("more than ten bytes"));
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code(), Errc::kTransient) << "known not to exist, so nothing about it is unknown";
  EXPECT_FALSE(stack.store->stat({"a"}).value().has_value());
  ASSERT_TRUE(stack.store->put({"a"}, as_bytes("more than ten bytes")).has_value());

  auto writer = std::move(stack.store->create({"b"})).value();
  ASSERT_TRUE(writer->append(as_bytes("12345678")).has_value());
  EXPECT_EQ(writer->append(as_bytes("12345678")).error().code(), Errc::kTransient);
  EXPECT_FALSE(writer->append(as_bytes("9")).has_value()) << "a writer that failed stays failed";
  EXPECT_FALSE(std::move(*writer).commit().has_value());
  EXPECT_FALSE(stack.store->stat({"b"}).value().has_value());
}

TEST(RetryStore, StoreThatCannotBeLookedAtLeavesTheOutcomeUnknown) {
  Stack stack({{.call = StoreCall::kCommit, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown},
               {.call = StoreCall::kStat, .nth = 1, .every = 1}});
  EXPECT_EQ(stack.store->put({"a"}, as_bytes("content")).error().code(), Errc::kOutcomeUnknown);
}

TEST(RetryStore, RemoveWhoseAnswerWasLostReturnsTrue) {
  Stack stack({{.call = StoreCall::kRemove, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown}});
  ASSERT_TRUE(stack.store->put({"a"}, as_bytes("content")).has_value());
  EXPECT_TRUE(stack.store->remove({"a"}).value());
  EXPECT_FALSE(stack.store->remove({"a"}).value());
}

TEST(RetryStore, CommitFoundToBeOursIsAlsoMadeDurable) {
  const ScratchDirectory root;
  std::vector<std::string> synced;
  PosixOptions options;
  options.observer = [&](PosixEvent event, const std::string& path) {
    if (event == PosixEvent::kSyncDirectory) synced.push_back(path);
  };
  Stack stack({{.call = StoreCall::kCommit, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown}}, {},
              std::move(PosixStore::open(root.path(), options)).value());
  auto writer = std::move(stack.store->create({"dir/a"})).value();
  ASSERT_TRUE(std::move(*writer).commit().has_value());
  EXPECT_EQ(std::ranges::count(synced, "dir"), 2) << "by the commit, and again when its outcome was unknown";
}

TEST(RetryStore, FaultAtEveryCallOfAPutLeavesItWholeOrAbsent) {
  for (const Fault fault : {Fault::kFail, Fault::kFailAfter, Fault::kTruncate, Fault::kDelay})
    for (const Errc code : {Errc::kTransient, Errc::kOutcomeUnknown})
      for (uint64_t nth = 1; nth <= 3; ++nth) {
        Stack stack({{.nth = nth, .fault = fault, .code = code, .delay = milliseconds(5)}});
        const std::string what = fmt::format("fault {} {} at call {}", static_cast<int>(fault), errc_name(code), nth);
        const auto put = stack.store->put({"a"}, as_bytes("content"));
        ASSERT_TRUE(put.has_value()) << what << ": " << put.error().to_string();
        EXPECT_EQ(stack.content("a"), "content") << what;
        EXPECT_THAT(stack.faults->unfired(), IsEmpty()) << what;
      }
}

}  // namespace
}  // namespace pgark
