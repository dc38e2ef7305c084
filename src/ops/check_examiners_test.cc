// Each examiner of a usual mistake: that it speaks where the mistake was made, and is silent where it was not.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "catalog/dump.h"
#include "catalog/verify_record.h"
#include "core/file.h"
#include "ops/check.h"
#include "ops/check_place.h"
#include "repo/keyring_store.h"
#include "testing/check_scene.h"

namespace pgark {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kGiB = uint64_t{1} << 30;

/// A cluster as it should be: a backup of this morning, tested and verified, elsewhere, with retention and room.
class Examiners : public CheckScene {
 protected:
  void SetUp() override {
    CheckScene::SetUp();
    server_.settings = {{"archive_mode", "on"},          {"archive_command", "pgark --stanza=main archive-push %p"},
                        {"archive_library", ""},         {"archive_timeout", "1min"},
                        {"wal_level", "replica"},        {"fsync", "on"},
                        {"full_page_writes", "on"},      {"data_checksums", "on"},
                        {"shared_preload_libraries", ""}};
    back_up("20261122-101500F", 2);
    for (const uint64_t number : {3u, 4u}) archive_number(number);
    write_drill("20261120-100000", true, kNow - std::chrono::days(2));
    write_verify(kNow - std::chrono::days(2));
    RetentionRules rules;
    rules.full = 2;
    options_.places[1] = {.path = "/repo", .retention = rules};
    options_.data_directory = cluster_.data();
    cluster_.put_control(SampleWal{}.system_id);
    places_["/repo"] = {
        .device = 2, .file_system = "nfs", .is_network = false, .total_bytes = 100 * kGiB, .free_bytes = 50 * kGiB};
    places_[cluster_.data()] = {.device = 1, .file_system = "ext4"};
    places_[cluster_.data() + "/pg_wal"] = {.device = 1, .file_system = "ext4"};
    places_["/elsewhere"] = {.device = 3, .file_system = "nfs", .is_network = true};
    options_.places[2] = {.path = "/elsewhere", .retention = rules};
  }
  /// Begin again with the next variant.
  void again() {
    options_ = CheckOptions{};
    server_ = FakeServer{};
    stored_bytes_ = damaged_pages_ = 0;
    SetUp();
  }

  void archive_number(uint64_t number) {
    ASSERT_OK(write_stored_file(*repository_, *wal_key("main", 1, segment_name(number)),
                                testing::sample_segment({TimelineId{1}, number}, 1), "{}"));
  }
  void write_drill(const std::string& name, bool passed, Timestamp stopped) {
    ASSERT_OK(
        write_record(*repository_, ObjectKey{"main/drill/" + name},
                     fmt::format(R"({{"passed": {}, "stopped_us": {}}})", passed, stopped.time_since_epoch().count())));
  }
  void write_verify(Timestamp finished, std::vector<VerifyRecord::Backup> damaged = {}) {
    VerifyRecord record;
    record.started = finished - std::chrono::minutes(1);
    record.finished = finished;
    record.verified = {"20261122-101500F"};
    record.damage_count = damaged.size();
    record.damaged = std::move(damaged);
    ASSERT_OK(write_verify_record(*repository_, "main", record));
  }
  void remove_all(const std::string& prefix) {
    const auto objects = store_->list_all(prefix);
    ASSERT_OK(objects);
    for (const ObjectInfo& object : *objects) ASSERT_OK(store_->remove(object.key));
  }
  std::vector<std::string> with_command(const std::string& command) {
    again();
    server_.settings["archive_command"] = command;
    return run();
  }

