// What dump-ls, info and dump-expire print of dumps, for people and for programs.
#include "cli/dump_list_render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pgark {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr Timestamp kNow{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + 12h};

Dump sample() {
  Dump dump;
  DumpMeta& meta = dump.meta;
  meta.label = "20261122-101500L";
  meta.series = "all databases";
  meta.started = kNow - 2h;
  meta.stopped = kNow - 119min;
  meta.server = "host db1 port 5432";
  meta.server_version = "15.20";
  meta.system_identifier = 7710988638455154459;
  meta.globals = true;
  meta.raw_bytes = 50u << 20;
  meta.stored_bytes = 9u << 20;
  meta.split = "schema";
  DumpDatabase& app = meta.databases.emplace_back();
  app.name = "app";
  app.owner = "app_owner";
  app.encoding = "UTF8";
  app.collate = "C.UTF-8";
  app.table_count = 2;
  app.row_count = 1234;
  app.large_object_count = 1;
  app.settings = {{"", "work_mem=8MB"}, {"clerk", "search_path=app"}};
  app.extensions = {{"app", "hstore", "1.8"}};
  meta.databases.emplace_back().name = "shop";
  meta.roles = {{"app_owner", true, false, {"staff"}}, {"staff", false, false, {}}};
  meta.warnings = {"1 table is foreign: app.far"};
  DumpUnit& unit = meta.units.emplace_back();
  unit.kind = DumpUnit::Kind::kSchema;
  unit.name = "tenant_1";
  unit.database = "app";
  unit.client = "15.20 (Debian 15.20-0+deb12u1)";
  DumpTable& table = dump.tables.emplace_back();
  table.database = "app";
  table.schema = "public";
  table.name = "january";
  table.rows = 1234;
  table.bytes = 1u << 20;
  table.parent = "public.days";
  table.bound = "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')";
  return dump;
}

DumpListing listing() {
  DumpListing all;
  ListedDump bad;
  bad.label = "20261121-101500L";
  bad.error = Error(Errc::kCorrupt, "read manifest of dump 20261121-101500L: checksum differs");
  all.dumps.push_back(bad);
  all.dumps.push_back({sample().meta.label, sample().meta, std::nullopt});
  DumpVerdict verdict;
  verdict.when = kNow - 1h;
  verdict.ok = false;
  verdict.where = "scratch cluster of PostgreSQL 15";
  verdict.findings = {"table app.public.january has 1233 rows instead of 1234"};
  verdict.tables = 2;
  all.verdicts["20261122-101500L"] = verdict;
  all.holds["20261122-101500L"] = {Timestamp::max(), "audit", kNow - 1h};
  all.retention["20261122-101500L"] = {"20261122-101500L", true, {{"hold", "held until it is released"}}};
  all.retention["20261121-101500L"] = {"20261121-101500L", true, {{"unreadable", "its manifest cannot be read"}}};
  return all;
}

TEST(DumpListRender, TableTellsWhatThereIs) {
  const std::string text = dump_table_text(listing(), kNow);
  EXPECT_THAT(text, HasSubstr("20261122-101500L  all databases"));
  EXPECT_THAT(text, HasSubstr("app, shop"));
  EXPECT_THAT(text, HasSubstr("50MB"));
  EXPECT_THAT(text, HasSubstr("FAILED, 1h00m ago"));
  EXPECT_THAT(text, HasSubstr("keep: held until it is released"));
  EXPECT_THAT(text, HasSubstr("ERROR: read manifest of dump 20261121-101500L: checksum differs"));
  EXPECT_EQ(dump_table_text({}, kNow), "");
}

