// Packs: many extents in one container, and whose bytes they are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/container.h"

namespace pgark {

inline constexpr uint32_t kExtentBytes = 128u << 10;  // Raw bytes of an extent, at most.
inline constexpr uint64_t kPackBytes = 64u << 20;     // Stored bytes at which a pack is closed.

/// "<stanza>/pack/<label>/000017".
ObjectKey pack_key(const std::string& stanza, const std::string& label, uint32_t number);

/// Names a pack without its stanza: the backup that wrote it and its number there.
struct PackName {
  std::string label;
  uint32_t number = 0;
  auto operator<=>(const PackName&) const = default;
};

/// Where an extent lies. `pack` indexes the pack table of whoever holds this.
struct ExtentRef {
  uint32_t pack = 0;
  uint64_t offset = 0;
  uint32_t stored_bytes = 0;
  uint32_t raw_bytes = 0;  // A multiple of kHashBlockBytes: extents are padded with zeros.
  Codec codec = Codec::kNone;
  auto operator<=>(const ExtentRef&) const = default;

  FrameRef frame() const { return {offset, stored_bytes, raw_bytes, FrameType::kExtent, codec}; }
};

/// Part of a file held by an extent.
struct ExtentPiece {
  std::string path;  // Owner.
  uint64_t file_offset = 0;
  uint32_t extent_offset = 0;  // A multiple of kHashBlockBytes.
  uint32_t bytes = 0;
};

/// An extent as a pack lists it: for resume, for hash comparison, and for whoever has only packs left.
struct PackedExtent {
  ExtentRef ref;
  std::vector<ExtentPiece> pieces;
  std::vector<uint64_t> block_hashes;  // One for each 8 KiB of raw bytes.
};

/// Allots pack numbers of one backup to its workers, and commits packs beside the work so that a worker need not wait
/// for the disk. Thread-safe.
class PackSet {
 public:
  /// Packs go into every repository of the set.
  PackSet(RepositorySet repositories, std::string stanza, std::string label);
  ~PackSet();

  /// Wait for every pack handed over. The first error of any of them.
  Result<> finish();
  /// Numbers given out so far; pack i has number i + 1.
  uint32_t count() const;
  uint64_t stored_bytes() const;

 private:
  friend class PackWriter;
  struct State;
  std::unique_ptr<State> state_;
};

/// One worker's open pack. Rolls over to a new pack at `pack_bytes`.
class PackWriter {
 public:
  PackWriter(PackSet& set, Codec codec, int level, uint64_t pack_bytes = kPackBytes);
  ~PackWriter();

  /// Code, seal and append one extent: `raw` is a multiple of 8 KiB, at most kExtentBytes. `ref.pack` of the result is
  /// the pack's number - 1.
  Result<ExtentRef> append(Bytes raw, const std::vector<ExtentPiece>& pieces);
  /// Hand the open pack over to be committed. Without it the open pack is dropped.
  Result<> close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// List the extents of a pack.
/// Errors: as ContainerReader; kCorrupt if its pieces do not match its frames.
Result<std::vector<PackedExtent>> read_pack_listing(const Repository& repository, const ObjectKey& key);

/// A PackedExtent as it goes by: nothing of it is copied, and it lives only during the call that is given it.
struct ListedExtent {
  struct Piece {
    std::string_view path;
    uint64_t file_offset = 0;
    uint32_t extent_offset = 0;
    uint32_t bytes = 0;
  };
  ExtentRef ref;  // `pack` is 0.
  std::vector<Piece> pieces;
  std::vector<uint64_t> block_hashes;
};

/// Call `visit` with every extent of a pack, in the order they lie in it. Its error ends the visit and is returned.
/// Errors: as read_pack_listing(), of which some may come after extents have been visited.
Result<> visit_pack_listing(const Repository& repository, const ObjectKey& key,
                            const std::function<Result<>(const ListedExtent&)>& visit);
/// The same of a pack that is open.
Result<> visit_pack_listing(const ContainerReader& container,
                            const std::function<Result<>(const ListedExtent&)>& visit);

}  // namespace pgark
