// Asking and starting the worker of asynchronous archiving.
#include "ops/push_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "core/detached.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/push_socket.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock::time_point;

constexpr size_t kAnswerBytesMax = 1u << 20;
/// The worker knows better what lags than a client that stops waiting: let it speak first.
constexpr milliseconds kGrace{5000};
/// One that ends finishes first what it is pushing; until then a new one cannot begin.
constexpr milliseconds kBetweenTries{20};
constexpr milliseconds kBetweenTriesMax{500};

/// Read to the end of what comes on `fd`, until `deadline`.
/// Errors: kTransient at the deadline; kCancelled.
Result<std::string> read_to_end(int fd, Clock& clock, Steady deadline, const CancelToken* cancel) {
  std::string text;
  for (;;) {
    if (cancel != nullptr) TRY(cancel->check());
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - clock.steady());
    if (left.count() <= 0) return Error(Errc::kTransient, "no answer in time");
    pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&polled, 1, static_cast<int>(std::min<int64_t>(left.count(), 200)));
    if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for an answer");
    if (ready <= 0) continue;
    std::array<char, 4096> buffer{};
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A connection that broke ends what was said, as one that was closed does.
    if (got <= 0 || text.size() > kAnswerBytesMax) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

/// No value if the worker went away without an answer.
Result<std::optional<std::string>> ask_once(const File& socket, const PushClientOptions& options, Clock& clock,
                                            Steady deadline, const CancelToken& cancel) {
  const std::string request = fmt::format("push-as {} {}\n", options.settings_id, options.path);
  const ssize_t sent = ::send(socket.fd(), request.data(), request.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request.size())) return std::optional<std::string>();
  TRY_ASSIGN(std::string answer, read_to_end(socket.fd(), clock, deadline + kGrace, &cancel));
  if (answer.empty()) return std::optional<std::string>();
  return std::optional<std::string>(std::move(answer));
}

Result<PushAnswer> decode_answer(const std::string& answer, const PushClientOptions& options) {
  if (answer == "ok\n") return PushAnswer::kStored;
  if (answer == "ok dropped\n") return PushAnswer::kDropped;
  return decode_push_error(answer, options.errc_of);
}

}  // namespace

Result<PushAnswer> ask_push_worker(const PushClientOptions& options, Clock& clock, const CancelToken& cancel) {
  const std::string context = "push " + options.path.substr(options.path.rfind('/') + 1);
  const Steady deadline = clock.steady() + options.timeout;
  TRY_CTX(make_push_directory(options.directory), context);
  unsigned lost = 0;
  for (milliseconds pause = kBetweenTries;; pause = std::min(2 * pause, kBetweenTriesMax)) {
    TRY_CTX(cancel.check(), context);
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - clock.steady());
    if (left.count() <= 0) {
      return Error(Errc::kTransient,
                   fmt::format("{}: the background worker gave no answer within archive-timeout; {} ended without one",
                               context, lost))
          .with_hint("see its lines in the log file of archive-push below log-path");
    }
    TRY_ASSIGN_CTX(const auto socket, connect_push_socket(options.directory), context);
    if (!socket) {
      TRY_CTX(options.start_worker(left), context);
    } else {
      auto answer = ask_once(*socket, options, clock, deadline, cancel);
      if (!answer) return Error(std::move(answer).error()).with_context(context);
      if (*answer) return decode_answer(**answer, options);
      ++lost;
      // Every worker from now on has the new settings and hangs up on the old ones.
      if (options.settings_changed && options.settings_changed()) {
        return Error(Errc::kTransient, fmt::format("{}: the configuration changed while it waited", context))
            .with_hint("the server asks again in a moment, with the new configuration");
      }
      log_detail("the background worker ended before it answered: ask another");
    }
    // The first worker has just been started, and listens.
    if (pause > kBetweenTries || socket) clock.sleep_for(pause);
  }
}

std::string encode_push_error(int exit_code, const Error& error) {
  return fmt::format("error {}\n{}", exit_code, error.to_string());
}

Error decode_push_error(std::string_view text, const std::function<Errc(int)>& errc_of) {
  constexpr std::string_view kWord = "error ";
  constexpr std::string_view kHint = "HINT: ";
  int exit_code = 0;
  const size_t end = std::min(text.find('\n'), text.size());
  if (!text.starts_with(kWord) ||
      std::from_chars(text.data() + kWord.size(), text.data() + end, exit_code).ec != std::errc{}) {
    return Error(Errc::kInternal, fmt::format("the background worker answered '{}'", text.substr(0, 200)));
  }
  text.remove_prefix(std::min(end + 1, text.size()));
  std::string message;
  std::vector<std::string> hints;
  while (!text.empty()) {
    const size_t line_end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, line_end);
    if (line.starts_with(kHint)) {
      hints.emplace_back(line.substr(kHint.size()));
    } else {
      message += (message.empty() ? "" : "\n") + std::string(line);
    }
    text.remove_prefix(std::min(line_end + 1, text.size()));
  }
  Error error(errc_of(exit_code), std::move(message));
  for (std::string& hint : hints) error = std::move(error).with_hint(std::move(hint));
  return error;
}

Result<> spawn_push_worker(const std::string& program, std::vector<std::string> argv, milliseconds bound,
                           const std::function<Errc(int)>& errc_of) {
  // Right behind the program's name: behind a "--" it would be an argument.
  argv.insert(argv.begin() + (argv.empty() ? 0 : 1), fmt::format("--worker={}", kReportDescriptor));
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const File reader = File::adopt(pipe[0], "pipe");
  File writer = File::adopt(pipe[1], "pipe");
  TRY_CTX(start_detached(program, std::move(argv), writer.fd()), "start the background worker");
  TRY(writer.close());
  TRY_ASSIGN_CTX(const std::string report,
                 read_to_end(reader.fd(), system_clock(), system_clock().steady() + bound, nullptr),
                 "start the background worker");
  if (report == "ready\n" || report == "running\n") return {};
  if (report.empty()) {
    return Error(Errc::kInternal, fmt::format("the background worker ({}) ended before it was ready", program))
        .with_hint("see its lines in the log file of archive-push below log-path");
  }
  return decode_push_error(report, errc_of).with_context("start the background worker");
}

void report_push_worker(int descriptor, const std::string& text) {
  // The client may have gone: then nobody waits for the report.
  static_cast<void>(::write(descriptor, text.data(), text.size()) < 0);
  ::close(descriptor);
}

}  // namespace pgark
