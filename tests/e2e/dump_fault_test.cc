// What may go wrong with dumps and loads: death at any moment, a full repository, what is missing on the other side,
// clients and servers too old, a wrong key, damage. Each is told, and leaves nothing half done.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include "core/file.h"
#include "logical_scene.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Steady = std::chrono::steady_clock;

uint64_t seed_of_run() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  fmt::print("SEED={}\n", seed);
  return seed;
}

/// Rows that take a dump a second or so, so that it can be hit.
Result<> fill(PgServer& server, int tables = 6, int rows = 60'000) {
  for (int i = 0; i < tables; ++i) {
    TRY(server.exec(fmt::format(
        "CREATE TABLE big_{} AS SELECT g AS id, md5(g::text) || md5((g + 1)::text) AS x FROM generate_series(1, {}) g",
        i, rows)));
  }
  return {};
}

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(directory, error)) {
    if (entry.is_regular_file()) found.push_back(entry.path().string());
  }
  return found;
}

class DumpFault : public ::testing::Test {
 protected:
  Result<std::vector<std::string>> listed() const { return listed_dumps(*scene_->cli); }

  /// Sessions of pgark and of the programs that it started.
  Result<int64_t> sessions() const {
    TRY_ASSIGN(const PgRows rows,
               scene_->server->query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
                                     "pid <> pg_backend_pid()"));
    return rows.integer();
  }

  std::unique_ptr<LogicalScene> scene_;
};

/// Whether a program handles SIGTERM by now; before, the system ends it.
bool takes_sigterm(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  constexpr std::string_view kCaught = "SigCgt:";
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(kCaught))
      return (std::strtoull(line.c_str() + kCaught.size(), nullptr, 16) >> (SIGTERM - 1) & 1) != 0;
  return false;
}

/// A dump that is hit by `signal` after a while; whether it was in time.
Result<bool> interrupted_dump(const LogicalScene& scene, int signal, std::chrono::milliseconds after) {
  TRY_ASSIGN(Process dump, scene.cli->start(LogicalScene::with_clients({"dump", "--dbname=postgres", "--jobs=2"})));
  while (signal == SIGTERM && dump.running() && !takes_sigterm(dump.pid()))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto until = Steady::now() + after;
  while (Steady::now() < until && dump.running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  // Only pgark itself: its children must notice on their own.
  TRY(dump.signal(signal));
  TRY_ASSIGN(const ProcessResult ended, dump.wait());
  if (ended.timed_out) return Error(Errc::kInternal, "an interrupted dump does not end: " + ended.to_string());
  if (signal == SIGTERM && !ended.ok() && ended.signal != 0) {
    return Error(Errc::kInternal, "SIGTERM is not taken: " + ended.to_string());
  }
  return !ended.ok();
}

void expect_interrupted_dumps_leave_nothing(const LogicalScene& scene, const std::function<Result<int64_t>()>& sessions,
                                            int signal, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto begun = Steady::now();
  ASSERT_OK(scene.dump({"--dbname=postgres", "--jobs=2"}));
  const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(Steady::now() - begun).count();
  size_t complete = 1;
  int hit = 0;
  // At least 6 times, and on until one was hit: how long a dump takes changes with what else the machine does.
  for (int round = 0; round < 6 || (hit == 0 && round < 40); ++round) {
    const std::chrono::milliseconds after(
        std::uniform_int_distribution<int64_t>(0, std::max<int64_t>(whole, 1))(random));
    SCOPED_TRACE(fmt::format("signal {} after {} of {} ms, SEED={}", signal, after.count(), whole, seed));
    ASSERT_OK_AND_ASSIGN(const bool in_time, interrupted_dump(scene, signal, after));
    if (in_time) ++hit;
    if (!in_time) ++complete;
    ASSERT_OK_AND_ASSIGN(const auto labels, listed_dumps(*scene.cli));
    // A kill -9 may come after the manifest and before the exit.
    if (in_time && signal == SIGKILL && labels.size() == complete + 1) ++complete;
    EXPECT_THAT(labels, SizeIs(complete));
    ASSERT_OK(wait_for("sessions of the dead dump to end", [&]() -> Result<bool> {
      TRY_ASSIGN(const int64_t count, sessions());
      return count == 0;
    }));
  }
  EXPECT_GT(hit, 0) << "no dump was hit, SEED=" << seed;
  ASSERT_OK(scene.dump({"--dbname=postgres", "--jobs=2"}));
  ASSERT_OK_AND_ASSIGN(const auto labels, listed_dumps(*scene.cli));
  EXPECT_THAT(labels, SizeIs(complete + 1));
  // The directories of pg_dump of the dead are gone, too.
  EXPECT_THAT(files_below(scene.cli->directory() + "/spool"), Each(EndsWith("/lock")));
  const auto loaded = scene.load_into(*scene.server, {"--create", "--db-map=postgres:again"});
  ASSERT_OK(loaded);
  EXPECT_TRUE(loaded->ok()) << loaded->to_string();
  ASSERT_OK_AND_ASSIGN(const std::string different,
                       different_databases(*scene.server, "postgres", *scene.server, "again"));
  EXPECT_TRUE(different.empty()) << different;
}

TEST_F(DumpFault, KilledDumpLeavesNothingListed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK(fill(*scene_->server));
  expect_interrupted_dumps_leave_nothing(
      *scene_, [&] { return sessions(); }, SIGKILL, seed_of_run());
}

TEST_F(DumpFault, TerminatedDumpLeavesNothingListed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK(fill(*scene_->server));
  expect_interrupted_dumps_leave_nothing(
      *scene_, [&] { return sessions(); }, SIGTERM, seed_of_run());
}

TEST_F(DumpFault, ServerThatDiesIsToldAndLeavesNothingListed) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK(fill(*scene_->server));
  // Held at a table, the dump is under way for as long as it takes.
  ASSERT_OK_AND_ASSIGN(PgConnection holder, scene_->server->connect());
  ASSERT_OK(holder.exec("BEGIN; LOCK TABLE big_3"));
  ASSERT_OK_AND_ASSIGN(Process dump, scene_->cli->start(LogicalScene::with_clients({"dump", "--dbname=postgres"})));
  ASSERT_OK(wait_for("pg_dump to wait for the table", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, scene_->server->query("SELECT count(*) FROM pg_locks WHERE NOT granted"));
    return rows.integer() > 0;
  }));
  ASSERT_OK(scene_->server->kill());
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, dump.wait());
  EXPECT_FALSE(ended.timed_out);
  EXPECT_FALSE(ended.ok());
  EXPECT_THAT(ended.err, HasSubstr("connection"));
  ASSERT_OK_AND_ASSIGN(const auto labels, listed());
  EXPECT_THAT(labels, IsEmpty());
  ASSERT_OK(scene_->server->start());
  ASSERT_OK(scene_->dump({"--dbname=postgres"}));
}

