// A file of pg_wal on its way into repositories: read once, and bound to the very file that was read.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "core/bytes.h"
#include "core/result.h"
#include "pg/wal.h"

struct stat;

namespace pgark {

/// Which file a path led to, and in what state: another file of the same name, or one written since, compares unequal.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;  // Also of a rename, as when PostgreSQL recycles a segment.
  auto operator<=>(const FileIdentity&) const = default;
};

FileIdentity file_identity(const struct stat& status);
/// Errors: kNotFound if there is no such file; kInvalid if it is not a regular one.
Result<FileIdentity> file_identity(const std::string& path);

struct PushSource {
  std::string path;  // Absolute.
  std::string name;  // Last component.
  pg::WalFileName parsed;
  Buffer content;
  FileIdentity identity;  // The same before and after it was read.

  /// Directory it lies in: pg_wal, as a rule.
  std::string directory() const;
  /// Timeline it is of; of a history the one it begins.
  TimelineId timeline() const;
  bool is_history() const { return std::holds_alternative<pg::WalHistoryName>(parsed); }
  bool is_segment() const { return std::holds_alternative<pg::WalSegmentName>(parsed); }
};

/// Timeline an archive file is of.
TimelineId timeline_of(const pg::WalFileName& name);

/// Read a file of the archive whole, into the memory of `room`: that of 16 MiB costs much to get from the system.
/// Errors: kInvalid if its name is none of the archive, or it is no regular file; kCorrupt if larger than any WAL file;
///         kTransient if it changed while it was read; kNotFound if it does not exist.
Result<PushSource> read_push_source(const std::string& path, Buffer room = {});

}  // namespace pgark
