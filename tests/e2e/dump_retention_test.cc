// Dumps after they were made: listed, shown, held, counted by retention series by series, and looked at by check.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "logical_scene.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class DumpRetention : public ::testing::Test {
 protected:
  void create(const std::vector<std::pair<std::string, std::string>>& global = {}) {
    PGARK_REQUIRE_PG(install, 15);
    ASSERT_OK_AND_ASSIGN(scene_, LogicalScene::create(install, false, global));
    ASSERT_OK(server().exec("CREATE DATABASE app"));
    ASSERT_OK(server().exec("CREATE ROLE clerk LOGIN PASSWORD 'secret'"));
    ASSERT_OK_AND_ASSIGN(PgConnection app, server().connect("app"));
    ASSERT_OK(
        app.exec("CREATE SCHEMA tenant_1; CREATE TABLE tenant_1.orders AS SELECT generate_series(1, 1000) AS n; "
                 "CREATE TABLE days (day date) PARTITION BY RANGE (day); CREATE TABLE january PARTITION OF days "
                 "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')"));
  }
  PgServer& server() { return *scene_->server; }
  PgarkCli& cli() { return *scene_->cli; }
  std::string dump(const std::vector<std::string>& options = {}) {
    auto made = scene_->dump(options);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    const auto labels = listed_dumps(cli());
    return labels && !labels->empty() ? labels->back() : "";
  }
  std::vector<std::string> labels() {
    auto listed = listed_dumps(cli());
    EXPECT_TRUE(listed.has_value()) << listed.error().to_string();
    return listed ? *listed : std::vector<std::string>();
  }

  std::unique_ptr<LogicalScene> scene_;
};

TEST_F(DumpRetention, ListsAndShowsWhatADumpHas) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  const std::string label = dump();
  ASSERT_OK_AND_ASSIGN(const json listed, cli().run_json({"dump-ls"}));
  const json one = listed["repositories"][0]["dumps"][0];
  EXPECT_EQ(one["label"], label);
  EXPECT_EQ(one["series"], "all databases");
  EXPECT_EQ(one["databases"], json({"app", "postgres"}));
  EXPECT_EQ(one["rows"], 1000);
  EXPECT_EQ(one["verified"], nullptr);
  EXPECT_EQ(one["retention"]["keep"], true);
  ASSERT_OK_AND_ASSIGN(const std::string table, cli().run_ok({"dump-ls"}));
  EXPECT_THAT(table, AllOf(HasSubstr(label), HasSubstr("no retention is configured")));

  ASSERT_OK_AND_ASSIGN(const json shown, cli().run_json({"dump-ls", "--set=" + label}));
  const json detail = shown["dump"];
  EXPECT_EQ(detail["databases"][0]["extensions"][0]["name"], "plpgsql");
  bool found = false;
  for (const json& of : detail["tables"]) {
    if (of["name"] != "january") continue;
    found = true;
    EXPECT_EQ(of["parent"], "public.days");
    EXPECT_EQ(of["bound"], "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')");
  }
  EXPECT_TRUE(found);
  ASSERT_OK_AND_ASSIGN(const std::string text, cli().run_ok({"dump-ls", "--set=" + label}));
  EXPECT_THAT(text, AllOf(HasSubstr("tenant_1.orders"), HasSubstr("1000 rows"), HasSubstr("roles: clerk")));

  ASSERT_OK_AND_ASSIGN(const json info, cli().run_json({"info"}));
  EXPECT_EQ(info["stanzas"][0]["status"], "ok") << "a stanza that is for dumps";
  EXPECT_EQ(info["stanzas"][0]["dumps"][0]["label"], label);
  ASSERT_OK_AND_ASSIGN(const std::string told, cli().run_ok({"info"}));
  EXPECT_THAT(told, HasSubstr("dump: " + label));
  ASSERT_OK_AND_ASSIGN(const auto wrong, cli().run({"info", "--set=" + label}));
  EXPECT_FALSE(wrong.ok());
  EXPECT_THAT(wrong.err, HasSubstr("dump-ls --set=" + label));
}

TEST_F(DumpRetention, ExpiresEachSeriesByItself) {
  ASSERT_NO_FATAL_FAILURE(create({{"expire-auto", "n"}, {"expire-grace", "0"}, {"repo1-retention-full", "1"}}));
  if (IsSkipped()) return;
  const std::string held = dump();
  const std::string old = dump();
  const std::string tenant = dump({"--dbname=app", "--schema=tenant_1"});
  const std::string newest = dump();
  ASSERT_OK(cli().run_ok({"hold", "--set=" + held, "--reason=audit"}));
  ASSERT_OK_AND_ASSIGN(const std::string plan, cli().run_ok({"dump-expire", "--dry-run"}));
  EXPECT_THAT(
      plan, AllOf(HasSubstr("remove  " + old), HasSubstr("keep    " + tenant), HasSubstr("would be removed: 1 of 4")));
  EXPECT_THAT(labels(), SizeIs(4));
  ASSERT_OK_AND_ASSIGN(const json expired, cli().run_json({"dump-expire"}));
  EXPECT_GT(expired["repositories"][0]["freed_bytes"], 0);
  EXPECT_THAT(labels(), UnorderedElementsAre(held, tenant, newest));
  ASSERT_OK_AND_ASSIGN(const auto refused, cli().run({"dump-expire", "--set=" + held}));
  EXPECT_THAT(refused.err, HasSubstr("is held"));
  ASSERT_OK(cli().run_ok({"hold", "--set=" + held, "--release"}));
  ASSERT_OK(cli().run_ok({"dump-expire", "--set=" + tenant}));
  ASSERT_OK(cli().run_ok({"dump-expire"}));
  EXPECT_THAT(labels(), ElementsAre(newest));
}

TEST_F(DumpRetention, CheckTellsWhatNoDumpHas) {
  ASSERT_NO_FATAL_FAILURE(create());
  if (IsSkipped()) return;
  dump({"--dbname=app", "--schema=tenant_1", "--no-globals"});
  ASSERT_OK(server().exec("CREATE DATABASE shop"));
  ASSERT_OK_AND_ASSIGN(const auto checked, cli().run({"check", "--output=json"}));
  const json document = json::parse(checked.out, nullptr, false);
  ASSERT_TRUE(document.is_object()) << checked.to_string();
  std::vector<std::string> codes;
  for (const json& finding : document["findings"]) codes.push_back(finding["code"]);
  EXPECT_THAT(codes, AllOf(Contains("roles_not_dumped"), Contains("database_not_dumped"), Contains("dump_not_verified"),
                           Not(Contains("dump_old")), Not(Contains("dumps_failed"))));
}

}  // namespace
}  // namespace pgark::testing
