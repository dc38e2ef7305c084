// Facts of a server for a dump: who we are there, its databases, roles and tablespaces, as far as an ordinary role may
// see them; and the snapshot that everything of a database is read with.
#include <algorithm>
#include <map>

#include "ops/dump_facts_parts.h"

namespace pgark {
namespace {

constexpr uint32_t kOldestVersion = 100000;

Result<> read_identity(PgSession& session, DumpServerFacts& facts) {
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT current_setting('server_version_num'), current_setting('server_version'), "
                           "pg_is_in_recovery(), current_user, "
                           "coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false), "
                           "has_table_privilege('pg_catalog.pg_authid', 'SELECT'), "
                           "has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"));
  if (rows.size() != 1) return Error(Errc::kInternal, "ask server what it is: answer is not one row");
  const PgRow& row = rows.front();
  facts.version_num = row_number<uint32_t>(row, 0);
  facts.version = row_text(row, 1);
  facts.in_recovery = row_true(row, 2);
  facts.role = row_text(row, 3);
  facts.superuser = row_true(row, 4);
  facts.can_read_passwords = row_true(row, 5);
  if (facts.version_num < kOldestVersion) {
    return Error(Errc::kUnsupported, fmt::format("{} is PostgreSQL {}: versions before 10 are not supported",
                                                 session.describe(), facts.version));
  }
  if (!row_true(row, 6)) return {};
  // Managed servers may refuse it in ways of their own.
  const auto system = session.query("SELECT system_identifier FROM pg_control_system()");
  if (system && system->size() == 1) {
    facts.system_identifier = static_cast<uint64_t>(row_number<int64_t>(system->front(), 0));
  } else if (!system && is_end_of_session(system.error())) {
    return Error(system.error());
  }
  return {};
}

/// ALTER DATABASE ... SET and ALTER ROLE ... IN DATABASE ... SET, by database.
Result<> read_database_settings(PgSession& session, std::vector<FoundDatabase>& databases) {
  TRY_ASSIGN(const PgRows rows, session.query("SELECT s.setdatabase, coalesce(r.rolname, ''), c.one "
                                              "FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, "
                                              "unnest(s.setconfig) WITH ORDINALITY AS c(one, place) "
                                              "WHERE s.setdatabase <> 0 ORDER BY 1, 2, c.place"));
  std::map<uint32_t, DumpDatabase*> by_oid;
  for (FoundDatabase& one : databases) by_oid.emplace(one.database.oid, &one.database);
  for (const PgRow& row : rows) {
    const auto found = by_oid.find(row_number<uint32_t>(row, 0));
    if (found != by_oid.end()) found->second->settings.emplace_back(row_text(row, 1), row_text(row, 2));
  }
  return {};
}

Result<> read_roles(PgSession& session, DumpServerFacts& facts) {
  TRY_ASSIGN(const PgRows rows, session.query("SELECT rolname, rolcanlogin, rolsuper FROM pg_roles "
                                              "WHERE rolname !~ '^pg_' ORDER BY rolname"));
  std::map<std::string, DumpRole*> by_name;
  facts.roles.reserve(rows.size());
  for (const PgRow& row : rows) {
    facts.roles.push_back({row_text(row, 0), row_true(row, 1), row_true(row, 2), {}});
    by_name.emplace(facts.roles.back().name, &facts.roles.back());
  }
  // From 16 on a membership may be granted several times, by different roles.
  TRY_ASSIGN(const PgRows members,
             session.query("SELECT DISTINCT m.rolname, g.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = "
                           "a.member JOIN pg_roles g ON g.oid = a.roleid ORDER BY 1, 2"));
  for (const PgRow& row : members) {
    const auto found = by_name.find(row_text(row, 0));
    if (found != by_name.end()) found->second->member_of.push_back(row_text(row, 1));
  }
  return {};
}

/// Where the server is in its WAL, and its time. Not in the statement that exports: some managed servers refuse it.
Result<> read_position(PgSession& session, DumpSnapshot& snapshot) {
  TRY_ASSIGN(const PgRows time, session.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"));
  if (time.size() == 1) snapshot.time = Timestamp(std::chrono::microseconds(row_number<int64_t>(time.front(), 0)));
  const auto lsn = query_that_may_fail(session,
                                       "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
                                       "ELSE pg_current_wal_insert_lsn() END");
  if (lsn && lsn->size() == 1) {
    snapshot.lsn = row_text(lsn->front(), 0);
  } else if (!lsn && is_end_of_session(lsn.error())) {
    return Error(lsn.error());
  }
  return {};
}

}  // namespace

