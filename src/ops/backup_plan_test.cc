// Tests of the walk: what is in the plan, what is not, and how links and tablespaces appear.
#include "ops/backup_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "testing/sample_cluster.h"

namespace pgark {
namespace {

using ::pgark::testing::SampleCluster;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// A million relations are some three million files: this much for each, and its name.
static_assert(sizeof(PlannedEntry) <= 40);

class BackupPlanTest : public ::testing::Test {
 protected:
  BackupPlan plan(const std::vector<std::string>& excluded = {}, unsigned workers = 1) {
    pg::ExclusionContext exclusions;
    exclusions.major = {15};
    exclusions.tablespace_directory = pg::tablespace_directory_name({15}, SampleCluster::kCatalog);
    const CancelToken cancel;
    auto made = plan_backup(cluster_.data(), exclusions, excluded, cancel, workers);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return std::move(*made);
  }

  /// "f path", "d path", "l path -> target", in the order of the plan.
  static std::vector<std::string> lines(const BackupPlan& plan) {
    std::vector<std::string> lines;
    for (const PlannedEntry& entry : plan.entries()) {
      const std::string path = plan.path(entry);
      if (entry.kind == EntryKind::kFile) lines.push_back("f " + path);
      if (entry.kind == EntryKind::kDirectory) lines.push_back("d " + path);
      if (entry.kind == EntryKind::kSymlink) lines.push_back("l " + path + " -> " + plan.link_target(entry));
    }
    return lines;
  }

