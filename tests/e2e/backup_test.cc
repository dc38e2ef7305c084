// Backups of real clusters: under load, of damaged pages, with links and tablespaces, refused, killed, out of space.
// What a backup holds is proven by restoring it.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/clock.h"
#include "core/file.h"
#include "testing/ledger.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/realistic_data.h"
#include "testing/scratch.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

/// A cluster that archives to a stanza, and the commands that back it up and restore it.
class Site {
 public:
  static Result<Site> create(const PgInstall& install, PgOptions options = {}) {
    for (const std::string& line : Ledger::config()) options.config.push_back(line);
    options.config.emplace_back("autovacuum = off");
    TRY_ASSIGN(auto server, PgServer::create(install, options));
    TRY_ASSIGN(PgarkCli cli, PgarkCli::create(server->scratch() / "pgark"));
    TRY(cli.set("global", "start-fast", "y"));
    TRY(cli.set("global", "archive-timeout", "120"));
    TRY(cli.archive_from(*server));
    return Site(std::move(server), std::move(cli));
  }

  Result<> start() {
    TRY(server->start());
    TRY(cli.run_ok({"stanza-create"}));
    return {};
  }

  Result<json> backup(const std::vector<std::string>& more = {}) {
    std::vector<std::string> args{"backup"};
    args.insert(args.end(), more.begin(), more.end());
    return cli.run_json(args);
  }

  /// A backup that must fail; what it printed.
  ProcessResult failed_backup(const std::vector<std::string>& more = {}) {
    std::vector<std::string> args{"backup"};
    args.insert(args.end(), more.begin(), more.end());
    auto result = cli.run(args);
    EXPECT_TRUE(result.has_value());
    EXPECT_NE(result->exit_code, 0);
    return *result;
  }

  std::vector<std::string> listed() {
    std::vector<std::string> labels;
    const auto info = cli.run_json({"info"});
    EXPECT_TRUE(info.has_value()) << info.error().to_string();
    if (info.has_value())
      for (const json& backup : info->at("stanzas").at(0).at("backups")) labels.push_back(backup.at("label"));
    return labels;
  }

  /// Restore into a directory beside the cluster's, start it and wait until recovery has ended.
  Result<std::unique_ptr<PgServer>> restore(const std::vector<std::string>& more = {}) {
    const std::string target = server->scratch() / fmt::format("restored{}", ++restored_);
    std::vector<std::string> args{"restore", "--pg1-path=" + target, "--archive-mode=off"};
    args.insert(args.end(), more.begin(), more.end());
    TRY(cli.run_ok(args));
    TRY_ASSIGN(auto restored, PgServer::adopt(target, server->install()));
    TRY(restored->start());
    TRY(restored->wait_for_recovery_end());
    return restored;
  }

  std::unique_ptr<PgServer> server;
  PgarkCli cli;

 private:
  Site(std::unique_ptr<PgServer> pg, PgarkCli command) : server(std::move(pg)), cli(std::move(command)) {}
  int restored_ = 0;
};

uint64_t seed() {
  const char* given = std::getenv("SEED");
  const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(value));
  return value;
}

/// Segments that the server has finished and not archived yet.
int unarchived_segments(const PgServer& server) {
  int count = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(server.data_dir() + "/pg_wal/archive_status", ignored))
    count += entry.path().extension() == ".ready" ? 1 : 0;
  return count;
}

/// Runs statements in the background until destroyed; failures of single ones do not matter. Waits while archiving is
/// behind: where pgark is slow (sanitizers), a queue that only grows would end in archive-timeout.
class Churn {
 public:
  Churn(PgServer& server, std::vector<std::string> statements)
      : thread_([this, &server, statements = std::move(statements)] {
          auto connection = server.connect();
          if (!connection.has_value()) return;
          while (!stop_)
            for (const std::string& sql : statements) {
              while (!stop_ && unarchived_segments(server) > kUnarchivedMax)
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
              if (stop_) return;
              static_cast<void>(connection->exec(sql));
              ++rounds;
            }
        }) {}
  ~Churn() {
    stop_ = true;
    thread_.join();
  }
  std::atomic<int> rounds = 0;

 private:
  static constexpr int kUnarchivedMax = 8;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class Backup : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto install = find_install(15);
    ASSERT_OK(install);
    install_ = *install;
  }
  PgInstall install_;
};

