// Recovery targets: what is read, what is refused, and how it is shown.
#include "catalog/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

namespace pgark {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Central European Time by rule, so that the test needs no zone database: summer time ends 2026-10-25 01:00 UTC and
/// begins 2026-03-29 01:00 UTC.
constexpr const char* kBerlin = "CET-1CEST,M3.5.0/2,M10.5.0/3";

class ZoneGuard {
 public:
  explicit ZoneGuard(const char* zone) {
    const char* old = std::getenv("TZ");
    if (old != nullptr) old_ = old;
    setenv("TZ", zone, 1);
    tzset();
  }
  ~ZoneGuard() {
    if (old_)
      setenv("TZ", old_->c_str(), 1);
    else
      unsetenv("TZ");
    tzset();
  }

 private:
  std::optional<std::string> old_;
};

Timestamp at(int64_t unix_seconds, int64_t us = 0) {
  return Timestamp(std::chrono::seconds(unix_seconds) + std::chrono::microseconds(us));
}
constexpr int64_t kNov22 = 1795342500;  // 2026-11-22 10:15:00 UTC

Timestamp time_of(const std::string& text) {
  auto target = parse_restore_target("time", text, false);
  EXPECT_TRUE(target.has_value()) << target.error().to_string();
  return target ? target->time : Timestamp{};
}
std::string refusal_of(std::string_view type, std::string_view text, bool exclusive = false) {
  auto target = parse_restore_target(type, text, exclusive);
  EXPECT_FALSE(target.has_value()) << type << " " << text;
  if (target) return "";
  EXPECT_EQ(target.error().code(), Errc::kInvalid);
  EXPECT_FALSE(target.error().hints().empty()) << target.error().to_string();
  return target.error().to_string();
}

TEST(RestoreTargetTime, HonoursEveryFormOfOffset) {
  const ZoneGuard zone(kBerlin);
  EXPECT_EQ(time_of("2026-11-22 10:15:00+00"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 10:15:00Z"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22T10:15:00Z"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 10:15:00 UTC"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 10:15:00 utc"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 11:15:00+01"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 15:45:00 +05:30"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 15:45:00+0530"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 06:45:00-03:30"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-23 00:15:00+14"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 10:15+00"), at(kNov22));
  EXPECT_EQ(time_of("2026-11-22 10:15:00.5+00"), at(kNov22, 500000));
  EXPECT_EQ(time_of("2026-11-22 10:15:00.000001+00"), at(kNov22, 1));
}

TEST(RestoreTargetTime, ReadsTimeWithoutZoneInZoneOfMachine) {
  const ZoneGuard zone(kBerlin);
  EXPECT_EQ(time_of("2026-11-22 11:15:00"), at(kNov22));
  EXPECT_EQ(time_of("2026-07-01 12:00:00"), at(1782900000));  // 10:00 UTC
  EXPECT_EQ(time_of("2026-11-22 11:15:00.25"), at(kNov22, 250000));
}

TEST(RestoreTargetTime, RefusesLocalTimeThatHappensTwiceWithBothReadings) {
  const ZoneGuard zone(kBerlin);
  EXPECT_THAT(refusal_of("time", "2026-10-25 02:30:00"),
              AllOf(HasSubstr("happens twice"), HasSubstr("2026-10-25 02:30:00 CEST (2026-10-25 00:30:00.000000+00)"),
                    HasSubstr("2026-10-25 02:30:00 CET (2026-10-25 01:30:00.000000+00)"), HasSubstr("HINT:")));
  EXPECT_EQ(time_of("2026-10-25 02:30:00+02"), at(1792888200));
  EXPECT_EQ(time_of("2026-10-25 01:59:59"), at(1792886399));
  EXPECT_EQ(time_of("2026-10-25 03:00:00"), at(1792893600));
}

TEST(RestoreTargetTime, RefusesLocalTimeThatClocksSkip) {
  const ZoneGuard zone(kBerlin);
  EXPECT_THAT(
      refusal_of("time", "2026-03-29 02:30:00"),
      AllOf(HasSubstr("does not exist"), HasSubstr("2026-03-29 01:30:00 CET"), HasSubstr("2026-03-29 03:30:00 CEST")));
}

TEST(RestoreTargetTime, RefusesWhatIsNoTime) {
  EXPECT_THAT(refusal_of("time", "2026-11-22"), HasSubstr("has no time of day"));
  EXPECT_THAT(refusal_of("time", "2026-02-30 10:00:00+00"), HasSubstr("is not on the calendar"));
  EXPECT_THAT(refusal_of("time", "2026-11-22 24:00:00+00"), HasSubstr("is not on the calendar"));
  EXPECT_THAT(refusal_of("time", "2026-11-22 10:15:60+00"), HasSubstr("is not on the calendar"));
  EXPECT_THAT(refusal_of("time", "2026-11-22 10:15:00 Europe/Berlin"), HasSubstr("neither an offset from UTC nor UTC"));
  EXPECT_THAT(refusal_of("time", "2026-11-22 10:15:00 CET"), HasSubstr("neither an offset from UTC nor UTC"));
  for (const char* text : {"now", "yesterday", "22.11.2026 10:15", "2026-11-22 1:15:00", "2026-11-22 10:15:00.+00",
                           "2026-11-22 10:15:00.1234567+00", "20261122101500", "2026-11-2210:15:00"})
    EXPECT_THAT(refusal_of("time", text), HasSubstr("cannot be read"));
  for (const char* text : {"2026-11-22 10:15:00+1", "2026-11-22 10:15:00+16", "2026-11-22 10:15:00+01:60",
                           "2026-11-22 10:15:00+01:", "2026-11-22 10:15:00+00x", "2026-11-22 10:15:00 +"})
    EXPECT_THAT(refusal_of("time", text), HasSubstr("has the zone"));
}

TEST(RestoreTargetTime, PrintsWhatItReads) {
  const ZoneGuard zone(kBerlin);
  Rng rng(std::getenv("SEED") != nullptr ? std::strtoull(std::getenv("SEED"), nullptr, 10) : 1);
  for (int i = 0; i < 2000; ++i) {
    const Timestamp time = at(static_cast<int64_t>(rng.below(4102444800)), static_cast<int64_t>(rng.below(1000000)));
    EXPECT_EQ(time_of(format_timestamp_utc(time)), time);
    // The local form, read back: the same moment, or refused because the zone has that time twice.
    const std::string local = format_timestamp_local(time);
    auto again = parse_restore_target("time", local.substr(0, local.rfind(' ')), false);
    if (again)
      EXPECT_EQ(again->time, time) << local;
    else
      EXPECT_THAT(again.error().message(), AllOf(HasSubstr("happens twice"), HasSubstr(format_timestamp_utc(time))));
  }
}

TEST(RestoreTargetTime, ShowsBothZones) {
  const ZoneGuard zone(kBerlin);
  EXPECT_EQ(format_timestamp_utc(at(kNov22, 5)), "2026-11-22 10:15:00.000005+00");
  EXPECT_EQ(format_timestamp_local(at(kNov22)), "2026-11-22 11:15:00 CET");
  EXPECT_EQ(format_timestamp_local(at(kNov22, 5)), "2026-11-22 11:15:00.000005 CET");
  EXPECT_EQ(describe_target(*parse_restore_target("time", "2026-11-22 11:15:00", false)),
            "time 2026-11-22 10:15:00.000000+00 (2026-11-22 11:15:00 CET)");
}

TEST(RestoreTarget, ReadsEveryKind) {
  EXPECT_EQ(parse_restore_target("default", "", false)->kind, TargetKind::kDefault);
  EXPECT_EQ(parse_restore_target("immediate", "", false)->kind, TargetKind::kImmediate);
  EXPECT_EQ(parse_restore_target("standby", "", false)->kind, TargetKind::kStandby);
  EXPECT_EQ(parse_restore_target("preserve", "", false)->kind, TargetKind::kPreserve);
  EXPECT_EQ(parse_restore_target("none", "", false)->kind, TargetKind::kNone);
  const auto lsn = parse_restore_target("lsn", "16/B374D848", true);
  ASSERT_TRUE(lsn.has_value());
  EXPECT_EQ(lsn->lsn.bytes, 0x16B374D848u);
  EXPECT_TRUE(lsn->exclusive);
  EXPECT_EQ(describe_target(*lsn), "lsn 16/B374D848");
  EXPECT_EQ(parse_restore_target("xid", "731", false)->text, "731");
  EXPECT_EQ(parse_restore_target("xid", "4294967999", false)->text, "4294967999");
  EXPECT_EQ(parse_restore_target("xid", "4294967999", false)->xid, Xid{703}) << "the epoch is not in WAL";
  EXPECT_EQ(parse_restore_target("name", "before upgrade", false)->text, "before upgrade");
}

TEST(RestoreTarget, RefusesWhatDoesNotFitTheKind) {
  EXPECT_THAT(refusal_of("latest", ""), HasSubstr("allowed are default, immediate"));
  EXPECT_THAT(refusal_of("default", "2026-11-22 10:15:00"), HasSubstr("takes no target"));
  EXPECT_THAT(refusal_of("time", ""), HasSubstr("needs a target"));
  EXPECT_THAT(refusal_of("immediate", "", true), HasSubstr("cannot be exclusive"));
  EXPECT_THAT(refusal_of("name", "x", true), HasSubstr("cannot be exclusive"));
  EXPECT_THAT(refusal_of("lsn", "16-B374D848"), HasSubstr("is not a position in the WAL"));
  EXPECT_THAT(refusal_of("lsn", "0/0"), HasSubstr("is not a position in the WAL"));
  EXPECT_THAT(refusal_of("xid", "2"), HasSubstr("is not a transaction id"));
  EXPECT_THAT(refusal_of("xid", "12x"), HasSubstr("is not a transaction id"));
  EXPECT_THAT(refusal_of("xid", "-5"), HasSubstr("is not a transaction id"));
  EXPECT_THAT(refusal_of("name", std::string(64, 'x')), HasSubstr("longer than 63 bytes"));
  EXPECT_THAT(refusal_of("name", "a\nb"), HasSubstr("line feed"));
}

TEST(RestoreTarget, ReadsTimelines) {
  using Kind = TimelineWish::Kind;
  EXPECT_EQ(parse_timeline_wish("")->kind, Kind::kLatest);
  EXPECT_EQ(parse_timeline_wish("latest")->kind, Kind::kLatest);
  EXPECT_EQ(parse_timeline_wish("current")->kind, Kind::kCurrent);
  EXPECT_EQ(parse_timeline_wish("7")->kind, Kind::kNumber);
  EXPECT_EQ(parse_timeline_wish("7")->number, TimelineId{7});
  EXPECT_EQ(parse_timeline_wish("0x1A")->number, TimelineId{26});
  for (const char* text : {"0", "-1", "newest", "1A", "0x", "4294967296"})
    EXPECT_FALSE(parse_timeline_wish(text).has_value()) << text;
}

}  // namespace
}  // namespace pgark