  SampleCluster cluster_;
};

TEST_F(BackupPlanTest, HoldsWhatAClusterNeedsAndNothingElse) {
  cluster_.put("pg_wal/000000010000000000000001", "wal");
  cluster_.put("pg_wal/archive_status/000000010000000000000001.ready", "");
  cluster_.put("base/1/pg_internal.init.123", "cache");
  cluster_.put("base/1/16384", "main");
  cluster_.put("base/1/16384_init", "of an unlogged relation");
  cluster_.put("base/1/16384_fsm", "free space");
  cluster_.put("base/1/t3_16400", "temporary");
  cluster_.put("base/1/16500", "ordinary");
  cluster_.make_directory("base/pgsql_tmp");
  cluster_.put("base/pgsql_tmp/pgsql_tmp1.0", "sort");
  cluster_.put("my_file", "kept, though not PostgreSQL's");
  const auto found = lines(plan());
  EXPECT_THAT(found, ElementsAre("f PG_VERSION", "d base", "d base/1", "f base/1/16384_init", "f base/1/16500",
                                 "f base/1/PG_VERSION", "d global", "f global/pg_control", "f global/pg_filenode.map",
                                 "f my_file", "d pg_tblspc", "d pg_wal", "d pg_wal/archive_status", "d pg_xact",
                                 "f pg_xact/0000", "f postgresql.conf"));
}

TEST_F(BackupPlanTest, CountsFilesAndBytesAndKeepsOwnersAndModes) {
  cluster_.put("base/1/16500", std::string(10000, 'a'));
  ASSERT_EQ(::chmod(cluster_.at("base/1/16500").c_str(), 0640), 0);
  const BackupPlan made = plan();
  uint64_t files = 0;
  uint64_t bytes = 0;
  for (const PlannedEntry& entry : made.entries()) {
    if (entry.kind != EntryKind::kFile) continue;
    ++files;
    bytes += entry.bytes;
    EXPECT_GT(entry.modified_us, 1'700'000'000'000'000);
    if (made.path(entry) == "base/1/16500") {
      EXPECT_EQ(made.owner(entry).mode, 0640u);
    }
    EXPECT_FALSE(made.owner(entry).user.empty());
  }
  EXPECT_EQ(made.file_count(), files);
  EXPECT_EQ(made.bytes(), bytes);
}

TEST_F(BackupPlanTest, IsTheSameForLargeDirectoriesHoweverManyWorkersLook) {
  // More than are looked at together, and enough for several threads; among them what is no ordinary relation file.
  std::set<std::string> expected;
  for (int i = 0; i < 10'000; ++i) {
    const std::string path = "base/1/" + std::to_string(20'000 + i);
    cluster_.put(path, i % 3 == 0 ? "" : std::string(static_cast<size_t>(i % 7), 'r'));
    expected.insert("f " + path);
  }
  cluster_.put("base/1/20001_init", "of an unlogged relation");
  cluster_.put("base/1/t3_20002", "temporary");
  cluster_.put("base/1/pg_internal.init", "cache");
  cluster_.put("base/1/pgsql_tmp1.0", "sort");
  cluster_.put("base/1/20003.pgsql", "no relation's name, but kept");
  cluster_.link("base/1/30000", "nothing");
  expected.erase("f base/1/20001");
  expected.insert({"f base/1/20001_init", "f base/1/20003.pgsql", "l base/1/30000 -> nothing", "f base/1/PG_VERSION"});
  const BackupPlan alone = plan({}, 1);
  const auto found = lines(alone);
  std::set<std::string> in_directory;
  for (const std::string& line : found)
    if (line.find("base/1/") != std::string::npos) in_directory.insert(line);
  EXPECT_EQ(in_directory, expected);
  const BackupPlan together = plan({}, 4);
  EXPECT_EQ(lines(together), found);
  EXPECT_EQ(together.bytes(), alone.bytes());
  for (size_t i = 0; i < alone.entries().size(); ++i) {
    EXPECT_EQ(together.entries()[i].bytes, alone.entries()[i].bytes);
    EXPECT_EQ(together.entries()[i].modified_us, alone.entries()[i].modified_us);
  }
  // A path that the user leaves out may be a relation's.
  EXPECT_THAT(lines(plan({"base/1/20004"}, 4)), Not(Contains("f base/1/20004")));
}

TEST_F(BackupPlanTest, FollowsLinksThatLeadOutsideAndRecordsBoth) {
  ASSERT_TRUE(make_directories(cluster_.outside("wal")).has_value());
  ASSERT_TRUE(make_directories(cluster_.outside("wal/archive_status")).has_value());
  SampleCluster::put_absolute(cluster_.outside("wal/000000010000000000000001"), "wal");
  ASSERT_TRUE(::pgark::testing::remove_tree(cluster_.at("pg_wal")).has_value());
  cluster_.link("pg_wal", cluster_.outside("wal"));
  SampleCluster::put_absolute(cluster_.outside("local.conf"), "work_mem = 1\n");
  cluster_.link("local.conf", "../local.conf");
  ASSERT_TRUE(make_directories(cluster_.outside("db")).has_value());
  SampleCluster::put_absolute(cluster_.outside("db/16500"), "rows");
  cluster_.link("base/16390", cluster_.outside("db"));
  const auto found = lines(plan());
  EXPECT_THAT(found, ::testing::IsSupersetOf({"l pg_wal -> " + cluster_.outside("wal"), std::string("d pg_wal"),
                                              std::string("d pg_wal/archive_status"),
                                              std::string("l local.conf -> ../local.conf"), std::string("f local.conf"),
                                              "l base/16390 -> " + cluster_.outside("db"), std::string("d base/16390"),
                                              std::string("f base/16390/16500")}));
  EXPECT_THAT(found, Not(Contains("f pg_wal/000000010000000000000001")));
  const auto link = std::find(found.begin(), found.end(), "l local.conf -> ../local.conf");
  EXPECT_EQ(*(link + 1), "f local.conf") << "what is behind a link follows it";
}

TEST_F(BackupPlanTest, RecordsLinksWithoutContentWhereFollowingWouldBeWrong) {
  cluster_.link("inside.conf", "postgresql.conf");
  cluster_.link("nothing", "/nonexistent/file");
  cluster_.link("ancestor", "..");
  cluster_.link("loop", "loop");
  ASSERT_TRUE(make_directories(cluster_.outside("shared")).has_value());
  SampleCluster::put_absolute(cluster_.outside("shared/file"), "once");
  cluster_.link("shared1", cluster_.outside("shared"));
  cluster_.link("shared2", cluster_.outside("shared"));
  const BackupPlan made = plan();
  const auto found = lines(made);
  EXPECT_THAT(found, Contains("l inside.conf -> postgresql.conf"));
  EXPECT_THAT(found, Not(Contains("f inside.conf")));
  EXPECT_THAT(found, Contains("l nothing -> /nonexistent/file"));
  EXPECT_THAT(found, Contains("l ancestor -> .."));
  EXPECT_THAT(found, Not(Contains("d ancestor")));
  EXPECT_THAT(found, Contains("l loop -> loop"));
  EXPECT_THAT(found, Contains("f shared1/file"));
  EXPECT_THAT(found, Not(Contains("f shared2/file")));
  EXPECT_THAT(made.warnings(), SizeIs(4));  // nothing, ancestor, loop, shared2.
  EXPECT_THAT(made.warnings(), Contains(HasSubstr("/nonexistent/file")));
}

TEST_F(BackupPlanTest, TakesOfATablespaceOnlyWhatIsThisClusters) {
  const std::string own = "PG_15_" + std::to_string(SampleCluster::kCatalog);
  const std::string place = cluster_.outside("space");
  for (const std::string& path : {"/" + own + "/5", std::string("/PG_14_202107181/5")})
    ASSERT_TRUE(make_directories(place + path).has_value());
  SampleCluster::put_absolute(place + "/" + own + "/5/16500", "rows");
  SampleCluster::put_absolute(place + "/PG_14_202107181/5/16500", "another cluster's");
  cluster_.link("pg_tblspc/16400", place);
  cluster_.make_directory("pg_tblspc/16401/" + own + "/5");  // allow_in_place_tablespaces
  cluster_.put("pg_tblspc/16401/" + own + "/5/16501", "rows");
  const BackupPlan made = plan();
  const auto found = lines(made);
  EXPECT_THAT(found, Contains("l pg_tblspc/16400 -> " + place));
  EXPECT_THAT(found, Contains("d pg_tblspc/16400"));
  EXPECT_THAT(found, Contains("f pg_tblspc/16400/" + own + "/5/16500"));
  EXPECT_THAT(found, Not(Contains("d pg_tblspc/16400/PG_14_202107181")));
  EXPECT_THAT(found, Contains("f pg_tblspc/16401/" + own + "/5/16501"));
  ASSERT_EQ(made.tablespaces().size(), 2u);
  EXPECT_EQ(made.tablespaces()[0].oid, 16400u);
  EXPECT_EQ(made.tablespaces()[0].path, place);
  EXPECT_EQ(made.tablespaces()[1].path, "pg_tblspc/16401");
}

TEST_F(BackupPlanTest, TablespaceInsideTheDataDirectoryIsCopiedOnce) {
  const std::string own = "PG_15_" + std::to_string(SampleCluster::kCatalog);
  cluster_.make_directory("unwise/" + own + "/5");
  cluster_.put("unwise/" + own + "/5/16500", "rows");
  cluster_.link("pg_tblspc/16400", cluster_.at("unwise"));
  const auto found = lines(plan());
  EXPECT_THAT(found, Contains("f pg_tblspc/16400/" + own + "/5/16500"));
  EXPECT_THAT(found, Contains("d unwise"));
  EXPECT_THAT(found, Not(Contains("f unwise/" + own + "/5/16500")));
}

TEST_F(BackupPlanTest, LeavesOutWhatTheUserExcludes) {
  cluster_.make_directory("keep_me");
  cluster_.put("keep_me/cache", "x");
  cluster_.make_directory("drop_me");
  cluster_.put("drop_me/cache", "x");
  cluster_.put("core", "dump");
  const auto found = lines(plan({"keep_me/", "drop_me", "core"}));
  EXPECT_THAT(found, Contains("d keep_me"));
  EXPECT_THAT(found, Not(Contains("f keep_me/cache")));
  EXPECT_THAT(found, Not(Contains("d drop_me")));
  EXPECT_THAT(found, Not(Contains("f core")));
}

TEST_F(BackupPlanTest, SkipsWhatIsNoFileWithAWarning) {
  ASSERT_EQ(::mkfifo(cluster_.at("pipe").c_str(), 0600), 0);
  const BackupPlan made = plan();
  EXPECT_THAT(lines(made), Not(Contains(HasSubstr("pipe"))));
  EXPECT_THAT(made.warnings(), ElementsAre(HasSubstr("pipe")));
}

TEST_F(BackupPlanTest, StopsOnRequestAndNamesAMissingDirectory) {
  CancelToken cancel;
  cancel.cancel();
  pg::ExclusionContext exclusions;
  exclusions.major = {15};
  EXPECT_EQ(plan_backup(cluster_.data(), exclusions, {}, cancel).error().code(), Errc::kCancelled);
  const CancelToken other;
  const auto missing = plan_backup("/nonexistent", exclusions, {}, other);
  EXPECT_EQ(missing.error().code(), Errc::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace pgark
