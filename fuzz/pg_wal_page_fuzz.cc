// Feeds arbitrary bytes to the decoder of WAL pages and to the check of segments, and arbitrary text to the parser of
// WAL file names, which must write back what it accepted.
#include "core/check.h"
#include "pg/wal.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes raw(reinterpret_cast<const std::byte*>(data), size);
  if (const auto header = pg::decode_wal_page_header(raw)) {
    CHECK(header->header_bytes() <= size);
    const pg::PgVersionFacts* version = pg::pg_version_of_wal_magic(header->magic);
    CHECK(version != nullptr);
    // What the page says of itself is what it is checked against: only an impossible page may fail.
    if (header->is_long && pg::is_wal_segment_bytes(header->segment_bytes) && header->timeline.value > 0) {
      const pg::WalSegmentExpectation expected{
          .segment = pg::segment_at(header->timeline, header->address, header->segment_bytes),
          .segment_bytes = header->segment_bytes,
          .system_id = header->system_id,
          .major = version->major};
      const auto checked = pg::check_segment(raw, expected);
      if (!checked.has_value()) CHECK(checked.error().code() == Errc::kCorrupt);
      pg::WalSegmentExpectation other = expected;
      ++other.system_id;
      CHECK(!pg::check_segment(raw, other).has_value());
    }
  }
  const std::string_view text = as_text(raw);
  if (const auto name = pg::parse_wal_file_name(text)) CHECK(pg::to_string(*name) == text);
  for (uint32_t bytes = pg::kWalSegmentBytesMin; bytes <= pg::kWalSegmentBytesMax; bytes *= 2)
    if (const auto segment = pg::parse_segment_name(text, bytes)) CHECK(pg::segment_name(*segment, bytes) == text);
  return 0;
}
