// What an incremental backup builds on when the cluster is not the one it was: on another timeline, promoted, rewound,
// with checksums switched, or with WAL that did not tell everything.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "incremental_scene.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The stanza goes on with another server of it, and so does the ledger.
Result<> go_on_with(IncrementalScene& scene, PgServer& next) {
  TRY(scene.scene->cli->use_cluster(next));
  return scene.scene->ledger->continue_on(next);
}

void expect_latest_is_right(IncrementalScene& scene, const std::string& name) {
  ASSERT_OK(scene.scene->restore_and_verify(name, LedgerTarget::latest()));
}

TEST(IncrementalDescent, BuildsOnWhatLiesBeforeTheForkAndOnNothingBehindIt) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install, {.wal_segment_mib = 1}));
  Ledger& ledger = *scene.scene->ledger;
  PgServer& server = scene.server();
  ASSERT_OK(server.exec("CREATE TABLE t AS SELECT n, 'before' AS t FROM generate_series(1, 20000) n"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json full, scene.back_up("full"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json before, scene.back_up("incr"));
  ASSERT_OK(server.exec("UPDATE t SET t = 'kept' WHERE n % 50 = 0"));
  ASSERT_OK(ledger.commit_rows(20));
  const LedgerTarget target = LedgerTarget::at_xid(ledger.last().xid);
  // What follows is abandoned; the backup behind it has pages of it.
  ASSERT_OK(server.exec("UPDATE t SET t = 'abandoned' WHERE n % 3 = 0"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json behind, scene.back_up("incr"));
  expect_incremental(behind, before);
  ASSERT_OK(server.archive_all());
  ASSERT_OK(server.stop());

  std::vector<std::string> options = target.restore_options();
  options.emplace_back("--target-action=promote");
  ASSERT_OK(scene.cli().run_ok(scene.scene->restore_args("second", options)));
  ASSERT_OK_AND_ASSIGN(const auto second, PgServer::adopt(scene.scene->place("second"), install));
  ASSERT_OK(second->launch());
  ASSERT_OK(second->wait_for_recovery_end());
  ASSERT_OK(ledger.verify(*second, target));
  ASSERT_OK(go_on_with(scene, *second));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(second->exec("UPDATE t SET t = 'second' WHERE n % 70 = 0"));

  ASSERT_OK_AND_ASSIGN(const json across, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
  expect_incremental(across, before);
  EXPECT_LT(across["stored_bytes"].get<uint64_t>(), whole["stored_bytes"].get<uint64_t>() / 2);
  scene.expect_same_bytes(across, whole);
  ASSERT_OK_AND_ASSIGN(const json next, scene.back_up("incr"));
  expect_incremental(next, whole);

  // Only the abandoned one is left.
  for (const json* gone : {&full, &before, &across, &whole, &next})
    ASSERT_OK(remove_tree(scene.cli().repo_path() + "/main/backup/" + text_of(*gone, "label")));
  ASSERT_OK_AND_ASSIGN(const json alone, scene.back_up("incr"));
  EXPECT_EQ(text_of(alone, "type"), "full");
  EXPECT_THAT(alone["warnings"].dump(), AllOf(HasSubstr(text_of(behind, "label")), HasSubstr("left at")));
  ASSERT_OK(second->archive_all());
  expect_latest_is_right(scene, "latest");
}

TEST(IncrementalDescent, FollowsAFailoverAndARewind) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene,
                       IncrementalScene::create(install, {.wal_segment_mib = 1, .config = {"wal_keep_size = 128MB"}}));
  Ledger& ledger = *scene.scene->ledger;
  PgServer& first = scene.server();
  ASSERT_OK(first.exec("CREATE TABLE t AS SELECT n, 'first' AS t FROM generate_series(1, 20000) n"));
  ASSERT_OK(first.exec("VACUUM FREEZE"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json full, scene.back_up("full"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(first.archive_all());
  ASSERT_OK(first.stop());

  // A standby that followed the archive takes over.
  ASSERT_OK(scene.cli().run_ok(scene.scene->restore_args("second", {"--type=standby"})));
  ASSERT_OK_AND_ASSIGN(const auto second, PgServer::adopt(scene.scene->place("second"), install));
  ASSERT_OK(second->start());
  ASSERT_OK(second->promote());
  ASSERT_OK(go_on_with(scene, *second));
  ASSERT_OK(second->exec("UPDATE t SET t = 'second' WHERE n % 60 = 0"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json promoted, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
  expect_incremental(promoted, full);
  EXPECT_THAT(promoted["warnings"], IsEmpty());
  EXPECT_LT(promoted["stored_bytes"].get<uint64_t>(), whole["stored_bytes"].get<uint64_t>() / 2);
  scene.expect_same_bytes(promoted, whole);
  ASSERT_OK_AND_ASSIGN(const json on_second, scene.back_up("incr"));
  expect_incremental(on_second, whole);

  // The old primary wrote on for itself; rewound, it follows, and takes over in its turn.
  ASSERT_OK_AND_ASSIGN(auto old, PgServer::adopt(first.data_dir(), install, {"archive_mode=off"}));
  ASSERT_OK(old->start());
  ASSERT_OK(old->exec("UPDATE t SET t = 'for itself' WHERE n % 2 = 0; DELETE FROM t WHERE n > 15000"));
  ASSERT_OK(old->exec("VACUUM t"));
  ASSERT_OK(old->stop());
  ASSERT_OK(second->exec("UPDATE t SET t = 'third' WHERE n % 90 = 0"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(second->exec("CHECKPOINT"));
  ASSERT_OK(run_ok(
      {install.program("pg_rewind"), "--no-sync", "-D", first.data_dir(), "--source-server=" + second->conninfo()},
      {.env = without_test_settings()}));
  ASSERT_OK(second->archive_all());
  ASSERT_OK(second->stop());
  // Its configuration came along from the source, with the way to fetch WAL of a standby.
  ASSERT_OK(write_file_durable(first.data_dir() + "/standby.signal", ""));
  ASSERT_OK_AND_ASSIGN(const auto rewound, PgServer::adopt(first.data_dir(), install));
  ASSERT_OK(rewound->start());
  ASSERT_OK(rewound->promote());
  ASSERT_OK(go_on_with(scene, *rewound));
  ASSERT_OK_AND_ASSIGN(const PgRows own, rewound->query("SELECT count(*) FROM t WHERE t = 'for itself'"));
  ASSERT_EQ(own.integer(), 0);
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json after, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json all, scene.back_up("full"));
  expect_incremental(after, on_second);
  EXPECT_LT(after["stored_bytes"].get<uint64_t>(), all["stored_bytes"].get<uint64_t>() / 2);
  scene.expect_same_bytes(after, all, true);  // The older backup is of the other node.
  ASSERT_OK(rewound->archive_all());
  expect_latest_is_right(scene, "latest");
}

TEST(IncrementalDescent, BecomesFullWhenChecksumsWereSwitchedAndReadsAllBehindMinimalWal) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install));
  PgServer& server = scene.server();
  ASSERT_OK(server.exec("CREATE TABLE t AS SELECT n, repeat('a', 100) AS t FROM generate_series(1, 10000) n"));
  ASSERT_OK(server.exec("VACUUM FREEZE"));
  ASSERT_OK_AND_ASSIGN(const json with, scene.back_up("full"));
  ASSERT_OK(server.stop());
  ASSERT_OK(run_ok({install.program("pg_checksums"), "--disable", "-D", server.data_dir()}));
  ASSERT_OK(server.start());
  ASSERT_OK_AND_ASSIGN(const json without, scene.back_up("incr"));
  EXPECT_EQ(text_of(without, "type"), "full");
  EXPECT_THAT(without["warnings"].dump(),
              AllOf(HasSubstr(text_of(with, "label")), HasSubstr("page checksums were turned off")));
  ASSERT_OK(server.stop());
  ASSERT_OK(run_ok({install.program("pg_checksums"), "--enable", "-D", server.data_dir()}));
  ASSERT_OK(remove_tree(scene.cli().repo_path() + "/main/backup/" + text_of(with, "label")));
  ASSERT_OK(server.start());
  ASSERT_OK_AND_ASSIGN(const json again, scene.back_up("incr"));
  EXPECT_EQ(text_of(again, "type"), "full");
  EXPECT_THAT(again["warnings"].dump(), HasSubstr("page checksums were turned on"));
  ASSERT_OK_AND_ASSIGN(const json next, scene.back_up("incr"));
  expect_incremental(next, again);

  // For a while WAL is good for crash recovery alone.
  ASSERT_OK(server.stop());
  ASSERT_OK_AND_ASSIGN(auto minimal, PgServer::adopt(server.data_dir(), install,
                                                     {"wal_level=minimal", "max_wal_senders=0", "archive_mode=off"}));
  ASSERT_OK(minimal->start());
  ASSERT_OK(
      minimal->exec("BEGIN; CREATE TABLE loaded (n int, t text); INSERT INTO loaded SELECT * FROM t; COMMIT;"
                    "UPDATE t SET t = repeat('b', 100) WHERE n % 700 = 0"));
  ASSERT_OK(minimal->stop());
  ASSERT_OK(server.start());
  ASSERT_OK_AND_ASSIGN(const json behind, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
  EXPECT_NE(text_of(behind, "scan"), "wal");
  EXPECT_THAT(behind["warnings"].dump(), HasSubstr("wal_level"));
  scene.expect_same_bytes(behind, whole);
}

}  // namespace
}  // namespace pgark::testing
