// The copy of a restore. One thread reads the manifest chunk by chunk and cuts each into slices of neighbouring files
// and stretches of files; workers fetch, check and decode what a slice needs from every pack, and write it in one go.
// So a file that lies scattered over the packs of many backups is still filled from its beginning to its end, in large
// writes, and goes to the disk meanwhile.
#include "ops/restore_copy.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "ops/restore_pieces.h"
#include "ops/restore_slices.h"
#include "ops/restore_tasks.h"

namespace pgark {
namespace {

constexpr size_t kOpenFilesMax = 256;
// Kernels answer larger writes with larger pieces of memory, which are not always at hand.
constexpr uint64_t kWriteBytesMax = 1u << 20;

/// A file of a chunk while its pieces are written, by several workers as it happens.
struct OpenPart {
  Mutex mu;
  File file GUARDED_BY(mu);
  uint32_t users GUARDED_BY(mu) = 0;
  uint32_t pieces_left GUARDED_BY(mu) = 0;
  uint64_t unflushed_bytes GUARDED_BY(mu) = 0;
};

struct ChunkWork {
  FileChunk chunk;
  Slices slices;
  std::vector<OpenPart> parts;  // One for each file.
  size_t memory_bytes = 0;
};

struct CopyTask {
  std::shared_ptr<ChunkWork> work;  // Shared by the tasks of a chunk: the last one frees it.
  std::optional<size_t> slice;      // None for a task of files without content.
  std::vector<uint32_t> empty_files;
};

/// What one worker needs.
struct CopyBuffers {
  FetchBuffers fetch;
  Buffer slice;
  std::vector<const Piece*> gathered;  // Pieces in `slice`.
};

/// Keeps the number of open files in bounds over all chunks.
std::atomic<size_t>& open_file_count() {
  static std::atomic<size_t> count = 0;
  return count;
}

std::shared_ptr<ChunkWork> make_work(FileChunk chunk, uint64_t read_bytes, const FileMaker& maker) {
  auto work = std::make_shared<ChunkWork>();
  work->parts = std::vector<OpenPart>(chunk.files.size());
  for (size_t i = 0; i < chunk.files.size(); ++i) {
    const FileEntry& file = chunk.files[i];
    work->memory_bytes += sizeof(FileEntry) + sizeof(OpenPart) + file.path.size() + file.runs.size() * sizeof(Run);
    OpenPart& part = work->parts[i];
    const MutexLock lock(part.mu);
    part.pieces_left = static_cast<uint32_t>(file.runs.size());
  }
  work->slices = cut_slices(chunk, read_bytes, [&](const FileEntry& file) { return maker.wanted(file); });
  work->memory_bytes += work->slices.pieces.size() * sizeof(Piece) + chunk.extents.size() * sizeof(ExtentRef);
  work->chunk = std::move(chunk);
  return work;
}

std::vector<CopyTask> make_tasks(const std::shared_ptr<ChunkWork>& work, const FileMaker& maker) {
  std::vector<CopyTask> tasks;
  for (size_t i = 0; i < work->slices.slices.size(); ++i) tasks.push_back({work, i, {}});
  std::vector<uint32_t> empty;
  const auto push_empty = [&] {
    if (!empty.empty()) tasks.push_back({work, std::nullopt, std::exchange(empty, {})});
  };
  for (uint32_t i = 0; i < work->chunk.files.size(); ++i) {
    const FileEntry& file = work->chunk.files[i];
    if (!file.runs.empty() || !maker.wanted(file)) continue;
    empty.push_back(i);
    if (empty.size() == kFilesPerTask) push_empty();
  }
  push_empty();
  return tasks;
}

class Copier {
 public:
  Copier(ExtentSource& source, const RestorePlan& plan, const CopyOptions& options, OwnerTable& owners,
         Progress& progress)
      : plan_(plan),
        shape_(read_shape(source.first().store())),
        slots_(std::max(options.workers, 1u)),
        source_(source),
        fetcher_(source, plan),
        maker_(plan, options.sync_files, owners),
        progress_(progress) {}

