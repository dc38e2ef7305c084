// `scale manifest`: plan, parts and manifests of a large cluster, made by the classes that a backup makes them with,
// from a made-up data directory. Only what needs the data itself is left out: extents get the sizes that coding would
// give.
#include "repo/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <optional>
#include <utility>

#include "catalog/changed_blocks.h"
#include "catalog/cluster.h"
#include "ops/backup_copy.h"
#include "ops/backup_parts.h"
#include "ops/backup_plan.h"
#include "ops/backup_prior.h"
#include "ops/backup_worker.h"
#include "ops/expire.h"
#include "ops/info.h"
#include "ops/restore.h"
#include "ops/restore_plan.h"
#include "ops/restore_slices.h"
#include "ops/verify_plan.h"
#include "pg/control.h"
#include "pg/wal_index.h"
#include "scale.h"
#include "store/posix_store.h"
#include "tree.h"

namespace pgark::scale {
namespace {

constexpr uint64_t kBlock = kHashBlockBytes;
constexpr unsigned kWorkers = 2;
constexpr uint64_t kChangedOne = 100;  // One page of so many is changed.
const std::string kStanza = "main";
const std::string kFull = "20261101-010000F";
const std::string kIncr = "20261101-010000F_20261102-010000I";

BackupPlan plan_tree(const Tree& tree) {
  serve_tree(&tree);
  pg::ExclusionContext exclusions;
  exclusions.major = pg::PgMajor{15};
  const CancelToken cancel;
  BackupPlan plan = must(plan_backup(kTreeRoot, exclusions, {}, cancel), "plan backup");
  serve_tree(nullptr);
  return plan;
}

/// Where a worker's extents come to lie.
class Packer {
 public:
  /// `first_pack`: index of the first new pack; numbers are shared by all workers.
  Packer(uint32_t& next_pack, uint64_t seed) : next_pack_(next_pack), random_(seed) {}

  ExtentRef place(uint64_t raw_bytes) {
    if (!open_ || offset_ >= kPackBytes) {
      pack_ = next_pack_++;
      offset_ = kContainerHeaderBytes + 40;  // Behind the frame of the key.
      open_ = true;
    }
    random_ = scatter(random_);
    const auto raw = static_cast<uint32_t>((raw_bytes + kBlock - 1) / kBlock * kBlock);
    // What zstd 1 leaves of pages: a quarter to a half.
    const auto stored = static_cast<uint32_t>(raw / 4 + random_ % (raw / 4) + kFrameOverheadBytes);
    const ExtentRef ref{pack_, offset_, stored, raw, Codec::kZstd};
    offset_ += stored;
    stored_bytes += stored;
    ++extents;
    return ref;
  }

  uint64_t stored_bytes = 0;
  uint64_t extents = 0;

 private:
  uint32_t& next_pack_;
  uint64_t random_;
  uint32_t pack_ = 0;
  uint64_t offset_ = 0;
  bool open_ = false;
};

/// Gathers blocks of parts into extents, as a worker does.
class Gatherer {
 public:
  explicit Gatherer(Packer& packer) : packer_(packer) {}
  void add(PartRuns& part, uint64_t offset, uint64_t bytes, bool keep_together = false) {
    if (keep_together && used_ + bytes > kExtentBytes) flush();
    while (bytes > 0) {
      const uint64_t now = std::min(bytes, kExtentBytes - used_);
      pieces_.push_back({&part, offset, now, used_});
      used_ += (now + kBlock - 1) / kBlock * kBlock;
      offset += now;
      bytes -= now;
      if (used_ == kExtentBytes) flush();
    }
  }
  void flush() {
    if (pieces_.empty()) return;
    const ExtentRef ref = packer_.place(used_);
    for (const Piece& piece : pieces_)
      piece.part->add(ref, {piece.offset, piece.bytes, 0, static_cast<uint32_t>(piece.at)});
    pieces_.clear();
    used_ = 0;
  }

