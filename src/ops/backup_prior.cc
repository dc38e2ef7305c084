// Decisions about files an older backup has, too: pure but for reading its manifest.
#include "ops/backup_prior.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

#include "core/check.h"

namespace pgark {
namespace {

constexpr uint64_t kBlock = kHashBlockBytes;

uint32_t blocks_of(uint64_t bytes) { return static_cast<uint32_t>((bytes + kBlock - 1) / kBlock); }

uint64_t blocks_in(const Run& run) { return (run.bytes + kBlock - 1) / kBlock; }

/// Draws `wanted` items evenly from a sequence whose length shows only at its end (Li's algorithm L): costs are those
/// of the items drawn, not of the sequence.
class Sampler {
 public:
  Sampler(size_t wanted, Rng& rng) : wanted_(wanted), rng_(rng) {}

  /// Offer `count` more items, made by `make(position)` when one is drawn.
  template <typename Make>
  void offer(uint64_t count, Make make) {
    if (wanted_ == 0) return;
    const uint64_t end = seen_ + count;
    for (; drawn.size() < wanted_ && seen_ < end; ++seen_) {
      drawn.push_back(make(seen_ + count - end));
      if (drawn.size() == wanted_) {
        next_ = seen_;
        skip();
      }
    }
    while (drawn.size() == wanted_ && next_ < end) {
      drawn[static_cast<size_t>(rng_.below(wanted_))] = make(next_ + count - end);
      skip();
    }
    seen_ = end;
  }

  std::vector<SampledBlock> drawn;

 private:
  double chance() { return (static_cast<double>(rng_.below(1u << 30)) + 0.5) / static_cast<double>(1u << 30); }
  void skip() {
    weight_ *= std::exp(std::log(chance()) / static_cast<double>(wanted_));
    const double step = std::floor(std::log(chance()) / std::log1p(-weight_)) + 1;
    next_ += step < 1e18 ? static_cast<uint64_t>(step) : uint64_t{1} << 60;
  }

  const size_t wanted_;
  Rng& rng_;
  uint64_t seen_ = 0;
  uint64_t next_ = 0;
  double weight_ = 1;
};

/// Counts how much of each extent goes on being used. Most extents are used by files of one chunk alone, and are
/// settled with it; only the others are remembered.
class Usage {
 public:
  void begin(const FileChunk& chunk) {
    used_.assign(chunk.extents.size(), 0);
    kept_.assign(chunk.extents.size(), 0);
  }
  void use(const Run& run) { used_[run.extent] += static_cast<uint32_t>(blocks_in(run)); }
  void keep(const Run& run) { kept_[run.extent] += static_cast<uint32_t>(blocks_in(run)); }
  void end(const FileChunk& chunk) {
    for (size_t i = 0; i < kept_.size(); ++i) {
      const uint32_t all = chunk.extents[i].raw_bytes / static_cast<uint32_t>(kBlock);
      if (kept_[i] == 0 || kept_[i] >= all) continue;
      const Partial partial{PriorSurvey::place_of(chunk.extents[i]), kept_[i], all};
      if (used_[i] >= all)
        judge(partial);
      else
        partial_.push_back(partial);
    }
  }
  /// Extents of which less than half goes on being used, and what is still used of them.
  std::unordered_set<uint64_t> sparse(uint64_t& kept_bytes) && {
    std::sort(partial_.begin(), partial_.end(), [](const Partial& a, const Partial& b) { return a.place < b.place; });
    for (auto at = partial_.begin(); at != partial_.end();) {
      Partial sum = *at;
      for (++at; at != partial_.end() && at->place == sum.place; ++at) sum.kept += at->kept;
      judge(sum);
    }
    kept_bytes += kept_bytes_;
    return std::move(sparse_);
  }

 private:
  /// Blocks that go on being used, and all, of an extent.
  struct Partial {
    uint64_t place = 0;
    uint32_t kept = 0;
    uint32_t all = 0;
  };

  void judge(const Partial& extent) {
    if (uint64_t{extent.kept} * 2 >= extent.all) return;
    sparse_.insert(extent.place);
    kept_bytes_ += extent.kept * kBlock;
  }

