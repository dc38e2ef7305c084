// Hosts that are configured wrongly, or have only some of the keys: what they are refused, by what name, and that
// nothing was written before. And where secrets of a configuration must not be found, whatever is run with it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "encryption_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kArchiveGetStops = "archive-get has to stop recovery, not end it";

/// Segments of timeline 1 in the repository, by name.
std::vector<std::string> stored_segments(const RestoreScene& scene) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(scene.cli->repo_path() + "/main/wal/1/00000001"))
    if (entry.is_regular_file()) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

/// Every path below a directory with size and time.
std::map<std::string, std::string> state_of(const std::string& directory) {
  std::map<std::string, std::string> state;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    struct stat status {};
    if (::lstat(entry.path().c_str(), &status) != 0) continue;
    state[entry.path().string()] =
        fmt::format("{} {}.{}", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }
  return state;
}

class EncryptionHosts : public ::testing::Test {
 protected:
  /// A repository with a passphrase in a file, and one recipient if `with_recipient`.
  void create(bool with_recipient) {
    PGARK_REQUIRE_PG(install, 15);
    ASSERT_OK_AND_ASSIGN(keyed_, KeyedScene::create(install, with_recipient));
    scene_ = keyed_.scene.get();
    ASSERT_OK(scene_->ledger->commit_rows(10));
    ASSERT_OK_AND_ASSIGN(const json full, scene_->backup());
    label_ = full.at("label");
    ASSERT_OK(scene_->ledger->commit_rows(10));
    ASSERT_OK(scene_->server->archive_all());
  }

  std::string pass_file() const { return keyed_.pass_file(); }
  std::string identity_file() const { return keyed_.identity_file(); }
  PgarkCli& cli() { return *scene_->cli; }
  void set(const std::string& option, const std::string& value) { ASSERT_OK(cli().set("global", option, value)); }

  ProcessResult run(const std::vector<std::string>& args, const ProcessOptions& options = {}) {
    const auto result = cli().run(args, options);
    EXPECT_TRUE(result.has_value());
    return result ? *result : ProcessResult{};
  }

  /// Commands that open the repository, each with what it would need. Those that write would be told from their traces.
  std::vector<std::vector<std::string>> commands() {
    const std::string segment = stored_segments(*scene_).front();
    const auto current = scene_->server->query("SELECT pg_walfile_name(pg_current_wal_lsn())");
    EXPECT_TRUE(current.has_value());
    return {{"info"},
            {"check", "--no-online"},
            {"backup", "--type=full"},
            {"archive-push", scene_->server->data_dir() + "/pg_wal/" + (current ? current->text() : "")},
            {"archive-get", segment, scene_->place("got")},
            scene_->restore_args("refused"),
            {"verify"},
            {"expire"},
            {"timeline"},
            {"annotate", "--set=" + label_, "--annotation=a=b"},
            {"stanza-create"}};
  }

  /// Every command fails for this reason, says nothing secret, and changes nothing in the repository.
  void expect_all_refused(const std::string& why) {
    const auto before = state_of(cli().repo_path());
    for (const auto& command : commands()) {
      SCOPED_TRACE(command.front());
      if (command.front() == "check") continue;  // Tells of it among other things; below.
      const ProcessResult result = run(command);
      EXPECT_NE(result.exit_code, 0) << result.to_string();
      EXPECT_THAT(result.err, AllOf(HasSubstr(why), Not(HasSubstr(kPassphrase))));
      if (command.front() == "archive-get") {
        EXPECT_GT(result.exit_code, 125) << kArchiveGetStops;
      }
    }
    EXPECT_FALSE(fs::exists(scene_->place("refused")));
    EXPECT_FALSE(fs::exists(scene_->place("got")));
    EXPECT_EQ(state_of(cli().repo_path()), before);
    const ProcessResult checked = run({"check"});
    EXPECT_NE(checked.exit_code, 0);
    EXPECT_THAT(checked.out + checked.err, HasSubstr(why));
  }

  KeyedScene keyed_;
  RestoreScene* scene_ = nullptr;  // Of keyed_.
  std::string label_;
};

