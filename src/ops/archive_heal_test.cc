#include "ops/archive_heal.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "catalog/wal.h"
#include "ops/archive_push.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/scratch.h"
#include "testing/wal_builder.h"

namespace pgark {
namespace {

using pgark::testing::ScratchDir;
using pgark::testing::WalBuilder;
using pgark::testing::WalBuilderOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kSegment = 1u << 20;
constexpr uint64_t kFirst = 16;  // Number of the first segment made.
constexpr size_t kCount = 5;

std::string name(uint64_t number, uint32_t timeline = 1) {
  return pg::segment_name({TimelineId{timeline}, number}, kSegment);
}

/// A place that holds what it is given.
class FakeSource final : public WalSource {
 public:
  explicit FakeSource(std::string where) : where_(std::move(where)) {}
  std::string describe() const override { return where_; }
  Result<> open(const std::string&, const ClusterRecord&) override {
    if (refusal) return *refusal;
    return {};
  }
  Result<std::optional<Buffer>> fetch(const std::string& file, uint64_t) override {
    const auto found = files.find(file);
    if (found == files.end()) return std::optional<Buffer>{};
    Buffer content(found->second.size());
    std::memcpy(content.data(), found->second.data(), content.size());
    return std::optional(std::move(content));
  }

  std::map<std::string, std::string> files;
  std::optional<Error> refusal;

 private:
  const std::string where_;
};

class ArchiveHeal : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("heal");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    reset();
  }

  /// A stanza with kCount segments on timeline 1, all archived.
  void reset() {
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
    ASSERT_OK(write_cluster(*repository_, "main",
                            {.number = 1,
                             .system_identifier = WalBuilderOptions{}.system_id,
                             .pg_major = 15,
                             .control_version = 1300,
                             .catalog_version = 202209061,
                             .wal_segment_bytes = kSegment,
                             .created = {}}));
    if (wal_.empty()) wal_ = make_wal(4096);
    for (const auto& [file, content] : wal_) archive(file, content);
  }

  /// Segments full of records of about that size, some of which cross from one to the next.
  static std::map<std::string, std::string> make_wal(size_t record_bytes, uint32_t timeline = 1) {
    WalBuilderOptions options;
    options.timeline = TimelineId{timeline};
    WalBuilder builder(options);
    while (builder.bytes().size() < (kCount - 1) * kSegment + kSegment / 2) builder.add_bytes(record_bytes);
    builder.add_switch();
    std::map<std::string, std::string> out;
    for (size_t i = 0; i < kCount; ++i) {
      out[name(kFirst + i, timeline)] = std::string(as_text(Bytes(builder.bytes()).subspan(i * kSegment, kSegment)));
    }
    return out;
  }

  void archive(const std::string& file, const std::string& content) {
    ASSERT_OK(write_stored_file(*repository_, *wal_key("main", 1, file), as_bytes(content), "{}"));
  }
  void lose(uint64_t number) { ASSERT_OK(store_->remove(*wal_key("main", 1, name(number)))); }
  bool stored(const std::string& file) { return !find_wal_copies(*repository_, "main", 1, file)->empty(); }

  FakeSource& add_source(std::string where) {
    sources_.push_back(std::make_unique<FakeSource>(std::move(where)));
    return static_cast<FakeSource&>(*sources_.back());
  }
  Result<ArchiveHealResult> try_heal() {
    options_.stanza = "main";
    options_.temporary_parent = scratch_.path();
    return archive_heal(*repository_, system_clock(), cancel_, std::exchange(sources_, {}), options_);
  }
  ArchiveHealResult heal() {
    auto result = try_heal();
    EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().to_string());
    return result ? std::move(*result) : ArchiveHealResult{};
  }
  static std::vector<std::string> names(const std::vector<HealedWal>& healed) {
    std::vector<std::string> out;
    for (const HealedWal& one : healed) out.push_back(one.name);
    return out;
  }

  ScratchDir scratch_;
  std::unique_ptr<FaultStore> store_;
  std::unique_ptr<Repository> repository_;
  std::map<std::string, std::string> wal_;
  std::vector<std::unique_ptr<WalSource>> sources_;
  ArchiveHealOptions options_;
  CancelToken cancel_;
};

TEST_F(ArchiveHeal, LeavesAWholeArchiveAlone) {
  add_source("node");
  options_.verify = true;
  const ArchiveHealResult result = heal();
  EXPECT_THAT(result.healed, IsEmpty());
  EXPECT_EQ(result.missing_count, 0u);
  EXPECT_EQ(result.verified_count, kCount);
}

