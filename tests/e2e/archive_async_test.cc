// Archiving in the background with real servers: into two repositories, with workers and clients killed at random, with
// a repository that goes away, with WAL given up on the operator's choice, and with clones that write where they must
// not.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/clock.h"
#include "core/file.h"
#include "restore_scene.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

uint64_t seed_from_environment() {
  const char* given = std::getenv("SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
}

/// Processes of pgark that were started with this configuration file, by whether they are the worker.
std::vector<pid_t> processes(const std::string& config, bool worker) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (!std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
    const std::string words = read_file(entry.path() / "cmdline").value_or("");
    const bool is_push = words.find(config) != std::string::npos && words.find("archive-push") != std::string::npos &&
                         words.starts_with(pgark_binary());
    if (is_push && (words.find("--worker=") != std::string::npos) == worker) {
      found.push_back(static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10)));
    }
  }
  return found;
}

/// A cluster that archives in the background to two repositories.
struct Site {
  std::unique_ptr<RestoreScene> scene;
  const PgarkCli& cli() const { return *scene->cli; }
  PgServer& server() const { return *scene->server; }
  std::string repo2() const { return scene->cli->directory() + "/repo2"; }
  std::string wal(const std::string& name = "") const { return server().data_dir() + "/pg_wal/" + name; }

  static Result<Site> create(const PgInstall& install, bool async = true, const LedgerOptions& rows = {},
                             std::vector<std::string> more = {}) {
    Site site;
    site.scene = std::make_unique<RestoreScene>();
    RestoreScene& scene = *site.scene;
    TRY_ASSIGN(scene.scratch, ScratchDir::create("async"));
    PgOptions options;
    options.wal_segment_mib = install.major == 10 ? 16 : 1;
    options.config = Ledger::config();
    // No checkpoint takes segments away that are still to be compared.
    options.config.emplace_back("max_wal_size = 8GB");
    options.config.emplace_back("checkpoint_timeout = 1h");
    for (const std::string& line : more) options.config.push_back(line);
    TRY_ASSIGN(scene.server, PgServer::create(install, options));
    TRY_ASSIGN(PgarkCli cli, PgarkCli::create(scene.scratch / "pgark"));
    scene.cli.emplace(std::move(cli));
    TRY(scene.cli->set("global", "repo2-path", site.repo2()));
    if (async) TRY(scene.cli->set("global", "archive-async", "y"));
    TRY(scene.cli->archive_from(*scene.server));
    TRY(scene.server->start());
    TRY(scene.cli->run_ok({"stanza-create"}));
    scene.ledger.emplace(*scene.server, rows);
    TRY(scene.ledger->create_tables());
    return site;
  }

  /// Empty if archive-get brings exactly the bytes of the file from the repository.
  std::string compare(const std::string& name, int repo) const {
    const std::string destination = fmt::format("{}/fetched{}", scene->scratch.path(), repo);
    const auto got = cli().run({"archive-get", name, destination, fmt::format("--repo={}", repo)});
    if (!got || !got->ok()) return name + ": " + (got ? got->to_string() : got.error().to_string());
    const auto fetched = read_file(destination);
    const auto expected = read_file(wal(name));
    if (!fetched || !expected) return name + ": cannot be read";
    return *fetched == *expected ? "" : fmt::format("{} differs in repo{}", name, repo);
  }

  /// Files in archive_status with this ending, without it.
  std::vector<std::string> status(const std::string& ending) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(wal("archive_status"))) {
      const std::string name = entry.path().filename();
      if (name.ends_with(ending)) names.push_back(name.substr(0, name.size() - ending.size()));
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  /// Fill `count` segments.
  Result<> write_segments(int count) const {
    for (int i = 0; i < count; ++i) {
      TRY(server().exec("SELECT pg_logical_emit_message(true, 'pgark', repeat(md5(random()::text), 2000))"));
      TRY(server().exec("SELECT pg_switch_wal()"));
    }
    return {};
  }

  bool stored(const std::string& name, const std::string& repository) const {
    return fs::exists(fmt::format("{}/main/wal/1/{}/{}/{}", repository, name.substr(0, 8), name.substr(8, 8), name));
  }
};

