// Where a restore stops, and which backup it starts from: pure functions over the catalog.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "core/clock.h"
#include "core/ids.h"

namespace pgark {

enum class TargetKind : uint8_t { kDefault, kImmediate, kTime, kXid, kLsn, kName, kStandby, kPreserve, kNone };

struct RestoreTarget {
  TargetKind kind = TargetKind::kDefault;
  std::string text;   // As given with --target.
  Timestamp time{};   // kTime
  Lsn lsn;            // kLsn
  bool exclusive = false;
};

/// Read --type and --target. A time without a zone is read in the machine's zone.
/// Shape:  "2026-11-22 10:15:00[.ffffff][+HH[:MM]|Z| UTC]", also with 'T'; a date alone is refused, as it is never meant.
/// Errors: kInvalid, saying what is allowed.
Result<RestoreTarget> parse_restore_target(std::string_view type, std::string_view target, bool exclusive);

/// "2026-11-22 10:15:00.000000+00" and the same in local time: "2026-11-22 11:15:00 CET".
std::string format_utc(Timestamp time);
std::string format_local(Timestamp time);

/// The newest backup from which the target can be reached: for a time one that stopped at or before it, for an LSN one whose
/// stop LSN is at or before it, else the newest; or the one named by `set`, checked the same way.
/// Errors: kInvalid naming the target and the reachable range; kNotFound if there is no backup or no such set.
Result<BackupMeta> choose_backup(const std::vector<BackupMeta>& backups, const RestoreTarget& target,
                                 const std::optional<std::string>& set);

}  // namespace pgark
