// The target of a restore, resolved against the repository before a byte is copied.
#pragma once

#include <string>
#include <vector>

#include "catalog/recovery_plan.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/restore.h"
#include "pg/recovery_settings.h"
#include "repo/repository.h"

namespace pgark {

/// Plan the recovery of a restore, from the backups of the newest cluster of the stanza (that of `request.set` if one
/// is named) and its archived WAL. Nothing is written. Errors: those of plan_recovery(); kInvalid for a time in the
/// future; kNotFound if the stanza has no backup;
///         kUnsupported for what the backup's version does not offer; of the store.
/// Backups that cannot be read are passed over; their labels go into `unreadable`.
Result<RecoveryPlan> plan_restore_target(const Repository& repository, const std::string& stanza,
                                         const RestoreRequest& request, Clock& clock,
                                         std::vector<std::string>* unreadable = nullptr);

/// The settings that make a server do what was planned, checked and rendered for its version.
/// Errors: kInvalid, kUnsupported.
Result<pg::RecoveryFiles> recovery_files_of(const RestoreRequest& request, const RecoveryPlan& plan);

}  // namespace pgark
