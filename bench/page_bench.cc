// Speed of what is done to every page of a backup: checksum, zero test, judgement; and of CRC-32C.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/crc32c.h"
#include "pg/page.h"

namespace pgark::pg {
namespace {

/// Pages with random content and right checksums: 128 KiB stay in the second level cache, 256 MiB come from memory.
std::vector<std::byte> make_pages(size_t bytes) {
  std::vector<std::byte> pages(bytes);
  Rng rng(1);
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t word = rng.next();
    std::memcpy(pages.data() + at, &word, sizeof word);
  }
  for (size_t at = 0; at < bytes; at += kPageBytesDefault) {
    pages[at + 15] = std::byte{0x10};  // pd_upper is not 0.
    const uint16_t sum =
        page_checksum(Bytes(pages).subspan(at, kPageBytesDefault), static_cast<uint32_t>(at / kPageBytesDefault));
    std::memcpy(pages.data() + at + 8, &sum, sizeof sum);
  }
  return pages;
}

template <typename Work>
void run(benchmark::State& state, Work work) {
  const auto bytes = static_cast<size_t>(state.range(0));
  const std::vector<std::byte> pages = make_pages(bytes);
  for (auto _ : state) {
    uint64_t sum = 0;
    for (size_t at = 0; at < bytes; at += kPageBytesDefault)
      sum += work(Bytes(pages).subspan(at, kPageBytesDefault), static_cast<uint32_t>(at / kPageBytesDefault));
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * static_cast<int64_t>(state.iterations()));
}

void sizes(benchmark::internal::Benchmark* bench) { bench->Arg(128 << 10)->Arg(256 << 20); }

void BM_PageChecksum(benchmark::State& state) {
  state.SetLabel(std::string(page_checksum_implementation()));
  run(state, [](Bytes page, uint32_t block) { return page_checksum(page, block); });
}
BENCHMARK(BM_PageChecksum)->Apply(sizes);

void BM_PageChecksumPortable(benchmark::State& state) {
  run(state, [](Bytes page, uint32_t block) { return page_checksum_portable(page, block); });
}
BENCHMARK(BM_PageChecksumPortable)->Apply(sizes);

void BM_CheckPage(benchmark::State& state) {
  run(state,
      [](Bytes page, uint32_t block) { return static_cast<uint64_t>(check_page(page, block, Lsn{1}, Lsn{~0ull})); });
}
BENCHMARK(BM_CheckPage)->Apply(sizes);

void BM_IsAllZeroOfZeros(benchmark::State& state) {
  const std::vector<std::byte> zeros(kPageBytesDefault);
  for (auto _ : state) benchmark::DoNotOptimize(is_all_zero(zeros));
  state.SetBytesProcessed(static_cast<int64_t>(zeros.size()) * static_cast<int64_t>(state.iterations()));
}
BENCHMARK(BM_IsAllZeroOfZeros);

void BM_Crc32c(benchmark::State& state) {
  run(state, [](Bytes page, uint32_t) { return crc32c(page); });
}
BENCHMARK(BM_Crc32c)->Apply(sizes);

void BM_Crc32cPortable(benchmark::State& state) {
  run(state, [](Bytes page, uint32_t) { return crc32c_portable(page); });
}
BENCHMARK(BM_Crc32cPortable)->Arg(128 << 10);

}  // namespace
}  // namespace pgark::pg
