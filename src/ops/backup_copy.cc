// What is copied in which order: work is cut up, handed to workers, and what became of each file collected.
#include "ops/backup_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/thread_annotations.h"
#include "ops/backup_worker.h"
#include "pg/control.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr size_t kBatchFilesMax = 256;
constexpr uint64_t kBatchBytesMax = 4u << 20;
constexpr std::chrono::milliseconds kWaitTick{200};
// Memory of the chunks of the prior's manifest whose files wait or are being copied.
constexpr size_t kQueuedBytesMax = 32u << 20;

/// Neighbouring parts that the prior says nothing about.
struct WorkItem {
  uint32_t first = 0;  // Part.
  uint32_t count = 0;
  uint64_t bytes = 0;
};

/// A chunk of the prior's manifest, with what is to be done with its files.
struct PriorChunk {
  FileChunk chunk;
  std::vector<PriorFile> files;
  size_t memory_bytes = 0;
};

struct PriorItem {
  std::shared_ptr<const PriorChunk> chunk;  // Shared by the items of a chunk: the last one frees it.
  std::vector<PartTask> tasks;
};

bool is_control(const BackupPlan& plan, const PlannedEntry& entry) {
  // Without a path made for every file of a million.
  return plan.name(entry) == "pg_control" && plan.path(entry) == pg::kControlFilePath;
}

FileEntry entry_of(const BackupPlan& plan, const PlannedEntry& planned) {
  FileEntry entry;
  entry.path = plan.path(planned);
  entry.kind = planned.kind;
  entry.modified_us = planned.modified_us;
  const PlannedOwner& owner = plan.owner(planned);
  entry.mode = owner.mode;
  entry.user = owner.user;
  entry.group = owner.group;
  if (planned.kind == EntryKind::kSymlink) entry.link_target = plan.link_target(planned);
  return entry;
}

/// Counts workers that are still at it, for the thread that waits for them.
class RunningCount {
 public:
  explicit RunningCount(size_t count) : count_(count) {}
  void one_done() {
    const MutexLock lock(mu_);
    --count_;
    changed_.notify_all();
  }
  /// Wait for a while; true once all are done.
  bool wait() {
    MutexLock lock(mu_);
    if (count_ > 0) changed_.wait_for(mu_, kWaitTick);
    return count_ == 0;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  size_t count_ GUARDED_BY(mu_);
};

}  // namespace

struct BackupCopier::State {
  State(const BackupPlan& backup_plan, BackupCopyOptions copy_options, PackSet& packs, const InsertPosition& position,
        Clock& clock, Progress& progress_shown)
      : plan(backup_plan), options(std::move(copy_options)), progress(progress_shown) {
    for (unsigned i = 0; i < std::max(1u, options.workers); ++i)
      workers.push_back(std::make_unique<CopyWorker>(options, packs, position, clock, progress));
  }

  bool is_known(uint32_t entry) const { return options.prior && options.prior->survey.knows(entry); }

  /// Cut the plan into parts, and those of files the prior does not have into work items, the largest first.
  void plan_work() {
    const auto& entries = plan.entries();
    size_t total = 0;
    for (const PlannedEntry& entry : entries)
      if (entry.kind == EntryKind::kFile) total += part_count(entry.bytes);
    parts.reserve(total);
    if (options.prior) progress.bytes_total = options.prior->survey.read_bytes;
    std::vector<WorkItem> small;
    for (uint32_t index = 0; index < entries.size(); ++index) {
      const PlannedEntry& entry = entries[index];
      if (entry.kind != EntryKind::kFile) continue;
      if (is_control(plan, entry)) {
        control = index;
        continue;
      }
      const auto first = static_cast<uint32_t>(parts.size());
      const auto count = static_cast<uint32_t>(part_count(entry.bytes));
      for (uint32_t number = 0; number < count; ++number) parts.push_back({0, index, number, 0, PartState::kPlanned});
      if (is_known(index)) continue;
      if (options.prior) progress.bytes_total += entry.bytes;
      if (entry.bytes < kSmallFileBytes) {
        const bool full = small.empty() || small.back().count >= kBatchFilesMax ||
                          small.back().bytes >= kBatchBytesMax || small.back().first + small.back().count != first;
        if (full) small.push_back({first, 0, 0});
        small.back().count += 1;
        small.back().bytes += entry.bytes;
        continue;
      }
      for (uint32_t number = 0; number < count; ++number)
        items.push_back({first + number, 1, std::min(kCopyPartBytes, entry.bytes - number * kCopyPartBytes)});
    }
    std::stable_sort(items.begin(), items.end(),
                     [](const WorkItem& a, const WorkItem& b) { return a.bytes > b.bytes; });
    items.insert(items.end(), small.begin(), small.end());
    if (!options.prior) progress.bytes_total = plan.bytes();
    progress.files_total = plan.file_count();
  }

