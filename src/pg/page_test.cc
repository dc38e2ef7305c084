#include "pg/page.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/clock.h"

namespace pgark::pg {
namespace {

uint64_t seed_of_run() {
  const char* env = std::getenv("SEED");
  return env != nullptr ? std::strtoull(env, nullptr, 10) : random_seed();
}

/// The algorithm word by word, as its description says, to compare the vector code with.
uint16_t checksum_by_words(std::vector<std::byte> page, uint32_t block) {
  constexpr uint32_t kStart[32] = {0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2,
                                   0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C,
                                   0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979,
                                   0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
                                   0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};
  page[8] = page[9] = std::byte{0};
  uint32_t lanes[32];
  std::memcpy(lanes, kStart, sizeof lanes);
  const auto mix = [](uint32_t lane, uint32_t word) {
    const uint32_t t = lane ^ word;
    return (t * 16777619u) ^ (t >> 17);
  };
  for (size_t at = 0; at < page.size(); at += 128)
    for (size_t lane = 0; lane < 32; ++lane)
      lanes[lane] = mix(lanes[lane], load_le<uint32_t>(page.data() + at + lane * 4));
  uint32_t result = 0;
  for (uint32_t& lane : lanes) result ^= mix(mix(lane, 0), 0);
  return static_cast<uint16_t>((result ^ block) % 65535 + 1);
}

std::vector<std::byte> random_page(Rng& rng, size_t bytes) {
  std::vector<std::byte> page(bytes);
  for (auto& b : page) b = static_cast<std::byte>(rng.next());
  return page;
}

/// A page in use with a right checksum.
std::vector<std::byte> good_page(Lsn lsn, uint32_t block) {
  std::vector<std::byte> page(kPageBytesDefault);
  const auto set = [&](size_t at, auto value) { std::memcpy(page.data() + at, &value, sizeof value); };
  set(0, static_cast<uint32_t>(lsn.bytes >> 32));
  set(4, static_cast<uint32_t>(lsn.bytes));
  set(12, uint16_t{28});
  set(14, uint16_t{8000});
  set(16, uint16_t{8192});
  set(18, uint16_t{8192 | 4});
  for (size_t i = 8000; i < page.size(); ++i) page[i] = static_cast<std::byte>(i * 7);
  set(8, page_checksum(page, block));
  return page;
}

constexpr Lsn kStart{0x5'0000'0000};
constexpr Lsn kLimit{0x6'0000'0000};

TEST(PageChecksum, AgreesWithItsDefinitionForEveryPageSize) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (size_t bytes = 1024; bytes <= 32768; bytes *= 2)
    for (size_t shift = 0; shift < 64; ++shift) {
      // Any place in memory must do.
      std::vector<std::byte> room = random_page(rng, bytes + 63);
      const Bytes page = Bytes(room).subspan(shift, bytes);
      const auto block = static_cast<uint32_t>(rng.next());
      const uint16_t expected = checksum_by_words({page.begin(), page.end()}, block);
      EXPECT_EQ(page_checksum(page, block), expected);
      EXPECT_EQ(page_checksum_portable(page, block), expected);
    }
}

TEST(PageChecksum, DependsOnEveryByteButItsOwn) {
  std::vector<std::byte> page = good_page(kStart, 7);
  const uint16_t before = page_checksum(page, 7);
  size_t collisions = 0;
  for (size_t at = 0; at < page.size(); ++at) {
    page[at] ^= std::byte{1};
    const bool same = page_checksum(page, 7) == before;
    if (at == 8 || at == 9) {
      EXPECT_TRUE(same) << at;
    } else if (same) {
      ++collisions;
    }
    page[at] ^= std::byte{1};
  }
  EXPECT_LE(collisions, 2u);  // Of 8190 tries against 65535 values; the page is always the same one.
  EXPECT_NE(page_checksum(page, 8), before);
}

TEST(PageHeader, DecodesItsFields) {
  const PageHeader h = decode_page_header(good_page(Lsn{0x16'B374'D848}, 0));
  EXPECT_EQ(to_string(h.lsn), "16/B374D848");
  EXPECT_EQ(h.lower, 28);
  EXPECT_EQ(h.upper, 8000);
  EXPECT_EQ(h.special, 8192);
  EXPECT_EQ(h.page_bytes, 8192);
  EXPECT_EQ(h.layout_version, 4);
  EXPECT_FALSE(h.is_new());
}

TEST(IsAllZero, FindsASingleByteAnywhere) {
  for (const size_t bytes : {0u, 1u, 15u, 16u, 17u, 31u, 512u, 8192u}) {
    std::vector<std::byte> data(bytes);
    EXPECT_TRUE(is_all_zero(data)) << bytes;
    for (size_t at = 0; at < bytes; ++at) {
      data[at] = std::byte{0x80};
      ASSERT_FALSE(is_all_zero(data)) << bytes << " " << at;
      data[at] = std::byte{0};
    }
  }
}

TEST(CheckPage, AcceptsRightChecksumsWhateverTheLsn) {
  for (const Lsn lsn : {Lsn{1}, kStart, kLimit, Lsn{kLimit.bytes + 1}})
    EXPECT_EQ(check_page(good_page(lsn, 3), 3, kStart, kLimit), PageState::kOk);
}

TEST(CheckPage, AcceptsNewPagesOnlyIfAllZero) {
  std::vector<std::byte> page(kPageBytesDefault);
  EXPECT_EQ(check_page(page, 3, kStart, kLimit), PageState::kNew);
  page[4096] = std::byte{1};
  EXPECT_EQ(check_page(page, 3, kStart, kLimit), PageState::kBad);
}

TEST(CheckPage, ExcusesTornPagesFromTheStartOn) {
  const auto torn = [](Lsn lsn) {
    auto page = good_page(lsn, 3);
    page[8100] ^= std::byte{1};
    return check_page(page, 3, kStart, kLimit);
  };
  EXPECT_EQ(torn(Lsn{kStart.bytes - 1}), PageState::kBad);
  EXPECT_EQ(torn(kStart), PageState::kNewerThanStart);
  EXPECT_EQ(torn(kLimit), PageState::kNewerThanStart);
}

TEST(CheckPage, DoesNotLetAGarbageLsnExcuseABadPage) {
  auto page = good_page(Lsn{kStart.bytes - 1}, 3);
  page[0] = std::byte{0xff};  // Upper half of the LSN.
  EXPECT_EQ(check_page(page, 3, kStart, kLimit), PageState::kBad);
}

TEST(CheckPage, FindsAPageOfAnotherBlock) {
  EXPECT_EQ(check_page(good_page(Lsn{1}, 3), 4, kStart, kLimit), PageState::kBad);
}

TEST(CheckPage, FindsEveryFlippedBitOfAnOldPage) {
  auto page = good_page(Lsn{1}, 3);
  for (size_t bit = 0; bit < 24 * 8; ++bit) {
    page[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    // A flip of the LSN into the range of this backup would pass for torn; none here does.
    EXPECT_EQ(check_page(page, 3, kStart, Lsn{kStart.bytes + 0x1000}), PageState::kBad) << bit;
    page[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
  }
}

TEST(CheckPageShape, FindsContradictingHeaders) {
  const auto with = [](size_t at, uint16_t value) {
    auto page = good_page(Lsn{1}, 0);
    std::memcpy(page.data() + at, &value, sizeof value);
    return check_page_shape(page);
  };
  EXPECT_EQ(check_page_shape(good_page(Lsn{1}, 0)), PageState::kOk);
  EXPECT_EQ(with(10, 0x0008), PageState::kBad);  // Unknown flag.
  EXPECT_EQ(with(12, 8001), PageState::kBad);    // Lower above upper.
  EXPECT_EQ(with(14, 8193), PageState::kBad);    // Upper above special.
  EXPECT_EQ(with(16, 8200), PageState::kBad);    // Special past the page.
  EXPECT_EQ(with(16, 8190), PageState::kBad);    // Special not aligned.
  EXPECT_EQ(with(14, 0), PageState::kBad);       // New, but not zero.
  EXPECT_EQ(check_page_shape(std::vector<std::byte>(8192)), PageState::kNew);
}

}  // namespace
}  // namespace pgark::pg
