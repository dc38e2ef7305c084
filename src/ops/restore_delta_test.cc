// Delta restore without a server: whatever was done to a directory, it becomes what a restore into an empty one makes,
// only what differs is fetched, and nothing outside is touched.
#include "ops/restore_delta.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/file.h"
#include "ops/restore.h"
#include "ops/restore_plan.h"
#include "testing/restore_fixture.h"
#include "testing/sample_cluster.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::kSampleLabel;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::pgark::testing::SampleCluster;
using ::pgark::testing::seed_of_test;
using ::pgark::testing::tree_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kBlock = 8192;

/// A cluster with files of every shape, restored once into an empty directory, which is what deltas are held against.
class DeltaRestore : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    Rng rng(7);
    SampleBackup backup(*repository_, kSampleLabel, 1u << 20);  // Several packs.
    backup.minimal_cluster();
    backup.directory("pg_wal");
    backup.directory("base/2");
    backup.directory("odd", 0500);
    backup.file("odd/file", "read only", 0400);
    backup.file("base/1/16384", noise(rng, 3u << 20));
    backup.file("base/1/tail", noise(rng, 5 * kBlock + 100));
    backup.file("base/1/empty", "");
    backup.file("base/1/hole", std::string(40 * kBlock, '\0'));
    backup.file("base/1/half",
                noise(rng, 200000) + std::string(50000, '\0') + noise(rng, kBlock * 3) + std::string(kBlock * 5, '\0'));
    for (int i = 0; i < 60; ++i)
      backup.file("base/2/" + std::to_string(20000 + i), noise(rng, rng.below(30000)), 0600, i % 4 != 0);
    finish(backup);
    RestoreRequest asked = request();
    ASSERT_OK(restore(asked));
    expected_ = tree();
    fs::create_directories(outside());
    ASSERT_OK(write_file_durable(outside() + "/2619", "outside"));
    ASSERT_OK(write_file_durable(outside() + "/16384", "outside"));
  }

  RestoreRequest delta_request() const {
    RestoreRequest asked = request();
    asked.delta = true;
    return asked;
  }
  static std::string noise_block() {
    Rng rng(11);
    return noise(rng, kBlock);
  }
  std::string at(const std::string& path) const { return root() + "/" + path; }
  std::string outside() const { return scratch_ / "outside"; }
  void expect_outside_untouched() const {
    EXPECT_EQ(read_file(outside() + "/2619").value_or(""), "outside");
    EXPECT_EQ(read_file(outside() + "/16384").value_or(""), "outside");
    EXPECT_EQ(std::distance(fs::directory_iterator(outside()), fs::directory_iterator()), 2);
  }
  /// The directory as it is; files that each restore writes anew without their times.
  std::map<std::string, std::string> tree() const {
    auto found = tree_of(root());
    for (const std::string file : {"backup_label", "postgresql.auto.conf", "recovery.signal"})
      if (const auto at = found.find(file); at != found.end())
        if (const size_t time = at->second.find(", time"); time != std::string::npos)
          at->second.erase(time, at->second.find(", hash") - time);
    return found;
  }
  void expect_right() const {
    const auto found = tree();
    for (const auto& [path, text] : expected_) {
      ASSERT_TRUE(found.contains(path)) << path << " is missing";
      EXPECT_EQ(found.at(path), text) << path;
    }
    for (const auto& [path, text] : found)
      EXPECT_TRUE(expected_.contains(path)) << path << " does not belong: " << text;
  }
  /// Write over a file that may be read-only.
  void overwrite(const std::string& path, uint64_t offset, const std::string& content) const {
    ASSERT_OK_AND_ASSIGN(const File file, File::open(at(path), O_WRONLY));
    ASSERT_OK(file.pwrite(as_bytes(content), offset));
  }
  DeltaReport mend(const RestoreRequest& asked, RestoreReport* whole = nullptr) {
    const auto report = restore(asked);
    EXPECT_TRUE(report.has_value()) << report.error().to_string();
    if (!report) return {};
    EXPECT_TRUE(report->delta.has_value());
    if (whole != nullptr) *whole = *report;
    return report->delta.value_or(DeltaReport{});
  }

  /// Something that happens to a file or a directory.
  void damage(Rng& rng, const std::string& file, const std::vector<std::string>& directories) {
    std::error_code gone;  // What damage before this took away cannot be damaged.
    const std::string path = at(file);
    // What a link has led outside is not ours to damage.
    if (!path_is_within(resolved_path(fs::path(path).parent_path().string()), resolved_path(root()))) return;
    const std::string directory = directories[rng.below(directories.size())];
    const uint64_t size = fs::is_regular_file(fs::symlink_status(path, gone)) ? fs::file_size(path, gone) : 0;
    switch (rng.below(11)) {
      case 0:
      case 1:
      case 2:
        if (size > 0) {
          const auto opened = File::open(path, O_WRONLY | O_NOFOLLOW);
          if (opened) (void)opened->pwrite(as_bytes(noise(rng, 1 + rng.below(3 * kBlock))), rng.below(size));
        }
        break;
      case 3:
        if (size > 0) fs::resize_file(path, rng.below(2 * size), gone);
        break;
      case 4:
        fs::remove_all(path, gone);
        break;
      case 5:
        fs::remove_all(path, gone);
        fs::create_symlink(outside() + "/2619", path, gone);
        break;
      case 6:
        fs::remove_all(path, gone);
        fs::create_directories(path + "/below", gone);
        break;
      case 7:
        (void)write_file_durable(path + ".stray", "x");
        break;
      case 8:
        (void)testing::remove_tree(at(directory));
        fs::create_directory_symlink(outside(), at(directory), gone);
        break;
      case 9:
        fs::permissions(fs::exists(fs::symlink_status(path, gone)) ? path : root(), fs::perms(rng.below(0777)),
                        fs::perm_options::nofollow, gone);
        break;
      default:
        (void)testing::remove_tree(at(directory));
    }
  }

  std::map<std::string, std::string> expected_;
};

