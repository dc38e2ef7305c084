// The CRC-64 of Azure Storage: eight tables, so that eight bytes are taken at once.
#include "store/azure_crc64.h"

#include <array>

#include "codec/encoding.h"

namespace pgark {
namespace {

constexpr uint64_t kReflectedPolynomial = 0x9a6c9329ac4bc9b5;

using Tables = std::array<std::array<uint64_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint64_t byte = 0; byte < 256; ++byte) {
    uint64_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReflectedPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t table = 1; table < tables.size(); ++table)
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint64_t before = tables[table - 1][byte];
      tables[table][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

uint64_t azure_crc64(Bytes bytes) {
  uint64_t crc = ~uint64_t{0};
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    const uint64_t word = crc ^ load_le<uint64_t>(bytes.data());
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (const std::byte byte : bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint64_t>(byte)) & 0xff];
  return ~crc;
}

std::string azure_crc64_header(Bytes bytes) {
  const uint64_t crc = azure_crc64(bytes);
  return base64_encode(Bytes(reinterpret_cast<const std::byte*>(&crc), sizeof crc));
}

}  // namespace pgark
