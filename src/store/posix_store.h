// A repository in a directory of a file system.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "store/descriptor_cache.h"
#include "store/object_store.h"
#include "store/posix_root.h"

namespace pgark {

/// Keeps the object "a/b/c" in the file "<root>/a/b/c". An object is written to ".tmp-<pid>-<random>" beside its place,
/// synced, and given its name by a rename that cannot overwrite (link(2) where the file system has none, as NFS); then
/// the directory is synced. The directories above were synced before, unless known to be durable. Directories come and
/// go on demand; one that is moved away while an object is written into it fails the commit. A removal is synced too: a
/// manifest that came back after its packs were gone would promise a restore. On NFS, other hosts may see a new object
/// late (attribute caching); nothing else depends on the file system's kind.
class PosixStore final : public ObjectStore {
 public:
  /// Errors: kPermission if `root` does not exist or cannot be used; kInvalid if it is relative or not a directory.
  static Result<std::unique_ptr<PosixStore>> open(std::string root, PosixOptions options = {});

  StoreCaps caps() const override { return {.kind = "posix", .far = root_->is_far()}; }
  std::string describe() const override { return root_->describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override;
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override;
  Result<ListPage> list(const ListRequest& request) override;
  Result<bool> remove(const ObjectKey& key) override;

  /// Remove what writers that died left behind, where nothing was written for `age_min`. A living writer holds a lock
  /// on its file, so that its age does not matter where the file system knows flock(2).
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override;

  size_t open_descriptors() { return descriptors_.size(); }

 private:
  class Writer;

  explicit PosixStore(std::unique_ptr<PosixRoot> root) : root_(std::move(root)), descriptors_(64) {}

  /// The open file of an object, from the cache or new.
  Result<std::shared_ptr<const File>> open_object(const ObjectKey& key);
  Result<> sweep_directory(const std::string& directory, std::chrono::seconds age_min, StaleTemporaries& found);

  std::unique_ptr<PosixRoot> root_;
  DescriptorCache descriptors_;
};

}  // namespace pgark
