// `pgark dump-verify`.
#include "cli/command.h"

namespace pgark {

Result<int> cmd_dump_verify(CommandContext&) { return Error(Errc::kUnsupported, "dump-verify is being written"); }

}  // namespace pgark
