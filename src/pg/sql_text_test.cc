// Statements here are as pg_dump and pg_dumpall 10 to 19 write them, and as nobody would but a role's name allows.
#include "pg/sql_text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"

namespace pgark::pg {
namespace {

using ::testing::ElementsAre;

std::string sample(const std::string& name) {
  auto content = read_file(fmt::format("{}/src/pg/testdata/dump/{}", PGARK_SOURCE_DIR, name));
  EXPECT_TRUE(content.has_value()) << (content ? "" : content.error().to_string());
  return content.value_or(std::string());
}

const RoleMap kRoles = {{"a", "x"}, {"B c", "y"}, {"grant", "New \"role"}, {"cascade", "z"}};

std::string mapped(std::string_view sql) {
  auto result = map_roles(sql, kRoles);
  return result ? *std::move(result) : result.error().to_string();
}

TEST(SqlTokens, MakeUpTheText) {
  const std::string sql = "SELECT E'it\\'s', \"A\"\"b\", $q$ ; '$q$ -- end\n/* a /* b */ */ $1, U&'x', 1.5e3 <> x$y";
  const auto tokens = split_sql_tokens(sql).value();
  std::string together;
  for (const SqlToken& token : tokens) together += token.text;
  EXPECT_EQ(together, sql);
  const auto count = [&](SqlToken::Kind kind) {
    return std::count_if(tokens.begin(), tokens.end(), [&](const SqlToken& token) { return token.kind == kind; });
  };
  EXPECT_EQ(count(SqlToken::Kind::kString), 3);
  EXPECT_EQ(count(SqlToken::Kind::kQuotedIdentifier), 1);
  EXPECT_EQ(count(SqlToken::Kind::kComment), 2);
}

TEST(SqlTokens, NameTheLineOfWhatDoesNotEnd) {
  for (const char* sql : {"\n\n'abc", "\n\n\"abc", "\n\n/* /* */", "\n\n$a$ $b$", "\n\nE'\\'", "\n\nU&\"x"}) {
    const auto tokens = split_sql_tokens(sql);
    ASSERT_FALSE(tokens.has_value()) << sql;
    EXPECT_EQ(tokens.error().code(), Errc::kInvalid);
    EXPECT_NE(tokens.error().message().find("line 3"), std::string::npos) << tokens.error().message();
  }
}

TEST(SqlStatements, EndAtTheirSemicolonOnly) {
  const auto statements = split_sql_statements(
      "-- first\n\nCREATE TABLE t (a text DEFAULT ';');;\n"
      "CREATE FUNCTION f() RETURNS int AS $$ begin; end $$;"
      "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; SELECT 1);\n"
      "CREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT "
      "2; "
      "END;\n"
      "\\connect \"it's\"\nBEGIN;\nEND; SELECT 3");
  ASSERT_TRUE(statements.has_value()) << statements.error().to_string();
  EXPECT_THAT(*statements,
              ElementsAre("CREATE TABLE t (a text DEFAULT ';')", "CREATE FUNCTION f() RETURNS int AS $$ begin; end $$",
                          "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; SELECT 1)",
                          "CREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true "
                          "THEN 1 END; SELECT 2; END",
                          "\\connect \"it's\"", "BEGIN", "END", "SELECT 3"));
}

TEST(SqlStatements, KeepCopyWithItsData) {
  EXPECT_THAT(split_sql_statements("COPY t (a) FROM stdin;\n'\n;\n\\\\.\n\\.\n\n\nSELECT 1;\n").value(),
              ElementsAre("COPY t (a) FROM stdin;\n'\n;\n\\\\.\n\\.", "SELECT 1"));
  EXPECT_FALSE(split_sql_statements("COPY t (a) FROM stdin;\n1\n").has_value());
}

TEST(SqlStatements, OfARealScriptAreAll) {
  const auto statements = split_sql_statements(sample("15.15.plain"));
  ASSERT_TRUE(statements.has_value()) << statements.error().to_string();
  const auto begin_with = [&](std::string_view start) {
    return std::count_if(statements->begin(), statements->end(),
                         [&](const std::string& one) { return one.starts_with(start); });
  };
  EXPECT_EQ(begin_with("COPY "), 4);
  EXPECT_EQ(begin_with("CREATE FUNCTION "), 2);
  EXPECT_EQ(begin_with("\\restrict "), 3);
  EXPECT_EQ(begin_with("--"), 0);
}

TEST(SqlNames, AreQuotedIfTheyHaveToBe) {
  EXPECT_EQ(quote_identifier("orders_2"), "orders_2");
  EXPECT_EQ(quote_identifier("_x"), "_x");
  EXPECT_EQ(quote_identifier("Orders"), "\"Orders\"");
  EXPECT_EQ(quote_identifier("2x"), "\"2x\"");
  EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(quote_identifier("user"), "\"user\"");
  EXPECT_EQ(quote_identifier("between"), "\"between\"");
  EXPECT_EQ(quote_identifier("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
  EXPECT_EQ(quote_identifier(""), "\"\"");
  for (const char* name : {"orders", "A", "a\"b", "\"\"", "user"})
    EXPECT_EQ(identifier_name(quote_identifier(name)), name);
  EXPECT_EQ(identifier_name("OrDers"), "orders");
}

TEST(SqlLiterals, SurviveQuotesAndBackslashes) {
  EXPECT_EQ(quote_literal("it's"), "'it''s'");
  EXPECT_EQ(quote_literal("a\\b'"), "E'a\\\\b'''");
  EXPECT_EQ(quote_literal(""), "''");
}

struct Case {
  const char* before;
  const char* after;
};

class RoleNames : public ::testing::TestWithParam<Case> {};

TEST_P(RoleNames, AreRenamedWhereTheyStand) { EXPECT_EQ(mapped(GetParam().before), GetParam().after); }

INSTANTIATE_TEST_SUITE_P(
    Privileges, RoleNames,
    ::testing::Values(
        Case{"GRANT SELECT ON TABLE a.a TO a;", "GRANT SELECT ON TABLE a.a TO x;"},
        Case{"GRANT SELECT(a),UPDATE(b) ON TABLE a TO \"B c\", PUBLIC, A WITH GRANT OPTION;",
             "GRANT SELECT(a),UPDATE(b) ON TABLE a TO y, PUBLIC, x WITH GRANT OPTION;"},
        Case{"GRANT ALL ON FUNCTION a.a(a a, timestamp with time zone) TO GROUP a;",
             "GRANT ALL ON FUNCTION a.a(a a, timestamp with time zone) TO GROUP x;"},
        Case{"REVOKE GRANT OPTION FOR ALL ON SCHEMA a FROM a CASCADE;",
             "REVOKE GRANT OPTION FOR ALL ON SCHEMA a FROM x CASCADE;"},
        Case{"REVOKE ALL ON SCHEMA a FROM cascade CASCADE;", "REVOKE ALL ON SCHEMA a FROM z CASCADE;"},
        Case{"GRANT ALL ON PARAMETER a.a TO a GRANTED BY \"B c\";", "GRANT ALL ON PARAMETER a.a TO x GRANTED BY y;"},
        Case{"GRANT a TO \"B c\" GRANTED BY \"grant\";", "GRANT x TO y GRANTED BY \"New \"\"role\";"},
        Case{"GRANT a, \"B c\" TO \"grant\" WITH ADMIN OPTION, INHERIT FALSE, SET FALSE GRANTED BY a;",
             "GRANT x, y TO \"New \"\"role\" WITH ADMIN OPTION, INHERIT FALSE, SET FALSE GRANTED BY x;"},
        Case{"REVOKE ADMIN OPTION FOR a FROM \"B c\" GRANTED BY a;", "REVOKE ADMIN OPTION FOR x FROM y GRANTED BY x;"},
        Case{"GRANT ALL ON LARGE OBJECT 1 TO a;", "GRANT ALL ON LARGE OBJECT 1 TO x;"},
        Case{"SET SESSION AUTHORIZATION a;\nGRANT SELECT ON TABLE s.t TO \"B c\";\nRESET SESSION AUTHORIZATION;\n",
             "SET SESSION AUTHORIZATION x;\nGRANT SELECT ON TABLE s.t TO y;\nRESET SESSION AUTHORIZATION;\n"},
        Case{
            "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA a, b GRANT SELECT ON TABLES TO a, PUBLIC WITH GRANT OPTION;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE x IN SCHEMA a, b GRANT SELECT ON TABLES TO x, PUBLIC WITH GRANT "
            "OPTION;"},
        Case{"ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON FUNCTIONS FROM PUBLIC;",
             "ALTER DEFAULT PRIVILEGES FOR ROLE x REVOKE ALL ON FUNCTIONS FROM PUBLIC;"}));

INSTANTIATE_TEST_SUITE_P(
    Owners, RoleNames,
    ::testing::Values(Case{"ALTER TABLE a OWNER TO a;", "ALTER TABLE a OWNER TO x;"},
                      Case{"ALTER TABLE ONLY a.\"B c\" OWNER TO \"B c\";", "ALTER TABLE ONLY a.\"B c\" OWNER TO y;"},
                      Case{"ALTER FUNCTION a.f(owner a) OWNER TO a;", "ALTER FUNCTION a.f(owner a) OWNER TO x;"},
                      Case{"ALTER LARGE OBJECT 16400 OWNER TO a;", "ALTER LARGE OBJECT 16400 OWNER TO x;"},
                      Case{"ALTER DATABASE a OWNER TO a;", "ALTER DATABASE a OWNER TO x;"},
                      Case{"ALTER TABLE rename OWNER TO a;", "ALTER TABLE rename OWNER TO x;"},
                      Case{"ALTER TABLE a RENAME owner TO a;", "ALTER TABLE a RENAME owner TO a;"},
                      Case{"ALTER TABLE a RENAME COLUMN owner TO a;", "ALTER TABLE a RENAME COLUMN owner TO a;"},
                      Case{"CREATE TABLESPACE a OWNER a LOCATION '/a';", "CREATE TABLESPACE a OWNER x LOCATION '/a';"},
                      Case{"CREATE DATABASE a WITH OWNER = a ENCODING = 'UTF8';",
                           "CREATE DATABASE a WITH OWNER = x ENCODING = 'UTF8';"},
                      Case{"CREATE SCHEMA a AUTHORIZATION a;", "CREATE SCHEMA a AUTHORIZATION x;"},
                      Case{"SET SESSION AUTHORIZATION 'B c';", "SET SESSION AUTHORIZATION 'y';"},
                      Case{"SET SESSION AUTHORIZATION DEFAULT;", "SET SESSION AUTHORIZATION DEFAULT;"},
                      Case{"SET ROLE a;", "SET ROLE x;"}, Case{"SET row_security = off;", "SET row_security = off;"}));

INSTANTIATE_TEST_SUITE_P(
    Roles, RoleNames,
    ::testing::Values(
        Case{"CREATE ROLE a;", "CREATE ROLE x;"},
        Case{"CREATE ROLE b IN ROLE a, \"B c\" ADMIN a;", "CREATE ROLE b IN ROLE x, y ADMIN x;"},
        Case{"ALTER ROLE \"grant\" WITH NOSUPERUSER LOGIN PASSWORD 'a' VALID UNTIL 'a';",
             "ALTER ROLE \"New \"\"role\" WITH NOSUPERUSER LOGIN PASSWORD 'a' VALID UNTIL 'a';"},
        Case{"ALTER ROLE a SET search_path TO 'a', 'B c';", "ALTER ROLE x SET search_path TO 'a', 'B c';"},
        Case{"ALTER ROLE a IN DATABASE a SET work_mem TO '5MB';", "ALTER ROLE x IN DATABASE a SET work_mem TO '5MB';"},
        Case{"ALTER ROLE ALL SET work_mem TO '5MB';", "ALTER ROLE ALL SET work_mem TO '5MB';"},
        Case{"COMMENT ON ROLE a IS 'a';", "COMMENT ON ROLE x IS 'a';"},
        Case{"COMMENT ON TABLE a IS 'a';", "COMMENT ON TABLE a IS 'a';"},
        Case{"SECURITY LABEL FOR a ON ROLE a IS 'a';", "SECURITY LABEL FOR a ON ROLE x IS 'a';"},
        Case{"SECURITY LABEL FOR a ON TABLE a IS 'a';", "SECURITY LABEL FOR a ON TABLE a IS 'a';"},
        Case{"DROP ROLE IF EXISTS a, \"B c\";", "DROP ROLE IF EXISTS x, y;"},
        Case{"CREATE USER MAPPING FOR a SERVER a OPTIONS (\n    password 'a'\n);",
             "CREATE USER MAPPING FOR x SERVER a OPTIONS (\n    password 'a'\n);"},
        Case{"CREATE USER MAPPING FOR public SERVER a;", "CREATE USER MAPPING FOR public SERVER a;"},
        Case{"DROP USER MAPPING IF EXISTS FOR a SERVER a;", "DROP USER MAPPING IF EXISTS FOR x SERVER a;"},
        Case{"ALTER USER MAPPING FOR a SERVER a OPTIONS (SET a 'a');",
             "ALTER USER MAPPING FOR x SERVER a OPTIONS (SET a 'a');"}));

INSTANTIATE_TEST_SUITE_P(
    Policies, RoleNames,
    ::testing::Values(
        Case{"CREATE POLICY a ON a.a AS RESTRICTIVE FOR SELECT TO a, \"B c\" USING ((a = 'a'::text)) WITH CHECK (a);",
             "CREATE POLICY a ON a.a AS RESTRICTIVE FOR SELECT TO x, y USING ((a = 'a'::text)) WITH CHECK (a);"},
        Case{"CREATE POLICY a ON a USING ((a IN (SELECT a FROM a)));",
             "CREATE POLICY a ON a USING ((a IN (SELECT a FROM a)));"},
        Case{"CREATE POLICY a ON a.to TO a;", "CREATE POLICY a ON a.to TO x;"}));

INSTANTIATE_TEST_SUITE_P(
    Others, RoleNames,
    ::testing::Values(Case{"CREATE TABLE a (a a);", "CREATE TABLE a (a a);"},
                      Case{"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'GRANT a TO \"B c\";';",
                           "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'GRANT a TO \"B c\";';"},
                      Case{"-- Owner: a; GRANT a TO a\n\\connect a\nGRANT a TO b;",
                           "-- Owner: a; GRANT a TO a\n\\connect a\nGRANT x TO b;"},
                      Case{"COPY a (a) FROM stdin;\nGRANT a TO a;\n\\.\nGRANT a TO b;",
                           "COPY a (a) FROM stdin;\nGRANT a TO a;\n\\.\nGRANT x TO b;"},
                      Case{"", ""}));

TEST(RoleNames, OfARealScriptAreAllRenamedAndNothingElse) {
  const std::string before = sample("15.15.plain");
  auto names = named_roles(before).value();
  std::sort(names.begin(), names.end());
  EXPECT_THAT(names, ElementsAre("Toc Reader", "postgres", "toc_owner"));
  const std::string after = map_roles(before, {{"toc_owner", "Neu"}, {"Toc Reader", "reader"}}).value();
  auto renamed = named_roles(after).value();
  std::sort(renamed.begin(), renamed.end());
  EXPECT_THAT(renamed, ElementsAre("Neu", "postgres", "reader"));
  // Comments and strings of the script name it still.
  EXPECT_NE(after.find("'orders; of toc_owner'"), std::string::npos);
  EXPECT_NE(after.find("(note <> 'toc_owner'::text)"), std::string::npos);
  EXPECT_EQ(map_roles(after, {{"Neu", "toc_owner"}, {"reader", "Toc Reader"}}).value(), before);
}

}  // namespace
}  // namespace pgark::pg
