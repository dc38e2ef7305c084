// The comparison of a delta restore. One thread cuts the files of the manifest into tasks of a few MiB; workers read
// them from disk in order, hash, and fetch and write the blocks that differ.
#include "ops/restore_delta.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <set>

#include "codec/hash.h"
#include "ops/restore_pieces.h"
#include "ops/restore_tasks.h"
#include "pg/control.h"

namespace pgark {
namespace {

// Read at once; a multiple of kHashBlockBytes.
constexpr uint64_t kReadBytes = 512u << 10;
// Of a file, or of several, that one worker compares before it fetches: enough for reads of neighbours to be joined.
constexpr uint64_t kTaskBytes = 8u << 20;

uint64_t hash_of_name(std::string_view name) { return seeded_hash(as_bytes(name), 0); }

/// A file of a chunk while it is mended, by several workers as it happens.
struct FilePart {
  Mutex mu;
  File file GUARDED_BY(mu);
  uint64_t old_bytes GUARDED_BY(mu) = 0;  // Of its content, what was there before.
  uint32_t slices_left GUARDED_BY(mu) = 0;
  bool changed GUARDED_BY(mu) = false;
};

/// A stretch of a file that one worker compares.
struct Slice {
  uint32_t file = 0;
  uint64_t begin = 0;  // A multiple of kHashBlockBytes.
  uint64_t end = 0;
  bool hole = false;  // The whole file, and all of it is zeros.
};

/// What one worker compares before it fetches.
using Batch = std::vector<Slice>;

struct DeltaWork {
  FileChunk chunk;
  std::vector<FilePart> parts;  // One for each file.
  std::vector<Batch> batches;   // In the order of the files.
  // Of the batches: workers that are far from each other read different files, each from its beginning to its end,
  // which is what the kernel reads ahead.
  WorkShares shares;
  size_t memory_bytes = 0;
};

struct DeltaTask {
  std::shared_ptr<DeltaWork> work;  // Shared by the tasks of a chunk: the last one frees it.
  size_t share = 0;
};

/// Bytes of a file that are to become zeros.
struct ZeroRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// What one worker needs.
struct DeltaBuffers {
  FetchBuffers fetch;
  Buffer read{kReadBytes};
  std::vector<uint64_t> hashes;
  std::optional<uint32_t> hashed_extent;  // Whose hashes `hashes` holds.
  std::vector<Piece> pieces;
  std::vector<ZeroRange> zeros;
};

/// Compares the bytes with themselves, one further: as fast as memory allows.
bool is_zero(Bytes bytes) {
  return bytes.empty() ||
         (bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Have the kernel begin to read, and go on without waiting for it.
void ask_ahead(const File& file, uint64_t begin, uint64_t end) {
  (void)::posix_fadvise(file.fd(), static_cast<off_t>(begin), static_cast<off_t>(end - begin), POSIX_FADV_WILLNEED);
}

std::vector<DeltaTask> make_tasks(FileChunk chunk, size_t workers, const FileMaker& maker, const DeltaIndex& index) {
  auto work = std::make_shared<DeltaWork>();
  work->parts = std::vector<FilePart>(chunk.files.size());
  Batch slices;
  uint64_t bytes = 0;
  const auto push = [&] {
    if (!slices.empty()) work->batches.push_back(std::exchange(slices, {}));
    bytes = 0;
  };
  for (uint32_t i = 0; i < chunk.files.size(); ++i) {
    const FileEntry& file = chunk.files[i];
    work->memory_bytes += sizeof(FileEntry) + sizeof(FilePart) + file.path.size() + file.runs.size() * sizeof(Run);
    if (!maker.wanted(file)) continue;
    const DeltaIndex::Stretch stretch = index.stretch_of(file);
    const bool hole = stretch.whole && file.runs.empty();
    uint32_t count = 0;
    for (uint64_t begin = stretch.begin; begin < stretch.end || count == 0; ++count) {
      const uint64_t end = hole ? begin : std::min(stretch.end, begin + kTaskBytes - bytes);
      slices.push_back({i, begin, end, hole});
      // A file's next slice begins at a block.
      bytes += (end - begin + kHashBlockBytes - 1) / kHashBlockBytes * kHashBlockBytes;
      if (bytes >= kTaskBytes || slices.size() == kFilesPerTask) push();
      if (hole) break;
      begin = end;
    }
    FilePart& part = work->parts[i];
    const MutexLock lock(part.mu);
    part.slices_left = hole ? 1 : count;
  }
  push();
  work->memory_bytes += chunk.extents.size() * sizeof(ExtentRef);
  work->chunk = std::move(chunk);
  const size_t share_count = std::min(work->batches.size(), workers);
  work->shares.share_out(work->batches.size(), share_count);
  std::vector<DeltaTask> tasks;
  for (size_t i = 0; i < share_count; ++i) tasks.push_back({work, i});
  return tasks;
}

class Mender {
 public:
  Mender(ExtentSource& source, const RestorePlan& plan, const DeltaIndex& index, const DeltaOptions& options,
         OwnerTable& owners, Progress& progress)
      : plan_(plan),
        index_(index),
        options_(options),
        shape_(read_shape(source.first().store())),
        slots_(std::max(options.copy.workers, 1u)),
        source_(source),
        fetcher_(source, plan),
        maker_(plan, options.copy.sync_files, owners),
        progress_(progress) {}

  Result<DeltaTotals> run(const ManifestReader& manifest, const CancelToken& cancel) {
    TRY(maker_.open_root());
    TRY((run_tasks<DeltaTask>(
        worker_count(), kQueuedBytesMax, cancel,
        [&](BoundedQueue<DeltaTask>& queue, const CancelToken& stop) { return produce(manifest, queue, stop); },
        [&](BoundedQueue<DeltaTask>& queue, const CancelToken& stop) { return work(queue, stop); })));
    DeltaTotals totals;
    totals.copy = {source_.fetched_bytes(), written_.load()};
    totals.compared_bytes = compared_;
    totals.matched_bytes = matched_;
    const MutexLock lock(mu_);
    totals.changed_file_count = changed_files_ + changed_split_files_.size();
    return totals;
  }

 private:
  Result<> produce(const ManifestReader& manifest, BoundedQueue<DeltaTask>& queue, const CancelToken& cancel) {
    for (size_t i = 0; i < manifest.chunk_count(); ++i) {
      TRY(cancel.check());
      TRY_ASSIGN_CTX(FileChunk chunk, restored_chunk(manifest, plan_, i),
                     "read manifest of backup " + plan_.backup.label);
      auto tasks = make_tasks(std::move(chunk), worker_count(), maker_, index_);
      const size_t cost = tasks.empty() ? 0 : tasks.front().work->memory_bytes / tasks.size() + 1;
      for (DeltaTask& task : tasks)
        if (!queue.push(std::move(task), cost)) return stopped_by_another_task();
    }
    return {};
  }

  Result<> work(BoundedQueue<DeltaTask>& queue, const CancelToken& cancel) {
    DeltaBuffers buffers;
    WorkSlots* const slots = shape_.waiting_max > 0 ? &slots_ : nullptr;
    buffers.fetch.slots = slots;
    while (auto task = queue.pop())
      while (const auto batch = task->work->shares.take(task->share))
        TRY(mend_batch(*task->work, task->work->batches[*batch], buffers, cancel));
    return {};
  }

  Result<> mend_batch(DeltaWork& work, const Batch& batch, DeltaBuffers& buffers, const CancelToken& cancel) {
    buffers.hashed_extent.reset();  // Indexes of another chunk mean other extents.
    buffers.pieces.clear();
    for (const Slice& slice : batch) TRY(open_slice(work, slice));
    for (const Slice& slice : batch) {
      TRY(cancel.check());
      const WorkSlot slot(buffers.fetch.slots);
      TRY(compare_slice(work, slice, buffers));
    }
    TRY(fetch(work, buffers, cancel));
    for (const Slice& slice : batch) TRY(finish_slice(work, slice));
    return {};
  }

  unsigned worker_count() const { return std::max(options_.copy.workers, 1u) + shape_.waiting_max; }

  /// Small files are asked for together: the disk answers all of them in the time of one.
  Result<> open_slice(DeltaWork& work, const Slice& slice) {
    FilePart& part = work.parts[slice.file];
    const MutexLock lock(part.mu);
    if (!part.file.is_open()) TRY(open_part(work.chunk.files[slice.file], slice.hole, part));
    if (slice.end - slice.begin < kReadBytes && slice.begin < part.old_bytes)
      ask_ahead(part.file, slice.begin, slice.end);
    return {};
  }

  Result<> compare_slice(DeltaWork& work, const Slice& slice, DeltaBuffers& buffers) {
    FilePart& part = work.parts[slice.file];
    const File* file = nullptr;
    uint64_t old_bytes = 0;
    {
      const MutexLock lock(part.mu);
      file = &part.file;  // Stays open until its last slice is finished.
      old_bytes = part.old_bytes;
    }
    const size_t pieces_before = buffers.pieces.size();
    buffers.zeros.clear();
    TRY(compare(work.chunk, slice, *file, old_bytes, buffers));
    for (const ZeroRange& zeros : buffers.zeros) TRY(write_zeros(*file, zeros));
    if (buffers.pieces.size() == pieces_before && buffers.zeros.empty()) return {};
    const MutexLock lock(part.mu);
    part.changed = true;
    return {};
  }

  /// Open a file and give it its size. What is cut off, and what is added as a hole, need not be looked at.
  Result<> open_part(const FileEntry& entry, bool hole, FilePart& part) REQUIRES(part.mu) {
    TRY_ASSIGN(FileMaker::Opened opened, maker_.open_existing(entry));
    part.file = std::move(opened.file);
    TRY_ASSIGN(const struct stat status, part.file.stat());
    const auto bytes = static_cast<uint64_t>(status.st_size);
    part.changed = opened.created || bytes != entry.bytes;
    if (hole) {
      part.changed = part.changed || status.st_blocks != 0;
      if (!part.changed) return {};
      TRY(part.file.truncate(0));
      return part.file.truncate(entry.bytes);
    }
    part.old_bytes = std::min(bytes, entry.bytes);
    if (bytes != entry.bytes) TRY(part.file.truncate(entry.bytes));
    if (options_.distrust_cache) ::posix_fadvise(part.file.fd(), 0, 0, POSIX_FADV_DONTNEED);
    ::posix_fadvise(part.file.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
    return {};
  }

  /// Find the pieces and zeros that a slice of a file lacks.
  Result<> compare(const FileChunk& chunk, const Slice& slice, const File& file, uint64_t old_bytes,
                   DeltaBuffers& buffers) {
    const FileEntry& entry = chunk.files[slice.file];
    auto run = std::partition_point(entry.runs.begin(), entry.runs.end(),
                                    [&](const Run& r) { return r.file_offset + r.bytes <= slice.begin; });
    uint64_t at = slice.begin;
    while (at < slice.end && at < old_bytes) {
      const uint64_t want = std::min(kReadBytes, slice.end - at);
      const size_t padded = static_cast<size_t>((want + kHashBlockBytes - 1) / kHashBlockBytes * kHashBlockBytes);
      TRY_ASSIGN(const size_t got, file.pread(buffers.read.bytes().first(static_cast<size_t>(want)), at));
      std::fill(buffers.read.data() + got, buffers.read.data() + padded, std::byte{0});
      compared_ += want;
      for (size_t offset = 0; offset < padded; offset += kHashBlockBytes) {
        const uint64_t block = at + offset;
        while (run != entry.runs.end() && run->file_offset + run->bytes <= block) ++run;
        TRY(compare_block(chunk, slice.file, run != entry.runs.end() ? &*run : nullptr, block,
                          buffers.read.bytes().subspan(offset, kHashBlockBytes), buffers));
      }
      at += want;
    }
    // Behind the old end of the file are zeros.
    for (; run != entry.runs.end() && run->file_offset < slice.end; ++run) {
      const uint64_t begin = std::max(run->file_offset, at);
      const uint64_t end = std::min(run->file_offset + run->bytes, slice.end);
      if (begin < end) add_piece(slice.file, *run, begin, end, buffers);
    }
    return {};
  }

  /// `run`: the first that ends behind the beginning of the block; nullptr: none does.
  Result<> compare_block(const FileChunk& chunk, uint32_t file, const Run* run, uint64_t block, Bytes content,
                         DeltaBuffers& buffers) {
    const FileEntry& entry = chunk.files[file];
    const uint64_t end = std::min(block + kHashBlockBytes, entry.bytes);
    if (run == nullptr || run->file_offset >= end) {
      if (is_zero(content)) {
        matched_ += end - block;
      } else {
        add_zeros(block, end, buffers);
      }
      return {};
    }
    if (buffers.hashed_extent != run->extent) {
      TRY_CTX(source_.block_hashes(chunk.extents[run->extent], buffers.hashes), "compare file " + entry.path);
      buffers.hashed_extent = run->extent;
    }
    const uint64_t place = run->extent_offset + (block - run->file_offset);
    // Runs begin at blocks, of the file and of the extent; one that should not cannot be compared.
    const bool comparable =
        run->file_offset <= block && place % kHashBlockBytes == 0 && place / kHashBlockBytes < buffers.hashes.size();
    if (!comparable) return Error(Errc::kCorrupt, "the block map of file " + entry.path + " does not begin at a block");
    if (block_hash(content) == buffers.hashes[static_cast<size_t>(place / kHashBlockBytes)]) {
      matched_ += end - block;
      return {};
    }
    const uint64_t run_end = std::min(run->file_offset + run->bytes, end);
    add_piece(file, *run, block, run_end, buffers);
    if (run_end < end) add_zeros(run_end, end, buffers);
    return {};
  }

  static void add_piece(uint32_t file, const Run& run, uint64_t begin, uint64_t end, DeltaBuffers& buffers) {
    const auto offset = static_cast<uint32_t>(run.extent_offset + (begin - run.file_offset));
    const auto bytes = static_cast<uint32_t>(end - begin);
    if (!buffers.pieces.empty()) {
      Piece& last = buffers.pieces.back();
      if (last.file == file && last.extent == run.extent && last.file_offset + last.bytes == begin &&
          last.extent_offset + last.bytes == offset) {
        last.bytes += bytes;
        return;
      }
    }
    buffers.pieces.push_back({run.extent, file, offset, bytes, begin});
  }

  static void add_zeros(uint64_t begin, uint64_t end, DeltaBuffers& buffers) {
    if (!buffers.zeros.empty() && buffers.zeros.back().end == begin) {
      buffers.zeros.back().end = end;
    } else {
      buffers.zeros.push_back({begin, end});
    }
  }

  static Result<> write_zeros(const File& file, const ZeroRange& zeros) {
    if (::fallocate(file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(zeros.begin),
                    static_cast<off_t>(zeros.end - zeros.begin)) == 0)
      return {};
    // A file system without holes.
    const std::vector<std::byte> block(kHashBlockBytes);
    for (uint64_t at = zeros.begin; at < zeros.end; at += block.size())
      TRY(file.pwrite(Bytes(block).first(static_cast<size_t>(std::min<uint64_t>(block.size(), zeros.end - at))), at));
    return {};
  }

  Result<> fetch(DeltaWork& work, DeltaBuffers& buffers, const CancelToken& cancel) {
    sort_pieces(work.chunk, buffers.pieces);
    for (std::span<const Piece> left = buffers.pieces; !left.empty();) {
      TRY(cancel.check());
      const auto pieces = left.first(pieces_of_one_read(work.chunk, left, shape_));
      const auto write = [&](const Piece& piece, Bytes content) { return write_piece(work, piece, content); };
      TRY(fetcher_.fetch(work.chunk, pieces, buffers.fetch, write));
      left = left.subspan(pieces.size());
    }
    return {};
  }

  Result<> write_piece(DeltaWork& work, const Piece& piece, Bytes content) {
    FilePart& part = work.parts[piece.file];
    const File* file = nullptr;
    {
      const MutexLock lock(part.mu);
      file = &part.file;  // Open until its last slice is finished.
    }
    TRY(file->pwrite(content, piece.file_offset));
    written_ += content.size();
    return {};
  }

  Result<> finish_slice(DeltaWork& work, const Slice& slice) {
    const FileEntry& entry = work.chunk.files[slice.file];
    FilePart& part = work.parts[slice.file];
    progress_.bytes_done += stored_bytes_in(entry, slice);
    const MutexLock lock(part.mu);
    if (part.changed && slice.end - slice.begin >= kFlushBytes) begin_writeback(part.file);
    if (--part.slices_left > 0) return {};
    TRY(maker_.finish_existing(part.file, entry));
    TRY(part.file.close());
    if (!entry.continued) ++progress_.files_done;
    if (!part.changed) return {};
    const MutexLock totals_lock(mu_);
    if (index_.stretch_of(entry).whole) {
      ++changed_files_;
    } else {
      changed_split_files_.insert(entry.path);
    }
    return {};
  }

  static uint64_t stored_bytes_in(const FileEntry& entry, const Slice& slice) {
    uint64_t bytes = 0;
    auto run = std::partition_point(entry.runs.begin(), entry.runs.end(),
                                    [&](const Run& r) { return r.file_offset + r.bytes <= slice.begin; });
    for (; run != entry.runs.end() && run->file_offset < slice.end; ++run)
      bytes += std::min(run->file_offset + run->bytes, slice.end) - std::max(run->file_offset, slice.begin);
    return bytes;
  }

  const RestorePlan& plan_;
  const DeltaIndex& index_;
  const DeltaOptions& options_;
  const ReadShape shape_;
  WorkSlots slots_;  // As many as there would be workers if nobody had to wait.
  ExtentSource& source_;
  PieceFetcher fetcher_;
  FileMaker maker_;
  Progress& progress_;
  std::atomic<uint64_t> written_ = 0;
  std::atomic<uint64_t> compared_ = 0;
  std::atomic<uint64_t> matched_ = 0;
  Mutex mu_;
  uint64_t changed_files_ GUARDED_BY(mu_) = 0;
  std::set<std::string> changed_split_files_ GUARDED_BY(mu_);
};

}  // namespace

Result<DeltaIndex> DeltaIndex::build(const ManifestReader& manifest, const RestorePlan& plan,
                                     const CancelToken& cancel) {
  DeltaIndex index;
  for (size_t i = 0; i < manifest.chunk_count(); ++i) {
    TRY(cancel.check());
    TRY_ASSIGN_CTX(const FileChunk chunk, restored_chunk(manifest, plan, i),
                   "read manifest of backup " + plan.backup.label);
    for (const FileEntry& file : chunk.files) {
      if (file.kind != EntryKind::kFile || plan.skip_files.contains(file.path)) continue;
      if (!file.continued) {
        index.names_.push_back(
            hash_of_name(file.path == pg::kControlFilePath ? kUnfinishedControlPath : std::string_view(file.path)));
      } else if (!file.runs.empty()) {
        index.parts_[file.path].push_back(file.runs.front().file_offset);
      }
    }
  }
  std::sort(index.names_.begin(), index.names_.end());
  for (auto& [path, begins] : index.parts_) std::sort(begins.begin(), begins.end());
  return index;
}

bool DeltaIndex::has_file(std::string_view name) const {
  return std::binary_search(names_.begin(), names_.end(), hash_of_name(name));
}

DeltaIndex::Stretch DeltaIndex::stretch_of(const FileEntry& entry) const {
  const auto at = parts_.find(entry.path);
  if (at == parts_.end()) return {0, entry.bytes, true};
  Stretch stretch{0, entry.bytes, false};
  if (entry.continued) stretch.begin = entry.runs.empty() ? entry.bytes : entry.runs.front().file_offset;
  const auto next = std::upper_bound(at->second.begin(), at->second.end(), stretch.begin);
  if (next != at->second.end()) stretch.end = *next;
  return stretch;
}

Result<DeltaTotals> mend_files(ExtentSource& source, const ManifestReader& manifest, const RestorePlan& plan,
                               const DeltaIndex& index, const DeltaOptions& options, OwnerTable& owners,
                               const CancelToken& cancel, Progress& progress) {
  Mender mender(source, plan, index, options, owners, progress);
  return mender.run(manifest, cancel);
}

}  // namespace pgark
