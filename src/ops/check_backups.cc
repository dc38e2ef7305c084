// Examiners of check that look at the backups there are: their age, what is known to be damaged, and when restoring was
// last tried.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "catalog/target.h"
#include "catalog/verify_record.h"
#include "core/log.h"
#include "ops/check_examiners.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// A backup this much older than it may be is an error.
constexpr int kAgeErrorFactor = 3;
constexpr auto kFutureMax = std::chrono::minutes(5);

/// "26 h", "3 days".
std::string age_text(std::chrono::microseconds age) {
  const auto hours = std::chrono::duration_cast<std::chrono::hours>(age).count();
  if (hours < 1) return fmt::format("{} minutes", std::chrono::duration_cast<std::chrono::minutes>(age).count());
  return hours < 72 ? fmt::format("{} hours", hours) : fmt::format("{} days", hours / 24);
}

std::string pgark(const CheckState& state, std::string_view command) {
  return fmt::format("pgark --stanza={} {}", state.options.stanza, command);
}

void examine_age(CheckState& state, const CheckedRepository& one, const BackupMeta& newest) {
  const auto age = state.clock.now() - newest.stopped;
  const auto limit = state.options.thresholds.backup_age;
  if (age < -kFutureMax) {
    state.add({.severity = Severity::kWarning,
               .code = "backup_in_future",
               .what = fmt::format("backup {} ended at {}, which is still to come by the clock of this host",
                                   newest.label, format_timestamp_utc(newest.stopped)),
               .why = "a clock is or was wrong: ages, retention by time and recovery targets cannot be relied on",
               .mend = "correct the clock; if it was the server's, take a new backup afterwards",
               .repo = one.number});
  }
  if (age <= limit) return;
  state.add({.severity = age > kAgeErrorFactor * limit ? Severity::kError : Severity::kWarning,
             .code = "backup_old",
             .what = fmt::format("the newest backup, {}, is {} old, and {} is allowed", newest.label, age_text(age),
                                 age_text(limit)),
             .why = "recovery has to replay all WAL since then, and needs every segment of it",
             .mend = fmt::format("see why '{}' does not run or fails: cron or its timer, and the log of backup; "
                                 "check-backup-age sets what is allowed",
                                 pgark(state, "backup")),
             .repo = one.number});
}

void examine_pages(CheckState& state, const CheckedRepository& one, const BackupMeta& newest) {
  if (newest.bad_page_count == 0) return;
  state.add({.severity = Severity::kError,
             .code = "backup_pages_damaged",
             .what = fmt::format("{} page{} failed their checksum when backup {} was made", newest.bad_page_count,
                                 newest.bad_page_count == 1 ? "" : "s", newest.label),
             .why = "the cluster itself is damaged there; the last backup without damage is held back from expiry",
             .mend = fmt::format("'{}' names files and blocks; restore them from an older backup, or rebuild what they "
                                 "belong to",
                                 pgark(state, "info --set=" + newest.label)),
             .repo = one.number});
}

/// What is known of a restore test.
struct Drill {
  std::string label;
  Timestamp time{};
  bool passed = true;
};

/// "<stanza>/drill/<label>": a record with "passed" and "stopped_us". One that cannot be read counts for nothing.
Result<std::vector<Drill>> read_drills(const CheckState& state, const CheckedRepository& one) {
  const std::string prefix = state.options.stanza + "/drill/";
  TRY_ASSIGN_CTX(const auto objects, one.store->list_all(prefix), "list restore tests");
  std::vector<Drill> drills;
  for (const ObjectInfo& object : objects) {
    const auto record = read_record(*one.repository, object.key);
    if (!record) {
      log_warn("restore test {} cannot be read: {}", object.key.value, record.error().message());
      continue;
    }
    const auto document = nlohmann::json::parse(*record, nullptr, false);
    const auto passed = document.is_object() ? document.find("passed") : document.end();
    if (!document.is_object() || passed == document.end() || !passed->is_boolean()) continue;
    Drill drill{object.key.value.substr(prefix.size()), object.modified, passed->get<bool>()};
    const auto stopped = document.find("stopped_us");
    if (stopped != document.end() && stopped->is_number_integer()) {
      drill.time = Timestamp(std::chrono::microseconds(stopped->get<int64_t>()));
    }
    drills.push_back(std::move(drill));
  }
  std::sort(drills.begin(), drills.end(), [](const Drill& a, const Drill& b) { return a.time < b.time; });
  return drills;
}

