// One stored copy of a WAL file, verified on its way into a file: what archive-get and its prefetcher have in common.
#pragma once

#include <string>

#include "catalog/cluster.h"
#include "core/file.h"
#include "core/result.h"
#include "pg/wal.h"
#include "repo/repository.h"

namespace pgark {

/// A file that is removed unless it was moved to where it belongs.
class TemporaryFile {
 public:
  /// Open `path` for reading and writing, empty, mode 0600.
  static Result<TemporaryFile> create(std::string path);
  TemporaryFile(TemporaryFile&& other) noexcept = default;
  TemporaryFile& operator=(TemporaryFile&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~TemporaryFile();

  const File& file() const { return file_; }
  /// Close it and give it its name, replacing what has it. Not synced.
  Result<> move_to(const std::string& destination);

 private:
  explicit TemporaryFile(File file) : file_(std::move(file)) {}
  File file_;  // Closed: there is nothing to remove.
};

/// The temporary file beside `destination` that PostgreSQL itself removes from pg_wal, should this process be killed.
std::string temporary_beside(const std::string& destination);

struct FetchedWal {
  // Of a segment in which WAL ends before the segment does, be it damage or the end of a timeline.
  std::string end_reason;  // Empty: it does not.
  Lsn end;
};

/// Write the content of a stored file into `into`, a batch of frames at a time, and check that it is what its name
/// says. It is not synced, but on its way to disk.
/// Shape:  `into` is empty and open for reading too; after an error its content is unspecified. Memory does not grow
///         with the segment; frames are decoded by `threads` threads.
/// Errors: kNotFound if the object is not there; kCorrupt if it is damaged or not what its name says; kInvalid if it is
///         of another cluster; of store and file.
Result<FetchedWal> fetch_wal_file(const Repository& repository, const ObjectKey& key, const pg::WalFileName& name,
                                  const ClusterRecord& cluster, unsigned threads, const File& into);

/// Check that a segment on disk is whole and of this cluster, and read its records up to where WAL ends.
/// Errors: of reading; as check_archive_segment().
Result<FetchedWal> check_segment_file(const File& file, const pg::WalSegment& segment, const ClusterRecord& cluster);

}  // namespace pgark
