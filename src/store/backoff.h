// How long to wait before something that failed is tried again.
#pragma once

#include <chrono>
#include <cstddef>
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
  const CancelToken* cancel = nullptr;  // Ends waiting with kCancelled.
};

/// The wait after `attempts_made` attempts: between half and all of delay_first * 2^(attempts_made - 1), and at most
/// delay_max.
std::chrono::milliseconds retry_delay(const RetryPolicy& policy, unsigned attempts_made, Rng& rng);

/// Sleep, in slices short enough to notice a cancellation soon. kCancelled, with the reason for waiting, if there was
/// one.
Result<> sleep_unless_cancelled(Clock& clock, std::chrono::milliseconds duration, const CancelToken* cancel,
                                std::string_view reason);

}  // namespace pgark