  /// Go through the prior's manifest and hand out its files.
  Result<> produce(BoundedQueue<PriorItem>& queue, const CancelToken& cancel) const {
    const CopyPrior& prior = *options.prior;
    return for_each_chunk(prior.backup.manifest, [&](FileChunk chunk) -> Result<> {
      TRY(cancel.check());
      const auto work = std::make_shared<PriorChunk>();
      work->chunk = std::move(chunk);
      work->files.reserve(work->chunk.files.size());  // Tasks point into it.
      work->memory_bytes = work->chunk.extents.size() * sizeof(ExtentRef);
      PriorItem item{work, {}};
      uint64_t item_bytes = 0;
      const auto push = [&] {
        item_bytes = 0;
        const size_t cost = 1 + work->memory_bytes * item.tasks.size() / (1 + work->chunk.files.size());
        PriorItem full{work, std::exchange(item.tasks, {})};
        return full.tasks.empty() || queue.push(std::move(full), cost);
      };
      for (const FileEntry& file : work->chunk.files) {
        work->memory_bytes += sizeof(FileEntry) + sizeof(PriorFile) + file.runs.size() * sizeof(Run);
        if (file.kind != EntryKind::kFile) continue;
        const auto entry = prior.index.find(file.path);
        if (!entry || entry == control) continue;
        const uint64_t bytes = plan.entries()[*entry].bytes;
        work->files.push_back(
            {&file, &work->chunk.extents, prior.survey.work_on(*entry, file, work->chunk.extents, bytes)});
        const PriorFile& planned = work->files.back();
        for (uint32_t part = first_part(*entry); part < parts.size() && parts[part].entry == *entry; ++part) {
          item.tasks.push_back({part, &planned});
          if (planned.work.mode != CopyMode::kReference) item_bytes += work_bytes(planned, bytes);
          // Parts of large files each go alone: they are worth a worker of their own.
          if (item_bytes >= kBatchBytesMax || item.tasks.size() >= kBatchFilesMax)
            if (!push()) return Error(Errc::kCancelled, "stopped by another task's error");
        }
      }
      if (!push()) return Error(Errc::kCancelled, "stopped by another task's error");
      return {};
    });
  }

  /// Bytes that a part of the file is about to read, at most.
  static uint64_t work_bytes(const PriorFile& file, uint64_t bytes) {
    if (file.work.mode != CopyMode::kBlocks) return std::min(bytes, kCopyPartBytes);
    uint64_t blocks = 0;
    for (const BlockRange& range : file.work.ranges) blocks += range.end - range.begin;
    return blocks * kHashBlockBytes / part_count(bytes);
  }

  uint32_t first_part(uint32_t entry) const {
    const auto at = std::lower_bound(parts.begin(), parts.end(), entry,
                                     [](const BackupPart& part, uint32_t wanted) { return part.entry < wanted; });
    return static_cast<uint32_t>(at - parts.begin());
  }

  Result<> run_worker(uint16_t index, BoundedQueue<PriorItem>& queue, const CancelToken& cancel) {
    while (auto item = queue.pop()) TRY(workers[index]->copy(plan, parts, item->tasks, index, cancel));
    std::vector<PartTask> tasks;
    for (;;) {
      const size_t next = next_item.fetch_add(1, std::memory_order_relaxed);
      if (next >= items.size()) return {};
      const WorkItem& item = items[next];
      tasks.clear();
      for (uint32_t i = 0; i < item.count; ++i) tasks.push_back({item.first + i, nullptr});
      TRY(workers[index]->copy(plan, parts, tasks, index, cancel));
    }
  }

