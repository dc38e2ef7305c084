#include "core/spawn.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "core/file.h"

namespace pgark {
namespace {

using testing::HasSubstr;

/// Run a shell command set up by `prepare` and return what it wrote to standard output.
template <typename Prepare>
std::string output_of(const std::string& command, Spawn::Apart apart, Prepare prepare) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const File reading = File::adopt(ends[0], "pipe");
  File writing = File::adopt(ends[1], "pipe");
  Spawn spawn(apart);
  spawn.null_stream(STDIN_FILENO);
  spawn.descriptor(STDOUT_FILENO, writing.fd());
  prepare(spawn);
  const auto pid = spawn.start("sh", {"sh", "-c", command});
  if (!pid) return pid.error().to_string();
  EXPECT_TRUE(writing.close().has_value());
  std::string text;
  std::array<char, 4096> chunk{};
  for (ssize_t count = 0; (count = ::read(reading.fd(), chunk.data(), chunk.size())) > 0;)
    text.append(chunk.data(), static_cast<size_t>(count));
  int status = 0;
  EXPECT_EQ(::waitpid(*pid, &status, 0), *pid);
  return text;
}

TEST(Spawn, LeavesNoDescriptorOfOursOpen) {
  const int ours = ::open("/dev/null", O_RDONLY);  // Not close-on-exec: as libraries open theirs.
  ASSERT_GE(ours, 0);
  const std::string list = "cd /proc/self/fd && for fd in *; do test -e $fd && printf '%s ' $fd; done";
  EXPECT_THAT(output_of(list, Spawn::Apart::kGroup, [](Spawn&) {}), HasSubstr(" " + std::to_string(ours) + " "));
  const std::string closed = output_of(list, Spawn::Apart::kGroup, [](Spawn& spawn) { spawn.close_from(3); });
  EXPECT_THAT(closed, testing::StartsWith("0 1 2 "));
  EXPECT_THAT(closed, testing::Not(HasSubstr(" " + std::to_string(ours) + " ")));
  ::close(ours);
}

TEST(Spawn, GivesSignalsAsInAFreshProcess) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  const auto old = std::signal(SIGPIPE, SIG_IGN);
  const std::string masks = output_of("grep -E '^Sig(Blk|Ign)' /proc/self/status", Spawn::Apart::kGroup, [](Spawn&) {});
  std::signal(SIGPIPE, old);
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  unsigned long long blocks = ~0ull;
  unsigned long long ignores = ~0ull;
  ASSERT_EQ(std::sscanf(masks.c_str(), "SigBlk: %llx SigIgn: %llx", &blocks, &ignores), 2) << masks;
  EXPECT_EQ(blocks, 0u);
  // Who runs the tests may ignore others for reasons of its own.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD})
    EXPECT_EQ(ignores >> (signal - 1) & 1, 0u) << signal;
}

TEST(Spawn, SetsItApartInAGroupOrASession) {
  // Fields of /proc/PID/stat behind the name: state, parent, group, session.
  const std::string fields = "sed 's/.*) //' /proc/$$/stat | cut -d' ' -f3,4 | sed \"s/\\b$$\\b/own/g\"";
  EXPECT_EQ(output_of(fields, Spawn::Apart::kGroup, [](Spawn&) {}), "own " + std::to_string(::getsid(0)) + "\n");
  EXPECT_EQ(output_of(fields, Spawn::Apart::kSession, [](Spawn&) {}), "own own\n");
}

TEST(Spawn, RunsWhereItIsTold) {
  EXPECT_EQ(output_of("pwd", Spawn::Apart::kGroup, [](Spawn& spawn) { spawn.directory("/usr"); }), "/usr\n");
}

TEST(Spawn, NamesAProgramThatIsNotThere) {
  const Spawn spawn(Spawn::Apart::kGroup);
  const auto started = spawn.start("/nonexistent/program", {"program"});
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), Errc::kNotFound);
  EXPECT_THAT(started.error().message(), HasSubstr("start '/nonexistent/program'"));
}

// As for a user who inherited root's PATH.
TEST(Spawn, TakesADirectoryItMayNotLookIntoForEmpty) {
  std::string locked = "/tmp/pgark-spawn-XXXXXX";
  ASSERT_NE(::mkdtemp(locked.data()), nullptr);
  ASSERT_EQ(::chmod(locked.c_str(), 0), 0);
  const std::string path = std::getenv("PATH");
  ASSERT_EQ(::setenv("PATH", (locked + ":" + path).c_str(), 1), 0);
  const Spawn spawn(Spawn::Apart::kGroup);
  const auto started = spawn.start("pgark-no-such-program", {"program"});
  EXPECT_EQ(::setenv("PATH", path.c_str(), 1), 0);
  EXPECT_EQ(::rmdir(locked.c_str()), 0);
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), Errc::kNotFound) << started.error().to_string();
}

}  // namespace
}  // namespace pgark
