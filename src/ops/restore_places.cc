// Checks of the directories a restore goes into, and what is done to them before the first file.
#include "ops/restore_places.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "ops/cluster_files.h"
#include "ops/restore_clean.h"
#include "pg/exclusions.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;

constexpr long kFuseMagic = 0x65735546;
// Left free: a file system filled to the last byte would stop the recovered server at once.
constexpr uint64_t kSpareBytes = 16u << 20;

std::optional<struct stat> stat_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return status;
}

/// Places that the marker of an unfinished restore lists.
std::vector<std::string> places_of_marker(const std::string& data_directory) {
  const auto text = read_file(data_directory + "/" + std::string(kRestoreMarkerFile), 1u << 20);
  if (!text) return {};
  const auto document = nlohmann::json::parse(*text, nullptr, false);
  std::vector<std::string> places;
  if (document.is_object() && document.contains("places") && document["places"].is_array())
    for (const auto& place : document["places"])
      if (place.is_string()) places.push_back(place.get<std::string>());
  return places;
}

Error not_empty(const RestorePlace& place, const std::vector<std::string>& names) {
  return Error(Errc::kInvalid, fmt::format("{} is not empty: it holds '{}'{}", place.describe(), names.front(),
                                           names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : ""));
}

Result<> check_owner(const RestorePlace& place, const struct stat& status) {
  if (!S_ISDIR(status.st_mode)) return Error(Errc::kInvalid, place.describe() + " is not a directory");
  if (::geteuid() != 0 && status.st_uid != ::geteuid())
    return Error(Errc::kPermission, fmt::format("{} belongs to user id {}, but pgark runs as user id {}",
                                                place.describe(), status.st_uid, ::geteuid()))
        .with_hint("run restore as the user that runs PostgreSQL");
  if (::access(place.path.c_str(), W_OK | X_OK) != 0)
    return errno_error(errno, "write to " + place.describe()).with_hint("check permissions and mount options");
  return {};
}

/// A directory that does not exist can be made if its nearest existing parent lets us.
Result<> check_can_create(const RestorePlace& place) {
  std::string parent = parent_path(place.path);
  while (!stat_of(parent) && parent != "/") parent = parent_path(parent);
  const auto status = stat_of(parent);
  if (!status || !S_ISDIR(status->st_mode))
    return Error(Errc::kInvalid, fmt::format("{} cannot be made: '{}' is not a directory", place.describe(), parent));
  if (::access(parent.c_str(), W_OK | X_OK) != 0)
    return errno_error(errno, fmt::format("make {}: write to '{}'", place.describe(), parent))
        .with_hint("make the directory and give it to the user that runs PostgreSQL");
  return {};
}

/// A directory of another cluster is not compared, it is mistaken. What cannot be read is damaged, which is what a
/// delta restore is for.
Result<> check_same_cluster(const RestorePlan& plan, Clock& clock) {
  const RestorePlace& place = plan.places.front();
  const auto control = read_control_file(place.path, clock);
  if (!control || control->data.system_id == plan.backup.system_identifier) return {};
  return Error(Errc::kInvalid,
               fmt::format("{} holds another cluster: its system identifier is {}, that of backup {} is {}",
                           place.describe(), control->data.system_id, plan.backup.label, plan.backup.system_identifier))
      .with_hint("check --stanza and pg1-path; to overwrite it all the same give --force too");
}

/// Files of pg_wal that wait to be archived, by name.
std::vector<std::string> ready_wal(const RestorePlace& place) {
  constexpr std::string_view kReady = ".ready";
  std::vector<std::string> ready;
  const auto names = names_in(place.path + "/pg_wal/archive_status");
  if (!names) return ready;
  for (const std::string& name : *names)
    if (name.ends_with(kReady)) ready.push_back(name.substr(0, name.size() - kReady.size()));
  return ready;
}

