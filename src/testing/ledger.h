// The oracle of recovery: clients commit numbered rows and note when and where each commit happened, so that for any
// recovery target it is known which rows must be there, which must not, and which may be either.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "testing/pg_server.h"

namespace pgark::testing {

/// What is known of one row. The commit record starts at or after `before_commit` and ends at or before `after_commit`;
/// every record of the transaction starts at or after `begin`.
struct LedgerRow {
  int64_t id = 0;
  int client = 0;
  bool acknowledged =
      false;  // false: COMMIT was sent, or may have been, and no answer came; the row may be there or not.
  Xid xid = {};
  Lsn begin = {};
  Lsn before_commit = {};
  Lsn after_commit = {};
  Timestamp committed_at = {};  // As the commit record has it (pg_xact_commit_timestamp).
};

/// Where a recovery stops, in the words of `pgark restore`.
struct LedgerTarget {
  enum class Kind : unsigned char { kLatest, kTime, kXid, kLsn, kName, kImmediate };

  Kind kind = Kind::kLatest;
  bool exclusive = false;
  std::optional<Lsn> lsn = {};  // kLsn: the target. kLatest: end of what was archived. kImmediate: end of the backup.
  Timestamp time = {};
  Xid xid = {};
  std::string name = {};

  /// The end of the archive. Rows whose commit ends after `archived` may be there or not; none given: all must be.
  static LedgerTarget latest(std::optional<Lsn> archived = {});
  static LedgerTarget at_time(Timestamp time, bool exclusive = false);
  static LedgerTarget at_xid(Xid xid, bool exclusive = false);
  static LedgerTarget at_lsn(Lsn lsn, bool exclusive = false);
  /// A restore point that Ledger::restore_point() made.
  static LedgerTarget at_name(std::string name);
  /// As soon as the backup that stopped at `backup_stop` is consistent.
  static LedgerTarget immediate(Lsn backup_stop);

  /// Options for `pgark restore`: {"--type=time", "--target=2026-11-22 13:05:27.123456+00", "--target-exclusive"}.
  std::vector<std::string> restore_options() const;
  std::string to_string() const;
};

/// Ids by what recovery owes them.
struct LedgerExpectation {
  std::set<int64_t> present;
  std::set<int64_t> absent;
  std::set<int64_t> undecided;
};

struct LedgerOptions {
  int clients = 1;            // With one client, and a target taken from its rows, nothing is undecided.
  int rows_per_second = 200;  // Of each client; 0: as fast as it goes.
  int payload_bytes = 200;
  bool noise = true;  // Between rows also update another table, and roll transactions back.
  uint64_t seed = 1;  // Payloads and noise.
};

/// A ledger on one server. Rows survive in memory what happens to the server.
class Ledger {
 public:
  /// Settings the server must run with: track_commit_timestamp.
  static std::vector<std::string> config();

  explicit Ledger(PgServer& server, const LedgerOptions& options = {});
  ~Ledger();

  /// Create the tables: ledger(id, client, payload) and the one for noise. Once, before rows.
  Result<> create_tables();

  /// Commit `count` rows from the calling thread, as client 0.
  Result<> commit_rows(int count);
  /// Start the clients in the background.
  Result<> start();
  /// Let each client finish its row, and end them. Clients whose connection broke have ended by then; that is no error.
  Result<> stop();
  /// Wait until `count` more rows are acknowledged.
  /// Errors: kTransient when the bound passes, or kInternal when every client has ended.
  Result<> wait_for_rows(int count, std::chrono::milliseconds bound = std::chrono::seconds(60));

  /// Make a named restore point and note its place.
  Result<Lsn> restore_point(const std::string& name);

  /// Rows in order of id. Acknowledged rows of one client are in commit order.
  std::vector<LedgerRow> rows() const;
  /// The last acknowledged row. Stops the test if there is none.
  LedgerRow last() const;

  /// What a recovery to `target` owes each row. The rules are written down in ledger.cc.
  LedgerExpectation expected_rows(const LedgerTarget& target) const;

  /// Check a recovered server against the ledger: every owed row with its payload, none that must be absent, none that
  /// was never written, no gap in commit order, and table and index agreeing.
  /// Errors: kCorrupt naming the target and the first missing, extra or changed rows.
  Result<> verify(PgServer& restored, const LedgerTarget& target) const;

  /// Continue on a recovered server, whose timeline differs: rows it does not have are forgotten, ids go on.
  Result<> continue_on(PgServer& restored);

 private:
  struct Span {
    Lsn before = {};
    Lsn after = {};
  };
  struct Abort {
    Lsn before = {};          // Its record starts at or after.
    Timestamp ended_by = {};  // And carries this time or an earlier one.
  };
  Result<> commit_one(PgConnection& connection, int client, uint64_t& random_state);
  Result<> roll_back_one(PgConnection& connection, uint64_t dice);
  void run_client(int client);
  std::string payload(int64_t id) const;
  void note(const LedgerRow& row);
  Lsn first_record_past(const LedgerTarget& target) const REQUIRES(mu_);
  static Result<std::map<int64_t, std::string>> read_table(PgConnection& connection);

  PgServer* server_;
  LedgerOptions options_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> running_clients_{0};
  std::atomic<int64_t> next_id_{1};
  std::atomic<int64_t> acknowledged_{0};
  mutable Mutex mu_;
  std::map<int64_t, LedgerRow> rows_ GUARDED_BY(mu_);
  std::map<std::string, Span> restore_points_ GUARDED_BY(mu_);
  std::vector<Abort> aborts_ GUARDED_BY(mu_);
};

}  // namespace pgark::testing
