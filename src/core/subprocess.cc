// posix_spawn with streams that are pipes, a thread that keeps what is said on standard error, and the certainty that
// nothing of the process group is left behind.
#include "core/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <optional>
#include <system_error>
#include <thread>

#include "core/spawn.h"
#include "core/thread_annotations.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kErrorTextMax = 16u << 10;
constexpr size_t kErrorLineMax = 64u << 10;  // A longer one is passed on in pieces.
constexpr milliseconds kCancelLook{50};      // How often a wait looks at its token.
constexpr milliseconds kTermGrace{5'000};    // From SIGTERM to SIGKILL when a wait is cancelled,
constexpr milliseconds kDropGrace{1'000};    // and when a handle is destroyed.

/// A pipe whose ends have numbers above the standard streams, so that putting one in place of a stream of the child
/// never closes the other.
struct Pipe {
  File reading;
  File writing;
};
Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  Pipe pipe{File::adopt(ends[0], "pipe"), File::adopt(ends[1], "pipe")};
  for (File* end : {&pipe.reading, &pipe.writing}) {
    if (end->fd() > STDERR_FILENO) continue;
    const int moved = ::fcntl(end->fd(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved < 0) return errno_error(errno, "make a pipe");
    *end = File::adopt(moved, "pipe");
  }
  return pipe;
}

Result<> set_nonblocking(const File& end) {
  const int flags = ::fcntl(end.fd(), F_GETFL);
  if (flags < 0 || ::fcntl(end.fd(), F_SETFL, flags | O_NONBLOCK) != 0) return errno_error(errno, "set up a pipe");
  return {};
}

/// Variables of this process, with those of `options` put over them.
std::vector<std::string> environment_of(const SubprocessOptions& options) {
  const auto is_replaced = [&](std::string_view name) {
    return std::find(options.unset.begin(), options.unset.end(), name) != options.unset.end() ||
           std::any_of(options.environment.begin(), options.environment.end(),
                       [&](const auto& variable) { return variable.first == name; });
  };
  std::vector<std::string> all;
  for (char** at = ::environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view text = *at;
    if (!is_replaced(text.substr(0, text.find('=')))) all.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment) all.push_back(name + "=" + value);
  return all;
}

/// Cuts what comes into lines, passes them on and keeps the last ones.
class ErrorLines {
 public:
  explicit ErrorLines(std::function<void(std::string_view)> on_line) : on_line_(std::move(on_line)) {}

  void add(std::string_view text) {
    kept_ += text;
    if (kept_.size() > 2 * kErrorTextMax) cut();
    for (;;) {
      const size_t end = text.find('\n');
      partial_ += text.substr(0, end);
      if (end != text.npos || partial_.size() > kErrorLineMax) pass_on();
      if (end == text.npos) return;
      text.remove_prefix(end + 1);
    }
  }
  void end() {
    if (!partial_.empty()) pass_on();
    if (kept_.size() > kErrorTextMax) cut();
  }
  std::string take() { return std::move(kept_); }

 private:
  void pass_on() {
    if (on_line_) on_line_(partial_);
    partial_.clear();
  }
  /// Keep whole lines, where there are any.
  void cut() {
    kept_.erase(0, kept_.size() - kErrorTextMax);
    const size_t line = kept_.find('\n');
    if (line != kept_.npos && line + 1 < kept_.size()) kept_.erase(0, line + 1);
  }

  std::function<void(std::string_view)> on_line_;
  std::string partial_;
  std::string kept_;
};

/// Keeps a write to a pipe that nobody reads from ending this process, whatever it does with SIGPIPE elsewhere.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignal() {
    const int saved = errno;
    if (!was_pending_) {
      const timespec none{};
      while (sigtimedwait(&pipe_, nullptr, &none) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = saved;
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

/// Wait until `fd` is ready or the token is to be looked at again.
Result<bool> wait_ready(int fd, short events, milliseconds bound) {
  pollfd wanted{fd, events, 0};
  const int ready = ::poll(&wanted, 1, static_cast<int>(bound.count()));
  if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for a pipe");
  return ready > 0;
}

}  // namespace

struct Subprocess::State {
  std::string program;
  pid_t pid = -1;
  File process;  // Becomes readable at its end; not open where the kernel has no pidfd.
  File input;
  File output;
  File errors;
  std::thread reader;
  std::atomic<bool> all_written = false;  // Nothing comes any more: the reader takes what is there.
  std::optional<ErrorLines> lines;        // Of the reader, until it is joined.
  Mutex mu;
  bool reaped GUARDED_BY(mu) = false;
  std::optional<SubprocessExit> exit;  // Of the thread that waits.

  ~State() {
    if (pid > 0 && !exit) stop(kDropGrace);
    if (reader.joinable()) join_reader();
  }

  void read_errors() {
    std::array<char, 4096> chunk{};
    for (;;) {
      const bool last = all_written.load(std::memory_order_acquire);
      const ssize_t count = ::read(errors.fd(), chunk.data(), chunk.size());
      if (count > 0) {
        lines->add({chunk.data(), static_cast<size_t>(count)});
        continue;
      }
      if (count < 0 && errno == EINTR) continue;
      if (count == 0 || errno != EAGAIN || last) break;
      (void)wait_ready(errors.fd(), POLLIN, kCancelLook).has_value();
    }
    lines->end();
  }

  void join_reader() {
    all_written.store(true, std::memory_order_release);
    reader.join();
  }

  void signal_group(int number) EXCLUDES(mu) {
    const MutexLock lock(mu);
    // Until it is reaped, the number of its group cannot be another's.
    if (!reaped && pid > 0) ::kill(-pid, number);
  }

  /// Whether the program has ended. It is not reaped yet.
  bool has_ended() EXCLUDES(mu) {
    const MutexLock lock(mu);
    if (reaped) return true;
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return errno != EINTR;
    return info.si_pid == pid;
  }

  /// Wait for its end. False if `bound` passed or the token was cancelled first.
  bool wait_end(std::optional<milliseconds> bound, const CancelToken* cancel) {
    const auto deadline = steady_clock::now() + bound.value_or(milliseconds(0));
    while (!has_ended()) {
      if (cancel != nullptr && cancel->cancelled()) return false;
      if (bound && steady_clock::now() >= deadline) return false;
      if (process.is_open()) {
        (void)wait_ready(process.fd(), POLLIN, kCancelLook).has_value();
      } else {
        ::poll(nullptr, 0, 5);
      }
    }
    return true;
  }

  /// Kill what is left of the group of a program that ended, and learn how it did.
  void reap() {
    int status = 0;
    {
      const MutexLock lock(mu);
      if (reaped) return;
      ::kill(-pid, SIGKILL);
      while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
      }
      reaped = true;
    }
    if (reader.joinable()) join_reader();
    exit.emplace();
    if (WIFSIGNALED(status)) {
      exit->signal = WTERMSIG(status);
      exit->status = 128 + exit->signal;
    } else {
      exit->status = WEXITSTATUS(status);
    }
    exit->error_text = lines->take();
  }

  void stop(milliseconds grace) {
    (void)input.close().has_value();
    (void)output.close().has_value();
    signal_group(SIGTERM);
    signal_group(SIGCONT);  // A stopped one would not hear it.
    if (!wait_end(grace, nullptr)) {
      signal_group(SIGKILL);
      wait_end(std::nullopt, nullptr);
    }
    reap();
  }
};

Subprocess::Subprocess(std::unique_ptr<State> state) : state_(std::move(state)) {}
Subprocess::Subprocess(Subprocess&&) noexcept = default;
Subprocess& Subprocess::operator=(Subprocess&&) noexcept = default;
Subprocess::~Subprocess() = default;

Result<Subprocess> Subprocess::start(SubprocessOptions options) {
  auto state = std::make_unique<State>();
  state->program = options.program;
  state->lines.emplace(std::move(options.on_error_line));
  File child_input;
  File child_output;
  if (options.input == SubprocessOptions::Stream::kPipe) {
    TRY_ASSIGN(Pipe pipe, make_pipe());
    TRY(set_nonblocking(pipe.writing));
    child_input = std::move(pipe.reading);
    state->input = std::move(pipe.writing);
  }
  if (options.output == SubprocessOptions::Stream::kPipe) {
    TRY_ASSIGN(Pipe pipe, make_pipe());
    child_output = std::move(pipe.writing);
    state->output = std::move(pipe.reading);
  }
  TRY_ASSIGN(Pipe errors, make_pipe());
  TRY(set_nonblocking(errors.reading));
  state->errors = std::move(errors.reading);

  std::vector<std::string> words{options.program};
  words.insert(words.end(), std::make_move_iterator(options.arguments.begin()),
               std::make_move_iterator(options.arguments.end()));
  std::vector<std::string> variables = environment_of(options);
  Spawn spawn(Spawn::Apart::kGroup);
  const auto stream = [&](int number, const File& end) {
    // The ends have numbers above the streams: no step takes one away from a later one.
    if (end.is_open()) {
      spawn.descriptor(number, end.fd());
    } else {
      spawn.null_stream(number);
    }
  };
  stream(STDIN_FILENO, child_input);
  stream(STDOUT_FILENO, child_output);
  stream(STDERR_FILENO, errors.writing);
  spawn.close_from(STDERR_FILENO + 1);
  if (!options.directory.empty()) spawn.directory(options.directory);
  TRY_ASSIGN(state->pid, spawn.start(options.program, std::move(words), &variables));
  const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, state->pid, 0));  // Close-on-exec by nature.
  if (pidfd >= 0) state->process = File::adopt(pidfd, "process");
  try {
    state->reader = std::thread([raw = state.get()] { raw->read_errors(); });
  } catch (const std::system_error& refused) {
    return Error(Errc::kTransient, std::string("start thread: ") + refused.what())
        .with_hint("raise the limit on processes of this user (ulimit -u)");
  }
  return Subprocess(std::move(state));
}

