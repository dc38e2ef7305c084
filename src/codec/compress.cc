#include "codec/compress.h"

#include <fmt/format.h>
#include <lz4.h>
#include <lz4hc.h>
#include <zstd.h>

#include <cstring>

#include "core/check.h"

namespace pgark {

std::string_view codec_name(Codec codec) {
  switch (codec) {
    case Codec::kNone:
      return "none";
    case Codec::kLz4:
      return "lz4";
    case Codec::kZstd:
      return "zst";
  }
  return "unknown";
}

struct Compressor::State {
  ZSTD_CCtx* zstd = nullptr;
  ~State() { ZSTD_freeCCtx(zstd); }
};

Compressor::Compressor(Codec codec, int level) : codec_(codec), level_(level), state_(std::make_unique<State>()) {
  if (codec_ != Codec::kZstd) return;
  state_->zstd = ZSTD_createCCtx();
  CHECK(state_->zstd != nullptr);
  CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(state_->zstd, ZSTD_c_compressionLevel, level_)));
  // zstd takes 14 for inputs of more than 256 KiB, which is twice what the first cache of a processor holds. The pieces
  // of WAL segments are that large: with 13 they take a tenth less time and no more room. Smaller inputs have it
  // anyway.
  if (level_ == 1) CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(state_->zstd, ZSTD_c_hashLog, 13)));
  // The frame's container holds size and checksum; zstd need not repeat them.
  CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(state_->zstd, ZSTD_c_contentSizeFlag, 0)));
  CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(state_->zstd, ZSTD_c_checksumFlag, 0)));
}

Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

Result<Codec> Compressor::compress(Bytes raw, Buffer& out) {
  TRY_ASSIGN(const Codec used, compress_if_smaller(raw, out));
  if (used == Codec::kNone) out.append(raw);
  return used;
}

Result<Codec> Compressor::compress_if_smaller(Bytes raw, Buffer& out) {
  const size_t start = out.size();
  size_t coded = 0;
  if (codec_ == Codec::kZstd) {
    out.resize(start + ZSTD_compressBound(raw.size()));
    coded = ZSTD_compress2(state_->zstd, out.data() + start, out.size() - start, raw.data(), raw.size());
    if (ZSTD_isError(coded))
      return Error(Errc::kInternal, std::string("compress with zstd: ") + ZSTD_getErrorName(coded));
  } else if (codec_ == Codec::kLz4 && raw.size() <= LZ4_MAX_INPUT_SIZE) {
    const int bound = LZ4_compressBound(static_cast<int>(raw.size()));
    out.resize(start + static_cast<size_t>(bound));
    const auto* from = reinterpret_cast<const char*>(raw.data());
    auto* to = reinterpret_cast<char*>(out.data() + start);
    const int size = static_cast<int>(raw.size());
    const int n =
        level_ > 2 ? LZ4_compress_HC(from, to, size, bound, level_) : LZ4_compress_default(from, to, size, bound);
    if (n <= 0) return Error(Errc::kInternal, "compress with lz4: failed");
    coded = static_cast<size_t>(n);
  }
  if (coded == 0 || coded > raw.size() - raw.size() / 16) {
    out.resize(start);
    return Codec::kNone;
  }
  out.resize(start + coded);
  return codec_;
}

struct Decompressor::State {
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
  ~State() { ZSTD_freeDCtx(zstd); }
};

Decompressor::Decompressor() : state_(std::make_unique<State>()) { CHECK(state_->zstd != nullptr); }
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

Result<> Decompressor::decompress(Codec codec, Bytes coded, MutableBytes raw) {
  switch (codec) {
    case Codec::kNone:
      if (coded.size() != raw.size())
        return Error(Errc::kCorrupt,
                     fmt::format("stored frame holds {} bytes where {} are due", coded.size(), raw.size()));
      if (!raw.empty()) std::memcpy(raw.data(), coded.data(), raw.size());
      return {};
    case Codec::kLz4: {
      const int n =
          LZ4_decompress_safe(reinterpret_cast<const char*>(coded.data()), reinterpret_cast<char*>(raw.data()),
                              static_cast<int>(coded.size()), static_cast<int>(raw.size()));
      if (n < 0 || static_cast<size_t>(n) != raw.size())
        return Error(Errc::kCorrupt, "lz4 frame does not decode to its size");
      return {};
    }
    case Codec::kZstd: {
      const size_t n = ZSTD_decompressDCtx(state_->zstd, raw.data(), raw.size(), coded.data(), coded.size());
      if (ZSTD_isError(n))
        return Error(Errc::kCorrupt, std::string("zstd frame does not decode: ") + ZSTD_getErrorName(n));
      if (n != raw.size()) return Error(Errc::kCorrupt, "zstd frame does not decode to its size");
      return {};
    }
  }
  return Error(Errc::kUnsupported, fmt::format("codec {} is unknown", static_cast<unsigned>(codec)));
}

}  // namespace pgark
