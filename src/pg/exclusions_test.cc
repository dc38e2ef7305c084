#include "pg/exclusions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgark::pg {
namespace {

using ::testing::Contains;
using ::testing::Not;

Inclusion file(const char* path, uint32_t major = 15) { return classify_path({.major = {major}}, path, false); }
Inclusion directory(const char* path, uint32_t major = 15) { return classify_path({.major = {major}}, path, true); }

TEST(Exclusions, KeepWhatAClusterNeeds) {
  for (const char* path : {"PG_VERSION",
                           "global/pg_control",
                           "global/pg_filenode.map",
                           "base/5/2619",
                           "base/5/2619_fsm",
                           "base/5/16384_init",
                           "pg_xact/0000",
                           "pg_multixact/members/0000",
                           "pg_logical/replorigin_checkpoint",
                           "pg_twophase/000002DB",
                           "postgresql.conf",
                           "postgresql.auto.conf",
                           "pg_hba.conf",
                           "pg_tblspc/16400/PG_15_202209061/5/1",
                           "current_logfiles",
                           "pg_stat/pgstat.stat",
                           "my_notes.txt",
                           "t1_2",
                           "pg_xact/t1_2",
                           "notes_backup_label"})
    EXPECT_EQ(file(path), Inclusion::kInclude) << path;
  for (const char* path : {"base", "base/5", "global", "pg_tblspc", "pg_logical", "pg_logical/snapshots", "pg_stat"})
    EXPECT_EQ(directory(path), Inclusion::kInclude) << path;
}

TEST(Exclusions, DropFilesOfTheRunningServer) {
  for (const char* path : {"postmaster.pid",
                           "postmaster.opts",
                           "backup_label",
                           "tablespace_map",
                           "postgresql.auto.conf.tmp",
                           "current_logfiles.tmp",
                           "base/5/pg_internal.init",
                           "global/pg_internal.init.4711",
                           "base/pgsql_tmp/pgsql_tmp99.0",
                           "base/5/pgsql_tmp123",
                           ".DS_Store",
                           "base/5/.DS_Store",
                           "base/5/t3_16384",
                           "base/5/t3_16384_vm.1",
                           "pg_tblspc/16400/PG_15_202209061/5/t3_16384",
                           "backup_label.old",
                           "tablespace_map.old",
                           "recovery.signal",
                           "standby.signal",
                           "recovery.conf",
                           "recovery.done"})
    EXPECT_EQ(file(path), Inclusion::kExclude) << path;
  EXPECT_EQ(directory("base/pgsql_tmp"), Inclusion::kExclude);
  EXPECT_EQ(directory("pg_tblspc/16400/PG_15_202209061/pgsql_tmp"), Inclusion::kExclude);
}

TEST(Exclusions, EmptyDirectoriesTheServerRefills) {
  for (const char* path : {"pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp",
                           "pg_subtrans", "pg_wal", "log", "extra/pg_notify"})
    EXPECT_EQ(directory(path), Inclusion::kDirectoryOnly) << path;
  for (const char* path :
       {"pg_replslot/slot/state", "pg_subtrans/0000", "log/postgresql.log", "pg_stat_tmp/global.stat",
        "pg_wal/000000010000000000000001", "pg_wal/archive_status/000000010000000000000001.done"})
    EXPECT_EQ(file(path), Inclusion::kExclude) << path;
  EXPECT_EQ(directory("pg_replslot/slot"), Inclusion::kExclude);
  EXPECT_EQ(file("pg_replslot"), Inclusion::kInclude);  // No directory: not what the rule means.
}

TEST(Exclusions, PgWalKeepsItsOwnDirectories) {
  EXPECT_EQ(directory("pg_wal/archive_status"), Inclusion::kDirectoryOnly);
  EXPECT_EQ(directory("pg_wal/summaries", 17), Inclusion::kDirectoryOnly);
  EXPECT_EQ(directory("pg_wal/summaries", 16), Inclusion::kExclude);
  EXPECT_EQ(directory("pg_wal/other"), Inclusion::kExclude);
  EXPECT_EQ(file("pg_wal/archive_status"), Inclusion::kExclude);
}

TEST(Exclusions, FollowTheVersion) {
  EXPECT_EQ(file("backup_manifest", 12), Inclusion::kInclude);
  EXPECT_EQ(file("backup_manifest", 13), Inclusion::kExclude);
  EXPECT_EQ(classify_path({.major = {14}, .stats_temp_directory = "ram"}, "ram", true), Inclusion::kDirectoryOnly);
  EXPECT_EQ(classify_path({.major = {15}, .stats_temp_directory = "ram"}, "ram", true), Inclusion::kInclude);
}

TEST(Exclusions, FollowTheLogDirectory) {
  const ExclusionContext elsewhere{.major = {15}, .log_directory = "logs/pg/"};
  EXPECT_EQ(classify_path(elsewhere, "logs/pg", true), Inclusion::kDirectoryOnly);
  EXPECT_EQ(classify_path(elsewhere, "logs/pg/x.log", false), Inclusion::kExclude);
  EXPECT_EQ(classify_path(elsewhere, "log/x.log", false), Inclusion::kInclude);
  const ExclusionContext outside{.major = {15}, .log_directory = ""};
  EXPECT_EQ(classify_path(outside, "log", true), Inclusion::kInclude);
}

TEST(Exclusions, LeaveOutOtherClustersInATablespace) {
  const ExclusionContext context{.major = {15}, .tablespace_directory = tablespace_directory_name({15}, 202209061)};
  EXPECT_EQ(classify_path(context, "pg_tblspc/16400", true), Inclusion::kInclude);
  EXPECT_EQ(classify_path(context, "pg_tblspc/16400/PG_15_202209061", true), Inclusion::kInclude);
  EXPECT_EQ(classify_path(context, "pg_tblspc/16400/PG_15_202209061/5/1", false), Inclusion::kInclude);
  EXPECT_EQ(classify_path(context, "pg_tblspc/16400/PG_14_202107181", true), Inclusion::kExclude);
  EXPECT_EQ(classify_path(context, "pg_tblspc/16400/PG_14_202107181/5/1", false), Inclusion::kExclude);
  EXPECT_EQ(classify_path(context, "pg_tblspc/16400/lost+found", true), Inclusion::kExclude);
}

TEST(Exclusions, EveryEmptiedDirectoryIsRequiredAfterRestore) {
  for (const char* path : {"pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp",
                           "pg_subtrans", "pg_wal", "pg_wal/archive_status"})
    EXPECT_THAT(required_directories(PgMajor{10}), Contains(path));
  EXPECT_THAT(required_directories(PgMajor{16}), Not(Contains("pg_wal/summaries")));
  const auto newest = required_directories(PgMajor{17});
  EXPECT_THAT(newest, Contains("pg_wal/summaries"));
  EXPECT_TRUE(std::is_sorted(newest.begin(), newest.end()));  // Parents come before what is in them.
}

TEST(UnloggedRelations, LoseEveryForkButInit) {
  const std::vector<std::string> names = {"16384", "16384.1",  "16384_fsm",  "16384_vm", "16384_init",
                                          "16385", "t3_16384", "PG_VERSION", "163840",   "16386_init"};
  const UnloggedRelations unlogged(names);
  for (const char* name : {"16384", "16384.1", "16384_fsm", "16384_vm", "16386", "t3_16384", "t4_99"})
    EXPECT_TRUE(unlogged.drops(name)) << name;
  for (const char* name : {"16384_init", "16386_init", "16385", "163840", "PG_VERSION", "16385_vm"})
    EXPECT_FALSE(unlogged.drops(name)) << name;
}

}  // namespace
}  // namespace pgark::pg
