// Manifests of dumps: what is written comes back, listings cost little, and nothing that is there is overlooked.
#include "catalog/dump.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/dump_document.h"
#include "catalog/hold.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kLabel = "20261122-101500L";
const std::string kLatin1 =
    "Stra\xdf"
    "e";  // Of a database in SQL_ASCII: no UTF-8.
constexpr Timestamp kNow{seconds(1795342500)};

DumpDatabase sample_database() {
  DumpDatabase database;
  database.name = "app " + kLatin1;
  database.oid = 16384;
  database.owner = "app";
  database.encoding = "SQL_ASCII";
  database.collate = "C";
  database.ctype = "C";
  database.locale_provider = "libc";
  database.collation_version = "2.36";
  database.tablespace = "fast";
  database.bytes = uint64_t{3} << 40;
  database.acl = "{=Tc/app}";
  database.connection_limit = 7;
  database.settings = {{"", "work_mem=64MB"}, {kLatin1, "search_path=a, b"}};
  database.extensions = {{database.name, "postgis", "3.4.0"}};
  database.collation_versions = {{"public.de-x", "153.14"}, {"public." + kLatin1, "1"}};
  database.snapshot = "00000003-0000001B-1";
  database.lsn = "16/B374D848";
  database.snapshot_time = kNow;
  database.table_count = 2;
  database.row_count = 5'000'000'000;
  database.large_object_count = 3;
  return database;
}

Dump sample_dump() {
  Dump dump;
  DumpMeta& meta = dump.meta;
  meta.label = kLabel;
  meta.series = "database app";
  meta.name = "nightly";
  meta.pgark_version = "1.2.3";
  meta.host = "db1";
  meta.server = "host db1 port 5432";
  meta.system_identifier = 7512345678901234567u;
  meta.pg_version_num = 150020;
  meta.server_version = "15.20";
  meta.in_recovery = true;
  meta.started = kNow;
  meta.stopped = kNow + seconds(90);
  meta.split = "schema";
  meta.globals = true;
  meta.role_passwords = true;
  meta.selection = {"--schema=" + kLatin1};
  meta.databases = {sample_database()};
  meta.roles = {{"app", true, false, {}}, {kLatin1, false, true, {"app", "pg_monitor"}}};
  meta.tablespaces = {"fast"};
  DumpUnit globals;
  globals.kind = DumpUnit::Kind::kGlobals;
  globals.format = DumpFormat::kPlain;
  globals.streams = {{"globals.sql", 10, std::string(32, 'a'), {{1, 1, 1}}}};
  DumpUnit schema;
  schema.kind = DumpUnit::Kind::kSchema;
  schema.name = kLatin1;
  schema.database = sample_database().name;
  schema.client = "15.20 (Debian)";
  schema.client_major = 15;
  schema.arguments = {"--no-owner", "--schema=" + kLatin1};
  schema.streams = {{"toc.dat", 2000, std::string(32, '0'), {{1, 2, 1}}},
                    {"3456.dat.gz", uint64_t{5} << 30, std::string(32, 'f'), {{2, 1, 60}, {3, 1, 4000000000}}},
                    {"empty.dat", 0, std::string(32, '9'), {}}};
  meta.units = {globals, schema};
  meta.warnings = {"large_objects: many"};
  meta.stored_bytes = 12345;
  meta.pack_count = 3;
  meta.codec = "zst";
  DumpTable table;
  table.database = sample_database().name;
  table.oid = 3456;
  table.schema = kLatin1;
  table.name = "t1";
  table.kind = 'p';
  table.rows = 0;
  table.bytes = 1;
  table.total_bytes = 2;
  table.parent = "public.\"T\"";
  table.bound = "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')";
  table.partition_key = "RANGE (day)";
  table.unlogged = true;
  table.unit = 0;
  table.stream = "3456.dat.gz";
  DumpTable plain;
  plain.database = "app";
  plain.schema = "public";
  plain.name = kLatin1;
  dump.tables = {table, plain};
  return dump;
}

