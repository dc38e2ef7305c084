// Open descriptors of objects read lately, so that many small ranged reads do not open a file each.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "core/file.h"
#include "core/thread_annotations.h"

namespace pgark {

/// Keeps the most recently used descriptors, at most `descriptors_max`. Safe to use from several threads.
class DescriptorCache {
 public:
  explicit DescriptorCache(size_t descriptors_max) : descriptors_max_(descriptors_max) {}

  /// The open file of `key`; none if it is not cached.
  std::shared_ptr<const File> find(const std::string& key);
  void insert(const std::string& key, std::shared_ptr<const File> file);
  void drop(const std::string& key);
  size_t size();

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const File> file;  // The other owner is a reader in the middle of a pread.
  };

  const size_t descriptors_max_;
  Mutex mu_;
  std::list<Entry> by_use_ GUARDED_BY(mu_);  // Most recently used first.
  std::map<std::string, std::list<Entry>::iterator> by_key_ GUARDED_BY(mu_);
};

}  // namespace pgark
