// Decoding of WAL record headers, and putting records together that lie on several pages.
#include "pg/wal_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/check.h"
#include "core/crc32c.h"

namespace pgark::pg {
namespace {

constexpr uint8_t kIdMainDataShort = 255;
constexpr uint8_t kIdMainDataLong = 254;
constexpr uint8_t kIdOrigin = 253;
constexpr uint8_t kIdTopXid = 252;

constexpr uint8_t kForkMask = 0x0f;
constexpr uint8_t kHasImage = 0x10;
constexpr uint8_t kHasData = 0x20;
constexpr uint8_t kWillInit = 0x40;
constexpr uint8_t kSameRelation = 0x80;

constexpr uint8_t kImageHasHole = 0x01;
constexpr uint32_t kCrcOffset = 20;  // The CRC covers what follows the header, then the header up to here.

constexpr std::array<std::string_view, 23> kRmgrNames = {
    "XLOG",       "Transaction",    "Storage", "CLOG",     "Database",
    "Tablespace", "MultiXact",      "RelMap",  "Standby",  "Heap2",
    "Heap",       "Btree",          "Hash",    "Gin",      "Gist",
    "Sequence",   "SPGist",         "BRIN",    "CommitTs", "ReplicationOrigin",
    "Generic",    "LogicalMessage", "XLOG2"};

Error malformed(std::string message) { return Error(Errc::kCorrupt, std::move(message)); }

/// What the flags of an image say, apart from the hole; their bits depend on the version.
struct ImageFlags {
  bool known = true;
  bool applies = false;
  WalImageCompression compression = WalImageCompression::kNone;
};

ImageFlags decode_image_flags(uint8_t info, PgMajor major) {
  const unsigned flags = info & ~unsigned{kImageHasHole};
  if (major.value < 15)
    return {.known = (flags & ~0x06u) == 0,
            .applies = (flags & 0x04) != 0,
            .compression = (flags & 0x02) != 0 ? WalImageCompression::kPglz : WalImageCompression::kNone};
  ImageFlags out{.applies = (flags & 0x02) != 0};
  switch (flags & ~0x02u) {
    case 0:
      break;
    case 0x04:
      out.compression = WalImageCompression::kPglz;
      break;
    case 0x08:
      out.compression = WalImageCompression::kLz4;
      break;
    case 0x10:
      out.compression = WalImageCompression::kZstd;
      break;
    default:  // Two methods at once, or one of a later version.
      out.known = false;
  }
  return out;
}

/// Decodes one record head; keeps what a block reference may take over from the one before.
class HeadDecoder {
 public:
  HeadDecoder(Bytes raw, PgMajor major, uint32_t page_bytes, WalRecordHead& out)
      : reader_(raw), major_(major), page_bytes_(page_bytes), out_(out) {}

  Result<> run() {
    reader_.skip(kWalRecordHeaderBytes);
    const uint64_t total = out_.header.total_bytes;
    // Headers end where the data they announce fills the rest of the record.
    while (reader_.ok() && total - reader_.offset() > data_bytes_) {
      const auto id = reader_.fixed<uint8_t>();
      if (id < kWalBlockRefsMax) {
        TRY(block_ref(id));
      } else if (id == kIdMainDataShort || id == kIdMainDataLong) {
        out_.main_data_bytes = id == kIdMainDataShort ? reader_.fixed<uint8_t>() : reader_.fixed<uint32_t>();
        data_bytes_ += out_.main_data_bytes;
        break;  // Always the last.
      } else if (id == kIdOrigin && !out_.origin) {
        out_.origin = reader_.fixed<uint16_t>();
      } else if (id == kIdTopXid && !out_.top_xid) {
        out_.top_xid = Xid{reader_.fixed<uint32_t>()};
      } else {
        return malformed(fmt::format("header id {} is unknown or repeated", id));
      }
    }
    if (!reader_.ok()) return malformed("headers pass the end of the record");
    if (reader_.offset() + data_bytes_ != total)
      return malformed(fmt::format("headers of {} bytes announce {} bytes of data in a record of {}", reader_.offset(),
                                   data_bytes_, total));
    out_.main_data_offset_bytes = out_.header.total_bytes - out_.main_data_bytes;
    return {};
  }

