// What the options of `pgark dump` ask for.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "ops/dump.h"

namespace pgark {

/// The options that pg_dump gets as they are, as its words: "--schema=tenant_42", "--no-owner". `selecting`: only those
/// that choose a part.
std::vector<std::string> passed_dump_arguments(const Settings& settings, bool selecting);

/// The request, without clients, hooks and what a run finds out.
Result<DumpRequest> dump_request(const CommandContext& context);

}  // namespace pgark
