// Compression of one frame at a time, with contexts that are reused.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"

namespace pgark {

/// How a frame's bytes are coded. The values are on disk (docs/format/container.md) and never change.
enum class Codec : uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };

/// "none", "lz4", "zst": the values of the option compress-type.
std::string_view codec_name(Codec codec);

/// Compress frames with one codec and level. Belongs to one thread at a time.
class Compressor {
 public:
  /// Shape: `level` 1..19 for zstd, 1..12 for lz4 (above 2 its high-compression mode); ignored for none.
  Compressor(Codec codec, int level);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  /// Append the coded form of `raw` to `out`; the codec used: kNone, with `raw` copied, when coding would not save a
  /// sixteenth of its size.
  /// Errors: kInternal if the library fails, which it does not for valid arguments.
  Result<Codec> compress(Bytes raw, Buffer& out);
  /// The same, but for kNone nothing is appended: `raw` itself is the coded form.
  Result<Codec> compress_if_smaller(Bytes raw, Buffer& out);

 private:
  struct State;
  Codec codec_;
  int level_;
  std::unique_ptr<State> state_;
};

/// Undo Compressor. Belongs to one thread at a time.
class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  /// Fill `raw` exactly.
  /// Errors: kCorrupt if `coded` does not decode to raw.size() bytes; kUnsupported for an unknown codec.
  Result<> decompress(Codec codec, Bytes coded, MutableBytes raw);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgark
