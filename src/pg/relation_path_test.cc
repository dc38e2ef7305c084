#include "pg/relation_path.h"

#include <gtest/gtest.h>

namespace pgark::pg {
namespace {

RelationFileName name(uint32_t relfilenode, Fork fork, uint32_t segment, bool is_temporary = false) {
  return {.relfilenode = relfilenode, .fork = fork, .segment = segment, .is_temporary = is_temporary};
}

TEST(RelationFileName, ReadsForksSegmentsAndTemporaries) {
  EXPECT_EQ(parse_relation_file_name("16384"), name(16384, Fork::kMain, 0));
  EXPECT_EQ(parse_relation_file_name("16384.12"), name(16384, Fork::kMain, 12));
  EXPECT_EQ(parse_relation_file_name("16384_fsm"), name(16384, Fork::kFreeSpaceMap, 0));
  EXPECT_EQ(parse_relation_file_name("16384_vm.1"), name(16384, Fork::kVisibilityMap, 1));
  EXPECT_EQ(parse_relation_file_name("4294967295_init"), name(4294967295u, Fork::kInit, 0));
  EXPECT_EQ(parse_relation_file_name("t3_16384"), name(16384, Fork::kMain, 0, true));
  EXPECT_EQ(parse_relation_file_name("t0_16384_vm.2"), name(16384, Fork::kVisibilityMap, 2, true));
}

TEST(RelationFileName, RejectsWhatPostgresWouldNotWrite) {
  for (const char* bad :
       {"",           "0",          "01",           "16384.",   "16384.0",    "16384.01",        "16384_",
        "16384_main", "16384_fsmx", "16384_vm_fsm", "x16384",   "16384 ",     "4294967296",      "-1",
        "t_16384",    "t3",         "t3_",          "t3-16384", "PG_VERSION", "pg_filenode.map", "pg_internal.init",
        "16384.1.2",  "16384/1",    "tt3_1"})
    EXPECT_FALSE(parse_relation_file_name(bad).has_value()) << bad;
}

TEST(RelationPath, TellsTablespaceAndDatabase) {
  const auto relation = [](const char* path) { return parse_relation_path(path).value(); };
  EXPECT_EQ(relation("global/1262"), (RelationFile{kGlobalTablespaceOid, 0, name(1262, Fork::kMain, 0)}));
  EXPECT_EQ(relation("base/5/2619_vm"), (RelationFile{kDefaultTablespaceOid, 5, name(2619, Fork::kVisibilityMap, 0)}));
  EXPECT_EQ(relation("pg_tblspc/16400/PG_15_202209061/5/16401.3"),
            (RelationFile{16400, 5, name(16401, Fork::kMain, 3)}));
  EXPECT_EQ(relation("pg_tblspc/16400/PG_15_202209061/5/16401.3").first_block(131072), 393216u);
}

TEST(RelationPath, LeavesOtherFilesAlone) {
  for (const char* bad : {"",
                          "16384",
                          "base",
                          "base/",
                          "base/5",
                          "base/5/",
                          "base/x/1",
                          "base/5/1/2",
                          "base/pgsql_tmp/1",
                          "global/pg_control",
                          "global/",
                          "pg_xact/0000",
                          "pg_tblspc/16400",
                          "pg_tblspc/16400/5/1",
                          "pg_tblspc/x/PG_15_1/5/1",
                          "pg_tblspc/16400/PG_15_1/1",
                          "pg_tblspc/16400/PG_15_1/5/1/2",
                          "/base/5/1",
                          "base//5/1",
                          "pg_wal/1"})
    EXPECT_FALSE(parse_relation_path(bad).has_value()) << bad;
}

TEST(RelationPath, KnowsDirectoriesOfRelations) {
  for (const char* good : {"global", "base/5", "pg_tblspc/16400/PG_15_202209061/5"})
    EXPECT_TRUE(is_relation_directory(good)) << good;
  for (const char* bad : {"", "base", "base/5/", "base/5/6", "base/x", "pg_tblspc/16400", "pg_tblspc/16400/PG_15_1",
                          "pg_wal", "global/5"})
    EXPECT_FALSE(is_relation_directory(bad)) << bad;
}

}  // namespace
}  // namespace pgark::pg
