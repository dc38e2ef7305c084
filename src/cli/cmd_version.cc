// `pgark version`.
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "core/version.h"

namespace pgark {

Result<int> cmd_version(CommandContext& context) {
  if (context.json()) {
    TRY(context.out.print_json({{"version", kVersion}}));
  } else {
    TRY(context.out.print(version_line() + "\n"));
  }
  return kExitOk;
}

}  // namespace pgark
