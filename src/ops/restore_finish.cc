// The end of a restore: what makes a directory of files a cluster that recovers to its target.
#include "ops/restore_finish.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "core/file.h"
#include "pg/backup_label.h"
#include "pg/control.h"

namespace pgark {
namespace {

constexpr std::string_view kBlockBegin = "# pgark restore: begin";
constexpr std::string_view kBlockEnd = "# pgark restore: end";

/// Name of the setting on a line of a configuration file, in lower case; empty if there is none.
std::string setting_of(std::string_view line) {
  const size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos || line[begin] == '#') return "";
  const size_t end = std::min(line.find_first_of(" \t=\r", begin), line.size());
  std::string name(line.substr(begin, end - begin));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

/// Write a file of the restored directory.
Result<> write_text(const RestorePlan& plan, const std::string& name, std::string_view content, bool sync_file,
                    OwnerTable& owners) {
  const std::string path = plan.places.front().path + "/" + name;
  const mode_t mode = plan.root_mode == 0750 ? 0640 : 0600;
  TRY_ASSIGN(File file, File::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
  TRY(file.write(as_bytes(content)));
  FileEntry owner;
  owner.path = name;
  if (!plan.directories.empty()) {
    owner.user = plan.directories.front().user;
    owner.group = plan.directories.front().group;
  }
  TRY(owners.apply(file.fd(), owner));
  if (sync_file) TRY(file.fsync());
  return file.close();
}

Result<std::string> existing_text(const std::string& path) {
  auto text = read_file(path);
  if (!text && text.error().code() == Errc::kNotFound) return std::string();
  return text;
}

Result<> write_setting_text(const RestorePlan& plan, const pg::RecoveryFileText& text, bool keep_old, bool sync_file,
                            OwnerTable& owners) {
  std::string content;
  if (text.append) {
    TRY_ASSIGN(content, existing_text(plan.places.front().path + "/" + text.file));
    if (!keep_old) content = strip_restore_settings(content);
    if (!content.empty() && content.back() != '\n') content += '\n';
    content += marked_block(text.content, plan.backup.label);
  } else {
    content = fmt::format("# written by pgark restore of backup {}\n{}", plan.backup.label, text.content);
  }
  return write_text(plan, text.file, content, sync_file, owners);
}

}  // namespace

std::string marked_block(std::string_view lines, std::string_view label) {
  return fmt::format("{} (backup {})\n{}{}\n", kBlockBegin, label, lines, kBlockEnd);
}

std::string strip_restore_settings(std::string_view content) {
  std::string out;
  bool in_block = false;
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size() - 1) + 1;
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(end);
    // A block whose end is missing (somebody edited the file) ends at the file's end.
    if (line.starts_with(kBlockBegin)) in_block = true;
    if (!in_block && !setting_of(line).starts_with("recovery_target")) out += line;
    if (line.starts_with(kBlockEnd)) in_block = false;
  }
  return out;
}

Result<> write_recovery_files(const RestorePlan& plan, const RestoreRequest& request, const pg::RecoveryFiles& files,
                              bool sync_files, OwnerTable& owners) {
  const std::string& root = plan.places.front().path;
  TRY(write_text(plan, std::string(pg::kBackupLabelFile), plan.backup.backup_label, sync_files, owners));
  if (!plan.tablespace_map.empty())
    TRY(write_text(plan, std::string(pg::kTablespaceMapFile), plan.tablespace_map, sync_files, owners));
  const bool preserve = request.target.kind == TargetKind::kPreserve;
  const std::string auto_conf = "postgresql.auto.conf";
  const bool appends =
      std::any_of(files.texts.begin(), files.texts.end(), [&](const auto& t) { return t.file == auto_conf; });
  if (!preserve && !appends) {
    TRY_ASSIGN(const std::string old, existing_text(root + "/" + auto_conf));
    const std::string stripped = strip_restore_settings(old);
    if (stripped != old) TRY(write_text(plan, auto_conf, stripped, sync_files, owners));
  }
  for (const pg::RecoveryFileText& text : files.texts)
    TRY(write_setting_text(plan, text, preserve, sync_files, owners));
  if (!files.signal_file.empty()) TRY(write_text(plan, files.signal_file, "", sync_files, owners));
  return {};
}

Result<> finish_directories(const RestorePlan& plan, OwnerTable& owners) {
  const std::string& root = plan.places.front().path;
  const auto owner_of_root = plan.directories.empty() ? FileEntry{} : plan.directories.front();
  for (auto directory = plan.directories.rbegin(); directory != plan.directories.rend(); ++directory) {
    const std::string path = root + "/" + directory->path;
    if (::chmod(path.c_str(), directory->mode & 07777) != 0) return errno_error(errno, "change mode of '" + path + "'");
    TRY(owners.apply_to_path(path, directory->user, directory->group));
  }
  for (const RestorePlace& place : plan.places) {
    if (::chmod(place.path.c_str(), plan.root_mode) != 0)
      return errno_error(errno, "change mode of '" + place.path + "'");
    TRY(owners.apply_to_path(place.path, owner_of_root.user, owner_of_root.group));
    if (!place.is_data_directory())
      TRY(owners.apply_to_path(root + "/" + place.link, owner_of_root.user, owner_of_root.group));
  }
  for (const RestoreFileLink& link : plan.file_links)
    TRY(owners.apply_to_path(root + "/" + link.path, owner_of_root.user, owner_of_root.group));
  return {};
}

Result<> commit_restore(const RestorePlan& plan, const SyncSet& sync, RestoreMarker& marker) {
  const std::string& root = plan.places.front().path;
  const std::string unfinished = root + "/" + std::string(kUnfinishedControlPath);
  const std::string control = root + "/" + std::string(pg::kControlFilePath);
  // One sync for each file system instead of one for each file: nothing can start from this directory before pg_control
  // has its name, and that happens after the sync returned. If power fails before, the marker tells what this is.
  TRY(sync.sync());
  const auto give_name = [&]() -> Result<> {
    if (::rename(unfinished.c_str(), control.c_str()) == 0) return {};
    return errno_error(errno, fmt::format("rename '{}' to '{}'", unfinished, control));
  };
  if (sync.reliable()) {
    TRY(give_name());
    // Should power fail now, either may be lost: with the marker the directory is complete all the same, and without
    // both nothing starts from it.
    TRY(marker.remove());
    return sync.sync();
  }
  for (const FileEntry& directory : plan.directories) TRY(fsync_directory(root + "/" + directory.path));
  for (const RestorePlace& place : plan.places) TRY(fsync_directory(place.path));
  {
    TRY_ASSIGN(const File file, File::open(unfinished, O_RDONLY));
    TRY(file.fsync());
  }
  TRY(give_name());
  TRY(fsync_directory(parent_path(control)));
  TRY(marker.remove());
  TRY(fsync_directory(root));
  // The data directory's own name, if it was made here.
  return fsync_directory(parent_path(root));
}

}  // namespace pgark