  /// Collect the runs of the parts [first, last) of one file; false if the file vanished.
  bool collect(size_t first, size_t last, PartRuns& runs) const {
    runs.clear();
    for (size_t i = first; i < last; ++i) {
      if (parts[i].state != PartState::kCopied) return false;
      workers[parts[i].worker]->store().get(parts[i].place, runs);
    }
    return true;
  }

  static constexpr uint32_t kUnused = UINT32_MAX;

  /// Number the older packs that something lies in; their order stays, so that what was sorted by pack still is.
  void index_packs() {
    pack_index.assign(options.older_packs.size(), kUnused);
    for (size_t i = 0; i < pack_index.size(); ++i)
      if (std::any_of(workers.begin(), workers.end(), [i](const auto& worker) { return worker->used_packs()[i]; }))
        pack_index[i] = older_count++;
  }

  /// Tell extents by their packs' places in pack_table().
  void renumber(std::vector<ExtentRef>& extents) const {
    const auto older = static_cast<uint32_t>(pack_index.size());
    for (ExtentRef& extent : extents)
      extent.pack = extent.pack < older ? pack_index[extent.pack] : extent.pack - older + older_count;
  }

  size_t end_of_file(size_t first) const {
    size_t last = first + 1;
    while (last < parts.size() && parts[last].entry == parts[first].entry) ++last;
    return last;
  }

  std::optional<uint64_t> first_extent(size_t first, size_t last) const {
    for (size_t i = first; i < last; ++i)
      if (const auto key = workers[parts[i].worker]->store().first_extent(parts[i].place); key.has_value()) return key;
    return std::nullopt;
  }

  const BackupPlan& plan;
  const BackupCopyOptions options;
  Progress& progress;
  std::vector<std::unique_ptr<CopyWorker>> workers;
  std::vector<BackupPart> parts;  // In the order of the plan.
  std::vector<WorkItem> items;
  std::atomic<size_t> next_item = 0;
  std::optional<uint32_t> control;
  PartRuns control_runs;
  BackupCopyTotals totals;
  std::vector<uint32_t> pack_index;  // Of older_packs: in pack_table(), where it is used.
  uint32_t older_count = 0;          // Of them in pack_table().
};

BackupCopier::BackupCopier(const BackupPlan& plan, BackupCopyOptions options, PackSet& packs,
                           const InsertPosition& position, Clock& clock, Progress& progress)
    : state_(std::make_unique<State>(plan, std::move(options), packs, position, clock, progress)) {
  state_->plan_work();
}

BackupCopier::~BackupCopier() = default;

Result<> BackupCopier::copy_files(const CancelToken& cancel, const std::function<Result<>()>& while_waiting) {
  State& s = *state_;
  RunningCount running(s.workers.size());
  BoundedQueue<PriorItem> queue(kQueuedBytesMax);
  TaskGroup group(&cancel);
  // Whoever fails wakes the others.
  const auto stop = [&group, &queue] {
    group.cancel().cancel();
    queue.close();
  };
  if (s.options.prior)
    group.spawn([&s, &queue, &group, &stop] {
      auto result = s.produce(queue, group.cancel());
      queue.close();
      if (!result.has_value()) stop();
      return result;
    });
  else
    queue.close();
  for (uint16_t i = 0; i < s.workers.size(); ++i)
    group.spawn([&s, &running, &queue, &group, &stop, i] {
      auto result = s.run_worker(i, queue, group.cancel());
      if (!result.has_value()) stop();
      running.one_done();
      return result;
    });
  std::optional<Error> failure;
  while (!running.wait()) {
    if (failure.has_value()) continue;
    if (auto polled = while_waiting(); !polled.has_value()) {
      failure = std::move(polled).error();
      stop();
    }
  }
  auto result = group.wait();
  if (!result.has_value() && result.error().code() != Errc::kCancelled) return result;
  if (failure.has_value()) return std::move(*failure);
  return result;
}

