#include "core/clock.h"

#include <unistd.h>

#include <thread>

#include "core/check.h"

namespace pgark {
namespace {

class SystemClock final : public Clock {
 public:
  Timestamp now() override {
    return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  }
  std::chrono::steady_clock::time_point steady() override { return std::chrono::steady_clock::now(); }
  void sleep_for(std::chrono::milliseconds duration) override { std::this_thread::sleep_for(duration); }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

uint64_t random_seed() {
  // From the kernel: std::random_device first asks the processor what it can do, which a virtual machine traps.
  uint64_t seed = 0;
  CHECK(::getentropy(&seed, sizeof seed) == 0);
  return seed;
}

}  // namespace pgark
