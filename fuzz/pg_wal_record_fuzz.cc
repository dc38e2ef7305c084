// Feeds arbitrary bytes to the decoder of record heads and to the WAL reader. The reader also gets them with page
// headers and CRCs put right, so that it comes past its first checks; it must read the same whether fed whole or by
// page, never go back, and say where it ended.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/crc32c.h"
#include "pg/wal_reader.h"

using namespace pgark;

namespace {

constexpr size_t kBlock = 1024;

struct Outcome {
  std::vector<uint64_t> seen;  // Of each record: position, end, main data, references.
  bool ended = false;
  bool operator==(const Outcome&) const = default;
};

Outcome read_all(const pg::WalReaderOptions& options, Bytes bytes, size_t part_bytes) {
  Outcome out;
  auto reader = pg::WalReader::create(options);
  if (!reader) return out;
  uint64_t last = options.start.bytes;
  while (!bytes.empty()) {
    const Bytes part = bytes.first(std::min(bytes.size(), part_bytes));
    bytes = bytes.subspan(part.size());
    CHECK(reader->feed(part).has_value());
    for (;;) {
      const auto step = reader->next();
      CHECK(step.has_value());  // The source is live: no end is an error.
      if (*step == pg::WalStep::kMore) break;
      if (*step == pg::WalStep::kEnd) {
        CHECK(reader->end()->lsn <= reader->end()->found_at && !reader->end()->message.empty());
        out.ended = true;
        return out;
      }
      const pg::WalRecord& record = reader->record();
      CHECK(record.lsn.bytes >= last && record.lsn.bytes % 8 == 0);
      CHECK(record.end > record.lsn && record.header.prev < record.lsn);
      CHECK(record.main_data.size() <= record.main_data_bytes);
      last = record.end.bytes;
      uint64_t sum = record.blocks().size();
      for (const pg::WalBlockRef& ref : record.blocks()) sum = sum * 31 + ref.block + ref.image_bytes + ref.data_bytes;
      out.seen.insert(out.seen.end(), {record.lsn.bytes, record.end.bytes, crc32c(record.main_data), sum});
    }
  }
  return out;
}

/// Put right what chance would not: pages that follow each other, links, and CRCs of records within a page.
void make_plausible(std::vector<std::byte>& bytes, pg::PgMajor major, const pg::WalReaderOptions& options) {
  uint64_t prev = options.start.bytes - 8;
  for (size_t page = 0; page < bytes.size(); page += kBlock) {
    std::byte* at = bytes.data() + page;
    const uint64_t address = options.start.bytes + page;
    const uint16_t magic = pg::pg_version_facts(major).value()->wal_magics.front();
    const uint16_t flags =
        static_cast<uint16_t>((load_le<uint16_t>(at + 2) & 0x0d) | (address % options.segment_bytes == 0 ? 2 : 0));
    const uint32_t timeline = 1;
    const uint64_t missing = load_le<uint32_t>(at + 16) % 3000;  // Sometimes what is missing.
    std::memcpy(at, &magic, 2);
    std::memcpy(at + 2, &flags, 2);
    std::memcpy(at + 4, &timeline, 4);
    std::memcpy(at + 8, &address, 8);
    std::memcpy(at + 16, &missing, 8);
    if ((flags & 2) != 0) {
      std::memcpy(at + 24, &options.system_id, 8);
      std::memcpy(at + 32, &options.segment_bytes, 4);
      std::memcpy(at + 36, &options.wal_block_bytes, 4);
    }
    size_t record = (flags & 2) != 0 ? 40 : 24;
    if ((flags & 1) != 0) record += (missing + 7) / 8 * 8;
    while (record + 24 <= kBlock) {
      std::byte* start = at + record;
      const uint32_t total = load_le<uint32_t>(start) % 2048;
      std::memcpy(start, &total, 4);
      std::memcpy(start + 8, &prev, 8);
      if (total < 24) break;
      prev = address + record;
      if (record + total > kBlock) {
        // The rest of the record goes on with the next page if that page wants it.
        const size_t next = page + kBlock;
        if (next + kBlock <= bytes.size()) {
          const auto left = static_cast<uint32_t>(record + total - kBlock);
          std::memcpy(bytes.data() + next + 16, &left, 4);
        }
        break;
      }
      const uint32_t crc = crc32c(Bytes(start, 20), crc32c(Bytes(start + 24, total - 24)));
      std::memcpy(start + 20, &crc, 4);
      record += (total + 7) / 8 * 8;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const pg::PgMajor major{10 + data[0] % 10u};
  const Bytes raw(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  pg::WalRecordHead head;
  if (pg::decode_wal_record_head(raw, major, 8192, head)) {
    CHECK(head.main_data_offset_bytes >= pg::kWalRecordHeaderBytes);
    CHECK(uint64_t{head.main_data_offset_bytes} + head.main_data_bytes == head.header.total_bytes);
    CHECK(head.blocks().size() <= pg::kWalBlockRefsMax);
  }
  if (auto options = pg::wal_reader_options(raw)) {
    options->source = pg::WalSource::kLive;
    const Bytes pages = raw.first(raw.size() / options->wal_block_bytes * options->wal_block_bytes);
    CHECK(read_all(*options, pages, SIZE_MAX) == read_all(*options, pages, options->wal_block_bytes));
  }
  const pg::WalReaderOptions options{.major = major,
                                     .start = Lsn{uint64_t{data[0] / 10u} * kBlock + (1u << 20)},
                                     .timeline = TimelineId{1},
                                     .system_id = 1,
                                     .segment_bytes = 1u << 20,
                                     .wal_block_bytes = kBlock,
                                     .source = pg::WalSource::kLive,
                                     .main_data_kept_bytes_max = 500};
  std::vector<std::byte> pages(raw.begin(), raw.end());
  pages.resize((pages.size() + kBlock - 1) / kBlock * kBlock);
  make_plausible(pages, major, options);
  CHECK(read_all(options, pages, SIZE_MAX) == read_all(options, pages, kBlock));
  return 0;
}