class ArchiveAsyncEach : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, ArchiveAsyncEach, ::testing::Values(15, 12, 18),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(ArchiveAsyncEach, WorkerArchivesIntoEveryRepositoryAndEndsWithPgarkStop) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install));
  ASSERT_OK(site.write_segments(20));
  ASSERT_OK(site.server().archive_all());
  // At once: nobody asks it for anything from now on, and it ends after a minute of that.
  EXPECT_EQ(processes(site.cli().config_path(), true).size(), 1u) << "one worker";
  const auto done = site.status(".done");
  ASSERT_GE(done.size(), 20u);
  for (const std::string& name : done) {
    EXPECT_EQ(site.compare(name, 1), "");
    EXPECT_EQ(site.compare(name, 2), "");
  }
  const std::string log = read_file(site.cli().directory() + "/log/main-archive-push.log").value_or("");
  EXPECT_THAT(log, HasSubstr("pushes ahead from"));

  ASSERT_OK(site.cli().run_ok({"stop"}));
  EXPECT_TRUE(wait_until([&] { return processes(site.cli().config_path(), true).empty(); }));
  EXPECT_FALSE(fs::exists(site.cli().directory() + "/spool/archive/main/push.sock"));
  ASSERT_OK(site.cli().run_ok({"start"}));
  ASSERT_OK(site.server().archive_all(seconds(120)));
}

TEST(ArchiveAsync, ChangedSettingsEndTheWorkerBeforeItAnswersAgain) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install));
  ASSERT_OK(site.server().archive_all());
  const std::string third = site.cli().directory() + "/repo3";
  ASSERT_OK(site.scene->cli->set("global", "repo3-path", third));
  ASSERT_OK(site.cli().run_ok({"stanza-create"}));
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server().archive_all());
  EXPECT_TRUE(site.stored(segment, third)) << "acknowledged only with the new repository";
}

TEST(ArchiveAsync, KilledWorkersAndClientsLoseNothingAcknowledged) {
  PGARK_REQUIRE_PG(install, 15);
  constexpr int kKills = 40;
  const uint64_t seed = seed_from_environment();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  ASSERT_OK_AND_ASSIGN(const Site site,
                       Site::create(install, true, {.clients = 2, .rows_per_second = 200, .payload_bytes = 4000},
                                    {"wal_keep_size = 4GB"}));
  // A signal would end the archiver as well, and pause it for ten seconds.
  ASSERT_OK(site.server().configure(fmt::format("archive_command = '{} || exit 1'", site.cli().archive_command())));
  ASSERT_OK(site.server().reload());
  ASSERT_OK(site.scene->backup());
  ASSERT_OK(site.scene->ledger->start());
  int killed_workers = 0;
  int killed_clients = 0;
  const bool enough = wait_until(
      [&] {
        const bool worker = rng.below(2) == 0;
        const auto pids = processes(site.cli().config_path(), worker);
        if (!pids.empty() && ::kill(pids[rng.below(pids.size())], SIGKILL) == 0) {
          ++(worker ? killed_workers : killed_clients);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(rng.below(60)));
        return killed_workers + killed_clients >= kKills && killed_workers >= 5 && killed_clients >= 5;
      },
      seconds(240));
  EXPECT_TRUE(enough) << killed_workers << " workers and " << killed_clients << " clients were killed";
  ASSERT_OK(site.scene->ledger->stop());
  ASSERT_OK(site.server().archive_all(seconds(180)));
  const auto done = site.status(".done");
  EXPECT_GT(done.size(), 5u);
  for (const std::string& name : done) {
    EXPECT_EQ(site.compare(name, 1), "");
    EXPECT_EQ(site.compare(name, 2), "");
  }
  ASSERT_OK(site.scene->restore_and_verify("restored", LedgerTarget::latest()));
}

TEST(ArchiveAsync, RepositoryThatIsDownDelaysOnlyItselfAndCatchesUp) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install, true, {}, {"wal_keep_size = 1GB"}));
  ASSERT_OK(site.server().archive_all());
  fs::rename(site.repo2(), site.repo2() + ".away");
  ASSERT_OK(site.write_segments(20));
  const auto waiting = site.status(".ready");
  ASSERT_GT(waiting.size(), 10u);
  EXPECT_TRUE(wait_until([&] { return site.stored(waiting.back(), site.cli().repo_path()); }))
      << "WAL keeps flowing to the other repository";
  ASSERT_OK(wait_for("the archiver to fail", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, site.server().query("SELECT failed_count FROM pg_stat_archiver"));
    return rows.integer() > 0;
  }));
  EXPECT_FALSE(site.status(".ready").empty()) << "nothing is acknowledged that repo2 lacks";
  ASSERT_OK_AND_ASSIGN(const auto asked, site.cli().run({"archive-push", site.wal(waiting.back())}));
  EXPECT_GE(asked.exit_code, 1);
  EXPECT_LE(asked.exit_code, 125);
  EXPECT_THAT(asked.err,
              AllOf(HasSubstr("repo2"), HasSubstr("files wait for repo2"), HasSubstr("1 of 2 repositories have it")));

  fs::rename(site.repo2() + ".away", site.repo2());
  ASSERT_OK(site.server().archive_all(seconds(180)));
  for (const std::string& name : waiting) EXPECT_EQ(site.compare(name, 2), "");
}

