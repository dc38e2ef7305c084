// Tombstones: what a backup that was removed named and needed, so that whoever still reads it can go on for a while.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "core/clock.h"
#include "core/result.h"
#include "repo/pack.h"
#include "repo/repository.h"

namespace pgark {

/// Written before the manifest is removed. docs/format/expire.md is normative.
struct Tombstone {
  std::string label;
  Timestamp expired{};  // By the clock of the machine that removed it.
  std::string rule;     // As RetentionReason.
  std::string reason;
  unsigned cluster_number = 1;
  TimelineId start_timeline;
  TimelineId stop_timeline;
  Lsn start_lsn;
  std::string wal_start;  // First and last segment without which it is not consistent.
  std::string wal_stop;
  std::vector<PackName> packs;

  // Not in the document.
  ObjectKey key;
  Timestamp modified{};  // As the store tells it.
  uint64_t bytes = 0;    // Of its object.
  unsigned generation = 0;

  /// The later of both clocks: doubt makes it younger.
  Timestamp time() const { return std::max(expired, modified); }
};

/// "<stanza>/expire/<label>"; a further one is written with ".r1", ".r2", ... behind it when a removal that began long
/// ago is taken up again.
ObjectKey tombstone_key(const std::string& stanza, const std::string& label, unsigned generation);

/// Errors: kAlreadyExists if that generation is there.
Result<> write_tombstone(const Repository& repository, const std::string& stanza, const Tombstone& tombstone);

/// An object below "<stanza>/expire/": with its document, or with why that cannot be read.
struct ListedTombstone {
  Tombstone tombstone;  // label, generation, key and modified are known in any case.
  std::optional<Error> error;
};
/// All of them, by label and generation. Errors: of the store, other than an object that is damaged or gone.
Result<std::vector<ListedTombstone>> list_tombstones(const Repository& repository, const std::string& stanza);

/// What to do about a backup that is to go and whose manifest is there.
enum class TombstoneStep : uint8_t {
  kWrite,  // A tombstone that is young now has to be written.
  kReuse,  // There is one that is.
  kWait,   // The store refused before, and it is too soon to try again.
};
/// Decide from the times of its tombstones, oldest first. Each refusal doubles the wait from an hour on, so that a
/// store that keeps objects for years gathers a few tombstones and not one a day. Runs that were killed make nobody
/// wait.
TombstoneStep next_tombstone_step(const std::vector<Timestamp>& times, Timestamp now, std::chrono::microseconds grace);

}  // namespace pgark
