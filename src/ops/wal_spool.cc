#include "ops/wal_spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "codec/hash.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/wal_hole.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::string_view kOwnerFile = "owner";    // The data directory, for whoever cleans up.
constexpr std::string_view kWantedFile = "wanted";  // The segment a server fetched itself last.
constexpr std::string_view kFullFile = "full";      // The lack of room was reported.

/// An id of this boot of the machine, the same in all its containers.
Result<std::string> read_boot_id() {
  TRY_ASSIGN_CTX(std::string id, read_file("/proc/sys/kernel/random/boot_id", 256), "identify this boot");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  const bool sound = !id.empty() && id.find_first_not_of("0123456789abcdef-") == std::string::npos;
  if (!sound) return Error(Errc::kInternal, fmt::format("identify this boot: '{}' is no boot id", id));
  return id;
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log_detail("remove '{}': {}", path.string(), error.message());
}

std::vector<fs::path> entries_of(const std::string& directory) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    paths.push_back(it->path());
  }
  return paths;
}

/// Small, and worth nothing after a crash.
Result<> write_plain(const std::string& path, std::string_view content) {
  TRY_ASSIGN(File file, File::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(file.write(as_bytes(content)));
  return file.close();
}

/// For a spool on another file system than the data directory.
Result<> copy_to(const File& from, const std::string& destination) {
  TRY_ASSIGN(TemporaryFile to, TemporaryFile::create(temporary_beside(destination)));
  Buffer buffer(1u << 20);
  for (uint64_t at = 0;;) {
    TRY_ASSIGN(const size_t got, from.pread(buffer.bytes(), at));
    if (got == 0) break;
    TRY(to.file().pwrite(buffer.bytes().first(got), at));
    at += got;
  }
  return to.move_to(destination);
}

Result<> check_waiting(const File& file, const pg::WalSegment& segment, const ClusterRecord& cluster) {
  const std::string name = pg::segment_name(segment, cluster.wal_segment_bytes);
  TRY_ASSIGN(const auto parsed, pg::parse_wal_file_name(name));
  TRY_ASSIGN(const struct stat status, file.stat());
  std::array<std::byte, 40> head;
  TRY_ASSIGN(const size_t got, file.pread(head, 0));
  return check_archive_segment(std::get<pg::WalSegmentName>(parsed), Bytes(head).first(got),
                               static_cast<uint64_t>(status.st_size), cluster);
}

}  // namespace

Result<WalSpool> WalSpool::locate(const std::string& spool_path, const std::string& stanza, std::string data_directory,
                                  const ClusterRecord& cluster) {
  TRY_ASSIGN(const std::string boot_id, read_boot_id());
  const auto hash = static_cast<uint32_t>(seeded_hash(as_bytes(data_directory), 0));
  WalSpool spool;
  spool.root_ = fmt::format("{}/archive/{}/in", spool_path, stanza);
  spool.boot_ = spool.root_ + "/" + boot_id;
  spool.path_ = fmt::format("{}/{}-{:08x}", spool.boot_, cluster.system_identifier, hash);
  spool.lock_name_ = fmt::format("prefetch_{:08x}", hash);
  spool.data_directory_ = std::move(data_directory);
  spool.cluster_ = cluster;
  return spool;
}

std::string WalSpool::file_path(const pg::WalSegment& segment) const {
  return fmt::format("{}/{}", path_, pg::segment_name(segment, cluster_.wal_segment_bytes));
}

std::string WalSpool::temporary_path(const pg::WalSegment& segment) const {
  return file_path(segment) + std::string(kTemporarySuffix);
}

Result<std::vector<pg::WalSegment>> WalSpool::list() const {
  std::vector<pg::WalSegment> segments;
  std::error_code error;
  fs::directory_iterator it(path_, error);
  if (error == std::errc::no_such_file_or_directory) return segments;
  for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
    const auto segment = pg::parse_segment_name(it->path().filename().native(), cluster_.wal_segment_bytes);
    if (!segment) continue;
    segments.push_back(*segment);
  }
  if (error) return Error(Errc::kPermission, fmt::format("read directory '{}': {}", path_, error.message()));
  return segments;
}

bool WalSpool::holds(const pg::WalSegment& segment) const { return ::access(file_path(segment).c_str(), F_OK) == 0; }

bool WalSpool::is_coming(const pg::WalSegment& segment) const {
  return ::access(temporary_path(segment).c_str(), F_OK) == 0;
}

