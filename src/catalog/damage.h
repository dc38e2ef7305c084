// From damaged places of a repository to what they hit: files and blocks of backups, and moments that can no longer be
// recovered. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/coverage.h"
#include "core/clock.h"
#include "core/ids.h"
#include "repo/manifest.h"
#include "repo/pack.h"

namespace pgark {

/// Bytes of an object that are not what was written.
struct DamagedPlace {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool operator==(const DamagedPlace&) const = default;
};

/// What is known to be wrong with a pack.
struct PackDamage {
  bool missing = false;
  /// Its index cannot be read. A restore does not need it, so which extents are good is found out one by one.
  bool index_unreadable = false;
  std::vector<DamagedPlace> places;  // Damaged extents; in order, those that touch are one.

  bool hits(const ExtentRef& extent) const;
};

/// Add a place behind the others, joined to the last one if they touch.
void add_place(std::vector<DamagedPlace>& places, const DamagedPlace& place);

/// Blocks of 8 KiB of a file, both included.
struct DamagedRange {
  uint64_t first = 0;
  uint64_t last = 0;
  bool operator==(const DamagedRange&) const = default;
};

struct DamagedFile {
  std::string path;
  std::vector<DamagedRange> blocks;  // In order, the first kDamagedRangesMax.
  uint64_t block_count = 0;          // All of them.
  std::vector<PackName> packs;       // Where they lie; the first few.
  bool operator==(const DamagedFile&) const = default;
};
inline constexpr size_t kDamagedRangesMax = 64;
inline constexpr size_t kDamagedPacksMax = 8;

/// The files of one backup that are hit.
class DamagedFiles {
 public:
  /// Entries kept; further ones are counted.
  static constexpr size_t kFilesMax = 1000;

  void add(const std::string& path, uint64_t file_offset, uint64_t bytes, const PackName& pack);
  void add(DamagedFile file);
  /// By path.
  std::vector<DamagedFile> files() const;
  /// All of them. Past kFilesMax a file that goes on in another chunk counts again.
  uint64_t count() const { return count_; }

 private:
  std::map<std::string, DamagedFile> files_;
  std::string last_beyond_;  // Path of the last one that was only counted.
  uint64_t count_ = 0;
};

/// Find the files whose runs lie in damaged extents.
/// Shape:  `damaged` has one entry for each extent of the chunk; `packs` is the manifest's table.
void find_damaged_files(const FileChunk& chunk, const std::vector<bool>& damaged, const std::vector<PackName>& packs,
                        DamagedFiles& files);

/// A stretch of one timeline that was recoverable once, or should be, and is not.
struct LostRange {
  TimelineId timeline;
  std::optional<Timestamp> from;  // The last moment before it that can be recovered; none: not known.
  Lsn from_lsn;
  std::optional<Timestamp> to;  // The first moment after it that can be, or the last commit that was written.
  Lsn to_lsn;
  bool ends = false;  // Nothing behind it can be recovered either.
  bool operator==(const LostRange&) const = default;
};

/// Compare what could be recovered if all that ever was there were whole with what can be.
/// Shape:  `ideal` is made of every backup with nothing known to be damaged, `real` with the backups and segments that
///         are good. Each stretch is told once, of the timeline that wrote it.
std::vector<LostRange> find_lost_ranges(const WalCoverage& ideal, const WalCoverage& real);

}  // namespace pgark
