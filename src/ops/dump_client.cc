#include "ops/dump_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace pgark {
namespace {

constexpr size_t kWarningsMax = 200;
constexpr size_t kErrorLinesMax = 8;

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// The line without the program's name: "pg_dump: error: x" becomes "error: x".
std::string_view without_program(std::string_view line) {
  if (!line.starts_with("pg_dump")) return line;
  const size_t colon = line.find(": ");
  return colon == line.npos || colon > 12 ? line : line.substr(colon + 2);
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  while (text.starts_with(' ')) text.remove_prefix(1);
  return true;
}

/// What follows `before`, up to a quote that ends it: a table's name in "dumping contents of table "public.t"".
std::string quoted_after(std::string_view line, std::string_view before) {
  std::string_view rest = line.substr(before.size());
  if (!rest.starts_with('"') || rest.size() < 2) return std::string(rest);
  rest.remove_prefix(1);
  return std::string(rest.substr(0, rest.rfind('"')));
}

/// What the versions up to 11, that do not mark errors, say when something is wrong.
bool looks_like_error(std::string_view text) {
  for (const std::string_view sign : {"ERROR:", "FATAL:", "PANIC:", "[archiver", "could not ", "failed", "invalid ",
                                      "must be ", "not found", "no matching ", "aborting", "unrecognized option",
                                      "cannot ", "out of memory", "Error message from server", "options "})
    if (contains(text, sign)) return true;
  return false;
}

/// A kind of failure by its words, what the caller may do, and the next step.
struct KnownFailure {
  std::string_view sign;
  Errc code;
  std::string_view hint;
};
constexpr std::array kKnown = std::to_array<KnownFailure>({
    {"row-level security policy", Errc::kPermission,
     "the role would see only some of the rows: use one with BYPASSRLS (ALTER ROLE ... BYPASSRLS), or dump what it "
     "sees "
     "with --enable-row-security"},
    {"permission denied for large object", Errc::kPermission,
     "GRANT SELECT ON LARGE OBJECT ... TO the role, dump as their owner, or leave them out with --no-large-objects"},
    {"permission denied for", Errc::kPermission,
     "GRANT pg_read_all_data TO the role (PostgreSQL 14 and later), or GRANT USAGE on the schema and SELECT on its "
     "tables and sequences, or leave it out with --exclude-table or --exclude-schema"},
    {"server version mismatch", Errc::kUnsupported,
     "install the client programs of the server's version (package postgresql-client-N), or name their directory with "
     "client-path"},
    {"due to conflict with recovery", Errc::kTransient,
     "on a standby: raise max_standby_streaming_delay, or set hot_standby_feedback = on, or dump the primary"},
    {"due to lock timeout", Errc::kTransient,
     "another transaction holds a table: raise or leave out --lock-wait-timeout, or look into pg_locks"},
    {"due to statement timeout", Errc::kTransient,
     "the role or database sets statement_timeout: ALTER ROLE ... SET statement_timeout = 0"},
    {"max_locks_per_transaction", Errc::kInvalid,
     "raise max_locks_per_transaction of the server, or dump with --split=schema"},
    {"No space left on device", Errc::kNoSpace, "make room in spool-path, or lower dump-spool-max"},
    {"invalid snapshot identifier", Errc::kTransient,
     "the session that held the dump's snapshot was lost: look for limits on sessions "
     "(idle_in_transaction_session_timeout,"
     " transaction_timeout, a pooler), and dump without a pooler between"},
    {"could not import the requested snapshot", Errc::kTransient,
     "the session that held the dump's snapshot was lost: look for limits on sessions, and dump without a pooler"},
    {"unrecognized option", Errc::kUnsupported,
     "this version of pg_dump does not know the option: leave it out, or name newer client programs with client-path"},
    {"unknown option", Errc::kUnsupported,
     "this version of pg_dump does not know the option: leave it out, or name newer client programs with client-path"},
    {"no matching ", Errc::kInvalid, "check the patterns: names in upper case or with special characters need quotes"},
    {"no password supplied", Errc::kPermission,
     "put the password into the file that PGPASSFILE names (default ~/.pgpass), mode 0600"},
    {"password authentication failed", Errc::kPermission,
     "check the password in the file that PGPASSFILE names (default ~/.pgpass)"},
    {"too many clients", Errc::kTransient, "lower jobs, or raise max_connections of the server"},
    {"remaining connection slots", Errc::kTransient, "lower jobs, or raise max_connections of the server"},
    {"server closed the connection", Errc::kTransient, "look into the server's log, and try again"},
    {"could not connect", Errc::kTransient, "check that the server takes connections"},
    {"missing chunk number", Errc::kInvalid,
     "the table is damaged: restore it from a backup ('pgark verify' tells which are whole)"},
    {"invalid page in block", Errc::kInvalid,
     "the table is damaged: restore it from a backup ('pgark verify' tells which are whole)"},
    {"could not read block", Errc::kInvalid,
     "the table is damaged: restore it from a backup ('pgark verify' tells which are whole)"},
});

}  // namespace

