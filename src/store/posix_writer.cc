// One object on its way into a posix store.
#include "store/posix_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace pgark {
namespace {

// The kernel is told to write back this much at a time, so that commit's fsync finds little left to do.
constexpr uint64_t kWriteBackBytes = 8u << 20;
constexpr int kRaceRetriesMax = 1000;
// Writes are gathered to this size and begin at its multiples: the page cache then takes them in folios as large, which
// costs a fraction of what the same bytes cost in pieces that begin anywhere. A larger buffer would not stay in the
// processor's own cache.
constexpr size_t kWriteBytes = 512u << 10;
// Most objects are smaller than this.
constexpr size_t kSmallBytes = 16u << 10;

}  // namespace

Result<> check_name_free(PosixRoot& root, const ObjectKey& key) {
  struct stat status {};
  if (::fstatat(root.fd(), key.value.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return root.fail(errno, "create object", key.value);
  }
  if (S_ISDIR(status.st_mode))
    return root.fail(Errc::kInvalid, "create object", key.value, "the name is a directory of other objects");
  // Its writer may have died between the rename and the fsync of the directory: see the contract, "Durable".
  const std::string directory = directory_of(key.value);
  TRY_ASSIGN(const File opened, root.open_directory(directory, "create object"));
  if (!opened.is_open()) return root.fail(ENOENT, "create object", key.value);
  TRY_CTX(root.sync_entries(directory, opened), fmt::format("make durable the existing object '{}'", key.value));
  return root.fail(Errc::kAlreadyExists, "create object", key.value, "the name is taken");
}

Result<std::unique_ptr<ObjectWriter>> PosixWriter::create(PosixRoot& root, const ObjectKey& key) {
  TRY(root.check("create object", key.value));
  const std::string directory = directory_of(key.value);
  for (int attempt = 0; attempt < kRaceRetriesMax; ++attempt) {
    TRY_ASSIGN(auto opened, root.known_directory(directory, "create object"));
    if (opened == nullptr) {
      TRY_CTX(root.make_directory(directory, "make directory"), fmt::format("create object '{}'", key.value));
      continue;
    }
    // Saves writing what is there already, but nearly always it is not: far away, commit() finds it soon enough.
    if (!root.is_far()) TRY(check_name_free(root, key));
    std::string temporary = fmt::format(".tmp-{}-{:016x}", ::getpid(), random_seed());
    const int fd = ::openat(opened->fd(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                            root.options().file_mode);
    // The directory was empty, and somebody tidied it away since it was opened: make it again.
    if (fd < 0 && (errno == ENOENT || errno == ESTALE)) root.forget_directory(directory);
    if (fd < 0 && (errno == ENOENT || errno == ESTALE || errno == EEXIST || errno == EINTR)) continue;
    if (fd < 0) return root.fail(errno, "create object", key.value);
    File file = File::adopt(fd, root.absolute(directory.empty() ? temporary : directory + "/" + temporary));
    std::unique_ptr<PosixWriter> writer(
        new PosixWriter(root, key, directory, std::move(opened), std::move(file), std::move(temporary)));
    // Tells remove_stale_temporaries() that the writer lives. Where locks are not to be had, age alone decides.
    static_cast<void>(::flock(fd, LOCK_EX | LOCK_NB));
    struct stat status {};
    if (::fstat(fd, &status) != 0) return root.fail(errno, "create object", key.value);
    const mode_t mode = root.options().file_mode;
    if ((status.st_mode & 07777) != mode && ::fchmod(fd, mode) != 0)
      return root.fail(errno, "create object", key.value);
    return std::unique_ptr<ObjectWriter>(std::move(writer));
  }
  return root.fail(Errc::kTransient, "create object", key.value, "its directory is removed again and again");
}

PosixWriter::~PosixWriter() {
  if (temporary_.empty()) return;
  ::unlinkat(opened_directory_->fd(), temporary_.c_str(), 0);
  root_.remove_empty_directories(directory_);
}

Result<> PosixWriter::append(Bytes data) {
  if (failure_.has_value()) return *failure_;
  bytes_ += data.size();
  while (!data.empty()) {
    if (gathered_.empty() && data.size() >= kWriteBytes) {
      const size_t whole = data.size() / kWriteBytes * kWriteBytes;
      TRY(write(data.first(whole)));
      data = data.subspan(whole);
      continue;
    }
    const size_t take = std::min(data.size(), kWriteBytes - gathered_.size());
    gathered_.reserve(gathered_.size() + take <= kSmallBytes ? kSmallBytes : kWriteBytes);
    gathered_.append(data.first(take));
    data = data.subspan(take);
    if (gathered_.size() == kWriteBytes) TRY(write_gathered());
  }
  return {};
}

Result<> PosixWriter::write_gathered() {
  TRY(write(gathered_));
  gathered_.clear();
  return {};
}

Result<> PosixWriter::write(Bytes data) {
  while (!data.empty()) {
    const ssize_t n = ::write(file_.fd(), data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      failure_ = root_.fail(errno, "write object", key_.value);
      return *failure_;
    }
    written_ += static_cast<uint64_t>(n);
    data = data.subspan(static_cast<size_t>(n));
  }
  if (written_ - write_back_from_ >= kWriteBackBytes) {
    // Only a head start: file systems that know no such call do all the work in commit().
    static_cast<void>(::sync_file_range(file_.fd(), static_cast<off_t>(write_back_from_),
                                        static_cast<off_t>(written_ - write_back_from_), SYNC_FILE_RANGE_WRITE));
    write_back_from_ = written_;
  }
  return {};
}

Result<ObjectInfo> PosixWriter::commit() && {
  if (failure_.has_value()) return *failure_;
  TRY(write_gathered());
  gathered_ = Buffer();
  if (::fdatasync(file_.fd()) != 0) return root_.fail(errno, "fsync object", key_.value);
  root_.observe(PosixEvent::kSyncFile, key_.value);
  struct stat status {};
  if (::fstat(file_.fd(), &status) != 0) return root_.fail(errno, "commit object", key_.value);
  if (static_cast<uint64_t>(status.st_size) != bytes_)
    return root_.fail(Errc::kInternal, "commit object", key_.value,
                      fmt::format("{} bytes were written and the file holds {}", bytes_, status.st_size));
  // Before the name appears: see sync_parents().
  TRY_CTX(root_.sync_parents(directory_, *opened_directory_), "commit object '" + key_.value + "'");
  TRY(publish());
  root_.observe(PosixEvent::kPublish, key_.value);
  if (auto synced = root_.sync_entries(directory_, *opened_directory_); !synced.has_value())
    return std::move(synced)
        .error()
        .with_code(Errc::kOutcomeUnknown)
        .with_context("commit object '" + key_.value + "'");
  // A backup passes over the whole database once: it must not push what the server uses out of memory.
  const uint64_t drop_min = root_.options().drop_cache_bytes_min;
  if (drop_min > 0 && bytes_ >= drop_min) static_cast<void>(::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_DONTNEED));
  return ObjectInfo{key_, bytes_, modified_of(status)};
}

Result<> PosixWriter::publish() {
  if (!root_.options().use_rename_no_replace) return publish_by_link();
  const std::string from = temporary_path();
  if (::renameat2(root_.fd(), from.c_str(), root_.fd(), key_.value.c_str(), RENAME_NOREPLACE) == 0) {
    temporary_.clear();
    return {};
  }
  if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return publish_by_link();
  if (errno == ENOENT || errno == ENOTDIR || errno == ESTALE) return moved_away();
  if (errno != EEXIST) return root_.fail(errno, "commit object", key_.value);
  TRY(check_name_free(root_, key_));
  // Free again: it was removed in this instant. To the caller the other writer was first.
  return root_.fail(Errc::kAlreadyExists, "commit object", key_.value, "the name was taken");
}

Result<> PosixWriter::publish_by_link() {
  const std::string from = temporary_path();
  if (::linkat(root_.fd(), from.c_str(), root_.fd(), key_.value.c_str(), 0) != 0) {
    const int failure = errno;
    if (failure == ENOENT || failure == ENOTDIR || failure == ESTALE) return moved_away();
    if (failure == EPERM || failure == EOPNOTSUPP || failure == ENOSYS || failure == EMLINK)
      return root_
          .fail(Errc::kUnsupported, "commit object", key_.value,
                "the file system has neither hard links nor a rename that cannot overwrite")
          .with_hint("put the repository on a file system of Linux (ext4, XFS, Btrfs, ZFS) or on NFS");
    if (failure != EEXIST) return root_.fail(failure, "commit object", key_.value);
    // NFS repeats a request whose answer was lost, and then finds its own link in the way.
    struct stat ours {};
    struct stat theirs {};
    const bool is_ours = ::fstat(file_.fd(), &ours) == 0 &&
                         ::fstatat(root_.fd(), key_.value.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
                         ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
    if (!is_ours) {
      TRY(check_name_free(root_, key_));
      return root_.fail(Errc::kAlreadyExists, "commit object", key_.value, "the name was taken");
    }
  }
  // Left behind, the second name would be swept up as stale later.
  ::unlinkat(opened_directory_->fd(), temporary_.c_str(), 0);
  temporary_.clear();
  return {};
}

std::string PosixWriter::temporary_path() const {
  return directory_.empty() ? temporary_ : directory_ + "/" + temporary_;
}

Error PosixWriter::moved_away() {
  root_.forget_directory(directory_);
  // Not to be tried again as if it could pass: it would make directories anew in a place that somebody has cleared.
  return root_
      .fail(Errc::kPermission, "commit object", key_.value,
            "its directory was moved away or removed while it was written")
      .with_hint(fmt::format("was the repository at {} or a part of it moved, replaced or removed?", root_.path()));
}

}  // namespace pgark
