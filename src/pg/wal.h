// WAL files by name and by their first page: what a file in the archive is, and whether it is what its name says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "core/bytes.h"
#include "core/ids.h"
#include "core/result.h"
#include "pg/version.h"

namespace pgark::pg {

inline constexpr uint32_t kWalSegmentBytesMin = 1u << 20;
inline constexpr uint32_t kWalSegmentBytesMax = 1u << 30;
inline constexpr uint32_t kWalSegmentBytesDefault = 16u << 20;

/// True for a power of two from 1 MiB to 1 GiB.
bool is_wal_segment_bytes(uint64_t bytes);

/// One segment of WAL: the `number`th stretch of wal_segment_bytes since position 0, as written on `timeline`.
struct WalSegment {
  TimelineId timeline;
  uint64_t number = 0;
  auto operator<=>(const WalSegment&) const = default;

  WalSegment next() const { return {timeline, number + 1}; }
};

/// First byte of a segment, and the first byte after it.
Lsn segment_start(const WalSegment& segment, uint32_t segment_bytes);
Lsn segment_end(const WalSegment& segment, uint32_t segment_bytes);

/// The segment that holds the byte at `lsn`.
WalSegment segment_at(TimelineId timeline, Lsn lsn, uint32_t segment_bytes);
/// The segment that holds the byte before `lsn`: the last one needed to reach `lsn`.
WalSegment segment_before(TimelineId timeline, Lsn lsn, uint32_t segment_bytes);

/// 24-digit file name of a segment. Names of one timeline sort as their numbers do.
std::string segment_name(const WalSegment& segment, uint32_t segment_bytes);

/// Parse the 24-digit name of a segment.
/// Errors: kInvalid if it is no segment name or impossible with this segment size, naming both.
Result<WalSegment> parse_segment_name(std::string_view name, uint32_t segment_bytes);

/// A segment name taken apart without knowing the segment size.
struct WalSegmentName {
  TimelineId timeline;
  uint32_t log = 0;  // Upper 32 bits of the position.
  uint32_t seg = 0;  // Segment within that log.
  auto operator<=>(const WalSegmentName&) const = default;
  std::string text() const;
};

struct WalPartialName {
  WalSegmentName segment;
  auto operator<=>(const WalPartialName&) const = default;
};
struct WalHistoryName {
  TimelineId timeline;
  auto operator<=>(const WalHistoryName&) const = default;
};
struct WalBackupName {
  WalSegmentName segment;     // Holds the start of the backup.
  uint32_t offset_bytes = 0;  // Of the start in the segment.
  auto operator<=>(const WalBackupName&) const = default;
};

/// What PostgreSQL hands to archive_command, by name.
using WalFileName = std::variant<WalSegmentName, WalPartialName, WalHistoryName, WalBackupName>;

/// Classify a file name (no directory) of the archive.
/// Errors: kInvalid, naming the text; lower-case digits are not PostgreSQL's.
Result<WalFileName> parse_wal_file_name(std::string_view name);
std::string to_string(const WalFileName& name);
std::string history_name(TimelineId timeline);
std::string backup_history_name(const WalSegment& start_segment, Lsn start, uint32_t segment_bytes);

/// Header of a WAL page.
struct WalPageHeader {
  uint16_t magic = 0;
  uint16_t info = 0;
  TimelineId timeline;  // Of the first record; on a segment shared with the parent timeline lower than in its name.
  Lsn address;          // Of this page.
  uint32_t rem_len_bytes = 0;  // Still to come of the record continued from the page before.
  // Of a long header only, which every segment begins with.
  bool is_long = false;
  uint64_t system_id = 0;
  uint32_t segment_bytes = 0;
  uint32_t wal_block_bytes = 0;

  size_t header_bytes() const { return is_long ? 40 : 24; }
  bool first_is_continuation() const { return (info & 1) != 0; }
  /// Source: the bit is 0x0008 up to 18 and 0x0004 from 19 on, where 0x0004 no longer means something else.
  bool first_is_overwritten_continuation(PgMajor major) const { return (info & (major.value >= 19 ? 4 : 8)) != 0; }
};

/// Decode the header at the start of a WAL page.
/// Shape:  `page` holds at least the header (24 bytes, 40 if long).
/// Errors: kCorrupt if shorter or if info bits are unknown; kUnsupported if the magic is of no known version.
/// Source: PostgreSQL src/include/access/xlog_internal.h, XLogPageHeaderData and XLogLongPageHeaderData.
Result<WalPageHeader> decode_wal_page_header(Bytes page);

/// What a segment must be to belong into an archive.
struct WalSegmentExpectation {
  WalSegment segment;          // From its name.
  uint32_t segment_bytes = 0;  // Of the cluster.
  uint64_t system_id = 0;
  PgMajor major;
};

/// Check the first page of a segment against what it should be.
/// Shape:  `head` is the start of the file, at least 40 bytes.
/// Errors: kCorrupt if the bytes are no first page of a segment or of another address; kInvalid if they are of another
///         cluster, version, segment size or timeline. The message says what was found and what was expected.
Result<> check_segment(Bytes head, const WalSegmentExpectation& expected);

}  // namespace pgark::pg
