// expire step by step: decide, tombstones and manifests, WAL, packs, old tombstones.
#include "ops/expire.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include "catalog/dump.h"
#include "catalog/pack_tables.h"
#include "catalog/retention_input.h"
#include "catalog/tombstone.h"
#include "core/log.h"
#include "ops/expire_parts.h"
#include "repo/manifest.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

using Outcome = ExpiredBackup::Outcome;

/// Clocks of machines and stores differ a little; more than this, and ages mean nothing.
constexpr std::chrono::minutes kClockSkewMax{5};
constexpr int kTombstoneAttemptsMax = 100;

/// Whether reading again would not help.
bool is_damage(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kUnsupported; }

class Expiry {
 public:
  Expiry(const Repository& repository, const CancelToken& cancel, const ExpireOptions& options, Timestamp now)
      : repository_(repository),
        options_(options),
        now_(now),
        grace_(options.grace),
        cancel_(cancel),
        remover_(repository.store(), cancel, options.dry_run, report_) {}

  Result<ExpireReport> run() {
    TRY(read());
    TRY(decide());
    if (is_clock_behind()) {
      put_off();
      return std::move(report_);
    }
    TRY(remove_backups());
    TRY(remove_remains());
    TRY(remove_stale_tombstones());
    TRY(expire_wal_of_clusters());
    TRY(expire_all_packs());
    TRY(remove_old_tombstones());
    if (report_.refused.count > 0)
      report_.warnings.push_back(fmt::format("the store refused to remove {} objects; the next run tries again: {}",
                                             report_.refused.count, report_.refusal));
    return std::move(report_);
  }

 private:
  const std::string& stanza() const { return options_.stanza; }
  bool is_young(const Tombstone& tombstone) const { return now_ - tombstone.time() < grace_; }
  ExpirePass pass() { return {repository_, stanza(), now_, grace_, options_.dry_run, remover_, report_}; }

  // -- What there is.

  Result<> read() {
    TRY_ASSIGN(clusters_, list_clusters(repository_, stanza()));
    if (clusters_.empty()) TRY(current_cluster(repository_, stanza()));  // Says that there is no such stanza.
    const std::string prefix = stanza() + "/backup/";
    TRY_ASSIGN_CTX(const auto objects, repository_.store().list_all(prefix), "list backups of stanza " + stanza());
    for (const ObjectInfo& object : objects) {
      const std::string below = object.key.value.substr(prefix.size());
      objects_[below.substr(0, below.find('/'))].push_back(object);
      newest_ = std::max(newest_, object.modified);
    }
    const auto take_packs = [this](const std::string& label, const Result<std::vector<PackName>>& packs) {
      if (packs) pack_tables_.put(label, *packs);
    };
    TRY_ASSIGN(listed_, list_backups(repository_, stanza(), take_packs));
    for (const ListedBackup& one : listed_)
      if (one.error && !is_damage(*one.error)) return Error(*one.error);
    TRY_ASSIGN(backups_, read_retention_backups(repository_, stanza(), listed_));
    TRY_ASSIGN(auto tombstones, list_tombstones(repository_, stanza()));
    for (ListedTombstone& one : tombstones) {
      if (is_dump_label(one.tombstone.label)) continue;  // Those are dump-expire's.
      newest_ = std::max(newest_, one.tombstone.modified);
      tombstones_[one.tombstone.label].push_back(std::move(one));
    }
    return {};
  }

  bool is_clock_behind() const { return newest_ > now_ + kClockSkewMax; }

  void put_off() {
    for (ExpiredBackup& backup : report_.backups)
      if (!backup.decision.keep) backup.outcome = Outcome::kPutOff;
    report_.warnings.push_back(
        "the clock of this machine is behind the newest object of the repository: ages are not known, and nothing is "
        "removed");
  }

  // -- What goes.