  Result<CopyTotals> run(const ManifestReader& manifest, unsigned workers, const CancelToken& cancel) {
    workers += shape_.waiting_max;
    TRY(maker_.open_root());
    TRY((run_tasks<CopyTask>(
        workers, kQueuedBytesMax, cancel,
        [&](BoundedQueue<CopyTask>& queue, const CancelToken& stop) { return produce(manifest, queue, stop); },
        [&](BoundedQueue<CopyTask>& queue, const CancelToken& stop) { return work(queue, stop); })));
    return CopyTotals{source_.fetched_bytes(), written_.load()};
  }

 private:
  Result<> produce(const ManifestReader& manifest, BoundedQueue<CopyTask>& queue, const CancelToken& cancel) {
    for (size_t i = 0; i < manifest.chunk_count(); ++i) {
      TRY(cancel.check());
      TRY_ASSIGN_CTX(FileChunk chunk, restored_chunk(manifest, plan_, i),
                     "read manifest of backup " + plan_.backup.label);
      const auto work = make_work(std::move(chunk), shape_.slice_bytes, maker_);
      auto tasks = make_tasks(work, maker_);
      const size_t cost = tasks.empty() ? 0 : work->memory_bytes / tasks.size() + 1;
      for (CopyTask& task : tasks)
        if (!queue.push(std::move(task), cost)) return stopped_by_another_task();
    }
    return {};
  }

  Result<> work(BoundedQueue<CopyTask>& queue, const CancelToken& cancel) {
    CopyBuffers buffers;
    buffers.fetch.slots = slots();
    while (auto task = queue.pop()) {
      TRY(cancel.check());
      for (const uint32_t file : task->empty_files) TRY(make_empty(task->work->chunk.files[file]));
      if (task->slice) TRY(copy_slice(*task->work, task->work->slices.slices[*task->slice], buffers, cancel));
    }
    return {};
  }

  /// A file without content, or one that is all hole.
  Result<> make_empty(const FileEntry& entry) {
    TRY_ASSIGN(File file, maker_.open(entry));
    TRY(maker_.set_size(file, entry));
    TRY(maker_.finish(file, entry));
    TRY(file.close());
    count_file(entry);
    return {};
  }

  Result<> copy_slice(ChunkWork& work, const Slice& slice, CopyBuffers& buffers, const CancelToken& cancel) {
    buffers.slice.resize(slice.bytes);
    buffers.gathered.clear();
    auto fetched = fetch_slice(work, slice, buffers, cancel);
    // Also if that failed: what was fetched until then is there when the restore is completed.
    {
      const WorkSlot slot(slots());
      TRY(write_gathered(work, buffers));
    }
    TRY(std::move(fetched));
    for (const SliceStretch& stretch : work.slices.stretches_of(slice)) TRY(begin_writeback_of(work, stretch));
    return {};
  }

  /// Fetch the pieces of a slice, and write those that are not gathered.
  Result<> fetch_slice(ChunkWork& work, const Slice& slice, CopyBuffers& buffers, const CancelToken& cancel) {
    const auto place = [&](const Piece& piece) -> std::byte* {
      return piece.place == kPlaceApart ? nullptr : buffers.slice.data() + piece.place;
    };
    const auto take = [&](const Piece& piece, Bytes content) -> Result<> {
      std::byte* const at = place(piece);
      if (at == nullptr) return write(work, piece.file, content, piece.file_offset, 1);
      if (at != content.data()) std::memcpy(at, content.data(), content.size());
      buffers.gathered.push_back(&piece);
      return {};
    };
    for (std::span<const Piece> left = work.slices.pieces_of(slice); !left.empty();) {
      TRY(cancel.check());
      const auto pieces = left.first(pieces_of_one_read(work.chunk, left, shape_));
      TRY(fetcher_.fetch(work.chunk, pieces, buffers.fetch, take, place));
      left = left.subspan(pieces.size());
    }
    return {};
  }

