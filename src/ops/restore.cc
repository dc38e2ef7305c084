// The order of a restore: choose, plan, check, prepare, copy, finish, commit.
#include "ops/restore.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <algorithm>

#include "catalog/wal.h"
#include "core/log.h"
#include "ops/restore_copy.h"
#include "ops/restore_finish.h"
#include "ops/restore_places.h"
#include "ops/restore_plan.h"
#include "pg/version.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

// Clocks of two machines may differ by this much before a target is called future.
constexpr std::chrono::seconds kClockSkewMax{60};

Result<std::vector<BackupMeta>> readable_backups(const Repository& repository, const std::string& stanza,
                                                 const RestoreRequest& request) {
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
    if (!first_error) first_error = backup.error;
  }
  if (backups.empty() && first_error) return *std::move(first_error);
  if (backups.empty())
    return Error(Errc::kNotFound, fmt::format("stanza {} has no backup", stanza)).with_hint("run backup first");
  return backups;
}

/// Histories of the newest cluster of the stanza: a restore never follows the timelines of a cluster before an upgrade
/// with a backup of the one after it.
Result<TimelineChoice> read_timelines(const Repository& repository, const std::string& stanza, unsigned cluster_number,
                                      std::string wish) {
  TimelineChoice timelines{std::move(wish), {}};
  TRY_ASSIGN(const auto ids, list_timeline_histories(repository, stanza, cluster_number));
  for (const TimelineId id : ids) {
    TRY_ASSIGN(const auto copies, find_wal_copies(repository, stanza, cluster_number, pg::history_name(id)));
    if (copies.empty()) continue;
    TRY_ASSIGN_CTX(const StoredFile file, read_stored_file(repository, copies.back()), "read timeline history");
    TRY_ASSIGN_CTX(auto history, pg::parse_timeline_history(id, as_text(file.raw)), "read " + copies.back().value);
    timelines.histories.push_back(std::move(history));
  }
  return timelines;
}

Result<BackupChoice> choose(const Repository& repository, const std::string& stanza, const RestoreRequest& request,
                            Clock& clock) {
  TRY(check_target_timeline(request.target_timeline));
  if (request.target.kind == TargetKind::kTime && request.target.time > clock.now() + kClockSkewMax)
    return Error(Errc::kInvalid, fmt::format("target {} is in the future, it is now {}",
                                             describe_target(request.target), format_timestamp_utc(clock.now())))
        .with_hint("for the latest state leave out --type and --target");
  TRY_ASSIGN(const auto backups, readable_backups(repository, stanza, request));
  unsigned cluster_number = backups.back().cluster_number;
  if (request.set)
    for (const BackupMeta& backup : backups)
      if (backup.label == *request.set) cluster_number = backup.cluster_number;
  std::string wish = request.target_timeline;
  // The end of the backup lies on its own timeline, wherever the newest one went.
  if (wish.empty() && request.target.kind == TargetKind::kImmediate) wish = "current";
  TRY_ASSIGN(const TimelineChoice timelines, read_timelines(repository, stanza, cluster_number, std::move(wish)));
  std::vector<BackupMeta> of_cluster;
  for (const BackupMeta& backup : backups)
    if (request.set || backup.cluster_number == cluster_number) of_cluster.push_back(backup);
  return choose_backup(of_cluster, request.target, request.set, timelines);
}

bool recovers(TargetKind kind) { return kind != TargetKind::kPreserve && kind != TargetKind::kNone; }

/// Segments the backup itself needs, and the first one missing behind it although later ones are there.
Result<std::optional<pg::WalSegment>> check_wal_of_backup(const std::vector<std::string>& names,
                                                          const BackupMeta& backup) {
  const uint32_t segment_bytes = backup.wal_segment_bytes;
  TRY_ASSIGN_CTX(auto segment, pg::parse_segment_name(backup.wal_start, segment_bytes), "backup " + backup.label);
  TRY_ASSIGN_CTX(const auto stop, pg::parse_segment_name(backup.wal_stop, segment_bytes), "backup " + backup.label);
  const auto has = [&](const pg::WalSegment& wanted) {
    return std::binary_search(names.begin(), names.end(), pg::segment_name(wanted, segment_bytes));
  };
  for (; segment <= stop; segment = segment.next())
    if (!has(segment))
      return Error(Errc::kNotFound, fmt::format("backup {} needs WAL segment {}, which is not in the repository",
                                                backup.label, pg::segment_name(segment, segment_bytes)))
          .with_hint("without it the backup cannot become consistent: restore another one with --set");
  while (has(segment)) segment = segment.next();
  const std::string last_of_timeline = fmt::format("{:08X}FFFFFFFFFFFFFFFF", segment.timeline.value);
  const auto later = std::upper_bound(names.begin(), names.end(), pg::segment_name(segment, segment_bytes));
  if (later != names.end() && *later <= last_of_timeline) return std::optional(segment);
  return std::optional<pg::WalSegment>();
}

