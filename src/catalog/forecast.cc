#include "catalog/forecast.h"

#include <algorithm>
#include <set>

namespace pgark {
namespace {

using Days = std::chrono::duration<double, std::ratio<86400>>;

/// Diffs and incrs that are more frequent than this are taken together.
constexpr Days kOtherEveryMin{1.0 / 24};
/// Backups closer together than this are one as far as their frequency goes: a try, and another after a failure.
constexpr auto kApartMin = std::chrono::hours(12);
constexpr auto kHistoryMin = std::chrono::days(3);
/// A full older than this without a second one: there will be none.
constexpr auto kNoOtherFull = std::chrono::days(35);

/// How often and how large backups are.
struct Cadence {
  std::optional<Days> full_every;
  uint64_t full_bytes = 0;
  std::optional<Days> other_every;  // Diffs and incrs, all taken for such as the last one is.
  BackupType other = BackupType::kIncr;
  uint64_t other_bytes = 0;  // Each.

  uint64_t bytes_per_day() const {
    double bytes = 0;
    if (full_every) bytes += static_cast<double>(full_bytes) / full_every->count();
    if (other_every) bytes += static_cast<double>(other_bytes) / other_every->count();
    return static_cast<uint64_t>(bytes);
  }
};

Cadence read_cadence(const SpaceHistory& history) {
  Cadence cadence;
  std::vector<Timestamp> fulls;
  const BackupMeta* last_full = nullptr;
  double others_bytes = 0;
  size_t others_count = 0;
  for (const BackupMeta& backup : history.backups) {
    if (backup.type == BackupType::kFull) {
      last_full = &backup;
      if (fulls.empty() || backup.stopped - fulls.back() >= kApartMin) fulls.push_back(backup.stopped);
      continue;
    }
    others_bytes += static_cast<double>(backup.stored_bytes);
    ++others_count;
    cadence.other = backup.type;
  }
  if (last_full != nullptr) {
    cadence.full_bytes = last_full->stored_bytes;
    // The cluster has grown since.
    const uint64_t then = last_full->logical_bytes;
    const uint64_t today = history.backups.back().logical_bytes;
    if (then > 0 && today > then) {
      cadence.full_bytes = static_cast<uint64_t>(static_cast<double>(cadence.full_bytes) * static_cast<double>(today) /
                                                 static_cast<double>(then));
    }
  }
  if (fulls.size() >= 2) {
    cadence.full_every = Days(fulls.back() - fulls.front()) / static_cast<double>(fulls.size() - 1);
    cadence.full_every = std::max(*cadence.full_every, Days(history.now - fulls.back()));
  }
  const Days span = history.now - history.backups.front().stopped;
  if (others_count > 0 && span >= Days(kHistoryMin)) {
    cadence.other_every = std::max(span / static_cast<double>(others_count), kOtherEveryMin);
    cadence.other_bytes = static_cast<uint64_t>(others_bytes / (span / *cadence.other_every));
  }
  return cadence;
}

/// Whether the past says enough of the future.
bool can_project(const SpaceHistory& history, const RetentionRules& rules, const Cadence& cadence) {
  const auto span = history.now - history.backups.front().stopped;
  if (history.backups.size() < 2 || span < kHistoryMin) return false;
  if (cadence.full_every || !rules.any()) return true;
  // Backups go without new fulls where a rule counts days.
  const bool by_days = rules.daily || rules.weekly || rules.monthly || rules.yearly;
  return by_days || span > kNoOtherFull;
}

class Projection {
 public:
  Projection(const SpaceHistory& history, const RetentionRules& rules, const Cadence& cadence)
      : history_(history), rules_(rules), cadence_(cadence) {
    for (const BackupMeta& backup : history.backups) {
      add(backup.label, backup.type, backup.prior_label, backup.stopped, backup.stored_bytes);
      backups_.back().bad_page_count = backup.bad_page_count;
      const auto hold = history.holds.find(backup.label);
      if (hold != history.holds.end()) backups_.back().hold_until = hold->second;
    }
    last_other_ = history.now;
    begin_ = history.backups.front().started;
  }

  /// Bytes held at the end of a day.
  Result<double> day(uint32_t number) {
    const Timestamp now = history_.now + std::chrono::days(number);
    make_backups(now);
    TRY_ASSIGN(const auto decisions, decide_retention(rules_, backups_, now));
    std::set<std::string> kept;
    for (const RetentionDecision& decision : decisions)
      if (decision.keep) kept.insert(decision.label);
    std::erase_if(backups_, [&](const RetentionBackup& backup) { return !kept.contains(backup.label); });
    drop_unneeded(std::move(kept));
    double held = wal_bytes(now);
    for (const Stored& one : stored_) held += one.bytes;
    return held;
  }

