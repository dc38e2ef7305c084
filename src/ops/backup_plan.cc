// The walk of a data directory: exclusions, unlogged relations, tablespaces and symbolic links.
#include "ops/backup_plan.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "core/file.h"
#include "core/log.h"
#include "pg/relation_path.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

// Entries of one directory that are looked at together; what stat(2) says of them is held in memory.
constexpr size_t kStatBatch = 8192;
// Fewer are not worth another thread.
constexpr size_t kStatsPerThread = 1024;

using FileId = std::pair<dev_t, ino_t>;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

/// Names in a directory, sorted, so that the same directory always gives the same plan.
Result<std::vector<std::string>> list_names(const std::string& path) {
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path.c_str()));
  if (directory == nullptr) return errno_error(errno, "open directory '" + path + "'");
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return errno_error(errno, "read directory '" + path + "'");
  std::sort(names.begin(), names.end());
  return names;
}

/// Status of a path; no value if there is nothing.
Result<std::optional<struct stat>> status_of(const std::string& path, bool follow) {
  struct stat status {};
  if ((follow ? ::stat(path.c_str(), &status) : ::lstat(path.c_str(), &status)) == 0) return std::optional(status);
  if (errno == ENOENT || errno == ENOTDIR || (follow && errno == ELOOP)) return std::optional<struct stat>();
  return errno_error(errno, "stat '" + path + "'");
}

/// Status of some entries of a directory, links not followed; no value for those that are not there any more.
Result<> stat_entries(const File& directory, std::span<const std::string> names,
                      std::span<std::optional<struct stat>> statuses) {
  for (size_t i = 0; i < names.size(); ++i) {
    struct stat status {};
    statuses[i].reset();
    if (::fstatat(directory.fd(), names[i].c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
      statuses[i] = status;
    else if (errno != ENOENT && errno != ENOTDIR)
      return errno_error(errno, "stat '" + directory.path() + "/" + names[i] + "'");
  }
  return {};
}

/// The same by several threads: cold inodes come from the disk side by side, and warm ones cost a system call each.
Result<> stat_entries(const File& directory, std::span<const std::string> names,
                      std::span<std::optional<struct stat>> statuses, size_t workers, const CancelToken& cancel) {
  workers = std::min(workers, names.size() / kStatsPerThread);
  if (workers <= 1) return stat_entries(directory, names, statuses);
  const size_t share = (names.size() + workers - 1) / workers;
  TaskGroup group(&cancel);
  for (size_t first = 0; first < names.size(); first += share) {
    const size_t count = std::min(share, names.size() - first);
    group.spawn([&directory, some = names.subspan(first, count), into = statuses.subspan(first, count)] {
      return stat_entries(directory, some, into);
    });
  }
  return group.wait();
}

Result<std::string> read_link(const std::string& path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t bytes = ::readlink(path.c_str(), target.data(), target.size());
  if (bytes < 0) return errno_error(errno, "read link '" + path + "'");
  target.resize(static_cast<size_t>(bytes));
  return target;
}

std::optional<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), &std::free);
  if (resolved == nullptr) return std::nullopt;
  return std::string(resolved.get());
}

/// Whether `path` is `directory` or lies below it; both resolved.
bool is_within(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

std::string user_name(uid_t id) {
  char buffer[16384];
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(id, &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) return "";
  return found->pw_name;
}

std::string group_name(gid_t id) {
  char buffer[16384];
  group entry{};
  group* found = nullptr;
  if (::getgrgid_r(id, &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) return "";
  return found->gr_name;
}

std::optional<uint32_t> parse_oid(std::string_view name) {
  uint32_t oid = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), oid);
  if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) return std::nullopt;
  return oid;
}

}  // namespace

std::string BackupPlan::path(const PlannedEntry& entry) const {
  const std::string& parent = directory(entry);
  if (parent.empty()) return std::string(name(entry));
  std::string path;
  path.reserve(parent.size() + 1 + entry.name_bytes);
  return path.append(parent).append("/").append(name(entry));
}

/// Builds a plan.
class PlanWalker {
 public:
  PlanWalker(std::string data_directory, const pg::ExclusionContext& exclusions,
             const std::vector<std::string>& excluded, const CancelToken& cancel, unsigned workers)
      : root_(std::move(data_directory)),
        exclusions_(exclusions),
        excluded_(excluded.begin(), excluded.end()),
        cancel_(cancel),
        workers_(workers) {}

  Result<BackupPlan> walk() && {
    const auto real_root = real_path(root_);
    if (!real_root.has_value()) return errno_error(errno, "resolve data directory '" + root_ + "'");
    real_root_ = *real_root;
    TRY(find_tablespaces());
    TRY(walk_directory(""));
    plan_.names_.shrink_to_fit();
    return std::move(plan_);
  }

 private:
  std::string physical(const std::string& path) const { return path.empty() ? root_ : root_ + "/" + path; }

