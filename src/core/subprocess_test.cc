#include "core/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/thread_annotations.h"

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

SubprocessOptions shell(const std::string& text) {
  SubprocessOptions options;
  options.program = "/bin/sh";
  options.arguments = {"-c", text};
  return options;
}

size_t descriptor_count() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

/// Whether a process runs; one that ended and was not noticed yet does not.
bool is_running(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  return std::getline(status, text) && text.find(") Z") == text.npos;
}
char state_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(status, text)) return '?';
  const size_t end = text.rfind(") ");
  return end == text.npos ? '?' : text[end + 2];
}
template <typename Condition>
bool eventually(const Condition& condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}
bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

TEST(Subprocess, ReturnsWhatTheProgramWrites) {
  const CancelToken cancel;
  EXPECT_EQ(run_program(shell("printf 'one\\ntwo'"), cancel).value(), "one\ntwo");
  EXPECT_EQ(run_program(shell("cat; echo end"), cancel).value(), "end\n") << "standard input is empty";
  SubprocessOptions by_name;
  by_name.program = "printf";
  by_name.arguments = {"%s|", "a b", "*", ""};
  EXPECT_EQ(run_program(by_name, cancel).value(), "a b|*||") << "words reach it as they are";
}

TEST(Subprocess, SeesNoOtherDescriptorAndIsAGroupOfItsOwn) {
  const CancelToken cancel;
  const int open_in_us = ::open("/dev/null", O_RDONLY);  // Not close-on-exec.
  EXPECT_EQ(run_program(shell("ls /proc/self/fd | wc -l"), cancel).value(), "4\n") << "0 to 2, and the directory";
  ::close(open_in_us);
  EXPECT_EQ(run_program(shell("test \"$(ps -o pgid= -p $$ | tr -d ' ')\" = $$ && echo own"), cancel).value(), "own\n");
}

TEST(Subprocess, EnvironmentIsOursWithChanges) {
  const CancelToken cancel;
  ::setenv("PGARK_TEST_KEPT", "kept", 1);
  ::setenv("PGARK_TEST_GONE", "here", 1);
  ::setenv("PGARK_TEST_OTHER", "old", 1);
  SubprocessOptions options = shell("echo $PGARK_TEST_KEPT,${PGARK_TEST_GONE-gone},$PGARK_TEST_OTHER; pwd");
  options.environment = {{"PGARK_TEST_OTHER", "new value"}};
  options.unset = {"PGARK_TEST_GONE"};
  options.directory = "/";
  EXPECT_EQ(run_program(options, cancel).value(), "kept,gone,new value\n/\n");
  for (const char* name : {"PGARK_TEST_KEPT", "PGARK_TEST_GONE", "PGARK_TEST_OTHER"}) ::unsetenv(name);
}

TEST(Subprocess, FailureTellsHowItEndedAndItsLastLine) {
  const CancelToken cancel;
  const auto failure = [&](const std::string& text, size_t bytes_max = 1000) {
    const auto output = run_program(shell(text), cancel, bytes_max);
    return output ? "wrote " + *output : output.error().message();
  };
  EXPECT_EQ(failure("echo first >&2; echo last >&2; exit 3"), "run /bin/sh: ended with exit status 3: last");
  EXPECT_EQ(failure("exit 1"), "run /bin/sh: ended with exit status 1");
  EXPECT_EQ(failure("kill -9 $$"), "run /bin/sh: ended by signal 9");
  EXPECT_EQ(failure("yes"), "run /bin/sh: it writes more than 1000 bytes");
  EXPECT_EQ(failure("printf 12345", 5), "wrote 12345");

  SubprocessOptions missing;
  missing.program = "pgark-no-such-program";
  EXPECT_EQ(Subprocess::start(missing).error().code(), Errc::kNotFound);
  missing.program = "/etc/passwd";
  EXPECT_EQ(Subprocess::start(missing).error().code(), Errc::kPermission);
}

