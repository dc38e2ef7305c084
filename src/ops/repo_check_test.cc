// repo-check over stores in memory that keep their promises, break them, or refuse to remove.
#include "ops/repo_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "store/fault_store.h"
#include "store/memory_store.h"

namespace pgark {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using namespace std::chrono_literals;

/// Passes calls on; tests override what they break.
class PassingStore : public ObjectStore {
 public:
  StoreCaps caps() const override { return {.kind = "broken", .atomic_create_only = atomic}; }
  std::string describe() const override { return "repo1 in a broken store"; }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override { return inner.create(key); }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return inner.stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    return inner.read(key, offset, into);
  }
  Result<ListPage> list(const ListRequest& request) override { return inner.list(request); }
  Result<bool> remove(const ObjectKey& key) override { return inner.remove(key); }

  MemoryStore inner;
  bool atomic = true;
};

/// Where the last writer of a name wins.
class OverwritingStore final : public PassingStore {
 public:
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    return std::unique_ptr<ObjectWriter>(std::make_unique<Writer>(*this, key));
  }

 private:
  struct Writer final : ObjectWriter {
    Writer(OverwritingStore& owner, ObjectKey name) : store(owner), key(std::move(name)) {}
    Result<> append(Bytes data) override {
      content.append(data);
      return {};
    }
    Result<ObjectInfo> commit() && override {
      for (;;) {
        auto done = store.inner.put(key, content);
        if (done.has_value() || done.error().code() != Errc::kAlreadyExists) return done;
        (void)store.inner.remove(key).has_value();
      }
    }
    OverwritingStore& store;
    const ObjectKey key;
    Buffer content;
  };
};

/// Whose objects nobody may remove.
class LockedStore final : public PassingStore {
 public:
  Result<bool> remove(const ObjectKey& key) override {
    if (!inner.stat(key)->has_value()) return false;
    return Error(Errc::kPermission, "remove '" + key.value + "': locked");
  }
};

RepoCheckOptions small() {
  RepoCheckOptions options;
  options.prefix = "pgark-check-1/lease";
  options.threads = 4;
  options.bulk_bytes = 24u << 20;
  options.samples = 10;
  return options;
}

const CheckedPromise& promise(const RepoCheckReport& report, const std::string& name) {
  static const CheckedPromise none;
  const auto found = std::ranges::find(report.promises, name, &CheckedPromise::name);
  if (found != report.promises.end()) return *found;
  ADD_FAILURE() << "no promise " << name;
  return none;
}

TEST(RepoCheck, GoodStoreIsFoundGoodAndLeftAsItWas) {
  FaultStore store(std::make_unique<MemoryStore>());
  ASSERT_TRUE(store.put({"main/cluster/1"}, as_bytes("kept")).has_value());
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_TRUE(report->ok());
  EXPECT_GE(report->promises.size(), 20u);
  for (const CheckedPromise& one : report->promises)
    EXPECT_EQ(one.state, PromiseState::kKept) << one.name << ": " << one.detail;
  EXPECT_THAT(report->lacks, IsEmpty());
  std::vector<std::string> calls;
  for (const CallLatency& one : report->latencies) {
    calls.push_back(one.call);
    EXPECT_EQ(one.count, 10u) << one.call;
    EXPECT_LE(one.median, one.p99);
    EXPECT_LE(one.p99, one.longest);
  }
  EXPECT_EQ(calls, (std::vector<std::string>{"put", "stat", "get", "list", "remove"}));
  ASSERT_TRUE(report->put.has_value() && report->get.has_value());
  EXPECT_EQ(report->put->connections, 4u);
  EXPECT_EQ(report->put->bytes, 16u << 20) << "each connection moves whole chunks of 4 MiB";
  EXPECT_GT(report->get->bytes_per_second(), 0u);
  EXPECT_EQ(store.list_all("").value().size(), 1u) << "the only object is the one that was there";
}

