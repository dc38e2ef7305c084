// Examiners of check that ask a server that answers: what its settings risk, how its archiver fares, its clock, and
// what in its databases a restore does not bring back as it was.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/log.h"
#include "ops/check_command.h"
#include "ops/check_examiners.h"

namespace pgark {
namespace {

/// Clocks that differ by less make no difference to a time given as a target.
constexpr auto kClockSkewMax = std::chrono::seconds(10);
/// With fewer segments than one in this time, archive_timeout decides how much is lost.
constexpr auto kSegmentEveryMax = std::chrono::minutes(15);
constexpr auto kRateTellingMin = std::chrono::hours(6);
constexpr size_t kDatabasesAskedMax = 200;
constexpr size_t kNamesShownMax = 5;

template <typename T>
T number_or(const std::optional<std::string>& text, T otherwise) {
  T value{};
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc()) return otherwise;
  return value;
}

std::string_view plural(size_t count) { return count == 1 ? "" : "s"; }

/// "a, b, c and 4 more".
std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < kNamesShownMax; ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamesShownMax) text += fmt::format(" and {} more", names.size() - kNamesShownMax);
  return text;
}

void add_fault(CheckState& state, const CommandFault& fault, const std::string& command) {
  const std::string wanted = fmt::format("archive_command = 'pgark --stanza={} archive-push %p'", state.options.stanza);
  switch (fault.risk) {
    case CommandRisk::kHidesFailure:
      return state.add({.severity = Severity::kError,
                        .code = "archive_command_hides_failure",
                        .what = fmt::format("archive_command reports success when archiving fails, by '{}': {}",
                                            fault.part, command),
                        .why = "the server then recycles WAL that was not stored: recovery ends at the gap",
                        .mend = "set " + wanted});
    case CommandRisk::kNoPath:
      return state.add({.severity = Severity::kError,
                        .code = "archive_command_without_path",
                        .what = fmt::format("archive_command does not hand %p to archive-push: {}", command),
                        .why = "pgark is not told which segment to archive",
                        .mend = "set " + wanted});
    case CommandRisk::kUnsafeCopy:
      return state.add({.severity = Severity::kWarning,
                        .code = "archive_command_unsafe_copy",
                        .what = fmt::format("archive_command copies with {}: {}", fault.part, command),
                        .why = "it returns before the bytes are on disk and checks nothing, so a power failure leaves "
                               "segments that are empty or short; and this repository gets no WAL from it",
                        .mend = "set " + wanted});
  }
}

void examine_archive_timeout(CheckState& state) {
  if (state.server->in_recovery || state.server->setting("archive_timeout") != "0") return;
  std::optional<std::chrono::microseconds> every;
  for (const CheckedRepository& one : state.repositories) {
    if (!one.wal_rate || one.wal_rate->until - one.wal_rate->since < kRateTellingMin) continue;
    const auto count = static_cast<int64_t>(std::max<uint64_t>(one.wal_rate->segment_count, 1));
    const auto mean = (one.wal_rate->until - one.wal_rate->since) / count;
    if (!every || mean < *every) every = mean;
  }
  if (!every || *every <= kSegmentEveryMax) return;
  state.add({.severity = Severity::kWarning,
             .code = "archive_timeout_off",
             .what = fmt::format("archive_timeout is 0 and the server fills a segment of WAL only every {} minutes",
                                 std::chrono::duration_cast<std::chrono::minutes>(*every).count()),
             .why = "what was committed since the last full segment is lost with the server's disk",
             .mend = "set archive_timeout = 60s, or to what may be lost; a reload is enough"});
}

/// Numbers of pg_stat_archiver; ages in seconds by the server's clock.
struct ArchiverRecord {
  uint64_t failed_count = 0;
  std::string failed_wal;
  std::string failed_time;
  std::optional<int64_t> failed_age;
  std::optional<int64_t> archived_age;
};

Result<ArchiverRecord> read_archiver_record(PgSession& session) {
  TRY_ASSIGN(const PgRows rows, session.query("SELECT failed_count, last_failed_wal, last_failed_time, "
                                              "extract(epoch FROM now() - last_failed_time)::bigint AS failed_age, "
                                              "extract(epoch FROM now() - last_archived_time)::bigint AS archived_age "
                                              "FROM pg_stat_archiver"));
  if (rows.size() != 1 || rows.front().size() != 5) {
    return Error(Errc::kInternal, "read pg_stat_archiver: answer is not one row of five values");
  }
  const PgRow& row = rows.front();
  ArchiverRecord record{number_or<uint64_t>(row[0], 0), row[1].value_or(""), row[2].value_or(""), {}, {}};
  if (row[3]) record.failed_age = number_or<int64_t>(row[3], 0);
  if (row[4]) record.archived_age = number_or<int64_t>(row[4], 0);
  return record;
}

bool has_finding(const CheckState& state, std::string_view code) {
  return std::any_of(state.findings.begin(), state.findings.end(),
                     [&](const Finding& finding) { return finding.code == code; });
}

