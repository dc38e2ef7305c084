// The copy of a restore. One thread reads the manifest chunk by chunk and cuts each into slices of neighbouring files
// and stretches of files; workers fetch, check and decode what a slice needs from every pack, and write it in one go.
// So a file that lies scattered over the packs of many backups is still filled from its beginning to its end, in large
// writes, and goes to the disk meanwhile.
#include "ops/restore_copy.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ops/restore_pieces.h"
#include "ops/restore_slices.h"
#include "ops/restore_tasks.h"

namespace pgark {
namespace {

constexpr size_t kOpenFilesMax = 256;
// Files of one directory that a worker makes before it fills them.
constexpr size_t kMadeTogetherMax = 128;
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
  // Of its batches: workers that are far from each other fill different files, as a rule. The kernel lets only one at a
  // time write to a file, and whoever waits for that spins.
  WorkShares shares;
  std::vector<OpenPart> parts;  // One for each file.
  size_t memory_bytes = 0;
};

struct CopyTask {
  std::shared_ptr<ChunkWork> work;  // Shared by the tasks of a chunk: the last one frees it.
  std::optional<size_t> share;      // Of its batches; none for a task of files without content.
  std::vector<uint32_t> empty_files;
};

/// A piece that waits to be written with its neighbours.
struct GatheredPiece {
  const Piece* piece = nullptr;
  Bytes content;  // In the memory of the slice, or where it was read.
};

/// What one worker needs.
struct CopyBuffers {
  FetchBuffers fetch;
  Buffer slice;
  std::vector<GatheredPiece> gathered;
  std::vector<struct iovec> parts;    // Of one write.
  std::vector<uint32_t> whole_files;  // Whose only pieces were gathered one after the other.
  std::vector<File> made;
};

/// Whether a piece is all that a file needs written.
bool is_whole_file(const FileEntry& file, const Piece& piece) {
  return file.runs.size() == 1 && piece.file_offset == 0 && piece.bytes == file.bytes;
}

std::string_view directory_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

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

std::vector<CopyTask> make_tasks(const std::shared_ptr<ChunkWork>& work, size_t workers, const FileMaker& maker) {
  std::vector<CopyTask> tasks;
  const size_t share_count = std::min(work->slices.batches.size(), workers);
  work->shares.share_out(work->slices.batches.size(), share_count);
  for (size_t i = 0; i < share_count; ++i) tasks.push_back({work, i, {}});
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

bool lies_in(Bytes content, Bytes memory) {
  const std::less_equal<const std::byte*> before;
  return before(memory.data(), content.data()) &&
         before(content.data() + content.size(), memory.data() + memory.size());
}

struct iovec part_of(Bytes content) {
  return {const_cast<std::byte*>(content.data()), content.size()};
}

void add_part(Bytes content, std::vector<struct iovec>& parts) {
  if (!parts.empty()) {
    struct iovec& last = parts.back();
    if (static_cast<const std::byte*>(last.iov_base) + last.iov_len == content.data()) {
      last.iov_len += content.size();
      return;
    }
  }
  parts.push_back(part_of(content));
}

/// Write what lies in several places of memory to one of a file.
Result<> write_parts(const File& file, std::span<struct iovec> parts, uint64_t offset) {
  while (!parts.empty()) {
    const auto count = static_cast<int>(std::min<size_t>(parts.size(), IOV_MAX));
    const ssize_t n = ::pwritev(file.fd(), parts.data(), count, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write '" + file.path() + "'");
    offset += static_cast<uint64_t>(n);
    auto left = static_cast<size_t>(n);
    while (!parts.empty() && left >= parts.front().iov_len) {
      left -= parts.front().iov_len;
      parts = parts.subspan(1);
    }
    if (parts.empty()) break;
    parts.front().iov_base = static_cast<std::byte*>(parts.front().iov_base) + left;
    parts.front().iov_len -= left;
  }
  return {};
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
    worker_count_ = workers;
    made_together_ = std::clamp<size_t>(kOpenFilesMax / workers, 1, kMadeTogetherMax);
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
      auto tasks = make_tasks(work, worker_count_, maker_);
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
      TRY(make_empty(task->work->chunk, task->empty_files, buffers));
      if (task->share) TRY(copy_share(*task->work, *task->share, buffers, cancel));
    }
    return {};
  }

  /// Files without content, or that are all hole.
  Result<> make_empty(const FileChunk& chunk, std::span<const uint32_t> files, CopyBuffers& buffers) {
    return make_whole(chunk, files, buffers.made,
                      [&](const File& file, size_t i) { return maker_.set_size(file, chunk.files[files[i]]); });
  }

  /// Make files and fill each by one call of `fill(file, index into files)`. Only one thread at a time can make files
  /// in a directory, and who waits for that in the kernel spins: so a worker makes several while the others fill
  /// theirs.
  template <typename Fill>
  Result<> make_whole(const FileChunk& chunk, std::span<const uint32_t> files, std::vector<File>& made,
                      const Fill& fill) {
    for (size_t first = 0; first < files.size();) {
      const std::string_view directory = directory_of(chunk.files[files[first]].path);
      made.clear();
      {
        const MutexLock lock(making_[std::hash<std::string_view>{}(directory) % making_.size()]);
        for (size_t i = first; i < files.size() && made.size() < made_together_; ++i) {
          const FileEntry& entry = chunk.files[files[i]];
          if (directory_of(entry.path) != directory) break;
          TRY_ASSIGN(made.emplace_back(), maker_.open(entry));
        }
      }
      for (File& file : made) {
        const FileEntry& entry = chunk.files[files[first]];
        TRY(fill(file, first));
        TRY(maker_.finish(file, entry));
        TRY(file.close());
        count_file(entry);
        ++first;
      }
    }
    return {};
  }

  Result<> copy_share(ChunkWork& work, size_t share, CopyBuffers& buffers, const CancelToken& cancel) {
    while (const auto batch = work.shares.take(share)) {
      TRY(cancel.check());
      TRY(copy_batch(work, work.slices.batches[*batch], buffers, cancel));
    }
    return {};
  }

  Result<> copy_batch(ChunkWork& work, const SliceBatch& batch, CopyBuffers& buffers, const CancelToken& cancel) {
    for (const Slice& slice : work.slices.slices_of(batch)) TRY(copy_slice(work, slice, buffers, cancel));
    for (const SliceStretch& stretch : work.slices.stretches_of(batch)) TRY(begin_writeback_of(work, stretch));
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
    return fetched;
  }

  /// Fetch the pieces of a slice, and write those that are not gathered.
  Result<> fetch_slice(ChunkWork& work, const Slice& slice, CopyBuffers& buffers, const CancelToken& cancel) {
    const auto place = [&](const Piece& piece) -> std::byte* {
      return piece.place == kPlaceApart ? nullptr : buffers.slice.data() + piece.place;
    };
    for (std::span<const Piece> left = work.slices.pieces_of(slice); !left.empty();) {
      TRY(cancel.check());
      const auto pieces = left.first(pieces_of_one_read(work.chunk, left, shape_));
      left = left.subspan(pieces.size());
      const auto take = [&](const Piece& piece, Bytes content) -> Result<> {
        std::byte* const at = place(piece);
        if (at == nullptr) return write(work, piece.file, content, piece.file_offset, 1);
        // What the last read brought as it is stored can be written from where it is.
        if (at != content.data() && (!left.empty() || !lies_in(content, buffers.fetch.stored))) {
          std::memcpy(at, content.data(), content.size());
          content = Bytes(at, content.size());
        }
        buffers.gathered.push_back({&piece, content});
        return {};
      };
      TRY(fetcher_.fetch(work.chunk, pieces, buffers.fetch, take, place));
    }
    return {};
  }

  /// Make and write the files that are whole, up to the first that is not; how many there were.
  Result<size_t> write_whole_files(ChunkWork& work, std::span<const GatheredPiece> gathered, CopyBuffers& buffers) {
    auto& files = buffers.whole_files;
    files.clear();
    for (const GatheredPiece& each : gathered) {
      if (!is_whole_file(work.chunk.files[each.piece->file], *each.piece)) break;
      files.push_back(each.piece->file);
    }
    const auto fill = [&](const File& file, size_t i) -> Result<> {
      TRY(file.pwrite(gathered[i].content, 0));
      count_bytes(gathered[i].content.size());
      return {};
    };
    TRY(make_whole(work.chunk, files, buffers.made, fill));
    return files.size();
  }

  /// Write what was gathered in as few calls as its neighbourhood allows.
  Result<> write_gathered(ChunkWork& work, CopyBuffers& buffers) {
    auto& gathered = buffers.gathered;
    std::sort(gathered.begin(), gathered.end(),
              [](const GatheredPiece& a, const GatheredPiece& b) { return a.piece->place < b.piece->place; });
    for (size_t i = 0; i < gathered.size();) {
      TRY_ASSIGN(const size_t whole, write_whole_files(work, std::span(gathered).subspan(i), buffers));
      if (whole > 0) {
        i += whole;
        continue;
      }
      const Piece& first = *gathered[i].piece;
      uint64_t bytes = 0;
      size_t last = i;
      buffers.parts.clear();
      for (; last < gathered.size(); ++last) {
        const Piece& next = *gathered[last].piece;
        if (next.file != first.file || next.file_offset != first.file_offset + bytes ||
            (last > i && bytes + next.bytes > kWriteBytesMax))
          break;
        add_part(gathered[last].content, buffers.parts);
        bytes += next.bytes;
      }
      TRY(write(work, first.file, buffers.parts, bytes, first.file_offset, static_cast<uint32_t>(last - i)));
      i = last;
    }
    return {};
  }

  Result<> write(ChunkWork& work, uint32_t index, Bytes content, uint64_t offset, uint32_t piece_count) {
    struct iovec part = part_of(content);
    return write(work, index, std::span(&part, 1), content.size(), offset, piece_count);
  }

  /// Write the content of neighbouring pieces.
  Result<> write(ChunkWork& work, uint32_t index, std::span<struct iovec> content, uint64_t bytes, uint64_t offset,
                 uint32_t piece_count) {
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
    auto written = write_parts(*file, content, offset);
    const MutexLock lock(part.mu);
    --part.users;
    part.pieces_left -= piece_count;
    TRY(std::move(written));
    count_bytes(bytes);
    part.unflushed_bytes += bytes;
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

  void count_bytes(uint64_t bytes) {
    written_ += bytes;
    progress_.bytes_done += bytes;
  }
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
  std::array<Mutex, 64> making_;  // By directory.
  size_t made_together_ = 1;
  size_t worker_count_ = 1;
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
