// The rules of retention, one after the other, each adding its reasons to the
// backups it keeps.
#include "catalog/retention.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "catalog/time_zone.h"

namespace pgark {
namespace {

using std::chrono::days;
using std::chrono::year_month_day;

std::string format_date(year_month_day day) {
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()), static_cast<unsigned>(day.month()),
                     static_cast<unsigned>(day.day()));
}

std::string format_time(Timestamp time) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", std::chrono::floor<std::chrono::seconds>(time));
}

std::string plural(uint32_t count, std::string_view noun) {
  return count == 1 ? fmt::format("the last {}", noun) : fmt::format("the last {} {}s", count, noun);
}

class Decider {
 public:
  Decider(const RetentionRules& rules, const std::vector<RetentionBackup>& backups, Timestamp now, TimeZone zone)
      : rules_(rules), backups_(backups), now_(now), zone_(std::move(zone)), decisions_(backups.size()) {
    for (size_t i = 0; i < backups.size(); ++i) {
      decisions_[i].label = backups[i].label;
      decisions_[i].keep = false;
      index_[backups[i].label] = i;
    }
  }

  std::vector<RetentionDecision> decide() {
    keep_what_is_not_known();
    find_diff_cut();
    if (!rules_.any()) {
      for (size_t i = 0; i < backups_.size(); ++i) keep(i, "no retention", "no retention is configured");
    } else if (rules_.full || !rules_.periods()) {
      keep_fulls();
    } else if (rules_.diff) {
      for (size_t i = diff_cut_; i < backups_.size(); ++i) keep(i, "retention-diff", diff_text());
    }
    keep_periods();
    keep_holds();
    keep_safeguards();
    for (size_t i = 0; i < backups_.size(); ++i)
      if (!decisions_[i].keep) decisions_[i].reasons = {reason_to_go(i)};
    return std::move(decisions_);
  }

 private:
  void keep(size_t i, std::string rule, std::string text) {
    decisions_[i].keep = true;
    decisions_[i].reasons.push_back({std::move(rule), std::move(text)});
  }

  void keep_what_is_not_known() {
    for (size_t i = 0; i < backups_.size(); ++i)
      if (!backups_[i].readable) keep(i, "unreadable", "its manifest cannot be read, so what it needs is not known");
  }

  // -- Fulls, and the diffs and incrs of each.

  void keep_fulls() {
    const std::map<std::string, std::string> fulls = kept_fulls();
    for (size_t i = 0; i < backups_.size(); ++i) {
      const RetentionBackup& backup = backups_[i];
      if (!backup.readable) continue;
      const std::string full = full_label(i);
      const auto found = fulls.find(full);
      // Without a rule for fulls all of them stay, and so do the backups of one that was removed by hand.
      if (found == fulls.end() && rules_.full && !is_unreadable(full)) continue;
      if (backup.type == BackupType::kFull) {
        keep(i, "retention-full", found->second);
      } else if (!let_go_by_diff(i)) {
        keep(i, "retention-full", fmt::format("belongs to full backup {}", full));
      }
    }
  }

  /// Labels of the fulls that the rule keeps, and why.
  std::map<std::string, std::string> kept_fulls() const {
    std::map<std::string, std::string> kept;
    const std::vector<Timestamp> reached = latest_until();
    uint32_t counted = 0;
    for (size_t i = backups_.size(); i-- > 0;) {
      const RetentionBackup& backup = backups_[i];
      if (backup.type != BackupType::kFull || !backup.readable) continue;
      if (!rules_.full) {
        kept[backup.label] = "retention-full is not set";
      } else if (rules_.full_type == RetentionRules::FullType::kCount) {
        if (counted == *rules_.full) break;
        counted += backup.restorable ? 1u : 0u;
        kept[backup.label] = fmt::format("among {}", plural(*rules_.full, "full backup"));
      } else {
        const bool older = backup.restorable && backup.stopped <= now_ && reached[i] < now_ - days(*rules_.full);
        kept[backup.label] = older ? fmt::format("the last full backup that is older than {} days", *rules_.full)
                                   : fmt::format("needed to reach back {} days", *rules_.full);
        if (older) break;
      }
    }
    return kept;
  }

