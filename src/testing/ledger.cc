// The rules of recovery, and the clients that produce rows to hold them against.
//
// How a target decides about a row, with PostgreSQL's words for where it stops (recoveryStopsBefore,
// recoveryStopsAfter):
//   latest      everything archived is replayed: a row is owed if its commit record ends at or before that point.
//   lsn         inclusive: after the first record that starts at or past the target; exclusive: before it. A row whose
//               commit ends at or before the target is there in both cases. One whose first record starts past it is
//               not. Between the two the record boundaries would have to be known, and the row is undecided; exclusive,
//               it is enough that the commit itself starts past the target.
//   xid         at the commit of that transaction, wherever its number stands in the order of numbers.
//   name        at the restore point.
//   immediate   at the record that ends the backup.
//   time        before the first commit or abort record, in WAL order, whose time is later than the target (exclusive:
//   as
//               late). A row with a later time is never there. One with an earlier time is there unless a record with a
//               later time comes before it in the WAL: clients that commit at once may take the time in one order and
//               write their records in the other.
// And for every target: replay follows the WAL, so when a row is there, every row whose commit record certainly comes
// before its commit record is there too.
#include "testing/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "core/check.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using std::chrono::microseconds;

constexpr Lsn kUnknownEnd{std::numeric_limits<uint64_t>::max()};
constexpr int kNoiseRows = 1000;

uint64_t next_random(uint64_t& state) {  // splitmix64
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

Timestamp timestamp_of(int64_t since_epoch_us) { return Timestamp(microseconds(since_epoch_us)); }

std::string utc_text(Timestamp time) {
  const auto days = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(days);
  const std::chrono::hh_mm_ss clock(time - days);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}+00", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

// extract() is a double before 14 and exact to the microsecond all the same, until the year 2255.
constexpr std::string_view kMicroseconds = "round(extract(epoch from {}) * 1000000)::bigint";

std::string microseconds_sql(std::string_view expression) {
  return fmt::format(fmt::runtime(kMicroseconds), expression);
}

enum class Owed : unsigned char { kPresent, kAbsent, kUndecided };

// A row against a record that starts at or after `before` and ends at or before `after`, where replay stops.
Owed owed_at(const LedgerRow& row, Lsn before, Lsn after) {
  if (row.before_commit >= after) return Owed::kAbsent;
  if (row.acknowledged && row.after_commit <= before) return Owed::kPresent;
  return Owed::kUndecided;
}

Owed owed_at_lsn(const LedgerRow& row, Lsn target, bool exclusive) {
  if ((exclusive ? row.before_commit : row.begin) >= target) return Owed::kAbsent;
  if (row.acknowledged && row.after_commit <= target) return Owed::kPresent;
  return Owed::kUndecided;
}

std::string id_list(const std::vector<int64_t>& ids) {
  constexpr size_t kShown = 10;
  const std::vector<int64_t> first(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(std::min(ids.size(), kShown)));
  return fmt::format("{} ({}{})", ids.size(), fmt::join(first, ", "), ids.size() > kShown ? ", ..." : "");
}

}  // namespace

LedgerTarget LedgerTarget::latest(std::optional<Lsn> archived) { return {.lsn = archived}; }
LedgerTarget LedgerTarget::at_time(Timestamp time, bool exclusive) {
  return {.kind = Kind::kTime, .exclusive = exclusive, .time = time};
}
LedgerTarget LedgerTarget::at_xid(Xid xid, bool exclusive) {
  return {.kind = Kind::kXid, .exclusive = exclusive, .xid = xid};
}
LedgerTarget LedgerTarget::at_lsn(Lsn lsn, bool exclusive) {
  return {.kind = Kind::kLsn, .exclusive = exclusive, .lsn = lsn};
}
LedgerTarget LedgerTarget::at_name(std::string name) { return {.kind = Kind::kName, .name = std::move(name)}; }
LedgerTarget LedgerTarget::immediate(Lsn backup_stop) { return {.kind = Kind::kImmediate, .lsn = backup_stop}; }

