#include "store/backoff.h"

#include <algorithm>
#include <string>

namespace pgark {
namespace {
constexpr std::chrono::milliseconds kCancelPollMax{100};
}

bool RetryAttempts::may_go_on(const RetryPolicy& policy, Clock& clock) {
  if (!first_failure_) first_failure_ = clock.steady();
  if (made_ < policy.attempts_max) return true;
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(clock.steady() - *first_failure_);
  return std::max(passed, waited_) < policy.patience;
}

std::chrono::milliseconds RetryAttempts::next_delay(const RetryPolicy& policy, Rng& rng) {
  auto delay = policy.delay_max;
  const unsigned doublings = made_ - 1;
  if (doublings < 20) delay = std::min(delay, policy.delay_first * (1 << doublings));
  const auto half = delay / 2;
  delay = half + std::chrono::milliseconds(rng.below(static_cast<uint64_t>((delay - half).count()) + 1));
  ++made_;
  waited_ += delay;
  return delay;
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
