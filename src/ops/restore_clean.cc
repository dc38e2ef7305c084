// Removing what stands in a restore's way, without ever leaving the directories that were proven to be its own.
#include "ops/restore_clean.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <set>

#include "core/log.h"
#include "pg/control.h"

namespace pgark {
namespace {

constexpr mode_t kOwnerAll = S_IRWXU;

std::optional<struct stat> lstat_of(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
  return status;
}

/// Text of a link; empty if it is none.
std::string link_text_of(const std::string& path) {
  std::string text(4096, '\0');
  const ssize_t count = ::readlink(path.c_str(), text.data(), text.size());
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

/// Let us in; where that fails, what follows says why.
void make_accessible(const std::string& directory, mode_t mode) {
  if ((mode & kOwnerAll) != kOwnerAll) (void)::chmod(directory.c_str(), kOwnerAll);
}

Result<> clear_directory(const std::string& path) {
  TRY_ASSIGN(const auto names, names_in(path));
  for (const std::string& name : names)
    if (name != kRestoreMarkerFile) TRY(remove_tree(path + "/" + name));
  return {};
}

/// Walks the places of a plan and removes what is not in it.
class Cleaner {
 public:
  Cleaner(const RestorePlan& plan, const DeltaIndex& index, const CancelToken& cancel)
      : index_(index), cancel_(cancel) {
    for (const FileEntry& directory : plan.directories) directories_.insert(directory.path);
    for (const RestorePlace& place : plan.places)
      if (!place.is_data_directory()) links_[place.link] = place.link_text;
    for (const RestoreFileLink& link : plan.file_links) links_[link.path] = link.link_text;
    for (const RestorePlainLink& link : plan.plain_links) links_[link.path] = link.link_text;
  }

  /// `relative`: path of the directory as the backup has it; empty for the data directory.
  Result<> walk(const std::string& directory, const std::string& relative) {
    TRY_ASSIGN(const auto names, names_in(directory));
    for (const std::string& name : names) {
      TRY(cancel_.check());
      const std::string path = directory + "/" + name;
      const std::string known = relative.empty() ? name : relative + "/" + name;
      const auto status = lstat_of(path);
      if (!status) return errno_error(errno, "stat '" + path + "'");
      if (S_ISDIR(status->st_mode) && directories_.contains(known)) {
        make_accessible(path, status->st_mode);
        TRY(walk(path, known));
      } else if (!keeps(*status, path, known)) {
        log_debug("remove '{}', which backup does not have so", path);
        TRY_ASSIGN(const uint64_t count, remove_tree(path));
        removed_ += count;
      }
    }
    return {};
  }
  uint64_t removed() const { return removed_; }

 private:
  bool keeps(const struct stat& status, const std::string& path, const std::string& known) const {
    if (known == kRestoreMarkerFile) return true;
    if (const auto link = links_.find(known); link != links_.end())
      return S_ISLNK(status.st_mode) && link_text_of(path) == link->second;
    return S_ISREG(status.st_mode) && status.st_nlink == 1 && index_.has_file(known);
  }

  const DeltaIndex& index_;
  const CancelToken& cancel_;
  std::set<std::string> directories_;
  std::map<std::string, std::string> links_;  // Path to text.
  uint64_t removed_ = 0;
};

}  // namespace

Result<std::vector<std::string>> names_in(const std::string& directory) {
  DIR* opened = ::opendir(directory.c_str());
  if (opened == nullptr) return errno_error(errno, "open directory '" + directory + "'");
  std::vector<std::string> names;
  errno = 0;
  while (const struct dirent* entry = ::readdir(opened)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int failure = errno;
  ::closedir(opened);
  if (failure != 0) return errno_error(failure, "read directory '" + directory + "'");
  std::sort(names.begin(), names.end());
  return names;
}

Result<uint64_t> remove_tree(const std::string& path) {
  const auto status = lstat_of(path);
  if (!status && errno == ENOENT) return uint64_t{0};
  if (!status) return errno_error(errno, "stat '" + path + "'");
  uint64_t count = 1;
  if (S_ISDIR(status->st_mode)) {
    make_accessible(path, status->st_mode);
    TRY_ASSIGN(const auto names, names_in(path));
    for (const std::string& name : names) {
      TRY_ASSIGN(const uint64_t below, remove_tree(path + "/" + name));
      count += below;
    }
    if (::rmdir(path.c_str()) != 0) return errno_error(errno, "remove directory '" + path + "'");
  } else if (::unlink(path.c_str()) != 0) {
    return errno_error(errno, "remove '" + path + "'");
  }
  return count;
}

Result<> retire_control_file(const RestorePlan& plan) {
  const std::string& root = plan.places.front().path;
  const std::string global = root + "/" + parent_path(std::string(pg::kControlFilePath));
  const auto directory = lstat_of(global);
  if (!directory) return {};
  if (!S_ISDIR(directory->st_mode)) {
    const std::string text = link_text_of(global);
    const bool planned = std::any_of(plan.places.begin(), plan.places.end(), [&](const RestorePlace& p) {
      return p.link == "global" && !text.empty() && p.link_text == text;
    });
    if (!planned) {
      // Whatever it leads to is not ours; without it the cluster cannot start.
      TRY(remove_tree(global));
      return fsync_directory(root);
    }
  } else {
    make_accessible(global, directory->st_mode);
  }
  const std::string control = root + "/" + std::string(pg::kControlFilePath);
  const std::string unfinished = root + "/" + std::string(kUnfinishedControlPath);
  const auto status = lstat_of(control);
  if (!status) return {};
  if (S_ISREG(status->st_mode) && status->st_nlink == 1) {
    TRY(remove_tree(unfinished));
    if (::rename(control.c_str(), unfinished.c_str()) != 0)
      return errno_error(errno, fmt::format("rename '{}' to '{}'", control, unfinished));
  } else {
    TRY(remove_tree(control));
  }
  return fsync_directory(global);
}

Result<> clear_places(const PlaceChecks& checks) {
  // Linked places before the data directory: its links are the proof that they belong to it, should we be killed here.
  for (const std::string& path : checks.to_remove) TRY(remove_tree(path));
  for (auto path = checks.to_clear.rbegin(); path != checks.to_clear.rend(); ++path) TRY(clear_directory(*path));
  return {};
}

Result<uint64_t> clean_places(const RestorePlan& plan, const PlaceChecks& checks, const DeltaIndex& index,
                              const CancelToken& cancel) {
  Cleaner cleaner(plan, index, cancel);
  uint64_t removed = 0;
  for (const std::string& path : checks.to_remove) {
    TRY_ASSIGN(const uint64_t count, remove_tree(path));
    removed += count;
  }
  // Linked places first, as above.
  for (auto tree = checks.to_compare.rbegin(); tree != checks.to_compare.rend(); ++tree)
    TRY(cleaner.walk(tree->path, tree->relative));
  return removed + cleaner.removed();
}

}  // namespace pgark
