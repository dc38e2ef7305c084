// Reading, page checks and extents, one worker a thread. What workers share is the list of work and the plan.
#include "ops/backup_copy.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "ops/backup_parts.h"
#include "pg/control.h"
#include "pg/page.h"
#include "pg/relation_path.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

constexpr size_t kReadBytes = 512u << 10;
constexpr uint64_t kReadAheadBytes = 2u << 20;
constexpr size_t kBatchFilesMax = 256;
constexpr uint64_t kBatchBytesMax = 4u << 20;
constexpr int kPageRetries = 5;
constexpr std::chrono::milliseconds kPageRetryPause{20};
// A file this bad is not torn by our reading: further pages of it are read again once, without waiting.
constexpr size_t kPatientPagesMax = 32;
constexpr std::chrono::seconds kPositionWaitMax{3};
constexpr std::chrono::milliseconds kPositionPoll{10};
constexpr std::chrono::milliseconds kWaitTick{200};

enum class PartState : uint8_t { kPlanned, kCopied, kVanished };

/// A stretch of a file as one unit of work: the whole file unless it is longer than kCopyPartBytes.
struct Part {
  PartStore::Place place = 0;
  uint32_t entry = 0;
  uint32_t number = 0;  // Within the file.
  uint16_t worker = 0;  // Whose store `place` is in.
  PartState state = PartState::kPlanned;
};

struct WorkItem {
  uint32_t first = 0;  // Part.
  uint32_t count = 0;
  uint64_t bytes = 0;
};

bool is_control(std::string_view path) { return path == pg::kControlFilePath; }

/// Files that every running cluster has: their absence is no drop that WAL would replay.
bool must_exist(std::string_view path) { return path == "PG_VERSION" || path == "global/pg_filenode.map"; }

uint64_t part_count(uint64_t bytes) { return std::max<uint64_t>(1, (bytes + kCopyPartBytes - 1) / kCopyPartBytes); }

uint64_t round_up_block(uint64_t bytes) { return (bytes + kHashBlockBytes - 1) / kHashBlockBytes * kHashBlockBytes; }

/// Gathers blocks of one or many files into extents, and tells each file where its blocks went.
class ExtentGatherer {
 public:
  explicit ExtentGatherer(PackWriter& writer) : writer_(writer), buffer_(kExtentBytes) {}

  /// Add blocks (`data`: whole blocks, of which `bytes` belong to the file). `keep_together`: better begin a new extent
  /// than let these blocks lie in two.
  Result<> add(PartRuns& part, const std::string& path, uint64_t file_offset, Bytes data, uint64_t bytes,
               bool keep_together) {
    if (keep_together && used_ + data.size() > kExtentBytes) TRY(flush());
    while (!data.empty()) {
      const size_t take = std::min<size_t>(kExtentBytes - used_, data.size());
      const uint64_t real = std::min<uint64_t>(take, bytes);
      if (take == kExtentBytes) {
        // A full extent needs no gathering.
        pieces_.push_back({path, file_offset, 0, static_cast<uint32_t>(real)});
        parts_.push_back(&part);
        TRY(append(data.first(take)));
      } else {
        std::memcpy(buffer_.data() + used_, data.data(), take);
        pieces_.push_back({path, file_offset, static_cast<uint32_t>(used_), static_cast<uint32_t>(real)});
        parts_.push_back(&part);
        used_ += take;
        if (used_ == kExtentBytes) TRY(flush());
      }
      file_offset += take;
      bytes -= real;
      data = data.subspan(take);
    }
    return {};
  }

  /// Write what is gathered. Afterwards no part given to add() is referred to any more.
  Result<> flush() {
    if (used_ == 0) return {};
    const size_t bytes = std::exchange(used_, 0);
    return append(Bytes(buffer_).first(bytes));
  }

 private:
  Result<> append(Bytes raw) {
    runs_.clear();
    for (const ExtentPiece& piece : pieces_) runs_.push_back({piece.file_offset, piece.bytes, 0, piece.extent_offset});
    TRY_ASSIGN(const ExtentRef extent, writer_.append(raw, std::exchange(pieces_, {})));
    for (size_t i = 0; i < runs_.size(); ++i) parts_[i]->add(extent, runs_[i]);
    parts_.clear();
    return {};
  }

  PackWriter& writer_;
  Buffer buffer_;
  size_t used_ = 0;
  std::vector<ExtentPiece> pieces_;  // Of the extent being gathered.
  std::vector<PartRuns*> parts_;     // Whose piece each one is.
  std::vector<Run> runs_;
};

/// What pages of one file are checked against.
struct PageContext {
  const File& file;
  const std::string& path;
  uint64_t first_block = 0;  // Of the file in its fork.
  size_t bad_count = 0;      // Found so far.
};

