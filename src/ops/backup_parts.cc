// Encoding of parts: extents follow each other as a rule, so differences from what is expected are mostly zero. In an
// incremental two sequences are woven into each other, the older backup's extents and the new ones; so the two extents
// used last are remembered.
#include "ops/backup_parts.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

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

void PartRuns::sort() {
  const auto by_place = [](const Run& a, const Run& b) { return a.file_offset < b.file_offset; };
  if (std::is_sorted(runs.begin(), runs.end(), by_place)) return;
  std::stable_sort(runs.begin(), runs.end(), by_place);
  const std::vector<Run> sorted = std::exchange(runs, {});
  const std::vector<ExtentRef> table = std::exchange(extents, {});
  for (const Run& run : sorted) add(table[run.extent], run);
}

namespace {

/// The two extents that were used last, the latest first.
struct RecentExtents {
  std::array<ExtentRef, 2> extents{};

  /// Make one of them the latest.
  void touch(size_t which) {
    if (which == 1) std::swap(extents[0], extents[1]);
  }
  /// A new one, told by its difference from one of them, whose place it takes.
  void replace(size_t which, const ExtentRef& extent) {
    touch(which);
    extents[0] = extent;
  }
  /// The one that `extent` is likely to follow.
  size_t before(const ExtentRef& extent) const {
    const auto follows = [&](const ExtentRef& e) { return e.pack == extent.pack && e.offset < extent.offset; };
    if (follows(extents[0])) return 0;
    if (follows(extents[1])) return 1;
    return extents[1] == ExtentRef{} ? 1 : 0;
  }
};

// What the low bits of a run's head say.
constexpr unsigned kHeadBits = 3;
constexpr uint64_t kNewExtent = 2;  // + which of the recent ones it is told by; below: it is that one.
// + which of the recent ones it follows in the pack; full, and the run is all of it: only its stored size is told.
// Nearly all runs of large files are of this kind.
constexpr uint64_t kNextWhole = 4;

/// What kNextWhole is said of.
ExtentRef next_whole(const ExtentRef& before, uint32_t stored_bytes) {
  return {before.pack, before.offset + before.stored_bytes, stored_bytes, kExtentBytes, before.codec};
}

/// Lengths and places are those of whole blocks, but for the end of a file that is no relation's.
void put_length(ByteWriter& out, uint64_t bytes) {
  out.varint(bytes % kHashBlockBytes == 0 ? bytes / kHashBlockBytes << 1 : bytes << 1 | 1);
}
uint64_t get_length(ByteReader& reader) {
  const uint64_t coded = reader.varint();
  return (coded & 1) == 0 ? (coded >> 1) * kHashBlockBytes : coded >> 1;
}

bool is_whole(const Run& run) { return run.bytes == kExtentBytes && run.extent_offset == 0; }

}  // namespace

PartStore::Place PartStore::put(const PartRuns& part) {
  ByteWriter out;
  out.varint(part.bytes);
  out.varint(part.runs.size());
  uint64_t end = 0;
  RecentExtents recent;
  for (const Run& run : part.runs) {
    const ExtentRef& extent = part.extents[run.extent];
    const auto same = std::find(recent.extents.begin(), recent.extents.end(), extent);
    const bool known = same != recent.extents.end();
    const auto which = known ? static_cast<size_t>(same - recent.extents.begin()) : recent.before(extent);
    const uint64_t gap = (run.file_offset - end) << kHeadBits;
    end = run.file_offset + run.bytes;
    if (!known && is_whole(run) && extent == next_whole(recent.extents[which], extent.stored_bytes)) {
      out.varint(gap | (kNextWhole + which));
      out.varint(extent.stored_bytes);
      recent.replace(which, extent);
      continue;
    }
    out.varint(gap | (known ? which : kNewExtent + which));
    put_length(out, run.bytes);
    put_length(out, run.extent_offset);
    if (known) {
      recent.touch(which);
      continue;
    }
    const ExtentRef& previous = recent.extents[which];
    out.svarint(static_cast<int64_t>(extent.pack) - static_cast<int64_t>(previous.pack));
    out.svarint(static_cast<int64_t>(extent.offset - (previous.offset + previous.stored_bytes)));
    out.varint(extent.stored_bytes);
    out.varint(extent.raw_bytes / kHashBlockBytes);
    out.fixed(static_cast<uint8_t>(extent.codec));
    recent.replace(which, extent);
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
  RecentExtents recent;
  for (uint64_t i = 0; i < run_count; ++i) {
    Run run;
    const uint64_t head = reader.varint();
    const uint64_t told = head & ((1u << kHeadBits) - 1);
    run.file_offset = end + (head >> kHeadBits);
    if (told >= kNextWhole) {
      const auto which = static_cast<size_t>(told - kNextWhole);
      recent.replace(which, next_whole(recent.extents[which], static_cast<uint32_t>(reader.varint())));
      run.bytes = kExtentBytes;
      end = run.file_offset + run.bytes;
      into.add(recent.extents[0], run);
      continue;
    }
    run.bytes = get_length(reader);
    run.extent_offset = static_cast<uint32_t>(get_length(reader));
    end = run.file_offset + run.bytes;
    if (told < kNewExtent) {
      recent.touch(static_cast<size_t>(told));
    } else {
      const auto which = static_cast<size_t>(told - kNewExtent);
      const ExtentRef& previous = recent.extents[which];
      ExtentRef extent;
      extent.pack = static_cast<uint32_t>(static_cast<int64_t>(previous.pack) + reader.svarint());
      extent.offset = previous.offset + previous.stored_bytes + static_cast<uint64_t>(reader.svarint());
      extent.stored_bytes = static_cast<uint32_t>(reader.varint());
      extent.raw_bytes = static_cast<uint32_t>(reader.varint() * kHashBlockBytes);
      extent.codec = static_cast<Codec>(reader.fixed<uint8_t>());
      recent.replace(which, extent);
    }
    into.add(recent.extents[0], run);
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
