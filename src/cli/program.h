// A whole run of pgark, from the words of the command line to the exit code, without what only the process has:
// signals, standard streams, concrete stores.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/command.h"

namespace pgark {

struct Program {
  SettingsInput input;
  Output& out;
  Output& err;
  CancelToken& cancel;
  Clock& clock;
  std::function<int()> received_signal;  // 0: none.
  std::function<Result<std::unique_ptr<ObjectStore>>(const Settings& settings, unsigned repo, bool create)> open_store;
  std::string executable;  // Absolute path.
};

/// Resolve settings, set up logging, run the command, report its error; the exit code of the process.
int run_program(const Program& program);

/// Tell the user of an error: "ERROR [not_found]: ..." and "HINT: ..." lines on `err` and in the log file, with `json`
/// also {"error": {"code", "message", "hints"}} on `out`.
void report_error(const Error& error, bool json, Output& out, Output& err);

}  // namespace pgark
