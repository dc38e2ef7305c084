// The repositories one backup goes to. One that fails is left behind, and the backup goes on as long as one is left.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "ops/backup.h"
#include "repo/repository_set.h"

namespace pgark {

/// What every step of a backup that touches repositories goes through. Used by the thread of the backup alone; set() is
/// safe from several.
class BackupTargets {
 public:
  /// `destinations` and `warnings`, to which it is added who was left behind, must outlive it.
  BackupTargets(const std::vector<BackupDestination>& destinations, std::vector<std::string>& warnings);

  const RepositorySet& set() const { return set_; }
  /// The first: what is built on is read from it.
  const Repository& first() const { return set_.at(0); }
  const std::string& first_name() const { return destinations_.front().name; }
  bool any_failed() const;

  /// Do `step`, which takes a repository, for each that is still with us; one in which it fails is left behind.
  /// Errors: that of the last one; kCancelled at once.
  template <typename Step>
  Result<> for_each(Step step) {
    for (size_t i = 0; i < set_.size(); ++i) {
      if (set_.has_failed(i)) continue;
      Result<> done = step(set_.at(i));
      if (done.has_value()) continue;
      // Whatever stops the run is no failure of a repository.
      if (done.error().code() == Errc::kCancelled) return done;
      TRY(leave_behind(i, std::move(done).error()));
    }
    return {};
  }

  /// Leave behind those in which somebody else has begun to do this job.
  Result<> check_fences();

  /// Who has the backup that was committed to all that are left, and who has not.
  void tell(const std::string& stanza, BackupReport& report) const;

 private:
  Result<> leave_behind(size_t index, Error error);

  const std::vector<BackupDestination>& destinations_;
  const RepositorySet set_;
  std::vector<std::string>& warnings_;
};

}  // namespace pgark
