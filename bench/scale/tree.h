// A made-up data directory: as many relations as one likes, of sizes as they are met, and none of it on disk. What the
// product's walk of a data directory asks the system for is answered from here for paths below tree_root().
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace pgark::scale {

/// Where the made-up data directory is. Nothing else has a path like it.
inline constexpr const char* kTreeRoot = "/pgark-made-up-data";

/// Relations by number. A quarter each: heaps, TOAST tables, their indexes, primary keys.
class Tree {
 public:
  static constexpr uint32_t kDatabases = 10;
  static constexpr uint64_t kSegmentBytes = 1u << 30;
  static constexpr uint32_t kFirstDatabaseOid = 16384;
  static constexpr uint32_t kFirstRelfilenode = 100'000;

  /// `bytes` of all together, as near as it gets.
  Tree(uint64_t relations, uint64_t bytes);

  uint64_t relations() const { return relations_; }
  uint64_t relations_each() const { return (relations_ + kDatabases - 1) / kDatabases; }
  /// Relations of a database: from begin_of() of it to that of the next one.
  uint64_t begin_of(uint32_t database) const { return std::min(database * relations_each(), relations_); }
  uint32_t database_of(uint64_t relation) const { return static_cast<uint32_t>(relation / relations_each()); }
  uint32_t relfilenode_of(uint64_t relation) const {
    return kFirstRelfilenode + static_cast<uint32_t>(relation % relations_each());
  }
  /// Of the main fork.
  uint64_t bytes_of(uint64_t relation) const;
  /// Heaps above four pages have a free space and a visibility map.
  bool has_maps(uint64_t relation) const;

  /// Names of the files of a relation.
  std::vector<std::string> files_of(uint64_t relation) const;
  /// Size of the file `name` of a database; it must be one of files_of().
  uint64_t file_bytes(uint32_t database, const std::string& name) const;

 private:
  static uint64_t small_bytes(uint64_t relation);
  uint64_t map_bytes(uint64_t relation, bool free_space) const;

  uint64_t relations_;
  uint64_t large_count_;
  uint64_t large_every_;
  double large_bytes_ = 0;  // Of all large ones.
  double harmonic_ = 0;
};

/// Have this tree answered for below kTreeRoot from now on in this process; null: none any more.
void serve_tree(const Tree* tree);

}  // namespace pgark::scale
