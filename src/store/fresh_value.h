// Something that expires, as credentials do, fetched anew in time by one thread while the others go on with the old.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "core/clock.h"
#include "core/log.h"
#include "core/thread_annotations.h"

namespace pgark {

/// Safe from several threads. The wall clock says what has expired, the steady one when to try again.
template <typename T>
class FreshValue {
 public:
  struct Fetched {
    T value;
    std::optional<Timestamp> expires{};  // None: never.
  };
  using Fetch = std::function<Result<Fetched>()>;

  static constexpr std::chrono::minutes kRefreshBefore{5};  // Its expiry.
  static constexpr std::chrono::minutes kUsableBefore{1};
  static constexpr std::chrono::seconds kPause{30};  // Between attempts, while the old is good.

  /// `what` is for messages: "refresh credentials of repo1". `fetch` runs in one thread at a time.
  FreshValue(Fetch fetch, Clock& clock, std::string what)
      : fetch_(std::move(fetch)), clock_(clock), what_(std::move(what)) {}

  /// A value good for at least another minute, unless the source has none that lasts so long.
  /// Errors: of the fetch, when there is no value that is still good, but never kNotFound; kTransient if what it brings
  ///         has expired.
  Result<T> get() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    for (;;) {
      if (lasts(kUsableBefore) && (fetching_ || lasts(kRefreshBefore) || clock_.steady() < retry_at_)) {
        return held_->value;
      }
      if (!fetching_) break;
      const uint64_t round = round_;
      while (round_ == round) fetched_.wait(mu_);
      if (error_) return *error_;  // Asking again at once would bring no more.
    }
    fetching_ = true;
    lock.unlock();
    Result<Fetched> fresh = fetch_();
    lock.lock();
    return take(std::move(fresh));
  }

  void invalidate() EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    held_.reset();
  }

 private:
  bool lasts(std::chrono::microseconds duration) const REQUIRES(mu_) {
    return held_.has_value() && (!held_->expires || *held_->expires - clock_.now() > duration);
  }

  Result<T> take(Result<Fetched> fresh) REQUIRES(mu_) {
    fetching_ = false;
    ++round_;
    error_.reset();
    retry_at_ = clock_.steady() + kPause;
    fetched_.notify_all();
    if (fresh && fresh->expires && *fresh->expires <= clock_.now()) {
      fresh = Error(Errc::kTransient, what_ + ": what was handed out has expired already")
                  .with_hint("check the clock of this machine");
    }
    if (fresh) {
      held_ = std::move(*fresh);
      return held_->value;
    }
    if (lasts(kUsableBefore)) {
      log_warn("{}: {}; going on with the old ones until they expire", what_, fresh.error().message());
      return held_->value;
    }
    error_ = std::move(fresh).error();
    // The caller is asked for an object, and must not take a missing token for a missing object.
    if (error_->code() == Errc::kNotFound) error_ = std::move(*error_).with_code(Errc::kPermission);
    if (error_->code() == Errc::kCorrupt) error_ = std::move(*error_).with_code(Errc::kTransient);
    return *error_;
  }

  const Fetch fetch_;
  Clock& clock_;
  const std::string what_;
  Mutex mu_;
  CondVar fetched_;
  bool fetching_ GUARDED_BY(mu_) = false;
  uint64_t round_ GUARDED_BY(mu_) = 0;  // Of fetches that have ended.
  std::optional<Fetched> held_ GUARDED_BY(mu_);
  std::optional<Error> error_ GUARDED_BY(mu_);  // Of the last fetch.
  std::chrono::steady_clock::time_point retry_at_ GUARDED_BY(mu_){};
};

}  // namespace pgark