std::vector<std::string> LedgerTarget::restore_options() const {
  std::vector<std::string> options;
  switch (kind) {
    case Kind::kLatest:
      return {"--type=default"};
    case Kind::kImmediate:
      return {"--type=immediate"};
    case Kind::kTime:
      options = {"--type=time", "--target=" + utc_text(time)};
      break;
    case Kind::kXid:
      options = {"--type=xid", fmt::format("--target={}", xid.value)};
      break;
    case Kind::kLsn:
      options = {"--type=lsn", "--target=" + pgark::to_string(lsn.value_or(Lsn{}))};
      break;
    case Kind::kName:
      options = {"--type=name", "--target=" + name};
      break;
  }
  if (exclusive) options.emplace_back("--target-exclusive");
  return options;
}

std::string LedgerTarget::to_string() const {
  std::string text = fmt::format("{}", fmt::join(restore_options(), " "));
  const bool bounded = (kind == Kind::kLatest || kind == Kind::kImmediate) && lsn.has_value();
  return bounded ? fmt::format("{} (up to {})", text, pgark::to_string(*lsn)) : text;
}

std::vector<std::string> Ledger::config() { return {"track_commit_timestamp = on"}; }

Ledger::Ledger(PgServer& server, const LedgerOptions& options) : server_(&server), options_(options) {}

Ledger::~Ledger() { (void)stop(); }

Result<> Ledger::create_tables() {
  return server_->exec(
      fmt::format("CREATE TABLE ledger(id bigint PRIMARY KEY, client int NOT NULL, payload text NOT NULL);"
                  "CREATE TABLE ledger_noise(id int PRIMARY KEY, value text NOT NULL);"
                  "INSERT INTO ledger_noise SELECT i, repeat(md5(i::text), 8) FROM generate_series(0, {}) i",
                  kNoiseRows - 1));
}

std::string Ledger::payload(int64_t id) const {
  uint64_t state = options_.seed ^ (static_cast<uint64_t>(id) * 0x2545F4914F6CDD1Du);
  std::string text;
  while (text.size() < static_cast<size_t>(options_.payload_bytes)) text += fmt::format("{:016x}", next_random(state));
  text.resize(static_cast<size_t>(options_.payload_bytes));
  return text;
}

void Ledger::note(const LedgerRow& row) {
  const MutexLock lock(mu_);
  rows_[row.id] = row;
}

Result<> Ledger::commit_one(PgConnection& connection, int client, uint64_t& random_state) {
  LedgerRow row{.id = next_id_++, .client = client, .after_commit = kUnknownEnd};
  // Noise rides in the row's own transaction: commits of which nothing is noted would blur time targets.
  const uint64_t dice = next_random(random_state);
  const std::string noise = options_.noise && dice % 4 == 0
                                ? fmt::format("UPDATE ledger_noise SET value = repeat(md5('{}'), 8) WHERE id = {};",
                                              dice, dice / 4 % kNoiseRows)
                                : "";
  TRY_ASSIGN(const auto begun,
             connection.query_each(fmt::format("BEGIN; SELECT pg_current_wal_insert_lsn();"
                                               "INSERT INTO ledger VALUES ({}, {}, '{}') RETURNING txid_current();"
                                               "{} SELECT pg_current_wal_insert_lsn()",
                                               row.id, client, payload(row.id), noise)));
  TRY_ASSIGN(row.begin, parse_lsn(begun[1].text()));
  row.xid = Xid{static_cast<uint32_t>(begun[2].integer())};
  TRY_ASSIGN(row.before_commit, parse_lsn(begun.back().text()));

  note(row);  // From here on it may be committed without our knowing.
  TRY(connection.exec("COMMIT"));
  row.acknowledged = true;
  note(row);
  ++acknowledged_;

  TRY_ASSIGN(const PgRows place, connection.query(fmt::format(
                                     "SELECT pg_current_wal_insert_lsn(), {}",
                                     microseconds_sql(fmt::format("pg_xact_commit_timestamp('{}')", row.xid.value)))));
  TRY_ASSIGN(row.after_commit, parse_lsn(place.text(0, 0)));
  row.committed_at = timestamp_of(place.integer(0, 1));
  note(row);

  if (options_.noise && dice % 16 == 1) TRY(roll_back_one(connection, dice));
  return {};
}

