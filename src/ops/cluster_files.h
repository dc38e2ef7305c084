// What a data directory says of its cluster without a server: pg_control, PG_VERSION, postmaster.pid.
#pragma once

#include <string>

#include "catalog/cluster.h"
#include "core/clock.h"
#include "core/result.h"
#include "pg/control.h"

namespace pgark {

struct ClusterFiles {
  pg::ControlData control;
  pg::PgMajor major;
};

struct ControlFile {
  std::string content;  // At most pg::kControlFileBytes.
  pg::ControlData data;
};

/// Read global/pg_control below `data_directory`. One torn by a write in progress is read again.
/// Errors: of opening; as decode_control().
Result<ControlFile> read_control_file(const std::string& data_directory, Clock& clock);

/// Read PG_VERSION and global/pg_control below `data_directory`.
/// Errors: kNotFound if there is no cluster; as read_control_file() and check_control_version().
Result<ClusterFiles> read_cluster_files(const std::string& data_directory, Clock& clock);

/// The record stanza-create writes for this cluster, and everyone else compares with.
ClusterRecord cluster_record(const ClusterFiles& files, Timestamp now);

/// Whether a postmaster runs on the data directory: postmaster.pid names a process that is alive.
/// Errors: of reading the file; kCorrupt if it holds no process id.
Result<bool> postmaster_runs(const std::string& data_directory);

}  // namespace pgark
