// The fixtures themselves, on every PostgreSQL version at hand: servers start, archive nothing, die and come back, and
// the ledger knows what must be there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/file.h"
#include "testing/ledger.h"
#include "testing/pg_server.h"
#include "testing/process.h"
#include "testing/realistic_data.h"
#include "testing/scratch.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Server : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, Server, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

PgOptions with_ledger() { return {.config = Ledger::config()}; }

TEST_P(Server, RunsTheLedgerAndStops) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install, with_ledger()));
  ASSERT_OK(server->start());
  ASSERT_OK_AND_ASSIGN(const PgRows version, server->query("SHOW server_version_num"));
  EXPECT_EQ(version.integer() / 10000, GetParam());
  ASSERT_OK_AND_ASSIGN(const PgRows checksums, server->query("SHOW data_checksums"));
  EXPECT_EQ(checksums.text(), "on");

  Ledger ledger(*server, {.clients = 2});
  ASSERT_OK(ledger.create_tables());
  ASSERT_OK(ledger.start());
  ASSERT_OK(ledger.wait_for_rows(50));
  ASSERT_OK(ledger.stop());
  ASSERT_OK(ledger.verify(*server, LedgerTarget::latest()));

  ASSERT_OK(server->stop());
  EXPECT_FALSE(server->running());
}

TEST_P(Server, ComesBackAfterKill) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install, with_ledger()));
  ASSERT_OK(server->start());
  Ledger ledger(*server, {.clients = 3, .rows_per_second = 0});
  ASSERT_OK(ledger.create_tables());
  ASSERT_OK(ledger.start());
  ASSERT_OK(ledger.wait_for_rows(100));
  ASSERT_OK(server->kill());
  ASSERT_OK(ledger.stop());

  ASSERT_OK(server->start());
  ASSERT_OK(ledger.verify(*server, LedgerTarget::latest()));
}

TEST_P(Server, ArchivesWhatWasCommitted) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const ScratchDir archive, ScratchDir::create("archive"));
  PgOptions options = with_ledger();
  options.config.emplace_back("archive_mode = on");
  options.config.push_back("archive_command = " + sql_literal("cp %p " + archive.path() + "/%f"));
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install, options));
  ASSERT_OK(server->start());
  Ledger ledger(*server);
  ASSERT_OK(ledger.create_tables());
  ASSERT_OK(ledger.commit_rows(3));
  ASSERT_OK_AND_ASSIGN(const std::string segment, server->archive_all());
  EXPECT_TRUE(std::filesystem::exists(archive / segment));
}

// Restores by hand, without pgark, to hold the ledger's rules against PostgreSQL itself.
class Oracle : public ::testing::TestWithParam<int> {
 protected:
  // One restore of the base copy to `target`.
  void check(const Ledger& ledger, const LedgerTarget& target) {
    SCOPED_TRACE(target.to_string());
    const std::string data = scratch_ / fmt_name();
    ASSERT_OK(copy_tree(scratch_ / "base", data));
    std::string settings = "restore_command = 'cp " + (scratch_ / "archive") + "/%f %p'\n";
    settings += "recovery_target_timeline = 'latest'\n";
    for (const std::string& option : target.restore_options()) settings += setting_of(option);
    if (target.kind == LedgerTarget::Kind::kImmediate) settings += "recovery_target = 'immediate'\n";
    if (target.kind != LedgerTarget::Kind::kLatest) settings += "recovery_target_action = 'promote'\n";
    if (install_.major < 12) {
      ASSERT_OK(write_file_durable(data + "/recovery.conf", settings));
    } else {
      ASSERT_OK_AND_ASSIGN(const std::string conf, read_file(data + "/postgresql.conf"));
      ASSERT_OK(write_file_durable(data + "/postgresql.conf", conf + settings));
      ASSERT_OK(write_file_durable(data + "/recovery.signal", ""));
    }
    ASSERT_OK_AND_ASSIGN(auto restored, PgServer::adopt(data, install_, {"archive_mode=off"}));
    ASSERT_OK(restored->launch());
    ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, restored->wait_for_recovery_end());
    EXPECT_EQ(end, RecoveryEnd::kPromoted);
    ASSERT_OK(ledger.verify(*restored, target));
  }

  static std::string setting_of(const std::string& option) {
    const auto equals = option.find('=');
    if (option == "--target-exclusive") return "recovery_target_inclusive = off\n";
    if (option.starts_with("--type=")) {
      type() = option.substr(equals + 1);
      return "";
    }
    return "recovery_target_" + type() + " = " + sql_literal(option.substr(equals + 1)) + "\n";
  }
  static std::string& type() {
    static std::string value;
    return value;
  }
  std::string fmt_name() { return "restored" + std::to_string(++restores_); }

  Result<> base_backup(PgServer& server, Lsn& stop) {
    TRY_ASSIGN(PgConnection connection, server.connect());
    const bool old_names = install_.major < 15;
    TRY(connection.exec(old_names ? "SELECT pg_start_backup('base', true, false)"
                                  : "SELECT pg_backup_start('base', true)"));
    TRY(copy_data(server.data_dir(), scratch_ / "base"));
    TRY_ASSIGN(const PgRows rows, connection.query(old_names ? "SELECT * FROM pg_stop_backup(false, true)"
                                                             : "SELECT * FROM pg_backup_stop(true)"));
    TRY_ASSIGN(stop, parse_lsn(rows.text(0, 0)));
    return write_file_durable(scratch_ / "base/backup_label", rows.text(0, 1));
  }

  /// Without what a server that runs renames and removes meanwhile: copying that fails once in a while.
  static Result<> copy_data(const std::string& from, const std::string& to) {
    TRY(make_directories(to, 0700));
    for (const auto& entry : std::filesystem::directory_iterator(from)) {
      const std::string name = entry.path().filename();
      if (name == "pg_wal" || name == "pg_stat_tmp")
        TRY(make_directories(to + "/" + name, 0700));
      else if (name != "postmaster.pid")
        TRY(copy_tree(entry.path(), to + "/" + name));
    }
    return {};
  }

  PgInstall install_;
  ScratchDir scratch_;
  int restores_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Each, Oracle, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(Oracle, AgreesWithPostgresOnEveryKindOfTarget) {
  PGARK_REQUIRE_PG(install, GetParam());
  install_ = install;
  ASSERT_OK_AND_ASSIGN(scratch_, ScratchDir::create("oracle"));
  ASSERT_OK(make_directories(scratch_ / "archive"));
  PgOptions options = with_ledger();
  options.config.emplace_back("archive_mode = on");
  options.config.push_back("archive_command = " + sql_literal("cp %p " + (scratch_ / "archive") + "/%f"));
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install, options));
  ASSERT_OK(server->start());

  Ledger single(*server, {.rows_per_second = 0});
  ASSERT_OK(single.create_tables());
  ASSERT_OK(single.commit_rows(20));
  Lsn stop;
  ASSERT_OK(base_backup(*server, stop));
  ASSERT_OK(single.commit_rows(20));
  const LedgerRow middle = single.last();
  ASSERT_OK(single.commit_rows(20));
  ASSERT_OK(single.restore_point("here"));
  ASSERT_OK(single.commit_rows(20));
  ASSERT_OK(server->archive_all());
  ASSERT_OK(server->stop());

  const std::vector<LedgerTarget> targets{
      LedgerTarget::latest(),
      LedgerTarget::at_time(middle.committed_at),
      LedgerTarget::at_time(middle.committed_at, true),
      LedgerTarget::at_xid(middle.xid),
      LedgerTarget::at_xid(middle.xid, true),
      LedgerTarget::at_lsn(middle.after_commit),
      LedgerTarget::at_lsn(middle.after_commit, true),
      LedgerTarget::at_name("here"),
      LedgerTarget::immediate(stop),
  };
  for (const LedgerTarget& target : targets) {
    EXPECT_THAT(single.expected_rows(target).undecided, IsEmpty()) << target.to_string();
    check(single, target);
    if (HasFatalFailure()) return;
  }
}

