// What a load finds in its way, with a server that answers from memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/load_plan.h"

namespace pgark {
namespace {

using pg::DumpSection;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LoadInspectorTest : public ::testing::Test {
 protected:
  LoadInspectorTest() {
    database_.step.database = "app";
    database_.facts = &facts_;
    LoadUnit& unit = database_.units.emplace_back();
    unit.unit = &unit_;
    unit.toc.emplace();
    server_.superuser = true;
    server_.roles = {"postgres"};
    server_.tablespaces = {"pg_default"};
  }
  void add(const char* desc, const char* tag, const char* owner, const char* definition = "") {
    pg::DumpTocEntry entry;
    entry.dump_id = static_cast<int32_t>(toc().entries.size()) + 1;
    entry.desc = desc;
    entry.tag = tag;
    entry.owner = owner;
    entry.definition = definition;
    entry.section = DumpSection::kPreData;
    toc().entries.push_back(std::move(entry));
    database_.units.front().chosen.pre.push_back(toc().entries.size() - 1);
  }
  pg::DumpToc& toc() { return *database_.units.front().toc; }
  std::vector<std::string> codes() {
    findings_.clear();
    const LoadChoice choice;
    EXPECT_TRUE(LoadInspector(request_, dump_, server_, nullptr, database_, findings_).inspect(choice));
    std::vector<std::string> codes;
    for (const LoadFinding& one : findings_) codes.push_back(one.code);
    return codes;
  }

  LoadRequest request_;
  Dump dump_;
  DumpDatabase facts_;
  DumpUnit unit_;
  LoadServerFacts server_;
  LoadDatabase database_;
  std::vector<LoadFinding> findings_;
};

TEST_F(LoadInspectorTest, MissesRolesOfOwnersAndPrivileges) {
  add("TABLE", "t", "app");
  add("ACL", "TABLE t", "app", "GRANT SELECT ON TABLE public.t TO reader;");
  EXPECT_THAT(codes(), ElementsAre("missing_role"));
  EXPECT_EQ(findings_.front().what, "roles app, reader are not on the server");
  request_.arguments = {"--no-owner"};
  EXPECT_THAT(codes(), ElementsAre("missing_role"));
  EXPECT_EQ(findings_.front().what, "role reader is not on the server");
  // Those that --globals is about to make are not missing, under their new names.
  request_.arguments = {};
  request_.globals = true;
  dump_.meta.roles.resize(2);
  dump_.meta.roles[0].name = "old";
  dump_.meta.roles[1].name = "reader";
  request_.role_map = {{"old", "app"}};
  EXPECT_THAT(codes(), IsEmpty());
}

TEST_F(LoadInspectorTest, MissesTablespaces) {
  add("TABLE", "t", "postgres");
  toc().entries.front().tablespace = "fast";
  EXPECT_THAT(codes(), ElementsAre("missing_tablespace"));
  request_.arguments = {"--no-tablespaces"};
  EXPECT_THAT(codes(), IsEmpty());
}

TEST_F(LoadInspectorTest, MissesExtensionsAndTellsOtherVersions) {
  add("EXTENSION", "postgis", "");
  facts_.extensions = {{"app", "postgis", "3.3.2"}};
  EXPECT_THAT(codes(), ElementsAre("missing_extension"));
  EXPECT_EQ(findings_.front().severity, DumpWarning::Severity::kError);
  server_.available_extensions["postgis"] = "3.4.0";
  EXPECT_THAT(codes(), ElementsAre("extension_version"));
  EXPECT_THAT(findings_.front().what, HasSubstr("was 3.3.2 when it was dumped, and will be 3.4.0"));
  server_.available_extensions["postgis"] = "3.3.2";
  EXPECT_THAT(codes(), IsEmpty());
}

TEST_F(LoadInspectorTest, DoesNotMakePublicAgain) {
  add("SCHEMA", "public", "postgres", "CREATE SCHEMA public;");
  add("SCHEMA", "other", "postgres", "CREATE SCHEMA other;");
  EXPECT_THAT(codes(), IsEmpty());
  EXPECT_THAT(database_.units.front().chosen.pre, ElementsAre(1U));
}

}  // namespace
}  // namespace pgark