  Result<> decide() {
    TRY_ASSIGN(auto decisions, decide_retention(options_.rules, backups_, now_));
    if (!options_.set.empty()) TRY(decide_set(decisions));
    std::vector<RetentionBackup> kept;
    std::vector<size_t> kept_index;
    for (size_t i = 0; i < backups_.size(); ++i) {
      const RetentionBackup& backup = backups_[i];
      if (decisions[i].keep && backup.readable) {
        kept.push_back(backup);
        kept_index.push_back(i);
      }
      index_[backup.label] = i;
      report_.backups.push_back(
          {std::move(decisions[i]), backup.type, backup.stopped, backup.restorable, false, Outcome::kKept});
    }
    // WAL is counted for each cluster, so that an upgrade takes nothing from the backups before it.
    for (const ClusterRecord& cluster : clusters_) mark_whole_wal(cluster.number, kept, kept_index);
    return {};
  }

  void mark_whole_wal(unsigned cluster_number, const std::vector<RetentionBackup>& kept,
                      const std::vector<size_t>& kept_index) {
    std::vector<RetentionBackup> of_cluster;
    std::vector<size_t> index;
    for (size_t i = 0; i < kept.size(); ++i) {
      if (listed_[kept_index[i]].meta->cluster_number != cluster_number) continue;
      of_cluster.push_back(kept[i]);
      index.push_back(kept_index[i]);
    }
    const auto first = first_with_whole_wal(options_.rules, of_cluster);
    for (size_t i = first.value_or(index.size()); i < index.size(); ++i) report_.backups[index[i]].whole_wal = true;
  }

  /// The user's choice takes the place of the rules.
  Result<> decide_set(std::vector<RetentionDecision>& decisions) const {
    const auto found = std::find_if(backups_.begin(), backups_.end(),
                                    [&](const RetentionBackup& backup) { return backup.label == options_.set; });
    if (found == backups_.end()) {
      return Error(Errc::kNotFound, fmt::format("backup {} of stanza {} does not exist in {}", options_.set, stanza(),
                                                repository_.store().describe()))
          .with_hint(fmt::format("run 'pgark --stanza={} info' to see the backups there are", stanza()));
    }
    if (found->hold_until && *found->hold_until > now_) {
      return Error(Errc::kInvalid, fmt::format("backup {} is held", options_.set))
          .with_hint(
              fmt::format("release it first: pgark --stanza={} hold --set={} --release", stanza(), options_.set));
    }
    const bool another = std::any_of(backups_.begin(), backups_.end(), [&](const RetentionBackup& backup) {
      return backup.restorable && backup.label != options_.set;
    });
    if (found->restorable && !another) {
      return Error(Errc::kInvalid, fmt::format("backup {} is the last one that can be restored", options_.set))
          .with_hint("make another backup first; `stanza-delete` removes a stanza with all its backups");
    }
    for (size_t i = 0; i < decisions.size(); ++i) {
      if (decisions[i].label == options_.set) {
        decisions[i] = {options_.set, false, {{"set", "named with --set"}}};
      } else if (!decisions[i].keep) {
        decisions[i] = {decisions[i].label, true, {{"set", "only the backup named with --set is removed"}}};
      }
    }
    return {};
  }

  // -- Tombstone, manifest, and what lies beside it.

  Result<> remove_backups() {
    std::vector<size_t> batch;
    for (size_t i = 0; i < listed_.size(); ++i) {
      if (report_.backups[i].decision.keep) continue;
      batch.push_back(i);
      if (batch.size() < kExpireBatch) continue;
      TRY(remove_batch(batch));
      batch.clear();
    }
    return remove_batch(batch);
  }

