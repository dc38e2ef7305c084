// Running other programs: no shell unless asked, output captured, every wait bounded, nothing left behind.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/result.h"

namespace pgark::testing {

struct ProcessOptions {
  std::vector<std::string> env = {};   // "NAME=value" sets, "NAME" alone removes; the rest is the caller's.
  std::string standard_input = {};     // Empty: /dev/null.
  std::string working_directory = {};  // Empty: the caller's.
  std::string output_path = {};  // Not empty: stdout and stderr are appended to this file instead of being captured.
  bool die_with_caller = false;  // SIGKILL when this process ends, however it ends. Holds only if started by its main
                                 // thread; elsewhere the kernel would kill at the end of the thread, so it is left out.
};

struct ProcessResult {
  int exit_code = -1;      // -1 when a signal ended it.
  int signal = 0;          // The signal that ended it, or 0.
  bool timed_out = false;  // It was killed at the bound.
  std::string out = {};
  std::string err = {};
  uint64_t peak_resident_bytes = 0;  // Of the process itself, as the kernel counted it.

  bool ok() const { return exit_code == 0; }
  /// Exit code or signal, then both outputs: for failure messages.
  std::string to_string() const;
};

/// Changes of environment that take away what configures the tests (PGARK_SERVERS, PGARK_KEEP, ...), which pgark would
/// take for misspelt options of its own.
std::vector<std::string> without_test_settings();

/// A program running in the background, leader of its own process group. The destructor kills the group and waits.
class Process {
 public:
  /// Start argv[0], looked up in PATH when it has no slash.
  static Result<Process> start(std::vector<std::string> argv, const ProcessOptions& options = {});

  Process() = default;
  Process(Process&& other) noexcept { swap(other); }
  Process& operator=(Process&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Process();

  pid_t pid() const { return pid_; }
  /// Whether it has not ended; never blocks.
  bool running();
  /// Send a signal to the program, or with `group` to all of its process group. Success if it has ended.
  Result<> signal(int number, bool group = false);
  /// Wait for the end; at the bound the group is killed and the result says timed_out. May be called again.
  Result<ProcessResult> wait(std::chrono::milliseconds bound = std::chrono::seconds(120));
  /// kill -9 of the whole group, then wait.
  Result<ProcessResult> kill_and_wait();

 private:
  void swap(Process& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(status_, other.status_);
    std::swap(peak_resident_bytes_, other.peak_resident_bytes_);
    std::swap(out_, other.out_);
    std::swap(err_, other.err_);
  }
  Result<bool> reap(std::chrono::milliseconds bound);

  pid_t pid_ = -1;
  std::optional<int> status_;  // As waitpid(2) gave it.
  uint64_t peak_resident_bytes_ = 0;
  File out_;  // Memory files that the child writes; not open when output goes to a path.
  File err_;
};

/// Run a program to its end.
/// Errors: only of starting it; an exit code other than 0 and a time-out are in the result.
Result<ProcessResult> run(std::vector<std::string> argv, const ProcessOptions& options = {},
                          std::chrono::milliseconds bound = std::chrono::seconds(120));

/// Run a program that must succeed; its standard output.
/// Errors: kInternal with exit code and output unless it exits 0 within the bound.
Result<std::string> run_ok(std::vector<std::string> argv, const ProcessOptions& options = {},
                           std::chrono::milliseconds bound = std::chrono::seconds(120));

}  // namespace pgark::testing