 private:
  struct Piece {
    PartRuns* part;
    uint64_t offset;
    uint64_t bytes;
    uint64_t at;
  };
  Packer& packer_;
  std::vector<Piece> pieces_;
  uint64_t used_ = 0;
};

struct Worker {
  Worker(uint32_t& next_pack, uint64_t seed) : packer(next_pack, seed), gatherer(packer) {}
  PartStore store;
  Packer packer;
  Gatherer gatherer;
};

/// What a backup has in memory between the copy and the manifest, made without the copy.
class Backup {
 public:
  Backup(const BackupPlan& plan, uint32_t first_pack) : plan_(plan), next_pack_(first_pack) {
    for (unsigned i = 0; i < kWorkers; ++i) workers_.push_back(std::make_unique<Worker>(next_pack_, i + 1));
    size_t total = 0;
    for (const PlannedEntry& entry : plan.entries())
      if (entry.kind == EntryKind::kFile) total += part_count(entry.bytes);
    parts_.reserve(total);
    const auto& entries = plan.entries();
    for (uint32_t index = 0; index < entries.size(); ++index) {
      if (entries[index].kind != EntryKind::kFile) continue;
      for (uint32_t number = 0; number < part_count(entries[index].bytes); ++number)
        parts_.push_back({0, index, number, 0, PartState::kPlanned});
    }
  }

  /// Large parts first, the largest before all, and then small files in batches.
  void copy_all() {
    std::vector<uint32_t> large;
    std::vector<std::pair<uint32_t, uint32_t>> batches;
    uint64_t batch_bytes = 0;
    for (uint32_t i = 0; i < parts_.size(); ++i) {
      const uint64_t bytes = plan_.entries()[parts_[i].entry].bytes;
      if (bytes >= kSmallFileBytes) {
        large.push_back(i);
        continue;
      }
      if (batches.empty() || batches.back().second != i || i - batches.back().first >= 256 || batch_bytes >= 4u << 20) {
        batches.emplace_back(i, i);
        batch_bytes = 0;
      }
      batches.back().second = i + 1;
      batch_bytes += bytes;
    }
    std::stable_sort(large.begin(), large.end(), [&](uint32_t a, uint32_t b) { return part_bytes(a) > part_bytes(b); });
    unsigned turn = 0;
    for (const uint32_t part : large) copy(turn++ % kWorkers, part, part + 1);
    for (const auto& [begin, end] : batches) copy(turn++ % kWorkers, begin, end);
  }

  /// Parts of files of the prior: what its runs keep, and new extents for what was changed.
  struct Kept {
    uint32_t part;
    const FileEntry* file;
    const std::vector<ExtentRef>* extents;
    FileWork work;
  };
  void copy_changed(unsigned worker_index, const std::vector<Kept>& batch) {
    Worker& worker = *workers_[worker_index];
    std::deque<PartRuns> all(batch.size());
    for (size_t i = 0; i < batch.size(); ++i) copy_changed(worker, batch[i], all[i]);
    worker.gatherer.flush();
    for (size_t i = 0; i < batch.size(); ++i) {
      all[i].sort();
      keep(worker_index, batch[i].part, all[i]);
    }
  }

  uint64_t part_bytes(uint32_t part) const {
    const uint64_t begin = parts_[part].number * kCopyPartBytes;
    return std::min(kCopyPartBytes, plan_.entries()[parts_[part].entry].bytes - begin);
  }
  uint32_t first_part(uint32_t entry) const {
    const auto at = std::lower_bound(parts_.begin(), parts_.end(), entry,
                                     [](const BackupPart& part, uint32_t wanted) { return part.entry < wanted; });
    return static_cast<uint32_t>(at - parts_.begin());
  }
  const std::vector<BackupPart>& parts() const { return parts_; }
  uint32_t next_pack() const { return next_pack_; }
  uint64_t store_bytes() const {
    uint64_t bytes = 0;
    for (const auto& worker : workers_) bytes += worker->store.bytes();
    return bytes;
  }
  uint64_t extents() const {
    uint64_t extents = 0;
    for (const auto& worker : workers_) extents += worker->packer.extents;
    return extents;
  }
  uint64_t stored_bytes() const {
    uint64_t bytes = 0;
    for (const auto& worker : workers_) bytes += worker->packer.stored_bytes;
    return bytes;
  }

