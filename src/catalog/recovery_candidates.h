// Which backups a recovery could begin with, and what can be reached from them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/recovery_path.h"
#include "catalog/recovery_plan.h"
#include "catalog/target.h"

namespace pgark {

/// A backup on the way to the timeline that is followed.
struct RecoveryCandidate {
  const BackupMeta* backup = nullptr;
  const RecoveryPath* path = nullptr;
  const PathRun* run = nullptr;           // That holds all WAL of the backup; null if some of it is missing.
  std::optional<pg::WalSegment> missing;  // If `run` is null.
  uint64_t first_number = 0;              // Segments of its own WAL.
  uint64_t last_number = 0;

  TimelineId timeline() const { return path->history().timeline(); }
  bool usable() const { return run != nullptr; }
  /// Segment of the path in which what follows the backup begins.
  size_t stop_index() const { return path->index_of(*run, last_number); }
  /// The path from the start of the backup to `end`; its last span has no end if recovery goes on.
  std::vector<pg::TimelineSpan> spans(Lsn end, bool goes_on) const;
  /// The WAL from the start of the backup up to a position, all of its own at least.
  std::vector<PlannedWal> wal_to(Lsn end) const;
  PathWalk walk(WalCatalog& wal) const { return PathWalk(wal, *path, *run, stop_index(), backup->stop_lsn); }
};

/// All of them. Candidates point into it and into the backups it was made from.
class RecoveryCandidates {
 public:
  /// Errors: kNotFound if there is no backup, no such set or no such timeline; kInvalid if none lies on the way.
  static Result<RecoveryCandidates> find(const std::vector<BackupMeta>& backups, WalCatalog& wal,
                                         const TimelineWish& wish, const std::optional<std::string>& set);

  /// Newest first; at least one.
  const std::vector<RecoveryCandidate>& all() const { return candidates_; }
  bool is_set() const { return is_set_; }
  /// Whether the history of a timeline is known to the repository, so that a server can be given its number.
  bool has_history(TimelineId timeline) const;

  /// "reachable are <time and position> (backup A) to <time and position>", for the path of `of`: one range for each
  /// stretch of WAL without a gap.
  std::string reach(WalCatalog& wal, const RecoveryCandidate& of) const;
  /// The oldest one from which recovery along the path of `of` is possible; null if none is.
  const RecoveryCandidate* oldest_usable(const RecoveryCandidate& of) const;
  Error missing_wal(const RecoveryCandidate& candidate) const;

 private:
  RecoveryCandidates() = default;
  const RecoveryPath& path_to(WalCatalog& wal, TimelineId timeline);

  std::map<TimelineId, std::unique_ptr<RecoveryPath>> paths_;
  std::vector<RecoveryCandidate> candidates_;
  std::vector<TimelineId> known_;
  bool is_set_ = false;
};

/// "2026-11-22 10:15:00.000000+00 (2026-11-22 11:15:00 CET), 0/5000028".
std::string describe_moment(Timestamp time, Lsn lsn);
/// "transaction 731 at " and the moment.
std::string describe_commit(const pg::WalCommit& commit);

}  // namespace pgark
