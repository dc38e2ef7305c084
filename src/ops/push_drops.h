// Segments given up under archive-push-queue-max: noted on this machine before PostgreSQL is told that they are
// archived, and carried over to every repository that lacks them as soon as it can be reached.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// A segment that was acknowledged without being stored.
struct DroppedSegment {
  std::string segment;
  Timestamp time{};
  std::string host;
  uint64_t queue_bytes = 0;          // That waited in pg_wal.
  uint64_t limit_bytes = 0;          // archive-push-queue-max.
  std::vector<std::string> waiting;  // Repositories ("repo2") that do not know yet.
};

/// The notes of one stanza: `<spool-path>/archive/<stanza>/dropped.jsonl`, a line a segment. Safe to use from several
/// processes and threads.
class DropNotes {
 public:
  /// `directory` need not exist.
  explicit DropNotes(std::string directory) : directory_(std::move(directory)) {}

  /// Append a note; durable when ok. Errors: of the directory; nothing may then be given up.
  Result<> add(const DroppedSegment& dropped) const;
  /// Notes that `repository` does not know of yet; empty if there are none, or no directory.
  Result<std::vector<DroppedSegment>> waiting_for(const std::string& repository) const;
  /// Write them to the repository, runs of neighbours as one record, and note that it knows them.
  /// Errors: of the store; of reading and writing the notes. What was written stays.
  Result<> carry_over(const std::string& name, const Repository& repository, const std::string& stanza,
                      unsigned cluster_number, uint32_t wal_segment_bytes) const;

 private:
  std::string path() const { return directory_ + "/dropped.jsonl"; }

  std::string directory_;
};

}  // namespace pgark
