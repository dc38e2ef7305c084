// The foreground of asynchronous archiving: ask the worker, and start one if there is none.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"

namespace pgark {

struct PushClientOptions {
  std::string directory;    // push_directory().
  std::string path;         // Absolute, of the file to push.
  std::string settings_id;  // As the worker's.
  std::chrono::milliseconds timeout{60'000};
  /// Start a worker and wait until it listens, at most `bound`. Ok also if another has been started meanwhile.
  std::function<Result<>(std::chrono::milliseconds bound)> start_worker;
  std::function<Errc(int exit_code)> errc_of;   // Of the exit code in an answer.
  std::function<bool()> settings_changed = {};  // Since `settings_id` was made.
};

enum class PushAnswer : unsigned char { kStored, kDropped };

/// Ask until there is an answer. A worker that dies before it gave one is replaced, until the timeout.
/// Errors: the worker's answer; kTransient at the timeout, or if the settings changed meanwhile; of the spool;
/// kCancelled.
Result<PushAnswer> ask_push_worker(const PushClientOptions& options, Clock& clock, const CancelToken& cancel);

/// Start `argv` with "--worker=3" in it as a process of its own: own session, standard streams at /dev/null, no
/// descriptor of ours but the pipe it reports on. Returns when it reported.
/// Errors: what it reported; kTransient if it did not within `bound`.
Result<> spawn_push_worker(const std::string& program, std::vector<std::string> argv, std::chrono::milliseconds bound,
                           const std::function<Errc(int)>& errc_of);

/// The worker's side of it: tell that it listens ("ready"), that another does ("running"), or why it cannot.
void report_push_worker(int descriptor, const std::string& text);

/// An error in words of the protocol: "error <exit code>\n<message>", and back.
std::string encode_push_error(int exit_code, const Error& error);
Error decode_push_error(std::string_view text, const std::function<Errc(int)>& errc_of);

}  // namespace pgark
