// The plan of a restore: where each directory and link of the backup goes.
#include "ops/restore_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "core/file.h"
#include "pg/backup_label.h"
#include "pg/control.h"
#include "pg/exclusions.h"

namespace pgark {
namespace {

constexpr std::string_view kTablespaceDirectory = "pg_tblspc/";
constexpr uint64_t kFileSystemBlockBytes = 4096;

uint64_t blocks_of(uint64_t bytes) {
  return (bytes + kFileSystemBlockBytes - 1) / kFileSystemBlockBytes * kFileSystemBlockBytes;
}

/// OID of "pg_tblspc/<oid>"; 0 if `path` is something else.
uint32_t tablespace_oid_of(std::string_view path) {
  if (!path.starts_with(kTablespaceDirectory)) return 0;
  const std::string_view digits = path.substr(kTablespaceDirectory.size());
  uint32_t oid = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), oid);
  return error == std::errc() && end == digits.data() + digits.size() ? oid : 0;
}

/// The files directly in one directory.
struct DirectoryContent {
  uint64_t bytes = 0;
  uint64_t files = 0;
};

/// What one pass over the manifest finds.
struct Survey {
  std::map<std::string, FileEntry> directories;
  std::map<std::string, FileEntry> symlinks;
  std::map<std::string, DirectoryContent> content;  // By directory; those with files only.
  std::set<std::string> linked_files;               // Links that lead to a file of the backup.
  bool has_control = false;
};

Result<Survey> survey_manifest(const ManifestReader& manifest, const CancelToken& cancel, RestorePlan& plan) {
  Survey survey;
  auto parent = survey.content.end();
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    TRY(cancel.check());
    TRY_ASSIGN(const FileChunk chunk, restored_chunk(manifest, plan, i));
    for (const FileEntry& file : chunk.files) {
      if (file.kind == EntryKind::kDirectory) {
        survey.directories.emplace(file.path, file);
        continue;
      }
      if (file.kind == EntryKind::kSymlink) {
        survey.symlinks.emplace(file.path, file);
        continue;
      }
      uint64_t run_bytes = 0;
      for (const Run& run : file.runs) run_bytes += run.bytes;
      plan.stored_run_bytes += run_bytes;
      const size_t slash = file.path.rfind('/');
      const std::string_view directory =
          slash == std::string::npos ? std::string_view() : std::string_view(file.path).substr(0, slash);
      // Files come directory by directory, mostly.
      if (parent == survey.content.end() || parent->first != directory)
        parent = survey.content.try_emplace(std::string(directory)).first;
      parent->second.bytes += blocks_of(run_bytes);
      if (file.continued) continue;
      ++plan.file_count;
      ++parent->second.files;
      plan.logical_bytes += file.bytes;
      plan.bad_page_count += file.bad_blocks.size();
      if (file.path == pg::kControlFilePath) survey.has_control = true;
    }
  }
  return survey;
}

bool has_entries_below(const Survey& survey, const std::string& path) {
  const std::string prefix = path + "/";
  const auto below = [&](const auto& map) {
    const auto at = map.lower_bound(prefix);
    return at != map.end() && at->first.starts_with(prefix);
  };
  return survey.directories.contains(path) || survey.content.contains(path) || below(survey.directories) ||
         below(survey.content);
}

/// Find the links that lead to a file of the backup: the file has an entry of the same path. Links that lead to no
/// directory of it are few, and as a rule there are none.
Result<> find_linked_files(const ManifestReader& manifest, const CancelToken& cancel, Survey& survey) {
  std::set<std::string> undecided;
  for (const auto& [path, entry] : survey.symlinks)
    if (!has_entries_below(survey, path)) undecided.insert(path);
  for (size_t i = 0; i < manifest.chunk_count() && !undecided.empty(); ++i) {
    TRY(cancel.check());
    TRY_ASSIGN(const FileChunk chunk, manifest.chunk(i));
    for (const FileEntry& file : chunk.files)
      if (file.kind == EntryKind::kFile && undecided.erase(file.path) > 0) survey.linked_files.insert(file.path);
  }
  return {};
}

const BackupTablespace* find_tablespace(const BackupMeta& backup, uint32_t oid) {
  for (const BackupTablespace& tablespace : backup.tablespaces)
    if (tablespace.oid == oid) return &tablespace;
  return nullptr;
}

