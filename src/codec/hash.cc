#include "codec/hash.h"

#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
// Puts functions in the place of those of xxhash.h that ask the processor for AVX2 or AVX-512 once, and give the same
// values many times faster: a distribution's library is built for the oldest processor there is.
#include <xxh_x86dispatch.h>
#endif

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/check.h"

namespace pgark {

uint64_t block_hash(Bytes block) { return XXH3_64bits(block.data(), block.size()); }

uint64_t content_hash(Bytes raw, std::vector<uint64_t>& hashes) {
  const size_t first = hashes.size();
  for (size_t at = 0; at < raw.size(); at += kHashBlockBytes)
    hashes.push_back(block_hash(raw.subspan(at, std::min(kHashBlockBytes, raw.size() - at))));
  return XXH3_64bits(hashes.data() + first, (hashes.size() - first) * sizeof(uint64_t));
}

uint64_t content_hash(Bytes raw) {
  std::vector<uint64_t> hashes;
  hashes.reserve(raw.size() / kHashBlockBytes + 1);
  return content_hash(raw, hashes);
}

uint64_t seeded_hash(Bytes bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

namespace {

Tag canonical_tag(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  Tag tag;
  std::memcpy(tag.data(), canonical.digest, tag.size());
  return tag;
}

}  // namespace

Tag seeded_tag(Bytes bytes, uint64_t seed) {
  return canonical_tag(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}

Tag seeded_tag(Bytes bytes, Bytes following, uint64_t seed) {
  if (following.empty()) return seeded_tag(bytes, seed);
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), &XXH3_freeState);
  CHECK(state != nullptr);
  XXH3_128bits_reset_withSeed(state.get(), seed);
  XXH3_128bits_update(state.get(), bytes.data(), bytes.size());
  XXH3_128bits_update(state.get(), following.data(), following.size());
  return canonical_tag(XXH3_128bits_digest(state.get()));
}

Hasher64::Hasher64() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr);
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}
Hasher64::~Hasher64() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void Hasher64::update(Bytes bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
uint64_t Hasher64::digest() const { return XXH3_64bits_digest(static_cast<XXH3_state_t*>(state_)); }

Hasher128::Hasher128() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr);
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}
Hasher128::~Hasher128() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void Hasher128::update(Bytes bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
Tag Hasher128::digest() const { return canonical_tag(XXH3_128bits_digest(static_cast<XXH3_state_t*>(state_))); }

}  // namespace pgark
