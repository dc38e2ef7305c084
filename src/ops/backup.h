// Back up a running cluster: plan, copy, seal. The manifest, written last, makes the backup exist.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/progress.h"
#include "core/result.h"
#include "ops/backup_prior.h"
#include "ops/backup_server.h"
#include "pgwire/pg_session.h"
#include "repo/repository.h"

namespace pgark {

struct BackupRequest {
  std::string stanza;
  std::string data_directory;  // pg1-path
  std::string pgark_version;
  /// Diff and incr become full, with a warning, if there is nothing to build on.
  BackupType type = BackupType::kFull;
  ScanMode scan = ScanMode::kWal;  // Of diff and incr.
  bool resume = true;              // Use what interrupted backups have stored.
  size_t sample_blocks = 4096;     // Of those believed unchanged, looked at by diff and incr.
  uint64_t seed = 0;               // Of the choice of the sample.
  unsigned process_max = 1;
  uint64_t read_bytes_per_second_max = 0;  // Of the data directory; 0: no limit.
  Codec codec = Codec::kZstd;
  int level = 1;
  bool start_fast = false;
  bool check_archive_command = true;  // That it calls pgark; that WAL arrives is checked in any case.
  bool wait_for_wal = true;           // archive-check. Without it nothing proves that the backup can be restored.
  std::vector<std::string> exclude;   // Paths below the data directory; with a slash at the end: what is in it.
  bool check_pages = true;            // Has an effect only if the cluster has page checksums.
  std::chrono::milliseconds archive_timeout{60'000};
  /// A configured repository is out of reach, so that archive_command fails for it and the server goes no further: what
  /// WAL the backup needs is brought to the others from pg_wal.
  bool repository_is_away = false;
  std::map<std::string, std::string> annotations;
  /// The session is with a standby, and `data_directory` is the standby's.
  bool from_standby = false;
  /// Its primary, if that can be reached: it is asked to finish segments that the backup needs. Null otherwise.
  PgSession* primary = nullptr;
  DatabaseConnector connect;                                   // For lists of extensions; none are recorded without it.
  std::function<Result<>(const std::string& label)> on_label;  // Called once the label is known; may be empty.
};

/// A repository a backup goes to.
struct BackupDestination {
  std::string name;  // "repo2"
  const Repository* repository = nullptr;
  std::function<Result<>()> fence{};  // Asked before the backup is made to exist there: may it still? May be empty.
};

/// A repository that was to get the backup and did not.
struct LeftBehind {
  std::string name;
  const Repository* repository = nullptr;
  Error error;
};

/// Pages of one file whose checksum was wrong.
struct BadPages {
  std::string path;
  std::vector<uint32_t> blocks;  // Of 8 KiB, within the file.
};

struct BackupReport {
  BackupMeta meta;
  std::chrono::microseconds elapsed{};
  std::chrono::microseconds copying{};  // Part of it.
  uint32_t pack_count = 0;              // Written by this backup.
  uint32_t needed_pack_count = 0;       // Of any backup.
  uint64_t changed_block_count = 0;     // That WAL told of; 0 unless meta.scan is "wal" or "lsn".
  uint64_t wal_segment_count = 0;       // In which they were looked for.
  uint64_t vanished_count = 0;          // Files that were dropped while they were copied.
  uint64_t shrunk_count = 0;
  std::vector<BadPages> bad_pages;     // The first kBadFilesMax files; meta.bad_page_count counts all.
  std::vector<std::string> warnings;   // Logged already.
  std::vector<std::string> stored_in;  // Names of the repositories that have the backup.
  std::vector<LeftBehind> left_behind;
};

inline constexpr size_t kBadFilesMax = 1000;

/// Make a backup of the cluster that `session` is connected to, in all `destinations` from one read of the data.
/// Shape:  what to build on is read from the first destination; one that fails, or lacks the backup that is built on,
/// is
///         left behind, and the backup succeeds as long as one has it. When it fails or is cancelled nothing exists
///         that a listing shows. The session stays in use throughout; it must not be used again afterwards if this
///         fails.
/// Errors: kNotFound (no stanza), kInvalid (another cluster, archiving off or elsewhere, wal_level, a standby where a
///         primary is wanted or the reverse, a standby that was promoted meanwhile), kPermission with GRANTs,
///         kTransient (connection lost, WAL did not arrive), kNoSpace, kCancelled.
Result<BackupReport> run_backup(const std::vector<BackupDestination>& destinations, PgSession& session,
                                const BackupRequest& request, Clock& clock, const CancelToken& cancel,
                                Progress& progress);

}  // namespace pgark