int Subprocess::pid() const { return state_->pid; }

Result<size_t> Subprocess::read_output(MutableBytes into, const CancelToken& cancel) {
  if (!state_->output.is_open()) return Error(Errc::kInternal, "read what " + state_->program + " writes: no pipe");
  for (;;) {
    TRY(cancel.check());
    TRY_ASSIGN(const bool ready, wait_ready(state_->output.fd(), POLLIN, kCancelLook));
    if (!ready) continue;
    const ssize_t count = ::read(state_->output.fd(), into.data(), into.size());
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) return errno_error(errno, "read what " + state_->program + " writes");
  }
}

Result<> Subprocess::write_input(Bytes data, const CancelToken& cancel) {
  const NoPipeSignal quiet;
  while (!data.empty()) {
    TRY(cancel.check());
    if (!state_->input.is_open()) return Error(Errc::kInternal, "write to " + state_->program + ": no pipe");
    const ssize_t count = ::write(state_->input.fd(), data.data(), data.size());
    if (count >= 0) {
      data = data.subspan(static_cast<size_t>(count));
      continue;
    }
    if (errno == EPIPE) return Error(Errc::kInvalid, "write to " + state_->program + ": it no longer reads");
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno_error(errno, "write to " + state_->program);
    TRY(wait_ready(state_->input.fd(), POLLOUT, kCancelLook));
  }
  return {};
}

