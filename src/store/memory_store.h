// An object store in memory: for tests, and as the plainest statement of what every store does.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/thread_annotations.h"
#include "store/object_store.h"

namespace pgark {

/// Keeps objects until it is destroyed; writers must not outlive it. Like a posix store it refuses a name that is a
/// directory of other objects, so that what works here works there.
class MemoryStore final : public ObjectStore {
 public:
  explicit MemoryStore(std::string label = "repo1", Clock& clock = system_clock());

  StoreCaps caps() const override { return {.kind = "memory"}; }
  std::string describe() const override { return label_ + " in memory"; }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;

 private:
  class Writer;
  struct Object {
    Buffer content;
    Timestamp modified{};
  };

  Error fail(Errc code, std::string_view operation, const ObjectKey& key, std::string_view cause) const;
  Result<> check_name_free(const ObjectKey& key) const REQUIRES(mu_);
  Result<ObjectInfo> insert(const ObjectKey& key, Buffer content);

  const std::string label_;
  Clock& clock_;
  Mutex mu_;
  // Shared with readers that copy an object's bytes while it is removed.
  std::map<std::string, std::shared_ptr<const Object>, std::less<>> objects_ GUARDED_BY(mu_);
};

}  // namespace pgark
