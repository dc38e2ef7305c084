// The state of a round of verify while workers add to it: under one lock, and saved as it grows.
#pragma once

#include <chrono>

#include "core/clock.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "ops/verify_state.h"

namespace pgark {

/// What this run adds to the state, under one lock.
class VerifyLedger {
 public:
  VerifyLedger(const VerifyOptions& options, Clock& clock) : options_(options), clock_(clock) {}

  /// Take up the state of the last run, or begin a round. True: it was taken up.
  bool open(VerifyState fresh) {
    const MutexLock lock(mu_);
    saved_at_ = clock_.steady();
    bool resumed = false;
    if (!options_.restart && !options_.state_path.empty()) {
      auto known = load_verify_state(options_.state_path, clock_.now());
      if (!known) cannot_keep(known.error());
      if (known && *known && (*known)->same_round(fresh)) {
        fresh = std::move(**known);
        resumed = true;
      }
    }
    state_ = std::move(fresh);
    return resumed;
  }

  /// Change the state; it is saved now and then.
  template <typename Change>
  void update(Change change) {
    const MutexLock lock(mu_);
    change(state_);
    ++unsaved_;
    if (unsaved_ >= kSaveUnits || clock_.steady() - saved_at_ >= kSaveInterval) save_locked();
  }
  template <typename Look>
  auto look(Look see) {
    const MutexLock lock(mu_);
    return see(static_cast<const VerifyState&>(state_));
  }
  void save() {
    const MutexLock lock(mu_);
    save_locked();
  }

 private:
  /// How much may have to be read again after the process is killed.
  static constexpr auto kSaveInterval = std::chrono::seconds(1);
  static constexpr unsigned kSaveUnits = 32;

  /// The state is of use only to a later run: this one goes on without.
  void cannot_keep(const Error& error) REQUIRES(mu_) {
    failed_ = true;
    log_warn("what this run does is not remembered, an interrupted verify begins anew: {}", error.message());
  }

  void save_locked() REQUIRES(mu_) {
    if (options_.state_path.empty() || failed_) return;
    state_.saved = clock_.now();
    const auto saved = save_verify_state(options_.state_path, state_);
    if (!saved) cannot_keep(saved.error());
    saved_at_ = clock_.steady();
    unsaved_ = 0;
  }

  const VerifyOptions& options_;
  Clock& clock_;
  Mutex mu_;
  VerifyState state_ GUARDED_BY(mu_);
  unsigned unsaved_ GUARDED_BY(mu_) = 0;
  bool failed_ GUARDED_BY(mu_) = false;
  std::chrono::steady_clock::time_point saved_at_ GUARDED_BY(mu_);
};

/// Add to what is kept, within its bound.
inline void add_damage(VerifyState& state, VerifyDamage damage) {
  state.damage_count += damage.count;
  if (state.damages.size() < kVerifyDamagesMax) state.damages.push_back(std::move(damage));
}

}  // namespace pgark