TEST_F(Backup, OfFilesThatComeGoGrowAndShrink) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  Ledger ledger(*site.server, {.clients = 2});
  ASSERT_OK(ledger.create_tables());
  ASSERT_OK(fill_realistic(*site.server, 20));
  ASSERT_OK(ledger.start());
  {
    Churn files(*site.server, {"CREATE TABLE churn AS SELECT g, repeat('x', 500) FROM generate_series(1, 3000) g",
                               "INSERT INTO churn SELECT g, repeat('y', 900) FROM generate_series(1, 5000) g",
                               "DELETE FROM churn WHERE g > 100", "VACUUM churn", "CREATE INDEX ON churn (g)",
                               "VACUUM FULL churn", "TRUNCATE churn", "DROP TABLE churn"});
    Churn databases(*site.server, {"CREATE DATABASE churn", "DROP DATABASE churn"});
    ASSERT_TRUE(wait_until([&] { return files.rounds > 4; }));
    for (int i = 0; i < 2; ++i) {
      ASSERT_OK_AND_ASSIGN(const json report, site.backup());
      EXPECT_EQ(report.at("bad_page_count"), 0) << report.dump();
    }
  }
  ASSERT_OK(ledger.wait_for_rows(10));
  ASSERT_OK(ledger.stop());
  ASSERT_OK(site.server->archive_all());
  ASSERT_OK(site.server->stop());
  ASSERT_OK_AND_ASSIGN(auto restored, site.restore());
  ASSERT_OK(ledger.verify(*restored, LedgerTarget::latest()));
}

TEST_F(Backup, ReportsADamagedPageByFileAndBlockAndSucceeds) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->exec("CREATE TABLE t AS SELECT g, repeat('x', 500) AS pad FROM generate_series(1, 5000) g"));
  ASSERT_OK_AND_ASSIGN(const PgRows path, site.server->query("SELECT pg_relation_filepath('t')"));
  ASSERT_OK(site.server->stop());
  ASSERT_OK_AND_ASSIGN(const File file, File::open(site.server->data_dir() + "/" + path.text(), O_RDWR));
  ASSERT_OK(file.pwrite(as_bytes("damage"), 7 * 8192 + 4000));
  ASSERT_OK(site.server->start());
  ASSERT_OK_AND_ASSIGN(const json report, site.backup());
  EXPECT_EQ(report.at("bad_page_count"), 1);
  ASSERT_EQ(report.at("bad_pages").size(), 1u);
  EXPECT_EQ(report.at("bad_pages")[0].at("path"), path.text());
  EXPECT_EQ(report.at("bad_pages")[0].at("blocks"), json::array({7}));
  EXPECT_THAT(site.listed(), ElementsAre(report.at("label")));
  ASSERT_OK_AND_ASSIGN(const std::string text, site.cli.run_ok({"backup"}));
  EXPECT_THAT(text, HasSubstr(path.text() + ": block 7\n"));
  ASSERT_OK_AND_ASSIGN(const json remembered, site.backup({"--no-checksum-page"}));
  EXPECT_EQ(remembered.at("bad_page_count"), 1) << "what the prior backup knew is not forgotten because nobody looked";
  ASSERT_OK_AND_ASSIGN(const json unchecked, site.backup({"--no-checksum-page", "--type=full"}));
  EXPECT_EQ(unchecked.at("bad_page_count"), 0);
}

TEST_F(Backup, TakesTablespacesAndLinkedWalAlong) {
  ASSERT_OK_AND_ASSIGN(const ScratchDir wal, ScratchDir::create("wal"));
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_, {.initdb_args = {"--waldir=" + (wal / "w")}}));
  ASSERT_OK(site.start());
  ASSERT_OK_AND_ASSIGN(const std::string place, site.server->create_tablespace("fast"));
  ASSERT_OK(site.server->exec("CREATE TABLE t TABLESPACE fast AS SELECT g FROM generate_series(1, 1000) g"));
  ASSERT_OK_AND_ASSIGN(const json report, site.backup());
  ASSERT_OK(site.server->archive_all());
  ASSERT_OK_AND_ASSIGN(const json info, site.cli.run_json({"info", "--set=" + report.at("label").get<std::string>()}));
  const json& backup = info.at("backup");
  ASSERT_EQ(backup.at("tablespaces").size(), 1u);
  EXPECT_EQ(backup.at("tablespaces")[0].at("name"), "fast");
  EXPECT_EQ(backup.at("tablespaces")[0].at("path"), place);
  EXPECT_THAT(backup.at("links").dump(), HasSubstr("pg_wal"));
  ASSERT_OK(site.server->stop());
  ASSERT_OK_AND_ASSIGN(auto restored,
                       site.restore({"--tablespace-map=fast=" + (site.server->scratch() / "elsewhere")}));
  ASSERT_OK_AND_ASSIGN(const PgRows rows, restored->query("SELECT count(*) FROM t"));
  EXPECT_EQ(rows.integer(), 1000);
  EXPECT_FALSE(fs::is_symlink(restored->data_dir() + "/pg_wal"));
}

