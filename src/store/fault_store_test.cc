#include "store/fault_store.h"

#include <gmock/gmock.h>

#include "store/conformance.h"
#include "store/memory_store.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::unique_ptr<FaultStore> make(std::vector<FaultRule> rules, Clock& clock = system_clock()) {
  auto memory = std::make_unique<MemoryStore>();
  EXPECT_TRUE(memory->put({"a/1"}, as_bytes("12345678")).has_value());
  EXPECT_TRUE(memory->put({"a/2"}, as_bytes("12345678")).has_value());
  EXPECT_TRUE(memory->put({"b/1"}, as_bytes("12345678")).has_value());
  return std::make_unique<FaultStore>(std::move(memory), std::move(rules), clock);
}

TEST(FaultStore, RuleCountsOnlyTheCallsItMeans) {
  auto store = make({{.call = StoreCall::kStat, .prefix = "a/", .nth = 2, .code = Errc::kPermission}});
  EXPECT_TRUE(store->stat({"a/1"}).has_value());
  EXPECT_TRUE(store->stat({"b/1"}).has_value());
  EXPECT_TRUE(store->get({"b/1"}).has_value());
  EXPECT_THAT(store->unfired(), ElementsAre("call 2 of stat on 'a/*' (1 matched)"));
  const auto failed = store->stat({"a/2"});
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Errc::kPermission);
  EXPECT_EQ(failed.error().message(), "stat object 'a/2' in repo1 in memory: injected fault");
  EXPECT_TRUE(store->stat({"a/2"}).has_value());
  EXPECT_THAT(store->unfired(), IsEmpty());
  const auto fired = store->fired();
  ASSERT_EQ(fired.size(), 1u);
  EXPECT_EQ(fired[0].key, "a/2");
  EXPECT_EQ(fired[0].call_number, 4u);
  EXPECT_EQ(store->calls(StoreCall::kStat), 4u);
  EXPECT_EQ(store->calls(StoreCall::kRead), 1u);
  EXPECT_EQ(store->bytes_read(), 8u);
}

TEST(FaultStore, EveryAndTimesMaxRepeatARule) {
  auto store = make({{.call = StoreCall::kStat, .nth = 2, .every = 3, .times_max = 2}});
  std::string outcomes;
  for (int i = 0; i < 12; ++i) outcomes += store->stat({"a/1"}).has_value() ? '.' : 'x';
  EXPECT_EQ(outcomes, ".x..x.......");
}

TEST(FaultStore, EverythingFailsFromACallOnAsIfTheStoreWereGone) {
  auto store = make({{.nth = 3, .every = 1}});
  EXPECT_TRUE(store->stat({"a/1"}).has_value());
  auto writer = store->create({"c"});
  ASSERT_TRUE(writer.has_value());
  EXPECT_FALSE((*writer)->append(as_bytes("x")).has_value());
  EXPECT_FALSE(std::move(**writer).commit().has_value());
  EXPECT_FALSE(store->list({}).has_value());
  EXPECT_FALSE(store->remove({"a/1"}).has_value());
  EXPECT_TRUE(store->inner().stat({"a/1"}).value().has_value());
  EXPECT_FALSE(store->inner().stat({"c"}).value().has_value());
}

TEST(FaultStore, FailAfterHasDoneWhatItDenies) {
  auto store = make({{.call = StoreCall::kRemove, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown},
                     {.call = StoreCall::kCommit, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown}});
  EXPECT_EQ(store->remove({"a/1"}).error().code(), Errc::kOutcomeUnknown);
  EXPECT_FALSE(store->inner().stat({"a/1"}).value().has_value());
  EXPECT_EQ(store->put({"c"}, as_bytes("x")).error().code(), Errc::kOutcomeUnknown);
  EXPECT_TRUE(store->inner().stat({"c"}).value().has_value());
}

TEST(FaultStore, TruncateAndCorruptChangeWhatIsReadAndWritten) {
  auto store = make({{.call = StoreCall::kRead, .nth = 1, .fault = Fault::kTruncate},
                     {.call = StoreCall::kRead, .nth = 2, .fault = Fault::kCorrupt},
                     {.call = StoreCall::kList, .nth = 1, .fault = Fault::kTruncate},
                     {.call = StoreCall::kAppend, .nth = 1, .fault = Fault::kCorrupt}});
  Buffer into(8);
  EXPECT_EQ(store->read({"a/1"}, 0, into.bytes()).value(), 4u);
  EXPECT_EQ(store->read({"a/1"}, 0, into.bytes()).value(), 8u);
  EXPECT_EQ(as_text(into.bytes()), "12344678");
  EXPECT_EQ(store->read({"a/1"}, 0, into.bytes()).value(), 8u);
  EXPECT_EQ(as_text(into.bytes()), "12345678");
  EXPECT_EQ(store->list_all("").value().size(), 1u);
  ASSERT_TRUE(store->put({"c"}, as_bytes("12345678")).has_value());
  EXPECT_EQ(as_text(store->get({"c"}).value().bytes()), "12344678");
  EXPECT_THAT(store->unfired(), IsEmpty());
}

