// dump-verify: sound dumps are proven, others are not, and the scratch is gone whatever happens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "logical_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DumpVerify : public ::testing::Test {
 protected:
  void create(int major = 15, bool with_shop = false) {
    PGARK_REQUIRE_PG(install, major);
    PGARK_REQUIRE_CLIENT(newest, 19);
    ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, with_shop));
    std::filesystem::create_directory(temporary());
    if (with_shop) return;
    ASSERT_OK(server().exec("CREATE ROLE clerk"));
    ASSERT_OK(server().exec("CREATE DATABASE app OWNER clerk"));
    ASSERT_OK_AND_ASSIGN(PgConnection app, server().connect("app"));
    ASSERT_OK(
        app.exec("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS n; ALTER TABLE orders OWNER TO clerk; "
                 "CREATE POLICY mine ON orders TO clerk USING (true)"));
  }
  PgServer& server() { return *scene_->server; }
  PgarkCli& cli() { return *scene_->cli; }
  std::string temporary() const { return scene_->scratch / "tmp"; }
  ProcessOptions environment() const { return {.env = {"TMPDIR=" + temporary()}}; }

  ProcessResult verify(std::vector<std::string> options = {}) {
    options.insert(options.begin(), "dump-verify");
    auto result = cli().run(LogicalScene::with_clients(std::move(options)), environment());
    EXPECT_TRUE(result.has_value()) << result.error().to_string();
    EXPECT_TRUE(std::filesystem::is_empty(temporary()));
    return result.value_or(ProcessResult());
  }
  json verify_json(std::vector<std::string> options, int exit_code) {
    options.emplace_back("--output=json");
    const ProcessResult result = verify(std::move(options));
    EXPECT_EQ(result.exit_code, exit_code) << result.to_string();
    json document = json::parse(result.out, nullptr, false);
    // An error instead of a verdict has no such members.
    for (const char* member : {"ok", "findings", "where", "checks_run", "tables_compared"})
      if (!document.contains(member)) document[member] = nullptr;
    return document;
  }
  json listed_verdict() {
    auto listed = cli().run_json({"dump-ls"});
    EXPECT_TRUE(listed.has_value()) << listed.error().to_string();
    return listed->at("repositories").at(0).at("dumps").back();
  }
  std::vector<std::string> databases() {
    std::vector<std::string> names;
    const auto rows = server().query("SELECT datname FROM pg_database WHERE datname LIKE 'pgark%'");
    EXPECT_TRUE(rows.has_value());
    for (size_t i = 0; i < rows->size(); ++i) names.push_back(rows->text(i));
    return names;
  }
  /// Processes whose command line names the scratch directory.
  size_t servers_left() const {
    const auto found = run({"pgrep", "-f", "--", temporary() + "/"});
    return found ? static_cast<size_t>(std::count(found->out.begin(), found->out.end(), '\n')) : 99;
  }

  std::unique_ptr<LogicalScene> scene_;
};

class DumpVerifyOfMajor : public DumpVerify, public ::testing::WithParamInterface<int> {};

TEST_P(DumpVerifyOfMajor, ProvesADumpOfOneOfEverything) {
  ASSERT_NO_FATAL_FAILURE(create(GetParam(), true));
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({}));
  const json proven = verify_json({"--jobs=2"}, 0);
  EXPECT_EQ(proven["ok"], true) << proven.dump(1);
  EXPECT_EQ(proven["findings"], json::array());
  EXPECT_GT(proven["tables_compared"], 20);
  EXPECT_EQ(servers_left(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Majors, DumpVerifyOfMajor, ::testing::Values(15, 12, 18),
                         [](const auto& param) { return major_name(param.param); });

TEST_F(DumpVerify, KeepsTheVerdictWithTheDump) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({}));
  const json proven = verify_json({"--dump-check=app/thousand=select count(*) = 1000 from orders"}, 0);
  EXPECT_EQ(proven["checks_run"], 1);
  EXPECT_THAT(proven["where"].get<std::string>(), HasSubstr("scratch cluster of PostgreSQL 15"));
  EXPECT_THAT(listed_verdict().dump(), HasSubstr("scratch cluster of PostgreSQL 15"));
  const json failed = verify_json({"--dump-check=app/few=select count(*) < 10 from orders", "--dump-check=app/odd=x",
                                   "--dump-check=gone/any=select true"},
                                  1);
  EXPECT_EQ(failed["ok"], false);
  EXPECT_EQ(failed["checks_run"], 2);
  EXPECT_THAT(failed["findings"],
              ElementsAre(HasSubstr("app: check few failed: f"), HasSubstr("app: check odd failed: "),
                          HasSubstr("gone: check any failed: the dump has no such database")));
  EXPECT_THAT(listed_verdict().dump(), HasSubstr("check few failed"));
}