TEST_F(DumpFault, FullRepositoryIsToldAndLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("small"));
  ASSERT_OK(make_directories(scratch / "repo"));
  auto small = SmallFs::mount(scratch / "repo", 2u << 20);
  if (!small.has_value() && small.error().code() == Errc::kUnsupported) GTEST_SKIP() << small.error().to_string();
  ASSERT_OK(small);
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false, {{"repo1-path", scratch / "repo"}}));
  ASSERT_OK(fill(*scene_->server));
  ASSERT_OK_AND_ASSIGN(
      const ProcessResult full,
      scene_->cli->run(LogicalScene::with_clients({"dump", "--dbname=postgres", "--compress-type=none"})));
  EXPECT_FALSE(full.ok());
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  EXPECT_THAT(full.err, HasSubstr("main/dump/"));
  ASSERT_OK_AND_ASSIGN(const auto none, listed());
  EXPECT_THAT(none, IsEmpty());
  ASSERT_OK(small->resize(256u << 20));
  ASSERT_OK(scene_->dump({"--dbname=postgres", "--compress-type=none"}));
  ASSERT_OK_AND_ASSIGN(const auto one, listed());
  EXPECT_THAT(one, SizeIs(1));
}

/// Databases of a server, without what initdb makes.
Result<std::vector<std::string>> databases_of(PgServer& server) {
  TRY_ASSIGN(const PgRows rows, server.query("SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', "
                                             "'template0', 'template1') ORDER BY 1"));
  std::vector<std::string> names;
  for (size_t i = 0; i < rows.size(); ++i) names.push_back(rows.text(i, 0));
  return names;
}

