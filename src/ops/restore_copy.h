// The copy of a restore: extents fetched in large ranged reads, checked, decoded and written where they belong, in
// parallel and in memory that does not grow with the database.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/cancel.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/thread_annotations.h"
#include "ops/restore_plan.h"
#include "repo/manifest.h"

namespace pgark {

/// Under this name pg_control is restored; its rename is what makes the cluster startable.
inline constexpr std::string_view kUnfinishedControlPath = "global/pg_control.pgark";

/// Owners by name, looked up once each; only root may give files away. Thread-safe.
class OwnerTable {
 public:
  explicit OwnerTable(bool enabled) : enabled_(enabled) {}
  /// Give the open file, or the link at `path`, to the named owner; a name this machine lacks leaves it with us.
  Result<> apply(int fd, const FileEntry& entry);
  Result<> apply_to_path(const std::string& path, const std::string& user, const std::string& group);
  bool enabled() const { return enabled_; }
  /// Names that were asked for and do not exist here.
  std::vector<std::string> unknown() const;

 private:
  struct Ids {
    uid_t user;
    gid_t group;
  };
  Ids find(const std::string& user, const std::string& group);

  const bool enabled_;
  mutable Mutex mu_;
  std::map<std::string, uid_t> users_ GUARDED_BY(mu_);
  std::map<std::string, gid_t> groups_ GUARDED_BY(mu_);
  std::vector<std::string> unknown_ GUARDED_BY(mu_);
};

struct CopyOptions {
  unsigned workers = 1;
  bool sync_files = false;  // fsync each file when its part is written; else the caller syncs the file systems.
};

struct CopyTotals {
  uint64_t fetched_bytes = 0;
  uint64_t written_bytes = 0;
};

/// Restore every file of the manifest below the plan's data directory, whose directories and links are there.
/// pg_control goes to kUnfinishedControlPath.
/// Errors: kCorrupt naming backup, file, blocks and pack; of writing, naming the file; kCancelled.
Result<CopyTotals> copy_files(const Repository& repository, const std::string& stanza, const ManifestReader& manifest,
                              const RestorePlan& plan, const CopyOptions& options, OwnerTable& owners,
                              const CancelToken& cancel, Progress& progress);

}  // namespace pgark
