// Copy a stanza from one repository to another: for a new region, a repository that was moved, or one that was down.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/progress.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct RepoCopyRequest {
  std::string stanza;
  /// Only these backups, with the WAL that makes them consistent, and dumps; empty: all backups, all WAL, all dumps.
  std::vector<std::string> sets;
  unsigned process_max = 1;
};

/// Objects that were copied, and those that were there already.
struct RepoCopyCount {
  uint64_t copied = 0;
  uint64_t present = 0;
  uint64_t bytes = 0;  // As stored, of those that were copied.
};

/// An object that could not be copied because it is damaged or gone in the source.
struct RepoCopyDamage {
  std::string object;
  Error error;
};

struct RepoCopyReport {
  RepoCopyCount backups;             // Manifests.
  RepoCopyCount dumps;               // Their manifests.
  RepoCopyCount packs;               // Of both.
  RepoCopyCount wal;                 // Segments, histories, and what else was archived.
  RepoCopyCount records;             // Cluster records, annotations, holds, verdicts on dumps.
  std::vector<std::string> labels;   // Of the backups, and behind them the dumps, that were copied, oldest first.
  std::vector<std::string> expired;  // Backups and dumps not copied because a rule removed them from the destination.
  std::vector<std::string> incomplete;  // Backups and dumps not copied because of damage.
  std::vector<RepoCopyDamage> damages;
};

/// Copy what `to` lacks: cluster records, WAL, then backup after backup and dump after dump, packs before the manifest.
/// Every frame is checked on its way. A stanza that holds nothing but dumps needs no cluster record.
/// Shape:  what `to` has already is not read again, so a run that was ended goes on where it was. Backups and WAL that
///         a rule of retention removed from `to` stay away, unless a backup is named in `sets`.
/// Errors: kNotFound if `from` lacks the stanza or a backup of `sets`; kInvalid if `to` has another cluster under the
///         stanza's name; kPermission if the data of `from` cannot be read here; of the stores.
Result<RepoCopyReport> copy_stanza(const Repository& from, const Repository& to, const RepoCopyRequest& request,
                                   Clock& clock, const CancelToken& cancel, Progress& progress);

}  // namespace pgark
