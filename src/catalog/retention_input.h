// The backups of a repository as the decision on retention sees them.
#pragma once

#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/retention.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// Whether every segment the backup needs to become consistent is in the archive: one listing.
Result<bool> is_wal_of_backup_there(const Repository& repository, const std::string& stanza, const BackupMeta& meta);

/// What decide_retention() takes: `listed` with holds and whether each backup can be restored: its WAL is there, and
/// verify has not found it damaged.
/// Shape:  listings of WAL follow the number of segments there or of backups, whichever is less, not their product.
/// Errors: of the store; of read_holds().
Result<std::vector<RetentionBackup>> read_retention_backups(const Repository& repository, const std::string& stanza,
                                                            const std::vector<ListedBackup>& listed);

}  // namespace pgark
