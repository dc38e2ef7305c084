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
  /// `packs`: what ExtentRef::pack indexes. `repository` must outlive it.
  BlockHashes(const Repository& repository, std::string stanza, std::vector<PackName> packs,
              size_t bytes_max = 48u << 20);
  ~BlockHashes();

  /// One block_hash() for each 8 KiB of the extent, appended to `hashes` after clearing it.
  /// Errors: as read_pack_listing(); kCorrupt if the pack lists no such extent.
  Result<> of(const ExtentRef& extent, std::vector<uint64_t>& hashes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