Result<> Ledger::roll_back_one(PgConnection& connection, uint64_t dice) {
  TRY_ASSIGN(const auto results,
             connection.query_each(fmt::format("BEGIN; UPDATE ledger_noise SET value = 'rolled back' WHERE id = {};"
                                               "SELECT pg_current_wal_insert_lsn(); ROLLBACK; SELECT {}",
                                               dice / 16 % kNoiseRows, microseconds_sql("clock_timestamp()"))));
  TRY_ASSIGN(const Lsn before, parse_lsn(results[2].text()));
  const MutexLock lock(mu_);
  aborts_.push_back({.before = before, .ended_by = timestamp_of(results.back().integer())});
  return {};
}

Result<> Ledger::commit_rows(int count) {
  TRY_ASSIGN(PgConnection connection, server_->connect());
  uint64_t random_state = options_.seed + static_cast<uint64_t>(next_id_);
  for (int i = 0; i < count; ++i) TRY(commit_one(connection, 0, random_state));
  return {};
}

void Ledger::run_client(int client) {
  using Steady = std::chrono::steady_clock;
  uint64_t random_state = options_.seed + static_cast<uint64_t>(client) * 1000003u;
  auto connection = server_->connect();
  auto due = Steady::now();
  while (connection && !stopping_) {
    if (!commit_one(*connection, client, random_state)) break;  // The server went away; what is noted counts.
    if (options_.rows_per_second == 0) continue;
    due = std::max(due + microseconds(1000000 / options_.rows_per_second),
                   Steady::now() - std::chrono::milliseconds(100));
    std::this_thread::sleep_until(due);
  }
  --running_clients_;
}

Result<> Ledger::start() {
  if (!threads_.empty()) return Error(Errc::kInvalid, "start ledger: it is running");
  stopping_ = false;
  running_clients_ = options_.clients;
  for (int client = 1; client <= options_.clients; ++client)
    threads_.emplace_back([this, client] { run_client(client); });
  return {};
}

Result<> Ledger::stop() {
  stopping_ = true;
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  return {};
}

Result<> Ledger::wait_for_rows(int count, std::chrono::milliseconds bound) {
  const int64_t wanted = acknowledged_ + count;
  return wait_for(
      fmt::format("{} more ledger rows", count),
      [&]() -> Result<bool> {
        if (acknowledged_ >= wanted) return true;
        if (running_clients_ == 0) return Error(Errc::kInternal, "every client has ended\n" + server_->log_tail());
        return false;
      },
      bound);
}

Result<Lsn> Ledger::restore_point(const std::string& name) {
  TRY_ASSIGN(const Lsn before, server_->current_lsn());
  TRY_ASSIGN(const PgRows made, server_->query("SELECT pg_create_restore_point(" + sql_literal(name) + ")"));
  TRY_ASSIGN(const Lsn after, parse_lsn(made.text()));
  const MutexLock lock(mu_);
  restore_points_[name] = {.before = before, .after = after};
  return after;
}

std::vector<LedgerRow> Ledger::rows() const {
  const MutexLock lock(mu_);
  std::vector<LedgerRow> result;
  for (const auto& [id, row] : rows_) result.push_back(row);
  return result;
}

LedgerRow Ledger::last() const {
  const MutexLock lock(mu_);
  const auto found = std::find_if(rows_.rbegin(), rows_.rend(), [](const auto& entry) {
    return entry.second.acknowledged && entry.second.after_commit != kUnknownEnd;
  });
  CHECK(found != rows_.rend());
  return found->second;
}

