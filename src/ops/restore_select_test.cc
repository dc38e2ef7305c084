// Selective restore: which databases are left out, what is refused, and what lands on disk.
#include "ops/restore_select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "ops/restore.h"
#include "testing/restore_fixture.h"

namespace pgark {
namespace {

using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

BackupMeta sample_meta() {
  BackupMeta meta;
  meta.label = "20261122-101500F";
  meta.pg_major = 15;
  meta.checksum_version = 1;
  for (const auto& [oid, name] : std::initializer_list<std::pair<uint32_t, const char*>>{
           {1, "template1"}, {4, "template0"}, {5, "postgres"}, {16400, "shop"}, {16385, "crm"}, {16500, "16400"}})
    meta.databases.push_back({.oid = oid, .name = name, .collation_provider = "", .collation_version = ""});
  return meta;
}

std::vector<uint32_t> left_out(const std::vector<std::string>& include, const std::vector<std::string>& exclude) {
  const auto selection = select_databases(sample_meta(), include, exclude, TargetKind::kDefault);
  EXPECT_TRUE(selection.has_value()) << selection.error().to_string();
  std::vector<uint32_t> oids;
  if (selection)
    for (const BackupDatabase& database : selection->left_out) oids.push_back(database.oid);
  return oids;
}

std::string refusal(const BackupMeta& meta, const std::vector<std::string>& include,
                    const std::vector<std::string>& exclude, TargetKind target, Errc code) {
  const auto selection = select_databases(meta, include, exclude, target);
  EXPECT_FALSE(selection.has_value());
  if (selection) return "";
  EXPECT_EQ(selection.error().code(), code);
  return selection.error().to_string();
}

TEST(SelectDatabases, LeavesOutWhatIsNotWanted) {
  EXPECT_THAT(left_out({}, {}), IsEmpty());
  EXPECT_THAT(left_out({"shop"}, {}), ElementsAre(16385, 16500));
  EXPECT_THAT(left_out({"shop", "crm", "16500"}, {}), IsEmpty());
  EXPECT_THAT(left_out({}, {"crm", "shop"}), ElementsAre(16385, 16400));
  EXPECT_THAT(left_out({}, {"16385"}), ElementsAre(16385));
  EXPECT_THAT(left_out({"postgres"}, {}), ElementsAre(16385, 16400, 16500)) << "none but those that always are";
  EXPECT_THAT(left_out({"shop", "crm"}, {"16500"}), ElementsAre(16500));
  EXPECT_THAT(left_out({}, {"16400"}), ElementsAre(16500)) << "a name goes before an OID";
}

TEST(SelectDatabases, RefusesWhatMakesNoSense) {
  const BackupMeta meta = sample_meta();
  EXPECT_THAT(refusal(meta, {"shpo"}, {}, TargetKind::kDefault, Errc::kInvalid),
              AllOf(HasSubstr("database 'shpo' of --db-include is not in backup 20261122-101500F"),
                    HasSubstr("shop (16400)"), HasSubstr("crm (16385)")));
  EXPECT_THAT(refusal(meta, {}, {"17000"}, TargetKind::kDefault, Errc::kInvalid), HasSubstr("of --db-exclude"));
  for (const char* system : {"template0", "template1", "postgres", "5"})
    EXPECT_THAT(refusal(meta, {}, {system}, TargetKind::kDefault, Errc::kInvalid), HasSubstr("cannot be left out"));
  EXPECT_THAT(refusal(meta, {"shop"}, {"shop"}, TargetKind::kDefault, Errc::kInvalid), HasSubstr("by --db-exclude"));
  BackupMeta moved = meta;
  moved.databases[2].oid = 17000;  // Dropped and made again.
  EXPECT_THAT(refusal(moved, {}, {"postgres"}, TargetKind::kDefault, Errc::kInvalid), HasSubstr("cannot be left out"));
}

TEST(SelectDatabases, KnowsWhenRecoveryNeedsPagesOfWhatIsLeftOut) {
  struct Case {
    unsigned major;
    uint32_t checksums;
    const char* hints;
    const char* images;
    TargetKind target;
    std::optional<bool> ignores;  // None: refused.
  };
  using enum TargetKind;
  const Case cases[] = {{15, 1, "off", "on", kDefault, false},  {15, 0, "on", "on", kDefault, false},
                        {15, 0, "off", "on", kDefault, true},   {15, 1, "off", "off", kDefault, true},
                        {15, 0, "off", "on", kImmediate, true}, {13, 0, "off", "on", kTime, true},
                        {12, 0, "off", "on", kTime, {}},        {12, 0, "off", "on", kImmediate, false},
                        {12, 1, "off", "on", kTime, false},     {12, 0, "on", "on", kTime, false},
                        {12, 0, "on", "off", kTime, {}},        {15, 0, "off", "on", kPreserve, {}},
                        {15, 0, "off", "on", kNone, {}},        {15, 1, "off", "on", kPreserve, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} {} {} {} {}", c.major, c.checksums, c.hints, c.images, target_kind_name(c.target)));
    BackupMeta meta = sample_meta();
    meta.pg_major = c.major;
    meta.checksum_version = c.checksums;
    meta.settings = {{"wal_log_hints", c.hints}, {"full_page_writes", c.images}};
    const auto selection = select_databases(meta, {}, {"crm"}, c.target);
    ASSERT_EQ(selection.has_value(), c.ignores.has_value());
    if (selection) {
      EXPECT_EQ(selection->ignore_invalid_pages, *c.ignores);
    } else {
      EXPECT_EQ(selection.error().code(), Errc::kUnsupported);
    }
    const auto all = select_databases(meta, {}, {}, c.target);
    ASSERT_TRUE(all.has_value()) << "with nothing left out there is nothing to refuse";
    EXPECT_FALSE(all->ignore_invalid_pages);
  }
}

TEST(SelectDatabases, TellsFilesOfADatabaseFromOthers) {
  const auto selection = select_databases(sample_meta(), {}, {"crm"}, TargetKind::kDefault);
  ASSERT_TRUE(selection.has_value());
  for (const char* path : {"base/16385/1259", "base/16385/PG_VERSION", "base/16385/16390_vm.1",
                           "pg_tblspc/17000/PG_15_202209061/16385/17001"})
    EXPECT_TRUE(selection->leaves_out(path)) << path;
  for (const char* path :
       {"base/16385", "base/163850/1", "base/1/16385", "base/16400/1", "global/16385", "base/x/16385/1", "16385",
        "pg_tblspc/16385/PG_15_202209061/16400/1", "pg_tblspc/17000/PG_15_202209061/16385", "pg_tblspc/17000/x/16385/1",
        "pg_tblspc/16385", "other/16385/1", "base/16385x/1", "base//1", ""})
    EXPECT_FALSE(selection->leaves_out(path)) << path;
}

TEST(SelectDatabases, QuotesNamesToDrop) {
  DatabaseSelection selection;
  selection.left_out = {{.oid = 7, .name = "Odd \"name\"; x", .collation_provider = "", .collation_version = ""}};
  EXPECT_EQ(left_out_databases(selection).front().drop, "DROP DATABASE \"Odd \"\"name\"\"; x\";");
}

class SelectiveRestore : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    Rng rng(5);
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    backup.directory("base/16385");
    backup.file("base/16385/PG_VERSION", "15\n", 0600, true);
    backup.file("base/16385/1259", noise(rng, 500000));
    backup.directory("base/16400");
    backup.file("base/16400/1259", noise(rng, 300000));
    backup.meta.databases = sample_meta().databases;
    finish(backup);
    files_ = backup.files;
  }
  RestoreRequest without_crm() const {
    RestoreRequest asked = request();
    asked.db_exclude = {"crm"};
    return asked;
  }
  void expect_zeros() const {
    EXPECT_EQ(content("base/16385/1259"), std::string(500000, '\0'));
    EXPECT_EQ(content("base/16385/PG_VERSION"), std::string(3, '\0')) << "without it nobody can connect";
    struct stat status {};
    ASSERT_EQ(::stat((root() + "/base/16385/1259").c_str(), &status), 0);
    EXPECT_EQ(status.st_blocks, 0);
    EXPECT_EQ(content("base/16400/1259"), files_.at("base/16400/1259"));
    EXPECT_EQ(content("PG_VERSION"), "15\n");
  }
  std::map<std::string, std::string> files_;
};

