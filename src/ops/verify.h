// verify: read what the repository holds and check every byte of it, round by round, and tell what damage hits.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catalog/coverage.h"
#include "catalog/damage.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/progress.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct VerifyOptions {
  std::string stanza;
  unsigned repo = 1;  // Number of the repository, for texts.
  /// Labels of backups and dumps; empty: all of them, and all WAL. Else the WAL those need to be consistent.
  std::vector<std::string> sets = {};
  double share = 1;             // Of extents and segments: 0 < share <= 1.
  std::string state_path = {};  // File that remembers what this round has done; empty: the round starts and ends here.
  bool restart = false;         // Begin a new round.
  std::optional<std::chrono::milliseconds> time_limit = {};  // What is begun is finished.
  unsigned process_max = 1;
  std::string host = {};  // Recorded with the result.
};

/// Another repository, where good copies are looked for.
struct OtherRepository {
  unsigned repo = 2;
  const Repository* repository = nullptr;
};

enum class DamageKind : uint8_t { kManifest, kPack, kSegment, kWalFile, kRecord, kDumpManifest, kDumpPack };
/// "manifest", "pack", "segment", "wal_file", "record", "dump_manifest", "dump_pack"
std::string_view damage_kind_name(DamageKind kind);

/// An object that is damaged, or missing.
struct VerifyDamage {
  DamageKind kind = DamageKind::kRecord;
  std::string object;  // Key.
  std::string name;    // A label, "LABEL/000017", a WAL file; of missing segments in a row the first; "LABEL/toc.dat"
                       // if the manifest of a dump tells of other bytes than the stream has.
  uint64_t count = 1;  // Segments in a row.
  bool missing = false;
  bool harmless = false;          // A restore does without what is damaged of it.
  bool index_unreadable = false;  // Of a pack: see PackDamage.
  std::vector<DamagedPlace> places;
  std::string cause;

  // Found out at the end of a run.
  std::vector<std::string> backups;   // That it hits, or the dump.
  std::vector<unsigned> good_copies;  // Repositories that have the same content, read and checked.
  bool operator==(const VerifyDamage&) const = default;
};
inline constexpr size_t kVerifyDamagesMax = 10'000;  // Kept; more are counted.

/// The same backup in another repository.
struct BackupCopy {
  unsigned repo = 2;
  std::optional<Timestamp> verified;  // When it was last read there as a whole, and good.
  bool operator==(const BackupCopy&) const = default;
};

/// A backup that cannot be restored whole.
struct DamagedBackup {
  std::string label;
  bool manifest = false;           // Its manifest is damaged: nothing of it can be restored.
  std::string wal;                 // The first segment it needs that is missing or damaged; empty: none.
  uint64_t file_count = 0;         // Files that are hit.
  std::vector<DamagedFile> files;  // The first DamagedFiles::kFilesMax.
  std::vector<BackupCopy> copies;
  bool operator==(const DamagedBackup&) const = default;
};

/// A dump that cannot be loaded whole.
struct DamagedDump {
  std::string label;
  bool manifest = false;              // Its manifest is damaged: nothing of it can be loaded.
  uint64_t stream_count = 0;          // Streams that are hit.
  std::vector<std::string> streams;   // The first kDamagedStreamsMax: "app: public.orders (3456.dat)".
  std::vector<unsigned> good_copies;  // Repositories that have all that is damaged here, read and checked.
  bool operator==(const DamagedDump&) const = default;
};
inline constexpr size_t kDamagedStreamsMax = 1000;

/// Pages whose checksum failed when they were backed up: damage of the cluster, not of the repository.
struct VerifiedBadPages {
  std::string label;
  std::string path;
  std::vector<uint32_t> blocks;  // The first kBadBlocksMax.
  uint64_t count = 0;
  bool operator==(const VerifiedBadPages&) const = default;
};
inline constexpr size_t kBadBlocksMax = 1000;
inline constexpr size_t kVerifyBadFilesMax = 1000;  // Kept; more are counted.

struct VerifyReport {
  bool finished = false;  // The round is; else the next run goes on with it.
  bool resumed = false;
  Timestamp started{};  // Of the round.
  Timestamp ended{};
  double share = 1;
  uint64_t seed = 0;                     // Of the sample.
  std::vector<std::string> labels;       // Backups looked at.
  std::vector<std::string> dump_labels;  // Dumps looked at.

  // Of the round so far, and of this run.
  uint64_t pack_count = 0;
  uint64_t pack_total = 0;
  uint64_t extent_count = 0;
  uint64_t segment_count = 0;
  uint64_t segment_total = 0;
  uint64_t dump_pack_count = 0;
  uint64_t dump_pack_total = 0;
  uint64_t dump_frame_count = 0;  // Without those of streams that lie in several packs.
  uint64_t record_count = 0;
  uint64_t read_bytes = 0;
  uint64_t run_read_bytes = 0;
  uint64_t unreferenced_pack_count = 0;  // Packs that no backup names; of a run with all backups.
  uint64_t unreferenced_bytes = 0;

  std::vector<VerifyDamage> damages;
  uint64_t damage_count = 0;
  std::vector<DamagedBackup> backups;
  std::vector<DamagedDump> dumps;
  std::vector<LostRange> lost;
  std::vector<VerifiedBadPages> bad_pages;
  uint64_t bad_page_count = 0;
  std::vector<std::string> next_steps;
  std::vector<std::string> warnings;
  std::string record;  // Name of the record written; empty: none.

  bool ok() const { return damage_count == 0; }
};

/// Run a round of verification, or go on with one.
/// Shape:  in this order: packs, WAL, manifests, dumps, small records. Each pack is read once, whichever backups name
/// it, in
///         large reads; of a sample, every pack's index and the chosen extents. What was done is in the state file,
///         whatever ends the run; a segment that was found damaged is looked at again. A state of another scope, or
///         older than 30 days, is begun anew.
///         Memory: per worker a pack's listing and 4 MiB, or two segments; indexes of packs 32 MiB; damage as bounded.
/// Errors: kNotFound if the stanza or a backup that was asked for does not exist; kCancelled; of the store, where it is
///         the store and not an object that cannot be read.
Result<VerifyReport> run_verify(const Repository& repository, const std::vector<OtherRepository>& others,
                                const VerifyOptions& options, Clock& clock, Rng& rng, const CancelToken& cancel,
                                Progress& progress);

}  // namespace pgark
