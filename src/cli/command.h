// The commands of pgark: what each one is given, and the table that runs them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/option_table.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/progress.h"
#include "core/result.h"
#include "store/object_store.h"

namespace pgark {

/// Open repository `repo` (1, ...) as the settings say, with its decorators. Given by app/main.cc, the only place that
/// names concrete stores. `create`: the repository's directory may be made (stanza-create); else it has to exist.
using StoreFactory = std::function<Result<std::unique_ptr<ObjectStore>>(unsigned repo, bool create)>;

struct CommandContext {
  const Settings& settings;
  CancelToken& cancel;  // Cancelled by SIGINT and SIGTERM.
  Clock& clock;
  Rng& rng;
  Output& out;  // Standard output: results only.
  StoreFactory open_store;
  std::string program;  // Absolute path of this executable, for restore_command and hints.

  bool json() const { return settings.text("output") == "json"; }
};

/// Exit code 0, or 1 for a negative answer that is no failure: archive-get "absent", check "problems found".
inline constexpr int kExitOk = 0;
inline constexpr int kExitNegative = 1;

/// A command returns its exit code; an error becomes message and exit code as exit_code_of() says.
using CommandFunction = Result<int> (*)(CommandContext&);

// One file each: src/cli/cmd_<name>.cc.
Result<int> cmd_annotate(CommandContext& context);
Result<int> cmd_archive_get(CommandContext& context);
Result<int> cmd_archive_heal(CommandContext& context);
Result<int> cmd_archive_push(CommandContext& context);
Result<int> cmd_backup(CommandContext& context);
Result<int> cmd_check(CommandContext& context);
Result<int> cmd_dump(CommandContext& context);
Result<int> cmd_dump_expire(CommandContext& context);
Result<int> cmd_dump_get(CommandContext& context);
Result<int> cmd_dump_ls(CommandContext& context);
Result<int> cmd_dump_verify(CommandContext& context);
Result<int> cmd_expire(CommandContext& context);
Result<int> cmd_help(CommandContext& context);
Result<int> cmd_hold(CommandContext& context);
Result<int> cmd_info(CommandContext& context);
Result<int> cmd_key(CommandContext& context);
Result<int> cmd_load(CommandContext& context);
Result<int> cmd_repo_check(CommandContext& context);
Result<int> cmd_repo_copy(CommandContext& context);
Result<int> cmd_repo_get(CommandContext& context);
Result<int> cmd_repo_ls(CommandContext& context);
Result<int> cmd_repo_put(CommandContext& context);
Result<int> cmd_repo_rm(CommandContext& context);
Result<int> cmd_restore(CommandContext& context);
Result<int> cmd_stanza_create(CommandContext& context);
Result<int> cmd_stanza_delete(CommandContext& context);
Result<int> cmd_start(CommandContext& context);
Result<int> cmd_stop(CommandContext& context);
Result<int> cmd_timeline(CommandContext& context);
Result<int> cmd_verify(CommandContext& context);
Result<int> cmd_version(CommandContext& context);

CommandFunction command_function(Command command);

/// Check the stop file where the command is stoppable, then run it. Logs begin and end.
Result<int> run_command(CommandContext& context);

/// Exit code of a failed command: the stable contract of docs/reference/errors.md. `signal` is the one that cancelled
/// the run, 0 if none did. `command` as a user wrote it, because a wrong command line has to follow the same rules.
int exit_code_of(std::string_view command, Errc code, int signal);

/// "pgark 0.1.0".
std::string version_line();

}  // namespace pgark
