// The main job on every PostgreSQL version at hand: backup under load, point-in-time recovery, compare.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "restore_scene.h"

namespace pgark::testing {
namespace {

class Version : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, Version, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(Version, BacksUpUnderLoadAndRecovers) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto scene, RestoreScene::create(install));
  ASSERT_OK(scene->server->create_tablespace("ts"));
  ASSERT_OK(scene->server->exec("CREATE TABLE in_ts TABLESPACE ts AS SELECT generate_series(1, 1000) AS n"));
  Ledger& ledger = *scene->ledger;
  ASSERT_OK(ledger.start());
  ASSERT_OK(ledger.wait_for_rows(20));
  ASSERT_OK_AND_ASSIGN(const nlohmann::json backup, scene->backup());
  ASSERT_OK(ledger.wait_for_rows(30));
  ASSERT_OK(ledger.stop());
  const LedgerRow row = ledger.last();
  ASSERT_OK(ledger.commit_rows(10));
  ASSERT_OK(scene->server->archive_all());

  // The original's tablespace is in use: a copy beside it needs another place.
  const std::vector<std::string> moved{"--tablespace-map-all=" + scene->place("spaces")};
  {
    ASSERT_OK_AND_ASSIGN(const auto at_time,
                         scene->restore_and_verify("at_time", LedgerTarget::at_time(row.committed_at), moved));
    ASSERT_OK_AND_ASSIGN(const PgRows count, at_time->query("SELECT count(*) FROM in_ts"));
    EXPECT_EQ(count.integer(), 1000);
  }
  ASSERT_OK(remove_tree(scene->place("spaces")));
  ASSERT_OK(scene->restore_and_verify("latest", LedgerTarget::latest(), moved));
}

}  // namespace
}  // namespace pgark::testing
