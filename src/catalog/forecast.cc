#include "catalog/forecast.h"

#include <algorithm>
#include <map>
#include <set>

namespace pgark {
namespace {

using Days = std::chrono::duration<double, std::ratio<86400>>;

/// Backups closer together than this are one as far as their frequency goes: a try, and another after a failure.
constexpr auto kApartMin = std::chrono::hours(12);
constexpr auto kHistoryMin = std::chrono::days(3);
/// A full older than this without a second one: there will be none.
constexpr auto kNoOtherFull = std::chrono::days(35);

/// How often and how large backups are.
struct Cadence {
  std::optional<Days> full_every;
  uint64_t full_bytes = 0;
  uint64_t others_bytes_per_day = 0;
  BackupType others = BackupType::kIncr;
  bool has_others = false;
};

Cadence read_cadence(const SpaceHistory& history) {
  Cadence cadence;
  std::vector<Timestamp> fulls;
  const BackupMeta* last_full = nullptr;
  double others_bytes = 0;
  for (const BackupMeta& backup : history.backups) {
    if (backup.type == BackupType::kFull) {
      last_full = &backup;
      if (fulls.empty() || backup.stopped - fulls.back() >= kApartMin) fulls.push_back(backup.stopped);
      continue;
    }
    others_bytes += static_cast<double>(backup.stored_bytes);
    cadence.has_others = true;
    cadence.others = backup.type;
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
  if (span >= Days(kHistoryMin)) {
    cadence.others_bytes_per_day = static_cast<uint64_t>(others_bytes / span.count());
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

std::string family_of(const std::string& label) {
  const auto parsed = parse_backup_label(label);
  return parsed ? parsed->full_label : label;
}

class Projection {
 public:
  Projection(const SpaceHistory& history, const RetentionRules& rules, const Cadence& cadence)
      : history_(history), rules_(rules), cadence_(cadence) {
    for (const BackupMeta& backup : history.backups) {
      add(backup.label, backup.type, backup.prior_label, backup.stopped, backup.stored_bytes);
      backups_.back().bad_page_count = backup.bad_page_count;
    }
    for (const BackupMeta& backup : history.backups) {
      if (backup.type == BackupType::kFull) last_full_ = backup.stopped;
    }
    begin_ = history.backups.front().started;
  }

  /// Bytes held at the end of a day.
  Result<double> day(uint32_t number) {
    const Timestamp now = history_.now + std::chrono::days(number);
    if (number > 0) make_backup(now);
    TRY_ASSIGN(const auto decisions, decide_retention(rules_, backups_, now));
    std::set<std::string> kept;
    for (const RetentionDecision& decision : decisions)
      if (decision.keep) kept.insert(decision.label);
    std::erase_if(backups_, [&](const RetentionBackup& backup) { return !kept.contains(backup.label); });
    return backup_bytes() + wal_bytes(now);
  }

 private:
  struct Stored {
    std::string label;
    double bytes = 0;
  };

  void add(const std::string& label, BackupType type, const std::string& prior, Timestamp stopped, uint64_t bytes) {
    RetentionBackup backup;
    backup.label = label;
    backup.type = type;
    backup.prior_label = prior;
    backup.stopped = stopped;
    backups_.push_back(std::move(backup));
    families_[family_of(label)].push_back({label, static_cast<double>(bytes)});
    if (type == BackupType::kFull) family_ = label;
  }

  void make_backup(Timestamp now) {
    const bool full_due = cadence_.full_every && Days(now - last_full_) + Days(0.01) >= *cadence_.full_every;
    if (full_due) {
      last_full_ = now;
      add(make_backup_label(BackupType::kFull, now, ""), BackupType::kFull, "", now,
          fulls_of_a_day() * cadence_.full_bytes);
    } else if (cadence_.has_others && !family_.empty()) {
      const std::string prior = backups_.empty() ? family_ : backups_.back().label;
      add(make_backup_label(cadence_.others, now, family_), cadence_.others, prior, now, cadence_.others_bytes_per_day);
    }
  }
  /// Several a day are made as one.
  uint64_t fulls_of_a_day() const {
    return std::max<uint64_t>(1, static_cast<uint64_t>(1.0 / std::max(cadence_.full_every->count(), 0.1) + 0.5));
  }

  double backup_bytes() const {
    std::set<std::string> kept;
    for (const RetentionBackup& backup : backups_) kept.insert(backup.label);
    double sum = 0;
    for (const auto& [family, members] : families_) {
      double until_here = 0;
      double held = 0;
      for (const Stored& member : members) {
        until_here += member.bytes;
        if (kept.contains(member.label)) held = until_here;
      }
      sum += held;
    }
    return sum;
  }

  /// From where on all WAL is kept.
  Timestamp wal_from(Timestamp now) const {
    if (backups_.empty()) return now;
    Timestamp from = backups_.front().stopped;
    if (!rules_.archive) return from;
    uint32_t seen = 0;
    for (auto backup = backups_.rbegin(); backup != backups_.rend(); ++backup) {
      const bool counts = backup->type == BackupType::kFull ||
                          (backup->type == BackupType::kDiff && rules_.archive_type != BackupType::kFull) ||
                          rules_.archive_type == BackupType::kIncr;
      if (!counts || ++seen < *rules_.archive) continue;
      return backup->stopped;
    }
    return from;
  }

  double wal_bytes(Timestamp now) const {
    const Timestamp from = std::max(wal_from(now), begin_);
    const double past = Days(history_.now - begin_).count();
    const double density = past > 0 ? static_cast<double>(history_.wal_bytes) / past : 0;
    const double old = std::max(0.0, Days(history_.now - std::max(from, begin_)).count()) * density;
    const double added =
        Days(now - std::max(from, history_.now)).count() * static_cast<double>(history_.wal_bytes_per_day);
    return old + std::max(0.0, added);
  }

  const SpaceHistory& history_;
  const RetentionRules& rules_;
  const Cadence& cadence_;
  std::vector<RetentionBackup> backups_;
  std::map<std::string, std::vector<Stored>> families_;
  std::string family_;
  Timestamp last_full_{};
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
  forecast.backup_bytes_per_day = cadence.others_bytes_per_day;
  if (cadence.full_every && cadence.full_every->count() > 0) {
    forecast.backup_bytes_per_day +=
        static_cast<uint64_t>(static_cast<double>(cadence.full_bytes) / cadence.full_every->count());
  }
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
