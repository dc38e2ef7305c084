// Holds in a repository: the newest word counts, and none is lost or guessed.
#include "catalog/hold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "repo/stored_file.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_backup.h"

namespace pgark {
namespace {

using testing::SampleBackup;

const std::string kLabel = "20261122-101500F";
constexpr Timestamp kNow{std::chrono::seconds(1795342500)};

class HoldTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SampleBackup backup(*repository_, kLabel);
    backup.minimal_cluster();
    backup.commit();
  }
  Hold read() {
    auto holds = read_holds(*repository_, "main");
    EXPECT_TRUE(holds.has_value()) << holds.error().to_string();
    EXPECT_EQ(holds->size(), 1u);
    return (*holds)[kLabel];
  }
  Result<> say(std::optional<Timestamp> until, const std::string& reason = "") {
    return write_hold(*repository_, "main", kLabel, {until, reason, kNow});
  }

  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(HoldTest, NewestWordCounts) {
  EXPECT_TRUE(read_holds(*repository_, "main")->empty());
  ASSERT_TRUE(say(Timestamp::max(), "audit").has_value());
  EXPECT_TRUE(read().holds(kNow + std::chrono::days(100000)));
  EXPECT_EQ(read().reason, "audit");
  EXPECT_EQ(read().set, kNow);
  ASSERT_TRUE(say(kNow + std::chrono::hours(1)).has_value());
  EXPECT_TRUE(read().holds(kNow));
  EXPECT_FALSE(read().holds(kNow + std::chrono::hours(1)));
  ASSERT_TRUE(say(std::nullopt).has_value());
  EXPECT_FALSE(read().holds(kNow));
  // Ten and more: the numbers count as numbers, not as text.
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(say(std::nullopt).has_value());
  ASSERT_TRUE(say(Timestamp::max()).has_value());
  EXPECT_TRUE(read().holds(kNow));
  EXPECT_EQ(store_.list_all("main/backup/" + kLabel + "/hold.")->size(), 12u);
}

TEST_F(HoldTest, NeedsTheBackup) {
  const auto held = write_hold(*repository_, "main", "20261122-101501F", {Timestamp::max(), "", kNow});
  ASSERT_FALSE(held.has_value());
  EXPECT_EQ(held.error().code(), Errc::kNotFound);
  EXPECT_TRUE(store_.list_all("main/backup/20261122-101501F/")->empty());
}

TEST_F(HoldTest, UnreadableHoldIsAnErrorNotARelease) {
  ASSERT_TRUE(say(Timestamp::max()).has_value());
  MemoryStore damaged;
  copy_with_flipped_bit(store_, damaged, {"main/backup/" + kLabel + "/hold.1"}, 700);
  const auto repository = new_repository(damaged);
  const auto holds = read_holds(*repository, "main");
  ASSERT_FALSE(holds.has_value());
  EXPECT_EQ(holds.error().code(), Errc::kCorrupt);
  EXPECT_THAT(holds.error().message(), ::testing::HasSubstr("read hold 1 of backup " + kLabel));
}

}  // namespace
}  // namespace pgark