/// Name for messages and for --tablespace-map-all.
std::string tablespace_name(const BackupMeta& backup, uint32_t oid) {
  const BackupTablespace* tablespace = find_tablespace(backup, oid);
  return tablespace != nullptr && !tablespace->name.empty() ? tablespace->name : std::to_string(oid);
}

/// New path of a tablespace, if the request moves it.
std::optional<std::string> mapped_tablespace(const BackupMeta& backup, uint32_t oid, const RestoreRequest& request) {
  const std::string name = tablespace_name(backup, oid);
  for (const std::string& key : {std::to_string(oid), name})
    if (const auto at = request.tablespace_map.find(key); at != request.tablespace_map.end()) return at->second;
  if (request.tablespace_map_all.empty()) return std::nullopt;
  // A name may hold a slash; the directory must not.
  return request.tablespace_map_all + "/" + (name.find('/') == std::string::npos ? name : std::to_string(oid));
}

/// Where a link leads: its text, seen from the directory it is in.
std::string target_of_link(const std::string& data_directory, const std::string& link, const std::string& text) {
  if (text.starts_with('/')) return text;
  return (std::filesystem::path(data_directory) / parent_path(link) / text).lexically_normal().string();
}

Result<> check_maps_name_something(const Survey& survey, const BackupMeta& backup, const RestoreRequest& request) {
  for (const auto& [key, path] : request.tablespace_map) {
    TRY(clean_absolute_path(path, "tablespace " + key));
    const bool known =
        std::any_of(survey.symlinks.begin(), survey.symlinks.end(), [&, &wanted = key](const auto& link) {
          const uint32_t oid = tablespace_oid_of(link.first);
          return oid != 0 && (wanted == std::to_string(oid) || wanted == tablespace_name(backup, oid));
        });
    if (known) continue;
    std::string names;
    for (const auto& [link, entry] : survey.symlinks)
      if (const uint32_t oid = tablespace_oid_of(link); oid != 0)
        names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", tablespace_name(backup, oid), oid);
    return Error(Errc::kInvalid,
                 fmt::format("tablespace '{}' of --tablespace-map is not in backup {}", key, backup.label))
        .with_hint(names.empty() ? "the backup has no tablespaces outside the data directory"
                                 : "the backup has the tablespaces " + names);
  }
  for (const auto& [key, path] : request.link_map) {
    if (tablespace_oid_of(key) != 0)
      return Error(Errc::kInvalid, fmt::format("link '{}' of --link-map is a tablespace", key))
          .with_hint("use --tablespace-map");
    if (!survey.symlinks.contains(key) && !survey.directories.contains(key))
      return Error(Errc::kInvalid,
                   fmt::format("link '{}' of --link-map is no link or directory of backup {}", key, backup.label))
          .with_hint("name it relative to the data directory, as in --link-map=pg_wal=/fast/wal");
  }
  return {};
}

/// Turn the links of the backup, and the maps of the request, into places and file links.
class LinkPlanner {
 public:
  LinkPlanner(const Survey& survey, const RestoreRequest& request, RestorePlan& plan)
      : survey_(survey), request_(request), plan_(plan) {}

  Result<> run() {
    TRY(check_maps_name_something(survey_, plan_.backup, request_));
    for (const auto& [path, entry] : survey_.symlinks) {
      if (const uint32_t oid = tablespace_oid_of(path); oid != 0)
        TRY(add_tablespace(path, oid, entry));
      else
        TRY(add_link(path, entry));
    }
    // A plain directory of the cluster may become a link, so that pg_wal can be moved to another disk.
    for (const auto& [path, target] : request_.link_map)
      if (!survey_.symlinks.contains(path)) TRY(add_place(path, target, 0));
    return {};
  }

 private:
  Result<> add_tablespace(const std::string& path, uint32_t oid, const FileEntry& entry) {
    const auto mapped = mapped_tablespace(plan_.backup, oid, request_);
    return add_place(path, mapped.value_or(entry.link_target), oid);
  }

  Result<> add_link(const std::string& path, const FileEntry& entry) {
    const auto mapped = request_.link_map.find(path);
    const bool is_mapped = mapped != request_.link_map.end();
    const std::string& text = is_mapped ? mapped->second : entry.link_target;
    const bool is_directory = has_entries_below(survey_, path);
    if (!is_directory && !survey_.linked_files.contains(path)) {
      plan_.plain_links.push_back({path, is_mapped ? text : moved_target(text)});
      return {};
    }
    if (!is_mapped && !request_.link_all) return {};  // Its content goes into the data directory.
    if (is_directory) return add_place(path, text, 0);
    TRY_ASSIGN(std::string target,
               clean_absolute_path(target_of_link(request_.data_directory, path, text), "target of link " + path));
    plan_.file_links.push_back({path, std::move(target), text});
    return {};
  }