TEST(DumpListRender, InfoShowsADumpInAFewLines) {
  const DumpListing all = listing();
  const std::string text = listed_dump_text(all, all.dumps[1], kNow);
  EXPECT_THAT(text, HasSubstr("    dump: 20261122-101500L\n"));
  EXPECT_THAT(text, HasSubstr("size: 50MB, stored 9MB; 2 tables with 1234 rows, 1 large object\n"));
  EXPECT_THAT(text, HasSubstr("split: by schema, 1 part\n"));
  EXPECT_THAT(text, HasSubstr("ERROR: NOT VERIFIED"));
  EXPECT_THAT(text, HasSubstr("has 1233 rows instead of 1234"));
  EXPECT_THAT(text, HasSubstr("hold: audit\n"));
  EXPECT_THAT(listed_dump_text(all, all.dumps[0], kNow), HasSubstr("ERROR: read manifest"));
}

TEST(DumpListRender, DetailHasDatabasesTablesPartsAndWarnings) {
  const std::string text = dump_detail_text(listing(), sample(), kNow);
  for (const char* part :
       {"series: all databases", "server: host db1 port 5432, PostgreSQL 15.20", "database app: ", "owner app_owner",
        "setting: work_mem=8MB\n", "setting: search_path=app of role clerk", "extension: hstore 1.8", "public.january",
        "1234 rows", "public.days FOR VALUES FROM ('2026-01-01')", "roles (without passwords): app_owner", "tenant_1",
        "pg_dump 15.20", "WARNING: 1 table is foreign"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(DumpListRender, JsonHasEveryMember) {
  const DumpListing all = listing();
  const auto listed = listed_dump_json(all, all.dumps[1], kNow);
  EXPECT_EQ(listed["label"], "20261122-101500L");
  EXPECT_EQ(listed["tables"], 2);
  EXPECT_EQ(listed["error"], nullptr);
  EXPECT_EQ(listed["verified"]["ok"], false);
  EXPECT_EQ(listed["hold"]["until_us"], nullptr);
  EXPECT_EQ(listed["hold"]["reason"], "audit");
  EXPECT_EQ(listed["retention"]["reasons"][0]["rule"], "hold");
  const auto bad = listed_dump_json(all, all.dumps[0], kNow);
  EXPECT_EQ(bad["error"]["code"], "corrupt");
  EXPECT_EQ(bad["verified"], nullptr);
  const auto detail = dump_detail_json(all, sample(), kNow);
  EXPECT_EQ(detail["system_identifier"], "7710988638455154459");
  EXPECT_EQ(detail["databases"][0]["settings"][1]["role"], "clerk");
  EXPECT_EQ(detail["tables"][0]["rows"], 1234);
  EXPECT_EQ(detail["tables"][0]["unit"], nullptr);
  EXPECT_EQ(detail["units"][0]["kind"], "schema");
  EXPECT_EQ(detail["warnings"].size(), 1u);
}

TEST(DumpListRender, ExpiryTellsWhatWentAndWhatWaits) {
  DumpExpireReport report;
  ExpiredDump gone;
  gone.label = "20261120-101500L";
  gone.series = "all databases";
  gone.decision = {"20261120-101500L", false, {{"retention-full", "older than the last dump"}}};
  gone.outcome = ExpiredBackup::Outcome::kRemoved;
  report.dumps = {gone};
  report.objects = {1, 1024};
  report.waiting = {12, 5u << 20};
  const std::string text = dump_expire_text(report, std::chrono::hours(24), true);
  EXPECT_THAT(text, HasSubstr("remove  20261120-101500L  all databases  older than the last dump\n"));
  EXPECT_THAT(text, HasSubstr("would be removed: 1 of 1 dump, 1 object; 1KB freed\n"));
  EXPECT_THAT(text, HasSubstr("kept for the grace period of 1d00h: 12 objects (5MB)\n"));
  EXPECT_THAT(text, Not(HasSubstr("never were complete")));
  EXPECT_EQ(dump_expire_json(report)["dumps"][0]["outcome"], "removed");
  EXPECT_EQ(dump_expire_json(report)["freed_bytes"], 1024);
}

}  // namespace
}  // namespace pgark
