// Reading WAL: from the bytes of consecutive pages to records, as PostgreSQL's own reader would accept them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/ids.h"
#include "core/result.h"
#include "pg/wal.h"
#include "pg/wal_record.h"

namespace pgark::pg {

/// Where the WAL comes from decides what its end means.
enum class WalSource : unsigned char {
  kArchived,  // Complete segments: WAL that ends before they do is damaged.
  kLive,      // pg_wal, a .partial segment, a stream: WAL ends somewhere.
};

struct WalReaderOptions {
  PgMajor major;
  Lsn start;            // Of the first byte that will be fed: a page boundary, most often that of a segment.
  TimelineId timeline;  // Newest that pages may be of, the one in the segment's name; 0: any. Pages of an older one
                        // come first where a segment is shared with the parent timeline.
  uint64_t system_id = 0;
  uint32_t segment_bytes = kWalSegmentBytesDefault;
  uint32_t wal_block_bytes = 8192;
  uint32_t page_bytes = 8192;  // Block size of relations.
  WalSource source = WalSource::kArchived;
  size_t main_data_kept_bytes_max = size_t{16} << 20;  // Of a record over several pages; bounds the reader's memory.
};

/// Options that read a segment of any timeline, from its first page.
/// Shape:  `first_page` holds at least the long header.
/// Errors: kCorrupt or kUnsupported if it is no first page of a segment.
Result<WalReaderOptions> wal_reader_options(Bytes first_page);

/// Why WAL ends at a position.
enum class WalEndReason : unsigned char {
  kZeroLength,       // Nothing was written there.
  kRecordLength,     // Shorter than a record header or longer than a record can be.
  kResourceManager,  // Of no resource manager of this version.
  kPrevLink,         // Does not point to the record before.
  kCrc,
  kRecordHeaders,  // CRC is right, block references and lengths contradict each other.
  kPageMagic,      // Zero (never written) or of another version.
  kPageFlags,
  kPageAddress,             // A recycled segment's older page, or a page out of place.
  kPageHeader,              // Long header missing, or of another cluster, segment size or block size.
  kPageTimeline,            // Older than the page before, or newer than the segment.
  kUnexpectedContinuation,  // The page continues a record where none is open.
  kMissingContinuation,     // The page does not continue the open record.
  kContinuationLength,      // The page continues a record of another length.
};
/// "zero_length", "crc", "page_address", ...
std::string_view to_string(WalEndReason reason);

struct WalEnd {
  WalEndReason reason = WalEndReason::kZeroLength;
  Lsn lsn;              // End of what can be replayed: start of the record or page that is not valid.
  Lsn found_at;         // Where the reason shows: `lsn`, or a later page of the record that begins there.
  std::string message;  // "record at 0/1500028 has CRC 12AB34CD, expected 9F8E7D6C".
};

/// What precedes the first record when reading begins in the middle of one.
struct WalContinuation {
  uint32_t rem_len_bytes = 0;  // Of the record at the start of reading; 0: a record or a page without one begins there.
  bool overwritten = false;    // The open record was given up by the server and never existed.
  std::vector<std::byte> bytes;  // Its first bytes, at most main_data_kept_bytes_max.
};

/// What the reader did.
enum class WalStep : unsigned char {
  kRecord,  // record() holds the next one.
  kMore,    // All bytes are used up: feed() the next ones, or stop here.
  kEnd,     // end() says where and why; only of a kLive source. Every further step is kEnd.
};

/// Turn consecutive WAL pages into records. Follows records over pages and segments, drops records that the server gave
/// up and overwrote, skips what follows a segment switch, and checks page headers, lengths, links and CRCs on the way.
/// A record within one page is not copied; of a longer one headers and main data are kept, the rest passes by.
///
///   while (more bytes) {
///     TRY(reader.feed(bytes));
///     for (;;) {
///       TRY_ASSIGN(const WalStep step, reader.next());
///       if (step != WalStep::kRecord) break;
///       use(reader.record());
///     }
///   }
class WalReader {
 public:
  /// Errors: kInvalid if sizes are impossible or the start is no page boundary.
  static Result<WalReader> create(const WalReaderOptions& options);
  /// Continue the record that the reader of the segment before was left with; `fragment` is copied.
  static Result<WalReader> create(const WalReaderOptions& options, const WalFragment& fragment);

  WalReader(WalReader&&) = default;  // Not copied: record() may point into the reader.
  WalReader& operator=(WalReader&&) = default;

  /// Give the bytes that follow those given before.
  /// Shape:  whole pages, any number of them; they must stay in place until next() says kMore. Call it only then.
  /// Errors: kInvalid if not whole pages or called too early.
  Result<> feed(Bytes pages);

  /// Go to the next record.
  /// Errors: kCorrupt if an archived source ends early; end() then says where and why, too.
  Result<WalStep> next();

  const WalRecord& record() const { return record_; }
  const std::optional<WalEnd>& end() const { return end_; }

  /// Where the next byte to feed belongs.
  Lsn fed_to() const { return Lsn{fed_at_.bytes + fed_.size()}; }
  /// Where the next record may begin: end of the last one, or the start of the one that is open.
  Lsn position() const { return open_ == Open::kRecord ? fragment_.lsn() : Lsn{at_}; }
  /// What stood before the first record; complete once a record was read.
  const WalContinuation& continuation() const { return continuation_; }
  /// The record that is open where the bytes fed so far end; null if none.
  const WalFragment* fragment() const { return open_ == Open::kRecord ? &fragment_ : nullptr; }
  /// Timeline of the last page that was entered; 0 before the first.
  TimelineId timeline() const { return page_timeline_; }
  /// Start of the last record that was read; none before the first.
  std::optional<Lsn> last_record() const { return prev_; }

 private:
  enum class Open : unsigned char { kNone, kRecord, kForeign };  // What continues on the next page.

  explicit WalReader(const WalReaderOptions& options);

  /// Bytes from at_ to the end of its page.
  Bytes rest_of_page() const {
    return fed_.subspan(static_cast<size_t>(at_ - fed_at_.bytes),
                        options_.wal_block_bytes - static_cast<size_t>(at_ % options_.wal_block_bytes));
  }
  WalFragment::Limits limits() const {
    return {options_.major, options_.page_bytes, options_.main_data_kept_bytes_max};
  }

  // Each of these goes on at at_; false if WAL ended, which end_ then explains.
  bool enter_page();
  bool check_page(Bytes page);
  bool continue_open(const WalPageHeader& header, Bytes page);
  bool start_record();
  bool check_record_header(const WalRecordHeader& header, Lsn lsn);
  bool finish_single(Bytes raw);
  bool finish_fragment();
  bool take_record(Lsn lsn);
  bool ended(WalEndReason reason, Lsn found_at, std::string message);

  WalReaderOptions options_;
  Bytes fed_;
  Lsn fed_at_;
  uint64_t at_ = 0;  // Next byte to look at; beyond what was fed after a segment switch.
  Open open_ = Open::kNone;
  uint32_t foreign_missing_bytes_ = 0;
  bool at_first_page_ = true;
  bool fragment_header_checked_ = false;
  bool has_record_ = false;   // record_ was found and not handed out yet.
  TimelineId page_timeline_;  // Of the last page.
  std::optional<Lsn> prev_;
  WalFragment fragment_;
  WalContinuation continuation_;
  WalRecord record_;
  std::optional<WalEnd> end_;
};

}  // namespace pgark::pg
