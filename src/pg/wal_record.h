// One WAL record taken apart: its header, the blocks it refers to, and its main data.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/bytes.h"
#include "core/ids.h"
#include "core/result.h"
#include "pg/relation_path.h"
#include "pg/version.h"

namespace pgark::pg {

inline constexpr size_t kWalRecordHeaderBytes = 24;
/// Longest record a server can read back (its allocation limit); since 16 it writes none above 1020 MiB.
inline constexpr uint32_t kWalRecordBytesMax = 0x3fff'ffff;
inline constexpr size_t kWalBlockRefsMax = 33;
/// Headers of a record end within so many bytes of its start, whatever it says: 33 block references with compressed
/// image and relation (27 each), origin (3), top-level transaction (5), length of main data (5).
inline constexpr size_t kWalRecordHeadBytesMax = kWalRecordHeaderBytes + kWalBlockRefsMax * 27 + 3 + 5 + 5;

/// What made a record and so gives info and main data their meaning.
/// Source: PostgreSQL src/include/access/rmgrlist.h
struct WalRmgr {
  uint8_t value = 0;
  auto operator<=>(const WalRmgr&) const = default;
};
namespace wal_rmgr {
inline constexpr WalRmgr kXlog{0}, kTransaction{1}, kStorage{2}, kClog{3}, kDatabase{4}, kTablespace{5}, kMultixact{6},
    kRelmap{7}, kStandby{8}, kHeap2{9}, kHeap{10}, kBtree{11}, kHash{12}, kGin{13}, kGist{14}, kSequence{15},
    kSpgist{16}, kBrin{17}, kCommitTs{18}, kReplicationOrigin{19}, kGeneric{20}, kLogicalMessage{21}, kXlog2{22},
    kCustomMin{128};
}  // namespace wal_rmgr

/// True if servers of `major` know the resource manager: 0 to 21; from 15 on 128 to 255 (extensions); from 19 on 22.
bool is_wal_rmgr(WalRmgr rmgr, PgMajor major);

/// Name as pg_waldump prints it: "Heap2", "Btree", "custom128".
std::string to_string(WalRmgr rmgr);

/// The 24 bytes every record begins with.
struct WalRecordHeader {
  uint32_t total_bytes = 0;  // Of the record, this header included.
  Xid xid;                   // 0: none.
  Lsn prev;                  // Start of the record before.
  uint8_t info = 0;
  WalRmgr rmgr;
  uint32_t crc = 0;

  /// What the resource manager did; transaction and heap records keep flags of their own in the upper bits of it.
  uint8_t opcode() const { return info & 0xf0; }
  /// Relation files change beyond what the block references say.
  bool changes_relation_files() const { return (info & 0x01) != 0; }
  bool is_switch() const { return rmgr == wal_rmgr::kXlog && opcode() == 0x40; }
};

/// Decode a record header.
/// Shape: `raw` holds at least 24 bytes.
WalRecordHeader decode_wal_record_header(Bytes raw);

struct WalRelation {
  uint32_t tablespace_oid = 0;
  uint32_t database_oid = 0;  // 0 for shared relations.
  uint32_t relfilenode = 0;
  auto operator<=>(const WalRelation&) const = default;
};

enum class WalImageCompression : unsigned char { kNone, kPglz, kLz4, kZstd };

/// A block that a record changes.
struct WalBlockRef {
  uint8_t id = 0;  // 0 to 32; what the block is to the record.
  Fork fork = Fork::kMain;
  bool has_image = false;
  bool image_applies = false;  // Replay puts the image in place; if not, it is there to check replay against.
  bool will_init = false;      // Replay makes the block anew and needs no older content.
  WalImageCompression image_compression = WalImageCompression::kNone;
  uint16_t image_bytes = 0;  // As stored, without the hole.
  uint16_t hole_offset_bytes = 0;
  uint16_t hole_bytes = 0;
  uint16_t data_bytes = 0;  // Of the change itself; 0: none.
  WalRelation relation;
  uint32_t block = 0;

