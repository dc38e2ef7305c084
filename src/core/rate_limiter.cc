#include "core/rate_limiter.h"

#include <algorithm>

namespace pgark {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kSlice{100};  // Between looks at the cancel token.

}  // namespace

RateLimiter::RateLimiter(uint64_t bytes_per_second, Clock& clock)
    : bytes_per_second_(bytes_per_second), clock_(clock), paid_until_(clock.steady()) {}

Result<> RateLimiter::take(uint64_t bytes, const CancelToken* cancel) {
  const auto now = clock_.steady();
  TimePoint mine;
  {
    MutexLock lock(mu_);
    paid_until_ = std::max(paid_until_, now - std::chrono::seconds(1));
    // In floating point, since bytes times nanoseconds do not fit into 64 bits; a rounding error lasts for one call.
    const auto price =
        std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
    paid_until_ += duration_cast<TimePoint::duration>(price);
    mine = paid_until_;
    if (mine > now) waited_ += duration_cast<microseconds>(mine - now);
  }
  for (;;) {
    if (cancel != nullptr) TRY(cancel->check());
    const auto left = mine - clock_.steady();
    if (left <= TimePoint::duration::zero()) return {};
    // Rounded up, so that waiting comes to an end.
    clock_.sleep_for(std::min(kSlice, std::chrono::ceil<milliseconds>(left)));
  }
}

microseconds RateLimiter::waited() {
  MutexLock lock(mu_);
  return waited_;
}

}  // namespace pgark
