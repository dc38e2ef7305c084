#include "cli/program.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "cli/stop_files.h"
#include "cli/test_support.h"
#include "core/file.h"
#include "core/local_lock.h"
#include "core/log.h"

namespace pgark {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class ProgramTest : public ScratchTest {
 protected:
  void TearDown() override {
    LogConfig config;
    config.console = LogLevel::kOff;
    config.standard_error = LogLevel::kWarn;
    ASSERT_TRUE(configure_log(config).has_value());
    ScratchTest::TearDown();
  }

  int run(std::vector<std::string> words) {
    out_ = StringOutput();
    err_ = StringOutput();
    input_.arguments = std::move(words);
    return run_program({.input = input_,
                        .out = out_,
                        .err = err_,
                        .cancel = cancel_,
                        .clock = system_clock(),
                        .received_signal = [this] { return signal_; },
                        .open_store = [this](const Settings&, unsigned, bool) -> Result<std::unique_ptr<ObjectStore>> {
                          if (throws_) throw std::runtime_error("boom");
                          auto store = std::make_unique<MemoryStore>();
                          for (const auto& [name, text] : objects_) {
                            TRY(store->put(ObjectKey{name}, as_bytes(text)));
                          }
                          return std::unique_ptr<ObjectStore>(std::move(store));
                        },
                        .executable = "/usr/bin/pgark"});
  }
  std::vector<std::string> with_paths(std::vector<std::string> words) {
    words.insert(words.end(), {"--lock-path=" + directory_ + "/lock", "--log-path=" + directory_ + "/log"});
    return words;
  }

