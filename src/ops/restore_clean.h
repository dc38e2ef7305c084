// What is taken away before a restore fills its places: everything with --force, what does not belong with --delta.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "ops/restore_delta.h"
#include "ops/restore_places.h"
#include "ops/restore_plan.h"

namespace pgark {

/// Names in a directory, sorted. Absent: kNotFound.
Result<std::vector<std::string>> names_in(const std::string& directory);
/// Remove a file, link or directory with all that is in it, following no link. How many there were; absent: none.
Result<uint64_t> remove_tree(const std::string& path);

/// Take pg_control from its place, durably, so that what is about to change cannot be started: to
/// kUnfinishedControlPath, where a delta restore compares it. Ok if there is none.
Result<> retire_control_file(const RestorePlan& plan);

/// Remove what check_places() listed for --force.
Result<> clear_places(const PlaceChecks& checks);

/// Take away, below the places that hold something, all that the backup does not have: files, directories and links of
/// other names; what has a name of the backup and is of another kind, or leads elsewhere; files with further hard
/// links, which are never written through. Links are never followed. What remains is ours to write. How many were
/// removed.
Result<uint64_t> clean_places(const RestorePlan& plan, const PlaceChecks& checks, const DeltaIndex& index,
                              const CancelToken& cancel);

}  // namespace pgark
