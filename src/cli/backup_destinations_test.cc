#include "cli/backup_destinations.h"

#include <gmock/gmock.h>

#include "cli/test_support.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Two repositories in memory, each of which may be out of reach.
class BackupDestinationsTest : public ScratchTest {
 protected:
  void SetUp() override {
    ScratchTest::SetUp();
    for (MemoryStore& store : stores_) ASSERT_NE(new_repository(store), nullptr);
    auto settings = resolve({"--stanza=main", "--pg1-path=/pg", "--repo1-path=/a", "--repo2-path=/b", "backup"});
    ASSERT_TRUE(settings.has_value()) << settings.error().to_string();
    settings_.emplace(std::move(*settings));
  }

  CommandContext context() {
    return {.settings = *settings_,
            .cancel = cancel_,
            .clock = system_clock(),
            .rng = rng_,
            .out = out_,
            .open_store = [this](unsigned repo, bool) -> Result<std::unique_ptr<ObjectStore>> {
              if (away_[repo - 1]) return Error(Errc::kTransient, "repo" + std::to_string(repo) + " does not answer");
              return std::unique_ptr<ObjectStore>(std::make_unique<testing::ForwardingStore>(stores_[repo - 1]));
            },
            .program = "/usr/bin/pgark"};
  }
  static std::vector<std::string> names(const BackupDestinations& destinations) {
    std::vector<std::string> names;
    for (const BackupDestination& one : destinations.all()) names.push_back(one.name);
    return names;
  }

  std::array<MemoryStore, 2> stores_;
  std::array<bool, 2> away_{};
  std::optional<Settings> settings_;
  StringOutput out_;
  CancelToken cancel_;
  Rng rng_{1};
};

TEST_F(BackupDestinationsTest, AreAllThatAnswerEachWithItsLease) {
  const CommandContext outer = context();
  BackupDestinations destinations;
  JobLeases leases(outer);
  const auto opened = destinations.open(outer);
  ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  EXPECT_FALSE(destinations.some_left_behind());
  const auto leased = destinations.take_leases(leases);
  ASSERT_TRUE(leased.has_value()) << leased.error().to_string();
  EXPECT_THAT(names(destinations), ElementsAre("repo1", "repo2"));
  for (const BackupDestination& one : destinations.all()) {
    ASSERT_TRUE(one.fence) << one.name;
    EXPECT_TRUE(one.fence().has_value());
  }
  EXPECT_FALSE(stores_[1].list_all("main/lease/backup").value().empty());
}

TEST_F(BackupDestinationsTest, LeaveBehindWhatDoesNotAnswerAndReportIt) {
  away_[0] = true;
  const CommandContext outer = context();
  BackupDestinations destinations;
  ASSERT_TRUE(destinations.open(outer).has_value());
  EXPECT_TRUE(destinations.some_left_behind());
  EXPECT_THAT(names(destinations), ElementsAre("repo2"));
  BackupReport report;
  report.stored_in = {"repo2"};
  Progress progress;
  destinations.catch_up(outer, report, progress);
  ASSERT_EQ(report.left_behind.size(), 1u);
  EXPECT_EQ(report.left_behind[0].name, "repo1");
  EXPECT_THAT(report.left_behind[0].error.message(), HasSubstr("repo1 does not answer"));
  EXPECT_THAT(report.stored_in, ElementsAre("repo2"));
}

TEST_F(BackupDestinationsTest, FailWithTheFirstErrorIfNoneAnswers) {
  away_ = {true, true};
  BackupDestinations destinations;
  const auto opened = destinations.open(context());
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().message(), HasSubstr("repo1 does not answer"));
  EXPECT_THAT(destinations.all(), IsEmpty());
}

}  // namespace
}  // namespace pgark