TEST_F(DumpFault, MissingRoleIsToldBeforeAnythingIsMade) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK(scene_->server->exec("CREATE ROLE the_owner; CREATE ROLE \"the reader\""));
  ASSERT_OK(scene_->server->exec("CREATE DATABASE app OWNER the_owner"));
  ASSERT_OK_AND_ASSIGN(PgConnection app, scene_->server->connect("app"));
  ASSERT_OK(
      app.exec("CREATE TABLE t (id int); ALTER TABLE t OWNER TO the_owner; GRANT SELECT ON t TO \"the reader\"; "
               "INSERT INTO t VALUES (1)"));
  ASSERT_OK(scene_->dump({"--dbname=app"}));
  ASSERT_OK_AND_ASSIGN(const auto target, start_logical_server(install));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene_->load_into(*target, {"--create"}));
  EXPECT_FALSE(refused.ok()) << refused.to_string();
  EXPECT_THAT(refused.out + refused.err, HasSubstr("the_owner"));
  EXPECT_THAT(refused.out + refused.err, HasSubstr("the reader"));
  EXPECT_THAT(refused.out + refused.err, HasSubstr("--globals"));
  ASSERT_OK_AND_ASSIGN(const auto none, databases_of(*target));
  EXPECT_THAT(none, IsEmpty());
  // Each way out that there is.
  ASSERT_OK_AND_ASSIGN(const ProcessResult mapped,
                       scene_->load_into(*target, {"--create", "--role-map=the_owner:postgres",
                                                   "--role-map=the reader:pg_monitor", "--db-map=app:mapped"}));
  EXPECT_TRUE(mapped.ok()) << mapped.to_string();
  ASSERT_OK_AND_ASSIGN(const ProcessResult without,
                       scene_->load_into(*target, {"--create", "--no-owner", "--no-acl", "--db-map=app:without"}));
  EXPECT_TRUE(without.ok()) << without.to_string();
  ASSERT_OK_AND_ASSIGN(const ProcessResult with, scene_->load_into(*target, {"--create", "--globals"}));
  EXPECT_TRUE(with.ok()) << with.to_string();
  ASSERT_OK_AND_ASSIGN(const auto all, databases_of(*target));
  EXPECT_THAT(all, ElementsAre("app", "mapped", "without"));
}

TEST_F(DumpFault, MissingExtensionIsToldBeforeAnythingIsMade) {
  PGARK_REQUIRE_PG(install, 15);
  PGARK_REQUIRE_PG(newer, 18);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK(scene_->server->exec("CREATE DATABASE app"));
  ASSERT_OK_AND_ASSIGN(PgConnection app, scene_->server->connect("app"));
  // Gone since 17.
  ASSERT_OK(app.exec("CREATE EXTENSION adminpack; CREATE TABLE t (id int)"));
  ASSERT_OK(scene_->dump({"--dbname=app"}));
  ASSERT_OK_AND_ASSIGN(const auto target, start_logical_server(newer));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene_->load_into(*target, {"--create"}));
  EXPECT_FALSE(refused.ok()) << refused.to_string();
  EXPECT_THAT(refused.out + refused.err, HasSubstr("adminpack"));
  ASSERT_OK_AND_ASSIGN(const auto none, databases_of(*target));
  EXPECT_THAT(none, IsEmpty());
}

TEST_F(DumpFault, WhatAnOlderServerDoesNotKnowIsTold) {
  PGARK_REQUIRE_PG(install, 18);
  PGARK_REQUIRE_CLIENT(clients, 18);
  PGARK_REQUIRE_PG(older, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  for (const auto& [name, table] :
       {std::pair("plain", "CREATE TABLE t (a int)"),
        std::pair("of18", "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a) VIRTUAL)")}) {
    ASSERT_OK(scene_->server->exec(fmt::format("CREATE DATABASE {}", name)));
    ASSERT_OK_AND_ASSIGN(PgConnection connection, scene_->server->connect(name));
    ASSERT_OK(connection.exec(table));
  }
  ASSERT_OK(scene_->dump({"--dbname=plain", "--dbname=of18"}));
  ASSERT_OK_AND_ASSIGN(const auto target, start_logical_server(older));
  const auto says_both_versions = HasSubstr("the dump is of PostgreSQL 18, the server is 15");
  ASSERT_OK_AND_ASSIGN(const ProcessResult planned,
                       scene_->load_into(*target, {"--create", "--dbname=of18", "--dry-run"}));
  EXPECT_THAT(planned.out, says_both_versions);
  ASSERT_OK_AND_ASSIGN(const ProcessResult loaded, scene_->load_into(*target, {"--create", "--dbname=plain"}));
  EXPECT_TRUE(loaded.ok()) << loaded.to_string();
  EXPECT_THAT(loaded.out, says_both_versions);
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene_->load_into(*target, {"--create", "--dbname=of18"}));
  EXPECT_FALSE(refused.ok()) << refused.to_string();
  EXPECT_THAT(refused.out, says_both_versions);
  EXPECT_THAT(refused.err, HasSubstr("syntax error"));
  ASSERT_OK_AND_ASSIGN(const auto left, databases_of(*target));
  EXPECT_THAT(left, ElementsAre("plain"));
}

