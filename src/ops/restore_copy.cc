// The copy of a restore. One thread reads the manifest chunk by chunk and cuts each into tasks of neighbouring extents;
// workers fetch, check, decode and write.
#include "ops/restore_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

#include "core/log.h"
#include "pg/control.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

// Large enough to keep a disk or an object store busy, small enough for the second-level cache.
constexpr uint64_t kFetchBytes = 1u << 20;
// Reading over a gap of other backups' extents is cheaper than another request.
constexpr uint64_t kGapBytesMax = 64u << 10;
constexpr size_t kFilesPerEmptyTask = 256;
constexpr size_t kOpenFilesMax = 256;
// Writeback is begun when a file has this much that is not on its way to the disk, so that the disk works while the
// processors do and the sync at the end finds little left.
constexpr uint64_t kFlushBytes = 4u << 20;
// Memory of the chunks whose tasks wait or run.
constexpr size_t kQueuedBytesMax = 32u << 20;

/// A stretch of one extent that goes to one place of one file.
struct Piece {
  uint32_t extent = 0;
  uint32_t file = 0;
  uint32_t extent_offset = 0;
  uint32_t bytes = 0;
  uint64_t file_offset = 0;
};

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

struct timespec to_timespec(int64_t us) {
  int64_t seconds = us / 1000000;
  int64_t rest = us % 1000000;
  if (rest < 0) {
    --seconds;
    rest += 1000000;
  }
  return {static_cast<time_t>(seconds), static_cast<long>(rest * 1000)};
}

/// Creates and finishes files below the data directory.
class FileMaker {
 public:
  FileMaker(const RestorePlan& plan, const CopyOptions& options, OwnerTable& owners)
      : plan_(plan), sync_files_(options.sync_files), owners_(owners) {
    umask_ = ::umask(0);
    ::umask(umask_);
  }

  Result<> open_root() {
    TRY_ASSIGN(root_, File::open(plan_.places.front().path, O_RDONLY | O_DIRECTORY));
    return {};
  }

  bool wanted(const FileEntry& entry) const {
    return entry.kind == EntryKind::kFile && !plan_.skip_files.contains(entry.path);
  }

  /// Open a file for writing, creating it. It may exist already: as another part of it, or from before its descriptor
  /// was given up.
  Result<File> open(const FileEntry& entry) const {
    const mode_t mode = (entry.mode & 07777) | S_IRUSR | S_IWUSR;
    std::string name = entry.path == pg::kControlFilePath ? std::string(kUnfinishedControlPath) : entry.path;
    for (const RestoreFileLink& link : plan_.file_links)
      if (link.path == entry.path) name = link.target;
    int fd = -1;
    do fd = ::openat(root_.fd(), name.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return errno_error(errno, "create file '" + shown_path(name) + "'");
    return File::adopt(fd, shown_path(name));
  }

  /// Give a file its size before its pieces arrive; the bytes that none of them brings are a hole. One piece that is
  /// the whole file needs no such preparation, which a million small relations notice.
  Result<> set_size(const File& file, const FileEntry& entry) const {
    if (entry.bytes == 0 || (entry.runs.size() == 1 && entry.runs.front().bytes == entry.bytes)) return {};
    return file.truncate(entry.bytes);
  }

  /// Mode, owner and time. The time last: every write changes it.
  Result<> finish(const File& file, const FileEntry& entry) const {
    const mode_t mode = entry.mode & 07777;
    const mode_t created = (mode | S_IRUSR | S_IWUSR) & ~umask_;
    if (mode != created && ::fchmod(file.fd(), mode) != 0)
      return errno_error(errno, "change mode of '" + file.path() + "'");
    if (owners_.enabled()) TRY(owners_.apply(file.fd(), entry));
    if (sync_files_) TRY(file.fsync());
    const struct timespec time = to_timespec(entry.modified_us);
    const struct timespec times[2] = {time, time};
    if (::futimens(file.fd(), times) != 0) return errno_error(errno, "set time of '" + file.path() + "'");
    return {};
  }

 private:
  std::string shown_path(const std::string& name) const {
    return name.starts_with('/') ? name : plan_.places.front().path + "/" + name;
  }

  const RestorePlan& plan_;
  const bool sync_files_;
  OwnerTable& owners_;
  File root_;
  mode_t umask_ = 0;
};

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
    const MutexLock lock(part.mu);
    part.pieces_left = static_cast<uint32_t>(file.runs.size());
  }
  work->memory_bytes += work->pieces.size() * sizeof(Piece) + chunk.extents.size() * sizeof(ExtentRef);
  const auto place = [&](const Piece& piece) {
    const ExtentRef& extent = chunk.extents[piece.extent];
    return std::pair(extent.pack, extent.offset);
  };
  const auto before = [&](const Piece& a, const Piece& b) { return place(a) < place(b); };
  if (!std::is_sorted(work->pieces.begin(), work->pieces.end(), before))
    std::stable_sort(work->pieces.begin(), work->pieces.end(), before);
  work->chunk = std::move(chunk);
  return work;
}

