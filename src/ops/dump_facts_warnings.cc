// Why a dump will hurt or lack something: size and time, what its snapshot holds up, whom it waits for. What the role
// may not read and what pg_dump leaves out have files of their own.
#include <algorithm>
#include <cmath>

#include "ops/dump_warning_scene.h"
#include "pg/sql_text.h"

namespace pgark {
namespace {

using enum DumpWarning::Severity;

/// Of one connection reading tables and compressing text, where no earlier dump tells: less than most machines do.
constexpr double kAssumedBytesPerSecond = 40.0 * (1 << 20);
constexpr double kHour = 3600;
constexpr double kLongDump = 2 * kHour;
constexpr double kLongSnapshot = kHour;
constexpr uint64_t kManyLargeObjects = 10'000;
/// Transaction IDs are used up at about 2.1 billion.
constexpr uint64_t kOldTransactionId = 1'000'000'000;
constexpr double kLockTableShare = 0.7;

uint64_t chosen_bytes(const DumpDatabaseFacts& facts, const DumpSelection& selection) {
  uint64_t bytes = selection.large_objects() ? facts.large_object_bytes : 0;
  for (const DumpTable& table : facts.tables)
    if (table.kind == 'r' && selection.includes_data(table)) bytes += table.bytes;
  return bytes;
}

/// Schemas in which pg_dump finds tables named without one.
Result<std::vector<std::string>> default_search_path(PgSession& session, const std::string& role) {
  TRY_ASSIGN(const PgRows rows, session.query("SELECT reset_val FROM pg_settings WHERE name = 'search_path'"));
  std::vector<std::string> path = {"pg_catalog"};
  std::string text = rows.size() == 1 ? row_text(rows.front(), 0) : "public";
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const size_t first = text.find_first_not_of(' ', begin);
    std::string name;
    if (first < end) name = pg::identifier_name(text.substr(first, text.find_last_not_of(' ', end - 1) + 1 - first));
    if (!name.empty()) path.push_back(name == "$user" ? role : name);
    begin = end + 1;
  }
  return path;
}

Result<> look(DumpWarningScene& scene, const DumpRate& rate) {
  TRY(warn_of_rights(scene));
  TRY(warn_of_size(scene, rate));
  TRY(warn_of_snapshot(scene));
  TRY(warn_of_waits(scene));
  TRY(warn_of_standby(scene));
  return warn_of_content(scene);
}

/// Someone who has, or waits for, a lock that pg_dump cannot have at the same time.
Result<> warn_of_locks(DumpWarningScene& scene) {
  const auto rows = query_that_may_fail(
      scene.session,
      "SELECT l.relation, l.pid, l.granted, coalesce(a.state, CASE WHEN l.pid IS NULL THEN 'prepared transaction' END, "
      "''), coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, 0) FROM pg_locks l "
      "LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.mode = 'AccessExclusiveLock' AND l.relation IS NOT NULL "
      "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY l.pid, l.relation");
  if (!rows) return is_end_of_session(rows.error()) ? Result<>(rows.error()) : Result<>();
  std::vector<std::string> names;
  std::vector<std::string> holders;
  for (const PgRow& row : *rows) {
    const DumpTable* table = scene.table(row_number<uint32_t>(row, 0));
    if (table == nullptr || (table->kind != 'r' && table->kind != 'p') || !scene.selection.includes(*table)) continue;
    const std::string name = dump_table_name(*table);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    std::string holder = row_text(row, 1).empty() ? "a prepared transaction" : "process " + row_text(row, 1);
    if (!row_true(row, 2)) holder += " (waiting)";
    if (const std::string state = row_text(row, 3); !row_text(row, 1).empty() && !state.empty())
      holder += fmt::format(" ({}, for {})", state, dump_time(static_cast<double>(row_number<int64_t>(row, 4))));
    if (std::find(holders.begin(), holders.end(), holder) == holders.end()) holders.push_back(std::move(holder));
  }
  if (names.empty()) return {};
  scene.add(kWarning, "blocking_locks",
            fmt::format("{} locked, or about to be, by {}: {}",
                        names.size() == 1 ? "1 table is" : fmt::format("{} tables are", names.size()),
                        dump_name_list(holders), dump_name_list(names)),
            "pg_dump waits until the locks are gone, and whoever then wants the tables waits for pg_dump",
            "wait for that work to end, or give --lock-wait-timeout so that the dump fails instead of waiting");
  return {};
}

Result<> warn_of_old_transactions(DumpWarningScene& scene) {
  const auto rows = query_that_may_fail(
      scene.session,
      "SELECT 'process ' || pid || coalesce(' (' || state || ')', ''), "
      "extract(epoch FROM clock_timestamp() - xact_start)::bigint FROM pg_stat_activity "
      "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval "
      "'1 hour' AND backend_type = 'client backend' UNION ALL "
      "SELECT 'prepared transaction ' || quote_literal(gid), extract(epoch FROM clock_timestamp() - prepared)::bigint "
      "FROM pg_prepared_xacts WHERE database = current_database() AND prepared < clock_timestamp() - interval '1 hour' "
      "ORDER BY 2 DESC");
  if (!rows) return is_end_of_session(rows.error()) ? Result<>(rows.error()) : Result<>();
  if (rows->empty()) return {};
  std::vector<std::string> names;
  for (const PgRow& row : *rows)
    names.push_back(
        fmt::format("{}, {} old", row_text(row, 0), dump_time(static_cast<double>(row_number<int64_t>(row, 1)))));
  scene.add(kWarning, "old_transactions",
            fmt::format("{} open for more than an hour: {}",
                        rows->size() == 1 ? "1 transaction is" : fmt::format("{} transactions are", rows->size()),
                        dump_name_list(names)),
            "vacuum cannot remove what died since, and the dump adds to that; a table they lock makes pg_dump wait",
            "end them if nobody needs them: pg_terminate_backend(), ROLLBACK PREPARED");
  return {};
}

/// pg_dump locks every table it dumps, in one transaction.
Result<> warn_of_lock_table(DumpWarningScene& scene) {
  TRY_ASSIGN(const PgRows rows, scene.session.query("SELECT current_setting('max_locks_per_transaction')::bigint * "
                                                    "(current_setting('max_connections')::bigint + "
                                                    "current_setting('max_prepared_transactions')::bigint)"));
  const auto slots = rows.size() == 1 ? row_number<uint64_t>(rows.front(), 0) : 0;
  uint64_t tables = 0;
  for (const DumpTable& table : scene.facts.tables)
    if ((table.kind == 'r' || table.kind == 'p') && scene.selection.includes(table)) ++tables;
  if (slots == 0 || static_cast<double>(tables) < kLockTableShare * static_cast<double>(slots)) return {};
  scene.add(kWarning, "many_tables",
            fmt::format("{} have to be locked at once, and the server's lock table is made for {} locks",
                        dump_count(tables, "table"), slots),
            "pg_dump may fail with \"out of shared memory\", and so may others while it runs",
            "raise max_locks_per_transaction and restart the server, or dump parts: --schema, --exclude-table");
  return {};
}

}  // namespace

