// The WAL reader against live servers: every record of real WAL, held against pg_waldump where the build has it.
#include "pg/wal_reader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "core/file.h"
#include "testing/pg_server.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using pg::WalRecord;
using pg::WalStep;

constexpr size_t kPartBytes = size_t{1} << 18;  // What the reader is fed at a time.

/// A record as one line, in words that both sides can say.
std::string line_of(const WalRecord& record) {
  std::string out = fmt::format("{:X} prev {:X} {} len {}/{} xid {}", record.lsn.bytes, record.header.prev.bytes,
                                pg::to_string(record.header.rmgr), record.header.total_bytes - record.image_bytes,
                                record.header.total_bytes, record.header.xid.value);
  constexpr std::array<std::string_view, 4> kMethods{"none", "pglz", "lz4", "zstd"};
  for (const pg::WalBlockRef& ref : record.blocks()) {
    fmt::format_to(std::back_inserter(out), " #{} {}/{}/{} {} {}", ref.id, ref.relation.tablespace_oid,
                   ref.relation.database_oid, ref.relation.relfilenode, pg::to_string(ref.fork), ref.block);
    if (!ref.has_image) continue;
    fmt::format_to(std::back_inserter(out), " {} hole {}+{} {}", ref.image_applies ? "image" : "check",
                   ref.hole_offset_bytes, ref.hole_bytes, kMethods[static_cast<size_t>(ref.image_compression)]);
  }
  return out;
}

/// Walks the words of one line of pg_waldump.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}

  /// Go behind the next `mark`; false if there is none.
  bool find(std::string_view mark) {
    const size_t at = text_.find(mark);
    if (at == std::string_view::npos) return false;
    text_.remove_prefix(at + mark.size());
    return true;
  }
  std::string_view word() {
    text_.remove_prefix(std::min(text_.find_first_not_of(' '), text_.size()));
    const size_t bytes = std::min(text_.find_first_of(" ,:;/()"), text_.size());
    const std::string_view out = text_.substr(0, bytes);
    text_.remove_prefix(bytes);
    return out;
  }
  uint64_t number(int base = 10) {
    const std::string_view digits = word();
    uint64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    return value;
  }
  uint64_t after(std::string_view mark, int base = 10) { return find(mark) ? number(base) : ~uint64_t{0}; }
  uint64_t lsn_after(std::string_view mark) {
    const uint64_t upper = after(mark, 16);
    return upper << 32 | after("/", 16);
  }
  bool has(std::string_view mark) const { return text_.find(mark) != std::string_view::npos; }

 private:
  std::string_view text_;
};

/// What `pg_waldump --bkp-details` printed, a line for each record in the words of line_of().
std::vector<std::string> lines_of_waldump(const std::string& output) {
  std::vector<std::string> out;
  for (size_t at = 0; at < output.size();) {
    const size_t end = std::min(output.find('\n', at), output.size());
    const std::string_view line(output.data() + at, end - at);
    at = end + 1;
    Words words(line);
    if (line.starts_with("rmgr: ")) {
      words.find("rmgr:");
      const std::string rmgr(words.word());
      const uint64_t length = words.after("len (rec/tot):");
      const uint64_t total = words.after("/");
      const uint64_t xid = words.after("tx:");
      const uint64_t lsn = words.lsn_after("lsn:");
      const uint64_t prev = words.lsn_after("prev");
      out.push_back(fmt::format("{:X} prev {:X} {} len {}/{} xid {}", lsn, prev, rmgr, length, total, xid));
    } else if (words.find("blkref #") && !out.empty()) {
      std::string& record = out.back();
      const uint64_t id = words.number();
      const uint64_t tablespace = words.after("rel");
      const uint64_t database = words.after("/");
      const uint64_t relation = words.after("/");
      std::string_view fork = "main";
      if (words.has("fork")) {
        words.find("fork");
        fork = words.word();
      }
      const uint64_t block = words.after("blk");
      fmt::format_to(std::back_inserter(record), " #{} {}/{}/{} {} {}", id, tablespace, database, relation, fork,
                     block);
      if (!words.has("(FPW")) continue;
      const bool check = words.has("(FPW for WAL verification)");
      const uint64_t hole_offset = words.after("offset:");
      const uint64_t hole = words.after("length:");
      std::string_view method = "none";
      if (words.find("method:")) method = words.word();
      fmt::format_to(std::back_inserter(record), " {} hole {}+{} {}", check ? "check" : "image", hole_offset, hole,
                     method);
    }
  }
  return out;
}

