// What can be recovered from the WAL that is there: the tree of timelines, the runs of segments on each, the gaps
// between them, and from which backup to which moment a recovery reaches.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/wal.h"
#include "catalog/wal_archive.h"
#include "catalog/wal_expired.h"
#include "core/result.h"

namespace pgark {

/// How a timeline came to be, as far as the reason in its history tells.
enum class TimelineFork : uint8_t {
  kRoot,       // It has no parent.
  kPromotion,  // At the end of the WAL: a standby took over, or a restore without a target.
  kTarget,     // At a recovery target: the parent may go on past the switch.
  kUnknown,
};
std::string_view timeline_fork_name(TimelineFork fork);  // "root", "promotion", "target", "unknown"
/// Source: PostgreSQL getRecoveryStopReason().
TimelineFork timeline_fork(const pg::TimelineHistory& history);

/// Segments that PostgreSQL wrote and that cannot be had from here: missing, or there and of no use.
struct CoverageGap {
  TimelineId timeline;
  std::string first;  // Names; both belong to the gap.
  std::string last;
  uint64_t count = 0;
  Lsn begin;  // Of the first segment; end of the last.
  Lsn end;
  std::string damage;  // Empty: missing. Else what is wrong with the stored segment; `count` is then 1.
  /// The last thing before it that recovery brings back: a commit, or else when the segment before was stored.
  std::optional<Timestamp> since;
  bool since_is_commit = false;
  std::string dropped;  // Why WAL was given up on purpose, if it was.
};

/// Recovery with a backup before `begin` ends there, and works again with one that began after `end`.
struct BrokenRange {
  std::optional<Timestamp> from;  // Last commit that can be recovered before it.
  Lsn from_lsn;
  std::optional<Timestamp> to;  // End of the first backup after it; none: there is none, a new backup is needed.
  Lsn to_lsn;
  std::string backup_after;       // Its label; empty as `to`.
  std::vector<CoverageGap> gaps;  // One after the other, without anything usable between them.
  bool needs_backup() const { return backup_after.empty(); }
};

/// Every target from `from` on up to `to` can be reached along the timeline.
struct RecoverableRange {
  Timestamp from{};  // End of the oldest of the backups.
  Lsn from_lsn;
  std::optional<Timestamp> to;  // Last commit; none if nothing was committed since `from`.
  Lsn to_lsn;                   // End of the WAL.
  std::vector<std::string> backups;
};

/// A backup whose own WAL is not all there: it cannot be restored.
struct BrokenBackup {
  std::string label;
  std::string missing;  // The first segment that lacks.
};

struct TimelineCoverage {
  TimelineId timeline;
  std::optional<TimelineId> parent;
  Lsn begin;  // Where it left its parent.
  TimelineFork fork = TimelineFork::kRoot;
  std::string reason;  // As in the history.
  std::vector<TimelineId> children;
  bool history_missing = false;  // Its segments are there, and the file that says where it begins is not.

  std::vector<WalRange> ranges;  // Segments of this timeline alone.
  std::vector<CoverageGap> gaps;
  std::vector<std::string> partials;

  // Along the timeline and its ancestors, as recovery to it goes.
  Lsn end;  // Of the WAL; 0/0 if there is none.
  std::optional<pg::WalCommit> last_commit;
  std::vector<RecoverableRange> recoverable;
  std::vector<BrokenRange> broken;  // After the start of the oldest backup.
  std::vector<BrokenBackup> broken_backups;
};

/// A stretch of WAL that was given up on purpose.
struct GivenUpWal {
  pg::WalSegment first;
  pg::WalSegment last;  // Of the same timeline.
  std::string reason;
};

/// Timelines by id: a parent comes before its children.
struct WalCoverage {
  std::vector<TimelineCoverage> timelines;
  std::vector<GivenUpWal> given_up;   // As in the request; what of it lacks is in the gaps.
  std::optional<TimelineId> current;  // The one the cluster is on, as far as known.
  size_t backup_count = 0;            // That were asked with.
  size_t index_reads = 0;

  const TimelineCoverage* find(TimelineId timeline) const;
  const TimelineCoverage* current_timeline() const { return current ? find(*current) : nullptr; }
  /// The cluster goes on behind a gap, and no backup lies behind it; or no backup leads to its timeline at all. False
  /// if there is none whatsoever: that is another matter.
  bool needs_backup() const;
};

struct CoverageRequest {
  std::vector<BackupMeta> backups;  // Of this cluster, oldest first.
  std::vector<std::string> partials;
  std::vector<GivenUpWal> given_up;
  ExpiredWal expired;                 // What lacks before it, and no backup needs to become consistent, is no gap.
  std::optional<TimelineId> current;  // None: the newest timeline.
  /// Segments known to be of no use, and why, beside those that are found to be.
  std::map<pg::WalSegment, std::string> damaged;
  /// When a segment was stored; may be empty.
  std::function<Result<std::optional<Timestamp>>(const pg::WalSegment&)> stored_at;
};

/// Find out what can be recovered.
/// Shape:  gaps are searched for from the first segment on that is there or that a backup needs, to the last that is
///         there, that a backup or a history proves to have been written, or that was given up. The tail of a parent
///         behind the switch concerns the parent alone; a child none of whose segments have arrived yet has no gap.
///         Indexes are read only at both ends of each run of segments (and further back while segments hold no commit,
///         64 at most, or are found damaged, 256 at most), so the cost follows the number of runs, not of segments; a
///         segment that is damaged in the middle of a run is not noticed here unless `damaged` names it.
/// Errors: of WalCatalog::index() other than damage of a segment; of `stored_at`.
Result<WalCoverage> wal_coverage(WalCatalog& wal, const CoverageRequest& request);

}  // namespace pgark
