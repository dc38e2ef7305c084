#include "ops/repo_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/dump.h"
#include "catalog/generation.h"
#include "catalog/tombstone.h"
#include "catalog/wal.h"
#include "catalog/wal_expired.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "pg/wal.h"
#include "pipe/task_group.h"
#include "repo/copy_container.h"
#include "repo/manifest.h"

namespace pgark {
namespace {

/// Damage of one object, as opposed to a failure that concerns the whole run.
bool is_damage(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kNotFound; }

struct CopyTask {
  ObjectKey key;
  ContainerKind kind = ContainerKind::kWal;
  uint64_t bytes = 0;
};

/// First and last segment that make a backup consistent.
struct NeededWal {
  unsigned cluster_number = 1;
  std::string first;
  std::string last;
};

class StanzaCopy {
 public:
  StanzaCopy(const Repository& from, const Repository& to, const RepoCopyRequest& request, Clock& clock,
             const CancelToken& cancel, Progress& progress)
      : from_(from), to_(to), request_(request), clock_(clock), cancel_(cancel), progress_(progress) {}

  Result<RepoCopyReport> run() && {
    TRY(from_.check_can_open_data("copy stanza " + request_.stanza));
    progress_.phase = "list";
    TRY(copy_clusters());
    TRY(choose_backups());
    TRY(copy_wal());
    for (const BackupMeta& backup : chosen_) TRY(copy_backup(backup));
    for (const std::string& label : chosen_dumps_) TRY(copy_dump(label));
    MutexLock lock(mu_);
    return std::move(report_);
  }

 private:
  Result<> copy_clusters() {
    TRY_ASSIGN(const auto clusters, list_clusters(from_, request_.stanza));
    if (clusters.empty()) {
      TRY_ASSIGN(const auto dumps, list_dump_labels(from_, request_.stanza));
      if (!dumps.empty()) return {};
    }
    TRY_ASSIGN(const ClusterRecord source, current_cluster(from_, request_.stanza));
    TRY_ASSIGN(const auto records, from_.store().list_all(request_.stanza + "/cluster/"));
    std::vector<CopyTask> tasks;
    for (const ObjectInfo& record : records) tasks.push_back({record.key, ContainerKind::kRecord, record.bytes});
    TRY(copy_missing(tasks, request_.stanza + "/cluster/", &RepoCopyReport::records));
    {
      MutexLock lock(mu_);
      if (!report_.damages.empty()) return report_.damages.front().error;
    }
    TRY_ASSIGN(const ClusterRecord copied, current_cluster(to_, request_.stanza));
    if (copied.number != source.number)
      return Error(Errc::kInvalid,
                   fmt::format("stanza {} has {} clusters in {} and {} in {}", request_.stanza, source.number,
                               from_.store().describe(), copied.number, to_.store().describe()))
          .with_hint("the repositories do not belong to the same stanza: see pgark info for each");
    clusters_ = source.number;
    segment_bytes_ = source.wal_segment_bytes;
    return check_same_cluster(request_.stanza, copied, source);
  }

  /// Readable backups of the source that the destination lacks, oldest first.
  Result<> choose_backups() {
    TRY_ASSIGN(const auto listed, list_backups(from_, request_.stanza));
    TRY_ASSIGN(const auto present, list_backup_labels(to_, request_.stanza));
    TRY_ASSIGN(const auto tombstones, list_tombstones(to_, request_.stanza));
    std::set<std::string> expired;
    for (const ListedTombstone& listed_tombstone : tombstones) expired.insert(listed_tombstone.tombstone.label);
    std::set<std::string> wanted(request_.sets.begin(), request_.sets.end());
    TRY(choose_dumps(expired, wanted));
    for (const ListedBackup& backup : listed) {
      if (!request_.sets.empty() && wanted.erase(backup.label) == 0) continue;
      if (std::binary_search(present.begin(), present.end(), backup.label)) {
        MutexLock lock(mu_);
        report_.backups.present += 1;
      } else if (request_.sets.empty() && expired.contains(backup.label)) {
        MutexLock lock(mu_);
        report_.expired.push_back(backup.label);
      } else if (!backup.meta.has_value()) {
        incomplete(backup.label, {backup.label, *backup.error});
      } else {
        chosen_.push_back(*backup.meta);
        needed_wal_.push_back({backup.meta->cluster_number, backup.meta->wal_start, backup.meta->wal_stop});
      }
    }
    if (wanted.empty()) return {};
    const bool is_dump = is_dump_label(*wanted.begin());
    return Error(Errc::kNotFound, fmt::format("{} {} is not in {}", is_dump ? "dump" : "backup", *wanted.begin(),
                                              from_.store().describe()))
        .with_hint(is_dump ? "pgark dump-ls lists the dumps there are" : "pgark info lists the backups there are");
  }

