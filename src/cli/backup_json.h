// What JSON output says of a backup, wherever it says it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "catalog/backup.h"

namespace pgark {

/// Members that `backup` and `info` share. docs/reference/json.md is the contract.
nlohmann::ordered_json backup_members(const BackupMeta& meta);

}  // namespace pgark
