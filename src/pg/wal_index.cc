// The index of a segment: one pass over its records, and the record that lies
// in two segments.
#include "pg/wal_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "pg/wal_index_build.h"
#include "pg/wal_transaction.h"

namespace pgark::pg {
namespace {

/// Main data that is kept of a record over several pages: of a commit with a
/// million dropped files, all.
constexpr size_t kMainDataKeptBytesMax = size_t{16} << 20;
/// Of an open record that ends no transaction: nothing else is that long and
/// looked at.
constexpr size_t kOtherMainDataKeptBytesMax = 1024;

Error unjoined(const WalIndex& index, std::string_view what) {
  return Error(Errc::kCorrupt, fmt::format("segment {} does not join the one before: {}",
                                           segment_name(index.segment, index.segment_bytes), what));
}

WalFragment::Limits fragment_limits(PgMajor major) {
  return {.major = major, .main_data_kept_bytes_max = kMainDataKeptBytesMax};
}

Result<WalReaderOptions> options_of(Bytes content, const WalSegment& name) {
  TRY_ASSIGN(WalReaderOptions options, wal_reader_options(content));
  const uint32_t bytes = options.segment_bytes;
  if (content.size() != bytes || segment_start(name, bytes) != options.start)
    return Error(Errc::kCorrupt,
                 fmt::format("segment {} holds {} bytes from {} on, of segments of {} bytes", segment_name(name, bytes),
                             content.size(), to_string(options.start), bytes));
  options.timeline = name.timeline;
  options.source = WalSource::kLive;
  options.main_data_kept_bytes_max = kMainDataKeptBytesMax;
  return options;
}

/// Go through the bytes at the start of a segment, up to `end_bytes`, that
/// continue a record; how many there are.
template <typename Use>
uint32_t each_continued_part(Bytes content, uint32_t wal_block_bytes, uint64_t end_bytes, Use use) {
  uint32_t total = 0;
  uint32_t missing = 0;
  for (uint64_t at = 0; at < end_bytes; at += wal_block_bytes) {
    const Bytes page = content.subspan(static_cast<size_t>(at), wal_block_bytes);
    const auto header = decode_wal_page_header(page);
    if (!header || !header->first_is_continuation()) break;
    if (at == 0) missing = header->rem_len_bytes;
    if (header->rem_len_bytes != missing) break;
    const Bytes rest = page.subspan(header->header_bytes());
    const Bytes part = rest.first(std::min<size_t>(rest.size(), missing));
    use(part);
    total += static_cast<uint32_t>(part.size());
    missing -= static_cast<uint32_t>(part.size());
    if (missing == 0) break;
  }
  return total;
}

/// How far into the segment WAL is valid.
uint64_t valid_bytes(const WalIndex& index) {
  const uint64_t start = segment_start(index.segment, index.segment_bytes).bytes;
  return index.valid_to.bytes - std::min(start, index.valid_to.bytes);
}

/// Fill in what the page headers say of the record that crosses in.
void note_continuation(Bytes content, const WalReader& reader, uint32_t wal_block_bytes, WalIndex& index) {
  const WalPageHeader header = decode_wal_page_header(content).value();
  index.continuation_overwritten = reader.continuation().overwritten;
  if (header.first_is_continuation()) index.continuation_bytes = header.rem_len_bytes;
  index.is_joined = index.continuation_bytes == 0 || index.continuation_overwritten;
  if (index.is_joined) return;
  std::vector<std::byte> kept;
  const auto keep = [&](Bytes part) {
    if (kept.size() <= kWalContinuationKeptMax) kept.insert(kept.end(), part.begin(), part.end());
  };
  const uint32_t present = each_continued_part(content, wal_block_bytes, valid_bytes(index), keep);
  index.continuation_reaches_end = present < index.continuation_bytes && index.is_complete();
  if (kept.size() <= kWalContinuationKeptMax) index.continuation = std::move(kept);
}

/// Only the end of a transaction has main data that is needed whole.
void trim_fragment(WalFragment& fragment) {
  if (fragment.head().size() >= kWalRecordHeaderBytes && is_transaction_end(decode_wal_record_header(fragment.head())))
    return;
  fragment.cut_main_data(kOtherMainDataKeptBytesMax);
}

/// Add what `record`, whose start lies before `index`, does.
void add_in_front(const WalRecord& record, WalIndex& index) {
  WalIndex alone;
  alone.major = index.major;
  alone.segment = index.segment;
  alone.segment_bytes = index.segment_bytes;
  WalIndexBuilder builder(alone, fragment_limits(index.major).page_bytes);
  builder.add(record);
  builder.finish();
  merge_in_front(alone, index);
  if (!index.last_record) index.last_record = record.lsn;
}

/// Where the record ends whose last bytes are the continuation of a segment.
Lsn end_of_continuation(const WalIndex& index, uint32_t wal_block_bytes) {
  uint64_t at = segment_start(index.segment, index.segment_bytes).bytes;
  uint64_t missing = index.continuation_bytes;
  for (uint32_t header = 40;; header = 24) {
    const uint64_t room = wal_block_bytes - header;
    if (missing <= room) return Lsn{at + header + (missing + 7) / 8 * 8};
    missing -= room;
    at += wal_block_bytes;
  }
}

/// Take the bytes at the start of the segment as the rest, or more, of `open`,
/// which is null if nothing was open. Shape: `append` gives those bytes to a
/// fragment.
template <typename Append>
Result<> join(const WalFragment* open, WalIndex& index, Append append) {
  if (index.is_joined) {  // Nothing goes on; what was open is forgotten if the
                          // server said so.
    if (open != nullptr && !index.continuation_overwritten)
      return unjoined(index, fmt::format("it does not continue the record at {}", to_string(open->lsn())));
    return {};
  }
  if (open == nullptr) return unjoined(index, "it continues a record where none is open");
  if (open->missing_bytes() != index.continuation_bytes)
    return unjoined(index, fmt::format("it continues a record with {} bytes, that at {} lacks {}",
                                       index.continuation_bytes, to_string(open->lsn()), open->missing_bytes()));
  const WalFragment::Limits limits = fragment_limits(index.major);
  WalFragment fragment = *open;
  TRY(append(fragment, limits));
  if (index.continuation_reaches_end) {
    trim_fragment(fragment);
    index.fragment = std::move(fragment);
  } else if (fragment.missing_bytes() > 0) {
    index.valid_to = fragment.lsn();  // WAL ends within the record: it does not count.
  } else {
    if (!fragment.crc_matches())
      return unjoined(index, fmt::format("the record at {} has a wrong CRC", to_string(fragment.lsn())));
    WalRecord record;
    TRY_CTX(fragment.decode(limits, record), fmt::format("decode record at {}", to_string(fragment.lsn())));
    record.lsn = fragment.lsn();
    record.end = end_of_continuation(index, index.wal_block_bytes);
    if (record.header.is_switch()) {  // What follows is padding, where a reader that did not know this saw no record.
      index.valid_to = segment_end(index.segment, index.segment_bytes);
      index.end_reason.clear();
    }
    add_in_front(record, index);
  }
  index.is_joined = true;
  index.continuation.clear();
  return {};
}

Result<WalIndex> index_records(Bytes content, const WalSegment& name) {
  TRY_ASSIGN(const WalReaderOptions options, options_of(content, name));
  TRY_ASSIGN(WalReader reader, WalReader::create(options));
  WalIndex index;
  index.major = options.major;
  index.system_id = options.system_id;
  index.segment_bytes = options.segment_bytes;
  index.wal_block_bytes = options.wal_block_bytes;
  index.segment = name;
  index.first_timeline = decode_wal_page_header(content).value().timeline;
  WalIndexBuilder builder(index, options.page_bytes);
  TRY(reader.feed(content));
  for (;;) {
    TRY_ASSIGN(const WalStep step, reader.next());
    if (step != WalStep::kRecord) break;
    const WalRecord& record = reader.record();
    if (index.record_count++ == 0) {
      index.first_record = record.lsn;
      index.first_record_prev = record.header.prev;
    }
    builder.add(record);
  }
  builder.finish();
  index.last_record = reader.last_record();
  index.last_timeline = reader.timeline();
  index.valid_to = segment_end(name, options.segment_bytes);
  if (reader.end()) {
    index.valid_to = reader.end()->lsn;
    index.end_reason = fmt::format("{}: {}", to_string(reader.end()->reason), reader.end()->message);
  } else if (reader.fragment() != nullptr) {
    index.fragment = *reader.fragment();
    trim_fragment(*index.fragment);
  }
  note_continuation(content, reader, options.wal_block_bytes, index);
  return index;
}

/// Where the record right before the first one of the next segment began; none
/// if unknown.
std::optional<Lsn> last_begun(const WalIndex& before, const WalIndex& index) {
  if (before.fragment && !index.continuation_overwritten) return before.fragment->lsn();
  return before.last_record;
}

Result<> check_link(const WalIndex& before, const WalIndex& index) {
  if (before.system_id != index.system_id || before.segment_bytes != index.segment_bytes ||
      before.segment.number + 1 != index.segment.number || before.segment.timeline > index.segment.timeline)
    return unjoined(index, fmt::format("that is {} of system {}", segment_name(before.segment, before.segment_bytes),
                                       before.system_id));
  if (!before.is_complete())
    return unjoined(index, fmt::format("WAL ended at {} in segment {}: {}", to_string(before.valid_to),
                                       segment_name(before.segment, before.segment_bytes), before.end_reason));
  std::optional<Lsn> prev;
  Lsn of;
  if (index.first_record) {
    prev = index.first_record_prev;
    of = *index.first_record;
  } else if (index.fragment && index.fragment->lsn() >= segment_start(index.segment, index.segment_bytes) &&
             index.fragment->head().size() >= kWalRecordHeaderBytes) {
    prev = decode_wal_record_header(index.fragment->head()).prev;
    of = index.fragment->lsn();
  }
  const std::optional<Lsn> expected = last_begun(before, index);
  if (prev && expected && *prev != *expected)
    return unjoined(index, fmt::format("record at {} follows {}, expected {}", to_string(of), to_string(*prev),
                                       to_string(*expected)));
  return {};
}

}  // namespace

std::string_view to_string(WalEventKind kind) {
  constexpr std::array<std::string_view, 9> kNames = {"unknown",         "create",        "drop",
                                                      "truncate",        "shrink",        "delete",
                                                      "create_database", "drop_database", "drop_tablespace"};
  const auto at = static_cast<size_t>(kind);
  return kNames[at < kNames.size() ? at : 0];
}

bool WalIndex::may_hold(Xid xid) const {
  return xid_first.value != 0 && xid.value - xid_first.value <= xid_last.value - xid_first.value;
}

Result<WalIndex> make_wal_index(Bytes content, const WalSegment& name, const WalFragment* before) {
  TRY_ASSIGN(WalIndex index, index_records(content, name));
  if (before == nullptr) return index;
  const auto append = [&](WalFragment& fragment, const WalFragment::Limits& limits) -> Result<> {
    each_continued_part(content, index.wal_block_bytes, valid_bytes(index),
                        [&](Bytes part) { fragment.append(part, limits); });
    return {};
  };
  TRY(join(before, index, append));
  return index;
}

Result<> complete_wal_index(const WalIndex& before, WalIndex& index) {
  TRY(check_link(before, index));
  // A record of which only the middle is known stays unknown.
  if (before.continuation_reaches_end && !before.is_joined) return {};
  const auto append = [&](WalFragment& fragment, const WalFragment::Limits& limits) -> Result<> {
    if (index.continuation.empty())
      return Error(Errc::kNotFound, fmt::format("index of segment {} does not hold the {} bytes "
                                                "of the record at {}",
                                                segment_name(index.segment, index.segment_bytes),
                                                index.continuation_bytes, to_string(fragment.lsn())));
    fragment.append(index.continuation, limits);
    return {};
  };
  if (index.is_joined && index.continuation_bytes > 0 && !index.continuation_overwritten) return {};  // Made with it.
  return join(before.fragment ? &*before.fragment : nullptr, index, append);
}

Result<std::vector<WalTransactionEnd>> read_transaction_ends(Bytes content, const WalSegment& name,
                                                             const WalFragment* before) {
  TRY_ASSIGN(const WalReaderOptions options, options_of(content, name));
  auto created = before != nullptr ? WalReader::create(options, *before) : WalReader::create(options);
  TRY_ASSIGN(WalReader reader, std::move(created));
  TRY(reader.feed(content));
  std::vector<WalTransactionEnd> out;
  WalTransactionRecord ended;
  for (;;) {
    TRY_ASSIGN(const WalStep step, reader.next());
    if (step != WalStep::kRecord) return out;
    const WalRecord& record = reader.record();
    if (!is_transaction_end(record.header)) continue;
    decode_transaction_end(record, options.major, ended);
    WalTransactionEnd& end = out.emplace_back();
    end.lsn = record.lsn;
    end.end = record.end;
    end.time = ended.time;
    end.xid = ended.xid;
    end.aborted = ended.aborted;
    end.subxids = ended.subxids;
    end.prev = record.header.prev;
  }
}

}  // namespace pgark::pg