Result<> warn_of_size(DumpWarningScene& scene, const DumpRate& rate) {
  if (scene.seconds >= kLongDump) {
    const bool known = rate.bytes_per_second > 0;
    const double per_second = known ? rate.bytes_per_second : kAssumedBytesPerSecond;
    scene.add(kWarning, "large_database",
              fmt::format("{} of tables are to be dumped: about {} at {}/s ({})", dump_bytes(scene.bytes),
                          dump_time(scene.seconds), dump_bytes(static_cast<uint64_t>(per_second)),
                          known ? fmt::format("as dump {} went", rate.of_label) : "assumed: no earlier dump tells"),
              "a load takes longer still, since every index is built anew",
              "rely on physical backups (backup, restore) to recover, and dump what has to go elsewhere: --schema, "
              "--table, --split=partition; more --jobs read several tables at a time");
  }
  if (scene.facts.large_objects > kManyLargeObjects && scene.selection.large_objects()) {
    scene.add(kWarning, "large_objects",
              fmt::format("there are {}", dump_count(scene.facts.large_objects, "large object")),
              fmt::format("{}, and a load in one transaction takes a lock for each",
                          scene.server.version_num >= 170000
                              ? "they are read one by one over a single connection"
                              : "pg_dump before 17 keeps an entry for each in memory and reads them one by one"),
              "move them into tables with bytea columns, or leave them out with --no-large-objects");
  }
  return warn_of_lock_table(scene);
}

