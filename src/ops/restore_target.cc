// From a request to the plan of its recovery, and from the plan to the settings of the server.
#include "ops/restore_target.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/wal_archive.h"
#include "core/log.h"
#include "ops/restore_select.h"
#include "pg/version.h"

namespace pgark {
namespace {

// Clocks of two machines may differ by this much before a target is called future.
constexpr std::chrono::seconds kClockSkewMax{60};
constexpr std::string_view kPrefetchSetting = "recovery_prefetch";

Result<std::vector<BackupMeta>> readable_backups(const Repository& repository, const std::string& stanza,
                                                 const RestoreRequest& request, std::vector<std::string>* unreadable) {
  TRY_ASSIGN(const auto listed, list_backups(repository, stanza));
  std::vector<BackupMeta> backups;
  std::optional<Error> first_error;
  for (const ListedBackup& backup : listed) {
    if (backup.meta) {
      backups.push_back(*backup.meta);
      continue;
    }
    // One that cannot be read must not keep the others from being restored, unless it is the one that was asked for.
    if (request.set == backup.label) return Error(*backup.error).with_context("read backup " + backup.label);
    log_warn("backup {} cannot be read and is passed over: {}", backup.label, backup.error->message());
    if (unreadable != nullptr) unreadable->push_back(backup.label);
    if (!first_error) first_error = backup.error;
  }
  if (backups.empty() && first_error) return *std::move(first_error);
  if (backups.empty())
    return Error(Errc::kNotFound, fmt::format("stanza {} has no backup", stanza)).with_hint("run backup first");
  return backups;
}

/// The cluster a backup is of. Not read from the stanza's records: a restore depends on as little as possible.
ClusterRecord cluster_of(const BackupMeta& backup) {
  ClusterRecord cluster;
  cluster.number = backup.cluster_number;
  cluster.system_identifier = backup.system_identifier;
  cluster.pg_major = backup.pg_major;
  cluster.control_version = backup.control_version;
  cluster.catalog_version = backup.catalog_version;
  cluster.wal_segment_bytes = backup.wal_segment_bytes;
  return cluster;
}

Result<> check_versions(const RestoreRequest& request, const BackupMeta& backup) {
  TRY(pg::pg_version_facts(pg::PgMajor{backup.pg_major}));
  if (request.archive_mode_off && backup.pg_major < 12)
    return Error(Errc::kUnsupported,
                 fmt::format("archive-mode=off is not supported with PostgreSQL {}", backup.pg_major))
        .with_hint("set archive_mode = off in postgresql.conf after the restore, before the server is started");
  return {};
}

pg::RecoveryType recovery_type_of(TargetKind kind) {
  switch (kind) {
    case TargetKind::kDefault:
      return pg::RecoveryType::kDefault;
    case TargetKind::kImmediate:
      return pg::RecoveryType::kImmediate;
    case TargetKind::kTime:
      return pg::RecoveryType::kTime;
    case TargetKind::kXid:
      return pg::RecoveryType::kXid;
    case TargetKind::kLsn:
      return pg::RecoveryType::kLsn;
    case TargetKind::kName:
      return pg::RecoveryType::kName;
    case TargetKind::kStandby:
      return pg::RecoveryType::kStandby;
    case TargetKind::kPreserve:
      return pg::RecoveryType::kPreserve;
    case TargetKind::kNone:
      return pg::RecoveryType::kNone;
  }
  return pg::RecoveryType::kDefault;
}

}  // namespace

Result<RecoveryPlan> plan_restore_target(const Repository& repository, const std::string& stanza,
                                         const RestoreRequest& request, Clock& clock,
                                         std::vector<std::string>* unreadable) {
  TRY(parse_timeline_wish(request.target_timeline));
  if (request.target.kind == TargetKind::kTime && request.target.time > clock.now() + kClockSkewMax)
    return Error(Errc::kInvalid, fmt::format("target {} is in the future, it is now {}",
                                             describe_target(request.target), format_timestamp_utc(clock.now())))
        .with_hint("for the latest state leave out --type and --target");
  TRY_ASSIGN(std::vector<BackupMeta> backups, readable_backups(repository, stanza, request, unreadable));
  // A restore never follows the timelines of a cluster before an upgrade with a backup of the one after it.
  const auto asked = std::ranges::find_if(backups, [&](const BackupMeta& b) { return request.set == b.label; });
  const ClusterRecord cluster = cluster_of(asked != backups.end() ? *asked : backups.back());
  std::erase_if(backups, [&](const BackupMeta& backup) { return backup.cluster_number != cluster.number; });
  TRY_ASSIGN(RepositoryWal wal, RepositoryWal::open(repository, stanza, cluster));
  TRY_ASSIGN(
      RecoveryPlan plan,
      plan_recovery(backups, wal, {.target = request.target, .set = request.set, .timeline = request.target_timeline}));
  TRY(check_versions(request, plan.backup));
  TRY(recovery_files_of(request, plan));
  return plan;
}

Result<pg::RecoveryFiles> recovery_files_of(const RestoreRequest& request, const RecoveryPlan& plan) {
  pg::RecoverySettings settings;
  settings.type = recovery_type_of(plan.server_target);
  if (plan.stop) {
    settings.target = to_string(plan.stop->lsn);
    settings.inclusive = plan.stop->inclusive;
    if (plan.target.kind != TargetKind::kLsn)
      settings.comment = fmt::format("target asked for: {}{}", describe_target(plan.target),
                                     plan.target.exclusive ? ", exclusive" : "");
  }
  settings.target_action = request.target_action;
  // Asked to go to the end of the WAL, the server does not pause there.
  if (plan.stop && plan.target.kind == TargetKind::kDefault && settings.target_action.empty())
    settings.target_action = "promote";
  settings.timeline = plan.server_timeline;
  settings.restore_command = request.restore_command;
  settings.archive_mode_off = request.archive_mode_off;
  settings.options = request.recovery_options;
  // From 15 on a server reads WAL ahead of what it replays, asks for the missing segment before it has come to the
  // target, and stops because archive-get tells it that something is wrong.
  const bool ends = plan.server_target == TargetKind::kLsn || plan.server_target == TargetKind::kImmediate;
  const bool given = std::ranges::any_of(settings.options, [](const auto& o) { return o.first == kPrefetchSetting; });
  if (ends && plan.gap_follows && plan.backup.pg_major >= 15 && !given)
    settings.options.emplace_back(kPrefetchSetting, "off");
  TRY_ASSIGN(const DatabaseSelection selection,
             select_databases(plan.backup, request.db_include, request.db_exclude, request.target.kind));
  const bool decided =
      std::ranges::any_of(settings.options, [](const auto& o) { return o.first == kIgnoreInvalidPages; });
  if (selection.ignore_invalid_pages && !decided) settings.options.emplace_back(kIgnoreInvalidPages, "on");
  return pg::render_recovery_settings(settings, pg::PgMajor{plan.backup.pg_major});
}

}  // namespace pgark
