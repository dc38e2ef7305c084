// `pgark archive-get %f %p`: the restore_command of a server in recovery.
#include <fmt/format.h>

#include <filesystem>

#include "cli/access.h"
#include "cli/command.h"
#include "core/log.h"
#include "ops/archive_get.h"

namespace pgark {

Result<int> cmd_archive_get(CommandContext& context) {
  const Settings& settings = context.settings;
  std::error_code error;
  // PostgreSQL runs the command in the data directory, and %p is relative to it.
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) return Error(Errc::kInvalid, fmt::format("find the current directory: {}", error.message()));
  ArchiveGetOptions options;
  options.stanza = settings.stanza();
  options.name = settings.arguments()[0];
  options.destination = here / settings.arguments()[1];
  const bool in_data_directory = std::filesystem::exists(here / "global/pg_control", error);
  options.data_directory = in_data_directory ? here.string() : settings.text("pg1-path");

  options.threads = static_cast<unsigned>(settings.integer("process-max"));
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context));
  TRY_ASSIGN(const auto outcome, archive_get(*opened.repository, context.clock, options));
  if (outcome == ArchiveGetOutcome::kAbsent) {
    log_info("{} is not in the archive", options.name);
    return kExitNegative;
  }
  log_info("fetched {}", options.name);
  return kExitOk;
}

}  // namespace pgark
