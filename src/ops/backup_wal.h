// The WAL of one backup on its way into the repositories: is archiving seen to work, and has all arrived that the
// backup needs. Nothing of it is listed before.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "ops/archive_push.h"
#include "ops/backup_targets.h"
#include "pg/wal.h"
#include "pgwire/pg_session.h"
#include "repo/repository.h"

namespace pgark {

/// How to wait for WAL to reach a repository.
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

/// Segments on their way into a repository, looked for now and then while other work goes on.
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

struct BackupWalOptions {
  std::string stanza;
  unsigned cluster_number = 1;
  uint32_t segment_bytes = 16u << 20;
  std::string data_directory;
  std::chrono::milliseconds timeout{};
  /// A configured repository is out of reach, so that archive_command fails for it and the server goes no further: what
  /// does not come by itself is brought to the others from pg_wal. The same once one was left behind.
  bool repository_is_away = false;
};

/// The same for a backup and all its repositories. In this order: begin_check() at its start; look() as often as wanted
/// while it copies, so that it does not copy for hours what no WAL will follow; wait() after its stop, before its
/// manifest is committed, which proves of the WAL of this very backup what look() only makes likely.
class BackupWal {
 public:
  /// What is given by reference must outlive it.
  BackupWal(BackupTargets& targets, BackupWalOptions options, Clock& clock, const CancelToken& cancel,
            std::vector<std::string>& warnings)
      : targets_(targets), options_(std::move(options)), clock_(clock), cancel_(cancel), warnings_(warnings) {}

  /// Have look() see whether WAL from before `start` arrives. `session`: with the server that archives.
  Result<> begin_check(TimelineId timeline, Lsn start, PgSession& session);
  /// Look, unless the backup is so young that it may be done before anything is known. A repository for which time is
  /// up is left behind. Errors: as SegmentArrival, of the last one.
  Result<> look();

  /// Wait until the segments from `first` to `last`, and the history of their timeline, are in every repository.
  /// `session` as in SegmentArrival.
  Result<> wait(const pg::WalSegment& first, const pg::WalSegment& last, PgSession* session);

 private:
  ArchiveWait wait_for(const Repository& repository) const;
  Result<ArchivePushResult> push(const Repository& repository, const std::string& name) const;
  void bring_segment(const Repository& repository, const std::string& segment) const;
  Result<> bring_history(const Repository& repository, TimelineId timeline);

  BackupTargets& targets_;
  const BackupWalOptions options_;
  Clock& clock_;
  const CancelToken& cancel_;
  std::vector<std::string>& warnings_;
  std::map<const Repository*, ArchivingCheck> checks_;  // Of those where it is not known yet.
  std::chrono::steady_clock::time_point check_from_{};
};

}  // namespace pgark