TEST_F(DumpFault, ServerNewerThanEveryClientIsTold) {
  PGARK_REQUIRE_PG(install, 18);
  for (const auto& dir : {"/usr/lib/postgresql/18/bin", "/usr/lib/postgresql/19/bin"}) {
    if (fs::exists(dir)) GTEST_SKIP() << "a client of 18 is installed: " << dir;
  }
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene_->cli->run({"dump"}));
  EXPECT_FALSE(refused.ok()) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("18"));
  EXPECT_THAT(refused.err, HasSubstr("15"));
  EXPECT_THAT(refused.err, HasSubstr("postgresql-client-18"));
  ASSERT_OK_AND_ASSIGN(const auto none, listed());
  EXPECT_THAT(none, IsEmpty());
}

TEST_F(DumpFault, WrongKeyIsToldAndLoadsNothing) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const ScratchDir keys, ScratchDir::create("keys"));
  ASSERT_OK(write_file_durable(keys / "right", "correct-horse-battery-staple", 0600));
  ASSERT_OK(write_file_durable(keys / "wrong", "incorrect-horse-battery-staple", 0600));
  ASSERT_OK_AND_ASSIGN(
      scene_, LogicalScene::create(install, false,
                                   {{"repo1-cipher-type", "aes-256-gcm"}, {"repo1-cipher-pass-file", keys / "right"}}));
  ASSERT_OK(scene_->server->exec("CREATE TABLE t AS SELECT 'the-marker-of-the-table'::text AS x"));
  ASSERT_OK(scene_->dump({"--dbname=postgres", "--compress-type=none"}));
  for (const std::string& path : files_below(scene_->scratch / "repo")) {
    ASSERT_OK_AND_ASSIGN(const std::string content, read_file(path, uint64_t{1} << 30));
    EXPECT_THAT(content, Not(HasSubstr("the-marker-of-the-table"))) << path;
    EXPECT_THAT(content, Not(HasSubstr("CREATE TABLE"))) << path;
  }
  ASSERT_OK(scene_->cli->set("global", "repo1-cipher-pass-file", keys / "wrong"));
  for (const char* command : {"dump-ls", "dump", "load", "dump-get", "dump-verify"}) {
    SCOPED_TRACE(command);
    std::vector<std::string> args{command};
    if (std::string_view(command) == "dump-get") args.push_back(keys / "out");
    ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene_->cli->run(args));
    EXPECT_FALSE(refused.ok()) << refused.to_string();
    EXPECT_THAT(refused.err, HasSubstr("pass"));
  }
  EXPECT_FALSE(fs::exists(keys / "out"));
  ASSERT_OK(scene_->cli->set("global", "repo1-cipher-pass-file", keys / "right"));
  ASSERT_OK_AND_ASSIGN(const ProcessResult loaded,
                       scene_->cli->run(LogicalScene::with_clients({"load", "--create", "--db-map=postgres:again"})));
  EXPECT_TRUE(loaded.ok()) << loaded.to_string();
}

TEST_F(DumpFault, DamagedPackIsNamedAndLoadsNothing) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false));
  ASSERT_OK(fill(*scene_->server, 1, 2'000));
  ASSERT_OK(scene_->dump({"--dbname=postgres"}));
  std::string pack;
  for (const std::string& path : files_below(scene_->scratch / "repo/main/dump")) {
    if (!path.ends_with("/manifest") && (pack.empty() || fs::file_size(path) > fs::file_size(pack))) pack = path;
  }
  ASSERT_NE(pack, "");
  ASSERT_OK_AND_ASSIGN(std::string content, read_file(pack, uint64_t{1} << 30));
  content[content.size() / 2] = static_cast<char>(content[content.size() / 2] ^ 0x10);
  ASSERT_OK(write_file_durable(pack, content));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused,
                       scene_->load_into(*scene_->server, {"--create", "--db-map=postgres:again"}));
  EXPECT_FALSE(refused.ok()) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("main/dump/"));
}

}  // namespace
}  // namespace pgark::testing