bool is_end_of_session(const Error& error) {
  return error.code() == Errc::kCancelled || error.code() == Errc::kTransient;
}

Result<PgRows> query_that_may_fail(PgSession& session, const std::string& sql, const PgParams& params) {
  TRY(session.exec("SAVEPOINT pgark_may_fail"));
  auto rows = session.query(sql, params);
  if (!rows && rows.error().code() == Errc::kCancelled) return rows;
  if (!rows) TRY(session.exec("ROLLBACK TO SAVEPOINT pgark_may_fail"));
  TRY(session.exec("RELEASE SAVEPOINT pgark_may_fail"));
  return rows;
}

Result<std::vector<FoundDatabase>> read_dump_databases(PgSession& session, uint32_t version_num,
                                                       const std::string& condition, bool sizes,
                                                       const PgParams& params) {
  const bool records_provider = version_num >= 150000;
  TRY_ASSIGN(
      const PgRows rows,
      session.query(
          fmt::format(
              "SELECT d.datname, d.oid, coalesce(r.rolname, ''), pg_encoding_to_char(d.encoding), "
              "d.datcollate, d.datctype, {}, {}, t.spcname, coalesce(d.datacl::text, ''), d.datconnlimit, "
              "d.datallowconn, has_database_privilege(d.oid, 'CONNECT'), {} "
              "FROM pg_database d LEFT JOIN pg_roles r ON r.oid = d.datdba "
              "LEFT JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE {} ORDER BY d.datname",
              records_provider ? "CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END"
                               : "'libc'",
              records_provider ? "coalesce(d.datcollversion, '')" : "''",
              sizes ? "CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END" : "NULL",
              condition),
          params));
  std::vector<FoundDatabase> found;
  for (const PgRow& row : rows) {
    FoundDatabase one;
    DumpDatabase& database = one.database;
    database.name = row_text(row, 0);
    database.oid = row_number<uint32_t>(row, 1);
    database.owner = row_text(row, 2);
    database.encoding = row_text(row, 3);
    database.collate = row_text(row, 4);
    database.ctype = row_text(row, 5);
    database.locale_provider = row_text(row, 6);
    database.collation_version = row_text(row, 7);
    database.tablespace = row_text(row, 8);
    database.acl = row_text(row, 9);
    database.connection_limit = row_number<int32_t>(row, 10, -1);
    database.bytes = row_number<uint64_t>(row, 13);
    // -2: DROP DATABASE was interrupted.
    one.connectable = row_true(row, 11) && row_true(row, 12) && database.connection_limit != -2;
    found.push_back(std::move(one));
  }
  TRY(read_database_settings(session, found));
  return found;
}

Result<DumpServerFacts> read_dump_server_facts(PgSession& session) {
  DumpServerFacts facts;
  TRY(read_identity(session, facts));
  auto databases = read_dump_databases(session, facts.version_num, "NOT d.datistemplate", true);
  // A database dropped meanwhile has no size, nor one whose files the service hides.
  if (!databases && !is_end_of_session(databases.error()))
    databases = read_dump_databases(session, facts.version_num, "NOT d.datistemplate", false);
  if (!databases) return Error(std::move(databases).error());
  for (FoundDatabase& one : *databases) {
    if (one.connectable) {
      facts.databases.push_back(std::move(one.database));
    } else {
      facts.not_connectable.push_back(std::move(one.database.name));
    }
  }
  TRY(read_roles(session, facts));
  TRY_ASSIGN(const PgRows tablespaces, session.query("SELECT spcname FROM pg_tablespace WHERE spcname NOT IN "
                                                     "('pg_default', 'pg_global') ORDER BY spcname"));
  for (const PgRow& row : tablespaces) facts.tablespaces.push_back(row_text(row, 0));
  return facts;
}

Result<DumpSnapshot> begin_dump_snapshot(PgSession& session, bool serializable_deferrable) {
  const std::string begin = serializable_deferrable ? "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
                                                    : "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
  TRY_CTX(session.exec(begin), "begin snapshot");
  DumpSnapshot snapshot;
  // Here a deferrable transaction waits until its snapshot is safe.
  auto exported = session.query_value("SELECT pg_export_snapshot()");
  if (exported) {
    snapshot.id = *exported;
  } else if (exported.error().code() == Errc::kCancelled || exported.error().code() == Errc::kTransient) {
    return Error(std::move(exported).error()).with_context("export snapshot");
  } else {
    TRY_CTX(session.exec("ROLLBACK"), "begin snapshot");
    TRY_CTX(session.exec(begin), "begin snapshot");
  }
  TRY_CTX(read_position(session, snapshot), "read position of snapshot");
  return snapshot;
}

}  // namespace pgark
