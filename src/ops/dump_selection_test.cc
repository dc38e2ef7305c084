// Tests of reading pg_dump's options for what they choose.
#include "ops/dump_selection.h"

#include <gtest/gtest.h>

namespace pgark {
namespace {

DumpTable table(const std::string& schema, const std::string& name, const std::string& parent = "") {
  DumpTable one;
  one.schema = schema;
  one.name = name;
  one.parent = parent;
  return one;
}

bool takes(const std::vector<std::string>& arguments, const DumpTable& one, const std::vector<DumpTable>& all = {}) {
  return DumpSelection(arguments, {"public"}, all).includes(one);
}
bool takes_data(const std::vector<std::string>& arguments, const DumpTable& one,
                const std::vector<DumpTable>& all = {}) {
  return DumpSelection(arguments, {"public"}, all).includes_data(one);
}

TEST(DumpPattern, ReadsSignsQuotesAndDotsAsPgDumpDoes) {
  const std::vector<std::string> path = {"public"};
  const auto matches = [&](const char* pattern, const char* schema, const char* name) {
    return DumpPattern(pattern).matches(schema, name, path);
  };
  EXPECT_TRUE(matches("orders", "public", "orders"));
  EXPECT_FALSE(matches("orders", "other", "orders")) << "without a schema only in the search path";
  EXPECT_TRUE(matches("ORDERS", "public", "orders"));
  EXPECT_FALSE(matches("\"ORDERS\"", "public", "orders"));
  EXPECT_TRUE(matches("\"A \"\"b\"\" *\"", "public", "A \"b\" *"));
  EXPECT_TRUE(matches("s*.t?", "sales", "t1"));
  EXPECT_FALSE(matches("s*.t?", "sales", "t12"));
  EXPECT_TRUE(matches("app.(a|b)", "app", "b"));
  EXPECT_FALSE(matches("app.(a|b)", "app", "ab"));
  EXPECT_TRUE(matches("db.app.x$y", "app", "x$y"));
  EXPECT_TRUE(matches("app.[", "app", "anything")) << "what cannot be read leaves nothing out";
  EXPECT_TRUE(DumpPattern("tenant_*").matches_name("tenant_42"));
  EXPECT_FALSE(DumpPattern("tenant_?").matches_name("tenant_42"));
}

TEST(DumpSelection, SchemasAndTables) {
  EXPECT_TRUE(takes({}, table("a", "t")));
  EXPECT_TRUE(takes({"--schema=a*"}, table("a1", "t")));
  EXPECT_FALSE(takes({"-n", "a"}, table("b", "t")));
  EXPECT_FALSE(takes({"-nb", "--exclude-schema=b"}, table("b", "t")));
  EXPECT_TRUE(takes({"--table=b.t", "--exclude-schema=b"}, table("b", "t"))) << "named tables come anyway";
  EXPECT_FALSE(takes({"--table=b.t"}, table("b", "u")));
  EXPECT_FALSE(takes({"--exclude-table=b.*"}, table("b", "u")));
}

TEST(DumpSelection, ChildrenFollowTheirTables) {
  const std::vector<DumpTable> all = {table("s", "Top"), table("s", "mid", "s.\"Top\""), table("s", "leaf", "s.mid"),
                                      table("s", "else")};
  EXPECT_TRUE(takes({"--table-and-children=s.\"Top\""}, all[2], all));
  EXPECT_FALSE(takes({"--table-and-children=s.\"Top\""}, all[3], all));
  EXPECT_FALSE(takes({"--table=s.\"Top\""}, all[2], all));
  EXPECT_FALSE(takes({"--exclude-table-and-children=s.mid"}, all[2], all));
  EXPECT_TRUE(takes({"--exclude-table-data-and-children=s.mid"}, all[2], all));
  EXPECT_FALSE(takes_data({"--exclude-table-data-and-children=s.mid"}, all[2], all));
}

TEST(DumpSelection, DataAndDefinitions) {
  DumpTable unlogged = table("public", "u");
  unlogged.unlogged = true;
  EXPECT_TRUE(takes_data({}, unlogged));
  EXPECT_FALSE(takes_data({"--no-unlogged-table-data"}, unlogged));
  EXPECT_FALSE(takes_data({"--schema-only"}, table("public", "t")));
  EXPECT_FALSE(takes_data({"--section=pre-data"}, table("public", "t")));
  EXPECT_TRUE(takes_data({"--section=pre-data", "--section=data"}, table("public", "t")));
  EXPECT_FALSE(takes_data({"--exclude-table-data=t"}, table("public", "t")));
  EXPECT_TRUE(takes({"--exclude-table-data=t"}, table("public", "t")));
}

TEST(DumpSelection, LargeObjectsComeWithTheWhole) {
  const auto has = [](const std::vector<std::string>& arguments) {
    return DumpSelection(arguments, {}, {}).large_objects();
  };
  EXPECT_TRUE(has({}));
  EXPECT_TRUE(has({"--exclude-schema=x"}));
  EXPECT_FALSE(has({"--schema=x"}));
  EXPECT_TRUE(has({"--schema=x", "-b"}));
  EXPECT_FALSE(has({"--no-blobs"}));
  EXPECT_FALSE(has({"--schema-only"}));
}

}  // namespace
}  // namespace pgark
