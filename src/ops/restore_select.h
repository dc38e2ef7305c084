// Selective restore: databases that are not wanted come back as files of zeros, which take no space, so that recovery
// can go over them and they can be dropped afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/backup.h"
#include "catalog/target.h"
#include "core/result.h"

namespace pgark {

struct DatabaseSelection {
  std::vector<BackupDatabase> left_out;  // By OID.
  // Recovery meets pages that the WAL takes for granted: it must be told to go on.
  bool ignore_invalid_pages = false;

  bool empty() const { return left_out.empty(); }
  /// True for what lies in the directory of a database that is left out, in any tablespace.
  bool leaves_out(std::string_view path) const;
};

/// Setting that makes recovery go on after a reference to a page that is not there; PostgreSQL 13 and later.
inline constexpr std::string_view kIgnoreInvalidPages = "ignore_invalid_pages";

/// Work out which databases of a backup are left out: all but `include`, if any are given, and `exclude`. Both hold
/// names or OIDs. What initdb made (template0, template1, postgres) is always restored.
/// Errors: kInvalid for a name the backup does not have, listing those it has, for one that cannot be left out, and for
///         one that is asked for both ways; kUnsupported where recovery over zeros would end the server.
Result<DatabaseSelection> select_databases(const BackupMeta& backup, const std::vector<std::string>& include,
                                           const std::vector<std::string>& exclude, TargetKind target);

/// A database that is restored as zeros, as reports show it.
struct LeftOutDatabase {
  uint32_t oid = 0;
  std::string name;
  std::string drop;  // Statement to run after recovery: `DROP DATABASE "name";`
};
std::vector<LeftOutDatabase> left_out_databases(const DatabaseSelection& selection);

}  // namespace pgark