/// Refuse if WAL that recovery cannot do without is provably not in the repository.
/// Returns what the operator should know of WAL behind the backup.
Result<std::vector<std::string>> check_wal(const Repository& repository, const std::string& stanza,
                                           const BackupMeta& backup, const RestoreTarget& target) {
  std::vector<std::string> warnings;
  const uint32_t segment_bytes = backup.wal_segment_bytes;
  if (!recovers(target.kind) || !pg::is_wal_segment_bytes(segment_bytes)) return warnings;
  const bool to_lsn = target.kind == TargetKind::kLsn;
  TRY_ASSIGN(const auto names, list_wal_segments(repository, stanza, backup.cluster_number,
                                                 to_lsn ? std::nullopt : std::optional(backup.start_timeline)));
  const pg::WalSegment wanted = pg::segment_at(backup.stop_timeline, target.lsn, segment_bytes);
  if (backup.start_timeline == backup.stop_timeline) {
    TRY_ASSIGN(const auto gap, check_wal_of_backup(names, backup));
    if (gap && target.kind != TargetKind::kImmediate) {
      const std::string missing = fmt::format("WAL segment {} is not in the repository although later ones are",
                                              pg::segment_name(*gap, segment_bytes));
      if (to_lsn && wanted.number >= gap->number)
        return Error(Errc::kNotFound, fmt::format("target {} cannot be reached: {}", describe_target(target), missing))
            .with_hint("choose a target before it, or a newer backup with --set");
      warnings.push_back(missing + ": recovery along this timeline ends there");
    }
  }
  if (!to_lsn) return warnings;
  uint64_t newest = 0;
  for (const std::string& name : names)
    if (const auto segment = pg::parse_segment_name(name, segment_bytes)) newest = std::max(newest, segment->number);
  if (wanted.number <= newest) return warnings;
  return Error(Errc::kInvalid, fmt::format("target {} is past the archived WAL: segment {} is not in the repository",
                                           describe_target(target), pg::segment_name(wanted, segment_bytes)))
      .with_hint("if the primary lives, run pg_switch_wal() there and wait until the segment is archived");
}

void warn(RestoreReport& report, std::string text) {
  log_warn("{}", text);
  report.warnings.push_back(std::move(text));
}

/// What does not stop a restore and may still surprise after it.
void note_surprises(const RestorePlan& plan, const RestoreRequest& request, const OwnerTable& owners,
                    RestoreReport& report) {
  const BackupMeta& backup = plan.backup;
  for (const std::string& name : owners.unknown())
    warn(report,
         fmt::format("{} of the backup does not exist on this machine: its files belong to root, and the server "
                     "will not start before that is changed",
                     name));
  if (!backup.libc_version.empty() && backup.libc_version != gnu_get_libc_version())
    warn(report,
         fmt::format("the backup was made with glibc {}, this machine has {}: text may sort differently, reindex "
                     "indexes on text before trusting them",
                     backup.libc_version, gnu_get_libc_version()));
  if (plan.bad_page_count > 0)
    warn(report,
         fmt::format("{} pages were damaged already when backup {} was made", plan.bad_page_count, backup.label));
  if (request.target.kind == TargetKind::kNone)
    warn(report,
         "type none: the server looks for WAL only in pg_wal, and a backup taken while it ran does not start "
         "without WAL from the repository");
  for (const OutsideFile& file : backup.outside_files) report.outside_files.push_back(file.path);
}

Result<> check_request(const RestoreRequest& request, const BackupMeta& backup) {
  TRY(pg::pg_version_facts(pg::PgMajor{backup.pg_major}));
  if (request.archive_mode_off && backup.pg_major < 12)
    return Error(Errc::kUnsupported,
                 fmt::format("archive-mode=off is not supported with PostgreSQL {}", backup.pg_major))
        .with_hint("set archive_mode = off in postgresql.conf after the restore, before the server is started");
  return {};
}

void skip_recovery_files(const pg::RecoveryFiles& files, RestorePlan& plan) {
  for (const std::string& file : files.remove_files) plan.skip_files.insert(file);
  if (!files.signal_file.empty()) plan.skip_files.insert(files.signal_file);
  for (const pg::RecoveryFileText& text : files.texts)
    if (!text.append) plan.skip_files.insert(text.file);
}