Result<> check_data_directory(const RestorePlan& plan, const RestoreRequest& request, Clock& clock,
                              PlaceChecks& checks) {
  const RestorePlace& place = plan.places.front();
  const auto status = stat_of(place.path);
  if (!status) return check_can_create(place);
  TRY(check_owner(place, *status));
  TRY_ASSIGN(const auto names, names_in(place.path));
  if (names.empty()) return {};
  TRY_ASSIGN_CTX(const bool runs, postmaster_runs(place.path), place.describe());
  if (runs)
    return Error(Errc::kInvalid, fmt::format("a PostgreSQL server is running in {}", place.describe()))
        .with_hint("stop it first; if postmaster.pid was left behind by a crash, remove that file");
  const auto holds = [&](std::string_view name) { return std::binary_search(names.begin(), names.end(), name); };
  checks.unfinished = holds(kRestoreMarkerFile);
  if (!request.force && !request.delta)
    return not_empty(place, names)
        .with_hint(checks.unfinished
                       ? "a restore into it did not end: run it again with --delta to complete it, or with --force to "
                         "start over"
                       : "restore into an empty directory, or give --delta or --force to overwrite a cluster");
  if (!holds("PG_VERSION") && !checks.unfinished)
    return not_empty(place, names)
        .with_hint(fmt::format("--{} overwrites only a PostgreSQL data directory, and there is no PG_VERSION in it",
                               request.delta ? "delta" : "force"));
  if (!request.delta) {
    checks.to_clear.push_back(place.path);
    return {};
  }
  if (!request.force) TRY(check_same_cluster(plan, clock));
  // A restore that was cut off has had its answer.
  if (!request.force && !checks.unfinished) checks.ready_wal = ready_wal(place);
  checks.to_compare.push_back({place.path, ""});
  return {};
}

/// Whether the data directory that is overwritten is the one that uses `path`.
bool old_cluster_uses(const RestorePlan& plan, const std::string& link, const std::string& path) {
  const std::string wanted = resolved_path(path);
  const std::string& root = plan.places.front().path;
  std::error_code failure;
  const fs::path old_link = fs::path(root) / link;
  if (fs::is_symlink(old_link, failure) && resolved_path(old_link.string()) == wanted) return true;
  const auto listed = places_of_marker(root);
  return std::any_of(listed.begin(), listed.end(), [&](const std::string& p) { return resolved_path(p) == wanted; });
}

Result<> check_linked_place(const RestorePlan& plan, const RestorePlace& place, const RestoreRequest& request,
                            PlaceChecks& checks) {
  const auto status = stat_of(place.path);
  if (!status) return check_can_create(place);
  TRY(check_owner(place, *status));
  TRY_ASSIGN(const auto names, names_in(place.path));
  if (names.empty()) return {};
  if (!request.force && !request.delta)
    return not_empty(place, names)
        .with_hint(place.is_tablespace() ? "empty it, or restore the tablespace elsewhere with --tablespace-map"
                                         : "empty it, or restore the link elsewhere with --link-map");
  // Another cluster of this machine, above all the original of a copy, may live there.
  if (!old_cluster_uses(plan, place.link, place.path))
    return not_empty(place, names)
        .with_hint(
            fmt::format("--{} removes only what the data directory being overwritten leads to: if nothing else uses "
                        "it, empty it by hand",
                        request.delta ? "delta" : "force"));
  if (!place.is_tablespace()) {
    if (request.delta) {
      checks.to_compare.push_back({place.path, place.link});
    } else {
      checks.to_clear.push_back(place.path);
    }
    return {};
  }
  // Beside it the clusters of other versions may have theirs.
  const std::string version_directory =
      pg::tablespace_directory_name(pg::PgMajor{plan.backup.pg_major}, plan.backup.catalog_version);
  if (!std::binary_search(names.begin(), names.end(), version_directory)) return {};
  const std::string path = place.path + "/" + version_directory;
  struct stat below {};
  if (request.delta && ::lstat(path.c_str(), &below) == 0 && S_ISDIR(below.st_mode)) {
    checks.to_compare.push_back({path, place.link + "/" + version_directory});
  } else {
    checks.to_remove.push_back(path);
  }
  return {};
}

Result<> check_file_link(const RestorePlan& plan, const RestoreFileLink& link, const RestoreRequest& request,
                         PlaceChecks& checks) {
  struct stat status {};
  if (::lstat(link.target.c_str(), &status) != 0) {
    const RestorePlace parent{.link = link.path, .path = link.target, .link_text = "", .tablespace_name = ""};
    return check_can_create(parent);
  }
  const bool overwrites = request.force || request.delta;
  if (!overwrites || !S_ISREG(status.st_mode) || !old_cluster_uses(plan, link.path, link.target))
    return Error(Errc::kInvalid, fmt::format("link {} leads to '{}', which exists", link.path, link.target))
        .with_hint("remove it, restore it elsewhere with --link-map, or leave out --link-all");
  // A file with further links is replaced, not written through.
  if (!request.delta || status.st_nlink > 1) checks.to_remove.push_back(link.target);
  return {};
}

