// Speed and size of the index of a segment: one core, one segment after the other, as archive-push makes it.
// PGARK_BENCH_WAL names a directory of archived segments of a real server; without it the WAL is made up of small heap
// records at random blocks, which index worst.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "codec/compress.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/file.h"
#include "pg/wal_index.h"
#include "testing/wal_records.h"

namespace pgark::pg {
namespace {

struct Segment {
  WalSegment name;
  std::vector<std::byte> content;
};

std::vector<Segment> made_up_segments() {
  pgark::testing::WalBuilder wal({.segment_bytes = kWalSegmentBytesDefault});
  Rng rng(1);
  constexpr size_t kCount = 4;
  for (uint32_t xid = 1000; wal.bytes().size() < kCount * kWalSegmentBytesDefault - 8192; ++xid) {
    for (int i = 0; i < 5; ++i) {
      pgark::testing::SampleRecord record{.rmgr = wal_rmgr::kHeap, .info = 0x20, .xid = Xid{xid}};
      record.blocks.push_back(
          pgark::testing::block_ref(0, {kDefaultTablespaceOid, 5, 16384}, static_cast<uint32_t>(rng.below(1u << 20))));
      record.main_data.resize(14);
      wal.add(record);
    }
    wal.add(pgark::testing::end_record({.xid = Xid{xid}, .time = pgark::testing::kSampleNoonPg + xid}));
  }
  wal.add_switch();
  std::vector<Segment> out;
  for (size_t i = 0; i < kCount; ++i) {
    const Bytes content = Bytes(wal.bytes()).subspan(i * kWalSegmentBytesDefault, kWalSegmentBytesDefault);
    const uint64_t number = wal.options().start.bytes / kWalSegmentBytesDefault + i;
    out.push_back({{TimelineId{1}, number}, {content.begin(), content.end()}});
  }
  return out;
}

std::vector<Segment> real_segments(const std::string& directory) {
  std::vector<Segment> out;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (name.size() != 24 || out.size() == 64) continue;
    const std::string content = read_file(entry.path(), kWalSegmentBytesMax).value();
    const Bytes bytes = as_bytes(content);
    out.push_back(
        {parse_segment_name(name, static_cast<uint32_t>(content.size())).value(), {bytes.begin(), bytes.end()}});
  }
  return out;
}

const std::vector<Segment>& segments() {
  static const std::vector<Segment> all = [] {
    const char* directory = std::getenv("PGARK_BENCH_WAL");
    return directory != nullptr ? real_segments(directory) : made_up_segments();
  }();
  return all;
}

void BM_MakeWalIndex(benchmark::State& state) {
  uint64_t bytes = 0;
  const std::vector<Segment>& all = segments();  // Loaded before the clock runs.
  for (auto _ : state)
    for (const Segment& segment : all) {
      benchmark::DoNotOptimize(make_wal_index(segment.content, segment.name).value());
      bytes += segment.content.size();
    }
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
}
BENCHMARK(BM_MakeWalIndex);

void BM_StoreWalIndex(benchmark::State& state) {
  std::vector<WalIndex> indexes;
  for (const Segment& segment : segments()) indexes.push_back(make_wal_index(segment.content, segment.name).value());
  uint64_t encoded = 0;
  uint64_t stored = 0;
  uint64_t count = 0;
  for (auto _ : state)
    for (const WalIndex& index : indexes) {
      const std::vector<std::byte> raw = encode_wal_index(index);
      Compressor compressor(Codec::kZstd, 3);
      Buffer coded;
      CHECK(compressor.compress(raw, coded).has_value());
      encoded += raw.size();
      stored += coded.size();
      ++count;
    }
  state.counters["encoded_bytes"] = static_cast<double>(encoded) / static_cast<double>(count);
  state.counters["stored_bytes"] = static_cast<double>(stored) / static_cast<double>(count);
  state.SetItemsProcessed(static_cast<int64_t>(count));
}
BENCHMARK(BM_StoreWalIndex);

void BM_DecodeWalIndex(benchmark::State& state) {
  std::vector<std::vector<std::byte>> stored;
  for (const Segment& segment : segments())
    stored.push_back(encode_wal_index(make_wal_index(segment.content, segment.name).value()));
  uint64_t count = 0;
  for (auto _ : state)
    for (const auto& raw : stored) {
      benchmark::DoNotOptimize(decode_wal_index(raw).value());
      ++count;
    }
  state.SetItemsProcessed(static_cast<int64_t>(count));
}
BENCHMARK(BM_DecodeWalIndex);

}  // namespace
}  // namespace pgark::pg
