#include "ops/archive_get.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/scratch.h"
#include "testing/wal_samples.h"

namespace pgark {
namespace {

using ::pgark::testing::sample_segment;
using ::pgark::testing::SampleWal;
using ::pgark::testing::ScratchDir;
using ::testing::HasSubstr;

constexpr pg::WalSegment kSegment{TimelineId{1}, 5};
const std::string kName = "000000010000000000000005";
const std::string kBefore = "what was there before";

class ArchiveGet : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("get");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
    ASSERT_OK(write_cluster(*repository_, "main",
                            {.number = 1,
                             .system_identifier = SampleWal{}.system_id,
                             .pg_major = 15,
                             .control_version = 1300,
                             .catalog_version = 202209061,
                             .wal_segment_bytes = SampleWal{}.segment_bytes,
                             .created = {}}));
    ASSERT_OK(write_file_durable(destination(), kBefore));
  }

  std::string destination() const { return scratch_ / "RECOVERYXLOG"; }
  void store(const std::string& name, Bytes content, unsigned generation = 0) {
    ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("main", 1, name, generation));
    ASSERT_OK(write_stored_file(*repository_, key, content, "{}"));
  }
  Result<ArchiveGetOutcome> get(const std::string& name) {
    return archive_get(*repository_, system_clock(), {"main", name, destination(), ""});
  }
  std::string delivered() { return read_file(destination()).value_or("nothing"); }
  size_t files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(scratch_.path()), {}));
  }

  ScratchDir scratch_;
  std::unique_ptr<FaultStore> store_;
  std::unique_ptr<Repository> repository_;
};

TEST_F(ArchiveGet, SaysAbsentOnlyWhenNothingIsListed) {
  for (const std::string& name : {kName, std::string("00000002.history"), kName + ".partial"}) {
    ASSERT_OK_AND_ASSIGN(const auto outcome, get(name));
    EXPECT_EQ(outcome, ArchiveGetOutcome::kAbsent) << name;
  }
  EXPECT_EQ(delivered(), kBefore);
  // A longer name with the same beginning is another file.
  store(kName + ".partial", sample_segment(kSegment, 1));
  ASSERT_OK_AND_ASSIGN(const auto outcome, get(kName));
  EXPECT_EQ(outcome, ArchiveGetOutcome::kAbsent);
}

TEST_F(ArchiveGet, MissingStanzaIsNoAbsence) {
  const auto outcome = archive_get(*repository_, system_clock(), {"other", kName, destination(), ""});
  ASSERT_FALSE(outcome.has_value());
  EXPECT_THAT(outcome.error().to_string(), HasSubstr("stanza other does not exist"));
}

TEST_F(ArchiveGet, RefusesNamesThatAreNoWalFiles) {
  for (const std::string& name : {std::string("../postgresql.conf"), kName + ".r1", std::string("")}) {
    EXPECT_FALSE(get(name).has_value()) << name;
  }
}

TEST_F(ArchiveGet, ReplacesDestinationAndLeavesNothingElse) {
  store(kName, sample_segment(kSegment, 1));
  ASSERT_OK(get(kName));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 1)));
  EXPECT_EQ(files(), 1u);
}

TEST_F(ArchiveGet, PassesOverSegmentOfAnotherClusterOrPlace) {
  store(kName, sample_segment(kSegment, 1, {.system_id = 42}));
  store(kName, sample_segment({TimelineId{1}, 6}, 1), 1);
  const auto refused = get(kName);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("none of 2 stored copies can be used"));
  EXPECT_EQ(delivered(), kBefore);
  store(kName, sample_segment(kSegment, 7), 2);
  ASSERT_OK(get(kName));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 7)));
}

TEST_F(ArchiveGet, UnwritableDestinationIsAnErrorAndLeavesNothing) {
  store(kName, sample_segment(kSegment, 1));
  EXPECT_FALSE(
      archive_get(*repository_, system_clock(), {"main", kName, scratch_ / "none/RECOVERYXLOG", ""}).has_value());
  ASSERT_OK(make_directories(scratch_ / "directory/full"));
  EXPECT_FALSE(archive_get(*repository_, system_clock(), {"main", kName, scratch_ / "directory", ""}).has_value());
  EXPECT_EQ(files(), 2u);
}

/// No failing store call makes a file that is there look absent, or leaves other bytes than the right ones.
TEST_F(ArchiveGet, EveryFailingStoreCallIsAnErrorOrTheRightBytes) {
  const Buffer segment = sample_segment(kSegment, 1);
  store(kName, segment);
  const std::pair<Fault, Errc> kinds[] = {{Fault::kFail, Errc::kTransient},      {Fault::kFail, Errc::kPermission},
                                          {Fault::kFail, Errc::kNotFound},       {Fault::kFailAfter, Errc::kTransient},
                                          {Fault::kDuplicate, Errc::kTransient}, {Fault::kTruncate, Errc::kTransient},
                                          {Fault::kCorrupt, Errc::kTransient}};
  for (const auto& [fault, code] : kinds) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(::testing::Message() << "fault " << static_cast<int>(fault) << " " << errc_name(code) << " call "
                                        << n);
      ASSERT_OK(write_file_durable(destination(), kBefore));
      FaultRule rule{.nth = n, .times_max = 1, .fault = fault, .code = code};
      if (fault == Fault::kTruncate || fault == Fault::kCorrupt) rule.call = StoreCall::kRead;
      store_->set_rules({rule});
      const auto outcome = get(kName);
      const bool fired = !store_->fired().empty();
      store_->set_rules({});
      if (outcome) {
        ASSERT_EQ(*outcome, ArchiveGetOutcome::kFetched);
        ASSERT_TRUE(delivered() == as_text(segment));
      } else {
        ASSERT_EQ(delivered(), kBefore);
      }
      ASSERT_EQ(files(), 1u);
      if (!fired) {
        ASSERT_TRUE(outcome.has_value());
        ASSERT_GT(n, 2u) << "too few calls were failed to mean anything";
        break;
      }
    }
  }
}

TEST_F(ArchiveGet, EveryFailingStoreCallKeepsAbsenceHonest) {
  for (uint64_t n = 1;; ++n) {
    store_->set_rules({{.nth = n, .times_max = 1, .fault = Fault::kFail, .code = Errc::kTransient}});
    const auto outcome = get(kName);
    const bool fired = !store_->fired().empty();
    store_->set_rules({});
    if (!fired) {
      ASSERT_TRUE(outcome.has_value());
      ASSERT_GT(n, 2u);
      break;
    }
    EXPECT_FALSE(outcome.has_value()) << "call " << n;
  }
}

}  // namespace
}  // namespace pgark
