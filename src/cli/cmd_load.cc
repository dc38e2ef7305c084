// `pgark load`.
#include "cli/command.h"

namespace pgark {

Result<int> cmd_load(CommandContext&) { return Error(Errc::kUnsupported, "load is being written"); }

}  // namespace pgark
