// Parts of expire: the one place that removes objects, and the passes over WAL and packs.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "catalog/cluster.h"
#include "catalog/pack_tables.h"
#include "catalog/wal_need.h"
#include "ops/expire.h"
#include "repo/pack.h"

namespace pgark {

/// Removes objects, or only counts them in a dry run.
class ExpireRemover {
 public:
  ExpireRemover(ObjectStore& store, const CancelToken& cancel, bool dry_run, ExpireReport& report)
      : store_(store), cancel_(cancel), dry_run_(dry_run), report_(report) {}

  /// False if the store refuses, which is counted. An object that is gone already counts as removed by others.
  Result<bool> remove(const ObjectInfo& object, ExpireCount& removed);
  /// The same of several, in no particular order and with as few requests as the store needs. An error comes after all
  /// were tried.
  Result<std::vector<bool>> remove_many(const std::vector<ObjectInfo>& objects, ExpireCount& removed);

 private:
  Result<bool> count(const ObjectInfo& object, Result<bool> gone, ExpireCount& removed);

  ObjectStore& store_;
  const CancelToken& cancel_;
  const bool dry_run_;
  ExpireReport& report_;
};

/// How many objects a pass lets gather before it removes them.
inline constexpr size_t kExpireBatch = 500;

/// Where a pass works and what it knows.
struct ExpirePass {
  const Repository& repository;
  const std::string& stanza;
  Timestamp now;
  std::chrono::microseconds grace;
  bool dry_run;
  ExpireRemover& remover;
  ExpireReport& report;

  bool is_old(Timestamp time) const { return now - time >= grace; }
};

/// What backups need of the WAL of one cluster: with and without those removed within the grace period.
struct ExpireWalNeed {
  std::vector<WalUser> kept;
  std::vector<WalUser> waiting;
};
/// Remove WAL of a cluster that is not needed. Histories stay. Nothing goes if no backup needs anything.
Result<> expire_wal(const ExpirePass& pass, const ClusterRecord& cluster, const ExpireWalNeed& need);

/// Packs by the backup that wrote them.
class PackNames {
 public:
  void add(const std::vector<PackName>& packs) {
    for (const PackName& pack : packs) by_label_[pack.label].insert(pack.number);
  }
  bool has(const PackName& pack) const {
    const auto found = by_label_.find(pack.label);
    return found != by_label_.end() && found->second.contains(pack.number);
  }

 private:
  std::map<std::string, std::unordered_set<uint32_t>> by_label_;
};

struct ExpirePackNeed {
  PackNames kept;                // Named by manifests.
  PackNames waiting;             // Named by backups removed within the grace period.
  std::set<std::string> labels;  // Of the manifests and tombstones that are there.
};
/// Remove packs that nothing names and that are old enough: of a backup that has no manifest and no tombstone, its
/// newest pack has to be, as it may be running on another machine.
Result<> expire_packs(const ExpirePass& pass, const ExpirePackNeed& need);

}  // namespace pgark
