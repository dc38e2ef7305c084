// What is fetched ahead of recovery: which segments, how much, and that nothing wrong ever waits in the spool.
#include "ops/prefetch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <thread>

#include "catalog/wal.h"
#include "core/file.h"
#include "core/thread_annotations.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_cluster.h"
#include "testing/scratch.h"
#include "testing/wal_samples.h"

namespace pgark {
namespace {

namespace fs = std::filesystem;
using ::pgark::testing::sample_segment;
using ::pgark::testing::SampleCluster;
using ::pgark::testing::SampleWal;
using ::pgark::testing::ScratchDir;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kSegmentBytes = 1u << 20;

pg::WalSegment segment(uint32_t timeline, uint64_t number) { return {TimelineId{timeline}, number}; }
std::string name_of(const pg::WalSegment& each) { return pg::segment_name(each, kSegmentBytes); }
Lsn lsn(uint64_t number, uint64_t offset = 0) { return Lsn{number * kSegmentBytes + offset}; }

std::vector<std::string> names(std::initializer_list<pg::WalSegment> segments) {
  std::vector<std::string> out;
  for (const pg::WalSegment& each : segments) out.push_back(name_of(each));
  return out;
}

/// Timeline 2 left 1 within segment 7; timeline 3 left 2 within segment 9; timeline 4 left 1 within segment 5.
std::vector<pg::TimelineHistory> sample_histories() {
  const pg::TimelineSwitch first{TimelineId{1}, lsn(7, 100), ""};
  return {pg::TimelineHistory(TimelineId{2}, {first}),
          pg::TimelineHistory(TimelineId{3}, {first, {TimelineId{2}, lsn(9, 100), ""}}),
          pg::TimelineHistory(TimelineId{4}, {{TimelineId{1}, lsn(5, 100), ""}})};
}

TEST(PrefetchPlan, GuessesTheNewestWayThatLeadsThroughTheSegment) {
  const auto guess = [](const pg::WalSegment& wanted) {
    return guess_history(sample_histories(), wanted, kSegmentBytes).timeline().value;
  };
  EXPECT_EQ(guess(segment(1, 3)), 4u);
  EXPECT_EQ(guess(segment(1, 5)), 3u) << "along timeline 4 it would have been that one's";
  EXPECT_EQ(guess(segment(1, 6)), 3u);
  EXPECT_EQ(guess(segment(1, 7)), 1u);
  EXPECT_EQ(guess(segment(1, 12)), 1u);
  EXPECT_EQ(guess(segment(2, 8)), 3u);
  EXPECT_EQ(guess(segment(2, 9)), 2u);
  EXPECT_EQ(guess(segment(4, 9)), 4u);
  EXPECT_EQ(guess(segment(9, 9)), 9u);
}

TEST(PrefetchPlan, FollowsTimelinesUpToTheFirstGap) {
  const pg::TimelineHistory history = sample_histories()[1];
  const auto plan = [&](const pg::WalSegment& wanted, const std::vector<std::string>& listed) {
    return plan_prefetch(history, wanted, listed, kSegmentBytes);
  };
  EXPECT_THAT(plan(segment(1, 4), names({segment(1, 5), segment(1, 6), segment(1, 7), segment(2, 7), segment(2, 8),
                                         segment(2, 9), segment(3, 9), segment(3, 10), segment(3, 12)})),
              ElementsAre(segment(1, 5), segment(1, 6), segment(2, 7), segment(2, 8), segment(3, 9), segment(3, 10)));
  // The child's first segment is not there: the server reads the parent's.
  EXPECT_THAT(plan(segment(1, 6), names({segment(1, 7), segment(1, 8), segment(2, 8)})),
              ElementsAre(segment(1, 7), segment(2, 8)));
  // But it never goes back.
  EXPECT_THAT(plan(segment(2, 7), names({segment(1, 8), segment(1, 9)})), IsEmpty());
}

/// A clock that does something each time it is slept on. Its wall clock runs backwards.
class BusyClock final : public Clock {
 public:
  explicit BusyClock(std::function<void()> work = [] {}) : work_(std::move(work)) {}
  Timestamp now() override {
    const MutexLock lock(mu_);
    wall_ -= std::chrono::hours(1);
    return wall_;
  }
  std::chrono::steady_clock::time_point steady() override { return steps_.steady(); }
  void sleep_for(std::chrono::milliseconds duration) override {
    steps_.sleep_for(duration);
    const MutexLock lock(mu_);
    work_();
  }

