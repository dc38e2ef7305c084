// Which databases a selective restore leaves out, and whether recovery can do without them.
#include "ops/restore_select.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace pgark {
namespace {

constexpr uint32_t kFirstNormalOid = 16384;
constexpr unsigned kFirstMajorIgnoringPages = 13;

bool is_system(const BackupDatabase& database) {
  // "postgres" and "template1" may have been dropped and made again, with an OID like any other's.
  return database.oid < kFirstNormalOid || database.name == "template0" || database.name == "template1" ||
         database.name == "postgres";
}

std::string list_of(const BackupMeta& backup) {
  std::string list;
  for (const BackupDatabase& database : backup.databases)
    list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", database.name, database.oid);
  return list.empty() ? "the backup does not say which databases it has"
                      : fmt::format("backup {} has: {}", backup.label, list);
}

/// OIDs of the databases that an option names. A name goes before an OID that reads the same.
Result<std::set<uint32_t>> named_by(const BackupMeta& backup, const std::vector<std::string>& names,
                                    std::string_view option) {
  const auto& all = backup.databases;
  std::set<uint32_t> oids;
  for (const std::string& name : names) {
    auto found = std::ranges::find(all, name, &BackupDatabase::name);
    if (found == all.end())
      found = std::ranges::find_if(all, [&](const BackupDatabase& d) { return std::to_string(d.oid) == name; });
    if (found == all.end())
      return Error(Errc::kInvalid, fmt::format("database '{}' of --{} is not in backup {}", name, option, backup.label))
          .with_hint(list_of(backup));
    oids.insert(found->oid);
  }
  return oids;
}

bool is_on(const BackupMeta& backup, const std::string& setting) {
  const auto at = backup.settings.find(setting);
  return at != backup.settings.end() && at->second == "on";
}

/// Whether the WAL may change a page that no record since the start of the backup has brought whole: VACUUM sets
/// visibility without an image of the page unless hint bits are logged, and nothing brings images without
/// full_page_writes.
bool wal_may_lack_pages(const BackupMeta& backup) {
  const bool hints_logged = backup.checksum_version != 0 || is_on(backup, "wal_log_hints");
  const auto images = backup.settings.find("full_page_writes");
  return !hints_logged || (images != backup.settings.end() && images->second == "off");
}

Result<> check_recovery(const BackupMeta& backup, TargetKind target, DatabaseSelection& selection) {
  if (selection.empty() || !wal_may_lack_pages(backup)) return {};
  const bool settles = target != TargetKind::kPreserve && target != TargetKind::kNone;
  if (backup.pg_major >= kFirstMajorIgnoringPages && settles) {
    selection.ignore_invalid_pages = true;
    return {};
  }
  if (backup.pg_major < kFirstMajorIgnoringPages && target == TargetKind::kImmediate) return {};
  const std::string what =
      "databases cannot be left out: the cluster has neither page checksums nor wal_log_hints with full_page_writes, "
      "and "
      "WAL that needs a page of them would end the server";
  if (!settles)
    return Error(Errc::kUnsupported, what)
        .with_hint(
            fmt::format("with another --type restore sets {} for the time of the recovery", kIgnoreInvalidPages));
  return Error(Errc::kUnsupported, what)
      .with_hint("recover to the end of the backup with --type=immediate, or restore all and drop what is not wanted");
}

std::string drop_statement(const std::string& name) {
  std::string quoted = "\"";
  for (const char c : name) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  return "DROP DATABASE " + quoted + "\";";
}

/// OID of the directory "base/<oid>" or "pg_tblspc/<oid>/PG_<...>/<oid>" that `path` lies in; 0 if it is in none.
uint32_t database_oid_of(std::string_view path) {
  size_t begin = 0;
  if (path.starts_with("base/")) {
    begin = 5;
  } else if (path.starts_with("pg_tblspc/")) {
    const size_t version = path.find('/', 10);
    if (version == std::string_view::npos || !path.substr(version + 1).starts_with("PG_")) return 0;
    const size_t directory = path.find('/', version + 1);
    if (directory == std::string_view::npos) return 0;
    begin = directory + 1;
  } else {
    return 0;
  }
  const size_t slash = path.find('/', begin);
  if (slash == std::string_view::npos) return 0;
  uint32_t oid = 0;
  const auto [end, error] = std::from_chars(path.data() + begin, path.data() + slash, oid);
  return error == std::errc() && end == path.data() + slash ? oid : 0;
}

}  // namespace

bool DatabaseSelection::leaves_out(std::string_view path) const {
  if (left_out.empty()) return false;
  const uint32_t oid = database_oid_of(path);
  return oid != 0 && std::any_of(left_out.begin(), left_out.end(),
                                 [&](const BackupDatabase& database) { return database.oid == oid; });
}

Result<DatabaseSelection> select_databases(const BackupMeta& backup, const std::vector<std::string>& include,
                                           const std::vector<std::string>& exclude, TargetKind target) {
  TRY_ASSIGN(const auto included_oids, named_by(backup, include, "db-include"));
  TRY_ASSIGN(const auto excluded_oids, named_by(backup, exclude, "db-exclude"));
  DatabaseSelection selection;
  for (const BackupDatabase& database : backup.databases) {
    const bool included = included_oids.contains(database.oid);
    const bool excluded = excluded_oids.contains(database.oid);
    if (excluded && is_system(database))
      return Error(Errc::kInvalid,
                   fmt::format("database '{}' cannot be left out: every cluster needs it", database.name))
          .with_hint("drop its tables after the restore, if they are in the way");
    if (excluded && included)
      return Error(Errc::kInvalid,
                   fmt::format("database '{}' is named by --db-include and by --db-exclude", database.name))
          .with_hint("give one of them");
    if (excluded || (!include.empty() && !included && !is_system(database))) selection.left_out.push_back(database);
  }
  std::sort(selection.left_out.begin(), selection.left_out.end(),
            [](const BackupDatabase& a, const BackupDatabase& b) { return a.oid < b.oid; });
  TRY(check_recovery(backup, target, selection));
  return selection;
}

std::vector<LeftOutDatabase> left_out_databases(const DatabaseSelection& selection) {
  std::vector<LeftOutDatabase> databases;
  for (const BackupDatabase& database : selection.left_out)
    databases.push_back({database.oid, database.name, drop_statement(database.name)});
  return databases;
}

}  // namespace pgark
