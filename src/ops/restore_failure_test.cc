// Restores that fail in the middle: what the error says, and that what is left cannot be started.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "ops/restore.h"
#include "testing/restore_fixture.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::kSampleLabel;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::testing::AllOf;
using ::testing::HasSubstr;

class RestoreFailure : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    Rng rng(3);
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    backup.file("base/1/16384", noise(rng, 1u << 20));
    backup.file("base/1/16385", noise(rng, 1u << 20));
    finish(backup);
  }
  /// The second attempt.
  void expect_force_succeeds() {
    RestoreRequest asked = request();
    EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("run it again with --delta to complete it, or with --force"));
    asked.force = true;
    ASSERT_OK(restore(asked));
    EXPECT_EQ(content("base/1/16384").size(), 1u << 20);
    EXPECT_TRUE(exists("global/pg_control"));
    EXPECT_FALSE(exists("pgark.restore"));
  }
};

TEST_F(RestoreFailure, DamagedExtentIsNamedAndDoesNotStart) {
  store_->set_rules({{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = 1, .fault = Fault::kCorrupt}});
  EXPECT_THAT(failure(request(), Errc::kCorrupt),
              AllOf(HasSubstr("backup " + kSampleLabel + ": file "), HasSubstr(" blocks "),
                    HasSubstr("main/pack/" + kSampleLabel + "/000001"), HasSubstr("run restore again with --delta")));
  EXPECT_TRUE(store_->unfired().empty());
  expect_not_startable();
  store_->set_rules({});
  expect_force_succeeds();
}

TEST_F(RestoreFailure, MissingPackIsDamage) {
  store_->set_rules(
      {{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = 1, .fault = Fault::kFail, .code = Errc::kNotFound}});
  EXPECT_THAT(failure(request(), Errc::kCorrupt), HasSubstr("backup " + kSampleLabel + ": file "));
  expect_not_startable();
}

TEST_F(RestoreFailure, TruncatedPackIsDamage) {
  store_->set_rules({{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = 1, .fault = Fault::kTruncate}});
  EXPECT_THAT(failure(request(), Errc::kCorrupt), HasSubstr("backup " + kSampleLabel + ": file "));
  expect_not_startable();
}

TEST_F(RestoreFailure, EveryReadMayFailAndNoneIsForgiven) {
  uint64_t n = 1;
  for (;; ++n) {
    fs::remove_all(root());
    store_->set_rules({{.call = StoreCall::kRead, .nth = n, .fault = Fault::kFail, .code = Errc::kPermission}});
    auto report = restore(request());
    if (!store_->unfired().empty()) {
      EXPECT_TRUE(report.has_value());
      break;
    }
    ASSERT_FALSE(report.has_value()) << "read " << n;
    EXPECT_FALSE(exists("global/pg_control")) << "read " << n;
  }
  EXPECT_GT(n, 3u);
}

using RestoreInterrupted = RestoreFailure;

TEST_F(RestoreInterrupted, GoesOnWhenItsBackupIsExpired) {
  SampleBackup backup = new_backup("20261122-101600F");
  backup.minimal_cluster();
  Rng rng(3);
  for (int i = 0; i < 5000; ++i) backup.file("base/1/" + std::to_string(20000 + i), noise(rng, 100), 0600, true);
  finish(backup);
  RestoreRequest asked = request();
  asked.set = "20261122-101600F";
  bool removed = false;
  const auto report = restore_with(asked, [&] {
    if (std::exchange(removed, true)) return;
    EXPECT_TRUE(store_->remove(manifest_key("main", "20261122-101600F")).value());
  });
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_TRUE(removed);
  expect_files(backup);
}

TEST_F(RestoreInterrupted, TakesWalAlongThatArrivesWhileFilesAreCopied) {
  SampleBackup backup = new_backup("20261122-101600F");
  backup.minimal_cluster();
  finish(backup);
  RestoreRequest asked = request();
  asked.set = "20261122-101600F";
  asked.target.kind = TargetKind::kTime;
  asked.target.time = SampleBackup::kCommitTime + std::chrono::seconds(90);
  asked.target_action = "promote";
  const auto report = restore_with(asked, [&] { backup.archive_wal(2); });
  ASSERT_OK(report);
  // Of the two that have arrived, one lies before the target and one behind it.
  EXPECT_FALSE(report->plan.clamped);
  ASSERT_TRUE(report->plan.last_commit && report->plan.next_commit);
  EXPECT_EQ(report->plan.last_commit->xid.value, SampleBackup::kCommitXid.value + 1);
  EXPECT_EQ(report->plan.next_commit->xid.value, SampleBackup::kCommitXid.value + 2);
  EXPECT_THAT(content("postgresql.auto.conf"),
              HasSubstr("recovery_target_lsn = '" + to_string(report->plan.stop->lsn) + "'"));
}