  /// Note the directories of all tablespaces: one placed inside the data directory must not be copied twice.
  Result<> find_tablespaces() {
    const std::string parent = physical("pg_tblspc");
    TRY_ASSIGN(const auto names, list_names(parent));
    for (const std::string& name : names) {
      if (!parse_oid(name).has_value()) continue;
      TRY_ASSIGN(const auto link, status_of(parent + "/" + name, false));
      if (!link.has_value() || !S_ISLNK(link->st_mode)) continue;
      TRY_ASSIGN(const auto status, status_of(parent + "/" + name, true));
      if (status.has_value()) tablespace_ids_.insert({status->st_dev, status->st_ino});
    }
    return {};
  }

  Result<> walk_directory(const std::string& path) {
    TRY(cancel_.check());
    if (excluded_.contains(path + "/")) return {};
    auto listed = list_names(physical(path));
    if (!listed.has_value()) {
      // A database or tablespace dropped since it was seen is replayed from WAL as dropped.
      if (listed.error().code() == Errc::kNotFound && !path.empty()) return {};
      Error error(std::move(listed).error());
      if (error.code() != Errc::kPermission) return error;
      return std::move(error).with_hint("run pgark as the system user that owns the cluster");
    }
    const bool relations = pg::is_relation_directory(path);
    const pg::UnloggedRelations unlogged(relations ? std::span<const std::string>(*listed)
                                                   : std::span<const std::string>());
    std::erase_if(*listed, [&](const std::string& name) { return relations && unlogged.drops(name); });
    plan_.directories_.push_back(path);
    const auto directory = static_cast<uint32_t>(plan_.directories_.size() - 1);
    // The table of exclusions has nothing to say about ordinary relation files, of which there may be millions.
    const bool plain =
        relations && excluded_.empty() && pg::classify_path(exclusions_, path, true) == pg::Inclusion::kInclude;
    std::vector<std::optional<struct stat>> statuses;
    for (size_t first = 0; first < listed->size(); first += kStatBatch) {
      TRY(cancel_.check());
      const auto names =
          std::span<const std::string>(*listed).subspan(first, std::min(kStatBatch, listed->size() - first));
      statuses.resize(names.size());
      // Opened for this alone: directories may lie deeper in each other than a process may have open files.
      auto opened = File::open(physical(path), O_PATH | O_DIRECTORY);
      if (!opened.has_value() && opened.error().code() == Errc::kNotFound) return {};
      if (!opened.has_value()) return std::move(opened).error();
      TRY(stat_entries(*opened, names, statuses, workers_, cancel_));
      TRY(opened->close());
      for (size_t i = 0; i < names.size(); ++i)
        if (statuses[i].has_value()) TRY(visit(directory, names[i], *statuses[i], plain));
    }
    return {};
  }

  Result<> visit(uint32_t directory, const std::string& name, const struct stat& status, bool plain) {
    if (plain && S_ISREG(status.st_mode) && pg::parse_relation_file_name(name).has_value())
      return add_file(directory, name, status);
    const std::string& parent = plan_.directories_[directory];
    const std::string path = parent.empty() ? name : parent + "/" + name;
    if (excluded_.contains(path)) return {};
    if (S_ISLNK(status.st_mode)) return visit_link(directory, name, path, status);
    if (S_ISDIR(status.st_mode)) return visit_directory(directory, name, path, status);
    if (S_ISREG(status.st_mode)) return visit_file(directory, name, path, status);
    if (pg::classify_path(exclusions_, path, false) == pg::Inclusion::kInclude)
      warn(fmt::format("'{}' is neither file, directory nor link: not backed up", physical(path)));
    return {};
  }

  Result<> visit_file(uint32_t directory, const std::string& name, const std::string& path, const struct stat& status) {
    if (pg::classify_path(exclusions_, path, false) != pg::Inclusion::kInclude) return {};
    return add_file(directory, name, status);
  }

  Result<> add_file(uint32_t directory, const std::string& name, const struct stat& status) {
    TRY(add(directory, name, EntryKind::kFile, status));
    plan_.file_count_ += 1;
    plan_.bytes_ += static_cast<uint64_t>(status.st_size);
    return {};
  }

  Result<> visit_directory(uint32_t directory, const std::string& name, const std::string& path,
                           const struct stat& status) {
    if (pg::classify_path(exclusions_, path, true) == pg::Inclusion::kExclude) return {};
    TRY(add(directory, name, EntryKind::kDirectory, status));
    if (plan_.directories_[directory] == "pg_tblspc") {
      if (const auto oid = parse_oid(name); oid.has_value()) plan_.tablespaces_.push_back({*oid, path});
    } else if (tablespace_ids_.contains({status.st_dev, status.st_ino})) {
      return {};  // Copied through its link below pg_tblspc.
    }
    return walk_directory(path);
  }

