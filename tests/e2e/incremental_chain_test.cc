// Incrementals one after another: under load, on every version, and of relations of more than one file.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/file.h"
#include "incremental_scene.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::IsEmpty;

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

TEST(IncrementalChain, TenUnderLoadReachRandomTargets) {
  PGARK_REQUIRE_PG(install, 15);
  const uint64_t seed = test_seed();
  Rng rng(seed);
  LedgerOptions rows;
  rows.clients = 2;
  rows.seed = seed;
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install, {.wal_segment_mib = 1}, rows));
  Ledger& ledger = *scene.scene->ledger;
  PgServer& server = scene.server();
  ASSERT_OK(server.exec("CREATE TABLE churned AS SELECT n, repeat('a', 100) AS t FROM generate_series(1, 10000) n"));
  ASSERT_OK(ledger.start());
  ASSERT_OK(ledger.wait_for_rows(10));
  std::vector<json> backups;
  ASSERT_OK_AND_ASSIGN(backups.emplace_back(), scene.back_up("full"));
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(server.exec(fmt::format("UPDATE churned SET t = t || '{}' WHERE n % 100 = {}", i, i)));
    if (i % 3 == 0) {
      ASSERT_OK(server.exec("DELETE FROM churned WHERE n > 9000"));
      ASSERT_OK(server.exec("VACUUM churned"));
    }
    if (i % 3 == 1) ASSERT_OK(server.exec("INSERT INTO churned SELECT n, 'x' FROM generate_series(9001, 12000) n"));
    ASSERT_OK(ledger.wait_for_rows(10));
    ASSERT_OK_AND_ASSIGN(json made, scene.back_up("incr"));
    expect_incremental(made, backups.back());
    EXPECT_THAT(made["warnings"], IsEmpty());
    backups.push_back(std::move(made));
  }
  ASSERT_OK(ledger.wait_for_rows(10));
  ASSERT_OK(ledger.stop());
  ASSERT_OK(server.archive_all());

  const std::vector<LedgerRow> all = ledger.rows();
  for (int i = 0; i < (slow_tests() ? 40 : 6); ++i) {
    const size_t number = 1 + rng.below(backups.size() - 1);
    const json& backup = backups[number];
    ASSERT_OK_AND_ASSIGN(const Lsn stop, parse_lsn(text_of(backup, "stop_lsn")));
    const Timestamp stopped(std::chrono::microseconds(backup["stopped_us"].get<int64_t>()));
    std::vector<const LedgerRow*> reachable;
    for (const LedgerRow& row : all)
      if (row.acknowledged && row.before_commit > stop && row.committed_at > stopped) reachable.push_back(&row);
    LedgerTarget target = LedgerTarget::latest();
    if (i % 3 == 1) target = LedgerTarget::immediate(stop);
    if (i % 3 == 2 && !reachable.empty()) target = LedgerTarget::at_xid(reachable[rng.below(reachable.size())]->xid);
    SCOPED_TRACE(fmt::format("backup {} to {}", number, target.to_string()));
    const std::string name = fmt::format("restored{}", i);
    {
      ASSERT_OK_AND_ASSIGN(const auto restored,
                           scene.scene->restore_and_verify(name, target, {"--set=" + text_of(backup, "label")}));
      ASSERT_OK(restored->exec("SELECT count(t) FROM churned"));
    }
    ASSERT_OK(remove_tree(scene.scene->place(name)));
  }
}