/// Disk space that removing a tree gives back.
uint64_t space_below(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code failure;
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 && !S_ISDIR(status.st_mode))
    return static_cast<uint64_t>(status.st_blocks) * 512;
  for (fs::recursive_directory_iterator at(path, fs::directory_options::skip_permission_denied, failure), end;
       !failure && at != end; at.increment(failure))
    if (::lstat(at->path().c_str(), &status) == 0 && status.st_nlink == 1)
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  return bytes;
}

/// Of a file system, by what is there and goes, or is wrong and written again. What is right needs no space.
uint64_t space_freed(const PlaceChecks& checks, dev_t device) {
  uint64_t bytes = 0;
  const auto add = [&](const std::string& path) {
    if (const auto status = stat_of(path); status && status->st_dev == device) bytes += space_below(path);
  };
  for (const std::string& path : checks.to_clear) add(path);
  for (const std::string& path : checks.to_remove) add(path);
  for (const PlaceChecks::Tree& tree : checks.to_compare) add(tree.path);
  return bytes;
}

std::string nearest_existing(std::string path) {
  while (!stat_of(path) && path != "/") path = parent_path(path);
  return path;
}

Result<> check_space(const RestorePlan& plan, const PlaceChecks& checks) {
  struct Need {
    uint64_t bytes = 0;
    uint64_t file_count = 0;
    std::string path;
    std::string places;
  };
  std::map<dev_t, Need> needs;
  for (const RestorePlace& place : plan.places) {
    const std::string existing = nearest_existing(place.path);
    const auto status = stat_of(existing);
    if (!status) return errno_error(errno, "stat '" + existing + "'");
    Need& need = needs[status->st_dev];
    need.bytes += place.bytes;
    need.file_count += place.file_count;
    need.path = existing;
    need.places += (need.places.empty() ? "" : ", ") + place.describe();
  }
  for (const auto& [device, need] : needs) {
    struct statvfs file_system {};
    if (::statvfs(need.path.c_str(), &file_system) != 0)
      return errno_error(errno, "stat file system of '" + need.path + "'");
    const uint64_t free_bytes = file_system.f_bavail * file_system.f_frsize;
    // Some file systems count no inodes.
    const bool few_inodes = file_system.f_files > 0 && need.file_count > file_system.f_favail;
    if (!few_inodes && need.bytes + kSpareBytes <= free_bytes) continue;
    // Only now is it worth asking each file there is what it gives back.
    const uint64_t freed = space_freed(checks, device);
    // What --force frees of them is not worth counting.
    if (few_inodes && freed == 0)
      return Error(Errc::kNoSpace, fmt::format("{} inodes are needed for {}, {} are free", need.file_count, need.places,
                                               static_cast<uint64_t>(file_system.f_favail)))
          .with_hint("restore to a file system made for more files");
    if (need.bytes + kSpareBytes > free_bytes + freed)
      return Error(Errc::kNoSpace, fmt::format("{} bytes are needed for {}, {} are free", need.bytes + kSpareBytes,
                                               need.places, free_bytes + freed))
          .with_hint("make room, or restore tablespaces elsewhere with --tablespace-map; WAL replay needs more on top");
  }
  return {};
}

Result<> make_link(const std::string& root, const std::string& link, const std::string& text) {
  const std::string path = root + "/" + link;
  if (::symlink(text.c_str(), path.c_str()) == 0) return {};
  const int failure = errno;
  std::error_code unread;
  if (failure == EEXIST && fs::read_symlink(path, unread) == text) return {};
  return errno_error(failure, fmt::format("link '{}' to '{}'", path, text));
}

bool syncfs_reports_errors() {
  struct utsname name {};
  if (::uname(&name) != 0) return false;
  unsigned major = 0;
  unsigned minor = 0;
  if (std::sscanf(name.release, "%u.%u", &major, &minor) != 2) return false;
  return major > 5 || (major == 5 && minor >= 8);
}

}  // namespace

