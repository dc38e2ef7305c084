// Restore without a server: what lands on disk, what is refused, and what a failure leaves.
#include "ops/restore.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "core/file.h"
#include "ops/restore_finish.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_backup.h"
#include "testing/scratch.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::SampleBackup;
using ::pgark::testing::ScratchDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kLabel = "20261122-101500F";

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

class Restore : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("restore");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
  }

  SampleBackup new_backup(const std::string& label = kLabel) { return SampleBackup(*repository_, label); }
  void finish(SampleBackup& backup) {
    backup.commit();
    backup.archive_wal();
  }
  /// A minimal cluster, ready to be restored.
  void make_minimal() {
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    finish(backup);
  }

  std::string root() const { return scratch_ / "data"; }
  RestoreRequest request() const {
    RestoreRequest request;
    request.data_directory = root();
    request.restore_command = "pgark archive-get %f \"%p\"";
    request.process_max = 4;
    return request;
  }
  Result<RestoreReport> restore(const RestoreRequest& asked) {
    Progress progress;
    return run_restore(*repository_, "main", asked, system_clock(), cancel_, progress);
  }
  std::string failure(const RestoreRequest& asked, Errc code) {
    auto report = restore(asked);
    EXPECT_FALSE(report.has_value());
    if (report) return "";
    EXPECT_EQ(report.error().code(), code) << report.error().to_string();
    return report.error().to_string();
  }

  std::string content(const std::string& path) const { return read_file(root() + "/" + path).value_or("<absent>"); }
  bool exists(const std::string& path) const { return fs::exists(fs::symlink_status(root() + "/" + path)); }
  unsigned mode(const std::string& path) const {
    struct stat status {};
    return ::stat((root() + "/" + path).c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  }
  void expect_files(const SampleBackup& backup) const {
    for (const auto& [path, expected] : backup.files) {
      const auto found = read_file(root() + "/" + path, 1u << 30);
      ASSERT_TRUE(found.has_value()) << path << ": " << found.error().to_string();
      EXPECT_TRUE(*found == expected || path == "postgresql.auto.conf") << path << " differs";
    }
  }
  void expect_not_startable() const {
    EXPECT_FALSE(exists("global/pg_control"));
    EXPECT_TRUE(exists("pgark.restore"));
  }

  ScratchDir scratch_;
  std::unique_ptr<FaultStore> store_;
  std::unique_ptr<Repository> repository_;
  CancelToken cancel_;
};

std::string noise(Rng& rng, size_t bytes) {
  std::string out(bytes, '\0');
  for (char& c : out) c = static_cast<char>('!' + rng.below(60));
  return out;
}

