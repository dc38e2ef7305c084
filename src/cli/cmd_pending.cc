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


}  // namespace pgark