/// A server that keeps its complete segments, and the work that makes WAL of every kind.
class WalScene {
 public:
  static Result<WalScene> create(const PgInstall& install, int segment_mib, std::vector<std::string> config = {}) {
    PgOptions options{.wal_segment_mib = segment_mib, .config = std::move(config)};
    options.config.insert(options.config.end(),
                          {"wal_level = logical", "archive_mode = on", "max_prepared_transactions = 10",
                           "max_wal_size = 64MB", "autovacuum = off", "track_commit_timestamp = on"});
    TRY_ASSIGN(auto server, PgServer::create(install, options));
    WalScene scene(std::move(server), segment_mib);
    fs::create_directory(scene.archive());
    TRY(scene.server_->configure(fmt::format("archive_command = 'cp %p {}/%f'", scene.archive())));
    TRY(scene.server_->start());
    return scene;
  }

  std::string archive() const { return server_->scratch() / "archive"; }
  PgServer& server() { return *server_; }

  /// Rows, indexes of every kind, vacuum, truncation, databases, transactions of every kind, large objects, messages.
  Result<> work() {
    const int major = server_->major();
    TRY_ASSIGN(PgConnection session, server_->connect());
    TRY(session.exec(
        "CREATE TABLE account (id int PRIMARY KEY, balance int, filler text, tags int[], place point) WITH "
        "(fillfactor = 70);"
        "INSERT INTO account SELECT n, 0, repeat(md5(n::text), 3), ARRAY[n % 7, n % 11], point(n % 100, n / 100) "
        "FROM generate_series(1, 20000) n"));
    TRY(
        session.exec("CREATE INDEX ON account (balance); CREATE INDEX ON account USING hash (filler);"
                     "CREATE INDEX ON account USING gin (tags); CREATE INDEX ON account USING gist (place);"
                     "CREATE INDEX ON account USING spgist (place); CREATE INDEX ON account USING brin (id)"));
    TRY(small_transactions(session, 300));
    TRY(session.exec("DELETE FROM account WHERE id % 5 = 0"));
    TRY(session.exec("VACUUM account"));
    TRY(session.exec("VACUUM FREEZE account"));
    TRY(session.exec("CHECKPOINT"));
    TRY(small_transactions(session, 200));
    TRY(session.exec(
        "BEGIN; SELECT id FROM account WHERE id < 50 FOR KEY SHARE; SAVEPOINT second; "
        "UPDATE account SET balance = 1 WHERE id < 90; COMMIT"));  // Two lockers of one row make a multixact.
    TRY(session.exec("DELETE FROM account WHERE id > 8000"));
    TRY(session.exec("VACUUM account"));
    TRY(session.exec(
        "CREATE TABLE gone AS SELECT * FROM account; TRUNCATE gone; INSERT INTO gone SELECT * FROM account LIMIT 100; "
        "DROP TABLE gone; CLUSTER account USING account_pkey; CREATE SEQUENCE numbers; "
        "SELECT nextval('numbers') FROM account"));
    TRY(session.exec("REINDEX TABLE account"));
    for (const std::string& database : {std::string("by_default"), std::string("by_file_copy")}) {
      const bool copy = database == "by_file_copy" && major >= 15;
      TRY(session.exec("CREATE DATABASE " + database + (copy ? " STRATEGY file_copy" : "")));
    }
    TRY(session.exec("DROP DATABASE by_file_copy"));
    TRY(prepared_and_nested(session));
    TRY(session.exec(
        "SELECT lo_from_bytea(70000, decode(repeat('00ff', 200000), 'hex')); SELECT lo_put(70000, 5000, 'changed');"
        "SELECT lo_unlink(70000)"));
    // Of a size that reaches over several of the small segments.
    TRY(session.exec("SELECT pg_logical_emit_message(false, 'pgark', repeat('long message ', 240000))"));
    TRY(session.exec("SELECT pg_logical_emit_message(true, 'pgark', 'short'); SELECT pg_create_restore_point('here')"));
    TRY(session.exec("SET wal_consistency_checking = 'all'"));
    TRY(small_transactions(session, 50));
    TRY(session.exec("CREATE INDEX ON account USING gin (tags); RESET wal_consistency_checking"));
    return {};
  }

