// The order of a backup's steps. Each step is in a file of its own: backup_server, backup_facts, backup_plan,
// backup_base, backup_copy.
#include "ops/backup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "catalog/cluster.h"
#include "catalog/verify_record.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/backup_base.h"
#include "ops/backup_copy.h"
#include "ops/backup_plan.h"
#include "ops/backup_targets.h"
#include "ops/backup_wal.h"
#include "ops/cluster_files.h"
#include "pg/backup_label.h"
#include "pg/control.h"
#include "pg/wal.h"
#include "pipe/task_group.h"
#include "repo/manifest.h"

namespace pgark {
namespace {

constexpr std::chrono::milliseconds kPositionEvery{500};

std::chrono::microseconds since(Clock& clock, std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(clock.steady() - start);
}

/// A directory of a setting as the exclusion table wants it: relative to the data directory, empty if outside it.
std::string inside(const std::string& data_directory, std::string path) {
  if (path.starts_with("./")) path.erase(0, 2);
  if (!path.starts_with('/')) return path.starts_with("..") ? std::string() : path;
  if (path.starts_with(data_directory + "/")) return path.substr(data_directory.size() + 1);
  return "";
}

/// One backup on its way; each member function is a step.
class Backup {
 public:
  Backup(const std::vector<BackupDestination>& destinations, PgSession& session, const BackupRequest& request,
         Clock& clock, const CancelToken& cancel, Progress& progress)
      : targets_(destinations, report_.warnings),
        repository_(targets_.first()),
        session_(session),
        request_(request),
        clock_(clock),
        cancel_(cancel),
        progress_(progress),
        begun_(clock.steady()) {}

  Result<BackupReport> run() && {
    progress_.phase = "check";
    TRY(check());
    TRY(choose_what_to_build_on());
    TRY(choose_label());
    TRY(begin());
    TRY_ASSIGN(const BackupPlan plan, make_plan());
    TRY(compare_with_base(plan));
    PackSet packs(targets_.set(), request_.stanza, meta_.label);
    BackupCopier copier(plan, copy_options(), packs, position_, clock_, progress_);
    TRY(copy(copier, packs));
    if (base_ != nullptr) base_->end_copy();
    TRY(stop());
    // While the server archives the last WAL everything else is made ready; nothing is committed before that is there.
    progress_.phase = "write manifest";
    auto written = write_manifest(copier);
    // Why a repository takes nothing more, its packs know, and not the manifest that is no longer written to it.
    TRY_CTX(packs.finish(), "write packs of backup " + meta_.label);
    TRY_ASSIGN_CTX(ManifestWriter manifest, std::move(written), manifest_context());
    progress_.phase = "wait for WAL";
    if (request_.wait_for_wal) TRY(wait_for_wal());
    progress_.phase = "write manifest";
    TRY(finish_facts());
    TRY(commit_manifest(std::move(manifest), copier, packs));
    report_.meta = std::move(meta_);
    report_.elapsed = since(clock_, begun_);
    report_.pack_count = packs.count();
    targets_.tell(request_.stanza, report_);
    return std::move(report_);
  }

 private:
  /// Everything that can be refused before the server is told to begin.
  Result<> check() {
    TRY(check_excludes(request_.exclude));
    TRY_ASSIGN(cluster_, current_cluster(repository_, request_.stanza));
    const auto same_stanza = [this](const Repository& repository) -> Result<> {
      if (&repository == &repository_) return {};
      TRY_ASSIGN(const ClusterRecord cluster, current_cluster(repository, request_.stanza));
      if (cluster.number == cluster_.number) return check_same_cluster(request_.stanza, cluster, cluster_);
      return Error(Errc::kInvalid, fmt::format("the cluster has number {} in it, and {} in {}", cluster.number,
                                               cluster_.number, targets_.first_name()))
          .with_hint("back it up with --repo alone");
    };
    TRY(targets_.for_each(same_stanza));
    TRY_ASSIGN_CTX(server_, read_server_info(session_), "ask the server what it is");
    TRY_ASSIGN(files_, read_cluster_files(request_.data_directory, clock_));
    TRY(check_same_cluster(request_.stanza, cluster_, cluster_record(files_, clock_.now())));
    if (files_.control.system_id != server_.system_id)
      return Error(Errc::kInvalid, fmt::format("the server has system identifier {}, the data directory '{}' has {}",
                                               server_.system_id, request_.data_directory, files_.control.system_id))
          .with_hint("check that pg1-path and pg1-port, pg1-socket-path are of the same cluster");
    TRY(check_roles());
    TRY(check_server_runs_on(session_, server_, request_.data_directory));
    return {};
  }