  /// Several backups together: all tombstones, then the manifests of those that have one, then what lies beside these.
  Result<> remove_batch(const std::vector<size_t>& batch) {
    TRY_ASSIGN(const std::vector<size_t> ready, prepare_tombstones(batch));
    std::vector<ObjectInfo> manifests;
    std::vector<size_t> owners;
    for (const size_t i : ready) {
      const ObjectKey manifest = manifest_key(stanza(), listed_[i].label);
      for (const ObjectInfo& object : objects_[listed_[i].label]) {
        if (object.key != manifest) continue;
        manifests.push_back(object);
        owners.push_back(i);
      }
    }
    TRY_ASSIGN_CTX(const std::vector<bool> gone, remover_.remove_many(manifests, report_.records), "remove backups");
    std::vector<ObjectInfo> beside;
    for (size_t at = 0; at < owners.size(); ++at) {
      if (!gone[at]) continue;
      ExpiredBackup& backup = report_.backups[owners[at]];
      backup.outcome = Outcome::kRemoved;
      log_info("{}backup {}: {}", options_.dry_run ? "would remove " : "removed ", backup.decision.label,
               backup.decision.reasons.front().text);
      for (const ObjectInfo& object : objects_[backup.decision.label])
        if (object.key != manifests[at].key) beside.push_back(object);
    }
    TRY_CTX(remover_.remove_many(beside, report_.records), "remove what lies beside backups");
    return {};
  }

  /// Have a young tombstone of each. Those that have one now: of the others it is too soon to try again after a
  /// refusal.
  Result<std::vector<size_t>> prepare_tombstones(const std::vector<size_t>& batch) {
    std::vector<std::optional<ListedTombstone>> written(batch.size());
    std::vector<char> ready(batch.size());
    const auto prepare = [&](size_t at) -> Result<> {
      TRY(cancel_.check());
      const ListedBackup& listed = listed_[batch[at]];
      const RetentionReason& reason = report_.backups[batch[at]].decision.reasons.front();
      TRY_ASSIGN_CTX(ready[at], prepare_tombstone(listed, reason, written[at]), "remove backup " + listed.label);
      return {};
    };
    TRY(for_each_call(repository_.store(), batch.size(), prepare));
    std::vector<size_t> done;
    for (size_t at = 0; at < batch.size(); ++at) {
      report_.backups[batch[at]].outcome = Outcome::kRefused;
      if (ready[at]) done.push_back(batch[at]);
      if (written[at]) tombstones_[listed_[batch[at]].label].push_back(std::move(*written[at]));
    }
    return done;
  }

  /// Have a tombstone that is young; `fresh` if it had to be written. False if it is too soon to try again.
  Result<bool> prepare_tombstone(const ListedBackup& listed, const RetentionReason& reason,
                                 std::optional<ListedTombstone>& fresh) const {
    std::vector<Timestamp> times;
    unsigned generation = 0;
    if (const auto known = tombstones_.find(listed.label); known != tombstones_.end()) {
      generation = known->second.back().tombstone.generation + 1;
      for (const ListedTombstone& one : known->second)
        if (!one.error) times.push_back(one.tombstone.time());
    }
    const TombstoneStep step = next_tombstone_step(times, now_, grace_);
    if (step == TombstoneStep::kWait) return false;
    if (step == TombstoneStep::kReuse) return true;
    TRY_ASSIGN(Tombstone tombstone, make_tombstone(listed, reason));
    for (tombstone.generation = generation; !options_.dry_run; ++tombstone.generation) {
      auto written = write_tombstone(repository_, stanza(), tombstone);
      if (written) break;
      if (written.error().code() != Errc::kAlreadyExists || tombstone.generation > generation + kTombstoneAttemptsMax)
        return Error(std::move(written).error());
    }
    tombstone.key = tombstone_key(stanza(), tombstone.label, tombstone.generation);
    tombstone.modified = now_;
    fresh = {std::move(tombstone), std::nullopt};
    return true;
  }

