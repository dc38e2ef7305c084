#include "pg/version.h"

#include <gtest/gtest.h>

#include <set>

namespace pgark::pg {
namespace {

TEST(PgVersion, ParsesPgVersionFiles) {
  EXPECT_EQ(parse_pg_version("15\n").value().value, 15u);
  EXPECT_EQ(parse_pg_version("10").value().value, 10u);
  EXPECT_EQ(parse_pg_version("18\r\n").value().value, 18u);
}

TEST(PgVersion, NamesVersionsItDoesNotSupport) {
  for (const char* text : {"9.6\n", "9\n", "8.4", "20\n", "99"}) {
    const Error error = parse_pg_version(text).error();
    EXPECT_EQ(error.code(), Errc::kUnsupported) << text;
  }
  EXPECT_EQ(parse_pg_version("9.6\n").error().message(), "PostgreSQL 9.6 is not supported, only 10 to 19 are");
  for (const char* text : {"", "\n", "x", "15 ", "15.", "15.x", "-15", "15beta", "99999999999"})
    EXPECT_EQ(parse_pg_version(text).error().code(), Errc::kCorrupt) << text;
}

TEST(PgVersion, ReadsServerVersionNumbers) {
  EXPECT_EQ(major_of_version_num(150004).value().value, 15u);
  EXPECT_EQ(major_of_version_num(100023).value().value, 10u);
  EXPECT_EQ(major_of_version_num(90624).error().message(), "PostgreSQL 9.6 is not supported, only 10 to 19 are");
  EXPECT_EQ(major_of_version_num(200000).error().code(), Errc::kUnsupported);
}

TEST(PgVersion, KnowsWhenThingsChanged) {
  const auto facts = [](uint32_t major) { return *pg_version_facts(PgMajor{major}).value(); };
  EXPECT_FALSE(facts(14).backup_functions_renamed);
  EXPECT_TRUE(facts(15).backup_functions_renamed);
  EXPECT_TRUE(facts(11).recovery_conf);
  EXPECT_FALSE(facts(12).recovery_conf);
  EXPECT_FALSE(facts(16).wal_summaries);
  EXPECT_TRUE(facts(17).wal_summaries);
  EXPECT_EQ(facts(16).twophase_name_digits, 8u);
  EXPECT_EQ(facts(17).twophase_name_digits, 16u);
  EXPECT_FALSE(pg_version_facts(PgMajor{9}).has_value());
}

TEST(PgVersion, WalMagicTellsTheVersion) {
  std::set<uint16_t> seen;
  for (const PgVersionFacts& facts : pg_versions())
    for (const uint16_t magic : facts.wal_magics) {
      EXPECT_TRUE(seen.insert(magic).second) << magic;
      ASSERT_NE(pg_version_of_wal_magic(magic), nullptr);
      EXPECT_EQ(pg_version_of_wal_magic(magic)->major, facts.major);
    }
  EXPECT_EQ(pg_version_of_wal_magic(0xd093), nullptr);  // 9.6
  EXPECT_EQ(pg_version_of_wal_magic(0), nullptr);
}

}  // namespace
}  // namespace pgark::pg