std::vector<CopyTask> make_tasks(const std::shared_ptr<ChunkWork>& work, const FileMaker& maker) {
  std::vector<CopyTask> tasks;
  const std::vector<ExtentRef>& extents = work->chunk.extents;
  for (size_t i = 0; i < work->pieces.size();) {
    const ExtentRef& first = extents[work->pieces[i].extent];
    uint64_t end = first.offset + first.stored_bytes;
    size_t last = i + 1;
    for (; last < work->pieces.size(); ++last) {
      const ExtentRef& next = extents[work->pieces[last].extent];
      const uint64_t next_end = next.offset + next.stored_bytes;
      if (next.pack != first.pack || next.offset > end + kGapBytesMax) break;
      // An extent never goes to two tasks: it would be decoded twice.
      if (next_end - first.offset > kFetchBytes && work->pieces[last].extent != work->pieces[last - 1].extent) break;
      end = std::max(end, next_end);
    }
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
    if (empty.size() == kFilesPerEmptyTask) push_empty();
  }
  push_empty();
  return tasks;
}

class Copier {
 public:
  Copier(const Repository& repository, const std::string& stanza, const RestorePlan& plan, const CopyOptions& options,
         OwnerTable& owners, Progress& progress)
      : repository_(repository), stanza_(stanza), plan_(plan), maker_(plan, options, owners), progress_(progress) {}

  Result<CopyTotals> run(const ManifestReader& manifest, unsigned workers, const CancelToken& cancel) {
    TRY(maker_.open_root());
    TaskGroup group(&cancel);
    BoundedQueue<CopyTask> queue(kQueuedBytesMax);
    for (unsigned i = 0; i < workers; ++i)
      group.spawn([this, &queue, &group]() -> Result<> {
        auto result = work(queue, group.cancel());
        if (!result) queue.close();  // Wakes the producer.
        return result;
      });
    auto produced = produce(manifest, queue, group.cancel());
    queue.close();
    auto finished = group.wait();
    // A worker's error is the cause; the producer then only found the queue closed.
    if (!finished && (produced || finished.error().code() != Errc::kCancelled)) return std::move(finished).error();
    TRY(std::move(produced));
    TRY(cancel.check());
    return CopyTotals{fetched_.load(), written_.load()};
  }

 private:
  struct Buffers {
    Buffer stored;
    Buffer raw;
    Decompressor decompressor;
  };

  Result<> produce(const ManifestReader& manifest, BoundedQueue<CopyTask>& queue, const CancelToken& cancel) {
    for (size_t i = 0; i < manifest.chunk_count(); ++i) {
      TRY(cancel.check());
      TRY_ASSIGN_CTX(FileChunk chunk, manifest.chunk(i), "read manifest of backup " + plan_.backup.label);
      const auto work = make_work(std::move(chunk), maker_);
      auto tasks = make_tasks(work, maker_);
      const size_t cost = tasks.empty() ? 0 : work->memory_bytes / tasks.size() + 1;
      for (CopyTask& task : tasks)
        if (!queue.push(std::move(task), cost)) return Error(Errc::kCancelled, "stopped by another task's error");
    }
    return {};
  }