/// An examination of the databases of the server, one connection each.
class Databases {
 public:
  explicit Databases(CheckState& state) : state_(state) {}

  Result<> run() {
    if (!state_.access->open_database) return {};
    TRY_ASSIGN(const PgRows names,
               state_.session->query("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate "
                                     "ORDER BY datname"));
    for (size_t i = 0; i < names.size() && i < kDatabasesAskedMax; ++i) {
      TRY(state_.cancel.check());
      const std::string name = names[i].at(0).value_or("");
      if (auto asked = ask(name); !asked) {
        if (asked.error().code() == Errc::kCancelled) return asked;
        // A database that does not let the role in is no fault of the backups.
        log_detail("database {} is not examined: {}", name, asked.error().message());
      }
    }
    report();
    return {};
  }

 private:
  Result<> ask(const std::string& name) {
    TRY_ASSIGN(const auto session, state_.access->open_database(name));
    TRY_ASSIGN(const PgRows unlogged,
               session->query("SELECT format('%I.%I', n.nspname, c.relname), pg_relation_size(c.oid) FROM pg_class c "
                              "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relpersistence = 'u' AND "
                              "c.relkind IN ('r', 'm')"));
    for (const PgRow& row : unlogged) {
      ++unlogged_count_;
      const auto bytes = number_or<uint64_t>(row.at(1), 0);
      if (bytes < biggest_bytes_ || (bytes == biggest_bytes_ && !biggest_.empty())) continue;
      biggest_bytes_ = bytes;
      biggest_ = fmt::format("{} in {}", row[0].value_or(""), name);
    }
    TRY_ASSIGN(const PgRows extensions,
               session->query("SELECT DISTINCT e.extname FROM pg_extension e JOIN pg_depend d ON d.refclassid = "
                              "'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND "
                              "d.deptype = 'e' JOIN pg_proc p ON p.oid = d.objid WHERE p.probin IS NOT NULL AND "
                              "e.extname <> 'plpgsql'"));
    for (const PgRow& row : extensions) libraries_.insert(row.at(0).value_or(""));
    return {};
  }

  void report() {
    if (unlogged_count_ > 0) {
      std::string biggest;
      if (biggest_bytes_ > 0) biggest = fmt::format(", the biggest is {} with {} bytes", biggest_, biggest_bytes_);
      if (biggest_bytes_ == 0) biggest = fmt::format(", such as {}", biggest_);
      state_.add({.severity = Severity::kInfo,
                  .code = "unlogged_tables",
                  .what = fmt::format("{} unlogged table{}{}", unlogged_count_, plural(unlogged_count_), biggest),
                  .why = "their content is in no WAL and no backup: they are empty after a restore",
                  .mend = "ALTER TABLE ... SET LOGGED what has to come back"});
    }
    for (const char* name : {"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"}) {
      add_libraries(state_.server->setting(name));
    }
    if (libraries_.empty()) return;
    state_.add({.severity = Severity::kInfo,
                .code = "extension_libraries",
                .what = "extensions and preloaded libraries in use: " +
                        some_of(std::vector<std::string>(libraries_.begin(), libraries_.end())),
                .why = "a host that restores the cluster needs their packages: they are not part of a backup",
                .mend = "keep the list with the recovery plan; `info --set` shows the versions of each backup"});
  }

  void add_libraries(const std::string& list) {
    for (size_t at = 0; at < list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      std::string name = list.substr(at, end - at);
      std::erase_if(name, [](char c) { return c == ' ' || c == '"'; });
      if (const size_t slash = name.rfind('/'); slash != std::string::npos) name.erase(0, slash + 1);
      if (!name.empty()) libraries_.insert(name);
      at = end + 1;
    }
  }

  CheckState& state_;
  size_t unlogged_count_ = 0;
  std::string biggest_;
  uint64_t biggest_bytes_ = 0;
  std::set<std::string> libraries_;
};

void add_skew(CheckState& state, const std::string& who, std::chrono::microseconds ahead, unsigned repo) {
  if (ahead <= kClockSkewMax && ahead >= -kClockSkewMax) return;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(ahead).count();
  state.add({.severity = Severity::kWarning,
             .code = "clock_skew",
             .what = fmt::format("the clock of {} is {} s {} that of this host", who, seconds < 0 ? -seconds : seconds,
                                 seconds < 0 ? "behind" : "ahead of"),
             .why = "times given as a recovery target, ages of backups and grace periods are off by as much",
             .mend = "synchronise the clocks (chrony, systemd-timesyncd) on both",
             .repo = repo});
}

}  // namespace

Result<> examine_archive_safety(CheckState& state) {
  if (!state.server) return {};
  const std::string mode = state.server->setting("archive_mode");
  if (mode.empty() || mode == "off") return {};
  if (state.server->in_recovery && mode == "on") {
    state.add({.severity = Severity::kInfo,
               .code = "standby_archive_mode_on",
               .what = "archive_mode is on on this standby, not always",
               .why = "if it is promoted, it does not archive the segments the old primary had finished and not "
                      "archived, which leaves a gap",
               .mend = fmt::format("set archive_mode = always (two nodes may offer pgark one segment), or run 'pgark "
                                   "--stanza={} archive-heal' after a promotion",
                                   state.options.stanza)});
  }
  if (state.server->setting("archive_library").empty()) {
    const std::string command = state.server->setting("archive_command");
    for (const CommandFault& fault : archive_command_faults(command)) add_fault(state, fault, command);
  }
  examine_archive_timeout(state);
  return {};
}

