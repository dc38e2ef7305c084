// Following the files of a directory that a program fills: a watch tells which there are and which are complete, their
// sizes are looked at while they grow, and a few threads read what is new, store it and free it on disk.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <deque>
#include <filesystem>
#include <map>
#include <set>

#include "core/log.h"
#include "core/thread_annotations.h"
#include "ops/dump_spool.h"
#include "pg/dump_toc.h"
#include "pipe/task_group.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;

constexpr size_t kReadBytes = 1u << 20;
constexpr uint64_t kTurnBytes = 16u << 20;   // Read of one file before others get their turn.
constexpr uint64_t kPunchBytes = 1u << 20;   // Freed at once.
constexpr uint64_t kBlockBytes = 64u << 10;  // What is freed begins and ends at multiples; more than any block.
constexpr int kTickMs = 10;                  // Between looks at the files that grow.
constexpr size_t kTocBytesMax = size_t{1} << 30;
constexpr std::string_view kToc = "toc.dat";

/// Files that are opened again to be appended to, or written last: complete only when the program has ended.
bool is_complete_at_end(std::string_view name) { return name == kToc || name.ends_with(".toc"); }

bool is_table_data(std::string_view name) {
  if (!name.ends_with(".dat") || name.size() == 4) return false;
  name.remove_suffix(4);
  return std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

struct OnDisk {
  uint64_t size = 0;
  uint64_t blocks_bytes = 0;
};
Result<OnDisk> look_at(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno_error(errno, "look at '" + path + "'");
  if (!S_ISREG(status.st_mode)) return Error(Errc::kInternal, "pg_dump made '" + path + "', which is no file");
  return OnDisk{static_cast<uint64_t>(status.st_size), static_cast<uint64_t>(status.st_blocks) * 512};
}

/// A file under way. Between its turns it belongs to the watcher's lock, during one to the thread that reads.
struct Followed {
  std::string name;
  // Under the lock.
  OnDisk seen;
  uint64_t read = 0;
  bool closed = false;  // Nothing is written to it any more.
  bool queued = false;
  bool busy = false;
  bool again = false;  // It grew or was closed during a turn.
  // Of the thread that reads.
  File file;
  uint64_t freed = 0;
  std::optional<DumpPacks::Writer> writer;
  std::unique_ptr<pg::DumpRowCounter> rows;
};

}  // namespace

class DirectoryFollower::Impl {
 public:
  Impl(DumpPacks& packs, Progress& progress, FollowOptions options)
      : packs_(packs), progress_(progress), options_(std::move(options)) {}
  ~Impl() { stop(); }

  Result<> start();
  Result<SubprocessExit> follow(Subprocess& writer, const CancelToken& cancel);
  Result<std::vector<FollowedFile>> finish(const CancelToken& cancel);
  Bytes toc() const { return toc_.bytes(); }
  uint64_t bytes_peak() const {
    const MutexLock lock(mu_);
    return peak_;
  }

 private:
  std::string path_of(const std::string& name) const { return options_.directory + "/" + name; }

  // Of the thread that watches.
  Result<> read_events();
  Result<> rescan() EXCLUDES(mu_);
  Result<> look_at_open_files() EXCLUDES(mu_);
  void keep_bound(Subprocess& writer) EXCLUDES(mu_);
  Result<> add(const std::string& name) EXCLUDES(mu_);
  Result<> close(const std::string& name) EXCLUDES(mu_);
  Result<> update(Followed& file, bool closed) REQUIRES(mu_);
  void set_blocks(Followed& file, uint64_t bytes) REQUIRES(mu_);
  void queue(Followed& file) REQUIRES(mu_);
  void stop() EXCLUDES(mu_);

  // Of the threads that read.
  Result<> work();
  Result<bool> take_turn(Followed& file, Buffer& buffer);
  Result<> free_read(Followed& file, uint64_t read);
  Result<> complete(Followed& file, uint64_t size);

  DumpPacks& packs_;
  Progress& progress_;
  const FollowOptions options_;
  File watch_;
  bool lost_events_ = false;
  bool paused_ = false;