TEST_F(ArchiveHeal, FetchesNeighboursInOrderFromWhereTheyAre) {
  lose(kFirst + 1);
  lose(kFirst + 2);
  add_source("a").files[name(kFirst + 1)] = wal_[name(kFirst + 1)];
  add_source("b").files = wal_;
  const ArchiveHealResult result = heal();
  ASSERT_THAT(names(result.healed), ElementsAre(name(kFirst + 1), name(kFirst + 2)));
  EXPECT_EQ(result.healed[0].source, "a");
  EXPECT_EQ(result.healed[1].source, "b");
  EXPECT_EQ(result.missing_count, 0u);
  ASSERT_OK_AND_ASSIGN(const StoredFile file, read_stored_file(*repository_, {result.healed[1].key}));
  EXPECT_TRUE(as_text(file.raw) == wal_[name(kFirst + 2)]);
}

TEST_F(ArchiveHeal, DryRunStoresNothing) {
  lose(kFirst + 1);
  add_source("node").files = wal_;
  options_.dry_run = true;
  const ArchiveHealResult result = heal();
  EXPECT_THAT(names(result.healed), ElementsAre(name(kFirst + 1)));
  EXPECT_FALSE(stored(name(kFirst + 1)));
}

TEST_F(ArchiveHeal, TakesNoSegmentThatDoesNotJoinItsNeighbours) {
  lose(kFirst + 2);
  // The same cluster and addresses, whole and right in itself, and of another past.
  add_source("other past").files = make_wal(3000);
  const ArchiveHealResult result = heal();
  EXPECT_THAT(result.healed, IsEmpty());
  ASSERT_THAT(result.missing, SizeIs(1));
  ASSERT_THAT(result.missing[0].tried, SizeIs(1));
  EXPECT_THAT(result.missing[0].tried[0], HasSubstr("does not join"));
  EXPECT_FALSE(stored(name(kFirst + 2)));
}

TEST_F(ArchiveHeal, LooksAtTheSegmentBehindToo) {
  lose(kFirst);
  // What is before the first is not there. A gap begins only behind something: leave one in front.
  auto earlier = make_wal(3000);
  WalBuilderOptions options;
  options.start = Lsn{(kFirst - 1) * kSegment};
  WalBuilder front(options);
  while (front.bytes().size() < kSegment / 2) front.add_bytes(4096);
  front.add_switch();
  archive(name(kFirst - 1), std::string(as_text(Bytes(front.bytes()))));
  add_source("other past").files[name(kFirst)] = earlier[name(kFirst)];
  const ArchiveHealResult result = heal();
  EXPECT_THAT(result.healed, IsEmpty());
  EXPECT_FALSE(stored(name(kFirst)));
}

TEST_F(ArchiveHeal, TakesNothingCutShortRecycledOrForeign) {
  lose(kFirst + 1);
  std::string cut = wal_[name(kFirst + 1)];
  std::fill(cut.begin() + 8192, cut.end(), '\0');
  std::string foreign = wal_[name(kFirst + 1)];
  foreign[24] = static_cast<char>(foreign[24] ^ 1);
  add_source("writing").files[name(kFirst + 1)] = cut;
  add_source("recycled").files[name(kFirst + 1)] = wal_[name(kFirst)];
  add_source("foreign").files[name(kFirst + 1)] = foreign;
  add_source("short").files[name(kFirst + 1)] = cut.substr(0, kSegment / 2);
  const ArchiveHealResult result = heal();
  EXPECT_THAT(result.healed, IsEmpty());
  ASSERT_THAT(result.missing, SizeIs(1));
  EXPECT_THAT(result.missing[0].tried, SizeIs(4));
  EXPECT_FALSE(stored(name(kFirst + 1)));
}

TEST_F(ArchiveHeal, PutsAGoodCopyBesideADamagedOne) {
  const ObjectKey key = *wal_key("main", 1, name(kFirst + 1));
  ASSERT_OK_AND_ASSIGN(const auto info, store_->stat(key));
  auto damaged = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
  copy_with_flipped_bit(*store_, *damaged, key, info->bytes * 4);
  store_ = std::move(damaged);
  ASSERT_OK_AND_ASSIGN(repository_, Repository::open(*store_));
  add_source("node").files = wal_;
  options_.verify = true;
  const ArchiveHealResult result = heal();
  ASSERT_THAT(names(result.healed), ElementsAre(name(kFirst + 1)));
  EXPECT_FALSE(result.healed[0].damage.empty());
  EXPECT_EQ(result.healed[0].key, key.value + ".r1");
}

TEST_F(ArchiveHeal, PassesOverAPlaceOfAnotherCluster) {
  lose(kFirst + 1);
  FakeSource& wrong = add_source("wrong");
  wrong.files = wal_;
  wrong.refusal = Error(Errc::kInvalid, "it is of another cluster");
  add_source("right").files = wal_;
  const ArchiveHealResult result = heal();
  ASSERT_THAT(result.healed, SizeIs(1));
  EXPECT_EQ(result.healed[0].source, "right");
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0], HasSubstr("wrong was passed over"));
}

