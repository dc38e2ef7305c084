// check on real servers: silent where all is well, and each mistake told where it was made.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/scratch.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::StartsWith;

uint64_t device_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_dev) : 0;
}

/// A directory in another file system than the scratch directories, where the machine has one; else empty.
struct OtherFileSystem {
  OtherFileSystem() {
    std::string name = "/dev/shm/pgark-check-XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) path = name;
  }
  OtherFileSystem(const OtherFileSystem&) = delete;
  OtherFileSystem& operator=(const OtherFileSystem&) = delete;
  ~OtherFileSystem() {
    if (!path.empty()) (void)remove_tree(path).has_value();
  }
  std::string path;
};

class CheckScene : public ::testing::Test {
 protected:
  /// A server that archives, and a stanza in a repository below `place` (empty: beside the data).
  void create(const PgInstall& install, PgOptions options, const std::string& place = "") {
    ASSERT_OK_AND_ASSIGN(server_, PgServer::create(install, options));
    ASSERT_OK_AND_ASSIGN(PgarkCli cli, PgarkCli::create(server_->scratch() / "pgark"));
    cli_.emplace(std::move(cli));
    if (!place.empty()) ASSERT_OK(cli_->set("global", "repo1-path", place + "/repo"));
    ASSERT_OK(cli_->archive_from(*server_));
    ASSERT_OK(server_->start());
    ASSERT_OK(cli_->run_ok({"stanza-create"}));
  }
  json check(int exit_code, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"check", "--output=json"});
    const auto ran = cli_->run(more);
    EXPECT_TRUE(ran.has_value());
    if (!ran) return json::object();
    EXPECT_EQ(ran->exit_code, exit_code) << ran->to_string();
    return json::parse(ran->out, nullptr, false);
  }
  ProcessResult nagios(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"check", "--output=nagios"});
    const auto ran = cli_->run(more);
    EXPECT_TRUE(ran.has_value());
    return ran.value_or(ProcessResult{});
  }
  static std::vector<std::string> codes(const json& checked) {
    std::vector<std::string> codes;
    for (const json& finding : checked.value("findings", json::array())) codes.push_back(finding["code"]);
    return codes;
  }
  static json finding(const json& checked, const std::string& code) {
    for (const json& finding : checked["findings"])
      if (finding["code"] == code) return finding;
    return {{"what", "no " + code + " in " + checked.dump(2)}};
  }

  std::unique_ptr<PgServer> server_;
  std::optional<PgarkCli> cli_;
};

using Examined = CheckScene;

class ExaminedEach : public CheckScene, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Each, ExaminedEach, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(ExaminedEach, NoExaminerFailsOnAnyVersion) {
  PGARK_REQUIRE_PG(install, GetParam());
  create(install, {.config = {"archive_timeout = 60"}, .initdb_args = {}});
  ASSERT_OK(server_->exec("CREATE UNLOGGED TABLE cache AS SELECT g FROM generate_series(1, 1000) g"));
  ASSERT_OK(cli_->run_ok({"backup", "--start-fast"}));
  const json checked = check(0);
  EXPECT_THAT(check_problems(checked), IsEmpty()) << checked.dump(2);
  EXPECT_THAT(codes(checked), Contains("unlogged_tables"));
  EXPECT_THAT(finding(checked, "unlogged_tables")["what"].get<std::string>(),
              HasSubstr("1 unlogged table, the biggest is public.cache in postgres with "));
  EXPECT_THAT(codes(checked), Not(Contains(::testing::EndsWith("_failed"))));
  const json& one = checked["repositories"][0];
  EXPECT_EQ(one["backup_count"], 1);
  EXPECT_GT(one["wal"]["segment_count"], 0);
  EXPECT_GT(one["place"]["free_bytes"], 0);
  EXPECT_GT(one["forecast"]["next_full_bytes"], 1 << 20);
}

