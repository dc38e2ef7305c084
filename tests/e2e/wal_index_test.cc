// The WAL index against live servers. What matters most: every page of the data directory whose bytes changed is in the
// index, or covered by a limit or a whole database; visibility maps are compared byte for byte. Then: the same blocks
// as pg_waldump where there is one, and the time and number of each transaction as the server remembers them.
#include "pg/wal_index.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "core/file.h"
#include "pg/relation_path.h"
#include "testing/pg_server.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using pg::Fork;
using pg::WalFork;
using pg::WalIndex;

constexpr size_t kPage = 8192;
/// What clears bits of a visibility map, each in a table of its own.
const std::vector<std::string> kClearing{"insert", "delete", "update", "lock", "copy"};

struct ServerKind {
  int major = 15;
  int segment_mib = 16;
  bool checksums = true;
};

/// What an incremental backup would believe after a run of segments: their indexes applied in order.
struct Changes {
  std::map<WalFork, pg::WalForkChanges> forks;
  std::set<pg::WalDatabase> databases;
  uint8_t whole_reasons = 0;

  void apply(const WalIndex& index) {
    for (const auto& [fork, later] : index.changes) {
      pg::WalForkChanges& changes = forks[fork];
      if (later.limit_block) {
        const uint32_t limit = *later.limit_block;
        std::erase_if(changes.blocks, [limit](uint32_t block) { return block >= limit; });
        changes.limit_block = std::min(changes.limit_block.value_or(limit), limit);
      }
      std::vector<uint32_t> both;
      std::ranges::set_union(changes.blocks, later.blocks, std::back_inserter(both));
      changes.blocks = std::move(both);
    }
    databases.insert(index.whole_databases.begin(), index.whole_databases.end());
    whole_reasons |= index.whole_reasons;
  }
  bool covers(const WalFork& fork, uint32_t block) const {
    if (databases.contains({fork.relation.tablespace_oid, fork.relation.database_oid})) return true;
    const auto found = forks.find(fork);
    if (found == forks.end()) return false;
    const pg::WalForkChanges& changes = found->second;
    return (changes.limit_block && block >= *changes.limit_block) || std::ranges::binary_search(changes.blocks, block);
  }
};

/// Relation files of a data directory, by path, as they are while the server is down.
class Files {
 public:
  static Result<Files> read(const std::string& data_dir) {
    Files out;
    const auto options = fs::directory_options::follow_directory_symlink;
    for (const char* top : {"base", "global", "pg_tblspc"}) {
      for (const auto& entry : fs::recursive_directory_iterator(data_dir + "/" + top, options)) {
        const std::string path = entry.path().lexically_relative(data_dir);
        const auto file = pg::parse_relation_path(path);
        if (!file || file->name.is_temporary || file->name.fork == Fork::kFreeSpaceMap) continue;
        TRY_ASSIGN(out.content_[path], read_file(entry.path(), size_t{2} << 30));
      }
    }
    return out;
  }

  const std::map<std::string, std::string>& content() const { return content_; }
  const std::string* find(const std::string& path) const {
    const auto found = content_.find(path);
    return found == content_.end() ? nullptr : &found->second;
  }
  /// Main forks and maps of unlogged relations are not in WAL.
  bool is_unlogged(const std::string& path) const {
    const std::string stem = path.substr(0, path.find_first_of("_.", path.rfind('/') + 1));
    return content_.contains(stem + "_init") && !path.ends_with("_init");
  }

 private:
  std::map<std::string, std::string> content_;
};

class WalIndexOn : public ::testing::TestWithParam<ServerKind> {
 protected:
  void start() {
    const ServerKind setup = GetParam();
    PGARK_REQUIRE_PG(install, setup.major);
    PgOptions options{.checksums = setup.checksums, .wal_segment_mib = setup.segment_mib};
    options.config = {"wal_level = logical", "archive_mode = on",           "max_prepared_transactions = 10",
                      "autovacuum = off",    "track_commit_timestamp = on", "max_wal_size = 64MB"};
    ASSERT_OK_AND_ASSIGN(server_, PgServer::create(install, options));
    fs::create_directory(archive());
    ASSERT_OK(server_->configure(fmt::format("archive_command = 'cp %p {}/%f'", archive())));
    ASSERT_OK(server_->start());
  }

  std::string archive() const { return server_->scratch() / "archive"; }
  uint32_t segment_bytes() const { return static_cast<uint32_t>(GetParam().segment_mib) << 20; }

