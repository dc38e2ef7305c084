// Packs that backups left behind which never came to their manifest: what an interrupted backup had stored already, for
// the next one to use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "repo/pack.h"

namespace pgark {

/// A block that is stored already.
struct OrphanedBlock {
  ExtentRef extent;  // `pack` indexes OrphanedPacks::packs().
  uint32_t extent_offset = 0;
};

/// Which blocks of which files lie in orphaned packs. Thread-safe but for moving it.
class OrphanedPacks {
 public:
  struct Options {
    /// Memory it may take. Beyond it the oldest packs are left out; 160 MiB are enough for 1 TiB.
    size_t bytes_max = 160u << 20;
    /// Packs that came before are left out: expire, run elsewhere, may be about to remove them.
    Timestamp not_before = Timestamp::min();
  };

  /// Find the packs of backups that were interrupted: labels with packs and without a manifest, which were not expired
  /// (no tombstone is there, no manifest names one of their packs). Call it before the new backup writes its first
  /// pack. `repository` must outlive the result. Shape:  a pack that cannot be read is left out with a line in the log:
  /// it is damaged, or just being removed. Errors: of listing the repository.
  static Result<OrphanedPacks> find(const Repository& repository, const std::string& stanza, const Options& options);
  static Result<OrphanedPacks> find(const Repository& repository, const std::string& stanza);
  OrphanedPacks(OrphanedPacks&&) noexcept;
  OrphanedPacks& operator=(OrphanedPacks&&) noexcept;
  ~OrphanedPacks();

  bool empty() const { return packs().empty(); }
  const std::vector<PackName>& packs() const;
  /// Whose packs these are, the newest first.
  std::vector<std::string> labels() const;
  uint64_t stored_bytes() const;
  /// How many orphaned packs are not among packs(): too old, unreadable, or beyond the memory.
  uint64_t left_out() const;
  /// Memory of the table, without the lists of packs.
  size_t table_bytes() const;

  /// Find where the block of `path` at `file_offset` (a multiple of 8 KiB) is stored, if the stored one has this hash.
  /// The last block of a file counts as filled up with zeros. Of several the one of the newest backup.
  /// Shape:  quick when asked block after block: the list of a pack is read when the first of its blocks is asked for.
  std::optional<OrphanedBlock> find_block(std::string_view path, uint64_t file_offset, uint64_t hash);

 private:
  struct State;
  explicit OrphanedPacks(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace pgark
