// Time zones through cctz, which reads the machine's database with the rules at its end and keeps no global state
// beside its cache (docs/adr/0008-time-zones.md).
#include "catalog/time_zone.h"

#include <cctz/time_zone.h>
#include <sys/stat.h>

#include <algorithm>

namespace pgark {
namespace {

constexpr const char* kMachineZone = "/etc/localtime";

/// cctz opens any path and a few forms of its own; a name is one of the database, and nothing else.
bool is_zone_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' || c == '_' ||
           c == '-' || c == '+';
  };
  return !name.empty() && name.front() != '/' && std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace

struct TimeZone::Rules {
  cctz::time_zone zone;
};

Result<TimeZone> TimeZone::open(const std::string& name) {
  auto rules = std::make_shared<Rules>();
  if (name.empty()) {
    struct stat status {};
    const bool exists = ::stat(kMachineZone, &status) == 0;
    if (!exists) {
      rules->zone = cctz::utc_time_zone();
    } else if (!cctz::load_time_zone(kMachineZone, &rules->zone)) {
      return Error(Errc::kInvalid,
                   std::string("read the time zone of this machine: ") + kMachineZone + " is no time zone file")
          .with_hint("name the zone with retention-timezone, such as Europe/Berlin or UTC");
    }
    return TimeZone("", std::move(rules));
  }
  if (!is_zone_name(name) || !cctz::load_time_zone(name, &rules->zone)) {
    return Error(Errc::kInvalid, "time zone '" + name + "' is not known on this machine")
        .with_hint(
            "zones have names such as Europe/Berlin or UTC; the package tzdata brings them to "
            "/usr/share/zoneinfo");
  }
  return TimeZone(name, std::move(rules));
}

std::chrono::year_month_day TimeZone::date_at(Timestamp time) const {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  const cctz::civil_day day(rules_->zone.lookup(second).cs);
  return std::chrono::year(static_cast<int>(day.year())) / std::chrono::month(static_cast<unsigned>(day.month())) /
         std::chrono::day(static_cast<unsigned>(day.day()));
}

IsoWeek iso_week(std::chrono::year_month_day day) {
  using std::chrono::days;
  // A week belongs to the year of its Thursday.
  const std::chrono::sys_days date(day);
  const auto since_monday = std::chrono::weekday(date) - std::chrono::Monday;
  const std::chrono::sys_days thursday = date - since_monday + days(3);
  const std::chrono::year year = std::chrono::year_month_day(thursday).year();
  const auto into_year = thursday - std::chrono::sys_days(year / std::chrono::January / 1);
  return {static_cast<int>(year), static_cast<unsigned>(into_year.count()) / 7 + 1};
}

}  // namespace pgark