TEST(FaultStore, DuplicatedCommitMeetsItsOwnObject) {
  auto store = make({{.call = StoreCall::kCommit, .fault = Fault::kDuplicate}});
  EXPECT_EQ(store->put({"c"}, as_bytes("x")).error().code(), Errc::kAlreadyExists);
  EXPECT_EQ(as_text(store->inner().get({"c"}).value().bytes()), "x");
}

TEST(FaultStore, DelayWaitsOnTheClockAndThenMakesTheCall) {
  NoWaitClock clock;
  auto store = make({{.fault = Fault::kDelay, .delay = std::chrono::milliseconds(70)}}, clock);
  EXPECT_TRUE(store->stat({"a/1"}).value().has_value());
  EXPECT_THAT(clock.waits(), ElementsAre(std::chrono::milliseconds(70)));
}

/// A store that breaks the first of all promises: it replaces objects.
class OverwritingStore final : public ObjectStore {
 public:
  StoreCaps caps() const override { return memory_.caps(); }
  std::string describe() const override { return memory_.describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    class Writer final : public ObjectWriter {
     public:
      Writer(MemoryStore& memory, ObjectKey key) : memory_(memory), key_(std::move(key)) {}
      Result<> append(Bytes data) override {
        content_.append(data);
        return {};
      }
      Result<ObjectInfo> commit() && override {
        TRY(memory_.remove(key_));
        return memory_.put(key_, content_);
      }

     private:
      MemoryStore& memory_;
      ObjectKey key_;
      Buffer content_;
    };
    TRY(check_object_key(key));
    return std::make_unique<Writer>(memory_, key);
  }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return memory_.stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    return memory_.read(key, offset, into);
  }
  Result<ListPage> list(const ListRequest& request) override { return memory_.list(request); }
  Result<bool> remove(const ObjectKey& key) override { return memory_.remove(key); }

 private:
  MemoryStore memory_;
};

std::vector<std::string> broken_promises(ObjectStore& store) {
  std::vector<std::string> names;
  for (const auto& outcome : run_conformance(store, "check", 4))
    if (!outcome.result.has_value()) names.push_back(outcome.check->name);
  return names;
}

TEST(Conformance, CatchesStoresThatBreakTheirPromises) {
  OverwritingStore overwriting;
  EXPECT_THAT(broken_promises(overwriting),
              testing::IsSupersetOf({"CreateOnlyKeepsFirstWriter", "OneOfRacingWritersWins"}));
  const auto with = [](FaultRule rule) {
    rule.every = 1;
    return std::make_unique<FaultStore>(std::make_unique<MemoryStore>(), std::vector<FaultRule>{rule});
  };
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kRead, .fault = Fault::kCorrupt})),
              testing::IsSupersetOf({"LargeObjectInOddPieces", "RangedReadsEndWithTheObject", "ConcurrentReadsAgree"}));
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kRead, .fault = Fault::kTruncate})),
              testing::IsSupersetOf({"LargeObjectInOddPieces", "RangedReadsEndWithTheObject"}));
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kList, .nth = 2, .fault = Fault::kTruncate})),
              testing::IsSupersetOf({"PagesOfEverySizeJoin", "LongListingsAreComplete", "ListingWhileOthersWrite"}));
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kRead, .code = Errc::kNotFound})),
              testing::Contains("EmptyObjectExists"));
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kRead, .code = Errc::kTransient})),
              testing::Contains("AbsenceIsProven"));
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kStat, .fault = Fault::kFail})),
              testing::SizeIs(testing::Ge(10u)));
  EXPECT_THAT(broken_promises(*with({.call = StoreCall::kRemove, .fault = Fault::kDuplicate})),
              testing::IsSupersetOf({"RemoveIsSeenAtOnce", "NameIsFreeAfterRemove"}));
  MemoryStore good;
  EXPECT_THAT(broken_promises(good), IsEmpty());
}

}  // namespace
}  // namespace pgark