  /// Dumps of the source that the destination lacks; those of `wanted` are taken out of it.
  Result<> choose_dumps(const std::set<std::string>& expired, std::set<std::string>& wanted) {
    TRY_ASSIGN(const auto labels, list_dump_labels(from_, request_.stanza));
    TRY_ASSIGN(const auto present, list_dump_labels(to_, request_.stanza));
    for (const std::string& label : labels) {
      if (!request_.sets.empty() && wanted.erase(label) == 0) continue;
      if (std::binary_search(present.begin(), present.end(), label)) {
        MutexLock lock(mu_);
        report_.dumps.present += 1;
      } else if (request_.sets.empty() && expired.contains(label)) {
        MutexLock lock(mu_);
        report_.expired.push_back(label);
      } else {
        chosen_dumps_.push_back(label);
      }
    }
    return {};
  }

  Result<> copy_wal() {
    if (!request_.sets.empty() && needed_wal_.empty()) return {};  // Dumps need none.
    progress_.phase = "copy WAL";
    for (unsigned number = 1; number <= clusters_; ++number) {
      const std::string prefix = fmt::format("{}/wal/{}/", request_.stanza, number);
      TRY_ASSIGN(const ExpiredWal expired, read_expired_wal(to_, request_.stanza, number, segment_bytes_));
      TRY_ASSIGN(const auto objects, from_.store().list_all(prefix));
      std::vector<CopyTask> tasks;
      for (const ObjectInfo& object : objects) {
        const std::string_view below = std::string_view(object.key.value).substr(prefix.size());
        if (below.starts_with("expired/")) continue;
        const bool dropped = below.starts_with("dropped/");
        if (!dropped && !is_wanted(below, number, expired)) continue;
        tasks.push_back({object.key, dropped ? ContainerKind::kRecord : ContainerKind::kWal, object.bytes});
      }
      TRY(copy_missing(tasks, prefix, &RepoCopyReport::wal));
      if (request_.sets.empty()) TRY(adopt_expired(number, expired));
    }
    return {};
  }

  /// What the source let go before the copy is no gap in the copy.
  Result<> adopt_expired(unsigned number, const ExpiredWal& own) {
    TRY_ASSIGN(const ExpiredWal theirs, read_expired_wal(from_, request_.stanza, number, segment_bytes_));
    ExpiredWal both = own;
    both.insert(theirs.begin(), theirs.end());
    if (both == own) return {};
    return write_expired_wal(to_, request_.stanza, number, segment_bytes_, both, clock_.now());
  }

  bool is_wanted(std::string_view below, unsigned number, const ExpiredWal& expired) const {
    const std::string_view name = below.substr(below.rfind('/') + 1);
    const auto segment = pg::parse_segment_name(name.substr(0, 24), segment_bytes_);
    if (below.find('/') == below.npos || !segment.has_value()) return true;  // A history or the like: small.
    for (const NeededWal& needed : needed_wal_)
      if (needed.cluster_number == number && name.substr(0, 24) >= needed.first && name.substr(0, 24) <= needed.last)
        return true;
    if (!request_.sets.empty()) return false;
    const auto kept_from = expired.find(segment->timeline);
    if (kept_from == expired.end()) return true;
    return kept_from->second.has_value() && segment->number >= *kept_from->second;
  }

