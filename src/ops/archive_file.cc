#include "ops/archive_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "pg/backup_label.h"
#include "pg/timeline_history.h"

namespace pgark {
namespace {

/// Longest text file PostgreSQL archives: a history grows by a line a promotion.
constexpr size_t kTextBytesMax = 4u << 20;

struct Checker {
  Bytes content;
  const ClusterRecord& cluster;

  Result<> operator()(const pg::WalSegmentName& name) const {
    return check_archive_segment(name, content, content.size(), cluster);
  }
  Result<> operator()(const pg::WalPartialName& name) const {
    return check_archive_segment(name.segment, content, content.size(), cluster);
  }
  Result<> operator()(const pg::WalHistoryName& name) const {
    TRY(check_text());
    TRY(pg::parse_timeline_history(name.timeline, as_text(content)));
    return {};
  }
  Result<> operator()(const pg::WalBackupName& name) const {
    TRY(check_text());
    TRY_ASSIGN(const pg::BackupLabel label, pg::parse_backup_history(as_text(content)));
    const uint64_t offset = label.start.bytes & (cluster.wal_segment_bytes - 1);
    if (label.start_segment != name.segment.text() || offset != name.offset_bytes) {
      return Error(Errc::kCorrupt,
                   fmt::format("it tells of a backup that began at {} in segment {}, not of the one its "
                               "name says",
                               to_string(label.start), label.start_segment));
    }
    return {};
  }
  Result<> check_text() const {
    if (content.size() <= kTextBytesMax) return {};
    return Error(Errc::kCorrupt, fmt::format("it has {} bytes, far more than such a file can have", content.size()));
  }
};

/// Zero, and every byte like the one before it: memcmp goes through 16 MiB in about a millisecond.
bool all_zero(Bytes bytes) {
  return bytes.empty() ||
         (bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

Result<> check_archive_segment(const pg::WalSegmentName& name, Bytes head, uint64_t size_bytes,
                               const ClusterRecord& cluster) {
  TRY_ASSIGN(const pg::WalSegment segment, pg::parse_segment_name(name.text(), cluster.wal_segment_bytes));
  if (size_bytes != cluster.wal_segment_bytes) {
    return Error(Errc::kCorrupt, fmt::format("it has {} bytes, a WAL segment of this cluster has {}", size_bytes,
                                             cluster.wal_segment_bytes));
  }
  return pg::check_segment(head, {.segment = segment,
                                  .segment_bytes = cluster.wal_segment_bytes,
                                  .system_id = cluster.system_identifier,
                                  .major = pg::PgMajor{cluster.pg_major}});
}

Result<> check_archive_file(const pg::WalFileName& name, Bytes content, const ClusterRecord& cluster) {
  return std::visit(Checker{content, cluster}, name);
}

uint64_t valid_wal_bytes(Bytes content, const pg::WalSegment& segment) {
  const auto first = pg::decode_wal_page_header(content);
  if (!first || !first->is_long || first->wal_block_bytes < 1024) return 0;
  const Lsn start = pg::segment_start(segment, static_cast<uint32_t>(content.size()));
  TimelineId timeline = first->timeline;
  for (size_t offset = 0; offset < content.size(); offset += first->wal_block_bytes) {
    const Bytes page = content.subspan(offset, std::min<size_t>(first->wal_block_bytes, content.size() - offset));
    // An unused page is all zeros, and then so is everything behind it: the segment was switched.
    if (load_le<uint16_t>(page.data()) == 0) return all_zero(content.subspan(offset)) ? content.size() : offset;
    const auto header = pg::decode_wal_page_header(page);
    if (!header || header->magic != first->magic || header->address != Lsn{start.bytes + offset} ||
        header->timeline < timeline || header->timeline > segment.timeline) {
      return offset;
    }
    timeline = header->timeline;
  }
  return content.size();
}

}  // namespace pgark
