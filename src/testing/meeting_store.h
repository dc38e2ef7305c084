// A store whose reads wait for each other: shows how many a caller has under way at once, without measuring time.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/thread_annotations.h"
#include "testing/forwarding_store.h"

namespace pgark::testing {

/// Passes everything on to another store. Reads wait until `wanted` of them are under way, or it is clear that they
/// never will be.
class MeetingStore final : public ForwardingStore {
 public:
  /// Whether a read of so many bytes is one of those that meet.
  using Filter = std::function<bool(const ObjectKey&, size_t bytes)>;

  /// `kind` is what caps() says: callers treat a local disk ("posix") in another way than what is far.
  MeetingStore(ObjectStore& inner, std::string kind, unsigned wanted, Filter filter = nullptr)
      : ForwardingStore(inner), kind_(std::move(kind)), wanted_(wanted), filter_(std::move(filter)) {}

  StoreCaps caps() const override { return {.kind = kind_}; }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override {
    ++stats_;
    return inner().stat(key);
  }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    ++reads_;
    if (filter_ && !filter_(key, into.size())) return inner().read(key, offset, into);
    meet(into.size());
    auto result = inner().read(key, offset, into);
    const MutexLock lock(mu_);
    --now_;
    return result;
  }
  Result<ListPage> list(const ListRequest& asked) override {
    ++lists_;
    return inner().list(asked);
  }

  /// The most reads that were under way at once, and the bytes of the largest.
  unsigned most() {
    const MutexLock lock(mu_);
    return most_;
  }
  size_t largest() {
    const MutexLock lock(mu_);
    return largest_;
  }
  // How many calls there were.
  unsigned reads() const { return reads_; }
  unsigned stats() const { return stats_; }
  unsigned lists() const { return lists_; }

 private:
  static constexpr std::chrono::seconds kPatience{2};

  void meet(size_t bytes) {
    MutexLock lock(mu_);
    largest_ = std::max(largest_, bytes);
    most_ = std::max(most_, ++now_);
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (most_ < wanted_ && !settled_ && std::chrono::steady_clock::now() < until)
      changed_.wait_for(mu_, std::chrono::milliseconds(10));
    settled_ = true;  // They have met, or they do not: nobody waits any more.
  }

  const std::string kind_;
  const unsigned wanted_;
  const Filter filter_;
  Mutex mu_;
  CondVar changed_;
  unsigned now_ GUARDED_BY(mu_) = 0;
  unsigned most_ GUARDED_BY(mu_) = 0;
  size_t largest_ GUARDED_BY(mu_) = 0;
  bool settled_ GUARDED_BY(mu_) = false;
  std::atomic<unsigned> reads_ = 0;
  std::atomic<unsigned> stats_ = 0;
  std::atomic<unsigned> lists_ = 0;
};

}  // namespace pgark::testing
