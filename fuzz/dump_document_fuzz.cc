// Feeds arbitrary bytes to the decoders of a dump's documents: a repository may be written by another program, or by
// someone who wants load to write outside its directory.
#include "catalog/dump_document.h"
#include "core/check.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto meta = decode_dump_meta(text); meta.has_value()) {
    // What was understood is written so that it is understood again.
    const std::string written = encode_dump_meta(*meta);
    const auto again = decode_dump_meta(written);
    CHECK(again.has_value() && encode_dump_meta(*again) == written);
  } else {
    CHECK(meta.error().code() == Errc::kCorrupt);
  }
  Dump dump;
  dump.meta.units.resize(3);
  const auto decoded = decode_dump_chunk(text, dump);
  if (!decoded.has_value()) {
    CHECK(decoded.error().code() == Errc::kCorrupt);
    return 0;
  }
  for (const DumpUnit& unit : dump.meta.units) {
    for (const DumpStream& stream : unit.streams) {
      CHECK(is_dump_stream_name(stream.name) && stream.hash.size() == 32);
      for (const DumpRun& run : stream.runs) CHECK(run.pack > 0 && run.frame_count > 0);
    }
  }
  for (const DumpTable& table : dump.tables) CHECK(!table.unit || *table.unit < dump.meta.units.size());
  return 0;
}
