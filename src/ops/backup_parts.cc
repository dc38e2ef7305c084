// Encoding of parts: extents follow each other as a rule, so differences from what is expected are mostly zero.
#include "ops/backup_parts.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace pgark {
namespace {

constexpr size_t kChunkBytes = 1u << 20;
constexpr unsigned kOffsetBits = 32;  // Of a place; the rest is the chunk.

/// First part of the key that sorts extents: packs before offsets, which stay below 2^40.
uint64_t extent_key(const ExtentRef& extent) { return static_cast<uint64_t>(extent.pack) << 40 | extent.offset; }

}  // namespace

void PartRuns::add(const ExtentRef& extent, const Run& run) {
  if (extents.empty() || extents.back() != extent) extents.push_back(extent);
  const auto index = static_cast<uint32_t>(extents.size() - 1);
  if (!runs.empty()) {
    Run& last = runs.back();
    if (last.extent == index && last.file_offset + last.bytes == run.file_offset &&
        last.extent_offset + last.bytes == run.extent_offset) {
      last.bytes += run.bytes;
      return;
    }
  }
  runs.push_back({run.file_offset, run.bytes, index, run.extent_offset});
}

PartStore::Place PartStore::put(const PartRuns& part) {
  ByteWriter out;
  out.varint(part.bytes);
  out.varint(part.runs.size());
  uint64_t end = 0;
  const ExtentRef* previous = nullptr;
  for (const Run& run : part.runs) {
    const ExtentRef& extent = part.extents[run.extent];
    const bool same = previous != nullptr && *previous == extent;
    out.varint((run.file_offset - end) << 1 | (same ? 1u : 0u));
    out.varint(run.bytes);
    out.varint(run.extent_offset);
    end = run.file_offset + run.bytes;
    if (same) continue;
    out.svarint(static_cast<int64_t>(extent.pack) - (previous == nullptr ? 0 : static_cast<int64_t>(previous->pack)));
    out.svarint(
        static_cast<int64_t>(extent.offset - (previous == nullptr ? 0 : previous->offset + previous->stored_bytes)));
    out.varint(extent.stored_bytes);
    out.varint(extent.raw_bytes / kHashBlockBytes);
    out.fixed(static_cast<uint8_t>(extent.codec));
    previous = &extent;
  }
  out.varint(part.bad_blocks.size());
  for (const uint32_t block : part.bad_blocks) out.varint(block);

  ByteWriter sized;
  sized.varint(out.size());
  const size_t bytes = sized.size() + out.size();
  if (chunks_.empty() || chunks_.back().size - chunks_.back().used < bytes) {
    const size_t size = std::max(kChunkBytes, bytes);
    // Default initialisation: nothing reads what was not written.
    chunks_.push_back({std::unique_ptr<std::byte[]>(new std::byte[size]), size, 0});
  }
  Chunk& chunk = chunks_.back();
  const Place place = static_cast<uint64_t>(chunks_.size() - 1) << kOffsetBits | chunk.used;
  std::memcpy(chunk.data.get() + chunk.used, sized.bytes().data(), sized.size());
  std::memcpy(chunk.data.get() + chunk.used + sized.size(), out.bytes().data(), out.size());
  chunk.used += bytes;
  bytes_ += bytes;
  return place;
}

Bytes PartStore::at(Place place) const {
  const Chunk& chunk = chunks_.at(static_cast<size_t>(place >> kOffsetBits));
  const auto offset = static_cast<size_t>(place & ((1ull << kOffsetBits) - 1));
  ByteReader reader({chunk.data.get() + offset, chunk.used - offset});
  const uint64_t size = reader.varint();
  return reader.raw(static_cast<size_t>(size));
}

void PartStore::get(Place place, PartRuns& into) const {
  ByteReader reader(at(place));
  into.bytes = reader.varint();
  const uint64_t run_count = reader.varint();
  uint64_t end = 0;
  ExtentRef extent;
  for (uint64_t i = 0; i < run_count; ++i) {
    Run run;
    const uint64_t head = reader.varint();
    run.bytes = reader.varint();
    run.extent_offset = static_cast<uint32_t>(reader.varint());
    run.file_offset = end + (head >> 1);
    end = run.file_offset + run.bytes;
    if ((head & 1) == 0) {
      const uint64_t expected = i == 0 ? 0 : extent.offset + extent.stored_bytes;
      extent.pack = static_cast<uint32_t>((i == 0 ? 0 : static_cast<int64_t>(extent.pack)) + reader.svarint());
      extent.offset = expected + static_cast<uint64_t>(reader.svarint());
      extent.stored_bytes = static_cast<uint32_t>(reader.varint());
      extent.raw_bytes = static_cast<uint32_t>(reader.varint() * kHashBlockBytes);
      extent.codec = static_cast<Codec>(reader.fixed<uint8_t>());
    }
    into.add(extent, run);
  }
  const uint64_t bad_count = reader.varint();
  for (uint64_t i = 0; i < bad_count; ++i) into.bad_blocks.push_back(static_cast<uint32_t>(reader.varint()));
  CHECK(reader.ok() && reader.remaining() == 0);
}

std::optional<uint64_t> PartStore::first_extent(Place place) const {
  ByteReader reader(at(place));
  reader.varint();
  if (reader.varint() == 0) return std::nullopt;
  reader.varint();
  reader.varint();
  reader.varint();
  ExtentRef extent;
  extent.pack = static_cast<uint32_t>(reader.svarint());
  extent.offset = static_cast<uint64_t>(reader.svarint());
  return extent_key(extent);
}

}  // namespace pgark
