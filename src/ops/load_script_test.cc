#include "ops/load_script.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "ops/load_psql.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string filtered(const std::string& script, ScriptNeeds needs, size_t piece = 1000000) {
  std::string out;
  ScriptFilter filter(needs, [&](Bytes data) -> Result<> {
    out += as_text(data);
    return {};
  });
  for (size_t at = 0; at < script.size(); at += piece)
    EXPECT_TRUE(filter.add(as_bytes(std::string_view(script).substr(at, piece))));
  EXPECT_TRUE(filter.finish());
  return out;
}

constexpr const char* kHead =
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET lock_timeout = 0;\n"
    "SET transaction_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n";
constexpr const char* kBody =
    "CREATE TABLE t (a text);\nCOPY t (a) FROM stdin;\nSET transaction_timeout = 0;\n"
    "\\\\restrict abc\n\\.\n";
constexpr const char* kTail = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

TEST(ScriptFilter, TakesOutOnlyWhatOldServersRefuseAndOnlyAtTheHead) {
  const std::string script = std::string(kHead) + kBody + kTail;
  EXPECT_EQ(filtered(script, {}), script);
  std::string expected = script;
  const std::string line = "SET transaction_timeout = 0;\n";
  expected.erase(expected.find(line), line.size());
  for (const size_t piece : {1UL, 7UL, 100000UL})
    EXPECT_EQ(filtered(script, {.drop_transaction_timeout = true, .drop_restrict = false}, piece), expected);
  EXPECT_THAT(expected, HasSubstr(line));  // The row that looks like it.
}

TEST(ScriptFilter, TakesOutRestrictAtBothEnds) {
  // Larger than what is held back, so that the end is told from the middle.
  std::string rows;
  for (int n = 0; n < 20000; ++n) rows += fmt::format("row {}\n", n);
  const std::string script = std::string(kHead) + kBody + rows + kTail;
  for (const size_t piece : {997UL, 100000UL}) {
    const std::string out = filtered(script, {.drop_transaction_timeout = false, .drop_restrict = true}, piece);
    EXPECT_EQ(out.size(), script.size() - std::string("\\restrict abc\n\\unrestrict abc\n").size());
    EXPECT_THAT(out, Not(HasSubstr("\\unrestrict")));
    EXPECT_THAT(out, HasSubstr("\\\\restrict abc\n\\.\n"));
  }
}

TEST(ScriptFilter, PassesScriptsThatAreShortOrStrange) {
  for (const char* script : {"", "\n", "SELECT 1", "-- only a comment", "SET transaction_timeout = 0"})
    EXPECT_EQ(filtered(script, {.drop_transaction_timeout = true, .drop_restrict = true}), script);
}

TEST(ScriptNeeds, FollowVersions) {
  PgClientSet client;
  client.major = 15;
  client.minor = 13;
  EXPECT_TRUE(script_needs(160004, client).drop_transaction_timeout);
  EXPECT_FALSE(script_needs(170000, client).drop_transaction_timeout);
  EXPECT_TRUE(script_needs(160004, client).drop_restrict);
  client.minor = 14;
  EXPECT_FALSE(script_needs(160004, client).drop_restrict);
  client.major = 12;
  client.minor = 22;
  EXPECT_TRUE(script_needs(160004, client).drop_restrict);
  client.major = 19;
  client.minor = 0;
  EXPECT_FALSE(script_needs(160004, client).drop_restrict);
}

TEST(DropsOfScript, EndBeforeTheFirstObjectIsMade) {
  const std::string drops =
      "--\n-- PostgreSQL database dump\n--\n\n\\restrict xyz\n\nSET row_security = off;\n\n"
      "DROP TABLE IF EXISTS a.b;\nDROP SCHEMA IF EXISTS a;";
  const std::string made = drops_of_script(drops +
                                           "\n--\n-- Name: a; Type: SCHEMA; Schema: -; Owner: x\n--\n\n"
                                           "CREATE SCHEMA a;\n\\unrestrict xyz\n");
  EXPECT_EQ(made, drops + "\n\\unrestrict xyz\n");
}

TEST(ProgramErrors, NameTheObjectOfAScript) {
  const std::string path = fmt::format("{}load-{}.sql", ::testing::TempDir(), ::getpid());
  std::ofstream(path)
      << "SET a = 1;\n\n--\n-- Name: odd; Type: x; Type: TABLE; Schema: s; Owner: o\n--\n\n"
         "CREATE TABLE s.\"odd; Type: x\" (\n);\n\n--\n-- Name: s; Type: SCHEMA; Schema: -; Owner: o\n--\n";
  EXPECT_THAT(program_errors("psql:" + path + ":8: ERROR:  exists\nERROR:  other\n"),
              ElementsAre("TABLE s.odd; Type: x: exists", "other"));
  EXPECT_EQ(object_in_script(path, 2), "");
  EXPECT_EQ(object_in_script(path, 12), "SCHEMA s");
  std::remove(path.c_str());
}

TEST(ProgramErrors, AreOneLineEachWithWhatBelongsToThem) {
  EXPECT_THAT(
      program_errors("psql:/tmp/x.sql:12: NOTICE:  schema \"a\" does not exist\n"
                     "psql:/tmp/x.sql:13: ERROR:  relation \"t\" does not exist\nLINE 1: SELECT secret\n"
                     "HINT:  look elsewhere\nCONTEXT:  here\nERROR:  second\n"
                     "psql: error: connection to server failed\n"),
      ElementsAre("relation \"t\" does not exist (look elsewhere) (here)", "second", "connection to server failed"));
  EXPECT_THAT(program_errors("pg_restore: warning: errors ignored on restore: 1\n"), ElementsAre());
  EXPECT_THAT(program_errors("psql: FATAL:  too many connections\n"), ElementsAre("FATAL:  too many connections"));
}

}  // namespace
}  // namespace pgark
