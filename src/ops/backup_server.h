// What a backup asks of the server: may it begin, begin, end, and what is in it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "pg/backup_label.h"
#include "pgwire/pg_session.h"

namespace pgark {

/// Refuse a server whose WAL would not make a backup restorable.
/// Errors: kInvalid for a standby, wal_level=minimal, archive_mode=off, or (with `check_command`) an archive_command
/// that
///         is not pgark's. Each with the setting to make.
Result<> check_server_can_be_backed_up(const ServerInfo& server, const std::string& stanza, bool check_command);

/// Refuse a standby that is none, or not one of this primary (null: the primary cannot be asked).
Result<> check_standby_can_be_backed_up(const ServerInfo& standby, const ServerInfo* primary);

/// Have the primary make a checkpoint and the standby replay it, so that a backup of the standby begins there and not
/// at whichever checkpoint came last. Shape:  false if the role may not ask for a checkpoint, or the standby has not
/// got there in time.
Result<bool> bring_standby_up_to_date(PgSession& primary, PgSession& standby, std::chrono::milliseconds timeout,
                                      Clock& clock, const CancelToken& cancel);

/// Have the primary finish the segment that holds the byte before `stop`, if it still writes it.
Result<> finish_segment(PgSession& primary, Lsn stop, uint32_t wal_segment_bytes);

/// Refuse a data directory that is not the one the server runs on.
/// Shape:  compared by the directory itself where the server tells it, and by port and start time in postmaster.pid.
/// Errors: kInvalid naming both; kNotFound if no server runs there.
Result<> check_server_runs_on(PgSession& session, const ServerInfo& server, const std::string& data_directory);

/// Begin a non-exclusive backup; the start LSN. It lasts as long as the session, or until stop_backup().
Result<Lsn> start_backup(PgSession& session, pg::PgMajor major, const std::string& label, bool fast);

struct StoppedBackup {
  Lsn stop;
  Timestamp time{};  // By the server's clock, after the stop.
  std::string backup_label;
  std::string tablespace_map;
};
Result<StoppedBackup> stop_backup(PgSession& session, pg::PgMajor major);

/// Opens a session with another database of the same server.
using DatabaseConnector = std::function<Result<std::unique_ptr<PgSession>>(const std::string& database)>;

/// Fill in what a restore on another machine must know: settings, databases, tablespaces, configuration files outside
/// the data directory, and the extensions of the session's own database. What the role may not see is left out with a
/// warning appended.
/// Shape:  the other databases that can be connected to, for extensions_of().
Result<std::vector<std::string>> collect_cluster_facts(PgSession& session, const ServerInfo& server,
                                                       const std::string& data_directory, BackupMeta& meta,
                                                       std::vector<std::string>& warnings);

struct ExtensionFacts {
  std::vector<BackupExtension> extensions;
  std::vector<std::string> warnings;
};
/// The extensions of databases, with a session for each: work of its own, which nothing else waits for. None without
/// `connect`.
ExtensionFacts extensions_of(const std::vector<std::string>& databases, const DatabaseConnector& connect,
                             const CancelToken& cancel);

}  // namespace pgark
