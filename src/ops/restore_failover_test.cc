// Restores from several repositories, of which some are damaged, lack what is asked for, or are gone.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "ops/repo_copy.h"
#include "ops/restore.h"
#include "testing/restore_fixture.h"
#include "testing/sample_cluster_record.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::kSampleLabel;
using ::pgark::testing::noise;
using ::pgark::testing::RestoreFixture;
using ::pgark::testing::SampleBackup;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// repo1 (store_, repository_) has a backup in small packs; repo2 is a copy of it, with an identity of its own.
class RestoreFailover : public RestoreFixture {
 protected:
  void SetUp() override {
    RestoreFixture::SetUp();
    ASSERT_OK(write_cluster(*repository_, "main", testing::sample_cluster_record(7654321, 16u << 20)));
    sample_ = std::make_unique<SampleBackup>(*repository_, kSampleLabel, 256u << 10);
    Rng rng(5);
    sample_->minimal_cluster();
    for (int i = 0; i < 6; ++i) sample_->file(fmt::format("base/1/{}", 16384 + i), noise(rng, 600u << 10));
    for (int i = 0; i < 40; ++i) sample_->file(fmt::format("base/1/{}", 20000 + i), noise(rng, 500), 0600, true);
    sample_->scattered_file("base/1/30000", noise(rng, 40 * kHashBlockBytes), 3);
    finish(*sample_);
    store2_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>("repo2"));
    repository2_ = new_repository(*store2_);
    copy_to(*repository2_);
  }

  void copy_to(const Repository& to) {
    RepoCopyRequest copy;
    copy.stanza = "main";
    Progress progress;
    ASSERT_OK(copy_stanza(*repository_, to, copy, system_clock(), cancel_, progress));
  }

  std::vector<RepositorySource> sources() {
    return {{.name = "repo1", .open = [this] { return open(1, *repository_); }},
            {.name = "repo2", .open = [this] { return open(2, *repository2_); }}};
  }
  Result<const Repository*> open(int number, const Repository& repository) {
    opened_.push_back(number);
    if (closed_ == number) return Error(Errc::kTransient, fmt::format("connect to repo{}: no route to host", number));
    return &repository;
  }
  Result<RestoreReport> restore_from_both(const RestoreRequest& asked) {
    const auto both = sources();
    Progress progress;
    return run_restore(both, "main", asked, system_clock(), cancel_, progress);
  }
  Result<RestoreReport> restore_from_both() { return restore_from_both(request()); }

  const SourceReport* of(const RestoreReport& report, const std::string& name) {
    for (const SourceReport& source : report.sources)
      if (source.name == name) return &source;
    return nullptr;
  }
  void expect_restored() {
    expect_files(*sample_);
    EXPECT_FALSE(exists("pgark.restore"));
  }
  /// One bit of an object turned, for good.
  void damage(FaultStore& store, const std::string& key, double place) {
    ObjectStore& inner = store.inner();
    const ObjectKey name{key};
    ASSERT_OK_AND_ASSIGN(Buffer content, inner.get(name));
    content.data()[static_cast<size_t>(static_cast<double>(content.size()) * place)] ^= std::byte{4};
    ASSERT_OK(inner.remove(name));
    ASSERT_OK(inner.put(name, content));
  }
  static std::string pack(unsigned number) { return fmt::format("main/pack/{}/{:06}", kSampleLabel, number); }

  std::unique_ptr<SampleBackup> sample_;
  std::unique_ptr<FaultStore> store2_;
  std::unique_ptr<Repository> repository2_;
  std::vector<int> opened_;
  int closed_ = 0;
};

TEST_F(RestoreFailover, DoesNotTouchTheSecondWhileTheFirstIsGood) {
  closed_ = 2;
  const auto report = restore_from_both();
  ASSERT_OK(report);
  EXPECT_THAT(opened_, Each(1));
  EXPECT_EQ(report->repository, "repo1");
  ASSERT_THAT(report->sources, SizeIs(1));
  EXPECT_THAT(report->sources.front().failures, IsEmpty());
  EXPECT_EQ(report->sources.front().fetched_bytes, report->fetched_bytes);
  expect_restored();
}

TEST_F(RestoreFailover, TakesDamagedExtentsFromTheSecond) {
  damage(*store_, pack(2), 0.3);
  damage(*store_, pack(4), 0.5);
  const auto report = restore_from_both();
  ASSERT_OK(report);
  expect_restored();
  ASSERT_NE(of(*report, "repo2"), nullptr);
  EXPECT_EQ(of(*report, "repo2")->extent_count, 2u);  // And nothing but them.
  ASSERT_NE(of(*report, "repo1"), nullptr);
  ASSERT_EQ(of(*report, "repo1")->failure_count, 2u);
  for (const SourceFailure& failure : of(*report, "repo1")->failures) {
    EXPECT_EQ(failure.error.code(), Errc::kCorrupt);
    EXPECT_TRUE(failure.object == pack(2) || failure.object == pack(4)) << failure.object;
  }
}