class IncrementalOn : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, IncrementalOn, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(IncrementalOn, HoldsTheSameBytesAsAFullBackup) {
  PGARK_REQUIRE_PG(install, GetParam());
  const int major = GetParam();
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene,
                       IncrementalScene::create(install, {.wal_segment_mib = major == 10 ? 16 : 1}));
  PgServer& server = scene.server();
  ASSERT_OK(
      server.exec("CREATE TABLE plain AS SELECT n, repeat('a', 200) AS t FROM generate_series(1, 4000) n;"
                  "CREATE INDEX ON plain (n);"
                  "CREATE TABLE seen AS SELECT * FROM plain; CREATE TABLE cut AS SELECT * FROM plain;"
                  "CREATE TABLE emptied AS SELECT * FROM plain"));
  const std::string by_copy = major >= 15 ? " STRATEGY file_copy" : "";
  ASSERT_OK(server.exec("CREATE DATABASE one" + by_copy));
  ASSERT_OK(server.exec("VACUUM FREEZE"));
  ASSERT_OK_AND_ASSIGN(const json first, scene.back_up("full"));
  ASSERT_OK(
      server.exec("UPDATE plain SET t = repeat('b', 200) WHERE n % 400 = 0; DELETE FROM seen WHERE n = 2000;"
                  "DELETE FROM cut WHERE n > 1000"));
  ASSERT_OK(server.exec("VACUUM cut"));
  ASSERT_OK(
      server.exec("INSERT INTO cut SELECT n, 'new' FROM generate_series(5000, 8000) n; TRUNCATE emptied;"
                  "CREATE TABLE fresh AS SELECT * FROM plain"));
  ASSERT_OK(server.exec("CREATE DATABASE two TEMPLATE one" + by_copy));
  ASSERT_OK(scene.scene->ledger->commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json made, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
  expect_incremental(made, first);
  EXPECT_THAT(made["warnings"], IsEmpty());
  EXPECT_LT(made["stored_bytes"].get<uint64_t>(), whole["stored_bytes"].get<uint64_t>() * 2 / 3);
  scene.expect_same_bytes(made, whole);
  ASSERT_OK(scene.scene->ledger->commit_rows(20));
  ASSERT_OK(server.archive_all());
  ASSERT_OK(scene.scene->restore_and_verify("restored", LedgerTarget::latest(), {"--set=" + text_of(made, "label")}));
}

/// Let the first file of a relation be full, with pages of zeros behind the rows: a sparse file is soon made.
Result<> fill_first_file(const std::string& path) {
  TRY_ASSIGN(const File file, File::open(path, O_RDWR));
  return file.truncate(uint64_t{1} << 30);
}

TEST(IncrementalChain, FollowsARelationIntoItsNextFileAndBack) {
  PGARK_REQUIRE_SLOW();
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install));
  PgServer& server = scene.server();
  ASSERT_OK(server.exec("CREATE TABLE large AS SELECT n, repeat('a', 200) AS t FROM generate_series(1, 1000) n"));
  ASSERT_OK_AND_ASSIGN(const PgRows path, server.query("SELECT pg_relation_filepath('large')"));
  const std::string file = server.data_dir() + "/" + path.text();
  ASSERT_OK(server.exec("CHECKPOINT"));
  ASSERT_OK(server.stop());
  ASSERT_OK(fill_first_file(file));
  ASSERT_OK(server.start());
  ASSERT_OK_AND_ASSIGN(json prior, scene.back_up("full"));
  const auto check = [&](const char* what) {
    SCOPED_TRACE(what);
    ASSERT_OK(server.exec("CHECKPOINT"));
    ASSERT_OK_AND_ASSIGN(const json made, scene.back_up("incr"));
    ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
    expect_incremental(made, prior);
    EXPECT_LT(made["read_bytes"].get<uint64_t>(), uint64_t{100} << 20);
    scene.expect_same_bytes(made, whole);
    prior = whole;
  };
  const auto pages_behind = [&] {
    const auto rows = server.query("SELECT pg_relation_size('large') / 8192 - 131072");
    return rows ? rows->integer() : -1;
  };

  ASSERT_OK(server.exec("INSERT INTO large SELECT n, repeat('b', 200) FROM generate_series(2000, 47000) n"));
  ASSERT_GT(pages_behind(), 1000);  // VACUUM does not cut less.
  check("grown into the next file");

  // What lies in the second file goes; the last page of the first one keeps its rows.
  ASSERT_OK(server.exec("DELETE FROM large WHERE ctid >= '(131072,0)'"));
  ASSERT_OK(server.exec("VACUUM (TRUNCATE) large"));
  ASSERT_EQ(pages_behind(), 0);
  check("cut to the first file");

  // Without its map of free space it grows at its end, where it has room elsewhere.
  const auto forget_free_space = [&] {
    ASSERT_OK(server.stop());
    ASSERT_TRUE(std::filesystem::remove(file + "_fsm"));
    ASSERT_OK(server.start());
  };
  forget_free_space();
  ASSERT_OK(server.exec("INSERT INTO large SELECT n, repeat('c', 200) FROM generate_series(50000, 95000) n"));
  ASSERT_GT(pages_behind(), 1020);
  check("grown into it again");

  ASSERT_OK(server.exec("DELETE FROM large WHERE ctid >= '(131082,0)'"));
  ASSERT_OK(server.exec("VACUUM (TRUNCATE) large"));
  ASSERT_LT(pages_behind(), 20);
  forget_free_space();
  ASSERT_OK(server.exec("INSERT INTO large SELECT n, repeat('d', 200) FROM generate_series(100000, 102000) n"));
  ASSERT_GT(pages_behind(), 50);
  check("cut within the second file, and grown again");
}

}  // namespace
}  // namespace pgark::testing
