// The index that archive-push stores behind a segment.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "catalog/cluster.h"
#include "core/bytes.h"
#include "pg/wal.h"

namespace pgark {

/// Index a segment that has passed check_archive_file(); empty for files of other kinds.
/// A copy that is lost helps nobody: damage in it is logged, with position and reason, and never refused. The same goes
/// for a segment that cannot be indexed; its index is then made when it is needed.
std::vector<std::byte> index_to_store(const pg::WalFileName& name, Bytes content, const ClusterRecord& cluster);

}  // namespace pgark
