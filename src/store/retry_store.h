// A decorator that tries again what can pass.
#pragma once

#include <atomic>
#include <memory>

#include "core/thread_annotations.h"
#include "store/backoff.h"
#include "store/object_store.h"

namespace pgark {

/// Tries again after kTransient, with exponential delays: the k-th is between half and all of delay_first * 2^(k-1),
/// and at most delay_max. With patience it goes on beyond attempts_max, and says so, if the store has answered before.
/// Other errors pass at once, but for kOutcomeUnknown:
/// - remove() is tried again; it then returns true if an attempt that may have worked was ours.
/// - commit() looks: the object is there with length and hash of what was appended: ok (and durable, which it asks the
///   store again); there and different: kAlreadyExists; absent: written again.
/// A writer sends an object again, after a failed append or commit, while it is no larger than `replay_bytes_max`, of
/// which it keeps a copy. Beyond that a failure of append is the caller's: the object as a whole must be made again.
/// Two writers of one name with the same bytes may both be told ok if an outcome was unknown. Where exactly one must
/// win (a lease), the bytes must name their writer.
class RetryStore final : public ObjectStore {
 public:
  /// `clock` must outlive the store; `seed` is of the jitter.
  RetryStore(std::unique_ptr<ObjectStore> inner, RetryPolicy policy, Clock& clock, uint64_t seed);
  ~RetryStore() override;

  StoreCaps caps() const override { return inner_->caps(); }
  std::string describe() const override { return inner_->describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override;
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override {
    return inner_->remove_stale_temporaries(age_min);
  }

  /// Attempts after the first, of all calls so far.
  uint64_t retries();

 private:
  class Writer;
  friend class Writer;

  /// Whether `error` allows another attempt: waits if so, returns the error to report if not.
  Result<> wait_to_retry(RetryAttempts& attempts, Error error);
  /// Whether the object is what was written. Errors: kNotFound if it is absent.
  Result<bool> holds(const ObjectKey& key, uint64_t bytes, uint64_t hash, ObjectInfo& info);

  template <typename T>
  Result<T> answered(Result<T> result) {
    has_answered_.store(true, std::memory_order_relaxed);
    return result;
  }

  const std::unique_ptr<ObjectStore> inner_;
  const RetryPolicy policy_;
  Clock& clock_;
  std::atomic<bool> has_answered_ = false;
  Mutex mu_;
  Rng rng_ GUARDED_BY(mu_);
  uint64_t retries_ GUARDED_BY(mu_) = 0;
};

}  // namespace pgark
