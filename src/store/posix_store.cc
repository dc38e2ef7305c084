// A repository in a directory of a file system: looking, reading, removing. Writing is in posix_writer.cc.
#include "store/posix_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "store/posix_writer.h"
#include "store/tree_listing.h"

namespace pgark {
namespace {

class PosixTree final : public DirectoryTree {
 public:
  explicit PosixTree(const PosixRoot& root) : root_(root) {}

  Result<std::vector<Entry>> read(const std::string& directory) override {
    TRY_ASSIGN(auto found, root_.read_directory(directory, "list directory"));
    std::vector<Entry> entries;
    entries.reserve(found.size());
    for (DirectoryEntry& entry : found)
      if (!entry.is_temporary) entries.push_back({std::move(entry.name), entry.is_directory});
    return entries;
  }
  Result<std::optional<Attributes>> look(const std::string& key) override {
    struct stat status {};
    if (::fstatat(root_.fd(), key.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::optional<Attributes>();
      return root_.fail(errno, "list object", key);
    }
    return std::optional(Attributes{static_cast<uint64_t>(status.st_size), modified_of(status)});
  }

 private:
  const PosixRoot& root_;
};

}  // namespace

Result<std::unique_ptr<PosixStore>> PosixStore::open(std::string root, PosixOptions options) {
  TRY_ASSIGN(auto opened, PosixRoot::open(std::move(root), std::move(options)));
  return std::unique_ptr<PosixStore>(new PosixStore(std::move(opened)));
}

Result<std::unique_ptr<ObjectWriter>> PosixStore::create(const ObjectKey& key) {
  TRY(check_object_key(key));
  return PosixWriter::create(*root_, key);
}

Result<std::optional<ObjectInfo>> PosixStore::stat(const ObjectKey& key) {
  TRY(check_object_key(key));
  struct stat status {};
  const int failure = ::fstatat(root_->fd(), key.value.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
  if (failure != 0 && failure != ENOENT && failure != ENOTDIR) return root_->fail(failure, "stat object", key.value);
  if (failure != 0 || S_ISDIR(status.st_mode)) {
    TRY(root_->check("stat object", key.value));
    return std::optional<ObjectInfo>();
  }
  if (!S_ISREG(status.st_mode))
    return root_->fail(Errc::kInvalid, "stat object", key.value, "it is not a regular file");
  return std::optional<ObjectInfo>(ObjectInfo{key, static_cast<uint64_t>(status.st_size), modified_of(status)});
}

Result<std::shared_ptr<const File>> PosixStore::open_object(const ObjectKey& key) {
  if (auto cached = descriptors_.find(key.value)) {
    // Objects never change, but another process may have removed this one.
    struct stat status {};
    if (::fstat(cached->fd(), &status) == 0 && status.st_nlink > 0) return cached;
    descriptors_.drop(key.value);
  }
  int fd = -1;
  // O_NONBLOCK: a named pipe that somebody put here must not hang us.
  do fd = ::openat(root_->fd(), key.value.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0 && errno != ENOENT && errno != ENOTDIR) return root_->fail(errno, "read object", key.value);
  File file = fd < 0 ? File() : File::adopt(fd, root_->absolute(key.value));
  struct stat status {};
  if (fd >= 0 && ::fstat(fd, &status) != 0) return root_->fail(errno, "read object", key.value);
  if (fd < 0 || S_ISDIR(status.st_mode)) {
    TRY(root_->check("read object", key.value));
    return root_->fail(Errc::kNotFound, "read object", key.value, "no such object");
  }
  if (!S_ISREG(status.st_mode))
    return root_->fail(Errc::kInvalid, "read object", key.value, "it is not a regular file");
  auto shared = std::make_shared<const File>(std::move(file));
  descriptors_.insert(key.value, shared);
  return shared;
}

Result<size_t> PosixStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  TRY(check_object_key(key));
  TRY_ASSIGN(const auto file, open_object(key));
  if (offset > static_cast<uint64_t>(INT64_MAX) - into.size()) return 0;  // No file reaches there.
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(file->fd(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int failure = errno;
      descriptors_.drop(key.value);  // A stale handle of NFS must not be met again by a retry.
      return root_->fail(failure, "read object", key.value);
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<ListPage> PosixStore::list(const ListRequest& request) {
  if (request.limit == 0) return root_->fail(Errc::kInvalid, "list objects of", request.prefix, "the limit is 0");
  PosixTree tree(*root_);
  TRY_ASSIGN(ListPage page, list_tree(tree, request));
  // After the walk, since what it did not find is believed to be absent.
  TRY(root_->check("list objects of", request.prefix));
  return page;
}

Result<bool> PosixStore::remove(const ObjectKey& key) {
  TRY(check_object_key(key));
  const std::string directory = directory_of(key.value);
  TRY_ASSIGN(const File opened, root_->open_directory(directory, "remove object"));
  const int failure = !opened.is_open()                                             ? ENOENT
                      : ::unlinkat(opened.fd(), name_of(key.value).c_str(), 0) == 0 ? 0
                                                                                    : errno;
  if (failure == ENOENT || failure == EISDIR) {
    TRY(root_->check("remove object", key.value));
    return false;
  }
  if (failure != 0) return root_->fail(failure, "remove object", key.value);
  descriptors_.drop(key.value);
  root_->observe(PosixEvent::kRemove, key.value);
  if (auto synced = root_->sync_entries(directory, opened); !synced.has_value())
    return std::move(synced).error().with_code(Errc::kOutcomeUnknown).with_context("remove object '" + key.value + "'");
  root_->remove_empty_directories(directory);
  return true;
}

Result<StaleTemporaries> PosixStore::remove_stale_temporaries(std::chrono::seconds age_min) {
  StaleTemporaries found;
  TRY_CTX(sweep_directory("", age_min, found), "remove stale temporaries");
  TRY(root_->check("remove stale temporaries of", ""));
  return found;
}

Result<> PosixStore::sweep_directory(const std::string& directory, std::chrono::seconds age_min,
                                     StaleTemporaries& found) {
  TRY_ASSIGN(const auto entries, root_->read_directory(directory, "list directory"));
  const std::string above = directory.empty() ? "" : directory + "/";
  const auto now = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  bool removed = false;
  for (const DirectoryEntry& entry : entries) {
    const std::string path = above + entry.name;
    if (entry.is_directory) {
      TRY(sweep_directory(path, age_min, found));
      continue;
    }
    if (!entry.is_temporary) continue;
    // For writing, because NFS locks need that.
    const int fd = ::openat(root_->fd(), path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) continue;  // Committed or aborted just now.
    if (fd < 0) return root_->fail(errno, "open temporary file", path);
    const File file = File::adopt(fd, root_->absolute(path));
    struct stat status {};
    if (::fstat(fd, &status) != 0) return root_->fail(errno, "stat temporary file", path);
    const bool writer_lives = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!S_ISREG(status.st_mode) || writer_lives || now - modified_of(status) < age_min) {
      ++found.kept;
      continue;
    }
    if (::unlinkat(root_->fd(), path.c_str(), 0) != 0 && errno != ENOENT)
      return root_->fail(errno, "remove temporary file", path);
    removed = true;
    ++found.removed;
    found.removed_bytes += static_cast<uint64_t>(status.st_size);
  }
  if (removed) root_->remove_empty_directories(directory);
  return {};
}

}  // namespace pgark
