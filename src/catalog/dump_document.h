// The JSON documents in the manifest of a dump: what describes it, and chunks of its streams and tables.
// docs/format/dump.md is normative; unknown members are ignored.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "catalog/dump.h"
#include "core/result.h"

namespace pgark {

/// Units are written without their streams; the count and bytes of these are given apart.
std::string encode_dump_meta(const DumpMeta& meta, uint64_t raw_bytes, uint64_t stream_count);
/// As `meta` has them.
std::string encode_dump_meta(const DumpMeta& meta);
/// Errors: kCorrupt, naming the member that is missing or of the wrong type.
Result<DumpMeta> decode_dump_meta(std::string_view document);

/// Entries of a chunk are gathered up to about this size.
inline constexpr size_t kDumpChunkBytes = 1u << 20;

/// Gathers entries of one kind until take() gives the document with all of them.
class DumpChunk {
 public:
  void add(uint32_t unit, const DumpStream& stream, size_t first_run, size_t run_count);
  void add(const DumpTable& table);
  bool empty() const { return entries_.empty(); }
  size_t bytes() const { return entries_.size(); }
  std::string take();

 private:
  void append(std::string_view list, std::string entry);

  std::string_view list_;  // "streams" or "tables".
  std::string entries_;
};

/// Add what a chunk holds to `dump`, whose units are known. Chunks come in their order in the manifest.
/// Errors: kCorrupt.
Result<> decode_dump_chunk(std::string_view document, Dump& dump);

/// Whether a stream may be called so: it becomes the name of a file.
bool is_dump_stream_name(std::string_view name);

}  // namespace pgark
