// `pgark dump` with real servers: formats and splits, roles without rights, what will hurt, other sources and places,
// and dumps that end before their end. What loads give back is tested elsewhere.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "codec/age.h"
#include "core/file.h"
#include "encryption_scene.h"
#include "logical_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

/// Rows of every table of the scene.
constexpr uint64_t kRows = 20'000 + 100 + 50 + 7 + 3 + 1'000;

/// Schemas whose names pg_dump could take for patterns, a partitioned table, and large objects.
constexpr const char* kScene = R"(
CREATE TABLE public.big AS SELECT g AS id, repeat(md5(g::text), 10) AS filler FROM generate_series(1, 20000) g;
CREATE SCHEMA tenant_1;
CREATE TABLE tenant_1.t AS SELECT g AS id, E'a\nb\t\\'::text AS v FROM generate_series(1, 100) g;
CREATE SCHEMA tenant_2;
CREATE TABLE tenant_2.t AS SELECT g AS id FROM generate_series(1, 50) g;
CREATE SCHEMA "tenant_?";
CREATE TABLE "tenant_?".t AS SELECT g AS id FROM generate_series(1, 7) g;
CREATE SCHEMA "Odd.Na""me*$|(";
CREATE TABLE "Odd.Na""me*$|("."T.""x*" (id serial, v text);
INSERT INTO "Odd.Na""me*$|("."T.""x*" (v) VALUES ('one'), (NULL), ('');
CREATE TABLE public.events (day date, n int) PARTITION BY RANGE (day);
CREATE TABLE public.events_01 PARTITION OF public.events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE public.events_02 PARTITION OF public.events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE public.events_03 PARTITION OF public.events FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
INSERT INTO public.events SELECT '2026-01-01'::date + g % 59, g FROM generate_series(1, 1000) g;
SELECT lo_from_bytea(0, 'object');
)";

class Dump : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    PGARK_REQUIRE_CLIENT(clients, 15);
    (void)clients;
    ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
    ASSERT_OK(server().exec("CREATE DATABASE app"));
    ASSERT_OK(server().exec("CREATE ROLE reader LOGIN"));
    ASSERT_OK(in_app(kScene));
  }

  PgServer& server() { return *scene_->server; }
  PgarkCli& cli() { return *scene_->cli; }
  Result<> in_app(const std::string& sql) {
    TRY_ASSIGN(PgConnection connection, server().connect("app"));
    return connection.exec(sql);
  }
  ProcessResult run(std::vector<std::string> args, const ProcessOptions& options = {}) {
    const auto result = cli().run(LogicalScene::with_clients(std::move(args)), options);
    EXPECT_TRUE(result.has_value());
    return result ? *result : ProcessResult{};
  }
  std::string spool() { return cli().directory() + "/spool/main/dump"; }
  /// What runs left there.
  std::vector<std::string> left_in_spool() {
    std::vector<std::string> left;
    if (!fs::exists(spool())) return left;
    for (const auto& entry : fs::directory_iterator(spool()))
      if (entry.path().filename() != "lock") left.push_back(entry.path().filename());
    return left;
  }
  size_t listed() {
    const auto labels = listed_dumps(cli());
    EXPECT_TRUE(labels.has_value());
    return labels ? labels->size() : 999;
  }
  /// Tables of a dump by "schema.name".
  Result<std::map<std::string, json>> tables_of(const std::string& label) {
    TRY_ASSIGN(const json shown, cli().run_json({"dump-ls", "--set=" + label}));
    std::map<std::string, json> tables;
    for (const json& table : shown.at("dump").at("tables"))
      tables[table.at("schema").get<std::string>() + "." + table.at("name").get<std::string>()] = table;
    return tables;
  }

  std::unique_ptr<LogicalScene> scene_;
};

