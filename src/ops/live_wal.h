// The newest WAL of a running cluster, which is not archived yet: segments of its pg_wal as far as they are written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "pg/wal_index.h"

namespace pgark {

/// Index a segment of pg_wal below a data directory while its server writes it.
/// Shape:  none if there is no such file, or it holds something else: a segment to come is zeros or an older one under
///         its future name. What is behind the end of WAL (zeros, older pages, half a record) ends the index: believe
///         it up to valid_to alone. It may end at `end`, a record's: what is behind is nobody's concern, and not read.
///         `before` completes it with the record that crosses in; null if that is not needed.
/// Errors: of reading the file; kCorrupt if it is a segment that does not join `before`.
Result<std::optional<pg::WalIndex>> read_live_segment(const std::string& data_directory, const pg::WalSegment& segment,
                                                      uint32_t segment_bytes, Lsn end, const pg::WalIndex* before);

}  // namespace pgark
