// Feeds arbitrary text to the parsers of backup_label, backup history files and tablespace_map.
#include "core/check.h"
#include "pg/backup_label.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto label = pg::parse_backup_label(text);
  if (label.has_value()) {
    CHECK(label->timeline().value > 0);
    CHECK(label->checkpoint >= label->start);
  } else {
    CHECK(label.error().code() == Errc::kCorrupt);
  }
  const auto history = pg::parse_backup_history(text);
  if (history.has_value()) CHECK(label.has_value() && history->stop >= history->start);
  for (const uint32_t major : {13u, 14u}) {
    const auto links = pg::parse_tablespace_map(text, pg::PgMajor{major});
    if (!links.has_value()) {
      CHECK(links.error().code() == Errc::kCorrupt);
      continue;
    }
    const auto again =
        pg::parse_tablespace_map(pg::format_tablespace_map(*links, pg::PgMajor{major}), pg::PgMajor{major});
    // Before 14 a backslash in front of a line end could not be written unambiguously.
    if (major >= 14) CHECK(again.has_value() && *again == *links);
  }
  return 0;
}
