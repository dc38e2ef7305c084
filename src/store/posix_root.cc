// The directory a posix store lives in.
#include "store/posix_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr size_t kDurableDirectoriesMax = 4096;
constexpr int kRaceRetriesMax = 1000;
constexpr std::chrono::seconds kRootTrust{1};  // Of a far file system.

/// How often this thread had to stop for another although it had work to do.
long interruptions_of_thread() {
  struct rusage usage {};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// Whether an object is to be seen directly in the directory. False also means: not among the first entries looked at.
bool holds_object(const File& directory) {
  constexpr int kEntriesMax = 64;
  const int own = ::openat(directory.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return false;
  const std::unique_ptr<DIR, CloseDir> stream(::fdopendir(own));
  if (!stream) {
    ::close(own);
    return false;
  }
  for (int i = 0; i < kEntriesMax; ++i) {
    const struct dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) return false;
    if (entry->d_type == DT_REG && is_key_component(entry->d_name)) return true;
  }
  return false;
}

}  // namespace

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Timestamp modified_of(const struct stat& status) {
  return Timestamp(std::chrono::seconds(status.st_mtim.tv_sec)) +
         std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::nanoseconds(status.st_mtim.tv_nsec));
}

std::string effective_user() {
  const uid_t uid = ::geteuid();
  struct passwd entry {};
  struct passwd* found = nullptr;
  std::array<char, 4096> buffer;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return fmt::format("uid {}", uid);
  return fmt::format("user {} (uid {})", found->pw_name, uid);
}

Result<std::unique_ptr<PosixRoot>> PosixRoot::open(std::string path, PosixOptions options) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string what = fmt::format("open {} at {}", options.label, path);
  if (path.empty() || path.front() != '/')
    return Error(Errc::kInvalid, what + ": the path of a repository must be absolute");
  if (options.create_root) TRY_CTX(make_directories(path, options.directory_mode), what);
  const long interruptions = interruptions_of_thread();
  const Steady began = std::chrono::steady_clock::now();
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const auto took = std::chrono::steady_clock::now() - began;
  if (fd < 0) {
    const int failure = errno;
    auto error = errno_error(failure, what);
    if (failure == ENOENT)
      return std::move(error)
          .with_code(Errc::kPermission)
          .with_hint("is the file system mounted, and the path spelt right? A new repository is made by stanza-create");
    if (failure == ENOTDIR) return std::move(error).with_code(Errc::kInvalid).with_hint("give a directory");
    if (failure == EACCES)
      return std::move(error).with_hint(
          fmt::format("pgark runs as {}, which must be allowed to read and enter the directory", effective_user()));
    return error;
  }
  // On a busy machine the time may have been another process's.
  const bool is_far =
      options.far_open.count() == 0 || (took >= options.far_open && interruptions_of_thread() == interruptions);
  File root = File::adopt(fd, path);
  TRY_ASSIGN_CTX(const struct stat status, root.stat(), what);
  return std::unique_ptr<PosixRoot>(
      new PosixRoot(std::move(root), std::move(path), std::move(options), status, is_far, began));
}

std::string PosixRoot::absolute(std::string_view relative) const {
  if (relative.empty()) return path_;
  return fmt::format("{}/{}", path_, relative);
}

Result<> PosixRoot::check(std::string_view operation, const std::string& object) const {
  struct stat status {};
  std::string_view cause;
  const Steady began = std::chrono::steady_clock::now();
  // A removed directory is known by its descriptor; one that was replaced still holds what the repository held.
  if (is_far_ && began - checked_at_.load() < kRootTrust && ::fstat(root_.fd(), &status) == 0 && status.st_nlink > 0)
    return {};
  if (::stat(path_.c_str(), &status) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return fail(errno, operation, object);
    cause = "the repository's directory is gone";
  } else if (status.st_dev != device_ || status.st_ino != inode_) {
    cause = "the repository's directory is not the one it was (unmounted, mounted over or replaced)";
  } else {
    checked_at_.store(began);
    return {};
  }
  return fail(Errc::kPermission, operation, object, cause)
      .with_hint(fmt::format("is the file system of {} mounted?", path_));
}

Error PosixRoot::fail(Errc code, std::string_view operation, const std::string& object, std::string_view cause) const {
  return Error(code, fmt::format("{} '{}' in {}: {}", operation, object, describe(), cause));
}

