// Speed of reading WAL: records checked and decoded, a second of one core. PGARK_BENCH_WAL names a directory of
// archived segments of a real server; without it the WAL is made up of small records, where a byte costs the most.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/file.h"
#include "pg/wal_reader.h"
#include "testing/wal_builder.h"

namespace pgark::pg {
namespace {

std::vector<std::byte> made_up_wal() {
  pgark::testing::WalBuilder wal({.segment_bytes = kWalSegmentBytesDefault});
  Rng rng(1);
  while (wal.bytes().size() < (size_t{64} << 20)) {
    pgark::testing::SampleRecord record;
    WalBlockRef ref;
    ref.data_bytes = static_cast<uint16_t>(20 + rng.below(150));
    ref.relation = {kDefaultTablespaceOid, 5, 16384};
    ref.block = static_cast<uint32_t>(rng.below(1u << 20));
    record.blocks.push_back({ref});
    record.main_data.resize(3);
    wal.add(record);
  }
  wal.add_switch();
  return std::move(wal.bytes());
}

/// Segments of the directory in order; at most 512 MiB.
std::vector<std::byte> real_wal(const std::string& directory) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().filename().string().size() == 24) paths.push_back(entry.path());
  std::ranges::sort(paths);
  std::vector<std::byte> out;
  for (const std::string& path : paths) {
    const std::string content = read_file(path, size_t{1} << 30).value();
    if (out.size() + content.size() > (size_t{512} << 20)) break;
    const Bytes bytes = as_bytes(content);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

const std::vector<std::byte>& wal() {
  static const std::vector<std::byte> bytes = [] {
    const char* directory = std::getenv("PGARK_BENCH_WAL");
    return directory != nullptr ? real_wal(directory) : made_up_wal();
  }();
  return bytes;
}

void BM_ReadWal(benchmark::State& state) {
  const auto part_bytes = static_cast<size_t>(state.range(0));
  const WalReaderOptions options = wal_reader_options(wal()).value();
  uint64_t records = 0;
  uint64_t refs = 0;
  for (auto _ : state) {
    WalReader reader = WalReader::create(options).value();
    for (size_t at = 0; at < wal().size(); at += part_bytes) {
      CHECK(reader.feed(Bytes(wal()).subspan(at, std::min(part_bytes, wal().size() - at))).has_value());
      while (reader.next().value() == WalStep::kRecord) {
        ++records;
        refs += reader.record().blocks().size();
      }
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(wal().size()) * static_cast<int64_t>(state.iterations()));
  state.counters["records/s"] = benchmark::Counter(static_cast<double>(records), benchmark::Counter::kIsRate);
  state.counters["refs/s"] = benchmark::Counter(static_cast<double>(refs), benchmark::Counter::kIsRate);
}
BENCHMARK(BM_ReadWal)->Arg(8192)->Arg(128 << 10)->Arg(16 << 20);

}  // namespace
}  // namespace pgark::pg