// Where the first record that a time target stops at may begin, at the earliest.
Lsn Ledger::first_record_past(const LedgerTarget& target) const {
  const auto past = [&](Timestamp time) { return target.exclusive ? time >= target.time : time > target.time; };
  Lsn first = kUnknownEnd;
  for (const auto& [id, row] : rows_) {
    // A row without an answer may have committed at any time.
    if (row.after_commit == kUnknownEnd || past(row.committed_at)) first = std::min(first, row.before_commit);
  }
  for (const auto& abort : aborts_) {
    if (past(abort.ended_by)) first = std::min(first, abort.before);
  }
  return first;
}

LedgerExpectation Ledger::expected_rows(const LedgerTarget& target) const {
  using Kind = LedgerTarget::Kind;
  const MutexLock lock(mu_);
  Span span;
  if (target.kind == Kind::kName) {
    const auto found = restore_points_.find(target.name);
    CHECK(found != restore_points_.end());
    span = found->second;
  }
  if (target.kind == Kind::kImmediate) span = {.before = *target.lsn, .after = *target.lsn};
  if (target.kind == Kind::kXid) {
    const auto found =
        std::find_if(rows_.begin(), rows_.end(), [&](const auto& entry) { return entry.second.xid == target.xid; });
    CHECK(found != rows_.end());
    span = {.before = found->second.before_commit, .after = found->second.after_commit};
  }
  const Lsn past_time = target.kind == Kind::kTime ? first_record_past(target) : Lsn{};

  const auto owed = [&](const LedgerRow& row) {
    const bool located = row.after_commit != kUnknownEnd;
    switch (target.kind) {
      case Kind::kLatest:
        return row.acknowledged && (!target.lsn || row.after_commit <= *target.lsn) ? Owed::kPresent : Owed::kUndecided;
      case Kind::kLsn:
        return owed_at_lsn(row, *target.lsn, target.exclusive);
      case Kind::kXid:
        if (row.xid == target.xid) return target.exclusive ? Owed::kAbsent : Owed::kPresent;
        return owed_at(row, span.before, span.after);
      case Kind::kName:
      case Kind::kImmediate:
        return owed_at(row, span.before, span.after);
      case Kind::kTime:
        if (!located) return Owed::kUndecided;
        if (target.exclusive ? row.committed_at >= target.time : row.committed_at > target.time) return Owed::kAbsent;
        return row.after_commit <= past_time ? Owed::kPresent : Owed::kUndecided;
    }
    return Owed::kUndecided;
  };
  LedgerExpectation expectation;
  for (const auto& [id, row] : rows_) {
    switch (owed(row)) {
      case Owed::kPresent:
        expectation.present.insert(id);
        break;
      case Owed::kAbsent:
        expectation.absent.insert(id);
        break;
      case Owed::kUndecided:
        expectation.undecided.insert(id);
        break;
    }
  }
  return expectation;
}

Result<std::map<int64_t, std::string>> Ledger::read_table(PgConnection& connection) {
  std::map<int64_t, std::string> found;
  TRY_ASSIGN(const PgRows exists, connection.query("SELECT to_regclass('ledger') IS NOT NULL"));
  if (exists.text() == "f") return found;  // A target before the ledger began.
  TRY(connection.exec("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off"));
  TRY_ASSIGN(const PgRows table, connection.query("SELECT id, payload FROM ledger"));
  for (size_t i = 0; i < table.size(); ++i) found[table.integer(i, 0)] = table.text(i, 1);
  if (found.size() != table.size()) return Error(Errc::kCorrupt, "read ledger: an id occurs twice");
  TRY(connection.exec("RESET ALL; SET enable_seqscan = off"));
  TRY_ASSIGN(const PgRows index, connection.query("SELECT id FROM ledger WHERE id > -1 ORDER BY id"));
  bool same = index.size() == found.size();
  size_t at = 0;
  for (const auto& [id, text] : found) same = same && index.integer(at++, 0) == id;
  if (!same)
    return Error(Errc::kCorrupt,
                 fmt::format("read ledger: {} rows in the table, {} by the index", found.size(), index.size()));
  return found;
}

