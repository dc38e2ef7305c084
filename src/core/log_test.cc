#include "core/log.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "core/file.h"

namespace pgark {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/pgark-log-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    directory_ = path;
  }
  void TearDown() override {
    // Back to what a test program begins with.
    LogConfig config;
    config.console = LogLevel::kOff;
    config.standard_error = LogLevel::kWarn;
    ASSERT_TRUE(configure_log(config).has_value());
    std::filesystem::remove_all(directory_);
  }

  LogConfig quiet() const {
    LogConfig config;
    config.console = LogLevel::kOff;
    config.file = LogLevel::kOff;
    return config;
  }
  std::string log_file() const { return read_file(directory_ + "/main-backup.log").value(); }

  std::string directory_;
};

TEST_F(LogTest, WritesPgBackRestsLineFormat) {
  LogConfig config = quiet();
  config.console = LogLevel::kDetail;
  ASSERT_TRUE(configure_log(config).has_value());
  testing::internal::CaptureStdout();
  log_info("backup command {}", "begin");
  log_detail("two\nlines");
  const std::string text = testing::internal::GetCapturedStdout();
  const std::string time = "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}";
  EXPECT_THAT(text, MatchesRegex(time + " P[0-9]+   INFO: backup command begin\n" + time +
                                 " P[0-9]+ DETAIL: two\n {36}lines\n"));
}

TEST_F(LogTest, GivesEachSinkItsOwnLevel) {
  LogConfig config = quiet();
  config.console = LogLevel::kWarn;
  config.standard_error = LogLevel::kError;
  config.file = LogLevel::kDebug;
  config.file_path = directory_ + "/main-backup.log";
  config.timestamps = false;
  ASSERT_TRUE(configure_log(config).has_value());
  EXPECT_TRUE(log_enabled(LogLevel::kDebug));
  EXPECT_FALSE(log_enabled(LogLevel::kTrace));
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  log_error("e");
  log_warn("w");
  log_info("i");
  log_debug("d");
  log(LogLevel::kTrace, "t");
  EXPECT_THAT(testing::internal::GetCapturedStdout(), MatchesRegex("P[0-9]+  ERROR: e\nP[0-9]+   WARN: w\n"));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("P[0-9]+  ERROR: e\n"));
  EXPECT_THAT(log_file(), MatchesRegex("-+PROCESS START-+\nP[0-9]+  ERROR: e\nP[0-9]+   WARN: w\nP[0-9]+   INFO: i\n"
                                       "P[0-9]+  DEBUG: d\n"));
}

TEST_F(LogTest, KeepsStandardOutputCleanWhenItHoldsAResult) {
  LogConfig config = quiet();
  config.console = LogLevel::kInfo;
  config.standard_error = LogLevel::kError;
  config.console_to_stderr = true;
  ASSERT_TRUE(configure_log(config).has_value());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  log_warn("careful");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("careful"));
  EXPECT_EQ(text.find("careful"), text.rfind("careful")) << "once, though two sinks want it";
}

TEST_F(LogTest, AppendsToTheFileAndKeepsItFromOthers) {
  LogConfig config = quiet();
  config.file = LogLevel::kInfo;
  config.file_path = directory_ + "/main-backup.log";
  ASSERT_TRUE(configure_log(config).has_value());
  log_info("first run");
  ASSERT_TRUE(configure_log(config).has_value());
  log_info("second run");
  log_line_to_file(LogLevel::kError, "told otherwise");
  EXPECT_THAT(log_file(), testing::ContainsRegex("first run\n\n-+PROCESS START-+\n.*second run\n.*told otherwise\n"));
  EXPECT_EQ(std::filesystem::status(config.file_path).permissions() & std::filesystem::perms::others_all,
            std::filesystem::perms::none);
}

TEST_F(LogTest, ReportsAFileItCannotOpenAndKeepsTheOtherSinks) {
  LogConfig config = quiet();
  config.console = LogLevel::kInfo;
  config.file = LogLevel::kInfo;
  config.file_path = directory_ + "/absent/main-backup.log";
  const auto configured = configure_log(config);
  ASSERT_FALSE(configured.has_value());
  EXPECT_THAT(configured.error().message(), HasSubstr(config.file_path));
  testing::internal::CaptureStdout();
  log_info("still here");
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("still here"));
}

TEST_F(LogTest, CallsTheHookBeforeConsoleLinesOnly) {
  LogConfig config = quiet();
  config.console = LogLevel::kWarn;
  config.file = LogLevel::kInfo;
  config.file_path = directory_ + "/main-backup.log";
  ASSERT_TRUE(configure_log(config).has_value());
  int calls = 0;
  set_log_console_hook([&] { ++calls; });
  testing::internal::CaptureStdout();
  log_info("to the file");
  EXPECT_EQ(calls, 0);
  log_warn("to both");
  EXPECT_EQ(calls, 1);
  set_log_console_hook({});
  log_warn("again");
  EXPECT_EQ(calls, 1);
  testing::internal::GetCapturedStdout();
}

TEST_F(LogTest, TakesLinesFromSeveralThreadsWhole) {
  LogConfig config = quiet();
  config.file = LogLevel::kInfo;
  config.file_path = directory_ + "/main-backup.log";
  config.timestamps = false;
  ASSERT_TRUE(configure_log(config).has_value());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 200; ++i) log_info("{}", std::string(100, 'x'));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = log_file();
  EXPECT_THAT(text.substr(text.find('\n') + 1), MatchesRegex("(P[0-9]+   INFO: x{100}\n){800}"));
}

TEST_F(LogTest, ReadsLevelsAsOptionsWriteThem) {
  EXPECT_EQ(parse_log_level("off").value(), LogLevel::kOff);
  EXPECT_EQ(parse_log_level("detail").value(), LogLevel::kDetail);
  EXPECT_EQ(parse_log_level("trace").value(), LogLevel::kTrace);
  EXPECT_FALSE(parse_log_level("WARN").has_value());
}

}  // namespace
}  // namespace pgark