/// One thread's share: its pack, its results, its buffers.
class Worker {
 public:
  Worker(const CopyOptions& options, PackSet& packs, const InsertPosition& position, Clock& clock, Progress& progress)
      : options_(options),
        position_(position),
        clock_(clock),
        progress_(progress),
        writer_(packs, options.codec, options.level),
        gatherer_(writer_),
        buffer_(kReadBytes) {}

  Result<> copy(const BackupPlan& plan, std::vector<Part>& parts, const WorkItem& item, uint16_t index,
                const CancelToken& cancel) {
    if (batch_.size() < item.count) batch_.resize(item.count);
    for (uint32_t i = 0; i < item.count; ++i) {
      TRY(cancel.check());
      batch_[i].clear();
      Part& part = parts[item.first + i];
      const PlannedEntry& entry = plan.entries()[part.entry];
      const std::string path = plan.path(entry);
      TRY_CTX(copy_part(entry, part, path, batch_[i], cancel), "copy '" + path + "'");
    }
    TRY(gatherer_.flush());
    for (uint32_t i = 0; i < item.count; ++i) {
      Part& part = parts[item.first + i];
      if (part.state != PartState::kCopied) continue;
      part.worker = index;
      part.place = store_.put(batch_[i]);
      totals_.bad_page_count += batch_[i].bad_blocks.size();
    }
    return {};
  }

  Result<> add_whole(PartRuns& part, const std::string& path, Bytes content) {
    CHECK(content.size() % kHashBlockBytes == 0);
    part.bytes = content.size();
    TRY(gatherer_.add(part, path, 0, content, content.size(), true));
    TRY(gatherer_.flush());
    totals_.file_count += 1;
    totals_.logical_bytes += content.size();
    totals_.read_bytes += content.size();
    return {};
  }

  Result<> close() { return writer_.close(); }
  const PartStore& store() const { return store_; }
  const CopyTotals& totals() const { return totals_; }

 private:
  Result<> copy_part(const PlannedEntry& entry, Part& part, const std::string& path, PartRuns& runs,
                     const CancelToken& cancel) {
    auto opened = File::open(options_.data_directory + "/" + path, O_RDONLY);
    if (!opened.has_value()) {
      if (opened.error().code() == Errc::kPermission)
        return Error(std::move(opened).error()).with_hint("run pgark as the system user that owns the cluster");
      if (opened.error().code() != Errc::kNotFound || must_exist(path)) return Error(std::move(opened).error());
      part.state = PartState::kVanished;
      if (part.number == 0) ++totals_.vanished_count;
      log_debug("file '{}' vanished before it was copied", path);
      return {};
    }
    const bool split = part_count(entry.bytes) > 1;
    uint64_t size = entry.bytes;
    if (!split) {
      TRY_ASSIGN(const auto status, opened->stat());
      size = static_cast<uint64_t>(status.st_size);
    }
    const uint64_t begin = part.number * kCopyPartBytes;
    const uint64_t end = split ? std::min(size, begin + kCopyPartBytes) : size;
    TRY(copy_range(*opened, path, begin, end, runs, cancel));
    runs.bytes = size;
    part.state = PartState::kCopied;
    totals_.logical_bytes += end - begin;
    if (part.number == 0) {
      ++totals_.file_count;
      progress_.files_done.fetch_add(1, std::memory_order_relaxed);
    }
    return {};
  }

  Result<> copy_range(const File& file, const std::string& path, uint64_t begin, uint64_t end, PartRuns& runs,
                      const CancelToken& cancel) {
    const bool small = end - begin <= kSmallFileBytes;
    if (!small)
      ::posix_fadvise(file.fd(), static_cast<off_t>(begin), static_cast<off_t>(end - begin), POSIX_FADV_SEQUENTIAL);
    std::optional<PageContext> pages;
    if (options_.check_pages)
      if (const auto relation = pg::parse_relation_path(path); relation.has_value())
        pages.emplace(PageContext{file, path, relation->first_block(options_.relation_segment_blocks)});
    for (uint64_t offset = begin; offset < end;) {
      TRY(cancel.check());
      const uint64_t want = std::min<uint64_t>(kReadBytes, end - offset);
      if (offset + want < end)
        ::posix_fadvise(file.fd(), static_cast<off_t>(offset + want),
                        static_cast<off_t>(std::min(kReadAheadBytes, end - offset - want)), POSIX_FADV_WILLNEED);
      buffer_.resize(static_cast<size_t>(want));
      TRY_ASSIGN(const size_t got, file.pread(buffer_.bytes(), offset));
      buffer_.resize(static_cast<size_t>(round_up_block(got)));
      if (buffer_.size() > got) std::memset(buffer_.data() + got, 0, buffer_.size() - got);
      if (pages.has_value()) TRY(check_pages(*pages, offset, got, runs, cancel));
      TRY(gather(path, offset, got, small, runs));
      totals_.read_bytes += got;
      progress_.bytes_done.fetch_add(want, std::memory_order_relaxed);
      if (got < want) {
        // It was truncated: WAL replays that. What the plan counts on and is not there is zeros.
        ++totals_.shrunk_count;
        log_debug("file '{}' shrank to {} bytes while it was copied", path, offset + got);
        progress_.bytes_done.fetch_add(end - offset - want, std::memory_order_relaxed);
        break;
      }
      offset += want;
    }
    return {};
  }