TEST(ArchiveAsync, WhatQueueMaxGivesUpIsRecorded) {
  PGARK_REQUIRE_PG(install, 15);
  for (const bool async : {false, true}) {
    SCOPED_TRACE(async ? "async" : "sync");
    ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install, async));
    ASSERT_OK(site.scene->cli->set("global", "archive-push-queue-max", "4MiB"));
    ASSERT_OK(site.server().archive_all());
    const std::string repositories[] = {site.cli().repo_path(), site.repo2()};
    for (const std::string& repository : repositories) fs::rename(repository, repository + ".away");
    ASSERT_OK(site.write_segments(12));
    EXPECT_TRUE(wait_until([&] { return site.status(".ready").size() <= 5; }, seconds(120))) << "pg_wal does not fill";
    for (const std::string& repository : repositories) fs::rename(repository + ".away", repository);
    ASSERT_OK(site.server().archive_all(seconds(180)));
    for (const int repo : {1, 2}) {
      ASSERT_OK(wait_for("the record", [&]() -> Result<bool> {
        TRY_ASSIGN(const std::string listed,
                   site.cli().run_ok({"repo-ls", "main/wal/1/dropped", fmt::format("--repo={}", repo)}));
        return listed.find("00000001") != std::string::npos;
      }));
    }
    const std::string log = read_file(site.cli().directory() + "/log/main-archive-push.log").value_or("");
    EXPECT_THAT(log, HasSubstr("is given up and not stored"));
    ASSERT_OK_AND_ASSIGN(const auto info, site.cli().run_json({"info", "--repo=2"}));
    const auto& cluster = info["stanzas"][0]["clusters"][0];
    EXPECT_FALSE(cluster["given_up"].empty()) << info.dump(2);
    EXPECT_FALSE(cluster["gaps"].empty()) << info.dump(2);
  }
}

TEST(ArchiveAsync, SecondCloneOfATimelineIsRefused) {
  PGARK_REQUIRE_PG(install, 15);
  for (const bool async : {false, true}) {
    SCOPED_TRACE(async ? "async" : "sync");
    ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install, async));
    RestoreScene& scene = *site.scene;
    ASSERT_OK(scene.ledger->commit_rows(5));
    ASSERT_OK(scene.backup());
    ASSERT_OK(scene.ledger->commit_rows(5));
    const LedgerTarget early = LedgerTarget::at_xid(scene.ledger->last().xid);
    ASSERT_OK(scene.ledger->commit_rows(5));
    ASSERT_OK(scene.server->archive_all());
    ASSERT_OK(scene.server->stop());
    ASSERT_OK(scene.cli->run_ok(scene.restore_args("first", {"--type=default"})));
    std::vector<std::string> options = early.restore_options();
    options.emplace_back("--target-action=promote");
    ASSERT_OK(scene.cli->run_ok(scene.restore_args("second", options)));

    // Both are promoted before either has archived: neither can know that the other takes the same number.
    for (const char* name : {"first", "second"}) {
      ASSERT_OK_AND_ASSIGN(auto server, PgServer::adopt(scene.place(name), install, {"archive_command=/bin/false"}));
      ASSERT_OK(server->launch());
      ASSERT_OK(server->wait_for_recovery_end());
      ASSERT_OK_AND_ASSIGN(const TimelineId timeline, server->timeline());
      ASSERT_EQ(timeline, TimelineId{2});
      ASSERT_OK(server->stop());
    }
    ASSERT_OK_AND_ASSIGN(auto first, PgServer::adopt(scene.place("first"), install));
    ASSERT_OK(first->start());
    ASSERT_OK_AND_ASSIGN(const std::string segment, first->archive_all());
    EXPECT_EQ(segment.substr(0, 8), "00000002");

    ASSERT_OK_AND_ASSIGN(auto second, PgServer::adopt(scene.place("second"), install));
    ASSERT_OK(second->start());
    ASSERT_OK(second->exec("SELECT pg_switch_wal()"));
    ASSERT_OK(wait_for("the second clone to be refused", [&]() -> Result<bool> {
      // Not pg_stat_archiver, which also counts the failures before the restart.
      return second->log_tail(200).find("different timelines of the same number") != std::string::npos;
    }));
    EXPECT_THAT(second->log_tail(200), HasSubstr("a stanza of its own"));
    const auto stored = read_file(scene.place("first") + "/pg_wal/00000002.history");
    ASSERT_OK(stored);
    const std::string destination = scene.scratch / "history";
    ASSERT_OK(scene.cli->run_ok({"archive-get", "00000002.history", destination}));
    EXPECT_EQ(read_file(destination).value_or(""), *stored) << "the first one's stays";
  }
}

