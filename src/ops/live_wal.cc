// Segments of pg_wal, read while they are written.
#include "ops/live_wal.h"

#include <fcntl.h>

#include <utility>

#include "core/bytes.h"
#include "core/file.h"
#include "pg/wal.h"

namespace pgark {
namespace {

/// The bytes of a file of exactly `bytes`; none if there is no file, or it is of another size.
Result<std::optional<Buffer>> read_whole(const std::string& path, uint32_t bytes) {
  auto opened = File::open(path, O_RDONLY);
  if (!opened && opened.error().code() == Errc::kNotFound) return std::optional<Buffer>{};
  TRY_ASSIGN(const File file, std::move(opened));
  TRY_ASSIGN(const struct stat status, file.stat());
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) != bytes) return std::optional<Buffer>{};
  Buffer content(bytes);
  TRY_ASSIGN(const size_t got, file.pread({content.data(), content.size()}, 0));
  if (got != bytes) return std::optional<Buffer>{};
  return std::optional<Buffer>(std::move(content));
}

}  // namespace

Result<std::optional<pg::WalIndex>> read_live_segment(const std::string& data_directory, const pg::WalSegment& segment,
                                                      uint32_t segment_bytes, const pg::WalIndex* before) {
  const std::string path = data_directory + "/pg_wal/" + pg::segment_name(segment, segment_bytes);
  TRY_ASSIGN(const std::optional<Buffer> content, read_whole(path, segment_bytes));
  if (!content) return std::optional<pg::WalIndex>{};
  const Bytes bytes(content->data(), content->size());
  // A file that was made or recycled for later still has zeros at its start, or the address it had.
  const auto header = pg::decode_wal_page_header(bytes);
  if (!header || !header->is_long || header->address != pg::segment_start(segment, segment_bytes) ||
      header->segment_bytes != segment_bytes)
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
