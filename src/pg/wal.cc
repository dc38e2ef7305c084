// Names and first pages of WAL files.
#include "pg/wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace pgark::pg {
namespace {

constexpr uint64_t kLogBytes = uint64_t{1} << 32;
constexpr size_t kSegmentNameDigits = 24;
constexpr size_t kShortHeaderBytes = 24;
constexpr size_t kLongHeaderBytes = 40;
constexpr uint16_t kInfoLongHeader = 0x0002;
constexpr uint16_t kInfoKnown = 0x000f;
constexpr std::string_view kPartialSuffix = ".partial";
constexpr std::string_view kHistorySuffix = ".history";
constexpr std::string_view kBackupSuffix = ".backup";

/// Eight upper-case hexadecimal digits at `at`.
std::optional<uint32_t> parse_hex8(std::string_view text, size_t at) {
  if (text.size() < at + 8) return std::nullopt;
  uint32_t value = 0;
  for (const char c : text.substr(at, 8)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'A' && c <= 'F')) return std::nullopt;
    value = value << 4 | static_cast<uint32_t>(digit ? c - '0' : c - 'A' + 10);
  }
  return value;
}

std::optional<TimelineId> parse_timeline(std::string_view text) {
  const auto value = parse_hex8(text, 0);
  if (!value || *value == 0) return std::nullopt;  // Timelines count from 1.
  return TimelineId{*value};
}

/// The 24 digits `name` begins with.
std::optional<WalSegmentName> parse_24_digits(std::string_view name) {
  const auto timeline = parse_timeline(name);
  const auto log = parse_hex8(name, 8);
  const auto seg = parse_hex8(name, 16);
  if (!timeline || !log || !seg) return std::nullopt;
  return WalSegmentName{.timeline = *timeline, .log = *log, .seg = *seg};
}

Error not_a_wal_name(std::string_view name) {
  return Error(Errc::kInvalid, fmt::format("'{}' is not the name of a WAL file", name.substr(0, 80)));
}

}  // namespace

bool is_wal_segment_bytes(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kWalSegmentBytesMin && bytes <= kWalSegmentBytesMax;
}

Lsn segment_start(const WalSegment& segment, uint32_t segment_bytes) { return Lsn{segment.number * segment_bytes}; }
Lsn segment_end(const WalSegment& segment, uint32_t segment_bytes) { return Lsn{(segment.number + 1) * segment_bytes}; }

WalSegment segment_at(TimelineId timeline, Lsn lsn, uint32_t segment_bytes) {
  CHECK(is_wal_segment_bytes(segment_bytes));
  return {timeline, lsn.bytes / segment_bytes};
}

WalSegment segment_before(TimelineId timeline, Lsn lsn, uint32_t segment_bytes) {
  CHECK(lsn.bytes > 0);
  return segment_at(timeline, Lsn{lsn.bytes - 1}, segment_bytes);
}

std::string segment_name(const WalSegment& segment, uint32_t segment_bytes) {
  CHECK(is_wal_segment_bytes(segment_bytes));
  const uint64_t per_log = kLogBytes / segment_bytes;
  return fmt::format("{:08X}{:08X}{:08X}", segment.timeline.value, segment.number / per_log, segment.number % per_log);
}

Result<WalSegment> parse_segment_name(std::string_view name, uint32_t segment_bytes) {
  CHECK(is_wal_segment_bytes(segment_bytes));
  const auto parts = name.size() == kSegmentNameDigits ? parse_24_digits(name) : std::nullopt;
  if (!parts) return Error(Errc::kInvalid, fmt::format("'{}' is not the name of a WAL segment", name.substr(0, 80)));
  const uint64_t per_log = kLogBytes / segment_bytes;
  if (parts->seg >= per_log)
    return Error(Errc::kInvalid,
                 fmt::format("WAL segment {} cannot exist with segments of {} MiB", name, segment_bytes >> 20));
  return WalSegment{parts->timeline, parts->log * per_log + parts->seg};
}

std::string WalSegmentName::text() const { return fmt::format("{:08X}{:08X}{:08X}", timeline.value, log, seg); }

Result<WalFileName> parse_wal_file_name(std::string_view name) {
  if (name.size() == 8 + kHistorySuffix.size() && name.ends_with(kHistorySuffix)) {
    if (const auto timeline = parse_timeline(name)) return WalFileName(WalHistoryName{*timeline});
    return not_a_wal_name(name);
  }
  const auto segment = parse_24_digits(name);
  if (!segment) return not_a_wal_name(name);
  const std::string_view rest = name.substr(kSegmentNameDigits);
  if (rest.empty()) return WalFileName(*segment);
  if (rest == kPartialSuffix) return WalFileName(WalPartialName{*segment});
  if (rest.size() == 9 + kBackupSuffix.size() && rest.front() == '.' && rest.ends_with(kBackupSuffix))
    if (const auto offset = parse_hex8(rest, 1)) return WalFileName(WalBackupName{*segment, *offset});
  return not_a_wal_name(name);
}