TEST(Subprocess, ErrorLinesComeWhileItRunsAndTheLastAreKept) {
  const CancelToken cancel;
  Mutex mu;
  std::vector<std::string> lines;
  SubprocessOptions options = shell("echo begun >&2; read -r line; echo \"got $line\" >&2; printf partial >&2");
  options.input = SubprocessOptions::Stream::kPipe;
  options.on_error_line = [&](std::string_view line) {
    const MutexLock lock(mu);
    lines.emplace_back(line);
  };
  auto process = Subprocess::start(options);
  ASSERT_TRUE(process.has_value());
  EXPECT_TRUE(eventually([&] {
    const MutexLock lock(mu);
    return !lines.empty();
  })) << "while it waits for us";
  EXPECT_FALSE(process->has_ended());
  ASSERT_TRUE(process->write_input(as_bytes("word\n"), cancel).has_value());
  const auto exit = process->wait(cancel);
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok());
  EXPECT_EQ(exit->error_text, "begun\ngot word\npartial");
  EXPECT_THAT(lines, ElementsAre("begun", "got word", "partial"));

  auto talker = Subprocess::start(shell("seq 1 100000 >&2; exit 7"));
  ASSERT_TRUE(talker.has_value());
  const auto end = talker->wait(cancel);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->status, 7);
  EXPECT_LE(end->error_text.size(), 16u << 10);
  EXPECT_GT(end->error_text.size(), 15u << 10);
  EXPECT_TRUE(end->error_text.ends_with("99999\n100000\n"));
}

TEST(Subprocess, PassesManyBytesBothWays) {
  const CancelToken cancel;
  SubprocessOptions options = shell("cat");
  options.input = SubprocessOptions::Stream::kPipe;
  options.output = SubprocessOptions::Stream::kPipe;
  auto process = Subprocess::start(options);
  ASSERT_TRUE(process.has_value());
  const std::string block(1u << 20, 'x');
  std::thread writer([&] {
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(process->write_input(as_bytes(block), cancel).has_value());
    process->close_input();
  });
  uint64_t bytes = 0;
  Buffer into(100'000);
  for (;;) {
    const auto count = process->read_output(into.bytes(), cancel);
    ASSERT_TRUE(count.has_value());
    if (*count == 0) break;
    bytes += *count;
  }
  writer.join();
  EXPECT_EQ(bytes, 8u << 20);
  EXPECT_TRUE(process->wait(cancel)->ok());
}

TEST(Subprocess, WritingToOneThatNoLongerReadsIsAnErrorNotASignal) {
  const CancelToken cancel;
  SubprocessOptions options = shell("exec 0<&-; sleep 600");
  options.input = SubprocessOptions::Stream::kPipe;
  auto process = Subprocess::start(options);
  ASSERT_TRUE(process.has_value());
  const std::string block(1u << 20, 'x');
  auto written = process->write_input(as_bytes(block), cancel);
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code(), Errc::kInvalid);
  EXPECT_THAT(written.error().message(), HasSubstr("no longer reads"));
}

TEST(Subprocess, StopsAndGoesOn) {
  const CancelToken cancel;
  auto process = Subprocess::start(shell("while :; do :; done"));
  ASSERT_TRUE(process.has_value());
  process->pause();
  EXPECT_TRUE(eventually([&] { return state_of(process->pid()) == 'T'; }));
  EXPECT_FALSE(process->has_ended());
  process->resume();
  EXPECT_TRUE(eventually([&] { return state_of(process->pid()) == 'R'; }));
  process->pause();  // Destroying it ends it all the same.
}

