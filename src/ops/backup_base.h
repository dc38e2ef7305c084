// What a backup builds on: the older backup it takes unchanged blocks from, with the evidence of what changed since,
// and the packs of backups that were interrupted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catalog/changed_blocks.h"
#include "catalog/cluster.h"
#include "catalog/wal_archive.h"
#include "core/cancel.h"
#include "core/clock.h"
#include "core/result.h"
#include "ops/backup_copy.h"
#include "ops/backup_prior.h"
#include "ops/orphaned_packs.h"
#include "repo/block_hashes.h"
#include "repo/manifest.h"

namespace pgark {

/// The history of the timeline a cluster is on: from its pg_wal, or else from the repository.
/// Errors: kNotFound if neither has it.
Result<pg::TimelineHistory> cluster_history(const Repository& repository, const std::string& stanza,
                                            const ClusterRecord& cluster, const std::string& data_directory,
                                            TimelineId timeline);

struct BackupBaseRequest {
  std::string stanza;
  ClusterRecord cluster;
  std::string data_directory;
  BackupMeta prior;
  pg::TimelineHistory history;
  ScanMode scan = ScanMode::kWal;
  size_t sample_blocks = 0;
  uint64_t seed = 0;
};

/// An older backup, opened, and what is known of the changes since. Keeps what the copier refers to; never moves. Made
/// in three steps, so that each can be taken as soon as what it needs is known.
class BackupBase {
 public:
  /// Read the prior's manifest, and list the WAL there is. `repository` must outlive it.
  /// Errors: of reading them.
  static Result<std::unique_ptr<BackupBase>> open(const Repository& repository, BackupBaseRequest request);
  /// Gather what was changed until `start_lsn`, where the new backup starts. WAL that is not archived yet is read from
  /// the cluster. Where the evidence has a hole, every file is compared by hash instead, and warnings() says why.
  /// Errors: of reading WAL.
  Result<> gather(Lsn start_lsn);
  /// Decide what becomes of the files of a plan that was made after the start. Where a sampled block gives the evidence
  /// the lie, every file is compared by hash. `plan` must outlive it.
  /// Errors: of reading the manifest and the data directory; kCancelled.
  Result<> survey(const BackupPlan& plan, const CancelToken& cancel);

  CopyPrior copy_prior() { return {*prior_, survey_, *index_, *hashes_}; }
  /// Let go of what only the copy needs: what was copied takes memory of its own by now. Afterwards only packs() is
  /// left.
  void end_copy();
  const std::vector<PackName>& packs() const { return packs_; }
  ScanMode scan() const { return prior_->scan; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Changed blocks that the WAL told of, and the segments it was gathered from.
  uint64_t changed_blocks() const { return changes_ ? changes_->block_count() : 0; }
  uint64_t segment_count() const { return changes_ ? changes_->segment_count() : 0; }
  size_t sparse_extents() const { return survey_.sparse.size(); }

 private:
  explicit BackupBase(BackupBaseRequest request) : request_(std::move(request)) {}
  void distrust(std::string why);

  const BackupBaseRequest request_;
  Lsn start_lsn_;
  std::optional<ManifestReader> manifest_;
  std::optional<RepositoryWal> wal_;
  std::vector<PackName> packs_;
  std::optional<ChangedBlocks> changes_;
  std::optional<PriorBackup> prior_;
  std::optional<PlanIndex> index_;
  PriorSurvey survey_;
  std::unique_ptr<BlockHashes> hashes_;
  std::vector<std::string> warnings_;
};

/// Make sure that everything `packs` names is still there: expire on another machine removes packs only after a grace
/// period, but a backup can take longer than that.
/// Errors: kNotFound naming the first pack that is gone.
Result<> check_packs_exist(const Repository& repository, const std::string& stanza, const std::vector<PackName>& packs);

}  // namespace pgark
