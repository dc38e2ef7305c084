// What the tests of credentials and tokens share.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <string>

#include "core/clock.h"

namespace pgark {

/// A clock that stands still until it is moved. 2026-01-01 00:00 UTC to begin with.
class StandingClock final : public Clock {
 public:
  Timestamp now() override { return Timestamp(kBegin + elapsed()); }
  std::chrono::steady_clock::time_point steady() override {
    return std::chrono::steady_clock::time_point(std::chrono::hours(1) + elapsed());
  }
  void sleep_for(std::chrono::milliseconds duration) override { advance(duration); }
  void advance(std::chrono::microseconds by) { elapsed_us_ += by.count(); }

 private:
  static constexpr std::chrono::seconds kBegin{1767225600};
  std::chrono::microseconds elapsed() const { return std::chrono::microseconds(elapsed_us_.load()); }
  std::atomic<int64_t> elapsed_us_ = 0;
};

/// "2026-01-01T00:00:00Z".
inline std::string utc_text(Timestamp time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(floor<seconds>(time - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

}  // namespace pgark