  StringOutput out_;
  StringOutput err_;
  CancelToken cancel_;
  int signal_ = 0;
  bool throws_ = false;
  std::map<std::string, std::string> objects_;
};

TEST_F(ProgramTest, ReportsAnErrorWithCodeAndHints) {
  EXPECT_EQ(run({"bakup"}), 2);
  EXPECT_EQ(err_.text(), "ERROR [invalid]: unknown command 'bakup'\nHINT: did you mean backup?\n");
  EXPECT_EQ(out_.text(), "");
}

TEST_F(ProgramTest, ReportsAnErrorAsJsonToo) {
  EXPECT_EQ(run({"backup", "--output=json"}), 2);
  const auto document = nlohmann::json::parse(out_.text());
  EXPECT_EQ(document["error"]["code"], "invalid");
  EXPECT_EQ(document["error"]["message"], "stanza is required for backup");
  EXPECT_EQ(document["error"]["hints"].size(), 1u);
  EXPECT_THAT(err_.text(), StartsWith("ERROR [invalid]: stanza is required"));
}

TEST_F(ProgramTest, LetsArchiveGetSayAbsentOnlyOnPurpose) {
  EXPECT_EQ(run({"archive-get"}), 202);
  EXPECT_EQ(run({"--nonsense", "archive-get", "x", "y"}), 202);
  EXPECT_EQ(run({"archive-get", "x", "y"}), 202) << "no stanza";
  write("pgark.conf", "broken");
  EXPECT_EQ(run({"--stanza=main", "archive-get", "x", "y"}), 202);
  EXPECT_EQ(run({"archive-push", "x"}), 2);
}

TEST(ExitCode, IsStableAndDistinct) {
  const std::pair<Errc, int> contract[] = {{Errc::kInvalid, 2},    {Errc::kNotFound, 3},  {Errc::kAlreadyExists, 4},
                                           {Errc::kCorrupt, 5},    {Errc::kTransient, 6}, {Errc::kOutcomeUnknown, 7},
                                           {Errc::kPermission, 8}, {Errc::kNoSpace, 9},   {Errc::kUnsupported, 10},
                                           {Errc::kInternal, 11},  {Errc::kCancelled, 12}};
  const std::string document = read_file(PGARK_SOURCE_DIR "/docs/reference/errors.md").value_or("");
  for (const auto& [code, exit_code] : contract) {
    EXPECT_EQ(exit_code_of("backup", code, 0), exit_code);
    EXPECT_EQ(exit_code_of("", code, 0), exit_code);
    EXPECT_EQ(exit_code_of("archive-push", code, 0), exit_code);
    EXPECT_EQ(exit_code_of("archive-get", code, 0), 200 + exit_code);
    EXPECT_THAT(document, HasSubstr(fmt::format("| {} | `{}` | {} |", exit_code, errc_name(code), 200 + exit_code)));
  }
  EXPECT_EQ(exit_code_of("backup", Errc::kCancelled, SIGTERM), 143);
  EXPECT_EQ(exit_code_of("backup", Errc::kInvalid, SIGTERM), 2);
  EXPECT_EQ(exit_code_of("archive-get", Errc::kCancelled, SIGTERM), 143);
  EXPECT_EQ(exit_code_of("archive-push", Errc::kCancelled, SIGTERM), 12) << "above 125 the archiver itself would end";
}

TEST_F(ProgramTest, TurnsAnExceptionIntoAnInternalError) {
  throws_ = true;
  EXPECT_EQ(run({"repo-ls"}), 11);
  EXPECT_EQ(err_.text(), "ERROR [internal]: unexpected exception: boom\n");
}

TEST_F(ProgramTest, PrintsVersionAndHelp) {
  EXPECT_EQ(run({"--version"}), 0);
  EXPECT_EQ(out_.text(), version_line() + "\n");
  EXPECT_EQ(run({"version", "--output=json"}), 0);
  EXPECT_EQ("pgark " + nlohmann::json::parse(out_.text())["version"].get<std::string>(), version_line());
  EXPECT_EQ(run({}), 0);
  EXPECT_THAT(out_.text(), HasSubstr("stanza-create"));
  EXPECT_EQ(run({"restore", "--help"}), 0);
  EXPECT_THAT(out_.text(), HasSubstr("--target-timeline"));
}

TEST_F(ProgramTest, ListsTheRepositoryAsDirectories) {
  objects_ = {{"pgark.json", "{}"},
              {"main/cluster/1", "one"},
              {"main/wal/1/00000001/a", ""},
              {"main/wal/1/00000001/b", "bb"},
              {"main-x/cluster/1", ""}};
  EXPECT_EQ(run({"repo-ls"}), 0);
  EXPECT_EQ(out_.text(), "main/\nmain-x/\npgark.json\n");
  EXPECT_EQ(run({"repo-ls", "/main/", "--sort=desc"}), 0);
  EXPECT_EQ(out_.text(), "wal/\ncluster/\n");
  EXPECT_EQ(run({"repo-ls", "main", "--recurse", "--filter=^wal/.*b$"}), 0);
  EXPECT_EQ(out_.text(), "wal/1/00000001/b\n");
  EXPECT_EQ(run({"repo-ls", "main/cluster", "--output=json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.text())["1"]["size"], 3);
  EXPECT_EQ(run({"repo-ls", "pgark.json"}), 0);
  EXPECT_EQ(out_.text(), "pgark.json\n");
  EXPECT_EQ(run({"repo-ls", "absent"}), 0);
  EXPECT_EQ(out_.text(), "");
  EXPECT_EQ(run({"repo-ls", "--filter=("}), 2);
  EXPECT_THAT(err_.text(), HasSubstr("'(' is no regular expression"));
}

TEST_F(ProgramTest, PrintsAnObjectByteForByte) {
  std::string content(3 << 20, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 >> 3);
  objects_ = {{"main/pack/x/1", content}, {"empty", ""}};
  EXPECT_EQ(run({"repo-get", "--raw", "main/pack/x/1"}), 0);
  EXPECT_TRUE(out_.text() == content);
  EXPECT_EQ(run({"repo-get", "--raw", "/empty"}), 0);
  EXPECT_EQ(out_.text(), "");
  EXPECT_EQ(run({"repo-get", "absent"}), 3);
  EXPECT_THAT(err_.text(), StartsWith("ERROR [not_found]: no object 'absent' in repo1 in memory\nHINT: "));
  EXPECT_EQ(run({"repo-get", "absent", "--ignore-missing"}), 1);
  EXPECT_EQ(err_.text(), "");
}

TEST_F(ProgramTest, StopsAndStarts) {
  EXPECT_EQ(run(with_paths({"--stanza=main", "stop"})), 0);
  EXPECT_TRUE(stop_file_exists(directory_ + "/lock", "main").value());
  EXPECT_FALSE(check_not_stopped(directory_ + "/lock", "main").has_value());
  EXPECT_TRUE(check_not_stopped(directory_ + "/lock", "other").has_value());
  EXPECT_EQ(run(with_paths({"--stanza=main", "archive-push", "x"})), 2);
  EXPECT_THAT(err_.text(),
              AllOf(HasSubstr("pgark is stopped for stanza main"), HasSubstr("HINT: run 'pgark --stanza=main start'")));
  EXPECT_EQ(run(with_paths({"--stanza=main", "archive-get", "x", "y"})), 202);
  EXPECT_EQ(run(with_paths({"--stanza=main", "start", "--output=json"})), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.text())["was_stopped"], true);
  EXPECT_TRUE(check_not_stopped(directory_ + "/lock", "main").has_value());

  EXPECT_EQ(run(with_paths({"stop"})), 0);
  EXPECT_FALSE(check_not_stopped(directory_ + "/lock", "other").has_value());
  EXPECT_FALSE(check_not_stopped(directory_ + "/lock", "").has_value());
  EXPECT_EQ(run(with_paths({"start"})), 0);
  EXPECT_TRUE(check_not_stopped(directory_ + "/lock", "other").has_value());
}

TEST_F(ProgramTest, EndsTheProcessesOfTheStanzaOnStopForce) {
  // "main-x" must not be taken for "main".
  std::map<std::string, pid_t> children;
  for (const char* stanza : {"main", "main-x"}) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      LockHolder holder;
      holder.command = "backup";
      const auto lock = LocalLock::acquire(directory_ + "/lock", stanza, "backup", holder);
      const char answer = lock.has_value() ? 'y' : 'n';
      (void)!::write(ready[1], &answer, 1);
      for (;;) ::pause();
    }
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1);
    ASSERT_EQ(answer, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
    children[stanza] = child;
  }
  EXPECT_EQ(run(with_paths({"--stanza=main", "stop", "--force", "--output=json"})), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.text())["signalled"], nlohmann::json::array({children["main"]}));
  int status = 0;
  ASSERT_EQ(::waitpid(children["main"], &status, 0), children["main"]);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  EXPECT_EQ(::waitpid(children["main-x"], &status, WNOHANG), 0) << "another stanza's process goes on";
  ::kill(children["main-x"], SIGKILL);
  ::waitpid(children["main-x"], &status, 0);
}