TEST_F(Examined, SoundClusterHasNoWarning) {
  PGARK_REQUIRE_PG(install, 15);
  const OtherFileSystem elsewhere;
  if (elsewhere.path.empty()) GTEST_SKIP() << "there is no /dev/shm";
  create(install, {.durable = true, .config = {"archive_timeout = 60"}, .initdb_args = {}}, elsewhere.path);
  if (device_of(elsewhere.path) == device_of(server_->data_dir())) GTEST_SKIP() << "/dev/shm is where the data is";
  // All that a repository in memory can be reproached with.
  ASSERT_OK(cli_->set("global", "check-ignore", "repository_in_memory"));
  ASSERT_OK(cli_->set("global", "repo1-retention-full", "2"));
  ASSERT_OK(cli_->run_ok({"backup", "--start-fast"}));
  const json checked = check(0);
  EXPECT_THAT(check_problems(checked), IsEmpty()) << checked.dump(2);
  EXPECT_EQ(checked["status"], "ok");
  const ProcessResult line = nagios();
  EXPECT_EQ(line.exit_code, 0) << line.to_string();
  EXPECT_THAT(line.out, StartsWith("PGARK OK - main: backup 2"));
  EXPECT_THAT(line.out, ContainsRegex("[|]errors=0 warnings=0 .*repo1_backup_age=[0-9]+s;93600;280800;0"));
}

TEST_F(Examined, MistakesAreToldWithTheirCodes) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {.checksums = false, .config = {"full_page_writes = off"}, .initdb_args = {}});
  ASSERT_OK(cli_->set("global", "check-ignore", ""));
  ASSERT_OK(server_->exec("ALTER SYSTEM SET archive_command = '" + cli_->archive_command() + " || true'"));
  ASSERT_OK(server_->reload());
  const json checked = check(1);
  EXPECT_THAT(check_problems(checked),
              IsSupersetOf({"error archive_command_hides_failure", "warning fsync_off", "warning full_page_writes_off",
                            "warning checksums_off", "warning retention_none", "warning repository_on_data_filesystem",
                            "warning no_backup"}))
      << checked.dump(2);
  EXPECT_FALSE(checked["repositories"][0]["archived_after_ms"].is_null()) << "archiving was tried all the same";

  const ProcessResult line = nagios();
  EXPECT_EQ(line.exit_code, 2) << line.to_string();
  EXPECT_THAT(line.out, StartsWith("PGARK CRITICAL - main: archive_command_hides_failure: "));

  ASSERT_OK(server_->exec("ALTER SYSTEM RESET archive_command"));
  ASSERT_OK(server_->reload());
  EXPECT_EQ(nagios().exit_code, 1) << "only warnings are left";
  EXPECT_THAT(check(0)["status"], "warning");
}

TEST_F(Examined, WithoutAServerTheFilesAreExamined) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {.checksums = false, .config = {}, .initdb_args = {}});
  ASSERT_OK(cli_->run_ok({"backup", "--start-fast"}));
  ASSERT_OK(server_->stop());
  ASSERT_OK(cli_->set("global", "check-ignore", ""));
  const json checked = check(1, {"--check-backup-age=1s"});
  EXPECT_THAT(codes(checked),
              IsSupersetOf({"server_unreachable", "checksums_off", "repository_on_data_filesystem", "drill_none"}));
  EXPECT_THAT(codes(check(1)), Not(Contains("backup_old")));
}

TEST_F(Examined, StandbyIsExaminedAsOne) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {.config = {"archive_timeout = 60"}, .initdb_args = {}});
  ASSERT_OK(server_->exec("CREATE UNLOGGED TABLE cache AS SELECT g FROM generate_series(1, 1000) g"));
  ASSERT_OK(cli_->run_ok({"backup", "--start-fast"}));
  const std::string place = server_->scratch() / "standby";
  ASSERT_OK(cli_->run_ok({"restore", "--type=standby", "--pg1-path=" + place}));
  ASSERT_OK_AND_ASSIGN(const auto standby, PgServer::adopt(place, install));
  ASSERT_OK(standby->start());
  const json checked = check(0, {"--pg1-path=" + place, fmt::format("--pg1-port={}", standby->port()),
                                 "--pg1-socket-path=" + standby->socket_dir()});
  EXPECT_EQ(checked["server"]["in_recovery"], true);
  EXPECT_THAT(codes(checked), Contains("standby_archive_mode_on"));
  EXPECT_THAT(check_problems(checked), IsEmpty()) << checked.dump(2);
}

TEST_F(Examined, NagiosIsToldWhenTheCheckCannotRun) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {});
  const ProcessResult wrong = nagios({"--check-backup-age=soon"});
  EXPECT_EQ(wrong.exit_code, 3) << wrong.to_string();
  EXPECT_THAT(wrong.out, StartsWith("PGARK UNKNOWN - "));
  const ProcessResult unknown = nagios({"--check-ignore=fsync_of"});
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_THAT(unknown.out, HasSubstr("'fsync_of' is no code of a finding"));
  const ProcessResult error = nagios({"--check-ignore=fsync_off,wal_gap,archive_mode_off"});
  EXPECT_THAT(error.out, HasSubstr("archive_mode_off is an error, and only warnings can be ignored"));
}