  /// Write what was gathered in as few calls as its neighbourhood allows.
  Result<> write_gathered(ChunkWork& work, CopyBuffers& buffers) {
    auto& pieces = buffers.gathered;
    std::sort(pieces.begin(), pieces.end(), [](const Piece* a, const Piece* b) { return a->place < b->place; });
    for (size_t i = 0; i < pieces.size();) {
      const Piece& first = *pieces[i];
      uint64_t bytes = first.bytes;
      size_t last = i + 1;
      for (; last < pieces.size(); ++last) {
        const Piece& next = *pieces[last];
        if (next.file != first.file || next.file_offset != first.file_offset + bytes ||
            next.place != first.place + bytes || bytes + next.bytes > kWriteBytesMax)
          break;
        bytes += next.bytes;
      }
      const auto content = buffers.slice.bytes().subspan(first.place, static_cast<size_t>(bytes));
      TRY(write(work, first.file, content, first.file_offset, static_cast<uint32_t>(last - i)));
      i = last;
    }
    return {};
  }

  /// Write the content of neighbouring pieces.
  Result<> write(ChunkWork& work, uint32_t index, Bytes content, uint64_t offset, uint32_t piece_count) {
    const FileEntry& entry = work.chunk.files[index];
    OpenPart& part = work.parts[index];
    const File* file = nullptr;
    {
      const MutexLock lock(part.mu);
      if (!part.file.is_open()) {
        TRY_ASSIGN(part.file, maker_.open(entry));
        ++open_file_count();
        TRY(maker_.set_size(part.file, entry));
      }
      ++part.users;
      file = &part.file;  // Stays open while we are counted in.
    }
    auto written = file->pwrite(content, offset);
    const MutexLock lock(part.mu);
    --part.users;
    part.pieces_left -= piece_count;
    TRY(std::move(written));
    written_ += content.size();
    progress_.bytes_done += content.size();
    part.unflushed_bytes += content.size();
    if (part.pieces_left == 0) {
      if (part.unflushed_bytes >= kFlushBytes) begin_writeback(part.file);
      TRY(maker_.finish(part.file, entry));
      count_file(entry);
    }
    return close_unused(part);
  }

  Result<> close_unused(OpenPart& part) REQUIRES(part.mu) {
    if (part.users > 0 || (part.pieces_left > 0 && open_file_count() <= kOpenFilesMax)) return {};
    --open_file_count();
    return part.file.close();
  }

  /// Send a stretch that is written on its way to the disk, so that the disk works while the processors do and blocks
  /// are laid out in order. What other slices bring of it is little, and as a rule there already.
  Result<> begin_writeback_of(ChunkWork& work, const SliceStretch& stretch) {
    OpenPart& part = work.parts[stretch.file];
    const File* file = nullptr;
    {
      const MutexLock lock(part.mu);
      if (!part.file.is_open()) return {};
      part.unflushed_bytes -= std::min(part.unflushed_bytes, stretch.bytes);
      ++part.users;
      file = &part.file;
    }
    begin_writeback(*file, stretch.begin, stretch.end - stretch.begin);
    const MutexLock lock(part.mu);
    --part.users;
    return close_unused(part);
  }

  WorkSlots* slots() { return shape_.waiting_max > 0 ? &slots_ : nullptr; }

  void count_file(const FileEntry& entry) {
    if (!entry.continued) ++progress_.files_done;
  }

  const RestorePlan& plan_;
  const ReadShape shape_;
  WorkSlots slots_;  // As many as there would be workers if nobody had to wait.
  const ExtentSource& source_;
  PieceFetcher fetcher_;
  FileMaker maker_;
  Progress& progress_;
  std::atomic<uint64_t> written_ = 0;
};

}  // namespace

Result<CopyTotals> copy_files(ExtentSource& source, const ManifestReader& manifest, const RestorePlan& plan,
                              const CopyOptions& options, OwnerTable& owners, const CancelToken& cancel,
                              Progress& progress) {
  Copier copier(source, plan, options, owners, progress);
  return copier.run(manifest, std::max(options.workers, 1u), cancel);
}

}  // namespace pgark
