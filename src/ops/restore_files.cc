// Making and finishing restored files.
#include "ops/restore_files.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "pg/control.h"

namespace pgark {
namespace {

struct timespec to_timespec(int64_t us) {
  int64_t seconds = us / 1000000;
  int64_t rest = us % 1000000;
  if (rest < 0) {
    --seconds;
    rest += 1000000;
  }
  return {static_cast<time_t>(seconds), static_cast<long>(rest * 1000)};
}

}  // namespace

void begin_writeback(const File& file, uint64_t offset, uint64_t bytes) {
  (void)::sync_file_range(file.fd(), static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

OwnerTable::Ids OwnerTable::find(const std::string& user, const std::string& group) {
  const MutexLock lock(mu_);
  const auto [user_at, user_new] = users_.try_emplace(user, static_cast<uid_t>(-1));
  if (user_new && !user.empty()) {
    struct passwd entry {};
    struct passwd* found = nullptr;
    std::vector<char> space(16384);
    if (::getpwnam_r(user.c_str(), &entry, space.data(), space.size(), &found) == 0 && found != nullptr)
      user_at->second = entry.pw_uid;
    else
      unknown_.push_back("user " + user);
  }
  const auto [group_at, group_new] = groups_.try_emplace(group, static_cast<gid_t>(-1));
  if (group_new && !group.empty()) {
    struct group entry {};
    struct group* found = nullptr;
    std::vector<char> space(16384);
    if (::getgrnam_r(group.c_str(), &entry, space.data(), space.size(), &found) == 0 && found != nullptr)
      group_at->second = entry.gr_gid;
    else
      unknown_.push_back("group " + group);
  }
  return {user_at->second, group_at->second};
}

Result<> OwnerTable::apply(int fd, const FileEntry& entry) {
  if (!enabled_) return {};
  const Ids ids = find(entry.user, entry.group);
  if (::fchown(fd, ids.user, ids.group) != 0) return errno_error(errno, "change owner of '" + entry.path + "'");
  return {};
}

Result<> OwnerTable::apply_to_path(const std::string& path, const std::string& user, const std::string& group) {
  if (!enabled_) return {};
  const Ids ids = find(user, group);
  if (::lchown(path.c_str(), ids.user, ids.group) != 0) return errno_error(errno, "change owner of '" + path + "'");
  return {};
}

std::vector<std::string> OwnerTable::unknown() const {
  const MutexLock lock(mu_);
  return unknown_;
}

FileMaker::FileMaker(const RestorePlan& plan, bool sync_files, OwnerTable& owners)
    : plan_(plan), sync_files_(sync_files), owners_(owners) {
  umask_ = ::umask(0);
  ::umask(umask_);
}

Result<> FileMaker::open_root() {
  TRY_ASSIGN(root_, File::open(plan_.places.front().path, O_RDONLY | O_DIRECTORY));
  return {};
}

bool FileMaker::wanted(const FileEntry& entry) const {
  return entry.kind == EntryKind::kFile && !plan_.skip_files.contains(entry.path);
}

std::string FileMaker::name_of(const FileEntry& entry) const {
  if (entry.path == pg::kControlFilePath) return std::string(kUnfinishedControlPath);
  for (const RestoreFileLink& link : plan_.file_links)
    if (link.path == entry.path) return link.target;
  return entry.path;
}

Result<File> FileMaker::open_at(const std::string& name, int flags, mode_t mode) const {
  int fd = -1;
  do fd = ::openat(root_.fd(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0)
    return errno_error(errno, ((flags & O_CREAT) != 0 ? "create file '" : "open file '") + shown_path(name) + "'");
  return File::adopt(fd, shown_path(name));
}

Result<File> FileMaker::open(const FileEntry& entry) const {
  return open_at(name_of(entry), O_WRONLY | O_CREAT, (entry.mode & 07777) | S_IRUSR | S_IWUSR);
}

Result<FileMaker::Opened> FileMaker::open_existing(const FileEntry& entry) const {
  const std::string name = name_of(entry);
  const mode_t mode = (entry.mode & 07777) | S_IRUSR | S_IWUSR;
  auto file = open_at(name, O_RDWR, 0);
  if (file) return Opened{std::move(*file), false};
  if (file.error().code() == Errc::kPermission) {
    struct stat status {};
    const bool is_ours =
        ::fstatat(root_.fd(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_uid == ::geteuid();
    if (is_ours && ::fchmodat(root_.fd(), name.c_str(), mode, 0) == 0) {
      TRY_ASSIGN(File opened, open_at(name, O_RDWR, 0));
      return Opened{std::move(opened), false};
    }
    // Of another user: the directory is ours, so that it can be replaced.
    if (::unlinkat(root_.fd(), name.c_str(), 0) != 0) return std::move(file).error();
  } else if (file.error().code() != Errc::kNotFound) {
    return std::move(file).error();
  }
  TRY_ASSIGN(File created, open_at(name, O_RDWR | O_CREAT, mode));
  return Opened{std::move(created), true};
}

Result<> FileMaker::set_size(const File& file, const FileEntry& entry) const {
  if (entry.bytes == 0 || (entry.runs.size() == 1 && entry.runs.front().bytes == entry.bytes)) return {};
  return file.truncate(entry.bytes);
}

Result<> FileMaker::finish(const File& file, const FileEntry& entry) const {
  const mode_t mode = entry.mode & 07777;
  const mode_t created = (mode | S_IRUSR | S_IWUSR) & ~umask_;
  if (mode != created && ::fchmod(file.fd(), mode) != 0)
    return errno_error(errno, "change mode of '" + file.path() + "'");
  if (owners_.enabled()) TRY(owners_.apply(file.fd(), entry));
  if (sync_files_) TRY(file.fsync());
  return set_time(file, entry);
}

Result<> FileMaker::finish_existing(const File& file, const FileEntry& entry) const {
  TRY_ASSIGN(const struct stat status, file.stat());
  const mode_t mode = entry.mode & 07777;
  if (owners_.enabled()) {
    const OwnerTable::Ids ids = owners_.find(entry.user, entry.group);
    const bool right = (ids.user == static_cast<uid_t>(-1) || ids.user == status.st_uid) &&
                       (ids.group == static_cast<gid_t>(-1) || ids.group == status.st_gid);
    if (!right) TRY(owners_.apply(file.fd(), entry));
  }
  // After the owner, whose change may take bits away.
  if (mode != (status.st_mode & 07777) && ::fchmod(file.fd(), mode) != 0)
    return errno_error(errno, "change mode of '" + file.path() + "'");
  // Also where nothing was written: it may not have reached the disk when an earlier restore was cut off.
  if (sync_files_) TRY(file.fsync());
  const struct timespec time = to_timespec(entry.modified_us);
  if (status.st_mtim.tv_sec == time.tv_sec && status.st_mtim.tv_nsec == time.tv_nsec) return {};
  return set_time(file, entry);
}

Result<> FileMaker::set_time(const File& file, const FileEntry& entry) const {
  const struct timespec time = to_timespec(entry.modified_us);
  const struct timespec times[2] = {time, time};
  if (::futimens(file.fd(), times) != 0) return errno_error(errno, "set time of '" + file.path() + "'");
  return {};
}

std::string FileMaker::shown_path(const std::string& name) const {
  return name.starts_with('/') ? name : plan_.places.front().path + "/" + name;
}

}  // namespace pgark
