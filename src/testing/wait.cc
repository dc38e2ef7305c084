// Polling with growing pauses.
#include "testing/wait.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace pgark::testing {
namespace {

using Steady = std::chrono::steady_clock;

// Short pauses first, so that quick conditions cost little; then up to 50 ms, so that slow ones do not burn a core.
class Pause {
 public:
  void operator()() {
    std::this_thread::sleep_for(next_);
    next_ = std::min(next_ * 2, std::chrono::milliseconds(50));
  }

 private:
  std::chrono::milliseconds next_{1};
};

}  // namespace

bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds bound) {
  const auto deadline = Steady::now() + bound;
  Pause pause;
  while (!condition()) {
    if (Steady::now() >= deadline) return condition();
    pause();
  }
  return true;
}

Result<> wait_for(std::string_view what, const std::function<Result<bool>()>& condition,
                  std::chrono::milliseconds bound) {
  const auto deadline = Steady::now() + bound;
  Pause pause;
  while (true) {
    const bool last = Steady::now() >= deadline;
    TRY_ASSIGN_CTX(const bool holds, condition(), fmt::format("wait for {}", what));
    if (holds) return {};
    if (last) return Error(Errc::kTransient, fmt::format("wait for {}: not within {} ms", what, bound.count()));
    pause();
  }
}

}  // namespace pgark::testing