TEST_F(RestoreFailover, TakesAMissingPackFromTheSecond) {
  ASSERT_OK(store_->remove(ObjectKey{pack(3)}));
  const auto report = restore_from_both();
  ASSERT_OK(report);
  expect_restored();
  ASSERT_EQ(of(*report, "repo1")->failure_count, 1u);
  EXPECT_EQ(of(*report, "repo1")->failures.front().object, pack(3));
  EXPECT_GT(of(*report, "repo2")->fetched_bytes, 0u);
  EXPECT_LT(of(*report, "repo2")->fetched_bytes, of(*report, "repo1")->fetched_bytes);
}

TEST_F(RestoreFailover, NeedsEachExtentOnlyFromOne) {
  // Neighbours in one pack, each damaged elsewhere: no stretch as a whole is good anywhere.
  damage(*store_, pack(2), 0.2);
  damage(*store2_, pack(2), 0.7);
  ASSERT_OK(store_->remove(ObjectKey{pack(3)}));
  ASSERT_OK(store2_->remove(ObjectKey{pack(4)}));
  ASSERT_OK(restore_from_both());
  expect_restored();
}

TEST_F(RestoreFailover, SaysWhatIsDamagedEverywhere) {
  damage(*store_, pack(2), 0.3);
  damage(*store2_, pack(2), 0.3);
  auto report = restore_from_both();
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kCorrupt) << report.error().to_string();
  EXPECT_THAT(report.error().to_string(),
              AllOf(HasSubstr("backup " + kSampleLabel + ": file base/1/"), HasSubstr(" blocks "), HasSubstr(pack(2)),
                    HasSubstr("repo1, repo2: "), HasSubstr("restore another backup with --set")));
  expect_not_startable();
}

TEST_F(RestoreFailover, DamageAndAnUnreachableCopyMayPass) {
  damage(*store_, pack(2), 0.3);
  closed_ = 2;
  auto report = restore_from_both();
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kTransient) << report.error().to_string();
  EXPECT_THAT(report.error().to_string(), AllOf(HasSubstr(pack(2)), HasSubstr("no route to host")));
  closed_ = 0;
  RestoreRequest again = request();
  again.delta = true;
  ASSERT_OK(restore_from_both(again));
  expect_restored();
}

TEST_F(RestoreFailover, GoesOnWhenTheFirstIsGoneInTheMiddle) {
  for (const Errc code : {Errc::kTransient, Errc::kPermission}) {
    for (const uint64_t nth : {1u, 2u, 5u, 9u}) {
      fs::remove_all(root());
      store_->set_rules({{.call = StoreCall::kRead, .prefix = "main/pack/", .nth = nth, .every = 1, .code = code}});
      const auto report = restore_from_both();
      ASSERT_OK(report);
      ASSERT_TRUE(store_->unfired().empty()) << nth;
      expect_restored();
      ASSERT_NE(of(*report, "repo1"), nullptr);
      // Told once, and then left alone but for reads that were on their way.
      ASSERT_EQ(of(*report, "repo1")->failure_count, 1u);
      EXPECT_EQ(of(*report, "repo1")->failures.front().object, "");
      EXPECT_LE(store_->fired().size(), 16u);
      EXPECT_GT(of(*report, "repo2")->fetched_bytes, 0u);
    }
  }
}

TEST_F(RestoreFailover, SurvivesEveryReadOfTheFirstThatFails) {
  for (const Fault fault : {Fault::kFail, Fault::kTruncate, Fault::kCorrupt}) {
    // All reads of the plan, and some of the packs, which are alike.
    for (uint64_t nth = 1;; nth += nth < 20 ? 1 : 6) {
      fs::remove_all(root());
      store_->set_rules({{.call = StoreCall::kRead, .nth = nth, .fault = fault, .code = Errc::kPermission}});
      const auto report = restore_from_both();
      if (!store_->unfired().empty()) {
        EXPECT_GT(nth, 5u);
        break;
      }
      ASSERT_TRUE(report.has_value()) << "read " << nth << ": " << report.error().to_string();
      expect_restored();
      ASSERT_FALSE(HasFailure()) << "read " << nth;
    }
  }
}

TEST_F(RestoreFailover, DeltaTakesListsAndExtentsFromTheSecond) {
  ASSERT_OK(restore_from_both());
  Rng rng(9);
  for (const char* path : {"base/1/16385", "base/1/30000"}) {
    ASSERT_OK_AND_ASSIGN(const File file, File::open(root() + "/" + path, O_RDWR));
    ASSERT_OK(file.pwrite(as_bytes(noise(rng, 8192)), 8192 * 3));
  }
  fs::remove(root() + "/base/1/16387");
  ASSERT_OK(store_->remove(ObjectKey{pack(2)}));
  damage(*store_, pack(3), 0.999);  // Its list.
  store_->set_rules({{.call = StoreCall::kRead, .prefix = pack(4), .every = 1, .code = Errc::kCorrupt}});
  RestoreRequest asked = request();
  asked.delta = true;
  const auto report = restore_from_both(asked);
  ASSERT_OK(report);
  EXPECT_GE(report->delta->changed_file_count, 3u);
  EXPECT_GE(of(*report, "repo1")->failure_count, 2u);
  expect_restored();
}

