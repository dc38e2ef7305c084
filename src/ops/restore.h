// Bring one backup back into an empty place: checks first, then every file in parallel, pg_control last.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catalog/recovery_plan.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/progress.h"
#include "core/result.h"
#include "ops/repository_source.h"
#include "ops/restore_select.h"
#include "repo/repository.h"

namespace pgark {

/// Name of the file that marks a data directory whose restore has not ended. While it is there without pg_control
/// beside it the cluster cannot start; with --force a directory that has it may be cleared, with --delta completed.
inline constexpr std::string_view kRestoreMarkerFile = "pgark.restore";

struct RestoreRequest {
  std::string data_directory;  // pg1-path
  RestoreTarget target;
  std::optional<std::string> set;
  std::string target_action;                                          // "pause", "promote", "shutdown" or empty.
  std::string target_timeline;                                        // As parse_timeline_wish() reads it.
  std::string restore_command;                                        // Given to the server as it is.
  std::vector<std::pair<std::string, std::string>> recovery_options;  // --recovery-option
  bool archive_mode_off = false;

  std::map<std::string, std::string> tablespace_map;  // OID or name to path.
  std::string tablespace_map_all;                     // Path; every other tablespace goes to <path>/<name>.
  bool link_all = false;                        // Make symbolic links again instead of plain files and directories.
  std::map<std::string, std::string> link_map;  // Link below the data directory to its new target.

  bool force = false;
  bool delta = false;                   // Keep what is there and right; with `force` also another cluster's directory.
  std::vector<std::string> db_include;  // Names or OIDs, as select_databases() reads them.
  std::vector<std::string> db_exclude;
  unsigned process_max = 1;
};

/// A tablespace or link as it was made.
struct RestoredLink {
  std::string path;    // Below the data directory.
  std::string target;  // Absolute.
  uint32_t oid = 0;    // Of a tablespace; 0 for other links.
  std::string name;    // Of a tablespace.
};

/// What a delta restore found.
struct DeltaReport {
  uint64_t compared_bytes = 0;  // Read from disk and compared by hash.
  uint64_t matched_bytes = 0;   // Of these, what was right.
  uint64_t changed_file_count = 0;
  uint64_t removed_count = 0;  // Files, directories and links that the backup does not have so.
};

/// Something that could not be had from a repository, and why.
struct SourceFailure {
  std::string object;  // Empty: the repository as a whole.
  Error error;
};

/// What one repository gave to a restore.
struct SourceReport {
  std::string name;
  uint64_t fetched_bytes = 0;           // Of packs, as stored.
  uint64_t extent_count = 0;            // Fetched one by one, because another repository did not have them.
  uint64_t failure_count = 0;           // Packs with damage, and the repository itself if it was gone.
  std::vector<SourceFailure> failures;  // The first kSourceFailuresMax of them.
};
inline constexpr size_t kSourceFailuresMax = 100;

struct RestoreReport {
  RecoveryPlan plan;
  std::string repository;             // Name of the one that the restore was planned on.
  std::vector<SourceReport> sources;  // Repositories that gave something or failed, in their order.
  std::string data_directory;
  std::vector<RestoredLink> links;
  uint64_t file_count = 0;
  uint64_t logical_bytes = 0;   // Sum of file sizes.
  uint64_t written_bytes = 0;   // Without holes.
  uint64_t fetched_bytes = 0;   // Read from the packs.
  uint64_t bad_page_count = 0;  // Pages that were damaged when the backup was made.
  std::chrono::microseconds elapsed{};
  std::string recovery_file;         // "recovery.conf", "postgresql.auto.conf" or empty.
  std::optional<DeltaReport> delta;  // Absent where there was nothing to compare with.
  std::vector<LeftOutDatabase> left_out;
  std::string signal_file;                 // "recovery.signal", "standby.signal" or empty.
  std::vector<std::string> outside_files;  // Configuration kept in the backup that lay outside the data directory.
  std::vector<std::string> warnings;       // Logged already.
};

/// Restore a backup of `stanza` as asked.
/// Shape:  nothing is written before every check has passed; when it fails later, the directory holds
/// kRestoreMarkerFile
///         and no pg_control. Ok means durable.
/// Errors: kInvalid (target, directory, tablespace or link not fit, server running), kNotFound (no backup or set),
///         kNoSpace with needed and free bytes, kPermission, kCorrupt naming backup, pack, file and blocks, kCancelled.
Result<RestoreReport> run_restore(const Repository& repository, const std::string& stanza,
                                  const RestoreRequest& request, Clock& clock, const CancelToken& cancel,
                                  Progress& progress);

/// The same from several repositories, opened when they are needed: planned on the first that has what is asked for,
/// and what turns out to be damaged there, or is not there any more, comes from the others, extent by extent.
/// Errors: as above, of the first repository, with what the others said.
Result<RestoreReport> run_restore(std::span<const RepositorySource> sources, const std::string& stanza,
                                  const RestoreRequest& request, Clock& clock, const CancelToken& cancel,
                                  Progress& progress);

}  // namespace pgark
