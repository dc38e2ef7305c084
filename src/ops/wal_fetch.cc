#include "ops/wal_fetch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <vector>

#include "ops/archive_file.h"
#include "pg/wal_index.h"
#include "pipe/task_group.h"
#include "repo/container.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// Stored bytes that are read at once: a segment of 16 MiB in one or two reads, one of 1 GiB without holding it.
constexpr uint64_t kBatchBytes = 8u << 20;
constexpr size_t kHeadBytes = 40;

/// A frame of the content and where its bytes go in the file.
struct Piece {
  FrameRef ref;
  uint64_t at = 0;
};

std::vector<Piece> pieces_of(const ContainerReader& reader) {
  std::vector<Piece> pieces;
  uint64_t at = 0;
  for (const FrameRef& ref : reader.frames()) {
    if (ref.type != FrameType::kWalData) continue;
    pieces.push_back({ref, at});
    at += ref.raw_bytes;
  }
  return pieces;
}

uint64_t content_bytes(const std::vector<Piece>& pieces) {
  return pieces.empty() ? 0 : pieces.back().at + pieces.back().ref.raw_bytes;
}

/// Have a piece of the file go to disk, without waiting for it: PostgreSQL syncs each segment it was given before it
/// reads it, and recovery stands still meanwhile. File systems that know no such call leave it all to that.
void start_write_back(const File& file, uint64_t at, uint64_t bytes) {
  static_cast<void>(
      ::sync_file_range(file.fd(), static_cast<off_t>(at), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE));
}

/// Decode the pieces, whose stored bytes from `begin` of the object on are `stored`, into the file.
Result<> decode_batch(const Repository& repository, const ObjectKey& key, std::span<const Piece> pieces, Bytes stored,
                      uint64_t begin, unsigned threads, const File& into) {
  std::atomic<size_t> next = 0;
  const auto work = [&]() -> Result<> {
    Decompressor decompressor;
    Buffer raw;
    for (size_t i = next++; i < pieces.size(); i = next++) {
      const FrameRef& ref = pieces[i].ref;
      raw.resize(ref.raw_bytes);
      const Bytes frame = stored.subspan(static_cast<size_t>(ref.offset - begin), ref.stored_bytes);
      TRY(decode_frame(repository, key, ref, frame, decompressor, raw.bytes()));
      TRY(into.pwrite(raw, pieces[i].at));
      start_write_back(into, pieces[i].at, raw.size());
    }
    return {};
  };
  const size_t workers = std::min<size_t>(threads, pieces.size());
  if (workers <= 1) return work();
  TaskGroup group;
  for (size_t i = 1; i < workers; ++i) group.spawn(work);
  auto own = work();
  auto others = group.wait();
  return own ? std::move(others) : std::move(own);
}

Result<> copy_pieces(const Repository& repository, const ObjectKey& key, std::span<const Piece> pieces,
                     unsigned threads, const File& into) {
  Buffer stored;
  while (!pieces.empty()) {
    const uint64_t begin = pieces.front().ref.offset;
    uint64_t end = begin;
    size_t count = 0;
    // What lies between two pieces is read along: in a segment that is nothing.
    for (; count < pieces.size(); ++count) {
      const uint64_t frame_end = pieces[count].ref.offset + pieces[count].ref.stored_bytes;
      if (count > 0 && frame_end - begin > kBatchBytes) break;
      end = frame_end;
    }
    stored.resize(static_cast<size_t>(end - begin));
    TRY(repository.store().read_exact(key, begin, stored.bytes()));
    TRY(decode_batch(repository, key, pieces.first(count), stored, begin, threads, into));
    pieces = pieces.subspan(count);
  }
  return {};
}

/// Histories and backup labels: small, and checked as a whole.
Result<FetchedWal> fetch_text(const ContainerReader& reader, const std::vector<Piece>& pieces,
                              const pg::WalFileName& name, const ClusterRecord& cluster, const File& into) {
  constexpr uint64_t kTextBytesMax = 4u << 20;
  if (content_bytes(pieces) > kTextBytesMax) {
    return Error(Errc::kCorrupt,
                 fmt::format("it has {} bytes, far more than such a file can have", content_bytes(pieces)));
  }
  Buffer content;
  for (const Piece& piece : pieces) {
    TRY_ASSIGN(const Buffer raw, reader.read(piece.ref));
    content.append(raw);
  }
  TRY(check_archive_file(name, content, cluster));
  TRY(into.pwrite(content, 0));
  return FetchedWal{};
}

/// The bytes of a file as memory.
class MappedFile {
 public:
  static Result<MappedFile> open(const File& file, size_t size) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
    if (data == MAP_FAILED) return errno_error(errno, "map '" + file.path() + "'");
    return MappedFile(data, size);
  }
  MappedFile(MappedFile&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  Bytes bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  MappedFile(void* data, size_t size) : data_(data), size_(size) {}
  void* data_;
  size_t size_;
};

/// Where WAL ends in a segment as its page headers tell.
Result<FetchedWal> end_by_pages(const File& file, const pg::WalSegment& segment, uint32_t segment_bytes) {
  TRY_ASSIGN(const MappedFile mapped, MappedFile::open(file, segment_bytes));
  const uint64_t valid = valid_wal_bytes(mapped.bytes(), segment);
  if (valid == segment_bytes) return FetchedWal{};
  const Lsn end{pg::segment_start(segment, segment_bytes).bytes + valid};
  return FetchedWal{.end_reason = fmt::format("the page at {} is none of this segment", to_string(end)), .end = end};
}

