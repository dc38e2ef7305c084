// What a part of a file became: its runs and bad pages in a compact form, so that a TiB of copied files fits in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "repo/manifest.h"

namespace pgark {

/// Runs of a file or of a part of it, with the extents they lie in.
struct PartRuns {
  uint64_t bytes = 0;     // Of the file as the backup has it.
  std::vector<Run> runs;  // Run::extent indexes `extents`.
  std::vector<ExtentRef> extents;
  std::vector<uint32_t> bad_blocks;

  void clear() {
    bytes = 0;
    runs.clear();
    extents.clear();
    bad_blocks.clear();
  }
  /// Append a run. One that continues the run before it, in file and extent, makes that longer.
  void add(const ExtentRef& extent, const Run& run);
  /// Bring runs that were added in another order into that of the file, and join what then continues.
  void sort();
};

/// Keeps encoded parts; what it keeps is never moved. Belongs to one thread while it is written.
class PartStore {
 public:
  /// Where a part is kept.
  using Place = uint64_t;

  Place put(const PartRuns& part);
  /// Append a kept part to `into`: its runs come after those that are there.
  void get(Place place, PartRuns& into) const;
  /// Pack and offset of the first extent, as one number that sorts like them; no value if there is no run.
  std::optional<uint64_t> first_extent(Place place) const;
  /// Bytes held.
  size_t bytes() const { return bytes_; }

 private:
  Bytes at(Place place) const;

  struct Chunk {
    std::unique_ptr<std::byte[]> data;
    size_t size = 0;
    size_t used = 0;
  };
  std::vector<Chunk> chunks_;
  size_t bytes_ = 0;
};

}  // namespace pgark
