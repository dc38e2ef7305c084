// A decorator that limits the bytes a second that go to and from a store.
#pragma once

#include <memory>

#include "core/cancel.h"
#include "core/rate_limiter.h"
#include "store/object_store.h"

namespace pgark {

/// Contents of objects count, in both directions together and of all threads; names, listings and headers do not. Large
/// calls are cut into pieces of a second's worth (64 KiB at least), so that the traffic is even; a store that gathers
/// what it is given, as those with uploads in parts do, sends its parts at full speed and pauses between them.
class ThrottleStore final : public ObjectStore {
 public:
  /// `clock` and `cancel` must outlive the store.
  ThrottleStore(std::unique_ptr<ObjectStore> inner, uint64_t bytes_per_second, Clock& clock,
                const CancelToken* cancel = nullptr);

  StoreCaps caps() const override { return inner_->caps(); }
  std::string describe() const override { return inner_->describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return inner_->stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override { return inner_->list(request); }
  Result<bool> remove(const ObjectKey& key) override { return inner_->remove(key); }
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override { return inner_->remove_many(keys); }
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override {
    return inner_->remove_stale_temporaries(age_min);
  }

 private:
  class Writer;

  const std::unique_ptr<ObjectStore> inner_;
  RateLimiter limiter_;
  const size_t piece_bytes_;
  const CancelToken* const cancel_;
};

}  // namespace pgark
