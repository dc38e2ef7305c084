// stanza-create, stanza-delete, check and info with real servers.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;

class Stanza : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto install = find_install(15);
    ASSERT_OK(install);
    auto server = PgServer::create(*install, {.config = {}, .initdb_args = {}});
    ASSERT_OK(server);
    server_ = std::move(*server);
    auto cli = PgarkCli::create(server_->scratch() / "pgark");
    ASSERT_OK(cli);
    cli_ = std::make_unique<PgarkCli>(std::move(*cli));
    ASSERT_OK(cli_->archive_from(*server_));
  }

  ProcessResult run(const std::vector<std::string>& arguments) {
    const auto result = cli_->run(arguments);
    EXPECT_TRUE(result.has_value());
    return result.value_or(ProcessResult{});
  }
  /// Another stanza of the same configuration file; nothing but the stanza's own section is taken from it.
  ProcessResult run_other(const std::string& stanza, std::vector<std::string> arguments) {
    std::vector<std::string> argv{pgark_binary(), "--config=" + cli_->config_path(), "--stanza=" + stanza};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const auto result =
        testing::run(argv, {.env = without_test_settings(), .standard_input = "", .working_directory = ""});
    EXPECT_TRUE(result.has_value());
    return result.value_or(ProcessResult{});
  }
  std::vector<std::string> server_options() const {
    return {"--pg1-path=" + server_->data_dir(), "--pg1-socket-path=" + server_->socket_dir(),
            fmt::format("--pg1-port={}", server_->port()), "--pg1-user=postgres"};
  }
  /// What check prints as JSON, whatever it exits with.
  json check(int exit_code, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"check", "--output=json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.to_string();
    return json::parse(result.out, nullptr, false);
  }
  static std::vector<std::string> codes(const json& checked) {
    std::vector<std::string> codes;
    for (const json& finding : checked.value("findings", json::array())) {
      if (finding["severity"] != "info") codes.push_back(finding["code"]);
    }
    return codes;
  }

  std::unique_ptr<PgServer> server_;
  std::unique_ptr<PgarkCli> cli_;
};

TEST_F(Stanza, CreateIsRepeatableAndRefusesOtherClusters) {
  EXPECT_NE(run({"stanza-create"}).exit_code, 0) << "the server does not run";
  const ProcessResult offline = run({"stanza-create", "--no-online"});
  EXPECT_EQ(offline.exit_code, 0) << offline.to_string();
  EXPECT_THAT(offline.out, HasSubstr("created"));
  ASSERT_OK(server_->start());
  const ProcessResult again = run({"stanza-create"});
  EXPECT_EQ(again.exit_code, 0) << again.to_string();
  EXPECT_THAT(again.out, HasSubstr("exists already"));

  ASSERT_OK_AND_ASSIGN(const auto other, PgServer::create(server_->install()));
  const ProcessResult refused = run({"stanza-create", "--no-online", "--pg1-path=" + other->data_dir()});
  EXPECT_EQ(refused.exit_code, 2) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("belongs to the cluster with system identifier"));
  // Files of one cluster, server of another.
  std::vector<std::string> mixture = server_options();
  mixture.insert(mixture.begin(), "stanza-create");
  mixture[1] = "--pg1-path=" + other->data_dir();
  const ProcessResult mixed = run_other("mixed", mixture);
  EXPECT_EQ(mixed.exit_code, 2) << mixed.to_string();
  EXPECT_THAT(mixed.err, HasSubstr("check pg1-path, pg1-port and pg1-socket-path"));
}

