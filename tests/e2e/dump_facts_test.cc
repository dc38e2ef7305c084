// What a dump asks real servers of every version: facts in any role's eyes, the order of schemas, and warnings where a
// dump would hurt, each with its reason.
#include "ops/dump_facts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "testing/pg_server.h"

namespace pgark::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

class DumpFacts : public ::testing::TestWithParam<int> {
 protected:
  void create(const PgInstall& install, PgOptions options = {}) {
    ASSERT_OK_AND_ASSIGN(server_, PgServer::create(install, options));
    ASSERT_OK(server_->start());
  }

  PgEndpoint endpoint(const std::string& user, const std::string& database) const {
    PgEndpoint endpoint;
    endpoint.socket_path = server_->socket_dir();
    endpoint.port = static_cast<uint16_t>(server_->port());
    endpoint.user = user;
    endpoint.database = database;
    return endpoint;
  }
  Result<std::unique_ptr<PgSession>> session(const std::string& user = "postgres",
                                             const std::string& database = "postgres") {
    return open_pg_session(endpoint(user, database), cancel_);
  }
  Result<> sql_in(const std::string& database, const std::string& sql) {
    TRY_ASSIGN(PgConnection connection, server_->connect(database));
    return connection.exec(sql);
  }

  struct Looked {
    DumpServerFacts server;
    DumpDatabaseFacts facts;
    DumpSnapshot snapshot;
    std::vector<DumpWarning> warnings;
    /// The warning of a code; an empty one if there is none.
    DumpWarning warning(std::string_view code) const {
      for (const DumpWarning& one : warnings)
        if (one.code == code) return one;
      return {};
    }
    std::vector<std::string> codes() const {
      std::vector<std::string> all;
      for (const DumpWarning& one : warnings) all.push_back(one.code);
      return all;
    }
    const DumpTable* table(std::string_view schema, std::string_view name) const {
      for (const DumpTable& one : facts.tables)
        if (one.schema == schema && one.name == name) return &one;
      return nullptr;
    }
  };
  Result<Looked> look(const std::string& user, const std::string& database,
                      const std::vector<std::string>& arguments = {}, const DumpRate& rate = {}) {
    Looked looked;
    TRY_ASSIGN(const auto one, session(user, database));
    TRY_ASSIGN(looked.server, read_dump_server_facts(*one));
    TRY_ASSIGN(looked.snapshot, begin_dump_snapshot(*one, false));
    TRY_ASSIGN(looked.facts, read_dump_database_facts(*one, looked.server, database));
    TRY_ASSIGN(looked.warnings, find_dump_warnings(*one, looked.server, looked.facts, rate, arguments));
    TRY(one->exec("COMMIT"));  // Whatever was refused on the way, the transaction was kept usable.
    for (const DumpWarning& warning : looked.warnings) {
      EXPECT_FALSE(warning.code.empty() || warning.what.empty() || warning.why.empty() || warning.mend.empty());
      EXPECT_EQ(warning.database, database);
    }
    return looked;
  }

  std::unique_ptr<PgServer> server_;
  CancelToken cancel_;
};

class DumpFactsOf : public DumpFacts {};
INSTANTIATE_TEST_SUITE_P(Each, DumpFactsOf, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

constexpr const char* kObjects = R"sql(
  CREATE SCHEMA shared; CREATE SCHEMA app; CREATE SCHEMA reports; CREATE SCHEMA a_ring; CREATE SCHEMA b_ring;
  CREATE SCHEMA "Odd one";
  CREATE TYPE shared.state AS ENUM ('new', 'old');
  CREATE TABLE shared.customers (id bigint PRIMARY KEY, name text);
  CREATE TABLE app.orders (id bigint PRIMARY KEY, customer bigint REFERENCES shared.customers, state shared.state);
  CREATE VIEW reports.open AS SELECT * FROM app.orders WHERE state = 'new';
  CREATE MATERIALIZED VIEW reports.totals AS SELECT count(*) AS n FROM app.orders;
  CREATE TABLE a_ring.one (id int PRIMARY KEY); CREATE TABLE b_ring.two (id int PRIMARY KEY REFERENCES a_ring.one);
  ALTER TABLE a_ring.one ADD FOREIGN KEY (id) REFERENCES b_ring.two;
  CREATE TABLE "Odd one"."Table" (day date, n int) PARTITION BY RANGE (day);
  CREATE TABLE "Odd one".january PARTITION OF "Odd one"."Table" FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
  INSERT INTO "Odd one"."Table" SELECT '2026-01-15', n FROM generate_series(1, 10000) n;
  CREATE UNLOGGED TABLE app.scratch AS SELECT 1 AS n;
  CREATE SEQUENCE app.numbers;
  SELECT lo_create(0) FROM generate_series(1, 3);
)sql";

