// WAL segments and histories as PostgreSQL would archive them, made up: for tests that need no server.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/bytes.h"
#include "core/clock.h"
#include "pg/wal.h"

namespace pgark::testing {

/// What a made-up segment is of.
struct SampleWal {
  uint64_t system_id = 7570000000000000001;
  uint16_t magic = 0xD110;  // PostgreSQL 15
  uint32_t segment_bytes = 1u << 20;
  uint32_t block_bytes = 8192;
};

template <typename T>
void store_le(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

/// A segment with right page headers and random content. From `switched_at` (a page boundary) on it is zeros, as after
/// a segment switch.
inline Buffer sample_segment(const pg::WalSegment& segment, uint64_t seed, const SampleWal& wal = {},
                             size_t switched_at = SIZE_MAX) {
  Buffer out(wal.segment_bytes);
  Rng rng(seed);
  const size_t filled = std::min(out.size(), switched_at);
  for (size_t i = 0; i < filled; ++i) out.data()[i] = static_cast<std::byte>(rng.next() % 16);
  for (size_t offset = 0; offset < out.size(); offset += wal.block_bytes) {
    std::byte* page = out.data() + offset;
    if (offset >= switched_at) {
      std::memset(page, 0, wal.block_bytes);
      continue;
    }
    const bool first = offset == 0;
    store_le<uint16_t>(page, wal.magic);
    store_le<uint16_t>(page + 2, first ? 2 : 0);
    store_le<uint32_t>(page + 4, segment.timeline.value);
    store_le<uint64_t>(page + 8, pg::segment_start(segment, wal.segment_bytes).bytes + offset);
    store_le<uint32_t>(page + 16, 0);
    store_le<uint32_t>(page + 20, 0);
    if (!first) continue;
    store_le<uint64_t>(page + 24, wal.system_id);
    store_le<uint32_t>(page + 32, wal.segment_bytes);
    store_le<uint32_t>(page + 36, wal.block_bytes);
  }
  return out;
}

}  // namespace pgark::testing
