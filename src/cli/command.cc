#include "cli/command.h"

#include <fmt/format.h>
#include <signal.h>

#include <exception>

#include "cli/stop_files.h"
#include "core/check.h"
#include "core/log.h"
#include "core/version.h"

namespace pgark {
namespace {

/// What a failure is worth outside archive-get; 2 and up, so that 1 stays "no".
int base_exit_code(Errc code) {
  switch (code) {
    case Errc::kInvalid:
      return 2;
    case Errc::kNotFound:
      return 3;
    case Errc::kAlreadyExists:
      return 4;
    case Errc::kCorrupt:
      return 5;
    case Errc::kTransient:
      return 6;
    case Errc::kOutcomeUnknown:
      return 7;
    case Errc::kPermission:
      return 8;
    case Errc::kNoSpace:
      return 9;
    case Errc::kUnsupported:
      return 10;
    case Errc::kInternal:
      return 11;
    case Errc::kCancelled:
      return 12;
  }
  return 11;
}

/// Third-party code may throw; ours does not.
Result<int> call_guarded(CommandFunction function, CommandContext& context) {
  try {
    return function(context);
  } catch (const std::exception& failure) {
    return Error(Errc::kInternal, fmt::format("unexpected exception: {}", failure.what()));
  } catch (...) {
    return Error(Errc::kInternal, "unexpected exception");
  }
}

}  // namespace

CommandFunction command_function(Command command) {
  switch (command) {
    case Command::kAnnotate:
      return cmd_annotate;
    case Command::kArchiveGet:
      return cmd_archive_get;
    case Command::kArchiveHeal:
      return cmd_archive_heal;
    case Command::kArchivePush:
      return cmd_archive_push;
    case Command::kBackup:
      return cmd_backup;
    case Command::kCheck:
      return cmd_check;
    case Command::kDump:
      return cmd_dump;
    case Command::kDumpExpire:
      return cmd_dump_expire;
    case Command::kDumpGet:
      return cmd_dump_get;
    case Command::kDumpLs:
      return cmd_dump_ls;
    case Command::kDumpVerify:
      return cmd_dump_verify;
    case Command::kExpire:
      return cmd_expire;
    case Command::kHelp:
      return cmd_help;
    case Command::kHold:
      return cmd_hold;
    case Command::kInfo:
      return cmd_info;
    case Command::kKey:
      return cmd_key;
    case Command::kLoad:
      return cmd_load;
    case Command::kRepoCheck:
      return cmd_repo_check;
    case Command::kRepoCopy:
      return cmd_repo_copy;
    case Command::kRepoGet:
      return cmd_repo_get;
    case Command::kRepoLs:
      return cmd_repo_ls;
    case Command::kRepoPut:
      return cmd_repo_put;
    case Command::kRepoRm:
      return cmd_repo_rm;
    case Command::kRestore:
      return cmd_restore;
    case Command::kStanzaCreate:
      return cmd_stanza_create;
    case Command::kStanzaDelete:
      return cmd_stanza_delete;
    case Command::kStart:
      return cmd_start;
    case Command::kStop:
      return cmd_stop;
    case Command::kTimeline:
      return cmd_timeline;
    case Command::kVerify:
      return cmd_verify;
    case Command::kVersion:
      return cmd_version;
  }
  CHECK(false);
  return nullptr;
}

Result<int> run_command(CommandContext& context) {
  const Settings& settings = context.settings;
  const CommandSpec& spec = command_spec(settings.command());
  const bool quiet = spec.id == Command::kHelp || spec.id == Command::kVersion;
  if (quiet) return call_guarded(command_function(spec.id), context);
  const auto began = context.clock.steady();
  log_info("{} command begin {}: {}", spec.name, kVersion, settings.dump());
  if (spec.stoppable) TRY(check_not_stopped(settings.text("lock-path"), settings.stanza()));
  Result<int> result = call_guarded(command_function(spec.id), context);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(context.clock.steady() - began);
  if (!result.has_value()) {
    log_info("{} command end: failed ({})", spec.name, format_duration(took));
  } else {
    log_info("{} command end: exit code {} ({})", spec.name, *result, format_duration(took));
  }
  return result;
}

int exit_code_of(std::string_view command, Errc code, int signal) {
  const int base = base_exit_code(code);
  // PostgreSQL takes 1 to 125 of restore_command for "no such file", and 143 for a shutdown request of its own.
  if (command == "archive-get") {
    return code == Errc::kCancelled && signal != 0 ? 128 + signal : 200 + base;
  }
  // Above 125 the archiver process itself would end.
  if (command == "archive-push") return base;
  return code == Errc::kCancelled && signal != 0 ? 128 + signal : base;
}

std::string version_line() { return fmt::format("pgark {}", kVersion); }

}  // namespace pgark
