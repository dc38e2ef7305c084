// Opening what a backup builds on.
#include "ops/backup_base.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "core/file.h"
#include "core/log.h"
#include "ops/live_wal.h"
#include "ops/wal_hole.h"
#include "pg/wal.h"

namespace pgark {
namespace {

std::string whole_reasons_text(uint8_t reasons) {
  const auto has = [&](pg::WalWholeReason reason) { return (reasons & static_cast<uint8_t>(reason)) != 0; };
  if (has(pg::WalWholeReason::kMinimalWal)) return "wal_level was minimal for a while";
  if (has(pg::WalWholeReason::kChecksumsSwitched)) return "page checksums were switched while the cluster ran";
  return "the WAL holds a change to relation files of unknown meaning";
}

}  // namespace

Result<pg::TimelineHistory> cluster_history(const Repository& repository, const std::string& stanza,
                                            const ClusterRecord& cluster, const std::string& data_directory,
                                            TimelineId timeline) {
  if (timeline.value <= 1) return pg::TimelineHistory(timeline);
  const std::string name = pg::history_name(timeline);
  const auto content = read_file(data_directory + "/pg_wal/" + name);
  if (content.has_value()) {
    TRY_ASSIGN_CTX(auto history, pg::parse_timeline_history(timeline, *content), "read pg_wal/" + name);
    return history;
  }
  if (content.error().code() != Errc::kNotFound) return content.error();
  TRY_ASSIGN(const auto stored, read_timeline_histories(repository, stanza, cluster));
  for (const pg::TimelineHistory& history : stored)
    if (history.timeline() == timeline) return history;
  return Error(Errc::kNotFound,
               fmt::format("the history of timeline {} is neither in pg_wal nor in the repository", timeline.value));
}

Result<std::unique_ptr<BackupBase>> BackupBase::open(const Repository& repository, BackupBaseRequest request) {
  std::unique_ptr<BackupBase> base(new BackupBase(std::move(request)));
  const BackupMeta& prior = base->request_.prior;
  const std::string context = "read manifest of backup " + prior.label;
  TRY_ASSIGN(base->manifest_, ManifestReader::open(repository, base->request_.stanza, prior.label));
  // Its packs outlive it by the grace period of expire; with the manifest in memory the backup does not need more.
  TRY_CTX(base->manifest_->load(), context);
  TRY_ASSIGN_CTX(base->packs_, base->manifest_->packs(), context);
  base->hashes_ = std::make_unique<BlockHashes>(repository, base->request_.stanza, base->packs_);
  base->prior_.emplace(PriorBackup{*base->manifest_, base->request_.scan, nullptr, prior.start_lsn, prior.block_bytes});
  if (base->request_.scan != ScanMode::kHash) {
    TRY_ASSIGN(base->wal_, RepositoryWal::open(repository, base->request_.stanza, base->request_.cluster));
  }
  return base;
}

Result<> BackupBase::gather(Lsn start_lsn) {
  start_lsn_ = start_lsn;
  if (!wal_.has_value()) return {};
  const uint32_t segment_bytes = request_.cluster.wal_segment_bytes;
  const auto live = [&](const pg::WalSegment& segment, const pg::WalIndex* before) {
    return read_live_segment(request_.data_directory, segment, segment_bytes, start_lsn, before);
  };
  TRY_ASSIGN_CTX(WalChanges changes,
                 gather_wal_changes(*wal_, request_.history, request_.prior.start_lsn, start_lsn,
                                    request_.prior.relation_segment_blocks, live),
                 "find what changed since backup " + request_.prior.label);
  wal_.reset();
  if (!changes.blocks.has_value()) {
    distrust(std::move(changes.hole));
    return {};
  }
  changes_ = std::move(changes.blocks);
  prior_->changes = &*changes_;
  if (const uint8_t reasons = changes_->whole_reasons(); reasons != 0) distrust(whole_reasons_text(reasons));
  return {};
}

Result<> BackupBase::survey(const BackupPlan& plan, const CancelToken& cancel) {
  index_.emplace(plan);
  Rng rng(request_.seed);
  const auto survey = [&]() -> Result<> {
    const size_t samples = scan() == ScanMode::kWal ? request_.sample_blocks : 0;
    TRY_ASSIGN_CTX(survey_, survey_prior(*prior_, plan, *index_, samples, rng, cancel),
                   "read manifest of backup " + request_.prior.label);
    return {};
  };
  TRY(survey());
  TRY_ASSIGN_CTX(const auto silent,
                 find_silent_change(*prior_, survey_, plan, request_.data_directory, start_lsn_, cancel),
                 "look at a sample of unchanged blocks");
  if (!silent.has_value()) return {};
  distrust(*silent);
  return survey();
}

void BackupBase::end_copy() {
  hashes_.reset();
  survey_ = {};
  index_.reset();
  prior_.reset();
  changes_.reset();
  manifest_.reset();
}

void BackupBase::distrust(std::string why) {
  prior_->scan = ScanMode::kHash;
  warnings_.push_back(
      fmt::format("what changed since the prior backup cannot be told from the WAL, so every file is read "
                  "and compared: {}",
                  why));
}

Result<> check_packs_exist(const Repository& repository, const std::string& stanza,
                           const std::vector<PackName>& packs) {
  std::set<std::string> labels;
  for (const PackName& pack : packs) labels.insert(pack.label);
  std::set<std::string> there;
  for (const std::string& label : labels) {
    TRY_ASSIGN(const auto objects, repository.store().list_all(fmt::format("{}/pack/{}/", stanza, label)));
    for (const ObjectInfo& object : objects) there.insert(object.key.value);
  }
  for (const PackName& pack : packs)
    if (const ObjectKey key = pack_key(stanza, pack.label, pack.number); !there.contains(key.value))
      return Error(Errc::kNotFound, fmt::format("pack {} was removed while the backup was made", key.value))
          .with_hint("run the backup again; if backups take longer than expire-grace, set that to more");
  return {};
}

}  // namespace pgark
