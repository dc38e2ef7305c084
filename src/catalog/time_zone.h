// Calendar days of a time zone of the machine's database, whatever the zone of the process is.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/result.h"

namespace pgark {

/// A zone by its name in the time zone database. Copies share what was read.
class TimeZone {
 public:
  /// Read a zone: "Europe/Berlin", "UTC"; empty: that of the machine, which is UTC if it has none (/etc/localtime).
  /// Errors: kInvalid if the database has no such zone.
  static Result<TimeZone> open(const std::string& name);

  /// The day on the calendar at `time`.
  std::chrono::year_month_day date_at(Timestamp time) const;
  const std::string& name() const { return name_; }

 private:
  struct Rules;
  TimeZone(std::string name, std::shared_ptr<const Rules> rules) : name_(std::move(name)), rules_(std::move(rules)) {}

  std::string name_;
  std::shared_ptr<const Rules> rules_;  // Shared with copies only.
};

/// Week of the ISO 8601 calendar, 1..53, and the year it belongs to, which near New Year is not that of the day.
struct IsoWeek {
  int year = 0;
  unsigned week = 0;
  auto operator<=>(const IsoWeek&) const = default;
};
IsoWeek iso_week(std::chrono::year_month_day day);

}  // namespace pgark