TEST_F(ArchiveHeal, TakesNothingFromAPlaceThatForkedElsewhere) {
  const auto second = make_wal(2000, 2);
  const std::string history = "1\t0/1000000\tno recovery target specified\n";
  ASSERT_OK(write_stored_file(*repository_, *wal_key("main", 1, "00000002.history"), as_bytes(history), "{}"));
  for (const auto& [file, content] : second)
    if (file != name(kFirst + 1, 2)) archive(file, content);
  FakeSource& forked = add_source("forked");
  forked.files = second;
  forked.files["00000002.history"] = "1\t0/1100000\tno recovery target specified\n";
  const ArchiveHealResult refused = heal();
  ASSERT_THAT(refused.missing, SizeIs(1));
  EXPECT_THAT(refused.missing[0].tried, SizeIs(1));
  EXPECT_FALSE(stored(name(kFirst + 1, 2)));

  FakeSource& own = add_source("own");
  own.files = second;
  own.files["00000002.history"] = history;
  EXPECT_THAT(names(heal().healed), ElementsAre(name(kFirst + 1, 2)));
}

TEST_F(ArchiveHeal, FetchesAHistoryThatIsLost) {
  for (const auto& [file, content] : make_wal(2000, 2)) archive(file, content);
  add_source("broken").files["00000002.history"] = "rubbish";
  add_source("node").files["00000002.history"] = "1\t0/1000000\tno recovery target specified\n";
  const ArchiveHealResult result = heal();
  ASSERT_THAT(names(result.healed), ElementsAre("00000002.history"));
  EXPECT_EQ(result.healed[0].source, "node");
}

TEST_F(ArchiveHeal, MendsADamagedHistoryBeforeAnythingElse) {
  const std::string history = "1\t0/1000000\tno recovery target specified\n";
  const ObjectKey key = *wal_key("main", 1, "00000002.history");
  ASSERT_OK(write_stored_file(*repository_, key, as_bytes(history), "{}"));
  for (const auto& [file, content] : make_wal(2000, 2)) archive(file, content);
  lose(kFirst + 1);
  ASSERT_OK_AND_ASSIGN(const auto info, store_->stat(key));
  auto damaged = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
  copy_with_flipped_bit(*store_, *damaged, key, info->bytes * 4);
  store_ = std::move(damaged);
  ASSERT_OK_AND_ASSIGN(repository_, Repository::open(*store_));

  EXPECT_EQ(heal().missing_count, 1u) << "nobody has it";
  FakeSource& node = add_source("node");
  node.files = wal_;
  node.files["00000002.history"] = history;
  const ArchiveHealResult result = heal();
  ASSERT_THAT(names(result.healed), ElementsAre("00000002.history", name(kFirst + 1)));
  EXPECT_EQ(result.healed[0].key, key.value + ".r1");
  EXPECT_EQ(result.missing_count, 0u);
}

TEST_F(ArchiveHeal, OtherRepositoryIsAPlaceToo) {
  MemoryStore second;
  const auto other = new_repository(second);
  ASSERT_OK_AND_ASSIGN(const ClusterRecord cluster, current_cluster(*repository_, "main"));
  ASSERT_OK(write_cluster(*other, "main", cluster));
  ASSERT_OK(write_stored_file(*other, *wal_key("main", 1, name(kFirst + 3)), as_bytes(wal_[name(kFirst + 3)]), "{}"));
  lose(kFirst + 3);
  sources_.push_back(repository_wal_source(*other));
  EXPECT_THAT(names(heal().healed), ElementsAre(name(kFirst + 3)));
}

TEST_F(ArchiveHeal, EveryFailingStoreCallIsAnErrorOrChangesNothing) {
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    reset();
    lose(kFirst + 1);
    lose(kFirst + 3);
    add_source("node").files = wal_;
    store_->set_rules({{.nth = n, .times_max = 1, .fault = Fault::kFail, .code = Errc::kPermission}});
    const auto result = try_heal();
    const bool fired = !store_->fired().empty();
    store_->set_rules({});
    if (result) {
      EXPECT_THAT(names(result->healed), ElementsAre(name(kFirst + 1), name(kFirst + 3)));
      EXPECT_EQ(result->missing_count, 0u);
      EXPECT_TRUE(stored(name(kFirst + 1)) && stored(name(kFirst + 3)));
    } else {
      EXPECT_EQ(result.error().code(), Errc::kPermission) << result.error().to_string();
    }
    if (fired) continue;
    EXPECT_TRUE(result.has_value());
    ASSERT_GT(n, 20u);
    break;
  }
}

}  // namespace
}  // namespace pgark