  Result<Tombstone> make_tombstone(const ListedBackup& listed, const RetentionReason& reason) const {
    Tombstone tombstone;
    tombstone.label = listed.label;
    tombstone.expired = now_;
    tombstone.rule = reason.rule;
    tombstone.reason = reason.text;
    if (!listed.meta) return tombstone;  // Only by --set: what it named is not known.
    const BackupMeta& meta = *listed.meta;
    tombstone.cluster_number = meta.cluster_number;
    tombstone.start_timeline = meta.start_timeline;
    tombstone.stop_timeline = meta.stop_timeline;
    tombstone.start_lsn = meta.start_lsn;
    tombstone.wal_start = meta.wal_start;
    tombstone.wal_stop = meta.wal_stop;
    TRY_ASSIGN(tombstone.packs, packs_of(listed.label));
    return tombstone;
  }

  /// Whether the manifest is there after remove_backups() (or would be).
  bool is_there(const std::string& label) const {
    const auto found = index_.find(label);
    return found != index_.end() && report_.backups[found->second].outcome != Outcome::kRemoved;
  }
  bool is_kept(const std::string& label) const {
    const auto found = index_.find(label);
    return found != index_.end() && report_.backups[found->second].decision.keep;
  }

  /// Annotations and holds of a backup whose manifest is gone: a removal that was interrupted.
  Result<> remove_remains() {
    std::vector<ObjectInfo> remains;
    for (const auto& one : objects_) {
      const ObjectKey manifest = manifest_key(stanza(), one.first);
      const std::vector<ObjectInfo>& objects = one.second;
      if (std::any_of(objects.begin(), objects.end(), [&](const ObjectInfo& object) { return object.key == manifest; }))
        continue;
      const bool removed = tombstones_.contains(one.first);
      for (const ObjectInfo& object : objects)
        if (removed || now_ - object.modified >= grace_) remains.push_back(object);
    }
    return remove_all(remains, report_.records);
  }

  /// A tombstone of a backup that stays after all, because a hold or another rule came in between.
  Result<> remove_stale_tombstones() {
    std::vector<ObjectInfo> stale;
    for (const auto& one : tombstones_)
      if (is_kept(one.first))
        for (const ListedTombstone& listed : one.second) stale.push_back(object_of(listed.tombstone));
    TRY(remove_tombstones(stale));
    std::erase_if(tombstones_, [&](const auto& one) { return is_kept(one.first); });
    return {};
  }

  static ObjectInfo object_of(const Tombstone& tombstone) {
    return {tombstone.key, tombstone.bytes, tombstone.modified};
  }

  // What expire wrote itself is not space that was freed.
  Result<> remove_tombstones(const std::vector<ObjectInfo>& objects) {
    ExpireCount own;
    return remove_all(objects, own);
  }

  Result<> remove_all(const std::vector<ObjectInfo>& objects, ExpireCount& removed) {
    for (size_t at = 0; at < objects.size(); at += kExpireBatch) {
      const auto begin = objects.begin() + static_cast<ptrdiff_t>(at);
      const auto count = static_cast<ptrdiff_t>(std::min(kExpireBatch, objects.size() - at));
      TRY(remover_.remove_many({begin, begin + count}, removed));
    }
    return {};
  }

  // -- WAL.

  /// What cannot be read, and might need WAL or packs; none if everything can.
  std::optional<std::string> unknown_need() const {
    for (size_t i = 0; i < listed_.size(); ++i)
      if (listed_[i].error && report_.backups[i].outcome != Outcome::kRemoved) return listed_[i].error->message();
    for (const auto& of_label : tombstones_)
      for (const ListedTombstone& one : of_label.second)
        if (one.error && is_young(one.tombstone)) return one.error->message();
    return std::nullopt;
  }

  Result<> expire_wal_of_clusters() {
    if (!options_.rules.any() && !options_.rules.archive && options_.set.empty()) return {};
    if (const auto unknown = unknown_need()) {
      report_.warnings.push_back("no WAL and no packs are removed, because it is not known which are needed: " +
                                 *unknown);
      return {};
    }
    for (const ClusterRecord& cluster : clusters_) {
      auto need = wal_need(cluster);
      if (!need) {
        report_.warnings.push_back("no WAL is removed: " + need.error().message());
        continue;
      }
      TRY_CTX(expire_wal(pass(), cluster, *need), "expire WAL");
    }
    return {};
  }

