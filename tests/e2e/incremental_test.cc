// Incremental backups of everything that PostgreSQL does to files, held against full backups made right after them:
// block by block, without starting, and row by row.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "incremental_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// Pages of a file of a directory that is not in use.
class Pages {
 public:
  static Result<Pages> read(const std::string& directory, const std::string& path) {
    Pages out;
    TRY_ASSIGN(out.content_, read_file(directory + "/" + path, size_t{1} << 30));
    return out;
  }
  size_t count() const { return content_.size() / kPageBytes; }
  std::string_view page(size_t block) const {
    return std::string_view(content_).substr(block * kPageBytes, kPageBytes);
  }
  Lsn lsn(size_t block) const { return pg::decode_page_header(as_bytes(page(block))).lsn; }
  bool is_zero(size_t block) const { return pg::is_all_zero(as_bytes(page(block))); }

 private:
  std::string content_;
};

/// Let a file of a stopped cluster grow by pages of zeros, as an extension in bulk leaves them: in no WAL record.
Result<> extend_with_zeros(const std::string& path, size_t pages) {
  TRY_ASSIGN(const File file, File::open(path, O_RDWR));
  TRY_ASSIGN(const struct stat status, file.stat());
  if (static_cast<size_t>(status.st_size) >= pages * kPageBytes)
    return Error(Errc::kInternal, fmt::format("'{}' has {} bytes already", path, status.st_size));
  return file.truncate(pages * kPageBytes);
}

/// A cluster with a table or a database for each thing that can happen to one.
class EveryChange {
 public:
  explicit EveryChange(IncrementalScene& scene) : scene_(&scene) {}

  Result<> prepare() {
    TRY_ASSIGN(tablespace_, server().create_tablespace("aside"));
    TRY(
        exec("CREATE TABLE plain AS SELECT n, repeat('a', 200) AS t FROM generate_series(1, 8000) n;"
             "CREATE INDEX ON plain (n);"
             "CREATE TABLE untouched AS SELECT * FROM plain;"
             "CREATE TABLE seen AS SELECT * FROM plain;"
             "CREATE TABLE regrown AS SELECT n, repeat('old', 60) AS t FROM generate_series(1, 14400) n;"
             "CREATE TABLE reused AS SELECT n, repeat('old', 60) AS t FROM generate_series(1, 6000) n;"
             "CREATE TABLE emptied AS SELECT * FROM plain; CREATE TABLE full_vacuum AS SELECT * FROM plain;"
             "CREATE TABLE clustered AS SELECT * FROM plain; CREATE INDEX by_n ON clustered (n);"
             "CREATE TABLE dropped AS SELECT * FROM plain; CREATE TABLE moved_table AS SELECT * FROM plain;"
             "CREATE UNLOGGED TABLE unlogged AS SELECT * FROM plain; CREATE SEQUENCE numbers"));
    // A template with rows, and a copy of it in which the same files hold other rows.
    TRY(exec("CREATE DATABASE one"));
    TRY(exec_in("one",
                "CREATE TABLE t (n int, t text) WITH (fillfactor = 40);"
                "INSERT INTO t SELECT n, 'one' FROM generate_series(1, 5000) n"));
    TRY(exec_in("one", "VACUUM FREEZE"));
    TRY(exec("CREATE DATABASE two TEMPLATE one STRATEGY file_copy"));
    TRY(exec_in("two", "UPDATE t SET t = 'two'"));
    TRY(exec("CREATE DATABASE again OID 60000 TEMPLATE one STRATEGY file_copy"));
    TRY(exec("CREATE DATABASE wandering TEMPLATE one"));
    TRY(exec("VACUUM FREEZE"));
    TRY(exec("CHECKPOINT"));
    for (const char* table : {"seen", "regrown", "reused", "untouched"}) {
      TRY_ASSIGN(const PgRows path, server().query(fmt::format("SELECT pg_relation_filepath('{}')", table)));
      paths_[table] = path.text();
    }
    TRY_ASSIGN(const PgRows inside, in_database("again", "SELECT pg_relation_filepath('t')"));
    paths_["again"] = inside.text();
    TRY_ASSIGN(const PgRows wandering, in_database("wandering", "SELECT pg_relation_filepath('t')"));
    paths_["wandering"] = wandering.text();
    return {};
  }

