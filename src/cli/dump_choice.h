// The dump that --set names, for the commands that read one.
#pragma once

#include <memory>
#include <vector>

#include "catalog/dump.h"
#include "cli/access.h"
#include "cli/command.h"
#include "ops/dump_store.h"

namespace pgark {

struct ChosenDump {
  Dump dump;
  unsigned repo = 1;                           // Where the manifest was read.
  std::vector<OpenedRepository> repositories;  // That one first, then others that can be opened.
  std::unique_ptr<DumpReader> reader;          // Of all of them.
  const Repository& repository() const { return *repositories.front().repository; }
};

/// Find the dump of --set (latest: the newest that is in any of them) in the repository chosen with --repo, or in all
/// that are configured. `alone`: its bytes shall come from the repository with the manifest and no other.
/// Errors: kNotFound with what to do; of the first repository, if none can be opened or read.
Result<ChosenDump> choose_dump(const CommandContext& context, bool alone = false);

}  // namespace pgark
