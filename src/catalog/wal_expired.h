// WAL that was let go by a rule: from where on a timeline's WAL is kept as a whole. What lacks before that is no gap.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// Before which segment of a timeline only what single backups need is kept; no value: of the whole timeline.
using ExpiredWal = std::map<TimelineId, std::optional<uint64_t>>;  // By number of the segment.

/// What the newest record of each timeline says: "<stanza>/wal/<n>/expired/<timeline>.<k>", the highest k counts.
/// Errors: of the store; kCorrupt, naming the record, if one cannot be read.
Result<ExpiredWal> read_expired_wal(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                                    uint32_t wal_segment_bytes);

/// Say it, before anything is removed: a new record for each timeline of which the newest says something else; older
/// ones are then removed, as far as the store lets them go.
Result<> write_expired_wal(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                           uint32_t wal_segment_bytes, const ExpiredWal& expired, Timestamp now);

}  // namespace pgark