std::string to_string(const WalFileName& name) {
  struct Visitor {
    std::string operator()(const WalSegmentName& n) const { return n.text(); }
    std::string operator()(const WalPartialName& n) const { return n.segment.text() + std::string(kPartialSuffix); }
    std::string operator()(const WalHistoryName& n) const { return history_name(n.timeline); }
    std::string operator()(const WalBackupName& n) const {
      return fmt::format("{}.{:08X}{}", n.segment.text(), n.offset_bytes, kBackupSuffix);
    }
  };
  return std::visit(Visitor{}, name);
}

std::string history_name(TimelineId timeline) { return fmt::format("{:08X}{}", timeline.value, kHistorySuffix); }

std::string backup_history_name(const WalSegment& start_segment, Lsn start, uint32_t segment_bytes) {
  return fmt::format("{}.{:08X}{}", segment_name(start_segment, segment_bytes), start.bytes % segment_bytes,
                     kBackupSuffix);
}

Result<WalPageHeader> decode_wal_page_header(Bytes page) {
  if (page.size() < kShortHeaderBytes)
    return Error(Errc::kCorrupt, fmt::format("WAL page of {} bytes is shorter than its header", page.size()));
  const std::byte* at = page.data();
  WalPageHeader out{.magic = load_le<uint16_t>(at),
                    .info = load_le<uint16_t>(at + 2),
                    .timeline = TimelineId{load_le<uint32_t>(at + 4)},
                    .address = Lsn{load_le<uint64_t>(at + 8)},
                    .rem_len_bytes = load_le<uint32_t>(at + 16)};
  if (out.magic == 0) return Error(Errc::kCorrupt, "WAL page was never written: its magic is 0");
  if (pg_version_of_wal_magic(out.magic) == nullptr)
    return Error(Errc::kUnsupported, fmt::format("WAL page magic {:04X} is of no known PostgreSQL version", out.magic));
  if ((out.info & ~kInfoKnown) != 0)
    return Error(Errc::kCorrupt, fmt::format("WAL page has unknown flags {:04X}", out.info));
  out.is_long = (out.info & kInfoLongHeader) != 0;
  if (!out.is_long) return out;
  if (page.size() < kLongHeaderBytes)
    return Error(Errc::kCorrupt, fmt::format("WAL page of {} bytes is shorter than its long header", page.size()));
  out.system_id = load_le<uint64_t>(at + 24);
  out.segment_bytes = load_le<uint32_t>(at + 32);
  out.wal_block_bytes = load_le<uint32_t>(at + 36);
  return out;
}

Result<> check_segment(Bytes head, const WalSegmentExpectation& expected) {
  const std::string name = segment_name(expected.segment, expected.segment_bytes);
  const std::string context = "check WAL segment " + name;
  TRY_ASSIGN_CTX(const WalPageHeader header, decode_wal_page_header(head), context);
  const auto fail = [&](Errc code, std::string message) {
    return Error(code, std::move(message)).with_context(context);
  };
  if (!header.is_long) return fail(Errc::kCorrupt, "first page lacks the long header");
  // Whose it is comes before where it is: a segment of another cluster has a reason to be anywhere.
  const PgVersionFacts& version = *pg_version_of_wal_magic(header.magic);
  if (version.major != expected.major)
    return fail(Errc::kInvalid, fmt::format("WAL is of PostgreSQL {} (page magic {:04X}), expected PostgreSQL {}",
                                            version.major.value, header.magic, expected.major.value));
  if (header.system_id != expected.system_id)
    return fail(Errc::kInvalid,
                fmt::format("system identifier is {}, expected {}", header.system_id, expected.system_id))
        .with_hint("the segment is of another cluster than this stanza's");
  if (header.segment_bytes != expected.segment_bytes)
    return fail(Errc::kInvalid,
                fmt::format("segment size is {} bytes, expected {}", header.segment_bytes, expected.segment_bytes));
  if (!std::has_single_bit(header.wal_block_bytes) || header.wal_block_bytes < 1024 || header.wal_block_bytes > 65536)
    return fail(Errc::kCorrupt, fmt::format("WAL block size {} is impossible", header.wal_block_bytes));
  const Lsn start = segment_start(expected.segment, expected.segment_bytes);
  if (header.address != start)
    return fail(Errc::kCorrupt,
                fmt::format("first page is of position {}, expected {}", to_string(header.address), to_string(start)))
        .with_hint("a recycled segment file still holds older WAL until it is written again");
  if (header.timeline.value == 0) return fail(Errc::kCorrupt, "first page is of timeline 0");
  if (header.timeline > expected.segment.timeline)
    return fail(Errc::kInvalid, fmt::format("first page is of timeline {}, expected at most {}", header.timeline.value,
                                            expected.segment.timeline.value));
  return {};
}

}  // namespace pgark::pg
