// Retention: what the documentation of each rule says, and a slow model written another way over random histories.
#include "catalog/retention.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>

namespace pgark {
namespace {

using namespace std::chrono_literals;
using std::chrono::days;
using testing::ElementsAre;
using testing::IsEmpty;

Timestamp utc(int year, unsigned month, unsigned day, std::chrono::seconds into_day = 0s) {
  return Timestamp(std::chrono::sys_days(std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day))) +
         into_day;
}

/// Backups by short names: "F1", "D1", "I1" ... in the order they were made, an hour each unless said otherwise.
struct History {
  std::vector<RetentionBackup> backups;
  std::vector<std::string> names;
  Timestamp clock = utc(2026, 3, 2, 1h);

  RetentionBackup& add(const std::string& name, std::optional<Timestamp> at = std::nullopt) {
    if (at) clock = *at;
    RetentionBackup backup;
    backup.type = name[0] == 'F' ? BackupType::kFull : name[0] == 'D' ? BackupType::kDiff : BackupType::kIncr;
    std::vector<std::string> used;
    for (const RetentionBackup& other : backups) used.push_back(other.label);
    if (backup.type == BackupType::kFull) {
      full_ = next_backup_label(backup.type, clock, "", used);
      backup.label = full_;
    } else {
      backup.label = next_backup_label(backup.type, clock, full_, used);
      backup.prior_label = backup.type == BackupType::kDiff ? full_ : backups.back().label;
    }
    backup.stopped = clock + 10min;
    clock += 1h;
    backups.push_back(backup);
    names.push_back(name);
    return backups.back();
  }
  void add_all(const std::vector<std::string>& all) {
    for (const std::string& name : all) add(name);
  }
  std::vector<RetentionDecision> decide(const RetentionRules& rules, std::optional<Timestamp> now = {}) const {
    auto decided = decide_retention(rules, backups, now.value_or(clock));
    EXPECT_TRUE(decided.has_value());
    return std::move(*decided);
  }
  std::vector<std::string> kept(const RetentionRules& rules, std::optional<Timestamp> now = {}) const {
    const auto decided = decide(rules, now);
    std::vector<std::string> out;
    for (size_t i = 0; i < decided.size(); ++i)
      if (decided[i].keep) out.push_back(names[i]);
    return out;
  }
  std::vector<std::string> rules_of(const RetentionRules& rules, const std::string& name) const {
    const auto decided = decide(rules);
    std::vector<std::string> out;
    for (size_t i = 0; i < decided.size(); ++i)
      for (const RetentionReason& reason : decided[i].reasons)
        if (names[i] == name) out.push_back(reason.rule);
    return out;
  }

 private:
  std::string full_;
};

RetentionRules in_utc() {
  RetentionRules rules;
  rules.time_zone = "UTC";
  return rules;
}

TEST(Retention, WithoutRulesKeepsEverything) {
  History history;
  history.add_all({"F1", "I1", "F2"});
  EXPECT_THAT(history.kept(in_utc()), ElementsAre("F1", "I1", "F2"));
  EXPECT_THAT(history.rules_of(in_utc(), "F1"), ElementsAre("no retention"));
  EXPECT_THAT(history.rules_of(in_utc(), "F2"), ElementsAre("no retention", "last restorable"));
}

TEST(Retention, CountOfFullsTakesTheirDiffsAndIncrsAlong) {
  History history;
  history.add_all({"F1", "D1", "I1", "F2", "I2"});
  RetentionRules rules = in_utc();
  rules.full = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "D1", "I1", "F2", "I2"));
  history.add("F3");
  EXPECT_THAT(history.kept(rules), ElementsAre("F2", "I2", "F3"));
  rules.full = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F3"));
  EXPECT_THAT(history.rules_of(rules, "I2"), ElementsAre("retention-full"));
}

