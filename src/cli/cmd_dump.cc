// `pgark dump`.
#include "cli/command.h"

namespace pgark {

Result<int> cmd_dump(CommandContext&) { return Error(Errc::kUnsupported, "dump is being written"); }

}  // namespace pgark
