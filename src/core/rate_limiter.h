// A limit on bytes a second, shared by threads.
#pragma once

#include <chrono>
#include <cstdint>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/thread_annotations.h"

namespace pgark {

/// A token bucket that may run into debt: bytes are accounted for at once, and whoever accounted waits until they are
/// paid for. So threads take turns in the order of their calls, no share is too large for the bucket, and over any
/// stretch of time no more passes than its length, and one second, allow.
class RateLimiter {
 public:
  /// `bytes_per_second` > 0; `clock` must outlive the limiter. What idle time saves up is at most a second's worth; the
  /// first second is not given away.
  RateLimiter(uint64_t bytes_per_second, Clock& clock);

  /// Account for `bytes` and wait for as long as the limit demands. kCancelled, soon, once `cancel` is.
  Result<> take(uint64_t bytes, const CancelToken* cancel = nullptr);

  uint64_t bytes_per_second() const { return bytes_per_second_; }
  /// Time spent waiting, of all threads together.
  std::chrono::microseconds waited();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  const uint64_t bytes_per_second_;
  Clock& clock_;
  Mutex mu_;
  TimePoint paid_until_ GUARDED_BY(mu_);  // What was accounted for is paid for by then.
  std::chrono::microseconds waited_ GUARDED_BY(mu_){0};
};

}  // namespace pgark