// The example of pgBackRest: fulls 25, 20 and 10 days old, and 15 days to keep: the one of 20 days is needed to reach
// back 15, the one of 25 is not.
TEST(Retention, TimeKeepsTheNewestFullThatIsOldEnough) {
  History history;
  const Timestamp now = utc(2026, 3, 31);
  history.add("F1", now - days(25));
  history.add("I1", now - days(24));
  history.add("F2", now - days(20));
  history.add("D2", now - days(16));
  history.add("F3", now - days(10));
  RetentionRules rules = in_utc();
  rules.full = 15;
  rules.full_type = RetentionRules::FullType::kTime;
  EXPECT_THAT(history.kept(rules, now), ElementsAre("F2", "D2", "F3"));
  // Nothing goes before a full has reached the age.
  rules.full = 30;
  EXPECT_THAT(history.kept(rules, now), ElementsAre("F1", "I1", "F2", "D2", "F3"));
  // All of them are older: the newest stays.
  rules.full = 1;
  EXPECT_THAT(history.kept(rules, now), ElementsAre("F3"));
}

// As pgBackRest tells it: F1, D1, D2, F2 with diff=2 keeps F1, D2, F2, because fulls take places of diffs.
TEST(Retention, FullsTakePlacesOfDiffs) {
  History history;
  history.add_all({"F1", "D1", "D2", "F2"});
  RetentionRules rules = in_utc();
  rules.diff = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "D2", "F2"));
  EXPECT_THAT(history.rules_of(rules, "D1"), ElementsAre("retention-diff"));
}

TEST(Retention, DiffThatGoesTakesItsIncrsAndNotThoseOfTheFull) {
  History history;
  history.add_all({"F1", "I0", "D1", "I1", "I2", "D2", "I3", "D3"});
  RetentionRules rules = in_utc();
  rules.full = 2;
  rules.diff = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "I0", "D2", "I3", "D3"));
}

TEST(Retention, PeriodsKeepTheLastBackupOfEach) {
  History history;
  history.add("F1", utc(2025, 12, 30, 10h));
  history.add("I1", utc(2025, 12, 31, 10h));
  history.add("I2", utc(2026, 1, 1, 10h));
  history.add("I3", utc(2026, 1, 1, 20h));
  history.add("I4", utc(2026, 1, 4, 10h));  // A Sunday: the week of New Year.
  history.add("I5", utc(2026, 1, 5, 10h));
  RetentionRules rules = in_utc();
  rules.daily = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("I4", "I5"));
  rules.daily = 3;
  EXPECT_THAT(history.kept(rules), ElementsAre("I3", "I4", "I5"));
  rules = in_utc();
  rules.weekly = 5;
  EXPECT_THAT(history.kept(rules), ElementsAre("I4", "I5"));
  rules = in_utc();
  rules.monthly = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("I1", "I5"));
  rules.yearly = 1;
  EXPECT_THAT(history.rules_of(rules, "I5"), ElementsAre("monthly", "yearly", "last restorable"));
  EXPECT_EQ(history.decide(rules)[1].reasons[0].text, "last backup of 2025-12 (month 2 of 2)");
  EXPECT_EQ(history.decide(rules)[0].reasons[0].rule, "none");
}

TEST(Retention, PeriodsWithoutABackupTakeNoPlace) {
  History history;
  history.add("F1", utc(2019, 5, 1));
  history.add("F2", utc(2023, 5, 1));
  history.add("F3", utc(2026, 5, 1));
  RetentionRules rules = in_utc();
  rules.yearly = 3;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "F2", "F3"));
}

TEST(Retention, DaysBeginInTheZoneOfTheRule) {
  History history;
  history.add("F1", utc(2026, 7, 1, 21h + 40min));  // 23:50 in Berlin when it ends.
  history.add("I1", utc(2026, 7, 1, 21h + 55min));  // 00:05 of the next day.
  RetentionRules rules = in_utc();
  rules.daily = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("I1"));
  rules.time_zone = "Europe/Berlin";
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "I1"));
  rules.time_zone = "Europe/Nowhere";
  EXPECT_EQ(decide_retention(rules, history.backups, history.clock).error().code(), Errc::kInvalid);
}

TEST(Retention, IncrementalOutlivesItsFull) {
  History history;
  history.add("F1", utc(2026, 3, 1));
  history.add("I1", utc(2026, 3, 2));
  history.add("F2", utc(2026, 3, 3));
  RetentionRules rules = in_utc();
  rules.full = 1;
  rules.daily = 2;
  EXPECT_THAT(history.kept(rules), ElementsAre("I1", "F2"));
  // And once its full is gone, nothing but that rule speaks for it.
  history.backups.erase(history.backups.begin());
  history.names.erase(history.names.begin());
  EXPECT_THAT(history.kept(rules), ElementsAre("I1", "F2"));
  rules.daily = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F2"));
}

