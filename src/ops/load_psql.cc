// Writing to psql and knowing when it was done: a query whose answer is awaited marks the place.
#include "ops/load_psql.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "core/subprocess.h"
#include "core/thread_annotations.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{50};
constexpr milliseconds kCancelGrace{3'000};  // For the server to give up a statement.

std::vector<std::string> psql_arguments(bool stop) {
  std::vector<std::string> words = {"--no-psqlrc",
                                    "--quiet",
                                    "--no-align",
                                    "--tuples-only",
                                    "--no-password",
                                    "--set=VERBOSITY=default",
                                    "--set=SHOW_CONTEXT=errors"};
  if (stop) words.emplace_back("--set=ON_ERROR_STOP=1");
  return words;
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// Of "psql:/tmp/x/1-pre.sql:12: ERROR:  ...".
std::string object_of(std::string_view line) {
  constexpr std::string_view kProgram = "psql:";
  const size_t end = line.find(".sql:");
  if (!line.starts_with(kProgram) || end == line.npos) return {};
  const std::string_view number = line.substr(end + 5);
  size_t at = 0;
  std::from_chars(number.data(), number.data() + number.size(), at);
  return object_in_script(std::string(line.substr(kProgram.size(), end + 4 - kProgram.size())), at);
}

}  // namespace

struct PsqlSession::State {
  State(Subprocess started, const CancelToken& token) : process(std::move(started)), cancel(token) {}
  ~State() { abort(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void begin() {
    reader = std::thread([this] { read_answers(); });
  }

  /// Numbers that come back, one a line; everything else that statements answer is let go.
  void read_answers() {
    std::array<std::byte, 8192> chunk;
    std::string line;
    for (;;) {
      const auto count = process.read_output(chunk, reading);
      if (!count || *count == 0) break;
      for (const char c : as_text(Bytes(chunk).first(*count))) {
        if (c != '\n') {
          if (line.size() < 64) line += c;
          continue;
        }
        if (line.starts_with(kMark)) take_mark(line);
        line.clear();
      }
    }
    const MutexLock lock(mu);
    ended = true;
    changed.notify_all();
  }
  void take_mark(const std::string& line) EXCLUDES(mu) {
    const MutexLock lock(mu);
    reached = std::strtoull(line.c_str() + kMark.size(), nullptr, 10);
    changed.notify_all();
  }

  /// Its own words on why it ended.
  Error failure() {
    process.close_input();
    auto exit = process.wait(cancel);
    if (!exit) return std::move(exit).error();
    const auto errors = program_errors(exit->error_text);
    if (!errors.empty()) return explain_load_error(errors.front());
    const std::string said{trim(exit->error_text)};
    return Error(Errc::kInvalid, said.empty() ? fmt::format("psql ended with status {}", exit->status) : said);
  }

  void abort() {
    if (!reader.joinable()) return;
    if (!process.has_ended()) {
      // psql asks the server to cancel what runs; killed alone, it would leave the server at work until it answers.
      ::kill(process.pid(), SIGINT);
      for (milliseconds waited{0}; waited < kCancelGrace && !process.has_ended(); waited += kLook)
        std::this_thread::sleep_for(kLook);
      // Before its input is closed, which psql would take for the end of the rows.
      process.kill();
    }
    reading.cancel();
    reader.join();
  }

  static constexpr std::string_view kMark = "pgark-load-mark ";
  Subprocess process;
  const CancelToken& cancel;
  CancelToken reading;  // Ends the thread that reads.
  std::thread reader;
  uint64_t marks = 0;
  Mutex mu;
  CondVar changed;
  uint64_t reached GUARDED_BY(mu) = 0;
  bool ended GUARDED_BY(mu) = false;
};

PsqlSession::PsqlSession(std::unique_ptr<State> state) : state_(std::move(state)) {}
PsqlSession::PsqlSession(PsqlSession&&) noexcept = default;
PsqlSession& PsqlSession::operator=(PsqlSession&&) noexcept = default;
PsqlSession::~PsqlSession() = default;

Result<PsqlSession> PsqlSession::start(const PgClientSet& client, const PgEndpoint& endpoint,
                                       const CancelToken& cancel) {
  SubprocessOptions options = load_program(client, "psql", endpoint);
  options.arguments = psql_arguments(true);
  options.input = SubprocessOptions::Stream::kPipe;
  options.output = SubprocessOptions::Stream::kPipe;
  TRY_ASSIGN(Subprocess process, Subprocess::start(std::move(options)));
  auto state = std::make_unique<State>(std::move(process), cancel);
  state->begin();
  return PsqlSession(std::move(state));
}

Result<> PsqlSession::write(Bytes data) {
  auto written = state_->process.write_input(data, state_->cancel);
  if (!written && written.error().code() == Errc::kInvalid) return state_->failure();
  return written;
}

Result<> PsqlSession::write_file(const std::string& path) {
  std::string quoted;
  for (const char c : path) {
    if (c == '\'' || c == '\\') quoted += c == '\'' ? '\'' : '\\';
    quoted += c;
  }
  return write("\\i '" + quoted + "'\n");
}

Result<> PsqlSession::sync() {
  const uint64_t mark = ++state_->marks;
  TRY(write(fmt::format("SELECT '{}{}';\n", State::kMark, mark)));
  for (;;) {
    TRY(state_->cancel.check());
    {
      MutexLock lock(state_->mu);
      if (state_->reached >= mark) return {};
      if (state_->ended) break;
      state_->changed.wait_for(state_->mu, kLook);
    }
  }
  return state_->failure();
}

Result<> PsqlSession::finish() {
  TRY(sync());
  state_->process.close_input();
  TRY_ASSIGN(const SubprocessExit exit, state_->process.wait(state_->cancel));
  if (!exit.ok()) return state_->failure();
  return {};
}

void PsqlSession::abort() { state_->abort(); }

Result<> run_psql_file(const PgClientSet& client, const PgEndpoint& endpoint, const std::string& path,
                       std::vector<std::string>* errors, const CancelToken& cancel) {
  SubprocessOptions options = load_program(client, "psql", endpoint);
  options.arguments = psql_arguments(errors == nullptr);
  options.arguments.push_back("--file=" + path);
  std::string said;
  if (errors != nullptr) options.on_error_line = [&said](std::string_view line) { said.append(line).append("\n"); };
  TRY_ASSIGN(Subprocess process, Subprocess::start(std::move(options)));
  while (!process.has_ended()) {
    if (cancel.cancelled()) {
      ::kill(process.pid(), SIGINT);
      for (milliseconds waited{0}; waited < kCancelGrace && !process.has_ended(); waited += kLook)
        std::this_thread::sleep_for(kLook);
      break;
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  TRY_ASSIGN(const SubprocessExit exit, process.wait(cancel));
  if (errors != nullptr) {
    for (std::string& one : program_errors(said)) errors->push_back(std::move(one));
    if (exit.status == 2) return Error(Errc::kTransient, std::string(trim(exit.error_text)));  // Connection lost.
    return {};
  }
  if (exit.ok()) return {};
  const auto found = program_errors(exit.error_text);
  if (!found.empty()) return explain_load_error(found.front());
  return Error(Errc::kInvalid, fmt::format("psql ended with status {}: {}", exit.status, trim(exit.error_text)));
}

SubprocessOptions load_program(const PgClientSet& client, std::string_view program, const PgEndpoint& endpoint) {
  SubprocessOptions options;
  options.program = client.path(program);
  point_to(endpoint, options);
  // Messages in English, as they are read here.
  options.environment.emplace_back("LC_MESSAGES", "C");
  options.unset.emplace_back("LC_ALL");
  options.unset.emplace_back("LANGUAGE");
  return options;
}

std::string object_in_script(const std::string& path, size_t line) {
  std::ifstream script(path);
  std::string object;
  std::string text;
  for (size_t at = 1; at <= line && std::getline(script, text); ++at) {
    // "-- Name: orders; Type: TABLE; Schema: shop; Owner: app", where a name may hold anything.
    if (!text.starts_with("-- Name: ")) continue;
    const size_t type = text.rfind("; Type: ");
    const size_t schema = text.rfind("; Schema: ");
    const size_t owner = text.rfind("; Owner: ");
    if (type == text.npos || schema == text.npos || owner == text.npos || !(type < schema && schema < owner)) continue;
    const std::string in = text.substr(schema + 10, owner - schema - 10);
    object = text.substr(type + 8, schema - type - 8) + " " + (in == "-" ? "" : in + ".") + text.substr(9, type - 9);
  }
  return object;
}

std::vector<std::string> program_errors(std::string_view text) {
  std::vector<std::string> errors;
  bool in_error = false;
  size_t kept_lines = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    std::string_view found;
    for (const std::string_view mark : {"ERROR:  ", "FATAL:  ", "PANIC:  ", "error: "})
      if (const size_t at = line.find(mark); at != line.npos && found.empty())
        found = mark == "error: " || mark == "ERROR:  " ? line.substr(at + mark.size()) : line.substr(at);
    const bool starts_other = line.find("WARNING:  ") != line.npos || line.find("NOTICE:  ") != line.npos ||
                              line.find("warning: ") != line.npos;
    if (!found.empty()) {
      const std::string object = object_of(line);
      errors.push_back((object.empty() ? "" : object + ": ") + std::string(trim(found)));
      in_error = true;
      kept_lines = 0;
    } else if (starts_other) {
      in_error = false;
    } else if (in_error && kept_lines < 4) {
      for (const std::string_view mark : {"DETAIL:  ", "HINT:  ", "CONTEXT:  "})
        if (line.starts_with(mark)) {
          errors.back() += fmt::format(" ({})", trim(line.substr(mark.size())));
          ++kept_lines;
        }
    }
  }
  return errors;
}

Error explain_load_error(const std::string& text) {
  const auto has = [&](std::string_view part) { return text.find(part) != text.npos; };
  Error error(Errc::kInvalid, text);
  if (has("permission denied") || has("must be owner") || has("must be superuser") || has("must be member") ||
      has("must be able to SET ROLE"))
    return std::move(error)
        .with_code(Errc::kPermission)
        .with_hint("load with a role that has the rights, or leave them out: --no-owner --no-acl");
  if (has("No space left on device") || has("could not extend file"))
    return std::move(error).with_code(Errc::kNoSpace).with_hint("make room on the server's disk");
  if (has("out of shared memory") || has("max_locks_per_transaction"))
    return std::move(error).with_hint("load with --no-single-transaction, or raise max_locks_per_transaction");
  if (has("already exists"))
    return std::move(error).with_hint("drop it first with --clean --if-exists, or load into another database");
  if (has("role \"") && has("does not exist"))
    return std::move(error).with_hint(
        "make roles first with --globals, rename them with --role-map=OLD:NEW, or load "
        "with --no-owner --no-acl");
  return error;
}

}  // namespace pgark
