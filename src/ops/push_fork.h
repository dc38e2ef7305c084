// Fork safety: WAL of a timeline goes into a repository only if both mean the same timeline by its number.
#pragma once

#include <map>
#include <string>

#include "catalog/cluster.h"
#include "core/ids.h"
#include "core/result.h"
#include "core/thread_annotations.h"
#include "ops/push_source.h"
#include "repo/repository.h"

namespace pgark {

/// The refusal to store WAL of a timeline that began elsewhere than the one of that number in the repository.
/// Shape: `local` and `stored` are the contents of the two history files.
Error forked_timeline(TimelineId timeline, Bytes local, Bytes stored, const std::string& stanza,
                      const std::string& repository);

/// Whether the repository's history of a timeline is the cluster's own. Remembers what it found the same, bound to the
/// local file. Safe from several threads.
class ForkGuard {
 public:
  ForkGuard(const Repository& repository, std::string stanza, const ClusterRecord& cluster)
      : repository_(&repository), stanza_(std::move(stanza)), cluster_(cluster) {}

  enum class Verdict : unsigned char {
    kSame,    // Or timeline 1, which has no history.
    kAbsent,  // The repository has none: push the one in `wal_directory` first.
  };
  /// Compare the history of `timeline` in `wal_directory` with the repository's.
  /// Errors: kInvalid if they differ, naming both switch points, or if neither place has one; of the store.
  Result<Verdict> check(TimelineId timeline, const std::string& wal_directory);

 private:
  const Repository* repository_;
  std::string stanza_;
  ClusterRecord cluster_;
  Mutex mu_;
  std::map<TimelineId, FileIdentity> same_ GUARDED_BY(mu_);
};

}  // namespace pgark