uint64_t rows_of(const json& dump) {
  uint64_t rows = 0;
  for (const json& database : dump.at("databases")) rows += database.at("rows").get<uint64_t>();
  return rows;
}
std::vector<std::string> units_of(const json& dump) {
  std::vector<std::string> units;
  for (const json& unit : dump.at("units"))
    units.push_back(unit.at("kind").get<std::string>() + " " + unit.at("name").get<std::string>());
  return units;
}
std::vector<std::string> codes_of(const json& dump) {
  std::vector<std::string> codes;
  for (const json& warning : dump.at("warnings")) codes.push_back(warning.at("code"));
  return codes;
}

TEST_F(Dump, EveryFormatAndSplitHasEveryRow) {
  for (const char* format : {"directory", "custom", "plain", "tar"}) {
    for (const char* split : {"none", "schema", "partition"}) {
      SCOPED_TRACE(fmt::format("{} {}", format, split));
      ASSERT_OK_AND_ASSIGN(const json dump, scene_->dump({"--dbname=app", fmt::format("--format={}", format),
                                                          fmt::format("--split={}", split), "--jobs=3"}));
      EXPECT_EQ(rows_of(dump), kRows);
      EXPECT_EQ(dump.at("databases").at(0).at("large_objects"), 1);
      EXPECT_THAT(dump.at("client").get<std::string>(), ::testing::StartsWith("15."));
      const std::vector<std::string> expected =
          std::string(split) == "none" ? std::vector<std::string>{"globals globals", "whole "}
          : std::string(split) == "schema"
              ? std::vector<std::string>{"globals globals",      "common common",   "schema public",
                                         "schema tenant_1",      "schema tenant_2", "schema tenant_?",
                                         "schema Odd.Na\"me*$|("}
              : std::vector<std::string>{"globals globals", "definition definition", "partition events_01",
                                         "partition events_02"};
      EXPECT_THAT(units_of(dump), ::testing::UnorderedElementsAreArray(expected));
      ASSERT_OK_AND_ASSIGN(const auto tables, tables_of(dump.at("label")));
      EXPECT_EQ(tables.at("public.big").at("rows"), 20'000);
      EXPECT_EQ(tables.at("tenant_1.t").at("rows"), 100) << "line ends in values are no rows";
      EXPECT_EQ(tables.at("tenant_?.t").at("rows"), 7);
      EXPECT_EQ(tables.at("Odd.Na\"me*$|(.T.\"x*").at("rows"), 3);
      EXPECT_EQ(
          tables.at("public.events_01").at("rows").get<int>() + tables.at("public.events_02").at("rows").get<int>(),
          1'000);
    }
  }
  EXPECT_THAT(left_in_spool(), IsEmpty());
}

TEST_F(Dump, SchemaThatLooksLikeAPatternIsDumpedAlone) {
  ASSERT_OK_AND_ASSIGN(const json dump, scene_->dump({"--dbname=app", "--split=schema", "--schema=tenant_*",
                                                      "--exclude-schema=tenant_2", "--format=plain", "--no-globals"}));
  EXPECT_THAT(units_of(dump), UnorderedElementsAre("schema tenant_1", "schema tenant_?"));
  EXPECT_EQ(rows_of(dump), 107u);
  ASSERT_OK_AND_ASSIGN(const auto tables, tables_of(dump.at("label")));
  EXPECT_THAT(tables, ::testing::SizeIs(2));
  EXPECT_EQ(dump.at("globals"), false);
}

TEST_F(Dump, PublicationsThatLoseTablesBySplittingAreTold) {
  ASSERT_OK(in_app(
      "CREATE PUBLICATION p FOR TABLE tenant_1.t, public.big; CREATE PUBLICATION q FOR TABLES IN SCHEMA tenant_2"));
  ASSERT_OK_AND_ASSIGN(const json split, scene_->dump({"--dbname=app", "--split=schema"}));
  const auto& warnings = split.at("warnings");
  const auto found = std::find_if(warnings.begin(), warnings.end(),
                                  [](const json& warning) { return warning.at("code") == "publication_tables"; });
  ASSERT_NE(found, warnings.end());
  EXPECT_THAT(found->at("what").get<std::string>(), AllOf(HasSubstr("p (tenant_1.t)"), HasSubstr("q (tenant_2.*)")));
  ASSERT_OK_AND_ASSIGN(const json whole, scene_->dump({"--dbname=app"}));
  EXPECT_THAT(codes_of(whole), Not(Contains("publication_tables")));
}

TEST_F(Dump, DatabasesSideBySideAndThoseWithoutAMatchLeftOut) {
  for (const char* name : {"\"Odd = name\"", "other", "test_1"})
    ASSERT_OK(server().exec(fmt::format("CREATE DATABASE {}", name)));
  ASSERT_OK_AND_ASSIGN(const json all, scene_->dump({"--exclude-database=test_*", "--jobs=4"}));
  std::vector<std::string> names;
  for (const json& database : all.at("databases")) names.push_back(database.at("name"));
  EXPECT_THAT(names, UnorderedElementsAre("app", "postgres", "other", "Odd = name"));
  for (const json& database : all.at("databases"))
    EXPECT_THAT(database.at("snapshot").get<std::string>(), Not(IsEmpty()));
  EXPECT_EQ(rows_of(all), kRows);

  ASSERT_OK_AND_ASSIGN(const json part, scene_->dump({"--schema=tenant_1"}));
  EXPECT_EQ(part.at("databases").size(), 1u);
  EXPECT_THAT(codes_of(part), Contains("nothing_chosen"));
  const ProcessResult nowhere = run({"dump", "--schema=no_such"});
  EXPECT_EQ(nowhere.exit_code, 2) << nowhere.to_string();
  EXPECT_THAT(nowhere.err, HasSubstr("nothing in any database matches"));
  const ProcessResult missing = run({"dump", "--dbname=no_such"});
  EXPECT_EQ(missing.exit_code, 3) << missing.to_string();
  EXPECT_THAT(missing.err, HasSubstr("there are "));
}

TEST_F(Dump, RoleWithoutRightsIsToldWhatItLacks) {
  ASSERT_OK(cli().set("main", "pg1-user", "reader"));
  const ProcessResult refused = run({"dump", "--dbname=app"});
  EXPECT_EQ(refused.exit_code, 8) << refused.to_string();
  EXPECT_THAT(refused.err, AllOf(HasSubstr("permission denied"), HasSubstr("GRANT")));
  EXPECT_EQ(listed(), 0u);
  EXPECT_THAT(left_in_spool(), IsEmpty());
  EXPECT_FALSE(fs::exists(scene_->scratch / "repo/main/dump") && !fs::is_empty(scene_->scratch / "repo/main/dump"))
      << "nothing is left of it";

  // As managed servers have it: all tables may be read, but no passwords and no large objects.
  for (const char* schema : {"public", "tenant_1", "tenant_2", "\"tenant_?\"", "\"Odd.Na\"\"me*$|(\""})
    ASSERT_OK(
        in_app(fmt::format("GRANT USAGE ON SCHEMA {0} TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO reader; "
                           "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {0} TO reader",
                           schema)));
  ASSERT_OK_AND_ASSIGN(const json dump, scene_->dump({"--dbname=app", "--no-large-objects"}));
  EXPECT_EQ(rows_of(dump), kRows);
  EXPECT_EQ(dump.at("globals"), true);
  EXPECT_EQ(dump.at("role_passwords"), false);
  EXPECT_THAT(codes_of(dump), Contains("role_passwords_hidden"));
}

TEST_F(Dump, RowSecurityThatWouldHideRowsIsAnError) {
  ASSERT_OK(in_app("ALTER TABLE tenant_1.t ENABLE ROW LEVEL SECURITY"));
  ASSERT_OK(server().exec("GRANT pg_read_all_data TO reader"));
  ASSERT_OK(cli().set("main", "pg1-user", "reader"));
  const ProcessResult refused = run({"dump", "--dbname=app", "--no-large-objects"});
  EXPECT_EQ(refused.exit_code, 8) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("BYPASSRLS"));
  EXPECT_EQ(listed(), 0u);
}

TEST_F(Dump, DryRunSaysWhatWillBeDoneAndChangesNothing) {
  ASSERT_OK_AND_ASSIGN(
      const json first,
      cli().run_json(LogicalScene::with_clients({"dump", "--dry-run", "--dbname=app", "--split=schema"})));
  EXPECT_EQ(first.at("estimated_seconds"), nullptr) << "no dump was made yet";
  EXPECT_GT(first.at("estimated_bytes").get<uint64_t>(), 1'000'000u);
  EXPECT_EQ(first.at("units").size(), 7u);
  EXPECT_EQ(listed(), 0u);
  EXPECT_FALSE(fs::exists(spool()));
  ASSERT_OK(scene_->dump({"--dbname=app"}));
  ASSERT_OK_AND_ASSIGN(const json second,
                       cli().run_json(LogicalScene::with_clients({"dump", "--dry-run", "--dbname=app"})));
  EXPECT_GT(second.at("estimated_seconds").get<double>(), 0) << "at the rate of that dump";
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       cli().run_ok(LogicalScene::with_clients({"dump", "--dry-run", "--dbname=app"})));
  EXPECT_THAT(text, AllOf(HasSubstr("of the server's version"), HasSubstr("database app")));
}

