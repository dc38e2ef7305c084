// Building on an older backup: what it holds of each file, which blocks of it still tell the truth, and which are so
// thinly spread that they are better written again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "catalog/changed_blocks.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/backup_plan.h"
#include "repo/manifest.h"

namespace pgark {

/// How changed blocks of relation files are found.
enum class ScanMode : uint8_t {
  kWal,   // From the WAL written since the older backup began.
  kLsn,   // The same, and every page is read: those newer than the older backup's start count as changed.
  kHash,  // Every file is read and compared with the hashes of the stored blocks.
};
std::string_view scan_mode_name(ScanMode mode);  // "wal", "lsn", "hash"

/// The older backup a new one builds on, and what is known of the changes since.
struct PriorBackup {
  const ManifestReader& manifest;
  ScanMode scan = ScanMode::kHash;
  const ChangedBlocks* changes = nullptr;  // Null only with kHash.
  Lsn start_lsn;                           // Of the older backup; pages changed since are newer than it.
  uint32_t page_bytes = 8192;
};

/// Blocks of 8 KiB of a file, from `begin` on, before `end`.
struct BlockRange {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool operator==(const BlockRange&) const = default;
};

/// What is done with a file that the older backup has, too.
enum class CopyMode : uint8_t {
  kReference,  // Nothing is read: it is in the new backup as it is in the older one.
  kBlocks,     // The ranges are read, the rest is taken from the older backup.
  kNewer,      // All is read; pages in the ranges, and newer ones, are stored.
  kCompare,    // All is read; blocks whose hash differs are stored.
};
struct FileWork {
  CopyMode mode = CopyMode::kCompare;
  std::vector<BlockRange> ranges;  // Ascending, apart from each other.
};

/// Decide what to do with a file of the older backup that now has `bytes_now` bytes.
FileWork plan_file(const PriorBackup& prior, const FileEntry& file, uint64_t bytes_now);

/// Sort ranges and join those that touch.
void join_ranges(std::vector<BlockRange>& ranges);

/// Call `each` with every part of `runs` that lies in [begin, end) of the file and in none of the ranges.
void for_each_kept(const std::vector<Run>& runs, uint64_t begin, uint64_t end, const std::vector<BlockRange>& ranges,
                   const std::function<void(const Run&)>& each);

/// Finds files of a plan by path.
class PlanIndex {
 public:
  explicit PlanIndex(const BackupPlan& plan);
  /// Index of the entry; links and directories are not found.
  std::optional<uint32_t> find(std::string_view path) const;

 private:
  const BackupPlan& plan_;
  std::vector<uint32_t> slots_;  // Entry + 1; 0: free.
};

/// Read a manifest chunk by chunk with every file whole: entries that go on in the next chunk are joined.
Result<> for_each_chunk(const ManifestReader& manifest, const std::function<Result<>(FileChunk)>& each);

/// A block believed to be unchanged, drawn to be looked at.
struct SampledBlock {
  uint32_t entry = 0;  // Of the plan.
  uint32_t block = 0;  // Page of the file.
  auto operator<=>(const SampledBlock&) const = default;
};

/// What a first pass over the older backup's manifest found out.
struct PriorSurvey {
  std::vector<std::optional<CopyMode>> modes;  // For each entry of the plan; none: the older backup has no such file.
  std::unordered_map<uint32_t, std::vector<BlockRange>> ranges;  // Of FileWork, by entry, where there are any.
  std::unordered_set<uint64_t> sparse;  // place_of() of extents of which less than half would still be used.
  std::vector<SampledBlock> samples;    // Sorted.
  uint64_t read_bytes = 0;              // Of known files, as far as can be told beforehand.

  static uint64_t place_of(const ExtentRef& extent) { return static_cast<uint64_t>(extent.pack) << 40 | extent.offset; }
  bool knows(uint32_t entry) const { return modes[entry].has_value(); }
  /// What plan_file() said about a file it knows, and the blocks of sparse extents on top.
  FileWork work_on(uint32_t entry, const FileEntry& file, const std::vector<ExtentRef>& extents,
                   uint64_t bytes_now) const;
};

/// Survey. Memory follows the numbers of changed ranges and of extents that are shared or partly used, not that of all.
/// Shape:  `sample_max` blocks are drawn evenly from those that will not be read.
Result<PriorSurvey> survey_prior(const PriorBackup& prior, const BackupPlan& plan, const PlanIndex& index,
                                 size_t sample_max, Rng& rng, const CancelToken& cancel);

/// Look at the sampled pages in the data directory.
/// Shape:  the first one whose LSN says that it was changed after the older backup began (`prior.start_lsn`) and before
///         the new one did (`start_lsn`), as text for people; none if the evidence held.
Result<std::optional<std::string>> find_silent_change(const PriorBackup& prior, const PriorSurvey& survey,
                                                      const BackupPlan& plan, const std::string& data_directory,
                                                      Lsn start_lsn, const CancelToken& cancel);

}  // namespace pgark