 private:
  Result<> block_ref(uint8_t id) {
    if (out_.ref_count > 0 && id <= out_.refs[out_.ref_count - 1].id)
      return malformed(fmt::format("block reference {} follows {}", id, out_.refs[out_.ref_count - 1].id));
    WalBlockRef& ref = out_.refs[out_.ref_count];
    ref = WalBlockRef{};
    ref.id = id;
    const auto flags = reader_.fixed<uint8_t>();
    if ((flags & kForkMask) > static_cast<uint8_t>(Fork::kInit))
      return malformed(fmt::format("block reference {} is of fork {}", id, flags & kForkMask));
    ref.fork = static_cast<Fork>(flags & kForkMask);
    ref.will_init = (flags & kWillInit) != 0;
    ref.has_image = (flags & kHasImage) != 0;
    ref.data_bytes = reader_.fixed<uint16_t>();
    if (((flags & kHasData) != 0) != ref.has_data())
      return malformed(
          fmt::format("block reference {} has {} bytes of data against its flags {:02X}", id, ref.data_bytes, flags));
    data_bytes_ += ref.data_bytes;
    if (ref.has_image) TRY(image(ref));
    if ((flags & kSameRelation) == 0) {
      relation_ = WalRelation{};
      relation_->tablespace_oid = reader_.fixed<uint32_t>();
      relation_->database_oid = reader_.fixed<uint32_t>();
      relation_->relfilenode = reader_.fixed<uint32_t>();
    } else if (!relation_) {
      return malformed(fmt::format("block reference {} repeats a relation where none came before", id));
    }
    ref.relation = *relation_;
    ref.block = reader_.fixed<uint32_t>();
    ++out_.ref_count;
    return {};
  }

  Result<> image(WalBlockRef& ref) {
    ref.image_bytes = reader_.fixed<uint16_t>();
    ref.hole_offset_bytes = reader_.fixed<uint16_t>();
    const auto info = reader_.fixed<uint8_t>();
    const bool has_hole = (info & kImageHasHole) != 0;
    const ImageFlags flags = decode_image_flags(info, major_);
    const bool compressed = flags.compression != WalImageCompression::kNone;
    ref.image_applies = flags.applies;
    ref.image_compression = flags.compression;
    uint32_t hole = 0;
    if (!compressed)
      hole = page_bytes_ > ref.image_bytes ? page_bytes_ - ref.image_bytes : 0;
    else if (has_hole)
      hole = reader_.fixed<uint16_t>();
    ref.hole_bytes = static_cast<uint16_t>(hole);
    data_bytes_ += ref.image_bytes;
    out_.image_bytes += ref.image_bytes;
    if (!reader_.ok()) return {};  // run() says so.
    bool fits = has_hole ? hole > 0 && ref.hole_offset_bytes > 0 && ref.hole_offset_bytes + hole <= page_bytes_
                         : hole == 0 && ref.hole_offset_bytes == 0;
    // A stored image is what the hole leaves; a compressed one is smaller, or it would have been stored.
    fits = fits && (compressed ? ref.image_bytes < page_bytes_ : ref.image_bytes + hole == page_bytes_);
    if (!flags.known || !fits)
      return malformed(fmt::format("image of block reference {} cannot be: flags {:02X}, {} bytes, hole of {} at {}",
                                   ref.id, info, ref.image_bytes, hole, ref.hole_offset_bytes));
    return {};
  }