 private:
  Mutex mu_;
  std::function<void()> work_;
  testing::StepClock steps_;
  Timestamp wall_ GUARDED_BY(mu_) = system_clock().now();
};

class Prefetch : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("spool");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
    record_ = {.number = 1,
               .system_identifier = SampleWal{}.system_id,
               .pg_major = 15,
               .control_version = 1300,
               .catalog_version = 202209061,
               .wal_segment_bytes = kSegmentBytes,
               .created = {}};
    ASSERT_OK(write_cluster(*repository_, "main", record_));
    locate(cluster_.data());
    cluster_.put("recovery.signal", "");
  }

  void locate(const std::string& data_directory) {
    auto spool = WalSpool::locate(scratch_ / "spool", "main", data_directory, record_);
    ASSERT_OK(spool);
    spool_ = std::make_unique<WalSpool>(std::move(*spool));
  }
  /// Random bytes are dear: each segment is made once.
  const Buffer& content(const pg::WalSegment& each) {
    Buffer& made = made_[each];
    if (made.empty()) made = sample_segment(each, each.number);
    return made;
  }
  void store(const pg::WalSegment& each, const Buffer& raw, unsigned generation = 0) {
    ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("main", 1, name_of(each), generation));
    ASSERT_OK(write_stored_file(*repository_, key, raw, "{}"));
  }
  void store(const pg::WalSegment& each) { store(each, content(each)); }
  void store_range(uint64_t first, uint64_t last) {
    for (uint64_t number = first; number <= last; ++number) store(segment(1, number));
  }
  Result<PrefetchReport> prefetch(const pg::WalSegment& wanted, uint64_t queue_segments, Clock& clock,
                                  unsigned threads = 2) {
    const ArchiveSource source{.name = "repo1",
                               .open = [this]() -> Result<const Repository*> { return repository_.get(); }};
    const CancelToken cancel;
    return prefetch_wal(
        std::span(&source, 1), *spool_, clock, cancel,
        {.stanza = "main", .wanted = wanted, .queue_bytes = queue_segments * kSegmentBytes, .threads = threads});
  }
  std::vector<std::string> waiting() const {
    std::vector<std::string> out;
    const auto listed = spool_->list();
    EXPECT_TRUE(listed.has_value());
    if (listed) {
      for (const pg::WalSegment& each : *listed) out.push_back(name_of(each));
    }
    std::ranges::sort(out);
    return out;
  }
  void put(const pg::WalSegment& each, const Buffer& raw) {
    ASSERT_OK(spool_->create());
    auto file = spool_->begin(each);
    ASSERT_OK(file);
    ASSERT_OK(file->file().write(raw));
    ASSERT_OK(spool_->finish(std::move(*file), each));
  }
  void put(const pg::WalSegment& each) { put(each, content(each)); }
  bool taken(const pg::WalSegment& each) {
    const auto result = spool_->take(each, destination());
    EXPECT_TRUE(result.has_value()) << result.error().to_string();
    return result.value_or(false);
  }
  std::string destination() const { return scratch_ / "RECOVERYXLOG"; }
  size_t temporaries() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(scratch_.path())) {
      if (entry.path().extension() == ".tmp") ++count;
    }
    return count;
  }

  ScratchDir scratch_;
  SampleCluster cluster_;
  std::unique_ptr<FaultStore> store_;
  std::unique_ptr<Repository> repository_;
  ClusterRecord record_;
  std::unique_ptr<WalSpool> spool_;
  std::map<pg::WalSegment, Buffer> made_;
};

TEST_F(Prefetch, FillsTheQueueOldestFirstAndNotMore) {
  store_range(1, 20);
  BusyClock clock;
  ASSERT_OK_AND_ASSIGN(const PrefetchReport report, prefetch(segment(1, 4), 3, clock));
  EXPECT_EQ(report.segment_count, 3u);
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 5)), name_of(segment(1, 6)), name_of(segment(1, 7))));
  EXPECT_EQ(temporaries(), 0u);
  for (const uint64_t number : {5u, 6u, 7u}) {
    EXPECT_TRUE(taken(segment(1, number)));
    EXPECT_TRUE(read_file(destination()).value() == as_text(content(segment(1, number))));
  }
}

