// Time and chance as arguments, so that every test can be replayed.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace pgark {

/// Microseconds since 1970-01-01 UTC.
using Timestamp = std::chrono::sys_time<std::chrono::microseconds>;

/// Tells the time and waits. Implementations are safe to use from several threads.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Timestamp now() = 0;                                 // Wall clock: may jump.
  virtual std::chrono::steady_clock::time_point steady() = 0;  // Never goes back; for durations and deadlines.
  virtual void sleep_for(std::chrono::milliseconds duration) = 0;
};

/// The machine's clock.
Clock& system_clock();

/// Seeded source of chance. Not safe to share between threads.
class Rng {
 public:
  explicit Rng(uint64_t seed) : engine_(seed) {}
  /// Uniform in [0, bound); `bound` > 0.
  uint64_t below(uint64_t bound) { return std::uniform_int_distribution<uint64_t>(0, bound - 1)(engine_); }
  uint64_t next() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

/// A seed from the system's entropy.
uint64_t random_seed();

}  // namespace pgark
