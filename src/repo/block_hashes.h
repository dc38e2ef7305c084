// The hashes of stored blocks, looked up by extent: to tell what is on disk from what is in the repository without
// fetching it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "repo/pack.h"

namespace pgark {

/// Reads the lists of packs as they are needed and keeps the ones used last, up to a budget. Thread-safe; two threads
/// that need the same list read it once.
class BlockHashes {
 public:
  /// `packs`: what ExtentRef::pack indexes. `repository` must outlive it. Kept are at most `bytes_max`, but always the
  /// list used last (as a rule 300 KiB, 9 MiB at most).
  BlockHashes(const Repository& repository, std::string stanza, std::vector<PackName> packs,
              size_t bytes_max = 48u << 20);
  ~BlockHashes();
  BlockHashes(BlockHashes&&) noexcept;
  BlockHashes& operator=(BlockHashes&&) noexcept;

  /// One block_hash() for each 8 KiB of the extent, appended to `hashes` after clearing it.
  /// Errors: as read_pack_listing(); kCorrupt if the pack lists no such extent. Each names the pack.
  Result<> of(const ExtentRef& extent, std::vector<uint64_t>& hashes);
  /// The hash of the block at `extent_offset`, a multiple of 8 KiB.
  /// Errors: as of(); kCorrupt if the extent ends before.
  Result<uint64_t> of_block(const ExtentRef& extent, uint32_t extent_offset);

  const std::vector<PackName>& packs() const;
  /// Bytes of the lists kept now, and how many lists were read so far.
  size_t bytes() const;
  uint64_t reads() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