TEST_F(Backup, RefusesServersThatDoNotArchiveHere) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->configure("archive_command = '/bin/true'"));
  ASSERT_OK(site.server->reload());
  ASSERT_TRUE(wait_until([&] {
    const auto rows = site.server->query("SHOW archive_command");
    return rows.has_value() && rows->text() == "/bin/true";
  }));
  EXPECT_THAT(site.failed_backup().err, HasSubstr("archive_command does not call pgark: '/bin/true'"));
  // Told to believe it, the backup finds out by the WAL that does not come.
  const ProcessResult elsewhere = site.failed_backup({"--no-archive-mode-check", "--archive-timeout=2"});
  EXPECT_THAT(elsewhere.err, HasSubstr("did not reach repo1"));
  EXPECT_THAT(elsewhere.err, HasSubstr("the server last archived"));
  EXPECT_THAT(site.listed(), SizeIs(0));
  fs::remove_all(site.cli.repo_path() + "/main/pack");  // What was copied meanwhile; the next backup would use it.
  ASSERT_OK(site.server->configure("archive_mode = off"));
  ASSERT_OK(site.server->restart());
  EXPECT_THAT(site.failed_backup().err, HasSubstr("archive_mode is off"));
  ASSERT_OK(site.server->configure("wal_level = minimal"));
  ASSERT_OK(site.server->configure("max_wal_senders = 0"));
  ASSERT_OK(site.server->restart());
  EXPECT_THAT(site.failed_backup().err, HasSubstr("wal_level is minimal"));
  EXPECT_THAT(site.listed(), SizeIs(0));
  EXPECT_FALSE(fs::exists(site.cli.repo_path() + "/main/pack")) << "refused before anything was written";
}

TEST_F(Backup, RefusesAnotherCluster) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK_AND_ASSIGN(auto other, PgServer::create(install_));
  ASSERT_OK(site.cli.archive_from(*other));
  ASSERT_OK(other->start());
  const ProcessResult foreign = site.failed_backup();
  EXPECT_THAT(foreign.err, HasSubstr("belongs to the cluster with system identifier"));
  // The right files, but the other's server.
  const ProcessResult mixed = site.failed_backup({"--pg1-path=" + site.server->data_dir()});
  EXPECT_THAT(mixed.err, HasSubstr("check that pg1-path and pg1-port"));
}

TEST_F(Backup, SecondBackupIsRefusedAndNamesTheFirst) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  // A spread checkpoint keeps the first one waiting.
  ASSERT_OK(site.server->configure("checkpoint_timeout = 60min"));
  ASSERT_OK(site.server->reload());
  ASSERT_OK(fill_realistic(*site.server, 30));
  ASSERT_OK_AND_ASSIGN(Process first, site.cli.start({"backup", "--no-start-fast"}));
  ASSERT_TRUE(wait_until([&] {
    const auto rows =
        site.server->query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgark [backup]'");
    return rows.has_value() && rows->integer() > 0;
  }));
  const ProcessResult second = site.failed_backup();
  EXPECT_THAT(second.err, HasSubstr("another backup of stanza main is running"));
  EXPECT_THAT(second.err, HasSubstr(fmt::format("pid {}", first.pid())));
  // Stopped by a signal while it waits for the server, it ends soon and says so.
  ASSERT_OK(first.signal(SIGTERM));
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, first.wait());
  EXPECT_NE(ended.exit_code, 0) << ended.to_string();
  EXPECT_FALSE(ended.timed_out);
  ASSERT_OK(site.backup());
  EXPECT_THAT(site.listed(), SizeIs(1));
}

TEST_F(Backup, LostSessionIsToldAndLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK(fill_realistic(*site.server, 60));
  // Slow enough to be under way when the session ends, and when it is asked for next.
  ASSERT_OK_AND_ASSIGN(Process backup, site.cli.start({"backup", "--pg1-bandwidth-max=4MiB"}));
  ASSERT_TRUE(wait_until([&] { return fs::exists(site.cli.repo_path() + "/main/pack"); }));
  ASSERT_OK(site.server->exec(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgark [backup]'"));
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.wait());
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("the server ended the backup with the session"));
  EXPECT_THAT(site.listed(), SizeIs(0));
  ASSERT_OK(site.backup());
  EXPECT_THAT(site.listed(), SizeIs(1));
}

