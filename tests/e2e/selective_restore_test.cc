// Selective restore of real clusters: databases that were asked for have every row of the target, the others take no
// space, harm nobody who touches them, and can be dropped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "restore_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// A cluster with a database to keep and one to leave out, both with rows before and behind a backup.
class Selective {
 public:
  static Result<std::unique_ptr<Selective>> create(const PgInstall& install, bool checksums) {
    auto made = std::make_unique<Selective>();
    PgOptions options;
    options.checksums = checksums;
    // What VACUUM finds to do must not have been done by autovacuum, on a machine where all this takes a minute.
    options.config.emplace_back("autovacuum = off");
    TRY_ASSIGN(made->scene, RestoreScene::create(install, options));
    PgServer& server = *made->scene->server;
    TRY(server.exec("CREATE DATABASE kept"));
    TRY(server.exec("CREATE DATABASE \"left \"\"out\"\"\""));
    TRY_ASSIGN(const PgRows oid, server.query("SELECT oid FROM pg_database WHERE datname LIKE 'left%'"));
    made->oid = oid.text();
    for (const char* name : {"kept", "left \"out\""}) {
      TRY_ASSIGN(auto connection, made->connect(server, name));
      TRY(connection.exec("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 20000) n"));
    }
    TRY(made->scene->ledger->commit_rows(10));
    TRY(made->scene->backup());
    for (const char* name : {"kept", "left \"out\""}) {
      TRY_ASSIGN(auto connection, made->connect(server, name));
      // Pages without images: VACUUM sets visibility of pages that are not changed, and much else.
      TRY(connection.exec("VACUUM t"));
      TRY(connection.exec("CHECKPOINT"));
      TRY(connection.exec("UPDATE t SET m = m WHERE n % 3 = 0"));
      TRY(connection.exec("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(20001, 25000) n"));
      TRY(connection.exec("CREATE INDEX ON t (n)"));
      TRY(connection.exec("VACUUM t"));
    }
    TRY(made->scene->ledger->commit_rows(10));
    made->last = made->scene->ledger->last();
    TRY(made->scene->ledger->commit_rows(5));
    TRY(server.archive_all());
    return made;
  }
  static Result<PgConnection> connect(PgServer& server, const std::string& name) {
    std::string quoted;
    for (const char c : name) quoted += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return PgConnection::open(server.conninfo("'" + quoted + "'"));
  }
  /// Bytes on disk of a database's directory.
  uint64_t disk_bytes(const std::string& name) const {
    uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(scene->place(name) + "/base/" + oid)) {
      struct stat status {};
      if (::stat(entry.path().c_str(), &status) == 0) bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
  }
  /// PITR as everybody would do it, on a server with a busy autovacuum.
  Result<std::unique_ptr<PgServer>> start(const std::string& name) const {
    TRY_ASSIGN(auto server, PgServer::adopt(scene->place(name), scene->server->install(),
                                            {"archive_mode=off", "autovacuum=on", "autovacuum_naptime=1"}));
    TRY(server->launch());
    TRY(server->wait_for_recovery_end());
    return server;
  }
  std::vector<std::string> options(std::vector<std::string> more) const {
    std::vector<std::string> all = LedgerTarget::at_xid(last.xid).restore_options();
    all.emplace_back("--target-action=promote");
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::unique_ptr<RestoreScene> scene;
  std::string oid;
  LedgerRow last;
};

void expect_kept_is_whole_and_the_other_goes(const Selective& made, PgServer& server, const nlohmann::json& report) {
  ASSERT_OK(made.scene->ledger->verify(server, LedgerTarget::at_xid(made.last.xid)));
  {
    ASSERT_OK_AND_ASSIGN(auto kept, Selective::connect(server, "kept"));
    ASSERT_OK_AND_ASSIGN(const PgRows rows, kept.query("SELECT count(*), sum(n) FROM t WHERE m = md5(n::text)"));
    EXPECT_EQ(rows.integer(0, 0), 25000);
    ASSERT_OK_AND_ASSIGN(const PgRows indexed, kept.query("SET enable_seqscan = off; SELECT m FROM t WHERE n = 24999"));
    EXPECT_EQ(indexed.size(), 1u);
  }
  // Whoever connects is sent away, and the server stays.
  for (int i = 0; i < 3; ++i) {
    const auto refused = Selective::connect(server, "left \"out\"");
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().to_string(), HasSubstr("is not a valid data directory"));
  }
  ASSERT_OK(server.exec("CHECKPOINT"));
  ASSERT_EQ(report["left_out"].size(), 1u);
  EXPECT_EQ(report["left_out"][0]["name"], "left \"out\"");
  EXPECT_EQ(std::to_string(report["left_out"][0]["oid"].get<uint32_t>()), made.oid);
  ASSERT_OK(server.exec(report["left_out"][0]["drop"].get<std::string>()));
  EXPECT_FALSE(fs::exists(server.data_dir() + "/base/" + made.oid));
  ASSERT_OK_AND_ASSIGN(auto kept, Selective::connect(server, "kept"));
  ASSERT_OK(kept.exec("VACUUM FULL t"));
  ASSERT_OK(server.exec("CREATE DATABASE \"left \"\"out\"\"\""));
  ASSERT_OK(Selective::connect(server, "left \"out\""));
  const std::string log = read_file(server.log_path(), 1u << 30).value_or("");
  EXPECT_EQ(log.find("PANIC"), std::string::npos) << log;
  ASSERT_OK(server.stop());
}

