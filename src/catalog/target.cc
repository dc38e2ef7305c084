// Reading of recovery targets, with the care that times in a zone with summer time need.
#include "catalog/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <optional>
#include <vector>

namespace pgark {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

constexpr std::array<std::string_view, 9> kKindNames = {"default", "immediate", "time",     "xid", "lsn",
                                                        "name",    "standby",   "preserve", "none"};
constexpr std::string_view kTimeShape = "a time looks like '2026-11-22 10:15:00+01' or '2026-11-22 10:15:00 UTC'";
constexpr size_t kRestorePointNameBytesMax = 63;  // MAXFNAMELEN - 1 of PostgreSQL.
constexpr uint64_t kFirstNormalXid = 3;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Reads a text from left to right; after the first mismatch everything fails.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool literal(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  /// Exactly `count` digits.
  std::optional<int> digits(size_t count) {
    if (rest_.size() < count || !std::all_of(rest_.begin(), rest_.begin() + static_cast<ptrdiff_t>(count), is_digit))
      return std::nullopt;
    int value = 0;
    for (const char c : rest_.substr(0, count)) value = value * 10 + (c - '0');
    rest_.remove_prefix(count);
    return value;
  }
  std::string_view rest() const { return rest_; }
  bool at_digit() const { return !rest_.empty() && is_digit(rest_.front()); }
  void skip_spaces() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
  }

 private:
  std::string_view rest_;
};

struct CivilTime {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  int microsecond = 0;

  bool valid() const {
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    return year >= 1970 && date.ok() && hour < 24 && minute < 60 && second < 60;
  }
  /// The moment at which clocks of UTC show this.
  Timestamp as_utc() const {
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) + seconds(second) +
           microseconds(microsecond);
  }
};

/// Date and time of day at the front of `scan`.
std::optional<CivilTime> scan_civil_time(Scanner& scan) {
  CivilTime t;
  const auto field = [&](size_t count, int& into) {
    const auto value = scan.digits(count);
    if (value) into = *value;
    return value.has_value();
  };
  if (!field(4, t.year) || !scan.literal('-') || !field(2, t.month) || !scan.literal('-') || !field(2, t.day))
    return std::nullopt;
  if (!scan.literal('T') && !scan.literal(' ')) return std::nullopt;
  scan.skip_spaces();
  if (!field(2, t.hour) || !scan.literal(':') || !field(2, t.minute)) return std::nullopt;
  if (scan.literal(':')) {
    if (!field(2, t.second)) return std::nullopt;
    if (scan.literal('.')) {
      int scale = 1000000;
      if (!scan.at_digit()) return std::nullopt;
      while (scan.at_digit()) {
        if (scale == 1) return std::nullopt;  // Finer than a microsecond: PostgreSQL would round it.
        scale /= 10;
        t.microsecond += *scan.digits(1) * scale;
      }
    }
  }
  return t;
}

