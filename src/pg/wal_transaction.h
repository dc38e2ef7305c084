// Records that end a transaction: when, which one with which subtransactions, and the relation files that go with it.
#pragma once

#include <vector>

#include "core/clock.h"
#include "pg/wal_record.h"

namespace pgark::pg {

/// PostgreSQL's time (microseconds since 2000-01-01 UTC) as ours; what would overflow stays at the end of the range.
Timestamp timestamp_of_pg(int64_t pg_us);

/// What a commit or abort, of a prepared transaction or a plain one, says.
struct WalTransactionRecord {
  bool aborted = false;
  bool is_whole = true;  // False if malformed or cut: what it drops is then not all known.
  Timestamp time{};
  Xid xid;  // Of the transaction, also where another session commits it.
  std::vector<Xid> subxids;
  std::vector<WalRelation> dropped;  // All forks of them are removed.
};

/// True for commit, abort, commit prepared, abort prepared.
bool is_transaction_end(const WalRecordHeader& header);

/// Decode such a record; `out` is reused.
/// Source: PostgreSQL src/include/access/xact.h, src/backend/access/rmgrdesc/xactdesc.c, ParseCommitRecord.
void decode_transaction_end(const WalRecord& record, PgMajor major, WalTransactionRecord& out);

}  // namespace pgark::pg
