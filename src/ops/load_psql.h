// psql as load drives it: a session whose input is written piece by piece and answered for, and scripts from files.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/cancel.h"
#include "core/result.h"
#include "pgwire/pg_client.h"
#include "pgwire/pg_session.h"

namespace pgark {

/// One psql that reads statements and rows from this process. Nothing takes effect by its input ending early: whoever
/// writes rows begins a transaction first, and COMMIT is a statement like others.
class PsqlSession {
 public:
  static Result<PsqlSession> start(const PgClientSet& client, const PgEndpoint& endpoint, const CancelToken& cancel);
  PsqlSession(PsqlSession&&) noexcept;
  PsqlSession& operator=(PsqlSession&&) noexcept;
  /// What runs is cancelled on the server, as far as that is possible in a few seconds.
  ~PsqlSession();

  /// Errors: kInvalid with the server's words if a statement failed; kCancelled.
  Result<> write(Bytes data);
  Result<> write(std::string_view text) { return write(as_bytes(text)); }
  /// Have it read a script from a file; errors name the object that the script was about.
  Result<> write_file(const std::string& path);
  /// Wait until everything written so far was done.
  Result<> sync();
  /// sync(), then end it.
  Result<> finish();
  void abort();

 private:
  struct State;
  explicit PsqlSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Run a script from a file, which cannot be cut short by the end of this process.
/// Shape:  ends at the first error; with `errors` it goes on and adds them there.
/// Errors: kInvalid with the server's words.
Result<> run_psql_file(const PgClientSet& client, const PgEndpoint& endpoint, const std::string& path,
                       std::vector<std::string>* errors, const CancelToken& cancel);

/// Options that psql and pg_restore of `client` are started with to reach a database.
SubprocessOptions load_program(const PgClientSet& client, std::string_view program, const PgEndpoint& endpoint);

/// Errors among what psql or pg_restore said, each in one line with its DETAIL, HINT and CONTEXT; HINT last.
/// Shape:  where psql names a line of a script of pg_restore, the object that is made there goes first:
///         "TABLE a.t: ...".
std::vector<std::string> program_errors(std::string_view text);
/// The object that line `line` (from 1) of a script of pg_restore is about: "TABLE a.t"; empty if it cannot be told.
std::string object_in_script(const std::string& path, size_t line);

/// Pure: text of a failed load for which more is known: code and hints.
Error explain_load_error(const std::string& text);

}  // namespace pgark
