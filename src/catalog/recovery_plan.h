// The target planner: from a target to the backup, the way through the timelines, the WAL, and the exact position where
// recovery stops; or a refusal that says what can be reached.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catalog/backup.h"
#include "catalog/target.h"
#include "catalog/wal_archive.h"
#include "core/result.h"

namespace pgark {

/// Where the server ends, in terms it takes exactly on every version: a position, and on which side of it.
struct RecoveryStop {
  Lsn lsn;                // Start of a record, given to the server as recovery_target_lsn.
  bool inclusive = true;  // The record at `lsn` is replayed.
};

/// A stretch of WAL recovery reads.
struct PlannedWal {
  TimelineId timeline;
  std::string first;  // Segment names; those between are all there.
  std::string last;
  uint64_t segment_count = 0;
};

struct RecoveryPlan {
  BackupMeta backup;
  TimelineId timeline;  // recovery_target_timeline.
  std::vector<pg::TimelineSpan> path;
  std::vector<PlannedWal> wal;       // In the order it is read.
  RestoreTarget target;              // As asked.
  std::optional<RecoveryStop> stop;  // None: to the end of the WAL (default), or no recovery.
  Lsn end;                           // How far WAL is known to reach: where it stops, or the end of what is there.
  std::optional<pg::WalCommit> last_commit;  // That recovery includes; none if there is none after the backup.
  std::optional<pg::WalCommit> next_commit;  // The first that it does not.
  std::vector<std::string> notes;            // For the user: what was clamped, chosen or is unusual.
};

/// What a plan is made from. Pure: nothing but the catalog is asked.
struct PlanRequest {
  RestoreTarget target;
  std::optional<std::string> set;
  std::string timeline;  // As TimelineChoice::timeline.
};

/// Plan a recovery. `backups` are those of one cluster, oldest first.
///   default    to the end of the contiguous WAL; refused if segments are missing before later ones.
///   immediate  the end of the backup.
///   time       just before the first commit or abort later than it (not earlier than it: exclusive), in the order of
///              WAL after the backup. Past the last commit it is clamped to that, and a note says so.
///   xid        its commit or abort, found by index; a subtransaction counts as its parent.
///   lsn        as the server does; past the end of the WAL it is refused.
///   name       its restore point; one that occurs twice on the way is refused with both positions and times.
/// Errors: kInvalid with the reachable range (times, positions) and the nearest commits on both sides; kNotFound if
///         there is no such backup, timeline, name, transaction, or a segment is missing, naming it.
Result<RecoveryPlan> plan_recovery(const std::vector<BackupMeta>& backups, WalCatalog& wal, const PlanRequest& request);

}  // namespace pgark
