#include "ops/archive_index.h"

#include <algorithm>

#include "core/log.h"
#include "ops/archive_file.h"
#include "pg/wal_index.h"

namespace pgark {
namespace {

/// WAL ends in the segment although more of it follows: not where a timeline ended, nor before what was never written.
bool is_damaged(const pg::WalIndex& index, Bytes content) {
  if (index.is_complete()) return false;
  const uint64_t start = pg::segment_start(index.segment, index.segment_bytes).bytes;
  const uint64_t end = std::max(start, index.valid_to.bytes) - start;
  const Bytes rest = content.subspan(static_cast<size_t>(end));
  if (std::ranges::all_of(rest, [](std::byte byte) { return byte == std::byte{0}; })) return false;
  const uint64_t page = index.wal_block_bytes;
  return valid_wal_bytes(content, index.segment) > (end + page - 1) / page * page;
}

}  // namespace

std::vector<std::byte> index_to_store(const pg::WalFileName& name, Bytes content, const ClusterRecord& cluster) {
  const auto* segment_name = std::get_if<pg::WalSegmentName>(&name);
  if (segment_name == nullptr) return {};
  const std::string text = segment_name->text();
  const auto segment = pg::parse_segment_name(text, cluster.wal_segment_bytes);
  if (!segment) return {};  // Refused by check_archive_file().
  const auto index = pg::make_wal_index(content, *segment);
  if (!index) {
    log_warn("segment {} is stored without an index: {}", text, index.error().message());
    return {};
  }
  if (is_damaged(*index, content)) {
    log_warn("segment {} is stored as it is, but recovery cannot go past {}, where its WAL is damaged: {}", text,
             to_string(index->valid_to), index->end_reason);
  }
  return pg::encode_wal_index(*index);
}

}  // namespace pgark