  Result<> copy_backup(const BackupMeta& backup) {
    progress_.phase = "copy backups";
    auto manifest = ManifestReader::open(from_, request_.stanza, backup.label);
    if (!manifest.has_value())
      return give_up(backup.label, manifest_key(request_.stanza, backup.label).value, std::move(manifest).error());
    TRY_ASSIGN(const auto packs, manifest->packs());
    std::map<std::string, std::vector<CopyTask>> by_writer;
    for (const PackName& pack : packs)
      by_writer[pack.label].push_back({pack_key(request_.stanza, pack.label, pack.number), ContainerKind::kPack, 0});
    const size_t damages_before = damage_count();
    for (const auto& [writer, tasks] : by_writer)
      TRY(copy_missing(tasks, fmt::format("{}/pack/{}/", request_.stanza, writer), &RepoCopyReport::packs));
    if (damage_count() != damages_before) {
      MutexLock lock(mu_);
      report_.incomplete.push_back(backup.label);
      return {};
    }
    const ObjectKey key = manifest_key(request_.stanza, backup.label);
    auto copied = copy_container(from_, to_, key, ContainerKind::kManifest);
    if (!copied.has_value() && is_damage(copied.error())) return give_up(backup.label, key.value, copied.error());
    if (!copied.has_value() && copied.error().code() != Errc::kAlreadyExists) return Error(std::move(copied).error());
    note_copied(&RepoCopyReport::backups, backup.label, copied.has_value() ? copied->bytes : 0);
    log_info("copied backup {}", backup.label);
    return copy_notes(backup.label);
  }

  Result<> copy_dump(const std::string& label) {
    progress_.phase = "copy dumps";
    const ObjectKey key = dump_manifest_key(request_.stanza, label);
    auto tasks = dump_packs(label);
    if (!tasks.has_value()) return give_up(label, key.value, std::move(tasks).error());
    const size_t damages_before = damage_count();
    TRY(copy_missing(*tasks, fmt::format("{}/dump/{}/", request_.stanza, label), &RepoCopyReport::packs));
    if (damage_count() != damages_before) {
      MutexLock lock(mu_);
      report_.incomplete.push_back(label);
      return {};
    }
    auto copied = copy_container(from_, to_, key, ContainerKind::kManifest);
    if (!copied.has_value() && is_damage(copied.error())) return give_up(label, key.value, copied.error());
    if (!copied.has_value() && copied.error().code() != Errc::kAlreadyExists) return Error(std::move(copied).error());
    note_copied(&RepoCopyReport::dumps, label, copied.has_value() ? copied->bytes : 0);
    log_info("copied dump {}", label);
    return copy_dump_notes(label);
  }

  /// The packs its streams lie in, whether they are there or not.
  Result<std::vector<CopyTask>> dump_packs(const std::string& label) const {
    TRY_ASSIGN(const Dump dump, read_dump(from_, request_.stanza, label));
    std::set<uint32_t> numbers;
    for (const DumpUnit& unit : dump.meta.units)
      for (const DumpStream& stream : unit.streams)
        for (const DumpRun& run : stream.runs) numbers.insert(run.pack);
    std::vector<CopyTask> tasks;
    for (const uint32_t number : numbers)
      tasks.push_back({dump_pack_key(request_.stanza, label, number), ContainerKind::kDump, 0});
    return tasks;
  }

  /// Holds and verdicts.
  Result<> copy_dump_notes(const std::string& label) {
    const std::string prefix = fmt::format("{}/dump/{}/", request_.stanza, label);
    TRY_ASSIGN(const auto objects, list_beside_packs(from_.store(), fmt::format("{}/dump/{}", request_.stanza, label)));
    std::vector<CopyTask> tasks;
    for (const ObjectInfo& object : objects)
      if (object.key != dump_manifest_key(request_.stanza, label))
        tasks.push_back({object.key, ContainerKind::kRecord, object.bytes});
    return copy_missing(tasks, prefix, &RepoCopyReport::records);
  }

  void note_copied(RepoCopyCount RepoCopyReport::*count, const std::string& label, uint64_t bytes) {
    MutexLock lock(mu_);
    (report_.*count).copied += 1;
    (report_.*count).bytes += bytes;
    report_.labels.push_back(label);
  }