TEST_F(Backup, KilledAtAnyMomentLeavesNothingListedAndTheNextSucceeds) {
  Rng rng(seed());
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK(fill_realistic(*site.server, 30));
  ASSERT_OK_AND_ASSIGN(const json first, site.backup());
  const auto whole = std::chrono::milliseconds(first.at("elapsed_ms").get<int>() + 100);
  std::vector<std::string> expected = site.listed();
  int killed = 0;
  // At least 15 times, and on until enough were hit: those that follow the first copy little and may be quick.
  for (int i = 0; i < 15 || (killed <= 3 && i < 200); ++i) {
    ASSERT_OK_AND_ASSIGN(Process backup, site.cli.start({"backup"}));
    const auto moment = std::chrono::milliseconds(rng.below(static_cast<uint64_t>(whole.count())));
    wait_until([&] { return !backup.running(); }, moment);
    ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.kill_and_wait());
    killed += ended.signal == SIGKILL ? 1 : 0;
    const std::vector<std::string> now = site.listed();
    // The kill may have come between the manifest and the exit: then the backup is there, and whole.
    ASSERT_LE(now.size(), expected.size() + 1);
    if (ended.ok()) {
      ASSERT_EQ(now.size(), expected.size() + 1);
    }
    for (const std::string& label : expected) EXPECT_THAT(now, Contains(label));
    expected = now;
  }
  EXPECT_GT(killed, 3) << "the test must kill what it means to kill";
  ASSERT_OK_AND_ASSIGN(const json last, site.backup());
  EXPECT_THAT(expected, Not(Contains(last.at("label"))));
  ASSERT_OK(site.server->archive_all());
  ASSERT_OK_AND_ASSIGN(const PgRows rows, site.server->query("SELECT count(*) FROM pg_class"));
  ASSERT_OK(site.server->stop());
  ASSERT_OK_AND_ASSIGN(auto restored, site.restore());
  ASSERT_OK_AND_ASSIGN(const PgRows again, restored->query("SELECT count(*) FROM pg_class"));
  EXPECT_EQ(again.integer(), rows.integer());
}

TEST_F(Backup, FullRepositoryIsToldAndLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("small"));
  ASSERT_OK(make_directories(scratch / "repo"));
  auto small = SmallFs::mount(scratch / "repo", 64u << 20);
  if (!small.has_value() && small.error().code() == Errc::kUnsupported) GTEST_SKIP() << small.error().to_string();
  ASSERT_OK(small);
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.cli.set("global", "repo1-path", scratch / "repo"));
  ASSERT_OK(site.cli.archive_from(*site.server));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->exec(
      "CREATE TABLE t AS SELECT g, md5(g::text) || md5((g + 1)::text) AS x FROM generate_series(1, 200000) g"));
  ASSERT_OK(site.server->archive_all());
  ASSERT_OK(small->resize(24u << 20));
  const ProcessResult full = site.failed_backup({"--compress-type=none"});
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  EXPECT_THAT(full.err, HasSubstr("main/pack/"));
  EXPECT_THAT(site.listed(), SizeIs(0));
  ASSERT_OK(small->resize(256u << 20));
  ASSERT_OK(site.backup({"--compress-type=none"}));
  EXPECT_THAT(site.listed(), SizeIs(1));
}

TEST_F(Backup, RoleWithoutRightsIsToldTheGrantsAndTheyAreEnough) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->exec("CREATE ROLE backup_role LOGIN"));
  ASSERT_OK(site.cli.set("main", "pg1-user", "backup_role"));
  const ProcessResult refused = site.failed_backup();
  EXPECT_THAT(refused.err, HasSubstr("GRANT EXECUTE ON FUNCTION"));
  // The hint is SQL that can be run as it stands.
  const size_t begin = refused.err.find("GRANT EXECUTE");
  const size_t end = refused.err.find('\n', begin);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_OK(site.server->exec(refused.err.substr(begin, end - begin)));
  ASSERT_OK(site.backup());
}

TEST_F(Backup, AnnotationsAreShownChangedAndRemoved) {
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install_));
  ASSERT_OK(site.start());
  ASSERT_OK_AND_ASSIGN(const json report, site.backup({"--annotation=why=upgrade", "--annotation=who=ops"}));
  const std::string set = "--set=" + report.at("label").get<std::string>();
  ASSERT_OK(site.cli.run_ok({"annotate", set, "--annotation=why=", "--annotation=ticket=7"}));
  ASSERT_OK_AND_ASSIGN(const json info, site.cli.run_json({"info"}));
  const json& backup = info.at("stanzas")[0].at("backups")[0];
  EXPECT_EQ(backup.at("annotations"), (json{{"who", "ops"}, {"ticket", "7"}}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult absent,
                       site.cli.run({"annotate", "--set=20010101-000000F", "--annotation=a=b"}));
  EXPECT_THAT(absent.err, HasSubstr("backup 20010101-000000F of stanza main does not exist"));
}

}  // namespace
}  // namespace pgark::testing
