// The directories of a restore: what may be used, what is replaced, tablespaces and links.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/file.h"
#include "ops/restore.h"
#include "testing/restore_fixture.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::testing::AllOf;
using ::testing::HasSubstr;

class RestorePlaces : public RestoreFixture {};

TEST_F(RestorePlaces, RefusesDirectoryThatIsNotEmpty) {
  make_minimal();
  fs::create_directory(root());
  ASSERT_OK(write_file_durable(root() + "/precious", "x"));
  EXPECT_THAT(failure(request(), Errc::kInvalid),
              AllOf(HasSubstr("is not empty: it holds 'precious'"), HasSubstr("--force")));
  RestoreRequest asked = request();
  asked.force = true;
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("--force overwrites only a PostgreSQL data directory"));
  EXPECT_EQ(content("precious"), "x");
}

TEST_F(RestorePlaces, ForceReplacesCluster) {
  make_minimal();
  fs::create_directories(root() + "/base/99");
  ASSERT_OK(write_file_durable(root() + "/PG_VERSION", "14\n"));
  ASSERT_OK(write_file_durable(root() + "/base/99/1", "old"));
  RestoreRequest asked = request();
  asked.force = true;
  ASSERT_OK(restore(asked));
  EXPECT_FALSE(exists("base/99"));
  EXPECT_EQ(content("PG_VERSION"), "15\n");
}

TEST_F(RestorePlaces, NeverTouchesRunningServer) {
  make_minimal();
  fs::create_directory(root());
  ASSERT_OK(write_file_durable(root() + "/PG_VERSION", "15\n"));
  // Our own process stands for the postmaster.
  ASSERT_OK(write_file_durable(root() + "/postmaster.pid", std::to_string(::getpid()) + "\n" + root() + "\n"));
  RestoreRequest asked = request();
  asked.force = true;
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("a PostgreSQL server is running"));
  EXPECT_EQ(content("PG_VERSION"), "15\n");
}

class RestoreTablespaces : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    old_space_ = scratch_ / "old_space";
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    backup.directory("pg_tblspc");
    backup.link("pg_tblspc/16500", old_space_);
    backup.directory("pg_tblspc/16500");
    backup.directory("pg_tblspc/16500/PG_15_202209061");
    backup.directory("pg_tblspc/16500/PG_15_202209061/5");
    backup.file("pg_tblspc/16500/PG_15_202209061/5/1", "in tablespace");
    backup.meta.tablespaces = {{16500, "fast", old_space_}};
    backup.meta.tablespace_map = "16500 " + old_space_ + "\n";
    finish(backup);
  }
  std::string old_space_;
  const std::string file_ = "/PG_15_202209061/5/1";
};

TEST_F(RestoreTablespaces, GoBackToTheirPlace) {
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(request()));
  EXPECT_EQ(read_file(old_space_ + file_).value_or(""), "in tablespace");
  EXPECT_EQ(fs::read_symlink(root() + "/pg_tblspc/16500"), old_space_);
  EXPECT_EQ(content("tablespace_map"), "16500 " + old_space_ + "\n");
  ASSERT_EQ(report.links.size(), 1u);
  EXPECT_EQ(report.links[0].name, "fast");
}

TEST_F(RestoreTablespaces, MoveByNameByOidAndAllTogether) {
  for (const std::string key : {"fast", "16500", ""}) {
    fs::remove_all(root());
    RestoreRequest asked = request();
    const std::string place = scratch_ / ("new_" + key);
    if (key.empty())
      asked.tablespace_map_all = place;
    else
      asked.tablespace_map[key] = place;
    ASSERT_OK(restore(asked));
    const std::string target = key.empty() ? place + "/fast" : place;
    EXPECT_EQ(read_file(target + file_).value_or(""), "in tablespace");
    EXPECT_EQ(fs::read_symlink(root() + "/pg_tblspc/16500"), target);
    EXPECT_EQ(content("tablespace_map"), "16500 " + target + "\n");
    EXPECT_FALSE(fs::exists(old_space_)) << "the original place must not be touched";
  }
}

