#include "pg/timeline_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgark::pg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kThree =
    "1\t0/12000100\treached consistency\n"
    "\n"
    "2\t0/15000000\tbefore 2026-11-22 10:00:00+00\n";

TimelineHistory three() { return parse_timeline_history(TimelineId{3}, kThree).value(); }

TEST(TimelineHistory, ParsesAndFormatsWhatPostgresWrites) {
  const TimelineHistory history = three();
  ASSERT_EQ(history.ancestors().size(), 2u);
  EXPECT_EQ(history.ancestors()[1].reason, "before 2026-11-22 10:00:00+00");
  EXPECT_EQ(history.parent(), TimelineId{2});
  EXPECT_EQ(to_string(history.begin()), "0/15000000");
  EXPECT_EQ(format_timeline_history(history), kThree);
}

TEST(TimelineHistory, SkipsCommentsAndBlanksAndReadsPaddedPositions) {
  const auto history =
      parse_timeline_history(TimelineId{5}, "# note\n\n   \n  1 0/00000100\n4\t1/00000000\tx\ty \r\n# 4 0/0").value();
  EXPECT_THAT(history.ancestors(),
              ElementsAre(TimelineSwitch{{1}, Lsn{0x100}, ""}, TimelineSwitch{{4}, Lsn{0x1'0000'0000}, "x\ty "}));
}

TEST(TimelineHistory, AnEmptyFileMeansNoAncestors) {
  const auto history = parse_timeline_history(TimelineId{1}, "").value();
  EXPECT_EQ(history, TimelineHistory(TimelineId{1}));
  EXPECT_FALSE(history.parent().has_value());
  EXPECT_EQ(format_timeline_history(history), "");
  EXPECT_EQ(history.owner_of(Lsn{77}).value, 1u);
}

TEST(TimelineHistory, NamesTheBadLine) {
  const auto message = [](std::string_view content) {
    const auto parsed = parse_timeline_history(TimelineId{3}, content);
    EXPECT_FALSE(parsed.has_value()) << content;
    if (parsed) return std::string();
    EXPECT_EQ(parsed.error().code(), Errc::kCorrupt);
    return parsed.error().message();
  };
  EXPECT_EQ(message("1\t0/100\tok\nx\t0/200\n"), "parse history of timeline 3: line 2: 'x' is not a timeline");
  EXPECT_THAT(message("1\n"), HasSubstr("line 1: '' is not an LSN"));
  EXPECT_THAT(message("1\t0-100\n"), HasSubstr("'0-100' is not an LSN"));
  EXPECT_THAT(message("0\t0/100\n"), HasSubstr("'0' is not a timeline"));
  EXPECT_THAT(message("3\t0/100\n"), HasSubstr("timeline 3 cannot be an ancestor of 3"));
  EXPECT_THAT(message("2\t0/100\n1\t0/200\n"), HasSubstr("line 2: timeline 1 follows 2"));
  EXPECT_THAT(message("1\t0/100\n1\t0/200\n"), HasSubstr("timeline 1 follows 1"));
  EXPECT_THAT(message("1\t0/300\n2\t0/200\n"), HasSubstr("position 0/200 follows 0/300"));
}

TEST(TimelineHistory, ASwitchPointBelongsToTheChild) {
  const TimelineHistory history = three();
  EXPECT_EQ(history.owner_of(Lsn{0}).value, 1u);
  EXPECT_EQ(history.owner_of(Lsn{0x120000FF}).value, 1u);
  EXPECT_EQ(history.owner_of(Lsn{0x12000100}).value, 2u);
  EXPECT_EQ(history.owner_of(Lsn{0x14FFFFFF}).value, 2u);
  EXPECT_EQ(history.owner_of(Lsn{0x15000000}).value, 3u);
  EXPECT_EQ(history.owner_of(Lsn{~0ull}).value, 3u);
}

TEST(TimelineHistory, KnowsAncestorsAndUntilWhere) {
  const TimelineHistory history = three();
  EXPECT_EQ(history.end_of(TimelineId{1}), Lsn{0x12000100});
  EXPECT_EQ(history.end_of(TimelineId{2}), Lsn{0x15000000});
  EXPECT_FALSE(history.end_of(TimelineId{3}).has_value());
  EXPECT_FALSE(history.end_of(TimelineId{4}).has_value());
  EXPECT_TRUE(history.contains(TimelineId{3}));
  EXPECT_TRUE(history.contains(TimelineId{1}));
  EXPECT_FALSE(history.contains(TimelineId{4}));
  EXPECT_TRUE(history.contains(TimelineId{1}, Lsn{0x12000100}));
  EXPECT_FALSE(history.contains(TimelineId{1}, Lsn{0x12000101}));
  EXPECT_TRUE(history.contains(TimelineId{3}, Lsn{~0ull}));
  EXPECT_FALSE(history.contains(TimelineId{4}, Lsn{1}));
}

TEST(TimelineHistory, SpansCoverEverythingOnce) {
  EXPECT_THAT(three().spans(), ElementsAre(TimelineSpan{{1}, Lsn{0}, Lsn{0x12000100}},
                                           TimelineSpan{{2}, Lsn{0x12000100}, Lsn{0x15000000}},
                                           TimelineSpan{{3}, Lsn{0x15000000}, std::nullopt}));
  // A timeline left at the point where it began held no WAL.
  const TimelineHistory short_lived(TimelineId{3}, {{{1}, Lsn{0x100}, ""}, {{2}, Lsn{0x100}, ""}});
  EXPECT_THAT(short_lived.spans(),
              ElementsAre(TimelineSpan{{1}, Lsn{0}, Lsn{0x100}}, TimelineSpan{{3}, Lsn{0x100}, std::nullopt}));
  EXPECT_EQ(short_lived.owner_of(Lsn{0x100}).value, 3u);
}

}  // namespace
}  // namespace pgark::pg