  /// Hand the blocks in the buffer that are not zero to the gatherer. `bytes`: of the file; the rest is padding.
  Result<> gather(const std::string& path, uint64_t offset, uint64_t bytes, bool keep_together, PartRuns& runs) {
    const Bytes data = buffer_.bytes();
    for (size_t at = 0; at < data.size();) {
      if (pg::is_all_zero(data.subspan(at, kHashBlockBytes))) {
        at += kHashBlockBytes;
        continue;
      }
      size_t end = at + kHashBlockBytes;
      while (end < data.size() && !pg::is_all_zero(data.subspan(end, kHashBlockBytes))) end += kHashBlockBytes;
      TRY(gatherer_.add(runs, path, offset + at, data.subspan(at, end - at), std::min<uint64_t>(end, bytes) - at,
                        keep_together));
      at = end;
    }
    return {};
  }

  Result<> check_pages(PageContext& context, uint64_t offset, uint64_t bytes, PartRuns& runs,
                       const CancelToken& cancel) {
    suspects_.clear();
    const Lsn limit = position_.get();
    const size_t page_bytes = options_.page_bytes;
    for (size_t at = 0; at + page_bytes <= bytes; at += page_bytes)
      if (judge(context, offset, at, limit) == pg::PageState::kBad) suspects_.push_back(at);
    if (suspects_.empty()) return {};
    TRY(read_again(context, offset, cancel));
    for (const size_t at : suspects_) {
      const uint64_t block = (offset + at) / page_bytes;
      if (++context.bad_count == 1)
        log_warn("page checksum of block {} of file '{}' is wrong: recorded in the backup", block, context.path);
      else
        log_detail("page checksum of block {} of file '{}' is wrong", block, context.path);
      runs.bad_blocks.push_back(static_cast<uint32_t>((offset + at) / kHashBlockBytes));
    }
    return {};
  }

  pg::PageState judge(const PageContext& context, uint64_t offset, size_t at, Lsn limit) {
    const Bytes page = buffer_.bytes().subspan(at, options_.page_bytes);
    const uint64_t block = context.first_block + (offset + at) / options_.page_bytes;
    return pg::check_page(page, static_cast<uint32_t>(block), options_.start_lsn, limit);
  }

  /// Read suspect pages again: a read beside a write may be torn, and is whole the next time. Leaves in suspects_ those
  /// that stay bad.
  Result<> read_again(PageContext& context, uint64_t offset, const CancelToken& cancel) {
    const bool patient = context.bad_count < kPatientPagesMax;
    for (int attempt = 1; attempt <= (patient ? kPageRetries : 1) && !suspects_.empty(); ++attempt) {
      TRY(cancel.check());
      if (patient) clock_.sleep_for(kPageRetryPause * attempt);
      for (const size_t at : suspects_) {
        const MutableBytes page = buffer_.bytes().subspan(at, options_.page_bytes);
        TRY_ASSIGN(const size_t got, context.file.pread(page, offset + at));
        std::memset(page.data() + got, 0, page.size() - got);
      }
      const Lsn limit = position_.get();
      std::erase_if(suspects_, [&](size_t at) { return judge(context, offset, at, limit) != pg::PageState::kBad; });
    }
    if (suspects_.empty() || !patient) return {};
    // An LSN beyond the position known now may be right if the server has moved on: ask for one taken after the read.
    await_position(cancel);
    const Lsn limit = position_.get();
    std::erase_if(suspects_, [&](size_t at) { return judge(context, offset, at, limit) != pg::PageState::kBad; });
    return {};
  }

  /// Wait until the insert position was asked for anew: the first answer to come may have been on its way already.
  void await_position(const CancelToken& cancel) {
    const uint64_t wanted = position_.generation() + 2;
    const auto deadline = clock_.steady() + kPositionWaitMax;
    while (position_.generation() < wanted && clock_.steady() < deadline && !cancel.cancelled())
      clock_.sleep_for(kPositionPoll);
  }

