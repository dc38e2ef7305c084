// Names of WAL files in the repository, and what of them is there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"
#include "pg/wal.h"
#include "repo/repository.h"

namespace pgark {

/// Key of an archived file of any kind: segments at "<stanza>/wal/<n>/<timeline>/<log>/<segment>", everything else
/// (".history", ".backup", ".partial") at "<stanza>/wal/<n>/<name>". `generation` 0 is the first copy, 1 is ".r1", ...
/// Errors: kInvalid if `name` is no archive file name.
Result<ObjectKey> wal_key(const std::string& stanza, unsigned cluster_number, const std::string& name,
                          unsigned generation = 0);

/// Copies of a file, first generation first; empty only if a listing proves that there is none.
Result<std::vector<ObjectKey>> find_wal_copies(const Repository& repository, const std::string& stanza,
                                               unsigned cluster_number, const std::string& name);

/// Names of the segments of one timeline (of all timelines if none is given), in order.
Result<std::vector<std::string>> list_wal_segments(const Repository& repository, const std::string& stanza,
                                                   unsigned cluster_number, std::optional<TimelineId> timeline);
/// Names of the first segments of a timeline that follow `name` (a segment of it, there or not), in order, at most
/// `count_max` of them: the store is asked only from there on.
Result<std::vector<std::string>> list_wal_segments_after(const Repository& repository, const std::string& stanza,
                                                         unsigned cluster_number, const std::string& name,
                                                         size_t count_max);
/// Timelines that have a history file.
Result<std::vector<TimelineId>> list_timeline_histories(const Repository& repository, const std::string& stanza,
                                                        unsigned cluster_number);

/// A run of segments with none missing.
struct WalRange {
  TimelineId timeline;
  std::string first;
  std::string last;
  uint64_t count = 0;
};
/// Pure: sorted segment names to runs.
std::vector<WalRange> wal_ranges(const std::vector<std::string>& segments, uint32_t wal_segment_bytes);

}  // namespace pgark
