// A clock for tests of what waits.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>

#include "core/clock.h"
#include "core/thread_annotations.h"

namespace pgark {

/// Time that passes only by sleeping. Of several threads the one that sleeps longest decides.
class SleepingClock final : public Clock {
 public:
  Timestamp now() override { return {}; }
  std::chrono::steady_clock::time_point steady() override {
    const MutexLock lock(mu_);
    return time_;
  }
  void sleep_for(std::chrono::milliseconds duration) override {
    {
      const MutexLock lock(mu_);
      time_ += duration;
      longest_sleep_ = std::max(longest_sleep_, duration);
    }
    if (on_sleep) on_sleep();
  }
  std::chrono::milliseconds elapsed() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(steady().time_since_epoch());
  }
  std::chrono::milliseconds longest_sleep() {
    const MutexLock lock(mu_);
    return longest_sleep_;
  }

  std::function<void()> on_sleep;  // Called after each.

 private:
  Mutex mu_;
  std::chrono::steady_clock::time_point time_ GUARDED_BY(mu_){};
  std::chrono::milliseconds longest_sleep_ GUARDED_BY(mu_){0};
};

}  // namespace pgark
