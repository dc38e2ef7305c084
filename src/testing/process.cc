// Children through posix_spawn, which is safe in programs with threads, and pidfds to wait for them with a bound.
#include "testing/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string_view>

namespace pgark::testing {
namespace {

constexpr uint64_t kOutputBytesMax = 256u << 20;

// Output goes to memory files rather than pipes: no reader threads, no deadlock when a child is silent or talkative,
// and no waiting for grandchildren that keep a pipe open. Opened through /proc so that File can own it.
Result<File> memory_file(const char* name) {
  const int fd = ::memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) return errno_error(errno, "create memory file");
  auto file = File::open(fmt::format("/proc/self/fd/{}", fd), O_RDWR | O_APPEND);
  ::close(fd);
  return file;
}

Result<std::string> content(const File& file) {
  std::string text;
  if (!file.is_open()) return text;
  TRY_ASSIGN(const struct stat info, file.stat());
  if (static_cast<uint64_t>(info.st_size) > kOutputBytesMax)
    return Error(Errc::kInvalid, "read output: more than 256 MiB");
  text.resize(static_cast<size_t>(info.st_size));
  TRY_ASSIGN(const size_t count, file.pread(std::as_writable_bytes(std::span(text)), 0));
  text.resize(count);
  return text;
}

std::vector<std::string> environment(const std::vector<std::string>& changes) {
  const auto name_of = [](std::string_view setting) { return setting.substr(0, setting.find('=')); };
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view setting = *entry;
    const bool changed = std::any_of(changes.begin(), changes.end(),
                                     [&](const std::string& change) { return name_of(change) == name_of(setting); });
    if (!changed) result.emplace_back(setting);
  }
  std::copy_if(changes.begin(), changes.end(), std::back_inserter(result),
               [](const std::string& change) { return change.find('=') != std::string::npos; });
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct SpawnActions {
  SpawnActions() { ::posix_spawn_file_actions_init(&value); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&value); }
  posix_spawn_file_actions_t value;
};

struct SpawnAttributes {
  SpawnAttributes() { ::posix_spawnattr_init(&value); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&value); }
  posix_spawnattr_t value;
};

struct Streams {
  File in;
  File out;
  File err;
};

Result<Streams> open_streams(const ProcessOptions& options) {
  Streams streams;
  if (options.standard_input.empty()) {
    TRY_ASSIGN(streams.in, File::open("/dev/null", O_RDONLY));
  } else {
    TRY_ASSIGN(File written, memory_file("stdin"));
    TRY(written.write(as_bytes(options.standard_input)));
    // A second description of the same memory, so that the child reads from the beginning.
    TRY_ASSIGN(streams.in, File::open(fmt::format("/proc/self/fd/{}", written.fd()), O_RDONLY));
  }
  if (!options.output_path.empty()) {
    TRY_ASSIGN(streams.out, File::open(options.output_path, O_WRONLY | O_CREAT | O_APPEND));
    TRY_ASSIGN(streams.err, File::open(options.output_path, O_WRONLY | O_CREAT | O_APPEND));
  } else {
    TRY_ASSIGN(streams.out, memory_file("stdout"));
    TRY_ASSIGN(streams.err, memory_file("stderr"));
  }
  return streams;
}

// Kill at the caller's end is a property the kernel ties to the thread that starts the child.
bool in_main_thread() { return ::syscall(SYS_gettid) == ::getpid(); }

}  // namespace

std::string ProcessResult::to_string() const {
  std::string text = signal != 0 ? fmt::format("signal {}", signal) : fmt::format("exit {}", exit_code);
  if (timed_out) text += " (killed at the time limit)";
  if (!out.empty()) text += "\nstdout:\n" + out;
  if (!err.empty()) text += "\nstderr:\n" + err;
  return text;
}

std::vector<std::string> without_test_settings() {
  return {"PGARK_SERVERS", "PGARK_KEEP", "PGARK_SLOW", "PGARK_BINARY"};
}