TEST(Retention, HoldKeepsUntilItsTime) {
  History history;
  history.add_all({"F1", "F2", "F3"});
  const Timestamp now = history.clock;
  history.backups[0].hold_until = now + 1s;
  RetentionRules rules = in_utc();
  rules.full = 1;
  EXPECT_THAT(history.kept(rules, now), ElementsAre("F1", "F3"));
  EXPECT_THAT(history.kept(rules, now + 1s), ElementsAre("F3"));
  history.backups[0].hold_until = Timestamp::max();
  EXPECT_THAT(history.kept(rules, now + days(36500)), ElementsAre("F1", "F3"));
  EXPECT_THAT(history.rules_of(rules, "F1"), ElementsAre("hold"));
}

TEST(Retention, MinimumIsFilledUpWithTheNewest) {
  History history;
  history.add_all({"F1", "F2", "F3", "F4"});
  RetentionRules rules = in_utc();
  rules.full = 1;
  rules.minimum = 3;
  EXPECT_THAT(history.kept(rules), ElementsAre("F2", "F3", "F4"));
  EXPECT_THAT(history.rules_of(rules, "F2"), ElementsAre("minimum"));
  history.backups[2].restorable = false;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "F2", "F4"));
}

TEST(Retention, BackupThatCannotBeRestoredTakesNoPlace) {
  History history;
  history.add_all({"F1", "F2", "F3"});
  history.backups[2].restorable = false;
  RetentionRules rules = in_utc();
  rules.full = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F2", "F3"));
  rules = in_utc();
  rules.daily = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F2", "F3"));
  for (RetentionBackup& backup : history.backups) backup.restorable = false;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "F2", "F3"));
}

TEST(Retention, UnreadableBackupIsKeptAndTakesNoPlace) {
  History history;
  history.add_all({"F1", "F2", "F3"});
  history.backups[0].readable = history.backups[0].restorable = false;
  history.backups[0].stopped = {};
  history.backups[2].readable = history.backups[2].restorable = false;
  history.backups[2].stopped = {};
  RetentionRules rules = in_utc();
  rules.full = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "F2", "F3"));
  EXPECT_THAT(history.rules_of(rules, "F1"), ElementsAre("unreadable"));
  rules = in_utc();
  rules.yearly = 1;
  EXPECT_THAT(history.rules_of(rules, "F2"), ElementsAre("yearly", "last restorable"));
}

TEST(Retention, BackupsOfAFullThatCannotBeReadStay) {
  History history;
  history.add_all({"F1", "I1", "D1", "I2", "F2"});
  history.backups[0].readable = history.backups[0].restorable = false;
  RetentionRules rules = in_utc();
  rules.full = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "I1", "D1", "I2", "F2"));
  rules.diff = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F1", "I1", "F2"));
}

TEST(Retention, LastThatPassedADrillStays) {
  History history;
  history.add_all({"F1", "F2", "F3", "F4"});
  history.backups[0].drilled = history.backups[1].drilled = true;
  RetentionRules rules = in_utc();
  rules.full = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F2", "F4"));
  EXPECT_THAT(history.rules_of(rules, "F2"), ElementsAre("last drill"));
}

TEST(Retention, LastCleanCopyStaysWhileNewerOnesAreDamaged) {
  History history;
  history.add_all({"F1", "F2", "F3", "F4"});
  history.backups[2].bad_page_count = 1;
  history.backups[3].bad_page_count = 2;
  RetentionRules rules = in_utc();
  rules.full = 1;
  EXPECT_THAT(history.kept(rules), ElementsAre("F2", "F4"));
  EXPECT_THAT(history.rules_of(rules, "F2"), ElementsAre("last clean copy"));
  history.add("F5");  // Mended.
  EXPECT_THAT(history.kept(rules), ElementsAre("F5"));
}