  /// A link into the old data directory goes on to the same place of the new one.
  std::string moved_target(const std::string& text) const {
    const std::string& old_root = plan_.backup.data_directory;
    if (old_root.empty() || !path_is_within(text, old_root)) return text;
    return plan_.places.front().path + text.substr(old_root.size());
  }

  Result<> add_place(const std::string& link, const std::string& text, uint32_t oid) {
    RestorePlace place;
    place.link = link;
    place.link_text = text;
    place.tablespace_oid = oid;
    if (oid != 0) place.tablespace_name = tablespace_name(plan_.backup, oid);
    TRY_ASSIGN(place.path,
               clean_absolute_path(target_of_link(request_.data_directory, link, text),
                                   oid != 0 ? "tablespace " + place.tablespace_name : "target of link " + link));
    if (text.starts_with('/')) place.link_text = place.path;
    plan_.places.push_back(std::move(place));
    return {};
  }

  const Survey& survey_;
  const RestoreRequest& request_;
  RestorePlan& plan_;
};

/// No place inside another: what one restore clears or fills, nothing else of it may own.
Result<> check_places_apart(const RestorePlan& plan) {
  std::vector<std::string> resolved;
  for (const RestorePlace& place : plan.places) resolved.push_back(resolved_path(place.path));
  for (size_t i = 0; i < plan.places.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const bool meets = path_is_within(resolved[i], resolved[j]) || path_is_within(resolved[j], resolved[i]);
      if (!meets) continue;
      return Error(Errc::kInvalid,
                   fmt::format("{} and {} overlap", plan.places[j].describe(), plan.places[i].describe()))
          .with_hint(plan.places[i].is_tablespace() ? "give it a directory of its own with --tablespace-map"
                                                    : "give it a directory of its own with --link-map");
    }
  for (const RestoreFileLink& link : plan.file_links)
    for (size_t i = 0; i < plan.places.size(); ++i)
      if (path_is_within(resolved_path(link.target), resolved[i]))
        return Error(Errc::kInvalid,
                     fmt::format("link {} leads to '{}' inside {}", link.path, link.target, plan.places[i].describe()))
            .with_hint("give it another target with --link-map, or leave out --link-all");
  return {};
}

/// Directories to make: those of the backup, those its files are in, those PostgreSQL needs.
void plan_directories(Survey& survey, RestorePlan& plan) {
  FileEntry plain;
  plain.kind = EntryKind::kDirectory;
  plain.mode = plan.root_mode;
  std::map<std::string, FileEntry> wanted = std::move(survey.directories);
  const auto want = [&](std::string path) {
    while (!path.empty() && path != ".") {
      plain.path = path;
      if (!wanted.try_emplace(path, plain).second) break;
      path = parent_path(path);
    }
  };
  for (const auto& [directory, content] : survey.content) want(directory);
  for (const std::string& directory : pg::required_directories(pg::PgMajor{plan.backup.pg_major})) want(directory);
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory()) want(parent_path(place.link));
  for (const RestoreFileLink& link : plan.file_links) want(parent_path(link.path));
  for (const RestorePlainLink& link : plan.plain_links) want(parent_path(link.path));
  std::vector<std::string> parents;
  for (const auto& [path, entry] : wanted) parents.push_back(parent_path(path));
  for (const std::string& path : parents) want(path);
  for (const RestorePlace& place : plan.places) wanted.erase(place.link);
  // In order of their names a directory comes before what is in it.
  for (auto& [path, entry] : wanted) plan.directories.push_back(std::move(entry));
}

void assign_space(const Survey& survey, RestorePlan& plan) {
  for (const auto& [directory, content] : survey.content) {
    RestorePlace* best = &plan.places.front();
    for (RestorePlace& place : plan.places)
      if (!place.is_data_directory() && place.link.size() > best->link.size() && path_is_within(directory, place.link))
        best = &place;
    best->bytes += content.bytes;
    best->file_count += content.files;
  }
}