std::vector<std::string> sync_directories(const RestorePlan& plan) {
  std::vector<std::string> directories;
  for (const RestorePlace& place : plan.places) directories.push_back(place.path);
  for (const RestoreFileLink& link : plan.file_links) directories.push_back(parent_path(link.target));
  return directories;
}

RestoreReport begin_report(const RestorePlan& plan, const BackupChoice& choice, const pg::RecoveryFiles& files) {
  RestoreReport report;
  report.backup = plan.backup;
  report.timeline = choice.timeline;
  report.data_directory = plan.places.front().path;
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory())
      report.links.push_back({place.link, place.path, place.tablespace_oid, place.tablespace_name});
  for (const RestoreFileLink& link : plan.file_links) report.links.push_back({link.path, link.target, 0, ""});
  report.file_count = plan.file_count;
  report.logical_bytes = plan.logical_bytes;
  report.bad_page_count = plan.bad_page_count;
  if (!files.texts.empty()) report.recovery_file = files.texts.front().file;
  report.signal_file = files.signal_file;
  return report;
}

/// Everything that writes. Whatever fails here leaves the marker and no pg_control.
Result<> fill(const Repository& repository, const std::string& stanza, const RestoreRequest& request,
              const ManifestReader& manifest, const RestorePlan& plan, const PlaceChecks& checks,
              const pg::RecoveryFiles& files, RestoreMarker& marker, OwnerTable& owners, const CancelToken& cancel,
              Progress& progress, RestoreReport& report) {
  progress.phase = "prepare directories";
  TRY(prepare_places(plan, checks));
  TRY_ASSIGN(const SyncSet sync, SyncSet::open(sync_directories(plan)));
  progress.phase = "copy files";
  const CopyOptions options{.workers = request.process_max, .sync_files = !sync.reliable()};
  TRY_ASSIGN(const CopyTotals totals,
             copy_files(repository, stanza, manifest, plan, options, owners, cancel, progress));
  report.fetched_bytes = totals.fetched_bytes;
  report.written_bytes = totals.written_bytes;
  TRY(write_recovery_files(plan, request, files, owners));
  TRY(finish_directories(plan, owners));
  progress.phase = "sync to disk";
  return commit_restore(plan, sync, marker);
}

}  // namespace

Result<RestoreReport> run_restore(const Repository& repository, const std::string& stanza,
                                  const RestoreRequest& request, Clock& clock, const CancelToken& cancel,
                                  Progress& progress) {
  const auto begin = clock.steady();
  progress.phase = "read manifest";
  TRY_ASSIGN(const BackupChoice choice, choose(repository, stanza, request, clock));
  TRY(check_request(request, choice.backup));
  TRY_ASSIGN(const pg::RecoveryFiles files, recovery_files_of(request, choice.backup));
  log_info("restore backup {} to {} on timeline {}", choice.backup.label, describe_target(request.target),
           choice.timeline.value);
  TRY_ASSIGN(ManifestReader manifest, ManifestReader::open(repository, stanza, choice.backup.label));
  // Readers hold no lock (I7): whoever expires this backup from now on removes its manifest, and its packs much later.
  TRY_CTX(manifest.load(), "read manifest of backup " + choice.backup.label);
  TRY_ASSIGN(RestorePlan plan, plan_restore(manifest, choice.backup, request, cancel));
  skip_recovery_files(files, plan);
  TRY_ASSIGN(const auto wal_warnings, check_wal(repository, stanza, plan.backup, request.target));
  TRY_ASSIGN(const PlaceChecks checks, check_places(plan, request.force));
  progress.bytes_total = plan.stored_run_bytes;
  progress.files_total = plan.file_count;

  RestoreReport report = begin_report(plan, choice, files);
  for (const std::string& text : wal_warnings) warn(report, text);
  OwnerTable owners(::geteuid() == 0);
  TRY_ASSIGN(RestoreMarker marker, prepare_root(plan));
  auto filled =
      fill(repository, stanza, request, manifest, plan, checks, files, marker, owners, cancel, progress, report);
  if (!filled)
    return std::move(filled).error().with_hint(fmt::format(
        "{} is incomplete and cannot be started; run restore again with --force", plan.places.front().describe()));
  note_surprises(plan, request, owners, report);
  report.elapsed = std::chrono::duration_cast<std::chrono::microseconds>(clock.steady() - begin);
  log_info("restored {} files, {} bytes, from backup {}", report.file_count, report.logical_bytes, report.backup.label);
  return report;
}

}  // namespace pgark
