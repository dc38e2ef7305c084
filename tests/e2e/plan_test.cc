// The target planner on real clusters: recovery ends at the very record where the server's own target would end it, the
// plan that is printed is what then happens, and what cannot be reached is refused before a byte is copied.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/file.h"
#include "pg/timeline_history.h"
#include "restore_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// Where the server left timeline 1 when it was promoted.
Result<Lsn> promoted_at(const PgServer& server) {
  const std::string path = server.data_dir() + "/pg_wal/00000002.history";
  TRY_ASSIGN(const std::string text, read_file(path));
  TRY_ASSIGN(const auto history, pg::parse_timeline_history(TimelineId{2}, text));
  return history.begin();
}

/// Restore, start, wait for the promotion: where it happened.
Result<Lsn> recover(const RestoreScene& scene, const std::string& name, const std::vector<std::string>& options,
                    const std::function<Result<>(PgServer&)>& look = {}) {
  TRY(scene.cli->run_ok(scene.restore_args(name, options)));
  TRY_ASSIGN(auto server, scene.adopt(name));
  TRY(server->launch());
  TRY_ASSIGN(const RecoveryEnd end, server->wait_for_recovery_end());
  if (end != RecoveryEnd::kPromoted) return Error(Errc::kInternal, "recovery did not end in a promotion");
  if (look) TRY(look(*server));
  TRY_ASSIGN(const Lsn at, promoted_at(*server));
  TRY(server->stop());
  TRY(remove_tree(scene.place(name)));
  return at;
}

/// The same with the target left to the server: pgark is asked for the end of the WAL, and the target is given as
/// settings.
Result<Lsn> recover_by_server(const RestoreScene& scene, const LedgerTarget& target) {
  const std::vector<std::string> asked = target.restore_options();
  const std::string type = asked[0].substr(std::string("--type=").size());
  const std::string value = asked[1].substr(std::string("--target=").size());
  std::vector<std::string> options{"--recovery-option=recovery_target_" + type + "=" + value,
                                   "--recovery-option=recovery_target_action=promote"};
  if (target.exclusive) options.emplace_back("--recovery-option=recovery_target_inclusive=false");
  return recover(scene, "by_server", options);
}

class PlanOn : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, PlanOn, ::testing::Values(15, 10, 12, 13, 18),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(PlanOn, EndsWhereTheServersOwnTargetWould) {
  PGARK_REQUIRE_PG(install, GetParam());
  Rng rng(test_seed());
  ASSERT_OK_AND_ASSIGN(const auto scene,
                       RestoreScene::create(install, {.config = {"max_prepared_transactions = 5"}},
                                            {.clients = 3, .rows_per_second = 100, .seed = rng.next()}));
  Ledger& ledger = *scene->ledger;
  PgServer& server = *scene->server;
  ASSERT_OK(server.exec("CREATE TABLE special(what text)"));
  ASSERT_OK(ledger.start());
  ASSERT_OK(ledger.wait_for_rows(30));
  ASSERT_OK_AND_ASSIGN(const nlohmann::json backup, scene->backup());
  ASSERT_OK(ledger.wait_for_rows(60));
  ASSERT_OK(server.exec("BEGIN; INSERT INTO special VALUES ('prepared'); PREPARE TRANSACTION 'p'"));
  ASSERT_OK(ledger.wait_for_rows(10));
  ASSERT_OK(ledger.restore_point("in the middle"));
  ASSERT_OK_AND_ASSIGN(const PgRows prepared, server.query("SELECT transaction FROM pg_prepared_xacts"));
  ASSERT_OK(server.exec("COMMIT PREPARED 'p'"));
  ASSERT_OK(ledger.wait_for_rows(40));
  ASSERT_OK(ledger.stop());
  const std::vector<LedgerRow> rows = ledger.rows();
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK(server.archive_all());

