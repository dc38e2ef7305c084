#include "cli/job_lease.h"

#include <unistd.h>

#include "cli/access.h"

namespace pgark {

Result<const HeldLease*> JobLeases::take(const Repository& repository) {
  std::unique_ptr<HeldLease> lease;
  if (repository.store().caps().kind != "posix") {
    LeaseHolder holder;
    holder.host = host_name();
    holder.pid = ::getpid();
    holder.command = context_.settings.command_name();
    holder.started = context_.clock.now();
    TRY_ASSIGN(lease, HeldLease::acquire(repository, context_.settings.stanza(), std::string(lease_), std::move(holder),
                                         context_.clock, context_.cancel, random_seed(),
                                         [this](const Error& error) { lose(error); }));
  }
  const MutexLock lock(mu_);
  ++repository_count_;
  if (lease == nullptr) return nullptr;
  leases_.push_back(std::move(lease));
  return leases_.back().get();
}

CommandContext JobLeases::context() {
  return {.settings = context_.settings,
          .cancel = cancel_,
          .clock = context_.clock,
          .rng = context_.rng,
          .out = context_.out,
          .open_store = context_.open_store,
          .program = context_.program};
}

Error JobLeases::explain(Error error) const {
  const MutexLock lock(mu_);
  if (error.code() != Errc::kCancelled || context_.cancel.cancelled() || !lost_) return error;
  return *lost_;
}

void JobLeases::lose(const Error& error) {
  const MutexLock lock(mu_);
  if (!lost_) lost_ = error;
  if (++lost_count_ >= repository_count_) cancel_.cancel();
}

}  // namespace pgark
