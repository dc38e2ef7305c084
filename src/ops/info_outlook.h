// What a stanza promises today beside its list of backups: how old the newest is, how fast WAL arrives, how much would
// be lost and how long a restore would take, by estimates that say what they stand on.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/coverage.h"
#include "catalog/retention.h"
#include "core/result.h"
#include "ops/wal_rate.h"

namespace pgark {

/// Loss of the server's disk now loses at most the commits of this time.
struct RecoveryPointEstimate {
  std::optional<std::chrono::microseconds> at_most;  // None: there is nothing to tell it by.
  std::string how;                                   // What it is told by, or why it is not.
};

/// A restore of the newest backup, and recovery to the end of WAL.
struct RecoveryTimeEstimate {
  std::optional<std::chrono::microseconds> total;  // None: there is nothing to tell it by.
  std::string how;
  std::string label;  // Of the backup.
  uint64_t copy_bytes = 0;
  uint64_t copy_bytes_per_second = 0;  // Of a full backup, which reads what a restore writes.
  uint64_t wal_bytes = 0;
  uint64_t replay_bytes_per_second = 0;  // Assumed.
};

struct InfoOutlook {
  std::string newest_label;  // Of the current cluster's newest backup; empty: there is none.
  Timestamp newest_stopped{};
  std::chrono::microseconds newest_age{};
  std::optional<WalRate> wal_rate;  // None: there is no WAL.
  RecoveryPointEstimate recovery_point;
  RecoveryTimeEstimate recovery_time;
};

/// WAL is taken to be replayed this fast, fetching included; what a server does depends on what the WAL holds.
inline constexpr uint64_t kReplayBytesPerSecondAssumed = 32u << 20;

/// Pure. `backups` of the current cluster, oldest first; `wal_end`: how far its current timeline reaches, 0/0 if
/// unknown.
InfoOutlook estimate_outlook(const std::vector<BackupMeta>& backups, const std::optional<WalRate>& wal_rate,
                             Lsn wal_end, Timestamp now);

}  // namespace pgark
