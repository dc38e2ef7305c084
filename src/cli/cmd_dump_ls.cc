// `pgark dump-ls`.
#include "cli/command.h"

namespace pgark {

Result<int> cmd_dump_ls(CommandContext&) { return Error(Errc::kUnsupported, "dump-ls is being written"); }

}  // namespace pgark
