// The order of a restore: resolve the target, plan, check, prepare, copy, finish, commit.
#include "ops/restore.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "catalog/wal.h"
#include "core/log.h"
#include "ops/extent_source.h"
#include "ops/restore_clean.h"
#include "ops/restore_copy.h"
#include "ops/restore_delta.h"
#include "ops/restore_finish.h"
#include "ops/restore_places.h"
#include "ops/restore_plan.h"
#include "ops/restore_source.h"
#include "ops/restore_target.h"

namespace pgark {
namespace {

void warn(RestoreReport& report, std::string text) {
  log_warn("{}", text);
  report.warnings.push_back(std::move(text));
}

/// "repo=2", of a repository that served to the end.
std::string repo_option(const RestoreReport& report) {
  std::string_view name = report.repository;
  for (const SourceReport& source : report.sources)
    if (source.fetched_bytes > 0 &&
        std::none_of(source.failures.begin(), source.failures.end(), [](const auto& f) { return f.object.empty(); }))
      name = source.name;
  return name.starts_with("repo") ? fmt::format("repo={}", name.substr(4)) : "repo";
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
  if (plan.selection.ignore_invalid_pages)
    warn(report,
         fmt::format("{} = on was set, because the WAL may need pages of what was left out: damage that "
                     "recovery meets elsewhere is only logged; undo it after recovery with ALTER SYSTEM RESET {}",
                     kIgnoreInvalidPages, kIgnoreInvalidPages));
  if (!plan.selection.empty() && request.target.kind == TargetKind::kStandby)
    warn(report, "databases that were left out cannot be dropped, nor used, before this standby is promoted");
  if (request.target.kind == TargetKind::kNone)
    warn(report,
         "type none: the server looks for WAL only in pg_wal, and a backup taken while it ran does not start "
         "without WAL from the repository");
  for (const OutsideFile& file : backup.outside_files) report.outside_files.push_back(file.path);
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

RestoreReport begin_report(const RestorePlan& plan, RecoveryPlan recovery, const pg::RecoveryFiles& files) {
  RestoreReport report;
  report.plan = std::move(recovery);
  report.data_directory = plan.places.front().path;
  for (const RestorePlace& place : plan.places)
    if (!place.is_data_directory())
      report.links.push_back({place.link, place.path, place.tablespace_oid, place.tablespace_name});
  for (const RestoreFileLink& link : plan.file_links) report.links.push_back({link.path, link.target, 0, ""});
  report.file_count = plan.file_count;
  report.logical_bytes = plan.logical_bytes;
  report.bad_page_count = plan.bad_page_count;
  report.left_out = left_out_databases(plan.selection);
  if (!files.texts.empty()) report.recovery_file = files.texts.front().file;
  report.signal_file = files.signal_file;
  return report;
}

/// Look a target up again that lay behind everything archived when the restore began: WAL that was on its way has had
/// the time of the copy to arrive.
Result<pg::RecoveryFiles> settle_target(const Repository& repository, const std::string& stanza,
                                        const RestoreRequest& request, Clock& clock, RestoreReport& report) {
  if (report.plan.clamped) {
    RestoreRequest again = request;
    again.set = report.plan.backup.label;
    auto later = plan_restore_target(repository, stanza, again, clock);
    if (later && later->end != report.plan.end) {
      log_info("WAL has arrived since the target was looked up: recovery ends at {}", to_string(later->end));
      report.plan = std::move(*later);
    } else if (!later) {
      report.plan.notes.push_back("looked up again after the files were copied: " + later.error().message());
    }
  }
  for (const std::string& text : report.plan.notes) log_warn("{}", text);
  return recovery_files_of(request, report.plan);
}

/// WAL that was never archived holds what was committed last, and nobody else has it. Its .ready file stays when
/// archive-push is run by hand, hence the look into the repositories: recovery asks all of them.
Result<> check_wal_archived(std::span<const RepositorySource> sources, const Repository& repository,
                            const std::string& stanza, const RestorePlan& plan, const PlaceChecks& checks) {
  const auto any_has = [&](const ObjectKey& key) -> Result<bool> {
    TRY_ASSIGN(const auto stored, repository.store().stat(key));
    if (stored || sources.size() == 1) return stored.has_value();
    for (const RepositorySource& source : sources) {
      const auto other = source.open();
      if (!other) continue;  // Told of already, if it matters.
      const auto there = (*other)->store().stat(key);
      if (there && *there) return true;
    }
    return false;
  };
  uint64_t missing = 0;
  std::string first;
  for (const std::string& name : checks.ready_wal) {
    const auto key = wal_key(stanza, plan.backup.cluster_number, name);
    if (!key) continue;  // No name that is ever archived.
    TRY_ASSIGN(const bool stored, any_has(*key));
    if (!stored && missing++ == 0) first = name;
  }
  if (missing == 0) return {};
  const std::string& root = plan.places.front().path;
  return Error(Errc::kInvalid,
               fmt::format("{} holds {} WAL {} the repository does not have, {}{}, and would be emptied",
                           root + "/pg_wal", missing, missing == 1 ? "file that" : "files that",
                           missing == 1 ? "" : "from ", missing == 1 ? first : first + " on"))
      .with_hint(fmt::format("to lose nothing archive them first, oldest first: pgark --stanza={} archive-push "
                             "{}/pg_wal/{}; or copy pg_wal away",
                             stanza, root, first))
      .with_hint("if they are not needed, give --force too");
}

/// The copy of a delta restore.
Result<CopyTotals> mend(ExtentSource& source, const ManifestReader& manifest, const RestorePlan& plan,
                        const DeltaIndex& index, const PlaceChecks& checks, const SyncSet& sync,
                        const CopyOptions& options, OwnerTable& owners, const CancelToken& cancel, Progress& progress,
                        DeltaReport& report) {
  // What a restore that was cut off left in memory goes to the disk, and is then read from there.
  if (checks.unfinished) TRY(sync.sync());
  const DeltaOptions all{.copy = options, .distrust_cache = checks.unfinished};
  TRY_ASSIGN(const DeltaTotals totals, mend_files(source, manifest, plan, index, all, owners, cancel, progress));
  report.compared_bytes = totals.compared_bytes;
  report.matched_bytes = totals.matched_bytes;
  report.changed_file_count = totals.changed_file_count;
  return totals.copy;
}

/// Everything that writes. Whatever fails here leaves the marker and no pg_control.
Result<> fill(ExtentSource& source, const std::string& stanza, const RestoreRequest& request,
              const ManifestReader& manifest, const RestorePlan& plan, const PlaceChecks& checks, Clock& clock,
              RestoreMarker& marker, OwnerTable& owners, const CancelToken& cancel, Progress& progress,
              RestoreReport& report) {
  progress.phase = "prepare directories";
  const bool delta = !checks.to_compare.empty();
  DeltaIndex index;
  if (delta) {
    TRY_ASSIGN(index, DeltaIndex::build(manifest, plan, cancel));
  }
  TRY(retire_control_file(plan));
  if (delta) {
    TRY_ASSIGN(const uint64_t removed, clean_places(plan, checks, index, cancel));
    report.delta = DeltaReport{.removed_count = removed};
  } else {
    TRY(clear_places(checks));
  }
  TRY(make_places(plan));
  TRY_ASSIGN(const SyncSet sync, SyncSet::open(sync_directories(plan)));
  CopyTotals totals;
  const CopyOptions options{.workers = request.process_max, .sync_files = !sync.reliable()};
  if (delta) {
    progress.phase = "compare files";
    TRY_ASSIGN(totals,
               mend(source, manifest, plan, index, checks, sync, options, owners, cancel, progress, *report.delta));
  } else {
    progress.phase = "copy files";
    TRY_ASSIGN(totals, copy_files(source, manifest, plan, options, owners, cancel, progress));
  }
  report.fetched_bytes = totals.fetched_bytes;
  report.written_bytes = totals.written_bytes;
  TRY_ASSIGN(const pg::RecoveryFiles files, settle_target(source.first(), stanza, request, clock, report));
  TRY(write_recovery_files(plan, request, files, options.sync_files, owners));
  TRY(finish_directories(plan, owners));
  progress.phase = "sync to disk";
  return commit_restore(plan, sync, marker);
}

/// What each repository gave, and that recovery needs those that did not answer.
void report_sources(std::span<const RepositorySource> sources, const ExtentSource& extents,
                    const std::vector<std::optional<Error>>& passed_over, RestoreReport& report) {
  report.sources = extents.reports();
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!passed_over[i]) continue;
    const auto before = std::find_if(report.sources.begin(), report.sources.end(),
                                     [&](const auto& r) { return r.name == sources[i].name; });
    SourceReport& one = before != report.sources.end() ? *before : report.sources.emplace_back();
    one.name = sources[i].name;
    ++one.failure_count;
    one.failures.push_back({"", *passed_over[i]});
  }
  for (const SourceReport& source : report.sources)
    for (const SourceFailure& failure : source.failures) {
      const Errc code = failure.error.code();
      if (!failure.object.empty() || code == Errc::kInvalid || code == Errc::kNotFound || code == Errc::kCorrupt)
        continue;
      warn(report, fmt::format("{} did not answer: recovery asks every repository before it takes WAL for ended, and "
                               "stops if one does not answer; if {} stays away, restore with --{}",
                               source.name, source.name, repo_option(report)));
      break;
    }
}

/// What a restore has in hand before it looks at the place it restores to.
struct Prepared {
  ChosenSource chosen;
  pg::RecoveryFiles files;
  std::unique_ptr<ManifestReader> manifest;
  RestorePlan plan;
  std::vector<std::optional<Error>> passed_over;  // By source.
};

Result<> read_manifest_of(const std::string& stanza, const RestoreRequest& request, const CancelToken& cancel,
                          Prepared& prepared) {
  const BackupMeta& backup = prepared.chosen.plan.backup;
  TRY_ASSIGN(ManifestReader manifest, ManifestReader::open(*prepared.chosen.repository, stanza, backup.label));
  // Readers hold no lock (I7): whoever expires this backup from now on removes its manifest, and its packs much later.
  TRY_CTX(manifest.load(), "read manifest of backup " + backup.label);
  prepared.manifest = std::make_unique<ManifestReader>(std::move(manifest));
  TRY_ASSIGN(prepared.plan, plan_restore(*prepared.manifest, backup, request, cancel));
  return {};
}

/// Plan with the first repository that has what is asked for, the whole manifest included.
Result<Prepared> prepare(std::span<const RepositorySource> sources, const std::string& stanza,
                         const RestoreRequest& request, Clock& clock, const CancelToken& cancel, Progress& progress) {
  SourceChooser chooser(sources, stanza, request, clock);
  for (;;) {
    progress.phase = "resolve target";
    Prepared prepared;
    TRY_ASSIGN(prepared.chosen, chooser.choose());
    const RecoveryPlan& recovery = prepared.chosen.plan;
    TRY_ASSIGN(prepared.files, recovery_files_of(request, recovery));
    log_info("restore backup {} to {} on timeline {}", recovery.backup.label, describe_target(request.target),
             recovery.timeline.value);
    progress.phase = "read manifest";
    auto read = read_manifest_of(stanza, request, cancel, prepared);
    if (read) {
      prepared.passed_over = chooser.errors();
      return prepared;
    }
    // What does not fit the request fits it nowhere.
    const Errc code = read.error().code();
    if (code == Errc::kInvalid || code == Errc::kCancelled) return std::move(read).error();
    chooser.exclude(prepared.chosen.index, std::move(read).error());
  }
}

}  // namespace

