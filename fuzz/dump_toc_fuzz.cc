// Feeds arbitrary bytes to the reader of archives of pg_dump and to the counters of rows, whole and in pieces.
#include "core/check.h"
#include "pg/dump_toc.h"

using namespace pgark;

namespace {

using Make = std::unique_ptr<pg::DumpRowCounter> (*)();

void count(Make make, Bytes bytes) {
  const auto whole = make();
  whole->add(bytes);
  const auto pieces = make();
  // The first byte of the input decides where it is cut.
  const size_t piece = bytes.empty() ? 1 : 1 + static_cast<size_t>(bytes[0]);
  for (size_t at = 0; at < bytes.size(); at += piece)
    pieces->add(bytes.subspan(at, std::min(piece, bytes.size() - at)));
  const auto expected = whole->counts();
  const auto found = pieces->counts();
  CHECK(expected.size() == found.size());
  for (size_t i = 0; i < found.size(); ++i) {
    CHECK(expected[i].of == found[i].of && expected[i].dump_id == found[i].dump_id);
    CHECK(expected[i].rows == found[i].rows && found[i].rows <= bytes.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto toc = pg::read_dump_toc(bytes);
  if (toc.has_value()) {
    const auto again = pg::write_dump_toc(*toc);
    CHECK(toc->toc_bytes <= size && as_text(again) == as_text(bytes.first(toc->toc_bytes)));
  } else {
    const Errc code = toc.error().code();
    CHECK(code == Errc::kInvalid || code == Errc::kUnsupported || code == Errc::kCorrupt || code == Errc::kNotFound);
  }
  count(pg::count_directory_file_rows, bytes);
  count(pg::count_custom_rows, bytes);
  count(pg::count_plain_rows, bytes);
  return 0;
}
