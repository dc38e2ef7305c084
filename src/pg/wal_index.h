// What a WAL segment contains, made once on its way into the repository: changed blocks, file-level events, commits and
// their times, restore points, drops, and the record that crosses into the next segment.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "pg/wal_reader.h"
#include "pg/wal_record.h"

namespace pgark::pg {

/// A fork of a relation, all its segment files together.
struct WalFork {
  WalRelation relation;
  Fork fork = Fork::kMain;
  auto operator<=>(const WalFork&) const = default;
};

/// What WAL did to a fork. Free space maps are never listed: they are copied whole.
struct WalForkChanges {
  /// Smallest length the fork had meanwhile (0: created or removed). Blocks from here on of an older backup are void,
  /// whether they are in `blocks` or not.
  std::optional<uint32_t> limit_block;
  std::vector<uint32_t> blocks;  // Ascending, each once; changed, or set anew after the limit.
  bool operator==(const WalForkChanges&) const = default;
};

/// A database in one tablespace, created or dropped as a whole: nothing of it in an older backup is valid.
struct WalDatabase {
  uint32_t tablespace_oid = 0;
  uint32_t database_oid = 0;
  auto operator<=>(const WalDatabase&) const = default;
};

/// How a transaction ended, as a point in WAL and in time.
struct WalCommit {
  Lsn lsn;  // Of the record.
  Lsn end;
  Timestamp time{};  // By the clock of the primary: not monotonic.
  Xid xid;
  bool aborted = false;
  bool operator==(const WalCommit&) const = default;
};

struct WalRestorePoint {
  Lsn lsn;
  Lsn end;
  Timestamp time{};
  std::string name;
  bool operator==(const WalRestorePoint&) const = default;
};

/// Commits and aborts of one minute of the primary's clock, in the order of WAL: a clock that jumps back begins
/// another.
struct WalMinute {
  Timestamp minute{};
  uint32_t commit_count = 0;
  uint32_t abort_count = 0;
  bool operator==(const WalMinute&) const = default;
};

/// Something a person looks for when data is gone.
enum class WalEventKind : uint8_t {
  kCreate = 1,          // A relation file was created; `count` is its length as its own transaction wrote it, here.
  kDrop = 2,            // The commit removed the file: DROP, or TRUNCATE and rewrites, which create a new one before.
  kTruncate = 3,        // A TRUNCATE as logical decoding sees it (wal_level=logical only); names table OIDs.
  kShrink = 4,          // The file was cut to `count` blocks: vacuum, or TRUNCATE in the transaction that created it.
  kDelete = 5,          // `count` rows were deleted by the transaction within this segment.
  kCreateDatabase = 6,  // relation.relfilenode is 0.
  kDropDatabase = 7,
  kDropTablespace = 8,  // relation.tablespace_oid alone.
};
/// "create", "drop", "truncate", "shrink", "delete", "create_database", ...
std::string_view to_string(WalEventKind kind);

struct WalEvent {
  WalEventKind kind = WalEventKind::kCreate;
  Lsn lsn;           // Of the record; of kDrop the commit record, of kDelete the first one.
  Timestamp time{};  // Of kDrop, that of the commit; else 0: see the commit of `xid`.
  Xid xid;           // Top-level transaction where the record names it; 0: none.
  WalRelation relation;
  uint32_t count = 0;
  bool operator==(const WalEvent&) const = default;
};

/// Deletes of one transaction in one relation within a segment are an event from this count on.
inline constexpr uint32_t kWalDeletesMin = 100;

/// Reasons why no older backup says anything about the cluster, and everything must be copied. Bits.
enum class WalWholeReason : uint8_t {
  kMinimalWal = 1,         // wal_level was minimal: changes went by without WAL.
  kChecksumsSwitched = 2,  // Online checksums (19) were turned on or off.
  kUnknownFileChange = 4,  // A record of unknown meaning says that it changes relation files.
};

struct WalIndex {
  PgMajor major;
  uint64_t system_id = 0;
  uint32_t segment_bytes = 0;
  uint32_t wal_block_bytes = 8192;
  WalSegment segment;         // As named.
  TimelineId first_timeline;  // Of the first and last page with WAL.
  TimelineId last_timeline;
  Lsn valid_to;            // End of the WAL in it: the segment's end, or less where a timeline ended or damage is.
  std::string end_reason;  // If less: to_string(WalEndReason) and message; empty else.

