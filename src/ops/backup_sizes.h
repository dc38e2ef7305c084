// How much of the repository each backup needs, and how much it alone needs: from the pack tables of all manifests.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "catalog/pack_tables.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// Stored bytes of packs.
struct BackupSizes {
  uint64_t repository_bytes = 0;  // Packs a restore reads from.
  uint64_t unique_bytes = 0;      // Of them: named by no other backup, so freed if this one alone goes.
  uint64_t shared_bytes() const { return repository_bytes - unique_bytes; }
  bool operator==(const BackupSizes&) const = default;
};

/// Sizes by label of those of `labels`, which are all backups of the stanza, whose manifest can be read.
/// Shape:  one listing of the packs, and one small read for each manifest whose pack table is not `known`. A pack that
///         is missing counts nothing. Memory follows the number of packs, not that of packs times backups.
/// Errors: of the store; damage of a manifest leaves it out.
Result<std::map<std::string, BackupSizes>> backup_sizes(const Repository& repository, const std::string& stanza,
                                                        const std::vector<std::string>& labels,
                                                        const PackTables& known = {});

}  // namespace pgark