TEST_F(Dump, TableLargerThanTheSpoolComesWhole) {
  ASSERT_OK(in_app("CREATE TABLE huge AS SELECT g AS id, repeat(md5(g::text), 60) FROM generate_series(1, 30000) g"));
  ASSERT_OK_AND_ASSIGN(const json dump, scene_->dump({"--dbname=app", "--dump-spool-max=1MiB", "--jobs=2"}));
  EXPECT_EQ(rows_of(dump), kRows + 30'000);
  EXPECT_GT(dump.at("raw_bytes").get<uint64_t>(), 50u << 20);
  EXPECT_THAT(left_in_spool(), IsEmpty());
}

TEST_F(Dump, KilledOneLeavesNothingListedAndNothingRunning) {
  ASSERT_OK(in_app("CREATE TABLE huge AS SELECT g AS id, repeat(md5(g::text), 60) FROM generate_series(1, 60000) g"));
  // Paced, or it may be over before it is killed.
  ASSERT_OK_AND_ASSIGN(Process running,
                       cli().start(LogicalScene::with_clients({"dump", "--dbname=app", "--dump-spool-max=1MiB",
                                                               "--compress-type=none", "--repo1-bandwidth-max=8MiB"})));
  // Under way: pg_dump has written files.
  const auto has_data = [&] {
    std::error_code ignored;
    for (fs::recursive_directory_iterator at(spool(), ignored), end; !ignored && at != end; at.increment(ignored))
      if (at->path().extension() == ".dat") return true;
    return false;
  };
  ASSERT_TRUE(wait_until(has_data));
  ASSERT_OK(running.signal(SIGKILL));
  ASSERT_OK(running.wait());
  // What pg_dump would go on writing is gone, with pg_dump.
  EXPECT_TRUE(wait_until([&] { return !has_data(); }));
  EXPECT_TRUE(wait_until([&] {
    const auto count = server().query(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgark%' OR application_name = 'pg_dump'");
    return count.has_value() && count->text() == "0";
  }));
  EXPECT_EQ(listed(), 0u);
  ASSERT_OK_AND_ASSIGN(const json dump, scene_->dump({"--dbname=app"}));
  EXPECT_EQ(rows_of(dump), kRows + 60'000);
  EXPECT_EQ(listed(), 1u);
  EXPECT_THAT(left_in_spool(), IsEmpty());
}

TEST_F(Dump, TwoAtATimeAreRefusedAndOneThatIsStoppedLeavesNothing) {
  ASSERT_OK(in_app("CREATE TABLE huge AS SELECT g AS id, repeat(md5(g::text), 60) FROM generate_series(1, 60000) g"));
  // Paced, or it may be over before the other one is refused.
  ASSERT_OK_AND_ASSIGN(Process running,
                       cli().start(LogicalScene::with_clients({"dump", "--dbname=app", "--format=custom",
                                                               "--compress-type=none", "--repo1-bandwidth-max=8MiB"})));
  const std::string packs = scene_->scratch / "repo/main/dump";
  ASSERT_TRUE(wait_until([&] {
    const auto count = server().query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %'");
    return count.has_value() && count->text() != "0";
  }));
  const ProcessResult second = run({"dump", "--dbname=app"});
  EXPECT_EQ(second.exit_code, 2) << second.to_string();
  EXPECT_THAT(second.err, HasSubstr("another dump of stanza main is running"));
  ASSERT_OK(running.signal(SIGTERM));
  ASSERT_OK_AND_ASSIGN(const ProcessResult stopped, running.wait());
  EXPECT_EQ(stopped.exit_code, 128 + SIGTERM) << stopped.to_string();
  EXPECT_EQ(listed(), 0u);
  if (fs::exists(packs)) {
    for (const auto& entry : fs::recursive_directory_iterator(packs))
      EXPECT_FALSE(entry.is_regular_file()) << entry.path();
  }
}

TEST_F(Dump, StandardInputTakesDumpsMadeElsewhere) {
  PGARK_REQUIRE_CLIENT(clients, 15);
  for (const char* how : {"--format=custom", "--format=custom --compress=0", "--format=tar", "--format=plain"}) {
    SCOPED_TRACE(how);
    ASSERT_OK_AND_ASSIGN(
        const std::string given,
        run_ok({"/bin/sh", "-c", fmt::format("{}/pg_dump {} --dbname='{}'", clients, how, server().conninfo("app"))}));
    ProcessOptions options;
    options.standard_input = given;
    const ProcessResult taken =
        run({"dump", "--stdin", "--name=elsewhere", "--output=json", "--log-level-console=off"}, options);
    ASSERT_EQ(taken.exit_code, 0) << taken.to_string();
    const json dump = json::parse(taken.out);
    const bool compressed = std::string(how) == "--format=custom";
    EXPECT_EQ(rows_of(dump), compressed ? 0 : kRows);
    ASSERT_OK_AND_ASSIGN(const auto tables, tables_of(dump.at("label")));
    EXPECT_EQ(tables.at("tenant_1.t").at("rows"), compressed ? json() : json(100));
    EXPECT_EQ(dump.at("raw_bytes"), given.size());
    EXPECT_EQ(dump.at("pg_version_num").get<int>() / 10000, 15);
    // Cut short, as by a pg_dump that failed. Of the custom format only the head tells.
    options.standard_input =
        given.substr(0, std::string(how).find("custom") == std::string::npos ? given.size() / 2 : 1000);
    const ProcessResult cut = run({"dump", "--stdin", "--name=cut"}, options);
    EXPECT_EQ(cut.exit_code, 2) << cut.to_string();
    EXPECT_THAT(cut.err, HasSubstr("ended too early"));
  }
  EXPECT_EQ(listed(), 4u);
  const ProcessResult unnamed = run({"dump", "--stdin"});
  EXPECT_EQ(unnamed.exit_code, 2);
  EXPECT_THAT(unnamed.err, HasSubstr("--name"));
}

TEST_F(Dump, AnotherClusterIsRefused) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto other, start_logical_server(install));
  ASSERT_OK_AND_ASSIGN(const PgarkCli wrong, scene_->cli_for(*other, "wrong"));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, wrong.run(LogicalScene::with_clients({"dump"})));
  EXPECT_EQ(refused.exit_code, 2) << refused.to_string();
  EXPECT_THAT(refused.err, AllOf(HasSubstr("belongs to the cluster with system identifier"), HasSubstr("--force")));
  EXPECT_EQ(listed(), 0u);
  ASSERT_OK(wrong.run_ok(LogicalScene::with_clients({"dump", "--force"})));
  EXPECT_EQ(listed(), 1u);
}

