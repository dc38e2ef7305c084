// Reading, page checks, comparison and extents of one worker. What workers share is the list of work and the plan.
#include "ops/backup_worker.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/log.h"
#include "core/page_cache.h"
#include "pg/control.h"
#include "pg/page.h"
#include "pg/relation_path.h"

namespace pgark {
namespace {

constexpr size_t kReadBytes = 512u << 10;
constexpr uint64_t kReadAheadBytes = 2u << 20;
constexpr int kPageRetries = 5;
constexpr std::chrono::milliseconds kPageRetryPause{20};
// A file this bad is not torn by our reading: further pages of it are read again once, without waiting.
constexpr size_t kPatientPagesMax = 32;
constexpr std::chrono::seconds kPositionWaitMax{3};
constexpr std::chrono::milliseconds kPositionPoll{10};
// Changed blocks asked of the disk ahead of their reading.
constexpr ptrdiff_t kRangesAhead = 32;

/// Files that every running cluster has: their absence is no drop that WAL would replay.
bool must_exist(std::string_view path) { return path == "PG_VERSION" || path == "global/pg_filenode.map"; }

uint64_t round_up_block(uint64_t bytes) { return (bytes + kHashBlockBytes - 1) / kHashBlockBytes * kHashBlockBytes; }

/// Gathers blocks of one or many files into extents, and tells each file where its blocks went.
class ExtentGatherer {
 public:
  ExtentGatherer(PackWriter& writer, uint32_t first_pack)
      : writer_(writer), first_pack_(first_pack), buffer_(kExtentBytes) {}

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
    TRY_ASSIGN(ExtentRef extent, writer_.append(raw, pieces_));
    pieces_.clear();
    extent.pack += first_pack_;
    for (size_t i = 0; i < runs_.size(); ++i) parts_[i]->add(extent, runs_[i]);
    parts_.clear();
    return {};
  }

  PackWriter& writer_;
  const uint32_t first_pack_;  // Index of our first pack: those of other backups come before.
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

/// The blocks of one file in the prior, found one after the other.
class PriorBlocks {
 public:
  PriorBlocks(const PriorFile& file, BlockHashes& hashes, std::set<uint32_t>& unreadable)
      : file_(file), hashes_(hashes), unreadable_(unreadable) {}

  struct Found {
    ExtentRef extent;
    uint32_t extent_offset = 0;
  };
  /// Where the block at `offset` lies; offsets ascend. None if it was zero, or not there.
  std::optional<Found> find(uint64_t offset) {
    const std::vector<Run>& runs = file_.entry->runs;
    while (next_ < runs.size() && runs[next_].file_offset + runs[next_].bytes <= offset) ++next_;
    if (next_ == runs.size() || runs[next_].file_offset > offset) return std::nullopt;
    const Run& run = runs[next_];
    return Found{(*file_.extents)[run.extent], run.extent_offset + static_cast<uint32_t>(offset - run.file_offset)};
  }

  /// Whether the stored block has this hash. A pack whose list cannot be read holds nothing that could be referred to.
  Result<bool> holds(const Found& found, uint64_t hash) {
    if (!hashed_ || *hashed_ != found.extent) {
      hashed_ = found.extent;
      if (auto asked = hashes_.of(found.extent, list_); !asked.has_value()) {
        if (asked.error().code() != Errc::kCorrupt && asked.error().code() != Errc::kNotFound) return asked.error();
        if (unreadable_.insert(found.extent.pack).second)
          log_warn("{}: what it holds is stored again", asked.error().to_string());
        list_.clear();
      }
    }
    const size_t block = found.extent_offset / kHashBlockBytes;
    return block < list_.size() && list_[block] == hash;
  }