/// Where WAL ends in a segment as the index stored behind it tells; none if there is none that can be used.
/// Errors: of the store, which say nothing of the segment.
Result<std::optional<FetchedWal>> end_by_index(const ContainerReader& reader, const pg::WalSegment& segment,
                                               const ClusterRecord& cluster) {
  const auto usable = [](const Error& error) {
    const bool damaged = error.code() == Errc::kCorrupt || error.code() == Errc::kUnsupported;
    return damaged ? Result<std::optional<FetchedWal>>(std::nullopt) : Result<std::optional<FetchedWal>>(error);
  };
  Buffer raw;
  for (const FrameRef& ref : reader.frames()) {
    if (ref.type != FrameType::kWalIndex) continue;
    const auto part = reader.read(ref);
    if (!part) return usable(part.error());
    raw.append(*part);
  }
  if (raw.empty()) return std::optional<FetchedWal>();
  const auto index = pg::decode_wal_index(raw);
  if (!index) return usable(index.error());
  if (index->segment != segment || index->system_id != cluster.system_identifier) return std::optional<FetchedWal>();
  if (index->is_complete()) return std::optional(FetchedWal{});
  return std::optional(FetchedWal{.end_reason = index->end_reason, .end = index->valid_to});
}

Result<> check_head(const File& file, const pg::WalSegmentName& name, uint64_t size_bytes,
                    const ClusterRecord& cluster) {
  std::array<std::byte, kHeadBytes> head;
  TRY_ASSIGN(const size_t got, file.pread(head, 0));
  return check_archive_segment(name, Bytes(head).first(got), size_bytes, cluster);
}

}  // namespace

Result<TemporaryFile> TemporaryFile::create(std::string path) {
  TRY_ASSIGN(File file, File::open(std::move(path), O_RDWR | O_CREAT | O_TRUNC, 0600));
  return TemporaryFile(std::move(file));
}

TemporaryFile::~TemporaryFile() {
  if (file_.is_open()) ::unlink(file_.path().c_str());
}

Result<> TemporaryFile::move_to(const std::string& destination) {
  const std::string path = file_.path();
  auto moved = file_.close();  // Some file systems tell only here that there was no room.
  if (moved && std::rename(path.c_str(), destination.c_str()) != 0) {
    moved = errno_error(errno, fmt::format("rename '{}' to '{}'", path, destination));
  }
  if (!moved) ::unlink(path.c_str());
  return moved;
}

std::string temporary_beside(const std::string& destination) {
  return fmt::format("{}/xlogtemp.pgark.{}", parent_path(destination), ::getpid());
}

Result<FetchedWal> fetch_wal_file(const Repository& repository, const ObjectKey& key, const pg::WalFileName& name,
                                  const ClusterRecord& cluster, unsigned threads, const File& into) {
  TRY_ASSIGN(const ContainerReader reader, open_stored_file(repository, key, cluster.wal_segment_bytes));
  const std::vector<Piece> pieces = pieces_of(reader);
  const auto* whole = std::get_if<pg::WalSegmentName>(&name);
  const auto* partial = std::get_if<pg::WalPartialName>(&name);
  if (whole == nullptr && partial == nullptr) return fetch_text(reader, pieces, name, cluster, into);

  const pg::WalSegmentName& segment_name = whole != nullptr ? *whole : partial->segment;
  if (content_bytes(pieces) != cluster.wal_segment_bytes) {  // Before anything large is written.
    return check_archive_segment(segment_name, {}, content_bytes(pieces), cluster).error();
  }
  if (!reader.loaded().empty()) {
    TRY(decode_batch(repository, key, pieces, reader.loaded(), 0, threads, into));
  } else {
    TRY(copy_pieces(repository, key, pieces, threads, into));
  }
  TRY(check_head(into, segment_name, content_bytes(pieces), cluster));
  if (whole == nullptr) return FetchedWal{};  // That WAL ends in it is what a partial segment is for.
  TRY_ASSIGN(const pg::WalSegment segment, pg::parse_segment_name(whole->text(), cluster.wal_segment_bytes));
  TRY_ASSIGN(auto end, end_by_index(reader, segment, cluster));
  return end ? Result<FetchedWal>(std::move(*end)) : end_by_pages(into, segment, cluster.wal_segment_bytes);
}

Result<FetchedWal> check_segment_file(const File& file, const pg::WalSegment& segment, const ClusterRecord& cluster) {
  TRY_ASSIGN(const auto name, pg::parse_wal_file_name(pg::segment_name(segment, cluster.wal_segment_bytes)));
  TRY_ASSIGN(const struct stat status, file.stat());
  TRY(check_head(file, std::get<pg::WalSegmentName>(name), static_cast<uint64_t>(status.st_size), cluster));
  TRY_ASSIGN(const MappedFile mapped, MappedFile::open(file, cluster.wal_segment_bytes));
  TRY_ASSIGN(const pg::WalIndex index, pg::make_wal_index(mapped.bytes(), segment));
  return index.is_complete() ? FetchedWal{} : FetchedWal{.end_reason = index.end_reason, .end = index.valid_to};
}

}  // namespace pgark
