// Decoding of commits and aborts; what they hold follows flags, in one order
// for all versions.
#include "pg/wal_transaction.h"

#include <limits>

namespace pgark::pg {
namespace {

constexpr uint8_t kOpcodeMask = 0x70;
constexpr uint8_t kCommit = 0x00;
constexpr uint8_t kAbort = 0x20;
constexpr uint8_t kCommitPrepared = 0x30;
constexpr uint8_t kAbortPrepared = 0x40;
constexpr uint8_t kHasInfo = 0x80;

constexpr uint32_t kHasDatabase = 1u << 0;
constexpr uint32_t kHasSubxids = 1u << 1;
constexpr uint32_t kHasRelations = 1u << 2;
constexpr uint32_t kHasInvalidations = 1u << 3;
constexpr uint32_t kHasPrepared = 1u << 4;
constexpr uint32_t kHasDroppedStats = 1u << 8;
constexpr size_t kInvalidationBytes = 16;

constexpr int64_t kPgEpochUs = 946'684'800'000'000;

/// Read a counted list; `take` reads one item of `item_bytes`. False if the
/// list passes the end.
template <typename Take>
bool read_list(ByteReader& in, size_t item_bytes, Take take) {
  const auto count = in.fixed<uint32_t>();
  if (!in.ok() || count > in.remaining() / item_bytes) return false;
  for (uint32_t i = 0; i < count; ++i) take();
  return true;
}

bool skip_list(ByteReader& in, size_t item_bytes) {
  return read_list(in, item_bytes, [&] { in.skip(item_bytes); });
}

bool read_details(ByteReader& in, PgMajor major, WalTransactionRecord& out) {
  const auto flags = in.fixed<uint32_t>();
  if ((flags & kHasDatabase) != 0) in.skip(8);
  if ((flags & kHasSubxids) != 0 && !read_list(in, 4, [&] { out.subxids.push_back(Xid{in.fixed<uint32_t>()}); }))
    return false;
  const auto relation = [&] {
    WalRelation& dropped = out.dropped.emplace_back();
    dropped.tablespace_oid = in.fixed<uint32_t>();
    dropped.database_oid = in.fixed<uint32_t>();
    dropped.relfilenode = in.fixed<uint32_t>();
  };
  if ((flags & kHasRelations) != 0 && !read_list(in, 12, relation)) return false;
  // An object of statistics is named with 64 bits since 18.
  if ((flags & kHasDroppedStats) != 0 && !skip_list(in, major.value >= 18 ? 16 : 12)) return false;
  if ((flags & kHasInvalidations) != 0 && !skip_list(in, kInvalidationBytes)) return false;
  if ((flags & kHasPrepared) != 0) {
    const Xid prepared{in.fixed<uint32_t>()};
    if (in.ok()) out.xid = prepared;
  }
  return in.ok();
}

}  // namespace

Timestamp timestamp_of_pg(int64_t pg_us) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  return Timestamp(std::chrono::microseconds(pg_us > kMax - kPgEpochUs ? kMax : pg_us + kPgEpochUs));
}

bool is_transaction_end(const WalRecordHeader& header) {
  if (header.rmgr != wal_rmgr::kTransaction) return false;
  const auto opcode = static_cast<uint8_t>(header.info & kOpcodeMask);
  return opcode == kCommit || opcode == kAbort || opcode == kCommitPrepared || opcode == kAbortPrepared;
}

void decode_transaction_end(const WalRecord& record, PgMajor major, WalTransactionRecord& out) {
  const auto opcode = static_cast<uint8_t>(record.header.info & kOpcodeMask);
  out.aborted = opcode == kAbort || opcode == kAbortPrepared;
  out.xid = record.header.xid;
  out.subxids.clear();
  out.dropped.clear();
  ByteReader in(record.main_data);
  out.time = timestamp_of_pg(in.fixed<int64_t>());
  out.is_whole = in.ok();
  if ((record.header.info & kHasInfo) != 0) out.is_whole = read_details(in, major, out) && out.is_whole;
}

}  // namespace pgark::pg
