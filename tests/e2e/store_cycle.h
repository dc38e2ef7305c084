// The life of a repository with the real binary and a real cluster, the same on every kind of store: stanza, full and
// incremental backups, WAL, recovery to a moment and to the end, verification, expiry, deletion.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "restore_scene.h"
#include "testing/realistic_data.h"

namespace pgark::testing {

struct StoreCycle {
  /// Settings of [global] that say where the repository is: {"repo1-type", "s3"}, ... With repo1-path a prefix of its
  /// own, if others use the bucket too.
  std::vector<std::pair<std::string, std::string>> repository{};
  int major = 15;
  int data_mib = 40;  // Of the cluster: more than a part of an upload when it is packed.
  /// Names of everything that is in the store below the repository, asked of the store itself and not of pgark; empty:
  /// what is left at the end is not looked at.
  std::function<Result<std::vector<std::string>>()> list{};
};

namespace store_cycle_detail {

inline LedgerTarget just_after(const LedgerRow& row) {
  return LedgerTarget::at_time(row.committed_at + std::chrono::microseconds(1));
}

}  // namespace store_cycle_detail

/// Run it. Use with ASSERT_NO_FATAL_FAILURE, or at the end of a test.
inline void run_store_cycle(const StoreCycle& cycle) {
  using nlohmann::json;
  using store_cycle_detail::just_after;
  using ::testing::ElementsAre;

  PGARK_REQUIRE_PG(install, cycle.major);
  ASSERT_OK_AND_ASSIGN(auto scene, RestoreScene::create(install, {}, {}, cycle.repository));
  PgarkCli& cli = *scene->cli;
  Ledger& ledger = *scene->ledger;
  ASSERT_OK(cli.set("global", "repo1-retention-full", "1"));
  ASSERT_OK(cli.set("global", "expire-grace", "0"));
  ASSERT_OK(fill_realistic(*scene->server, cycle.data_mib));

  // A full backup, an incremental one, and WAL around them.
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json full, cli.run_json({"backup", "--type=full", "--start-fast"}));
  ASSERT_OK(ledger.commit_rows(20));
  const LedgerRow between = ledger.last();
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(scene->server->archive_all());
  ASSERT_OK_AND_ASSIGN(const json incr, cli.run_json({"backup", "--type=incr", "--start-fast"}));
  EXPECT_EQ(incr.at("type"), "incr");
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(scene->server->archive_all());
  EXPECT_THAT(listed_labels(cli), ElementsAre(full.at("label"), incr.at("label")));
  ASSERT_OK(cli.run_ok({"check"}));
  ASSERT_OK_AND_ASSIGN(const std::string top, cli.run_ok({"repo-ls"}));
  EXPECT_THAT(top, ::testing::HasSubstr("main/\n"));
  EXPECT_EQ(top.find("main/"), top.rfind("main/")) << top;
  ASSERT_OK(cli.run_ok({"verify"}));

  // Recovery to a moment and to the end.
  ASSERT_OK(scene->restore_and_verify("between", just_after(between)));
  ASSERT_OK(scene->restore_and_verify("latest", LedgerTarget::latest()));

  // A new full lets the old ones go; what stays recovers.
  ASSERT_OK_AND_ASSIGN(const json second, cli.run_json({"backup", "--type=full", "--start-fast"}));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(scene->server->archive_all());
  EXPECT_THAT(listed_labels(cli), ElementsAre(second.at("label")));
  ASSERT_OK(cli.run_ok({"verify"}));
  ASSERT_OK(scene->restore_and_verify("last", LedgerTarget::latest()));
  if (cycle.list) {
    ASSERT_OK_AND_ASSIGN(const auto names, cycle.list());
    const std::string gone = full.at("label");
    for (const std::string& name : names) EXPECT_EQ(name.find("/" + gone + "/"), std::string::npos) << name;
  }

  // And in the end the stanza itself, of which nothing is left but the repository's identity.
  ASSERT_OK(scene->server->stop());
  ASSERT_OK(cli.run_ok({"stanza-delete"}));
  if (cycle.list) {
    ASSERT_OK_AND_ASSIGN(const auto names, cycle.list());
    for (const std::string& name : names) EXPECT_EQ(name.find("/main/"), std::string::npos) << name;
  }
}

}  // namespace pgark::testing