 private:
  const PriorFile& file_;
  BlockHashes& hashes_;
  std::set<uint32_t>& unreadable_;  // Packs that were complained about.
  size_t next_ = 0;
  std::optional<ExtentRef> hashed_;
  std::vector<uint64_t> list_;
};

/// What is read, and what of it may be stored already.
struct Source {
  const File& file;
  const std::string& path;
  CachePass& cache;
  bool keep_together = false;        // Small: better in one extent.
  const PriorFile* prior = nullptr;  // To be compared with; null: nothing is.
  PriorBlocks* older = nullptr;      // Its blocks; with `prior`.
};

}  // namespace

uint64_t part_count(uint64_t bytes) { return std::max<uint64_t>(1, (bytes + kCopyPartBytes - 1) / kCopyPartBytes); }

struct CopyWorker::State {
  State(const BackupCopyOptions& copy_options, PackSet& packs, const InsertPosition& insert_position, Clock& the_clock,
        Progress& shown)
      : options(copy_options),
        position(insert_position),
        clock(the_clock),
        progress(shown),
        writer(packs, copy_options.codec, copy_options.level),
        gatherer(writer, static_cast<uint32_t>(copy_options.older_packs.size())),
        buffer(kReadBytes),
        used_packs(copy_options.older_packs.size(), false) {}

  Result<> copy(const BackupPlan& plan, std::vector<BackupPart>& parts, const std::vector<PartTask>& tasks,
                uint16_t index, const CancelToken& cancel) {
    if (batch.size() < tasks.size()) batch.resize(tasks.size());
    for (size_t i = 0; i < tasks.size(); ++i) {
      TRY(cancel.check());
      batch[i].clear();
      BackupPart& part = parts[tasks[i].part];
      const PlannedEntry& entry = plan.entries()[part.entry];
      const std::string path = plan.path(entry);
      TRY_CTX(copy_part(entry, part, tasks[i].prior, path, batch[i], cancel), "copy '" + path + "'");
    }
    TRY(gatherer.flush());
    for (size_t i = 0; i < tasks.size(); ++i) {
      BackupPart& part = parts[tasks[i].part];
      if (part.state != PartState::kCopied) continue;
      part.worker = index;
      batch[i].sort();
      for (const ExtentRef& extent : batch[i].extents)
        if (extent.pack < used_packs.size()) used_packs[extent.pack] = true;
      part.place = store.put(batch[i]);
      totals.bad_page_count += batch[i].bad_blocks.size();
    }
    return {};
  }

  Result<> add_whole(PartRuns& part, const std::string& path, Bytes content) {
    CHECK(content.size() % kHashBlockBytes == 0);
    part.bytes = content.size();
    TRY(gatherer.add(part, path, 0, content, content.size(), true));
    TRY(gatherer.flush());
    totals.file_count += 1;
    totals.logical_bytes += content.size();
    totals.read_bytes += content.size();
    return {};
  }

  /// Where a part ends in its file; `size` is the file's.
  void copied(const PlannedEntry& entry, BackupPart& part, PartRuns& runs, uint64_t size) {
    const uint64_t begin = part.number * kCopyPartBytes;
    const uint64_t end = part_count(entry.bytes) > 1 ? std::min(size, begin + kCopyPartBytes) : size;
    runs.bytes = size;
    part.state = PartState::kCopied;
    totals.logical_bytes += end - std::min(begin, end);
    if (part.number == 0) {
      ++totals.file_count;
      progress.files_done.fetch_add(1, std::memory_order_relaxed);
    }
  }

  Result<> copy_part(const PlannedEntry& entry, BackupPart& part, const PriorFile* prior, const std::string& path,
                     PartRuns& runs, const CancelToken& cancel) {
    const uint64_t begin = part.number * kCopyPartBytes;
    if (prior != nullptr && prior->work.mode == CopyMode::kReference) {
      refer(*prior, begin, std::min(entry.bytes, begin + kCopyPartBytes), runs);
      copied(entry, part, runs, entry.bytes);
      return {};
    }
    auto opened = File::open(options.data_directory + "/" + path, O_RDONLY);
    if (!opened.has_value()) {
      if (opened.error().code() == Errc::kPermission)
        return Error(std::move(opened).error()).with_hint("run pgark as the system user that owns the cluster");
      if (opened.error().code() != Errc::kNotFound || must_exist(path)) return Error(std::move(opened).error());
      part.state = PartState::kVanished;
      if (part.number == 0) ++totals.vanished_count;
      log_debug("file '{}' vanished before it was copied", path);
      return {};
    }
    if (prior != nullptr && prior->work.mode == CopyMode::kBlocks) {
      // Of the size it had when the changes were looked up: what it grew by since then is in WAL.
      TRY(copy_ranges(*opened, path, begin, std::min(entry.bytes, begin + kCopyPartBytes), *prior, runs, cancel));
      copied(entry, part, runs, entry.bytes);
      return {};
    }
    const bool split = part_count(entry.bytes) > 1;
    uint64_t size = entry.bytes;
    if (!split) {
      TRY_ASSIGN(const auto status, opened->stat());
      size = static_cast<uint64_t>(status.st_size);
    }
    const uint64_t end = split ? std::min(size, begin + kCopyPartBytes) : size;
    TRY(copy_whole(*opened, path, begin, end, prior, runs, cancel));
    copied(entry, part, runs, size);
    return {};
  }

