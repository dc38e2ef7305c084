// The first step of a backup: what the data directory holds and what of it is copied, kept small enough for a million
// relations.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/cancel.h"
#include "core/result.h"
#include "pg/exclusions.h"
#include "repo/manifest.h"

namespace pgark {

/// One entry of the plan. Names, directories and owners are shared, see BackupPlan.
struct PlannedEntry {
  uint64_t bytes = 0;  // Of a file when it was seen. Of a link: the index of its target.
  int64_t modified_us = 0;
  uint32_t directory = 0;
  uint32_t name_at = 0;
  uint32_t owner = 0;
  uint16_t name_bytes = 0;
  EntryKind kind = EntryKind::kFile;
};

struct PlannedOwner {
  uint32_t mode = 0;
  std::string user;
  std::string group;
};

struct PlannedTablespace {
  uint32_t oid = 0;
  std::string path;  // Target of the link; the directory itself for one inside the data directory.
};

/// What to copy, parents before their entries. A symbolic link whose target is copied too has two entries of one path:
/// the link, and after it the directory or file behind it. A link alone is recorded as it is: it points into the data
/// directory, to nothing, or to something that must not be followed.
class BackupPlan {
 public:
  const std::deque<PlannedEntry>& entries() const { return entries_; }
  std::string path(const PlannedEntry& entry) const;
  /// The path in two: that of the directory, empty for the data directory itself, and the name in it.
  const std::string& directory(const PlannedEntry& entry) const { return directories_[entry.directory]; }
  std::string_view name(const PlannedEntry& entry) const {
    return std::string_view(names_).substr(entry.name_at, entry.name_bytes);
  }
  const PlannedOwner& owner(const PlannedEntry& entry) const { return owners_[entry.owner]; }
  const std::string& link_target(const PlannedEntry& entry) const { return link_targets_.at(entry.bytes); }

  const std::vector<PlannedTablespace>& tablespaces() const { return tablespaces_; }
  /// Things an operator should know, such as links to nothing.
  const std::vector<std::string>& warnings() const { return warnings_; }
  uint64_t file_count() const { return file_count_; }
  uint64_t bytes() const { return bytes_; }

 private:
  friend class PlanWalker;

  std::deque<PlannedEntry> entries_;  // Grows without a second copy of itself.
  std::vector<std::string> directories_;
  std::string names_;
  std::vector<PlannedOwner> owners_;
  std::vector<std::string> link_targets_;
  std::vector<PlannedTablespace> tablespaces_;
  std::vector<std::string> warnings_;
  uint64_t file_count_ = 0;
  uint64_t bytes_ = 0;
};

/// Refuse to leave out what no cluster starts without. Errors: kInvalid, naming the path.
Result<> check_excludes(const std::vector<std::string>& excluded);

/// Walk a data directory.
/// Shape:  paths are relative to it, through links too. global/pg_control is in the plan; it is the caller's to copy
///         last. What vanishes during the walk is not in the plan. `excluded`: further paths to leave out; one that
///         ends with a slash keeps the directory and leaves out what is in it. The entries of large directories are
///         looked at by `workers` threads.
/// Errors: kPermission, naming the directory that cannot be read; of other system calls; kCancelled.
Result<BackupPlan> plan_backup(const std::string& data_directory, const pg::ExclusionContext& exclusions,
                               const std::vector<std::string>& excluded, const CancelToken& cancel,
                               unsigned workers = 1);

}  // namespace pgark