std::string text_of(const DumpStream& stream) {
  std::string runs;
  for (const DumpRun& run : stream.runs) runs += fmt::format(" {}:{}+{}", run.pack, run.first_frame, run.frame_count);
  return fmt::format("{} {} {}{}", stream.name, stream.raw_bytes, stream.hash, runs);
}

void expect_same_table(const DumpTable& a, const DumpTable& b) {
  const auto facts = [](const DumpTable& t) {
    return std::tuple(t.database, t.oid, t.schema, t.name, t.kind, t.rows, t.bytes, t.total_bytes, t.parent, t.bound,
                      t.partition_key, t.unlogged, t.unit, t.stream);
  };
  EXPECT_EQ(facts(a), facts(b));
}

class DumpTest : public ::testing::Test {
 protected:
  void write(const Dump& dump) {
    const auto written = write_dump(*repository_, "main", dump);
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
  }
  void write(const std::string& label) {
    Dump dump = sample_dump();
    dump.meta.label = label;
    write(dump);
  }

  FaultStore store_{std::make_unique<MemoryStore>()};
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(DumpTest, DocumentComesBackAsItWas) {
  const Dump dump = sample_dump();
  const std::string text = encode_dump_meta(dump.meta);
  const auto meta = decode_dump_meta(text);
  ASSERT_TRUE(meta.has_value()) << meta.error().to_string();
  // The text holds every member: equal texts, equal documents.
  EXPECT_EQ(encode_dump_meta(*meta), text);
  EXPECT_EQ(meta->system_identifier, 7512345678901234567u);
  EXPECT_EQ(meta->pg_major(), 15u);
  ASSERT_THAT(meta->databases, SizeIs(1));
  EXPECT_EQ(meta->databases[0].name, "app " + kLatin1);
  EXPECT_EQ(meta->databases[0].settings, sample_database().settings);
  EXPECT_EQ(meta->databases[0].collation_versions, sample_database().collation_versions);
  EXPECT_EQ(meta->databases[0].extensions[0].database, "app " + kLatin1);
  EXPECT_EQ(meta->roles[1].member_of, (std::vector<std::string>{"app", "pg_monitor"}));
  ASSERT_THAT(meta->units, SizeIs(2));
  EXPECT_EQ(meta->units[1].kind, DumpUnit::Kind::kSchema);
  EXPECT_EQ(meta->units[1].arguments[1], "--schema=" + kLatin1);
  EXPECT_THAT(meta->units[1].streams, IsEmpty());
}

TEST_F(DumpTest, ManifestComesBackAsItWas) {
  const Dump dump = sample_dump();
  write(dump);
  const auto read = read_dump(*repository_, "main", kLabel);
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(read->meta.raw_bytes, 10 + 2000 + (uint64_t{5} << 30));
  EXPECT_EQ(read->meta.stream_count, 4u);
  ASSERT_THAT(read->meta.units, SizeIs(2));
  for (size_t i = 0; i < 2; ++i) {
    const auto& streams = read->meta.units[i].streams;
    ASSERT_EQ(streams.size(), dump.meta.units[i].streams.size());
    for (size_t k = 0; k < streams.size(); ++k) EXPECT_EQ(text_of(streams[k]), text_of(dump.meta.units[i].streams[k]));
  }
  ASSERT_THAT(read->tables, SizeIs(2));
  for (size_t i = 0; i < 2; ++i) expect_same_table(read->tables[i], dump.tables[i]);
  const auto again = write_dump(*repository_, "main", dump);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code(), Errc::kAlreadyExists);
}