  std::vector<uint32_t> used_;  // By the older backup, in the chunk.
  std::vector<uint32_t> kept_;
  std::deque<Partial> partial_;  // Grows without a second copy of itself.
  std::unordered_set<uint64_t> sparse_;
  uint64_t kept_bytes_ = 0;
};

}  // namespace

std::string_view scan_mode_name(ScanMode mode) {
  switch (mode) {
    case ScanMode::kWal:
      return "wal";
    case ScanMode::kLsn:
      return "lsn";
    case ScanMode::kHash:
      return "hash";
  }
  return "?";
}

void join_ranges(std::vector<BlockRange>& ranges) {
  std::erase_if(ranges, [](const BlockRange& range) { return range.begin >= range.end; });
  std::sort(ranges.begin(), ranges.end(), [](const BlockRange& a, const BlockRange& b) { return a.begin < b.begin; });
  size_t used = 0;
  for (const BlockRange& range : ranges) {
    if (used > 0 && range.begin <= ranges[used - 1].end)
      ranges[used - 1].end = std::max(ranges[used - 1].end, range.end);
    else
      ranges[used++] = range;
  }
  ranges.resize(used);
}

FileWork plan_file(const PriorBackup& prior, const FileEntry& file, uint64_t bytes_now) {
  if (prior.scan == ScanMode::kHash || prior.page_bytes != kBlock) return {};
  const auto relation = pg::parse_relation_path(file.path);
  // Free space maps are not in WAL and visibility maps only by half (VACUUM and deletes clear bits without a trace);
  // what is no relation file has no pages that would tell.
  if (!relation.has_value() || relation->name.fork != pg::Fork::kMain || relation->name.is_temporary) return {};
  if (bytes_now % kBlock != 0 || file.bytes % kBlock != 0) return {};
  FileChanges changes = prior.changes->of(*relation);
  if (changes.whole) return {};
  const uint32_t now = blocks_of(bytes_now);
  const uint32_t then = blocks_of(file.bytes);
  // A relation does not shrink without a record of it: whatever happened, nothing about this file is known.
  if (now < then && changes.limit_block > now) return {};
  FileWork work{prior.scan == ScanMode::kLsn ? CopyMode::kNewer : CopyMode::kBlocks, {}};
  // What was cut off and has grown again may hold pages that were never logged; so may what lies past the old end.
  work.ranges.push_back({std::min(changes.limit_block, then), now});
  for (const uint32_t block : changes.blocks)
    if (block < now) work.ranges.push_back({block, block + 1});
  // Pages that were bad are looked at again: they may have been mended, by means that leave no trace in WAL.
  for (const uint32_t block : file.bad_blocks)
    if (block < now) work.ranges.push_back({block, block + 1});
  join_ranges(work.ranges);
  if (work.ranges.empty() && work.mode == CopyMode::kBlocks) work.mode = CopyMode::kReference;
  return work;
}

void for_each_kept(const std::vector<Run>& runs, uint64_t begin, uint64_t end, const std::vector<BlockRange>& ranges,
                   const std::function<void(const Run&)>& each) {
  auto run =
      std::partition_point(runs.begin(), runs.end(), [&](const Run& r) { return r.file_offset + r.bytes <= begin; });
  auto range =
      std::partition_point(ranges.begin(), ranges.end(), [&](const BlockRange& r) { return r.end * kBlock <= begin; });
  for (; run != runs.end() && run->file_offset < end; ++run) {
    uint64_t from = std::max(begin, run->file_offset);
    const uint64_t to = std::min(end, run->file_offset + run->bytes);
    const auto keep = [&](uint64_t until) {
      if (from >= until) return;
      each({from, until - from, run->extent, run->extent_offset + static_cast<uint32_t>(from - run->file_offset)});
    };
    while (range != ranges.end() && range->begin * kBlock < to) {
      keep(std::min(to, range->begin * kBlock));
      from = std::max(from, range->end * kBlock);
      if (range->end * kBlock > to) break;  // It reaches into the next run.
      ++range;
    }
    keep(to);
  }
}

PlanIndex::PlanIndex(const BackupPlan& plan) : plan_(plan) {
  size_t size = 16;
  while (size < plan.file_count() * 2) size *= 2;
  slots_.assign(size, 0);
  const auto& entries = plan.entries();
  for (uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].kind != EntryKind::kFile) continue;
    size_t slot = std::hash<std::string>{}(plan.path(entries[i])) & (size - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (size - 1);
    slots_[slot] = i + 1;
  }
}

std::optional<uint32_t> PlanIndex::find(std::string_view path) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = std::hash<std::string_view>{}(path)&mask; slots_[slot] != 0; slot = (slot + 1) & mask)
    if (plan_.path(plan_.entries()[slots_[slot] - 1]) == path) return slots_[slot] - 1;
  return std::nullopt;
}