Error PosixRoot::fail(int errno_value, std::string_view operation, const std::string& object) const {
  auto error = errno_error(errno_value, fmt::format("{} '{}' in {}", operation, object, describe()));
  switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
      // Something that was there a moment ago: another process may be tidying up.
      return std::move(error).with_code(Errc::kTransient);
    case EACCES:
    case EPERM:
      return std::move(error).with_hint(
          fmt::format("pgark runs as {}; everything below {} must be readable and writable for it, and is not when "
                      "another user has once written there",
                      effective_user(), path_));
    case EROFS:
      return std::move(error).with_hint(fmt::format("the file system of {} is mounted read-only", path_));
    case ENOSPC:
      return std::move(error).with_hint(fmt::format(
          "the file system of {} has no free space or no free inodes; nothing that was complete is harmed", path_));
    case EDQUOT:
      return std::move(error).with_hint(
          fmt::format("{} has used up its quota on the file system of {}", effective_user(), path_));
    case EIO:
      return std::move(error).with_hint("look for disk errors in the kernel's log (dmesg)");
    case ELOOP:
      return std::move(error).with_code(Errc::kInvalid).with_hint("an object must not be a symbolic link");
    default:
      return error;
  }
}

Result<File> PosixRoot::open_directory(const std::string& directory, std::string_view operation) const {
  const char* name = directory.empty() ? "." : directory.c_str();
  int fd = -1;
  do fd = ::openat(root_.fd(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd >= 0) return File::adopt(fd, absolute(directory));
  if (errno == ENOENT || errno == ENOTDIR) return File();
  return fail(errno, operation, directory);
}

Result<std::shared_ptr<const File>> PosixRoot::known_directory(const std::string& directory,
                                                               std::string_view operation) {
  if (auto known = directories_.find(directory)) {
    struct stat status {};
    if (::fstat(known->fd(), &status) == 0 && status.st_nlink > 0) return known;
  }
  TRY_ASSIGN(File opened, open_directory(directory, operation));
  if (!opened.is_open()) {
    directories_.drop(directory);
    return std::shared_ptr<const File>();
  }
  auto shared = std::make_shared<const File>(std::move(opened));
  directories_.insert(directory, shared);
  return shared;
}

Result<> PosixRoot::make_directory(const std::string& directory, std::string_view operation) {
  if (directory.empty()) return {};
  // A parent may be removed as empty by another process between two of our calls: begin again then.
  for (int attempt = 0; attempt < kRaceRetriesMax; ++attempt) {
    bool raced = false;
    bool last_is_new = false;
    size_t slash = directory.find('/');
    // The first is a stanza's, and there as a rule.
    if (attempt == 0 && slash != std::string::npos) slash = directory.find('/', slash + 1);
    for (;; slash = directory.find('/', slash + 1)) {
      const std::string part = directory.substr(0, slash);
      if (::mkdirat(root_.fd(), part.c_str(), options_.directory_mode) == 0) {
        // The umask may have taken bits away that the group of a shared repository needs.
        if (::fchmodat(root_.fd(), part.c_str(), options_.directory_mode, 0) != 0 && errno != ENOENT)
          return fail(errno, operation, part);
        observe(PosixEvent::kMakeDirectory, part);
        last_is_new = slash == std::string::npos;
      } else if (errno == ENOENT) {
        raced = true;
        break;
      } else if (errno == ENOTDIR) {
        return fail(Errc::kInvalid, operation, directory, "part of the name is an object");
      } else if (errno != EEXIST) {
        return fail(errno, operation, part);
      }
      if (slash == std::string::npos) break;
    }
    if (last_is_new) return {};
    if (!raced) {
      struct stat status {};
      if (::fstatat(root_.fd(), directory.c_str(), &status, 0) == 0) {
        if (S_ISDIR(status.st_mode)) return {};
        return fail(Errc::kInvalid, operation, directory, "part of the name is an object");
      }
      if (errno != ENOENT) return fail(errno, operation, directory);
    }
    TRY(check(operation, directory));
  }
  return fail(Errc::kTransient, operation, directory, "the directory is removed again and again");
}

void PosixRoot::remove_empty_directories(std::string directory) {
  while (!directory.empty() && ::unlinkat(root_.fd(), directory.c_str(), AT_REMOVEDIR) == 0) {
    directories_.drop(directory);
    directory = directory_of(directory);
  }
}

Result<std::vector<DirectoryEntry>> PosixRoot::read_directory(const std::string& directory,
                                                              std::string_view operation) const {
  std::vector<DirectoryEntry> entries;
  TRY_ASSIGN(File opened, open_directory(directory, operation));
  if (!opened.is_open()) return entries;
  // fdopendir takes the descriptor over, so it gets one of its own.
  const int own = ::fcntl(opened.fd(), F_DUPFD_CLOEXEC, 0);
  if (own < 0) return fail(errno, operation, directory);
  const std::unique_ptr<DIR, CloseDir> stream(::fdopendir(own));
  if (!stream) {
    ::close(own);
    return fail(ENOMEM, operation, directory);
  }
  for (;;) {
    errno = 0;
    const struct dirent* found = ::readdir(stream.get());
    if (found == nullptr) break;
    DirectoryEntry entry{.name = found->d_name};
    entry.is_temporary = entry.name.starts_with(".tmp-");
    // Names no key can have are not ours: "lost+found", for one, which nobody but root may even open.
    if (!entry.is_temporary && !is_key_component(entry.name)) continue;
    unsigned char type = found->d_type;
    if (type == DT_UNKNOWN || type == DT_LNK) {
      struct stat status {};
      if (::fstatat(opened.fd(), found->d_name, &status, 0) != 0) {
        if (errno == ENOENT) continue;  // Removed just now, or a link to nothing.
        return fail(errno, operation, directory.empty() ? entry.name : directory + "/" + entry.name);
      }
      // A directory may be a link to another disk; an object may not.
      const bool link_to_file = type == DT_LNK && !S_ISDIR(status.st_mode);
      type = S_ISDIR(status.st_mode) ? DT_DIR : S_ISREG(status.st_mode) && !link_to_file ? DT_REG : DT_UNKNOWN;
    }
    if (type != DT_DIR && type != DT_REG) continue;
    entry.is_directory = type == DT_DIR;
    if (entry.is_directory && entry.is_temporary) continue;
    entries.push_back(std::move(entry));
  }
  if (errno != 0) return fail(errno, operation, directory);
  return entries;
}

PosixRoot::Identity PosixRoot::identity_of(const File& opened) {
  struct statx status {};
  if (::statx(opened.fd(), "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0) return {};
  Identity identity{.inode = status.stx_ino};
  if ((status.stx_mask & STATX_BTIME) != 0)
    identity.born_ns = status.stx_btime.tv_sec * 1'000'000'000 + static_cast<int64_t>(status.stx_btime.tv_nsec);
  return identity;
}

Result<> PosixRoot::sync_entries(const std::string& directory, const File& opened) {
  MutexLock lock(mu_);
  SharedSync& shared = syncs_[directory];  // References into a std::map stay valid.
  ++shared.users;
  const uint64_t ticket = ++shared.last_ticket;
  Result<> result;
  for (;;) {
    if (shared.done >= ticket) {
      for (const FailedSync& failed : shared.failed)
        if (ticket >= failed.first_ticket && ticket <= failed.last_ticket) result = failed.error;
      break;
    }
    if (shared.running) {
      synced_.wait(mu_);
      continue;
    }
    // An fsync that begins now covers every call made until now, and none made later.
    shared.running = true;
    const uint64_t covered = shared.last_ticket;
    const uint64_t first = shared.done + 1;
    lock.unlock();
    const int failure = ::fsync(opened.fd()) == 0 ? 0 : errno;
    lock.lock();
    shared.running = false;
    shared.done = covered;
    // The kernel tells a failed write once: those who shared this call must hear of it here. EINVAL comes from file
    // systems whose directories need no fsync and refuse it.
    if (failure != 0 && failure != EINVAL)
      shared.failed.push_back({first, covered, fail(failure, "fsync directory", directory)});
    synced_.notify_all();
  }
  if (--shared.users == 0) syncs_.erase(directory);
  lock.unlock();
  if (result.has_value()) observe(PosixEvent::kSyncDirectory, directory);
  return result;
}

bool PosixRoot::is_known_durable(const std::string& directory, const File& opened) {
  const Identity identity = identity_of(opened);
  {
    MutexLock lock(mu_);
    const auto known = durable_.find(directory);
    // Without a birth time an inode number that was used again could pass for the directory we knew.
    if (known != durable_.end() && known->second == identity && identity.born_ns != 0) return true;
  }
  return holds_object(opened);
}

Result<std::vector<File>> PosixRoot::open_parents(const std::string& directory) const {
  std::vector<std::string> paths;
  for (std::string path = directory; !path.empty();) paths.push_back(path = directory_of(path));
  std::vector<File> parents(paths.size());
  const auto open = [&](size_t i) -> Result<> {
    TRY_ASSIGN(parents[i], open_directory(paths[i], "fsync directory"));
    return parents[i].is_open() ? Result<>() : fail(ENOENT, "fsync directory", paths[i]);
  };
  TaskGroup group;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (is_far_)
      group.spawn([&open, i] { return open(i); });
    else
      TRY(open(i));
  }
  TRY(group.wait());
  return parents;
}

Result<> PosixRoot::sync_parents(const std::string& directory, const File& opened) {
  if (directory.empty() || is_known_durable(directory, opened)) return {};
  // Opened now, by their paths: what was known of them may have been moved away.
  TRY_ASSIGN(const std::vector<File> parents, open_parents(directory));
  std::vector<std::pair<std::string, Identity>> synced{{directory, identity_of(opened)}};
  for (const File& above : parents) {
    const std::string parent = directory_of(synced.back().first);
    // Whoever made the directory may have died before its fsync, so finding it is not enough.
    TRY(sync_entries(parent, above));
    if (parent.empty() || is_known_durable(parent, above)) break;
    synced.emplace_back(parent, identity_of(above));
  }
  MutexLock lock(mu_);
  if (durable_.size() + synced.size() > kDurableDirectoriesMax) durable_.clear();
  for (auto& [path, identity] : synced) durable_[path] = identity;
  return {};
}

}  // namespace pgark
