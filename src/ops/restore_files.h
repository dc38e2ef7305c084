// Files as a restore makes them: opened below the data directory without following links, then given mode, owner and
// time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/thread_annotations.h"
#include "ops/restore_plan.h"
#include "repo/manifest.h"

namespace pgark {

/// Under this name pg_control is restored; its rename is what makes the cluster startable.
inline constexpr std::string_view kUnfinishedControlPath = "global/pg_control.pgark";

/// Writeback is begun when a file has this much that is not on its way to the disk, so that the disk works while the
/// processors do and the sync at the end finds little left.
inline constexpr uint64_t kFlushBytes = 4u << 20;
/// Begin writing back what is dirty, of the whole file or of `bytes` from `offset` on. Only a hint: whatever fails, the
/// sync reports.
void begin_writeback(const File& file, uint64_t offset = 0, uint64_t bytes = 0);

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
  friend class FileMaker;
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

/// Opens and finishes the files of a plan. Thread-safe once open_root() has returned.
class FileMaker {
 public:
  FileMaker(const RestorePlan& plan, bool sync_files, OwnerTable& owners);

  Result<> open_root();
  /// True for a file of the manifest that is to be restored.
  bool wanted(const FileEntry& entry) const;
  /// Name below the data directory, or absolute where a link leads out of it, under which a file is written.
  std::string name_of(const FileEntry& entry) const;

  /// Open a file for writing, creating it. It may exist already: as another part of it, or from before its descriptor
  /// was given up.
  Result<File> open(const FileEntry& entry) const;
  struct Opened {
    File file;
    bool created = false;
  };
  /// Open a file that may be there already, to compare and mend it. One that its mode or owner keeps from us is
  /// replaced.
  Result<Opened> open_existing(const FileEntry& entry) const;
  /// Give a file its size before its pieces arrive; the bytes that none of them brings are a hole. One piece that is
  /// the whole file needs no such preparation, which a million small relations notice.
  Result<> set_size(const File& file, const FileEntry& entry) const;
  /// Mode, owner and time of a file that open() made. The time last: every write changes it.
  Result<> finish(const File& file, const FileEntry& entry) const;
  /// The same for one that open_existing() opened: what is right already is not touched.
  Result<> finish_existing(const File& file, const FileEntry& entry) const;

 private:
  Result<File> open_at(const std::string& name, int flags, mode_t mode) const;
  std::string shown_path(const std::string& name) const;
  Result<> set_time(const File& file, const FileEntry& entry) const;

  const RestorePlan& plan_;
  const bool sync_files_;
  OwnerTable& owners_;
  File root_;
  mode_t umask_ = 0;
};

}  // namespace pgark