Result<> warn_of_snapshot(DumpWarningScene& scene) {
  const auto rows = query_that_may_fail(
      scene.session,
      "SELECT age(d.datfrozenxid), coalesce(s.dead, 0), coalesce(s.worst, ''), coalesce((SELECT max(age(backend_xmin)) "
      "FROM pg_stat_activity WHERE datname = d.datname AND pid <> pg_backend_pid()), 0) FROM pg_database d, "
      "(SELECT sum(n_dead_tup) AS dead, (array_agg(quote_ident(schemaname) || '.' || quote_ident(relname) ORDER BY "
      "n_dead_tup DESC))[1] AS worst FROM pg_stat_user_tables WHERE n_dead_tup > 0) s WHERE d.datname = "
      "current_database()");
  if (!rows) return is_end_of_session(rows.error()) ? Result<>(rows.error()) : Result<>();
  if (rows->size() != 1) return {};
  const PgRow& row = rows->front();
  const auto age = row_number<uint64_t>(row, 0);
  const auto dead = row_number<uint64_t>(row, 1);
  const auto oldest = row_number<uint64_t>(row, 3);
  if (scene.seconds < kLongSnapshot && age < kOldTransactionId) return {};
  std::string now = fmt::format("its oldest transaction ID is {} old", dump_count(age, "transaction"));
  if (dead > 0)
    now += fmt::format(", {} wait for vacuum, most of them in {}", dump_count(dead, "dead row"), row_text(row, 2));
  if (oldest > 0) now += fmt::format(", and some session holds back {} already", dump_count(oldest, "transaction"));
  scene.add(
      kWarning, "long_snapshot", fmt::format("one snapshot is held for about {}; {}", dump_time(scene.seconds), now),
      "as long as it is, vacuum removes nothing that dies in this database: tables that are updated much grow, and "
      "stay so; near two billion transactions the server stops taking writes",
      age >= kOldTransactionId ? "let vacuum freeze the database first: VACUUM (FREEZE) on the tables with the "
                                 "highest age(relfrozenxid)"
                               : "dump at a time of few writes, from a standby, or in parts");
  return {};
}

Result<> warn_of_waits(DumpWarningScene& scene) {
  TRY(warn_of_locks(scene));
  return warn_of_old_transactions(scene);
}

Result<> warn_of_standby(DumpWarningScene& scene) {
  if (!scene.server.in_recovery) return {};
  TRY_ASSIGN(const PgRows rows,
             scene.session.query("SELECT (SELECT setting FROM pg_settings WHERE name = 'max_standby_streaming_delay'), "
                                 "(SELECT setting FROM pg_settings WHERE name = 'hot_standby_feedback')"));
  const auto delay_ms = rows.empty() ? 0 : row_number<int64_t>(rows.front(), 0);
  const bool feedback = !rows.empty() && row_text(rows.front(), 1) == "on";
  if (delay_ms >= 0 && scene.seconds > static_cast<double>(delay_ms) / 1000) {
    scene.add(
        kWarning, "standby_conflict",
        fmt::format("the server is a standby that cancels queries once they hold up replay for {} s", delay_ms / 1000),
        feedback ? "hot_standby_feedback keeps most conflicts away, not those with locks: ALTER TABLE, DROP and "
                   "TRUNCATE on the primary still end the dump"
                 : "a vacuum on the primary that removes rows the dump still sees ends it with \"canceling "
                   "statement due to conflict with recovery\"",
        feedback ? "raise max_standby_streaming_delay on the standby above the time a dump takes"
                 : "set hot_standby_feedback = on on the standby, or raise max_standby_streaming_delay above the "
                   "time a dump takes");
  } else if (delay_ms < 0) {
    scene.add(kInfo, "standby_conflict", "the server is a standby whose replay waits for queries without limit",
              "a conflict with the dump stops replay until the dump has ended: the standby falls behind",
              "watch the lag of the standby while it is dumped");
  }
  return {};
}

const DumpTable* DumpWarningScene::table(uint32_t oid) const {
  const auto at = std::lower_bound(facts.tables.begin(), facts.tables.end(), oid,
                                   [](const DumpTable& one, uint32_t wanted) { return one.oid < wanted; });
  return at != facts.tables.end() && at->oid == oid ? &*at : nullptr;
}

void DumpWarningScene::add(DumpWarning::Severity severity, std::string code, std::string what, std::string why,
                           std::string mend) {
  found.push_back({severity, std::move(code), database(), std::move(what), std::move(why), std::move(mend)});
}