TEST_F(Prefetch, GoesOnAsRecoveryTakesAndNeverHoldsMoreThanTheQueue) {
  store_range(1, 40);
  uint64_t next = 5;
  size_t most = 0;
  BusyClock clock([&] {
    uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(spool_->path())) {
      std::error_code gone;
      const uint64_t size = entry.is_regular_file(gone) ? entry.file_size(gone) : 0;
      bytes += gone ? 0 : size;
    }
    most = std::max<size_t>(most, bytes);
    const auto got = spool_->take(segment(1, next), destination());
    if (!got || !*got) return;
    EXPECT_TRUE(read_file(destination()).value() == as_text(content(segment(1, next))));
    ++next;
  });
  ASSERT_OK_AND_ASSIGN(const PrefetchReport report, prefetch(segment(1, 4), 4, clock, 3));
  EXPECT_EQ(report.segment_count, 36u);
  EXPECT_GE(next, 37u);
  EXPECT_LE(most, 4 * kSegmentBytes + 4096) << "but for a few small notes";
}

/// More at a time would take from recovery what it needs itself.
TEST_F(Prefetch, FetchesOneAtATimeOnceSomeWait) {
  store_range(1, 12);
  store_->set_rules({{.call = StoreCall::kRead,
                      .every = 1,
                      .fault = Fault::kDelay,
                      .delay = std::chrono::milliseconds(50)}});  // Long enough to be seen.
  std::atomic<bool> done = false;
  size_t most = 0;
  std::thread watcher([&] {
    while (!done) {
      const bool some_wait = waiting().size() >= 4;  // And nobody takes them.
      const size_t coming = temporaries();
      if (some_wait) most = std::max(most, coming);
    }
  });
  BusyClock clock;
  const auto report = prefetch(segment(1, 2), 10, clock, 4);
  done = true;
  watcher.join();
  ASSERT_OK(report);
  EXPECT_EQ(waiting().size(), 10u);
  EXPECT_EQ(most, 1u);
}

TEST_F(Prefetch, ListsFromTheWantedSegmentOn) {
  store_range(1, 40);
  BusyClock clock;
  const uint64_t before = store_->calls(StoreCall::kList);
  ASSERT_OK(prefetch(segment(1, 34), 4, clock));
  // Clusters, histories (stepping over the segments of one timeline), segments.
  EXPECT_LE(store_->calls(StoreCall::kList) - before, 5u);
}

TEST_F(Prefetch, LeavesDamagedSegmentsToArchiveGet) {
  store_range(1, 5);
  store(segment(1, 6), sample_segment(segment(1, 6), 1, {.system_id = 42}));
  Buffer early = sample_segment(segment(1, 7), 7);
  std::memset(early.data() + 40 * 8192, 7, 8192);
  store(segment(1, 7), early);
  store_range(8, 9);
  BusyClock clock;
  ASSERT_OK(prefetch(segment(1, 4), 8, clock));
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 5)), name_of(segment(1, 8)), name_of(segment(1, 9))));
  EXPECT_EQ(temporaries(), 0u);
}

TEST_F(Prefetch, SkipsWhatRecoveryFetchedItselfWhileThePlanWasMade) {
  store_range(1, 26);
  const ArchiveSource slow{.name = "repo1", .open = [this]() -> Result<const Repository*> {
                             spool_->note_wanted(segment(1, 11));  // Far more than there are workers.
                             return repository_.get();
                           }};
  BusyClock clock;
  const CancelToken cancel;
  const PrefetchOptions options{
      .stanza = "main", .wanted = segment(1, 4), .queue_bytes = 4 * kSegmentBytes, .threads = 2};
  ASSERT_OK_AND_ASSIGN(const PrefetchReport report, prefetch_wal(std::span(&slow, 1), *spool_, clock, cancel, options));
  EXPECT_EQ(report.segment_count, 4u);
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 12)), name_of(segment(1, 13)), name_of(segment(1, 14)),
                                     name_of(segment(1, 15))));
}