  /// Take what no range covers from the prior.
  void refer(const PriorFile& prior, uint64_t begin, uint64_t end, PartRuns& runs) {
    for_each_kept(prior.entry->runs, begin, end, prior.work.ranges, [&](const Run& run) {
      runs.add((*prior.extents)[run.extent], run);
      totals.referenced_bytes += run.bytes;
    });
  }

  /// What was known of bad pages, where nobody looks at pages now.
  void remember_bad_blocks(const PriorFile& prior, uint64_t begin, uint64_t end, PartRuns& runs) {
    if (options.check_pages) return;
    for (const uint32_t block : prior.entry->bad_blocks)
      if (block * kHashBlockBytes >= begin && block * kHashBlockBytes < end) runs.bad_blocks.push_back(block);
  }

  std::optional<PageContext> page_context(const File& file, const std::string& path) const {
    if (!options.check_pages) return std::nullopt;
    const auto relation = pg::parse_relation_path(path);
    if (!relation.has_value()) return std::nullopt;
    return PageContext{file, path, relation->first_block(options.relation_segment_blocks)};
  }

  /// Read into the buffer, with zeros up to the next block; the count read.
  Result<size_t> fill(const File& file, uint64_t offset, uint64_t bytes) {
    buffer.resize(static_cast<size_t>(bytes));
    TRY_ASSIGN(const size_t got, file.pread(buffer.bytes(), offset));
    buffer.resize(static_cast<size_t>(round_up_block(got)));
    if (buffer.size() > got) std::memset(buffer.data() + got, 0, buffer.size() - got);
    totals.read_bytes += got;
    return got;
  }

  void shrank(const std::string& path, uint64_t to) {
    ++totals.shrunk_count;
    log_debug("file '{}' shrank to {} bytes while it was copied", path, to);
  }

  /// Copy the ranges, and take the rest from the prior.
  Result<> copy_ranges(const File& file, const std::string& path, uint64_t begin, uint64_t end, const PriorFile& prior,
                       PartRuns& runs, const CancelToken& cancel) {
    refer(prior, begin, end, runs);
    remember_bad_blocks(prior, begin, end, runs);
    auto pages = page_context(file, path);
    const auto& ranges = prior.work.ranges;
    auto range = std::partition_point(ranges.begin(), ranges.end(),
                                      [&](const BlockRange& r) { return r.end * kHashBlockBytes <= begin; });
    auto ahead = range;
    CachePass cache(file);
    for (; range != ranges.end() && range->begin * kHashBlockBytes < end; ++range) {
      // Random reads one at a time leave a disk idle: tell it early what comes. A long range does so by itself.
      for (ahead = std::max(ahead, range); ahead != ranges.end() && ahead - range < kRangesAhead; ++ahead) {
        const uint64_t from = std::max(begin, ahead->begin * kHashBlockBytes);
        const uint64_t to = std::min(end, ahead->end * kHashBlockBytes);
        if (from >= to || to - from > kReadAheadBytes) break;
        cache.announce(from, to);
      }
      const uint64_t from = std::max(begin, range->begin * kHashBlockBytes);
      const uint64_t to = std::min(end, range->end * kHashBlockBytes);
      TRY(copy_stretch({file, path, cache, false, nullptr, nullptr}, from, to, pages, runs, cancel));
    }
    return {};
  }

  Result<> copy_whole(const File& file, const std::string& path, uint64_t begin, uint64_t end, const PriorFile* prior,
                      PartRuns& runs, const CancelToken& cancel) {
    const bool small = end - std::min(begin, end) <= kSmallFileBytes;
    // The kernel's own reading ahead would come before the question what is in memory; ours goes far enough.
    if (!small)
      ::posix_fadvise(file.fd(), static_cast<off_t>(begin), static_cast<off_t>(end - begin), POSIX_FADV_RANDOM);
    CachePass cache(file);
    auto pages = page_context(file, path);
    std::optional<PriorBlocks> older;
    if (prior != nullptr) {
      older.emplace(*prior, options.prior->hashes, unreadable_packs);
      remember_bad_blocks(*prior, begin, end, runs);
    }
    return copy_stretch({file, path, cache, small, prior, older ? &*older : nullptr}, begin, end, pages, runs, cancel);
  }