TEST_P(DumpFactsOf, SuperuserSeesEverything) {
  PGARK_REQUIRE_PG(install, GetParam());
  create(install);
  ASSERT_OK(server_->exec("CREATE ROLE staff; CREATE ROLE clerk LOGIN IN ROLE staff, pg_monitor"));
  ASSERT_OK(server_->exec("CREATE DATABASE app OWNER clerk"));
  ASSERT_OK(
      server_->exec("ALTER DATABASE app SET work_mem = '8MB'; ALTER ROLE clerk IN DATABASE app SET "
                    "search_path = app, public; ALTER DATABASE app CONNECTION LIMIT 7; GRANT TEMP ON DATABASE app "
                    "TO staff"));
  ASSERT_OK(server_->create_tablespace("fast"));
  ASSERT_OK(sql_in("app", kObjects));

  ASSERT_OK_AND_ASSIGN(const Looked looked, look("postgres", "app"));
  EXPECT_EQ(looked.server.version_num / 10000, static_cast<uint32_t>(GetParam()));
  ASSERT_OK_AND_ASSIGN(const uint64_t identifier, server_->system_identifier());
  EXPECT_EQ(looked.server.system_identifier, identifier);
  EXPECT_TRUE(looked.server.superuser);
  EXPECT_TRUE(looked.server.can_read_passwords);
  EXPECT_FALSE(looked.server.in_recovery);
  EXPECT_THAT(looked.server.tablespaces, ElementsAre("fast"));
  EXPECT_THAT(looked.server.not_connectable, IsEmpty());
  ASSERT_EQ(looked.server.databases.size(), 2u) << "templates are left out";
  ASSERT_EQ(looked.server.roles.size(), 3u);
  EXPECT_EQ(looked.server.roles[0].name, "clerk");
  EXPECT_TRUE(looked.server.roles[0].login);
  EXPECT_THAT(looked.server.roles[0].member_of, ElementsAre("pg_monitor", "staff"));

  const DumpDatabase& database = looked.facts.database;
  EXPECT_EQ(database.name, "app");
  EXPECT_EQ(database.owner, "clerk");
  EXPECT_EQ(database.encoding, "UTF8");
  EXPECT_EQ(database.tablespace, "pg_default");
  EXPECT_GT(database.bytes, 1u << 20);
  EXPECT_EQ(database.connection_limit, 7);
  EXPECT_THAT(database.acl, HasSubstr("staff=T/"));
  EXPECT_THAT(database.settings, ElementsAre(Pair("", "work_mem=8MB"), Pair("clerk", "search_path=app, public")));
  ASSERT_EQ(database.extensions.size(), 1u);
  EXPECT_EQ(database.extensions[0].name, "plpgsql");
  EXPECT_EQ(looked.facts.large_objects, 3u);
  EXPECT_EQ(database.large_object_count, 3u);

  // Each schema after those it needs; a ring stands together.
  EXPECT_THAT(looked.facts.schemas, ElementsAre("Odd one", "a_ring", "b_ring", "shared", "app", "public", "reports"));
  EXPECT_THAT(looked.facts.schema_cycles, ElementsAre(ElementsAre("a_ring", "b_ring")));

  const DumpTable* parent = looked.table("Odd one", "Table");
  ASSERT_NE(parent, nullptr);
  EXPECT_EQ(parent->kind, 'p');
  EXPECT_EQ(parent->partition_key, "RANGE (day)");
  const DumpTable* january = looked.table("Odd one", "january");
  ASSERT_NE(january, nullptr);
  EXPECT_EQ(january->parent, "\"Odd one\".\"Table\"");
  EXPECT_EQ(january->bound, "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')");
  EXPECT_GT(january->bytes, 300'000u);
  ASSERT_NE(looked.table("app", "numbers"), nullptr);
  EXPECT_EQ(looked.table("app", "numbers")->kind, 'S');
  ASSERT_NE(looked.table("reports", "totals"), nullptr);
  EXPECT_EQ(looked.table("reports", "open"), nullptr) << "views have no rows of their own";
  ASSERT_NE(looked.table("app", "scratch"), nullptr);
  EXPECT_TRUE(looked.table("app", "scratch")->unlogged);
  EXPECT_EQ(database.table_count, 8u);

  EXPECT_FALSE(looked.snapshot.id.empty());
  EXPECT_THAT(looked.snapshot.lsn, HasSubstr("/"));
  EXPECT_GT(looked.snapshot.time, Timestamp(std::chrono::sys_days(std::chrono::year(2020) / 1 / 1)));
  EXPECT_EQ(looked.warning("unlogged_tables").severity, DumpWarning::Severity::kInfo);
  EXPECT_THAT(looked.warning("schema_cycle").what, HasSubstr("a_ring, b_ring"));
  EXPECT_EQ(looked.codes().size(), 2u) << fmt::format("{}", fmt::join(looked.codes(), " "));
}

TEST_P(DumpFactsOf, OrdinaryRoleIsToldWhatItCannotRead) {
  PGARK_REQUIRE_PG(install, GetParam());
  create(install);
  // As on a managed server: what is the service's own refuses.
  ASSERT_OK(server_->exec("CREATE ROLE dumper LOGIN"));
  ASSERT_OK(server_->exec("CREATE DATABASE app"));
  ASSERT_OK(server_->exec("CREATE DATABASE internal"));
  ASSERT_OK(server_->exec("REVOKE CONNECT ON DATABASE internal FROM PUBLIC"));
  ASSERT_OK(sql_in("app", "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"));
  ASSERT_OK(sql_in("app", kObjects));
  ASSERT_OK(sql_in("app", R"sql(
    GRANT USAGE ON SCHEMA app, shared, a_ring, b_ring, "Odd one" TO dumper;
    GRANT SELECT ON ALL TABLES IN SCHEMA app, a_ring, b_ring, "Odd one" TO dumper;
    CREATE SCHEMA hidden; CREATE TABLE hidden.t (n int);
    CREATE TABLE app.filtered (n int); ALTER TABLE app.filtered ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON app.filtered TO dumper;
  )sql"));
  ASSERT_OK_AND_ASSIGN(const Looked looked, look("dumper", "app"));
  EXPECT_FALSE(looked.server.superuser);
  EXPECT_FALSE(looked.server.can_read_passwords);
  EXPECT_EQ(looked.server.system_identifier, 0u);
  EXPECT_THAT(looked.server.not_connectable, ElementsAre("internal"));
  EXPECT_EQ(looked.server.databases.size(), 2u);
  EXPECT_EQ(looked.facts.database.name, "app");
  EXPECT_GT(looked.facts.database.bytes, 0u);
  EXPECT_NE(looked.table("hidden", "t"), nullptr);

  EXPECT_THAT(looked.warning("unreadable_schemas").what, AllOf(HasSubstr("hidden"), Not(HasSubstr("app"))));
  EXPECT_THAT(looked.warning("unreadable_tables").what, HasSubstr("1 table: shared.customers"));
  EXPECT_THAT(looked.warning("unreadable_sequences").what, HasSubstr("app.numbers"));
  EXPECT_THAT(looked.warning("row_security").what, HasSubstr("app.filtered"));
  EXPECT_THAT(looked.warning("unreadable_large_objects").what, HasSubstr("3 large objects"));
  for (const char* code :
       {"unreadable_schemas", "unreadable_tables", "unreadable_sequences", "row_security", "unreadable_large_objects"})
    EXPECT_EQ(looked.warning(code).severity, DumpWarning::Severity::kError) << code;
  EXPECT_THAT(looked.warning("unreadable_tables").mend,
              HasSubstr(GetParam() >= 14 ? "GRANT pg_read_all_data TO dumper" : "GRANT SELECT ON ALL TABLES"));
  const auto of_server = find_dump_server_warnings(looked.server, true);
  ASSERT_EQ(of_server.size(), 2u);
  EXPECT_THAT(of_server[0].what, HasSubstr("internal"));

  // What is left out, or accepted, is no reason any more.
  ASSERT_OK_AND_ASSIGN(const Looked accepted, look("dumper", "app",
                                                   {"--exclude-schema=hidden", "--exclude-table=shared.customers",
                                                    "--exclude-table=app.numbers", "--no-large-objects",
                                                    "--enable-row-security", "--no-unlogged-table-data"}));
  EXPECT_THAT(accepted.codes(), ElementsAre("row_security", "schema_cycle"));
  EXPECT_EQ(accepted.warning("row_security").severity, DumpWarning::Severity::kWarning);

  // --role is who reads.
  ASSERT_OK(server_->exec("GRANT postgres TO dumper"));
  ASSERT_OK_AND_ASSIGN(const Looked as_owner, look("dumper", "app", {"--role=postgres"}));
  EXPECT_THAT(as_owner.codes(), ElementsAre("unlogged_tables", "schema_cycle"));
  ASSERT_OK_AND_ASSIGN(const Looked refused, look("dumper", "app", {"--role=nobody"}));
  EXPECT_THAT(refused.codes(), ElementsAre("role_refused"));
}

TEST_P(DumpFactsOf, LocksAreToldAndNotWaitedFor) {
  PGARK_REQUIRE_PG(install, GetParam());
  PgOptions options;
  options.config = {"max_prepared_transactions = 5"};
  create(install, options);
  ASSERT_OK(
      server_->exec("CREATE TABLE busy AS SELECT generate_series(1, 10000) AS n; CREATE TABLE calm (n int); "
                    "CREATE TABLE parted (n int) PARTITION BY LIST (n); CREATE TABLE one PARTITION OF parted FOR "
                    "VALUES IN (1); CREATE TABLE prepared (n int)"));
  ASSERT_OK(server_->exec("VACUUM busy"));
  ASSERT_OK_AND_ASSIGN(PgConnection holder, server_->connect());
  ASSERT_OK(holder.exec("BEGIN; LOCK TABLE busy, one IN ACCESS EXCLUSIVE MODE"));
  ASSERT_OK_AND_ASSIGN(PgConnection preparer, server_->connect());
  ASSERT_OK(preparer.exec("BEGIN; LOCK TABLE prepared IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'p'"));
  ASSERT_OK_AND_ASSIGN(const Looked looked, look("postgres", "postgres"));
  ASSERT_NE(looked.table("public", "busy"), nullptr);
  EXPECT_GT(looked.table("public", "busy")->bytes, 300'000u) << "estimated from the catalog";
  const DumpWarning warning = looked.warning("blocking_locks");
  EXPECT_THAT(warning.what, AllOf(HasSubstr("3 tables are locked"), HasSubstr("public.busy"), HasSubstr("public.one"),
                                  HasSubstr("public.prepared"), Not(HasSubstr("public.calm")),
                                  HasSubstr("idle in transaction"), HasSubstr("a prepared transaction")));
  ASSERT_OK_AND_ASSIGN(const Looked without, look("postgres", "postgres", {"--table=public.calm"}));
  EXPECT_EQ(without.warning("blocking_locks").code, "");
  ASSERT_OK(holder.exec("ROLLBACK"));
  ASSERT_OK(preparer.exec("ROLLBACK PREPARED 'p'"));
}

TEST_P(DumpFactsOf, WhatHurtsIsTold) {
  PGARK_REQUIRE_PG(install, GetParam());
  PgOptions options;
  options.config = {"max_locks_per_transaction = 10", "max_connections = 20", "autovacuum = off"};
  create(install, options);
  ASSERT_OK(server_->exec("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0"));
  ASSERT_OK(sql_in("ascii", R"sql(
    CREATE TABLE twice (n int); INSERT INTO twice VALUES (1), (1);
    CREATE TABLE grown AS SELECT generate_series(1, 1000) AS n; DELETE FROM grown;
    SELECT lo_create(0) FROM generate_series(1, 5001);
    CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER away FOREIGN DATA WRAPPER nothing;
    CREATE FOREIGN TABLE far (n int) SERVER away;
  )sql"));
  ASSERT_OK(sql_in("ascii", "SELECT lo_create(0) FROM generate_series(1, 5001)"));
  for (int part = 0; part < 15; ++part) {
    ASSERT_OK(sql_in("ascii", fmt::format("DO $$ BEGIN FOR i IN 1..10 LOOP EXECUTE format('CREATE TABLE t_{}_%s (n "
                                          "int)', i); END LOOP; END $$",
                                          part)));
  }
  ASSERT_OK_AND_ASSIGN(PgConnection failing, server_->connect("ascii"));
  ASSERT_FALSE(failing.exec("CREATE UNIQUE INDEX CONCURRENTLY broken ON twice (n)").has_value());

  DumpRate rate;
  rate.bytes_per_second = 1;  // So slow that anything takes long.
  rate.of_label = "20261101-000000L";
  ASSERT_OK_AND_ASSIGN(const Looked looked, look("postgres", "ascii", {}, rate));
  EXPECT_THAT(looked.warning("large_database").what,
              AllOf(HasSubstr("as dump 20261101-000000L went"), HasSubstr("1 B/s")));
  EXPECT_THAT(looked.warning("long_snapshot").what, HasSubstr("one snapshot is held for about"));
  EXPECT_THAT(looked.warning("large_objects").what, HasSubstr("10,002 large objects"));
  EXPECT_THAT(looked.warning("many_tables").what, HasSubstr("152 tables have to be locked"));
  EXPECT_THAT(looked.warning("invalid_indexes").what, HasSubstr("public.broken"));
  EXPECT_THAT(looked.warning("foreign_tables").what, HasSubstr("public.far"));
  EXPECT_THAT(looked.warning("sql_ascii").what, HasSubstr("SQL_ASCII"));
  ASSERT_OK_AND_ASSIGN(const Looked quick, look("postgres", "ascii", {"--table=twice"}));
  EXPECT_THAT(quick.codes(), ::testing::UnorderedElementsAre("invalid_indexes", "sql_ascii"));
}

TEST_P(DumpFactsOf, StandbyTellsWhatItLacksAndCancels) {
  PGARK_REQUIRE_PG(install, GetParam());
  if (GetParam() < 12) GTEST_SKIP() << "the copy below becomes a standby by a file that 12 introduced";
  create(install);
  ASSERT_OK(
      server_->exec("CREATE UNLOGGED TABLE fast AS SELECT 1 AS n; CREATE TABLE t AS SELECT "
                    "generate_series(1, 100000) AS n"));
  ASSERT_OK(server_->stop());
  const std::string copy = server_->scratch() / "standby";
  ASSERT_OK(copy_tree(server_->data_dir(), copy));
  ASSERT_OK(write_file_durable(copy + "/standby.signal", ""));
  ASSERT_OK_AND_ASSIGN(auto standby, PgServer::adopt(copy, install));
  ASSERT_OK(standby->start());
  std::swap(server_, standby);
  DumpRate rate;
  rate.bytes_per_second = 100'000;
  ASSERT_OK_AND_ASSIGN(const Looked looked, look("postgres", "postgres", {}, rate));
  EXPECT_TRUE(looked.server.in_recovery);
  EXPECT_FALSE(looked.snapshot.id.empty()) << "a standby exports snapshots from 10 on";
  EXPECT_EQ(looked.warning("unlogged_tables").severity, DumpWarning::Severity::kWarning);
  EXPECT_THAT(looked.warning("standby_conflict").what, HasSubstr("30 s"));
}

TEST_P(DumpFactsOf, SnapshotStaysAsItWas) {
  PGARK_REQUIRE_PG(install, GetParam());
  create(install);
  ASSERT_OK(server_->exec("CREATE TABLE t AS SELECT 1 AS n"));
  for (const bool deferrable : {false, true}) {
    ASSERT_OK_AND_ASSIGN(const auto holder, session());
    ASSERT_OK_AND_ASSIGN(const DumpSnapshot snapshot, begin_dump_snapshot(*holder, deferrable));
    ASSERT_OK_AND_ASSIGN(const std::string before, holder->query_value("SELECT count(*) FROM public.t"));
    ASSERT_OK(server_->exec("INSERT INTO t VALUES (2)"));
    ASSERT_OK_AND_ASSIGN(PgConnection other, server_->connect());
    ASSERT_OK(other.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '" + snapshot.id + "'"));
    ASSERT_OK_AND_ASSIGN(const PgRows seen, other.query("SELECT count(*) FROM t"));
    EXPECT_EQ(seen.text(), before);
  }
}

}  // namespace
}  // namespace pgark::testing
