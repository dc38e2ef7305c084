// The order in which a restore fills files: a chunk of the manifest cut into slices of its content, whatever packs that
// lies in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ops/restore_pieces.h"
#include "repo/manifest.h"

namespace pgark {

/// Content of a slice where files lie in their packs as they lie on disk: little enough to be still in the second-level
/// cache when it is written.
inline constexpr uint64_t kOrderedSliceBytes = 1u << 20;
/// Content of any other slice, where nothing asks for longer ones, and at most of one that is gathered in memory before
/// it is written.
inline constexpr uint64_t kSliceBytes = 8u << 20;
inline constexpr uint64_t kGatherBytesMax = 16u << 20;
/// Content of a batch of slices, if they are shorter.
inline constexpr uint64_t kBatchBytes = 8u << 20;

/// A stretch of one file that lies in a batch, from the first of its bytes to the last.
struct SliceStretch {
  uint32_t file = 0;  // Index into the chunk's files.
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t bytes = 0;  // Of content in between.
};

/// Neighbouring content of a chunk, in the order of its files.
struct Slice {
  size_t first_piece = 0;
  size_t piece_count = 0;
  size_t bytes = 0;  // Of memory in which Piece::place says where a piece goes; 0: all are written apart.
};

/// Neighbouring slices, which one worker fills one after the other, so that the disk is sent long stretches.
struct SliceBatch {
  size_t first_slice = 0;
  size_t slice_count = 0;
  size_t first_stretch = 0;
  size_t stretch_count = 0;
};

/// A chunk in slices.
struct Slices {
  std::vector<Piece> pieces;  // By slice, then by pack and offset.
  std::vector<Slice> slices;  // In the order of the files.
  std::vector<SliceBatch> batches;
  std::vector<SliceStretch> stretches;  // Only long ones.

  std::span<const Piece> pieces_of(const Slice& slice) const {
    return std::span(pieces).subspan(slice.first_piece, slice.piece_count);
  }
  std::span<const Slice> slices_of(const SliceBatch& batch) const {
    return std::span(slices).subspan(batch.first_slice, batch.slice_count);
  }
  std::span<const SliceStretch> stretches_of(const SliceBatch& batch) const {
    return std::span(stretches).subspan(batch.first_stretch, batch.stretch_count);
  }
};

/// Cut the files of a chunk that are `wanted` into slices.
/// Shape:  every piece is in exactly one slice, and pieces of one extent are in the same one, so that none is decoded
///         twice: the slice that holds the first of them. Those whose own place is in another slice have
///         Piece::place kPlaceApart. Where a slice would read less than `read_bytes` at once, on average, because its
///         content lies in so many packs, slices are longer; above kGatherBytesMax all their pieces are apart.
Slices cut_slices(const FileChunk& chunk, uint64_t read_bytes, const std::function<bool(const FileEntry&)>& wanted);

}  // namespace pgark
