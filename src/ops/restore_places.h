// The directories a restore goes into: whether they may be used, and making them ready.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/file.h"
#include "ops/restore_plan.h"

namespace pgark {

/// What check_places() found out and the preparation acts on.
struct PlaceChecks {
  std::vector<std::string> to_clear;   // Directories whose content --force removes, the data directory first.
  std::vector<std::string> to_remove;  // Directories and files that are removed whole.
  struct Tree {
    std::string path;
    std::string relative;  // To the data directory, as the backup has it; empty for the data directory.
  };
  std::vector<Tree> to_compare;  // Directories that --delta keeps what is right of, the data directory first.
  bool unfinished = false;       // A restore into the data directory did not end.
  // Files of pg_wal that --delta without --force must not remove before they are archived, oldest first.
  std::vector<std::string> ready_wal;
};

/// Check every place without changing anything: absent or empty, or with --force or --delta proven to be what is
/// overwritten (the data directory by PG_VERSION or our marker, a tablespace or link by the old data directory leading
/// to it; for --delta without --force of the cluster that was backed up); no server running; owned by us; room on each
/// file system.
/// Errors: kInvalid, kPermission, kNoSpace with the numbers.
Result<PlaceChecks> check_places(const RestorePlan& plan, const RestoreRequest& request, Clock& clock);

/// The data directory while it is restored: holds the marker, which is also a lock against a second restore.
class RestoreMarker {
 public:
  /// Create the marker, which lists every place, in an existing data directory, or take over the one of a restore that
  /// did not end.
  /// Errors: kInvalid if another restore is at work.
  static Result<RestoreMarker> create(const RestorePlan& plan);
  /// Restore has succeeded.
  Result<> remove();

 private:
  RestoreMarker(File file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  File file_;
  std::string path_;
};

/// Make the data directory, if need be, and put the marker into it.
Result<RestoreMarker> prepare_root(const RestorePlan& plan);
/// Make the other places, directories and links; those that are there as they should be are kept. The marker is there.
Result<> make_places(const RestorePlan& plan);

/// Makes what was written on every file system of a restore durable at once.
class SyncSet {
 public:
  /// Open each file system once. To be called before anything is written: syncfs(2) reports the write errors that
  /// happened since its descriptor was opened.
  static Result<SyncSet> open(const std::vector<std::string>& directories);
  Result<> sync() const;
  /// False where syncfs(2) does not report write errors or does not reach the disk (Linux before 5.8, FUSE): each file
  /// must then be synced by itself.
  bool reliable() const { return reliable_; }

 private:
  std::vector<File> file_systems_;
  bool reliable_ = true;
};

}  // namespace pgark