 private:
  /// What a backup added to the repository.
  struct Stored {
    std::string label;
    std::string prior;
    double bytes = 0;
  };

  void add(const std::string& label, BackupType type, const std::string& prior, Timestamp stopped, uint64_t bytes) {
    RetentionBackup backup;
    backup.label = label;
    backup.type = type;
    backup.prior_label = prior;
    backup.stopped = stopped;
    backups_.push_back(std::move(backup));
    stored_.push_back({label, prior, static_cast<double>(bytes)});
    last_ = label;
    if (type != BackupType::kFull) return;
    full_ = label;
    last_full_ = stopped;
  }

  /// Those that are due up to `now`, fulls and others in the order of their times.
  void make_backups(Timestamp now) {
    const auto after = [](Timestamp time, Days every) {
      return time + std::chrono::duration_cast<std::chrono::microseconds>(every);
    };
    for (;;) {
      std::optional<Timestamp> full;
      std::optional<Timestamp> other;
      // One that is overdue comes now.
      if (cadence_.full_every) full = std::max(after(last_full_, *cadence_.full_every), history_.now);
      if (cadence_.other_every && !full_.empty()) other = after(last_other_, *cadence_.other_every);
      if (full && *full <= now && (!other || *full <= *other)) {
        add(make_backup_label(BackupType::kFull, *full, ""), BackupType::kFull, "", *full, cadence_.full_bytes);
      } else if (other && *other <= now) {
        last_other_ = *other;
        const std::string& prior = cadence_.other == BackupType::kDiff ? full_ : last_;
        add(make_backup_label(cadence_.other, *other, full_), cadence_.other, std::string(prior), *other,
            cadence_.other_bytes);
      } else {
        return;
      }
    }
  }

  /// A backup may need what every prior one of it stored, whether that one is kept or not.
  void drop_unneeded(std::set<std::string> needed) {
    for (auto one = stored_.rbegin(); one != stored_.rend(); ++one)
      if (needed.contains(one->label)) needed.insert(one->prior);
    std::erase_if(stored_, [&](const Stored& one) { return !needed.contains(one.label); });
  }

  double wal_bytes(Timestamp now) const {
    const auto first = first_with_whole_wal(rules_, backups_);
    const Timestamp from = std::max(first ? backups_[*first].stopped : now, begin_);
    const double past = Days(history_.now - begin_).count();
    const double density = past > 0 ? static_cast<double>(history_.wal_bytes) / past : 0;
    const double old = std::max(0.0, Days(history_.now - from).count()) * density;
    const double added =
        Days(now - std::max(from, history_.now)).count() * static_cast<double>(history_.wal_bytes_per_day);
    return old + std::max(0.0, added);
  }

  const SpaceHistory& history_;
  const RetentionRules& rules_;
  const Cadence& cadence_;
  std::vector<RetentionBackup> backups_;
  std::vector<Stored> stored_;  // In the order in which they were made.
  std::string full_;            // Labels of the last full and of the last backup.
  std::string last_;
  Timestamp last_full_{};
  Timestamp last_other_{};
  Timestamp begin_{};
};

}  // namespace

Result<SpaceForecast> forecast_space(const SpaceHistory& history, const RetentionRules& rules, uint64_t free_bytes,
                                     uint32_t horizon_days) {
  SpaceForecast forecast;
  forecast.horizon_days = horizon_days;
  forecast.wal_bytes_per_day = history.wal_bytes_per_day;
  if (history.backups.empty()) return forecast;
  const Cadence cadence = read_cadence(history);
  forecast.next_full_bytes = cadence.full_bytes;
  forecast.backup_bytes_per_day = cadence.bytes_per_day();
  if (!can_project(history, rules, cadence)) return forecast;
  forecast.projected = true;
  Projection projection(history, rules, cadence);
  // Before retention acts: what is there now, whether it goes today or not.
  double now_bytes = static_cast<double>(history.wal_bytes);
  for (const BackupMeta& backup : history.backups) now_bytes += static_cast<double>(backup.stored_bytes);
  TRY(projection.day(0));
  for (uint32_t day = 1; day <= horizon_days; ++day) {
    TRY_ASSIGN(const double held, projection.day(day));
    const double growth = held - now_bytes;
    if (growth > 0) forecast.growth_bytes_max = std::max(forecast.growth_bytes_max, static_cast<uint64_t>(growth));
    if (growth <= static_cast<double>(free_bytes)) continue;
    forecast.full_in_days = day;
    break;
  }
  return forecast;
}

}  // namespace pgark
