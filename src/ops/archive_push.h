// archive-push: make one file of pg_wal durable in the repository before PostgreSQL may recycle it.
#pragma once

#include <cstdint>
#include <string>

#include "codec/compress.h"
#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct ArchivePushOptions {
  std::string stanza;
  std::string source_path;     // Absolute; its last component is the archive file's name.
  std::string data_directory;  // Of the cluster, to know whose a file is that does not say so itself; may be empty.
  Codec codec = Codec::kZstd;
  int level = 1;
  unsigned threads = 1;  // That compress.
  std::string host;      // Recorded with the file.
};

enum class ArchivePushOutcome : uint8_t {
  kStored,        // Written by this call.
  kAlreadyThere,  // The same bytes were there, and are durable.
  kRepaired,      // Every copy that was there is damaged: written as the next generation.
};

struct ArchivePushResult {
  ArchivePushOutcome outcome = ArchivePushOutcome::kStored;
  ObjectKey key;
  uint64_t raw_bytes = 0;
  uint64_t stored_bytes = 0;  // 0 unless written by this call.
};

/// Check a segment, timeline history, backup history or partial segment and store it. Ok means durable in the
/// repository. Errors: kInvalid if it is not of the stanza's cluster, or other bytes are stored under its name (they
/// stay);
///         kCorrupt if it is not what its name says; kNotFound if the file or the stanza does not exist; of the store.
Result<ArchivePushResult> archive_push(const Repository& repository, Clock& clock, const ArchivePushOptions& options);

}  // namespace pgark