  /// Annotations and holds, which lie beside the manifest.
  Result<> copy_notes(const std::string& label) {
    const std::string prefix = fmt::format("{}/backup/{}/", request_.stanza, label);
    TRY_ASSIGN(const auto objects, from_.store().list_all(prefix));
    std::vector<CopyTask> tasks;
    for (const ObjectInfo& object : objects)
      if (object.key != manifest_key(request_.stanza, label))
        tasks.push_back({object.key, ContainerKind::kRecord, object.bytes});
    return copy_missing(tasks, prefix, &RepoCopyReport::records);
  }

  /// Copy those the destination lacks, side by side. Damage is noted and does not end the run.
  Result<> copy_missing(const std::vector<CopyTask>& tasks, const std::string& prefix,
                        RepoCopyCount RepoCopyReport::*count) {
    if (tasks.empty()) return {};
    TRY_ASSIGN(const auto listed, to_.store().list_all(prefix));
    std::set<std::string> present;
    for (const ObjectInfo& object : listed) present.insert(object.key.value);
    std::vector<CopyTask> missing;
    for (const CopyTask& task : tasks)
      if (!present.contains(task.key.value)) missing.push_back(task);
    {
      MutexLock lock(mu_);
      (report_.*count).present += tasks.size() - missing.size();
    }
    progress_.files_total += missing.size();
    for (const CopyTask& task : missing) progress_.bytes_total += task.bytes;
    std::atomic<size_t> next = 0;
    TaskGroup group(&cancel_);
    const auto work = [&]() -> Result<> {
      for (size_t i = next++; i < missing.size(); i = next++) {
        TRY(group.cancel().check());
        TRY(copy_one(missing[i], count));
      }
      return {};
    };
    const size_t workers = std::min<size_t>(std::max(1u, request_.process_max), missing.size());
    for (size_t i = 0; i < workers; ++i) group.spawn(work);
    return group.wait();
  }

  Result<> copy_one(const CopyTask& task, RepoCopyCount RepoCopyReport::*count) {
    const auto copied = copy_container(from_, to_, task.key, task.kind);
    progress_.files_done += 1;
    progress_.bytes_done += task.bytes;
    MutexLock lock(mu_);
    if (copied.has_value()) {
      (report_.*count).copied += 1;
      (report_.*count).bytes += copied->bytes;
      return {};
    }
    // Somebody else was faster: archive-push, or another copy.
    if (copied.error().code() == Errc::kAlreadyExists) {
      (report_.*count).present += 1;
      return {};
    }
    if (!is_damage(copied.error())) return Error(copied.error());
    log_warn("not copied: {}", copied.error().to_string());
    report_.damages.push_back({task.key.value, copied.error()});
    return {};
  }

  size_t damage_count() {
    MutexLock lock(mu_);
    return report_.damages.size();
  }

  void incomplete(const std::string& label, RepoCopyDamage damage) {
    log_warn("{} {} is not copied: {}", is_dump_label(label) ? "dump" : "backup", label, damage.error.to_string());
    MutexLock lock(mu_);
    report_.incomplete.push_back(label);
    report_.damages.push_back(std::move(damage));
  }

  Result<> give_up(const std::string& label, const std::string& object, Error error) {
    if (!is_damage(error)) return error;
    incomplete(label, {object, std::move(error)});
    return {};
  }

  const Repository& from_;
  const Repository& to_;
  const RepoCopyRequest& request_;
  Clock& clock_;
  const CancelToken& cancel_;
  Progress& progress_;
  unsigned clusters_ = 1;
  uint32_t segment_bytes_ = 0;
  std::vector<BackupMeta> chosen_;
  std::vector<NeededWal> needed_wal_;
  std::vector<std::string> chosen_dumps_;
  Mutex mu_;
  RepoCopyReport report_ GUARDED_BY(mu_);
};

}  // namespace

Result<RepoCopyReport> copy_stanza(const Repository& from, const Repository& to, const RepoCopyRequest& request,
                                   Clock& clock, const CancelToken& cancel, Progress& progress) {
  auto report = StanzaCopy(from, to, request, clock, cancel, progress).run();
  if (!report.has_value())
    return Error(std::move(report).error())
        .with_context(fmt::format("copy stanza {} from {} to {}", request.stanza, from.store().describe(),
                                  to.store().describe()));
  return report;
}

}  // namespace pgark
