// Which backups are kept, and why: one pure function over the catalog. What expire does follows from it alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "core/clock.h"
#include "core/result.h"

namespace pgark {

/// Rules of one repository (repoN-retention-...). Absent: that rule keeps nothing; with no rule at all everything is
/// kept. A backup is kept if any rule, a hold or a safeguard keeps it.
struct RetentionRules {
  enum class FullType : uint8_t { kCount, kTime };
  std::optional<uint32_t> full;  // Number of fulls, or days.
  FullType full_type = FullType::kCount;
  std::optional<uint32_t> diff;
  std::optional<uint32_t> archive;  // Backups of `archive_type` whose WAL is kept on past their end.
  BackupType archive_type = BackupType::kFull;
  std::optional<uint32_t> daily;  // The last backup of each of that many days, weeks, ... that have one.
  std::optional<uint32_t> weekly;
  std::optional<uint32_t> monthly;
  std::optional<uint32_t> yearly;
  uint32_t minimum = 1;   // Restorable backups that no rule may take away.
  std::string time_zone;  // IANA name in which days begin; empty: that of the machine.

  bool periods() const { return daily || weekly || monthly || yearly; }
  bool any() const { return full || diff || periods(); }
};

/// A backup as the decision sees it.
struct RetentionBackup {
  std::string label;
  BackupType type = BackupType::kFull;
  std::string prior_label;
  Timestamp stopped{};
  bool readable = true;    // If not, only `label` and `type` are known, and it is kept.
  bool restorable = true;  // Readable, and its own WAL is there.
  uint64_t bad_page_count = 0;
  bool drilled = false;                 // The last restore test of it passed.
  std::optional<Timestamp> hold_until;  // Of its hold; Timestamp::max(): until released.
};

/// One reason to keep or drop a backup. `rule` is a stable name for programs: retention-full, retention-diff, daily,
/// weekly, monthly, yearly, hold, minimum, "last restorable", "last drill", "last clean copy", unreadable,
/// "no retention"; none (of a backup that goes because no rule keeps it).
struct RetentionReason {
  std::string rule;
  std::string text;  // For people: "last backup of 2026-11-22 (day 1 of 14)".
};
struct RetentionDecision {
  std::string label;
  bool keep = true;
  std::vector<RetentionReason> reasons;  // All that keep it; if dropped: one that says which rule let it go.
};

/// Decide for every backup. docs/guide/retention.md says what each rule means.
/// Shape:  `backups` in the order of their labels (the order in which they were made, whatever the clocks said). Pure:
///         `now`, the rules and the time zone database are all it knows. A backup that cannot be restored takes the
///         place of no other: it is kept beside the one that counts.
/// Errors: kInvalid if the time zone is not known.
Result<std::vector<RetentionDecision>> decide_retention(const RetentionRules& rules,
                                                        const std::vector<RetentionBackup>& backups, Timestamp now);

/// The oldest backup from whose start on WAL is kept whole: that of `archive` and `archive_type`, by default (as
/// pgBackRest has it) every one that is kept. Older ones keep only what they need to become consistent.
/// Shape:  `kept` in the order of their labels; the result is an index, or none if `kept` is empty.
std::optional<size_t> first_with_whole_wal(const RetentionRules& rules, const std::vector<RetentionBackup>& kept);

}  // namespace pgark