void Subprocess::close_input() {
  if (state_->input.is_open()) (void)state_->input.close().has_value();
}

void Subprocess::pause() { state_->signal_group(SIGSTOP); }
void Subprocess::resume() { state_->signal_group(SIGCONT); }
void Subprocess::kill() { state_->signal_group(SIGKILL); }
bool Subprocess::has_ended() { return state_->has_ended(); }

Result<SubprocessExit> Subprocess::wait(const CancelToken& cancel) {
  if (!state_->exit) {
    if (!state_->wait_end(std::nullopt, &cancel)) {
      state_->stop(kTermGrace);
      return Error(Errc::kCancelled, "run " + state_->program + ": stopped on request");
    }
    state_->reap();
  }
  return *state_->exit;
}

Result<std::string> run_program(SubprocessOptions options, const CancelToken& cancel, size_t bytes_max) {
  const std::string program = options.program;
  options.output = SubprocessOptions::Stream::kPipe;
  TRY_ASSIGN(Subprocess process, Subprocess::start(std::move(options)));
  process.close_input();
  std::string text;
  for (;;) {
    const size_t old = text.size();
    text.resize(old + 16384);
    TRY_ASSIGN(const size_t count,
               process.read_output({reinterpret_cast<std::byte*>(text.data()) + old, 16384}, cancel));
    text.resize(old + count);
    if (text.size() > bytes_max)
      return Error(Errc::kInvalid, fmt::format("run {}: it writes more than {} bytes", program, bytes_max));
    if (count == 0) break;
  }
  TRY_ASSIGN(const SubprocessExit exit, process.wait(cancel));
  if (exit.ok()) return text;
  std::string_view said = exit.error_text;
  while (said.ends_with('\n')) said.remove_suffix(1);
  said = said.substr(said.rfind('\n') + 1);  // npos + 1 is 0.
  const std::string how = exit.signal != 0 ? fmt::format("ended by signal {}", exit.signal)
                                           : fmt::format("ended with exit status {}", exit.status);
  return Error(Errc::kInvalid, fmt::format("run {}: {}{}{}", program, how, said.empty() ? "" : ": ", said));
}

}  // namespace pgark