TEST_F(DeltaRestore, FetchesNothingWhereNothingDiffers) {
  RestoreReport report;
  const DeltaReport delta = mend(delta_request(), &report);
  expect_right();
  // The settings file is restored before it is appended to.
  EXPECT_EQ(delta.changed_file_count, 1u);
  EXPECT_LT(report.written_bytes, 100u);
  EXPECT_EQ(delta.removed_count, 2u) << "backup_label and recovery.signal are written anew";
  EXPECT_GT(delta.matched_bytes, 3u << 20);
  EXPECT_LT(delta.compared_bytes - delta.matched_bytes, 2 * kBlock);
}

TEST_F(DeltaRestore, FetchesTheBlocksThatDiffer) {
  for (const uint64_t block : {3u, 4u, 200u}) overwrite("base/1/16384", block * kBlock + 5, "damage");
  RestoreReport report;
  const DeltaReport delta = mend(delta_request(), &report);
  expect_right();
  EXPECT_EQ(delta.changed_file_count, 2u);
  EXPECT_GE(report.written_bytes, 3 * kBlock);
  EXPECT_LT(report.written_bytes, 4 * kBlock);
  EXPECT_LT(report.fetched_bytes, 5u * kExtentBytes) << "blocks of an extent come with it, and no more";
  EXPECT_EQ(delta.compared_bytes - delta.matched_bytes, report.written_bytes);
}

TEST_F(DeltaRestore, MakesEverySizeRight) {
  ASSERT_EQ(::truncate(at("base/1/16384").c_str(), 100 * kBlock + 17), 0);
  ASSERT_EQ(::truncate(at("base/1/tail").c_str(), 0), 0);
  ASSERT_EQ(::truncate(at("base/1/hole").c_str(), kBlock), 0);
  ASSERT_OK(write_file_durable(at("base/1/empty"), "not empty"));
  overwrite("base/2/20001", 40000, "longer than it was");
  mend(delta_request());
  expect_right();
}

