#include "catalog/damage.h"

#include <algorithm>

namespace pgark {
namespace {

void add_blocks(DamagedFile& file, uint64_t file_offset, uint64_t bytes) {
  uint64_t first = file_offset / kHashBlockBytes;
  const uint64_t last = (file_offset + bytes - 1) / kHashBlockBytes;
  if (!file.blocks.empty() && first <= file.blocks.back().last) first = file.blocks.back().last + 1;
  if (first > last) return;
  file.block_count += last - first + 1;
  if (!file.blocks.empty() && file.blocks.back().last + 1 == first) {
    file.blocks.back().last = last;
  } else if (file.blocks.size() < kDamagedRangesMax) {
    file.blocks.push_back({first, last});
  }
}

void add_pack(DamagedFile& file, const PackName& pack) {
  if (file.packs.size() >= kDamagedPacksMax) return;
  if (std::find(file.packs.begin(), file.packs.end(), pack) == file.packs.end()) file.packs.push_back(pack);
}

/// Where along a timeline recovery reaches, with the times of both ends as far as they are known.
struct Stretch {
  Lsn begin;
  std::optional<Timestamp> begin_time;
  Lsn end;
  std::optional<Timestamp> end_time;
};

/// What can be recovered, and what could be if nothing were missing: WAL that was expired is neither.
std::vector<Stretch> wanted(const TimelineCoverage& ideal) {
  Lsn end = ideal.end;
  std::optional<Timestamp> end_time;
  if (ideal.last_commit) end_time = ideal.last_commit->time;
  // What is missing at the end was written all the same.
  for (const CoverageGap& gap : ideal.gaps) {
    if (gap.end <= end) continue;
    end = gap.end;
    end_time.reset();
  }
  std::vector<Stretch> all;
  for (const RecoverableRange& range : ideal.recoverable) {
    all.push_back({range.from_lsn, range.from, range.to_lsn, range.to});
  }
  for (const BrokenRange& range : ideal.broken) {
    if (range.needs_backup()) {
      all.push_back({range.from_lsn, range.from, std::max(end, range.from_lsn), end_time});
    } else {
      all.push_back({range.from_lsn, range.from, range.to_lsn, range.to});
    }
  }
  std::sort(all.begin(), all.end(), [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
  std::vector<Stretch> joined;
  for (const Stretch& one : all) {
    if (joined.empty() || one.begin > joined.back().end) {
      joined.push_back(one);
    } else if (one.end > joined.back().end) {
      joined.back().end = one.end;
      joined.back().end_time = one.end_time;
    }
  }
  return joined;
}

void add_lost(std::vector<LostRange>& lost, const TimelineCoverage& timeline, LostRange range) {
  // What lies before the switch is told of the ancestor that wrote it.
  if (range.to_lsn <= timeline.begin) return;
  if (range.from_lsn < timeline.begin) {
    range.from_lsn = timeline.begin;
    range.from.reset();
  }
  if (range.from_lsn < range.to_lsn) lost.push_back(range);
}

}  // namespace

void add_place(std::vector<DamagedPlace>& places, const DamagedPlace& place) {
  if (!places.empty() && places.back().offset + places.back().bytes == place.offset) {
    places.back().bytes += place.bytes;
  } else {
    places.push_back(place);
  }
}

bool PackDamage::hits(const ExtentRef& extent) const {
  if (missing) return true;
  const auto behind =
      std::upper_bound(places.begin(), places.end(), extent.offset,
                       [](uint64_t offset, const DamagedPlace& place) { return offset < place.offset; });
  if (behind != places.begin()) {
    const DamagedPlace& before = *std::prev(behind);
    if (extent.offset < before.offset + before.bytes) return true;
  }
  return behind != places.end() && behind->offset < extent.offset + extent.stored_bytes;
}

void DamagedFiles::add(const std::string& path, uint64_t file_offset, uint64_t bytes, const PackName& pack) {
  auto found = files_.find(path);
  if (found == files_.end()) {
    if (files_.size() >= kFilesMax) {
      if (last_beyond_ != path) ++count_;
      last_beyond_ = path;
      return;
    }
    ++count_;
    found = files_.emplace(path, DamagedFile{.path = path, .blocks = {}, .block_count = 0, .packs = {}}).first;
  }
  add_blocks(found->second, file_offset, bytes);
  add_pack(found->second, pack);
}

void DamagedFiles::add(DamagedFile file) {
  ++count_;
  if (files_.size() < kFilesMax) files_.insert_or_assign(file.path, file);
}

std::vector<DamagedFile> DamagedFiles::files() const {
  std::vector<DamagedFile> out;
  for (const auto& [path, file] : files_) out.push_back(file);
  return out;
}

void find_damaged_files(const FileChunk& chunk, const std::vector<bool>& damaged, const std::vector<PackName>& packs,
                        DamagedFiles& files) {
  for (const FileEntry& file : chunk.files) {
    for (const Run& run : file.runs) {
      if (!damaged[run.extent]) continue;
      const uint32_t pack = chunk.extents[run.extent].pack;
      files.add(file.path, run.file_offset, run.bytes, pack < packs.size() ? packs[pack] : PackName{});
    }
  }
}

std::vector<LostRange> find_lost_ranges(const WalCoverage& ideal, const WalCoverage& real) {
  std::vector<LostRange> lost;
  for (const TimelineCoverage& timeline : ideal.timelines) {
    const TimelineCoverage* left = real.find(timeline.timeline);
    std::vector<RecoverableRange> good = left != nullptr ? left->recoverable : std::vector<RecoverableRange>{};
    std::sort(good.begin(), good.end(), [](const auto& a, const auto& b) { return a.from_lsn < b.from_lsn; });
    for (const Stretch& stretch : wanted(timeline)) {
      // Up to where everything was looked at, and when that was.
      Lsn at = stretch.begin;
      std::optional<Timestamp> at_time = stretch.begin_time;
      for (const RecoverableRange& range : good) {
        if (range.to_lsn < at || range.from_lsn >= stretch.end) continue;
        if (range.from_lsn > at) {
          add_lost(lost, timeline, {timeline.timeline, at_time, at, range.from, range.from_lsn, false});
        }
        at = range.to_lsn;
        at_time = range.to ? range.to : std::optional(range.from);
      }
      if (at >= stretch.end) continue;
      const bool ends = good.empty() || good.back().from_lsn < stretch.end;
      add_lost(lost, timeline, {timeline.timeline, at_time, at, stretch.end_time, stretch.end, ends});
    }
  }
  return lost;
}

}  // namespace pgark