Result<> examine_archiver(CheckState& state) {
  if (!state.server) return {};
  const std::string mode = state.server->setting("archive_mode");
  if (mode == "off" || (state.server->in_recovery && mode != "always")) return {};  // What it did once is no matter.
  TRY_ASSIGN(const ArchiverRecord record, read_archiver_record(*state.session));
  if (!record.failed_age) return {};
  constexpr int64_t kLately = 86400;
  const bool failing = !record.archived_age || *record.failed_age < *record.archived_age;
  const std::string last =
      fmt::format("{} time{} since its statistics were reset, last for {} at {}", record.failed_count,
                  plural(record.failed_count), record.failed_wal, record.failed_time);
  if (failing && !has_finding(state, "wal_not_archived")) {
    state.add({.severity = Severity::kError,
               .code = "archiver_failing",
               .what = "archiving fails: the server's archiver failed " + last + " and has archived nothing since",
               .why = "pg_wal grows until the disk is full, and what is not archived is lost with it",
               .mend = "read why in the server's log, or run archive_command by hand as the server's user"});
  } else if (!failing && *record.failed_age < kLately) {
    state.add({.severity = Severity::kInfo,
               .code = "archiver_failed_lately",
               .what = "archiving works again: the server's archiver failed " + last,
               .why = "a repository that fails now and then will do so when it matters",
               .mend = "the reason is in the server's log"});
  }
  return {};
}

Result<> examine_durability(CheckState& state) {
  if (state.server && state.server->setting("fsync") == "off") {
    state.add({.severity = Severity::kWarning,
               .code = "fsync_off",
               .what = "fsync is off",
               .why = "after a crash of the machine the data is damaged, and backups copy the damage",
               .mend = "set fsync = on"});
  }
  // pg_control has it as of the last checkpoint.
  const bool torn_pages = state.server  ? state.server->setting("full_page_writes") == "off"
                          : state.files ? !state.files->control.full_page_writes
                                        : false;
  if (torn_pages) {
    state.add({.severity = Severity::kWarning,
               .code = "full_page_writes_off",
               .what = "full_page_writes is off",
               .why =
                   "a crash leaves pages that are half new and half old, which nothing mends; backups from a standby "
                   "are impossible",
               .mend = "set full_page_writes = on, unless the file system writes pages whole (ZFS)"});
  }
  const bool unchecked = state.files    ? !state.files->control.checksums_enabled()
                         : state.server ? state.server->setting("data_checksums") == "off"
                                        : false;
  if (unchecked) {
    state.add({.severity = Severity::kWarning,
               .code = "checksums_off",
               .what = "the cluster has no page checksums",
               .why = "pages that a disk damages are backed up as they are, until the last good copy has expired",
               .mend = "stop the server and run pg_checksums --enable (12 and later; the next incremental then reads "
                       "everything)"});
  }
  return {};
}

Result<> examine_databases(CheckState& state) {
  if (!state.server) return {};
  if (state.server->major.value >= 15) {
    TRY_ASSIGN(
        const PgRows rows,
        state.session->query("SELECT datname FROM pg_database WHERE datallowconn AND datcollversion IS NOT NULL "
                             "AND datcollversion <> pg_database_collation_actual_version(oid) ORDER BY datname"));
    std::vector<std::string> names;
    for (const PgRow& row : rows) names.push_back(row.at(0).value_or(""));
    if (!names.empty()) {
      state.add({.severity = Severity::kWarning,
                 .code = "collation_mismatch",
                 .what = fmt::format("the collation version of database{} {} is not that of this host",
                                     plural(names.size()), some_of(names)),
                 .why = "indexes over text may be wrong already; backups and restores carry them on",
                 .mend = "REINDEX DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION"});
    }
  }
  return Databases(state).run();
}

Result<> examine_clocks(CheckState& state) {
  if (state.session && state.server) {
    const Timestamp before = state.clock.now();
    TRY_ASSIGN(
        const PgRows rows,
        state.session->query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS server_clock"));
    const Timestamp after = state.clock.now();
    if (rows.empty() || !rows.front().at(0)) return Error(Errc::kInternal, "ask server for its clock: no answer");
    const Timestamp theirs(std::chrono::microseconds(number_or<int64_t>(rows.front()[0], 0)));
    if (theirs < before) add_skew(state, "the server", theirs - before, 0);
    if (theirs > after) add_skew(state, "the server", theirs - after, 0);
  }
  for (const CheckedRepository& one : state.repositories) {
    if (one.store_ahead) add_skew(state, one.store->describe(), *one.store_ahead, one.number);
  }
  return {};
}

}  // namespace pgark