  /// Segments are switched in between, so that what belongs together lies in several.
  Result<> change() {
    TRY(exec("UPDATE plain SET t = repeat('b', 200) WHERE n % 400 = 0"));
    TRY(exec("INSERT INTO plain SELECT n, 'new' FROM generate_series(10001, 10100) n; DELETE FROM plain WHERE n = 77"));
    TRY(exec("SELECT nextval('numbers'); UPDATE unlogged SET n = n + 1 WHERE n < 100"));
    // One bit of the visibility map, and nothing else on its page.
    TRY(exec("DELETE FROM seen WHERE n = 4000"));
    TRY(regrow());
    TRY(server().kill());  // What was not on disk comes from WAL.
    TRY(server().start());
    TRY(exec("TRUNCATE emptied; INSERT INTO emptied SELECT n, 'less' FROM generate_series(1, 50) n"));
    TRY(exec("DELETE FROM full_vacuum WHERE n % 2 = 0"));
    TRY(exec("VACUUM FULL full_vacuum"));
    TRY(exec("CLUSTER clustered USING by_n; DROP TABLE dropped; ALTER TABLE moved_table SET TABLESPACE aside"));
    TRY(exec("SELECT pg_switch_wal()"));
    TRY(exec("DROP DATABASE again"));
    TRY(exec("CREATE DATABASE again OID 60000 TEMPLATE two STRATEGY file_copy"));
    TRY(exec("ALTER DATABASE wandering SET TABLESPACE aside"));
    TRY(exec_in("wandering", "UPDATE t SET t = 'far' WHERE n % 3 = 0"));
    TRY(exec("SELECT pg_switch_wal()"));
    TRY(exec("ALTER DATABASE wandering SET TABLESPACE pg_default"));
    return make_again_under_the_old_number();
  }

  const std::string& path(const std::string& name) const { return paths_.at(name); }
  size_t regrown_pages() const { return regrown_pages_; }
  size_t reused_pages() const { return reused_pages_; }

  /// Rows of every table, to hold a restored cluster against.
  static Result<std::vector<std::string>> rows_of(PgServer& server) {
    std::vector<std::string> out;
    const std::string sum = "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') ";
    for (const char* table :
         {"plain", "untouched", "seen", "regrown", "reuser", "emptied", "full_vacuum", "clustered", "moved_table"}) {
      TRY_ASSIGN(PgConnection session, server.connect());
      TRY_ASSIGN(const PgRows rows, session.query(sum + "FROM " + table + " t"));
      out.push_back(std::string(table) + " " + rows.text());
      // By the index, and by pages that are all visible, too: both rely on files of their own.
      TRY_ASSIGN(const PgRows counted, session.query(std::string("SELECT count(n) FROM ") + table + " WHERE n > 0"));
      out.push_back(counted.text());
    }
    for (const char* database : {"one", "two", "again", "wandering"}) {
      TRY_ASSIGN(PgConnection session, server.connect(database));
      TRY_ASSIGN(const PgRows rows, session.query(sum + "FROM t"));
      out.push_back(std::string(database) + " " + rows.text());
    }
    return out;
  }

 private:
  PgServer& server() { return scene_->server(); }
  Result<> exec(const std::string& sql) { return server().exec(sql); }
  Result<PgRows> in_database(const std::string& database, const std::string& sql) {
    TRY_ASSIGN(PgConnection session, server().connect(database));
    return session.query(sql);
  }
  Result<> exec_in(const std::string& database, const std::string& sql) {
    TRY(in_database(database, sql));
    return {};
  }

  /// Cut by VACUUM, grown again by less, and by pages of zeros up to the old length.
  Result<> regrow() {
    TRY_ASSIGN(const PgRows before, server().query("SELECT pg_relation_size('regrown') / 8192"));
    regrown_pages_ = static_cast<size_t>(before.integer());
    TRY(exec("DELETE FROM regrown WHERE n > 3600"));
    TRY(exec("VACUUM (TRUNCATE) regrown"));
    for (int i = 0; i < 3; ++i) {
      TRY(exec("SELECT pg_switch_wal()"));
      TRY(exec(fmt::format("INSERT INTO regrown SELECT n, repeat('new', 60) FROM generate_series({}, {}) n",
                           20000 + i * 1000, 20000 + i * 1000 + 999)));
    }
    TRY_ASSIGN(const PgRows after, server().query("SELECT pg_relation_size('regrown') / 8192"));
    if (static_cast<size_t>(after.integer()) + 100 > regrown_pages_)
      return Error(Errc::kInternal, "the table did not shrink");
    return {};
  }

