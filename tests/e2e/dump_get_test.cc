// dump-get: what it hands back is read by PostgreSQL's own programs, and makes the database that was dumped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "logical_scene.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename());
  return names;
}

/// A database whose data files come in an order pg_restore has to be given: partitions, large objects, odd names.
class DumpGet : public ::testing::Test {
 protected:
  void create(const std::vector<std::string>& options = {}) {
    PGARK_REQUIRE_PG(install, 15);
    ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
    ASSERT_OK(server().exec("CREATE DATABASE \"a/b\""));
    ASSERT_OK(server().exec("CREATE DATABASE app"));
    ASSERT_OK_AND_ASSIGN(PgConnection app, server().connect("app"));
    ASSERT_OK(app.exec(
        "CREATE SCHEMA tenant_1; CREATE TABLE tenant_1.orders AS SELECT n, 'note ' || n AS note FROM "
        "generate_series(1, "
        "1000) n; CREATE SCHEMA tenant_2; CREATE TABLE tenant_2.\"odd \"\"name\" (a int); CREATE TABLE days (day date) "
        "PARTITION BY RANGE (day); CREATE TABLE january PARTITION OF days FOR VALUES FROM ('2026-01-01') TO "
        "('2026-02-01'); INSERT INTO days VALUES ('2026-01-05'); SELECT lo_from_bytea(0, 'large'); SELECT "
        "lo_from_bytea(0, ''); ALTER TABLE tenant_1.orders ADD PRIMARY KEY (n)"));
    ASSERT_OK(scene_->dump(options));
  }
  PgServer& server() { return *scene_->server; }
  PgarkCli& cli() { return *scene_->cli; }
  std::string path(const std::string& name) { return scene_->scratch / name; }
  std::string pg(const std::string& program) { return server().install().program(program); }

  /// An empty database to restore into.
  std::string fresh() {
    EXPECT_TRUE(server().exec("DROP DATABASE IF EXISTS again").has_value());
    EXPECT_TRUE(server().exec("CREATE DATABASE again TEMPLATE template0").has_value());
    return conninfo_of(server(), "again");
  }
  void expect_same_as_app() {
    const auto different = different_databases(server(), "app", server(), "again");
    ASSERT_TRUE(different.has_value()) << different.error().to_string();
    EXPECT_EQ(*different, "");
  }
  /// Restore with a shell command that ends with the connection string.
  void restore(const std::string& command) {
    const std::string target = fresh();
    const auto restored = run({"sh", "-c", "set -e; " + command + " \"$1\"", "sh", target});
    ASSERT_TRUE(restored.has_value());
    ASSERT_TRUE(restored->ok()) << restored->to_string();
    expect_same_as_app();
  }

  std::unique_ptr<LogicalScene> scene_;
};