TEST_F(Dump, ServerWithoutAccessToItsFilesHasAStanzaOfItsOwn) {
  ASSERT_OK_AND_ASSIGN(PgarkCli remote, PgarkCli::create(scene_->scratch / "remote"));
  const ProcessResult early = *remote.run(LogicalScene::with_clients({"dump"}));
  EXPECT_NE(early.exit_code, 0);
  const ProcessResult nothing = *remote.run({"stanza-create"});
  EXPECT_THAT(nothing.err, AllOf(HasSubstr("pg1-path is required"), HasSubstr("pg1-host")));
  ASSERT_OK(remote.set("main", "pg1-host", server().socket_dir()));
  ASSERT_OK(remote.set("main", "pg1-port", std::to_string(server().port())));
  ASSERT_OK(remote.set("main", "pg1-user", "postgres"));
  const ProcessResult no_repository = *remote.run(LogicalScene::with_clients({"dump"}));
  EXPECT_NE(no_repository.exit_code, 0) << no_repository.to_string();
  EXPECT_THAT(no_repository.err, HasSubstr("stanza-create"));
  ASSERT_OK_AND_ASSIGN(const json created, remote.run_json({"stanza-create"}));
  ASSERT_OK_AND_ASSIGN(const uint64_t identifier, server().system_identifier());
  EXPECT_EQ(created.at("cluster").at("system_identifier"), std::to_string(identifier));
  EXPECT_EQ(created.at("created"), true);
  ASSERT_OK_AND_ASSIGN(const json again, remote.run_json({"stanza-create"}));
  EXPECT_EQ(again.at("created"), false);
  // No backup and no WAL is asked for of such a server, but a dump is.
  const auto codes = [&] {
    std::vector<std::string> found;
    const auto checked = remote.run({"check", "--output=json"});
    const json document = json::parse(checked->out);
    for (const json& finding : document.at("findings")) found.push_back(finding.at("code"));
    return found;
  };
  EXPECT_THAT(codes(), AllOf(Contains("no_dump"), Not(Contains("no_backup")), Not(Contains(HasSubstr("archive")))));
  ASSERT_OK_AND_ASSIGN(const json dump, remote.run_json(LogicalScene::with_clients({"dump", "--dbname=app"})));
  EXPECT_EQ(rows_of(dump), kRows);
  EXPECT_THAT(codes(), AllOf(Contains("dump_not_verified"), Not(Contains("no_dump"))));
  // Its record is the one that the files would have given.
  ASSERT_OK(remote.use_cluster(server()));
  ASSERT_OK(remote.set("main", "pg1-host", ""));
  ASSERT_OK_AND_ASSIGN(const json with_files, remote.run_json({"stanza-create"}));
  EXPECT_EQ(with_files.at("created"), false);
}

