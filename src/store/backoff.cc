#include "store/backoff.h"

#include <algorithm>
#include <string>

namespace pgark {
namespace {
constexpr std::chrono::milliseconds kCancelPollMax{100};
}

std::chrono::milliseconds retry_delay(const RetryPolicy& policy, unsigned attempts_made, Rng& rng) {
  auto delay = policy.delay_max;
  const unsigned doublings = attempts_made - 1;
  if (doublings < 20) delay = std::min(delay, policy.delay_first * (1 << doublings));
  const auto half = delay / 2;
  return half + std::chrono::milliseconds(rng.below(static_cast<uint64_t>((delay - half).count()) + 1));
}

Result<> sleep_unless_cancelled(Clock& clock, std::chrono::milliseconds duration, const CancelToken* cancel,
                                std::string_view reason) {
  while (duration.count() > 0) {
    if (cancel != nullptr && cancel->cancelled())
      return Error(Errc::kCancelled, "stopped on request while waiting to retry: " + std::string(reason));
    const auto slice = cancel == nullptr ? duration : std::min(duration, kCancelPollMax);
    clock.sleep_for(slice);
    duration -= slice;
  }
  return {};
}

}  // namespace pgark