  /// Tables whose pages are all visible and frozen, so that every change clears a bit.
  void load() {
    ASSERT_OK_AND_ASSIGN(PgConnection session, server_->connect());
    ASSERT_OK(session.exec(
        "CREATE TABLE account (id int PRIMARY KEY, v int, filler text) WITH (fillfactor = 90);"
        "INSERT INTO account SELECT n, 0, repeat(md5(n::text), 4) FROM generate_series(1, 40000) n;"
        "CREATE TABLE shrinking AS SELECT n, repeat('x', 200) AS filler FROM generate_series(1, 20000) n;"
        "CREATE TABLE emptied AS SELECT generate_series(1, 5000) AS n; CREATE TABLE dropped AS SELECT * FROM emptied;"
        "CREATE TABLE parted AS SELECT * FROM emptied; CREATE TABLE rewritten AS SELECT * FROM emptied; CREATE INDEX "
        "by_n ON rewritten (n);"
        "CREATE UNLOGGED TABLE unlogged AS SELECT * FROM emptied; CREATE SEQUENCE numbers;"
        "CREATE TABLE many (n int, filler text) WITH (fillfactor = 50);"
        "INSERT INTO many SELECT n, 'some' FROM generate_series(1, 3000) n"));
    for (const std::string& kind : kClearing)
      ASSERT_OK(
          session.exec(fmt::format("CREATE TABLE by_{} (n int, filler text) WITH (fillfactor = 50);"
                                   "INSERT INTO by_{} SELECT n, 'some' FROM generate_series(1, 3000) n",
                                   kind, kind)));
    ASSERT_OK(session.exec("CREATE DATABASE doomed"));
    ASSERT_OK(session.exec("VACUUM FREEZE"));
    ASSERT_OK(session.exec("COPY (SELECT n, 'more' FROM generate_series(1, 2000) n) TO '" +
                           (server_->scratch() / "rows") + "'"));
  }

