// archive-get: bring one file of the archive back, verified, or say that it is proven absent, or fail: recovery never
// ends early because of what the archive lacks.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/repository_source.h"

namespace pgark {

struct ArchiveGetOptions {
  std::string stanza;
  std::string name;            // What recovery asks for: %f.
  std::string destination;     // Absolute path of the file to write: %p. Replaced if it exists.
  std::string data_directory;  // Of the server that asks; tells which of the stanza's clusters it is, and what it does
                               // where WAL ends. May be empty.
  unsigned threads = 1;        // That decode.
  std::chrono::milliseconds hole_wait{0};  // How long a segment may still be on its way when later ones are there.
  const CancelToken* cancel = nullptr;     // Ends the wait.
};

enum class ArchiveGetOutcome : uint8_t {
  kFetched,
  kAbsent,  // Listings of all repositories prove that none has a copy, and WAL may end there.
};

using ArchiveSource = RepositorySource;

/// Verify a copy of the file and put it at the destination, whole: from the first of the repositories that has a good
/// one. A damaged copy is passed over for the next generation or repository.
/// Errors: everything but proven absence; the destination is then as it was. A repository that cannot be searched, or
/// has
///         only damaged copies, is an error unless another has the file; one in which WAL ends early counts as having
///         it only for a server that does not end its recovery there. So is, for a server that would end its recovery
///         there, a segment that is missing (or in which WAL ends early) while WAL of its timeline goes on, unless the
///         server's own pg_wal has it; and a history that is missing while its timeline is there. kNotFound means that
///         a stanza or repository is not there, never that the file is not.
Result<ArchiveGetOutcome> archive_get(std::span<const ArchiveSource> sources, Clock& clock,
                                      const ArchiveGetOptions& options);
Result<ArchiveGetOutcome> archive_get(const Repository& repository, Clock& clock, const ArchiveGetOptions& options);

}  // namespace pgark