  /// As BackupCopier::for_each_entry(): what has no content first, then files in the order of their first extent.
  void write(ManifestWriter& writer) const {
    static const std::vector<ExtentRef> kNone;
    const auto& entries = plan_.entries();
    std::vector<std::pair<uint64_t, uint32_t>> by_extent;
    by_extent.reserve(plan_.file_count());
    PartRuns runs;
    size_t part = 0;
    for (uint32_t index = 0; index < entries.size(); ++index) {
      if (entries[index].kind != EntryKind::kFile) {
        must(writer.add(entry_of(entries[index]), kNone), "write manifest");
        continue;
      }
      const size_t first = part;
      part = end_of_file(part);
      std::optional<uint64_t> key;
      for (size_t i = first; i < part && !key; ++i)
        key = workers_[parts_[i].worker]->store.first_extent(parts_[i].place);
      if (key) {
        by_extent.emplace_back(*key, static_cast<uint32_t>(first));
        continue;
      }
      must(writer.add(collect(first, runs), kNone), "write manifest");
    }
    std::sort(by_extent.begin(), by_extent.end());
    for (const auto& one : by_extent) {
      const FileEntry file = collect(one.second, runs);
      must(writer.add(file, runs.extents), "write manifest");
    }
  }

 private:
  void copy(unsigned worker_index, uint32_t begin, uint32_t end) {
    Worker& worker = *workers_[worker_index];
    std::deque<PartRuns> all(end - begin);
    for (uint32_t i = begin; i < end; ++i) {
      PartRuns& runs = all[i - begin];
      runs.bytes = plan_.entries()[parts_[i].entry].bytes;
      worker.gatherer.add(runs, parts_[i].number * kCopyPartBytes, part_bytes(i), runs.bytes < kSmallFileBytes);
    }
    worker.gatherer.flush();
    for (uint32_t i = begin; i < end; ++i) keep(worker_index, i, all[i - begin]);
  }

  void copy_changed(Worker& worker, const Kept& kept, PartRuns& runs) const {
    const uint64_t begin = parts_[kept.part].number * kCopyPartBytes;
    const uint64_t end = begin + part_bytes(kept.part);
    runs.bytes = plan_.entries()[parts_[kept.part].entry].bytes;
    for_each_kept(kept.file->runs, begin, end, kept.work.ranges,
                  [&](const Run& run) { runs.add((*kept.extents)[run.extent], run); });
    for (const BlockRange& range : kept.work.ranges) {
      const uint64_t from = std::max(begin, range.begin * kBlock);
      const uint64_t to = std::min(end, range.end * kBlock);
      if (from < to) worker.gatherer.add(runs, from, to - from);
    }
  }

  void keep(unsigned worker_index, uint32_t part, const PartRuns& runs) {
    BackupPart& kept = parts_[part];
    kept.place = workers_[worker_index]->store.put(runs);
    kept.worker = static_cast<uint16_t>(worker_index);
    kept.state = PartState::kCopied;
  }

  size_t end_of_file(size_t first) const {
    size_t last = first + 1;
    while (last < parts_.size() && parts_[last].entry == parts_[first].entry) ++last;
    return last;
  }

  FileEntry entry_of(const PlannedEntry& planned) const {
    FileEntry entry;
    entry.path = plan_.path(planned);
    entry.kind = planned.kind;
    entry.modified_us = planned.modified_us;
    entry.mode = plan_.owner(planned).mode;
    entry.user = plan_.owner(planned).user;
    entry.group = plan_.owner(planned).group;
    return entry;
  }

  FileEntry collect(size_t first, PartRuns& runs) const {
    runs.clear();
    for (size_t i = first; i < end_of_file(first); ++i) workers_[parts_[i].worker]->store.get(parts_[i].place, runs);
    FileEntry file = entry_of(plan_.entries()[parts_[first].entry]);
    file.bytes = runs.bytes;
    file.runs = runs.runs;
    return file;
  }

