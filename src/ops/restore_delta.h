// Delta restore: what is on disk is compared with the backup block by block, by the hashes the packs list, and only
// what differs is fetched and written.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/cancel.h"
#include "core/progress.h"
#include "ops/restore_copy.h"
#include "ops/restore_files.h"
#include "ops/restore_plan.h"
#include "repo/manifest.h"

namespace pgark {

/// What a delta restore must know of a manifest before it touches anything. Eight bytes for each file, a little more
/// for the few whose block map is spread over several chunks.
class DeltaIndex {
 public:
  /// One pass over the manifest.
  static Result<DeltaIndex> build(const ManifestReader& manifest, const RestorePlan& plan, const CancelToken& cancel);

  /// Whether the manifest has a file under this name below the data directory (pg_control: kUnfinishedControlPath).
  bool has_file(std::string_view name) const;
  /// The stretch of a file that its entry answers for: all of it, or from its first run to the next entry's.
  struct Stretch {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool whole = true;
  };
  Stretch stretch_of(const FileEntry& entry) const;

 private:
  std::vector<uint64_t> names_;                         // Hashes, sorted.
  std::map<std::string, std::vector<uint64_t>> parts_;  // Where the second and later entries of a file begin.
};

struct DeltaTotals {
  CopyTotals copy;
  uint64_t compared_bytes = 0;      // Read from disk and hashed.
  uint64_t matched_bytes = 0;       // Of these, what was right.
  uint64_t changed_file_count = 0;  // Files that were absent, of another size, or had wrong bytes.
};

struct DeltaOptions {
  CopyOptions copy;
  // The page cache may hold what never reached the disk (a restore that was cut off): read from the disk itself.
  bool distrust_cache = false;
};

/// Make every file of the manifest what it is in the backup. Places are clean, directories and links there.
/// Errors: as copy_files(); of reading what is there, naming the file.
Result<DeltaTotals> mend_files(ExtentSource& source, const ManifestReader& manifest, const RestorePlan& plan,
                               const DeltaIndex& index, const DeltaOptions& options, OwnerTable& owners,
                               const CancelToken& cancel, Progress& progress);

}  // namespace pgark