Result<> for_each_chunk(const ManifestReader& manifest, const std::function<Result<>(FileChunk)>& each) {
  std::optional<FileChunk> held;  // Its last file may go on in the next one.
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    TRY_ASSIGN(FileChunk chunk, manifest.chunk(i));
    if (!chunk.files.empty() && chunk.files.front().continued) {
      if (!held || held->files.empty() || held->files.back().path != chunk.files.front().path)
        return Error(Errc::kCorrupt,
                     fmt::format("chunk {} continues a file '{}' that did not begin", i, chunk.files.front().path));
      const auto base = static_cast<uint32_t>(held->extents.size());
      held->extents.insert(held->extents.end(), chunk.extents.begin(), chunk.extents.end());
      for (Run run : chunk.files.front().runs) {
        run.extent += base;
        held->files.back().runs.push_back(run);
      }
      chunk.files.erase(chunk.files.begin());
      if (chunk.files.empty()) continue;
    }
    if (held) TRY(each(std::move(*held)));
    held = std::move(chunk);
  }
  if (held) TRY(each(std::move(*held)));
  return {};
}

FileWork PriorSurvey::work_on(uint32_t entry, const FileEntry& file, const std::vector<ExtentRef>& extents,
                              uint64_t bytes_now) const {
  CHECK(knows(entry));
  FileWork work{*modes[entry], {}};
  if (const auto found = ranges.find(entry); found != ranges.end()) work.ranges = found->second;
  if (sparse.empty() || (work.mode != CopyMode::kReference && work.mode != CopyMode::kBlocks)) return work;
  const size_t before = work.ranges.size();
  for (const Run& run : file.runs) {
    if (!sparse.contains(place_of(extents[run.extent]))) continue;
    const uint32_t end = std::min(blocks_of(run.file_offset + run.bytes), blocks_of(bytes_now));
    work.ranges.push_back({static_cast<uint32_t>(run.file_offset / kBlock), end});
  }
  if (work.ranges.size() == before) return work;
  join_ranges(work.ranges);
  if (!work.ranges.empty()) work.mode = CopyMode::kBlocks;
  return work;
}

Result<PriorSurvey> survey_prior(const PriorBackup& prior, const BackupPlan& plan, const PlanIndex& index,
                                 size_t sample_max, Rng& rng, const CancelToken& cancel) {
  PriorSurvey survey;
  survey.modes.assign(plan.entries().size(), std::nullopt);
  Usage usage;
  Sampler sampler(sample_max, rng);
  auto surveyed = for_each_chunk(prior.manifest, [&](const FileChunk& chunk) -> Result<> {
    TRY(cancel.check());
    usage.begin(chunk);
    for (const FileEntry& file : chunk.files) {
      if (file.kind != EntryKind::kFile) continue;
      for (const Run& run : file.runs) usage.use(run);
      const auto entry = index.find(file.path);
      if (!entry.has_value()) continue;
      const uint64_t bytes = plan.entries()[*entry].bytes;
      FileWork work = plan_file(prior, file, bytes);
      survey.modes[*entry] = work.mode;
      const bool reads_all = work.mode == CopyMode::kCompare || work.mode == CopyMode::kNewer;
      if (reads_all) survey.read_bytes += bytes;
      for (const BlockRange& range : work.ranges)
        if (!reads_all) survey.read_bytes += (range.end - range.begin) * kBlock;
      // What a comparison will keep is not known yet; most of it, as a rule.
      static const std::vector<BlockRange> kNone;
      for_each_kept(file.runs, 0, bytes, reads_all ? kNone : work.ranges, [&](const Run& run) {
        usage.keep(run);
        if (reads_all) return;
        sampler.offer(blocks_in(run), [&](uint64_t at) {
          return SampledBlock{*entry, static_cast<uint32_t>(run.file_offset / kBlock + at)};
        });
      });
      if (work.ranges.empty()) continue;
      work.ranges.shrink_to_fit();
      survey.ranges.emplace(*entry, std::move(work.ranges));
    }
    usage.end(chunk);
    return {};
  });
  TRY(std::move(surveyed));
  survey.sparse = std::move(usage).sparse(survey.read_bytes);
  survey.samples = std::move(sampler.drawn);
  std::sort(survey.samples.begin(), survey.samples.end());
  return survey;
}

}  // namespace pgark
