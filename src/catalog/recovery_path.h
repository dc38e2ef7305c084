// The WAL that recovery along one history finds: its segments as a listing tells, and a walk over what happened in
// them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "catalog/wal_archive.h"
#include "core/result.h"

namespace pgark {

/// Why WAL ends although there is more behind it.
struct PathGap {
  Lsn begin;         // End of the WAL before it.
  std::string what;  // "WAL segments X to Y (3) are not in the repository", "WAL segment X is damaged: ...".
};

/// Segments without a hole between them, by index into RecoveryPath::segments().
struct PathRun {
  size_t first = 0;
  size_t last = 0;
  /// The last one is of a parent and goes on past the point where the history left it, because the child's copy of it
  /// is not there: only what lies before this position belongs to the history.
  std::optional<Lsn> cut;
};

/// What a listing has of the WAL of one history. Nothing is read.
class RecoveryPath {
 public:
  RecoveryPath(const WalCatalog& wal, pg::TimelineHistory history);

  const pg::TimelineHistory& history() const { return history_; }
  uint32_t segment_bytes() const { return segment_bytes_; }
  /// By number, each number once: of the newest timeline of the history that had begun by then and has it.
  const std::vector<pg::WalSegment>& segments() const { return segments_; }
  const std::vector<PathRun>& runs() const { return runs_; }
  /// The run that holds segments `first` to `last`, numbers; null if none does.
  const PathRun* run_with(uint64_t first, uint64_t last) const;
  bool is_last(const PathRun& run) const { return &run == &runs_.back(); }
  /// Index of a segment, which must be in `run`.
  size_t index_of(const PathRun& run, uint64_t number) const {
    return run.first + (number - segments_[run.first].number);
  }
  /// First of the segments `first` to `last` that is missing, under the name it should have.
  std::optional<pg::WalSegment> missing_of(uint64_t first, uint64_t last) const;
  /// The hole behind `run`; none behind the last one. Where it begins is not known from the listing alone.
  std::optional<PathGap> gap_behind(const PathRun& run) const;

 private:
  pg::WalSegment named(uint64_t number) const;  // Of the timeline that wrote it.

  pg::TimelineHistory history_;
  uint32_t segment_bytes_;
  std::vector<pg::WalSegment> segments_;
  std::vector<PathRun> runs_;
};

/// Walk over the segments of a run, index by index, as far as the WAL in them can be replayed.
class PathWalk {
 public:
  /// Begin with segment `first` of the path, which lies in `run`. Records that begin before `from` are left out of what
  /// the accessors say. The record that crosses into the first segment is not seen.
  PathWalk(WalCatalog& wal, const RecoveryPath& path, const PathRun& run, size_t first, Lsn from);

  /// Go to the next segment; false where the WAL ends: see gap().
  /// Errors: of reading. Damage is none: WAL ends there, with a gap.
  Result<bool> next();

  const pg::WalIndex& index() const { return index_; }
  /// Ends of transactions in this segment.
  Result<std::vector<pg::WalTransactionEnd>> ends();
  /// The last commit in it; reads the index alone except at both ends of the walk.
  Result<std::optional<pg::WalCommit>> last_commit();
  std::vector<pg::WalRestorePoint> restore_points() const;
  /// Whether the record that begins at `lsn` belongs to the walk.
  bool has(Lsn lsn) const { return lsn >= from_ && (!run_.cut || lsn < *run_.cut); }

  /// End of the WAL walked over so far.
  Lsn end() const { return end_; }
  /// Once next() said false: why WAL ends here; none if there is no more.
  const std::optional<PathGap>& gap() const { return gap_; }

 private:
  void note_damage(const pg::WalSegment& segment, std::string_view why);

  WalCatalog* wal_;
  const RecoveryPath* path_;
  PathRun run_;
  bool last_run_;
  size_t next_;
  Lsn from_;
  WalWalk walk_;
  pg::WalIndex index_;
  Lsn end_;
  bool ended_ = false;
  std::optional<PathGap> gap_;
};

/// The last commit of segments `first` to `last` of a run, looked for from behind; `from` as in PathWalk.
Result<std::optional<pg::WalCommit>> find_last_commit(WalCatalog& wal, const RecoveryPath& path, const PathRun& run,
                                                      size_t first, size_t last, Lsn from);

}  // namespace pgark
