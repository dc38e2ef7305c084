// A store that passes every call on to another one: tests derive from it and override what they watch or break.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "store/object_store.h"

namespace pgark::testing {

/// Does not own the store behind it. The calls that have a default, remove_many() and remove_stale_temporaries(), keep
/// it.
class ForwardingStore : public ObjectStore {
 public:
  explicit ForwardingStore(ObjectStore& inner) : inner_(inner) {}

  StoreCaps caps() const override { return inner_.caps(); }
  std::string describe() const override { return inner_.describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override { return inner_.create(key); }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return inner_.stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    return inner_.read(key, offset, into);
  }
  Result<ListPage> list(const ListRequest& request) override { return inner_.list(request); }
  Result<bool> remove(const ObjectKey& key) override { return inner_.remove(key); }

 protected:
  ObjectStore& inner() const { return inner_; }

 private:
  ObjectStore& inner_;
};

}  // namespace pgark::testing