std::string dump_table_name(const DumpTable& table) {
  return pg::quote_identifier(table.schema) + "." + pg::quote_identifier(table.name);
}

std::string dump_name_list(const std::vector<std::string>& names) {
  constexpr size_t kShownMax = 5;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShownMax); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kShownMax) text += fmt::format(" and {} more", names.size() - kShownMax);
  return text;
}

std::string dump_count(uint64_t count, std::string_view noun) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return fmt::format("{} {}{}", digits, noun, count == 1 ? "" : "s");
}

std::string dump_time(double seconds) {
  const auto count = [&](double unit, std::string_view noun) {
    return dump_count(static_cast<uint64_t>(std::max(1.0, std::round(seconds / unit))), noun);
  };
  if (seconds < 100) return count(1, "second");
  if (seconds < 100 * 60) return count(60, "minute");
  return seconds < 48 * kHour ? count(kHour, "hour") : count(24 * kHour, "day");
}

std::string dump_bytes(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (value /= 1024; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return value < 10 ? fmt::format("{:.1f} {}", value, kUnits[unit]) : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

std::vector<DumpWarning> find_dump_server_warnings(const DumpServerFacts& server, bool role_passwords) {
  std::vector<DumpWarning> found;
  if (!server.not_connectable.empty()) {
    found.push_back(
        {kWarning, "databases_left_out", "",
         fmt::format("role {} may not connect to {}: {}", server.role,
                     dump_count(server.not_connectable.size(), "database"), dump_name_list(server.not_connectable)),
         "they are not dumped",
         fmt::format("GRANT CONNECT ON DATABASE ... TO {}; those of a managed service itself need no dump",
                     pg::quote_identifier(server.role))});
  }
  if (role_passwords && !server.can_read_passwords) {
    found.push_back({kWarning, "role_passwords_hidden", "",
                     fmt::format("role {} may not read the passwords of roles (pg_authid)", server.role),
                     "roles are dumped without them: after a load nobody can log in with one",
                     "keep the passwords elsewhere, or dump as a superuser; --no-role-passwords accepts it"});
  }
  return found;
}

Result<std::vector<DumpWarning>> find_dump_warnings(PgSession& session, const DumpServerFacts& server,
                                                    const DumpDatabaseFacts& facts, const DumpRate& rate,
                                                    const std::vector<std::string>& arguments) {
  const std::string other_role = DumpSelection(arguments, {}, {}).value("role");
  const std::string context = "look for what hurts a dump of database " + facts.database.name;
  const auto became = other_role.empty()
                          ? Result<PgRows>(PgRows{})
                          : query_that_may_fail(session, "SET LOCAL ROLE " + pg::quote_identifier(other_role));
  if (!became) {
    if (is_end_of_session(became.error())) return Error(became.error());
    return std::vector<DumpWarning>{
        {kError, "role_refused", facts.database.name,
         fmt::format("role '{}' cannot be taken: {}", other_role, became.error().message()),
         "pg_dump becomes that role first (--role) and fails",
         fmt::format("GRANT {} TO {}", pg::quote_identifier(other_role), pg::quote_identifier(server.role))}};
  }
  TRY_ASSIGN_CTX(const PgRows who,
                 session.query("SELECT current_user, coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = "
                               "current_user), false)"),
                 context);
  const std::string role = who.empty() ? server.role : row_text(who.front(), 0);
  TRY_ASSIGN_CTX(auto path, default_search_path(session, role), context);
  const DumpSelection selection(arguments, std::move(path), facts.tables);
  DumpWarningScene scene{session, server, facts, selection, role, !who.empty() && row_true(who.front(), 1), 0, 0, {}};
  scene.bytes = chosen_bytes(facts, selection);
  scene.seconds =
      static_cast<double>(scene.bytes) / (rate.bytes_per_second > 0 ? rate.bytes_per_second : kAssumedBytesPerSecond);
  TRY_CTX(look(scene, rate), context);
  if (!other_role.empty()) TRY_CTX(session.exec("RESET ROLE"), context);
  std::stable_sort(scene.found.begin(), scene.found.end(),
                   [](const DumpWarning& a, const DumpWarning& b) { return a.severity > b.severity; });
  return std::move(scene.found);
}

}  // namespace pgark