TEST(Retention, BackupWhoseClockHadGoneBackDoesNotMakeTheOthersOld) {
  History history;
  const Timestamp now = utc(2026, 3, 31);
  history.add("F1", now - days(20));
  history.add("F2", now - days(10));
  history.add("F3", utc(1999, 1, 1));
  RetentionRules rules = in_utc();
  rules.full = 15;
  rules.full_type = RetentionRules::FullType::kTime;
  EXPECT_THAT(history.kept(rules, now), ElementsAre("F1", "F2", "F3"));
  // One from the future never counts as old, nor does it keep the others young.
  history.add("F4", utc(2040, 1, 1));
  history.add("F5", now - days(1));
  EXPECT_THAT(history.kept(rules, now), ElementsAre("F1", "F2", "F3", "F4", "F5"));
  EXPECT_THAT(history.kept(rules, now + days(20)), ElementsAre("F5"));
}

TEST(RetentionArchive, WindowBeginsAtTheBackupThatCounts) {
  History history;
  history.add_all({"F1", "I1", "F2", "D2", "I2"});
  RetentionRules rules = in_utc();
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 0u);
  rules.archive = 1;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 2u);
  rules.archive = 2;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 0u);
  rules.archive_type = BackupType::kDiff;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 2u);
  rules.archive_type = BackupType::kIncr;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 3u);
  rules.archive = 9;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 0u);
  rules.archive.reset();
  rules.archive_type = BackupType::kDiff;
  rules.diff = 1;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 3u);
  history.backups[3].restorable = false;
  EXPECT_EQ(first_with_whole_wal(rules, history.backups), 2u);
  EXPECT_EQ(first_with_whole_wal(rules, {}), std::nullopt);
}

// -- A slow model: a calendar that is stepped through day by day, offsets from the rules of each zone, and for every
//    backup a count of those that stand before it.

struct ModelDay {
  int year = 0, month = 0, day = 0, week_year = 0, week = 0;
};

class ModelCalendar {
 public:
  static constexpr int64_t kFirst = 12786;  // 2005-01-03, a Monday, in days since 1970.
  ModelCalendar() {
    ModelDay today{2005, 1, 3, 2005, 1};
    for (int i = 0; i < 365 * 45; ++i) {
      days_.push_back(today);
      const bool leap = today.year % 4 == 0 && (today.year % 100 != 0 || today.year % 400 == 0);
      const std::array<int, 12> lengths{31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
      if (++today.day > lengths[static_cast<size_t>(today.month - 1)]) {
        today.day = 1;
        if (++today.month > 12) {
          today.month = 1;
          ++today.year;
        }
      }
      if ((i + 1) % 7 != 0) continue;
      // A Monday begins week 1 if the 4th of January lies in its week.
      const bool first = (today.month == 12 && today.day >= 29) || (today.month == 1 && today.day <= 4);
      today.week = first ? 1 : today.week + 1;
      if (first) today.week_year = today.month == 12 ? today.year + 1 : today.year;
    }
  }
  const ModelDay& at(int64_t day) const { return days_.at(static_cast<size_t>(day - kFirst)); }
  int64_t find(int year, int month, int day) const {
    for (size_t i = 0; i < days_.size(); ++i)
      if (days_[i].year == year && days_[i].month == month && days_[i].day == day)
        return kFirst + static_cast<int64_t>(i);
    return -1;
  }
  /// The `nth` Sunday of a month (5: the last), as days since 1970.
  int64_t sunday(int year, int month, int nth) const {
    int64_t found = -1;
    int count = 0;
    for (int64_t day = find(year, month, 1); at(day).month == month; ++day)
      if ((day - kFirst) % 7 == 6 && count < nth) {
        found = day;
        ++count;
      }
    return found;
  }

 private:
  std::vector<ModelDay> days_;
};

const ModelCalendar& calendar() {
  static const ModelCalendar made;
  return made;
}

/// Offsets as the law of each place has had them since 2007.
int64_t model_offset(const std::string& zone, int64_t second) {
  const int year = calendar().at(second / 86400).year;
  static std::map<std::pair<std::string, int>, std::pair<int64_t, int64_t>> summers;
  auto& summer = summers[{zone, year}];
  if (zone == "Europe/Berlin") {
    if (summer.first == 0)
      summer = {calendar().sunday(year, 3, 5) * 86400 + 3600, calendar().sunday(year, 10, 5) * 86400 + 3600};
    return second >= summer.first && second < summer.second ? 7200 : 3600;
  }
  if (zone == "America/New_York") {
    if (summer.first == 0)
      summer = {calendar().sunday(year, 3, 2) * 86400 + 7 * 3600, calendar().sunday(year, 11, 1) * 86400 + 6 * 3600};
    return second >= summer.first && second < summer.second ? -4 * 3600 : -5 * 3600;
  }
  if (zone == "Asia/Kathmandu") return 5 * 3600 + 45 * 60;
  if (zone == "Pacific/Kiritimati") return 14 * 3600;
  return 0;
}

class Model {
 public:
  Model(const RetentionRules& rules, const std::vector<RetentionBackup>& backups, Timestamp now)
      : rules_(rules), backups_(backups), now_(now) {}

