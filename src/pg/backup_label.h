// Text files of a base backup: backup_label, the backup history file, tablespace_map.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "core/result.h"
#include "pg/version.h"

namespace pgark::pg {

inline constexpr std::string_view kBackupLabelFile = "backup_label";
inline constexpr std::string_view kTablespaceMapFile = "tablespace_map";

/// Content of backup_label, and of the backup history file, which adds the stop fields.
struct BackupLabel {
  Lsn start;
  std::string start_segment;  // 24-digit name.
  Lsn checkpoint;
  std::string method;         // "streamed", "pg_start_backup" (exclusive, up to 14) or "pg_rewind".
  bool from_standby = false;  // "BACKUP FROM: standby"; 10-13 say "master" where later ones say "primary".
  std::string start_time;     // As written, with the zone's abbreviation; not to be computed with.
  std::string label;
  std::optional<TimelineId> start_timeline;  // Absent before 11.
  std::optional<Lsn> incremental_from;       // 17+, of an incremental BASE_BACKUP: not usable before it is combined.
  std::optional<TimelineId> incremental_from_timeline;
  // Backup history file only.
  std::optional<Lsn> stop;
  std::string stop_segment;
  std::string stop_time;
  std::optional<TimelineId> stop_timeline;  // Absent before 11.

  /// Timeline of start_segment's name, which every version has.
  TimelineId timeline() const;
};

/// Parse a backup_label of any supported version, with or without the stop fields.
/// Errors: kCorrupt, naming the line, if a needed field is missing, malformed or contradicts another.
/// Source: PostgreSQL src/backend/access/transam/xlogbackup.c, xlogrecovery.c.
Result<BackupLabel> parse_backup_label(std::string_view content);

/// Parse a backup history file: as above, and the stop position is there.
Result<BackupLabel> parse_backup_history(std::string_view content);

/// One tablespace outside the data directory.
struct TablespaceLink {
  uint32_t oid = 0;
  std::string path;
  bool operator==(const TablespaceLink&) const = default;
};

/// Parse tablespace_map; an empty one is legal.
/// Shape:  line feeds and carriage returns in a path are escaped by a backslash, from 14 on the backslash too.
/// Errors: kCorrupt, naming the line.
Result<std::vector<TablespaceLink>> parse_tablespace_map(std::string_view content, PgMajor major);
std::string format_tablespace_map(const std::vector<TablespaceLink>& links, PgMajor major);

}  // namespace pgark::pg
