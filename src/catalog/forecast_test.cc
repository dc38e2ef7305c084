#include "catalog/forecast.h"

#include <gtest/gtest.h>

namespace pgark {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr Timestamp kNow{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + std::chrono::hours(12)};

/// Backups made over the past, oldest first: a full every `full_every` days, `others` a day between.
SpaceHistory history(unsigned days, unsigned full_every, unsigned others_a_day, uint64_t full_bytes,
                     uint64_t other_bytes, uint64_t wal_bytes_per_day) {
  SpaceHistory made;
  made.now = kNow;
  made.wal_bytes_per_day = wal_bytes_per_day;
  made.wal_bytes = wal_bytes_per_day * days;
  std::string full;
  const auto add = [&](BackupType type, Timestamp stopped, uint64_t bytes) {
    BackupMeta meta;
    meta.type = type;
    meta.label = make_backup_label(type, stopped, full);
    if (type == BackupType::kFull) full = meta.label;
    if (type != BackupType::kFull) meta.prior_label = full;
    meta.started = stopped - std::chrono::minutes(10);
    meta.stopped = stopped;
    meta.stored_bytes = bytes;
    meta.logical_bytes = full_bytes * 3;
    made.backups.push_back(meta);
  };
  for (unsigned day = days; day > 0; --day) {
    const Timestamp begin = kNow - std::chrono::days(day);
    if ((days - day) % full_every == 0) add(BackupType::kFull, begin, full_bytes);
    for (unsigned i = 1; i <= others_a_day; ++i) {
      add(BackupType::kIncr, begin + std::chrono::hours(i), other_bytes / others_a_day);
    }
  }
  return made;
}

SpaceForecast forecast_ok(const SpaceHistory& past, const RetentionRules& rules, uint64_t free_bytes) {
  const auto forecast = forecast_space(past, rules, free_bytes);
  EXPECT_TRUE(forecast.has_value());
  return forecast.value_or(SpaceForecast{});
}

RetentionRules keep_fulls(uint32_t count) {
  RetentionRules rules;
  rules.full = count;
  return rules;
}

TEST(Forecast, WithoutRulesTheDayIsGrowthIntoFreeSpace) {
  // 10 GiB a day of incrementals and 5 of WAL, and no further full.
  const SpaceHistory past = history(10, 100, 4, 100 * kGiB, 10 * kGiB, 5 * kGiB);
  const SpaceForecast forecast = forecast_ok(past, {}, 300 * kGiB);
  EXPECT_TRUE(forecast.projected);
  ASSERT_TRUE(forecast.full_in_days.has_value());
  EXPECT_NEAR(*forecast.full_in_days, 20, 2);
  EXPECT_EQ(forecast.next_full_bytes, 100 * kGiB);
  EXPECT_NEAR(static_cast<double>(forecast.backup_bytes_per_day), static_cast<double>(10 * kGiB), 1e9);
}

TEST(Forecast, RetentionThatHoldsStaysSilent) {
  // A full a week, two kept: at most three of them at a time.
  const SpaceHistory past = history(30, 7, 1, 100 * kGiB, 2 * kGiB, 5 * kGiB);
  const SpaceForecast forecast = forecast_ok(past, keep_fulls(2), 150 * kGiB);
  EXPECT_TRUE(forecast.projected);
  EXPECT_FALSE(forecast.full_in_days.has_value()) << *forecast.full_in_days;
}

TEST(Forecast, RetentionThatKeepsMoreThanFitsIsFoundBeforeItDoes) {
  const SpaceHistory past = history(15, 7, 1, 100 * kGiB, 2 * kGiB, 5 * kGiB);
  const SpaceForecast forecast = forecast_ok(past, keep_fulls(8), 250 * kGiB);
  ASSERT_TRUE(forecast.full_in_days.has_value());
  EXPECT_GT(*forecast.full_in_days, 7u);
  EXPECT_LT(*forecast.full_in_days, 21u);
}

TEST(Forecast, FrequentBackupsCountOneByOne) {
  // A full every twelve hours, as many kept as there are, and a diff every hour, of which three are kept.
  SpaceHistory past = history(5, 100, 0, 0, 0, 0);
  past.backups.clear();
  std::string full;
  for (int hour = 0; hour <= 5 * 24; ++hour) {
    const bool is_full = hour % 12 == 0;
    if (!is_full && hour < 5 * 24 - 3) continue;  // Expired.
    BackupMeta meta;
    meta.type = is_full ? BackupType::kFull : BackupType::kDiff;
    meta.started = meta.stopped = kNow - std::chrono::hours(5 * 24 - hour);
    meta.label = make_backup_label(meta.type, meta.stopped, full);
    if (is_full) full = meta.label;
    if (!is_full) meta.prior_label = full;
    meta.stored_bytes = is_full ? 100 * kGiB : 10 * kGiB;
    meta.logical_bytes = 300 * kGiB;
    past.backups.push_back(meta);
  }
  RetentionRules rules = keep_fulls(11);
  rules.diff = 3;
  const SpaceForecast forecast = forecast_ok(past, rules, 120 * kGiB);
  EXPECT_TRUE(forecast.projected);
  EXPECT_FALSE(forecast.full_in_days.has_value()) << *forecast.full_in_days;
}

TEST(Forecast, DiffsDoNotNeedEachOther) {
  // A diff a day of 10 GiB, two kept, and no other full: at most one more at a time.
  SpaceHistory past = history(40, 100, 1, 100 * kGiB, 10 * kGiB, 0);
  for (BackupMeta& backup : past.backups) {
    if (backup.type == BackupType::kFull) continue;
    backup.type = BackupType::kDiff;
    backup.label.back() = 'D';
  }
  past.backups.erase(past.backups.begin() + 1, past.backups.end() - 2);
  RetentionRules rules = keep_fulls(1);
  rules.diff = 2;
  EXPECT_LE(forecast_ok(past, rules, 1000 * kGiB).growth_bytes_max, 10 * kGiB);
  // Incrs do.
  for (BackupMeta& backup : past.backups) {
    if (backup.type == BackupType::kFull) continue;
    backup.type = BackupType::kIncr;
    backup.label.back() = 'I';
  }
  EXPECT_GT(forecast_ok(past, rules, 1000 * kGiB).growth_bytes_max, 20 * kGiB);
}

TEST(Forecast, HeldBackupsStay) {
  SpaceHistory past = history(15, 7, 0, 100 * kGiB, 0, 0);
  EXPECT_EQ(forecast_ok(past, keep_fulls(2), 1000 * kGiB).growth_bytes_max, 0u) << "three are there, two are kept";
  for (const BackupMeta& backup : past.backups) past.holds[backup.label] = Timestamp::max();
  EXPECT_EQ(forecast_ok(past, keep_fulls(2), 1000 * kGiB).growth_bytes_max, 200 * kGiB);
}

TEST(Forecast, WalAloneFillsTheDisk) {
  const SpaceHistory past = history(15, 7, 0, 1 * kGiB, 0, 50 * kGiB);
  const SpaceForecast forecast = forecast_ok(past, keep_fulls(8), 1000 * kGiB);
  ASSERT_TRUE(forecast.full_in_days.has_value());
  EXPECT_NEAR(*forecast.full_in_days, 20, 2);
}

TEST(Forecast, WalOfArchiveRetentionGoesEarlier) {
  RetentionRules rules = keep_fulls(8);
  rules.archive = 1;
  const SpaceHistory past = history(15, 7, 0, 1 * kGiB, 0, 50 * kGiB);
  EXPECT_FALSE(forecast_ok(past, rules, 1000 * kGiB).full_in_days.has_value());
}

TEST(Forecast, SaysNothingWithoutHistory) {
  EXPECT_FALSE(forecast_ok({.backups = {}, .now = kNow, .holds = {}}, {}, 0).projected);
  EXPECT_FALSE(forecast_ok(history(1, 1, 1, kGiB, kGiB, kGiB), {}, 1).projected);
  EXPECT_FALSE(forecast_ok(history(2, 1, 1, kGiB, kGiB, kGiB), {}, 1).projected);
  EXPECT_TRUE(forecast_ok(history(4, 1, 1, kGiB, kGiB, kGiB), {}, 1).projected);
  // One full so far, and fulls are what makes others go: the next may come in time.
  EXPECT_FALSE(forecast_ok(history(5, 100, 4, kGiB, kGiB, kGiB), keep_fulls(2), 1).projected);
  EXPECT_TRUE(forecast_ok(history(40, 100, 4, kGiB, kGiB, kGiB), keep_fulls(2), 1).projected);
}

TEST(Forecast, FirstTriesAreNotAHabit) {
  // Three fulls within an hour on the first day, one a week later.
  SpaceHistory past = history(7, 100, 0, 100 * kGiB, 0, kGiB);
  for (const int minutes : {20, 40}) {
    BackupMeta again = past.backups.front();
    again.stopped += std::chrono::minutes(minutes);
    again.label = make_backup_label(BackupType::kFull, again.stopped, "");
    past.backups.push_back(again);
  }
  BackupMeta week = past.backups.front();
  week.stopped = kNow;
  week.label = make_backup_label(BackupType::kFull, kNow, "");
  past.backups.push_back(week);
  const SpaceForecast forecast = forecast_ok(past, keep_fulls(2), 150 * kGiB);
  EXPECT_TRUE(forecast.projected);
  EXPECT_FALSE(forecast.full_in_days.has_value()) << *forecast.full_in_days;
}

TEST(Forecast, NextFullGrowsWithTheCluster) {
  SpaceHistory past = history(5, 100, 1, 100 * kGiB, kGiB, kGiB);
  past.backups.back().logical_bytes = 600 * kGiB;  // Twice as much as the full had.
  EXPECT_EQ(forecast_ok(past, {}, kGiB).next_full_bytes, 200 * kGiB);
}

}  // namespace
}  // namespace pgark