TEST_F(Restore, BringsBackEveryByte) {
  Rng rng(test_seed());
  SampleBackup backup(*repository_, kLabel, 1u << 20);  // Several packs.
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
  EXPECT_EQ(report.plan.backup.label, kLabel);
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

// -- Directories.

TEST_F(Restore, RefusesDirectoryThatIsNotEmpty) {
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

TEST_F(Restore, ForceReplacesCluster) {
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

TEST_F(Restore, NeverTouchesRunningServer) {
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

// -- Tablespaces and links.

class RestoreTablespaces : public Restore {
 protected:
  void SetUp() override {
    Restore::SetUp();
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

class RestoreLinks : public Restore {
 protected:
  void SetUp() override {
    Restore::SetUp();
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

// -- Failures in the middle.

class RestoreFailure : public Restore {
 protected:
  void SetUp() override {
    Restore::SetUp();
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
    EXPECT_THAT(failure(asked, Errc::kInvalid), HasSubstr("run it again with --force"));
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
              AllOf(HasSubstr("backup " + kLabel + ": file "), HasSubstr(" blocks "),
                    HasSubstr("main/pack/" + kLabel + "/000001"), HasSubstr("run restore again with --force")));
  EXPECT_TRUE(store_->unfired().empty());
  expect_not_startable();
  store_->set_rules({});
  expect_force_succeeds();
}

TEST_F(RestoreFailure, MissingPackIsDamage) {
  store_->set_rules(
      {{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = 1, .fault = Fault::kFail, .code = Errc::kNotFound}});
  EXPECT_THAT(failure(request(), Errc::kCorrupt), HasSubstr("backup " + kLabel + ": file "));
  expect_not_startable();
}

TEST_F(RestoreFailure, TruncatedPackIsDamage) {
  store_->set_rules({{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = 1, .fault = Fault::kTruncate}});
  EXPECT_THAT(failure(request(), Errc::kCorrupt), HasSubstr("backup " + kLabel + ": file "));
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

/// A clock whose sleep does something: a read that is delayed on it becomes the moment for that.
class HookClock final : public Clock {
 public:
  explicit HookClock(std::function<void()> hook) : hook_(std::move(hook)) {}
  Timestamp now() override { return system_clock().now(); }
  std::chrono::steady_clock::time_point steady() override { return system_clock().steady(); }
  void sleep_for(std::chrono::milliseconds) override { hook_(); }

 private:
  std::function<void()> hook_;
};

/// A store that another one owns.
class BorrowedStore final : public ObjectStore {
 public:
  explicit BorrowedStore(ObjectStore& inner) : inner_(inner) {}
  StoreCaps caps() const override { return inner_.caps(); }
  std::string describe() const override { return inner_.describe(); }
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override { return inner_.create(key); }
  Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override { return inner_.stat(key); }
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    return inner_.read(key, offset, into);
  }
  Result<ListPage> list(const ListRequest& asked) override { return inner_.list(asked); }
  Result<bool> remove(const ObjectKey& key) override { return inner_.remove(key); }

 private:
  ObjectStore& inner_;
};

class RestoreInterrupted : public RestoreFailure {
 protected:
  /// Restore, and do something just before the first pack is read.
  Result<RestoreReport> restore_with(const RestoreRequest& asked, std::function<void()> hook) {
    HookClock clock(std::move(hook));
    FaultStore store(std::make_unique<BorrowedStore>(*store_),
                     {{.call = StoreCall::kRead,
                       .prefix = "main/pack/",
                       .fault = Fault::kDelay,
                       .delay = std::chrono::milliseconds(1)}},
                     clock);
    TRY_ASSIGN(const auto repository, Repository::open(store));
    Progress progress;
    auto report = run_restore(*repository, "main", asked, system_clock(), cancel_, progress);
    EXPECT_TRUE(store.unfired().empty());
    return report;
  }
};

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

TEST_F(Restore, TakesExtentsOfOtherBackupsWhoseManifestsAreGone) {
  SampleBackup old = new_backup("20261121-101500F");
  old.minimal_cluster();
  Rng rng(4);
  old.file("base/1/1259", noise(rng, 300000));
  finish(old);
  // A backup that stores nothing of its own and names the packs of the first: what an incremental without changes is.
  const auto manifest = ManifestReader::open(*repository_, "main", "20261121-101500F");
  ASSERT_TRUE(manifest.has_value());
  auto writer = ManifestWriter::create(*repository_, "main", kLabel);
  ASSERT_TRUE(writer.has_value());
  for (size_t i = 0; i < manifest->chunk_count(); ++i) {
    const auto chunk = manifest->chunk(i);
    ASSERT_TRUE(chunk.has_value());
    for (const FileEntry& file : chunk->files) ASSERT_TRUE(writer->add(file, chunk->extents).has_value());
  }
  BackupMeta meta = old.meta;
  meta.label = kLabel;
  ASSERT_TRUE(std::move(*writer).commit(manifest->packs().value(), encode_backup_meta(meta)).has_value());
  ASSERT_TRUE(store_->remove(manifest_key("main", "20261121-101500F")).value());
  const auto report = restore(request());
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_EQ(report->plan.backup.label, kLabel);
  expect_files(old);
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
