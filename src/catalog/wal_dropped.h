// WAL that was given up: told to PostgreSQL as archived, on the operator's choice (archive-push-queue-max), and not
// stored.
#pragma once

#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// A run of neighbouring segments of one timeline that were given up.
struct DroppedWal {
  std::string first;  // Segment names.
  std::string last;
  Timestamp time{};  // When the first was given up, by the clock of that machine.
  std::string host;
  uint64_t queue_bytes = 0;  // That waited in pg_wal then.
  uint64_t limit_bytes = 0;  // archive-push-queue-max.
  bool operator==(const DroppedWal&) const = default;
};

/// "<stanza>/wal/<n>/dropped/<first>".
Result<ObjectKey> dropped_wal_key(const std::string& stanza, unsigned cluster_number, const std::string& first);

/// What was given up of a cluster's WAL, by name of the first segment. A segment may be there all the same: pushed
/// later by hand, or by another node. Errors: of the store; kCorrupt, naming the record, if one cannot be read.
Result<std::vector<DroppedWal>> list_dropped_wal(const Repository& repository, const std::string& stanza,
                                                 unsigned cluster_number);

/// Record it; what is recorded already is left out. Errors: of the store.
Result<> write_dropped_wal(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                           DroppedWal dropped, uint32_t wal_segment_bytes);

}  // namespace pgark