  const BackupPlan& plan_;
  uint32_t next_pack_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<BackupPart> parts_;
};

BackupMeta meta_of(const std::string& label, const BackupPlan& plan, const Backup& backup) {
  BackupMeta meta;
  meta.label = label;
  meta.type = label == kFull ? BackupType::kFull : BackupType::kIncr;
  if (label != kFull) meta.prior_label = kFull;
  meta.pgark_version = "0.1.0";
  meta.system_identifier = 7654321;
  meta.pg_major = 15;
  meta.wal_segment_bytes = 16u << 20;
  meta.started = meta.stopped = Timestamp(std::chrono::seconds(1793494800)) + std::chrono::days(label == kFull ? 0 : 1);
  meta.start_timeline = meta.stop_timeline = TimelineId{1};
  meta.start_lsn = Lsn{label == kFull ? 0x2000028u : 0x9000028u};
  meta.stop_lsn = Lsn{meta.start_lsn.bytes + 0x1000};
  meta.wal_start = meta.wal_stop =
      pg::segment_name(pg::segment_at(TimelineId{1}, meta.start_lsn, 16u << 20), 16u << 20);
  meta.source = "primary";
  meta.backup_label = "START WAL LOCATION\n";
  meta.codec = "zst";
  meta.data_directory = "/var/lib/postgresql/15/main";
  meta.file_count = plan.file_count();
  meta.logical_bytes = plan.bytes();
  meta.stored_bytes = backup.stored_bytes();
  meta.scan = label == kFull ? "" : "wal";
  return meta;
}

PosixOptions create_root() {
  PosixOptions options;
  options.create_root = true;
  return options;
}

struct Repo {
  explicit Repo(const std::string& root)
      : store(must(PosixStore::open(root, create_root()), "open repository")),
        repository(must(Repository::open_or_create(*store, system_clock()), "open repository")) {}
  std::unique_ptr<PosixStore> store;
  std::unique_ptr<Repository> repository;
};

/// Objects in the place of packs: as large as they would be, all of it hole.
void make_packs(const std::string& root, const std::string& label, uint32_t count) {
  const std::string directory = fmt::format("{}/{}/pack/{}", root, kStanza, label);
  std::filesystem::create_directories(directory);
  for (uint32_t number = 1; number <= count; ++number) {
    const std::string path = root + "/" + pack_key(kStanza, label, number).value;
    std::fclose(std::fopen(path.c_str(), "w"));
    std::filesystem::resize_file(path, kPackBytes);
  }
}

Json commit(Repo& repo, const std::string& root, const std::string& label, const BackupPlan& plan, const Backup& backup,
            std::vector<PackName> packs) {
  const uint64_t before = resident_bytes();
  auto writer = must(ManifestWriter::create(*repo.repository, kStanza, label), "write manifest");
  backup.write(writer);
  const auto own = static_cast<uint32_t>(backup.next_pack() - packs.size());
  for (uint32_t number = 1; number <= own; ++number) packs.push_back({label, number});
  const ObjectInfo info =
      must(std::move(writer).commit(packs, encode_backup_meta(meta_of(label, plan, backup))), "write manifest");
  make_packs(root, label, own);
  return {{"manifest_bytes", info.bytes},
          {"packs", own},
          {"new_extents", backup.extents()},
          {"stored_bytes", backup.stored_bytes()},
          {"manifest_memory_mib", (std::max(resident_bytes(), before) - before) >> 20}};
}

uint64_t mib(uint64_t bytes) { return bytes >> 20; }

// -- Phases.

Json phase_plan(const std::string& root, const Tree& tree) {
  Repo repo(root);
  const uint64_t before = resident_bytes();
  const BackupPlan plan = plan_tree(tree);
  const uint64_t planned = resident_bytes();
  PackSet packs(*repo.repository, kStanza, kFull);
  InsertPosition position;
  Progress progress;
  BackupCopyOptions options;
  options.workers = kWorkers;
  const BackupCopier copier(plan, std::move(options), packs, position, system_clock(), progress);
  return {{"files", plan.file_count()},
          {"bytes", plan.bytes()},
          {"plan_mib", mib(planned - before)},
          {"work_mib", mib(resident_bytes() - planned)}};
}

Json phase_full(const std::string& root, const Tree& tree) {
  Repo repo(root);
  must(write_cluster(*repo.repository, kStanza,
                     {.number = 1,
                      .system_identifier = 7654321,
                      .pg_major = 15,
                      .control_version = 1300,
                      .catalog_version = 202209061,
                      .wal_segment_bytes = 16u << 20,
                      .created = {}}),
       "write cluster");
  const BackupPlan plan = plan_tree(tree);
  const uint64_t planned = resident_bytes();
  Backup backup(plan, 0);
  backup.copy_all();
  const uint64_t copied = resident_bytes();
  Json result = commit(repo, root, kFull, plan, backup, {});
  result["parts"] = backup.parts().size();
  result["parts_mib"] = mib(copied - planned);
  result["part_store_mib"] = mib(backup.store_bytes());
  return result;
}

/// One page of a hundred, of every relation.
ChangedBlocks changed_blocks(const Tree& tree) {
  ChangedBlocks changes(131072);
  pg::WalIndex index;
  for (uint64_t i = 0; i < tree.relations(); ++i) {
    const uint64_t blocks = tree.bytes_of(i) / kBlock;
    Rng rng(scatter(i));
    std::vector<uint32_t> changed;
    // Steps from 1 to twice the distance less one: evenly, but not regularly.
    for (uint64_t block = rng.below(2 * kChangedOne - 1); block < blocks; block += 1 + rng.below(2 * kChangedOne - 1))
      changed.push_back(static_cast<uint32_t>(block));
    if (!changed.empty())
      index
          .changes[{{pg::kDefaultTablespaceOid, Tree::kFirstDatabaseOid + tree.database_of(i), tree.relfilenode_of(i)},
                    pg::Fork::kMain}]
          .blocks = std::move(changed);
    if (i % 10'000 == 0 || i + 1 == tree.relations()) changes.add(std::exchange(index, {}));
  }
  return changes;
}

/// Go through the prior as the copy does, batch by batch.
void copy_incremental(const ManifestReader& prior, const PlanIndex& index, const PriorSurvey& survey,
                      const BackupPlan& plan, Backup& backup) {
  unsigned turn = 0;
  must(for_each_chunk(prior,
                      [&](const FileChunk& chunk) -> Result<> {
                        std::vector<Backup::Kept> batch;
                        const auto push = [&] {
                          if (!batch.empty()) backup.copy_changed(turn++ % kWorkers, batch);
                          batch.clear();
                        };
                        for (const FileEntry& file : chunk.files) {
                          if (file.kind != EntryKind::kFile) continue;
                          const auto entry = index.find(file.path);
                          if (!entry) continue;
                          const FileWork work =
                              survey.work_on(*entry, file, chunk.extents, plan.entries()[*entry].bytes);
                          for (uint32_t part = backup.first_part(*entry);
                               part < backup.parts().size() && backup.parts()[part].entry == *entry; ++part) {
                            batch.push_back({part, &file, &chunk.extents, work});
                            if (batch.size() == 256) push();
                          }
                        }
                        push();
                        return {};
                      }),
       "go through the prior");
}

Json phase_incr(const std::string& root, const Tree& tree) {
  Repo repo(root);
  const BackupPlan plan = plan_tree(tree);
  const uint64_t planned = resident_bytes();
  std::optional manifest(must(ManifestReader::open(*repo.repository, kStanza, kFull), "open prior"));
  must(manifest->load(), "load prior");
  const std::vector<PackName> packs = must(manifest->packs(), "read prior");
  const uint64_t loaded = resident_bytes();
  std::optional changes(changed_blocks(tree));
  const uint64_t gathered = resident_bytes();
  const auto begun = std::chrono::steady_clock::now();
  std::optional<PlanIndex> index(std::in_place, plan);
  const PriorBackup prior{*manifest, ScanMode::kWal, &*changes, Lsn{0x2000028}, 8192};
  Rng rng(1);
  const CancelToken cancel;
  PriorSurvey survey = must(survey_prior(prior, plan, *index, 4096, rng, cancel), "survey prior");
  const std::chrono::duration<double> surveying = std::chrono::steady_clock::now() - begun;
  const uint64_t surveyed = resident_bytes();
  Backup backup(plan, static_cast<uint32_t>(packs.size()));
  copy_incremental(*manifest, *index, survey, plan, backup);
  const uint64_t copied = resident_bytes();
  const uint64_t changed = changes->block_count();
  // As BackupBase::end_copy().
  survey = {};
  index.reset();
  changes.reset();
  manifest.reset();
  Json result = commit(repo, root, kIncr, plan, backup, packs);
  result["changed_pages"] = changed;
  result["survey_seconds"] = surveying.count();
  result["prior_mib"] = mib(loaded - planned);
  result["changes_mib"] = mib(gathered - loaded);
  result["survey_mib"] = mib(surveyed - gathered);
  result["parts_mib"] = mib(copied - surveyed);
  result["part_store_mib"] = mib(backup.store_bytes());
  return result;
}

Json phase_restore(const std::string& root, const std::string& label) {
  const Repo repo(root);
  const CancelToken cancel;
  const ManifestReader manifest = must(ManifestReader::open(*repo.repository, kStanza, label), "open manifest");
  RestoreRequest request;
  request.data_directory = "/var/lib/postgresql/15/main";
  const auto begun = std::chrono::steady_clock::now();
  const RestorePlan plan =
      must(plan_restore(manifest, must(read_backup(*repo.repository, kStanza, label), "read backup"), request, cancel),
           "plan restore");
  const std::chrono::duration<double> planning = std::chrono::steady_clock::now() - begun;
  uint64_t pieces = 0;
  uint64_t slices = 0;
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    const FileChunk chunk = must(restored_chunk(manifest, plan, i), "read manifest");
    const Slices cut = cut_slices(chunk, kSliceBytes, [](const FileEntry&) { return true; });
    pieces += cut.pieces.size();
    slices += cut.slices.size();
  }
  return {{"backup", label},          {"plan_seconds", planning.count()},
          {"files", plan.file_count}, {"bytes", plan.logical_bytes},
          {"pieces", pieces},         {"slices", slices}};
}

Json phase_info(const std::string& root) {
  const Repo repo(root);
  RetentionRules rules;
  rules.full = 1;
  const InfoStanza info =
      must(stanza_info(*repo.repository, kStanza, {.now = system_clock().now(), .rules = rules}), "info");
  return {{"backups", info.backups.size()}};
}

Json phase_detail(const std::string& root) {
  const Repo repo(root);
  const InfoBackupDetail detail = must(backup_detail(*repo.repository, kStanza, kIncr), "info --set");
  return {{"links", detail.links.size()}};
}

Json phase_verify(const std::string& root) {
  const Repo repo(root);
  const CancelToken cancel;
  const VerifyPlan plan = must(plan_verify(*repo.repository, {.stanza = kStanza}, cancel), "plan verify");
  uint64_t files = 0;
  for (const std::string& label : plan.labels) {
    const ManifestReader manifest = must(ManifestReader::open(*repo.repository, kStanza, label), "open manifest");
    for (size_t i = 0; i < manifest.chunk_count(); ++i) files += must(manifest.chunk(i), "read manifest").files.size();
  }
  return {{"packs", plan.packs.size()}, {"entries", files}};
}

Json phase_expire(const std::string& root) {
  const Repo repo(root);
  const CancelToken cancel;
  ExpireOptions options;
  options.stanza = kStanza;
  options.rules.full = 1;
  options.dry_run = true;
  const ExpireReport report = must(run_expire(*repo.repository, system_clock(), cancel, options), "expire");
  return {{"backups", report.backups.size()}};
}

}  // namespace

int run_manifest(int argc, char** argv) {
  const Arguments arguments(argc, argv, {"repo", "relations", "tib", "phases", "keep"});
  const std::string root = arguments.text("repo");
  if (root.empty()) die("scale manifest --repo=DIR");
  const std::string chosen = arguments.text("phases");
  if (chosen.empty() && std::filesystem::exists(root)) die(root + " is there already");
  const uint64_t relations = arguments.number("relations", 10'000'000);
  const uint64_t bytes = arguments.number("tib", 10) << 40;
  // Each phase makes its own: a parent with much memory would give it to all of them.
  const auto tree = [&] { return Tree(relations, bytes); };
  const Phases phases{
      {"plan", [&] { return phase_plan(root, tree()); }},
      {"full", [&] { return phase_full(root, tree()); }},
      {"incr", [&] { return phase_incr(root, tree()); }},
      {"restore full", [&] { return phase_restore(root, kFull); }},
      {"restore incr", [&] { return phase_restore(root, kIncr); }},
      {"info", [&] { return phase_info(root); }},
      {"info --set", [&] { return phase_detail(root); }},
      {"verify", [&] { return phase_verify(root); }},
      {"expire --dry-run", [&] { return phase_expire(root); }},
  };
  const Json results = measure_all(phases, chosen);
  std::printf("%s\n", Json{{"relations", relations}, {"bytes", bytes}, {"phases", results}}.dump(2).c_str());
  if (chosen.empty() && !arguments.has("keep")) std::filesystem::remove_all(root);
  return 0;
}

}  // namespace pgark::scale