  /// Read and settle the blocks of a file from `begin` to `end`.
  Result<> copy_stretch(const Source& source, uint64_t begin, uint64_t end, std::optional<PageContext>& pages,
                        PartRuns& runs, const CancelToken& cancel) {
    for (uint64_t offset = begin; offset < end;) {
      TRY(cancel.check());
      const uint64_t want = std::min<uint64_t>(kReadBytes, end - offset);
      // In large steps, and not at all for what is read at once.
      const uint64_t ahead = (offset + want) / kReadAheadBytes * kReadAheadBytes + 2 * kReadAheadBytes;
      source.cache.announce(offset, std::min(end, ahead), offset + want < end);
      if (options.read_limiter != nullptr) TRY(options.read_limiter->take(want, &cancel));
      TRY_ASSIGN(const size_t got, fill(source.file, offset, want));
      if (pages.has_value()) TRY(check_pages(*pages, offset, got, runs, cancel));
      TRY(gather(source, offset, got, runs));
      source.cache.passed(offset + got);
      progress.bytes_done.fetch_add(want, std::memory_order_relaxed);
      if (got < want) {
        // It was truncated: WAL replays that. What the plan counts on and is not there is zeros.
        shrank(source.path, offset + got);
        progress.bytes_done.fetch_add(end - offset - want, std::memory_order_relaxed);
        break;
      }
      offset += want;
    }
    return {};
  }

  /// Where the block at hand lies already; none: it has to be stored.
  Result<std::optional<HeldBlock>> find_stored(const Source& source, uint64_t offset, Bytes block) {
    std::optional<uint64_t> hash;
    if (source.older != nullptr) {
      if (const auto found = source.older->find(offset); found.has_value()) {
        bool same = false;
        if (source.prior->work.mode == CopyMode::kNewer) {
          same = unchanged_by_lsn(*source.prior, offset, block);
        } else {
          hash = block_hash(block);
          TRY_ASSIGN(same, source.older->holds(*found, *hash));
        }
        if (same) {
          totals.referenced_bytes += block.size();
          return std::optional(HeldBlock{found->extent, found->extent_offset});
        }
      }
    }
    if (!options.find_held) return std::optional<HeldBlock>{};
    if (!hash) hash = block_hash(block);
    auto held = options.find_held(source.path, offset, *hash);
    if (held) totals.reused_bytes += block.size();
    return held;
  }

  bool unchanged_by_lsn(const PriorFile& prior, uint64_t offset, Bytes block) const {
    const auto& ranges = prior.work.ranges;
    const auto range = std::partition_point(ranges.begin(), ranges.end(),
                                            [&](const BlockRange& r) { return r.end * kHashBlockBytes <= offset; });
    if (range != ranges.end() && range->begin * kHashBlockBytes <= offset) return false;
    return pg::decode_page_header(block).lsn <= options.prior->backup.start_lsn;
  }

  /// Settle every block in the buffer: zeros are left out, what lies somewhere already is referred to, the rest goes to
  /// the gatherer. `bytes`: of the file; what is beyond is padding.
  Result<> gather(const Source& source, uint64_t offset, uint64_t bytes, PartRuns& runs) {
    const Bytes data = buffer.bytes();
    const bool look = source.older != nullptr || options.find_held;
    size_t begin = 0;  // Of the stretch to be stored that ends at `at`.
    const auto store_until = [&](size_t at) -> Result<> {
      if (begin == at) return {};
      return gatherer.add(runs, source.path, offset + begin, data.subspan(begin, at - begin),
                          std::min<uint64_t>(at, bytes) - begin, source.keep_together);
    };
    for (size_t at = 0; at < data.size(); at += kHashBlockBytes) {
      const Bytes block = data.subspan(at, kHashBlockBytes);
      std::optional<HeldBlock> held;
      const bool zero = pg::is_all_zero(block);
      if (!zero && look) {
        TRY_ASSIGN(held, find_stored(source, offset + at, block));
      }
      if (!zero && !held) continue;
      TRY(store_until(at));
      begin = at + kHashBlockBytes;
      if (held)
        runs.add(held->extent, {offset + at, std::min<uint64_t>(kHashBlockBytes, bytes - at), 0, held->extent_offset});
    }
    return store_until(data.size());
  }