Result<> plan_tablespace_map(const RestoreRequest& request, RestorePlan& plan) {
  plan.tablespace_map = plan.backup.tablespace_map;
  if (plan.tablespace_map.empty() || (request.tablespace_map.empty() && request.tablespace_map_all.empty())) return {};
  // The server makes the links again as this file says, so it must know the new places too.
  const pg::PgMajor major{plan.backup.pg_major};
  TRY_ASSIGN_CTX(auto links, pg::parse_tablespace_map(plan.tablespace_map, major), "backup " + plan.backup.label);
  for (pg::TablespaceLink& link : links)
    if (auto mapped = mapped_tablespace(plan.backup, link.oid, request)) {
      TRY_ASSIGN(link.path, clean_absolute_path(*mapped, "tablespace " + std::to_string(link.oid)));
    }
  plan.tablespace_map = pg::format_tablespace_map(links, major);
  return {};
}

}  // namespace

std::string RestorePlace::describe() const {
  if (is_data_directory()) return fmt::format("data directory '{}'", path);
  if (is_tablespace()) return fmt::format("tablespace {} at '{}'", tablespace_name, path);
  return fmt::format("link {} to '{}'", link, path);
}

Result<std::string> clean_absolute_path(const std::string& path, std::string_view what) {
  if (!path.starts_with('/')) return Error(Errc::kInvalid, fmt::format("{} '{}' is not an absolute path", what, path));
  std::string clean = std::filesystem::path(path).lexically_normal().string();
  while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  if (clean.starts_with("//")) clean.erase(0, 1);
  if (clean == "/" || clean.find('\n') != std::string::npos || clean.find('\r') != std::string::npos)
    return Error(Errc::kInvalid, fmt::format("{} '{}' cannot be restored into", what, path));
  return clean;
}

bool path_is_within(const std::string& inner, const std::string& outer) {
  if (outer == "/") return true;
  return inner.starts_with(outer) && (inner.size() == outer.size() || inner[outer.size()] == '/');
}

std::string resolved_path(const std::string& path) {
  std::error_code failure;
  const auto resolved = std::filesystem::weakly_canonical(path, failure);
  return failure ? path : resolved.string();
}

Result<FileChunk> restored_chunk(const ManifestReader& manifest, const RestorePlan& plan, size_t index) {
  TRY_ASSIGN(FileChunk chunk, manifest.chunk(index));
  if (plan.selection.empty()) return chunk;
  std::erase_if(chunk.files, [&](FileEntry& file) {
    if (file.kind != EntryKind::kFile || !plan.selection.leaves_out(file.path)) return false;
    file.runs.clear();
    file.bad_blocks.clear();
    return file.continued;
  });
  return chunk;
}

Result<RestorePlan> plan_restore(const ManifestReader& manifest, BackupMeta backup, const RestoreRequest& request,
                                 const CancelToken& cancel) {
  RestorePlan plan;
  plan.backup = std::move(backup);
  TRY_ASSIGN(plan.selection,
             select_databases(plan.backup, request.db_include, request.db_exclude, request.target.kind));
  TRY_ASSIGN(const std::string data_directory, clean_absolute_path(request.data_directory, "data directory"));
  plan.places.push_back({.link = "", .path = data_directory, .link_text = "", .tablespace_name = ""});
  const std::string context = "read manifest of backup " + plan.backup.label;
  TRY_ASSIGN_CTX(plan.packs, manifest.packs(), context);
  TRY_ASSIGN_CTX(Survey survey, survey_manifest(manifest, cancel, plan), context);
  TRY_CTX(find_linked_files(manifest, cancel, survey), context);
  if (!survey.has_control)
    return Error(Errc::kCorrupt, fmt::format("backup {} has no {}", plan.backup.label, pg::kControlFilePath));
  // Group access of the cluster (initdb -g) shows on its directories.
  if (const auto global = survey.directories.find("global"); global != survey.directories.end())
    plan.root_mode = (global->second.mode & 0050) == 0050 ? 0750 : 0700;

  TRY(LinkPlanner(survey, request, plan).run());
  TRY(check_places_apart(plan));
  assign_space(survey, plan);
  TRY(plan_tablespace_map(request, plan));
  plan.skip_files = {std::string(pg::kBackupLabelFile), std::string(pg::kTablespaceMapFile),
                     std::string(kRestoreMarkerFile), "postmaster.pid", "postmaster.opts"};
  plan_directories(survey, plan);
  return plan;
}

}  // namespace pgark