  mutable Mutex mu_;
  CondVar changed_;
  std::map<std::string, std::unique_ptr<Followed>, std::less<>> files_ GUARDED_BY(mu_);
  std::set<std::string, std::less<>> done_ GUARDED_BY(mu_);
  std::deque<Followed*> ready_ GUARDED_BY(mu_);
  std::vector<FollowedFile> complete_ GUARDED_BY(mu_);
  uint64_t on_disk_ GUARDED_BY(mu_) = 0;
  uint64_t unread_ GUARDED_BY(mu_) = 0;
  uint64_t peak_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::atomic<bool> can_punch_ = true;
  Buffer toc_;         // Of the thread that reads toc.dat, then of the owner.
  TaskGroup workers_;  // Last: its threads use all the others.
};

Result<> DirectoryFollower::Impl::start() {
  const int watch = options_.watch ? ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
  if (watch >= 0) watch_ = File::adopt(watch, "inotify");
  if (watch < 0 || ::inotify_add_watch(watch, options_.directory.c_str(),
                                       IN_CREATE | IN_CLOSE_WRITE | IN_EXCL_UNLINK | IN_ONLYDIR) < 0) {
    // Too many watches of this user: then the directory is read again and again.
    log_detail("watch '{}': {}", options_.directory, errno_error(errno, "inotify").message());
    watch_ = File();
    lost_events_ = true;
  }
  for (unsigned i = 0; i < std::max(1u, options_.threads); ++i) workers_.spawn([this] { return work(); });
  return {};
}

