// How long to wait before something that failed is tried again.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"

namespace pgark {

struct RetryPolicy {
  unsigned attempts_max = 5;  // Of one call, the first included; at least 1.
  std::chrono::milliseconds delay_first{100};
  std::chrono::milliseconds delay_max{10'000};
  size_t replay_bytes_max = 17u << 20;  // A writer keeps this much to send it again: a whole 16 MiB segment.
  /// Go on, beyond attempts_max, until so much time has passed since the first attempt failed: a store that is away for
  /// a moment must not end hours of work.
  std::chrono::milliseconds patience{0};
  std::chrono::milliseconds asked_delay_max{
      30'000};                          // Of what a service asks for (Retry-After), before the delays here.
  const CancelToken* cancel = nullptr;  // Ends waiting with kCancelled.
};

/// How often one call was tried, and for how long.
class RetryAttempts {
 public:
  unsigned made() const { return made_; }
  /// Count another failure. Whether the policy allows another attempt.
  bool may_go_on(const RetryPolicy& policy, Clock& clock);
  /// The wait before it, after `made` attempts: between half and all of delay_first * 2^(made - 1), and at most
  /// delay_max.
  std::chrono::milliseconds next_delay(const RetryPolicy& policy, Rng& rng);

 private:
  unsigned made_ = 1;
  std::chrono::milliseconds waited_{0};
  std::optional<std::chrono::steady_clock::time_point> first_failure_;
};

/// Sleep, in slices short enough to notice a cancellation soon. kCancelled, with the reason for waiting, if there was
/// one.
Result<> sleep_unless_cancelled(Clock& clock, std::chrono::milliseconds duration, const CancelToken* cancel,
                                std::string_view reason);

}  // namespace pgark