TEST_F(Dump, EveryRepositoryGetsItAndOneThatIsAwayIsTold) {
  ASSERT_OK_AND_ASSIGN(const ScratchDir second, ScratchDir::create("second"));
  ASSERT_OK(cli().set("global", "repo2-path", second / "repo"));
  ASSERT_OK(cli().run_ok({"stanza-create"}));
  ASSERT_OK_AND_ASSIGN(const json both, scene_->dump({"--dbname=app"}));
  EXPECT_EQ(both.at("repositories"), json::parse(R"(["repo1", "repo2"])"));
  EXPECT_THAT(both.at("left_behind"), IsEmpty());

  fs::rename(second / "repo", second / "away");
  const ProcessResult one = run({"dump", "--dbname=app", "--output=json", "--log-level-console=off"});
  EXPECT_NE(one.exit_code, 0);
  const json dump = json::parse(one.out);
  EXPECT_EQ(dump.at("repositories"), json::parse(R"(["repo1"])"));
  ASSERT_EQ(dump.at("left_behind").size(), 1u);
  EXPECT_EQ(dump.at("left_behind").at(0).at("repository"), "repo2");
  ASSERT_OK_AND_ASSIGN(const json first, cli().run_json({"dump-ls", "--repo=1"}));
  EXPECT_EQ(first.at("repositories").at(0).at("dumps").size(), 2u);
}

