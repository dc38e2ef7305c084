// Fetching the segments that recovery will ask for next into the spool, ahead of it. Nothing depends on it: whatever
// goes wrong here only means that archive-get fetches a segment itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/archive_get.h"
#include "ops/wal_spool.h"
#include "pg/timeline_history.h"

namespace pgark {

struct PrefetchOptions {
  std::string stanza;
  pg::WalSegment wanted;     // What recovery asked for last: prefetching begins after it.
  uint64_t queue_bytes = 0;  // That may wait in the spool, what is just being written included.
  unsigned threads = 1;      // Segments at a time.
  // How long a full queue may stay as it is before the prefetcher ends.
  std::chrono::milliseconds patience{2000};
};

struct PrefetchReport {
  uint64_t segment_count = 0;
  uint64_t bytes = 0;
  bool full = false;  // The file system of the spool had less room than the queue may take.
};

/// Fill the spool with the segments after `wanted`, oldest first, each verified, until there is no more, the server
/// goes elsewhere or no longer takes any, or the token is cancelled. The caller holds the spool's lock. Errors: of the
/// spool; of the repositories, if none could be searched. A segment that cannot be fetched is none.
Result<PrefetchReport> prefetch_wal(std::span<const ArchiveSource> sources, const WalSpool& spool, Clock& clock,
                                    const CancelToken& cancel, const PrefetchOptions& options);

/// Pure: the history that recovery follows, as far as can be guessed from the segment it asked for: the newest whose
/// way leads through that segment; without one, the segment's timeline alone.
pg::TimelineHistory guess_history(const std::vector<pg::TimelineHistory>& histories, const pg::WalSegment& wanted,
                                  uint32_t segment_bytes);

/// Pure: segments that recovery along `history` reads after `wanted`, in order, up to the first of which `listed` has
/// no copy. `listed` are names.
std::vector<pg::WalSegment> plan_prefetch(const pg::TimelineHistory& history, const pg::WalSegment& wanted,
                                          const std::vector<std::string>& listed, uint32_t segment_bytes);

}  // namespace pgark