Result<> examine_drills_of(CheckState& state, const CheckedRepository& one) {
  const std::string how = fmt::format("restore to a scratch directory and start a server there: '{}'",
                                      pgark(state, "restore --pg1-path=DIRECTORY --archive-mode=off"));
  TRY_ASSIGN(const std::vector<Drill> drills, read_drills(state, one));
  if (drills.empty()) {
    state.add({.severity = Severity::kInfo,
               .code = "drill_none",
               .what = "no restore test is recorded",
               .why = "a backup that was never restored is a hope",
               .mend = how,
               .repo = one.number});
    return {};
  }
  const Drill& last = drills.back();
  const auto age = state.clock.now() - last.time;
  if (!last.passed) {
    state.add(
        {.severity = Severity::kError,
         .code = "drill_failed",
         .what = fmt::format("the last restore test, {}, failed at {}", last.label, format_timestamp_utc(last.time)),
         .why = "what failed then will fail when it matters",
         .mend = "mend what it names, then test again: " + how,
         .repo = one.number});
  } else if (age > state.options.thresholds.drill_age) {
    state.add({.severity = Severity::kWarning,
               .code = "drill_old",
               .what = fmt::format("the last restore test was {} ago, and {} is allowed", age_text(age),
                                   age_text(state.options.thresholds.drill_age)),
               .why = "versions, sizes, keys and hosts have changed since",
               .mend = how,
               .repo = one.number});
  }
  return {};
}

Result<> examine_verify_of(CheckState& state, const CheckedRepository& one) {
  TRY_ASSIGN(const auto records, list_verify_records(*one.repository, state.options.stanza));
  if (records.empty()) {
    state.add({.severity = Severity::kInfo,
               .code = "verify_none",
               .what = "no run of verify is recorded",
               .why = "storage that lost or changed bytes is noticed when they are read",
               .mend = fmt::format("run '{}' from time to time", pgark(state, "verify")),
               .repo = one.number});
    return {};
  }
  Timestamp newest = records.front().finished;
  for (const VerifyRecord& record : records) newest = std::max(newest, record.finished);
  const auto age = state.clock.now() - newest;
  if (age > state.options.thresholds.verify_age) {
    state.add({.severity = Severity::kWarning,
               .code = "verify_old",
               .what = fmt::format("verify last ran {} ago, and {} is allowed", age_text(age),
                                   age_text(state.options.thresholds.verify_age)),
               .why = "damage since then is not known, and good copies expire meanwhile",
               .mend = fmt::format("run '{}', with --sample=5% if it takes too long", pgark(state, "verify")),
               .repo = one.number});
  }
  for (const auto& [label, verdict] : verify_verdicts(records)) {
    const bool exists = std::any_of(one.backups->begin(), one.backups->end(),
                                    [&](const ListedBackup& backup) { return backup.label == label; });
    if (!exists || verdict.damage.empty()) continue;
    state.add({.severity = Severity::kError,
               .code = "verify_damage",
               .what = fmt::format("verify found backup {} damaged: {}", label, verdict.damage),
               .why = "it cannot be restored whole",
               .mend = fmt::format("run '{}' for the objects and whether another repository has good copies; take a "
                                   "new full backup",
                                   pgark(state, "verify --set=" + label)),
               .repo = one.number});
  }
  return {};
}

}  // namespace

const BackupMeta* newest_backup(const CheckedRepository& one) {
  if (!one.backups || !one.cluster) return nullptr;
  for (auto backup = one.backups->rbegin(); backup != one.backups->rend(); ++backup) {
    if (backup->meta && backup->meta->cluster_number == one.cluster->number) return &*backup->meta;
  }
  return nullptr;
}

Result<> examine_backups(CheckState& state) {
  for (const CheckedRepository& one : state.repositories) {
    if (!one.backups) continue;
    const BackupMeta* newest = newest_backup(one);
    if (newest == nullptr) {
      state.add({.severity = Severity::kWarning,
                 .code = "no_backup",
                 .what = "there is no backup of the cluster",
                 .why = "WAL alone restores nothing",
                 .mend = fmt::format("run '{}'", pgark(state, "backup")),
                 .repo = one.number});
      continue;
    }
    examine_age(state, one, *newest);
    examine_pages(state, one, *newest);
  }
  return {};
}

Result<> examine_drills(CheckState& state) {
  for (const CheckedRepository& one : state.repositories)
    if (one.backups && newest_backup(one) != nullptr) TRY(examine_drills_of(state, one));
  return {};
}

Result<> examine_verify(CheckState& state) {
  for (const CheckedRepository& one : state.repositories)
    if (one.backups && newest_backup(one) != nullptr) TRY(examine_verify_of(state, one));
  return {};
}

}  // namespace pgark
