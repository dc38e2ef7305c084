#include "core/command_output.h"

#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

namespace pgark {
namespace {

using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

TEST(CommandOutput, IsWhatTheCommandPrints) {
  EXPECT_EQ(command_output("printf 'one\\ntwo'").value(), "one\ntwo");
  EXPECT_EQ(command_output("cat; echo end").value(), "end\n") << "standard input is empty";
  EXPECT_EQ(command_output("true").value(), "");
  EXPECT_EQ(command_output("ls /proc/self/fd | wc -l").value(), "4\n") << "0 to 2, and the directory itself";
}

TEST(CommandOutput, FailureIsToldWithoutTheCommandOrItsOutput) {
  const auto failure = [](const std::string& command, CommandLimits limits = {}) {
    const auto output = command_output(command, limits);
    return output ? "printed " + *output : output.error().message();
  };
  EXPECT_EQ(failure("echo hunter2; exit 3"), "the command ended with exit code 3");
  EXPECT_EQ(failure("hunter2-does-not-exist 2>/dev/null"), "the command was not found (exit code 127)");
  EXPECT_EQ(failure("kill -9 $$"), "the command was ended by signal 9");
  EXPECT_EQ(failure("yes hunter2", {.bytes_max = 1000}), "the command prints more than 1000 bytes");
  EXPECT_EQ(failure("printf 12345", {.bytes_max = 5}), "printed 12345");
}

TEST(CommandOutput, CommandThatDoesNotEndIsKilledWithItsChildren) {
  const std::string path = testing::TempDir() + "command-output-" + std::to_string(::getpid());
  const auto began = std::chrono::steady_clock::now();
  const auto output = command_output("sleep 600 & echo $! > " + path + "; echo hunter2; wait", {.timeout = 3s});
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(output.error().code(), Errc::kTransient);
  EXPECT_THAT(output.error().message(), HasSubstr("does not end within 3 s"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 60s);
  pid_t sleeper = 0;
  std::ifstream(path) >> sleeper;
  std::filesystem::remove(path);
  ASSERT_GT(sleeper, 0);
  // It is gone, or its end waits to be noticed by init.
  const auto is_running = [&] {
    std::ifstream status("/proc/" + std::to_string(sleeper) + "/stat");
    std::string text;
    return std::getline(status, text) && text.find(") Z") == text.npos;
  };
  for (int i = 0; i < 1000 && is_running(); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_FALSE(is_running());
}

TEST(CommandOutput, WaitEndsWhenItIsCancelled) {
  CancelToken cancel;
  std::thread later([&] {
    std::this_thread::sleep_for(50ms);
    cancel.cancel();
  });
  const auto output = command_output("sleep 600", {.timeout = 500s, .cancel = &cancel});
  later.join();
  ASSERT_FALSE(output.has_value());
  EXPECT_EQ(output.error().code(), Errc::kCancelled);
}

}  // namespace
}  // namespace pgark
