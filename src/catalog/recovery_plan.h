// The target planner: from a target to the backup, the way through the timelines, the WAL, and the exact position where
// recovery stops; or a refusal that says what can be reached.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/target.h"
#include "catalog/wal_archive.h"
#include "core/result.h"

namespace pgark {

/// Where the server ends, in terms it takes exactly on every version: a position, and on which side of it.
struct RecoveryStop {
  Lsn lsn;                // Start of a record (of type lsn: as asked), given to the server as recovery_target_lsn.
  bool inclusive = true;  // The record at `lsn` is replayed.
  bool operator==(const RecoveryStop&) const = default;
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
  TimelineId timeline;                 // Whose history is followed.
  std::vector<pg::TimelineSpan> path;  // From the start of the backup; the last one has no end if recovery goes on with
                                       // what is archived meanwhile.
  std::vector<PlannedWal> wal;         // In the order it is read; all of it is in the repository.
  uint32_t wal_segment_bytes = 0;
  bool gap_follows = false;  // The segment right behind that is missing, though later ones are there.
  RestoreTarget target;      // As asked.

  // What the server is told. kDefault, kImmediate, kLsn with `stop`, kStandby, kPreserve or kNone.
  TargetKind server_target = TargetKind::kDefault;
  std::optional<RecoveryStop> stop;
  std::string server_timeline;  // recovery_target_timeline: a number, "latest", "current", or empty: unsaid.

  /// The target lies behind what is archived so far, and recovery ends with that: WAL that arrives later may change it.
  bool clamped = false;
  Lsn end;  // Where recovery ends, or how far WAL reaches if it goes on. 0/0: not looked at (types preserve and none).
  std::optional<pg::WalCommit> last_commit;  // That recovery includes; none if there is none after the backup.
  std::optional<pg::WalCommit> next_commit;  // The first that it leaves out; none if there is none, or it goes on.
  std::vector<std::string> notes;            // For the user: what was clamped, passed over or is unusual.

  uint64_t wal_segment_count() const;
  uint64_t wal_bytes() const { return wal_segment_count() * wal_segment_bytes; }
};

/// What a plan is made from. Pure: nothing but the catalog is asked.
struct PlanRequest {
  RestoreTarget target;
  std::optional<std::string> set;  // Label of the backup to use.
  std::string timeline;            // As parse_timeline_wish() reads it; empty: latest, but current for kImmediate.
};

/// Plan a recovery. `backups` are those of one cluster, oldest first. The newest one is chosen from which the target is
/// reached with WAL that is all there, on the way to the timeline.
///   default    to the end of the WAL; refused if segments are missing, or damaged, before later ones.
///   immediate  the end of the backup.
///   time       just before the first commit or abort later than it (not earlier than it: exclusive), in the order of
///              WAL after the backup. Past the last commit it is clamped to that, and a note says so.
///   xid        its commit or abort, found by index; a subtransaction counts as its parent. An id that is used again
///              means the first after the newest backup with any behind it.
///   lsn        as the server does: at the first record that begins there or later. Past the end of the WAL it is
///              refused; behind the start of its last record recovery ends with that record, and a note says so.
///   name       its restore point; one that occurs twice on the way from the oldest backup is refused with positions
///              and times of both.
///   standby, preserve, none   no stop; for the last two WAL is not looked at.
/// Shape:  reads of a long archive: for immediate and default the last segments; for lsn those around it; for time
///         and xid each index from the backup on to the target, for name from the oldest backup to the end; segments
///         themselves only where a target lies. In between the listing alone proves that the WAL is there.
/// Errors: kInvalid with the reachable range (times, positions) and the nearest commits on both sides; kNotFound if
///         there is no such backup, timeline, name, transaction, or a segment is missing, naming it.
Result<RecoveryPlan> plan_recovery(const std::vector<BackupMeta>& backups, WalCatalog& wal, const PlanRequest& request);

}  // namespace pgark
