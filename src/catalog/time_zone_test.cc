// Days of time zones at their edges, and ISO weeks at the turn of the year.
#include "catalog/time_zone.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace pgark {
namespace {

using namespace std::chrono_literals;

std::string day_at(const std::string& zone, Timestamp time) {
  const auto opened = TimeZone::open(zone);
  if (!opened) return opened.error().to_string();
  const auto day = opened->date_at(time);
  return fmt::format("{}-{:02}-{:02}", static_cast<int>(day.year()), static_cast<unsigned>(day.month()),
                     static_cast<unsigned>(day.day()));
}

Timestamp utc(int year, unsigned month, unsigned day, std::chrono::seconds into_day = 0s) {
  return Timestamp(std::chrono::sys_days(std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day))) +
         into_day;
}

TEST(TimeZone, DayBeginsWhereTheZoneSays) {
  EXPECT_EQ(day_at("UTC", utc(2026, 11, 22, 23h + 30min)), "2026-11-22");
  EXPECT_EQ(day_at("Europe/Berlin", utc(2026, 11, 22, 22h + 59min + 59s)), "2026-11-22");
  EXPECT_EQ(day_at("Europe/Berlin", utc(2026, 11, 22, 23h)), "2026-11-23");
  EXPECT_EQ(day_at("Europe/Berlin", utc(2026, 7, 22, 22h)), "2026-07-23");  // Summer: two hours.
  EXPECT_EQ(day_at("Pacific/Kiritimati", utc(2026, 12, 31, 10h)), "2027-01-01");
  EXPECT_EQ(day_at("America/New_York", utc(2027, 1, 1, 4h + 59min)), "2026-12-31");
  EXPECT_EQ(day_at("Asia/Kathmandu", utc(2026, 5, 1, 18h + 15min)), "2026-05-02");
}

TEST(TimeZone, RuleBehindTheLastListedTransitionHolds) {
  EXPECT_EQ(day_at("Europe/Berlin", utc(2060, 7, 1, 22h)), "2060-07-02");
  EXPECT_EQ(day_at("Europe/Berlin", utc(2060, 12, 1, 22h)), "2060-12-01");
}

TEST(TimeZone, LeapDaysAndTimesBeforeTheEpochHaveTheirDay) {
  EXPECT_EQ(day_at("UTC", utc(2028, 2, 29, 12h)), "2028-02-29");
  EXPECT_EQ(day_at("UTC", utc(1969, 12, 31, 23h) + 999999us), "1969-12-31");
}

TEST(TimeZone, UnknownNamesAndPathsAreRefused) {
  for (const std::string name : {"Europe/Nowhere", "/etc/localtime", "../../../etc/passwd", "file:/etc/passwd", ":UTC",
                                 "libc:localtime", "Europe/Berlin ", "Europe"}) {
    const auto opened = TimeZone::open(name);
    ASSERT_FALSE(opened.has_value()) << name;
    EXPECT_EQ(opened.error().code(), Errc::kInvalid);
  }
}

TEST(TimeZone, ThatOfTheMachineDoesNotDependOnTheProcess) {
  const Timestamp noon = utc(2026, 11, 22, 12h);
  const std::string before = day_at("", noon);
  const char* old = std::getenv("TZ");
  const std::string kept = old == nullptr ? "" : old;
  ASSERT_EQ(::setenv("TZ", "Pacific/Kiritimati", 1), 0);
  EXPECT_EQ(day_at("", noon), before);
  EXPECT_EQ(day_at("UTC", noon), "2026-11-22");
  ASSERT_EQ(old == nullptr ? ::unsetenv("TZ") : ::setenv("TZ", kept.c_str(), 1), 0);
}

TEST(IsoWeek, BelongsToTheYearOfItsThursday) {
  using namespace std::chrono;
  EXPECT_EQ(iso_week(2026y / November / 22), (IsoWeek{2026, 47}));  // A Sunday.
  EXPECT_EQ(iso_week(2026y / November / 23), (IsoWeek{2026, 48}));
  EXPECT_EQ(iso_week(2020y / December / 31), (IsoWeek{2020, 53}));
  EXPECT_EQ(iso_week(2021y / January / 3), (IsoWeek{2020, 53}));
  EXPECT_EQ(iso_week(2021y / January / 4), (IsoWeek{2021, 1}));
  EXPECT_EQ(iso_week(2024y / December / 30), (IsoWeek{2025, 1}));
  EXPECT_EQ(iso_week(2023y / January / 1), (IsoWeek{2022, 52}));
}

}  // namespace
}  // namespace pgark