Result<PlaceChecks> check_places(const RestorePlan& plan, const RestoreRequest& request, Clock& clock) {
  PlaceChecks checks;
  TRY(check_data_directory(plan, request, clock, checks));
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory()) TRY(check_linked_place(plan, place, request, checks));
  for (const RestoreFileLink& link : plan.file_links) TRY(check_file_link(plan, link, request, checks));
  TRY(check_space(plan, checks));
  return checks;
}

Result<RestoreMarker> RestoreMarker::create(const RestorePlan& plan) {
  const std::string path = plan.places.front().path + "/" + std::string(kRestoreMarkerFile);
  std::vector<std::string> listed = places_of_marker(plan.places.front().path);
  TRY_ASSIGN(File file, File::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error(errno, "lock '" + path + "'");
    return Error(Errc::kInvalid, fmt::format("another restore into {} is at work", plan.places.front().describe()));
  }
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory()) listed.push_back(place.path);
  for (const RestoreFileLink& link : plan.file_links) listed.push_back(link.target);
  const nlohmann::json document = {
      {"backup", plan.backup.label},
      {"pid", ::getpid()},
      {"places", listed},
      {"note", "a restore into this directory has not ended; run it again with --delta or --force"}};
  TRY(file.truncate(0));
  const std::string text = document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  TRY(file.pwrite(as_bytes(text), 0));
  // Durable before anything is removed or filled: it is what --force will go by.
  TRY(file.fsync());
  TRY(fsync_directory(plan.places.front().path));
  return RestoreMarker(std::move(file), path);
}

Result<> RestoreMarker::remove() {
  if (::unlink(path_.c_str()) != 0) return errno_error(errno, "remove '" + path_ + "'");
  return {};
}

Result<RestoreMarker> prepare_root(const RestorePlan& plan) {
  TRY(make_directories(plan.places.front().path, 0700));
  return RestoreMarker::create(plan);
}

Result<> make_places(const RestorePlan& plan) {
  const std::string& root = plan.places.front().path;
  if (::chmod(root.c_str(), 0700) != 0) return errno_error(errno, "change mode of '" + root + "'");
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory()) TRY(make_directories(place.path, plan.root_mode));
  for (const RestoreFileLink& link : plan.file_links) TRY(make_directories(parent_path(link.target), 0700));
  // Parents come first; a directory below a link is made where the link leads, hence links as soon as they can be.
  std::vector<std::pair<std::string, const RestorePlace*>> makes;
  for (const FileEntry& directory : plan.directories) makes.emplace_back(directory.path, nullptr);
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory()) makes.emplace_back(place.link, &place);
  std::sort(makes.begin(), makes.end());
  for (const auto& [path, place] : makes) {
    if (place != nullptr) {
      TRY(make_link(root, path, place->link_text));
    } else {
      TRY(make_directories(root + "/" + path, 0700));
    }
  }
  for (const RestoreFileLink& link : plan.file_links) TRY(make_link(root, link.path, link.link_text));
  for (const RestorePlainLink& link : plan.plain_links) TRY(make_link(root, link.path, link.link_text));
  return {};
}

Result<SyncSet> SyncSet::open(const std::vector<std::string>& directories) {
  SyncSet set;
  set.reliable_ = syncfs_reports_errors();
  std::vector<dev_t> seen;
  for (const std::string& directory : directories) {
    TRY_ASSIGN(File opened, File::open(directory, O_RDONLY | O_DIRECTORY));
    TRY_ASSIGN(const struct stat status, opened.stat());
    if (std::find(seen.begin(), seen.end(), status.st_dev) != seen.end()) continue;
    seen.push_back(status.st_dev);
    struct statfs file_system {};
    if (::fstatfs(opened.fd(), &file_system) != 0) return errno_error(errno, "stat file system of '" + directory + "'");
    if (file_system.f_type == kFuseMagic) set.reliable_ = false;
    set.file_systems_.push_back(std::move(opened));
  }
  return set;
}

Result<> SyncSet::sync() const {
  for (const File& file_system : file_systems_)
    if (::syncfs(file_system.fd()) != 0) return errno_error(errno, "sync file system of '" + file_system.path() + "'");
  return {};
}

}  // namespace pgark