Result<bool> WalSpool::take(const pg::WalSegment& segment, const std::string& destination) const {
  const std::string path = file_path(segment);
  auto file = File::open(path, O_RDONLY | O_NOFOLLOW);
  if (!file) {
    if (file.error().code() == Errc::kNotFound) return false;
    return std::move(file).error();
  }
  if (const auto good = check_waiting(*file, segment, cluster_); !good) {
    log_warn("remove '{}': {}", path, good.error().message());
    ::unlink(path.c_str());
    return false;
  }
  if (std::rename(path.c_str(), destination.c_str()) == 0) return true;
  if (errno == ENOENT)
    return false;  // Trimmed, or the directory of the destination is gone: then the fetch will say so.
  if (errno != EXDEV) {
    Error error = errno_error(errno, fmt::format("rename '{}' to '{}'", path, destination));
    ::unlink(path.c_str());
    return error;
  }
  const auto copied = copy_to(*file, destination);
  ::unlink(path.c_str());
  TRY(copied);
  return true;
}

Result<uint64_t> WalSpool::trim(const pg::WalSegment& wanted, bool delivered, uint64_t queue_bytes) const {
  TRY_ASSIGN(const auto segments, list());
  // Recovery asks the newest timeline first: once an older one gave the segment, the newer is none of its history.
  const bool strayed = delivered && std::any_of(segments.begin(), segments.end(), [&](const pg::WalSegment& waiting) {
                         return waiting.number == wanted.number && waiting.timeline > wanted.timeline;
                       });
  const uint64_t ahead_max = queue_bytes / cluster_.wal_segment_bytes;
  uint64_t bytes = 0;
  for (const pg::WalSegment& waiting : segments) {
    const auto& [timeline, number] = waiting;
    const bool behind = number < wanted.number || (number == wanted.number && delivered);
    const bool out_of_reach =
        delivered && (number > wanted.number + ahead_max || (strayed && timeline > wanted.timeline));
    if (behind || out_of_reach) {
      ::unlink(file_path(waiting).c_str());
    } else {
      bytes += cluster_.wal_segment_bytes;
    }
  }
  return bytes;
}

Result<> WalSpool::create() const {
  TRY_CTX(make_directories(path_, 0750), "create spool");
  if (::access(path_.c_str(), W_OK | X_OK) != 0) return errno_error(errno, "write to spool '" + path_ + "'");
  return {};
}

Result<> WalSpool::prepare() const {
  TRY(create());
  TRY(write_plain(path_ + "/" + std::string(kOwnerFile), data_directory_));
  for (const fs::path& path : entries_of(root_)) {
    if (path != boot_) remove_tree(path);
  }
  remove_siblings();
  ::unlink((path_ + "/" + std::string(kWantedFile)).c_str());
  for (const fs::path& path : entries_of(path_)) {
    if (path.native().ends_with(kTemporarySuffix)) ::unlink(path.c_str());
  }
  return {};
}

void WalSpool::remove_siblings() const {
  for (const fs::path& path : entries_of(boot_)) {
    if (path == path_) continue;
    const auto owner = read_file(path / kOwnerFile, 1u << 16);
    if (!owner) continue;  // Just being made.
    const auto kind = recovery_kind(*owner);
    if (kind && *kind == RecoveryKind::kNone) remove_tree(path);
  }
}

Result<TemporaryFile> WalSpool::begin(const pg::WalSegment& segment) const {
  return TemporaryFile::create(temporary_path(segment));
}

Result<> WalSpool::finish(TemporaryFile file, const pg::WalSegment& segment) const {
  return file.move_to(file_path(segment));
}

void WalSpool::note_wanted(const pg::WalSegment& segment) const {
  const std::string path = path_ + "/" + std::string(kWantedFile);
  // Over the name before, which is as long: who reads it meanwhile finds the one or the other, and never nothing.
  const auto file = File::open(path, O_WRONLY | O_CREAT, 0600);
  const std::string name = pg::segment_name(segment, cluster_.wal_segment_bytes);
  const auto written = file ? file->pwrite(as_bytes(name), 0) : Result<>(file.error());
  if (!written) log_debug("{}", written.error().message());
}

std::optional<pg::WalSegment> WalSpool::noted_wanted() const {
  const auto name = read_file(path_ + "/" + std::string(kWantedFile), 256);
  if (!name) return std::nullopt;
  const auto segment = pg::parse_segment_name(*name, cluster_.wal_segment_bytes);
  return segment ? std::optional(*segment) : std::nullopt;
}

bool WalSpool::mark_full() const {
  const auto mark = File::open(path_ + "/" + std::string(kFullFile), O_WRONLY | O_CREAT | O_EXCL, 0600);
  return mark || mark.error().code() != Errc::kAlreadyExists;
}

void WalSpool::unmark_full() const { ::unlink((path_ + "/" + std::string(kFullFile)).c_str()); }

}  // namespace pgark
