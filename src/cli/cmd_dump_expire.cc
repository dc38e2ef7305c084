// `pgark dump-expire`.
#include "cli/command.h"

namespace pgark {

Result<int> cmd_dump_expire(CommandContext&) { return Error(Errc::kUnsupported, "dump-expire is being written"); }

}  // namespace pgark
