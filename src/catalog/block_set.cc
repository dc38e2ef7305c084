// Blocks of relations in chunks, each a sorted list or a bitmap, whichever is smaller.
#include "catalog/block_set.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace pgark {
namespace {

constexpr uint32_t kChunkBlocks = 65536;
constexpr uint32_t kWordBits = 16;
constexpr size_t kBitmapWords = kChunkBlocks / kWordBits;

bool is_bitmap(const std::vector<uint16_t>& chunk) { return chunk.size() == kBitmapWords; }

void set_bit(std::vector<uint16_t>& bitmap, uint32_t offset) {
  uint16_t& word = bitmap[offset / kWordBits];
  word = static_cast<uint16_t>(word | 1u << offset % kWordBits);
}

}  // namespace

uint64_t BlockSet::count(const Chunk& chunk) {
  if (!is_bitmap(chunk)) return chunk.size();
  uint64_t bits = 0;
  for (const uint16_t word : chunk) bits += static_cast<unsigned>(std::popcount(word));
  return bits;
}

void BlockSet::add_to(Chunk& chunk, std::span<const uint32_t> blocks) {
  if (!is_bitmap(chunk)) {
    Chunk merged;
    merged.reserve(chunk.size() + blocks.size());
    auto old = chunk.begin();
    for (const uint32_t block : blocks) {
      const auto offset = static_cast<uint16_t>(block % kChunkBlocks);
      while (old != chunk.end() && *old < offset) merged.push_back(*old++);
      if (old != chunk.end() && *old == offset) ++old;
      merged.push_back(offset);
    }
    merged.insert(merged.end(), old, chunk.end());
    if (merged.size() < kBitmapWords) {
      merged.shrink_to_fit();
      chunk = std::move(merged);
      return;
    }
    chunk.assign(kBitmapWords, 0);
    for (const uint16_t offset : merged) set_bit(chunk, offset);
    return;
  }
  for (const uint32_t block : blocks) set_bit(chunk, block % kChunkBlocks);
}

void BlockSet::add(const pg::WalRelation& relation, std::span<const uint32_t> blocks) {
  while (!blocks.empty()) {
    const uint32_t number = blocks.front() / kChunkBlocks;
    const auto next = std::ranges::find_if(blocks, [&](uint32_t block) { return block / kChunkBlocks != number; });
    const auto here = static_cast<size_t>(next - blocks.begin());
    Chunk& chunk = chunks_[Key{relation, number}];
    size_ -= count(chunk);
    add_to(chunk, blocks.first(here));
    size_ += count(chunk);
    blocks = blocks.subspan(here);
  }
}

void BlockSet::erase_from(const pg::WalRelation& relation, uint32_t block) {
  auto at = chunks_.lower_bound(Key{relation, block / kChunkBlocks});
  while (at != chunks_.end() && at->first.relation == relation) {
    Chunk& chunk = at->second;
    size_ -= count(chunk);
    const uint32_t keep = at->first.chunk == block / kChunkBlocks ? block % kChunkBlocks : 0;
    if (keep == 0) {
      chunk.clear();
    } else if (is_bitmap(chunk)) {
      chunk[keep / kWordBits] = static_cast<uint16_t>(chunk[keep / kWordBits] & ((1u << keep % kWordBits) - 1));
      std::fill(chunk.begin() + keep / kWordBits + 1, chunk.end(), uint16_t{0});
    } else {
      chunk.erase(std::ranges::lower_bound(chunk, keep), chunk.end());
    }
    size_ += count(chunk);
    at = count(chunk) == 0 ? chunks_.erase(at) : std::next(at);
  }
}

std::vector<uint32_t> BlockSet::between(const pg::WalRelation& relation, uint64_t begin, uint64_t end) const {
  std::vector<uint32_t> out;
  end = std::min<uint64_t>(end, uint64_t{1} << 32);
  if (begin >= end) return out;
  const auto first_chunk = static_cast<uint32_t>(begin / kChunkBlocks);
  for (auto at = chunks_.lower_bound(Key{relation, first_chunk}); at != chunks_.end(); ++at) {
    const uint64_t base = uint64_t{at->first.chunk} * kChunkBlocks;
    if (at->first.relation != relation || base >= end) break;
    const auto take = [&](uint32_t offset) {
      if (base + offset >= begin && base + offset < end) out.push_back(static_cast<uint32_t>(base + offset));
    };
    if (!is_bitmap(at->second)) {
      for (const uint16_t offset : at->second) take(offset);
      continue;
    }
    for (uint32_t word = 0; word < kBitmapWords; ++word)
      for (uint32_t bits = at->second[word]; bits != 0; bits &= bits - 1)
        take(word * kWordBits + static_cast<uint32_t>(std::countr_zero(bits)));
  }
  return out;
}

}  // namespace pgark
