#include "cli/progress.h"

#include <gmock/gmock.h>

#include "cli/output.h"

namespace pgark {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

ProgressSample sample(std::string phase, uint64_t done, uint64_t total, seconds elapsed = seconds(0)) {
  ProgressSample made;
  made.phase = std::move(phase);
  made.bytes_done = done;
  made.bytes_total = total;
  made.elapsed = elapsed;
  return made;
}

TEST(ProgressBar, ShowsShareRateAndTimeLeft) {
  const std::string bar = render_progress_bar(sample("copy files", 1 << 30, 4ull << 30), 1 << 28, 80);
  EXPECT_THAT(bar, testing::MatchesRegex("copy files \\[#+\\.+\\]  25% 1GB/4GB 256MB/s 12\\.0s left"));
  EXPECT_LE(display_width(bar), 80u);
}

TEST(ProgressBar, KeepsToTheWidthOfTheTerminal) {
  for (size_t width = 1; width < 120; ++width) {
    EXPECT_LE(render_progress_bar(sample("copy files", 1, 3), 1, width).size(), width) << width;
  }
}

TEST(ProgressBar, CopesWithUnknownTotalsAndOvershoot) {
  EXPECT_EQ(render_progress_bar(sample("wait for WAL", 0, 0, seconds(3)), 0, 80), "wait for WAL 3.0s");
  EXPECT_EQ(render_progress_bar(sample("plan", 1024, 0), 1024, 80), "plan 1KB 1KB/s");
  const std::string grown = render_progress_bar(sample("copy files", 5, 4), 1, 80);
  EXPECT_THAT(grown, HasSubstr("100% 5B/4B"));
  EXPECT_THAT(grown, Not(HasSubstr("left")));
}

TEST(ProgressLines, LogsEachTenthOnceAndEachMinute) {
  ProgressLines lines;
  EXPECT_EQ(lines.feed(sample("copy files", 0, 1000)), "copy files: 0%, 0B of 1000B, 0B/s");
  EXPECT_FALSE(lines.feed(sample("copy files", 99, 1000, seconds(1))).has_value());
  EXPECT_EQ(lines.feed(sample("copy files", 100, 1000, seconds(1))),
            "copy files: 10%, 100B of 1000B, 100B/s, 9.0s left");
  EXPECT_FALSE(lines.feed(sample("copy files", 150, 1000, seconds(60))).has_value());
  EXPECT_TRUE(lines.feed(sample("copy files", 150, 1000, seconds(61))).has_value());
  EXPECT_TRUE(lines.feed(sample("copy files", 1000, 1000, seconds(62))).has_value());
  EXPECT_EQ(lines.feed(sample("wait for WAL", 0, 0, seconds(63))), "wait for WAL");
  EXPECT_FALSE(lines.feed(sample("wait for WAL", 0, 0, seconds(64))).has_value());
}

TEST(ProgressDisplay, StartsAndStopsWithoutATerminal) {
  SettingsInput input;
  input.default_config = input.default_include_path = "/nonexistent";
  input.foreign_configs.clear();
  input.arguments = {"--stanza=main", "--pg1-path=/pg", "--no-progress", "backup"};
  const auto settings = resolve_settings(input);
  ASSERT_TRUE(settings.has_value());
  Progress progress;
  for (int i = 0; i < 20; ++i) {
    const ProgressDisplay display(*settings, progress, system_clock());
    progress.bytes_done += 10;
    progress.phase = "copy files";
  }
}

}  // namespace
}  // namespace pgark