TEST_F(DumpTest, ManyTablesAndRunsGoInChunks) {
  Dump dump = sample_dump();
  dump.meta.units[1].streams[1].runs.clear();
  for (uint32_t i = 0; i < 40'000; ++i) dump.meta.units[1].streams[1].runs.push_back({i + 1, 1, 64});
  dump.tables.clear();
  for (uint32_t i = 0; i < 20'000; ++i) {
    DumpTable& table = dump.tables.emplace_back();
    table.oid = i;
    table.schema = "public";
    table.name = fmt::format("table_{}", i);
  }
  write(dump);
  const auto manifest =
      ContainerReader::open(*repository_, dump_manifest_key("main", kLabel), ContainerKind::kManifest);
  ASSERT_TRUE(manifest.has_value());
  size_t chunks = 0;
  for (const FrameRef& frame : manifest->frames()) {
    if (frame.type != FrameType::kFiles) continue;
    ++chunks;
    EXPECT_LE(frame.raw_bytes, kDumpChunkBytes + (1u << 20));
  }
  EXPECT_GE(chunks, 3u);
  EXPECT_EQ(manifest->frames().back().type, FrameType::kMeta);
  const auto read = read_dump(*repository_, "main", kLabel);
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(read->meta.units[1].streams[1].runs, dump.meta.units[1].streams[1].runs);
  ASSERT_THAT(read->tables, SizeIs(20'000));
  EXPECT_EQ(read->tables[19'999].name, "table_19999");
}

TEST_F(DumpTest, DocumentLargerThanAFrameIsCut) {
  Dump dump = sample_dump();
  DumpRole role{std::string(1000, 'r'), true, false, {}};
  for (int i = 0; i < 9'000; ++i) dump.meta.roles.push_back(role);
  write(dump);
  const auto meta = read_dump_meta(*repository_, "main", kLabel);
  ASSERT_TRUE(meta.has_value()) << meta.error().to_string();
  EXPECT_THAT(meta->roles, SizeIs(9'002));
}

TEST_F(DumpTest, AnotherCopyOfADamagedManifestIsNoGuess) {
  write(sample_dump());
  const ObjectKey key = dump_manifest_key("main", kLabel);
  const uint64_t bytes = store_.stat(key).value()->bytes;
  for (uint64_t bit = 0; bit < bytes * 8; bit += bytes / 16 * 8 + 3) {
    MemoryStore damaged;
    copy_with_flipped_bit(store_, damaged, key, bit);
    const auto repository = Repository::open(damaged);
    ASSERT_TRUE(repository.has_value());
    // The header is not read where the manifest does not come whole.
    const auto read = read_dump(**repository, "main", kLabel);
    ASSERT_FALSE(read.has_value()) << bit;
    EXPECT_EQ(read.error().code(), Errc::kCorrupt);
    EXPECT_THAT(read.error().message(), HasSubstr(kLabel));
  }
}

TEST_F(DumpTest, ListsWhatHasAManifestOldestFirst) {
  EXPECT_THAT(list_dump_labels(*repository_, "main").value(), IsEmpty());
  write("20261124-000000L");
  write("20261123-000000L");
  ASSERT_TRUE(store_.put(dump_pack_key("main", "20261125-000000L", 1), as_bytes("x")).has_value());
  ASSERT_TRUE(store_.put({"main/dump/other/manifest"}, as_bytes("x")).has_value());
  for (const char* tombstone : {"20261122-000000L", "20261122-000000L.r1", "20261122-000000F"})
    ASSERT_TRUE(store_.put({fmt::format("main/expire/{}", tombstone)}, as_bytes("x")).has_value());
  EXPECT_THAT(list_dump_labels(*repository_, "main").value(), ElementsAre("20261123-000000L", "20261124-000000L"));
  EXPECT_THAT(list_used_dump_labels(*repository_, "main").value(),
              ElementsAre("20261122-000000L", "20261123-000000L", "20261124-000000L", "20261125-000000L"));
  const auto dumps = list_dumps(*repository_, "main");
  ASSERT_TRUE(dumps.has_value());
  ASSERT_THAT(*dumps, SizeIs(2));
  EXPECT_EQ((*dumps)[1].meta->label, "20261124-000000L");
  EXPECT_EQ((*dumps)[1].meta->stream_count, 4u);
}

TEST_F(DumpTest, OneThatCannotBeReadIsListedWithItsError) {
  write("20261123-000000L");
  ASSERT_TRUE(store_.put(dump_manifest_key("main", "20261124-000000L"), as_bytes("no manifest")).has_value());
  const auto dumps = list_dumps(*repository_, "main");
  ASSERT_TRUE(dumps.has_value());
  ASSERT_THAT(*dumps, SizeIs(2));
  EXPECT_TRUE((*dumps)[0].meta.has_value());
  ASSERT_TRUE((*dumps)[1].error.has_value());
  EXPECT_THAT((*dumps)[1].error->message(), HasSubstr("20261124-000000L"));
}

TEST_F(DumpTest, ListingSkipsPacks) {
  for (const char* label : {"20261123-000000L", "20261124-000000L"}) {
    write(label);
    for (uint32_t i = 1; i <= 5000; ++i)
      ASSERT_TRUE(store_.put(dump_pack_key("main", label, i), as_bytes("x")).has_value());
  }
  const auto calls = [&] { return store_.calls(StoreCall::kList); };
  uint64_t before = calls();
  EXPECT_THAT(list_dump_labels(*repository_, "main").value(), SizeIs(2));
  EXPECT_LE(calls() - before, 4u);
  ASSERT_TRUE(write_hold(*repository_, "main", "20261124-000000L", {Timestamp::max(), "audit", kNow}).has_value());
  before = calls();
  EXPECT_THAT(read_dump_holds(*repository_, "main").value(), SizeIs(1));
  EXPECT_LE(calls() - before, 4u);
}

TEST_F(DumpTest, AbsentOneIsNotFoundWithAHint) {
  const auto read = read_dump_meta(*repository_, "main", kLabel);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code(), Errc::kNotFound);
  EXPECT_THAT(read.error().to_string(), HasSubstr("dump-ls"));
}

TEST_F(DumpTest, HoldsOfDumpsAndBackupsAreApart) {
  write(sample_dump());
  ASSERT_TRUE(write_hold(*repository_, "main", kLabel, {kNow + seconds(5), "audit", kNow}).has_value());
  ASSERT_TRUE(write_hold(*repository_, "main", kLabel, {Timestamp::max(), "law", kNow}).has_value());
  EXPECT_THAT(read_holds(*repository_, "main").value(), IsEmpty());
  const auto holds = read_dump_holds(*repository_, "main");
  ASSERT_TRUE(holds.has_value());
  ASSERT_THAT(*holds, SizeIs(1));
  EXPECT_EQ(holds->at(kLabel).reason, "law");
  EXPECT_TRUE(holds->at(kLabel).holds(kNow + std::chrono::days(9999)));
  EXPECT_TRUE(store_.stat({"main/dump/" + kLabel + "/hold.2"}).value().has_value());
  const auto absent = write_hold(*repository_, "main", "20261122-101501L", {Timestamp::max(), "", kNow});
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), Errc::kNotFound);
}

TEST_F(DumpTest, NewestVerdictCounts) {
  write(sample_dump());
  EXPECT_THAT(read_dump_verdicts(*repository_, "main").value(), IsEmpty());
  ASSERT_TRUE(write_dump_verdict(*repository_, "main", kLabel, {kNow, true, "scratch", {}, 3, 1}).has_value());
  const DumpVerdict bad{kNow + seconds(1), false, "scratch cluster", {"table " + kLatin1 + ": 3 rows, not 4"}, 5, 2};
  ASSERT_TRUE(write_dump_verdict(*repository_, "main", kLabel, bad).has_value());
  const auto found = read_dump_verdicts(*repository_, "main");
  ASSERT_TRUE(found.has_value()) << found.error().to_string();
  ASSERT_THAT(*found, SizeIs(1));
  const DumpVerdict& verdict = found->at(kLabel);
  EXPECT_EQ(std::tuple(verdict.when, verdict.ok, verdict.where, verdict.findings, verdict.tables, verdict.checks),
            std::tuple(bad.when, bad.ok, bad.where, bad.findings, bad.tables, bad.checks));
  EXPECT_EQ(write_dump_verdict(*repository_, "main", "20261122-101501L", bad).error().code(), Errc::kNotFound);
}

TEST(DumpLabel, IsLaterThanAllUsed) {
  EXPECT_EQ(next_dump_label(kNow, {}), "20261122-101500L");
  EXPECT_EQ(next_dump_label(kNow, {"20261122-101500L", "20261122-101509L", "junk"}), "20261122-101510L");
  EXPECT_TRUE(is_dump_label("20261122-101500L"));
  for (const char* no : {"", "20261122-101500", "20261122-101500F", "20261122-101500LL", "20261322-101500L"})
    EXPECT_FALSE(is_dump_label(no)) << no;
  EXPECT_EQ(parse_dump_label("x").error().code(), Errc::kInvalid);
}

TEST(DumpSeries, IsTheSameForTheSameChoice) {
  EXPECT_EQ(dump_series({}, {}, ""), "all databases");
  EXPECT_EQ(dump_series({"app"}, {}, ""), "database app");
  EXPECT_EQ(dump_series({"b", "a", "b"}, {"-n y", "--schema=x"}, ""),
            dump_series({"a", "b"}, {"--schema=x", "-n y"}, ""));
  EXPECT_NE(dump_series({"a,b"}, {}, ""), dump_series({"a", "b"}, {}, ""));
  EXPECT_NE(dump_series({"a"}, {}, ""), dump_series({}, {}, "a"));
  EXPECT_EQ(dump_series({"a"}, {"--schema=x"}, "nightly"), "name nightly");
}

TEST(DumpFormats, HaveNamesAndLetters) {
  for (const DumpFormat format : {DumpFormat::kDirectory, DumpFormat::kCustom, DumpFormat::kPlain, DumpFormat::kTar}) {
    EXPECT_EQ(parse_dump_format(dump_format_name(format)).value(), format);
    EXPECT_EQ(parse_dump_format(dump_format_name(format).substr(0, 1)).value(), format);
  }
  EXPECT_EQ(parse_dump_format("zip").error().code(), Errc::kInvalid);
}

TEST(DumpDocument, RefusesWhatItCannotMean) {
  Dump dump = sample_dump();
  for (DumpUnit& unit : dump.meta.units) unit.streams.clear();
  const auto refused = [&](std::string_view text) {
    Dump into = dump;
    const auto decoded = decode_dump_chunk(text, into);
    return !decoded.has_value() && decoded.error().code() == Errc::kCorrupt;
  };
  const std::string hash(32, 'a');
  const auto stream = [&](std::string_view name, std::string_view unit, std::string_view runs) {
    return fmt::format(R"({{"streams": [{{"unit": {}, "name": "{}", "raw_bytes": 1, "hash": "{}", "runs": {}}}]}})",
                       unit, name, hash, runs);
  };
  EXPECT_FALSE(refused(stream("toc.dat", "0", "[[1,1,1]]")));
  EXPECT_TRUE(refused(stream("../toc.dat", "0", "[[1,1,1]]")));
  EXPECT_TRUE(refused(stream("..", "0", "[[1,1,1]]")));
  EXPECT_TRUE(refused(stream("", "0", "[[1,1,1]]")));
  EXPECT_TRUE(refused(stream("toc.dat", "2", "[[1,1,1]]")));
  EXPECT_TRUE(refused(stream("toc.dat", "0", "[[0,1,1]]")));
  EXPECT_TRUE(refused(stream("toc.dat", "0", "[[1,1,0]]")));
  EXPECT_TRUE(refused(stream("toc.dat", "0", "[[1,1]]")));
  EXPECT_TRUE(refused(stream("toc.dat", "0", "[[1,4294967295,1]]")));
  EXPECT_TRUE(refused(R"({"streams": [{"unit": 0, "continued": true, "runs": []}]})"));
  EXPECT_TRUE(refused(R"({"tables": [{"database": "a", "schema": "b", "name": "c", "kind": "rr"}]})"));
  EXPECT_TRUE(refused(R"({"tables": [{"database": "a", "schema": "b", "name": "c", "kind": "r", "unit": 9}]})"));
  EXPECT_TRUE(refused("[]"));
  EXPECT_TRUE(refused("{"));
}

}  // namespace
}  // namespace pgark
