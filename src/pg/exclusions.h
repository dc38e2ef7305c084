// What a backup leaves out of the data directory: PostgreSQL's own table of BASE_BACKUP, by version, and a little more.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "pg/version.h"

namespace pgark::pg {

enum class Inclusion : unsigned char {
  kInclude,
  kExclude,        // Leave out, with everything below.
  kDirectoryOnly,  // Keep the directory (a symbolic link becomes one) and drop its contents.
};

/// Where this cluster keeps things its version's defaults do not tell.
struct ExclusionContext {
  PgMajor major;
  std::string log_directory = "log";                 // Relative to the data directory; empty: outside it.
  std::string stats_temp_directory = "pg_stat_tmp";  // Up to 14; likewise.
  // "PG_15_202209061": what else is below pg_tblspc/<oid> belongs to another cluster. Empty: keep all.
  std::string tablespace_directory = {};
};

/// Name of the directory a cluster owns in each tablespace: "PG_15_202209061".
std::string tablespace_directory_name(PgMajor major, uint32_t catalog_version);

/// Decide about one entry by its path relative to the data directory ("base/1/2619", no leading or trailing slash).
/// Shape:  pure; ask for a directory before its entries. Entries below a kDirectoryOnly or kExclude directory get
///         kExclude too, so that asking in any order is safe. pg_wal comes back as kDirectoryOnly, with
///         pg_wal/archive_status and, from 17 on, pg_wal/summaries kDirectoryOnly below it.
///         global/pg_control is included; that it is copied last is the caller's business.
/// Source: PostgreSQL src/backend/backup/basebackup.c (replication/basebackup.c up to 14).
Inclusion classify_path(const ExclusionContext& context, std::string_view path, bool is_directory);

/// Directories a restored cluster must have even if the source lacked them.
std::vector<std::string> required_directories(PgMajor major);

/// Relations of one directory that are unlogged: their init fork is in it. Recovery makes the other forks from it.
class UnloggedRelations {
 public:
  /// Shape: `names` are all file names of one relation directory.
  explicit UnloggedRelations(std::span<const std::string> names);

  /// True if `name` is a fork other than init of an unlogged relation, or of a temporary relation: not to be copied.
  bool drops(std::string_view name) const;

 private:
  std::unordered_set<uint32_t> relfilenodes_;
};

}  // namespace pgark::pg