TEST_F(EncryptionHosts, EachWayToHaveTheWrongKeyIsRefusedByName) {
  ASSERT_NO_FATAL_FAILURE(create(false));
  {
    SCOPED_TRACE("a wrong passphrase");
    ASSERT_OK(keyed_.set_passphrase("another"));
    expect_all_refused("the passphrase of repo1-cipher-pass-file is wrong");
  }
  ASSERT_OK(keyed_.set_passphrase(kPassphrase));
  const auto expect_info_says = [&](const std::string& what, const std::string& why) {
    const ProcessResult result = run({"info"});
    EXPECT_NE(result.exit_code, 0) << what;
    EXPECT_THAT(result.err, AllOf(HasSubstr(why), Not(HasSubstr(kPassphrase)))) << what;
  };
  ASSERT_EQ(::chmod(pass_file().c_str(), 0644), 0);
  expect_info_says("others may read the file", "others than its owner have access");
  expect_info_says("others may read the file", "repo1-cipher-pass-file");
  ASSERT_EQ(::chmod(pass_file().c_str(), 0600), 0);
  ASSERT_OK(cli().run_ok({"info"}));

  set("repo1-cipher-pass", "given-twice");
  expect_info_says("two passphrases", "repo1-cipher-pass and repo1-cipher-pass-file exclude each other");
  set("repo1-cipher-pass", "");
  set("repo1-cipher-pass-file", keyed_.keys / "nowhere");
  expect_info_says("a file that is not there", "nowhere");
  expect_info_says("a file that is not there", "repo1-cipher-pass-file");
  ASSERT_OK(write_file_durable(keyed_.keys / "empty", "\n", 0600));
  set("repo1-cipher-pass-file", keyed_.keys / "empty");
  expect_info_says("an empty file", "repo1-cipher-pass-file gives an empty passphrase");
  set("repo1-cipher-pass-file", "");
  expect_info_says("no key", "no key is configured");
  set("repo1-cipher-pass-command", "false");
  expect_info_says("a command that fails", "repo1-cipher-pass-command");
  set("repo1-cipher-pass-command", fmt::format("cat {}", pass_file()));
  ASSERT_OK(cli().run_ok({"info"}));
  set("repo1-cipher-pass-command", "");

  // Not told that it is encrypted at all.
  set("repo1-cipher-type", "");
  expect_info_says("not told that it is encrypted", "it is encrypted, and repo1-cipher-type is none");
  set("repo1-cipher-pass-file", pass_file());
  expect_info_says("a key and no type", "repo1-cipher-type is none");
  set("repo1-cipher-type", "aes-256-gcm");
  ASSERT_OK(cli().run_ok({"info"}));
}

TEST_F(EncryptionHosts, PlainRepositoryIsNotTakenForAnEncryptedOne) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(keyed_.keys, ScratchDir::create("keys"));
  ASSERT_OK(keyed_.set_passphrase(kPassphrase));
  ASSERT_OK_AND_ASSIGN(keyed_.scene, RestoreScene::create(install));
  scene_ = keyed_.scene.get();
  ASSERT_OK_AND_ASSIGN(const json full, scene_->backup());
  label_ = full.at("label");
  ASSERT_OK(scene_->server->archive_all());
  set("repo1-cipher-type", "aes-256-gcm");
  set("repo1-cipher-pass-file", pass_file());
  expect_all_refused("it is not encrypted, and repo1-cipher-type asks for it");
}