void DirectoryFollower::Impl::stop() {
  {
    const MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  workers_.cancel().cancel();
}

// ---- The thread that watches ----------------------------------------------------------------------------------------

Result<SubprocessExit> DirectoryFollower::Impl::follow(Subprocess& writer, const CancelToken& cancel) {
  unsigned ticks = 0;
  while (!writer.has_ended()) {
    TRY(cancel.check());
    if (workers_.cancel().cancelled()) {
      stop();
      TRY(workers_.wait());
    }
    pollfd wanted{watch_.fd(), POLLIN, 0};
    ::poll(&wanted, watch_.is_open() ? 1 : 0, kTickMs);
    TRY(read_events());
    if (lost_events_ && ticks++ % 20 == 0) TRY(rescan());
    TRY(look_at_open_files());
    keep_bound(writer);
  }
  return writer.wait(cancel);
}

Result<> DirectoryFollower::Impl::read_events() {
  if (!watch_.is_open()) return {};
  alignas(inotify_event) std::array<char, 64 << 10> raw;
  for (;;) {
    const ssize_t count = ::read(watch_.fd(), raw.data(), raw.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return {};
    if (count <= 0) return errno_error(errno, "watch '" + options_.directory + "'");
    for (ssize_t at = 0; at < count;) {
      const auto* event = reinterpret_cast<const inotify_event*>(raw.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      if ((event->mask & IN_Q_OVERFLOW) != 0) {
        lost_events_ = true;
        continue;
      }
      if (event->len == 0) continue;
      const std::string name = event->name;
      if ((event->mask & IN_CREATE) != 0) TRY(add(name));
      if ((event->mask & IN_CLOSE_WRITE) != 0) TRY(close(name));
    }
  }
}

Result<> DirectoryFollower::Impl::rescan() {
  std::error_code failed;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(options_.directory, failed), end; !failed && at != end;
       at.increment(failed))
    names.push_back(at->path().filename().string());
  if (failed) return errno_error(failed.value(), "read directory '" + options_.directory + "'");
  const MutexLock lock(mu_);
  for (const std::string& name : names) {
    // One that is complete may be about to be removed.
    if (files_.contains(name) || done_.contains(name)) continue;
    auto& file = files_[name];
    file = std::make_unique<Followed>();
    file->name = name;
    queue(*file);
  }
  return {};
}

Result<> DirectoryFollower::Impl::add(const std::string& name) {
  const MutexLock lock(mu_);
  if (done_.contains(name))
    return Error(Errc::kInternal, fmt::format("pg_dump wrote '{}' again after it was complete", name));
  auto& file = files_[name];
  if (file != nullptr) return {};
  file = std::make_unique<Followed>();
  file->name = name;
  return {};
}

Result<> DirectoryFollower::Impl::close(const std::string& name) {
  const MutexLock lock(mu_);
  // Our own descriptor is closed after the name is gone, and not told of then.
  if (is_complete_at_end(name) || done_.contains(name)) return {};
  const auto found = files_.find(name);
  if (found == files_.end() || found->second->closed) return {};
  return update(*found->second, true);
}

/// Learn how much there is of a file.
Result<> DirectoryFollower::Impl::update(Followed& file, bool closed) {
  TRY_ASSIGN(const OnDisk now, look_at(path_of(file.name)));
  const bool grew = now.size > file.seen.size;
  if (grew) {
    unread_ += now.size - file.seen.size;
    file.seen.size = now.size;
  }
  set_blocks(file, now.blocks_bytes);
  if (closed) file.closed = true;
  if (grew || closed) queue(file);
  return {};
}

void DirectoryFollower::Impl::set_blocks(Followed& file, uint64_t bytes) {
  on_disk_ = on_disk_ - file.seen.blocks_bytes + bytes;
  file.seen.blocks_bytes = bytes;
  peak_ = std::max(peak_, on_disk_);
}

void DirectoryFollower::Impl::queue(Followed& file) {
  if (file.busy) file.again = true;
  if (file.busy || file.queued) return;
  file.queued = true;
  ready_.push_back(&file);
  changed_.notify_one();
}

Result<> DirectoryFollower::Impl::look_at_open_files() {
  const MutexLock lock(mu_);
  for (const auto& [name, file] : files_)
    if (!file->closed) TRY(update(*file, false));
  return {};
}

void DirectoryFollower::Impl::keep_bound(Subprocess& writer) {
  bool stop = paused_;
  {
    const MutexLock lock(mu_);
    // Where nothing can be freed before a file is complete, it has to go on once all is read.
    if (!paused_) stop = on_disk_ > options_.bytes_max && unread_ > 0;
    if (paused_) stop = on_disk_ > options_.bytes_max / 2 && unread_ > 0;
  }
  if (stop == paused_) return;
  paused_ = stop;
  if (stop) {
    writer.pause();
  } else {
    writer.resume();
  }
}

Result<std::vector<FollowedFile>> DirectoryFollower::Impl::finish(const CancelToken& cancel) {
  // Whatever events said or failed to say, now the directory itself tells what there is.
  TRY(rescan());
  {
    const MutexLock lock(mu_);
    for (const auto& [name, file] : files_)
      if (!file->closed) TRY(update(*file, true));
  }
  for (;;) {
    TRY(cancel.check());
    const MutexLock lock(mu_);
    if (files_.empty() || workers_.cancel().cancelled()) break;
    changed_.wait_for(mu_, milliseconds(50));
  }
  const bool failed = workers_.cancel().cancelled();
  stop();
  if (failed) {
    TRY(workers_.wait());
    return Error(Errc::kInternal, "read '" + options_.directory + "': its readers stopped");
  }
  const MutexLock lock(mu_);
  const auto order = [](const FollowedFile& file) {
    return std::tuple(file.stream.name != kToc, file.stream.name.size(), std::string_view(file.stream.name));
  };
  std::sort(complete_.begin(), complete_.end(),
            [&](const FollowedFile& a, const FollowedFile& b) { return order(a) < order(b); });
  return std::move(complete_);
}

// ---- The threads that read ------------------------------------------------------------------------------------------

Result<> DirectoryFollower::Impl::work() {
  Buffer buffer(kReadBytes);
  for (;;) {
    Followed* file = nullptr;
    bool closed = false;
    {
      const MutexLock lock(mu_);
      while (ready_.empty() && !stopping_ && !workers_.cancel().cancelled()) changed_.wait_for(mu_, milliseconds(200));
      if (stopping_ || workers_.cancel().cancelled()) return {};
      file = ready_.front();
      ready_.pop_front();
      file->queued = false;
      file->busy = true;
      closed = file->closed;  // Before it is read: what is read then to the end is all there is.
    }
    TRY_ASSIGN(const bool at_end, take_turn(*file, buffer));
    if (at_end && closed) {
      TRY(complete(*file, file->read));
      continue;
    }
    const MutexLock lock(mu_);
    file->busy = false;
    if (!at_end || std::exchange(file->again, false)) queue(*file);
  }
}

/// Read what is new of a file, or a part. Whether its end was reached.
Result<bool> DirectoryFollower::Impl::take_turn(Followed& file, Buffer& buffer) {
  if (!file.file.is_open()) {
    // Freeing parts of a file needs the right to write.
    TRY_ASSIGN(file.file, File::open(path_of(file.name), O_RDWR | O_NOFOLLOW));
    TRY_ASSIGN(DumpPacks::Writer writer, packs_.begin(file.name));
    file.writer.emplace(std::move(writer));
    if (options_.count_rows && is_table_data(file.name)) file.rows = pg::count_directory_file_rows();
  }
  uint64_t read = file.read;  // Only its reader changes it.
  const uint64_t turn_end = read + kTurnBytes;
  bool at_end = false;
  while (!at_end && read < turn_end) {
    if (workers_.cancel().cancelled()) return Error(Errc::kCancelled, "stopped on request");
    TRY_ASSIGN(const size_t count, file.file.pread(buffer.bytes(), read));
    at_end = count < buffer.size();
    if (count == 0) break;
    const Bytes data = buffer.bytes().first(count);
    TRY(file.writer->append(data));
    if (file.rows) file.rows->add(data);
    if (file.name == kToc) {
      if (toc_.size() + count > kTocBytesMax)
        return Error(Errc::kUnsupported, "pg_dump's table of contents is larger than 1 GiB");
      toc_.append(data);
    }
    read += count;
    progress_.bytes_done.fetch_add(count, std::memory_order_relaxed);
    TRY(free_read(file, read));
    const MutexLock lock(mu_);
    // What was read may be more than was seen.
    if (read > file.seen.size) {
      unread_ += read - file.seen.size;
      file.seen.size = read;
    }
    unread_ -= read - file.read;
    file.read = read;
  }
  return at_end;
}

/// Give the room of what was read back to the file system.
Result<> DirectoryFollower::Impl::free_read(Followed& file, uint64_t read) {
  const uint64_t until = read / kBlockBytes * kBlockBytes;
  if (!can_punch_ || until < file.freed + kPunchBytes) return {};
  if (::fallocate(file.file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(file.freed),
                  static_cast<off_t>(until - file.freed)) != 0) {
    if (errno == EINTR) return {};  // The next time.
    if (errno != EOPNOTSUPP && errno != ENOSYS) return errno_error(errno, "free what was read of '" + file.name + "'");
    if (can_punch_.exchange(false))
      log_warn(
          "the file system of '{}' cannot free a part of a file: a table needs as much room there as its data have",
          options_.directory);
    return {};
  }
  file.freed = until;
  TRY_ASSIGN(const struct stat status, file.file.stat());
  const MutexLock lock(mu_);
  set_blocks(file, static_cast<uint64_t>(status.st_blocks) * 512);
  return {};
}

Result<> DirectoryFollower::Impl::complete(Followed& file, uint64_t size) {
  TRY_ASSIGN(const struct stat status, file.file.stat());
  if (static_cast<uint64_t>(status.st_size) != size || file.writer->bytes() != size)
    return Error(Errc::kInternal, fmt::format("read '{}': {} bytes were read of {}", file.name, size, status.st_size));
  FollowedFile result;
  TRY_ASSIGN(result.stream, std::move(*file.writer).finish());
  if (file.rows)
    if (const auto counts = file.rows->counts(); !counts.empty()) result.rows = counts.front().rows;
  // First the name: the close of a file that still has one would look like pg_dump's.
  if (::unlink(path_of(file.name).c_str()) != 0) return errno_error(errno, "remove '" + path_of(file.name) + "'");
  const MutexLock lock(mu_);
  set_blocks(file, 0);
  complete_.push_back(std::move(result));
  done_.insert(file.name);
  files_.erase(files_.find(file.name));
  changed_.notify_all();
  return {};
}

// ---------------------------------------------------------------------------------------------------------------------

DirectoryFollower::DirectoryFollower(DumpPacks& packs, Progress& progress, FollowOptions options)
    : impl_(std::make_unique<Impl>(packs, progress, std::move(options))) {}
DirectoryFollower::~DirectoryFollower() = default;
Result<> DirectoryFollower::start() { return impl_->start(); }
Result<SubprocessExit> DirectoryFollower::follow(Subprocess& writer, const CancelToken& cancel) {
  return impl_->follow(writer, cancel);
}
Result<std::vector<FollowedFile>> DirectoryFollower::finish(const CancelToken& cancel) { return impl_->finish(cancel); }
Bytes DirectoryFollower::toc() const { return impl_->toc(); }
uint64_t DirectoryFollower::bytes_peak() const { return impl_->bytes_peak(); }

}  // namespace pgark