  Result<ExpireWalNeed> wal_need(const ClusterRecord& cluster) const {
    ExpireWalNeed need;
    for (size_t i = 0; i < listed_.size(); ++i) {
      const ExpiredBackup& backup = report_.backups[i];
      if (!listed_[i].meta || backup.outcome == Outcome::kRemoved) continue;
      const BackupMeta& meta = *listed_[i].meta;
      if (meta.cluster_number != cluster.number) continue;
      TRY_ASSIGN_CTX(WalUser user,
                     wal_user(meta.start_timeline, meta.stop_timeline, meta.start_lsn, meta.wal_start, meta.wal_stop,
                              cluster.wal_segment_bytes),
                     "backup " + meta.label);
      user.whole = backup.whole_wal || !backup.decision.keep;
      need.kept.push_back(user);
    }
    for (const auto& of_label : tombstones_) {
      if (is_there(of_label.first)) continue;
      for (const ListedTombstone& one : of_label.second) {
        const Tombstone& tombstone = one.tombstone;
        // Without a segment to begin with it is that of a backup that could not be read.
        if (one.error || tombstone.cluster_number != cluster.number || tombstone.wal_start.empty() ||
            !is_young(tombstone))
          continue;
        TRY_ASSIGN_CTX(const WalUser user,
                       wal_user(tombstone.start_timeline, tombstone.stop_timeline, tombstone.start_lsn,
                                tombstone.wal_start, tombstone.wal_stop, cluster.wal_segment_bytes),
                       "tombstone " + tombstone.key.value);
        need.waiting.push_back(user);
      }
    }
    return need;
  }

  // -- Packs, and the end of tombstones.

  Result<> expire_all_packs() {
    if (unknown_need()) return {};
    ExpirePackNeed need;
    // Listed once more: a backup made on another machine may have arrived meanwhile.
    TRY_ASSIGN(const auto labels, list_backup_labels(repository_, stanza()));
    for (const std::string& label : labels) {
      if (options_.dry_run && !is_there(label) && objects_.contains(label)) continue;
      auto packs = packs_of(label);
      if (!packs && packs.error().code() == Errc::kNotFound) continue;
      if (!packs) {
        report_.warnings.push_back("no packs are removed, because it is not known which are needed: " +
                                   packs.error().message());
        return {};
      }
      need.labels.insert(label);
      need.kept.add(*packs);
    }
    for (const auto& of_label : tombstones_) {
      need.labels.insert(of_label.first);
      for (const ListedTombstone& one : of_label.second)
        if (!one.error && is_young(one.tombstone)) need.waiting.add(one.tombstone.packs);
    }
    TRY_CTX(expire_packs(pass(), need), "expire packs");
    looked_at_packs_ = true;
    return {};
  }

  /// As its manifest says, which is read once: manifests never change.
  Result<std::vector<PackName>> packs_of(const std::string& label) const {
    if (auto known = pack_tables_.get(label)) return std::move(*known);
    TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(repository_, stanza(), label));
    TRY_ASSIGN_CTX(auto packs, manifest.packs(), "read manifest of backup " + label);
    return packs;
  }

  Result<> remove_old_tombstones() {
    if (!looked_at_packs_) return {};
    std::vector<ObjectInfo> old;
    for (const auto& of_label : tombstones_)
      for (const ListedTombstone& one : of_label.second)
        if (!is_young(one.tombstone) && !is_there(of_label.first)) old.push_back(object_of(one.tombstone));
    return remove_tombstones(old);
  }

  const Repository& repository_;
  const ExpireOptions& options_;
  const Timestamp now_;
  const std::chrono::microseconds grace_;
  const CancelToken& cancel_;
  ExpireReport report_;
  ExpireRemover remover_;

  std::vector<ClusterRecord> clusters_;
  std::map<std::string, std::vector<ObjectInfo>> objects_;  // Below "<stanza>/backup/", by label.
  std::vector<ListedBackup> listed_;                        // These two and report_.backups go together.
  std::vector<RetentionBackup> backups_;
  std::unordered_map<std::string, size_t> index_;                   // Into them, by label.
  PackTables pack_tables_;                                          // By label of the manifest.
  std::map<std::string, std::vector<ListedTombstone>> tombstones_;  // By label; by generation, at least one.
  Timestamp newest_ = Timestamp::min();
  bool looked_at_packs_ = false;
};

}  // namespace