TEST_F(Dump, HostDumpsWhatItCannotRead) {
  ASSERT_OK(in_app("INSERT INTO tenant_1.t VALUES (0, 'the-secret-of-tenant-1')"));
  ASSERT_OK_AND_ASSIGN(const ScratchDir keys, ScratchDir::create("keys"));
  ASSERT_OK_AND_ASSIGN(const AgeIdentity identity, generate_age_identity());
  ASSERT_OK(write_file_durable(keys / "identity", format_age_identity(identity).text(), 0600));
  ASSERT_OK(write_file_durable(keys / "pass", "correct-horse-battery-staple\n", 0600));
  ASSERT_OK_AND_ASSIGN(PgarkCli sealed, PgarkCli::create(scene_->scratch / "sealed"));
  ASSERT_OK(sealed.use_cluster(server()));
  ASSERT_OK(sealed.set("global", "repo1-cipher-type", "aes-256-gcm"));
  ASSERT_OK(sealed.set("global", "repo1-cipher-pass-file", keys / "pass"));
  ASSERT_OK(sealed.set("global", "repo1-recipient", to_string(identity.recipient)));
  ASSERT_OK(sealed.run_ok({"stanza-create"}));
  for (const char* format : {"directory", "plain"}) {
    SCOPED_TRACE(format);
    ASSERT_OK_AND_ASSIGN(
        const json dump,
        sealed.run_json(LogicalScene::with_clients({"dump", "--dbname=app", fmt::format("--format={}", format)})));
    EXPECT_EQ(rows_of(dump), kRows + 1);
    const std::string label = dump.at("label");
    EXPECT_THAT(files_with(sealed.directory(), {"the-secret-of-tenant-1"}), IsEmpty());
    const std::string out = scene_->scratch / fmt::format("out_{}", format);
    ASSERT_OK_AND_ASSIGN(const ProcessResult refused, sealed.run({"dump-get", "--set=" + label, out}));
    EXPECT_EQ(refused.exit_code, 8) << refused.to_string();
    ASSERT_OK(sealed.run_ok({"dump-get", "--set=" + label, "--repo1-identity-file=" + (keys / "identity"), out}));
    ASSERT_OK_AND_ASSIGN(const std::string content, read_file(out, 1u << 30));
    EXPECT_THAT(content, HasSubstr("the-secret-of-tenant-1"));
  }
}

