// The CRC-64 of Azure Storage, with which it checks what it receives where MD5 may not be used.
#pragma once

#include <cstdint>
#include <string>

#include "core/bytes.h"

namespace pgark {

/// CRC-64/NVME: reflected, polynomial 0xad93d23594c93659, begun with ones and complemented.
uint64_t azure_crc64(Bytes bytes);

/// As the header x-ms-content-crc64 has it: base64 of the 8 bytes, the lowest first.
std::string azure_crc64_header(Bytes bytes);

}  // namespace pgark