  testing::SampleCluster cluster_;
};

TEST_F(Examiners, FindNothingWhereAllIsWell) {
  EXPECT_THAT(run(), IsEmpty());
  EXPECT_EQ(state_->worst(), Severity::kInfo);
}

TEST_F(Examiners, CodesAreKnownOnce) {
  std::set<std::string_view> seen;
  for (const FindingCode& code : finding_codes()) {
    EXPECT_TRUE(seen.insert(code.code).second) << code.code;
    EXPECT_EQ(find_finding_code(code.code), &code);
    EXPECT_THAT(std::string(code.severities), AnyOf("info", "warning", "error", "info or warning", "warning or error"));
  }
  EXPECT_EQ(find_finding_code("nothing"), nullptr);
}

TEST_F(Examiners, AcceptedWarningsAreInformation) {
  server_.settings["fsync"] = "off";
  options_.ignored = {"fsync_off", "archive_mode_off"};
  EXPECT_THAT(run(), ElementsAre("info fsync_off"));
  EXPECT_TRUE(state_->findings[0].ignored);

  again();
  server_.settings["archive_mode"] = "off";
  options_.ignored = {"archive_mode_off"};
  EXPECT_THAT(run(), Contains("error archive_mode_off")) << "errors cannot be ignored";
}

TEST_F(Examiners, WorstComesFirst) {
  server_.settings["fsync"] = "off";
  options_.places.erase(2);
  options_.thresholds.backup_age = std::chrono::minutes(1);
  EXPECT_THAT(run(), ElementsAre("error backup_old", "warning fsync_off", "info no_repository_elsewhere"));
  EXPECT_EQ(state_->worst(), Severity::kError);
}

TEST_F(Examiners, WithoutAServerFilesAndRepositoryAreStillLookedAt) {
  server_down_ = true;
  options_.thresholds.backup_age = std::chrono::hours(1);
  places_["/repo"].device = 1;
  std::string control = *read_file(cluster_.at("global/pg_control"));
  EXPECT_THAT(run(), UnorderedElementsAre("error server_unreachable", "error backup_old",
                                          "warning repository_on_data_filesystem", "warning full_page_writes_off"));
}

// -- Archiving.

TEST_F(Examiners, CommandThatHidesFailureIsAnErrorAndStillTried) {
  EXPECT_THAT(with_command("pgark --stanza=main archive-push %p || true"),
              ElementsAre("error archive_command_hides_failure"));
  EXPECT_THAT(found("archive_command_hides_failure").what, HasSubstr("'|| true'"));
  EXPECT_TRUE(state_->repositories[0].archived_after.has_value());
  EXPECT_THAT(with_command("pgark --stanza=main archive-push"), ElementsAre("error archive_command_without_path"));
  EXPECT_THAT(with_command("cp %p /archive/%f"),
              ElementsAre("warning archive_command_foreign", "warning archive_command_unsafe_copy"));
  EXPECT_THAT(with_command("pgark --stanza=main archive-push %p && cp %p /second/%f"), IsEmpty());
}

TEST_F(Examiners, ScriptIsAcceptedWithoutTheCheckOfTheMode) {
  server_.settings["archive_command"] = "/usr/local/bin/archive.sh %p";
  options_.foreign_archive_command = true;
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(Examiners, ArchiverThatFailsIsAnErrorUnlessItWorksAgain) {
  server_.failed_count = 3;
  server_.failed_age = 5;
  server_.archived_age = 100;
  EXPECT_THAT(run(), ElementsAre("error archiver_failing"));
  EXPECT_THAT(found("archiver_failing").what, HasSubstr("failed 3 times"));

  again();
  server_.failed_age = 100;
  server_.archived_age = 5;
  EXPECT_THAT(run(), ElementsAre("info archiver_failed_lately"));

  again();
  server_.failed_age = 200'000;
  server_.archived_age = 5;
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(Examiners, ArchiverIsToldOfOnce) {
  server_.on_switch = [] {};
  server_.failed_age = 5;
  server_.archived_age.reset();
  options_.archive_timeout = std::chrono::seconds(1);
  EXPECT_THAT(run(), ElementsAre("error wal_not_archived"));
}

TEST_F(Examiners, WithoutArchiveTimeoutALittleUsedServerIsWarnedOf) {
  server_.settings["archive_timeout"] = "0";
  EXPECT_THAT(run(), IsEmpty()) << "nothing is known yet of how much is written";

  again();
  server_.settings["archive_timeout"] = "0";
  clock_.set_start(kNow + std::chrono::hours(8));
  store_clock_.set_start(kNow + std::chrono::hours(8));
  EXPECT_THAT(run(), ElementsAre("warning archive_timeout_off"));

  again();
  clock_.set_start(kNow + std::chrono::hours(8));
  store_clock_.set_start(kNow + std::chrono::hours(8));
  EXPECT_THAT(run(), IsEmpty()) << "it is set";
}

TEST_F(Examiners, StandbyIsAskedWhatItDoesOncePromoted) {
  server_.in_recovery = true;
  EXPECT_THAT(run(), ElementsAre("info standby_archive_mode_on"));
  again();
  server_.in_recovery = true;
  server_.settings["archive_mode"] = "off";
  EXPECT_THAT(run(), ElementsAre("warning standby_archive_mode_off"));
  again();
  server_.in_recovery = true;
  server_.settings["archive_mode"] = "always";
  EXPECT_THAT(run(), IsEmpty());
}

// -- Backups, restore tests, verify.

TEST_F(Examiners, BackupThatIsTooOldIsAWarningThenAnError) {
  options_.thresholds.backup_age = std::chrono::hours(6);  // It ended at 10:15, and it is 16:00.
  EXPECT_THAT(run(), IsEmpty());
  again();
  options_.thresholds.backup_age = std::chrono::hours(5);
  EXPECT_THAT(run(), ElementsAre("warning backup_old"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("20261122-101500F, is 5 hours old, and 5 hours is allowed"));
  again();
  options_.thresholds.backup_age = std::chrono::minutes(110);
  EXPECT_THAT(run(), ElementsAre("error backup_old"));
}

TEST_F(Examiners, NoBackupIsAWarning) {
  remove_all("main/backup/");
  EXPECT_THAT(run(), ElementsAre("warning no_backup"));
}

TEST_F(Examiners, BackupFromTheFutureIsAWarning) {
  clock_.set_start(kNow - std::chrono::hours(6));
  store_clock_.set_start(kNow - std::chrono::hours(6));
  EXPECT_THAT(run(), Contains("warning backup_in_future"));
}

TEST_F(Examiners, DamagedPagesOfTheNewestBackupAreAnError) {
  damaged_pages_ = 7;
  back_up("20261122-121500F", 3);
  EXPECT_THAT(run(), ElementsAre("error backup_pages_damaged"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("7 pages failed their checksum when backup 20261122-121500F"));

  again();
  damaged_pages_ = 7;
  back_up("20261122-111500F", 3);
  damaged_pages_ = 0;
  back_up("20261122-121500F", 3);
  EXPECT_THAT(run(), IsEmpty()) << "the newest is clean";
}

TEST_F(Examiners, RestoreTestsAreMissedWhenOldOrFailed) {
  remove_all("main/drill/");
  EXPECT_THAT(run(), ElementsAre("info drill_none"));
  again();
  options_.thresholds.drill_age = std::chrono::hours(47);
  EXPECT_THAT(run(), ElementsAre("warning drill_old"));
  again();
  write_drill("20261121-100000", false, kNow - std::chrono::days(1));
  EXPECT_THAT(run(), ElementsAre("error drill_failed"));
  again();
  write_drill("20261119-100000", false, kNow - std::chrono::days(3));
  EXPECT_THAT(run(), IsEmpty()) << "a later one passed";
  again();
  ASSERT_OK(write_record(*repository_, ObjectKey{"main/drill/other"}, "[1, 2]"));
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(Examiners, VerifyIsMissedWhenOldAndItsDamageTold) {
  remove_all("main/verify/");
  EXPECT_THAT(run(), ElementsAre("info verify_none"));
  again();
  options_.thresholds.verify_age = std::chrono::hours(47);
  EXPECT_THAT(run(), ElementsAre("warning verify_old"));
  again();
  write_verify(kNow - std::chrono::hours(1), {{"20261122-101500F", 3, "3 files are damaged"}});
  EXPECT_THAT(run(), ElementsAre("error verify_damage"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("3 files are damaged"));
  again();
  write_verify(kNow - std::chrono::hours(1), {{"20261101-101500F", 3, "3 files are damaged"}});
  EXPECT_THAT(run(), IsEmpty()) << "that backup is gone";
}

// -- Where the repository is, and its room.

TEST_F(Examiners, RepositoryBesideTheDataIsAWarning) {
  places_["/repo"].device = 1;
  EXPECT_THAT(run(), ElementsAre("warning repository_on_data_filesystem"));

  again();
  const std::string place = cluster_.outside("fast");
  ASSERT_OK(make_directories(place));
  cluster_.link("pg_tblspc/16500", place);
  places_[cluster_.data() + "/pg_tblspc/16500"] = {.device = 2, .file_system = "ext4"};
  EXPECT_THAT(run(), ElementsAre("warning repository_on_data_filesystem"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("pg_tblspc/16500"));
}

TEST_F(Examiners, RepositoriesOfThisHostAloneAreTold) {
  options_.places.erase(2);
  EXPECT_THAT(run(), ElementsAre("info no_repository_elsewhere"));
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("repo2-path"));
  again();
  places_["/elsewhere"].is_network = false;
  EXPECT_THAT(run(), ElementsAre("info no_repository_elsewhere"));
  again();
  options_.places[2].path.clear();  // No directory: an object store.
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(Examiners, RepositoryInMemoryOrInClearIsTold) {
  places_["/repo"].is_memory = true;
  EXPECT_THAT(run(), ElementsAre("warning repository_in_memory"));
  again();
  places_["/repo"].is_network = true;
  EXPECT_THAT(run(), ElementsAre("info repository_unencrypted"));
}

TEST_F(Examiners, WrongAndSingleKeysAndOtherRecipientsAreTold) {
  const auto alice = generate_age_identity();
  const auto bob = generate_age_identity();
  ASSERT_TRUE(alice && bob);
  const auto config = [](const char* passphrase, std::vector<std::string> recipients) {
    KeyConfig out;
    out.sealed = true;
    out.passphrase = NamedSecret{"repo1-cipher-pass", Secret::copy_of(as_bytes(passphrase))};
    out.recipients = std::move(recipients);
    return out;
  };
  ASSERT_OK(create_keyring(*store_, repository_->id(), config("right", {})));
  key_config_ = [&](unsigned) { return Result<KeyConfig>(config("right", {})); };
  EXPECT_THAT(run(), ElementsAre("warning key_single"));
  EXPECT_THAT(state_->findings[0].mend, HasSubstr("add-recipient"));

  again();
  ASSERT_OK(create_keyring(*store_, repository_->id(),
                           config("right", {to_string(alice->recipient), to_string(bob->recipient)})));
  key_config_ = [&](unsigned) { return Result<KeyConfig>(config("right", {to_string(alice->recipient)})); };
  EXPECT_THAT(run(), ElementsAre("warning recipients_differ"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr(to_string(bob->recipient)));

  again();
  ASSERT_OK(create_keyring(*store_, repository_->id(),
                           config("right", {to_string(alice->recipient), to_string(bob->recipient)})));
  key_config_ = [&](unsigned) {
    KeyConfig both = config("wrong", {});
    both.identities.push_back({"/identity", format_age_identity(*alice)});
    return Result<KeyConfig>(std::move(both));
  };
  EXPECT_THAT(run(), ElementsAre("error key_wrong"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("repo1-cipher-pass does not open"));
}

TEST_F(Examiners, NoRetentionIsAWarningWhereItIsKnown) {
  options_.places[1].retention = RetentionRules{};
  EXPECT_THAT(run(), ElementsAre("warning retention_none"));
  again();
  options_.places[1].retention.reset();
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(Examiners, RoomForLessThanAFullIsAWarning) {
  stored_bytes_ = 60 * kGiB;
  back_up("20261122-121500F", 3);
  EXPECT_THAT(run(), ElementsAre("warning space_below_next_full"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("needs about 60.0 GiB"));
  again();
  stored_bytes_ = 40 * kGiB;
  back_up("20261122-121500F", 3);
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(Examiners, RetentionThatDoesNotFitIsForecast) {
  stored_bytes_ = 8 * kGiB;
  remove_all("main/backup/");
  for (int day = 16; day <= 21; ++day) {
    const Timestamp stopped = kNow - std::chrono::days(22 - day);
    back_up(make_backup_label(BackupType::kFull, stopped, ""), 2, stopped);
  }
  back_up("20261122-121500F", 3);
  options_.places[1].retention->full = 30;
  EXPECT_THAT(run(), ElementsAre("warning space_forecast"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("full in about 7 days"));
  ASSERT_TRUE(state_->repositories[0].forecast.has_value());

  SetUp();
  for (int day = 16; day <= 21; ++day) {
    const Timestamp stopped = kNow - std::chrono::days(22 - day);
    back_up(make_backup_label(BackupType::kFull, stopped, ""), 2, stopped);
  }
  back_up("20261122-121500F", 3);
  EXPECT_THAT(run(), IsEmpty()) << "two are kept";
}

// -- The server and its files.

TEST_F(Examiners, SettingsThatRiskTheDataAreWarnedOf) {
  server_.settings["fsync"] = "off";
  EXPECT_THAT(run(), ElementsAre("warning fsync_off"));
  again();
  server_.settings["full_page_writes"] = "off";
  EXPECT_THAT(run(), ElementsAre("warning full_page_writes_off"));
  again();
  server_.settings["data_checksums"] = "off";
  EXPECT_THAT(run(), IsEmpty()) << "pg_control says that they are on";
  again();
  server_.settings["data_checksums"] = "off";
  options_.data_directory.clear();
  EXPECT_THAT(run(), ElementsAre("warning checksums_off"));
}

TEST_F(Examiners, ClocksThatDifferAreWarnedOf) {
  server_.ahead = std::chrono::seconds(11);
  EXPECT_THAT(run(), ElementsAre("warning clock_skew"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("the server is 11 s ahead of"));
  again();
  server_.ahead = std::chrono::seconds(-9);
  EXPECT_THAT(run(), IsEmpty());
  server_.ahead = {};
  again();
  server_.ahead = {};
  store_clock_.set_start(kNow - std::chrono::hours(1));
  EXPECT_THAT(run(), ElementsAre("warning clock_skew"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("3600 s behind"));
  EXPECT_EQ(state_->findings[0].repo, 1u);
}

TEST_F(Examiners, CollationsOfAnotherVersionAreWarnedOf) {
  server_.other_collation = {"app", "shop"};
  EXPECT_THAT(run(), ElementsAre("warning collation_mismatch"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("databases app, shop"));
}

TEST_F(Examiners, UnloggedTablesAreCountedOverDatabases) {
  server_.unlogged["app"] = {{"public.cache", "8192"}, {"public.queue", "65536"}};
  server_.unlogged["postgres"] = {{"public.scratch", "0"}};
  server_.unlogged["closed"] = {{"public.never", "0"}};
  EXPECT_THAT(run(), ElementsAre("info unlogged_tables"));
  EXPECT_THAT(state_->findings[0].what,
              HasSubstr("3 unlogged tables, the biggest is public.queue in app with 65536 bytes"));
}

TEST_F(Examiners, LibrariesThatARestoreNeedsAreTold) {
  server_.with_libraries["app"] = {{"pg_trgm"}};
  server_.settings["shared_preload_libraries"] = "pg_stat_statements, \"$libdir/auto_explain\"";
  EXPECT_THAT(run(), ElementsAre("info extension_libraries"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("auto_explain, pg_stat_statements, pg_trgm"));
}

TEST_F(Examiners, LinksAreTold) {
  cluster_.link("log", "/");
  EXPECT_THAT(run(), ElementsAre("info links_outside"));
  EXPECT_THAT(state_->findings[0].what, HasSubstr("log to /"));
  std::filesystem::remove(cluster_.at("log"));
  again();
  cluster_.link("inner", cluster_.at("base"));
  EXPECT_THAT(run(), IsEmpty());
  again();
  cluster_.make_directory("nested");
  cluster_.link("pg_tblspc/16500", cluster_.at("nested"));
  EXPECT_THAT(run(), ElementsAre("warning tablespace_inside_data"));
}

TEST_F(Examiners, ConfigurationElsewhereIsTold) {
  server_.settings["data_directory"] = cluster_.data();
  server_.settings["config_file"] = cluster_.at("postgresql.conf");
  EXPECT_THAT(run(), IsEmpty());
  again();
  server_.settings["data_directory"] = cluster_.data();
  server_.settings["config_file"] = "/etc/postgresql/15/main/postgresql.conf";
  EXPECT_THAT(run(), ElementsAre("info config_outside"));
}

// -- What they stand on.

TEST(FilePlace, TellsTheKindOfAFileSystem) {
  const auto memory = look_at_file_place("/dev/shm");
  const auto here = look_at_file_place(".");
  ASSERT_TRUE(here.has_value());
  EXPECT_GT(here->total_bytes, here->free_bytes);
  EXPECT_EQ(look_at_file_place("..")->device, here->device);
  if (memory) {
    EXPECT_NE(memory->device, here->device);
    EXPECT_EQ(memory->is_memory, memory->file_system == "tmpfs");
  }
  EXPECT_EQ(look_at_file_place("/nowhere/at/all").error().code(), Errc::kNotFound);
}

TEST(FilePlace, FindsTheTypeOfAMount) {
  const std::string mounts =
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "30 22 0:45 / /mnt/nas rw shared:7 master:2 - fuse.sshfs nas:/srv rw\n"
      "broken\n";
  EXPECT_EQ(mounted_type(mounts, 0, 45), "fuse.sshfs");
  EXPECT_EQ(mounted_type(mounts, 8, 1), "ext4");
  EXPECT_EQ(mounted_type(mounts, 8, 2), "");
  EXPECT_EQ(mounted_type("", 8, 2), "");
}

// -- Dumps.

class DumpExaminer : public Examiners {
 protected:
  void SetUp() override {
    Examiners::SetUp();
    server_.roles = {"app_owner", "postgres"};
  }
  /// A dump of database app as `shape` left it; its label.
  std::string dump(
      std::chrono::hours age, const std::function<void(DumpMeta&)>& shape = [](DumpMeta&) {}) {
    Dump one;
    one.meta.started = one.meta.stopped = kNow - age;
    one.meta.label = next_dump_label(one.meta.started, *list_used_dump_labels(*repository_, "main"));
    one.meta.globals = true;
    one.meta.roles = {{"app_owner", true, false, {}}, {"postgres", true, true, {}}};
    for (const char* name : {"app", "closed"}) one.meta.databases.emplace_back().name = name;
    one.meta.databases[0].extensions = {{"app", "plpgsql", "1.0"}, {"app", "hstore", "1.8"}};
    one.meta.series = dump_series({}, {}, "");
    shape(one.meta);
    EXPECT_TRUE(write_dump(*repository_, "main", one).has_value());
    return one.meta.label;
  }
  void prove(const std::string& label, std::chrono::hours age, bool ok = true) {
    DumpVerdict verdict;
    verdict.when = kNow - age;
    verdict.ok = ok;
    if (!ok) verdict.findings = {"table app.orders has 5 rows instead of 7"};
    EXPECT_TRUE(write_dump_verdict(*repository_, "main", label, verdict).has_value());
  }
};

TEST_F(DumpExaminer, IsSilentWithoutDumpsAndWhereAllIsWell) {
  EXPECT_THAT(run(), IsEmpty());
  again();
  server_.roles = {"app_owner", "postgres"};
  server_.dumped_extensions["app"] = {{"hstore"}};
  prove(dump(std::chrono::hours(20)), std::chrono::hours(10));
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(DumpExaminer, AgeCountsForASchedule) {
  dump(std::chrono::hours(24 * 30));
  prove(dump(std::chrono::hours(24 * 20)), std::chrono::hours(1));
  EXPECT_THAT(run(), ElementsAre("warning dump_old"));
  EXPECT_THAT(found("dump_old").what, AllOf(HasSubstr("all databases"), HasSubstr("20 days old")));
  again();
  prove(dump(std::chrono::hours(24 * 20)), std::chrono::hours(1));
  EXPECT_THAT(run(), ElementsAre("info dump_old")) << "a single one may be meant to be old";
}

TEST_F(DumpExaminer, ProofIsWanted) {
  const std::string label = dump(std::chrono::hours(20));
  EXPECT_THAT(run(), ElementsAre("info dump_not_verified"));
  again();
  prove(dump(std::chrono::hours(20)), std::chrono::hours(24 * 100));
  EXPECT_THAT(run(), ElementsAre("warning dump_not_verified"));
  again();
  prove(dump(std::chrono::hours(40)), std::chrono::hours(30));
  prove(dump(std::chrono::hours(20)), std::chrono::hours(10), false);
  EXPECT_THAT(run(), ElementsAre("error dump_verify_failed"));
  EXPECT_THAT(found("dump_verify_failed").what, HasSubstr("5 rows instead of 7"));
}

TEST_F(DumpExaminer, WhatNoDumpHasIsTold) {
  server_.roles = {"app_owner", "made_since", "postgres"};
  server_.dumped_extensions["app"] = {{"hstore"}, {"postgis"}};
  prove(dump(std::chrono::hours(20), [](DumpMeta& meta) { meta.databases.pop_back(); }), std::chrono::hours(1));
  EXPECT_THAT(run(),
              UnorderedElementsAre("info roles_not_dumped", "info database_not_dumped", "info extensions_not_dumped"));
  EXPECT_THAT(found("roles_not_dumped").what, HasSubstr("made_since"));
  EXPECT_THAT(found("database_not_dumped").what, HasSubstr("closed"));
  EXPECT_THAT(found("extensions_not_dumped").what, AllOf(HasSubstr("postgis of app"), Not(HasSubstr("hstore"))));

  // Without a physical backup it is nowhere.
  again();
  remove_all("main/backup/");
  silent_ = {"no_backup", "drill_none", "verify_none", "verify_old", "drill_old"};
  prove(dump(std::chrono::hours(20), [](DumpMeta& meta) { meta.databases.pop_back(); }), std::chrono::hours(1));
  EXPECT_THAT(run(), Contains("warning database_not_dumped"));
}

TEST_F(DumpExaminer, DumpsInPartsHaveNoExtensionsAndMayHaveNoRoles) {
  server_.dumped_extensions["app"] = {{"hstore"}};
  prove(dump(std::chrono::hours(20),
             [](DumpMeta& meta) {
               meta.selection = {"--schema=tenant_1"};
               meta.globals = false;
             }),
        std::chrono::hours(1));
  EXPECT_THAT(run(), UnorderedElementsAre("warning roles_not_dumped", "info extensions_not_dumped"));
}

TEST_F(DumpExaminer, UnreadableDumpIsAnError) {
  const std::string label = dump(std::chrono::hours(30));
  prove(dump(std::chrono::hours(20)), std::chrono::hours(1));
  ASSERT_OK(store_->remove(dump_manifest_key("main", label)));
  ASSERT_OK(store_->put(dump_manifest_key("main", label), random_bytes(300, 1)));
  EXPECT_THAT(run(), ElementsAre("error dump_unreadable"));
}

}  // namespace
}  // namespace pgark