TEST(LedgerOracle, NamesMissingExtraAndChangedRows) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install, with_ledger()));
  ASSERT_OK(server->start());
  Ledger ledger(*server);
  ASSERT_OK(ledger.create_tables());
  ASSERT_OK(ledger.commit_rows(10));
  ASSERT_OK(
      server->exec("DELETE FROM ledger WHERE id = 3; UPDATE ledger SET payload = 'x' WHERE id = 4;"
                   "INSERT INTO ledger VALUES (99, 0, 'y')"));
  const auto verdict = ledger.verify(*server, LedgerTarget::latest());
  ASSERT_FALSE(verdict.has_value());
  EXPECT_THAT(verdict.error().message(), HasSubstr("missing: 1 (3)"));
  EXPECT_THAT(verdict.error().message(), HasSubstr("changed: 2 (4, 99)"));
  EXPECT_THAT(verdict.error().message(), HasSubstr("extra: 1 (99)"));
  EXPECT_THAT(verdict.error().message(), HasSubstr("gaps in commit order: 1 (3)"));
}

TEST(Fixtures, FillRealisticData) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install));
  ASSERT_OK(server->start());
  ASSERT_OK_AND_ASSIGN(const PgRows before, server->query("SELECT pg_database_size('postgres')"));
  ASSERT_OK(fill_realistic(*server, 40));
  ASSERT_OK_AND_ASSIGN(const PgRows after, server->query("SELECT pg_database_size('postgres')"));
  const int64_t grown_mib = (after.integer() - before.integer()) >> 20;
  EXPECT_GE(grown_mib, 34);
  EXPECT_LE(grown_mib, 46);
}

TEST(Fixtures, ServerReportsItsLogWhenItCannotStart) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(auto server, PgServer::create(install, {.config = {"no_such_setting = 1"}}));
  const auto started = server->start();
  ASSERT_FALSE(started.has_value());
  EXPECT_THAT(started.error().message(), HasSubstr("no_such_setting"));
}

TEST(Fixtures, SmallFsFillsUpAndGrows) {
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("small"));
  auto small = SmallFs::mount(scratch / "fs", 1 << 20);
  if (!small) GTEST_SKIP() << small.error().to_string();
  const std::vector<std::string> fill{"dd", "if=/dev/zero", "of=" + small->directory() + "/file", "bs=64k", "count=32"};
  ASSERT_OK_AND_ASSIGN(const ProcessResult full, run(fill));
  EXPECT_FALSE(full.ok());
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  ASSERT_OK(small->resize(4 << 20));
  ASSERT_OK_AND_ASSIGN(const ProcessResult grown, run(fill));
  EXPECT_TRUE(grown.ok()) << grown.to_string();
  // What is started inside still is the ordinary user.
  ASSERT_OK_AND_ASSIGN(const std::string user, run_ok({"id", "-u"}));
  EXPECT_EQ(user, std::to_string(::geteuid()) + "\n");
}

}  // namespace
}  // namespace pgark::testing