TEST_F(SelectiveRestore, MakesFilesOfZerosThatTakeNoSpaceAndAreNotFetched) {
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(without_crm()));
  expect_zeros();
  EXPECT_LT(report.written_bytes, 350000u);
  EXPECT_EQ(report.logical_bytes, restore([&] {
                                    RestoreRequest all = request();
                                    all.force = true;
                                    return all;
                                  }())
                                      ->logical_bytes);
}

TEST_F(SelectiveRestore, TellsWhatToDropAndWhatItSet) {
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(without_crm()));
  ASSERT_EQ(report.left_out.size(), 1u);
  EXPECT_EQ(report.left_out[0].oid, 16385u);
  EXPECT_EQ(report.left_out[0].drop, "DROP DATABASE \"crm\";");
  // The sample has no checksums.
  EXPECT_THAT(content("postgresql.auto.conf"), HasSubstr("ignore_invalid_pages = 'on'"));
  EXPECT_THAT(report.warnings, ::testing::Contains(HasSubstr("ALTER SYSTEM RESET ignore_invalid_pages")));
}

TEST_F(SelectiveRestore, OptionOfTheUserWins) {
  RestoreRequest asked = without_crm();
  asked.recovery_options = {{"ignore_invalid_pages", "off"}};
  ASSERT_OK(restore(asked));
  EXPECT_THAT(content("postgresql.auto.conf"),
              AllOf(HasSubstr("ignore_invalid_pages = 'off'"), Not(HasSubstr("ignore_invalid_pages = 'on'"))));
}

TEST_F(SelectiveRestore, RefusesBeforeItWrites) {
  RestoreRequest asked = request();
  asked.db_include = {"no such"};
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("'no such'"));
  EXPECT_FALSE(std::filesystem::exists(root()));
}

TEST_F(SelectiveRestore, GoesTogetherWithDelta) {
  ASSERT_OK(restore(request()));
  RestoreRequest asked = without_crm();
  asked.delta = true;
  ASSERT_OK(restore(asked));
  expect_zeros();
  // And back: what was left out is brought.
  RestoreRequest all = request();
  all.delta = true;
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(all));
  EXPECT_EQ(content("base/16385/1259"), files_.at("base/16385/1259"));
  EXPECT_EQ(content("base/16385/PG_VERSION"), "15\n");
  EXPECT_LT(report.written_bytes, 510000u);
  EXPECT_THAT(content("postgresql.auto.conf"), Not(HasSubstr("ignore_invalid_pages")));
}

}  // namespace
}  // namespace pgark