TEST(Subprocess, CancelledWaitsEndTheWholeGroup) {
  const std::string path = testing::TempDir() + "subprocess-" + std::to_string(::getpid());
  CancelToken cancel;
  SubprocessOptions options = shell("sleep 600 & echo $! > " + path + "; echo ready; wait");
  options.output = SubprocessOptions::Stream::kPipe;
  auto process = Subprocess::start(options);
  ASSERT_TRUE(process.has_value());
  Buffer into(100);
  ASSERT_TRUE(process->read_output(into.bytes(), cancel).has_value());
  pid_t sleeper = 0;
  std::ifstream(path) >> sleeper;
  std::filesystem::remove(path);
  ASSERT_TRUE(is_running(sleeper));
  std::thread later([&] {
    std::this_thread::sleep_for(20ms);
    cancel.cancel();
  });
  EXPECT_EQ(process->read_output(into.bytes(), cancel).error().code(), Errc::kCancelled);
  EXPECT_EQ(process->wait(cancel).error().code(), Errc::kCancelled);
  later.join();
  EXPECT_TRUE(eventually([&] { return !is_running(sleeper); }));
}

TEST(Subprocess, OneThatIgnoresSigtermIsKilled) {
  CancelToken cancel;
  SubprocessOptions options = shell("trap '' TERM; echo ready; while :; do sleep 1; done");
  options.output = SubprocessOptions::Stream::kPipe;
  pid_t pid = 0;
  {
    auto process = Subprocess::start(options);
    ASSERT_TRUE(process.has_value());
    Buffer into(100);
    ASSERT_TRUE(process->read_output(into.bytes(), cancel).has_value());
    pid = process->pid();
  }
  EXPECT_FALSE(is_running(pid));
}

TEST(Subprocess, WhatOutlivesTheLeaderIsKilledWithIt) {
  const CancelToken cancel;
  SubprocessOptions options = shell("sleep 600 >/dev/null & echo $!");
  options.output = SubprocessOptions::Stream::kPipe;
  auto process = Subprocess::start(options);
  ASSERT_TRUE(process.has_value());
  Buffer into(100);
  const auto count = process->read_output(into.bytes(), cancel);
  ASSERT_TRUE(count.has_value());
  const pid_t sleeper = std::stoi(std::string(as_text(into.bytes().first(*count))));
  ASSERT_TRUE(process->wait(cancel).has_value()) << "though the sleeper holds standard error";
  EXPECT_TRUE(eventually([&] { return !is_running(sleeper); }));
}

TEST(Subprocess, LeavesNoZombieAndNoDescriptor) {
  const size_t before = descriptor_count();
  CancelToken cancelled;
  cancelled.cancel();
  const CancelToken cancel;
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(run_program(shell("echo out; echo err >&2"), cancel).has_value());
    EXPECT_FALSE(run_program(shell("sleep 600"), cancelled).has_value());
    SubprocessOptions missing;
    missing.program = "/no/such/program";
    missing.input = missing.output = SubprocessOptions::Stream::kPipe;
    EXPECT_FALSE(Subprocess::start(missing).has_value());
  }
  EXPECT_EQ(descriptor_count(), before);
  EXPECT_FALSE(has_children());
}

TEST(Subprocess, ManyThreadsStartAtOnceAndEachSeesItsOwnEnd) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&good, i] {
      const CancelToken cancel;
      for (int k = 0; k < 10; ++k) {
        const std::string word = std::to_string(i * 100 + k);
        SubprocessOptions options = shell("cat");
        options.input = options.output = SubprocessOptions::Stream::kPipe;
        auto process = Subprocess::start(options);
        if (!process) continue;
        (void)process->write_input(as_bytes(word), cancel).has_value();
        // Were the pipe open in a sibling, cat would wait for it.
        process->close_input();
        Buffer into(100);
        const auto count = process->read_output(into.bytes(), cancel);
        const bool same = count && as_text(into.bytes().first(*count)) == word;
        const auto exit = process->wait(cancel);
        if (same && exit && exit->ok()) ++good;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 80);
  EXPECT_FALSE(has_children());
}

}  // namespace
}  // namespace pgark
