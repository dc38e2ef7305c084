#include "cli/output.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace pgark {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(TextTable, AlignsColumnsWithoutTrailingSpaces) {
  TextTable table("  ");
  table.column("label");
  table.column("size", TextTable::Align::kRight);
  table.column("note");
  table.row({"20261122-101500F", "1.5GB", "ok"});
  table.row({"ä", "7B"});
  EXPECT_EQ(table.to_string(),
            "  label              size  note\n"
            "  20261122-101500F  1.5GB  ok\n"
            "  ä                    7B\n");
}

TEST(TextTable, LeavesOutAnEmptyTitleLine) {
  TextTable table;
  table.column("");
  EXPECT_TRUE(table.empty());
  EXPECT_EQ(table.to_string(), "");
  table.row({"a"});
  EXPECT_EQ(table.to_string(), "a\n");
}

TEST(ErrorJson, HoldsCodeMessageAndEveryHint) {
  const Error error = Error(Errc::kNotFound, "no object").with_hint("first").with_hint("second");
  EXPECT_EQ(error_json(error).dump(), R"({"code":"not_found","message":"no object","hints":["first","second"]})");
  EXPECT_EQ(error_json(Error(Errc::kCorrupt, "damaged")).dump(),
            R"({"code":"corrupt","message":"damaged","hints":[]})");
}

TEST(Format, PrintsSizesInPowersOf1024) {
  EXPECT_EQ(format_size(0), "0B");
  EXPECT_EQ(format_size(1023), "1023B");
  EXPECT_EQ(format_size(1024), "1KB");
  EXPECT_EQ(format_size(1536), "1.5KB");
  EXPECT_EQ(format_size((1u << 20) - 1), "1MB");
  EXPECT_EQ(format_size(uint64_t{5} << 40), "5TB");
  EXPECT_EQ(format_size(UINT64_MAX), "16EB");
}

TEST(Format, PrintsDurationsInTheirTwoLargestUnits) {
  EXPECT_EQ(format_duration(microseconds(-5)), "0ms");
  EXPECT_EQ(format_duration(milliseconds(999)), "999ms");
  EXPECT_EQ(format_duration(milliseconds(1000)), "1.0s");
  EXPECT_EQ(format_duration(milliseconds(59'949)), "59.9s");
  EXPECT_EQ(format_duration(milliseconds(59'950)), "1m00s");
  EXPECT_EQ(format_duration(seconds(3599)), "59m59s");
  EXPECT_EQ(format_duration(seconds(3600)), "1h00m");
  EXPECT_EQ(format_duration(seconds(100'000)), "1d03h");
}

TEST(Format, PrintsTimesInUtc) { EXPECT_EQ(format_utc(Timestamp(seconds(1795342500))), "2026-11-22 10:15:00 UTC"); }

TEST(Output, PrintsJsonWithANewlineAndSurvivesTextThatIsNotUtf8) {
  StringOutput out;
  ASSERT_TRUE(out.print_json({{"name", "a\xff"}}).has_value());
  EXPECT_EQ(out.text(), "{\n  \"name\": \"a\xEF\xBF\xBD\"\n}\n");
}

TEST(Output, ReportsAStreamThatTakesNothing) {
  FdOutput closed(-1);
  const auto written = closed.print("x");
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().message().substr(0, 25), "write to standard output:");
}

}  // namespace
}  // namespace pgark