class SelectiveRestoreEach : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Each, SelectiveRestoreEach, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(SelectiveRestoreEach, KeepsWhatWasAskedForAndDropsTheRest) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto made, Selective::create(install, true));
  ASSERT_OK_AND_ASSIGN(const nlohmann::json report, made->scene->cli->run_json(made->scene->restore_args(
                                                        "restored", made->options({"--db-include=kept"}))));
  EXPECT_LT(made->disk_bytes("restored"), 65536u);
  EXPECT_TRUE(report["warnings"].empty()) << report["warnings"];
  ASSERT_OK_AND_ASSIGN(const auto server, made->start("restored"));
  expect_kept_is_whole_and_the_other_goes(*made, *server, report);
}

class SelectiveRestoreCommand : public ::testing::Test {};

TEST_F(SelectiveRestoreCommand, ManagesWithoutChecksumsByIgnoringInvalidPages) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto made, Selective::create(install, false));
  const std::string exclude = "--db-exclude=" + made->oid;
  // What would happen without: the safeguard is needed.
  ASSERT_OK(made->scene->cli->run_ok(
      made->scene->restore_args("unguarded", made->options({exclude, "--recovery-option=ignore_invalid_pages=off"}))));
  EXPECT_FALSE(made->start("unguarded").has_value());
  ASSERT_OK_AND_ASSIGN(const nlohmann::json report,
                       made->scene->cli->run_json(made->scene->restore_args("restored", made->options({exclude}))));
  EXPECT_THAT(report["warnings"].dump(), HasSubstr("ignore_invalid_pages = on was set"));
  ASSERT_OK_AND_ASSIGN(const auto server, made->start("restored"));
  ASSERT_OK_AND_ASSIGN(const PgRows setting, server->query("SHOW ignore_invalid_pages"));
  EXPECT_EQ(setting.text(), "on");
  ASSERT_OK(server->exec("ALTER SYSTEM RESET ignore_invalid_pages"));
  expect_kept_is_whole_and_the_other_goes(*made, *server, report);
  EXPECT_EQ(read_file(server->data_dir() + "/postgresql.auto.conf").value_or("").find("ignore_invalid_pages"),
            std::string::npos);
}

TEST_F(SelectiveRestoreCommand, RefusesBefore13WithoutChecksumsUnlessImmediate) {
  PGARK_REQUIRE_PG(install, 12);
  ASSERT_OK_AND_ASSIGN(const auto made, Selective::create(install, false));
  const auto refused =
      made->scene->cli->run(made->scene->restore_args("restored", made->options({"--db-include=kept"})));
  ASSERT_OK(refused);
  EXPECT_NE(refused->exit_code, 0);
  EXPECT_THAT(refused->to_string(), AllOf(HasSubstr("databases cannot be left out"), HasSubstr("--type=immediate")));
  EXPECT_FALSE(fs::exists(made->scene->place("restored")));
  ASSERT_OK(made->scene->cli->run_ok(
      made->scene->restore_args("restored", {"--db-include=kept", "--type=immediate", "--target-action=promote"})));
  ASSERT_OK_AND_ASSIGN(const auto server, made->start("restored"));
  ASSERT_OK_AND_ASSIGN(auto kept, Selective::connect(*server, "kept"));
  ASSERT_OK_AND_ASSIGN(const PgRows rows, kept.query("SELECT count(*) FROM t WHERE m = md5(n::text)"));
  EXPECT_EQ(rows.integer(), 20000);
}

TEST_F(SelectiveRestoreCommand, TellsBeforehandAndGoesTogetherWithDelta) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto made, Selective::create(install, true));
  const RestoreScene& scene = *made->scene;
  const auto unknown = scene.cli->run(scene.restore_args("restored", {"--db-include=kpt"}));
  ASSERT_OK(unknown);
  EXPECT_EQ(unknown->exit_code, 2);
  EXPECT_THAT(unknown->to_string(), AllOf(HasSubstr("database 'kpt'"), HasSubstr("kept ("), HasSubstr("postgres (")));
  const auto dry = scene.cli->run_ok(scene.restore_args("restored", {"--db-include=kept", "--dry-run"}));
  ASSERT_OK(dry);
  EXPECT_THAT(*dry, HasSubstr("DROP DATABASE \"left \"\"out\"\"\";"));
  EXPECT_FALSE(fs::exists(scene.place("restored")));

  ASSERT_OK(scene.cli->run_ok(scene.restore_args("restored")));
  EXPECT_GT(made->disk_bytes("restored"), 1u << 20);
  ASSERT_OK_AND_ASSIGN(const nlohmann::json report, scene.cli->run_json(scene.restore_args(
                                                        "restored", made->options({"--db-include=kept", "--delta"}))));
  EXPECT_LT(report["written_bytes"].get<uint64_t>(), 16384u);
  EXPECT_LT(made->disk_bytes("restored"), 65536u);
  ASSERT_OK_AND_ASSIGN(const auto server, made->start("restored"));
  expect_kept_is_whole_and_the_other_goes(*made, *server, report);
}

}  // namespace
}  // namespace pgark::testing
