// Cost of coding and decoding one extent against the bare codec on the same bytes: what hashing and tagging add.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <zstd.h>

#include "codec/compress.h"
#include "core/clock.h"
#include "repo/container.h"
#include "store/memory_store.h"

namespace pgark {
namespace {

/// Rows of text and numbers that zstd 1 brings to about a third.
Buffer realistic_extent() {
  static const char* const kWords[] = {"invoice", "customer", "pending", "shipped",
                                       "Berlin",  "Lyon",     "north",   "refund"};
  Rng rng(7);
  std::string text;
  while (text.size() < 131072)
    text += fmt::format("{:08x}|{}|{}|{}.{:02}|{:016x};", rng.next() % 1000000, kWords[rng.below(8)],
                        kWords[rng.below(8)], rng.below(10000), rng.below(100), rng.next());
  Buffer raw;
  raw.append(as_bytes(std::string_view(text).substr(0, 131072)));
  return raw;
}

void BareZstd(benchmark::State& state) {
  const Buffer raw = realistic_extent();
  Buffer out(ZSTD_compressBound(raw.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  for (auto _ : state)
    benchmark::DoNotOptimize(ZSTD_compressCCtx(context, out.data(), out.size(), raw.data(), raw.size(), 1));
  ZSTD_freeCCtx(context);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(raw.size()));
}
BENCHMARK(BareZstd);

void CodeFrame(benchmark::State& state) {
  const Buffer raw = realistic_extent();
  Compressor compressor(static_cast<Codec>(state.range(0)), 1);
  CodedFrame frame;
  std::vector<uint64_t> hashes;
  for (auto _ : state) {
    hashes.clear();
    benchmark::DoNotOptimize(code_frame(FrameType::kExtent, raw, compressor, frame, &hashes).has_value());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(raw.size()));
}
BENCHMARK(CodeFrame)->Arg(0)->Arg(1)->Arg(2);

void DecodeFrame(benchmark::State& state) {
  MemoryStore store;
  const auto repository = std::move(*Repository::open_or_create(store, system_clock()));
  const ObjectKey key{"main/pack/A/000001"};
  const Buffer raw = realistic_extent();
  auto writer = ContainerWriter::create(*repository, key, ContainerKind::kPack);
  Compressor compressor(static_cast<Codec>(state.range(0)), 1);
  const FrameRef ref = *writer->append(FrameType::kExtent, raw, compressor);
  (void)std::move(*writer).commit();
  const Buffer object = std::move(*store.get(key));
  const Bytes stored = object.bytes().subspan(ref.offset, ref.stored_bytes);
  Buffer out(ref.raw_bytes);
  Decompressor decompressor;
  for (auto _ : state)
    benchmark::DoNotOptimize(decode_frame(*repository, key, ref, stored, decompressor, out.bytes()).has_value());
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(raw.size()));
}
BENCHMARK(DecodeFrame)->Arg(0)->Arg(1)->Arg(2);

}  // namespace
}  // namespace pgark
