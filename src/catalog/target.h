// Where a restore stops, and which backup it starts from: pure functions over the catalog.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "core/clock.h"
#include "core/ids.h"
#include "pg/timeline_history.h"

namespace pgark {

enum class TargetKind : uint8_t { kDefault, kImmediate, kTime, kXid, kLsn, kName, kStandby, kPreserve, kNone };
std::string_view target_kind_name(TargetKind kind);  // As --type takes it.

struct RestoreTarget {
  TargetKind kind = TargetKind::kDefault;
  std::string text;  // As given with --target.
  Timestamp time{};  // kTime
  Lsn lsn;           // kLsn
  bool exclusive = false;
};

/// Read --type and --target. A time without a zone is read in the machine's zone.
/// Shape:  "2026-11-22 10:15[:00[.ffffff]][+HH[[:]MM]|Z| UTC]", also with 'T'; a date alone is refused, as it is never
///         meant; `exclusive` goes with time, xid and lsn only.
/// Errors: kInvalid, saying what is allowed; for a local time that the zone has twice or not at all, its possible
///         readings.
Result<RestoreTarget> parse_restore_target(std::string_view type, std::string_view target, bool exclusive);

/// "2026-11-22 10:15:00.000000+00", which PostgreSQL reads alike in every time zone, and the same in local time:
/// "2026-11-22 11:15:00 CET", with microseconds if there are any.
std::string format_timestamp_utc(Timestamp time);
std::string format_timestamp_local(Timestamp time);

/// The target for messages: "time 2026-11-22 10:15:00.000000+00 (2026-11-22 11:15:00 CET)", "lsn 0/12000028", ...
std::string describe_target(const RestoreTarget& target);

/// Which timelines there are and which one recovery is to follow.
struct TimelineChoice {
  std::string timeline;  // --target-timeline: "latest" (also empty), "current", a number, hexadecimal after "0x".
  std::vector<pg::TimelineHistory> histories;  // Those that have a history file in the repository.
};
/// Errors: kInvalid unless `text` is one of the values of TimelineChoice::timeline.
Result<> check_target_timeline(std::string_view text);

struct BackupChoice {
  BackupMeta backup;
  TimelineId timeline;  // Recovery ends on it, or on a new one that begins there.
};

/// The newest backup from which the target can be reached: for a time one that stopped at or before it, for an LSN one
/// whose stop LSN is at or before it, else the newest; always one that lies on the way to the timeline asked for. With
/// `set` the backup of that label, held to the same.
/// Errors: kInvalid naming the target and the reachable range; kNotFound if there is no backup, no such set or no such
///         timeline.
Result<BackupChoice> choose_backup(const std::vector<BackupMeta>& backups, const RestoreTarget& target,
                                   const std::optional<std::string>& set, const TimelineChoice& timelines = {});

}  // namespace pgark
