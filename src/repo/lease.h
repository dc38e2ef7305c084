// Leases: that of several hosts only one does a job in a repository, where no lock of one machine can tell.
// docs/format/lease.md says what the objects are.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

/// Who holds a lease, for messages.
struct LeaseHolder {
  std::string host;
  int64_t pid = 0;
  std::string command;
  Timestamp started{};
};

/// The holder renews every `beat`. Whoever could not for `give_up` stops; who was not seen to for `expiry` has lost it.
/// The time in between is for stores whose frontends tell the time differently, and for what is on its way.
struct LeaseTimes {
  std::chrono::milliseconds beat{15'000};
  std::chrono::milliseconds give_up{45'000};
  std::chrono::milliseconds expiry{60'000};
  std::chrono::milliseconds poll{2'000};  // While another holder's life is watched.
};

/// "<stanza>/lease/<what>.<epoch>" as a sequence of objects, none of which is ever changed. No thread of its own: see
/// HeldLease. Used by one thread at a time, but for check().
class Lease {
 public:
  /// Take the lease, if need be after watching for at most LeaseTimes::expiry whether its holder lives.
  /// Shape:  neither this host's nor the holder's idea of the time matters: ages are measured between two objects by
  ///         the store's time, or by watching with a clock that never jumps.
  /// Errors: kInvalid, naming the holder, if it lives or another was faster; kCancelled; of the store.
  static Result<Lease> acquire(const Repository& repository, const std::string& stanza, const std::string& what,
                               LeaseHolder holder, Clock& clock, const CancelToken& cancel, uint64_t seed,
                               LeaseTimes times = {});
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();  // Does not release.

  uint64_t epoch() const;
  const LeaseTimes& times() const;
  /// Say that the holder lives.
  /// Errors: kInvalid if another has taken the lease over: it is lost then; of the store, after which it may be tried
  ///         again.
  Result<> renew();
  /// How long ago the last renewal that worked began.
  std::chrono::milliseconds since_renewal() const;
  /// Refuse what must not be done by two: if renewing has failed for too long, or another has taken over.
  /// Errors: kTransient (not renewed in time); kInvalid (taken over); of the store.
  Result<> check() const;
  /// Let others have it at once. A second call does nothing.
  Result<> release();

 private:
  struct State;
  explicit Lease(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A lease that threads of its own keep alive, released at the end.
class HeldLease {
 public:
  /// `on_lost` is called once, from another thread, with the reason, when the lease is lost or could not be renewed in
  /// time. Errors: as Lease::acquire().
  static Result<std::unique_ptr<HeldLease>> acquire(const Repository& repository, const std::string& stanza,
                                                    const std::string& what, LeaseHolder holder, Clock& clock,
                                                    const CancelToken& cancel, uint64_t seed,
                                                    std::function<void(const Error&)> on_lost, LeaseTimes times = {});
  ~HeldLease();
  HeldLease(const HeldLease&) = delete;
  HeldLease& operator=(const HeldLease&) = delete;

  /// As Lease::check(); the reason if it was lost before.
  Result<> check() const;

 private:
  struct State;
  explicit HeldLease(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace pgark
