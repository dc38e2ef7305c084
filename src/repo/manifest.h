// The manifest of a backup: a JSON document for people and catalogs, the packs it needs, and every file with its block
// map, in chunks that are written and read one after another, so that memory does not grow with the database.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "repo/pack.h"

namespace pgark {

/// "<stanza>/backup/<label>/manifest".
ObjectKey manifest_key(const std::string& stanza, const std::string& label);

enum class EntryKind : uint8_t { kFile = 0, kDirectory = 1, kSymlink = 2 };

/// Bytes of a file held by part of an extent. Bytes no run covers are zeros.
struct Run {
  uint64_t file_offset = 0;
  uint64_t bytes = 0;   // The last run of a file may end inside a block.
  uint32_t extent = 0;  // Index into the chunk's extents.
  uint32_t extent_offset = 0;
  auto operator<=>(const Run&) const = default;
};

struct FileEntry {
  std::string path;  // Relative, '/'-separated, any bytes but NUL.
  EntryKind kind = EntryKind::kFile;
  uint64_t bytes = 0;
  int64_t modified_us = 0;  // Since 1970-01-01 UTC.
  uint32_t mode = 0;        // Permission bits.
  std::string user;         // Owner by name; empty if it had none.
  std::string group;
  std::string link_target;  // Symlinks only.
  std::vector<Run> runs;    // By file_offset, not overlapping.
  bool continued = false;   // Further runs of a file whose entry in an earlier chunk holds the runs before them.
  std::vector<uint32_t> bad_blocks;  // Blocks (8 KiB) whose page checksum failed when they were copied.
};

/// File entries that share a table of extents. Chunks, and files in a chunk, come in the order of their first extent,
/// so that a reader who goes through the manifest goes through the packs.
struct FileChunk {
  std::vector<ExtentRef> extents;  // ExtentRef::pack indexes ManifestReader::packs().
  std::vector<FileEntry> files;
};

/// Write the manifest of one backup. commit() is what makes the backup exist.
class ManifestWriter {
 public:
  static Result<ManifestWriter> create(const RepositorySet& repositories, const std::string& stanza,
                                       const std::string& label);
  ManifestWriter(ManifestWriter&&) noexcept;
  ManifestWriter& operator=(ManifestWriter&&) noexcept;
  ~ManifestWriter();

  /// Add a file whose runs refer to `extents`, a table of the caller's (ExtentRef::pack indexes the table given to
  /// commit()). A chunk is written when it is full.
  Result<> add(const FileEntry& file, const std::vector<ExtentRef>& extents);
  /// Write the pack table and the document and make the backup exist.
  Result<ObjectInfo> commit(const std::vector<PackName>& packs, const std::string& document) &&;

 private:
  struct State;
  explicit ManifestWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class ManifestReader {
 public:
  /// `object_bytes`: what a listing said of it, if there was one.
  /// Errors: as ContainerReader, with "read manifest of backup <label>" before them.
  static Result<ManifestReader> open(const Repository& repository, const std::string& stanza, const std::string& label,
                                     uint64_t object_bytes = 0);
  ManifestReader(ManifestReader&&) noexcept;
  ManifestReader& operator=(ManifestReader&&) noexcept;
  ~ManifestReader();

  uint64_t object_bytes() const;
  /// Fetch the whole object now, coded as it is: the manifest may be removed afterwards (I7), as its packs outlive it.
  Result<> load();
  /// The JSON document. One small read: listing backups costs this much each.
  Result<std::string> document() const;
  Result<std::vector<PackName>> packs() const;
  /// Chunks of files, 0 <= index < chunk_count(), in any order, from any thread.
  size_t chunk_count() const;
  Result<FileChunk> chunk(size_t index) const;

 private:
  struct State;
  explicit ManifestReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace pgark