  /// The number of a dropped table is given to an index, which has fewer pages; the rest is zeros. The server is
  /// stopped in between: only in binary-upgrade mode are numbers for the asking.
  Result<> make_again_under_the_old_number() {
    TRY_ASSIGN(const PgRows before,
               server().query("SELECT pg_relation_filenode('reused'), pg_relation_size('reused') / 8192"));
    reused_pages_ = static_cast<size_t>(before.integer(0, 1));
    TRY(exec("DROP TABLE reused; CREATE TABLE reuser AS SELECT n, 'x' AS t FROM generate_series(1, 1000) n"));
    TRY(exec("CHECKPOINT"));
    TRY(server().stop());
    const std::string sql =
        "SELECT binary_upgrade_set_next_index_pg_class_oid('70000'::oid)\n"
        "SELECT binary_upgrade_set_next_index_relfilenode('" +
        before.text(0, 0) + "'::oid)\nCREATE INDEX by_reuser ON reuser (n)\n";
    TRY(run_ok({server().install().program("postgres"), "--single", "-b", "-D", server().data_dir(), "postgres"},
               {.env = without_test_settings(), .standard_input = sql}));
    TRY(extend_with_zeros(server().data_dir() + "/" + path("reused"), reused_pages_));
    TRY(extend_with_zeros(server().data_dir() + "/" + path("regrown"), regrown_pages_));
    return server().start();
  }

  IncrementalScene* scene_;
  std::string tablespace_;
  std::map<std::string, std::string> paths_;
  size_t regrown_pages_ = 0;
  size_t reused_pages_ = 0;
};

/// What a case has to be for the comparison to mean something: the older backup has other bytes, of which the pages, or
/// the WAL, do not tell.
void check_premises(const EveryChange& change, const std::string& was, const std::string& is, Lsn prior_start) {
  const auto both = [&](const std::string& path, const std::function<void(const Pages&, const Pages&)>& check) {
    SCOPED_TRACE(path);
    ASSERT_OK_AND_ASSIGN(const Pages then, Pages::read(was, path));
    ASSERT_OK_AND_ASSIGN(const Pages now, Pages::read(is, path));
    check(then, now);
  };
  both(change.path("seen") + "_vm", [](const Pages& then, const Pages& now) {
    EXPECT_NE(then.page(0), now.page(0)) << "no bit was cleared";
    EXPECT_EQ(then.lsn(0), now.lsn(0)) << "a server that marks what it clears: not what this is about";
  });
  both(change.path("regrown"), [&](const Pages& then, const Pages& now) {
    ASSERT_EQ(then.count(), change.regrown_pages());
    ASSERT_EQ(now.count(), change.regrown_pages());
    EXPECT_FALSE(then.is_zero(then.count() - 1));
    EXPECT_TRUE(now.is_zero(now.count() - 1));
  });
  both(change.path("reused"), [&](const Pages& then, const Pages& now) {
    ASSERT_EQ(then.count(), change.reused_pages());
    ASSERT_EQ(now.count(), change.reused_pages());
    EXPECT_FALSE(then.is_zero(then.count() - 1));
    EXPECT_TRUE(now.is_zero(now.count() - 1));
  });
  both(change.path("again"), [&](const Pages& then, const Pages& now) {
    size_t silent = 0;
    for (size_t block = 0; block < std::min(then.count(), now.count()); ++block)
      silent += then.page(block) != now.page(block) && now.lsn(block) < prior_start ? 1u : 0u;
    EXPECT_GT(silent, 10u) << "pages that changed and have an old LSN";
  });
  both(change.path("wandering"), [&](const Pages& then, const Pages& now) {
    size_t changed = 0;
    for (size_t block = 0; block < std::min(then.count(), now.count()); ++block)
      changed += then.page(block) != now.page(block) ? 1u : 0u;
    EXPECT_GT(changed, 10u);
  });
}

