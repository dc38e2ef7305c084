// posix_spawn of a shell, and a pipe that is read with a deadline.
#include "core/command_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "core/file.h"

extern char** environ;

namespace pgark {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// A child that is waited for, and killed with its group before if need be.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    kill_group();
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }

  Result<> start(const std::string& command, int output) {
    std::string shell = "/bin/sh";
    std::string flag = "-c";
    std::string text = command;
    std::array<char*, 4> argv = {shell.data(), flag.data(), text.data(), nullptr};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    sigset_t none;
    sigemptyset(&none);
    sigset_t all_default;
    sigemptyset(&all_default);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) sigaddset(&all_default, signal);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all_default);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const int failed = ::posix_spawn(&pid_, shell.c_str(), &files, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (failed != 0) {
      pid_ = -1;
      return errno_error(failed, "start the command");
    }
    return {};
  }

  /// Whether it has ended, and then its status.
  Result<bool> has_ended(int& status) {
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) return false;
    if (ended < 0) {
      pid_ = -1;
      return errno_error(errno, "wait for the command");
    }
    pid_ = -1;
    return true;
  }

 private:
  void kill_group() const { ::kill(-pid_, SIGKILL); }

  pid_t pid_ = -1;
};

Result<> check_status(int status) {
  if (WIFSIGNALED(status))
    return Error(Errc::kInvalid, fmt::format("the command was ended by signal {}", WTERMSIG(status)));
  const int code = WEXITSTATUS(status);
  if (code == 127) return Error(Errc::kInvalid, "the command was not found (exit code 127)");
  if (code == 126) return Error(Errc::kInvalid, "the command cannot be executed (exit code 126)");
  if (code != 0) return Error(Errc::kInvalid, fmt::format("the command ended with exit code {}", code));
  return {};
}

/// Reads a pipe and waits for a child, both until one deadline.
class Reader {
 public:
  explicit Reader(const CommandLimits& limits) : limits_(limits), deadline_(steady_clock::now() + limits.timeout) {
    text_.reserve(limits.bytes_max + 1);  // So that it never moves, and leaves no copy behind.
  }

  Result<std::string> run(int fd, Child& child) {
    TRY(read_all(fd));
    int status = 0;
    for (;;) {
      TRY_ASSIGN(const bool ended, child.has_ended(status));
      if (ended) break;
      TRY(check());
      ::poll(nullptr, 0, 5);
    }
    TRY(check_status(status));
    return std::move(text_);
  }

 private:
  Result<> check() const {
    if (limits_.cancel != nullptr) TRY(limits_.cancel->check());
    if (steady_clock::now() < deadline_) return {};
    return Error(Errc::kTransient, fmt::format("the command does not end within {} s",
                                               static_cast<double>(limits_.timeout.count()) / 1000));
  }

  Result<> read_all(int fd) {
    std::array<char, 4096> chunk{};
    for (;;) {
      TRY(check());
      pollfd wanted{fd, POLLIN, 0};
      const int ready = ::poll(&wanted, 1, 50);
      if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for what the command prints");
      if (ready <= 0) continue;
      const ssize_t count = ::read(fd, chunk.data(), chunk.size());
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count < 0) return errno_error(errno, "read what the command prints");
      if (count == 0) return {};
      const auto bytes = static_cast<size_t>(count);
      const bool fits = text_.size() + bytes <= limits_.bytes_max;
      if (fits) text_.append(chunk.data(), bytes);
      ::explicit_bzero(chunk.data(), bytes);
      if (!fits) return Error(Errc::kInvalid, fmt::format("the command prints more than {} bytes", limits_.bytes_max));
    }
  }

  const CommandLimits& limits_;
  const steady_clock::time_point deadline_;
  std::string text_;
};

}  // namespace

Result<std::string> command_output(const std::string& command, const CommandLimits& limits) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const File reading = File::adopt(ends[0], "pipe");
  File writing = File::adopt(ends[1], "pipe");
  Child child;
  TRY(child.start(command, writing.fd()));
  TRY(writing.close());
  return Reader(limits).run(reading.fd(), child);
}

}  // namespace pgark
