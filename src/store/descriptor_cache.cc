// Open descriptors of objects read lately.
#include "store/descriptor_cache.h"

namespace pgark {

std::shared_ptr<const File> DescriptorCache::find(const std::string& key) {
  MutexLock lock(mu_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return found->second->file;
}

void DescriptorCache::insert(const std::string& key, std::shared_ptr<const File> file) {
  std::list<Entry> closed;  // Destroyed after the lock is gone: close(2) can take its time.
  MutexLock lock(mu_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    closed.splice(closed.begin(), by_use_, found->second);
    by_key_.erase(found);
  }
  by_use_.push_front({key, std::move(file)});
  by_key_[key] = by_use_.begin();
  while (by_use_.size() > descriptors_max_) {
    by_key_.erase(by_use_.back().key);
    closed.splice(closed.begin(), by_use_, std::prev(by_use_.end()));
  }
}

void DescriptorCache::drop(const std::string& key) {
  std::list<Entry> closed;
  MutexLock lock(mu_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return;
  closed.splice(closed.begin(), by_use_, found->second);
  by_key_.erase(found);
}

size_t DescriptorCache::size() {
  MutexLock lock(mu_);
  return by_use_.size();
}

}  // namespace pgark