Result<> Ledger::verify(PgServer& restored, const LedgerTarget& target) const {
  const std::string context = "verify ledger after restore " + target.to_string();
  TRY_ASSIGN_CTX(PgConnection connection, restored.connect(), context);
  TRY_ASSIGN_CTX(const auto found, read_table(connection), context);
  const LedgerExpectation expected = expected_rows(target);

  std::vector<int64_t> missing;
  std::vector<int64_t> extra;
  std::vector<int64_t> changed;
  std::vector<int64_t> gaps;
  for (const int64_t id : expected.present) {
    if (!found.contains(id)) missing.push_back(id);
  }
  const MutexLock lock(mu_);
  Lsn reached;  // Everything that certainly committed before this is owed.
  for (const auto& [id, text] : found) {
    const auto row = rows_.find(id);
    if (row == rows_.end() || expected.absent.contains(id)) {
      extra.push_back(id);
    } else {
      reached = std::max(reached, row->second.before_commit);
    }
    if (text != payload(id)) changed.push_back(id);
  }
  for (const auto& [id, row] : rows_) {
    if (row.acknowledged && row.after_commit <= reached && !found.contains(id)) gaps.push_back(id);
  }
  if (missing.empty() && extra.empty() && changed.empty() && gaps.empty()) return {};

  const auto describe = [&](std::string_view what, const std::vector<int64_t>& ids) REQUIRES(mu_) {
    if (ids.empty()) return std::string();
    const auto row = rows_.find(ids.front());
    if (row == rows_.end()) return fmt::format("\n  {}: {}", what, id_list(ids));
    return fmt::format("\n  {}: {}; the first committed at {}, between {} and {}", what, id_list(ids),
                       utc_text(row->second.committed_at), pgark::to_string(row->second.before_commit),
                       pgark::to_string(row->second.after_commit));
  };
  return Error(Errc::kCorrupt,
               fmt::format("{}: {} rows found, {} owed, {} undecided{}{}{}{}\n{}", context, found.size(),
                           expected.present.size(), expected.undecided.size(), describe("missing", missing),
                           describe("extra", extra), describe("changed", changed),
                           describe("gaps in commit order", gaps), restored.log_tail()));
}

Result<> Ledger::continue_on(PgServer& restored) {
  if (!threads_.empty()) return Error(Errc::kInvalid, "continue ledger: its clients are running");
  TRY_ASSIGN(PgConnection connection, restored.connect());
  TRY_ASSIGN(const auto found, read_table(connection));
  TRY_ASSIGN(const PgRows now, connection.query("SELECT pg_current_wal_insert_lsn()"));
  TRY_ASSIGN(const Lsn end, parse_lsn(now.text()));
  const MutexLock lock(mu_);
  std::erase_if(rows_, [&](const auto& entry) { return !found.contains(entry.first); });
  for (auto& [id, row] : rows_) {
    if (row.after_commit != kUnknownEnd) continue;
    // It did commit: recovery has it. Its time is in the restored commit timestamps.
    TRY_ASSIGN(const PgRows time,
               connection.query(fmt::format(
                   "SELECT {}", microseconds_sql(fmt::format("pg_xact_commit_timestamp('{}')", row.xid.value)))));
    row.acknowledged = true;
    row.after_commit = end;
    row.committed_at = timestamp_of(time.integer());
  }
  std::erase_if(aborts_, [&](const Abort& abort) { return abort.before >= end; });
  std::erase_if(restore_points_, [&](const auto& entry) { return entry.second.after > end; });
  server_ = &restored;
  return {};
}

}  // namespace pgark::testing