  Result<> visit_link(uint32_t directory, const std::string& name, const std::string& path, const struct stat& link) {
    auto read = read_link(physical(path));
    if (!read.has_value()) return read.error().code() == Errc::kNotFound ? Result<>() : Error(read.error());
    TRY_ASSIGN(const auto status, status_of(physical(path), true));
    const bool is_directory = status.has_value() && S_ISDIR(status->st_mode);
    if (pg::classify_path(exclusions_, path, is_directory) == pg::Inclusion::kExclude) return {};
    TRY(add(directory, name, EntryKind::kSymlink, link));
    plan_.entries_.back().bytes = plan_.link_targets_.size();
    plan_.link_targets_.push_back(*read);

    const auto oid = plan_.directories_[directory] == "pg_tblspc" ? parse_oid(name) : std::nullopt;
    if (oid.has_value()) plan_.tablespaces_.push_back({*oid, *read});
    if (!status.has_value()) {
      warn(
          fmt::format("link '{}' points to '{}', which is not there: recorded without content", physical(path), *read));
      return {};
    }
    if (!oid.has_value() && !may_follow(path, *read, *status)) return {};
    // Depth is bounded because no linked directory is entered twice.
    if (is_directory) {
      TRY(add(directory, name, EntryKind::kDirectory, *status));
      return walk_directory(path);
    }
    if (!S_ISREG(status->st_mode)) return {};
    return visit_file(directory, name, path, *status);
  }

  /// Whether what a link points to belongs to the backup under the link's path.
  bool may_follow(const std::string& path, const std::string& target, const struct stat& status) {
    const auto resolved = real_path(physical(path));
    if (!resolved.has_value()) return false;
    if (is_within(*resolved, real_root_)) return false;  // Its target is copied where it is.
    if (S_ISDIR(status.st_mode)) {
      if (is_within(real_root_, *resolved)) {
        warn(fmt::format("link '{}' points to '{}', which holds the data directory: recorded without content",
                         physical(path), target));
        return false;
      }
      if (!linked_.insert({status.st_dev, status.st_ino}).second) {
        warn(fmt::format("link '{}' points to '{}', which another link points to: recorded without content",
                         physical(path), target));
        return false;
      }
    }
    return true;
  }

  Result<> add(uint32_t directory, const std::string& name, EntryKind kind, const struct stat& status) {
    if (plan_.names_.size() + name.size() > UINT32_MAX || plan_.entries_.size() >= UINT32_MAX)
      return Error(Errc::kUnsupported, "plan backup: the data directory holds more files than this version can list");
    if (plan_.directories_[directory].size() + 1 + name.size() > PATH_MAX)
      return Error(Errc::kUnsupported,
                   "plan backup: path '" + plan_.directories_[directory] + "/" + name + "' is too long");
    PlannedEntry entry;
    entry.bytes = kind == EntryKind::kFile ? static_cast<uint64_t>(status.st_size) : 0;
    entry.modified_us = static_cast<int64_t>(status.st_mtim.tv_sec) * 1'000'000 + status.st_mtim.tv_nsec / 1000;
    entry.directory = directory;
    entry.name_at = static_cast<uint32_t>(plan_.names_.size());
    entry.owner = owner_index(status);
    entry.name_bytes = static_cast<uint16_t>(name.size());
    entry.kind = kind;
    plan_.names_ += name;
    plan_.entries_.push_back(entry);
    return {};
  }

  uint32_t owner_index(const struct stat& status) {
    const std::tuple key(status.st_mode & 07777u, status.st_uid, status.st_gid);
    const auto [at, added] = owner_indexes_.try_emplace(key, static_cast<uint32_t>(plan_.owners_.size()));
    if (added) plan_.owners_.push_back({status.st_mode & 07777u, user_name(status.st_uid), group_name(status.st_gid)});
    return at->second;
  }

  void warn(std::string text) {
    log_warn("{}", text);
    plan_.warnings_.push_back(std::move(text));
  }

  const std::string root_;
  const pg::ExclusionContext& exclusions_;
  const std::set<std::string> excluded_;
  const CancelToken& cancel_;
  const unsigned workers_;
  std::string real_root_;
  BackupPlan plan_;
  std::set<FileId> tablespace_ids_;
  std::set<FileId> linked_;
  std::map<std::tuple<uint32_t, uid_t, gid_t>, uint32_t> owner_indexes_;
};

Result<> check_excludes(const std::vector<std::string>& excluded) {
  for (const std::string& path : excluded) {
    const std::string_view first = std::string_view(path).substr(0, path.find('/'));
    const bool needed = path.starts_with('/') || first.empty() || first == ".." || first == "global" ||
                        first == "base" || first == "PG_VERSION" || first == "pg_tblspc" || first == "pg_xact" ||
                        first == "pg_multixact" || first == "pg_commit_ts" || first == "pg_twophase" ||
                        first == "pg_logical";
    if (needed)
      return Error(Errc::kInvalid,
                   fmt::format("--exclude={}: a cluster restored without it would not be the same", path))
          .with_hint("give paths relative to the data directory, of files that are not PostgreSQL's own");
  }
  return {};
}

Result<BackupPlan> plan_backup(const std::string& data_directory, const pg::ExclusionContext& exclusions,
                               const std::vector<std::string>& excluded, const CancelToken& cancel, unsigned workers) {
  TRY_ASSIGN_CTX(BackupPlan plan, PlanWalker(data_directory, exclusions, excluded, cancel, workers).walk(),
                 "plan backup");
  return plan;
}

}  // namespace pgark
