// What happened when, told from the WAL in the repository: commits a minute, restore points, and what removed data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/wal_archive.h"
#include "core/clock.h"
#include "core/result.h"
#include "pg/timeline_history.h"

namespace pgark {

enum class TimelineKind : uint8_t {
  kCommits,       // Of one minute.
  kRestorePoint,  // pg_create_restore_point()
  kDrop,          // A transaction removed relation files and put nothing in their place.
  kTruncate,      // It put empty ones in their place.
  kRewrite,       // It put full ones in their place: VACUUM FULL, CLUSTER, ALTER TABLE, TRUNCATE and load.
  kDelete,        // It deleted many rows.
  kDropDatabase,
  kDropTablespace,
  kCreateDatabase,
  kShrink,  // Files lost blocks at their end, mostly by vacuum.
  kFork,    // The next timeline begins.
  kGap,     // Segments are missing.
};
/// "commits", "restore_point", "drop", ...
std::string_view timeline_kind_name(TimelineKind kind);
/// Errors: kInvalid, naming what is allowed.
Result<TimelineKind> parse_timeline_kind(std::string_view name);

struct TimelineEntry {
  TimelineKind kind = TimelineKind::kCommits;
  TimelineId timeline = {};
  Lsn lsn = {};                        // Of the commit where a transaction did it; else of the record.
  std::optional<Timestamp> time = {};  // Of kCommits the minute; none for forks and gaps.
  Xid xid = {};                        // 0: none.
  /// Commits of the minute; rows deleted; segments missing; blocks left (kShrink).
  uint64_t count = 0;
  uint64_t abort_count = 0;                       // kCommits
  std::string name = {};                          // Restore point; reason of a fork; first missing segment.
  std::vector<pg::WalRelation> relations = {};    // Whose files were removed, or whose rows were.
  std::vector<pg::WalRelation> replaced_by = {};  // kTruncate, kRewrite: the files made in their place.
};

struct TimelineReportOptions {
  pg::TimelineHistory history{TimelineId{1}};  // The way to look along.
  std::optional<Timestamp> since;              // None: a day before the last transaction.
  std::optional<Timestamp> until;
  std::vector<TimelineKind> kinds;  // Empty: all but kShrink.
  uint64_t deletes_min = 1000;      // Rows from which on deletes are told.
};

struct TimelineReport {
  Timestamp since{};
  std::optional<Timestamp> until;
  std::vector<TimelineEntry> entries;  // In the order of WAL.
};

/// Tell what happened along a history. Reads the indexes of the time asked for, and of segments only those in which a
/// transaction ended that deleted rows or changed a database.
///
/// TRUNCATE is told from a rewrite by how much was written to the new files before the commit: up to four blocks, which
/// is what empty indexes have. A transaction whose files were made in an earlier segment than the one it committed in
/// is told right, too, as long as both lie in the time asked for. Errors: of WalCatalog::index(); kNotFound if the
/// history has no WAL in the catalog.
Result<TimelineReport> report_timeline(WalCatalog& wal, const TimelineReportOptions& options);

}  // namespace pgark
