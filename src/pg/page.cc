// Page checksum (32 interleaved FNV-1a lanes) in vector code chosen by processor, and the judgement of pages.
#include "pg/page.h"

#include <array>
#include <bit>

#include "core/check.h"
#include "core/cpu_features.h"

namespace pgark::pg {
namespace {

constexpr size_t kLanes = 32;
constexpr size_t kRowBytes = kLanes * sizeof(uint32_t);
constexpr uint32_t kPrime = 16777619;
constexpr size_t kLsnOffset = 0;
constexpr size_t kChecksumOffset = 8;

// Where the lanes begin; chosen by PostgreSQL's authors at random, fixed since 9.3.
alignas(64) constexpr std::array<uint32_t, kLanes> kLaneStart = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};

/// The hash in vectors of kWidth bytes. Force-inlined into functions compiled for one kind of processor each; vectors
/// stay in local arrays so that no calling convention depends on the target; the loops over them are unrolled, which at
/// -O2 GCC does not do by itself, so that the arrays are registers.
template <size_t kWidth>
[[gnu::always_inline]] inline uint32_t hash_page(const std::byte* page, size_t bytes) {
  typedef uint32_t Vector __attribute__((vector_size(kWidth)));
  constexpr size_t kVectors = kRowBytes / kWidth;
  Vector lanes[kVectors];
  std::memcpy(lanes, kLaneStart.data(), kRowBytes);

  // The stored checksum counts as zero: it is the low half of the third word.
  Vector row[kVectors];
  std::memcpy(row, page, kRowBytes);
  row[kChecksumOffset / kWidth][kChecksumOffset % kWidth / sizeof(uint32_t)] &= 0xffff0000u;
#pragma GCC unroll 8
  for (size_t v = 0; v < kVectors; ++v) {
    const Vector mixed = lanes[v] ^ row[v];
    lanes[v] = (mixed * kPrime) ^ (mixed >> 17);
  }
  for (size_t at = kRowBytes; at < bytes; at += kRowBytes) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) {
      Vector word;
      std::memcpy(&word, page + at + v * kWidth, kWidth);
      const Vector mixed = lanes[v] ^ word;
      lanes[v] = (mixed * kPrime) ^ (mixed >> 17);
    }
  }
  for (int round = 0; round < 2; ++round)
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) lanes[v] = (lanes[v] * kPrime) ^ (lanes[v] >> 17);

  uint32_t result = 0;
#pragma GCC unroll 8
  for (size_t v = 0; v < kVectors; ++v)
    for (size_t i = 0; i < kWidth / sizeof(uint32_t); ++i) result ^= lanes[v][i];
  return result;
}

uint32_t hash_page_baseline(const std::byte* page, size_t bytes) { return hash_page<16>(page, bytes); }
#if defined(__x86_64__)
[[gnu::target("sse4.1")]] uint32_t hash_page_sse41(const std::byte* page, size_t bytes) {
  return hash_page<16>(page, bytes);
}
[[gnu::target("avx2")]] uint32_t hash_page_avx2(const std::byte* page, size_t bytes) {
  return hash_page<32>(page, bytes);
}
#endif

using HashPage = uint32_t (*)(const std::byte*, size_t);

struct Implementation {
  std::string_view name;
  HashPage hash;
};

constexpr Implementation kBaseline = {"baseline", hash_page_baseline};

Implementation choose_implementation() {
#if defined(__x86_64__)
  if (PGARK_CPU_HAS(AVX2, "avx2")) return {"avx2", hash_page_avx2};
  if (PGARK_CPU_HAS(SSE4_1, "sse4.1")) return {"sse4.1", hash_page_sse41};
#endif
  return kBaseline;
}

const Implementation& implementation() {
  static const Implementation chosen = choose_implementation();
  return chosen;
}

uint16_t fold(uint32_t hash, uint32_t block) {
  // Never 0, so that a zeroed header is noticed.
  return static_cast<uint16_t>((hash ^ block) % 65535 + 1);
}

bool is_page_size(size_t bytes) { return std::has_single_bit(bytes) && bytes >= 1024 && bytes <= 32768; }

}  // namespace

PageHeader decode_page_header(Bytes page) {
  CHECK(page.size() >= kPageHeaderBytes);
  const std::byte* at = page.data();
  const auto size_version = load_le<uint16_t>(at + 18);
  return {.lsn = Lsn{static_cast<uint64_t>(load_le<uint32_t>(at + kLsnOffset)) << 32 |
                     load_le<uint32_t>(at + kLsnOffset + 4)},  // The upper half comes first.
          .checksum = load_le<uint16_t>(at + kChecksumOffset),
          .flags = load_le<uint16_t>(at + 10),
          .lower = load_le<uint16_t>(at + 12),
          .upper = load_le<uint16_t>(at + 14),
          .special = load_le<uint16_t>(at + 16),
          .page_bytes = static_cast<uint16_t>(size_version & 0xff00),
          .layout_version = static_cast<uint8_t>(size_version & 0xff),
          .prune_xid = load_le<uint32_t>(at + 20)};
}

uint16_t page_checksum(Bytes page, uint32_t block) {
  CHECK(is_page_size(page.size()));
  return fold(implementation().hash(page.data(), page.size()), block);
}

uint16_t page_checksum_portable(Bytes page, uint32_t block) {
  CHECK(is_page_size(page.size()));
  return fold(kBaseline.hash(page.data(), page.size()), block);
}

std::string_view page_checksum_implementation() { return implementation().name; }

bool is_all_zero(Bytes bytes) {
  // A zero beginning compared with the rest shifted by it: memcmp is vectorised for the processor by the C library and
  // stops at the first difference, which for a page in use is in its first bytes.
  constexpr size_t kHead = 16;
  uint64_t any = 0;
  if (bytes.size() < kHead) {
    for (const std::byte b : bytes) any |= std::to_integer<uint64_t>(b);
    return any == 0;
  }
  any = load_le<uint64_t>(bytes.data()) | load_le<uint64_t>(bytes.data() + 8);
  return any == 0 && std::memcmp(bytes.data(), bytes.data() + kHead, bytes.size() - kHead) == 0;
}

std::string_view to_string(PageState state) {
  switch (state) {
    case PageState::kOk:
      return "ok";
    case PageState::kNew:
      return "new";
    case PageState::kNewerThanStart:
      return "newer than start";
    case PageState::kBad:
      return "bad";
  }
  return "unknown";
}

PageState check_page(Bytes page, uint32_t block, Lsn start_lsn, Lsn insert_lsn_limit) {
  const PageHeader header = decode_page_header(page);
  if (header.is_new()) return is_all_zero(page) ? PageState::kNew : PageState::kBad;
  if (page_checksum(page, block) == header.checksum) return PageState::kOk;
  // Any change after the backup's start logged the whole page first, so replay overwrites what was torn.
  const bool mended_by_replay = header.lsn >= start_lsn && header.lsn <= insert_lsn_limit;
  return mended_by_replay ? PageState::kNewerThanStart : PageState::kBad;
}

PageState check_page_shape(Bytes page) {
  constexpr uint16_t kKnownFlags = 0x0007;
  constexpr uint16_t kAlignment = 8;
  const PageHeader header = decode_page_header(page);
  if (header.is_new()) return is_all_zero(page) ? PageState::kNew : PageState::kBad;
  const bool consistent = (header.flags & ~kKnownFlags) == 0 && header.lower <= header.upper &&
                          header.upper <= header.special && header.special <= page.size() &&
                          header.special % kAlignment == 0;
  return consistent ? PageState::kOk : PageState::kBad;
}

}  // namespace pgark::pg
