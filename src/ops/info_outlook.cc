#include "ops/info_outlook.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace pgark {
namespace {

using Seconds = std::chrono::duration<double>;

std::string size_text(uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"B", "KB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{}B", bytes);
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text.append(kUnits[unit]);
}

RecoveryPointEstimate recovery_point(const BackupMeta* newest, const std::optional<WalRate>& wal_rate, Timestamp now) {
  if (!wal_rate) return {{}, "no WAL is archived"};
  RecoveryPointEstimate estimate;
  estimate.at_most = std::max(now - wal_rate->newest, std::chrono::microseconds(0));
  estimate.how = "the newest segment was archived that long ago, and what was committed since is on the server alone";
  if (newest == nullptr) return estimate;
  const auto setting = newest->settings.find("archive_timeout");
  if (setting == newest->settings.end()) return estimate;
  if (setting->second == "0") {
    estimate.how += "; archive_timeout was 0 at the last backup, so an idle server archives nothing";
  } else {
    estimate.how += fmt::format(
        "; archive_timeout was {} at the last backup, so more than that means that nothing was "
        "written or that archiving is late",
        setting->second);
  }
  return estimate;
}

/// Speed of a full backup from its start to its end.
uint64_t copy_rate(const BackupMeta& full) {
  const double took = Seconds(full.stopped - full.started).count();
  return took <= 0 ? 0 : static_cast<uint64_t>(static_cast<double>(full.logical_bytes) / took);
}

RecoveryTimeEstimate recovery_time(const std::vector<BackupMeta>& backups, Lsn wal_end) {
  RecoveryTimeEstimate estimate;
  if (backups.empty()) {
    estimate.how = "there is no backup";
    return estimate;
  }
  const BackupMeta& newest = backups.back();
  const auto full = std::find_if(backups.rbegin(), backups.rend(), [](const BackupMeta& backup) {
    return backup.type == BackupType::kFull && copy_rate(backup) > 0;
  });
  estimate.label = newest.label;
  estimate.copy_bytes = newest.logical_bytes;
  if (full == backups.rend()) {
    estimate.how = "no full backup tells how fast the cluster is copied";
    return estimate;
  }
  estimate.copy_bytes_per_second = copy_rate(*full);
  estimate.replay_bytes_per_second = kReplayBytesPerSecondAssumed;
  const Lsn end = std::max(wal_end, newest.stop_lsn);
  estimate.wal_bytes = end.bytes > newest.start_lsn.bytes ? end.bytes - newest.start_lsn.bytes : 0;
  const Seconds copy(static_cast<double>(estimate.copy_bytes) / static_cast<double>(estimate.copy_bytes_per_second));
  const Seconds replay(static_cast<double>(estimate.wal_bytes) / static_cast<double>(kReplayBytesPerSecondAssumed));
  estimate.total = std::chrono::duration_cast<std::chrono::microseconds>(copy + replay);
  estimate.how = fmt::format(
      "copying {} at {}/s, as fast as backup {} went, and replaying {} of WAL at {}/s, which is "
      "assumed",
      size_text(estimate.copy_bytes), size_text(estimate.copy_bytes_per_second), full->label,
      size_text(estimate.wal_bytes), size_text(estimate.replay_bytes_per_second));
  return estimate;
}

}  // namespace

InfoOutlook estimate_outlook(const std::vector<BackupMeta>& backups, const std::optional<WalRate>& wal_rate,
                             Lsn wal_end, Timestamp now) {
  InfoOutlook outlook;
  const BackupMeta* newest = backups.empty() ? nullptr : &backups.back();
  if (newest != nullptr) {
    outlook.newest_label = newest->label;
    outlook.newest_stopped = newest->stopped;
    outlook.newest_age = std::max(now - newest->stopped, std::chrono::microseconds(0));
  }
  outlook.wal_rate = wal_rate;
  outlook.recovery_point = recovery_point(newest, wal_rate, now);
  outlook.recovery_time = recovery_time(backups, wal_end);
  return outlook;
}

}  // namespace pgark
