// Decode global/pg_control, the file that says what a cluster is and where its recovery starts.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/bytes.h"
#include "core/ids.h"
#include "core/result.h"
#include "pg/version.h"

namespace pgark::pg {

/// Size of the file; the struct fills its first 512 bytes at most, the rest is zero.
inline constexpr size_t kControlFileBytes = 8192;
/// Path below the data directory.
inline constexpr std::string_view kControlFilePath = "global/pg_control";

/// PostgreSQL's DBState.
enum class ClusterState : uint32_t {
  kStartup = 0,
  kShutDown = 1,
  kShutDownInRecovery = 2,
  kShuttingDown = 3,
  kInCrashRecovery = 4,
  kInArchiveRecovery = 5,
  kInProduction = 6,
};

/// As pg_controldata prints it: "in production", "shut down", ...
std::string_view to_string(ClusterState state);

/// wal_level; 10-19 know these three.
enum class WalLevel : int32_t { kMinimal = 0, kReplica = 1, kLogical = 2 };
std::string_view to_string(WalLevel level);

/// State of data checksums. The two in-progress states are of betas of 19, where checksums were switched while running.
enum class ChecksumState : uint32_t { kOff = 0, kOn = 1, kTurningOff = 2, kTurningOn = 3 };
std::string_view to_string(ChecksumState state);

/// Content of pg_control, the same for all versions.
struct ControlData {
  uint64_t system_id = 0;
  uint32_t control_version = 0;  // pg_control's own version: 1002, 1100, 1201, 1300, ...
  uint32_t catalog_version = 0;
  ClusterState state = ClusterState::kStartup;
  int64_t time_unix_s = 0;  // Last write of the file.

  Lsn checkpoint;       // Last checkpoint record.
  Lsn redo;             // Where recovery from it starts.
  TimelineId timeline;  // Of that checkpoint.
  TimelineId prev_timeline;
  bool full_page_writes = false;
  uint64_t next_xid = 0;  // Epoch in the upper 32 bits.
  uint32_t next_oid = 0;
  uint32_t oldest_xid = 0;
  int64_t checkpoint_time_unix_s = 0;

  Lsn min_recovery_point;  // 0/0 outside archive recovery.
  TimelineId min_recovery_timeline;
  Lsn backup_start_point;
  Lsn backup_end_point;
  bool backup_end_required = false;

  WalLevel wal_level = WalLevel::kMinimal;
  bool wal_log_hints = false;
  bool track_commit_timestamp = false;
  // A hot standby needs at least these.
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;  // 0 in files of 10 and 11, which do not record it.
  int32_t max_prepared_xacts = 0;
  int32_t max_locks_per_xact = 0;

  uint32_t block_bytes = 0;
  uint32_t relation_segment_blocks = 0;  // Blocks in one file of a relation.
  uint32_t wal_block_bytes = 0;
  uint32_t wal_segment_bytes = 0;
  ChecksumState checksums = ChecksumState::kOff;

  /// True if every page written now carries a checksum that must verify.
  bool checksums_enabled() const { return checksums == ChecksumState::kOn; }
};

/// Decode the content of global/pg_control of PostgreSQL 10 to 19.
/// Shape:  `file` is the file or at least its first 512 bytes; its version is found in it.
/// Errors: kUnsupported if the control version is not known, naming it; kCorrupt if the file is short, its CRC is wrong
///         (a read during a write may be torn: read again, as PostgreSQL's own tools do) or a value is out of range.
/// Source: PostgreSQL src/include/catalog/pg_control.h, ControlFileData.
Result<ControlData> decode_control(Bytes file);

/// Check that a decoded file is of `major`, as PG_VERSION beside it says.
/// Errors: kCorrupt, naming both: files of two clusters were mixed, or it is a pre-release of 18 or before.
Result<> check_control_version(const ControlData& control, PgMajor major);

}  // namespace pgark::pg