  /// Every way to change a page, a file, a database.
  void work() {
    const int major = server_->major();
    ASSERT_OK_AND_ASSIGN(PgConnection session, server_->connect());
    ASSERT_OK_AND_ASSIGN(PgConnection other, server_->connect());
    const auto run = [&](const std::string& sql) { ASSERT_OK(session.exec(sql)); };
    // A page each, far apart: insert, delete, update within and out of the page, locks.
    for (int n = 0; n < 120; ++n) {
      transaction(session, fmt::format("UPDATE account SET v = v + 1 WHERE id = {}", 97 * n + 1));
      transaction(session, fmt::format("INSERT INTO account VALUES ({0}, {0}, 'new')", 100'000 + n));
      transaction(session, fmt::format("DELETE FROM account WHERE id = {}", 13'000 + 61 * n));
    }
    run("UPDATE account SET filler = repeat(filler, 10) WHERE id % 1000 = 7");
    run("BEGIN; SELECT id FROM account WHERE id BETWEEN 25000 AND 25100 FOR UPDATE; COMMIT");
    run("BEGIN; SELECT id FROM account WHERE id BETWEEN 26000 AND 26100 FOR KEY SHARE; SAVEPOINT a;"
        "UPDATE account SET v = 1 WHERE id BETWEEN 26050 AND 26060; ROLLBACK TO a; COMMIT");
    // A locker of a row whose newer version is not yet committed locks that, too.
    run("BEGIN; UPDATE account SET v = -1, filler = repeat(filler, 20) WHERE id = 30000");
    ASSERT_OK(other.exec("BEGIN; SELECT id FROM account WHERE id = 30000 FOR KEY SHARE; COMMIT"));
    run("COMMIT");
    run("COPY many FROM '" + (server_->scratch() / "rows") + "'");  // Multi-insert into pages that are all visible.
    nested(session);
    // Files that shrink and grow again; what is new has less in it than before.
    run("DELETE FROM shrinking WHERE n > 3000");
    run("VACUUM shrinking");
    run("INSERT INTO shrinking SELECT n, repeat('y', 200) FROM generate_series(1, 9000) n");
    run("VACUUM (FREEZE) shrinking");
    run("DELETE FROM shrinking WHERE n % 50 = 0 AND n < 2000");
    run("BEGIN; TRUNCATE emptied; INSERT INTO emptied SELECT generate_series(1, 100); COMMIT");
    run("CREATE TABLE fresh (n int); BEGIN; TRUNCATE fresh; INSERT INTO fresh VALUES (1); COMMIT");
    run("DROP TABLE dropped; CLUSTER rewritten USING by_n; CREATE INDEX ON account (v); REINDEX INDEX account_pkey");
    run("CREATE TABLE made AS SELECT * FROM account LIMIT 3000; CREATE INDEX ON made USING gin "
        "(string_to_array(filler, "
        "'a')); CREATE INDEX ON made USING hash (v); CREATE UNLOGGED TABLE more_unlogged AS SELECT 1 AS n");
    run("UPDATE unlogged SET n = n + 1; SELECT nextval('numbers') FROM generate_series(1, 100) n");
    run("BEGIN; CREATE TABLE undone AS SELECT * FROM account LIMIT 100; ROLLBACK");
    run("BEGIN; CREATE TABLE kept AS SELECT 1 AS n; INSERT INTO many VALUES (1, 'p'); PREPARE TRANSACTION 'kept'");
    run("COMMIT PREPARED 'kept'");
    // A record that has everything an end can have; its own header does not name the transaction.
    ASSERT_OK_AND_ASSIGN(const auto rows,
                         session.query_each("BEGIN; DROP TABLE parted; SAVEPOINT a; CREATE TABLE more (n "
                                            "int); SELECT txid_current(); PREPARE TRANSACTION 'gone'"));
    xids_.push_back(static_cast<uint32_t>(rows[4].integer()));
    run("COMMIT PREPARED 'gone'");
    run("BEGIN; CREATE TABLE lost AS SELECT 1 AS n; PREPARE TRANSACTION 'lost'");
    run("ROLLBACK PREPARED 'lost'");
    run("SELECT lo_from_bytea(70000, decode(repeat('00ff', 100000), 'hex')); SELECT lo_put(70000, 5000, 'changed')");
    run("SELECT pg_create_restore_point('here')");
    ASSERT_OK_AND_ASSIGN(tablespace_, server_->create_tablespace("aside"));
    run("ALTER TABLE made SET TABLESPACE aside");
    run("CREATE DATABASE by_default");
    run(major >= 15 ? "CREATE DATABASE copied STRATEGY file_copy" : "CREATE DATABASE copied");
    {
      ASSERT_OK_AND_ASSIGN(PgConnection inside, server_->connect("copied"));
      ASSERT_OK(inside.exec("CREATE TABLE inside AS SELECT generate_series(1, 1000) AS n"));
      ASSERT_OK(inside.exec("VACUUM"));
    }
    run("DROP DATABASE doomed");
    run("ALTER DATABASE by_default SET TABLESPACE aside");
    run("CHECKPOINT");
    for (int n = 0; n < 60; ++n) transaction(session, fmt::format("UPDATE account SET v = v + 1 WHERE id = {}", 7 * n));
    run("VACUUM account");  // Sets bits again, of which the next statements clear some.
    run("DELETE FROM account WHERE id BETWEEN 35000 AND 35400");
    run("SELECT pg_logical_emit_message(false, 'pgark', repeat('long message ', 300000))");
    run("VACUUM");
    run("UPDATE account SET v = 5 WHERE id % 4001 = 0");
    clear_visibility(session);
  }

  /// Clear bits of visibility maps that nothing else touches: the page is in the index for that alone, or missed.
  void clear_visibility(PgConnection& session) {
    transaction(session, "INSERT INTO by_insert VALUES (0, 'new')");
    transaction(session, "DELETE FROM by_delete WHERE n = 5");
    transaction(session, "UPDATE by_update SET n = -n WHERE n = 5");
    transaction(session, "SELECT n FROM by_lock WHERE n = 5 FOR UPDATE");
    transaction(session, "COPY by_copy FROM '" + (server_->scratch() / "rows") + "'");
    for (const std::string& kind : kClearing) {
      ASSERT_OK_AND_ASSIGN(const PgRows path, session.query(fmt::format("SELECT pg_relation_filepath('by_{}')", kind)));
      maps_cleared_.push_back(path.text() + "_vm");
    }
  }

  /// A transaction whose number and time the test notes.
  void transaction(PgConnection& session, const std::string& sql) {
    ASSERT_OK_AND_ASSIGN(const auto rows, session.query_each("BEGIN; " + sql + "; SELECT txid_current(); COMMIT"));
    xids_.push_back(static_cast<uint32_t>(rows[2].integer()));  // Behind BEGIN and the statement.
  }

  void nested(PgConnection& session) {
    std::string sql = "BEGIN;";
    for (int n = 0; n < 100; ++n) sql += fmt::format("SAVEPOINT s{}; INSERT INTO many VALUES ({}, 'nested');", n, n);
    ASSERT_OK(session.exec(sql + "COMMIT"));
  }

  /// Names of archived segments that follow `after`, in order.
  std::vector<std::string> segments_after(const std::string& after) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(archive())) {
      const std::string name = entry.path().filename();
      if (name.size() == 24 && name > after) names.insert(name);
    }
    return {names.begin(), names.end()};
  }

  /// Index the segments, each made alone, stored, read back, and completed with the one before.
  void index_segments(const std::vector<std::string>& names) {
    size_t crossing = 0;
    for (const std::string& name : names) {
      SCOPED_TRACE(name);
      ASSERT_OK_AND_ASSIGN(const std::string content, read_file(archive() + "/" + name, size_t{64} << 20));
      ASSERT_OK_AND_ASSIGN(const pg::WalSegment segment, pg::parse_segment_name(name, segment_bytes()));
      ASSERT_OK_AND_ASSIGN(const WalIndex made, pg::make_wal_index(as_bytes(content), segment));
      const std::vector<std::byte> stored = pg::encode_wal_index(made);
      stored_bytes_ += stored.size();
      ASSERT_OK_AND_ASSIGN(WalIndex index, pg::decode_wal_index(stored));
      ASSERT_EQ(index, made);
      const WalIndex* before = indexes_.empty() ? nullptr : &indexes_.back();
      const pg::WalFragment* fragment = before != nullptr && before->fragment ? &*before->fragment : nullptr;
      if (before != nullptr) {
        auto completed = pg::complete_wal_index(*before, index);
        ASSERT_OK_AND_ASSIGN(WalIndex anew, pg::make_wal_index(as_bytes(content), segment, fragment));
        if (!completed && completed.error().code() == Errc::kNotFound)
          index = anew;
        else
          ASSERT_OK(completed);
        EXPECT_EQ(index, anew);
      }
      EXPECT_TRUE(index.is_complete()) << index.end_reason;
      EXPECT_TRUE(index.is_joined);
      EXPECT_EQ(index.whole_reasons, 0);
      if (index.fragment) ++crossing;
      ASSERT_OK_AND_ASSIGN(const auto ends, pg::read_transaction_ends(as_bytes(content), segment, fragment));
      check_ends(index, ends);
      for (const pg::WalTransactionEnd& end : ends) ends_.emplace(end.xid.value, end);
      indexes_.push_back(std::move(index));
    }
    fmt::print("{} segments of {} MiB: indexes of {} bytes on average, {} records cross\n", names.size(),
               GetParam().segment_mib, stored_bytes_ / std::max<size_t>(1, names.size()), crossing);
    EXPECT_GT(crossing, GetParam().segment_mib == 1 ? 5u : 0u);
  }

  /// The index says of the ends what the ends are.
  static void check_ends(const WalIndex& index, const std::vector<pg::WalTransactionEnd>& ends) {
    std::vector<pg::WalTransactionEnd> commits;
    std::ranges::copy_if(ends, std::back_inserter(commits), [](const auto& end) { return !end.aborted; });
    ASSERT_EQ(index.has_ends, !ends.empty());
    ASSERT_EQ(index.first_commit.has_value(), !commits.empty());
    uint64_t counted = 0;
    for (const pg::WalMinute& minute : index.minutes) counted += minute.commit_count + minute.abort_count;
    EXPECT_EQ(counted, ends.size());
    for (const pg::WalTransactionEnd& end : ends) {
      EXPECT_TRUE(end.xid.value == 0 || index.may_hold(end.xid));
      for (const Xid xid : end.subxids) EXPECT_TRUE(index.may_hold(xid));
      EXPECT_TRUE(end.time >= index.end_time_min && end.time <= index.end_time_max);
    }
    if (commits.empty()) return;
    EXPECT_EQ(*index.first_commit, static_cast<const pg::WalCommit&>(commits.front()));
    EXPECT_EQ(*index.last_commit, static_cast<const pg::WalCommit&>(commits.back()));
    const auto [min, max] = std::ranges::minmax(commits, {}, &pg::WalTransactionEnd::time);
    EXPECT_EQ(index.commit_time_min, min.time);
    EXPECT_EQ(index.commit_time_max, max.time);
  }

  /// The server's own memory of when transactions committed.
  void note_commit_times() {
    for (const uint32_t xid : xids_) {
      const std::string sql = fmt::format(
          "SELECT extract(epoch FROM date_trunc('minute', t))::bigint * 1000000 + extract(microseconds FROM t)::bigint "
          "FROM pg_xact_commit_timestamp('{}'::xid) t",
          xid);  // In two parts: up to 13 they are floating-point numbers.
      ASSERT_OK_AND_ASSIGN(const PgRows rows, server_->query(sql));
      times_us_[xid] = rows.integer();
    }
  }

  /// Compare every page; how many of which kind are reported.
  void check_pages(const Files& before, const Files& after, const Changes& changes) {
    size_t changed = 0;
    size_t changed_maps = 0;
    size_t hints = 0;
    for (const auto& [path, now] : after.content()) {
      SCOPED_TRACE(path);
      if (after.is_unlogged(path)) continue;
      const auto file = pg::parse_relation_path(path);
      const WalFork fork{{file->tablespace_oid, file->database_oid, file->name.relfilenode}, file->name.fork};
      const std::string* then = before.find(path);
      if (then == nullptr) {
        // A new file; that it is not an old one of the same name is what the index must know.
        EXPECT_TRUE(fork.fork != Fork::kMain || changes.covers(fork, 0)) << "created unseen";
        continue;
      }
      for (size_t at = 0; at + kPage <= now.size() && at + kPage <= then->size(); at += kPage) {
        const std::string_view page = std::string_view(now).substr(at, kPage);
        const std::string_view old = std::string_view(*then).substr(at, kPage);
        if (page == old) continue;
        const auto block = static_cast<uint32_t>(at / kPage);  // Files of more than 1 GiB are not made here.
        if (fork.fork == Fork::kMain && page.substr(0, 8) == old.substr(0, 8) && !changes.covers(fork, block)) {
          ++hints;  // Nothing was logged for the page: hint bits, and the checksum with them.
          continue;
        }
        ++(fork.fork == Fork::kVisibilityMap ? changed_maps : changed);
        EXPECT_TRUE(changes.covers(fork, block))
            << "block " << block << " of " << pg::to_string(fork.fork) << " changed unseen";
      }
    }
    fmt::print("{} pages and {} of visibility maps changed, {} have new hint bits\n", changed, changed_maps, hints);
    EXPECT_GT(changed, 500u);
    EXPECT_GE(changed_maps, 4u);
    for (const std::string& path : maps_cleared_) {
      const std::string* then = before.find(path);
      const std::string* now = after.find(path);
      EXPECT_TRUE(then != nullptr && now != nullptr && *then != *now) << path << ": no bit was cleared";
    }
  }

  std::unique_ptr<PgServer> server_;
  std::string tablespace_;
  std::vector<std::string> maps_cleared_;
  std::vector<WalIndex> indexes_;
  std::map<uint32_t, pg::WalTransactionEnd> ends_;
  std::vector<uint32_t> xids_;
  std::map<uint32_t, int64_t> times_us_;
  uint64_t stored_bytes_ = 0;
};

std::vector<ServerKind> setups() {
  std::vector<ServerKind> out;
  for (const int major : supported_majors()) {
    out.push_back({major, 16, true});
    // Without checksums more changes go by without WAL.
    out.push_back({major, major == 10 ? 16 : 1, false});
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Each, WalIndexOn, ::testing::ValuesIn(setups()), [](const auto& parameter) {
  return fmt::format("{}Segments{}MiB{}", major_name(parameter.param.major), parameter.param.segment_mib,
                     parameter.param.checksums ? "" : "NoChecksums");
});

/// Blocks that pg_waldump shows, of all forks but free space maps.
Result<std::map<WalFork, std::set<uint32_t>>> blocks_by_waldump(const PgServer& server, const std::string& archive,
                                                                const std::vector<std::string>& names) {
  const std::string out = server.scratch() / "waldump";
  TRY_ASSIGN(Process dump, Process::start({server.install().program("pg_waldump"), "--bkp-details", "--path=" + archive,
                                           archive + "/" + names.front(), archive + "/" + names.back()},
                                          {.output_path = out}));
  TRY_ASSIGN(const ProcessResult result, dump.wait(std::chrono::seconds(300)));
  TRY_ASSIGN(const std::string text, read_file(out, size_t{2} << 30));
  if (!result.ok()) return Error(Errc::kInternal, "pg_waldump failed");
  std::map<WalFork, std::set<uint32_t>> blocks;
  for (size_t at = text.find("blkref #"); at != std::string::npos; at = text.find("blkref #", at + 1)) {
    const std::string_view line(text.data() + at, text.find('\n', at) - at);
    const auto number_after = [&](size_t from, std::string_view mark, size_t& next) {
      const size_t found = line.find(mark, from) + mark.size();
      uint32_t value = 0;
      next =
          static_cast<size_t>(std::from_chars(line.data() + found, line.data() + line.size(), value).ptr - line.data());
      return value;
    };
    size_t next = 0;
    WalFork fork;
    fork.relation.tablespace_oid = number_after(0, "rel ", next);
    fork.relation.database_oid = number_after(next, "/", next);
    fork.relation.relfilenode = number_after(next, "/", next);
    if (line.find("fork fsm") != std::string_view::npos) continue;
    if (line.find("fork vm") != std::string_view::npos) fork.fork = Fork::kVisibilityMap;
    if (line.find("fork init") != std::string_view::npos) fork.fork = Fork::kInit;
    blocks[fork].insert(number_after(next, "blk ", next));
  }
  return blocks;
}

TEST_P(WalIndexOn, KnowsEveryPageThatChanged) {
  start();
  if (HasFatalFailure() || IsSkipped()) return;
  load();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_OK_AND_ASSIGN(const std::string last_before, server_->archive_all());
  ASSERT_OK(server_->stop());
  ASSERT_OK_AND_ASSIGN(const Files before, Files::read(server_->data_dir()));
  ASSERT_OK(server_->start());
  work();
  ASSERT_FALSE(HasFatalFailure());
  note_commit_times();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_OK(server_->archive_all());
  ASSERT_OK(server_->stop());
  ASSERT_OK_AND_ASSIGN(const Files after, Files::read(server_->data_dir()));

  const std::vector<std::string> names = segments_after(last_before);
  index_segments(names);
  ASSERT_FALSE(HasFatalFailure());
  Changes changes;
  for (const WalIndex& index : indexes_) changes.apply(index);
  EXPECT_GE(changes.databases.size(), 4u);
  check_pages(before, after, changes);

  for (const auto& [xid, time_us] : times_us_) {
    const auto end = ends_.find(xid);
    ASSERT_NE(end, ends_.end()) << xid;
    EXPECT_EQ(end->second.time.time_since_epoch().count(), time_us) << xid;
  }
  const auto count_of = [&](pg::WalEventKind kind) {
    size_t count = 0;
    for (const WalIndex& index : indexes_)
      count += static_cast<size_t>(std::ranges::count(index.events, kind, &pg::WalEvent::kind));
    return count;
  };
  EXPECT_GE(count_of(pg::WalEventKind::kCreate), 10u);
  EXPECT_GE(count_of(pg::WalEventKind::kDrop), 4u);
  EXPECT_GE(count_of(pg::WalEventKind::kShrink), 1u);
  EXPECT_EQ(count_of(pg::WalEventKind::kTruncate), server_->major() >= 11 ? 2u : 0u);
  EXPECT_GE(count_of(pg::WalEventKind::kDelete), 2u);
  EXPECT_GE(count_of(pg::WalEventKind::kCreateDatabase), 2u);
  EXPECT_GE(count_of(pg::WalEventKind::kDropDatabase), 1u);
  size_t points = 0;
  for (const WalIndex& index : indexes_)
    for (const pg::WalRestorePoint& point : index.restore_points) points += point.name == "here" ? 1u : 0u;
  EXPECT_EQ(points, 1u);

  if (!server_->install().has("pg_waldump")) return;
  ASSERT_OK_AND_ASSIGN(const auto shown, blocks_by_waldump(*server_, archive(), names));
  size_t compared = 0;
  for (const auto& [fork, blocks] : shown)
    for (const uint32_t block : blocks) {
      ++compared;
      EXPECT_TRUE(changes.covers(fork, block)) << fork.relation.relfilenode << " " << block;
    }
  for (const auto& [fork, listed] : changes.forks) {
    if (fork.fork == Fork::kVisibilityMap) continue;  // Of these the index knows more.
    const auto found = shown.find(fork);
    for (const uint32_t block : listed.blocks)
      EXPECT_TRUE(found != shown.end() && found->second.contains(block)) << fork.relation.relfilenode << " " << block;
  }
  fmt::print("{} blocks compared with pg_waldump {}\n", compared, server_->install().version);
  EXPECT_GT(compared, 1000u);
}

}  // namespace
}  // namespace pgark::testing
