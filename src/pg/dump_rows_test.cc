// What the counters count in real dumps is known from how those were made (testdata/dump); every way of cutting the
// bytes into pieces must give the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>

#include "core/file.h"
#include "pg/dump_toc.h"

namespace pgark::pg {
namespace {

std::string sample(const std::string& name) {
  auto content = read_file(fmt::format("{}/src/pg/testdata/dump/{}", PGARK_SOURCE_DIR, name));
  EXPECT_TRUE(content.has_value()) << (content ? "" : content.error().to_string());
  return content.value_or(std::string());
}

using Counts = std::map<std::string, uint64_t>;

Counts counts_of(const DumpRowCounter& counter) {
  Counts all;
  for (const auto& count : counter.counts()) all[count.of] = count.rows;
  return all;
}

using MakeCounter = std::unique_ptr<DumpRowCounter> (*)();

Counts count(MakeCounter make, std::string_view bytes, size_t piece = std::string_view::npos) {
  const auto counter = make();
  while (!bytes.empty()) {
    counter->add(as_bytes(bytes.substr(0, piece)));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  return counts_of(*counter);
}

Counts count_file(const std::string& text) { return count(count_directory_file_rows, text); }
Counts count_plain(const std::string& text) { return count(count_plain_rows, text); }

const Counts kShop = {{"\"shop\".\"orders\"", 5},
                      {"\"shop\".\"Odd \"\"name\"", 2},
                      {"\"public\".\"public_empty\"", 0},
                      {"\"shop\".\"p1\"", 1}};
const Counts kShopPlain = {
    {"shop.orders", 5}, {"shop.\"Odd \"\"name\"", 2}, {"public.public_empty", 0}, {"shop.p1", 1}};

TEST(DumpRows, OfCustomArchivesAreThoseOfTheTables) {
  EXPECT_EQ(count(count_custom_rows, sample("15.15.custom")), kShop);
  EXPECT_EQ(count(count_custom_rows, sample("19.19.custom")), kShop);
}

TEST(DumpRows, OfPlainScriptsAreThoseOfTheTables) { EXPECT_EQ(count_plain(sample("15.15.plain")), kShopPlain); }

TEST(DumpRows, AreTheSameHoweverTheBytesCome) {
  const std::string custom = sample("19.19.custom");
  const std::string plain = sample("15.15.plain");
  for (const size_t piece : {1u, 2u, 3u, 7u, 64u, 4095u}) {
    EXPECT_EQ(count(count_custom_rows, custom, piece), kShop) << piece;
    EXPECT_EQ(count(count_plain_rows, plain, piece), kShopPlain) << piece;
  }
  const char* given = std::getenv("SEED");
  const auto seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 50; ++round) {
    const auto by_id = count_custom_rows();
    const auto by_name = count_plain_rows();
    const auto feed = [&](DumpRowCounter& counter, std::string_view bytes) {
      while (!bytes.empty()) {
        const size_t piece = std::min<size_t>(1 + random() % 900, bytes.size());
        counter.add(as_bytes(bytes.substr(0, piece)));
        bytes.remove_prefix(piece);
      }
    };
    feed(*by_id, custom);
    feed(*by_name, plain);
    ASSERT_EQ(counts_of(*by_id), kShop);
    ASSERT_EQ(counts_of(*by_name), kShopPlain);
  }
}

TEST(DumpRows, KeepTheTableOfContentsThatPassed) {
  const std::string custom = sample("19.19.custom");
  const auto counter = count_custom_rows();
  counter->add(as_bytes(custom).first(100));
  EXPECT_EQ(counter->toc(), nullptr);
  counter->add(as_bytes(custom).subspan(100));
  ASSERT_NE(counter->toc(), nullptr);
  EXPECT_EQ(counter->toc()->database, "app");
  for (const auto& one : counter->counts()) EXPECT_GT(one.dump_id, 0);
}

TEST(DumpRows, OfInsertsAreNotKnown) {
  EXPECT_EQ(count_plain(sample("19.19.inserts.plain")), Counts{});
  EXPECT_EQ(
      count_file("INSERT INTO shop.orders VALUES (1, 'x');\nINSERT INTO shop.orders VALUES (2, '\n\\.\n');\n\n\n"),
      Counts{});
}

TEST(DumpRows, OfACompressedArchiveAreNotKnown) {
  std::string custom = sample("19.19.custom");
  custom[11] = 1;  // gzip
  EXPECT_EQ(count(count_custom_rows, custom), Counts{});
}

TEST(DumpRows, OfAFileEndWithTheLineThatEndsIt) {
  EXPECT_EQ(count_file("\\.\n\n\n"), (Counts{{"", 0}}));
  EXPECT_EQ(count_file("1\n\\\\.\n\n\\.x\n\\.\n\n\n"), (Counts{{"", 4}}));
  EXPECT_EQ(count_file("1\n2\n"), Counts{});  // Cut off.
  EXPECT_EQ(count_file(""), Counts{});
  EXPECT_EQ(count_file("1\n\\."), Counts{});
}

TEST(DumpRows, OfACutArchiveAreThoseOfWholeTables) {
  const std::string custom = sample("15.15.custom");
  for (size_t size = 0; size < custom.size(); size += 13) {
    for (const auto& [table, rows] : count(count_custom_rows, custom.substr(0, size))) {
      ASSERT_TRUE(kShop.contains(table));
      ASSERT_EQ(rows, kShop.at(table));
    }
  }
}

TEST(DumpRows, OfPlainScriptsSkipWhatOnlyLooksLikeCopy) {
  const std::string copy = "COPY public.t (a) FROM stdin;\n1\n\\.\n";
  EXPECT_EQ(count_plain(copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("SELECT 'x\n" + copy + "';"), Counts{});
  EXPECT_EQ(count_plain("SELECT E'it\\'s\n" + copy + "';"), Counts{});
  EXPECT_EQ(count_plain("SELECT E'a''\\'\n" + copy + "';"), Counts{});
  EXPECT_EQ(count_plain("SELECT 'a\\';\n" + copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("SET standard_conforming_strings = off;\nSELECT 'a\\'\n" + copy + "';"), Counts{});
  EXPECT_EQ(count_plain("CREATE FUNCTION f() AS $_$ $__$ $_ \n;" + copy + "$_$;\n" + copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("-- " + copy.substr(0, 30)), Counts{});
  EXPECT_EQ(count_plain("/* /* */ \n" + copy + "*/ " + copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("-- it's\n" + copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("\\restrict a'b\n" + copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("SELECT 5 - 3 / 2, a$b FROM x;" + copy), (Counts{{"public.t", 1}}));
  EXPECT_EQ(count_plain("COPY public.t TO stdout;\nCOPY public.t FROM '/x';\n"), Counts{});
  EXPECT_EQ(count_plain("COPY public.t (a) WITH OIDS FROM stdin;\n7\t1\n\\.\n"), (Counts{{"public.t", 1}}));
}

TEST(DumpRows, OfATableLoadedInPartsAreSummedUnlessDatabasesDiffer) {
  const std::string copy = "COPY \"a b\".\"c(\" (a) FROM stdin;\n1\n\\.\n";
  EXPECT_EQ(count_plain(copy + copy), (Counts{{"\"a b\".\"c(\"", 2}}));
  EXPECT_EQ(count_plain("\\connect one\n" + copy + "\\connect two\n" + copy), Counts{});
  EXPECT_EQ(count_plain("\\connect one\n" + copy + "\\connect two\n"), (Counts{{"\"a b\".\"c(\"", 1}}));
}

}  // namespace
}  // namespace pgark::pg
