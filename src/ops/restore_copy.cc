// The copy of a restore. One thread reads the manifest chunk by chunk and cuts each into tasks of neighbouring extents;
// workers fetch, check, decode and write.
#include "ops/restore_copy.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "ops/restore_pieces.h"
#include "ops/restore_tasks.h"

namespace pgark {
namespace {

constexpr size_t kOpenFilesMax = 256;
// A file whose runs are shorter on average is filled all over at once: its pages lie in many packs. What is written
// back of it early is laid out on the disk in fragments.
constexpr uint64_t kEarlyWritebackRunBytes = kExtentBytes / 2;

/// A file of a chunk while its pieces are written, by several workers as it happens.
struct OpenPart {
  bool in_order = false;  // Its content comes in long runs: writeback may begin before it is whole.
  Mutex mu;
  File file GUARDED_BY(mu);
  uint32_t users GUARDED_BY(mu) = 0;
  uint32_t pieces_left GUARDED_BY(mu) = 0;
  uint64_t unflushed_bytes GUARDED_BY(mu) = 0;
};

struct ChunkWork {
  FileChunk chunk;
  std::vector<Piece> pieces;    // By pack and offset.
  std::vector<OpenPart> parts;  // One for each file.
  size_t memory_bytes = 0;
};

struct CopyTask {
  std::shared_ptr<ChunkWork> work;  // Shared by the tasks of a chunk: the last one frees it.
  size_t first = 0;                 // Range of pieces; none for a task of files without content.
  size_t last = 0;
  std::vector<uint32_t> empty_files;
};

/// Keeps the number of open files in bounds over all chunks.
std::atomic<size_t>& open_file_count() {
  static std::atomic<size_t> count = 0;
  return count;
}

/// Sort the runs of a chunk into the order in which its packs hold them.
std::shared_ptr<ChunkWork> make_work(FileChunk chunk, const FileMaker& maker) {
  auto work = std::make_shared<ChunkWork>();
  work->parts = std::vector<OpenPart>(chunk.files.size());
  for (size_t i = 0; i < chunk.files.size(); ++i) {
    const FileEntry& file = chunk.files[i];
    work->memory_bytes += sizeof(FileEntry) + sizeof(OpenPart) + file.path.size() + file.runs.size() * sizeof(Run);
    if (!maker.wanted(file)) continue;
    for (const Run& run : file.runs)
      work->pieces.push_back(
          {run.extent, static_cast<uint32_t>(i), run.extent_offset, static_cast<uint32_t>(run.bytes), run.file_offset});
    OpenPart& part = work->parts[i];
    uint64_t bytes = 0;
    for (const Run& run : file.runs) bytes += run.bytes;
    part.in_order = bytes >= file.runs.size() * kEarlyWritebackRunBytes;
    const MutexLock lock(part.mu);
    part.pieces_left = static_cast<uint32_t>(file.runs.size());
  }
  work->memory_bytes += work->pieces.size() * sizeof(Piece) + chunk.extents.size() * sizeof(ExtentRef);
  sort_pieces(chunk, work->pieces);
  work->chunk = std::move(chunk);
  return work;
}

std::vector<CopyTask> make_tasks(const std::shared_ptr<ChunkWork>& work, const FileMaker& maker) {
  std::vector<CopyTask> tasks;
  const std::span<const Piece> pieces = work->pieces;
  for (size_t i = 0; i < pieces.size();) {
    const size_t last = i + pieces_of_one_read(work->chunk, pieces.subspan(i));
    tasks.push_back({work, i, last, {}});
    i = last;
  }
  std::vector<uint32_t> empty;
  const auto push_empty = [&] {
    if (!empty.empty()) tasks.push_back({work, 0, 0, std::exchange(empty, {})});
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
  Copier(const Repository& repository, const std::string& stanza, const RestorePlan& plan, const CopyOptions& options,
         OwnerTable& owners, Progress& progress)
      : plan_(plan),
        fetcher_(repository, stanza, plan),
        maker_(plan, options.sync_files, owners),
        progress_(progress) {}

  Result<CopyTotals> run(const ManifestReader& manifest, unsigned workers, const CancelToken& cancel) {
    TRY(maker_.open_root());
    TRY((run_tasks<CopyTask>(
        workers, kQueuedBytesMax, cancel,
        [&](BoundedQueue<CopyTask>& queue, const CancelToken& stop) { return produce(manifest, queue, stop); },
        [&](BoundedQueue<CopyTask>& queue, const CancelToken& stop) { return work(queue, stop); })));
    return CopyTotals{fetcher_.fetched_bytes(), written_.load()};
  }

 private:
  Result<> produce(const ManifestReader& manifest, BoundedQueue<CopyTask>& queue, const CancelToken& cancel) {
    for (size_t i = 0; i < manifest.chunk_count(); ++i) {
      TRY(cancel.check());
      TRY_ASSIGN_CTX(FileChunk chunk, restored_chunk(manifest, plan_, i),
                     "read manifest of backup " + plan_.backup.label);
      const auto work = make_work(std::move(chunk), maker_);
      auto tasks = make_tasks(work, maker_);
      const size_t cost = tasks.empty() ? 0 : work->memory_bytes / tasks.size() + 1;
      for (CopyTask& task : tasks)
        if (!queue.push(std::move(task), cost)) return stopped_by_another_task();
    }
    return {};
  }

  Result<> work(BoundedQueue<CopyTask>& queue, const CancelToken& cancel) {
    FetchBuffers buffers;
    while (auto task = queue.pop()) {
      TRY(cancel.check());
      for (const uint32_t file : task->empty_files) TRY(make_empty(task->work->chunk.files[file]));
      if (task->first == task->last) continue;
      ChunkWork& work = *task->work;
      const auto pieces = std::span<const Piece>(work.pieces).subspan(task->first, task->last - task->first);
      TRY(fetcher_.fetch(work.chunk, pieces, buffers,
                         [&](const Piece& piece, Bytes content) { return write_piece(work, piece, content); }));
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

  Result<> write_piece(ChunkWork& work, const Piece& piece, Bytes content) {
    const FileEntry& entry = work.chunk.files[piece.file];
    OpenPart& part = work.parts[piece.file];
    File* file = nullptr;
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
    auto written = file->pwrite(content, piece.file_offset);
    const MutexLock lock(part.mu);
    --part.users;
    --part.pieces_left;
    TRY(std::move(written));
    written_ += piece.bytes;
    progress_.bytes_done += piece.bytes;
    part.unflushed_bytes += piece.bytes;
    const bool done = part.pieces_left == 0;
    if (part.unflushed_bytes >= kFlushBytes && (part.in_order || done)) {
      part.unflushed_bytes = 0;
      begin_writeback(part.file);
    }
    if (done) TRY(maker_.finish(part.file, entry));
    if (done || (part.users == 0 && open_file_count() > kOpenFilesMax)) {
      --open_file_count();
      TRY(part.file.close());
    }
    if (done) count_file(entry);
    return {};
  }

  void count_file(const FileEntry& entry) {
    if (!entry.continued) ++progress_.files_done;
  }

  const RestorePlan& plan_;
  PieceFetcher fetcher_;
  FileMaker maker_;
  Progress& progress_;
  std::atomic<uint64_t> written_ = 0;
};

}  // namespace

Result<CopyTotals> copy_files(const Repository& repository, const std::string& stanza, const ManifestReader& manifest,
                              const RestorePlan& plan, const CopyOptions& options, OwnerTable& owners,
                              const CancelToken& cancel, Progress& progress) {
  Copier copier(repository, stanza, plan, options, owners, progress);
  return copier.run(manifest, std::max(options.workers, 1u), cancel);
}

}  // namespace pgark