  Result<> work(BoundedQueue<CopyTask>& queue, const CancelToken& cancel) {
    Buffers buffers;
    while (auto task = queue.pop()) {
      TRY(cancel.check());
      for (const uint32_t file : task->empty_files) TRY(make_empty(task->work->chunk.files[file]));
      if (task->first != task->last) TRY(fetch(*task, buffers));
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

  Result<> fetch(const CopyTask& task, Buffers& buffers) {
    ChunkWork& work = *task.work;
    const auto extent_of = [&](size_t i) -> const ExtentRef& { return work.chunk.extents[work.pieces[i].extent]; };
    const ExtentRef& first = extent_of(task.first);
    uint64_t end = 0;
    for (size_t i = task.first; i < task.last; ++i)
      end = std::max(end, extent_of(i).offset + extent_of(i).stored_bytes);
    if (first.pack >= plan_.packs.size())
      return damaged(task, task.first, task.last, Error(Errc::kCorrupt, "the manifest names a pack it does not list"));
    const PackName& pack = plan_.packs[first.pack];
    const ObjectKey key = pack_key(stanza_, pack.label, pack.number);
    buffers.stored.resize(static_cast<size_t>(end - first.offset));
    if (auto got = repository_.store().read_exact(key, first.offset, buffers.stored.bytes()); !got)
      return damaged(task, task.first, task.last, std::move(got).error());
    fetched_ += buffers.stored.size();
    for (size_t i = task.first; i < task.last;) {
      size_t last = i + 1;
      while (last < task.last && work.pieces[last].extent == work.pieces[i].extent) ++last;
      const ExtentRef& extent = extent_of(i);
      const Bytes stored =
          buffers.stored.bytes().subspan(static_cast<size_t>(extent.offset - first.offset), extent.stored_bytes);
      buffers.raw.resize(extent.raw_bytes);
      if (auto decoded =
              decode_frame(repository_, key, extent.frame(), stored, buffers.decompressor, buffers.raw.bytes());
          !decoded)
        return damaged(task, i, last, std::move(decoded).error());
      for (; i < last; ++i) TRY(write_piece(work, work.pieces[i], buffers.raw));
    }
    return {};
  }

  Result<> write_piece(ChunkWork& work, const Piece& piece, Bytes raw) {
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
    auto written = file->pwrite(raw.subspan(piece.extent_offset, piece.bytes), piece.file_offset);
    const MutexLock lock(part.mu);
    --part.users;
    --part.pieces_left;
    TRY(std::move(written));
    written_ += piece.bytes;
    progress_.bytes_done += piece.bytes;
    part.unflushed_bytes += piece.bytes;
    if (part.unflushed_bytes >= kFlushBytes) {
      part.unflushed_bytes = 0;
      // Only a hint; whatever fails here, the sync reports.
      (void)::sync_file_range(part.file.fd(), 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    const bool done = part.pieces_left == 0;
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

  /// An error of reading extents [first, last) of a task, saying which backup, file and blocks cannot be had.
  Error damaged(const CopyTask& task, size_t first, size_t last, Error cause) const {
    // What the manifest names and the store proves absent is damage too.
    const bool is_damage = cause.code() == Errc::kCorrupt || cause.code() == Errc::kNotFound;
    const Piece& piece = task.work->pieces[first];
    uint64_t end = piece.file_offset + piece.bytes;
    size_t others = 0;
    uint32_t previous = piece.file;
    for (size_t i = first + 1; i < last; ++i) {
      const Piece& next = task.work->pieces[i];
      if (next.file == piece.file) end = std::max(end, next.file_offset + next.bytes);
      if (next.file != previous && next.file != piece.file) ++others;
      previous = next.file;
    }
    const uint64_t block_bytes = std::max<uint32_t>(plan_.backup.block_bytes, 1);
    Error error = std::move(cause).with_context(fmt::format(
        "backup {}: file {} blocks {}-{}{}", plan_.backup.label, task.work->chunk.files[piece.file].path,
        piece.file_offset / block_bytes, (end - 1) / block_bytes,
        others == 0 ? std::string() : fmt::format(" and {} more {}", others, others == 1 ? "file" : "files")));
    if (!is_damage) return error;
    return std::move(error)
        .with_code(Errc::kCorrupt)
        .with_hint("restore another backup with --set; run info to list them");
  }

  const Repository& repository_;
  const std::string& stanza_;
  const RestorePlan& plan_;
  FileMaker maker_;
  Progress& progress_;
  std::atomic<uint64_t> fetched_ = 0;
  std::atomic<uint64_t> written_ = 0;
};

}  // namespace

OwnerTable::Ids OwnerTable::find(const std::string& user, const std::string& group) {
  const MutexLock lock(mu_);
  const auto [user_at, user_new] = users_.try_emplace(user, static_cast<uid_t>(-1));
  if (user_new && !user.empty()) {
    struct passwd entry {};
    struct passwd* found = nullptr;
    std::vector<char> space(16384);
    if (::getpwnam_r(user.c_str(), &entry, space.data(), space.size(), &found) == 0 && found != nullptr)
      user_at->second = entry.pw_uid;
    else
      unknown_.push_back("user " + user);
  }
  const auto [group_at, group_new] = groups_.try_emplace(group, static_cast<gid_t>(-1));
  if (group_new && !group.empty()) {
    struct group entry {};
    struct group* found = nullptr;
    std::vector<char> space(16384);
    if (::getgrnam_r(group.c_str(), &entry, space.data(), space.size(), &found) == 0 && found != nullptr)
      group_at->second = entry.gr_gid;
    else
      unknown_.push_back("group " + group);
  }
  return {user_at->second, group_at->second};
}

Result<> OwnerTable::apply(int fd, const FileEntry& entry) {
  if (!enabled_) return {};
  const Ids ids = find(entry.user, entry.group);
  if (::fchown(fd, ids.user, ids.group) != 0) return errno_error(errno, "change owner of '" + entry.path + "'");
  return {};
}

Result<> OwnerTable::apply_to_path(const std::string& path, const std::string& user, const std::string& group) {
  if (!enabled_) return {};
  const Ids ids = find(user, group);
  if (::lchown(path.c_str(), ids.user, ids.group) != 0) return errno_error(errno, "change owner of '" + path + "'");
  return {};
}

std::vector<std::string> OwnerTable::unknown() const {
  const MutexLock lock(mu_);
  return unknown_;
}

Result<CopyTotals> copy_files(const Repository& repository, const std::string& stanza, const ManifestReader& manifest,
                              const RestorePlan& plan, const CopyOptions& options, OwnerTable& owners,
                              const CancelToken& cancel, Progress& progress) {
  Copier copier(repository, stanza, plan, options, owners, progress);
  return copier.run(manifest, std::max(options.workers, 1u), cancel);
}

}  // namespace pgark