  /// Images compressed by each method that the build has.
  Result<> work_with_compression() {
    TRY_ASSIGN(PgConnection session, server_->connect());
    for (const char* method : {"on", "pglz", "lz4", "zstd"}) {
      if (!session.exec(fmt::format("SET wal_compression = '{}'", method))) continue;
      ++methods_;
      TRY(session.exec("CHECKPOINT"));
      TRY(session.exec("UPDATE account SET balance = balance + 1 WHERE id % 3 = 0; CREATE INDEX ON account (filler)"));
    }
    return {};
  }
  int methods() const { return methods_; }

  /// Archive everything and read it from the first segment on: a line for each record.
  Result<std::vector<std::string>> read() {
    TRY(server_->archive_all());
    // So that the position the last switch ends at is archived too.
    TRY(server_->exec("SELECT pg_logical_emit_message(true, 'pgark', 'last')"));
    TRY(server_->archive_all());
    for (const auto& entry : fs::directory_iterator(archive()))
      if (entry.path().filename().string().size() == 24) segments_.insert(entry.path());
    std::vector<std::string> lines;
    std::optional<pg::WalReader> reader;
    for (const std::string& path : segments_) {
      TRY_ASSIGN(const std::string content, read_file(path, size_t{64} << 20));
      bytes_ += content.size();
      if (!reader) {
        TRY_ASSIGN(const pg::WalReaderOptions options, pg::wal_reader_options(as_bytes(content)));
        TRY_ASSIGN(reader, pg::WalReader::create(options));
      }
      for (size_t at = 0; at < content.size(); at += kPartBytes) {
        TRY(reader->feed(as_bytes(content).subspan(at, kPartBytes)));
        for (;;) {
          TRY_ASSIGN(const WalStep step, reader->next());
          if (step != WalStep::kRecord) break;
          const WalRecord& record = reader->record();
          ++kinds_[record.header.rmgr];
          if (record.lsn.bytes / segment_bytes() != (record.end.bytes - 1) / segment_bytes()) ++crossing_;
          for (const pg::WalBlockRef& ref : record.blocks())
            if (ref.has_image) ++(ref.image_applies ? images_ : checks_);
          lines.push_back(line_of(record));
        }
      }
    }
    if (reader->fragment() != nullptr) return Error(Errc::kCorrupt, "the last segment does not end with a switch");
    return lines;
  }

  /// The same from pg_waldump.
  Result<std::vector<std::string>> read_by_waldump() {
    const std::string out = server_->scratch() / "waldump";
    TRY_ASSIGN(Process dump, Process::start({server_->install().program("pg_waldump"), "--bkp-details",
                                             "--path=" + archive(), *segments_.begin(), *segments_.rbegin()},
                                            {.output_path = out}));
    TRY_ASSIGN(const ProcessResult result, dump.wait(std::chrono::seconds(300)));
    TRY_ASSIGN(const std::string text, read_file(out, size_t{2} << 30));
    if (!result.ok())
      return Error(Errc::kInternal, "pg_waldump: " + text.substr(text.size() - std::min<size_t>(500, text.size())));
    return lines_of_waldump(text);
  }

  uint64_t segment_bytes() const { return static_cast<uint64_t>(segment_mib_) << 20; }
  const std::map<pg::WalRmgr, size_t>& kinds() const { return kinds_; }
  size_t crossing() const { return crossing_; }
  size_t images() const { return images_; }
  size_t checks() const { return checks_; }
  uint64_t bytes() const { return bytes_; }