  /// For each backup the latest end up to it that does not lie in the future:
  /// the clock of one backup, gone back, must not make it look as old as that,
  /// as everything before it would go.
  std::vector<Timestamp> latest_until() const {
    std::vector<Timestamp> latest(backups_.size(), Timestamp::min());
    Timestamp so_far = Timestamp::min();
    for (size_t i = 0; i < backups_.size(); ++i) {
      if (backups_[i].readable && backups_[i].stopped <= now_) so_far = std::max(so_far, backups_[i].stopped);
      latest[i] = so_far;
    }
    return latest;
  }

  /// Where the last `diff` fulls and diffs begin.
  void find_diff_cut() {
    if (!rules_.diff) return;
    uint32_t counted = 0;
    diff_cut_ = backups_.size();
    for (size_t i = backups_.size(); i-- > 0 && counted < *rules_.diff;) {
      const RetentionBackup& backup = backups_[i];
      if (backup.type == BackupType::kIncr || !backup.readable) continue;
      counted += backup.restorable ? 1u : 0u;
      diff_cut_ = i;
    }
    if (counted < *rules_.diff) diff_cut_ = 0;
  }

  bool let_go_by_diff(size_t i) {
    if (i >= diff_cut_) return false;
    return backups_[i].type == BackupType::kDiff || hangs_on_diff(i);
  }

  /// An incr goes with the diff it is based on; it stays only if no diff lies between it and its full. What is found
  /// holds for every backup on the way, and is kept: chains can be as long as there are backups.
  bool hangs_on_diff(size_t i) {
    if (chains_.empty()) chains_.resize(backups_.size());
    std::vector<size_t> way;
    std::optional<bool> found;
    while (!(found = chains_[i]) && way.size() < backups_.size()) {
      way.push_back(i);
      const auto prior = index_.find(backups_[i].prior_label);
      if (prior == index_.end() || backups_[prior->second].type == BackupType::kDiff) {
        found = true;
        break;
      }
      // What one that cannot be read is based on is not known.
      if (backups_[prior->second].type == BackupType::kFull || !backups_[prior->second].readable) {
        found = false;
        break;
      }
      i = prior->second;
    }
    for (const size_t one : way) chains_[one] = found.value_or(true);
    return found.value_or(true);
  }

  bool is_unreadable(const std::string& label) const {
    const auto found = index_.find(label);
    return found != index_.end() && !backups_[found->second].readable;
  }

  std::string full_label(size_t i) const {
    const auto parsed = parse_backup_label(backups_[i].label);
    return parsed ? parsed->full_label : backups_[i].label;
  }

  std::string diff_text() const {
    return fmt::format("not older than {}", plural(*rules_.diff, "full or differential backup"));
  }

  // -- Grandfather, father, son.

  void keep_periods() {
    keep_period("daily", rules_.daily, "day", [](year_month_day day) { return format_date(day); });
    keep_period("weekly", rules_.weekly, "week", [](year_month_day day) {
      const IsoWeek week = iso_week(day);
      return fmt::format("week {:04}-W{:02}", week.year, week.week);
    });
    keep_period("monthly", rules_.monthly, "month", [](year_month_day day) { return format_date(day).substr(0, 7); });
    keep_period("yearly", rules_.yearly, "year", [](year_month_day day) { return format_date(day).substr(0, 4); });
  }

  /// Keep the last backup of each of the last `count` periods that have one.
  /// Periods are told apart by name alone, in the order of the labels, so that
  /// a clock that jumped costs one period at most.
  template <typename NameOf>
  void keep_period(const std::string& rule, std::optional<uint32_t> count, std::string_view noun, NameOf name_of) {
    if (!count) return;
    std::map<std::string, bool> seen;  // Whether one that can be restored was kept of it.
    uint32_t counted = 0;
    for (size_t i = backups_.size(); i-- > 0;) {
      const RetentionBackup& backup = backups_[i];
      if (!backup.readable) continue;
      const std::string name = name_of(zone_.date_at(backup.stopped));
      bool& done = seen[name];
      if (done || counted == *count) continue;
      keep(i, rule, fmt::format("last backup of {} ({} {} of {})", name, noun, counted + 1, *count));
      done = backup.restorable;
      counted += backup.restorable ? 1u : 0u;
    }
  }

  // -- What no rule takes away.

  void keep_holds() {
    for (size_t i = 0; i < backups_.size(); ++i) {
      const auto& until = backups_[i].hold_until;
      if (!until || *until <= now_) continue;
      keep(i, "hold", *until == Timestamp::max() ? "held until it is released" : "held until " + format_time(*until));
    }
  }

