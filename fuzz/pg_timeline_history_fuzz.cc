// Feeds arbitrary text to the parser of timeline history files; what it accepts must be orderly and read back the same.
#include "core/check.h"
#include "pg/timeline_history.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const TimelineId timeline{1000000};
  const auto history = pg::parse_timeline_history(timeline, text);
  if (!history.has_value()) {
    CHECK(history.error().code() == Errc::kCorrupt);
    return 0;
  }
  CHECK(*pg::parse_timeline_history(timeline, pg::format_timeline_history(*history)) == *history);
  Lsn expected_begin;
  for (const pg::TimelineSpan& span : history->spans()) {
    CHECK(span.begin == expected_begin);
    CHECK(history->owner_of(span.begin) == span.timeline);
    CHECK(history->contains(span.timeline, span.begin));
    if (span.end) expected_begin = *span.end;
    CHECK(span.end.has_value() == (span.timeline != timeline));
  }
  return 0;
}
