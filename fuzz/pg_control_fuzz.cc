// Feeds arbitrary bytes to the decoder of pg_control, as they are and with a right CRC put behind every layout's
// fields.
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/crc32c.h"
#include "pg/control.h"
#include "pg/wal.h"

using namespace pgark;

namespace {

void decode(Bytes file) {
  const auto control = pg::decode_control(file);
  if (!control.has_value()) {
    CHECK(control.error().code() == Errc::kCorrupt || control.error().code() == Errc::kUnsupported);
    return;
  }
  CHECK(pg::is_wal_segment_bytes(control->wal_segment_bytes));
  CHECK(control->block_bytes >= 1024 && control->block_bytes <= 32768);
  CHECK(pg::to_string(control->state) != "unknown" && pg::to_string(control->wal_level) != "unknown");
  for (const pg::PgVersionFacts& facts : pg::pg_versions()) (void)pg::check_control_version(*control, facts.major);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes raw(reinterpret_cast<const std::byte*>(data), size);
  decode(raw);
  for (const size_t crc_at : {280u, 288u, 292u, 304u, 308u}) {
    if (size < crc_at + sizeof(uint32_t)) break;
    std::vector<std::byte> sealed(raw.begin(), raw.end());
    const uint32_t crc = crc32c(raw.first(crc_at));
    std::memcpy(sealed.data() + crc_at, &crc, sizeof crc);
    decode(sealed);
  }
  return 0;
}