/// Offset from UTC written at the front of `scan`: "+HH", "-HHMM", "+HH:MM".
std::optional<seconds> scan_offset(Scanner& scan) {
  const bool negative = scan.literal('-');
  if (!negative && !scan.literal('+')) return std::nullopt;
  const auto hours = scan.digits(2);
  if (!hours) return std::nullopt;
  const bool colon = scan.literal(':');
  std::optional<int> minutes = 0;
  if (colon || scan.at_digit()) minutes = scan.digits(2);
  // 15:59:59 is the largest offset PostgreSQL takes.
  if (!minutes || *minutes > 59 || *hours > 15) return std::nullopt;
  const seconds offset = std::chrono::hours(*hours) + std::chrono::minutes(*minutes);
  return negative ? -offset : offset;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

struct tm local_tm(Timestamp time) {
  const time_t t = static_cast<time_t>(std::chrono::floor<seconds>(time).time_since_epoch().count());
  struct tm out {};
  localtime_r(&t, &out);
  return out;
}

/// Offsets from UTC that the machine's zone uses within a day of `around`, earliest first.
std::vector<seconds> offsets_around(Timestamp around) {
  std::vector<seconds> offsets;
  for (int hour = -26; hour <= 26; ++hour) {
    const seconds offset(local_tm(around + std::chrono::hours(hour)).tm_gmtoff);
    if (std::find(offsets.begin(), offsets.end(), offset) == offsets.end()) offsets.push_back(offset);
  }
  return offsets;
}

/// The moments at which a clock on this machine's wall shows `civil`, the earliest first.
Result<Timestamp> resolve_local(const CivilTime& civil, std::string_view text) {
  tzset();
  const Timestamp as_utc = civil.as_utc();
  const std::vector<seconds> offsets = offsets_around(as_utc);
  std::vector<Timestamp> readings;
  for (const seconds offset : offsets) {
    const Timestamp moment = as_utc - offset;
    if (seconds(local_tm(moment).tm_gmtoff) == offset) readings.push_back(moment);
  }
  if (readings.size() == 1) return readings.front();

  const bool gap = readings.empty();
  if (gap)
    for (const seconds offset : offsets) readings.push_back(as_utc - offset);
  std::sort(readings.begin(), readings.end());
  std::string listed;
  for (const Timestamp reading : readings)
    listed += fmt::format("{}{} ({})", listed.empty() ? "" : " or ", format_timestamp_local(reading),
                          format_timestamp_utc(reading));
  return Error(Errc::kInvalid, fmt::format("target time '{}' {} in the time zone of this machine: {} {}", text,
                                           gap ? "does not exist" : "happens twice",
                                           gap ? "clocks skip it, it may mean" : "it may mean", listed))
      .with_hint("write the offset from UTC with it, as in --target=\"" + format_timestamp_utc(readings.front()) +
                 "\"");
}

Error bad_time(std::string_view text, std::string_view why) {
  return Error(Errc::kInvalid, fmt::format("target time '{}' {}", text, why)).with_hint(std::string(kTimeShape));
}

Result<Timestamp> parse_target_time(std::string_view text) {
  Scanner scan(text);
  const std::optional<CivilTime> civil = scan_civil_time(scan);
  if (!civil) {
    if (text.size() == 10 && text[4] == '-' && text[7] == '-') return bad_time(text, "has no time of day");
    return bad_time(text, "cannot be read");
  }
  if (!civil->valid()) return bad_time(text, "is not on the calendar");
  scan.skip_spaces();
  const std::string_view zone = scan.rest();
  if (zone.empty()) return resolve_local(*civil, text);
  if (equals_ignoring_case(zone, "z") || equals_ignoring_case(zone, "utc") || equals_ignoring_case(zone, "gmt"))
    return civil->as_utc();
  const std::optional<seconds> offset = scan_offset(scan);
  if (!offset || !scan.rest().empty())
    return bad_time(text, fmt::format("has the zone '{}', which is neither an offset from UTC nor UTC", zone));
  return civil->as_utc() - *offset;
}

Result<Xid> parse_xid(std::string_view text) {
  uint64_t xid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), xid);
  // The server counts 32 bits and, from 13 on, takes the epoch in front of them as pg_current_xact_id() prints it.
  if (error != std::errc() || end != text.data() + text.size() || (xid & 0xffffffffu) < kFirstNormalXid)
    return Error(Errc::kInvalid, fmt::format("target xid '{}' is not a transaction id", text))
        .with_hint("a transaction id is a decimal number of at least 3, as pg_current_xact_id() prints it");
  return Xid{static_cast<uint32_t>(xid)};
}

Result<> check_name(std::string_view text) {
  if (text.size() > kRestorePointNameBytesMax)
    return Error(Errc::kInvalid,
                 fmt::format("target name '{}' is longer than {} bytes", text, kRestorePointNameBytesMax))
        .with_hint("PostgreSQL takes no longer names of restore points");
  if (text.find_first_of(std::string_view("\n\r\0", 3)) != std::string_view::npos)
    return Error(Errc::kInvalid, "target name holds a line feed, a carriage return or a zero byte")
        .with_hint("no line of a configuration file can carry it: choose another target");
  return {};
}