  /// Where WAL is archived from, and what is backed up.
  Result<> check_roles() {
    std::optional<ServerInfo> primary;
    if (request_.primary != nullptr) {
      TRY_ASSIGN_CTX(primary, read_server_info(*request_.primary), "ask the primary what it is");
    }
    if (request_.from_standby) TRY(check_standby_can_be_backed_up(server_, primary.has_value() ? &*primary : nullptr));
    const ServerInfo& archives = primary.has_value() ? *primary : server_;
    if (archives.in_recovery && request_.from_standby) return {};  // A standby alone: nobody to ask.
    return check_server_can_be_backed_up(archives, request_.stanza, request_.check_archive_command);
  }

  /// Who can be asked about archiving; null if nobody can.
  PgSession* archiving() const { return request_.from_standby ? request_.primary : &session_; }

  /// Find the backup that an incremental or differential builds on; without one it becomes full.
  Result<> choose_what_to_build_on() {
    meta_.type = request_.type;
    if (request_.type == BackupType::kFull) return {};
    TRY_ASSIGN(const auto listed, list_backups(repository_, request_.stanza));
    std::vector<BackupMeta> backups;
    TRY_ASSIGN(const auto verified, list_verify_records(repository_, request_.stanza));
    const auto verdicts = verify_verdicts(verified);
    for (const ListedBackup& backup : listed) {
      const auto verdict = verdicts.find(backup.label);
      if (verdict != verdicts.end() && !verdict->second.damage.empty())
        warn(fmt::format("backup {} is not built on: verify found that {}", backup.label, verdict->second.damage));
      else if (backup.meta.has_value())
        backups.push_back(*backup.meta);
      else
        warn(fmt::format("backup {} cannot be built on: {}", backup.label, backup.error->to_string()));
    }
    std::string reason = "there is no backup yet";
    if (!backups.empty()) {
      auto history = cluster_history(repository_, request_.stanza, cluster_, request_.data_directory, server_.timeline);
      if (history.has_value()) {
        TRY(update_position());
        PriorChoice choice = choose_prior(backups, {.type = request_.type,
                                                    .cluster_number = cluster_.number,
                                                    .checksum_version = files_.control.checksums_enabled() ? 1u : 0u,
                                                    .block_bytes = files_.control.block_bytes,
                                                    .relation_segment_blocks = files_.control.relation_segment_blocks,
                                                    .now = position_.get(),
                                                    .history = *history});
        if (choice.prior.has_value() && !choice.reason.empty())
          log_info("building on backup {}: {}", choice.prior->label, choice.reason);
        prior_ = std::move(choice.prior);
        reason = std::move(choice.reason);
        history_ = std::move(*history);
      } else if (history.error().code() == Errc::kNotFound) {
        reason = history.error().message();
      } else {
        return std::move(history).error();
      }
    }
    if (prior_.has_value())
      return targets_.for_each([this](const Repository& repository) { return check_has_prior(repository); });
    meta_.type = BackupType::kFull;
    const std::string text = fmt::format("{} backup becomes full: {}", backup_type_name(request_.type), reason);
    if (backups.empty())
      log_info("{}", text);
    else
      warn(text);
    return {};
  }