  bool has_data() const { return data_bytes > 0; }
};

/// What the headers of a record say, decoded.
struct WalRecordHead {
  WalRecordHeader header;
  uint32_t main_data_offset_bytes = 0;  // From the start of the record; main data reaches to its end.
  uint32_t main_data_bytes = 0;
  uint32_t image_bytes = 0;  // Of all images, as stored.
  std::optional<uint16_t> origin;
  std::optional<Xid> top_xid;  // Of a subtransaction's first record, since 14.

  std::span<const WalBlockRef> blocks() const { return {refs.data(), ref_count}; }

  size_t ref_count = 0;
  std::array<WalBlockRef, kWalBlockRefsMax> refs;  // The first ref_count of them, ids ascending.
};

/// Decode all headers of a record.
/// Shape:  `raw` holds the start of the record: all of it or at least kWalRecordHeadBytesMax bytes; `page_bytes` is the
///         block size of relations. The CRC is not looked at.
/// Errors: kCorrupt if the headers contradict each other or the length of the record, saying how.
/// Source: PostgreSQL src/include/access/xlogrecord.h; image flags were renumbered in 15.
Result<> decode_wal_record_head(Bytes raw, PgMajor major, uint32_t page_bytes, WalRecordHead& out);

/// A record as the reader hands it out; views end with the next step of the reader.
struct WalRecord : WalRecordHead {
  Lsn lsn;          // Of its first byte.
  Lsn end;          // Where the next record may begin; after a segment switch the start of the next segment.
  Bytes main_data;  // Its first bytes only (fewer than main_data_bytes) if it is longer than the reader was to keep.

  bool main_data_is_whole() const { return main_data.size() == main_data_bytes; }
};

/// A record of which the end is not there yet: what a segment leaves of the record that crosses out of it. It grows
/// with the bytes appended, never by the length the record claims, and keeps headers and main data only.
class WalFragment {
 public:
  struct Limits {
    PgMajor major;
    uint32_t page_bytes = 8192;
    size_t main_data_kept_bytes_max = 0;
  };

  /// Begin with a record of `total_bytes`, checked by the caller to be from 24 to kWalRecordBytesMax.
  void begin(Lsn lsn, uint32_t total_bytes);
  /// Add the bytes that follow; at most missing_bytes().
  void append(Bytes bytes, const Limits& limits);

  Lsn lsn() const { return lsn_; }
  uint32_t total_bytes() const { return total_bytes_; }
  uint32_t seen_bytes() const { return seen_bytes_; }
  uint32_t missing_bytes() const { return total_bytes_ - seen_bytes_; }
  /// First bytes of the record, at most kWalRecordHeadBytesMax: enough for every header once that many were seen.
  Bytes head() const { return head_; }
  /// CRC-32C so far of what follows the record header.
  uint32_t crc() const { return crc_; }

  /// Judge and decode the record when nothing is missing. `out.lsn` is set, `out.end` is the caller's.
  /// Errors: kCorrupt if the headers are malformed. A CRC that differs is reported by crc_matches(), to be asked first.
  bool crc_matches() const;
  Result<> decode(const Limits& limits, WalRecord& out) const;

  /// Forget main data beyond its first `bytes`; none that follows is kept either.
  void cut_main_data(size_t bytes);

  /// The fragment as stored in the index of a segment; docs/format/wal.md is normative.
  void encode(ByteWriter& out) const;
  /// Errors: kCorrupt if it is no fragment that reading could leave.
  static Result<WalFragment> decode(ByteReader& in, const Limits& limits);
  bool operator==(const WalFragment&) const = default;

 private:
  void locate_main_data(const Limits& limits);
  void keep_main_data(uint32_t at, Bytes bytes, const Limits& limits);

  Lsn lsn_;
  uint32_t total_bytes_ = 0;
  uint32_t seen_bytes_ = 0;
  uint32_t crc_ = 0;
  uint32_t main_data_at_ = 0;  // Offset in the record; total_bytes_ while the headers are not complete or malformed.
  std::vector<std::byte> head_;
  std::vector<std::byte> main_data_;  // What lies beyond head_.
};

}  // namespace pgark::pg
