// What a backup asks of the server: may it begin, begin, end, what is in it, and has its WAL arrived.
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

/// Fill in what a restore on another machine must know: settings, databases, extensions, tablespaces, configuration
/// files outside the data directory. What the role may not see is left out with a warning appended.
Result<> collect_cluster_facts(PgSession& session, const ServerInfo& server, const DatabaseConnector& connect,
                               const std::string& data_directory, BackupMeta& meta, std::vector<std::string>& warnings);

/// How to wait for WAL to reach the repository.
struct ArchiveWait {
  const Repository& repository;
  std::string stanza;
  unsigned cluster_number = 1;
  std::chrono::milliseconds timeout{};
  Clock& clock;
  const CancelToken& cancel;
  /// Asked to bring a segment that does not come by itself; may be empty. What it cannot do is waited for.
  std::function<void(const std::string& segment)> bring{};
};

/// Segments on their way into the repository, looked for now and then while other work goes on.
class SegmentArrival {
 public:
  /// `session`: asked what the archiver says when time is up; may be null.
  SegmentArrival(ArchiveWait wait, std::vector<std::string> segments, PgSession* session);

  /// Look whether all are there, if the last look is long enough ago: at first they are looked for often.
  /// Errors: kTransient, once time is up, naming the first missing segment, the archiver's last success and failure.
  Result<bool> look();
  /// Wait until all are there. Errors: as look(); kCancelled.
  Result<> wait();

 private:
  using Time = std::chrono::steady_clock::time_point;

  Error late() const;

  const ArchiveWait wait_;
  const std::vector<std::string> segments_;
  PgSession* const session_;
  const Time deadline_;
  Time bring_from_;
  Time next_look_;
  std::chrono::milliseconds pause_;
  size_t arrived_ = 0;
};

/// Makes sure that the WAL of the backup which began at `start` will arrive: the segment before it was finished by the
/// start. If that was archived long ago, to wherever, a new segment is finished and waited for.
class ArchivingCheck {
 public:
  ArchivingCheck(ArchiveWait wait, TimelineId timeline, Lsn start, uint32_t wal_segment_bytes, PgSession& session);

  /// Whether it is sure by now. Errors: as SegmentArrival.
  Result<bool> look();
  Result<> wait();

 private:
  Result<> begin();

  const ArchiveWait wait_;
  const TimelineId timeline_;
  const Lsn start_;
  const uint32_t wal_segment_bytes_;
  PgSession& session_;
  bool sure_ = false;
  std::optional<SegmentArrival> awaited_;
};

}  // namespace pgark
