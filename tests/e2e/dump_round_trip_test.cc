// Dumps of every version, with one of every kind of object, loaded into the same version and into higher ones: both
// sides are compared by their catalogs and their content, read without pg_dump.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "logical_scene.h"

namespace pgark::testing {
namespace {

using ::testing::IsEmpty;

// How a dump is made, and what a load of it needs.
struct Way {
  const char* name;
  std::vector<std::string> dump;
  std::vector<std::string> load;
};

const std::vector<Way>& ways() {
  static const std::vector<Way> all = {
      {"directory", {"--format=directory", "--jobs=2"}, {"--jobs=2"}},
      {"custom", {"--format=custom"}, {"--jobs=2"}},
      {"plain", {"--format=plain"}, {}},
      {"tar", {"--format=tar"}, {}},
      {"by_schema", {"--split=schema", "--jobs=2"}, {"--jobs=2"}},
      {"by_partition", {"--split=partition", "--jobs=2"}, {"--jobs=2"}},
  };
  return all;
}

Result<> dump_shop(const LogicalScene& scene, const Way& way) {
  std::vector<std::string> options{"--dbname=shop"};
  options.insert(options.end(), way.dump.begin(), way.dump.end());
  TRY(scene.dump(options));
  return {};
}

void expect_loaded(const Result<ProcessResult>& loaded) {
  ASSERT_OK(loaded);
  EXPECT_TRUE(loaded->ok()) << loaded->to_string();
}

// pg_dump writes the comment of a database into archives only.
std::vector<ExpectedDifference> lost_in(const Way& way) {
  if (std::string_view(way.name) != "plain") return {};
  return {{ExpectedDifference::What::kRewritten, "database", "it", "; comment=.*", "", "plain dumps have no comment"}};
}

// Into the same cluster under another name: the globals are there.
void expect_same_beside(const LogicalScene& scene, const Way& way) {
  SCOPED_TRACE(way.name);
  const std::string copy = fmt::format("by_{}", way.name);
  std::vector<std::string> options{"--create", "--db-map=shop:" + copy};
  options.insert(options.end(), way.load.begin(), way.load.end());
  expect_loaded(scene.load_into(*scene.server, options));
  ASSERT_OK_AND_ASSIGN(const std::string different,
                       different_databases(*scene.server, kShopDatabase, *scene.server, copy, {}, lost_in(way)));
  EXPECT_TRUE(different.empty()) << different;
}

// Clients of 11 and later write CREATE OPERATOR in words that a server of 10 does not know.
bool can_be_loaded_into(int major) {
  const auto client = client_major_for(major);
  return client && (major > 10 || *client == 10);
}

// Servers of several versions can share the directory of a tablespace, but not two of one.
void clear_tablespace(const PgServer& source, int major) {
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(source.scratch() / "shop_space")) {
    if (entry.path().filename().string().starts_with(fmt::format("PG_{}_", major))) left.push_back(entry.path());
  }
  for (const auto& path : left) ASSERT_OK(remove_tree(path));
}

// Into a new cluster, with roles and all that belongs to the cluster.
void expect_same_in(const LogicalScene& scene, const PgInstall& other, const Way& way) {
  SCOPED_TRACE(fmt::format("{} into {}", way.name, other.major));
  ASSERT_OK_AND_ASSIGN(const auto target, start_logical_server(other));
  if (other.major == scene.server->major()) {
    ASSERT_OK(create_shop_tablespace(*target));
  } else {
    clear_tablespace(*scene.server, other.major);
  }
  std::vector<std::string> options{"--globals", "--create"};
  options.insert(options.end(), way.load.begin(), way.load.end());
  expect_loaded(scene.load_into(*target, options));
  ASSERT_OK_AND_ASSIGN(const std::string globals, different_globals(*scene.server, *target));
  EXPECT_TRUE(globals.empty()) << globals;
  ASSERT_OK_AND_ASSIGN(const std::string database,
                       different_databases(*scene.server, kShopDatabase, *target, kShopDatabase));
  EXPECT_TRUE(database.empty()) << database;
}

class DumpRoundTrip : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, DumpRoundTrip, ::testing::ValuesIn(dumped_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

// Each version once to the next one, and once to itself in another format than its neighbours.
TEST_P(DumpRoundTrip, KeepsEverything) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto scene, LogicalScene::create(install));
  ASSERT_OK_AND_ASSIGN(const LogicalFacts facts, read_database_facts(conninfo_of(*scene->server, kShopDatabase)));
  ASSERT_OK_AND_ASSIGN(std::vector<std::string> absent, kinds_without_facts(facts));
  // No provider of labels comes with PostgreSQL.
  std::erase(absent, "security label");
  if (GetParam() < 13) std::erase(absent, "dependency on an extension");
  EXPECT_THAT(absent, IsEmpty());
  const auto next = find_install(std::min(GetParam() + 1, kNewestDumpedMajor));
  const Way& directory = ways().front();
  ASSERT_OK(dump_shop(*scene, directory));
  expect_same_in(*scene, next ? *next : install, directory);
  if (!can_be_loaded_into(GetParam())) return;
  const Way& other = ways().at(1 + static_cast<size_t>(GetParam()) % (ways().size() - 1));
  ASSERT_OK(dump_shop(*scene, other));
  expect_same_beside(*scene, other);
}

TEST_P(DumpRoundTrip, KeepsEverythingInEachWay) {
  PGARK_REQUIRE_SLOW();
  if (!can_be_loaded_into(GetParam())) GTEST_SKIP() << "no client of " << GetParam();
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto scene, LogicalScene::create(install));
  for (const Way& way : ways()) {
    ASSERT_OK(dump_shop(*scene, way));
    expect_same_beside(*scene, way);
  }
}

TEST_P(DumpRoundTrip, KeepsEverythingInHigherVersions) {
  PGARK_REQUIRE_SLOW();
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const auto scene, LogicalScene::create(install));
  for (const Way& way : {ways().front(), ways().at(4), ways().at(5)}) {
    ASSERT_OK(dump_shop(*scene, way));
    for (const auto& other : installs()) {
      const bool higher = other.major >= install.major && other.major <= kNewestDumpedMajor;
      if (higher && can_be_loaded_into(other.major)) expect_same_in(*scene, other, way);
    }
  }
}

}  // namespace
}  // namespace pgark::testing
