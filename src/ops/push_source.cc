// Reading of files of pg_wal.
#include "ops/push_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "core/file.h"

namespace pgark {
namespace {

int64_t nanoseconds(const struct timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

FileIdentity file_identity(const struct stat& status) {
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .bytes = static_cast<uint64_t>(status.st_size),
          .modified_ns = nanoseconds(status.st_mtim),
          .changed_ns = nanoseconds(status.st_ctim)};
}

Result<FileIdentity> file_identity(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error(errno, fmt::format("look at '{}'", path));
  if (!S_ISREG(status.st_mode)) return Error(Errc::kInvalid, fmt::format("'{}' is no regular file", path));
  return file_identity(status);
}

TimelineId timeline_of(const pg::WalFileName& name) {
  struct Visitor {
    TimelineId operator()(const pg::WalSegmentName& segment) const { return segment.timeline; }
    TimelineId operator()(const pg::WalPartialName& partial) const { return partial.segment.timeline; }
    TimelineId operator()(const pg::WalHistoryName& history) const { return history.timeline; }
    TimelineId operator()(const pg::WalBackupName& backup) const { return backup.segment.timeline; }
  };
  return std::visit(Visitor{}, name);
}

std::string PushSource::directory() const { return parent_path(path); }
TimelineId PushSource::timeline() const { return timeline_of(parsed); }

Result<PushSource> read_push_source(const std::string& path, Buffer room) {
  PushSource source;
  source.content = std::move(room);
  source.content.clear();
  source.path = path;
  source.name = path.substr(path.rfind('/') + 1);
  TRY_ASSIGN(source.parsed, pg::parse_wal_file_name(source.name));
  TRY_ASSIGN(const File file, File::open(path, O_RDONLY));
  TRY_ASSIGN(const struct stat before, file.stat());
  if (!S_ISREG(before.st_mode)) return Error(Errc::kInvalid, fmt::format("'{}' is no regular file", path));
  if (static_cast<uint64_t>(before.st_size) > pg::kWalSegmentBytesMax) {
    return Error(Errc::kCorrupt, fmt::format("'{}' has {} bytes, more than any WAL file", path, before.st_size));
  }
  source.content.resize(static_cast<size_t>(before.st_size));
  TRY_ASSIGN(const size_t got, file.pread(source.content.bytes(), 0));
  // By path, not by descriptor: the file that is acknowledged is the one that has the name.
  struct stat after {};
  if (::stat(path.c_str(), &after) != 0) return errno_error(errno, fmt::format("look at '{}' again", path));
  source.identity = file_identity(before);
  if (got != source.content.size() || source.identity != file_identity(after)) {
    return Error(Errc::kTransient, fmt::format("'{}' changed while it was read", path));
  }
  return source;
}

}  // namespace pgark
