// CRC-32C by the SSE4.2 instruction where the processor has it, by eight tables elsewhere.
#include "core/crc32c.h"

#include <array>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#include "core/cpu_features.h"

namespace pgark {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41, bits reversed.

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (size_t t = 1; t < tables.size(); ++t)
    for (size_t i = 0; i < 256; ++i) tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
  return tables;
}
constexpr Tables kTables = make_tables();

uint32_t update_by_table(uint32_t crc, Bytes bytes) {
  while (bytes.size() >= 8) {
    const uint64_t word = load_le<uint64_t>(bytes.data()) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
    bytes = bytes.subspan(8);
  }
  for (const std::byte b : bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ std::to_integer<uint32_t>(b)) & 0xff];
  return crc;
}

#if defined(__x86_64__)
[[gnu::target("sse4.2")]] uint32_t update_by_instruction(uint32_t crc, Bytes bytes) {
  uint64_t wide = crc;
  while (bytes.size() >= 8) {
    wide = _mm_crc32_u64(wide, load_le<uint64_t>(bytes.data()));
    bytes = bytes.subspan(8);
  }
  crc = static_cast<uint32_t>(wide);
  for (const std::byte b : bytes) crc = _mm_crc32_u8(crc, std::to_integer<uint8_t>(b));
  return crc;
}
#endif

using Update = uint32_t (*)(uint32_t, Bytes);

Update choose_update() {
#if defined(__x86_64__)
  if (PGARK_CPU_HAS(SSE4_2, "sse4.2")) return update_by_instruction;
#endif
  return update_by_table;
}

}  // namespace

uint32_t crc32c(Bytes bytes, uint32_t previous) {
  static const Update update = choose_update();
  return ~update(~previous, bytes);
}

uint32_t crc32c_portable(Bytes bytes, uint32_t previous) { return ~update_by_table(~previous, bytes); }

}  // namespace pgark
