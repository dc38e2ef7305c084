// Dumps in repositories of every format version stay readable, and a damaged twin of one is refused with an error that
// names the dump and the object.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "catalog/dump.h"
#include "catalog/hold.h"
#include "core/file.h"
#include "ops/dump_store.h"
#include "repo/keyring.h"
#include "store/memory_store.h"
#include "store/posix_store.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kLabel = "20261122-101500L";
const std::string kLatin1 =
    "Stra\xdf"
    "e";

/// A golden repository in memory, where a test may damage it. The parameter is its directory.
class GoldenDump : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto golden = PosixStore::open(directory_ + "/repo");
    ASSERT_TRUE(golden.has_value()) << golden.error().to_string();
    const auto objects = (*golden)->list_all("");
    ASSERT_TRUE(objects.has_value());
    for (const ObjectInfo& info : *objects) {
      const auto content = (*golden)->get(info.key);
      ASSERT_TRUE(content.has_value() && store_.put(info.key, *content).has_value()) << info.key.value;
    }
    KeyConfig keys;
    if (auto passphrase = read_file(directory_ + "/passphrase"); passphrase.has_value()) {
      keys.sealed = true;
      keys.passphrase = NamedSecret{"repo1-cipher-pass-file", Secret::from_text(std::move(*passphrase))};
    }
    auto opened = Repository::open(store_, keys);
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    repository_ = std::move(*opened);
  }

  /// Every stream as expected.txt says it is; the first error.
  Result<> read_all() {
    TRY_ASSIGN(const Dump dump, read_dump(*repository_, "main", kLabel));
    const DumpReader reader({repository_.get()}, "main", kLabel);
    const CancelToken cancel;
    std::ifstream expected(directory_ + "/expected.txt");
    std::map<size_t, size_t> next;
    size_t unit = 0;
    uint64_t bytes = 0;
    std::string hash;
    std::string name;
    while (expected >> unit >> bytes >> hash >> name) {
      const DumpStream& stream = dump.meta.units.at(unit).streams.at(next[unit]++);
      EXPECT_EQ(stream.name, name);
      EXPECT_EQ(stream.hash, hash);
      TRY_ASSIGN(const std::string text, reader.read_whole(stream, cancel, 1u << 30));
      EXPECT_EQ(text.size(), bytes);
      EXPECT_EQ(to_hex(seeded_tag(as_bytes(text), 0)), hash);
    }
    EXPECT_EQ(next[0] + next[1] + next[2], 6u);
    return {};
  }
  void replace(const ObjectKey& key, Bytes content) {
    ASSERT_TRUE(store_.remove(key).value());
    ASSERT_TRUE(store_.put(key, content).has_value());
  }
  void expect_refused(const ObjectKey& damaged) {
    const auto read = read_all();
    ASSERT_FALSE(read.has_value());
    EXPECT_TRUE(read.error().code() == Errc::kCorrupt || read.error().code() == Errc::kUnsupported);
    EXPECT_THAT(read.error().message(), HasSubstr(kLabel));
    EXPECT_THAT(read.error().message(), HasSubstr(damaged.value));
  }

  const std::string directory_ = std::string(PGARK_SOURCE_DIR "/tests/golden/") + GetParam();
  MemoryStore store_;
  std::unique_ptr<Repository> repository_;
};
INSTANTIATE_TEST_SUITE_P(Each, GoldenDump, ::testing::Values("format-1-dump", "format-2-dump"),
                         [](const auto& param) { return param.param[7] == '1' ? "Plain" : "Sealed"; });

TEST_P(GoldenDump, GivesBackEveryStream) {
  const auto read = read_all();
  EXPECT_TRUE(read.has_value()) << read.error().to_string();
}