bool takes_value(TargetKind kind) {
  return kind == TargetKind::kTime || kind == TargetKind::kXid || kind == TargetKind::kLsn || kind == TargetKind::kName;
}

}  // namespace

std::string_view target_kind_name(TargetKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

Result<RestoreTarget> parse_restore_target(std::string_view type, std::string_view target, bool exclusive) {
  const auto found = std::find(kKindNames.begin(), kKindNames.end(), type);
  if (found == kKindNames.end())
    return Error(Errc::kInvalid, fmt::format("restore type '{}' is not known", type))
        .with_hint("allowed are default, immediate, time, xid, lsn, name, standby, preserve and none");
  RestoreTarget out;
  out.kind = static_cast<TargetKind>(found - kKindNames.begin());
  out.text = target;
  out.exclusive = exclusive;
  if (!takes_value(out.kind) && !target.empty())
    return Error(Errc::kInvalid, fmt::format("restore type {} takes no target, but '{}' is given", type, target))
        .with_hint("types with a target are time, xid, lsn and name");
  if (takes_value(out.kind) && target.empty())
    return Error(Errc::kInvalid, fmt::format("restore type {} needs a target", type))
        .with_hint(fmt::format("add --target={}", out.kind == TargetKind::kTime  ? "\"2026-11-22 10:15:00+01\""
                                                  : out.kind == TargetKind::kLsn ? "16/B374D848"
                                                  : out.kind == TargetKind::kXid ? "12345"
                                                                                 : "NAME"));
  if (exclusive && (!takes_value(out.kind) || out.kind == TargetKind::kName))
    return Error(Errc::kInvalid, fmt::format("restore type {} cannot be exclusive", type))
        .with_hint("target-exclusive goes with the types time, xid and lsn");
  switch (out.kind) {
    case TargetKind::kTime: {
      TRY_ASSIGN(out.time, parse_target_time(target));
      break;
    }
    case TargetKind::kLsn: {
      auto lsn = parse_lsn(target);
      if (!lsn || lsn->bytes == 0)
        return Error(Errc::kInvalid, fmt::format("target lsn '{}' is not a position in the WAL", target))
            .with_hint("a position looks like 16/B374D848, as pg_current_wal_lsn() prints it");
      out.lsn = *lsn;
      break;
    }
    case TargetKind::kXid: {
      TRY_ASSIGN(out.xid, parse_xid(target));
      break;
    }
    case TargetKind::kName:
      TRY(check_name(target));
      break;
    default:
      break;
  }
  return out;
}

std::string format_timestamp_utc(Timestamp time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss<microseconds> clock(time - day);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}+00", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

std::string format_timestamp_local(Timestamp time) {
  const struct tm local = local_tm(time);
  const auto fraction = time - std::chrono::floor<seconds>(time);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}{} {}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday,
                     local.tm_hour, local.tm_min, local.tm_sec,
                     fraction.count() == 0 ? std::string() : fmt::format(".{:06}", fraction.count()), local.tm_zone);
}

std::string format_timestamp_both(Timestamp time) {
  return fmt::format("{} ({})", format_timestamp_utc(time), format_timestamp_local(time));
}

std::string describe_target(const RestoreTarget& target) {
  const std::string_view kind = target_kind_name(target.kind);
  if (target.kind == TargetKind::kTime) return fmt::format("{} {}", kind, format_timestamp_both(target.time));
  if (takes_value(target.kind)) return fmt::format("{} {}", kind, target.text);
  return std::string(kind);
}

Result<TimelineWish> parse_timeline_wish(std::string_view text) {
  if (text.empty() || text == "latest") return TimelineWish{};
  if (text == "current") return TimelineWish{TimelineWish::Kind::kCurrent, {}};
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hex ? text.substr(2) : text;
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || number == 0)
    return Error(Errc::kInvalid, fmt::format("target timeline '{}' is not a timeline", text))
        .with_hint("allowed are latest, current, a number, and a hexadecimal number after 0x");
  return TimelineWish{TimelineWish::Kind::kNumber, {number}};
}

}  // namespace pgark