TEST(RepoCheck, BrokenPromiseIsNamed) {
  OverwritingStore store;
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_FALSE(report->ok());
  EXPECT_EQ(promise(*report, "CreateOnlyKeepsFirstWriter").state, PromiseState::kBroken);
  EXPECT_THAT(promise(*report, "CreateOnlyKeepsFirstWriter").detail, HasSubstr("committing a taken name gave ok"));
  EXPECT_EQ(promise(*report, "OneOfRacingWritersWins").state, PromiseState::kBroken);
  EXPECT_EQ(promise(*report, "RemoveIsSeenAtOnce").state, PromiseState::kKept);
  EXPECT_THAT(store.inner.list_all("").value(), IsEmpty());
}

TEST(RepoCheck, WhatTheStoreSaysItLacksIsNoBrokenPromise) {
  OverwritingStore store;
  store.atomic = false;
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(promise(*report, "OneOfRacingWritersWins").state, PromiseState::kLacking);
  EXPECT_EQ(promise(*report, "CreateOnlyKeepsFirstWriter").state, PromiseState::kBroken)
      << "a name that is taken has to be noticed in any case";
  ASSERT_EQ(report->lacks.size(), 1u);
  EXPECT_THAT(report->lacks.front().remedy, HasSubstr("one host"));
}

TEST(RepoCheck, WhereNothingMayBeRemovedLittleIsMade) {
  LockedStore store;
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_TRUE(report->removal_refused);
  EXPECT_TRUE(report->ok()) << "pgark works with credentials that may only append";
  EXPECT_EQ(promise(*report, "RemoveIsSeenAtOnce").state, PromiseState::kSkipped);
  EXPECT_EQ(promise(*report, "CreateOnlyKeepsFirstWriter").state, PromiseState::kKept);
  const uint64_t left = store.inner.list_all("").value().size();
  EXPECT_EQ(report->left_behind, left);
  EXPECT_LE(left, 25u);
  EXPECT_THAT(report->lacks.back().remedy, HasSubstr("pgark-check-1/lease"));
}

TEST(RepoCheck, StoreThatCannotBeWrittenIsAnError) {
  FaultStore store(std::make_unique<MemoryStore>(),
                   {{.call = StoreCall::kCommit, .every = 1, .code = Errc::kPermission}});
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kPermission);
  EXPECT_THAT(report.error().message(), HasSubstr("check repo1 in memory"));
}

TEST(RepoCheck, FailingCallIsReportedAndTheRestIsChecked) {
  FaultStore store(std::make_unique<MemoryStore>(),
                   {{.call = StoreCall::kCommit, .prefix = "pgark-check-1/lease/EmptyObjectExists", .every = 1}});
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(store.unfired(), IsEmpty());
  EXPECT_FALSE(report->ok());
  EXPECT_EQ(promise(*report, "EmptyObjectExists").state, PromiseState::kFailed);
  EXPECT_EQ(promise(*report, "RemoveIsSeenAtOnce").state, PromiseState::kKept);
}

TEST(RepoCheck, IsTidyWhenItIsStopped) {
  FaultStore store(std::make_unique<MemoryStore>());
  CancelToken cancel;
  cancel.cancel();
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kCancelled);
  EXPECT_GT(store.calls(StoreCall::kCommit), 0u);
  EXPECT_THAT(store.list_all("").value(), IsEmpty());
}

TEST(RepoCheck, ReadingWrongBytesIsNeverCalledSpeed) {
  FaultStore store(
      std::make_unique<MemoryStore>(),
      {{.call = StoreCall::kRead, .prefix = "pgark-check-1/lease/bulk", .nth = 2, .fault = Fault::kCorrupt}});
  const CancelToken cancel;
  const auto report = check_store(store, system_clock(), cancel, small());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_FALSE(report->ok());
  EXPECT_FALSE(report->get.has_value());
  EXPECT_EQ(promise(*report, "BearsLoad").state, PromiseState::kBroken);
  EXPECT_THAT(store.unfired(), IsEmpty());
}

TEST(RepoCheck, PrefixesDifferAndAreNeverLocked) {
  Rng rng(1);
  const std::string first = repo_check_prefix(rng);
  EXPECT_NE(first, repo_check_prefix(rng));
  EXPECT_TRUE(first.starts_with("pgark-check-"));
  EXPECT_TRUE(first.ends_with("/lease"));
  EXPECT_TRUE(make_object_key(first + "/x").has_value());
}

}  // namespace
}  // namespace pgark