  /// A backup refers to the packs of its prior, so a repository that lacks the prior cannot have it.
  Result<> check_has_prior(const Repository& repository) const {
    if (&repository == &repository_) return {};
    auto there = read_backup(repository, request_.stanza, prior_->label);
    if (!there.has_value() && there.error().code() != Errc::kNotFound) return Error(std::move(there).error());
    if (!there.has_value() || there->started != prior_->started || there->wal_start != prior_->wal_start ||
        there->stored_bytes != prior_->stored_bytes)
      return Error(Errc::kNotFound, fmt::format("it lacks backup {}, which this one builds on", prior_->label));
    return {};
  }

  Result<> choose_label() {
    meta_.started = clock_.now();
    std::vector<std::string> used;
    const auto add_used = [&](const Repository& repository) -> Result<> {
      TRY_ASSIGN(const auto labels, list_used_labels(repository, request_.stanza));
      used.insert(used.end(), labels.begin(), labels.end());
      return {};
    };
    TRY(targets_.for_each(add_used));
    std::string full_label;
    if (prior_.has_value()) {
      TRY_ASSIGN(const BackupLabel label, parse_backup_label(prior_->label));
      full_label = label.full_label;
      meta_.prior_label = prior_->label;
    }
    meta_.label = next_backup_label(meta_.type, meta_.started, full_label, used);
    if (request_.on_label) TRY(request_.on_label(meta_.label));
    meta_.pgark_version = request_.pgark_version;
    meta_.cluster_number = cluster_.number;
    meta_.system_identifier = files_.control.system_id;
    meta_.pg_major = files_.major.value;
    meta_.pg_version_num = server_.version_num;
    meta_.control_version = files_.control.control_version;
    meta_.catalog_version = files_.control.catalog_version;
    meta_.block_bytes = files_.control.block_bytes;
    meta_.relation_segment_blocks = files_.control.relation_segment_blocks;
    meta_.wal_segment_bytes = files_.control.wal_segment_bytes;
    meta_.checksum_version = files_.control.checksums_enabled() ? 1 : 0;
    meta_.source = request_.from_standby ? "standby" : "primary";
    meta_.codec = codec_name(request_.codec);
    meta_.data_directory = request_.data_directory;
    meta_.annotations = request_.annotations;
    return {};
  }

  /// Have the server begin. Its checkpoint takes its time: what the repository has to tell is read meanwhile.
  Result<> begin() {
    if (prior_.has_value()) reading_.spawn([this] { return open_base(); });
    if (request_.resume) reading_.spawn([this] { return find_orphans(); });
    return start();
  }

  Result<> finish_reading() {
    TRY(reading_.wait());
    // Of a run that was killed not every repository need have the same packs.
    return targets_.for_each([this](const Repository& repository) { return check_has_orphans(repository); });
  }

  Result<> open_base() {
    TRY_ASSIGN(base_, BackupBase::open(repository_, {.stanza = request_.stanza,
                                                     .cluster = cluster_,
                                                     .data_directory = request_.data_directory,
                                                     .prior = *prior_,
                                                     .history = *history_,
                                                     .scan = request_.scan,
                                                     .sample_blocks = request_.sample_blocks,
                                                     .seed = request_.seed}));
    return {};
  }

  Result<> find_orphans() {
    TRY_ASSIGN(orphans_, OrphanedPacks::find(repository_, request_.stanza));
    return {};
  }

  Result<> check_has_orphans(const Repository& repository) {
    if (&repository == &repository_ || !orphans_.has_value()) return {};
    Result<> there = check_packs_exist(repository, request_.stanza, orphans_->packs());
    if (there.has_value() || there.error().code() != Errc::kNotFound) return there;
    log_info("what interrupted backups stored is not used: not every repository has it");
    orphans_.reset();
    return {};
  }

