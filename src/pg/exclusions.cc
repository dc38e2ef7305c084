// The exclusion table. PostgreSQL matches most names at any depth; so does this. BASE_BACKUP of 10 copied unlogged and
// temporary relations and relation caches as well, only for its next start to throw them away: they are left out too.
#include "pg/exclusions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pg/relation_path.h"

namespace pgark::pg {
namespace {

// Contents are rebuilt or emptied at start; the directory must exist. At any depth, like the server.
constexpr std::array<std::string_view, 7> kEmptiedDirectories = {
    "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};

struct ExcludedName {
  std::string_view name;
  bool is_prefix;
  uint32_t since_major;
};
// At any depth, files and directories.
constexpr std::array<ExcludedName, 10> kExcludedNames = {{
    {"pg_internal.init", true, 0},  // Relation cache; also "pg_internal.init.<pid>".
    {"pgsql_tmp", true, 0},         // Sort and hash files, and the directory of them.
    {"postmaster.pid", false, 0},
    {"postmaster.opts", false, 0},
    {"backup_label", false, 0},  // Ours come from the stop function.
    {"tablespace_map", false, 0},
    {"backup_manifest", false, 13},
    {"postgresql.auto.conf.tmp", false, 0},
    {"current_logfiles.tmp", false, 0},
    {".DS_Store", false, 0},
}};

// Only in the data directory itself; not in the server's table. They tell what an earlier recovery did, and would make
// a restored cluster do it again.
constexpr std::array<std::string_view, 6> kExcludedAtRoot = {
    "backup_label.old", "tablespace_map.old", "recovery.signal", "standby.signal", "recovery.conf", "recovery.done"};

std::string_view last_part(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string_view directory_part(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

std::string_view without_trailing_slash(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

bool is_excluded_name(PgMajor major, std::string_view name) {
  return std::ranges::any_of(kExcludedNames, [&](const ExcludedName& rule) {
    return major.value >= rule.since_major && (rule.is_prefix ? name.starts_with(rule.name) : name == rule.name);
  });
}

/// True for "pg_tblspc/<oid>/X" where X is the directory of another cluster or version.
bool is_foreign_tablespace_directory(const ExclusionContext& context, std::string_view path) {
  if (context.tablespace_directory.empty() || !path.starts_with("pg_tblspc/")) return false;
  const std::string_view below = path.substr(std::string_view("pg_tblspc/").size());
  const size_t slash = below.find('/');
  if (slash == std::string_view::npos || below.find('/', slash + 1) != std::string_view::npos) return false;
  return below.substr(slash + 1) != context.tablespace_directory;
}

/// Decide about an entry whose parents are all included.
Inclusion classify_entry(const ExclusionContext& context, std::string_view path, bool is_directory) {
  const std::string_view name = last_part(path);
  if (is_excluded_name(context.major, name)) return Inclusion::kExclude;
  if (std::ranges::count(kExcludedAtRoot, path) > 0) return Inclusion::kExclude;
  if (is_foreign_tablespace_directory(context, path)) return Inclusion::kExclude;
  if (is_directory) {
    const bool emptied = path == "pg_wal" || std::ranges::count(kEmptiedDirectories, name) > 0 ||
                         path == without_trailing_slash(context.log_directory) ||
                         (context.major.value < 15 && path == without_trailing_slash(context.stats_temp_directory));
    return emptied && !path.empty() ? Inclusion::kDirectoryOnly : Inclusion::kInclude;
  }
  const std::string_view directory = directory_part(path);
  if (name.starts_with('t') && directory != "global" && is_relation_directory(directory)) {
    const auto relation = parse_relation_file_name(name);
    if (relation && relation->is_temporary) return Inclusion::kExclude;
  }
  return Inclusion::kInclude;
}

bool is_kept_below_pg_wal(PgMajor major, std::string_view path) {
  return path == "pg_wal/archive_status" || (major.value >= 17 && path == "pg_wal/summaries");
}

}  // namespace

std::string tablespace_directory_name(PgMajor major, uint32_t catalog_version) {
  return fmt::format("PG_{}_{}", major.value, catalog_version);
}

Inclusion classify_path(const ExclusionContext& context, std::string_view path, bool is_directory) {
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    if (classify_entry(context, path.substr(0, slash), true) == Inclusion::kInclude) continue;
    return is_directory && is_kept_below_pg_wal(context.major, path) ? Inclusion::kDirectoryOnly : Inclusion::kExclude;
  }
  return classify_entry(context, path, is_directory);
}

std::vector<std::string> required_directories(PgMajor major) {
  std::vector<std::string> out = {"base",
                                  "global",
                                  "pg_commit_ts",
                                  "pg_dynshmem",
                                  "pg_logical",
                                  "pg_logical/mappings",
                                  "pg_logical/snapshots",
                                  "pg_multixact",
                                  "pg_multixact/members",
                                  "pg_multixact/offsets",
                                  "pg_notify",
                                  "pg_replslot",
                                  "pg_serial",
                                  "pg_snapshots",
                                  "pg_stat",
                                  "pg_stat_tmp",
                                  "pg_subtrans",
                                  "pg_tblspc",
                                  "pg_twophase",
                                  "pg_wal",
                                  "pg_wal/archive_status",
                                  "pg_xact"};
  if (major.value >= 17) out.insert(std::ranges::find(out, "pg_xact"), "pg_wal/summaries");
  return out;
}

UnloggedRelations::UnloggedRelations(std::span<const std::string> names) {
  for (const std::string& name : names) {
    const auto relation = parse_relation_file_name(name);
    if (relation && !relation->is_temporary && relation->fork == Fork::kInit)
      relfilenodes_.insert(relation->relfilenode);
  }
}

bool UnloggedRelations::drops(std::string_view name) const {
  const auto relation = parse_relation_file_name(name);
  if (!relation) return false;
  if (relation->is_temporary) return true;
  return relation->fork != Fork::kInit && relfilenodes_.contains(relation->relfilenode);
}

}  // namespace pgark::pg
