// expire: remove the backups no rule keeps, then the WAL and the packs that nothing needs any more. What it removes
// stays readable, for whoever reads it just then, for a grace period.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/retention.h"
#include "catalog/wal.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct ExpireOptions {
  std::string stanza;
  RetentionRules rules;
  /// For which WAL and packs of removed backups stay, and packs of interrupted ones. 0: they go at once, also from
  /// under a restore that reads them.
  std::chrono::milliseconds grace{std::chrono::hours(24)};
  bool dry_run = false;
  std::string set;  // Remove this backup instead of those the rules let go; empty: go by the rules.
};

struct ExpireCount {
  uint64_t count = 0;
  uint64_t bytes = 0;
  void add(uint64_t object_bytes) {
    ++count;
    bytes += object_bytes;
  }
};

/// A backup, what was decided about it, and what came of that.
struct ExpiredBackup {
  enum class Outcome : uint8_t {
    kKept,
    kRemoved,  // Or would be, in a dry run.
    kRefused,  // By the store (object lock, permissions); tried again later.
    kPutOff,   // Nothing is removed in this run; a warning says why.
  };
  RetentionDecision decision;
  BackupType type = BackupType::kFull;
  Timestamp stopped{};  // 1970 if the manifest cannot be read.
  bool restorable = false;
  bool whole_wal = false;  // Kept, with all WAL since.
  Outcome outcome = Outcome::kKept;
};
std::string_view expire_outcome_name(ExpiredBackup::Outcome outcome);  // "kept", "removed", "refused", "put off"

struct ExpireReport {
  std::vector<ExpiredBackup> backups;  // In the order of their labels.
  ExpireCount wal;                     // Removed, or would be: segments with their copies, .backup and .partial files.
  std::vector<WalRange> wal_ranges;    // Runs of those segments.
  ExpireCount packs;
  ExpireCount records;        // Manifests, annotations, holds.
  ExpireCount waiting_wal;    // Nothing needs them but a backup that was removed less than the grace period ago.
  ExpireCount waiting_packs;  // The same, and packs of interrupted backups that are younger than it.
  ExpireCount refused;        // By the store.
  std::string refusal;        // What it said first.
  ExpireCount temporaries;    // What writers that were killed left behind; never in a dry run.
  std::vector<std::string> warnings;

  uint64_t freed_bytes() const { return wal.bytes + packs.bytes + records.bytes; }
};

/// Expire one stanza of one repository. The caller holds the lock "backup" of the stanza.
/// Shape:  can end or be ended at any step: every backup that is listed keeps all it needs, and the next run goes on.
///         What cannot be proven unneeded stays: with a manifest that cannot be read, no pack and no WAL is removed.
///         Without any rule (and `set`) only the remains of interrupted backups and removals go. What killed writers of
///         the whole repository left behind goes last, and that this fails is a warning.
/// Errors: kNotFound if there is no such stanza, or no backup `set`; kInvalid if that one is held, or is the last that
///         can be restored; kCorrupt if a hold cannot be read; of the store. A refusal to remove (kPermission) is
///         counted, not an error.
Result<ExpireReport> run_expire(const Repository& repository, Clock& clock, const CancelToken& cancel,
                                const ExpireOptions& options);

}  // namespace pgark