  Result<> start() {
    progress_.phase = request_.start_fast ? "start backup" : "wait for checkpoint";
    log_info("backup {}: start, {} checkpoint", meta_.label, request_.start_fast ? "fast" : "spread");
    if (request_.from_standby && request_.start_fast && request_.primary != nullptr)
      TRY(bring_standby_up_to_date(*request_.primary, session_, request_.archive_timeout, clock_, cancel_));
    TRY_ASSIGN(meta_.start_lsn,
               start_backup(session_, server_.major, "pgark backup " + meta_.label, request_.start_fast));
    TRY(update_position());
    // Of a standby alone only the last WAL of the backup shows whether it is archived.
    PgSession* asked = archiving();
    wal_.emplace(targets_,
                 BackupWalOptions{.stanza = request_.stanza,
                                  .cluster_number = cluster_.number,
                                  .segment_bytes = meta_.wal_segment_bytes,
                                  .data_directory = request_.data_directory,
                                  .timeout = request_.archive_timeout,
                                  .repository_is_away = request_.repository_is_away},
                 clock_, cancel_, report_.warnings);
    if (!request_.wait_for_wal || asked == nullptr) return {};
    return wal_->begin_check(server_.timeline, meta_.start_lsn, *asked);
  }

  /// List the files. What the WAL says has changed is gathered beside it, and the server asked for what else is to be
  /// recorded.
  Result<BackupPlan> make_plan() {
    progress_.phase = "list files";
    std::optional<BackupPlan> plan;
    TaskGroup beside(&cancel_);
    beside.spawn([&]() -> Result<> {
      TRY_ASSIGN(plan, plan_backup(request_.data_directory, exclusions(), request_.exclude, beside.cancel(),
                                   request_.process_max));
      return {};
    });
    TRY(collect_facts());
    TRY(finish_reading());
    if (base_ != nullptr) TRY(base_->gather(meta_.start_lsn));
    TRY(beside.wait());
    // Logged when they were found.
    report_.warnings.insert(report_.warnings.end(), plan->warnings().begin(), plan->warnings().end());
    adopt_tablespaces(*plan);
    log_info("backup {}: {} files of {} bytes in '{}'", meta_.label, plan->file_count(), plan->bytes(),
             request_.data_directory);
    return std::move(*plan);
  }

  pg::ExclusionContext exclusions() const {
    pg::ExclusionContext exclusions;
    exclusions.major = server_.major;
    if (server_.settings.contains("log_directory"))
      exclusions.log_directory = inside(request_.data_directory, server_.setting("log_directory"));
    if (server_.settings.contains("stats_temp_directory"))
      exclusions.stats_temp_directory = inside(request_.data_directory, server_.setting("stats_temp_directory"));
    exclusions.tablespace_directory = pg::tablespace_directory_name(server_.major, meta_.catalog_version);
    return exclusions;
  }

  /// Ask what a restore elsewhere must know. A session with each database takes its time, and nothing but the manifest
  /// needs what they say.
  Result<> collect_facts() {
    std::vector<std::string> warnings;
    TRY_ASSIGN(const auto databases,
               collect_cluster_facts(session_, server_, request_.data_directory, meta_, warnings));
    for (std::string& warning : warnings) warn(std::move(warning));
    sessions_.spawn([this, databases]() -> Result<> {
      extensions_ = extensions_of(databases, request_.connect, sessions_.cancel());
      return {};
    });
    return {};
  }

  Result<> finish_facts() {
    TRY(sessions_.wait());
    for (std::string& warning : extensions_.warnings) warn(std::move(warning));
    meta_.extensions.insert(meta_.extensions.end(), extensions_.extensions.begin(), extensions_.extensions.end());
    return {};
  }

  /// Links on disk are what restore has to make again; the server knows their names.
  void adopt_tablespaces(const BackupPlan& plan) {
    std::vector<BackupTablespace> found;
    for (const PlannedTablespace& planned : plan.tablespaces()) {
      const auto known = std::find_if(meta_.tablespaces.begin(), meta_.tablespaces.end(),
                                      [&](const BackupTablespace& t) { return t.oid == planned.oid; });
      found.push_back({planned.oid, known == meta_.tablespaces.end() ? std::string() : known->name, planned.path});
    }
    meta_.tablespaces = std::move(found);
  }