TEST(Incremental, HoldsTheSameBytesAsAFullBackup) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install, {.wal_segment_mib = 1}));
  EveryChange change(scene);
  ASSERT_OK(change.prepare());
  ASSERT_OK_AND_ASSIGN(const json first, scene.back_up("incr"));
  EXPECT_EQ(text_of(first, "type"), "full") << "there was nothing to build on";
  ASSERT_OK(change.change());
  ASSERT_OK_AND_ASSIGN(const json incremental, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json full, scene.back_up("full"));
  expect_incremental(incremental, first);
  EXPECT_THAT(incremental["warnings"], IsEmpty()) << incremental.dump(1);
  EXPECT_GT(incremental["referenced_bytes"].get<uint64_t>(), full["logical_bytes"].get<uint64_t>() / 3);
  EXPECT_LT(incremental["read_bytes"].get<uint64_t>(), full["read_bytes"].get<uint64_t>() * 2 / 3);
  EXPECT_LT(incremental["stored_bytes"].get<uint64_t>(), full["stored_bytes"].get<uint64_t>() * 2 / 3);

  // Nothing changed since: next to nothing is stored.
  ASSERT_OK_AND_ASSIGN(const json nothing, scene.back_up("incr"));
  expect_incremental(nothing, full);
  EXPECT_LT(nothing["stored_bytes"].get<uint64_t>(), 300u << 10);
  EXPECT_GT(nothing["referenced_bytes"].get<uint64_t>(), full["logical_bytes"].get<uint64_t>() * 8 / 10);

  ASSERT_OK_AND_ASSIGN(const std::string was, scene.restore_files(first));
  ASSERT_OK_AND_ASSIGN(const std::string one, scene.restore_files(incremental));
  ASSERT_OK_AND_ASSIGN(const std::string other, scene.restore_files(full));
  ASSERT_OK_AND_ASSIGN(const Lsn prior_start, parse_lsn(text_of(first, "start_lsn")));
  check_premises(change, was, other, prior_start);
  scene.expect_same_bytes(one, other, incremental);
  for (const std::string& done : {was, other}) ASSERT_OK(remove_tree(done));

  // And it starts, recovers and has the rows.
  ASSERT_OK_AND_ASSIGN(const auto expected, EveryChange::rows_of(scene.server()));
  ASSERT_OK_AND_ASSIGN(const auto restored, PgServer::adopt(one, install, {"archive_mode=off"}));
  ASSERT_OK(restored->start());
  ASSERT_OK(restored->promote());  // It pauses at its target.
  ASSERT_OK_AND_ASSIGN(const auto found, EveryChange::rows_of(*restored));
  EXPECT_EQ(found, expected);
  ASSERT_OK(restored->exec("CREATE EXTENSION amcheck"));
  ASSERT_OK(
      restored->exec("SELECT bt_index_parent_check(indexrelid, true) FROM pg_index i JOIN pg_class c "
                     "ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'"));
  ASSERT_OK(restored->stop());
  ASSERT_OK(run_ok({install.program("pg_checksums"), "--check", "-D", one}));
}

/// Files of the repository or of pg_wal with that name.
std::vector<fs::path> find_named(const std::string& directory, const std::string& name) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file() && entry.path().filename() == name) found.push_back(entry.path());
  return found;
}

/// Change a row's bytes on a page of a stopped cluster, as if a record had done it that is not in WAL.
Result<> change_silently(const std::string& path, uint32_t block, Lsn lsn) {
  TRY_ASSIGN(const File file, File::open(path, O_RDWR));
  std::string page(kPageBytes, '\0');
  const MutableBytes raw(reinterpret_cast<std::byte*>(page.data()), page.size());
  TRY_ASSIGN(const size_t got, file.pread(raw, block * kPageBytes));
  if (got != kPageBytes) return Error(Errc::kInternal, "the file is shorter");
  page[kPageBytes - 20] = page[kPageBytes - 20] == 'a' ? 'b' : 'a';
  const auto high = static_cast<uint32_t>(lsn.bytes >> 32);
  const auto low = static_cast<uint32_t>(lsn.bytes);
  std::memcpy(page.data(), &high, sizeof high);
  std::memcpy(page.data() + 4, &low, sizeof low);
  const uint16_t checksum = pg::page_checksum(as_bytes(page), block);
  std::memcpy(page.data() + 8, &checksum, sizeof checksum);
  return file.pwrite(as_bytes(page), block * kPageBytes);
}

