// From extents to bytes of files: neighbouring stretches fetched in large ranged reads, checked, decoded and handed on.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "codec/compress.h"
#include "core/bytes.h"
#include "ops/extent_source.h"
#include "ops/restore_plan.h"
#include "ops/restore_tasks.h"
#include "repo/manifest.h"

namespace pgark {

inline constexpr uint32_t kPlaceApart = UINT32_MAX;

/// A stretch of one extent that goes to one place of one file.
struct Piece {
  uint32_t extent = 0;  // Index into the chunk's extents.
  uint32_t file = 0;    // Index into the chunk's files.
  uint32_t extent_offset = 0;
  uint32_t bytes = 0;
  uint64_t file_offset = 0;
  uint32_t place = kPlaceApart;  // In the memory where neighbours are gathered; kPlaceApart: it is not gathered.
};

/// Put the pieces of a chunk into the order in which its packs hold them.
void sort_pieces(const FileChunk& chunk, std::vector<Piece>& pieces);

/// How much is read of a store at once, and by how many threads.
struct ReadShape {
  // Large enough to keep a disk busy, small enough for the second-level cache; a MiB that is stored as it is comes
  // whole.
  uint64_t bytes_max = (1u << 20) + (32u << 10);
  uint64_t gap_max = 64u << 10;      // Reading over so much of other backups' extents is cheaper than another request.
  uint64_t slice_bytes = 64u << 10;  // What a slice reads of a pack, on average, at least.
  unsigned waiting_max = 0;          // Threads beside the workers, so that reads wait for the store side by side.
};
/// What suits a store: a local disk answers at once, any other after a while.
ReadShape read_shape(const ObjectStore& store);

/// How many of the first pieces, which are sorted, one read brings: neighbours of one pack. An extent's pieces are
/// never parted: it would be decoded twice.
size_t pieces_of_one_read(const FileChunk& chunk, std::span<const Piece> pieces, const ReadShape& shape = {});

/// What one worker needs to fetch.
struct FetchBuffers {
  Buffer stored;
  Buffer raw;
  Buffer again;  // An extent that is fetched once more, from another repository.
  Decompressor decompressor;
  WorkSlots* slots = nullptr;  // One is taken while pieces are decoded and written, but not while they are fetched.
};

/// Fetches pieces for several workers.
class PieceFetcher {
 public:
  PieceFetcher(ExtentSource& source, const RestorePlan& plan) : source_(source), plan_(plan) {}

  /// Fetch the pieces of one read and give each, decoded, to `write`. `place` may say where the caller wants a piece;
  /// one that is a whole extent is decoded there, so that it need not be moved. What is stored as it is comes as a part
  /// of `buffers.stored`, and stays there until the next fetch().
  /// What is damaged or cannot be reached in one repository comes from another that has the backup.
  /// Errors: kCorrupt naming backup, file, blocks and pack; of the store; of `write`.
  Result<> fetch(const FileChunk& chunk, std::span<const Piece> pieces, FetchBuffers& buffers,
                 const std::function<Result<>(const Piece&, Bytes)>& write,
                 const std::function<std::byte*(const Piece&)>& place = nullptr);

 private:
  Error damaged(const FileChunk& chunk, std::span<const Piece> pieces, Error cause) const;

  ExtentSource& source_;
  const RestorePlan& plan_;
};

}  // namespace pgark
