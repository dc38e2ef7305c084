// Which blocks of relation files an older backup no longer tells the truth about, gathered from the indexes of the WAL
// written since it began.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/wal_archive.h"
#include "core/result.h"
#include "pg/relation_path.h"
#include "pg/wal_index.h"

namespace pgark {

/// What WAL did to the blocks of one relation segment file since the older backup began.
struct FileChanges {
  /// Nothing of it may be taken from the older backup: free space or visibility map, a database created or dropped as a
  /// whole, a file created or removed meanwhile.
  bool whole = false;
  /// Blocks of the file from here on may not be taken from the older backup (smallest length the fork had meanwhile).
  uint32_t limit_block = std::numeric_limits<uint32_t>::max();
  /// Changed blocks below the limit, ascending, counted from the start of the file.
  std::vector<uint32_t> blocks;

  bool none() const { return !whole && limit_block == std::numeric_limits<uint32_t>::max() && blocks.empty(); }
};

/// The sum of many WAL indexes. Memory follows the number of changed blocks: at most 8 KiB for 65,536 of them.
class ChangedBlocks {
 public:
  explicit ChangedBlocks(uint32_t relation_segment_blocks);
  ~ChangedBlocks();
  ChangedBlocks(ChangedBlocks&&) noexcept;
  ChangedBlocks& operator=(ChangedBlocks&&) noexcept;

  /// Add the index of the next segment. Order matters (a limit voids the marks before it): call in the order of WAL.
  void add(const pg::WalIndex& index);
  /// What happened to a relation file. Thread-safe once nothing is added any more.
  FileChanges of(const pg::RelationFile& file) const;
  /// Why no older backup says anything about the cluster: pg::WalWholeReason bits of all indexes.
  uint8_t whole_reasons() const;
  uint64_t block_count() const;
  uint64_t segment_count() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What the WAL from one backup's start to another's tells, or why it cannot.
struct WalChanges {
  std::optional<ChangedBlocks> blocks;
  std::string hole;  // If there are no blocks: what is missing or does not join, for people.
};

/// Gather what changed from `begin` on up to `end` along `history`.
/// Shape:  every segment from the one of `begin` to the one that holds the last byte before `end`. A segment that is
///         not in `wal`, or damaged there, is asked of `live` (null: nowhere to ask), which returns the index of what
///         the cluster itself has of it, or nothing; of the last segment it is enough that the WAL is whole up to
///         `end`. A hole, a damaged record, segments that do not join, an `end` before `begin`: no blocks, and why.
/// Errors: of the store other than absence and damage.
Result<WalChanges> gather_wal_changes(
    WalCatalog& wal, const pg::TimelineHistory& history, Lsn begin, Lsn end, uint32_t relation_segment_blocks,
    const std::function<Result<std::optional<pg::WalIndex>>(const pg::WalSegment&, const pg::WalIndex* before)>& live);

/// The cluster a new backup is made of, as far as choosing the backup it builds on needs it.
struct PriorRequest {
  BackupType type = BackupType::kIncr;  // kDiff: the newest full; kIncr: the newest backup of any type.
  unsigned cluster_number = 1;
  uint32_t checksum_version = 0;
  uint32_t block_bytes = 8192;
  uint32_t relation_segment_blocks = 131072;
  Lsn now;                      // Position of the cluster.
  pg::TimelineHistory history;  // Of the timeline the cluster is on.
};
/// The backup to build on, or why there is none: then the new backup becomes full.
struct PriorChoice {
  std::optional<BackupMeta> prior;
  std::string reason;  // Why the newest candidate was passed over, or that there is none; empty if it is the prior.
};
/// Choose. Pure. `backups` oldest first, as they are listed. Passed over, with the reason kept: other cluster numbers,
/// other block sizes, checksums switched since, not an ancestor (it ended after the history left its timeline), ahead
/// of the cluster (a reset or older copy of it runs).
PriorChoice choose_prior(const std::vector<BackupMeta>& backups, const PriorRequest& request);

}  // namespace pgark