TEST_F(EncryptionHosts, HostWithoutTheDataKeyWritesAndLooksAndIsRefusedWhatReadsData) {
  ASSERT_NO_FATAL_FAILURE(create(true));
  ASSERT_OK(scene_->server->exec("CREATE TABLE doomed AS SELECT generate_series(1, 5000) AS g"));
  ASSERT_OK(scene_->server->exec("DELETE FROM doomed"));
  ASSERT_OK(scene_->server->archive_all());
  const std::string hint = "repo1-identity-file";
  const std::string segment = stored_segments(*scene_).back();

  // What needs no data goes on as always.
  ASSERT_OK(cli().run_ok({"info"}));
  ASSERT_OK(cli().run_ok({"check"}));
  ASSERT_OK(cli().run_ok({"annotate", "--set=" + label_, "--annotation=owner=me"}));
  ASSERT_OK(cli().run_ok({"hold", "--set=" + label_, "--reason=trial"}));
  ASSERT_OK(cli().run_ok({"expire", "--repo1-retention-full=1"}));
  ASSERT_OK_AND_ASSIGN(const json incr, cli().run_json({"backup", "--type=incr", "--start-fast"}));
  EXPECT_EQ(incr.at("type"), "incr");

  // What does is refused before anything is written.
  const ProcessResult restored = run(scene_->restore_args("refused"));
  EXPECT_EQ(restored.exit_code, 8) << restored.to_string();
  EXPECT_THAT(restored.err, AllOf(HasSubstr("sealed to recipients"), HasSubstr(hint)));
  EXPECT_FALSE(fs::exists(scene_->place("refused")));
  const ProcessResult verified = run({"verify"});
  EXPECT_EQ(verified.exit_code, 8) << verified.to_string();
  EXPECT_THAT(verified.err, AllOf(HasSubstr("sealed to recipients"), HasSubstr(hint)));
  for (const char* async : {"n", "y"}) {
    SCOPED_TRACE(async);
    const ProcessResult got =
        run({"archive-get", segment, scene_->place("got"), std::string("--archive-async=") + async});
    EXPECT_GT(got.exit_code, 125) << kArchiveGetStops << ": " << got.to_string();
    EXPECT_THAT(got.err, HasSubstr(hint));
    EXPECT_FALSE(fs::exists(scene_->place("got")));
  }
  // The index of a segment tells times of commits; which rows were deleted only the segment does.
  const ProcessResult told = run({"timeline"});
  EXPECT_EQ(told.exit_code, 8) << told.to_string();
  EXPECT_THAT(told.err, HasSubstr(hint));
  ASSERT_OK(cli().run_ok({"timeline", "--kind=commits"}));
  const std::string object = fmt::format("main/wal/1/00000001/00000000/{}", segment);
  const ProcessResult object_got = run({"repo-get", object});
  EXPECT_NE(object_got.exit_code, 0) << "the segment was shown";
  EXPECT_THAT(object_got.err, HasSubstr(hint));

  // Where the identity is, and nothing else.
  set("repo1-cipher-pass-file", "");
  set("repo1-identity-file", identity_file());
  ASSERT_OK(cli().run_ok({"archive-get", segment, scene_->place("got")}));
  EXPECT_EQ(fs::file_size(scene_->place("got")), 16u << 20);
  ASSERT_OK_AND_ASSIGN(const std::string shown, cli().run_ok({"repo-get", object}));
  EXPECT_EQ(shown, read_file(scene_->place("got")).value());
  ASSERT_OK(scene_->restore_and_verify("restored", LedgerTarget::latest()));

  // A delta restore is refused with the directory as it was, and mends it where the identity is.
  const std::string control = scene_->place("restored") + "/base/1/PG_VERSION";
  ASSERT_OK(write_file_durable(control, "0\n", 0600));
  set("repo1-identity-file", "");
  set("repo1-cipher-pass-file", pass_file());
  const auto before = state_of(scene_->place("restored"));
  const ProcessResult delta = run(scene_->restore_args("restored", {"--delta"}));
  EXPECT_EQ(delta.exit_code, 8) << delta.to_string();
  EXPECT_EQ(state_of(scene_->place("restored")), before);
  ASSERT_OK(cli().run_ok(scene_->restore_args("restored", {"--delta", keyed_.with_identity()})));
  EXPECT_EQ(read_file(control).value(), "15\n");
  ASSERT_OK(cli().run_ok({"verify", keyed_.with_identity()}));
}

TEST_F(EncryptionHosts, KilledBackupIsResumedWithoutTheDataKey) {
  PGARK_REQUIRE_SLOW();
  ASSERT_NO_FATAL_FAILURE(create(true));
  ASSERT_OK(scene_->server->exec(
      "CREATE TABLE big AS SELECT g AS id, md5(g::text) || repeat('x', 1900) AS pad FROM generate_series(1, 72000) g"));
  ASSERT_OK(scene_->server->exec("CHECKPOINT"));
  const auto packs = [&] {
    size_t count = 0;
    std::error_code ignored;
    for (fs::recursive_directory_iterator at(cli().repo_path() + "/main/pack", ignored), end; at != end;
         at.increment(ignored))
      count += at->path().filename().string().starts_with("0");
    return count;
  };
  const size_t before = packs();
  const std::vector<std::string> args{"backup", "--type=full", "--start-fast", "--process-max=1",
                                      "--compress-type=none"};
  std::vector<std::string> slow = args;
  slow.emplace_back("--pg1-bandwidth-max=20MiB");  // Else it may have ended before it is killed.
  ASSERT_OK_AND_ASSIGN(Process backup, cli().start(slow));
  ASSERT_TRUE(wait_until([&] { return packs() > before || !backup.running(); }));
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.kill_and_wait());
  ASSERT_EQ(ended.signal, SIGKILL) << ended.to_string();
  ASSERT_OK_AND_ASSIGN(const json resumed, cli().run_json(args));
  EXPECT_GT(resumed.at("reused_bytes").get<uint64_t>(), 50u << 20);
  ASSERT_OK(scene_->ledger->commit_rows(5));
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK(scene_->restore_and_verify("latest", LedgerTarget::latest(), {keyed_.with_identity()}));
}

TEST_F(EncryptionHosts, AsynchronousArchivingAndRecoveryWork) {
  PGARK_REQUIRE_SLOW();
  ASSERT_NO_FATAL_FAILURE(create(false));
  set("archive-async", "y");
  for (int round = 0; round < 4; ++round) {
    ASSERT_OK(scene_->ledger->commit_rows(5));
    ASSERT_OK(scene_->server->query("SELECT pg_switch_wal()"));
  }
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK(scene_->restore_and_verify("latest", LedgerTarget::latest()));
}

