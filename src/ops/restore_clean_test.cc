// Delta restore of tablespaces and links, and what is removed on the way: places that are proven to be the cluster's
// are mended, all others are left alone.
#include "ops/restore_clean.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/file.h"
#include "ops/restore.h"
#include "testing/restore_fixture.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::testing::HasSubstr;

constexpr uint64_t kBlock = 8192;

class DeltaTablespaces : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    space_ = scratch_ / "space";
    Rng rng(8);
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    backup.directory("pg_tblspc");
    backup.link("pg_tblspc/16500", space_);
    backup.directory("pg_tblspc/16500");
    backup.directory("pg_tblspc/16500/PG_15_202209061");
    backup.directory("pg_tblspc/16500/PG_15_202209061/5");
    backup.file("pg_tblspc/16500/PG_15_202209061/5/1", noise(rng, 300000));
    backup.meta.tablespaces = {{16500, "fast", space_}};
    backup.meta.tablespace_map = "16500 " + space_ + "\n";
    backup.link("log", scratch_ / "log");
    backup.directory("log");
    backup.file("log/postgresql.log", "hello");
    backup.link("postgresql.conf", scratch_ / "etc/postgresql.conf");
    backup.file("postgresql.conf", "port = 5433\n");
    finish(backup);
    asked_ = request();
    asked_.link_all = true;
    ASSERT_OK(restore(asked_));
    asked_.delta = true;
    file_ = space_ + "/PG_15_202209061/5/1";
    right_ = read_file(file_).value_or("");
  }
  std::string space_;
  std::string file_;
  std::string right_;
  RestoreRequest asked_;
};

TEST_F(DeltaTablespaces, AreMendedInTheirPlaces) {
  {
    ASSERT_OK_AND_ASSIGN(const File file, File::open(file_, O_WRONLY));
    ASSERT_OK(file.pwrite(as_bytes("damage"), 100000));
  }
  ASSERT_OK(write_file_durable(space_ + "/PG_15_202209061/5/stray", "x"));
  fs::create_directories(space_ + "/PG_14_202107181/5");
  ASSERT_OK(write_file_durable(scratch_ / "log/stray", "x"));
  ASSERT_OK(write_file_durable(scratch_ / "etc/postgresql.conf", "port = 1\n# and more"));
  ASSERT_OK(write_file_durable(scratch_ / "etc/neighbour", "x"));
  const auto before = fs::read_symlink(root() + "/log");
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(asked_));
  ASSERT_TRUE(report.delta.has_value());
  EXPECT_EQ(read_file(file_).value_or(""), right_);
  EXPECT_FALSE(fs::exists(space_ + "/PG_15_202209061/5/stray"));
  EXPECT_TRUE(fs::exists(space_ + "/PG_14_202107181/5")) << "of a cluster of another version";
  EXPECT_FALSE(fs::exists(scratch_ / "log/stray"));
  EXPECT_EQ(read_file(scratch_ / "etc/postgresql.conf").value_or(""), "port = 5433\n");
  EXPECT_TRUE(fs::exists(scratch_ / "etc/neighbour"));
  EXPECT_EQ(fs::read_symlink(root() + "/log"), before);
  EXPECT_EQ(fs::read_symlink(root() + "/pg_tblspc/16500"), space_);
  EXPECT_LT(report.written_bytes, 3 * kBlock);
}

TEST_F(DeltaTablespaces, LinkThatLeadsElsewhereIsPutRightAndNotFollowed) {
  fs::remove(root() + "/log");
  fs::create_directories(scratch_ / "elsewhere");
  ASSERT_OK(write_file_durable(scratch_ / "elsewhere/postgresql.log", "precious"));
  fs::create_directory_symlink(scratch_ / "elsewhere", root() + "/log");
  // The right place holds files, and nothing proves that they are this cluster's.
  EXPECT_THAT(failure(asked_, Errc::kInvalid), HasSubstr("--delta removes only what the data directory"));
  fs::remove_all(scratch_ / "log");
  ASSERT_OK(restore(asked_));
  EXPECT_EQ(fs::read_symlink(root() + "/log"), scratch_ / "log");
  EXPECT_EQ(read_file(scratch_ / "log/postgresql.log").value_or(""), "hello");
  EXPECT_EQ(read_file(scratch_ / "elsewhere/postgresql.log").value_or(""), "precious");
}

TEST_F(DeltaTablespaces, LinksBecomePlainDirectoriesWhenAskedTo) {
  asked_.link_all = false;
  ASSERT_OK(restore(asked_));
  EXPECT_FALSE(fs::is_symlink(root() + "/log"));
  EXPECT_EQ(content("log/postgresql.log"), "hello");
  EXPECT_FALSE(fs::is_symlink(root() + "/postgresql.conf"));
  EXPECT_TRUE(fs::exists(scratch_ / "log/postgresql.log")) << "what the link led to is left alone";
  // And back again: the place holds what nothing proves to be ours any more.
  asked_.link_map = {{"log", scratch_ / "log2"}};
  ASSERT_OK(restore(asked_));
  EXPECT_EQ(read_file(scratch_ / "log2/postgresql.log").value_or(""), "hello");
}

TEST_F(DeltaTablespaces, MoveToAnotherPlace) {
  asked_.tablespace_map = {{"fast", scratch_ / "new_space"}};
  ASSERT_OK(restore(asked_));
  EXPECT_EQ(read_file(scratch_ / "new_space/PG_15_202209061/5/1").value_or(""), right_);
  EXPECT_EQ(fs::read_symlink(root() + "/pg_tblspc/16500"), scratch_ / "new_space");
  EXPECT_EQ(read_file(file_).value_or(""), right_) << "the old place is not touched";
}

TEST_F(DeltaTablespaces, VersionDirectoryThatIsALinkIsReplaced) {
  fs::rename(space_ + "/PG_15_202209061", scratch_ / "elsewhere");
  fs::create_directory_symlink(scratch_ / "elsewhere", space_ + "/PG_15_202209061");
  ASSERT_OK(write_file_durable(scratch_ / "elsewhere/precious", "x"));
  ASSERT_OK(restore(asked_));
  EXPECT_FALSE(fs::is_symlink(space_ + "/PG_15_202209061"));
  EXPECT_EQ(read_file(file_).value_or(""), right_);
  EXPECT_TRUE(fs::exists(scratch_ / "elsewhere/precious"));
}

TEST(RemoveTree, RemovesWhatHasNoPermissionsAndFollowsNoLink) {
  ASSERT_OK_AND_ASSIGN(const auto scratch, testing::ScratchDir::create("tree"));
  fs::create_directories(scratch / "a/b/c");
  ASSERT_OK(write_file_durable(scratch / "a/b/c/file", "x"));
  ASSERT_OK(write_file_durable(scratch / "outside", "x"));
  fs::create_symlink(scratch / "outside", scratch / "a/b/link");
  ASSERT_EQ(::chmod((scratch / "a/b").c_str(), 0), 0);
  EXPECT_EQ(remove_tree(scratch / "a").value_or(0), 5u);
  EXPECT_FALSE(fs::exists(scratch / "a"));
  EXPECT_TRUE(fs::exists(scratch / "outside"));
  EXPECT_EQ(remove_tree(scratch / "a").value_or(9), 0u);
}

}  // namespace
}  // namespace pgark