Result<RestoreReport> run_restore(const Repository& repository, const std::string& stanza,
                                  const RestoreRequest& request, Clock& clock, const CancelToken& cancel,
                                  Progress& progress) {
  const RepositorySource source{.name = "the repository",
                                .open = [&]() -> Result<const Repository*> { return &repository; }};
  return run_restore(std::span(&source, 1), stanza, request, clock, cancel, progress);
}

Result<RestoreReport> run_restore(std::span<const RepositorySource> sources, const std::string& stanza,
                                  const RestoreRequest& request, Clock& clock, const CancelToken& cancel,
                                  Progress& progress) {
  const auto begin = clock.steady();
  TRY_ASSIGN(Prepared prepared, prepare(sources, stanza, request, clock, cancel, progress));
  RestorePlan& plan = prepared.plan;
  const Repository& repository = *prepared.chosen.repository;
  const std::string label = plan.backup.label;
  skip_recovery_files(prepared.files, plan);
  TRY_ASSIGN(const PlaceChecks checks, check_places(plan, request, clock));
  TRY(check_wal_archived(sources, repository, stanza, plan, checks));
  progress.bytes_total = plan.stored_run_bytes;
  progress.files_total = plan.file_count;

  RestoreReport report = begin_report(plan, std::move(prepared.chosen.plan), prepared.files);
  report.repository = sources[prepared.chosen.index].name;
  ExtentSource source(sources, prepared.chosen.index, repository, stanza, plan);
  OwnerTable owners(::geteuid() == 0);
  TRY_ASSIGN(RestoreMarker marker, prepare_root(plan));
  auto filled =
      fill(source, stanza, request, *prepared.manifest, plan, checks, clock, marker, owners, cancel, progress, report);
  report_sources(sources, source, prepared.passed_over, report);
  if (!filled)
    return std::move(filled).error().with_hint(fmt::format(
        "{} is incomplete and cannot be started; run restore again with --delta to complete it, or with --force to "
        "start over",
        plan.places.front().describe()));
  note_surprises(plan, request, owners, report);
  report.elapsed = std::chrono::duration_cast<std::chrono::microseconds>(clock.steady() - begin);
  log_info("restored {} files, {} bytes, from backup {}", report.file_count, report.logical_bytes, label);
  return report;
}

}  // namespace pgark