TEST_F(RestoreTablespaces, RefuseBadMaps) {
  RestoreRequest asked = request();
  asked.tablespace_map["slow"] = scratch_ / "x";
  EXPECT_THAT(failure(asked, Errc::kInvalid), AllOf(HasSubstr("tablespace 'slow'"), HasSubstr("fast (16500)")));
  asked.tablespace_map = {{"fast", "relative/path"}};
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("is not an absolute path"));
  asked.tablespace_map = {{"fast", root() + "/inside"}};
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("overlap"));
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(RestoreTablespaces, ForceSparesTablespaceOfAnotherCluster) {
  // The original cluster lives beside; its tablespace holds data. We restore a copy and forget to map.
  fs::create_directories(old_space_ + "/PG_15_202209061/5");
  ASSERT_OK(write_file_durable(old_space_ + file_, "live data"));
  EXPECT_THAT(failure(request(), Errc::kInvalid), AllOf(HasSubstr("tablespace fast"), HasSubstr("--tablespace-map")));
  fs::create_directories(root() + "/pg_tblspc");
  ASSERT_OK(write_file_durable(root() + "/PG_VERSION", "15\n"));
  RestoreRequest asked = request();
  asked.force = true;
  EXPECT_THAT(failure(asked, Errc::kInvalid),
              HasSubstr("removes only what the data directory being overwritten leads to"));
  EXPECT_EQ(read_file(old_space_ + file_).value_or(""), "live data");
  EXPECT_EQ(content("PG_VERSION"), "15\n");
  // Once the directory that is overwritten is the one that uses it, it is replaced; other versions' directories stay.
  fs::create_symlink(old_space_, root() + "/pg_tblspc/16500");
  fs::create_directories(old_space_ + "/PG_14_202107181");
  ASSERT_OK(restore(asked));
  EXPECT_EQ(read_file(old_space_ + file_).value_or(""), "in tablespace");
  EXPECT_TRUE(fs::exists(old_space_ + "/PG_14_202107181"));
}

class RestoreLinks : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    backup.link("log", scratch_ / "old_log");
    backup.directory("log");
    backup.file("log/postgresql.log", "hello");
    backup.link("postgresql.conf", scratch_ / "old_etc/postgresql.conf");
    backup.file("postgresql.conf", "port = 5433\n");
    backup.directory("pg_wal");
    backup.directory("pg_wal/archive_status");
    backup.link("nowhere", "/does/not/exist");
    backup.link("inside", backup.meta.data_directory + "/base");
    finish(backup);
  }
};

TEST_F(RestoreLinks, BecomePlainByDefault) {
  ASSERT_OK(restore(request()));
  EXPECT_FALSE(fs::is_symlink(root() + "/log"));
  EXPECT_EQ(content("log/postgresql.log"), "hello");
  EXPECT_FALSE(fs::is_symlink(root() + "/postgresql.conf"));
  EXPECT_EQ(content("postgresql.conf"), "port = 5433\n");
  EXPECT_FALSE(fs::exists(scratch_ / "old_log"));
  EXPECT_EQ(fs::read_symlink(root() + "/nowhere"), "/does/not/exist");
  EXPECT_EQ(fs::read_symlink(root() + "/inside"), root() + "/base") << "must not lead into the original cluster";
}

TEST_F(RestoreLinks, AreMadeAgainWithLinkAll) {
  RestoreRequest asked = request();
  asked.link_all = true;
  ASSERT_OK(restore(asked));
  EXPECT_EQ(fs::read_symlink(root() + "/log"), scratch_ / "old_log");
  EXPECT_EQ(read_file(scratch_ / "old_log/postgresql.log").value_or(""), "hello");
  EXPECT_EQ(fs::read_symlink(root() + "/postgresql.conf"), scratch_ / "old_etc/postgresql.conf");
  EXPECT_EQ(read_file(scratch_ / "old_etc/postgresql.conf").value_or(""), "port = 5433\n");
}

TEST_F(RestoreLinks, MoveWithLinkMap) {
  RestoreRequest asked = request();
  asked.link_map = {{"log", scratch_ / "new_log"}, {"pg_wal", scratch_ / "new_wal"}};
  ASSERT_OK(restore(asked));
  EXPECT_EQ(read_file(scratch_ / "new_log/postgresql.log").value_or(""), "hello");
  EXPECT_EQ(fs::read_symlink(root() + "/pg_wal"), scratch_ / "new_wal");
  EXPECT_TRUE(fs::exists(scratch_ / "new_wal/archive_status"));
  EXPECT_FALSE(fs::is_symlink(root() + "/postgresql.conf"));
}

TEST_F(RestoreLinks, RefuseTargetsInUse) {
  RestoreRequest asked = request();
  asked.link_all = true;
  fs::create_directories(scratch_ / "old_etc");
  ASSERT_OK(write_file_durable(scratch_ / "old_etc/postgresql.conf", "precious"));
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("which exists"));
  asked.link_all = false;
  asked.link_map = {{"log", scratch_ / "old_etc"}};
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("is not empty"));
  asked.link_map = {{"no_such", scratch_ / "x"}};
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("is no link or directory"));
  EXPECT_FALSE(fs::exists(root()));
  EXPECT_EQ(read_file(scratch_ / "old_etc/postgresql.conf").value_or(""), "precious");
}

}  // namespace
}  // namespace pgark
