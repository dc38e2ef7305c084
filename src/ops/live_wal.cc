// Segments of pg_wal, read while they are written.
#include "ops/live_wal.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <utility>

#include "core/bytes.h"
#include "core/file.h"
#include "pg/wal.h"

namespace pgark {
namespace {

// An end may lie behind the header of a page, which only a record that follows it makes valid.
constexpr uint64_t kBehindEndBytes = 128u << 10;

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using ZeroedBytes = std::unique_ptr<std::byte[], Free>;

/// The first `wanted` of a file of exactly `bytes`, and zeros for the others, which cost nothing until they are looked
/// at; none if there is no file, or it is of another size.
Result<ZeroedBytes> read_front(const std::string& path, uint32_t bytes, uint64_t wanted) {
  auto opened = File::open(path, O_RDONLY);
  if (!opened && opened.error().code() == Errc::kNotFound) return ZeroedBytes();
  TRY_ASSIGN(const File file, std::move(opened));
  TRY_ASSIGN(const struct stat status, file.stat());
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) != bytes) return ZeroedBytes();
  ZeroedBytes content(static_cast<std::byte*>(std::calloc(bytes, 1)));
  if (content == nullptr) return Error(Errc::kTransient, "read '" + path + "': out of memory");
  const auto front = static_cast<size_t>(std::min<uint64_t>(wanted, bytes));
  TRY_ASSIGN(const size_t got, file.pread({content.get(), front}, 0));
  if (got != front) return ZeroedBytes();
  return content;
}

}  // namespace

Result<std::optional<pg::WalIndex>> read_live_segment(const std::string& data_directory, const pg::WalSegment& segment,
                                                      uint32_t segment_bytes, Lsn end, const pg::WalIndex* before) {
  const std::string path = data_directory + "/pg_wal/" + pg::segment_name(segment, segment_bytes);
  const uint64_t start = pg::segment_start(segment, segment_bytes).bytes;
  const uint64_t wanted = end.bytes <= start ? 0 : std::min<uint64_t>(end.bytes - start, segment_bytes);
  TRY_ASSIGN(const ZeroedBytes content, read_front(path, segment_bytes, wanted + kBehindEndBytes));
  if (content == nullptr) return std::optional<pg::WalIndex>{};
  const Bytes bytes(content.get(), segment_bytes);
  // A file that was made or recycled for later still has zeros at its start, or the address it had.
  const auto header = pg::decode_wal_page_header(bytes);
  if (!header || !header->is_long || header->address.bytes != start || header->segment_bytes != segment_bytes)
    return std::optional<pg::WalIndex>{};
  const std::string context = "index '" + path + "'";
  TRY_ASSIGN_CTX(pg::WalIndex index, pg::make_wal_index(bytes, segment), context);
  if (before == nullptr) return std::optional<pg::WalIndex>(std::move(index));
  auto completed = pg::complete_wal_index(*before, index);
  if (!completed && completed.error().code() == Errc::kNotFound) {
    // More of a record goes on in it than an index holds.
    TRY_ASSIGN_CTX(index, pg::make_wal_index(bytes, segment, &*before->fragment), context);
    completed = pg::complete_wal_index(*before, index);
  }
  TRY_CTX(std::move(completed), context);
  return std::optional<pg::WalIndex>(std::move(index));
}

}  // namespace pgark