 private:
  WalScene(std::unique_ptr<PgServer> server, int segment_mib) : server_(std::move(server)), segment_mib_(segment_mib) {}

  /// What pgbench does: single rows, one transaction each.
  static Result<> small_transactions(PgConnection& session, int count) {
    for (int n = 0; n < count; ++n)
      TRY(session.exec(fmt::format(
          "BEGIN; UPDATE account SET balance = balance + {0} WHERE id = {0}; INSERT INTO account VALUES ({1}, {0}); "
          "DELETE FROM account WHERE id = {1}; COMMIT",
          n * 7 % 7000 + 1, 1'000'000 + n)));
    return {};
  }

  static Result<> prepared_and_nested(PgConnection& session) {
    TRY(session.exec("BEGIN; CREATE TABLE two (n int); INSERT INTO two VALUES (1); PREPARE TRANSACTION 'kept'"));
    TRY(session.exec("COMMIT PREPARED 'kept'"));
    TRY(session.exec("BEGIN; CREATE TABLE three (n int); PREPARE TRANSACTION 'undone'"));
    TRY(session.exec("ROLLBACK PREPARED 'undone'"));
    std::string nested = "BEGIN;";
    for (int n = 0; n < 100; ++n) nested += fmt::format("SAVEPOINT s{}; INSERT INTO two VALUES ({});", n, n);
    TRY(session.exec(nested + "COMMIT"));
    TRY(session.exec("BEGIN; CREATE TABLE four (n int); ROLLBACK"));
    return {};
  }

  std::unique_ptr<PgServer> server_;
  int segment_mib_;
  int methods_ = 0;
  std::set<std::string> segments_;
  std::map<pg::WalRmgr, size_t> kinds_;
  size_t crossing_ = 0;
  size_t images_ = 0;
  size_t checks_ = 0;
  uint64_t bytes_ = 0;
};

/// Empty if both are the same; else the first difference.
std::string first_difference(const std::vector<std::string>& ours, const std::vector<std::string>& theirs) {
  const auto [a, b] = std::ranges::mismatch(ours, theirs);
  if (a == ours.end() && b == theirs.end()) return "";
  return fmt::format("{} and {} records, from {}:\n  reader: {}\n  waldump: {}", ours.size(), theirs.size(),
                     a - ours.begin(), a == ours.end() ? "(none)" : *a, b == theirs.end() ? "(none)" : *b);
}

class WalReaderOn : public ::testing::TestWithParam<std::tuple<int, int>> {};

INSTANTIATE_TEST_SUITE_P(Each, WalReaderOn,
                         ::testing::Combine(::testing::ValuesIn(supported_majors()), ::testing::Values(1, 16)),
                         [](const auto& parameter) {
                           return fmt::format("{}Segments{}MiB", major_name(std::get<0>(parameter.param)),
                                              std::get<1>(parameter.param));
                         });

TEST_P(WalReaderOn, ReadsEveryRecordAsTheServersOwnToolDoes) {
  const auto [major, segment_mib] = GetParam();
  PGARK_REQUIRE_PG(install, major);
  if (major == 10 && segment_mib != 16) GTEST_SKIP() << "10 has segments of 16 MiB only";
  ASSERT_OK_AND_ASSIGN(WalScene scene, WalScene::create(install, segment_mib));
  ASSERT_OK(scene.work());
  ASSERT_OK(scene.work_with_compression());
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> ours, scene.read());

  // The work did what it is for.
  for (const pg::WalRmgr rmgr :
       {pg::wal_rmgr::kXlog, pg::wal_rmgr::kTransaction, pg::wal_rmgr::kStorage, pg::wal_rmgr::kDatabase,
        pg::wal_rmgr::kMultixact, pg::wal_rmgr::kStandby, pg::wal_rmgr::kHeap2, pg::wal_rmgr::kHeap,
        pg::wal_rmgr::kBtree, pg::wal_rmgr::kHash, pg::wal_rmgr::kGin, pg::wal_rmgr::kGist, pg::wal_rmgr::kSequence,
        pg::wal_rmgr::kSpgist, pg::wal_rmgr::kBrin, pg::wal_rmgr::kLogicalMessage})
    EXPECT_TRUE(scene.kinds().contains(rmgr)) << pg::to_string(rmgr);
  EXPECT_GT(scene.images(), 100u);
  EXPECT_GT(scene.checks(), 100u);
  EXPECT_GT(scene.crossing(), segment_mib == 1 ? 10u : 0u);
  EXPECT_GE(scene.methods(), major >= 15 && install.has("pg_waldump") ? 4 : 1);  // Debian's builds have all.

  if (!install.has("pg_waldump")) return;  // Every length, link and CRC held; no other tool to ask.
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> theirs, scene.read_by_waldump());
  EXPECT_EQ(first_difference(ours, theirs), "");
  fmt::print("{} records of {} MiB compared with pg_waldump {}\n", ours.size(), scene.bytes() >> 20, install.version);
}