TEST_F(Prefetch, EndsWhenRecoveryGoesElsewhere) {
  store_range(5, 26);
  int naps = 0;
  BusyClock clock([&] {
    if (++naps == 3) spool_->note_wanted(segment(1, 40));
  });
  ASSERT_OK(prefetch(segment(1, 4), 3, clock, 1));
  EXPECT_EQ(naps, 3);
  // What it fetched itself within reach is only skipped.
  ASSERT_OK(spool_->trim(segment(1, 20), true, 3 * kSegmentBytes));
  int more = 0;
  BusyClock near([&] {
    if (++more == 1) spool_->note_wanted(segment(1, 23));
    if (more == 2) ASSERT_OK(spool_->trim(segment(1, 23), true, 3 * kSegmentBytes));
  });
  ASSERT_OK(prefetch(segment(1, 20), 3, near, 1));
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 24)), name_of(segment(1, 25)), name_of(segment(1, 26))));
}

TEST_F(Prefetch, HasTheSecondRepositoryFillIn) {
  const auto second_store = std::make_unique<MemoryStore>();
  const auto second = new_repository(*second_store);
  ASSERT_OK(write_cluster(*second, "main", record_));
  for (const uint64_t number : {5u, 6u, 7u}) {
    ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("main", 1, name_of(segment(1, number))));
    ASSERT_OK(write_stored_file(*second, key, content(segment(1, number)), "{}"));
  }
  store_range(4, 5);
  const ArchiveSource sources[] = {
      {.name = "repo1", .open = [&]() -> Result<const Repository*> { return repository_.get(); }},
      {.name = "repo2", .open = [&]() -> Result<const Repository*> { return Error(Errc::kTransient, "down"); }},
      {.name = "repo3", .open = [&]() -> Result<const Repository*> { return second.get(); }}};
  BusyClock clock;
  const CancelToken cancel;
  ASSERT_OK(prefetch_wal(sources, *spool_, clock, cancel,
                         {.stanza = "main", .wanted = segment(1, 4), .queue_bytes = 8 * kSegmentBytes}));
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 5)), name_of(segment(1, 6)), name_of(segment(1, 7))));
}

/// Whatever a store call does, only right segments wait, and nothing half written is left.
TEST_F(Prefetch, NoStoreCallThatGoesWrongPutsWrongBytesIntoTheSpool) {
  store_range(4, 6);
  const std::pair<Fault, Errc> kinds[] = {{Fault::kFail, Errc::kTransient},      {Fault::kFail, Errc::kNotFound},
                                          {Fault::kFailAfter, Errc::kTransient}, {Fault::kDuplicate, Errc::kTransient},
                                          {Fault::kDelay, Errc::kTransient},     {Fault::kTruncate, Errc::kTransient},
                                          {Fault::kCorrupt, Errc::kTransient}};
  size_t faults = 0;
  for (const auto& [fault, code] : kinds) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(::testing::Message() << "fault " << static_cast<int>(fault) << " call " << n);
      fs::remove_all(spool_->path());
      FaultRule rule{.nth = n, .times_max = 1, .fault = fault, .code = code, .delay = std::chrono::milliseconds(1)};
      if (fault == Fault::kTruncate || fault == Fault::kCorrupt) rule.call = StoreCall::kRead;
      store_->set_rules({rule});
      BusyClock clock;
      const auto report = prefetch(segment(1, 4), 8, clock, 1);
      const bool fired = !store_->fired().empty();
      store_->set_rules({});
      faults += fired ? 1 : 0;
      ASSERT_EQ(temporaries(), 0u);
      const auto listed = spool_->list();
      ASSERT_OK(listed);
      for (const pg::WalSegment& each : *listed) {
        ASSERT_TRUE(taken(each));
        ASSERT_TRUE(read_file(destination()).value() == as_text(content(each)));
      }
      if (!fired) {
        ASSERT_OK(report);
        ASSERT_EQ(report->segment_count, 2u);
        break;
      }
    }
  }
  EXPECT_GT(faults, 40u) << "too few calls went wrong to mean anything";
}

