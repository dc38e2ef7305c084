// Fetching and decoding the extents of a restore.
#include "ops/restore_pieces.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "store/calls_at_once.h"

namespace pgark {
namespace {

/// Whether an extent's pieces are one, which is all of it but the padding of its last block.
bool is_whole(const ExtentRef& extent, std::span<const Piece> pieces) {
  return pieces.size() == 1 && pieces.front().extent_offset == 0 && pieces.front().bytes <= extent.raw_bytes &&
         extent.raw_bytes - pieces.front().bytes < kHashBlockBytes;
}

}  // namespace

void sort_pieces(const FileChunk& chunk, std::vector<Piece>& pieces) {
  const auto place = [&](const Piece& piece) {
    const ExtentRef& extent = chunk.extents[piece.extent];
    return std::pair(extent.pack, extent.offset);
  };
  const auto before = [&](const Piece& a, const Piece& b) { return place(a) < place(b); };
  if (!std::is_sorted(pieces.begin(), pieces.end(), before)) std::stable_sort(pieces.begin(), pieces.end(), before);
}

ReadShape read_shape(const ObjectStore& store) {
  if (!is_far(store)) return {};
  // A dozen threads that read 2 MiB each, as slices of 8 MiB come to, keep 800 MiB a second coming though every answer
  // takes 30 ms.
  return {.bytes_max = 4u << 20, .gap_max = 256u << 10, .slice_bytes = 1u << 20, .waiting_max = 10};
}

size_t pieces_of_one_read(const FileChunk& chunk, std::span<const Piece> pieces, const ReadShape& shape) {
  const ExtentRef& first = chunk.extents[pieces.front().extent];
  uint64_t end = first.offset + first.stored_bytes;
  size_t count = 1;
  for (; count < pieces.size(); ++count) {
    const ExtentRef& next = chunk.extents[pieces[count].extent];
    const uint64_t next_end = next.offset + next.stored_bytes;
    if (next.pack != first.pack || next.offset > end + shape.gap_max) break;
    if (next_end - first.offset > shape.bytes_max && pieces[count].extent != pieces[count - 1].extent) break;
    end = std::max(end, next_end);
  }
  return count;
}

Result<> PieceFetcher::fetch(const FileChunk& chunk, std::span<const Piece> pieces, FetchBuffers& buffers,
                             const std::function<Result<>(const Piece&, Bytes)>& write,
                             const std::function<std::byte*(const Piece&)>& place) {
  const auto extent_of = [&](const Piece& piece) -> const ExtentRef& { return chunk.extents[piece.extent]; };
  const ExtentRef& first = extent_of(pieces.front());
  uint64_t end = 0;
  for (const Piece& piece : pieces) end = std::max(end, extent_of(piece).offset + extent_of(piece).stored_bytes);
  if (first.pack >= plan_.packs.size())
    return damaged(chunk, pieces, Error(Errc::kCorrupt, "the manifest names a pack it does not list"));
  buffers.stored.resize(static_cast<size_t>(end - first.offset));
  const auto from = source_.read(first.pack, first.offset, buffers.stored.bytes());
  // With one repository that is the end. Of several, each may have what another lacks of the stretch.
  if (!from && (source_.single() || from.error().code() == Errc::kCancelled))
    return damaged(chunk, pieces, from.error());
  const WorkSlot slot(buffers.slots);
  const ObjectKey key = source_.key_of(first.pack);
  while (!pieces.empty()) {
    size_t count = 1;
    while (count < pieces.size() && pieces[count].extent == pieces.front().extent) ++count;
    const auto same = pieces.first(count);
    const ExtentRef& extent = extent_of(same.front());
    std::byte* const wanted = place && is_whole(extent, same) ? place(same.front()) : nullptr;
    if (wanted == nullptr) buffers.raw.resize(extent.raw_bytes);
    const MutableBytes raw = wanted != nullptr ? MutableBytes(wanted, extent.raw_bytes) : buffers.raw.bytes();
    Bytes content = raw;
    std::optional<std::pair<size_t, Error>> failed;
    if (from) {
      const auto at = static_cast<size_t>(extent.offset - first.offset);
      auto decoded = source_.decode(*from, key, extent, buffers.stored.bytes().subspan(at, extent.stored_bytes),
                                    buffers.decompressor, raw);
      if (decoded)
        content = *decoded;
      else
        failed.emplace(*from, std::move(decoded).error());
    }
    if (!from || failed) {
      auto fetched = source_.fetch_one(extent, std::move(failed), buffers.again, buffers.decompressor, raw);
      if (!fetched) return damaged(chunk, same, std::move(fetched).error());
    }
    for (const Piece& piece : same) TRY(write(piece, content.subspan(piece.extent_offset, piece.bytes)));
    pieces = pieces.subspan(count);
  }
  return {};
}

/// An error of reading `pieces`, saying which backup, file and blocks cannot be had.
Error PieceFetcher::damaged(const FileChunk& chunk, std::span<const Piece> pieces, Error cause) const {
  // What the manifest names and the store proves absent is damage too.
  const bool is_damage = cause.code() == Errc::kCorrupt || cause.code() == Errc::kNotFound;
  const Piece& first = pieces.front();
  uint64_t end = first.file_offset + first.bytes;
  size_t others = 0;
  uint32_t previous = first.file;
  for (const Piece& next : pieces.subspan(1)) {
    if (next.file == first.file) end = std::max(end, next.file_offset + next.bytes);
    if (next.file != previous && next.file != first.file) ++others;
    previous = next.file;
  }
  const uint64_t block_bytes = std::max<uint32_t>(plan_.backup.block_bytes, 1);
  Error error = std::move(cause).with_context(fmt::format(
      "backup {}: file {} blocks {}-{}{}", plan_.backup.label, chunk.files[first.file].path,
      first.file_offset / block_bytes, (end - 1) / block_bytes,
      others == 0 ? std::string() : fmt::format(" and {} more {}", others, others == 1 ? "file" : "files")));
  if (!is_damage) return error;
  return std::move(error)
      .with_code(Errc::kCorrupt)
      .with_hint("restore another backup with --set; run info to list them");
}

}  // namespace pgark
