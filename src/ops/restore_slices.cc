// Cutting a chunk: runs in the order of files are given places one after the other, and each extent goes to the slice
// that needs it first.
#include "ops/restore_slices.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace pgark {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
// Shorter stretches are left to the sync at the end.
constexpr uint64_t kStretchBytesMin = 1u << 20;

using Wanted = std::function<bool(const FileEntry&)>;

uint64_t round_up_block(uint64_t bytes) { return (bytes + kHashBlockBytes - 1) / kHashBlockBytes * kHashBlockBytes; }

/// What slices of some length come to.
struct SliceReads {
  uint64_t slices = 0;
  uint64_t reads = 0;   // Of one pack for one slice.
  uint64_t stored = 0;  // Bytes of them all.
};

SliceReads count_reads(const FileChunk& chunk, const Wanted& wanted, uint64_t slice_bytes) {
  std::vector<bool> seen(chunk.extents.size(), false);
  std::vector<uint64_t> last_slice;  // That read something of a pack, by pack; counted from 1.
  SliceReads count;
  uint64_t used = slice_bytes;
  for (const FileEntry& file : chunk.files) {
    if (!wanted(file)) continue;
    for (const Run& run : file.runs) {
      const uint64_t room = round_up_block(run.bytes);
      if (used + room > slice_bytes) {
        ++count.slices;
        used = 0;
      }
      used += room;
      if (seen[run.extent]) continue;
      seen[run.extent] = true;
      const ExtentRef& extent = chunk.extents[run.extent];
      count.stored += extent.stored_bytes;
      if (extent.pack >= last_slice.size()) last_slice.resize(extent.pack + 1, 0);
      if (std::exchange(last_slice[extent.pack], count.slices) != count.slices) ++count.reads;
    }
  }
  return count;
}

/// How long slices are to be.
uint64_t choose_slice_bytes(const FileChunk& chunk, const Wanted& wanted, uint64_t read_bytes) {
  if (read_bytes < kOrderedSliceBytes / 4) {  // Else the store is far, and much is to be read at once.
    const SliceReads ordered = count_reads(chunk, wanted, kOrderedSliceBytes);
    if (ordered.reads <= ordered.slices + ordered.slices / 4 && ordered.stored >= ordered.reads * read_bytes)
      return kOrderedSliceBytes;
  }
  for (uint64_t slice_bytes = kSliceBytes;; slice_bytes *= 2) {
    const SliceReads count = count_reads(chunk, wanted, slice_bytes);
    // One slice cannot be made longer.
    if (count.slices <= 1 || count.stored >= count.reads * read_bytes) return slice_bytes;
  }
}

/// Gives runs their slices, in the order of files.
class Cutter {
 public:
  Cutter(const FileChunk& chunk, uint64_t slice_bytes, Slices& cut)
      : chunk_(chunk), slice_bytes_(slice_bytes), cut_(cut), home_(chunk.extents.size(), kNone) {}

  void add(uint32_t file, const Run& run) {
    const uint64_t room = round_up_block(run.bytes);
    if (cut_.slices.empty() || used_ + room > slice_bytes_) begin_slice();
    const auto slice = static_cast<uint32_t>(cut_.slices.size() - 1);
    uint32_t& home = home_[run.extent];
    if (home == kNone) home = slice;
    const bool gathered = home == slice && slice_bytes_ <= kGatherBytesMax;
    cut_.pieces.push_back({run.extent, file, run.extent_offset, static_cast<uint32_t>(run.bytes), run.file_offset,
                           gathered ? static_cast<uint32_t>(used_) : kPlaceApart});
    used_ += room;
    if (gathered) cut_.slices.back().bytes = static_cast<size_t>(used_);
    add_to_stretch(file, run);
  }

  void finish() {
    end_stretch();
    const auto place = [&](const Piece& piece) {
      const ExtentRef& extent = chunk_.extents[piece.extent];
      return std::tuple(home_[piece.extent], extent.pack, extent.offset);
    };
    const auto before = [&](const Piece& a, const Piece& b) { return place(a) < place(b); };
    auto& pieces = cut_.pieces;
    if (!std::is_sorted(pieces.begin(), pieces.end(), before)) std::stable_sort(pieces.begin(), pieces.end(), before);
    for (size_t i = 0; i < pieces.size(); ++i) {
      Slice& slice = cut_.slices[home_[pieces[i].extent]];
      if (slice.piece_count++ == 0) slice.first_piece = i;
    }
  }

 private:
  void begin_slice() {
    if (cut_.batches.empty() || (cut_.batches.back().slice_count + 1) * slice_bytes_ > kBatchBytes) {
      end_stretch();
      cut_.batches.push_back({cut_.slices.size(), 0, cut_.stretches.size(), 0});
    }
    ++cut_.batches.back().slice_count;
    cut_.slices.push_back({});
    used_ = 0;
  }

  void add_to_stretch(uint32_t file, const Run& run) {
    if (stretch_.bytes == 0 || stretch_.file != file) {
      end_stretch();
      stretch_ = {file, run.file_offset, 0, 0};
    }
    stretch_.end = run.file_offset + run.bytes;
    stretch_.bytes += run.bytes;
  }

  void end_stretch() {
    if (stretch_.bytes >= kStretchBytesMin) {
      cut_.stretches.push_back(stretch_);
      ++cut_.batches.back().stretch_count;
    }
    stretch_ = {};
  }

  const FileChunk& chunk_;
  const uint64_t slice_bytes_;
  Slices& cut_;
  std::vector<uint32_t> home_;  // Slice of each extent.
  uint64_t used_ = 0;           // Of the last slice.
  SliceStretch stretch_;
};

}  // namespace

Slices cut_slices(const FileChunk& chunk, uint64_t read_bytes, const Wanted& wanted) {
  Slices cut;
  Cutter cutter(chunk, choose_slice_bytes(chunk, wanted, read_bytes), cut);
  for (uint32_t i = 0; i < chunk.files.size(); ++i) {
    if (!wanted(chunk.files[i])) continue;
    for (const Run& run : chunk.files[i].runs) cutter.add(i, run);
  }
  cutter.finish();
  return cut;
}

}  // namespace pgark