  /// Decide what is copied and what is taken from the prior.
  Result<> compare_with_base(const BackupPlan& plan) {
    if (orphans_.has_value() && !orphans_->empty())
      log_info("backup {}: uses what interrupted backups stored: {}", meta_.label, fmt::join(orphans_->labels(), ", "));
    if (base_ == nullptr) return {};
    progress_.phase = "find changes";
    TRY(base_->survey(plan, cancel_));
    for (const std::string& warning : base_->warnings()) warn(warning);
    meta_.scan = scan_mode_name(base_->scan());
    report_.changed_block_count = base_->changed_blocks();
    report_.wal_segment_count = base_->segment_count();
    log_info("backup {}: builds on {}, {} changed blocks in {} WAL segments, {} thin extents, scan {}", meta_.label,
             prior_->label, report_.changed_block_count, report_.wal_segment_count, base_->sparse_extents(),
             meta_.scan);
    return {};
  }

  BackupCopyOptions copy_options() {
    BackupCopyOptions options;
    options.data_directory = request_.data_directory;
    options.workers = request_.process_max;
    if (request_.read_bytes_per_second_max > 0)
      options.read_limiter = &read_limiter_.emplace(request_.read_bytes_per_second_max, clock_);
    options.codec = request_.codec;
    options.level = request_.level;
    options.check_pages = request_.check_pages && files_.control.checksums_enabled();
    options.page_bytes = meta_.block_bytes;
    options.relation_segment_blocks = meta_.relation_segment_blocks;
    options.start_lsn = meta_.start_lsn;
    if (base_ != nullptr) {
      options.prior.emplace(base_->copy_prior());
      options.older_packs = base_->packs();
    }
    if (orphans_.has_value() && !orphans_->empty()) {
      const auto first = static_cast<uint32_t>(options.older_packs.size());
      options.older_packs.insert(options.older_packs.end(), orphans_->packs().begin(), orphans_->packs().end());
      options.find_held = [this, first](std::string_view path, uint64_t offset, uint64_t hash) {
        auto found = orphans_->find_block(path, offset, hash);
        if (!found.has_value()) return std::optional<HeldBlock>{};
        found->extent.pack += first;
        return std::optional(HeldBlock{found->extent, found->extent_offset});
      };
    }
    return options;
  }

  Result<> copy(BackupCopier& copier, PackSet& packs) {
    progress_.phase = "copy files";
    const auto copy_begun = clock_.steady();
    auto copied = copier.copy_files(cancel_, [this] { return while_copying(); });
    if (copied.has_value()) {
      TRY_ASSIGN(ControlFile control, read_control_file(request_.data_directory, clock_));
      control.content.resize(pg::kControlFileBytes);  // Zeros behind what PostgreSQL wrote, as on disk.
      copied = copier.copy_control(as_bytes(control.content));
      // Its minRecoveryPoint is where the backup of a standby becomes consistent, on the timeline it has followed.
      stop_timeline_ = control.data.min_recovery_timeline;
      // From 19 on checksums can be switched while a cluster runs.
      if (files_.control.checksums_enabled() && !control.data.checksums_enabled())
        warn("page checksums were switched off during the backup: pages reported as bad may be sound");
    }
    if (!copied.has_value()) {
      // Workers that stopped because a pack could not be written do not know why; the set of packs does.
      if (copied.error().code() == Errc::kCancelled && !cancel_.cancelled())
        TRY_CTX(packs.finish(), "write packs of backup " + meta_.label);
      return copied;
    }
    report_.copying = since(clock_, copy_begun);
    report_.vanished_count = copier.totals().vanished_count;
    report_.shrunk_count = copier.totals().shrunk_count;
    meta_.read_bytes = copier.totals().read_bytes;
    meta_.referenced_bytes = copier.totals().referenced_bytes;
    meta_.reused_bytes = copier.totals().reused_bytes;
    return {};
  }

  /// Ask for the insert position now and then: pages are judged by it, and it tells early that the session is lost.
  Result<> while_copying() {
    TRY(wal_->look());
    if (clock_.steady() < position_asked_ + kPositionEvery) return {};
    return update_position();
  }

