// What archive-push and archive-get both know: is a file of the archive what its name says, and of this cluster.
#pragma once

#include <string>

#include "catalog/cluster.h"
#include "core/bytes.h"
#include "core/result.h"
#include "pg/wal.h"

namespace pgark {

/// Check the content of a file of the archive against its name and the cluster it should be of.
/// Shape:  segments and partial segments are checked by size and first page; histories are parsed.
/// Errors: kCorrupt if it is not what the name says; kInvalid if it is of another cluster.
Result<> check_archive_file(const pg::WalFileName& name, Bytes content, const ClusterRecord& cluster);

/// check_archive_file() of a segment, whole or partial, of which the first bytes (40 at least) and the size are at
/// hand.
Result<> check_archive_segment(const pg::WalSegmentName& name, Bytes head, uint64_t size_bytes,
                               const ClusterRecord& cluster);

/// Bytes from the start of a segment whose page headers are what they should be, zeros after a segment switch included:
/// the whole segment, unless a timeline ended in it. `content` has passed check_archive_file().
uint64_t valid_wal_bytes(Bytes content, const pg::WalSegment& segment);

}  // namespace pgark
