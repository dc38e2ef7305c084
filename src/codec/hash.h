// The hashes of the repository format: of 8 KiB blocks, of a frame's content, and the tag that binds bytes to an
// identity.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/bytes.h"

namespace pgark {

/// Grain of block hashes and block maps, whatever the block size of the cluster.
inline constexpr size_t kHashBlockBytes = 8192;

/// XXH3-64 of a block.
uint64_t block_hash(Bytes block);

/// Append the hash of each 8 KiB block of `raw` (the last may be short) to `hashes`; the content hash: XXH3-64 over
/// these hashes as little-endian integers. One pass over the data gives both.
uint64_t content_hash(Bytes raw, std::vector<uint64_t>& hashes);
uint64_t content_hash(Bytes raw);

/// XXH3-64 of `bytes` with a seed.
uint64_t seeded_hash(Bytes bytes, uint64_t seed);

using Tag = std::array<std::byte, 16>;

/// XXH3-128, in canonical (big-endian) form, of `bytes` with a seed. Detects damage and swapped objects, not forgery.
Tag seeded_tag(Bytes bytes, uint64_t seed);
/// The same of `bytes` and what follows them, which lies elsewhere.
Tag seeded_tag(Bytes bytes, Bytes following, uint64_t seed);

/// Incremental XXH3-64 for identities and whole-object comparisons.
class Hasher64 {
 public:
  Hasher64();
  ~Hasher64();
  Hasher64(const Hasher64&) = delete;
  Hasher64& operator=(const Hasher64&) = delete;
  void update(Bytes bytes);
  uint64_t digest() const;

 private:
  void* state_;
};

/// Incremental XXH3-128, in canonical form: of content of any length.
class Hasher128 {
 public:
  Hasher128();
  ~Hasher128();
  Hasher128(const Hasher128&) = delete;
  Hasher128& operator=(const Hasher128&) = delete;
  void update(Bytes bytes);
  Tag digest() const;

 private:
  void* state_;
};

}  // namespace pgark
