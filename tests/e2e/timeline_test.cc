// `pgark timeline` on a real cluster: who dropped, truncated and deleted what, and the way back to just before it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "restore_scene.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

/// Run statements in one transaction; its number.
Result<uint32_t> run_transaction(PgServer& server, const std::string& statements) {
  TRY_ASSIGN(PgConnection connection, server.connect());
  TRY(connection.exec("BEGIN"));
  TRY(connection.exec(statements));
  TRY_ASSIGN(const PgRows xid, connection.query("SELECT txid_current()"));
  TRY(connection.exec("COMMIT"));
  return static_cast<uint32_t>(xid.integer());
}

json entries_of(const json& document, const std::string& kind) {
  json found = json::array();
  for (const json& entry : document["entries"])
    if (entry["kind"] == kind) found.push_back(entry);
  return found;
}

class TimelineCommand : public ::testing::TestWithParam<int> {};

TEST_P(TimelineCommand, TellsWhatHappenedAndRestoresToBeforeIt) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto scene, RestoreScene::create(install));
  PgServer& server = *scene->server;
  for (const char* table : {"orders", "parts", "visits", "kept"}) {
    ASSERT_OK(server.exec(std::string("CREATE TABLE ") + table +
                          " AS SELECT i, repeat('x', 50) AS text"
                          " FROM generate_series(1, 5000) AS i"));
  }
  ASSERT_OK(server.exec("CREATE INDEX ON parts (i)"));
  ASSERT_OK(server.exec("CREATE INDEX ON kept (i)"));
  ASSERT_OK(scene->backup());

  ASSERT_OK(server.exec("SELECT pg_create_restore_point('before the accident')"));
  ASSERT_OK_AND_ASSIGN(const uint32_t deleted, run_transaction(server, "DELETE FROM visits WHERE i <= 3000"));
  ASSERT_OK(server.exec("DELETE FROM kept WHERE i <= 20"));
  ASSERT_OK_AND_ASSIGN(const uint32_t truncated, run_transaction(server, "TRUNCATE parts"));
  ASSERT_OK(server.exec("INSERT INTO parts SELECT i, 'new' FROM generate_series(1, 10) AS i"));
  ASSERT_OK_AND_ASSIGN(const uint32_t rewritten, run_transaction(server, "CLUSTER kept USING kept_i_idx"));
  ASSERT_OK_AND_ASSIGN(const uint32_t dropped, run_transaction(server, "DROP TABLE orders"));
  ASSERT_OK(server.exec("CREATE DATABASE shop"));
  ASSERT_OK(server.exec("DROP DATABASE shop"));
  ASSERT_OK(server.archive_all());

  ASSERT_OK_AND_ASSIGN(const json document, scene->cli->run_json({"timeline"}));
  ASSERT_THAT(entries_of(document, "restore_point"), SizeIs(1));
  EXPECT_EQ(entries_of(document, "restore_point")[0]["name"], "before the accident");
  const json deletes = entries_of(document, "delete");
  ASSERT_THAT(deletes, SizeIs(1)) << document.dump(1);
  EXPECT_EQ(deletes[0]["xid"], deleted);
  EXPECT_EQ(deletes[0]["count"], 3000);
  EXPECT_EQ(deletes[0]["relations"][0]["name"], "public.visits");
  EXPECT_EQ(deletes[0]["relations"][0]["database"], "postgres");
  const json truncates = entries_of(document, "truncate");
  ASSERT_THAT(truncates, SizeIs(1)) << document.dump(1);
  EXPECT_EQ(truncates[0]["xid"], truncated);
  EXPECT_THAT(truncates[0]["replaced_by"].dump(), HasSubstr("public.parts"));
  const json rewrites = entries_of(document, "rewrite");
  ASSERT_THAT(rewrites, SizeIs(1)) << document.dump(1);
  EXPECT_EQ(rewrites[0]["xid"], rewritten);
  const json drops = entries_of(document, "drop");
  ASSERT_THAT(drops, SizeIs(1)) << document.dump(1);
  EXPECT_EQ(drops[0]["xid"], dropped);
  // initdb made some, too.
  EXPECT_EQ(entries_of(document, "create_database").back()["relations"][0]["database_oid"],
            entries_of(document, "drop_database").back()["relations"][0]["database_oid"]);
  EXPECT_THAT(entries_of(document, "drop_database"), SizeIs(1));
  EXPECT_THAT(entries_of(document, "commits"), Not(IsEmpty()));

  // Filters, and the text for people.
  ASSERT_OK_AND_ASSIGN(const json visits, scene->cli->run_json({"timeline", "--relation=visits"}));
  EXPECT_THAT(visits["entries"], SizeIs(1));
  ASSERT_OK_AND_ASSIGN(const std::string text, scene->cli->run_ok({"timeline", "--kind=drop", "--kind=truncate"}));
  EXPECT_THAT(text, HasSubstr("restore --before-xid=XID"));
  EXPECT_THAT(text, HasSubstr(std::to_string(dropped)));
  EXPECT_THAT(text, Not(HasSubstr("commits")));
  const auto wrong = scene->cli->run({"timeline", "--kind=dropped"});
  ASSERT_OK(wrong);
  EXPECT_EQ(wrong->exit_code, 2);
  EXPECT_THAT(wrong->to_string(), HasSubstr("allowed are commits, restore_point, drop"));

  // Someone dropped a table: back to just before that.
  ASSERT_OK(scene->cli->run_ok(
      scene->restore_args("before", {"--before-xid=" + std::to_string(dropped), "--target-action=promote"})));
  ASSERT_OK_AND_ASSIGN(auto restored, scene->adopt("before"));
  ASSERT_OK(restored->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, restored->wait_for_recovery_end());
  ASSERT_EQ(end, RecoveryEnd::kPromoted);
  ASSERT_OK_AND_ASSIGN(const PgRows orders, restored->query("SELECT count(*) FROM orders"));
  EXPECT_EQ(orders.integer(), 5000);
  ASSERT_OK_AND_ASSIGN(const PgRows parts, restored->query("SELECT count(*) FROM parts"));
  EXPECT_EQ(parts.integer(), 10);

  // Without the server relations have numbers only, and that is said.
  ASSERT_OK(server.stop());
  ASSERT_OK_AND_ASSIGN(const json alone, scene->cli->run_json({"timeline", "--kind=drop"}));
  EXPECT_THAT(alone["notes"].dump(), HasSubstr("cannot be asked"));
  ASSERT_THAT(alone["entries"], SizeIs(1));
  EXPECT_EQ(alone["entries"][0]["relations"][0]["name"], nullptr);
}

INSTANTIATE_TEST_SUITE_P(Versions, TimelineCommand, ::testing::Values(10, 12, 15, 18),
                         [](const auto& param) { return "Pg" + std::to_string(param.param); });

}  // namespace
}  // namespace pgark::testing
