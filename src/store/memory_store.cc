// An object store in memory: a map under one lock.
#include "store/memory_store.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark {

class MemoryStore::Writer final : public ObjectWriter {
 public:
  Writer(MemoryStore& store, ObjectKey key) : store_(store), key_(std::move(key)) {}

  Result<> append(Bytes data) override {
    content_.append(data);
    return {};
  }
  Result<ObjectInfo> commit() && override { return store_.insert(key_, std::move(content_)); }

 private:
  MemoryStore& store_;
  ObjectKey key_;
  Buffer content_;
};

MemoryStore::MemoryStore(std::string label, Clock& clock) : label_(std::move(label)), clock_(clock) {}

Error MemoryStore::fail(Errc code, std::string_view operation, const ObjectKey& key, std::string_view cause) const {
  return Error(code, fmt::format("{} object '{}' in {}: {}", operation, key.value, describe(), cause));
}

Result<> MemoryStore::check_name_free(const ObjectKey& key) const {
  if (objects_.contains(key.value)) return fail(Errc::kAlreadyExists, "create", key, "the name is taken");
  for (size_t slash = key.value.find('/'); slash != std::string::npos; slash = key.value.find('/', slash + 1))
    if (objects_.contains(std::string_view(key.value).substr(0, slash)))
      return fail(Errc::kInvalid, "create", key, "part of the name is an object");
  const auto below = objects_.lower_bound(key.value + "/");
  if (below != objects_.end() && below->first.starts_with(key.value + "/"))
    return fail(Errc::kInvalid, "create", key, "the name is a directory of other objects");
  return {};
}

Result<std::unique_ptr<ObjectWriter>> MemoryStore::create(const ObjectKey& key) {
  TRY(check_object_key(key));
  MutexLock lock(mu_);
  TRY(check_name_free(key));
  return std::make_unique<Writer>(*this, key);
}

Result<ObjectInfo> MemoryStore::insert(const ObjectKey& key, Buffer content) {
  auto object = std::make_shared<Object>();
  object->content = std::move(content);
  object->modified = clock_.now();
  ObjectInfo info{key, object->content.size(), object->modified};
  MutexLock lock(mu_);
  TRY(check_name_free(key));
  objects_.emplace(key.value, std::move(object));
  return info;
}

Result<std::optional<ObjectInfo>> MemoryStore::stat(const ObjectKey& key) {
  TRY(check_object_key(key));
  MutexLock lock(mu_);
  const auto found = objects_.find(key.value);
  if (found == objects_.end()) return std::optional<ObjectInfo>();
  return std::optional<ObjectInfo>(ObjectInfo{key, found->second->content.size(), found->second->modified});
}

Result<size_t> MemoryStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  TRY(check_object_key(key));
  std::shared_ptr<const Object> object;
  {
    MutexLock lock(mu_);
    const auto found = objects_.find(key.value);
    if (found == objects_.end()) return fail(Errc::kNotFound, "read", key, "no such object");
    object = found->second;
  }
  const Bytes content = object->content.bytes();
  if (offset >= content.size()) return 0;
  const Bytes wanted = content.subspan(static_cast<size_t>(offset));
  const size_t count = std::min(wanted.size(), into.size());
  std::copy_n(wanted.begin(), count, into.begin());
  return count;
}

Result<ListPage> MemoryStore::list(const ListRequest& request) {
  if (request.limit == 0)
    return Error(Errc::kInvalid, fmt::format("list '{}' in {}: the limit is 0", request.prefix, describe()));
  ListPage page;
  MutexLock lock(mu_);
  auto at = request.after < request.prefix ? objects_.lower_bound(request.prefix) : objects_.upper_bound(request.after);
  for (; at != objects_.end() && at->first.starts_with(request.prefix); ++at) {
    if (page.objects.size() == request.limit) {
      page.more = true;
      break;
    }
    page.objects.push_back({ObjectKey{at->first}, at->second->content.size(), at->second->modified});
  }
  return page;
}

Result<bool> MemoryStore::remove(const ObjectKey& key) {
  TRY(check_object_key(key));
  MutexLock lock(mu_);
  return objects_.erase(key.value) > 0;
}

}  // namespace pgark