Result<> BackupCopier::copy_control(Bytes content) {
  State& s = *state_;
  if (!s.control.has_value())
    return Error(Errc::kCorrupt, fmt::format("copy '{}': the data directory does not hold it", pg::kControlFilePath));
  TRY_CTX(s.workers.front()->add_whole(s.control_runs, std::string(pg::kControlFilePath), content),
          fmt::format("copy '{}'", pg::kControlFilePath));
  for (const auto& worker : s.workers) {
    TRY(worker->close());
    const BackupCopyTotals& one = worker->totals();
    s.totals.file_count += one.file_count;
    s.totals.logical_bytes += one.logical_bytes;
    s.totals.read_bytes += one.read_bytes;
    s.totals.referenced_bytes += one.referenced_bytes;
    s.totals.reused_bytes += one.reused_bytes;
    s.totals.vanished_count += one.vanished_count;
    s.totals.shrunk_count += one.shrunk_count;
    s.totals.bad_page_count += one.bad_page_count;
  }
  s.index_packs();
  return {};
}

std::vector<PackName> BackupCopier::pack_table(const std::string& label, uint32_t own_count) const {
  const State& s = *state_;
  std::vector<PackName> table(s.older_count);
  for (size_t i = 0; i < s.pack_index.size(); ++i)
    if (s.pack_index[i] != State::kUnused) table[s.pack_index[i]] = s.options.older_packs[i];
  for (uint32_t number = 1; number <= own_count; ++number) table.push_back({label, number});
  return table;
}

Result<> BackupCopier::for_each_entry(
    const std::function<Result<>(const FileEntry&, const std::vector<ExtentRef>&)>& each) const {
  const State& s = *state_;
  const auto& entries = s.plan.entries();
  static const std::vector<ExtentRef> kNoExtents;
  PartRuns runs;
  std::vector<std::pair<uint64_t, uint32_t>> by_extent;  // Key and first part.
  by_extent.reserve(s.plan.file_count());                // Growing, it would be there twice.
  size_t part = 0;
  for (uint32_t index = 0; index < entries.size(); ++index) {
    if (s.control == index) continue;
    if (entries[index].kind != EntryKind::kFile) {
      TRY(each(entry_of(s.plan, entries[index]), kNoExtents));
      continue;
    }
    CHECK(part < s.parts.size() && s.parts[part].entry == index);
    const size_t first = std::exchange(part, s.end_of_file(part));
    if (const bool vanished =
            std::any_of(s.parts.begin() + static_cast<ptrdiff_t>(first), s.parts.begin() + static_cast<ptrdiff_t>(part),
                        [](const BackupPart& p) { return p.state != PartState::kCopied; });
        vanished)
      continue;
    if (const auto key = s.first_extent(first, part); key.has_value()) {
      by_extent.emplace_back(*key, static_cast<uint32_t>(first));
      continue;
    }
    s.collect(first, part, runs);
    FileEntry file = entry_of(s.plan, entries[index]);
    file.bytes = runs.bytes;
    TRY(each(file, kNoExtents));
  }
  std::sort(by_extent.begin(), by_extent.end());
  for (const auto& [key, first] : by_extent) {
    FileEntry file = entry_of(s.plan, entries[s.parts[first].entry]);
    CHECK(s.collect(first, s.end_of_file(first), runs));
    file.bytes = runs.bytes;
    file.runs = runs.runs;
    file.bad_blocks = runs.bad_blocks;
    s.renumber(runs.extents);
    TRY(each(file, runs.extents));
  }
  FileEntry control = entry_of(s.plan, entries[s.control.value()]);
  control.bytes = s.control_runs.bytes;
  control.runs = s.control_runs.runs;
  runs.extents = s.control_runs.extents;
  s.renumber(runs.extents);
  return each(control, runs.extents);
}

const BackupCopyTotals& BackupCopier::totals() const { return state_->totals; }

}  // namespace pgark