TEST_F(RestoreInterrupted, CancelledRestoreDoesNotStart) {
  const auto report = restore_with(request(), [&] { cancel_.cancel(); });
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kCancelled) << report.error().to_string();
  expect_not_startable();
}

TEST_F(RestoreInterrupted, DiskThatFillsUpIsNamedAndDoesNotStart) {
  auto small = ::pgark::testing::SmallFs::mount(scratch_ / "small", 32u << 20);
  if (!small) GTEST_SKIP() << small.error().to_string();
  RestoreRequest asked = request();
  asked.data_directory = scratch_ / "small/data";
  const auto report = restore_with(asked, [&] {
    const auto ballast = File::open(scratch_ / "small/ballast", O_WRONLY | O_CREAT, 0600);
    const Buffer block(1u << 20);
    while (ballast->write(block)) continue;  // Until the file system is full.
  });
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kNoSpace) << report.error().to_string();
  EXPECT_THAT(report.error().message(), HasSubstr(asked.data_directory + "/"));
  EXPECT_FALSE(fs::exists(asked.data_directory + "/global/pg_control"));
  EXPECT_TRUE(fs::exists(asked.data_directory + "/pgark.restore"));
  // Room is made, and the second attempt succeeds.
  fs::remove(scratch_ / "small/ballast");
  asked.force = true;
  ASSERT_OK(restore(asked));
}

TEST_F(RestoreFailure, NeedsMoreRoomThanThereIs) {
  auto small = ::pgark::testing::SmallFs::mount(scratch_ / "small", 2u << 20);
  if (!small) GTEST_SKIP() << small.error().to_string();
  RestoreRequest asked = request();
  asked.data_directory = scratch_ / "small/data";
  EXPECT_THAT(failure(asked, Errc::kNoSpace), AllOf(HasSubstr("data directory '"), HasSubstr("bytes are needed")));
  EXPECT_TRUE(fs::is_empty(scratch_ / "small"));
}

TEST_F(RestoreFailure, RoomCountsThatWhatIsOverwrittenGivesBack) {
  auto small = ::pgark::testing::SmallFs::mount(scratch_ / "small", 32u << 20);
  if (!small) GTEST_SKIP() << small.error().to_string();
  RestoreRequest asked = request();
  asked.data_directory = scratch_ / "small/data";
  ASSERT_OK(restore(asked));
  const fs::space_info space = fs::space(scratch_ / "small");
  const uint64_t used = space.capacity - space.free;
  // The backup's 2 MiB, and 16 that are to be left, do not fit into what is free; with what is there they do.
  ASSERT_OK(small->resize(used + (17u << 20)));
  for (const bool delta : {true, false}) {
    asked.delta = delta;
    asked.force = !delta;
    ASSERT_OK(restore(asked));
  }
  ASSERT_OK(small->resize(used + (15u << 20)));
  EXPECT_THAT(failure(asked, Errc::kNoSpace), HasSubstr("bytes are needed"));
}

TEST_F(RestoreFailure, UnwritableTargetIsRefusedBeforeWriting) {
  if (::geteuid() == 0) GTEST_SKIP() << "root writes everywhere";
  fs::create_directory(scratch_ / "locked");
  ASSERT_EQ(::chmod((scratch_ / "locked").c_str(), 0500), 0);
  RestoreRequest asked = request();
  asked.data_directory = scratch_ / "locked/data";
  EXPECT_THAT(failure(asked, Errc::kPermission), HasSubstr("locked"));
  ASSERT_EQ(::chmod((scratch_ / "locked").c_str(), 0700), 0);
}

TEST_F(RestoreFailure, SecondRestoreIntoOneDirectoryIsRefused) {
  fs::create_directory(root());
  ASSERT_OK_AND_ASSIGN(const File marker, File::open(root() + "/pgark.restore", O_RDWR | O_CREAT, 0600));
  // Held by a child, as a second process would.
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open((root() + "/pgark.restore").c_str(), O_RDWR);
    ::_exit(fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::pause() != 0 ? 0 : 1);
  }
  ASSERT_TRUE(::pgark::testing::wait_until([&] {
    const bool taken = ::flock(marker.fd(), LOCK_EX | LOCK_NB) != 0;
    if (!taken) ::flock(marker.fd(), LOCK_UN);
    return taken;
  }));
  RestoreRequest asked = request();
  asked.force = true;
  EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("another restore into"));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_OK(restore(asked));
}

}  // namespace
}  // namespace pgark
