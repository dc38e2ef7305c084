// archive-heal: fetch WAL that the repository lacks, or has only damaged, from the pg_wal of the cluster's own nodes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codec/compress.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/wal_source.h"
#include "repo/repository.h"

namespace pgark {

struct ArchiveHealOptions {
  std::string stanza;
  bool verify = false;           // Read every stored segment since the oldest backup, not only those beside gaps.
  bool dry_run = false;          // Find and check, push nothing.
  std::string temporary_parent;  // An existing directory in which files on their way are made and removed.
  Codec codec = Codec::kZstd;
  int level = 1;
  unsigned threads = 1;
  std::string host;  // Recorded with what is pushed.
};

/// A segment or timeline history that was fetched (dry_run: could be).
struct HealedWal {
  std::string name;
  std::string source;  // Where it was found.
  std::string damage;  // Of the stored copy; empty: it was missing.
  std::string key;     // Of the new copy; empty if dry_run.
};
/// One that was not.
struct UnhealedWal {
  std::string name;
  std::string damage;              // As above.
  std::vector<std::string> tried;  // What each place said of it that has it.
};

struct ArchiveHealResult {
  std::vector<HealedWal> healed;
  std::vector<UnhealedWal> missing;  // The first kUnhealedMax.
  uint64_t missing_count = 0;
  uint64_t verified_count = 0;        // Segments that `verify` read.
  std::vector<std::string> warnings;  // Places that could not be looked into, and why.
  bool needs_backup = false;          // Afterwards: the cluster goes on behind a gap, and no backup lies behind it.
};
inline constexpr size_t kUnhealedMax = 1000;

/// Look for every segment that lacks or is damaged since the oldest backup, and for missing timeline histories, and
/// push what can be had. Places are asked in order.
/// Shape:  a segment is taken only if it is complete: of this cluster, at its address, with records up to its end, and
///         joining its neighbours where they are there. One that is still being written is not. What is pushed are the
///         very bytes that were checked; beside a damaged copy they become the next generation.
/// Errors: kNotFound if there is no such stanza; of the store; kCancelled. A place that fails is a warning.
Result<ArchiveHealResult> archive_heal(const Repository& repository, Clock& clock, const CancelToken& cancel,
                                       std::vector<std::unique_ptr<WalSource>> sources,
                                       const ArchiveHealOptions& options);

}  // namespace pgark