  void keep_safeguards() {
    keep_newest("last restorable", "the last backup that can be restored",
                [](const RetentionBackup& backup) { return backup.restorable; });
    keep_newest("last drill", "the last backup that passed a restore test",
                [](const RetentionBackup& backup) { return backup.drilled; });
    keep_clean_copy();
    uint32_t restorable = 0;
    for (size_t i = 0; i < backups_.size(); ++i) restorable += decisions_[i].keep && backups_[i].restorable ? 1u : 0u;
    for (size_t i = backups_.size(); i-- > 0 && restorable < rules_.minimum;) {
      if (decisions_[i].keep || !backups_[i].restorable) continue;
      keep(i, "minimum", fmt::format("needed for {} backups that can be restored", rules_.minimum));
      ++restorable;
    }
  }

  template <typename Predicate>
  void keep_newest(const std::string& rule, const std::string& text, Predicate predicate) {
    const auto found = std::find_if(backups_.rbegin(), backups_.rend(), predicate);
    if (found != backups_.rend()) keep(static_cast<size_t>(backups_.rend() - found) - 1, rule, text);
  }

  void keep_clean_copy() {
    bool damaged = false;
    for (size_t i = backups_.size(); i-- > 0;) {
      const RetentionBackup& backup = backups_[i];
      if (backup.readable && backup.bad_page_count > 0) damaged = true;
      if (!backup.restorable || backup.bad_page_count > 0) continue;
      if (damaged)
        keep(i, "last clean copy",
             "newer backups hold pages whose checksum failed, this one does "
             "not");
      return;
    }
  }

  // -- Of those that go.

  RetentionReason reason_to_go(size_t i) {
    const RetentionBackup& backup = backups_[i];
    if (rules_.periods()) return {"none", "no rule keeps it"};
    if (backup.type != BackupType::kFull && let_go_by_diff(i))
      return {"retention-diff", fmt::format("older than {}", plural(*rules_.diff, "full or differential backup"))};
    if (backup.type != BackupType::kFull)
      return {"retention-full", fmt::format("its full backup {} is not kept by retention-full", full_label(i))};
    if (rules_.full_type == RetentionRules::FullType::kTime)
      return {"retention-full", fmt::format("older than {} days, and so is a full backup after it", *rules_.full)};
    return {"retention-full", fmt::format("older than {}", plural(*rules_.full, "full backup"))};
  }

  const RetentionRules& rules_;
  const std::vector<RetentionBackup>& backups_;
  const Timestamp now_;
  const TimeZone zone_;
  std::vector<RetentionDecision> decisions_;
  std::map<std::string, size_t> index_;
  size_t diff_cut_ = 0;                      // Diffs before it are let go.
  std::vector<std::optional<bool>> chains_;  // Of hangs_on_diff(), as far as they are known.
};

bool counts_for_archive(BackupType type, BackupType archive_type) {
  switch (archive_type) {
    case BackupType::kFull:
      return type == BackupType::kFull;
    case BackupType::kDiff:
      return type != BackupType::kIncr;
    case BackupType::kIncr:
      return true;
  }
  return true;
}

}  // namespace

Result<std::vector<RetentionDecision>> decide_retention(const RetentionRules& rules,
                                                        const std::vector<RetentionBackup>& backups, Timestamp now) {
  // Rules that know no days need no zone of the machine.
  const bool needs_zone = rules.periods() || !rules.time_zone.empty();
  TRY_ASSIGN(TimeZone zone, TimeZone::open(needs_zone ? rules.time_zone : "UTC"));
  return Decider(rules, backups, now, std::move(zone)).decide();
}

std::optional<size_t> first_with_whole_wal(const RetentionRules& rules, const std::vector<RetentionBackup>& kept) {
  if (kept.empty()) return std::nullopt;
  std::optional<uint32_t> wanted = rules.archive;
  if (!wanted && rules.archive_type == BackupType::kDiff) wanted = rules.diff;
  if (!wanted) return 0;
  uint32_t counted = 0;
  for (size_t i = kept.size(); i-- > 0;) {
    if (!kept[i].restorable || !counts_for_archive(kept[i].type, rules.archive_type)) continue;
    if (++counted >= *wanted) return i;
  }
  return 0;
}

}  // namespace pgark
