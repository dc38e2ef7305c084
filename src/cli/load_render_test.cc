#include "cli/load_render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pgark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

LoadReport sample() {
  LoadReport report;
  report.plan.label = "20261122-101500L";
  report.plan.client.version = "15.20";
  report.plan.client.directory = "/usr/lib/postgresql/15/bin";
  report.plan.server_version_num = 160004;
  report.plan.steps = {{.database = "copy",
                        .from_database = "app",
                        .units = {0, 2},
                        .create = true,
                        .drop = false,
                        .object_count = 3,
                        .table_count = 1,
                        .raw_bytes = 2048,
                        .objects = {"SCHEMA a", "TABLE a.t", "TABLE DATA a.t"}}};
  report.plan.findings = {
      {DumpWarning::Severity::kWarning, "extension_version", "copy", "extension x was 1", "try it"}};
  report.tables = {{.database = "copy", .schema = "a", .name = "t", .expected = 7, .found = 6},
                   {.database = "copy", .schema = "a", .name = "u", .expected = {}, .found = 3}};
  report.mismatches = 1;
  report.ended = report.started + std::chrono::milliseconds(1500);
  return report;
}

TEST(LoadRender, TellsCountsThatDiffer) {
  const LoadReport report = sample();
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(load_report_text(report),
            "loaded dump 20261122-101500L in 1.5s\n"
            "  database copy (dumped as app): created, 3 objects, rows of 1 table, 2KB\n"
            "  warning: copy: extension x was 1\n"
            "    try it\n"
            "  rows of 1 table compared with the dump: 1 DIFFER\n"
            "    a.t in copy: 6 rows, recorded were 7\n");
  const auto document = load_report_json(report, "main");
  EXPECT_EQ(document.at("ok"), false);
  EXPECT_EQ(document.at("elapsed_ms"), 1500);
  EXPECT_EQ(document.at("tables").at(0).dump(),
            R"({"database":"copy","schema":"a","name":"t","expected":7,"found":6,"ok":false})");
  EXPECT_EQ(document.at("tables").at(1).at("expected"), nullptr);
}

TEST(LoadRender, PlanListsObjects) {
  const LoadReport report = sample();
  EXPECT_THAT(load_plan_text(report.plan),
              AllOf(HasSubstr("would load dump 20261122-101500L into PostgreSQL 16 with the programs of 15.20\n"),
                    HasSubstr("    TABLE DATA a.t\n"), HasSubstr("nothing was changed\n")));
  const auto document = load_plan_json(report.plan, "main");
  EXPECT_EQ(document.at("dry_run"), true);
  EXPECT_EQ(document.at("findings").at(0).at("severity"), "warning");
  EXPECT_EQ(document.at("steps").at(0).at("units").dump(), "[0,2]");
}

}  // namespace
}  // namespace pgark
