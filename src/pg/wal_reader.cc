// The rules of reading WAL: pages, continued and given up records, segment switches, and what makes WAL end.
#include "pg/wal_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "core/check.h"
#include "core/crc32c.h"

namespace pgark::pg {
namespace {

constexpr uint16_t kPageFlagsBefore19 = 0x000f;
constexpr uint16_t kPageFlags19 = 0x0007;
constexpr uint64_t kStartMax = uint64_t{1} << 62;  // Leaves room to count on without wrapping.

constexpr uint64_t align8(uint64_t value) { return (value + 7) & ~uint64_t{7}; }

bool is_block_size(uint32_t bytes, uint32_t min, uint32_t max) {
  return std::has_single_bit(bytes) && bytes >= min && bytes <= max;
}

}  // namespace

std::string_view to_string(WalEndReason reason) {
  switch (reason) {
    case WalEndReason::kZeroLength:
      return "zero_length";
    case WalEndReason::kRecordLength:
      return "record_length";
    case WalEndReason::kResourceManager:
      return "resource_manager";
    case WalEndReason::kPrevLink:
      return "prev_link";
    case WalEndReason::kCrc:
      return "crc";
    case WalEndReason::kRecordHeaders:
      return "record_headers";
    case WalEndReason::kPageMagic:
      return "page_magic";
    case WalEndReason::kPageFlags:
      return "page_flags";
    case WalEndReason::kPageAddress:
      return "page_address";
    case WalEndReason::kPageHeader:
      return "page_header";
    case WalEndReason::kPageTimeline:
      return "page_timeline";
    case WalEndReason::kUnexpectedContinuation:
      return "unexpected_continuation";
    case WalEndReason::kMissingContinuation:
      return "missing_continuation";
    case WalEndReason::kContinuationLength:
      return "continuation_length";
  }
  return "unknown";
}

Result<WalReaderOptions> wal_reader_options(Bytes first_page) {
  TRY_ASSIGN_CTX(const WalPageHeader header, decode_wal_page_header(first_page), "decode first WAL page");
  if (!header.is_long) return Error(Errc::kCorrupt, "first WAL page lacks the long header");
  const WalReaderOptions options{.major = pg_version_of_wal_magic(header.magic)->major,
                                 .start = header.address,
                                 .timeline = {},
                                 .system_id = header.system_id,
                                 .segment_bytes = header.segment_bytes,
                                 .wal_block_bytes = header.wal_block_bytes};
  // Sizes of a header are foreign bytes; those of a caller would be a wrong request.
  if (auto reader = WalReader::create(options); !reader.has_value())
    return std::move(reader).error().with_code(Errc::kCorrupt);
  return options;
}

Result<WalReader> WalReader::create(const WalReaderOptions& options) {
  if (!is_wal_segment_bytes(options.segment_bytes))
    return Error(Errc::kInvalid, fmt::format("WAL segment size {} is impossible", options.segment_bytes));
  if (!is_block_size(options.wal_block_bytes, 1024, 65536))
    return Error(Errc::kInvalid, fmt::format("WAL block size {} is impossible", options.wal_block_bytes));
  if (!is_block_size(options.page_bytes, 1024, 32768))
    return Error(Errc::kInvalid, fmt::format("page size {} is impossible", options.page_bytes));
  if (options.start.bytes % options.wal_block_bytes != 0 || options.start.bytes > kStartMax)
    return Error(Errc::kInvalid, fmt::format("WAL position {} is no page boundary", to_string(options.start)));
  TRY(pg_version_facts(options.major));
  return WalReader(options);
}

Result<WalReader> WalReader::create(const WalReaderOptions& options, const WalFragment& fragment) {
  TRY_ASSIGN(WalReader reader, create(options));
  CHECK(fragment.missing_bytes() > 0);
  reader.fragment_ = fragment;
  reader.fragment_header_checked_ = fragment.seen_bytes() >= kWalRecordHeaderBytes;
  reader.open_ = Open::kRecord;
  return reader;
}

WalReader::WalReader(const WalReaderOptions& options)
    : options_(options), fed_at_(options.start), at_(options.start.bytes) {}

Result<> WalReader::feed(Bytes pages) {
  if (pages.size() % options_.wal_block_bytes != 0)
    return Error(Errc::kInvalid, fmt::format("feed WAL reader: {} bytes are not whole pages", pages.size()));
  if (at_ < fed_to().bytes && !end_)
    return Error(Errc::kInvalid, "feed WAL reader: the bytes fed before are not used up");
  fed_at_ = fed_to();
  fed_ = pages;
  return {};
}

Result<WalStep> WalReader::next() {
  bool fine = !end_.has_value();
  while (fine && !has_record_) {
    if (at_ >= fed_to().bytes) return WalStep::kMore;
    // A record never begins at a page's start, where the header is, and an open one goes on behind it.
    fine = at_ % options_.wal_block_bytes == 0 ? enter_page() : start_record();
  }
  if (std::exchange(has_record_, false)) return WalStep::kRecord;
  if (options_.source == WalSource::kLive) return WalStep::kEnd;
  return Error(Errc::kCorrupt, fmt::format("WAL ends early at {}: {}", to_string(end_->lsn), end_->message));
}

bool WalReader::ended(WalEndReason reason, Lsn found_at, std::string message) {
  end_ = WalEnd{.reason = reason, .lsn = position(), .found_at = found_at, .message = std::move(message)};
  return false;
}

bool WalReader::enter_page() {
  const Bytes page = rest_of_page();
  if (!check_page(page)) return false;
  const WalPageHeader header = decode_wal_page_header(page).value();
  page_timeline_ = header.timeline;
  const bool overwritten = header.first_is_overwritten_continuation(options_.major);
  if (std::exchange(at_first_page_, false) && open_ == Open::kNone && header.first_is_continuation() && !overwritten) {
    open_ = Open::kForeign;
    foreign_missing_bytes_ = header.rem_len_bytes;
    continuation_.rem_len_bytes = header.rem_len_bytes;
  }
  if (overwritten) {
    // The server came up again without the rest of the record and gave it up. Where reading began with that record's
    // continuation, or could have, it is known as well.
    if (open_ != Open::kRecord && !prev_) continuation_.overwritten = true;
    open_ = Open::kNone;
  }
  if (open_ != Open::kNone) return continue_open(header, page);
  if (header.first_is_continuation())
    return ended(WalEndReason::kUnexpectedContinuation, Lsn{at_},
                 fmt::format("page at {} continues a record where none is open", to_string(Lsn{at_})));
  at_ += header.header_bytes();
  return true;
}

bool WalReader::check_page(Bytes page) {
  const Lsn here{at_};
  const auto magic = load_le<uint16_t>(page.data());
  const PgVersionFacts* version = pg_version_of_wal_magic(magic);
  if (version == nullptr || version->major != options_.major)
    return ended(WalEndReason::kPageMagic, here,
                 fmt::format("page at {} has magic {:04X}, expected that of PostgreSQL {}", to_string(here), magic,
                             options_.major.value));
  const auto flags = load_le<uint16_t>(page.data() + 2);
  if ((flags & ~(options_.major.value >= 19 ? kPageFlags19 : kPageFlagsBefore19)) != 0)
    return ended(WalEndReason::kPageFlags, here,
                 fmt::format("page at {} has unknown flags {:04X}", to_string(here), flags));
  const WalPageHeader header = decode_wal_page_header(page).value();  // Nothing is left that it could refuse.
  if (header.address != here)
    return ended(WalEndReason::kPageAddress, here,
                 fmt::format("page at {} says it is at {}", to_string(here), to_string(header.address)));
  const bool first_of_segment = here.bytes % options_.segment_bytes == 0;
  if (first_of_segment && !header.is_long)
    return ended(WalEndReason::kPageHeader, here,
                 fmt::format("page at {} lacks the long header of a segment's first page", to_string(here)));
  if (header.is_long && (header.system_id != options_.system_id || header.segment_bytes != options_.segment_bytes ||
                         header.wal_block_bytes != options_.wal_block_bytes))
    return ended(
        WalEndReason::kPageHeader, here,
        fmt::format("page at {} is of system {}, segments of {} and blocks of {} bytes, expected {}, {} and {}",
                    to_string(here), header.system_id, header.segment_bytes, header.wal_block_bytes, options_.system_id,
                    options_.segment_bytes, options_.wal_block_bytes));
  if (header.timeline < page_timeline_ || (options_.timeline.value != 0 && header.timeline > options_.timeline))
    return ended(WalEndReason::kPageTimeline, here,
                 fmt::format("page at {} is of timeline {}, expected {} to {}", to_string(here), header.timeline.value,
                             page_timeline_.value, options_.timeline.value));
  return true;
}

bool WalReader::continue_open(const WalPageHeader& header, Bytes page) {
  const bool foreign = open_ == Open::kForeign;
  const uint32_t missing = foreign ? foreign_missing_bytes_ : fragment_.missing_bytes();
  const std::string_view whose = foreign ? "the record before" : "the open record";
  if (!header.first_is_continuation())
    return ended(WalEndReason::kMissingContinuation, Lsn{at_},
                 fmt::format("page at {} does not continue {}, of which {} bytes are missing", to_string(Lsn{at_}),
                             whose, missing));
  if (header.rem_len_bytes != missing || missing == 0)
    return ended(WalEndReason::kContinuationLength, Lsn{at_},
                 fmt::format("page at {} continues a record with {} bytes, of {} are missing {}", to_string(Lsn{at_}),
                             header.rem_len_bytes, whose, missing));
  const Bytes rest = page.subspan(header.header_bytes());
  const Bytes part = rest.first(std::min<size_t>(rest.size(), missing));
  at_ += header.header_bytes() + align8(part.size());
  if (!foreign) {
    fragment_.append(part, limits());
    return fragment_.missing_bytes() > 0 || finish_fragment();
  }
  std::vector<std::byte>& kept = continuation_.bytes;
  const Bytes to_keep = part.first(std::min(part.size(), options_.main_data_kept_bytes_max - kept.size()));
  kept.insert(kept.end(), to_keep.begin(), to_keep.end());
  foreign_missing_bytes_ -= static_cast<uint32_t>(part.size());
  if (foreign_missing_bytes_ == 0) open_ = Open::kNone;
  return true;
}

bool WalReader::start_record() {
  const Bytes rest = rest_of_page();
  const Lsn lsn{at_};
  const auto total = load_le<uint32_t>(rest.data());  // Records are aligned to 8 bytes: the length is never split.
  if (total == 0)
    return ended(WalEndReason::kZeroLength, lsn, fmt::format("record at {} has length 0", to_string(lsn)));
  if (total < kWalRecordHeaderBytes || total > kWalRecordBytesMax)
    return ended(WalEndReason::kRecordLength, lsn,
                 fmt::format("record at {} has impossible length {}", to_string(lsn), total));
  const bool header_whole = rest.size() >= kWalRecordHeaderBytes;
  if (header_whole && !check_record_header(decode_wal_record_header(rest), lsn)) return false;
  if (total <= rest.size()) return finish_single(rest.first(total));
  open_ = Open::kRecord;
  fragment_.begin(lsn, total);
  fragment_.append(rest, limits());
  fragment_header_checked_ = header_whole;
  at_ += rest.size();
  return true;
}

bool WalReader::check_record_header(const WalRecordHeader& header, Lsn lsn) {
  if (!is_wal_rmgr(header.rmgr, options_.major))
    return ended(WalEndReason::kResourceManager, lsn,
                 fmt::format("record at {} is of unknown resource manager {}", to_string(lsn), header.rmgr.value));
  if (prev_ && header.prev != *prev_)
    return ended(
        WalEndReason::kPrevLink, lsn,
        fmt::format("record at {} follows {}, expected {}", to_string(lsn), to_string(header.prev), to_string(*prev_)));
  if (header.prev >= lsn)  // Of the first record no more can be said.
    return ended(
        WalEndReason::kPrevLink, lsn,
        fmt::format("record at {} follows {}, which is not before it", to_string(lsn), to_string(header.prev)));
  return true;
}

bool WalReader::finish_single(Bytes raw) {
  const Lsn lsn{at_};
  const uint32_t crc = crc32c(raw.first(20), crc32c(raw.subspan(kWalRecordHeaderBytes)));
  const uint32_t claimed = load_le<uint32_t>(raw.data() + 20);
  if (crc != claimed)
    return ended(WalEndReason::kCrc, lsn,
                 fmt::format("record at {} has CRC {:08X}, expected {:08X}", to_string(lsn), crc, claimed));
  if (auto decoded = decode_wal_record_head(raw, options_.major, options_.page_bytes, record_); !decoded)
    return ended(WalEndReason::kRecordHeaders, lsn,
                 fmt::format("record at {} is malformed: {}", to_string(lsn), decoded.error().message()));
  record_.main_data = raw.subspan(record_.main_data_offset_bytes);
  at_ += align8(raw.size());
  return take_record(lsn);
}

bool WalReader::finish_fragment() {
  const Lsn lsn = fragment_.lsn();
  if (!fragment_header_checked_ && !check_record_header(decode_wal_record_header(fragment_.head()), lsn)) return false;
  if (!fragment_.crc_matches())
    return ended(WalEndReason::kCrc, lsn, fmt::format("record at {} has a wrong CRC", to_string(lsn)));
  if (auto decoded = fragment_.decode(limits(), record_); !decoded)
    return ended(WalEndReason::kRecordHeaders, lsn,
                 fmt::format("record at {} is malformed: {}", to_string(lsn), decoded.error().message()));
  open_ = Open::kNone;
  return take_record(lsn);
}

bool WalReader::take_record(Lsn lsn) {
  // What the server leaves behind a switch is padding, most often zeros without page headers.
  if (record_.header.is_switch())
    at_ = (at_ + options_.segment_bytes - 1) / options_.segment_bytes * options_.segment_bytes;
  record_.lsn = lsn;
  record_.end = Lsn{at_};
  prev_ = lsn;
  has_record_ = true;
  return true;
}

}  // namespace pgark::pg