  ASSERT_OK_AND_ASSIGN(const Lsn backup_stop, parse_lsn(backup["stop_lsn"].get<std::string>()));
  const Timestamp backup_stopped{std::chrono::microseconds(backup["stopped_us"].get<int64_t>())};
  const auto any_row = [&]() -> const LedgerRow& {
    for (;;) {
      const LedgerRow& row = rows[rng.below(rows.size())];
      if (row.acknowledged && row.before_commit > backup_stop && row.committed_at > backup_stopped) return row;
    }
  };
  // Not past the last commit: there the server, left alone, goes to the end of the WAL or dies (see below).
  Timestamp last{};
  for (const LedgerRow& row : rows)
    if (row.acknowledged) last = std::max(last, row.committed_at);
  const std::vector<LedgerTarget> targets{
      LedgerTarget::at_time(any_row().committed_at),
      LedgerTarget::at_time(std::min(last, any_row().committed_at + std::chrono::milliseconds(rng.below(50))), true),
      LedgerTarget::at_xid(any_row().xid),
      LedgerTarget::at_xid(any_row().xid, true),
      LedgerTarget::at_xid(Xid{static_cast<uint32_t>(prepared.integer())}, rng.below(2) == 0),
      LedgerTarget::at_name("in the middle"),
  };
  for (const LedgerTarget& target : targets) {
    SCOPED_TRACE(target.to_string());
    std::vector<std::string> options = target.restore_options();
    options.emplace_back("--target-action=promote");
    std::vector<std::string> dry = scene->restore_args("planned", options);
    dry.emplace_back("--dry-run");
    ASSERT_OK_AND_ASSIGN(const nlohmann::json planned, scene->cli->run_json(dry));
    ASSERT_OK_AND_ASSIGN(const Lsn end, parse_lsn(planned["plan"]["end_lsn"].get<std::string>()));

    const bool is_prepared = target.xid.value == static_cast<uint32_t>(prepared.integer());
    ASSERT_OK_AND_ASSIGN(const Lsn ours, recover(*scene, "planned", options, [&](PgServer& restored) -> Result<> {
                           if (!is_prepared) return ledger.verify(restored, target);
                           TRY_ASSIGN(const PgRows found, restored.query("SELECT count(*) FROM special"));
                           if (found.integer() != (target.exclusive ? 0 : 1))
                             return Error(Errc::kCorrupt, "the prepared transaction is on the wrong side");
                           return {};
                         }));
    ASSERT_OK_AND_ASSIGN(const Lsn theirs, recover_by_server(*scene, target));
    EXPECT_EQ(to_string(ours), to_string(theirs));
    EXPECT_EQ(to_string(ours), to_string(end)) << planned.dump(2);
  }
}

class PlanPastTheEnd : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, PlanPastTheEnd, ::testing::Values(15, 12),
                         [](const auto& parameter) { return major_name(parameter.param); });

/// Left alone, 13 and later die at the end of the WAL, and 12 promotes wherever that is.
TEST_P(PlanPastTheEnd, TimeBehindTheLastCommitEndsWithIt) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto scene, RestoreScene::create(install));
  ASSERT_OK(scene->ledger->commit_rows(3));
  ASSERT_OK(scene->backup());
  ASSERT_OK(scene->ledger->commit_rows(5));
  const LedgerRow last = scene->ledger->last();
  // Its own commit is the last; what ends the segment comes behind it.
  ASSERT_OK(scene->server->archive_all());
  const Timestamp late = system_clock().now();
  ASSERT_GT(late, last.committed_at);
  const LedgerTarget target = LedgerTarget::at_time(late);
  std::vector<std::string> options = target.restore_options();
  options.emplace_back("--target-action=promote");
  std::vector<std::string> dry = scene->restore_args("late", options);
  dry.emplace_back("--dry-run");
  ASSERT_OK_AND_ASSIGN(const nlohmann::json planned, scene->cli->run_json(dry));
  EXPECT_THAT(planned["plan"]["notes"].dump(), HasSubstr("lies behind the last commit"));
  EXPECT_LT(planned["plan"]["last_commit"]["time_us"], late.time_since_epoch().count());
  EXPECT_EQ(planned["plan"]["next_commit"], nullptr);
  ASSERT_OK_AND_ASSIGN(const Lsn end, parse_lsn(planned["plan"]["end_lsn"].get<std::string>()));
  EXPECT_GE(end, last.after_commit);
  ASSERT_OK_AND_ASSIGN(const Lsn at, recover(*scene, "late", options, [&](PgServer& restored) {
                         return scene->ledger->verify(restored, target);
                       }));
  EXPECT_EQ(to_string(at), to_string(end)) << "exactly behind the commit record";
}

