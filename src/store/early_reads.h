// A decorator that begins the first reads of a command together, as soon as the store is open.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/thread_annotations.h"
#include "pipe/task_group.h"
#include "store/object_store.h"

namespace pgark {

/// Reads what it was told will be asked for, all at once, and answers the first call for each from that. Every other
/// call goes to the store behind it, so that what is asked for twice is read anew. Worth it where calls take long.
class EarlyReads final : public ObjectStore {
 public:
  struct Wanted {
    std::vector<ObjectKey> objects;     // Small ones, read from their beginning.
    std::vector<std::string> prefixes;  // Listed as list_all() does.
  };
  EarlyReads(std::unique_ptr<ObjectStore> inner, Wanted wanted);

  StoreCaps caps() const override { return inner_->caps(); }
  std::string describe() const override { return inner_->describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override { return inner_->create(key); }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return inner_->stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override { return inner_->remove(key); }
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override { return inner_->remove_many(keys); }
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override {
    return inner_->remove_stale_temporaries(age_min);
  }

 private:
  template <typename T>
  struct Early {
    std::string what;  // Key or prefix.
    bool taken = false;
    std::optional<Result<T>> result;
  };

  template <typename T, typename Call>
  void begin(Early<T>& early, Call call);
  /// The answer to the first call for `what`; no value for any other.
  template <typename T>
  std::optional<Result<T>> take(std::vector<Early<T>>& all, const std::string& what);

  const std::unique_ptr<ObjectStore> inner_;
  Mutex mu_;
  CondVar ready_;
  // Of fixed size from the beginning; what is in them is guarded by mu_.
  std::vector<Early<Buffer>> objects_;
  std::vector<Early<ListPage>> lists_;
  TaskGroup group_;  // Last: its threads end before what they use.
};

}  // namespace pgark
