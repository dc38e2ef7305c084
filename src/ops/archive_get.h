// archive-get: bring one file of the archive back, verified, or say that it is proven absent.
#pragma once

#include <cstdint>
#include <string>

#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct ArchiveGetOptions {
  std::string stanza;
  std::string name;            // What recovery asks for: %f.
  std::string destination;     // Absolute path of the file to write: %p. Replaced if it exists.
  std::string data_directory;  // Of the server that asks; tells which of the stanza's clusters it is. May be empty.
  unsigned threads = 1;        // That decode.
};

enum class ArchiveGetOutcome : uint8_t {
  kFetched,
  kAbsent,  // A listing of the repository has no copy of it.
};

/// Verify a copy of the file and put it at the destination, whole. A damaged copy is passed over for the next
/// generation. Errors: everything but proven absence; the destination is then as it was. kNotFound means that the
/// stanza or the
///         repository is not there, never that the file is not.
Result<ArchiveGetOutcome> archive_get(const Repository& repository, Clock& clock, const ArchiveGetOptions& options);

}  // namespace pgark