  std::vector<bool> kept() const {
    std::vector<bool> out;
    for (size_t i = 0; i < backups_.size(); ++i) out.push_back(by_rule(i) || by_safeguard(i));
    uint32_t restorable = 0;
    for (size_t i = 0; i < out.size(); ++i) restorable += out[i] && backups_[i].restorable ? 1u : 0u;
    for (size_t i = out.size(); restorable < rules_.minimum && i > 0; --i)
      if (!out[i - 1] && backups_[i - 1].restorable) {
        out[i - 1] = true;
        ++restorable;
      }
    return out;
  }

 private:
  /// Restorable backups after `i` for which `counts` holds.
  uint32_t later(size_t i, const std::function<bool(size_t)>& counts) const {
    uint32_t count = 0;
    for (size_t j = i + 1; j < backups_.size(); ++j) count += backups_[j].restorable && counts(j) ? 1u : 0u;
    return count;
  }
  bool is(size_t i, BackupType type) const { return backups_[i].type == type; }

  bool by_rule(size_t i) const {
    if (!backups_[i].readable) return true;
    if (!rules_.full && !rules_.diff && !rules_.daily && !rules_.weekly && !rules_.monthly && !rules_.yearly)
      return true;
    return by_full(i) ||
           by_period(i, rules_.daily, [](const ModelDay& d) { return d.year * 10000 + d.month * 100 + d.day; }) ||
           by_period(i, rules_.weekly, [](const ModelDay& d) { return d.week_year * 100 + d.week; }) ||
           by_period(i, rules_.monthly, [](const ModelDay& d) { return d.year * 100 + d.month; }) ||
           by_period(i, rules_.yearly, [](const ModelDay& d) { return d.year; });
  }

  bool within_diffs(size_t i) const {
    return !rules_.diff || later(i, [&](size_t j) { return !is(j, BackupType::kIncr); }) < *rules_.diff;
  }
  std::optional<size_t> find(const std::string& label) const {
    for (size_t i = 0; i < backups_.size(); ++i)
      if (backups_[i].label == label) return i;
    return std::nullopt;
  }
  bool hangs_on_full(size_t i) const {
    if (is(i, BackupType::kFull)) return true;
    if (is(i, BackupType::kDiff)) return false;
    const auto prior = find(backups_[i].prior_label);
    if (prior && is(*prior, BackupType::kIncr) && !backups_[*prior].readable) return true;
    return prior && hangs_on_full(*prior);
  }
  bool full_stays(size_t i) const {
    if (!rules_.full) return true;
    if (rules_.full_type == RetentionRules::FullType::kCount)
      return later(i, [&](size_t j) { return is(j, BackupType::kFull); }) < *rules_.full;
    return later(i, [&](size_t j) { return is(j, BackupType::kFull) && is_old(j); }) == 0;
  }
  bool is_old(size_t j) const {
    if (backups_[j].stopped > now_) return false;
    for (size_t k = 0; k <= j; ++k)
      if (backups_[k].readable && backups_[k].stopped <= now_ && backups_[k].stopped >= now_ - days(*rules_.full))
        return false;
    return true;
  }
  bool by_full(size_t i) const {
    const bool periods = rules_.daily || rules_.weekly || rules_.monthly || rules_.yearly;
    if (!rules_.full && periods) return rules_.diff && within_diffs(i);
    if (is(i, BackupType::kFull)) return full_stays(i);
    const auto full = find(backups_[i].label.substr(0, 16));
    const bool gone = full ? backups_[*full].readable && !full_stays(*full) : rules_.full.has_value();
    if (gone) return false;
    return within_diffs(i) || hangs_on_full(i);
  }