TEST(ArchiveAsync, StandbyThatArchivesTooOffersTheSameSegments) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install));
  const RestoreScene& scene = *site.scene;
  ASSERT_OK(scene.backup());
  ASSERT_OK(site.write_segments(6));
  ASSERT_OK(site.server().archive_all());
  ASSERT_OK(scene.cli->run_ok(scene.restore_args("standby", {"--type=standby"})));
  ASSERT_OK_AND_ASSIGN(auto standby, PgServer::adopt(scene.place("standby"), install, {"archive_mode=always"}));
  ASSERT_OK(standby->start());
  ASSERT_OK(wait_for("the standby to archive", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, standby->query("SELECT archived_count FROM pg_stat_archiver"));
    return rows.integer() >= 6;
  }));
  ASSERT_OK_AND_ASSIGN(const PgRows failed, standby->query("SELECT failed_count FROM pg_stat_archiver"));
  EXPECT_EQ(failed.integer(), 0) << standby->log_tail();
}

TEST(ArchiveAsync, SpoolThatCannotBeUsedIsNamed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install));
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server().archive_all());
  const std::string spool = site.cli().directory() + "/closed";
  ASSERT_OK(make_directories(spool));
  ASSERT_OK(site.scene->cli->set("global", "spool-path", spool));
  fs::permissions(spool, fs::perms::owner_read | fs::perms::owner_exec);
  ASSERT_OK_AND_ASSIGN(const auto closed, site.cli().run({"archive-push", site.wal(segment)}));
  fs::permissions(spool, fs::perms::owner_all);
  EXPECT_EQ(closed.exit_code, 8) << closed.to_string();
  EXPECT_THAT(closed.err, AllOf(HasSubstr(spool), HasSubstr("HINT: spool-path has to be")));

  const std::string file = site.cli().directory() + "/file";
  ASSERT_OK(write_file_durable(file, ""));
  ASSERT_OK_AND_ASSIGN(const auto no_directory,
                       site.cli().run({"archive-push", site.wal(segment), "--spool-path=" + file}));
  EXPECT_GE(no_directory.exit_code, 1);
  EXPECT_THAT(no_directory.err, HasSubstr("HINT: spool-path has to be"));

  // However long its name is, and whatever is in it.
  std::string deep = site.cli().directory();
  while (deep.size() < 300) deep += "/a-long-name-of-a-directory";
  ASSERT_OK_AND_ASSIGN(const auto pushed, site.cli().run({"archive-push", site.wal(segment), "--spool-path=" + deep}));
  EXPECT_EQ(pushed.exit_code, 0) << pushed.to_string();
}

TEST(ArchiveAsync, FullSpoolIsNamed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const ScratchDir mount_point, ScratchDir::create("small"));
  auto small = SmallFs::mount(mount_point.path(), 64u << 10);
  if (!small) GTEST_SKIP() << small.error().to_string();
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install));
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server().archive_all());
  static_cast<void>(File::open(mount_point / "ballast", O_WRONLY | O_CREAT, 0600)->write(Buffer(1u << 20)).has_value());
  ASSERT_OK_AND_ASSIGN(const auto full,
                       site.cli().run({"archive-push", site.wal(segment), "--spool-path=" + mount_point.path()}));
  EXPECT_EQ(full.exit_code, 9) << full.to_string();
  EXPECT_THAT(full.err, HasSubstr("spool-path"));
}