  ByteReader reader_;
  PgMajor major_;
  uint32_t page_bytes_;
  WalRecordHead& out_;
  uint64_t data_bytes_ = 0;
  std::optional<WalRelation> relation_;
};

}  // namespace

bool is_wal_rmgr(WalRmgr rmgr, PgMajor major) {
  if (rmgr <= wal_rmgr::kLogicalMessage) return true;
  if (rmgr == wal_rmgr::kXlog2) return major.value >= 19;
  return rmgr >= wal_rmgr::kCustomMin && major.value >= 15;
}

std::string to_string(WalRmgr rmgr) {
  if (rmgr.value < kRmgrNames.size()) return std::string(kRmgrNames[rmgr.value]);
  return fmt::format("custom{:03}", rmgr.value);
}

WalRecordHeader decode_wal_record_header(Bytes raw) {
  CHECK(raw.size() >= kWalRecordHeaderBytes);
  const std::byte* at = raw.data();
  return {.total_bytes = load_le<uint32_t>(at),
          .xid = Xid{load_le<uint32_t>(at + 4)},
          .prev = Lsn{load_le<uint64_t>(at + 8)},
          .info = load_le<uint8_t>(at + 16),
          .rmgr = WalRmgr{load_le<uint8_t>(at + 17)},
          .crc = load_le<uint32_t>(at + kCrcOffset)};
}

Result<> decode_wal_record_head(Bytes raw, PgMajor major, uint32_t page_bytes, WalRecordHead& out) {
  if (raw.size() < kWalRecordHeaderBytes)
    return malformed(fmt::format("record of {} bytes is shorter than its header", raw.size()));
  out.header = decode_wal_record_header(raw);
  out.main_data_offset_bytes = 0;
  out.main_data_bytes = 0;
  out.image_bytes = 0;
  out.origin.reset();
  out.top_xid.reset();
  out.ref_count = 0;
  if (out.header.total_bytes < kWalRecordHeaderBytes)
    return malformed(fmt::format("record length {} is shorter than the header", out.header.total_bytes));
  raw = raw.first(std::min<size_t>(raw.size(), out.header.total_bytes));
  return HeadDecoder(raw, major, page_bytes, out).run();
}

void WalFragment::begin(Lsn lsn, uint32_t total_bytes) {
  CHECK(total_bytes >= kWalRecordHeaderBytes && total_bytes <= kWalRecordBytesMax);
  lsn_ = lsn;
  total_bytes_ = total_bytes;
  seen_bytes_ = 0;
  crc_ = 0;
  main_data_at_ = total_bytes;
  head_.clear();
  // A record that was long for its main data must not hold that much memory for the rest of the reading.
  if (main_data_.capacity() > (size_t{1} << 20)) main_data_ = {};
  main_data_.clear();
}

void WalFragment::append(Bytes bytes, const Limits& limits) {
  CHECK(bytes.size() <= missing_bytes());
  const uint32_t at = seen_bytes_;
  seen_bytes_ += static_cast<uint32_t>(bytes.size());
  if (seen_bytes_ > kWalRecordHeaderBytes)
    crc_ = crc32c(bytes.subspan(at < kWalRecordHeaderBytes ? kWalRecordHeaderBytes - at : 0), crc_);
  const size_t head_bytes = std::min<size_t>(total_bytes_, kWalRecordHeadBytesMax);
  if (head_.size() == head_bytes) return keep_main_data(at, bytes, limits);

  const Bytes to_head = bytes.first(std::min(bytes.size(), head_bytes - head_.size()));
  head_.insert(head_.end(), to_head.begin(), to_head.end());
  locate_main_data(limits);
  keep_main_data(0, head_, limits);
  keep_main_data(at + static_cast<uint32_t>(to_head.size()), bytes.subspan(to_head.size()), limits);
}

void WalFragment::locate_main_data(const Limits& limits) {
  // A record that is all head needs no second copy of its main data.
  if (head_.size() < kWalRecordHeadBytesMax || head_.size() == total_bytes_) return;
  WalRecordHead decoded;
  // What is malformed is reported at the end of the record, where a wrong CRC would explain it.
  if (decode_wal_record_head(head_, limits.major, limits.page_bytes, decoded))
    main_data_at_ = decoded.main_data_offset_bytes;
}

void WalFragment::keep_main_data(uint32_t at, Bytes bytes, const Limits& limits) {
  if (at + bytes.size() <= main_data_at_) return;
  if (at < main_data_at_) bytes = bytes.subspan(main_data_at_ - at);
  // What is kept is always a prefix of the main data: nothing follows what was left out.
  if (main_data_.size() != std::max(at, main_data_at_) - main_data_at_) return;
  const size_t room = limits.main_data_kept_bytes_max - std::min(limits.main_data_kept_bytes_max, main_data_.size());
  bytes = bytes.first(std::min(bytes.size(), room));
  main_data_.insert(main_data_.end(), bytes.begin(), bytes.end());
}

bool WalFragment::crc_matches() const {
  CHECK(missing_bytes() == 0);
  return crc32c(Bytes(head_).first(kCrcOffset), crc_) == load_le<uint32_t>(head_.data() + kCrcOffset);
}

Result<> WalFragment::decode(const Limits& limits, WalRecord& out) const {
  CHECK(missing_bytes() == 0);
  TRY(decode_wal_record_head(head_, limits.major, limits.page_bytes, out));
  out.lsn = lsn_;
  out.main_data = total_bytes_ == head_.size() ? Bytes(head_).subspan(out.main_data_offset_bytes) : Bytes(main_data_);
  return {};
}

void WalFragment::cut_main_data(size_t bytes) {
  if (main_data_.size() <= bytes) return;
  main_data_.resize(bytes);
  main_data_.shrink_to_fit();
}

void WalFragment::encode(ByteWriter& out) const {
  out.varint(lsn_.bytes);
  out.varint(total_bytes_);
  out.varint(seen_bytes_);
  out.fixed(crc_);
  out.raw(head_);  // Its length follows from those before.
  out.varint(main_data_.size());
  out.raw(main_data_);
}

Result<WalFragment> WalFragment::decode(ByteReader& in, const Limits& limits) {
  WalFragment out;
  out.lsn_ = Lsn{in.varint()};
  const uint64_t total = in.varint();
  const uint64_t seen = in.varint();
  out.crc_ = in.fixed<uint32_t>();
  if (!in.ok() || total < kWalRecordHeaderBytes || total > kWalRecordBytesMax || seen == 0 || seen >= total)
    return malformed(fmt::format("fragment of {} of {} bytes of a record cannot be", seen, total));
  out.total_bytes_ = static_cast<uint32_t>(total);
  out.seen_bytes_ = static_cast<uint32_t>(seen);
  out.main_data_at_ = out.total_bytes_;
  const Bytes head = in.raw(static_cast<size_t>(std::min<uint64_t>(seen, kWalRecordHeadBytesMax)));
  const uint64_t kept = in.varint();
  const Bytes main_data = kept <= in.remaining() ? in.raw(static_cast<size_t>(kept)) : Bytes{};
  if (!in.ok() || main_data.size() != kept) return malformed("fragment of a record is cut short");
  out.head_.assign(head.begin(), head.end());
  out.locate_main_data(limits);
  if (kept > out.seen_bytes_ - std::min(out.seen_bytes_, out.main_data_at_))
    return malformed(fmt::format("fragment of a record has {} bytes of main data too many", kept));
  out.main_data_.assign(main_data.begin(), main_data.end());
  return out;
}

}  // namespace pgark::pg