TEST_F(Prefetch, SpoolGivesOnlyWhatTheAskingClusterCanUse) {
  put(segment(1, 5), sample_segment(segment(1, 5), 1, {.system_id = 42}));
  put(segment(1, 6), content(segment(1, 7)));
  Buffer cut = sample_segment(segment(1, 8), 8);
  cut.resize(kSegmentBytes / 2);
  put(segment(1, 8), cut);
  put(segment(1, 9), Buffer());
  put(segment(1, 10));
  for (const uint64_t number : {5u, 6u, 8u, 9u, 11u}) EXPECT_FALSE(taken(segment(1, number))) << number;
  EXPECT_FALSE(fs::exists(destination()));
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 10)))) << "what is wrong is removed";
  ASSERT_OK(write_file_durable(destination(), "before"));
  EXPECT_TRUE(taken(segment(1, 10)));
  EXPECT_TRUE(read_file(destination()).value() == as_text(content(segment(1, 10))));
  put(segment(1, 11));
  EXPECT_FALSE(spool_->take(segment(1, 11), scratch_ / "none/RECOVERYXLOG").value_or(false));
}

TEST_F(Prefetch, SpoolIsClearedOfWhatRecoveryLeftBehind) {
  const auto fill = [&] {
    for (const uint64_t number : {4u, 5u, 6u, 7u, 12u}) put(segment(1, number));
  };
  fill();
  ASSERT_OK_AND_ASSIGN(const uint64_t bytes, spool_->trim(segment(1, 5), false, 4 * kSegmentBytes));
  EXPECT_EQ(bytes, 4 * kSegmentBytes);
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 5)), name_of(segment(1, 6)), name_of(segment(1, 7)),
                                     name_of(segment(1, 12))));
  // It fetched one itself, so it goes another way: what is far ahead will not be asked for soon.
  ASSERT_OK(spool_->trim(segment(1, 5), true, 4 * kSegmentBytes));
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 6)), name_of(segment(1, 7))));
  // An older timeline than guessed.
  put(segment(2, 8));
  put(segment(2, 9));
  ASSERT_OK(spool_->trim(segment(1, 8), true, 4 * kSegmentBytes));
  EXPECT_THAT(waiting(), IsEmpty());
  // A newer timeline that has no such segment was asked first, as servers up to 12 do.
  put(segment(1, 8));
  ASSERT_OK(spool_->trim(segment(2, 8), false, 4 * kSegmentBytes));
  EXPECT_THAT(waiting(), ElementsAre(name_of(segment(1, 8))));
}

TEST_F(Prefetch, SpoolRemovesEarlierBootsAndRecoveriesThatEnded) {
  put(segment(1, 5));
  const fs::path boot = fs::path(spool_->path()).parent_path();
  const fs::path old_boot = boot.parent_path() / "00000000-0000-0000-0000-000000000000/7570000000000000001-00000000";
  fs::create_directories(old_boot);
  ASSERT_OK(write_file_durable(old_boot / name_of(segment(1, 5)), "x"));
  const SampleCluster recovering;
  const SampleCluster promoted;
  const WalSpool mine = *spool_;
  locate(recovering.data());
  const WalSpool theirs = *spool_;
  put(segment(1, 5));
  ASSERT_OK(theirs.prepare());
  SampleCluster::put_absolute(recovering.at("standby.signal"), "");
  locate(promoted.data());
  const WalSpool done = *spool_;
  put(segment(1, 5));
  SampleCluster::put_absolute(promoted.at("recovery.signal"), "");
  ASSERT_OK(done.prepare());
  fs::remove(promoted.at("recovery.signal"));
  ASSERT_OK(write_file_durable(mine.path() + "/" + name_of(segment(1, 6)) + ".tmp", "half"));

  ASSERT_OK(mine.prepare());
  EXPECT_FALSE(fs::exists(old_boot));
  EXPECT_FALSE(fs::exists(done.path()));
  EXPECT_TRUE(theirs.holds(segment(1, 5)));
  EXPECT_TRUE(mine.holds(segment(1, 5)));
  EXPECT_FALSE(mine.is_coming(segment(1, 6)));
}

}  // namespace
}  // namespace pgark
