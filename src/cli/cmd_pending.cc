// Commands that are registered and not written yet. Whoever adds cmd_<name>.cc deletes its line here.
#include <fmt/format.h>

#include "cli/command.h"

namespace pgark {
namespace {

Result<int> pending(const CommandContext& context) {
  return Error(Errc::kUnsupported,
               fmt::format("command {} is not provided in this version", context.settings.command_name()));
}

}  // namespace

Result<int> cmd_annotate(CommandContext& context) { return pending(context); }
Result<int> cmd_archive_get(CommandContext& context) { return pending(context); }
Result<int> cmd_archive_push(CommandContext& context) { return pending(context); }
Result<int> cmd_backup(CommandContext& context) { return pending(context); }
Result<int> cmd_check(CommandContext& context) { return pending(context); }
Result<int> cmd_info(CommandContext& context) { return pending(context); }
Result<int> cmd_restore(CommandContext& context) { return pending(context); }
Result<int> cmd_stanza_create(CommandContext& context) { return pending(context); }
Result<int> cmd_stanza_delete(CommandContext& context) { return pending(context); }

}  // namespace pgark
