// `pgark start`: take the stop file away.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/stop_files.h"
#include "core/log.h"

namespace pgark {

Result<int> cmd_start(CommandContext& context) {
  const std::string& stanza = context.settings.stanza();
  const std::string& lock_path = context.settings.text("lock-path");
  const std::string path = stop_file_path(lock_path, stanza);
  const bool was_stopped = ::unlink(path.c_str()) == 0;
  if (!was_stopped && errno != ENOENT) return errno_error(errno, "remove stop file '" + path + "'");
  if (!was_stopped) log_warn("{} was not stopped", stanza.empty() ? "pgark" : "stanza " + stanza);
  if (!stanza.empty()) {
    TRY_ASSIGN(const bool all, stop_file_exists(lock_path, ""));
    if (all) log_warn("all stanzas are still stopped: run 'pgark start' without --stanza");
  }
  if (context.json()) {
    TRY(context.out.print_json(
        {{"stanza", stanza.empty() ? nlohmann::json() : nlohmann::json(stanza)}, {"was_stopped", was_stopped}}));
  }
  return kExitOk;
}

}  // namespace pgark