TEST_F(DumpVerify, MakesTheRolesOfADumpWithoutGlobals) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({"--no-globals", "--dbname=app"}));
  EXPECT_EQ(verify_json({}, 0)["findings"], json::array());
}

TEST_F(DumpVerify, FindsDamage) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({"--dbname=app", "--no-globals"}));
  ASSERT_OK(run_ok({"sh", "-c",
                    "for f in $(find " + scene_->scratch.path() +
                        "/repo/main/dump -type f ! -name manifest); do chmod "
                        "u+w $f; printf 'damage' | dd of=$f bs=1 seek=300 conv=notrunc status=none; done"}));
  const json failed = verify_json({}, 1);
  EXPECT_EQ(failed["ok"], false);
  EXPECT_FALSE(failed["findings"].empty());
}

TEST_F(DumpVerify, FindsRowsThatDoNotComeBack) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  const std::string script =
      "CREATE TABLE public.t (a integer);\nCOPY public.t (a) FROM stdin;\n1\n2\n3\n\\.\nDELETE FROM public.t WHERE a = "
      "2;\n";
  ASSERT_OK_AND_ASSIGN(const ProcessResult taken,
                       cli().run({"dump", "--stdin", "--name=given"}, {.standard_input = script}));
  ASSERT_TRUE(taken.ok()) << taken.to_string();
  const json failed = verify_json({}, 1);
  EXPECT_THAT(failed["findings"], ElementsAre(HasSubstr("t has 2 rows after the load, 3 were dumped")));
}

TEST_F(DumpVerify, ProvesInScratchDatabasesAndDropsThem) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({}));
  const json proven = verify_json({"--scratch=database", "--dump-check=app/n=select count(*) = 1000 from orders"}, 0);
  EXPECT_EQ(proven["ok"], true);
  EXPECT_THAT(proven["where"].get<std::string>(), HasSubstr("scratch databases on"));
  EXPECT_TRUE(databases().empty());
  // A role without the right to create databases: nothing was tried, so nothing is said of the dump.
  ASSERT_OK(server().exec("CREATE ROLE weak LOGIN"));
  const ProcessResult weak = verify({"--scratch=database", "--pg1-user=weak"});
  EXPECT_GT(weak.exit_code, 1) << weak.to_string();
  EXPECT_THAT(weak.err, HasSubstr("cannot be tried"));
}

TEST_F(DumpVerify, SaysWhyAScratchClusterCannotBeMade) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({}));
  const auto nowhere = cli().run(LogicalScene::with_clients({"dump-verify"}), {.env = {"TMPDIR=/nonexistent"}});
  ASSERT_OK(nowhere);
  EXPECT_GT(nowhere->exit_code, 1);
  EXPECT_THAT(nowhere->err, AllOf(HasSubstr("make a scratch cluster"), HasSubstr("/nonexistent")));
  EXPECT_TRUE(listed_verdict()["verified"].is_null()) << listed_verdict().dump(1);
}

TEST_F(DumpVerify, LeavesNothingWhenItIsStopped) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  ASSERT_OK(scene_->dump({}));
  for (const std::string scratch : {"cluster", "database"}) {
    SCOPED_TRACE(scratch);
    // The check holds it where everything has been loaded.
    ASSERT_OK_AND_ASSIGN(
        Process running,
        cli().start(LogicalScene::with_clients({"dump-verify", "--scratch=" + scratch, "--log-level-console=detail",
                                                "--dump-check=app/slow=select pg_sleep(300) is null"}),
                    environment()));
    const auto is_busy = [&] {
      if (scratch == "database") {
        const auto busy = server().query(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND datname "
            "LIKE 'pgark%'");
        return busy && !busy->empty();
      }
      // Of its own server: other tests have databases of that name, too.
      const auto own = run({"pgrep", "-d,", "-f", "--", temporary() + "/"});
      if (!own || !own->ok()) return false;
      const std::string parents = own->out.substr(0, own->out.find('\n'));
      const auto busy = run({"pgrep", "-P", parents, "-f", "postgres: .* app \\[local\\] SELECT"});
      return busy && busy->ok();
    };
    ASSERT_TRUE(wait_until(is_busy)) << running.kill_and_wait()->to_string();
    ASSERT_OK(running.signal(SIGTERM));
    ASSERT_OK_AND_ASSIGN(const ProcessResult ended, running.wait());
    EXPECT_FALSE(ended.timed_out);
    EXPECT_FALSE(ended.ok());
    EXPECT_TRUE(std::filesystem::is_empty(temporary()));
    EXPECT_EQ(servers_left(), 0u);
    EXPECT_TRUE(databases().empty());
  }
}

}  // namespace
}  // namespace pgark::testing
