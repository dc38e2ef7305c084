// The order in which a restore fills files, without a repository: chunks are made up.
#include "ops/restore_slices.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "core/clock.h"

namespace pgark {
namespace {

constexpr uint64_t kBlock = kHashBlockBytes;
constexpr uint32_t kExtentBlocks = kExtentBytes / kHashBlockBytes;

bool all(const FileEntry&) { return true; }

/// A file of `blocks` whose blocks lie in turn in the packs from `first_pack` on, as incrementals leave them.
FileEntry scattered(FileChunk& chunk, uint64_t blocks, uint32_t ways, uint32_t first_pack = 0) {
  FileEntry file;
  file.bytes = blocks * kBlock;
  std::vector<uint32_t> used(ways, kExtentBlocks);  // Blocks of each pack's open extent.
  std::vector<uint32_t> open(ways, 0);
  std::vector<uint64_t> offset(ways, 4096);
  for (uint64_t block = 0; block < blocks; ++block) {
    const auto way = static_cast<size_t>(block % ways);
    if (used[way] == kExtentBlocks) {
      used[way] = 0;
      open[way] = static_cast<uint32_t>(chunk.extents.size());
      chunk.extents.push_back(
          {first_pack + static_cast<uint32_t>(way), offset[way], kExtentBytes / 4, kExtentBytes, Codec::kZstd});
      offset[way] += kExtentBytes / 4;
    }
    const auto at = static_cast<uint32_t>(used[way]++ * kBlock);
    if (!file.runs.empty() && file.runs.back().extent == open[way])
      file.runs.back().bytes += kBlock;
    else
      file.runs.push_back({block * kBlock, kBlock, open[way], at});
  }
  return file;
}

TEST(Slices, OfOnePackAreItsExtentsInOrder) {
  FileChunk chunk;
  chunk.files.push_back(scattered(chunk, 2 * kBatchBytes / kBlock, 1));
  const Slices cut = cut_slices(chunk, 64u << 10, all);
  ASSERT_EQ(cut.slices.size(), 2 * kBatchBytes / kOrderedSliceBytes);
  for (const Slice& slice : cut.slices) {
    EXPECT_EQ(slice.bytes, kOrderedSliceBytes) << "short, because nothing is gained by long ones";
    uint32_t place = 0;
    for (const Piece& piece : cut.pieces_of(slice)) {
      EXPECT_EQ(piece.place, place);
      EXPECT_EQ(piece.bytes, kExtentBytes);
      place += piece.bytes;
    }
  }
  ASSERT_EQ(cut.batches.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(cut.slices_of(cut.batches[i]).size(), kBatchBytes / kOrderedSliceBytes);
    const auto stretches = cut.stretches_of(cut.batches[i]);
    ASSERT_EQ(stretches.size(), 1u) << "one, though it lies in several slices";
    EXPECT_EQ(stretches[0].begin, i * kBatchBytes);
    EXPECT_EQ(stretches[0].end, (i + 1) * kBatchBytes);
    EXPECT_EQ(stretches[0].bytes, kBatchBytes);
  }
}

TEST(Slices, AreFilledFromEveryPackBeforeTheNextBegins) {
  FileChunk chunk;
  chunk.files.push_back(scattered(chunk, 4 * kSliceBytes / kBlock, 5));
  const Slices cut = cut_slices(chunk, 64u << 10, all);
  ASSERT_EQ(cut.slices.size(), 4u);
  EXPECT_EQ(cut.batches.size(), 4u);
  for (size_t i = 0; i < cut.slices.size(); ++i) {
    std::set<uint32_t> packs;
    uint64_t gathered = 0;
    for (const Piece& piece : cut.pieces_of(cut.slices[i])) {
      packs.insert(chunk.extents[piece.extent].pack);
      if (piece.place != kPlaceApart) gathered += piece.bytes;
      EXPECT_GE(piece.file_offset, i * kSliceBytes);
      EXPECT_LT(piece.file_offset, (i + 1) * kSliceBytes + 5 * kExtentBytes) << "an extent reaches no further";
    }
    EXPECT_EQ(packs.size(), 5u);
    EXPECT_GT(gathered, kSliceBytes * 9 / 10);
  }
}

TEST(Slices, AreLongerWhereManyPacksShareThem) {
  FileChunk chunk;
  chunk.files.push_back(scattered(chunk, (256u << 20) / kBlock, 64));
  const auto reads = [&](const Slices& cut) {
    uint64_t count = 0;
    for (const Slice& slice : cut.slices)
      for (std::span<const Piece> left = cut.pieces_of(slice); !left.empty(); ++count)
        left = left.subspan(pieces_of_one_read(chunk, left));
    return count;
  };
  const Slices near = cut_slices(chunk, 16u << 10, all);
  const Slices far = cut_slices(chunk, 1u << 20, all);
  EXPECT_EQ(near.slices.size(), 32u);
  EXPECT_LE(reads(far), 64u + 64u) << "64 MiB stored, in MiBs";
  EXPECT_GT(reads(near), 10 * reads(far));
  for (const Slice& slice : far.slices) EXPECT_EQ(slice.bytes, 0u) << "too long to be gathered in memory";
}

TEST(Slices, LeaveOutFilesThatAreNotWanted) {
  FileChunk chunk;
  for (const char* const path : {"a", "b"}) {
    FileEntry file = scattered(chunk, 100, 3);
    file.path = path;
    chunk.files.push_back(file);
  }
  for (const Piece& piece : cut_slices(chunk, 64u << 10, [](const FileEntry& f) { return f.path == "b"; }).pieces)
    EXPECT_EQ(piece.file, 1u);
  EXPECT_TRUE(cut_slices(chunk, 64u << 10, [](const FileEntry&) { return false; }).slices.empty());
}

/// Chunks at random: every run is a piece of exactly one slice, no extent is in two, and gathered pieces lie in the
/// order of the files without touching each other.
TEST(Slices, HoldEveryRunOnceAndNoExtentTwice) {
  const char* const given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  Rng rng(seed);
  for (int round = 0; round < 100; ++round) {
    FileChunk chunk;
    for (uint64_t i = 1 + rng.below(20); i > 0; --i) {
      const uint64_t blocks = rng.below(rng.below(4) == 0 ? 4000 : 40);
      FileEntry file = scattered(chunk, blocks, 1 + static_cast<uint32_t>(rng.below(9)), 0);
      std::erase_if(file.runs, [&](const pgark::Run&) { return rng.below(10) == 0; });           // Holes.
      if (!file.runs.empty() && rng.below(2) == 0) file.runs.back().bytes -= rng.below(kBlock);  // Ends in a block.
      chunk.files.push_back(std::move(file));
    }
    std::multiset<std::tuple<uint32_t, uint64_t, uint64_t>> expected;
    for (uint32_t i = 0; i < chunk.files.size(); ++i)
      for (const pgark::Run& run : chunk.files[i].runs) expected.insert({i, run.file_offset, run.bytes});
    const Slices cut = cut_slices(chunk, 1 + rng.below(1u << 20), all);
    std::multiset<std::tuple<uint32_t, uint64_t, uint64_t>> found;
    std::map<uint32_t, size_t> slice_of;
    for (size_t i = 0; i < cut.slices.size(); ++i) {
      std::map<uint32_t, const Piece*> placed;
      for (const Piece& piece : cut.pieces_of(cut.slices[i])) {
        found.insert({piece.file, piece.file_offset, piece.bytes});
        ASSERT_EQ(slice_of.try_emplace(piece.extent, i).first->second, i) << "round " << round;
        if (piece.place == kPlaceApart) continue;
        ASSERT_TRUE(placed.try_emplace(piece.place, &piece).second);
      }
      const Piece* before = nullptr;
      for (const auto& [place, piece] : placed) {
        const uint64_t room = (piece->bytes + kBlock - 1) / kBlock * kBlock;
        ASSERT_LE(place + room, cut.slices[i].bytes);
        if (before != nullptr) {
          ASSERT_LE(before->place + before->bytes, place);
          ASSERT_LT(std::pair(before->file, before->file_offset), std::pair(piece->file, piece->file_offset));
        }
        before = piece;
      }
    }
    ASSERT_EQ(found, expected) << "round " << round;
    size_t next = 0;
    for (const SliceBatch& batch : cut.batches) {
      ASSERT_EQ(batch.first_slice, next) << "round " << round;
      ASSERT_GT(batch.slice_count, 0u);
      next += batch.slice_count;
    }
    ASSERT_EQ(next, cut.slices.size()) << "round " << round;
  }
}

}  // namespace
}  // namespace pgark