Result<bool> ExpireRemover::count(const ObjectInfo& object, Result<bool> gone, ExpireCount& removed) {
  if (!gone && gone.error().code() == Errc::kPermission) {
    if (report_.refused.count == 0) report_.refusal = gone.error().message();
    report_.refused.add(object.bytes);
    return false;
  }
  if (!gone) return Error(std::move(gone).error());
  if (!dry_run_) log_detail("removed {}", object.key.value);
  if (*gone) removed.add(object.bytes);
  return true;
}

Result<bool> ExpireRemover::remove(const ObjectInfo& object, ExpireCount& removed) {
  TRY(cancel_.check());
  return count(object, dry_run_ ? Result<bool>(true) : store_.remove(object.key), removed);
}

Result<std::vector<bool>> ExpireRemover::remove_many(const std::vector<ObjectInfo>& objects, ExpireCount& removed) {
  std::vector<bool> gone(objects.size(), true);
  if (objects.empty()) return gone;
  TRY(cancel_.check());
  std::vector<ObjectKey> keys;
  keys.reserve(objects.size());
  for (const ObjectInfo& object : objects) keys.push_back(object.key);
  std::vector<Result<bool>> results;
  if (!dry_run_) results = store_.remove_many(keys);
  std::optional<Error> failure;
  for (size_t i = 0; i < objects.size(); ++i) {
    const auto counted = count(objects[i], dry_run_ ? Result<bool>(true) : std::move(results[i]), removed);
    if (!counted && !failure) failure = counted.error();
    gone[i] = counted.has_value() && *counted;
  }
  if (failure) return *failure;
  return gone;
}

std::string_view expire_outcome_name(ExpiredBackup::Outcome outcome) {
  switch (outcome) {
    case Outcome::kKept:
      return "kept";
    case Outcome::kRemoved:
      return "removed";
    case Outcome::kRefused:
      return "refused";
    case Outcome::kPutOff:
      return "put off";
  }
  return "";
}

namespace {

/// Those of living writers are locked, or written to; where the store knows no locks only their age tells, so that an
/// hour is the least.
void remove_temporaries(const Repository& repository, const ExpireOptions& options, ExpireReport& report) {
  const auto grace = std::chrono::duration_cast<std::chrono::seconds>(options.grace);
  const auto removed =
      repository.store().remove_stale_temporaries(std::max<std::chrono::seconds>(grace, std::chrono::hours(1)));
  if (!removed) {
    report.warnings.push_back("what killed writers left behind stays: " + removed.error().message());
    return;
  }
  report.temporaries = {removed->removed, removed->removed_bytes};
  if (removed->removed > 0)
    log_info("removed {} unfinished objects of killed writers, {} bytes", removed->removed, removed->removed_bytes);
}

}  // namespace

Result<ExpireReport> run_expire(const Repository& repository, Clock& clock, const CancelToken& cancel,
                                const ExpireOptions& options) {
  TRY_ASSIGN(ExpireReport report, Expiry(repository, cancel, options, clock.now()).run());
  if (!options.dry_run) remove_temporaries(repository, options, report);
  return report;
}

}  // namespace pgark
