// The copy of a restore: extents fetched in large ranged reads, checked, decoded and written where they belong, in
// parallel and in memory that does not grow with the database.
#pragma once

#include <cstdint>
#include <string>

#include "core/cancel.h"
#include "core/progress.h"
#include "ops/extent_source.h"
#include "ops/restore_files.h"
#include "ops/restore_plan.h"
#include "repo/manifest.h"

namespace pgark {

/// Memory of the chunks whose tasks wait or run.
inline constexpr size_t kQueuedBytesMax = 32u << 20;
inline constexpr size_t kFilesPerTask = 256;

struct CopyOptions {
  unsigned workers = 1;
  bool sync_files = false;  // fsync each file when its part is written; else the caller syncs the file systems.
};

struct CopyTotals {
  uint64_t fetched_bytes = 0;
  uint64_t written_bytes = 0;
};

/// Restore every file of the manifest below the plan's data directory, whose directories and links are there.
/// pg_control goes to kUnfinishedControlPath.
/// Errors: kCorrupt naming backup, file, blocks and pack; of writing, naming the file; kCancelled.
Result<CopyTotals> copy_files(ExtentSource& source, const ManifestReader& manifest, const RestorePlan& plan,
                              const CopyOptions& options, OwnerTable& owners, const CancelToken& cancel,
                              Progress& progress);

}  // namespace pgark
