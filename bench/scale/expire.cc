// `scale expire`: what expire and its neighbours do with a catalog of very many backups.
#include "ops/expire.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/pack_tables.h"
#include "catalog/retention_input.h"
#include "catalog/wal.h"
#include "ops/backup_sizes.h"
#include "ops/orphaned_packs.h"
#include "repo/manifest.h"
#include "scale.h"
#include "store/posix_store.h"

namespace pgark::scale {
namespace {

using std::chrono::hours;

constexpr uint32_t kSegmentBytes = 16u << 20;
constexpr uint64_t kSegmentsEach = 4;    // Of WAL from one backup to the next.
constexpr uint64_t kBackupsAWeek = 168;  // One an hour: a full, then incrementals, each on the one before.
const std::string kStanza = "main";

class ShiftedClock final : public Clock {
 public:
  explicit ShiftedClock(hours ahead) : ahead_(ahead) {}
  Timestamp now() override { return system_clock().now() + ahead_; }
  std::chrono::steady_clock::time_point steady() override { return system_clock().steady(); }
  void sleep_for(std::chrono::milliseconds) override {}

 private:
  const hours ahead_;
};

ClusterRecord cluster() {
  return {.number = 1,
          .system_identifier = 7654321,
          .pg_major = 15,
          .control_version = 1300,
          .catalog_version = 202209061,
          .wal_segment_bytes = kSegmentBytes,
          .created = {}};
}

BackupMeta meta_of(const std::string& label, BackupType type, const std::string& prior, Timestamp time,
                   uint64_t segment) {
  BackupMeta meta;
  meta.label = label;
  meta.type = type;
  meta.prior_label = prior;
  meta.pgark_version = "0.1.0";
  meta.system_identifier = cluster().system_identifier;
  meta.pg_major = 15;
  meta.wal_segment_bytes = kSegmentBytes;
  meta.started = meta.stopped = time;
  meta.start_timeline = meta.stop_timeline = TimelineId{1};
  meta.start_lsn = Lsn{segment * kSegmentBytes + 40};
  meta.stop_lsn = Lsn{(segment + 1) * kSegmentBytes + 40};
  meta.wal_start = pg::segment_name({TimelineId{1}, segment}, kSegmentBytes);
  meta.wal_stop = pg::segment_name({TimelineId{1}, segment + 1}, kSegmentBytes);
  meta.source = "primary";
  meta.backup_label = "START WAL LOCATION\n";
  meta.codec = "zst";
  meta.data_directory = "/var/lib/postgresql/15/main";
  return meta;
}

/// Make the catalog: each backup has a manifest that names its own pack and those of its week, a pack, and WAL.
Json make_catalog(const std::string& root, uint64_t count) {
  const auto files = quick_files(root);
  const auto repository = must(Repository::open_or_create(*files, system_clock()), "make repository");
  must(write_cluster(*repository, kStanza, cluster()), "write cluster");
  const std::vector<std::byte> content(100);
  Timestamp time = std::chrono::floor<std::chrono::seconds>(system_clock().now()) - hours(count);
  std::string full;
  std::string prior;
  std::vector<PackName> packs;
  uint64_t segment = 1;
  for (uint64_t i = 0; i < count; ++i, time += hours(1)) {
    const bool is_full = i % kBackupsAWeek == 0;
    const BackupType type = is_full ? BackupType::kFull : BackupType::kIncr;
    const std::string label = make_backup_label(type, time, full);
    if (is_full) {
      full = label;
      packs.clear();
    }
    packs.push_back({label, 1});
    must(files->put(pack_key(kStanza, label, 1), content), "write pack");
    auto writer = must(ManifestWriter::create(*repository, kStanza, label), "write manifest");
    const BackupMeta meta = meta_of(label, type, is_full ? "" : prior, time, segment);
    must(std::move(writer).commit(packs, encode_backup_meta(meta)), "write manifest");
    for (uint64_t end = segment + kSegmentsEach; segment < end; ++segment) {
      const std::string name = pg::segment_name({TimelineId{1}, segment}, kSegmentBytes);
      must(files->put(must(wal_key(kStanza, 1, name), "name segment"), content), "write segment");
    }
    prior = label;
  }
  return {{"backups", count}, {"wal_segments", segment - 1}};
}

RetentionRules keep_rules(uint64_t count) {
  RetentionRules rules;
  rules.full = static_cast<uint32_t>((count + kBackupsAWeek - 1) / kBackupsAWeek - 1);  // One week goes.
  rules.time_zone = "UTC";
  return rules;
}

RetentionRules thinning_rules() {
  RetentionRules rules;
  rules.daily = 14;
  rules.weekly = 8;
  rules.monthly = 12;
  rules.yearly = 7;
  rules.time_zone = "UTC";
  return rules;
}

struct Scene {
  Scene(const std::string& root, bool far)
      : posix(must(PosixStore::open(root), "open repository")),
        store(*posix, far),
        repository(must(Repository::open(store), "open repository")) {
    store.take();
  }
  std::unique_ptr<PosixStore> posix;
  CountingStore store;
  std::unique_ptr<Repository> repository;
  CancelToken cancel;
};

Json counted(Scene& scene) {
  const CallCounts counts = scene.store.take();
  return {{"calls", calls_by_name(counts)}, {"requests", requests_by_name(counts)}};
}

Json expire_once(const std::string& root, bool far, const RetentionRules& rules, bool dry_run, hours ahead) {
  Scene scene(root, far);
  ShiftedClock clock(ahead);
  const ExpireReport report = must(run_expire(*scene.repository, clock, scene.cancel,
                                              {.stanza = kStanza, .rules = rules, .dry_run = dry_run, .set = ""}),
                                   "expire");
  uint64_t kept = 0;
  for (const ExpiredBackup& backup : report.backups) kept += backup.decision.keep ? 1u : 0u;
  Json result = counted(scene);
  result["kept"] = kept;
  result["removed"] = report.backups.size() - kept;
  result["removed_wal"] = report.wal.count;
  result["removed_packs"] = report.packs.count;
  result["warnings"] = report.warnings;
  return result;
}

/// What info does with the backups; the WAL here is only names, of which it would find all damaged.
Json info_once(const std::string& root, bool far, uint64_t count) {
  Scene scene(root, far);
  PackTables tables;
  const auto take_packs = [&](const std::string& label, const Result<std::vector<PackName>>& packs) {
    if (packs) tables.put(label, *packs);
  };
  const auto listed = must(list_backups(*scene.repository, kStanza, take_packs), "list backups");
  std::vector<std::string> labels;
  for (const ListedBackup& backup : listed) labels.push_back(backup.label);
  const auto sizes = must(backup_sizes(*scene.repository, kStanza, labels, tables), "sum up sizes");
  const auto backups = must(read_retention_backups(*scene.repository, kStanza, listed), "look for WAL");
  const auto decisions = must(decide_retention(keep_rules(count), backups, system_clock().now()), "decide");
  Json result = counted(scene);
  result["backups"] = decisions.size();
  return result;
}

/// What a backup looks up before it begins: labels in use, backups to build on, packs left behind.
Json begin_backup(const std::string& root, bool far) {
  Scene scene(root, far);
  const auto used = must(list_used_labels(*scene.repository, kStanza), "list labels");
  must(OrphanedPacks::find(*scene.repository, kStanza), "look for orphaned packs");
  must(list_backups(*scene.repository, kStanza), "list backups");
  Json result = counted(scene);
  result["labels"] = used.size();
  return result;
}

}  // namespace

int run_expire(int argc, char** argv) {
  const Arguments arguments(argc, argv, {"repo", "backups", "far", "phases", "keep"});
  const std::string root = arguments.text("repo");
  const std::string chosen = arguments.text("phases");
  const uint64_t count = arguments.number("backups", 100'000);
  const bool far = arguments.has("far");
  if (root.empty() || count < 2 * kBackupsAWeek) die("scale expire --repo=DIR --backups=N, of which 336 are the least");
  if (chosen.empty() && std::filesystem::exists(root)) die(root + " is there already");
  const auto expire = [&](const RetentionRules& rules, bool dry_run, int ahead) {
    return [&root, far, rules, dry_run, ahead] { return expire_once(root, far, rules, dry_run, hours(ahead)); };
  };
  const Phases phases{
      {"make", [&] { return make_catalog(root, count); }},
      {"expire-dry-run", expire(keep_rules(count), true, 0)},
      {"info-backups", [&] { return info_once(root, far, count); }},
      {"backup-begins", [&] { return begin_backup(root, far); }},
      {"expire-week", expire(keep_rules(count), false, 0)},
      {"expire-most", expire(thinning_rules(), false, 0)},
      {"expire-after-grace", expire(thinning_rules(), false, 25)},
      {"expire-nothing", expire(thinning_rules(), false, 26)},
  };
  const Json results = measure_all(phases, chosen);
  std::printf("%s\n", Json{{"backups", count}, {"phases", results}}.dump(2).c_str());
  if (chosen.empty() && !arguments.has("keep")) std::filesystem::remove_all(root);
  return 0;
}

}  // namespace pgark::scale