// One test: each is a process of its own, and the cluster with its backup is what takes time.
TEST(Plan, IsPrintedWithoutTouchingAnythingAndRefusesWhatIsOutOfReach) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto scene, RestoreScene::create(install));
  Ledger& ledger = *scene->ledger;
  PgServer& server = *scene->server;
  const auto dry_run = [&](std::vector<std::string> options) {
    options.emplace_back("--dry-run");
    return scene->restore("dry", options);
  };
  const auto plan_of = [&](std::vector<std::string> options) {
    options.emplace_back("--dry-run");
    return scene->cli->run_json(scene->restore_args("dry", options));
  };
  ASSERT_OK(server.exec("CREATE TABLE special(what text)"));
  ASSERT_OK_AND_ASSIGN(const nlohmann::json backup, scene->backup());
  ASSERT_OK(ledger.commit_rows(4));
  ASSERT_OK(ledger.restore_point("twice"));
  // A subtransaction: its id is not the one that commits.
  ASSERT_OK_AND_ASSIGN(PgConnection connection, server.connect());
  ASSERT_OK_AND_ASSIGN(const auto nested,
                       connection.query_each("BEGIN; SELECT txid_current(); SAVEPOINT s;"
                                             "INSERT INTO special VALUES ('nested') RETURNING xmin; COMMIT"));
  const auto parent = static_cast<uint32_t>(nested[1].integer());
  const auto child = static_cast<uint32_t>(nested[3].integer());
  ASSERT_NE(parent, child);
  ASSERT_OK(ledger.commit_rows(4));
  ASSERT_OK(ledger.restore_point("twice"));
  ASSERT_OK(ledger.restore_point("once"));
  ASSERT_OK(ledger.commit_rows(4));
  ASSERT_OK(server.archive_all());
  const std::vector<LedgerRow> rows = ledger.rows();

  // -- The plan, as JSON and as text.
  const LedgerRow& row = rows[6];
  ASSERT_OK_AND_ASSIGN(const nlohmann::json document, plan_of({"--before-xid=" + std::to_string(row.xid.value)}));
  const nlohmann::json& plan = document["plan"];
  EXPECT_EQ(document["dry_run"], true);
  EXPECT_EQ(document["label"], backup["label"]);
  EXPECT_EQ(document["target"]["type"], "xid");
  EXPECT_EQ(document["target"]["exclusive"], true);
  EXPECT_EQ(plan["server_target"], "lsn");
  EXPECT_EQ(plan["server_timeline"], "1");
  EXPECT_EQ(plan["stop"]["inclusive"], false);
  EXPECT_EQ(plan["next_commit"]["xid"], row.xid.value);
  EXPECT_EQ(plan["next_commit"]["time_us"], row.committed_at.time_since_epoch().count());
  EXPECT_EQ(plan["last_commit"]["xid"], rows[5].xid.value);
  EXPECT_EQ(plan["wal"][0]["first"], backup["wal_start"]);
  EXPECT_THAT(plan["notes"], IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto text, dry_run({"--type=xid", "--target=" + std::to_string(row.xid.value)}));
  EXPECT_TRUE(text.ok()) << text.to_string();
  EXPECT_THAT(text.out, AllOf(HasSubstr("would restore backup " + backup["label"].get<std::string>()),
                              HasSubstr("stops: just after the record at"),
                              HasSubstr("last commit kept: transaction " + std::to_string(row.xid.value)),
                              HasSubstr("first commit dropped: transaction " + std::to_string(rows[7].xid.value)),
                              HasSubstr("nothing was changed")));
  EXPECT_FALSE(std::filesystem::exists(scene->place("dry")));

  ASSERT_OK_AND_ASSIGN(const nlohmann::json of_child, plan_of({"--type=xid", "--target=" + std::to_string(child)}));
  EXPECT_EQ(of_child["plan"]["last_commit"]["xid"], parent);
  EXPECT_THAT(of_child["plan"]["notes"].dump(), HasSubstr("is a subtransaction of transaction"));

  const auto both = dry_run({"--before-xid=1000", "--type=immediate"});
  ASSERT_OK(both);
  EXPECT_THAT(both->to_string(), HasSubstr("--before-xid and --type exclude each other"));

  // -- Names.
  const auto twice = dry_run({"--type=name", "--target=twice"});
  ASSERT_OK(twice);
  EXPECT_EQ(twice->exit_code, 2);
  EXPECT_THAT(twice->to_string(), AllOf(HasSubstr("made 2 times"), HasSubstr("--type=lsn --target=")));
  ASSERT_OK(plan_of({"--type=name", "--target=once"}));
  const auto unknown = dry_run({"--type=name", "--target=never"});
  ASSERT_OK(unknown);
  EXPECT_EQ(unknown->exit_code, 3);
  EXPECT_THAT(unknown->to_string(), HasSubstr("restore point 'never' is not in the WAL"));
  const auto future_xid = dry_run({"--before-xid=400000000"});
  ASSERT_OK(future_xid);
  EXPECT_EQ(future_xid->exit_code, 3);
  EXPECT_THAT(future_xid->to_string(), AllOf(HasSubstr("transaction 400000000 is not"), HasSubstr("reachable are")));

  // -- A segment is lost; later ones are there.
  ASSERT_OK(ledger.commit_rows(2));
  const LedgerRow before_gap = ledger.last();
  ASSERT_OK(server.archive_all());
  ASSERT_OK(ledger.commit_rows(2));
  ASSERT_OK_AND_ASSIGN(const std::string lost, server.archive_all());
  ASSERT_OK(ledger.commit_rows(2));
  const LedgerRow behind_gap = ledger.last();
  ASSERT_OK(server.archive_all());
  const std::string path =
      scene->cli->repo_path() + "/main/wal/1/" + lost.substr(0, 8) + "/" + lost.substr(8, 8) + "/" + lost;
  ASSERT_TRUE(std::filesystem::remove(path)) << path;
  const auto gap = dry_run({});
  ASSERT_OK(gap);
  EXPECT_EQ(gap->exit_code, 3) << gap->to_string();
  EXPECT_THAT(gap->to_string(), AllOf(HasSubstr("WAL segment " + lost + " is not in the repository"),
                                      HasSubstr("after transaction"), HasSubstr("--type=lsn")));
  const auto behind = dry_run(LedgerTarget::at_time(behind_gap.committed_at).restore_options());
  ASSERT_OK(behind);
  EXPECT_EQ(behind->exit_code, 3) << behind->to_string();
  EXPECT_THAT(behind->to_string(), HasSubstr("WAL segment " + lost));
  // What the hint says leads to the last commit before it, on the server too.
  const std::string hint = gap->to_string();
  const size_t at = hint.find("--type=lsn --target=") + 20;
  const std::string last_lsn = hint.substr(at, hint.find_first_of(" \n", at) - at);
  ASSERT_OK(recover(*scene, "before_gap", {"--type=lsn", "--target=" + last_lsn, "--target-action=promote"},
                    [&](PgServer& restored) { return ledger.verify(restored, LedgerTarget::at_xid(before_gap.xid)); }));
  // A backup behind the gap is chosen by itself.
  ASSERT_OK_AND_ASSIGN(const nlohmann::json second, scene->backup());
  ASSERT_OK(ledger.commit_rows(2));
  ASSERT_OK(server.archive_all());
  ASSERT_OK_AND_ASSIGN(const nlohmann::json behind_it, plan_of({}));
  EXPECT_EQ(behind_it["label"], second["label"]);
  EXPECT_EQ(behind_it["plan"]["server_target"], "default");
  EXPECT_GE(behind_it["plan"]["last_commit"]["xid"], ledger.last().xid.value);
  ASSERT_OK(scene->restore_and_verify("latest", LedgerTarget::latest()));
}