TEST(Incremental, ComparesEveryFileWhereTheWalDoesNotTell) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install, {.wal_segment_mib = 1}));
  PgServer& server = scene.server();
  ASSERT_OK(server.exec("CREATE TABLE t AS SELECT n, repeat('a', 200) AS t FROM generate_series(1, 5000) n"));
  ASSERT_OK(server.exec("VACUUM FREEZE"));
  ASSERT_OK_AND_ASSIGN(const PgRows path, server.query("SELECT pg_relation_filepath('t')"));
  ASSERT_OK_AND_ASSIGN(const json first, scene.back_up("full"));

  // A segment is lost, in the archive and in the cluster.
  ASSERT_OK(server.exec("UPDATE t SET t = repeat('b', 200) WHERE n % 1000 = 0"));
  ASSERT_OK_AND_ASSIGN(const std::string lost, server.archive_all());
  const auto objects = find_named(scene.cli().repo_path(), lost);
  ASSERT_EQ(objects.size(), 1u);
  fs::remove(objects[0]);
  ASSERT_OK(wait_for("the server to recycle the segment", [&]() -> Result<bool> {
    TRY(server.exec("SELECT pg_switch_wal()"));
    TRY(server.exec("CHECKPOINT"));
    return find_named(server.data_dir() + "/pg_wal", lost).empty();
  }));
  ASSERT_OK_AND_ASSIGN(const json holed, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json full, scene.back_up("full"));
  expect_incremental(holed, first, "hash");
  EXPECT_THAT(holed["warnings"].dump(), HasSubstr(lost));
  EXPECT_GT(holed["referenced_bytes"].get<uint64_t>(), full["logical_bytes"].get<uint64_t>() / 2);
  scene.expect_same_bytes(holed, full);

  // A page changed without a trace in WAL but its own LSN.
  ASSERT_OK(server.stop());
  ASSERT_OK_AND_ASSIGN(const Lsn prior_start, parse_lsn(text_of(full, "start_lsn")));
  ASSERT_OK(change_silently(server.data_dir() + "/" + path.text(), 40, Lsn{prior_start.bytes + 64}));
  ASSERT_OK(server.start());
  ASSERT_OK_AND_ASSIGN(const json distrusted, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json second, scene.back_up("full"));
  expect_incremental(distrusted, full, "hash");
  EXPECT_THAT(distrusted["warnings"].dump(), HasSubstr("block 40 of file '" + path.text()));
  scene.expect_same_bytes(distrusted, second);

  // The other ways to look, when they are asked for.
  for (const std::string scan : {"lsn", "hash"}) {
    SCOPED_TRACE(scan);
    ASSERT_OK(
        server.exec("UPDATE t SET t = t || 'c' WHERE n % 500 = 0; CREATE TABLE of_" + scan + " AS SELECT * FROM t"));
    ASSERT_OK(server.exec("DELETE FROM t WHERE n > 4000"));
    ASSERT_OK(server.exec("VACUUM t"));
    ASSERT_OK_AND_ASSIGN(const json made, scene.back_up("incr", {"--scan=" + scan}));
    ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
    EXPECT_EQ(text_of(made, "type"), "incr");
    EXPECT_EQ(text_of(made, "scan"), scan);
    EXPECT_THAT(made["warnings"], IsEmpty());
    EXPECT_LT(made["stored_bytes"].get<uint64_t>(), whole["stored_bytes"].get<uint64_t>() / 2);
    scene.expect_same_bytes(made, whole);
  }
}

TEST(Incremental, NeedsNoOtherBackup) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(IncrementalScene scene, IncrementalScene::create(install));
  Ledger& ledger = *scene.scene->ledger;
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json full, scene.back_up("full"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json differential, scene.back_up("diff"));
  EXPECT_EQ(text_of(differential, "type"), "diff");
  EXPECT_EQ(text_of(differential, "prior"), text_of(full, "label"));
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json incremental, scene.back_up("incr"));
  expect_incremental(incremental, differential);
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK_AND_ASSIGN(const json second, scene.back_up("diff"));
  EXPECT_EQ(text_of(second, "prior"), text_of(full, "label")) << "a differential builds on a full backup";
  ASSERT_OK(ledger.commit_rows(20));
  ASSERT_OK(scene.server().archive_all());

  // As if it had never been: its packs stay, as others need them.
  const std::string manifests = scene.cli().repo_path() + "/main/backup/";
  for (const json* gone : {&full, &differential}) ASSERT_OK(remove_tree(manifests + text_of(*gone, "label")));
  ASSERT_OK_AND_ASSIGN(const Lsn stop, parse_lsn(text_of(incremental, "stop_lsn")));
  ASSERT_OK(scene.scene->restore_and_verify("incremental", LedgerTarget::immediate(stop),
                                            {"--set=" + text_of(incremental, "label")}));
  ASSERT_OK(scene.scene->restore_and_verify("latest", LedgerTarget::latest()));

  ASSERT_OK_AND_ASSIGN(const json on, scene.back_up("incr"));
  ASSERT_OK_AND_ASSIGN(const json whole, scene.back_up("full"));
  expect_incremental(on, second);
  scene.expect_same_bytes(on, whole);
}

}  // namespace
}  // namespace pgark::testing