TEST_F(Dump, PasswordsAreOnNoCommandLine) {
  ASSERT_OK(server().exec("ALTER ROLE reader PASSWORD 'hush-hush' SUPERUSER"));
  ASSERT_OK(in_app("CREATE TABLE huge AS SELECT g AS id, repeat(md5(g::text), 60) FROM generate_series(1, 30000) g"));
  ASSERT_OK(cli().set("main", "pg1-user", "reader"));
  ProcessOptions options;
  options.env = {"PGPASSWORD=hush-hush"};
  ASSERT_OK_AND_ASSIGN(
      Process running,
      cli().start(LogicalScene::with_clients({"dump", "--dbname=app", "--compress-level=19"}), options));
  bool seen_program = false;
  std::vector<std::string> found;
  while (running.running()) {
    std::error_code ignored;
    for (fs::directory_iterator at("/proc", ignored), end; !ignored && at != end; at.increment(ignored)) {
      const auto line = read_file((at->path() / "cmdline").string());
      if (!line.has_value()) continue;
      if (line->find("pg_dump") != std::string::npos) seen_program = true;
      if (line->find("hush-hush") != std::string::npos) found.push_back(*line);
    }
  }
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, running.wait());
  EXPECT_EQ(ended.exit_code, 0) << ended.to_string();
  EXPECT_TRUE(seen_program);
  EXPECT_THAT(found, IsEmpty());
  EXPECT_THAT(files_with(cli().directory(), {"hush-hush"}), IsEmpty());
}

}  // namespace
}  // namespace pgark::testing