TEST_P(GoldenDump, GivesBackItsDocument) {
  EXPECT_THAT(list_dump_labels(*repository_, "main").value(), ElementsAre(kLabel));
  const auto dump = read_dump(*repository_, "main", kLabel);
  ASSERT_TRUE(dump.has_value()) << dump.error().to_string();
  const DumpMeta& meta = dump->meta;
  EXPECT_EQ(meta.series, "name golden");
  EXPECT_EQ(meta.system_identifier, 7512345678901234567u);
  EXPECT_EQ(meta.pg_version_num, 150020u);
  EXPECT_EQ(meta.started, Timestamp(std::chrono::seconds(1795342500)));
  EXPECT_THAT(meta.selection, ElementsAre("--schema=" + kLatin1));
  ASSERT_EQ(meta.databases.size(), 1u);
  const DumpDatabase& database = meta.databases[0];
  EXPECT_EQ(database.bytes, uint64_t{5} << 40);
  EXPECT_EQ(database.row_count, 5'000'000'000u);
  EXPECT_EQ(database.settings[1], std::pair(kLatin1, std::string("search_path=a, b")));
  EXPECT_EQ(database.collation_versions.at("public.de"), "153.14");
  EXPECT_EQ(database.extensions[0].version, "1.8");
  EXPECT_EQ(meta.roles[1].name, kLatin1);
  EXPECT_THAT(meta.roles[1].member_of, ElementsAre("owner"));
  ASSERT_EQ(meta.units.size(), 3u);
  EXPECT_EQ(meta.units[0].kind, DumpUnit::Kind::kGlobals);
  EXPECT_EQ(meta.units[1].name, kLatin1);
  EXPECT_EQ(meta.units[2].format, DumpFormat::kCustom);
  EXPECT_THAT(meta.units[2].arguments, ElementsAre("--format=custom", "--no-owner"));
  EXPECT_GT(meta.pack_count, 1u);
  ASSERT_EQ(dump->tables.size(), 2u);
  EXPECT_EQ(dump->tables[0].partition_key, "RANGE (day)");
  EXPECT_FALSE(dump->tables[0].rows.has_value());
  EXPECT_EQ(dump->tables[1].name, kLatin1);
  EXPECT_EQ(dump->tables[1].rows, 90'000u);
  EXPECT_EQ(dump->tables[1].bound, "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')");
  EXPECT_EQ(dump->tables[1].stream, "3456.dat");
}

TEST_P(GoldenDump, GivesBackWhatWasSaidOfIt) {
  const Hold hold = read_dump_holds(*repository_, "main").value().at(kLabel);
  EXPECT_EQ(hold.reason, "golden");
  EXPECT_EQ(hold.until, Timestamp::max());
  const DumpVerdict verdict = read_dump_verdicts(*repository_, "main").value().at(kLabel);
  EXPECT_FALSE(verdict.ok);
  EXPECT_THAT(verdict.findings, ElementsAre("app: 1 row too few"));
  EXPECT_EQ(verdict.checks, 3u);
}

TEST_P(GoldenDump, ABitFlippedAnywhereInAPackNamesDumpAndPack) {
  const ObjectKey key = dump_pack_key("main", kLabel, 1);
  const Buffer whole = *store_.get(key);
  // Behind the header, which no reader of frames needs, and the key frame, which a plain repository does not.
  for (size_t at = 64 + 56; at < whole.size(); at += whole.size() / 40) {
    SCOPED_TRACE(at);
    Buffer twin;
    twin.append(whole);
    twin.data()[at] ^= std::byte{4};
    replace(key, twin);
    expect_refused(key);
  }
}

TEST_P(GoldenDump, ABitFlippedAnywhereInTheManifestNamesTheDump) {
  const ObjectKey key = dump_manifest_key("main", kLabel);
  const Buffer whole = *store_.get(key);
  for (size_t at = 0; at < whole.size(); at += 37) {
    SCOPED_TRACE(at);
    Buffer twin;
    twin.append(whole);
    twin.data()[at] ^= std::byte{4};
    replace(key, twin);
    expect_refused(key);
  }
}

TEST_P(GoldenDump, MissingTruncatedAndSwappedPacksAreNamed) {
  const ObjectKey first = dump_pack_key("main", kLabel, 1);
  const ObjectKey second = dump_pack_key("main", kLabel, 2);
  const Buffer whole = *store_.get(first);
  const Buffer other = *store_.get(second);
  replace(first, Bytes(whole).first(whole.size() / 2));
  expect_refused(first);
  replace(first, other);
  expect_refused(first);
  ASSERT_TRUE(store_.remove(first).value());
  const auto read = read_all();
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().message(), HasSubstr(first.value));
}

}  // namespace
}  // namespace pgark