TEST_F(RestoreFailover, PlansOnTheSecondWhenTheFirstCannotBeOpened) {
  closed_ = 1;
  const auto report = restore_from_both();
  ASSERT_OK(report);
  EXPECT_EQ(report->repository, "repo2");
  expect_restored();
}

TEST_F(RestoreFailover, PlansOnTheSecondWhenTheFirstHasNoBackup) {
  ASSERT_OK(store_->remove(manifest_key("main", kSampleLabel)));
  const auto report = restore_from_both();
  ASSERT_OK(report);
  EXPECT_EQ(report->repository, "repo2");
  expect_restored();
}

TEST_F(RestoreFailover, UsesAGoodManifestWherever) {
  // Every part of it: document, chunks, index.
  for (const double place : {0.1, 0.5, 0.8, 0.95, 0.999}) {
    fs::remove_all(root());
    ASSERT_OK_AND_ASSIGN(const Buffer good, store_->get(manifest_key("main", kSampleLabel)));
    damage(*store_, manifest_key("main", kSampleLabel).value, place);
    const auto report = restore_from_both();
    ASSERT_TRUE(report.has_value()) << place << ": " << report.error().to_string();
    EXPECT_EQ(report->repository, "repo2") << place;
    expect_restored();
    ASSERT_OK(store_->remove(manifest_key("main", kSampleLabel)));
    ASSERT_OK(store_->put(manifest_key("main", kSampleLabel), good));
  }
}

TEST_F(RestoreFailover, PrefersANewerBackupThatOnlyTheSecondCanRead) {
  const std::string newer = "20261122-101600F";
  SampleBackup second(*repository_, newer);
  second.minimal_cluster();
  second.commit();
  copy_to(*repository2_);
  damage(*store_, manifest_key("main", newer).value, 0.999);
  const auto report = restore_from_both();
  ASSERT_OK(report);
  EXPECT_EQ(report->plan.backup.label, newer);
  EXPECT_EQ(report->repository, "repo2");
  // Where nobody can read it, the older one serves.
  fs::remove_all(root());
  damage(*store2_, manifest_key("main", newer).value, 0.999);
  const auto older = restore_from_both();
  ASSERT_OK(older);
  EXPECT_EQ(older->plan.backup.label, kSampleLabel);
  EXPECT_EQ(older->repository, "repo1");
}

TEST_F(RestoreFailover, PrefersTheRepositoryWhoseWalHoldsTheTarget) {
  const SampleBackup& sample = *sample_;
  {
    // The second has two segments more: with the first alone, the target would be moved to the end of its WAL.
    SampleBackup on_second(*repository2_, "20261122-101700F");
    on_second.archive_wal(2);
  }
  RestoreRequest asked = request();
  asked.target.kind = TargetKind::kTime;
  asked.target.time = SampleBackup::kCommitTime + std::chrono::seconds(90);
  asked.target_action = "promote";
  const auto report = restore_from_both(asked);
  ASSERT_OK(report);
  EXPECT_EQ(report->repository, "repo2");
  EXPECT_FALSE(report->plan.clamped);
  EXPECT_EQ(report->plan.last_commit->xid.value, SampleBackup::kCommitXid.value + 1);
  EXPECT_EQ(content("base/1/16384"), sample.files.at("base/1/16384"));
}

TEST_F(RestoreFailover, SaysWhatEachOfThemSaidIfNoneServes) {
  closed_ = 1;
  ASSERT_OK(store2_->remove(manifest_key("main", kSampleLabel)));
  auto report = restore_from_both();
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kTransient);
  EXPECT_THAT(report.error().to_string(),
              AllOf(HasSubstr("repo1: connect to repo1"), HasSubstr("repo2: stanza main has no backup")));
  EXPECT_FALSE(fs::exists(root()));
}

TEST_F(RestoreFailover, DoesNotReadAnotherBackupOfTheSameName) {
  // repo2 has a backup that was made at the same second, of other content.
  store2_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>("repo2"));
  repository2_ = new_repository(*store2_);
  Rng rng(6);
  SampleBackup other(*repository2_, kSampleLabel, 256u << 10);
  other.meta.started += std::chrono::microseconds(1);
  other.minimal_cluster();
  for (int i = 0; i < 6; ++i) other.file(fmt::format("base/1/{}", 16384 + i), noise(rng, 600u << 10));
  for (int i = 0; i < 40; ++i) other.file(fmt::format("base/1/{}", 20000 + i), noise(rng, 500), 0600, true);
  other.scattered_file("base/1/30000", noise(rng, 40 * kHashBlockBytes), 3);
  finish(other);
  ASSERT_OK(store_->remove(ObjectKey{pack(2)}));
  auto report = restore_from_both();
  ASSERT_FALSE(report.has_value());
  EXPECT_THAT(report.error().to_string(), HasSubstr("is another one of the same name"));
  expect_not_startable();
}

}  // namespace
}  // namespace pgark
