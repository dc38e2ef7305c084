// CRC-32C (Castagnoli), as PostgreSQL writes it into pg_control, WAL records and manifests.
#pragma once

#include <cstdint>

#include "core/bytes.h"

namespace pgark {

/// Continue a CRC-32C over `bytes`: crc32c(b, crc32c(a)) is the CRC of a followed by b.
uint32_t crc32c(Bytes bytes, uint32_t previous = 0);

/// The same without special instructions; for tests and for comparing speed.
uint32_t crc32c_portable(Bytes bytes, uint32_t previous = 0);

}  // namespace pgark
