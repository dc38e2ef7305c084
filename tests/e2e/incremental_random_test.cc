// A chain of incrementals over a random history of everything a server does to files, each held to the bytes of a full
// backup of the same moment.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
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

constexpr int kTables = 6;
constexpr int kDatabases = 3;

/// Does one thing after the other to a server. Statements that cannot be are skipped: the table is not there, or is.
class RandomHistory {
 public:
  RandomHistory(PgServer& server, Rng& rng) : server_(&server), rng_(&rng) {}

  Result<> prepare() {
    TRY(server_->create_tablespace("aside"));
    for (int i = 0; i < kTables; ++i) TRY(attempt(create_table(i)));
    for (int i = 0; i < kDatabases; ++i) TRY(attempt(create_database(i)));
    done_.clear();
    return {};
  }

  Result<> step() {
    const uint64_t dice = rng_->below(100);
    if (dice < 4) return crash();
    if (dice < 8) return rest();
    if (dice < 12) return server_->exec("CHECKPOINT");
    if (dice < 18) return server_->exec("SELECT pg_switch_wal()");
    return attempt(dice < 30 ? database_statement() : table_statement());
  }

  /// What was done since the last call.
  std::string done() { return std::exchange(done_, {}); }

 private:
  Result<> attempt(const std::string& sql) {
    done_ += "\n  " + sql;
    TRY_ASSIGN(PgConnection session, server_->connect());
    auto ran = session.exec(sql);
    if (!ran && ran.error().code() != Errc::kInvalid) return ran;
    return {};
  }

  int number(int bound) { return static_cast<int>(rng_->below(static_cast<uint64_t>(bound))); }

  std::string create_table(int i) {
    return fmt::format(
        "CREATE TABLE t{0} (n int, t text) WITH (fillfactor = {1}){2};"
        "INSERT INTO t{0} SELECT n, repeat('{3}', 100) FROM generate_series(1, {4}) n; CREATE INDEX i{0} ON t{0} (n)",
        i, 40 + number(60), number(4) == 0 ? " TABLESPACE aside" : "", number(1000), 100 + number(6000));
  }
  std::string create_database(int i) {
    const bool copies = server_->major() < 15 || number(3) > 0;
    std::string sql = fmt::format("CREATE DATABASE d{}", i);
    if (const int other = number(kDatabases + 1); other < kDatabases && other != i)
      sql += fmt::format(" TEMPLATE d{}", other);
    if (server_->major() >= 15 && copies) sql += " STRATEGY file_copy";
    // A number that comes again.
    if (server_->major() >= 15) sql += fmt::format(" OID {}", 60000 + i);
    return sql;
  }

  std::string database_statement() {
    const int i = number(kDatabases);
    switch (number(4)) {
      case 0:
        return fmt::format("DROP DATABASE d{}", i);
      case 1:
        return create_database(i);
      case 2:
        return fmt::format("ALTER DATABASE d{} SET TABLESPACE {}", i, number(2) == 0 ? "aside" : "pg_default");
      default:
        return fmt::format("CREATE DATABASE x TEMPLATE d{0}; DROP DATABASE x", i);
    }
  }

  std::string table_statement() {
    const int i = number(kTables);
    const int row = number(6000);
    switch (number(16)) {
      case 0:
        return fmt::format("UPDATE t{} SET t = t || 'u' WHERE n % {} = 0", i, 2 + number(500));
      case 1:
        return fmt::format("UPDATE t{} SET t = upper(t) WHERE n BETWEEN {} AND {}", i, row, row + number(300));
      case 2:
        return fmt::format("DELETE FROM t{} WHERE n > {}", i, row);
      case 3:
        return fmt::format("DELETE FROM t{} WHERE n = {}", i, row);
      case 4:
      case 5:
        return fmt::format("INSERT INTO t{} SELECT n, repeat('i', {}) FROM generate_series({}, {}) n", i, number(300),
                           row, row + number(3000));
      case 6:
        return fmt::format("VACUUM t{}", i);
      case 7:
        return fmt::format("VACUUM (FREEZE) t{}", i);
      case 8:
        return fmt::format("TRUNCATE t{}", i);
      case 9:
        return fmt::format("DROP TABLE t{}", i);
      case 10:
        return create_table(i);
      case 11:
        return fmt::format("CLUSTER t{0} USING i{0}", i);
      case 12:
        return fmt::format("ALTER TABLE t{} SET TABLESPACE {}", i, number(2) == 0 ? "aside" : "pg_default");
      case 13:
        return fmt::format("BEGIN; TRUNCATE t{0}; INSERT INTO t{0} SELECT n, 'r' FROM generate_series(1, 500) n; {1}",
                           i, number(2) == 0 ? "ROLLBACK" : "COMMIT");
      case 14:
        return fmt::format("REINDEX TABLE t{}", i);
      default:
        return fmt::format("SELECT lo_from_bytea(0, decode(repeat('00ff', {}), 'hex'))", number(100000));
    }
  }

  Result<> crash() {
    done_ += "\n  kill -9";
    TRY(server_->kill());
    return server_->start();
  }

  /// Stopped for a while, in which a table's file gets pages of zeros, as an extension in bulk leaves them.
  Result<> rest() {
    TRY_ASSIGN(const PgRows path,
               server_->query(fmt::format("SELECT pg_relation_filepath(to_regclass('t{}'))", number(kTables))));
    TRY(server_->stop());
    done_ += "\n  stop, zeros behind " + path.text();
    if (!path.text().empty()) {
      TRY_ASSIGN(const File file, File::open(server_->data_dir() + "/" + path.text(), O_RDWR));
      TRY_ASSIGN(const struct stat status, file.stat());
      TRY(file.truncate(static_cast<uint64_t>(status.st_size) + rng_->below(64) * kPageBytes));
    }
    return server_->start();
  }

  PgServer* server_;
  Rng* rng_;
  std::string done_;
};

class IncrementalRandom : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, IncrementalRandom, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(IncrementalRandom, HoldsTheSameBytesWhateverHappened) {
  if (GetParam() != 15) PGARK_REQUIRE_SLOW();
  PGARK_REQUIRE_PG(install, GetParam());
  const uint64_t seed = test_seed();
  Rng rng(seed);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene,
                       IncrementalScene::create(install, {.wal_segment_mib = install.major == 10 ? 16 : 1}));
  RandomHistory history(scene.server(), rng);
  ASSERT_OK(history.prepare());
  ASSERT_OK_AND_ASSIGN(json prior, scene.back_up("full"));
  for (int round = 0; round < (slow_tests() ? 12 : 3); ++round) {
    for (uint64_t steps = 1 + rng.below(15); steps > 0; --steps) ASSERT_OK(history.step());
    SCOPED_TRACE(fmt::format("SEED={} round {}:{}", seed, round, history.done()));
    ASSERT_OK_AND_ASSIGN(const json made, scene.back_up("incr"));
    ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
    expect_incremental(made, prior);
    EXPECT_THAT(made["warnings"], IsEmpty());
    scene.expect_same_bytes(made, whole);
    if (HasFailure()) return;
    // The next one builds on the incremental.
    ASSERT_OK(remove_tree(scene.cli().repo_path() + "/main/backup/" + text_of(whole, "label")));
    prior = made;
  }
}

}  // namespace
}  // namespace pgark::testing
