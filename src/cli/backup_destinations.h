// The repositories a backup goes to: opened, leased, and, where one was away, brought up to date afterwards.
#pragma once

#include <utility>
#include <vector>

#include "cli/access.h"
#include "cli/job_lease.h"
#include "core/progress.h"
#include "ops/backup.h"

namespace pgark {

/// One that cannot be opened or leased keeps nothing from the others: it is left behind, with a warning. Make it before
/// the JobLeases, so that it lives longer.
class BackupDestinations {
 public:
  struct One {
    unsigned number = 1;  // In the configuration.
    OpenedRepository opened;
    const HeldLease* lease = nullptr;  // None before it is taken, and in a repository that has no leases.
  };

  /// Open the repository chosen with --repo, or all. Errors: the first's, if none can be opened.
  Result<> open(const CommandContext& context);
  /// Take the leases of those that are open. Errors: kInvalid if another host runs this job in any of them; kCancelled;
  /// the first's, if none is left.
  Result<> take_leases(JobLeases& leases);

  const std::vector<One>& opened() const { return opened_; }
  bool some_left_behind() const { return !left_behind_.empty(); }
  const std::vector<std::pair<unsigned, Error>>& left_behind() const { return left_behind_; }
  /// What run_backup() writes to.
  std::vector<BackupDestination> all() const;

  /// After the backup: copy it to the repositories that it left behind and that can be reached again (it is complete in
  /// itself, so it needs nothing they lack), and add to the report those that never were open.
  void catch_up(const CommandContext& context, BackupReport& report, Progress& progress) const;

 private:
  void leave_behind(unsigned number, Error error);

  std::vector<One> opened_;
  std::vector<std::pair<unsigned, Error>> left_behind_;
};

/// "repo2".
std::string repository_name(unsigned number);

}  // namespace pgark