class WalReaderAfterCrash : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Each, WalReaderAfterCrash, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

/// Zero a segment from the middle of its last record over several pages on, as if that never reached the disk; where
/// the record begins, and the page from which on it is gone.
Result<std::pair<Lsn, Lsn>> tear_last_long_record(const std::string& path) {
  TRY_ASSIGN(std::string content, read_file(path, size_t{64} << 20));
  TRY_ASSIGN(pg::WalReaderOptions options, pg::wal_reader_options(as_bytes(content)));
  options.source = pg::WalSource::kLive;
  TRY_ASSIGN(pg::WalReader reader, pg::WalReader::create(options));
  TRY(reader.feed(as_bytes(content)));
  std::optional<Lsn> torn;
  for (;;) {
    TRY_ASSIGN(const WalStep step, reader.next());
    if (step != WalStep::kRecord) break;
    if (reader.record().header.total_bytes > 50000) torn = reader.record().lsn;
  }
  if (!torn || !reader.end()) return Error(Errc::kInternal, "the segment holds no long record");
  const uint64_t page = torn->bytes / 8192 * 8192 + uint64_t{2} * 8192;
  std::fill(content.begin() + static_cast<ptrdiff_t>(page - options.start.bytes), content.end(), '\0');
  std::ofstream(path, std::ios::binary) << content;

  TRY_ASSIGN(pg::WalReader again, pg::WalReader::create(options));
  TRY(again.feed(as_bytes(content)));
  while (again.next().value() == WalStep::kRecord) {
  }
  if (again.end()->lsn != *torn || again.end()->found_at.bytes != page)
    return Error(Errc::kInternal, "the torn record is not where WAL ends: " + again.end()->message);
  return std::pair{*torn, Lsn{page}};
}

TEST_P(WalReaderAfterCrash, DropsTheRecordThatTheServerGaveUp) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(WalScene scene, WalScene::create(install, 16));
  PgServer& server = scene.server();
  ASSERT_OK(server.archive_all());
  ASSERT_OK(server.exec("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n; CHECKPOINT"));
  ASSERT_OK(server.exec("SELECT pg_logical_emit_message(true, 'pgark', repeat('torn', 20000))"));
  ASSERT_OK_AND_ASSIGN(const PgRows name, server.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"));
  ASSERT_OK(server.kill());
  ASSERT_OK_AND_ASSIGN(const auto torn, tear_last_long_record(server.data_dir() + "/pg_wal/" + name.text()));
  ASSERT_OK(server.start());
  ASSERT_OK(server.exec("INSERT INTO kept SELECT generate_series(1, 1000)"));
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> ours, scene.read());

  const auto at = [&](Lsn lsn) { return fmt::format("{:X} prev ", lsn.bytes); };
  const auto begins = [&](Lsn lsn) {
    return std::ranges::count_if(ours, [&](const std::string& line) { return line.starts_with(at(lsn)); });
  };
  EXPECT_EQ(begins(torn.first), 0);
  EXPECT_EQ(begins(Lsn{torn.second.bytes + 24}), 1);  // What tells that the record was given up.
  if (!install.has("pg_waldump")) return;
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> theirs, scene.read_by_waldump());
  EXPECT_EQ(first_difference(ours, theirs), "");
}

}  // namespace
}  // namespace pgark::testing
