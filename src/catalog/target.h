// Where a restore stops, as the user says it: reading and printing of targets and times.
#pragma once

#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

namespace pgark {

enum class TargetKind : uint8_t { kDefault, kImmediate, kTime, kXid, kLsn, kName, kStandby, kPreserve, kNone };
std::string_view target_kind_name(TargetKind kind);  // As --type takes it.

struct RestoreTarget {
  TargetKind kind = TargetKind::kDefault;
  std::string text;  // As given with --target.
  Timestamp time{};  // kTime
  Lsn lsn;           // kLsn
  Xid xid;           // kXid; without the epoch, which WAL does not have.
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
/// Both: "2026-11-22 10:15:00.000000+00 (2026-11-22 11:15:00 CET)".
std::string format_timestamp_both(Timestamp time);

/// The target for messages: "time 2026-11-22 10:15:00.000000+00 (2026-11-22 11:15:00 CET)", "lsn 0/12000028", ...
std::string describe_target(const RestoreTarget& target);

/// Which timeline recovery is to follow.
struct TimelineWish {
  enum class Kind : uint8_t {
    kLatest,   // The newest that a chain of histories without a gap leads to, as the server finds it.
    kCurrent,  // The one the backup was made on.
    kNumber,
  };
  Kind kind = Kind::kLatest;
  TimelineId number;  // kNumber
};
/// Read --target-timeline: "latest" (also empty), "current", a number, hexadecimal after "0x".
/// Errors: kInvalid, saying what is allowed.
Result<TimelineWish> parse_timeline_wish(std::string_view text);

}  // namespace pgark