TEST_F(DumpGet, HandsBackDirectoriesThatPgRestoreReads) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK_AND_ASSIGN(const json got, cli().run_json({"dump-get", path("out/")}));
  EXPECT_EQ(got["parts"].size(), 4u);
  EXPECT_THAT(names_in(path("out")), UnorderedElementsAre("globals.sql", "app", "a%2Fb", "postgres"));
  struct stat info {};
  ASSERT_EQ(::stat(path("out/app").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat(path("out/app/toc.dat").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  restore(pg("pg_restore") + " --exit-on-error -j2 " + path("out/app") + " -d");
  ASSERT_OK(run_ok({pg("psql"), "-X", "-f", path("out/globals.sql"), conninfo_of(server(), "postgres")}));
}

TEST_F(DumpGet, MakesATarOfADirectoryThatPgRestoreReadsFromAPipe) {
  ASSERT_NO_FATAL_FAILURE(create({"--dbname=app"}));
  if (IsSkipped()) return;
  ASSERT_OK(cli().run_ok({"dump-get", path("app.tar")}));
  restore(pg("pg_restore") + " --exit-on-error -Ft " + path("app.tar") + " -d");
  restore("cat " + path("app.tar") + " | " + pg("pg_restore") + " --exit-on-error -Ft -d");
  ASSERT_OK(run_ok({"mkdir", path("unpacked")}));
  ASSERT_OK(run_ok({"tar", "-C", path("unpacked"), "-xf", path("app.tar")}));
  restore(pg("pg_restore") + " --exit-on-error -Fd " + path("unpacked") + " -d");
  // Standard output gets the same bytes.
  ASSERT_OK_AND_ASSIGN(const std::string bytes, cli().run_ok({"dump-get", "-"}));
  EXPECT_EQ(bytes, read_file(path("app.tar")).value());
}

TEST_F(DumpGet, HandsBackEveryFormatAsPgDumpWroteIt) {
  ASSERT_NO_FATAL_FAILURE(create({"--dbname=app", "--format=custom"}));
  if (IsSkipped()) return;
  ASSERT_OK(cli().run_ok({"dump-get", path("custom/")}));
  restore(pg("pg_restore") + " --exit-on-error " + path("custom/app.dump") + " -d");
  ASSERT_OK(scene_->dump({"--dbname=app", "--format=plain"}));
  ASSERT_OK(cli().run_ok({"dump-get", path("plain/")}));
  restore(pg("psql") + " -X -q -v ON_ERROR_STOP=1 -f " + path("plain/app.sql"));
  ASSERT_OK(scene_->dump({"--dbname=app", "--format=tar"}));
  ASSERT_OK(cli().run_ok({"dump-get", path("tar/")}));
  restore(pg("pg_restore") + " --exit-on-error " + path("tar/app.tar") + " -d");
}

TEST_F(DumpGet, ChoosesPartsAndNamesThoseThereAre) {
  ASSERT_NO_FATAL_FAILURE(create({"--dbname=app", "--split=schema"}));
  if (IsSkipped()) return;
  ASSERT_OK(cli().run_ok({"dump-get", "--part=tenant_1", path("one.tar")}));
  ASSERT_OK_AND_ASSIGN(const std::string list, run_ok({pg("pg_restore"), "-l", path("one.tar")}));
  EXPECT_THAT(list, AllOf(HasSubstr("TABLE DATA tenant_1 orders"), Not(HasSubstr("tenant_2"))));
  ASSERT_OK_AND_ASSIGN(const ProcessResult several, cli().run({"dump-get", "-"}));
  EXPECT_THAT(several.err, AllOf(HasSubstr("a file takes one part"), HasSubstr("tenant_2"), HasSubstr("--part")));
  ASSERT_OK_AND_ASSIGN(const ProcessResult none, cli().run({"dump-get", "--part=tenant_9", "-"}));
  EXPECT_FALSE(none.ok());
  EXPECT_THAT(none.err, AllOf(HasSubstr("no part tenant_9"), HasSubstr("tenant_1")));
  ASSERT_OK_AND_ASSIGN(const std::string globals, cli().run_ok({"dump-get", "--part=globals", "-"}));
  EXPECT_THAT(globals, HasSubstr("CREATE ROLE"));
}

TEST_F(DumpGet, ReplacesNothingWithoutForceAndNoStrangersDirectoryWithIt) {
  ASSERT_NO_FATAL_FAILURE(create({"--dbname=app"}));
  if (IsSkipped()) return;
  ASSERT_OK(cli().run_ok({"dump-get", path("out/")}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult again, cli().run({"dump-get", path("out")}));
  EXPECT_FALSE(again.ok());
  EXPECT_THAT(again.err, AllOf(HasSubstr("app"), HasSubstr("globals.sql"), HasSubstr("--force")));
  ASSERT_OK(write_file_durable(path("out/globals.sql"), "old"));
  ASSERT_OK(cli().run_ok({"dump-get", "--force", path("out")}));
  EXPECT_NE(read_file(path("out/globals.sql")).value(), "old");
  EXPECT_THAT(names_in(path("out")), UnorderedElementsAre("globals.sql", "app"));
  ASSERT_OK(run_ok({"mkdir", "-p", path("other/app")}));
  ASSERT_OK(write_file_durable(path("other/app/thesis.txt"), "years of work"));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, cli().run({"dump-get", "--force", path("other")}));
  EXPECT_FALSE(refused.ok());
  EXPECT_EQ(read_file(path("other/app/thesis.txt")).value(), "years of work");
}

TEST_F(DumpGet, EncryptsForOthers) {
  ASSERT_NO_FATAL_FAILURE(create({"--dbname=app"}));
  if (IsSkipped()) return;
  const auto has = [](const std::string& program) { return run_ok({"sh", "-c", "command -v " + program}).has_value(); };
  if (!has("age") || !has("gpg")) GTEST_SKIP() << "no age and gpg on this machine";
  ASSERT_OK(run_ok({"age-keygen", "-o", path("key")}));
  ASSERT_OK_AND_ASSIGN(std::string recipient, run_ok({"age-keygen", "-y", path("key")}));
  recipient.pop_back();
  ASSERT_OK(cli().run_ok({"dump-get", "--age=" + recipient, path("age/")}));
  EXPECT_THAT(names_in(path("age")), UnorderedElementsAre("globals.sql.age", "app.tar.age"));
  restore("age -d -i " + path("key") + " " + path("age/app.tar.age") + " | " + pg("pg_restore") +
          " --exit-on-error -Ft -d");

  ASSERT_OK(run_ok({"mkdir", "-m700", path("gnupg")}));
  const ProcessOptions gnupg{.env = {"GNUPGHOME=" + path("gnupg")}};
  const auto unknown = cli().run({"dump-get", "--gpg=nobody@example.org", path("app.gpg")}, gnupg);
  ASSERT_OK(unknown);
  EXPECT_FALSE(unknown->ok());
  EXPECT_THAT(unknown->err, AllOf(HasSubstr("encrypt with gpg"), HasSubstr("nobody@example.org")));
  EXPECT_FALSE(std::filesystem::exists(path("app.gpg")));
  ASSERT_OK(run_ok({"gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "tester@example.org"}, gnupg));
  const auto sealed = cli().run({"dump-get", "--gpg=tester@example.org", path("app.gpg")}, gnupg);
  ASSERT_OK(sealed);
  ASSERT_TRUE(sealed->ok()) << sealed->to_string();
  restore("GNUPGHOME=" + path("gnupg") + " gpg --batch --quiet --decrypt " + path("app.gpg") + " | " +
          pg("pg_restore") + " --exit-on-error -Ft -d");
  ASSERT_OK(run_ok({"gpgconf", "--kill", "all"}, gnupg));
}

TEST_F(DumpGet, LeavesNothingOfADumpThatIsDamaged) {
  ASSERT_NO_FATAL_FAILURE(create({"--dbname=app", "--format=custom"}));
  if (IsSkipped()) return;
  ASSERT_OK(run_ok({"sh", "-c",
                    "for f in $(find " + path("repo") +
                        "/main/dump -type f ! -name manifest); do chmod u+w $f; printf "
                        "'damage' | dd of=$f bs=1 seek=600 conv=notrunc status=none; done"}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult got, cli().run({"dump-get", path("app.dump")}));
  EXPECT_FALSE(got.ok());
  EXPECT_THAT(got.err, HasSubstr("corrupt"));
  for (const std::string& name : names_in(scene_->scratch.path())) EXPECT_THAT(name, Not(HasSubstr("app.dump")));
}

}  // namespace
}  // namespace pgark::testing