  // Records that begin and end in the segment.
  uint64_t record_count = 0;
  std::optional<Lsn> first_record;
  Lsn first_record_prev;           // xl_prev of it.
  std::optional<Lsn> last_record;  // Start of the last one that ends here.

  // The record that crosses in, and the one that crosses out.
  bool is_joined = false;                 // What the record that crosses in does is in the index, or none does.
  uint32_t continuation_bytes = 0;        // Of the record continued at the start, to its end; 0: none.
  bool continuation_overwritten = false;  // It was given up by the server: drop the fragment of the segment before.
  std::vector<std::byte> continuation;    // Those in the segment, until joined, if at most kWalContinuationKeptMax.
  bool continuation_reaches_end = false;  // The whole segment belongs to it, and it goes on.
  std::optional<WalFragment> fragment;    // What begins here and ends in a later segment.

  std::map<WalFork, WalForkChanges> changes;
  std::vector<WalDatabase> whole_databases;  // Sorted, each once.
  uint8_t whole_reasons = 0;                 // WalWholeReason bits.
  bool tablespaces_changed = false;

  std::optional<WalCommit> first_commit;  // In order of WAL; commits only, no aborts.
  std::optional<WalCommit> last_commit;
  Timestamp commit_time_min{};  // Of all commits; meaningless without any.
  Timestamp commit_time_max{};
  Timestamp end_time_min{};  // Of commits and aborts: recovery to a time stops at either.
  Timestamp end_time_max{};
  bool has_ends = false;  // There is a commit or an abort.
  // Transactions (subtransactions too) that ended here: all lie from xid_first on in circular order up to xid_last.
  Xid xid_first;  // 0: none.
  Xid xid_last;
  std::vector<WalMinute> minutes;
  std::vector<WalRestorePoint> restore_points;
  std::vector<WalEvent> events;

  bool may_hold(Xid xid) const;
  bool is_complete() const { return end_reason.empty(); }
  bool operator==(const WalIndex&) const = default;
};

/// Longest continuation kept in an index: what is longer is read from the segment when it matters.
inline constexpr uint32_t kWalContinuationKeptMax = 64u << 10;

/// Index the WAL of one segment.
/// Shape:  `content` is the segment, whole; `name` is what it is called; `before` is what the segment before left open,
///         null if unknown: the record that crosses in is then left to complete_wal_index().
///         A malformed or damaged record is no error: the index ends there and says so in valid_to and end_reason.
/// Errors: kCorrupt or kUnsupported if it does not begin with the first page of that segment; kCorrupt if `before` is
///         not what it continues.
Result<WalIndex> make_wal_index(Bytes content, const WalSegment& name, const WalFragment* before = nullptr);

/// Add to `index` the effects of the record that began before it and ends in it, or carry on its fragment.
/// Shape:  `before` is the index of the segment right before, complete itself; on the parent's timeline where `index`
///         begins a new one. If only the middle of a record is known, `index` stays as it is (is_joined).
/// Errors: kCorrupt if the two do not join (link to the record before, length of the continuation, CRC); kNotFound if
///         the continuation was too long to be kept: make the index anew with the segment and `before.fragment`.
Result<> complete_wal_index(const WalIndex& before, WalIndex& index);

/// The index as stored. docs/format/wal.md is normative.
std::vector<std::byte> encode_wal_index(const WalIndex& index);
/// Errors: kCorrupt if malformed; kUnsupported if of a newer version.
Result<WalIndex> decode_wal_index(Bytes raw);

/// What ended in a segment, transaction by transaction: needed only where a target lies within it.
struct WalTransactionEnd : WalCommit {
  std::vector<Xid> subxids;
  Lsn prev = {};  // Start of the record before it (xl_prev); 0: not known.
  bool operator==(const WalTransactionEnd&) const = default;
};
/// Commits, aborts (prepared ones too) in the order of WAL.
/// Shape:  as make_wal_index().
Result<std::vector<WalTransactionEnd>> read_transaction_ends(Bytes content, const WalSegment& name,
                                                             const WalFragment* before = nullptr);

}  // namespace pgark::pg
