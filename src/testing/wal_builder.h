// WAL made by hand: records of any kind, over pages and segments, given up and overwritten, with right lengths, links
// and CRCs. Written from the format alone, so that it can hold the reader to it.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/check.h"
#include "core/crc32c.h"
#include "pg/wal.h"
#include "pg/wal_record.h"

namespace pgark::testing {

/// A block reference as it shall be written. Sizes of image and data are those given in `ref`; their bytes are made up.
struct SampleBlock {
  pg::WalBlockRef ref;
  bool same_relation = false;  // As the block before; its relation is then left out.
};

struct SampleRecord {
  pg::WalRmgr rmgr = pg::wal_rmgr::kHeap;
  uint8_t info = 0;
  Xid xid = {};
  std::vector<SampleBlock> blocks = {};
  std::vector<std::byte> main_data = {};
  std::optional<uint16_t> origin = {};
  std::optional<Xid> top_xid = {};
};

/// Bytes of all kinds, other for each `seed`.
inline std::vector<std::byte> sample_bytes(size_t count, uint64_t seed = 1) {
  std::vector<std::byte> out(count);
  for (size_t i = 0; i < count; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    out[i] = static_cast<std::byte>(seed >> 56);
  }
  return out;
}

/// Write the CRC of a whole record into it.
inline void seal_record(std::vector<std::byte>& raw) {
  const uint32_t crc = crc32c(Bytes(raw).first(20), crc32c(Bytes(raw).subspan(24)));
  std::memcpy(raw.data() + 20, &crc, sizeof crc);
}

/// The bytes of a record, with its CRC.
inline std::vector<std::byte> encode_record(const SampleRecord& record, Lsn prev, pg::PgMajor major) {
  ByteWriter out;
  out.fixed<uint32_t>(0);
  out.fixed(record.xid.value);
  out.fixed(prev.bytes);
  out.fixed(record.info);
  out.fixed(record.rmgr.value);
  out.fixed<uint16_t>(0);
  out.fixed<uint32_t>(0);
  size_t data_bytes = 0;
  for (const SampleBlock& block : record.blocks) {
    const pg::WalBlockRef& ref = block.ref;
    data_bytes += size_t{ref.data_bytes} + ref.image_bytes;
    out.fixed(ref.id);
    out.fixed(static_cast<uint8_t>(static_cast<unsigned>(ref.fork) | (ref.has_image ? 0x10u : 0u) |
                                   (ref.has_data() ? 0x20u : 0u) | (ref.will_init ? 0x40u : 0u) |
                                   (block.same_relation ? 0x80u : 0u)));
    out.fixed(ref.data_bytes);
    if (ref.has_image) {
      const bool compressed = ref.image_compression != pg::WalImageCompression::kNone;
      const auto method = static_cast<unsigned>(ref.image_compression);
      unsigned flags = ref.hole_bytes > 0 ? 1 : 0;
      if (major.value < 15) flags |= (compressed ? 2u : 0u) | (ref.image_applies ? 4u : 0u);
      if (major.value >= 15) flags |= (ref.image_applies ? 2u : 0u) | (compressed ? 2u << method : 0u);
      out.fixed(ref.image_bytes);
      out.fixed(ref.hole_offset_bytes);
      out.fixed(static_cast<uint8_t>(flags));
      if (compressed && ref.hole_bytes > 0) out.fixed(ref.hole_bytes);
    }
    if (!block.same_relation) {
      out.fixed(ref.relation.tablespace_oid);
      out.fixed(ref.relation.database_oid);
      out.fixed(ref.relation.relfilenode);
    }
    out.fixed(ref.block);
  }
  if (record.origin) {
    out.fixed<uint8_t>(253);
    out.fixed(*record.origin);
  }
  if (record.top_xid) {
    out.fixed<uint8_t>(252);
    out.fixed(record.top_xid->value);
  }
  if (record.main_data.size() > 255) {
    out.fixed<uint8_t>(254);
    out.fixed(static_cast<uint32_t>(record.main_data.size()));
  } else if (!record.main_data.empty()) {
    out.fixed<uint8_t>(255);
    out.fixed(static_cast<uint8_t>(record.main_data.size()));
  }
  out.raw(sample_bytes(data_bytes));
  out.raw(record.main_data);
  std::vector<std::byte> raw = std::move(out).take();
  const auto total = static_cast<uint32_t>(raw.size());
  std::memcpy(raw.data(), &total, sizeof total);
  seal_record(raw);
  return raw;
}

struct WalBuilderOptions {
  pg::PgMajor major{15};
  uint32_t segment_bytes = 1u << 20;
  uint32_t block_bytes = 8192;
  uint64_t system_id = 7570000000000000001;
  TimelineId timeline{1};
  Lsn start{0x100'0000};  // Start of a segment.
  Lsn prev{0xff'ff00};    // What the first record points back to.
};

class WalBuilder {
 public:
  explicit WalBuilder(const WalBuilderOptions& options = {})
      : options_(options), prev_(options.prev), timeline_(options.timeline) {
    CHECK(options.start.bytes % options.segment_bytes == 0);
  }

  /// Append a record; its LSN.
  Lsn add(const SampleRecord& record) { return add_raw(encode_record(record, prev_, options_.major)); }
  /// Append a record of exactly `total_bytes` (26 to 281, or 285 and more) of main data alone.
  Lsn add_bytes(size_t total_bytes) {
    SampleRecord record{.rmgr = pg::wal_rmgr::kLogicalMessage};
    record.main_data = sample_bytes(total_bytes - (total_bytes > 26 + 255 ? 29 : 26), total_bytes);
    return add(record);
  }
  /// Append the bytes of a record as they are.
  Lsn add_raw(Bytes raw) {
    const Lsn lsn = put(raw, raw.size());
    prev_ = lsn;
    return lsn;
  }
  /// Append a switch record and the zeros behind it; its LSN. The next record begins the next segment.
  Lsn add_switch() {
    const Lsn lsn = add(SampleRecord{.rmgr = pg::wal_rmgr::kXlog, .info = 0x40});
    pad_segment();
    return lsn;
  }
  /// Append the first pages of a record that the server then gives up; its LSN. `pages`: how many page ends it reaches.
  Lsn add_given_up(const SampleRecord& record, size_t pages = 1) {
    const std::vector<std::byte> raw = encode_record(record, prev_, options_.major);
    align();
    if (out_.size() % options_.block_bytes == 0) page_header(0, false);
    const size_t first = options_.block_bytes - out_.size() % options_.block_bytes;
    size_t bytes = first;
    for (size_t page = 1; page < pages; ++page) {
      const uint64_t address = options_.start.bytes + out_.size() + first + (page - 1) * options_.block_bytes;
      bytes += options_.block_bytes - (address % options_.segment_bytes == 0 ? 40u : 24u);
    }
    CHECK(bytes < raw.size());
    const Lsn lsn = put(raw, bytes);
    overwritten_next_ = true;
    // What PostgreSQL writes first on the page after: position and time.
    SampleRecord notice{.rmgr = pg::wal_rmgr::kXlog, .info = 0xd0};
    notice.main_data.resize(16);
    std::memcpy(notice.main_data.data(), &lsn.bytes, sizeof lsn.bytes);
    notice_ = notice;
    return lsn;
  }
  /// Append what tells that the record of add_given_up() is to be forgotten; its LSN.
  Lsn add_notice() { return add(notice_); }

  /// Pages from here on are of this timeline.
  void set_timeline(TimelineId timeline) { timeline_ = timeline; }
  /// Zeros up to the end of the segment.
  void pad_segment() {
    const size_t segment = options_.segment_bytes;
    out_.resize((out_.size() + segment - 1) / segment * segment);
  }
  /// Zeros up to the end of the page.
  void pad_page() {
    const size_t block = options_.block_bytes;
    out_.resize((out_.size() + block - 1) / block * block);
  }

  Lsn position() const { return Lsn{options_.start.bytes + out_.size()}; }
  Lsn prev() const { return prev_; }
  void set_prev(Lsn prev) { prev_ = prev; }
  /// Bytes left in the page at the position where the next record will begin; 0 at a page's end.
  size_t room() const {
    const size_t at = (out_.size() + 7) / 8 * 8 % options_.block_bytes;
    return at == 0 ? 0 : options_.block_bytes - at;
  }
  std::vector<std::byte>& bytes() { return out_; }
  const WalBuilderOptions& options() const { return options_; }

 private:
  void align() { out_.resize((out_.size() + 7) / 8 * 8); }

  template <typename T>
  void fixed(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    out_.insert(out_.end(), raw, raw + sizeof value);
  }

  void page_header(size_t rem_len, bool continued) {
    const uint64_t address = options_.start.bytes + out_.size();
    const bool is_long = address % options_.segment_bytes == 0;
    unsigned flags = (continued ? 1u : 0u) | (is_long ? 2u : 0u);
    if (std::exchange(overwritten_next_, false)) flags |= options_.major.value >= 19 ? 4u : 8u;
    fixed<uint16_t>(pg::pg_version_facts(options_.major).value()->wal_magics.front());
    fixed(static_cast<uint16_t>(flags));
    fixed(timeline_.value);
    fixed(address);
    fixed(static_cast<uint32_t>(rem_len));
    fixed<uint32_t>(0);
    if (!is_long) return;
    fixed(options_.system_id);
    fixed(options_.segment_bytes);
    fixed(options_.block_bytes);
  }

  /// Write the first `bytes` of a record; its LSN.
  Lsn put(Bytes raw, size_t bytes) {
    align();
    if (out_.size() % options_.block_bytes == 0) page_header(0, false);
    const Lsn lsn = position();
    size_t written = 0;
    while (written < bytes) {
      if (out_.size() % options_.block_bytes == 0) page_header(raw.size() - written, true);
      const size_t room = options_.block_bytes - out_.size() % options_.block_bytes;
      const Bytes part = raw.subspan(written, std::min(room, bytes - written));
      out_.insert(out_.end(), part.begin(), part.end());
      written += part.size();
    }
    return lsn;
  }

  WalBuilderOptions options_;
  std::vector<std::byte> out_;
  Lsn prev_;
  TimelineId timeline_;
  bool overwritten_next_ = false;
  SampleRecord notice_;
};

}  // namespace pgark::testing
