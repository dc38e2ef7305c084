// Feeds arbitrary bytes to the decoder of WAL indexes, whose result must come back the same, and arbitrary records to
// the index of a segment: whole, and split over two segments, which must be joined to the same.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/crc32c.h"
#include "pg/wal_index.h"
#include "testing/wal_builder.h"

using namespace pgark;

namespace {

void check_stored(const pg::WalIndex& index) {
  const auto decoded = pg::decode_wal_index(pg::encode_wal_index(index));
  CHECK(decoded.has_value() && *decoded == index);
}

void check_sane(const pg::WalIndex& index) {
  for (const auto& [fork, changes] : index.changes) {
    CHECK(std::is_sorted(changes.blocks.begin(), changes.blocks.end(), std::less_equal{}));
    CHECK(!changes.blocks.empty() || changes.limit_block);
    CHECK(fork.fork != pg::Fork::kFreeSpaceMap);
  }
  CHECK(index.first_commit.has_value() == index.last_commit.has_value());
  if (index.first_commit && index.first_commit->xid.value != 0) CHECK(index.may_hold(index.first_commit->xid));
}

/// Records whose kind and data are the input's, from `filler` bytes before the end of a segment on.
void check_records(const uint8_t* data, size_t size) {
  const pg::PgMajor major{10 + data[0] % 10u};
  testing::WalBuilder wal({.major = major});
  while (wal.bytes().size() < (size_t{1} << 20) - 8192) wal.add_bytes(4000);
  const size_t room = (size_t{1} << 20) - (wal.bytes().size() + 7) / 8 * 8;
  if (room > 64 + size_t{data[1]}) wal.add_bytes(room - size_t{data[1]} / 8 * 8);
  size_t at = 2;
  while (at + 8 <= size) {
    testing::SampleRecord record{
        .rmgr = pg::WalRmgr{static_cast<uint8_t>(data[at] % 23)}, .info = data[at + 1], .xid = Xid{data[at + 2]}};
    if (!pg::is_wal_rmgr(record.rmgr, major)) record.rmgr = pg::wal_rmgr::kTransaction;
    if (record.rmgr == pg::wal_rmgr::kXlog && (record.info & 0xf0) == 0x40) record.info = 0x50;  // No switch here.
    for (uint8_t id = 0; id < data[at + 3] % 3; ++id) {
      testing::SampleBlock block;
      block.ref.id = id;
      block.ref.fork = static_cast<pg::Fork>(data[at + 4] % 4);
      block.ref.relation = {1663, 5, 16384u + data[at + 5] % 4};
      block.ref.block = data[at + 6] * 1000u + id;
      block.ref.data_bytes = 1;
      record.blocks.push_back(block);
    }
    const size_t main_data = std::min<size_t>(data[at + 7] * 4u, size - at - 8);
    const auto* raw = reinterpret_cast<const std::byte*>(data) + at + 8;
    record.main_data.assign(raw, raw + main_data);
    at += 8 + main_data;
    wal.add(record);
    if (wal.bytes().size() > (size_t{2} << 20) - 16384) break;
  }
  wal.add_switch();
  const size_t segment = wal.options().segment_bytes;
  const uint64_t number = wal.options().start.bytes / segment;
  std::optional<pg::WalIndex> before;
  for (size_t i = 0; i < wal.bytes().size() / segment; ++i) {
    const Bytes content = Bytes(wal.bytes()).subspan(i * segment, segment);
    const pg::WalSegment name{TimelineId{1}, number + i};
    auto index = pg::make_wal_index(content, name);
    CHECK(index.has_value());
    check_sane(*index);
    check_stored(*index);
    if (before) {
      const pg::WalFragment* fragment = before->fragment ? &*before->fragment : nullptr;
      const auto anew = pg::make_wal_index(content, name, fragment);
      const auto completed = pg::complete_wal_index(*before, *index);
      CHECK(anew.has_value() && completed.has_value());
      CHECK(*anew == *index);
      check_sane(*index);
      CHECK(pg::read_transaction_ends(content, name, fragment).has_value());
    }
    before = std::move(*index);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes raw(reinterpret_cast<const std::byte*>(data), size);
  if (const auto index = pg::decode_wal_index(raw)) {
    if (index->segment_bytes <= (16u << 20)) check_stored(*index);
  }
  // Costly, and its first byte is none that an index begins with.
  if (size >= 10 && data[0] >= 0x80) check_records(data, size);
  return 0;
}