/// A timeline whose history is archived and none of its segments yet, while its parent's segment goes on past the fork:
/// a server left alone reads on there, with what the new timeline never had.
TEST(Plan, EndsAtAForkBehindWhichNothingIsArchivedYet) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const auto scene, RestoreScene::create(install));
  Ledger& ledger = *scene->ledger;
  ASSERT_OK(scene->backup());
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK(ledger.restore_point("fork"));
  ASSERT_OK(ledger.commit_rows(5));
  ASSERT_OK(scene->server->archive_all());
  ASSERT_OK(
      scene->cli->run_ok(scene->restore_args("second", {"--type=name", "--target=fork", "--target-action=promote"})));
  ASSERT_OK_AND_ASSIGN(auto second, PgServer::adopt(scene->place("second"), install, {}));
  ASSERT_OK(second->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, second->wait_for_recovery_end());
  ASSERT_EQ(end, RecoveryEnd::kPromoted);
  const std::string done = second->data_dir() + "/pg_wal/archive_status/00000002.history.done";
  ASSERT_OK(wait_for("the history to be archived", [&]() -> Result<bool> { return std::filesystem::exists(done); }));
  ASSERT_OK(second->kill());

  ASSERT_OK_AND_ASSIGN(const nlohmann::json planned, scene->cli->run_json(scene->restore_args("dry", {"--dry-run"})));
  EXPECT_EQ(planned["timeline"], 2);
  EXPECT_EQ(planned["plan"]["server_target"], "lsn");
  EXPECT_THAT(planned["plan"]["notes"].dump(), HasSubstr("no WAL of timeline 2"));
  ASSERT_OK(scene->cli->run_ok(scene->restore_args("third")));
  ASSERT_OK_AND_ASSIGN(const auto third, scene->adopt("third"));
  ASSERT_OK(third->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd third_end, third->wait_for_recovery_end());
  EXPECT_EQ(third_end, RecoveryEnd::kPromoted) << "as without a target";
  ASSERT_OK(ledger.verify(*third, LedgerTarget::at_name("fork")));
  // That it would have been otherwise is why the plan stops it.
  ASSERT_OK(scene->cli->run_ok(scene->restore_args("alone", {"--recovery-option=recovery_target_lsn="})));
  ASSERT_OK_AND_ASSIGN(const auto alone, scene->adopt("alone"));
  ASSERT_OK(alone->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd alone_end, alone->wait_for_recovery_end());
  EXPECT_EQ(alone_end, RecoveryEnd::kPromoted);
  EXPECT_FALSE(ledger.verify(*alone, LedgerTarget::at_name("fork")));
}

}  // namespace
}  // namespace pgark::testing