  Result<> check_pages(PageContext& context, uint64_t offset, uint64_t bytes, PartRuns& runs,
                       const CancelToken& cancel) {
    suspects.clear();
    const Lsn limit = position.get();
    const size_t page_bytes = options.page_bytes;
    for (size_t at = 0; at + page_bytes <= bytes; at += page_bytes)
      if (judge(context, offset, at, limit) == pg::PageState::kBad) suspects.push_back(at);
    if (suspects.empty()) return {};
    TRY(read_again(context, offset, cancel));
    for (const size_t at : suspects) {
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
    const Bytes page = buffer.bytes().subspan(at, options.page_bytes);
    const uint64_t block = context.first_block + (offset + at) / options.page_bytes;
    return pg::check_page(page, static_cast<uint32_t>(block), options.start_lsn, limit);
  }

  /// Read suspect pages again: a read beside a write may be torn, and is whole the next time. Leaves in suspects those
  /// that stay bad.
  Result<> read_again(PageContext& context, uint64_t offset, const CancelToken& cancel) {
    const bool patient = context.bad_count < kPatientPagesMax;
    for (int attempt = 1; attempt <= (patient ? kPageRetries : 1) && !suspects.empty(); ++attempt) {
      TRY(cancel.check());
      if (patient) clock.sleep_for(kPageRetryPause * attempt);
      for (const size_t at : suspects) {
        const MutableBytes page = buffer.bytes().subspan(at, options.page_bytes);
        TRY_ASSIGN(const size_t got, context.file.pread(page, offset + at));
        std::memset(page.data() + got, 0, page.size() - got);
      }
      const Lsn limit = position.get();
      std::erase_if(suspects, [&](size_t at) { return judge(context, offset, at, limit) != pg::PageState::kBad; });
    }
    if (suspects.empty() || !patient) return {};
    // An LSN beyond the position known now may be right if the server has moved on: ask for one taken after the read.
    await_position(cancel);
    const Lsn limit = position.get();
    std::erase_if(suspects, [&](size_t at) { return judge(context, offset, at, limit) != pg::PageState::kBad; });
    return {};
  }

  /// Wait until the insert position was asked for anew: the first answer to come may have been on its way already.
  void await_position(const CancelToken& cancel) {
    const uint64_t wanted = position.generation() + 2;
    const auto deadline = clock.steady() + kPositionWaitMax;
    while (position.generation() < wanted && clock.steady() < deadline && !cancel.cancelled())
      clock.sleep_for(kPositionPoll);
  }

  const BackupCopyOptions& options;
  const InsertPosition& position;
  Clock& clock;
  Progress& progress;
  PackWriter writer;
  ExtentGatherer gatherer;
  PartStore store;
  Buffer buffer;
  std::vector<PartRuns> batch;
  std::vector<size_t> suspects;
  std::vector<bool> used_packs;
  std::set<uint32_t> unreadable_packs;
  BackupCopyTotals totals;
};

CopyWorker::CopyWorker(const BackupCopyOptions& options, PackSet& packs, const InsertPosition& position, Clock& clock,
                       Progress& progress)
    : state_(std::make_unique<State>(options, packs, position, clock, progress)) {}
CopyWorker::~CopyWorker() = default;

Result<> CopyWorker::copy(const BackupPlan& plan, std::vector<BackupPart>& parts, const std::vector<PartTask>& tasks,
                          uint16_t index, const CancelToken& cancel) {
  return state_->copy(plan, parts, tasks, index, cancel);
}
Result<> CopyWorker::add_whole(PartRuns& part, const std::string& path, Bytes content) {
  return state_->add_whole(part, path, content);
}
Result<> CopyWorker::close() { return state_->writer.close(); }
const PartStore& CopyWorker::store() const { return state_->store; }
const BackupCopyTotals& CopyWorker::totals() const { return state_->totals; }
const std::vector<bool>& CopyWorker::used_packs() const { return state_->used_packs; }

}  // namespace pgark
