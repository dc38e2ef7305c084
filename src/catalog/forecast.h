// Will the destination of backups have room for what retention keeps: a projection from what backups and WAL took so
// far. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/retention.h"
#include "core/clock.h"

namespace pgark {

struct SpaceHistory {
  std::vector<BackupMeta> backups;  // Of the stanza, in the order in which they were made.
  uint64_t wal_bytes = 0;           // Stored WAL, all of it.
  uint64_t wal_bytes_per_day = 0;   // As stored.
  Timestamp now{};
  std::map<std::string, Timestamp> holds;  // Until when, by label.
};

struct SpaceForecast {
  uint64_t next_full_bytes = 0;       // That the next full backup will store; 0: no full backup to tell it by.
  uint64_t backup_bytes_per_day = 0;  // Stored by backups, fulls spread over the days between them; 0 if not known.
  uint64_t wal_bytes_per_day = 0;
  /// Whether there is history enough to look ahead. What follows is meaningless if not.
  bool projected = false;
  /// Days until the free space is used up under the rules; none: not within the horizon.
  std::optional<uint32_t> full_in_days;
  uint64_t growth_bytes_max = 0;  // The most that is added to what is stored now, within the horizon or until then.
  uint32_t horizon_days = 0;
};

/// Look ahead, a day at a time: backups go on as often and as large as so far, each day's WAL is added, and what the
/// rules no longer keep goes, by decide_retention() itself.
/// Shape:  a backup is taken to need all that the backups it builds on stored. There is no projection from less than
/// three
///         days of backups, nor, where only full backups that are made make others go, from a single full unless it is
///         so old that no other seems to follow.
/// Errors: as decide_retention().
Result<SpaceForecast> forecast_space(const SpaceHistory& history, const RetentionRules& rules, uint64_t free_bytes,
                                     uint32_t horizon_days = 60);

}  // namespace pgark