TEST_F(Examined, InfoTellsAgesRatesAndWhatRetentionDecides) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {.config = {"archive_timeout = 60"}, .initdb_args = {}});
  ASSERT_OK(cli_->set("global", "repo1-retention-full", "2"));
  ASSERT_OK(cli_->set("global", "expire-auto", "n"));
  for (int i = 0; i < 3; ++i) ASSERT_OK(cli_->run_ok({"backup", "--type=full", "--start-fast"}));
  ASSERT_OK_AND_ASSIGN(const json info, cli_->run_json({"info"}));
  const json& stanza = info["stanzas"][0];
  const json& backups = stanza["backups"];
  ASSERT_EQ(backups.size(), 3u) << info.dump(2);
  EXPECT_EQ(stanza["newest_backup"]["label"], backups[2]["label"]);
  EXPECT_LT(stanza["newest_backup"]["age_ms"], 600'000);
  EXPECT_GE(stanza["wal_rate"]["window_segment_count"], 3);
  EXPECT_LT(stanza["rpo"]["at_most_ms"], 600'000);
  EXPECT_THAT(stanza["rpo"]["how"].get<std::string>(), HasSubstr("archive_timeout was 1min"));
  EXPECT_EQ(stanza["rto"]["label"], backups[2]["label"]);
  EXPECT_GT(stanza["rto"]["total_ms"], 0);
  EXPECT_EQ(stanza["retention"]["full"], 2);
  EXPECT_EQ(backups[0]["retention"]["keep"], false);
  EXPECT_EQ(backups[2]["retention"]["keep"], true);
  EXPECT_EQ(backups[2]["retention"]["reasons"][0]["rule"], "retention-full");
  ASSERT_OK_AND_ASSIGN(const std::string text, cli_->run_ok({"info"}));
  EXPECT_THAT(text, HasSubstr("retention: full=2 keeps 2 of 3 backups"));
  EXPECT_THAT(text, HasSubstr("retention: EXPIRES: "));
  EXPECT_THAT(text, HasSubstr("RTO (estimated): about "));
}

TEST_F(Examined, WhatVerifyFoundIsTold) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {.config = {"archive_timeout = 60"}, .initdb_args = {}});
  ASSERT_OK_AND_ASSIGN(const json backup, cli_->run_json({"backup", "--start-fast"}));
  EXPECT_THAT(codes(check(0)), Contains("verify_none"));
  ASSERT_OK(cli_->run_ok({"verify"}));
  const json whole = check(0);
  EXPECT_THAT(codes(whole), Not(Contains(StartsWith("verify_")))) << whole.dump(2);

  const std::string pack = fmt::format("{}/main/pack/{}/000001", cli_->repo_path(), backup["label"].get<std::string>());
  fs::permissions(pack, fs::perms::owner_write, fs::perm_options::add);
  std::fstream file(pack, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file.is_open());
  file.seekg(5000);
  const char other = static_cast<char>(file.get() ^ 0x10);
  file.seekp(5000);
  file.put(other);
  file.close();
  ASSERT_OK_AND_ASSIGN(const ProcessResult verified, cli_->run({"verify"}));
  EXPECT_EQ(verified.exit_code, 1) << verified.to_string();
  const json damaged = check(1);
  EXPECT_EQ(check_problems(damaged), std::vector<std::string>{"error verify_damage"}) << damaged.dump(2);
}

TEST_F(Examined, ExtensionsAndTablespacesAreTold) {
  PGARK_REQUIRE_PG(install, 15);
  create(install, {.config = {"archive_timeout = 60"}, .initdb_args = {}});
  ASSERT_OK(server_->exec("CREATE DATABASE shop"));
  ASSERT_OK_AND_ASSIGN(auto shop, server_->connect("shop"));
  if (!shop.exec("CREATE EXTENSION pg_trgm")) GTEST_SKIP() << "no contrib modules";
  const std::string inside = server_->data_dir() + "/nested";
  fs::create_directory(inside);
  fs::permissions(inside, fs::perms::owner_all);
  ASSERT_OK(server_->exec("CREATE TABLESPACE nested LOCATION '" + inside + "'"));
  const json checked = check(0);
  EXPECT_THAT(finding(checked, "extension_libraries")["what"].get<std::string>(), HasSubstr("pg_trgm"));
  EXPECT_THAT(check_problems(checked), Contains("warning tablespace_inside_data"));
}

}  // namespace
}  // namespace pgark::testing