Result<Process> Process::start(std::vector<std::string> argv, const ProcessOptions& options) {
  const std::string context = "start " + argv.front();
  if (options.die_with_caller && in_main_thread()) {
    const std::vector<std::string> prefix{"setpriv", "--pdeathsig", "KILL", "--"};
    argv.insert(argv.begin(), prefix.begin(), prefix.end());
  }
  TRY_ASSIGN_CTX(Streams streams, open_streams(options), context);

  SpawnActions actions;
  ::posix_spawn_file_actions_adddup2(&actions.value, streams.in.fd(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions.value, streams.out.fd(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions.value, streams.err.fd(), STDERR_FILENO);
  if (!options.working_directory.empty()) {
    ::posix_spawn_file_actions_addchdir_np(&actions.value, options.working_directory.c_str());
  }
  SpawnAttributes attributes;
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes.value, &none);
  ::posix_spawnattr_setsigdefault(&attributes.value, &all);
  ::posix_spawnattr_setpgroup(&attributes.value, 0);
  ::posix_spawnattr_setflags(&attributes.value, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> env = environment(options.env);
  Process process;
  const int error = ::posix_spawnp(&process.pid_, argv.front().c_str(), &actions.value, &attributes.value,
                                   pointers(argv).data(), pointers(env).data());
  if (error != 0) {
    process.pid_ = -1;
    return errno_error(error, context);
  }
  if (options.output_path.empty()) {
    process.out_ = std::move(streams.out);
    process.err_ = std::move(streams.err);
  }
  return process;
}

Process::~Process() {
  if (pid_ > 0 && running()) (void)kill_and_wait();
}

Result<bool> Process::reap(std::chrono::milliseconds bound) {
  if (status_) return true;
  if (pid_ <= 0) return Error(Errc::kInternal, "wait for process: none was started");
  if (bound.count() > 0) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    if (fd < 0) return errno_error(errno, fmt::format("watch process {}", pid_));
    const auto deadline = std::chrono::steady_clock::now() + bound;
    pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
    while (true) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      const int ready = ::poll(&watched, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
      if (ready >= 0 || errno != EINTR) break;
    }
    ::close(fd);
  }
  int status = 0;
  struct rusage usage {};
  const pid_t ended = ::wait4(pid_, &status, WNOHANG, &usage);
  if (ended < 0) return errno_error(errno, fmt::format("wait for process {}", pid_));
  if (ended == 0) return false;
  status_ = status;
  peak_resident_bytes_ = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return true;
}

bool Process::running() {
  if (pid_ <= 0) return false;
  const auto ended = reap(std::chrono::milliseconds(0));
  return ended.has_value() && !*ended;
}

Result<> Process::signal(int number, bool group) {
  if (!group && !running()) return {};
  if (pid_ <= 0) return {};
  if (::kill(group ? -pid_ : pid_, number) != 0 && errno != ESRCH) {
    return errno_error(errno, fmt::format("send signal {} to process {}", number, pid_));
  }
  return {};
}

Result<ProcessResult> Process::wait(std::chrono::milliseconds bound) {
  ProcessResult result;
  TRY_ASSIGN(const bool ended, reap(bound));
  if (!ended) {
    TRY(signal(SIGKILL, true));
    TRY_ASSIGN(const bool killed, reap(std::chrono::seconds(60)));
    if (!killed) return Error(Errc::kInternal, fmt::format("kill process {}: still there after 60 s", pid_));
    result.timed_out = true;
  }
  if (WIFEXITED(*status_)) result.exit_code = WEXITSTATUS(*status_);
  if (WIFSIGNALED(*status_)) result.signal = WTERMSIG(*status_);
  result.peak_resident_bytes = peak_resident_bytes_;
  TRY_ASSIGN(result.out, content(out_));
  TRY_ASSIGN(result.err, content(err_));
  return result;
}

Result<ProcessResult> Process::kill_and_wait() {
  // The group is signalled while its leader has not been reaped, so the number cannot have been given to another.
  if (!status_) TRY(signal(SIGKILL, true));
  return wait(std::chrono::seconds(60));
}

Result<ProcessResult> run(std::vector<std::string> argv, const ProcessOptions& options,
                          std::chrono::milliseconds bound) {
  TRY_ASSIGN(Process process, Process::start(std::move(argv), options));
  return process.wait(bound);
}

Result<std::string> run_ok(std::vector<std::string> argv, const ProcessOptions& options,
                           std::chrono::milliseconds bound) {
  const std::string command = fmt::format("{}", fmt::join(argv, " "));
  TRY_ASSIGN(ProcessResult result, run(std::move(argv), options, bound));
  if (!result.ok()) return Error(Errc::kInternal, fmt::format("run {}: {}", command, result.to_string()));
  return std::move(result.out);
}

}  // namespace pgark::testing
