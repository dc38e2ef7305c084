// What differs between PostgreSQL major versions as far as backups see it, in one table.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace pgark::pg {

/// PostgreSQL major version: 10, 11, ... The first version that counts this way is the oldest supported.
struct PgMajor {
  uint32_t value = 0;
  auto operator<=>(const PgMajor&) const = default;
};

inline constexpr PgMajor kPgMajorMin{10};
inline constexpr PgMajor kPgMajorMax{19};

/// "15".
std::string to_string(PgMajor major);

/// Facts of one major version.
struct PgVersionFacts {
  PgMajor major;
  std::span<const uint32_t> control_versions;  // Of pg_control; GA first, then pre-releases.
  uint32_t catalog_version;                    // Of the GA release; 0 while there is none. Pre-releases differ.
  std::span<const uint16_t> wal_magics;        // xlp_magic; GA first, then pre-releases.
  bool backup_functions_renamed;               // pg_backup_start/stop (15+) instead of pg_start_backup/pg_stop_backup.
  bool recovery_conf;                          // recovery.conf (10, 11) instead of signal files and settings (12+).
  bool wal_summaries;                          // pg_wal/summaries exists (17+).
  bool backup_manifest;                        // The server writes backup_manifest (13+).
  bool stats_temp_directory;                   // The setting exists (up to 14).
  bool tablespace_map_escapes_backslash;       // Backslash itself is escaped in tablespace_map (14+).
  bool checksums_by_default;                   // initdb turns data checksums on (18+).
  uint32_t twophase_name_digits;               // pg_twophase file names: 8 (xid) or 16 (epoch and xid, 17+).
};

/// Every supported version, oldest first.
std::span<const PgVersionFacts> pg_versions();

/// Look up the facts of `major`.
/// Errors: kUnsupported, naming the version and the supported range.
Result<const PgVersionFacts*> pg_version_facts(PgMajor major);

/// Find the version whose WAL pages carry `magic`; null if none is known.
const PgVersionFacts* pg_version_of_wal_magic(uint16_t magic);

/// Parse the content of a PG_VERSION file ("15\n").
/// Errors: kCorrupt if it is no version; kUnsupported if older ("9.6") or newer than supported.
Result<PgMajor> parse_pg_version(std::string_view content);

/// Turn server_version_num (150004) into its major version.
/// Errors: kUnsupported as above.
Result<PgMajor> major_of_version_num(uint32_t server_version_num);

}  // namespace pgark::pg
