// `pgark dump-get`.
#include "cli/command.h"

namespace pgark {

Result<int> cmd_dump_get(CommandContext&) { return Error(Errc::kUnsupported, "dump-get is being written"); }

}  // namespace pgark
