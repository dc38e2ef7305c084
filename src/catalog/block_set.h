// A set of blocks of many relations that stays small when it is sparse and when it is dense.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "pg/wal_record.h"

namespace pgark {

/// Blocks of relations, in chunks of 65,536: two bytes a block, and from 4,096 blocks on a bitmap of 8 KiB.
class BlockSet {
 public:
  /// `blocks`: ascending, each once.
  void add(const pg::WalRelation& relation, std::span<const uint32_t> blocks);
  /// Remove the blocks of a relation from `block` on.
  void erase_from(const pg::WalRelation& relation, uint32_t block);
  /// Blocks of a relation from `begin` up to `end`, ascending.
  std::vector<uint32_t> between(const pg::WalRelation& relation, uint64_t begin, uint64_t end) const;
  /// How many blocks there are of all relations.
  uint64_t size() const { return size_; }

 private:
  struct Key {
    pg::WalRelation relation;
    uint32_t chunk = 0;
    auto operator<=>(const Key&) const = default;
  };
  /// Offsets in the chunk, ascending; or, if there are kBitmapWords of them, bits.
  using Chunk = std::vector<uint16_t>;

  static void add_to(Chunk& chunk, std::span<const uint32_t> blocks);
  static uint64_t count(const Chunk& chunk);

  std::map<Key, Chunk> chunks_;
  uint64_t size_ = 0;
};

}  // namespace pgark