  bool by_period(size_t i, std::optional<uint32_t> count, const std::function<int(const ModelDay&)>& number) const {
    if (!count) return false;
    const auto period = [&](size_t j) {
      const auto second = std::chrono::floor<std::chrono::seconds>(backups_[j].stopped).time_since_epoch().count();
      return number(calendar().at((second + model_offset(rules_.time_zone, second)) / 86400));
    };
    if (later(i, [&](size_t j) { return period(j) == period(i); }) > 0) return false;
    std::set<int> newer;
    for (size_t j = i + 1; j < backups_.size(); ++j)
      if (backups_[j].restorable) newer.insert(period(j));
    return newer.size() < *count;
  }

  bool by_safeguard(size_t i) const {
    const RetentionBackup& backup = backups_[i];
    if (backup.hold_until && *backup.hold_until > now_) return true;
    if (backup.restorable && later(i, [](size_t) { return true; }) == 0) return true;
    bool later_drill = false, later_damage = false;
    for (size_t j = i + 1; j < backups_.size(); ++j) {
      later_drill = later_drill || backups_[j].drilled;
      later_damage = later_damage || (backups_[j].readable && backups_[j].bad_page_count > 0);
    }
    if (backup.drilled && !later_drill) return true;
    return backup.restorable && backup.bad_page_count == 0 && later_damage &&
           later(i, [&](size_t j) { return backups_[j].bad_page_count == 0; }) == 0;
  }

  const RetentionRules& rules_;
  const std::vector<RetentionBackup>& backups_;
  const Timestamp now_;
};

struct RandomHistory {
  std::vector<RetentionBackup> backups;
  Timestamp now{};
  bool steady = true;  // The clock never jumped.
};

RandomHistory random_history(Rng& rng) {
  RandomHistory history;
  Timestamp clock = utc(2009 + static_cast<int>(rng.below(24)), 1 + static_cast<unsigned>(rng.below(12)),
                        1 + static_cast<unsigned>(rng.below(28)), std::chrono::seconds(rng.below(86400)));
  if (rng.below(3) == 0) clock = utc(2009 + static_cast<int>(rng.below(24)), 12, 20);  // Towards the turn of a year.
  const std::array<int64_t, 5> paces{3600, 6 * 3600, 86400, 7 * 86400, 40 * 86400};
  int64_t pace = paces[rng.below(paces.size())];
  const size_t count = 1 + rng.below(60);
  const bool jumps = rng.below(3) == 0;
  const bool trouble = rng.below(2) == 0;
  std::vector<std::string> used;
  std::string full;
  for (size_t i = 0; i < count; ++i) {
    RetentionBackup backup;
    const uint64_t kind = i == 0 ? 0 : rng.below(8);
    backup.type = kind == 0 ? BackupType::kFull : kind <= 2 ? BackupType::kDiff : BackupType::kIncr;
    if (backup.type != BackupType::kFull)
      backup.prior_label = backup.type == BackupType::kDiff ? full : history.backups.back().label;
    backup.label = next_backup_label(backup.type, clock, full, used);
    if (backup.type == BackupType::kFull) full = backup.label;
    used.push_back(backup.label);
    backup.stopped = clock + std::chrono::seconds(rng.below(7200)) + std::chrono::microseconds(rng.below(1000000));
    if (trouble) {
      backup.restorable = rng.below(8) != 0;
      backup.bad_page_count = rng.below(10) == 0 ? 3 : 0;
      backup.drilled = rng.below(10) == 0;
      if (rng.below(12) == 0) backup.hold_until = rng.below(2) == 0 ? Timestamp::max() : clock + days(rng.below(400));
      if (rng.below(25) == 0) {
        backup.readable = backup.restorable = backup.drilled = false;
        backup.bad_page_count = 0;
        backup.stopped = {};
        backup.prior_label.clear();
      }
    }
    history.backups.push_back(backup);
    clock += std::chrono::seconds(pace / 2 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(pace) + 1)));
    if (rng.below(30) == 0) pace = paces[rng.below(paces.size())];
    if (jumps && rng.below(10) == 0) {
      const auto leap = std::chrono::seconds(rng.below(700 * 86400));
      clock += rng.below(2) == 0 ? leap : -leap;
      history.steady = false;
    }
    clock = std::max(clock, utc(2007, 1, 10));
  }
  history.now = clock + std::chrono::seconds(rng.below(20 * 86400));
  // Some that an earlier run, or a person, removed.
  if (rng.below(3) == 0) std::erase_if(history.backups, [&](const RetentionBackup&) { return rng.below(4) == 0; });
  return history;
}