  Result<> update_position() {
    position_asked_ = clock_.steady();
    // NULL on a standby that is none any more.
    auto answer = session_.query_value(request_.from_standby
                                           ? "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END"
                                           : "SELECT pg_current_wal_insert_lsn()");
    if (request_.from_standby && answer.has_value() && answer->empty()) return promoted();
    if (!answer.has_value()) {
      Error error = Error(std::move(answer).error()).with_context("keep backup session open");
      if (error.code() != Errc::kTransient) return error;
      return std::move(error).with_hint(
          "the server ended the backup with the session; run the backup again once it is up");
    }
    TRY_ASSIGN_CTX(const Lsn position, parse_lsn(*answer), "ask for the WAL position");
    position_.update(position);
    return {};
  }

  static Error promoted() {
    return Error(Errc::kInvalid, "the standby was promoted while it was backed up")
        .with_hint("run the backup again: it is a primary now");
  }

  Result<> stop() {
    progress_.phase = "stop backup";
    if (request_.from_standby) TRY(update_position());  // A promotion shows here, too.
    TRY_ASSIGN(StoppedBackup stopped, stop_backup(session_, server_.major));
    TRY_ASSIGN_CTX(const pg::BackupLabel label, pg::parse_backup_label(stopped.backup_label),
                   "read the server's backup_label");
    meta_.stopped = stopped.time;
    meta_.stop_lsn = stopped.stop;
    meta_.start_lsn = label.start;
    meta_.checkpoint_lsn = label.checkpoint;
    meta_.start_timeline = label.timeline();
    meta_.stop_timeline = label.timeline();  // Of a primary: a promotion would have ended the session.
    if (request_.from_standby && stop_timeline_.value != 0 && stop_timeline_ != meta_.start_timeline)
      return Error(Errc::kInvalid, fmt::format("the standby went from timeline {} to {} while it was backed up",
                                               meta_.start_timeline.value, stop_timeline_.value))
          .with_hint("another server was promoted, and the standby follows it: run the backup again");
    meta_.backup_label = std::move(stopped.backup_label);
    meta_.tablespace_map = std::move(stopped.tablespace_map);
    meta_.wal_start = pg::segment_name(first_segment(), meta_.wal_segment_bytes);
    meta_.wal_stop = pg::segment_name(last_segment(), meta_.wal_segment_bytes);
    return {};
  }

  pg::WalSegment first_segment() const {
    return pg::segment_at(meta_.start_timeline, meta_.start_lsn, meta_.wal_segment_bytes);
  }
  pg::WalSegment last_segment() const {
    return pg::segment_before(meta_.stop_timeline, meta_.stop_lsn, meta_.wal_segment_bytes);
  }

  Result<> wait_for_wal() {
    if (request_.from_standby && request_.primary != nullptr)
      TRY(finish_segment(*request_.primary, meta_.stop_lsn, meta_.wal_segment_bytes));
    TRY_CTX(wal_->wait(first_segment(), last_segment(), archiving()), "wait for the WAL of backup " + meta_.label);
    return {};
  }

  void warn(std::string text) {
    log_warn("{}", text);
    report_.warnings.push_back(std::move(text));
  }

  std::string manifest_context() const { return "write manifest of backup " + meta_.label; }

  /// Write the list of files. Nobody sees it before it is committed.
  Result<ManifestWriter> write_manifest(const BackupCopier& copier) {
    TRY(cancel_.check());
    TRY_ASSIGN(ManifestWriter writer, ManifestWriter::create(targets_.set(), request_.stanza, meta_.label));
    TRY(copier.for_each_entry([&](const FileEntry& entry, const std::vector<ExtentRef>& extents) -> Result<> {
      note(entry, extents);
      return writer.add(entry, extents);
    }));
    return writer;
  }