/// archive_library = 'pgark' instead of a command.
class ArchiveModule : public ::testing::Test {
 protected:
  void SetUp() override {
    library_ = parent_path(pgark_binary()) + "/module/15";
    if (!fs::exists(library_ + "/pgark.so")) GTEST_SKIP() << "not built: no headers of PostgreSQL 15";
  }
  static Result<> configure(const Site& site, const std::string& command) {
    return site.server().configure(fmt::format("pgark.command = '{}'", command));
  }
  Result<Site> create(const PgInstall& install) const {
    TRY_ASSIGN(Site site, Site::create(install));
    for (const std::string& line :
         {fmt::format("dynamic_library_path = '{}:$libdir'", library_), std::string("archive_command = ''"),
          std::string("archive_library = 'pgark'"), std::string("pgark.stanza = 'main'"),
          fmt::format("pgark.arguments = '--config={}'", site.cli().config_path()),
          fmt::format("pgark.spool_path = '{}/spool'", site.cli().directory())}) {
      TRY(site.server().configure(line));
    }
    TRY(configure(site, pgark_binary()));
    TRY(site.server().restart());
    return site;
  }
  static Result<int64_t> failures(const Site& site) {
    TRY_ASSIGN(const PgRows rows, site.server().query("SELECT failed_count FROM pg_stat_archiver"));
    return rows.integer();
  }

  std::string library_;
};

TEST_F(ArchiveModule, ArchivesThroughTheWorkerAndStartsOneIfThereIsNone) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const Site site, create(install));
  ASSERT_OK_AND_ASSIGN(const auto checked, site.cli().run_json({"check"}));
  EXPECT_THAT(check_problems(checked), IsEmpty()) << checked.dump(2);
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK(site.write_segments(10));
    ASSERT_OK(site.server().archive_all());
    const auto workers = processes(site.cli().config_path(), true);
    ASSERT_EQ(workers.size(), 1u);
    ASSERT_EQ(::kill(workers[0], SIGKILL), 0);
  }
  ASSERT_OK(site.server().archive_all(seconds(120)));
  for (const std::string& name : site.status(".done")) {
    EXPECT_EQ(site.compare(name, 1), "");
    EXPECT_EQ(site.compare(name, 2), "");
  }
}

TEST_F(ArchiveModule, ReportsWhatFailsAndRecovers) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const Site site, create(install));
  ASSERT_OK(site.server().archive_all());
  // Neither a worker nor a pgark to start one.
  ASSERT_OK(configure(site, "/nonexistent/pgark"));
  ASSERT_OK(site.server().reload());
  ASSERT_OK(site.cli().run_ok({"stop"}));
  ASSERT_TRUE(wait_until([&] { return processes(site.cli().config_path(), true).empty(); }));
  ASSERT_OK_AND_ASSIGN(const int64_t before, failures(site));
  ASSERT_OK(site.write_segments(2));
  // The first attempt may be one of an archiver that has not read its settings again.
  ASSERT_OK(wait_for("a failure to run pgark", [&]() -> Result<bool> {
    TRY_ASSIGN(const int64_t now, failures(site));
    return now > before &&
           site.server().log_tail(100).find("could not run \"/nonexistent/pgark\"") != std::string::npos;
  }));
  EXPECT_THAT(site.server().log_tail(100), HasSubstr("Set pgark.command to the path of pgark"));
  // A pgark that refuses says why.
  ASSERT_OK(configure(site, pgark_binary()));
  ASSERT_OK(site.server().reload());
  ASSERT_OK(site.write_segments(1));
  EXPECT_TRUE(wait_until([&] {
    return site.server().log_tail(100).find("pgark is stopped for stanza main") != std::string::npos;
  })) << site.server().log_tail(30);
  ASSERT_OK(site.cli().run_ok({"start"}));
  ASSERT_OK(site.server().archive_all(seconds(120)));
  for (const std::string& name : site.status(".done")) EXPECT_EQ(site.compare(name, 2), "");

  // And so does a worker whose repository is gone. The server can be stopped meanwhile.
  fs::rename(site.repo2(), site.repo2() + ".away");
  ASSERT_OK(site.write_segments(1));
  EXPECT_TRUE(wait_until([&] {
    return site.server().log_tail(100).find("1 of 2 repositories have it") != std::string::npos;
  })) << site.server().log_tail(30);
  ASSERT_OK(site.server().stop());
  fs::rename(site.repo2() + ".away", site.repo2());
  ASSERT_OK(site.server().start());
  ASSERT_OK(site.server().archive_all(seconds(120)));
}

}  // namespace
}  // namespace pgark::testing