RetentionRules random_rules(Rng& rng) {
  RetentionRules rules;
  const std::array<std::string, 5> zones{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu",
                                         "Pacific/Kiritimati"};
  rules.time_zone = zones[rng.below(zones.size())];
  const auto maybe = [&](uint64_t of, uint64_t max) {
    return rng.below(of) == 0 ? std::optional<uint32_t>(1 + static_cast<uint32_t>(rng.below(max))) : std::nullopt;
  };
  rules.full = maybe(2, 5);
  if (rng.below(2) == 0) {
    rules.full_type = RetentionRules::FullType::kTime;
    if (rules.full) rules.full = static_cast<uint32_t>(1 + rng.below(60));
  }
  rules.diff = maybe(3, 6);
  rules.daily = maybe(3, 14);
  rules.weekly = maybe(3, 12);
  rules.monthly = maybe(3, 12);
  rules.yearly = maybe(3, 7);
  rules.minimum = static_cast<uint32_t>(rng.below(4));
  return rules;
}

std::string describe(const RetentionRules& rules, const RandomHistory& history,
                     const std::vector<RetentionDecision>& decided) {
  const auto number = [](std::optional<uint32_t> n) { return n ? std::to_string(*n) : "-"; };
  std::string text = fmt::format("full {} {} diff {} gfs {} {} {} {} min {} zone {}\n", number(rules.full),
                                 rules.full_type == RetentionRules::FullType::kTime ? "days" : "count",
                                 number(rules.diff), number(rules.daily), number(rules.weekly), number(rules.monthly),
                                 number(rules.yearly), rules.minimum, rules.time_zone);
  for (size_t i = 0; i < history.backups.size(); ++i) {
    const RetentionBackup& backup = history.backups[i];
    text +=
        fmt::format("{}{}{} stopped {}: {} {}\n", backup.label, backup.restorable ? "" : " broken",
                    backup.readable ? "" : " unreadable", backup.stopped.time_since_epoch().count() / 1000000,
                    decided[i].keep ? "keep" : "drop", decided[i].reasons.empty() ? "?" : decided[i].reasons[0].text);
  }
  return text;
}

TEST(RetentionModel, AgreesOverRandomHistories) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  size_t dropped = 0;
  for (int round = 0; round < 2000; ++round) {
    const RandomHistory history = random_history(rng);
    const RetentionRules rules = random_rules(rng);
    const auto decided = decide_retention(rules, history.backups, history.now);
    ASSERT_TRUE(decided.has_value()) << decided.error().to_string();
    const std::vector<bool> expected = Model(rules, history.backups, history.now).kept();
    std::vector<RetentionBackup> rest;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ((*decided)[i].keep, expected[i]) << "round " << round << ", backup " << i << "\n"
                                                 << describe(rules, history, *decided);
      ASSERT_FALSE((*decided)[i].reasons.empty());
      if (expected[i]) rest.push_back(history.backups[i]);
      dropped += expected[i] ? 0u : 1u;
    }
    if (!history.steady) continue;
    // What was kept once is kept when the same is asked again.
    const auto again = decide_retention(rules, rest, history.now);
    for (const RetentionDecision& decision : *again)
      ASSERT_TRUE(decision.keep) << "round " << round << ", " << decision.label << "\n"
                                 << describe(rules, history, *decided);
  }
  EXPECT_GT(dropped, 3000u);  // The rounds meant something.
}

}  // namespace
}  // namespace pgark