void DumpMessages::add(std::string_view line) {
  const std::string_view text = without_program(line);
  constexpr std::string_view kBegins = "dumping contents of table ";
  constexpr std::string_view kFinished = "finished item ";
  if (text.starts_with(kBegins)) {
    if (on_table_) on_table_(quoted_after(text, kBegins), false);
    return;
  }
  if (text.starts_with(kFinished)) {
    // "finished item 3456 TABLE DATA orders": the schema is not told.
    constexpr std::string_view kData = " TABLE DATA ";
    if (const size_t at = text.find(kData); at != text.npos && on_table_)
      on_table_(std::string(text.substr(at + kData.size())), true);
    return;
  }
  std::string_view rest = text;
  const MutexLock lock(mu_);
  const auto add_error = [&]() REQUIRES(mu_) {
    last_ = Last::kError;
    if (errors_.size() < kErrorLinesMax) errors_.emplace_back(rest);
  };
  if (take_prefix(rest, "warning:") || take_prefix(rest, "WARNING:")) {
    last_ = Last::kWarning;
    if (warnings_.size() < kWarningsMax) warnings_.emplace_back(rest);
  } else if (take_prefix(rest, "error:")) {
    add_error();
  } else if (take_prefix(rest, "detail:") || take_prefix(rest, "hint:")) {
    if (last_ == Last::kWarning && !warnings_.empty()) warnings_.back() += ": " + std::string(rest);
    if (last_ == Last::kError) add_error();
  } else if (looks_like_error(text) || (last_ == Last::kError && text.data() == line.data())) {
    // Without the program's name at its front it goes on with what was said before.
    add_error();
  } else if (text.data() != line.data()) {
    last_ = Last::kOther;
  }
}

std::vector<std::string> DumpMessages::warnings() const {
  const MutexLock lock(mu_);
  return warnings_;
}

std::string DumpMessages::error() const {
  const MutexLock lock(mu_);
  return fmt::format("{}", fmt::join(errors_, "; "));
}

SubprocessOptions dump_program(const DumpRequest& request, const PgClientSet& client, std::string_view program,
                               const std::string& database, DumpMessages& messages) {
  SubprocessOptions options;
  options.program = client.path(program);
  options.arguments = {"--no-password"};  // Never wait for a terminal.
  PgEndpoint endpoint = request.server;
  endpoint.database = database;
  point_to(endpoint, options);
  options.environment.emplace_back("LC_ALL", "C");
  options.on_error_line = [&messages](std::string_view line) { messages.add(line); };
  return options;
}

Error explain_dump_error(std::string_view program, std::string_view text) {
  std::string message = fmt::format("run {}: {}", program, text);
  for (const KnownFailure& known : kKnown)
    if (contains(text, known.sign)) return Error(known.code, std::move(message)).with_hint(std::string(known.hint));
  return Error(Errc::kInvalid, std::move(message));
}

Error dump_program_error(std::string_view program, const PgClientSet& client, const SubprocessExit& exit,
                         const DumpMessages& messages) {
  std::string text = messages.error();
  if (text.empty() && exit.signal != 0) text = fmt::format("ended by signal {}", exit.signal);
  if (text.empty()) {
    std::string_view said = exit.error_text;
    while (said.ends_with('\n')) said.remove_suffix(1);
    said = said.substr(said.rfind('\n') + 1);
    text = fmt::format("ended with exit status {}{}{}", exit.status, said.empty() ? "" : ": ", said);
  }
  return explain_dump_error(fmt::format("{} {}", program, client.major), text);
}

}  // namespace pgark
