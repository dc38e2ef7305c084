// Leases of a command that only one host may run at a time in a repository.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "core/thread_annotations.h"
#include "repo/lease.h"
#include "repo/repository.h"

namespace pgark {

/// Name of the lease, as of the local lock, of what changes the backups of a stanza.
inline constexpr std::string_view kBackupLease = "backup";
/// The same of its dumps.
inline constexpr std::string_view kDumpLease = "dump";

/// The leases of one run. Destroy it before the repositories: that releases them.
class JobLeases {
 public:
  /// `lease` is a literal.
  explicit JobLeases(const CommandContext& context, std::string_view lease = kBackupLease)
      : context_(context), lease_(lease), cancel_(&context.cancel) {}

  /// Take the lease of a repository. A directory ("posix") has none: there, as ever, the lock in lock-path counts.
  /// Null then. Errors: as Lease::acquire().
  Result<const HeldLease*> take(const Repository& repository);
  /// The context of the run: cancelled as well once no repository is left in which it may go on.
  CommandContext context();
  /// The reason, if a run was cancelled because its leases were lost.
  Error explain(Error error) const;

 private:
  void lose(const Error& error);

  const CommandContext& context_;
  const std::string_view lease_;
  CancelToken cancel_;
  mutable Mutex mu_;
  size_t repository_count_ GUARDED_BY(mu_) = 0;
  size_t lost_count_ GUARDED_BY(mu_) = 0;
  std::optional<Error> lost_ GUARDED_BY(mu_);
  std::vector<std::unique_ptr<HeldLease>> leases_;  // Last: their threads call lose().
};

}  // namespace pgark
