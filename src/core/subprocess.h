// Programs that run beside this one and are waited for: pg_dump, pg_restore, psql, gpg. Their streams are descriptors
// of ours, what they write to standard error is kept, and none of them outlives its handle.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/cancel.h"
#include "core/file.h"
#include "core/result.h"

namespace pgark {

struct SubprocessOptions {
  std::string program;                 // A path, or a name that is looked up in PATH.
  std::vector<std::string> arguments;  // Without the program's name.
  /// Variables set for it, over those of this process; no value removes one. Never secrets on the command line.
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::string> unset;
  std::string directory;  // To run in; empty: ours.
  enum class Stream : uint8_t { kNull, kPipe };
  Stream input = Stream::kNull;
  Stream output = Stream::kNull;
  /// Called for each line of standard error, as it comes, on a thread of the handle. May be empty.
  std::function<void(std::string_view line)> on_error_line;
};

/// How a program ended.
struct SubprocessExit {
  int status = 0;  // Exit status; with a signal 128 + its number.
  int signal = 0;  // That ended it; 0 if none.
  /// The last lines of its standard error, at most 16 KiB.
  std::string error_text;
  bool ok() const { return status == 0; }
};

/// A program that runs in a process group of its own. Destroying the handle kills the group and waits for it.
class Subprocess {
 public:
  /// Errors: kNotFound if there is no such program; kPermission if it cannot be run.
  static Result<Subprocess> start(SubprocessOptions options);
  Subprocess(Subprocess&&) noexcept;
  Subprocess& operator=(Subprocess&&) noexcept;
  ~Subprocess();

  int pid() const;
  /// Read what it wrote to standard output (kPipe): 0 at its end. Errors: kCancelled; kInternal.
  Result<size_t> read_output(MutableBytes into, const CancelToken& cancel);
  /// Write to its standard input (kPipe). Errors: kInvalid if it no longer reads; kCancelled.
  Result<> write_input(Bytes data, const CancelToken& cancel);
  void close_input();
  /// Stop (SIGSTOP) or go on with (SIGCONT) the whole group.
  void pause();
  void resume();
  /// SIGKILL to the whole group, without waiting for its end.
  void kill();
  /// Whether it has ended; does not block.
  bool has_ended();
  /// Wait for its end. When `cancel` is cancelled, the group gets SIGTERM, SIGKILL after some seconds, and the result
  /// is kCancelled.
  Result<SubprocessExit> wait(const CancelToken& cancel);

 private:
  struct State;
  explicit Subprocess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Run one to its end and return what it wrote to standard output.
/// Errors: kInvalid, with the last line of its standard error, if it exits with anything but 0 or writes more than
///         `bytes_max`; as start() and wait().
Result<std::string> run_program(SubprocessOptions options, const CancelToken& cancel, size_t bytes_max = 16u << 20);

}  // namespace pgark
