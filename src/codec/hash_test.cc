// The hashes are on disk: whatever instructions compute them, they are these.
#include "codec/hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/bytes.h"

namespace pgark {
namespace {

struct KnownHash {
  size_t bytes = 0;
  uint64_t plain = 0;
  uint64_t seeded = 0;  // With seed 42, as the tag.
  uint64_t tag_high = 0;
  uint64_t tag_low = 0;
};

// Made by the portable code of xxHash 0.8.1, of the bytes below.
constexpr KnownHash kKnown[] = {
    {0, 0x2d06800538d394c2, 0xb029411ff43d84d2, 0x16c20acd33f7af2f, 0x3c1d09e9fe249164},
    {1, 0x429e81bc6744101c, 0xd4a47eebd4f70c23, 0xf497dde7a0c9dd91, 0xd4a47eebd4f70c23},
    {16, 0x372c92fa68129c98, 0x792660fdb93da5fb, 0x0689ddc5bc23e023, 0x807860a8c38c627d},
    {240, 0x967597e635f3c527, 0x39db46b839b46e18, 0x7f10bd598772a09c, 0x136a9e3937cda4a8},
    {241, 0xd6afac6f8fa85b01, 0xfba92d5b53a13f5f, 0x1edccb67e3b8771a, 0xfba92d5b53a13f5f},
    {1024, 0xbb9f0c3761cdfd54, 0x1dd013b34c391a3a, 0x154c1c78e9371fdb, 0x1dd013b34c391a3a},
    {8191, 0x44fb2a421800712d, 0xa1dafbc641be20c1, 0x46899859f6778bdd, 0xa1dafbc641be20c1},
    {8192, 0x18bb9dd3160b5244, 0xbc2a2f876f9834fd, 0x740c9471bd9c4d9f, 0xbc2a2f876f9834fd},
    {131072, 0x4176cdb08f2fe75e, 0x3de30aec39b98152, 0x3de16f913d147c96, 0x3de30aec39b98152},
    {300000, 0xa1b0278db4248d9a, 0x9a461d8afbe068da, 0xdaf276c56750c480, 0x9a461d8afbe068da},
};

std::vector<std::byte> known_bytes() {
  std::vector<std::byte> bytes(300'000);
  uint32_t state = 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

uint64_t load_be(Bytes bytes) {
  uint64_t value = 0;
  for (const std::byte byte : bytes.first(8)) value = value << 8 | static_cast<uint64_t>(byte);
  return value;
}

TEST(Hash, IsXxh3OnEveryProcessor) {
  const std::vector<std::byte> all = known_bytes();
  for (const KnownHash& known : kKnown) {
    const Bytes bytes = Bytes(all).first(known.bytes);
    EXPECT_EQ(block_hash(bytes), known.plain) << known.bytes;
    EXPECT_EQ(seeded_hash(bytes, 42), known.seeded) << known.bytes;
    const Tag tag = seeded_tag(bytes, 42);
    EXPECT_EQ(load_be(tag), known.tag_high) << known.bytes;
    EXPECT_EQ(load_be(Bytes(tag).subspan(8)), known.tag_low) << known.bytes;
  }
}

TEST(Hash, OfPiecesIsThatOfTheWhole) {
  const std::vector<std::byte> all = known_bytes();
  for (const size_t step : {1u, 63u, 64u, 255u, 1024u, 8192u, 70'000u}) {
    Hasher64 small;
    Hasher128 large;
    for (size_t at = 0; at < all.size(); at += step) {
      const Bytes piece = Bytes(all).subspan(at, std::min<size_t>(step, all.size() - at));
      small.update(piece);
      large.update(piece);
    }
    EXPECT_EQ(small.digest(), block_hash(all)) << step;
    EXPECT_EQ(large.digest(), seeded_tag(all, 0)) << step;
  }
}

TEST(Hash, TagOfTwoPiecesIsThatOfTheWhole) {
  const std::vector<std::byte> all = known_bytes();
  for (const size_t size : {0u, 1u, 8u, 240u, 241u, 8200u, 131'080u, 300'000u})
    for (const size_t cut : {0u, 1u, 8u, 64u, 239u, 8192u, 300'000u}) {
      const Bytes whole = Bytes(all).first(size);
      const size_t first = std::min(cut, size);
      EXPECT_EQ(seeded_tag(whole.first(first), whole.subspan(first), 42), seeded_tag(whole, 42)) << size << ' ' << cut;
    }
}

TEST(ContentHash, IsTheHashOfTheHashesOfItsBlocks) {
  const std::vector<std::byte> all = known_bytes();
  const Bytes bytes = Bytes(all).first(3 * kHashBlockBytes + 5);
  std::vector<uint64_t> hashes = {7};
  const uint64_t content = content_hash(bytes, hashes);
  ASSERT_EQ(hashes.size(), 5u) << "appended to what is there";
  EXPECT_EQ(hashes[1], block_hash(bytes.first(kHashBlockBytes)));
  EXPECT_EQ(hashes[4], block_hash(bytes.last(5)));
  EXPECT_EQ(content, block_hash({reinterpret_cast<const std::byte*>(hashes.data() + 1), 4 * sizeof(uint64_t)}));
  EXPECT_EQ(content, content_hash(bytes));
}

}  // namespace
}  // namespace pgark
