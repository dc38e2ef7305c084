// The end of a restore: labels, recovery settings, modes and owners of directories, and the moment the cluster becomes
// startable.
#pragma once

#include <string>
#include <string_view>

#include "ops/restore_copy.h"
#include "ops/restore_places.h"
#include "ops/restore_plan.h"
#include "pg/recovery_settings.h"

namespace pgark {

/// Write backup_label, tablespace_map and the recovery settings. `sync_files`: each is made durable by itself; else the
/// sync of commit_restore() does it.
Result<> write_recovery_files(const RestorePlan& plan, const RestoreRequest& request, const pg::RecoveryFiles& files,
                              bool sync_files, OwnerTable& owners);

/// Give directories and links their modes and owners.
Result<> finish_directories(const RestorePlan& plan, OwnerTable& owners);

/// Make everything durable, then put pg_control in its place, durably, and take the marker away.
Result<> commit_restore(const RestorePlan& plan, const SyncSet& sync, RestoreMarker& marker);

/// postgresql.auto.conf without what an earlier restore wrote: the marked block, and recovery targets that ALTER SYSTEM
/// kept after it had dropped the marks.
std::string strip_restore_settings(std::string_view content);
/// `lines` between the marks that strip_restore_settings() knows.
std::string marked_block(std::string_view lines, std::string_view label);

}  // namespace pgark
