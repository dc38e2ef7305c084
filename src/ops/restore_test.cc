// Restore without a server: what lands on disk, and the settings that make the server recover.
#include "ops/restore.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>

#include "core/file.h"
#include "ops/restore_finish.h"
#include "testing/restore_fixture.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::kSampleLabel;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::pgark::testing::seed_of_test;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Restore : public RestoreFixture {};

TEST_F(Restore, BringsBackEveryByte) {
  Rng rng(seed_of_test());
  SampleBackup backup(*repository_, kSampleLabel, 1u << 20);  // Several packs.
  backup.minimal_cluster();
  backup.directory("pg_replslot");
  backup.file("base/1/16384", noise(rng, 9u << 20));
  backup.file("base/1/empty", "");
  backup.file("base/1/hole", std::string(300000, '\0'));
  backup.file("base/1/half",
              noise(rng, 200000) + std::string(50000, '\0') + noise(rng, 8192 * 3) + std::string(8192 * 5, '\0'));
  for (int i = 0; i < 400; ++i)
    backup.file("base/1/" + std::to_string(20000 + i), noise(rng, rng.below(20000)), 0600, rng.below(4) != 0);
  finish(backup);
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(request()));
  expect_files(backup);
  EXPECT_EQ(report.plan.backup.label, kSampleLabel);
  EXPECT_EQ(report.file_count, backup.files.size());
  EXPECT_TRUE(exists("pg_replslot"));
  EXPECT_TRUE(exists("pg_wal/archive_status"));  // Needed to start, though the backup had none.
  EXPECT_FALSE(exists("pgark.restore"));
  EXPECT_FALSE(exists("global/pg_control.pgark"));
  EXPECT_EQ(content("backup_label"), backup.meta.backup_label);
  EXPECT_FALSE(exists("tablespace_map"));
  struct stat status {};
  ASSERT_EQ(::stat((root() + "/base/1/hole").c_str(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0) << "zeros take no space";
}

TEST_F(Restore, KeepsModesAndTimes) {
  SampleBackup backup = new_backup();
  backup.minimal_cluster();
  backup.directory("odd", 0500);
  backup.file("odd/file", "x", 0444);
  backup.file("odd/group", "x", 0640);
  finish(backup);
  ASSERT_OK(restore(request()));
  EXPECT_EQ(mode(""), 0700u);
  EXPECT_EQ(mode("odd"), 0500u);
  EXPECT_EQ(mode("odd/file"), 0444u);
  EXPECT_EQ(mode("odd/group"), 0640u);
  EXPECT_EQ(mode("base/1"), 0700u);
  struct stat status {};
  ASSERT_EQ(::stat((root() + "/odd/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mtim.tv_sec, 1700000000);
  EXPECT_EQ(status.st_mtim.tv_nsec / 1000, 123459);
  ASSERT_EQ(::chmod((root() + "/odd").c_str(), 0700), 0);
}

TEST_F(Restore, GivesGroupAccessWhereTheClusterHadIt) {
  SampleBackup backup = new_backup();
  backup.minimal_cluster();
  backup.directory("pg_wal", 0750);
  SampleBackup grouped = new_backup("20261122-111500F");
  grouped.meta.stopped += std::chrono::hours(1);
  grouped.directory("global", 0750);
  grouped.file("PG_VERSION", "15\n", 0640);
  grouped.file("global/pg_control", std::string(8192, 'c'), 0640);
  finish(grouped);
  ASSERT_OK(restore(request()));
  EXPECT_EQ(mode(""), 0750u);
  EXPECT_EQ(mode("backup_label"), 0640u);
}

TEST_F(Restore, ReadsNeighboursTogether) {
  Rng rng(1);
  SampleBackup backup = new_backup();
  backup.minimal_cluster();
  for (int i = 0; i < 500; ++i) backup.file("base/1/" + std::to_string(20000 + i), noise(rng, 8000), 0600, true);
  finish(backup);
  const uint64_t reads = store_->calls(StoreCall::kRead);
  ASSERT_OK(restore(request()));
  EXPECT_LT(store_->calls(StoreCall::kRead) - reads, 30u) << "500 files must not be 500 reads";
}

TEST_F(Restore, FillsFilesThatLieScatteredOverManyPacks) {
  Rng rng(seed_of_test());
  SampleBackup backup(*repository_, kSampleLabel, 1u << 20);
  backup.minimal_cluster();
  for (const size_t ways : {2u, 7u, 60u})
    backup.scattered_file("base/1/" + std::to_string(40000 + ways), noise(rng, (18u << 20) + 5000), ways);
  finish(backup);
  const uint64_t reads = store_->calls(StoreCall::kRead);
  ASSERT_OK(restore(request()));
  expect_files(backup);
  EXPECT_LT(store_->calls(StoreCall::kRead) - reads, 300u) << "59 MiB that lie in 57 packs";
}

TEST_F(Restore, MakesSmallFilesOfManyDirectoriesAsTheyWere) {
  Rng rng(seed_of_test());
  SampleBackup backup(*repository_, kSampleLabel, 1u << 20);
  backup.minimal_cluster();
  // In turn, so that neighbours in a pack are of one directory for a while, and of several for another.
  std::map<std::string, uint32_t> modes;
  for (int i = 0; i < 5; ++i) backup.directory("base/" + std::to_string(16000 + i));
  for (int i = 0; i < 3000; ++i) {
    const std::string path = fmt::format("base/{}/{}", i < 1500 ? 16000 : 16000 + rng.below(5), 20000 + i);
    const uint32_t mode = rng.below(10) == 0 ? 0640 : 0600;
    switch (rng.below(8)) {
      case 0:
        backup.file(path, "", mode);
        break;
      case 1:
        backup.file(path, std::string(8192 * (1 + rng.below(3)), '\0'), mode);
        break;
      case 2:
        backup.file(path, noise(rng, 8192) + std::string(8192, '\0') + noise(rng, 100), mode, true);
        break;
      case 3:
        backup.file(path, noise(rng, 200'000), mode);
        break;
      default:
        backup.file(path, noise(rng, 1 + rng.below(9000)), mode, true);
    }
    modes[path] = mode;
  }
  finish(backup);
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(request()));
  expect_files(backup);
  EXPECT_EQ(report.file_count, backup.files.size());
  for (const auto& [path, wanted] : modes) {
    struct stat status {};
    ASSERT_EQ(::stat((root() + "/" + path).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, wanted) << path;
    EXPECT_EQ(status.st_mtim.tv_sec, 1700000000) << path;
  }
}

TEST_F(Restore, RestoresManyLargeFilesWithFewDescriptors) {
  Rng rng(2);
  SampleBackup backup = new_backup();
  backup.minimal_cluster();
  // Files in turn, extent by extent, as many workers of a backup would leave them.
  for (int i = 0; i < 40; ++i) backup.file("base/1/" + std::to_string(30000 + i), noise(rng, 700000));
  finish(backup);
  ASSERT_OK(restore(request()));
  expect_files(backup);
}

// -- Targets and recovery settings.

TEST_F(Restore, WritesRecoverySettingsOfTheTarget) {
  make_minimal();
  RestoreRequest asked = request();
  ASSERT_OK_AND_ASSIGN(asked.target, parse_restore_target("time", "2026-11-22 11:15:30+01", true));
  asked.target_action = "promote";
  asked.recovery_options = {{"recovery_min_apply_delay", "1min"}};
  ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(asked));
  EXPECT_THAT(content("postgresql.auto.conf"),
              AllOf(StartsWith("# Do not edit"), HasSubstr("work_mem = '8MB'"),
                    HasSubstr("restore_command = 'pgark archive-get %f \"%p\"'"),
                    HasSubstr("# target asked for: time 2026-11-22 10:15:30.000000+00"),
                    HasSubstr("recovery_target_lsn = '0/" + to_string(report.plan.stop->lsn).substr(2) + "'"),
                    HasSubstr("recovery_target_timeline = '1'"), HasSubstr("recovery_target_time = ''"),
                    HasSubstr("recovery_target_inclusive = 'false'"), HasSubstr("recovery_target_action = 'promote'"),
                    HasSubstr("recovery_min_apply_delay = '1min'")));
  EXPECT_EQ(report.plan.next_commit->xid, SampleBackup::kCommitXid);
  EXPECT_TRUE(exists("recovery.signal"));
  EXPECT_EQ(report.signal_file, "recovery.signal");
  EXPECT_EQ(report.recovery_file, "postgresql.auto.conf");
}

TEST_F(Restore, ReplacesWhatAnEarlierRestoreWrote) {
  SampleBackup backup = new_backup();
  backup.directory("global");
  backup.file("PG_VERSION", "15\n");
  backup.file("global/pg_control", std::string(8192, 'c'));
  backup.file("standby.signal", "");
  backup.file("postgresql.auto.conf", "work_mem = '8MB'\n" + marked_block("restore_command = 'old'\n", "X") +
                                          "recovery_target_name = 'old'\nshared_buffers = '1GB'\n");
  finish(backup);
  ASSERT_OK(restore(request()));
  EXPECT_THAT(content("postgresql.auto.conf"), AllOf(HasSubstr("work_mem"), HasSubstr("shared_buffers"),
                                                     Not(HasSubstr("'old'")), HasSubstr("restore_command = 'pgark")));
  EXPECT_TRUE(exists("recovery.signal"));
  EXPECT_FALSE(exists("standby.signal")) << "with both the server would become a standby";
}

TEST_F(Restore, PreserveLeavesSettingsAlone) {
  SampleBackup backup = new_backup();
  backup.directory("global");
  backup.file("PG_VERSION", "15\n");
  backup.file("global/pg_control", std::string(8192, 'c'));
  backup.file("standby.signal", "");
  const std::string settings = "primary_conninfo = 'host=db1'\nrecovery_target_timeline = 'latest'\n";
  backup.file("postgresql.auto.conf", settings);
  finish(backup);
  RestoreRequest asked = request();
  asked.target.kind = TargetKind::kPreserve;
  ASSERT_OK(restore(asked));
  EXPECT_EQ(content("postgresql.auto.conf"), settings);
  EXPECT_TRUE(exists("standby.signal"));
}

TEST_F(Restore, UsesRecoveryConfUpTo11) {
  SampleBackup backup = new_backup();
  backup.meta.pg_major = 11;
  backup.minimal_cluster();
  backup.file("recovery.conf", "restore_command = 'old'\n");
  finish(backup);
  ASSERT_OK(restore(request()));
  EXPECT_THAT(content("recovery.conf"), AllOf(HasSubstr("restore_command = 'pgark"), Not(HasSubstr("old"))));
  EXPECT_FALSE(exists("recovery.signal"));
  RestoreRequest off = request();
  off.force = true;
  off.archive_mode_off = true;
  EXPECT_THAT(failure(off, Errc::kUnsupported), HasSubstr("archive-mode=off is not supported with PostgreSQL 11"));
}

TEST_F(Restore, TurnsArchivingOff) {
  make_minimal();
  RestoreRequest asked = request();
  asked.archive_mode_off = true;
  ASSERT_OK(restore(asked));
  EXPECT_THAT(content("postgresql.auto.conf"), HasSubstr("archive_mode = 'off'"));
}

TEST_F(Restore, RefusesTargetsOutOfReachBeforeWriting) {
  make_minimal();
  RestoreRequest asked = request();
  asked.target = *parse_restore_target("time", "2026-11-22 10:14:59Z", false);
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("before the end of the oldest backup"));
  asked.target = *parse_restore_target("time", "2199-01-01 00:00:00Z", false);
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("is in the future"));
  asked.target = *parse_restore_target("lsn", "0/9000000", false);
  EXPECT_THAT(failure(asked, Errc::kInvalid),
              AllOf(HasSubstr("past the archived WAL"), HasSubstr("000000010000000000000009")));
  asked.target = RestoreTarget{};
  asked.set = "20200101-000000F";
  EXPECT_THAT(failure(asked, Errc::kNotFound), HasSubstr("backup set 20200101-000000F does not exist"));
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(Restore, RefusesBackupWhoseWalIsMissing) {
  SampleBackup backup = new_backup();
  backup.minimal_cluster();
  backup.commit();
  EXPECT_THAT(failure(request(), Errc::kNotFound), HasSubstr("needs WAL segment 000000010000000000000002"));
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(Restore, SaysThatThereIsNoBackup) {
  EXPECT_THAT(failure(request(), Errc::kNotFound), HasSubstr("stanza main has no backup"));
}

TEST_F(Restore, TakesExtentsOfOtherBackupsWhoseManifestsAreGone) {
  SampleBackup old = new_backup("20261121-101500F");
  old.minimal_cluster();
  Rng rng(4);
  old.file("base/1/1259", noise(rng, 300000));
  finish(old);
  // A backup that stores nothing of its own and names the packs of the first: what an incremental without changes is.
  const auto manifest = ManifestReader::open(*repository_, "main", "20261121-101500F");
  ASSERT_TRUE(manifest.has_value());
  auto writer = ManifestWriter::create(*repository_, "main", kSampleLabel);
  ASSERT_TRUE(writer.has_value());
  for (size_t i = 0; i < manifest->chunk_count(); ++i) {
    const auto chunk = manifest->chunk(i);
    ASSERT_TRUE(chunk.has_value());
    for (const FileEntry& file : chunk->files) ASSERT_TRUE(writer->add(file, chunk->extents).has_value());
  }
  BackupMeta meta = old.meta;
  meta.label = kSampleLabel;
  ASSERT_TRUE(std::move(*writer).commit(manifest->packs().value(), encode_backup_meta(meta)).has_value());
  ASSERT_TRUE(store_->remove(manifest_key("main", "20261121-101500F")).value());
  const auto report = restore(request());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_EQ(report->plan.backup.label, kSampleLabel);
  expect_files(old);
}

TEST(StripRestoreSettings, KeepsWhatIsNotOurs) {
  EXPECT_EQ(strip_restore_settings(""), "");
  EXPECT_EQ(strip_restore_settings("a = 1\nb = 2"), "a = 1\nb = 2");
  EXPECT_EQ(strip_restore_settings("a = 1\n" + marked_block("x = 2\n", "L") + "b = 3\n"), "a = 1\nb = 3\n");
  EXPECT_EQ(strip_restore_settings("a = 1\n" + marked_block("x = 2\n", "L") + marked_block("y = 2\n", "M")), "a = 1\n");
  EXPECT_EQ(strip_restore_settings("Recovery_Target_Time = 'x'\n  recovery_target='immediate'\n#recovery_target_x\n"),
            "#recovery_target_x\n");
  EXPECT_EQ(strip_restore_settings("recovery_min_apply_delay = '5min'\n"), "recovery_min_apply_delay = '5min'\n");
}

}  // namespace
}  // namespace pgark