TEST_F(DeltaRestore, MakesHolesOfWhatShouldBeZeros) {
  overwrite("base/1/hole", 3 * kBlock, noise_block());
  overwrite("base/1/half", 204800 + 20000, "in the middle of a hole");
  overwrite("base/1/half", 200000 + 50000 + 3 * kBlock + 2 * kBlock, "at the end");
  mend(delta_request());
  expect_right();
  struct stat status {};
  ASSERT_EQ(::stat(at("base/1/hole").c_str(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
}

TEST_F(DeltaRestore, RemovesWhatDoesNotBelong) {
  fs::create_directories(at("base/99/deep/deeper"));
  ASSERT_OK(write_file_durable(at("base/99/deep/deeper/file"), "x"));
  ASSERT_EQ(::chmod(at("base/99/deep").c_str(), 0), 0);
  ASSERT_OK(write_file_durable(at("base/1/77777"), "x"));
  ASSERT_OK(write_file_durable(at("standby.signal"), ""));
  ASSERT_OK(write_file_durable(at("pg_wal/000000010000000000000009"), "x"));
  fs::create_symlink(outside(), at("base/1/link"));
  ASSERT_EQ(::mkfifo(at("base/1/pipe").c_str(), 0600), 0);
  const DeltaReport delta = mend(delta_request());
  expect_right();
  expect_outside_untouched();
  EXPECT_EQ(delta.removed_count, 11u) << "four below base/99, and five more, and what is written anew";
}

TEST_F(DeltaRestore, NeverFollowsLinks) {
  ASSERT_OK(testing::remove_tree(at("base/1")));
  fs::create_symlink(outside(), at("base/1"));
  ASSERT_OK(testing::remove_tree(at("base/2/20001")));
  fs::create_symlink(outside() + "/2619", at("base/2/20001"));
  ASSERT_OK(testing::remove_tree(at("odd")));
  fs::create_symlink(scratch_ / "nowhere", at("odd"));
  mend(delta_request());
  expect_right();
  expect_outside_untouched();
  EXPECT_FALSE(fs::exists(scratch_ / "nowhere"));
}

TEST_F(DeltaRestore, NeverTakesControlFileThroughALink) {
  fs::rename(at("global"), scratch_ / "elsewhere");
  fs::create_directory_symlink(scratch_ / "elsewhere", at("global"));
  mend(delta_request());
  expect_right();
  EXPECT_TRUE(fs::exists(scratch_ / "elsewhere/pg_control"));
}

TEST_F(DeltaRestore, ReplacesFilesOfOtherKinds) {
  fs::remove(at("base/1/16384"));
  fs::create_directories(at("base/1/16384/inside"));
  ASSERT_OK(testing::remove_tree(at("base/2")));
  ASSERT_OK(write_file_durable(at("base/2"), "a file"));
  fs::remove(at("global/pg_control"));
  fs::create_directories(at("global/pg_control/inside"));
  fs::create_directories(at("global/pg_control.pgark/inside"));
  mend(delta_request());
  expect_right();
}

TEST_F(DeltaRestore, ReplacesFilesWithFurtherLinks) {
  // As a copy made with `cp -al` has them.
  fs::create_hard_link(at("base/1/16384"), scratch_ / "kept");
  overwrite("base/1/16384", 0, "damage");
  fs::create_hard_link(at("global/pg_control"), scratch_ / "kept_control");
  const std::string kept = read_file(scratch_ / "kept").value_or("");
  mend(delta_request());
  expect_right();
  EXPECT_EQ(read_file(scratch_ / "kept").value_or("x"), kept) << "what else has the file must keep it as it was";
  EXPECT_TRUE(fs::exists(scratch_ / "kept_control"));
}

TEST_F(DeltaRestore, MakesModesAndTimesRight) {
  ASSERT_EQ(::chmod(at("base/1/16384").c_str(), 0), 0);
  ASSERT_EQ(::chmod(at("base/1/tail").c_str(), 0777), 0);
  ASSERT_EQ(::chmod(at("base/2").c_str(), 0), 0);
  ASSERT_EQ(::chmod(at("odd").c_str(), 0777), 0);
  ASSERT_EQ(::chmod(root().c_str(), 0755), 0);
  fs::last_write_time(at("base/1/half"), fs::file_time_type::clock::now());
  mend(delta_request());
  expect_right();
  EXPECT_EQ(mode(""), 0700u);
}

TEST_F(DeltaRestore, BringsBackWhatIsGone) {
  for (const char* path : {"base/1", "odd", "pg_wal", "postgresql.auto.conf", "global/pg_control"})
    ASSERT_OK(testing::remove_tree(at(path)));
  mend(delta_request());
  expect_right();
}

TEST_F(DeltaRestore, MakesAnythingRightAgain) {
  Rng rng(seed_of_test());
  std::vector<std::string> files;
  std::vector<std::string> directories;
  for (const auto& [path, text] : expected_)
    (text.find("bytes") != std::string::npos ? files : directories).push_back(path);
  std::erase(files, "PG_VERSION");
  for (int round = 0; round < 12; ++round) {
    const uint64_t count = 1 + rng.below(12);
    for (uint64_t i = 0; i < count; ++i) damage(rng, files[rng.below(files.size())], directories);
    mend(delta_request());
    expect_right();
    expect_outside_untouched();
    if (HasFailure()) FAIL() << "round " << round;
  }
}

TEST_F(DeltaRestore, GoesToAnOlderAndANewerBackup) {
  Rng rng(9);
  SampleBackup newer = new_backup("20261122-111500F");
  newer.meta.stopped += std::chrono::hours(1);
  newer.minimal_cluster();
  newer.file("base/1/16384", content("base/1/16384").substr(0, 1u << 20) + noise(rng, 1u << 20));
  newer.file("base/1/new", noise(rng, 30000));
  finish(newer);
  RestoreReport report;
  mend(delta_request(), &report);
  EXPECT_EQ(report.plan.backup.label, "20261122-111500F");
  expect_files(newer);
  EXPECT_FALSE(exists("base/2"));
  EXPECT_LT(report.written_bytes, (1u << 20) + 50000);
  RestoreRequest back = delta_request();
  back.set = kSampleLabel;
  mend(back);
  expect_right();
}

TEST_F(DeltaRestore, ComparesFilesWhoseBlockMapsAreInParts) {
  // As the manifest of a much fragmented file is.
  const auto manifest = ManifestReader::open(*repository_, "main", kSampleLabel);
  ASSERT_OK(manifest);
  ASSERT_OK_AND_ASSIGN(const BackupMeta old, read_backup(*repository_, "main", kSampleLabel));
  ASSERT_OK_AND_ASSIGN(ManifestWriter writer, ManifestWriter::create(*repository_, "main", "20261122-111500F"));
  std::vector<std::pair<FileEntry, std::vector<ExtentRef>>> later;
  for (size_t i = 0; i < manifest->chunk_count(); ++i) {
    ASSERT_OK_AND_ASSIGN(const FileChunk chunk, manifest->chunk(i));
    for (FileEntry file : chunk.files) {
      if (file.path == "base/1/16384") {
        ASSERT_GT(file.runs.size(), 9u);
        FileEntry rest = file;
        rest.continued = true;
        // The last two runs belong to no entry: a hole at the end, and one between the parts.
        rest.runs = {file.runs.begin() + 6, file.runs.end() - 2};
        later.emplace_back(rest, chunk.extents);
        file.runs.resize(4);
      }
      ASSERT_OK(writer.add(file, chunk.extents));
    }
  }
  for (const auto& [file, extents] : later) ASSERT_OK(writer.add(file, extents));
  BackupMeta meta = old;
  meta.label = "20261122-111500F";
  ASSERT_OK(std::move(writer).commit(manifest->packs().value(), encode_backup_meta(meta)));
  RestoreRequest fresh = request();
  fresh.set = meta.label;
  fresh.force = true;
  ASSERT_OK(restore(fresh));
  expected_ = tree();
  const std::string right = content("base/1/16384");
  // Damage in each part, between them, and behind them.
  for (const uint64_t offset : {10u, 5u * kExtentBytes, 7u * kExtentBytes, static_cast<unsigned>(right.size()) - 10})
    overwrite("base/1/16384", offset, "damage");
  RestoreReport report;
  RestoreRequest asked = delta_request();
  asked.set = meta.label;
  const DeltaReport delta = mend(asked, &report);
  expect_right();
  EXPECT_EQ(delta.changed_file_count, 2u) << "a file in parts is one file";
  EXPECT_LT(report.written_bytes, 3 * kBlock);
  ASSERT_EQ(::truncate(at("base/1/16384").c_str(), 100), 0);
  mend(asked);
  expect_right();
}

// -- What may be compared with what.

TEST_F(DeltaRestore, IsARestoreWhereThereIsNothing) {
  for (const bool absent : {true, false}) {
    ASSERT_OK(testing::remove_tree(root()));
    if (!absent) fs::create_directory(root());
    ASSERT_OK_AND_ASSIGN(const RestoreReport report, restore(delta_request()));
    EXPECT_FALSE(report.delta.has_value());
    expect_right();
  }
}

TEST_F(DeltaRestore, RefusesWhatIsNoDataDirectory) {
  fs::remove(at("PG_VERSION"));
  EXPECT_THAT(failure(delta_request(), Errc::kInvalid),
              AllOf(HasSubstr("is not empty"), HasSubstr("--delta overwrites only a PostgreSQL data directory")));
  EXPECT_TRUE(exists("global/pg_control"));
}

TEST_F(DeltaRestore, RefusesRunningServer) {
  ASSERT_OK(write_file_durable(at("postmaster.pid"), std::to_string(::getpid()) + "\n" + root() + "\n"));
  EXPECT_THAT(failure(delta_request(), Errc::kInvalid), HasSubstr("a PostgreSQL server is running"));
  EXPECT_TRUE(exists("global/pg_control"));
}

TEST_F(DeltaRestore, RefusesToThrowAwayWalThatWasNeverArchivedUnlessForced) {
  fs::create_directories(at("pg_wal/archive_status"));
  // The repository has 2 and 3: archived by hand, which leaves the .ready file.
  for (const char* name : {"000000010000000000000003.ready", "000000010000000000000005.ready", "x.ready",
                           "000000010000000000000004.ready", "00000002.history.done"})
    ASSERT_OK(write_file_durable(at("pg_wal/archive_status/") + name, ""));
  EXPECT_THAT(failure(delta_request(), Errc::kInvalid),
              AllOf(HasSubstr("holds 2 WAL files that the repository does not have, from 000000010000000000000004 on"),
                    HasSubstr("archive-push"), HasSubstr("--force")));
  EXPECT_TRUE(exists("global/pg_control"));
  EXPECT_TRUE(exists("pg_wal/archive_status/000000010000000000000005.ready"));
  // Once decided, a run that continues does not ask again.
  ASSERT_OK(write_file_durable(at("pgark.restore"), "{}"));
  mend(delta_request());
  expect_right();
  ASSERT_OK(write_file_durable(at("pg_wal/archive_status/000000010000000000000005.ready"), ""));
  RestoreRequest asked = delta_request();
  asked.force = true;
  mend(asked);
  expect_right();
}

TEST_F(DeltaRestore, RefusesAnotherClusterUnlessForced) {
  const SampleCluster other;
  fs::copy_file(other.at("global/pg_control"), at("global/pg_control"), fs::copy_options::overwrite_existing);
  EXPECT_THAT(failure(delta_request(), Errc::kInvalid),
              AllOf(HasSubstr("holds another cluster"), HasSubstr(std::to_string(SampleCluster::kSystemId)),
                    HasSubstr("give --force too")));
  EXPECT_TRUE(exists("global/pg_control"));
  RestoreRequest asked = delta_request();
  asked.force = true;
  mend(asked);
  expect_right();
}

// -- Failures.

TEST_F(DeltaRestore, EveryReadMayFailAndTheNextRunCompletes) {
  uint64_t failures = 0;
  for (uint64_t n = 1;; ++n) {
    for (const uint64_t block : {1u, 100u, 300u}) overwrite("base/1/16384", block * kBlock, "damage");
    ASSERT_EQ(::truncate(at("base/2/20004").c_str(), 3), 0);
    store_->set_rules({{.call = StoreCall::kRead,
                        .prefix = "main/pack/",
                        .nth = n,
                        .fault = Fault::kFail,
                        .code = Errc::kPermission}});
    auto report = restore(delta_request());
    const bool fired = store_->unfired().empty();
    store_->set_rules({});
    if (!fired) {
      EXPECT_TRUE(report.has_value());
      break;
    }
    ASSERT_FALSE(report.has_value()) << "read " << n;
    EXPECT_THAT(report.error().to_string(), HasSubstr("run restore again with --delta to complete it"));
    expect_not_startable();
    ++failures;
    mend(delta_request());
    expect_right();
  }
  EXPECT_GT(failures, 3u) << "lists of hashes and extents are read";
  expect_right();
}

TEST_F(DeltaRestore, CompletesARestoreThatWasCutOff) {
  for (const bool delta_before : {false, true}) {
    RestoreRequest before = request();
    before.force = !delta_before;
    before.delta = delta_before;
    before.process_max = 1;
    if (delta_before)
      for (uint64_t block = 0; block < 384; block += 2) overwrite("base/1/16384", block * kBlock, "damage");
    // Half way through the packs.
    store_->set_rules({{.call = StoreCall::kRead,
                        .prefix = "main/pack/",
                        .nth = 3,
                        .fault = Fault::kFail,
                        .code = Errc::kPermission}});
    ASSERT_FALSE(restore(before).has_value());
    store_->set_rules({});
    expect_not_startable();
    EXPECT_THAT(failure(request(), Errc::kInvalid), HasSubstr("run it again with --delta to complete it"));
    RestoreReport report;
    const DeltaReport delta = mend(delta_request(), &report);
    expect_right();
    EXPECT_GT(delta.matched_bytes, 0u) << "what was there already is not fetched again";
    EXPECT_LT(report.written_bytes, 4u << 20);
  }
}

TEST_F(DeltaRestore, DamageInTheRepositoryIsAnErrorOrHarmlessAndNeverAMatch) {
  int refused = 0;
  for (uint64_t n = 1;; ++n) {
    overwrite("base/1/16384", 0, "damage");
    store_->set_rules({{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = n, .fault = Fault::kCorrupt}});
    const auto report = restore(delta_request());
    const bool fired = store_->unfired().empty();
    store_->set_rules({});
    if (report) {
      expect_right();
    } else {
      EXPECT_EQ(report.error().code(), Errc::kCorrupt) << report.error().to_string();
      EXPECT_THAT(report.error().to_string(), HasSubstr("main/pack/"));
      expect_not_startable();
      ++refused;
    }
    if (!fired) break;
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace pgark