  const CopyOptions& options_;
  const InsertPosition& position_;
  Clock& clock_;
  Progress& progress_;
  PackWriter writer_;
  ExtentGatherer gatherer_;
  PartStore store_;
  Buffer buffer_;
  std::vector<PartRuns> batch_;
  std::vector<size_t> suspects_;
  CopyTotals totals_;
};

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
  State(const BackupPlan& backup_plan, CopyOptions copy_options, PackSet& packs, const InsertPosition& position,
        Clock& clock, Progress& progress_shown)
      : plan(backup_plan), options(std::move(copy_options)), progress(progress_shown) {
    for (unsigned i = 0; i < std::max(1u, options.workers); ++i)
      workers.push_back(std::make_unique<Worker>(options, packs, position, clock, progress));
  }

  /// Cut the plan into parts and the parts into work items, the largest first.
  void plan_work() {
    const auto& entries = plan.entries();
    size_t total = 0;
    for (const PlannedEntry& entry : entries)
      if (entry.kind == EntryKind::kFile) total += part_count(entry.bytes);
    parts.reserve(total);
    std::vector<WorkItem> small;
    for (uint32_t index = 0; index < entries.size(); ++index) {
      const PlannedEntry& entry = entries[index];
      if (entry.kind != EntryKind::kFile) continue;
      if (is_control(plan.path(entry))) {
        control = index;
        continue;
      }
      const auto first = static_cast<uint32_t>(parts.size());
      const auto count = static_cast<uint32_t>(part_count(entry.bytes));
      for (uint32_t number = 0; number < count; ++number) parts.push_back({0, index, number, 0, PartState::kPlanned});
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
    progress.bytes_total = plan.bytes();
    progress.files_total = plan.file_count();
  }

  Result<> run_worker(uint16_t index, const CancelToken& cancel) {
    for (;;) {
      const size_t item = next_item.fetch_add(1, std::memory_order_relaxed);
      if (item >= items.size()) return {};
      TRY(workers[index]->copy(plan, parts, items[item], index, cancel));
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
  const CopyOptions options;
  Progress& progress;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<Part> parts;  // In the order of the plan.
  std::vector<WorkItem> items;
  std::atomic<size_t> next_item = 0;
  std::optional<uint32_t> control;
  PartRuns control_runs;
  CopyTotals totals;
};

BackupCopier::BackupCopier(const BackupPlan& plan, CopyOptions options, PackSet& packs, const InsertPosition& position,
                           Clock& clock, Progress& progress)
    : state_(std::make_unique<State>(plan, std::move(options), packs, position, clock, progress)) {
  state_->plan_work();
}

BackupCopier::~BackupCopier() = default;

Result<> BackupCopier::copy_files(const CancelToken& cancel, const std::function<Result<>()>& while_waiting) {
  State& s = *state_;
  RunningCount running(s.workers.size());
  TaskGroup group(&cancel);
  for (uint16_t i = 0; i < s.workers.size(); ++i)
    group.spawn([&s, &running, &group, i] {
      auto result = s.run_worker(i, group.cancel());
      if (!result.has_value()) group.cancel().cancel();
      running.one_done();
      return result;
    });
  std::optional<Error> failure;
  while (!running.wait()) {
    if (failure.has_value()) continue;
    if (auto polled = while_waiting(); !polled.has_value()) {
      failure = std::move(polled).error();
      group.cancel().cancel();
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
    const CopyTotals& one = worker->totals();
    s.totals.file_count += one.file_count;
    s.totals.logical_bytes += one.logical_bytes;
    s.totals.read_bytes += one.read_bytes;
    s.totals.vanished_count += one.vanished_count;
    s.totals.shrunk_count += one.shrunk_count;
    s.totals.bad_page_count += one.bad_page_count;
  }
  return {};
}

Result<> BackupCopier::for_each_entry(
    const std::function<Result<>(const FileEntry&, const std::vector<ExtentRef>&)>& each) const {
  const State& s = *state_;
  const auto& entries = s.plan.entries();
  static const std::vector<ExtentRef> kNoExtents;
  PartRuns runs;
  std::vector<std::pair<uint64_t, uint32_t>> by_extent;  // Key and first part.
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
                        [](const Part& p) { return p.state != PartState::kCopied; });
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
    TRY(each(file, runs.extents));
  }
  FileEntry control = entry_of(s.plan, entries[s.control.value()]);
  control.bytes = s.control_runs.bytes;
  control.runs = s.control_runs.runs;
  return each(control, s.control_runs.extents);
}

const CopyTotals& BackupCopier::totals() const { return state_->totals; }

}  // namespace pgark