// Three secrets of three sorts, and every command at the highest log level. repo2 has its passphrase from a command,
// which writes down what any child of pgark could see: its own environment, and the words its parent was started with.
TEST_F(EncryptionHosts, NoCommandGivesASecretAwayToLogsChildrenOrFiles) {
  ASSERT_NO_FATAL_FAILURE(create(true));
  const std::vector<std::string> secrets = {"plain-passphrase-in-the-file", "s3-like-secret-in-the-file",
                                            read_file(identity_file()).value(), kPassphrase};
  set("repo1-cipher-pass-file", "");
  ASSERT_OK(write_file_durable(keyed_.keys / "next", secrets[0], 0600));
  ASSERT_OK(cli().run_ok({"key", "rotate", "--repo=1", "--repo1-cipher-pass-file=" + pass_file(),
                          "--new-cipher-pass-file=" + (keyed_.keys / "next")}));
  set("repo1-cipher-pass", secrets[0]);
  set("repo1-s3-key-secret", secrets[1]);
  set("repo1-identity-file", identity_file());
  set("repo2-path", scene_->place("repo2"));
  set("repo2-cipher-type", "aes-256-gcm");
  const std::string seen = scene_->place("seen");
  set("repo2-cipher-pass-command",
      fmt::format("(cat /proc/$PPID/cmdline /proc/self/environ; env) >> {}; cat {}", seen, pass_file()));
  set("log-level-console", "trace");
  set("log-level-file", "trace");

  ASSERT_OK(cli().run_ok({"stanza-create"}));
  ASSERT_OK(scene_->ledger->commit_rows(5));
  std::string output;
  const auto run_noted = [&](const std::vector<std::string>& args) {
    const ProcessResult result = run(args);
    output += result.out + result.err;
    EXPECT_EQ(result.exit_code, 0) << args.front() << ": " << result.to_string();
  };
  run_noted({"backup", "--type=full", "--start-fast"});
  run_noted({"backup", "--type=incr", "--start-fast"});
  ASSERT_OK(scene_->ledger->commit_rows(5));
  ASSERT_OK(scene_->server->archive_all());
  const std::string segment = stored_segments(*scene_).back();
  run_noted({"info"});
  run_noted({"info", "--output=json"});
  run_noted({"check"});
  run_noted({"timeline"});
  run_noted({"verify", "--repo=1"});
  run_noted({"expire"});
  run_noted({"key", "list", "--repo=1"});
  run_noted({"repo-ls"});
  run_noted({"annotate", "--set=" + label_, "--annotation=a=b", "--repo=1"});
  run_noted({"hold", "--set=" + label_, "--repo=1"});
  run_noted({"repo-get", fmt::format("main/wal/1/00000001/00000000/{}", segment)});
  run_noted({"archive-get", segment, scene_->place("got")});
  run_noted(scene_->restore_args("restored"));
  run_noted(scene_->restore_args("restored", {"--delta"}));
  // And those that fail.
  for (const std::vector<std::string>& failing :
       std::vector<std::vector<std::string>>{{"info", "--no-such-option"},
                                             {"info", "--repo1-cipher-pass=" + secrets[0]},
                                             {"restore", "--set=nothing", "--pg1-path=" + scene_->place("no")},
                                             {"archive-get", "00000009.history", scene_->place("no")}}) {
    const ProcessResult result = run(failing);
    EXPECT_NE(result.exit_code, 0);
    output += result.out + result.err;
  }

  for (const std::string& secret : secrets) EXPECT_THAT(output, Not(HasSubstr(secret)));
  EXPECT_THAT(output, HasSubstr("<redacted>")) << "options are told, secrets hidden";
  const std::string children = read_file(seen, 64u << 20).value_or("");
  EXPECT_THAT(children, AllOf(HasSubstr("backup"), HasSubstr("PATH=")));
  for (const std::string& secret : secrets) EXPECT_THAT(children, Not(HasSubstr(secret)));
  // The configuration and the key files hold them: the search finds them, and nothing else that was written does.
  std::vector<std::string> found = files_with(scene_->scratch.path(), secrets);
  std::erase(found, cli().config_path());
  EXPECT_THAT(found, IsEmpty());
  EXPECT_THAT(files_with(scene_->server->scratch().path(), secrets), IsEmpty());
  EXPECT_THAT(files_with(keyed_.keys.path(), secrets), Not(IsEmpty()));
  EXPECT_THAT(files_with(cli().directory(), secrets), Not(IsEmpty()));
}

}  // namespace
}  // namespace pgark::testing