TEST_F(ProgramTest, WritesALogFileForEachCommandAndHidesSecrets) {
  write("pgark.conf", "[global]\nrepo1-s3-key-secret=hunter2\n");
  EXPECT_EQ(run(with_paths({"--stanza=main", "repo-get", "absent"})), 3);
  const std::string log = read_file(directory_ + "/log/main-repo-get.log").value();
  EXPECT_THAT(log, AllOf(HasSubstr("INFO: repo-get command begin"), HasSubstr("ERROR: [not_found]: no object 'absent'"),
                         HasSubstr("--stanza=main"), testing::Not(HasSubstr("hunter2"))));
  EXPECT_EQ(run(with_paths({"repo-ls"})), 0);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/log/all-repo-ls.log"));
}

TEST_F(ProgramTest, WarnsOfALogPathOnlyIfItWasAskedFor) {
  write("file", "");
  testing::internal::CaptureStderr();
  EXPECT_EQ(run({"repo-ls", "--lock-path=" + directory_, "--log-path=" + directory_ + "/file/log"}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("WARN: no log file is written: create log path"));
}

TEST_F(ProgramTest, KeepsIgnoredOptionsOutOfPostgresLog) {
  write("pgark.conf", "[global]\nbuffer-size=1MiB\n");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  run(with_paths({"--stanza=main", "archive-get", "x", "y"}));
  run(with_paths({"--stanza=main", "repo-ls"}));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("WARN: ignored: buffer-size in "));
  EXPECT_EQ(text.find("buffer-size"), text.rfind("buffer-size")) << "by repo-ls only";
}

}  // namespace
}  // namespace pgark