  Result<> commit_manifest(ManifestWriter writer, const BackupCopier& copier, const PackSet& packs) {
    TRY(cancel_.check());
    const std::string context = manifest_context();
    meta_.stored_bytes = packs.stored_bytes();
    const std::vector<PackName> names = copier.pack_table(meta_.label, packs.count());
    report_.needed_pack_count = static_cast<uint32_t>(names.size());
    TRY_CTX(check_older_packs(names), context);
    TRY_CTX(targets_.check_fences(), context);
    auto committed = std::move(writer).commit(names, encode_backup_meta(meta_));
    if (committed.has_value()) return {};
    Error error = Error(std::move(committed).error()).with_context(context);
    if (error.code() != Errc::kOutcomeUnknown) return error;
    // It may have arrived: the label is ours alone, so if it is there, it is this one.
    if (const auto there = read_backup(repository_, request_.stanza, meta_.label); there.has_value()) return {};
    return error;
  }

  /// While the prior has its manifest nobody removes its packs; else they have to be looked for.
  Result<> check_older_packs(const std::vector<PackName>& names) {
    std::vector<PackName> unsure;
    bool prior_listed = false;
    if (prior_.has_value()) {
      TRY_ASSIGN(const auto there, repository_.store().stat(manifest_key(request_.stanza, prior_->label)));
      prior_listed = there.has_value();
    }
    const std::set<PackName> of_prior =
        prior_listed ? std::set(base_->packs().begin(), base_->packs().end()) : std::set<PackName>();
    for (const PackName& name : names)
      if (name.label != meta_.label && !of_prior.contains(name)) unsure.push_back(name);
    return targets_.for_each(
        [&](const Repository& repository) { return check_packs_exist(repository, request_.stanza, unsure); });
  }

  /// Extents of a file, in which each may be named several times; the first is often one of the file before, too.
  void count_extents(const std::vector<ExtentRef>& extents) {
    std::set<std::pair<uint32_t, uint64_t>> places;
    for (const ExtentRef& extent : extents) places.emplace(extent.pack, extent.offset);
    meta_.extent_count += places.size();
    if (last_extent_.has_value() && places.contains(*last_extent_)) --meta_.extent_count;
    if (!places.empty()) last_extent_ = *places.rbegin();
  }

  void note(const FileEntry& entry, const std::vector<ExtentRef>& extents) {
    if (entry.kind != EntryKind::kFile) return;
    meta_.file_count += 1;
    count_extents(extents);
    meta_.logical_bytes += entry.bytes;
    meta_.bad_page_count += entry.bad_blocks.size();
    if (!entry.bad_blocks.empty() && report_.bad_pages.size() < kBadFilesMax)
      report_.bad_pages.push_back({entry.path, entry.bad_blocks});
  }

  BackupReport report_;  // targets_ adds to its warnings.
  BackupTargets targets_;
  const Repository& repository_;  // The first of them: what is built on is read from it.
  PgSession& session_;
  const BackupRequest& request_;
  Clock& clock_;
  const CancelToken& cancel_;
  Progress& progress_;
  const std::chrono::steady_clock::time_point begun_;

  ClusterRecord cluster_;
  ServerInfo server_;
  ClusterFiles files_;
  BackupMeta meta_;
  std::optional<BackupWal> wal_;
  InsertPosition position_;
  std::chrono::steady_clock::time_point position_asked_{};

  TimelineId stop_timeline_;  // Of a standby's pg_control as it was copied; 0: not known.
  std::optional<BackupMeta> prior_;
  std::optional<pg::TimelineHistory> history_;  // Of the cluster; with prior_.
  std::unique_ptr<BackupBase> base_;
  std::optional<OrphanedPacks> orphans_;
  ExtensionFacts extensions_;     // Complete once sessions_ has ended.
  TaskGroup sessions_{&cancel_};  // With the databases of the cluster.
  TaskGroup reading_{&cancel_};   // What the repository has to tell.
  std::optional<RateLimiter> read_limiter_;
  std::optional<std::pair<uint32_t, uint64_t>> last_extent_;  // Counted last: its pack and offset.
};

}  // namespace

Result<BackupReport> run_backup(const std::vector<BackupDestination>& destinations, PgSession& session,
                                const BackupRequest& request, Clock& clock, const CancelToken& cancel,
                                Progress& progress) {
  return Backup(destinations, session, request, clock, cancel, progress).run();
}

}  // namespace pgark