TEST_F(Stanza, DeleteRefusesWhileTheClusterRuns) {
  ASSERT_OK(server_->start());
  ASSERT_OK(cli_->run_ok({"stanza-create"}));
  std::vector<std::string> second = server_options();
  second.insert(second.begin(), "stanza-create");
  EXPECT_EQ(run_other("main2", second).exit_code, 0);
  ASSERT_OK(server_->archive_all());
  const ProcessResult refused = run({"stanza-delete"});
  EXPECT_EQ(refused.exit_code, 2) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("--force deletes the stanza all the same"));
  ASSERT_OK(server_->stop());
  const ProcessResult deleted = run({"stanza-delete"});
  EXPECT_EQ(deleted.exit_code, 0) << deleted.to_string();
  EXPECT_EQ(run({"stanza-delete"}).exit_code, 3) << "there is no such stanza any more";
  const ProcessResult left = run_other("main2", {"info"});
  EXPECT_THAT(left.out, HasSubstr("status: no valid backups"));
  ASSERT_OK_AND_ASSIGN(const json gone, cli_->run_json({"info"}));
  EXPECT_EQ(gone["stanzas"][0]["status"], "missing");

  ASSERT_OK(server_->start());
  ASSERT_OK(cli_->run_ok({"stanza-create"}));
  ASSERT_OK(cli_->run_ok({"stanza-delete", "--force"}));
}

TEST_F(Stanza, CheckProvesArchivingOrSaysWhyNot) {
  const json unreachable = check(1);
  EXPECT_THAT(codes(unreachable), Contains("server_unreachable"));
  ASSERT_OK(server_->start());
  EXPECT_THAT(codes(check(1)), Contains("repository_unreachable")) << "stanza-create was not run yet";
  ASSERT_OK(cli_->run_ok({"stanza-create"}));
  const json good = check(0);
  EXPECT_TRUE(codes(good).empty()) << good.dump(2);
  EXPECT_EQ(good["wal"]["segment"].get<std::string>().size(), 24u);

  ASSERT_OK(server_->configure("archive_command = 'false archive-push --stanza=main %p'"));
  ASSERT_OK(server_->reload());
  const json failing = check(1, {"--archive-timeout=30"});
  ASSERT_EQ(codes(failing), std::vector<std::string>{"wal_not_archived"}) << failing.dump(2);
  EXPECT_THAT(failing["findings"][0]["what"].get<std::string>(), HasSubstr("archive_command failed"));
  EXPECT_THAT(failing["findings"][0]["mend"].get<std::string>(), HasSubstr("server's log"));

  ASSERT_OK(server_->configure("archive_mode = off"));
  ASSERT_OK(server_->restart());
  EXPECT_EQ(codes(check(1)), std::vector<std::string>{"archive_mode_off"});
}

TEST_F(Stanza, CheckNamesAnotherClustersStanza) {
  ASSERT_OK(server_->start());
  ASSERT_OK(cli_->run_ok({"stanza-create"}));
  ASSERT_OK_AND_ASSIGN(const auto other, PgServer::create(server_->install()));
  ASSERT_OK(cli_->archive_from(*other));
  ASSERT_OK(other->start());
  EXPECT_EQ(codes(check(1)), std::vector<std::string>{"stanza_of_another_cluster"});
}

TEST_F(Stanza, InfoWorksWithoutServerAndShowsGaps) {
  ASSERT_OK(server_->start());
  ASSERT_OK(cli_->run_ok({"stanza-create"}));
  std::vector<std::string> segments;
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK_AND_ASSIGN(std::string segment, server_->archive_all());
    segments.push_back(std::move(segment));
  }
  ASSERT_OK(server_->stop());
  fs::remove(cli_->repo_path() + "/main/wal/1/00000001/00000000/" + segments[1]);
  ASSERT_OK_AND_ASSIGN(const json info, cli_->run_json({"info"}));
  const json& cluster = info["stanzas"][0]["clusters"][0];
  ASSERT_EQ(cluster["gaps"].size(), 1u) << info.dump(2);
  EXPECT_EQ(cluster["gaps"][0]["min"], segments[1]);
  EXPECT_EQ(cluster["gaps"][0]["max"], segments[1]);
  EXPECT_EQ(cluster["wal"].size(), 2u);
  ASSERT_OK_AND_ASSIGN(const std::string text, cli_->run_ok({"info"}));
  EXPECT_THAT(text, HasSubstr("MISSING: " + segments[1]));
}

}  // namespace
}  // namespace pgark::testing
