// A shell, and a pipe that is read with a deadline.
#include "core/command_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "core/file.h"
#include "core/spawn.h"

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
    Spawn spawn(Spawn::Apart::kGroup);
    spawn.null_stream(STDIN_FILENO);
    spawn.descriptor(STDOUT_FILENO, output);
    spawn.close_from(STDERR_FILENO + 1);
    TRY_ASSIGN(pid_, spawn.start("/bin/sh", {"/bin/sh", "-c", command}));
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
