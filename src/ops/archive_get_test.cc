#include "ops/archive_get.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "pg/wal_index.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_cluster.h"
#include "testing/scratch.h"
#include "testing/wal_builder.h"
#include "testing/wal_samples.h"

namespace pgark {
namespace {

using ::pgark::testing::sample_segment;
using ::pgark::testing::SampleCluster;
using ::pgark::testing::SampleWal;
using ::pgark::testing::ScratchDir;
using ::pgark::testing::StepClock;
using ::testing::AllOf;
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

std::string segment_file(uint32_t timeline, uint64_t number) {
  return pg::segment_name({TimelineId{timeline}, number}, SampleWal{}.segment_bytes);
}

/// A clock that does something each time it is slept on; time passes by sleeping only.
class BusyClock final : public Clock {
 public:
  explicit BusyClock(std::function<void()> work) : work_(std::move(work)) {}
  Timestamp now() override {
    wall_ -= std::chrono::hours(1);  // Nothing may be decided by it.
    return wall_;
  }
  std::chrono::steady_clock::time_point steady() override { return steps_.steady(); }
  void sleep_for(std::chrono::milliseconds duration) override {
    steps_.sleep_for(duration);
    ++sleeps;
    work_();
  }
  int sleeps = 0;

 private:
  std::function<void()> work_;
  StepClock steps_;
  Timestamp wall_ = system_clock().now();
};

/// What the archive holds, and a data directory in recovery that asks.
class ArchiveHole : public ArchiveGet {
 protected:
  void store_segment(uint32_t timeline, uint64_t number) {
    store(segment_file(timeline, number), sample_segment({TimelineId{timeline}, number}, number));
  }
  void store_history(uint32_t timeline, const std::string& content) {
    store(pg::history_name(TimelineId{timeline}), [&] {
      Buffer raw;
      raw.append(as_bytes(content));
      return raw;
    }());
  }
  void signal(const std::string& file, const std::string& content = "") {
    for (const char* each : {"recovery.signal", "standby.signal", "recovery.conf"}) {
      std::filesystem::remove(cluster_.at(each));
    }
    cluster_.put(file, content);
  }
  ArchiveGetOptions options(const std::string& name) const {
    return {.stanza = "main",
            .name = name,
            .destination = destination(),
            .data_directory = cluster_.data(),
            .threads = 2,
            .hole_wait = wait_};
  }
  Result<ArchiveGetOutcome> ask(const std::string& name) { return archive_get(*repository_, clock_, options(name)); }
  void expect_absent(const std::string& name) {
    const auto outcome = ask(name);
    ASSERT_OK(outcome);
    EXPECT_EQ(*outcome, ArchiveGetOutcome::kAbsent) << name;
  }
  void expect_hole(const std::string& name, const std::string& proof) {
    const auto outcome = ask(name);
    ASSERT_FALSE(outcome.has_value()) << name << (*outcome == ArchiveGetOutcome::kAbsent ? " absent" : " fetched");
    EXPECT_EQ(outcome.error().code(), Errc::kCorrupt);
    EXPECT_THAT(outcome.error().to_string(), AllOf(HasSubstr(name), HasSubstr(proof), HasSubstr("HINT")));
    EXPECT_EQ(delivered(), kBefore);
    EXPECT_EQ(files(), 1u);
  }

  SampleCluster cluster_;
  StepClock clock_;
  std::chrono::seconds wait_{5};
};

TEST_F(ArchiveHole, StopsRecoveryAndNotAStandby) {
  store_segment(1, 4);
  store_segment(1, 7);
  store_segment(1, 8);
  for (const auto& [file, content] :
       {std::pair("recovery.signal", ""), std::pair("recovery.conf", "restore_command = 'x'\n#standby_mode = on\n"),
        std::pair("recovery.conf", "standby_mode = 'on'\nstandby_mode = off # no more\n")}) {
    SCOPED_TRACE(content);
    signal(file, content);
    expect_hole(segment_file(1, 5), segment_file(1, 7));
    EXPECT_THAT(ask(segment_file(1, 6)).error().to_string(), HasSubstr("archive-heal"));
    expect_absent(segment_file(1, 9));
  }
  for (const auto& [file, content] :
       {std::pair("standby.signal", ""), std::pair("recovery.conf", "  STANDBY_MODE 'on'\n"),
        std::pair("recovery.conf", "standby_mode=tr\n"), std::pair("recovery.conf", "standby_mode = '1' # yes\n")}) {
    SCOPED_TRACE(content);
    signal(file, content);
    expect_absent(segment_file(1, 5));
    expect_absent(segment_file(1, 9));
  }
}

TEST_F(ArchiveHole, IsNotLookedForWhereTheSegmentIs) {
  store_segment(1, 5);
  signal("recovery.signal");
  const uint64_t lists = store_->calls(StoreCall::kList);
  const uint64_t reads = store_->calls(StoreCall::kRead);
  ASSERT_OK_AND_ASSIGN(const auto outcome, ask(kName));
  EXPECT_EQ(outcome, ArchiveGetOutcome::kFetched);
  EXPECT_EQ(store_->calls(StoreCall::kList), lists) << "each is paid for";
  EXPECT_EQ(store_->calls(StoreCall::kRead), reads + 1);
}

TEST_F(ArchiveHole, FirstCopyThatCannotBeUsedIsSearchedPast) {
  signal("recovery.signal");
  store(kName, sample_segment(kSegment, 1, {.system_id = 42}));
  const auto refused = ask(kName);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("none of 1 stored copy can be used"));
  EXPECT_EQ(delivered(), kBefore);
  store(kName, sample_segment(kSegment, 7), 1);
  ASSERT_OK(ask(kName));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 7)));
  EXPECT_EQ(files(), 1u);
}

TEST_F(ArchiveHole, StanzaOfAnotherClusterIsRefused) {
  ASSERT_OK_AND_ASSIGN(ClusterRecord other, current_cluster(*repository_, "main"));
  other.system_identifier = 42;
  ASSERT_OK(write_cluster(*repository_, "other", other));
  ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("other", 1, kName));
  ASSERT_OK(write_stored_file(*repository_, key, sample_segment(kSegment, 1, {.system_id = 42}), "{}"));
  signal("recovery.signal");
  ArchiveGetOptions asked = options(kName);
  asked.stanza = "other";
  const auto refused = archive_get(*repository_, clock_, asked);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("stanza other belongs to the cluster with system identifier 42"));
  EXPECT_EQ(delivered(), kBefore);
}

TEST_F(ArchiveHole, IsGivenTimeToBeFilledAndNoMore) {
  store_segment(1, 4);
  store_segment(1, 6);
  signal("recovery.signal");
  BusyClock clock([&] {
    if (clock.sleeps == 3) store_segment(1, 5);
  });
  ASSERT_OK_AND_ASSIGN(const auto outcome, archive_get(*repository_, clock, options(segment_file(1, 5))));
  EXPECT_EQ(outcome, ArchiveGetOutcome::kFetched);
  EXPECT_EQ(clock.sleeps, 3);

  BusyClock idle([] {});
  EXPECT_FALSE(archive_get(*repository_, idle, options(segment_file(1, 3))).has_value());
  EXPECT_EQ(idle.sleeps, 20) << "5 s in steps of 250 ms";
  // The end of a timeline is not waited for: every recovery comes to it.
  BusyClock end([] {});
  ASSERT_OK(archive_get(*repository_, end, options(segment_file(1, 7))));
  EXPECT_EQ(end.sleeps, 0);
}

TEST_F(ArchiveHole, IsSeenAcrossTimelines) {
  // Timeline 2 left timeline 1 within segment 7; timeline 3 left that within segment 9.
  store_segment(1, 4);
  store_segment(2, 7);
  store_segment(2, 9);
  store_history(2, "1\t0/780000\tpromoted\n");
  store_history(3, "1\t0/780000\tpromoted\n\n2\t0/980000\tpromoted\n");
  signal("recovery.signal");
  expect_hole(segment_file(1, 5), "timeline 2");
  expect_hole(segment_file(1, 6), "0/780000");
  expect_absent(segment_file(1, 7));  // The child has it.
  // Servers up to 12 ask every timeline of the history for every segment.
  expect_absent(segment_file(2, 5));
  expect_absent(segment_file(3, 8));
  expect_hole(segment_file(2, 8), segment_file(2, 9));
  expect_absent(segment_file(2, 10));
  expect_absent(segment_file(3, 9));
  store_segment(3, 10);
  expect_hole(segment_file(3, 9), segment_file(3, 10));
}

TEST_F(ArchiveHole, BeginsNowhereOnATimelineOfUnknownBeginning) {
  store_segment(5, 8);
  signal("recovery.signal");
  expect_absent(segment_file(5, 7));
  store_segment(5, 6);
  expect_hole(segment_file(5, 7), segment_file(5, 8));
}

TEST_F(ArchiveHole, IsNoneWhereTheServerHasTheSegmentItself) {
  store_segment(1, 4);
  store_segment(1, 6);
  signal("recovery.signal");
  testing::WalBuilder builder(
      {.segment_bytes = SampleWal{}.segment_bytes, .start = Lsn{0x500000}, .prev = Lsn{0x4fff00}});
  for (int i = 0; i < 100; ++i) builder.add_bytes(2000);
  builder.add_switch();
  ASSERT_EQ(builder.bytes().size(), SampleWal{}.segment_bytes);
  const std::string path = "pg_wal/" + segment_file(1, 5);
  const std::string whole(as_text(builder.bytes()));
  cluster_.put(path, whole);
  expect_absent(segment_file(1, 5));
  cluster_.put(path, whole.substr(0, whole.size() - 1));
  expect_hole(segment_file(1, 5), segment_file(1, 6));
  std::string torn = whole;
  torn[150'000] = static_cast<char>(torn[150'000] ^ 1);
  SCOPED_TRACE("torn");
  cluster_.put(path, torn);
  expect_hole(segment_file(1, 5), segment_file(1, 6));
  cluster_.put(path, as_text(sample_segment({TimelineId{1}, 4}, 1)));
  SCOPED_TRACE("recycled");
  expect_hole(segment_file(1, 5), segment_file(1, 6));  // A recycled file under its next name.
}

TEST_F(ArchiveHole, IsASegmentInWhichWalEndsEarly) {
  store_segment(1, 4);
  Buffer damaged = sample_segment(kSegment, 1);
  for (size_t at = 40 * 8192; at < 41 * 8192; ++at) damaged.data()[at] = std::byte{7};
  store(kName, damaged);
  signal("recovery.signal");
  // Where a timeline ends, its last segment need not be full.
  ASSERT_OK(ask(kName));
  EXPECT_TRUE(delivered() == as_text(damaged));
  ASSERT_OK(write_file_durable(destination(), kBefore));
  store_segment(1, 6);
  expect_hole(kName, segment_file(1, 6));
  signal("standby.signal");
  ASSERT_OK(ask(kName));
  EXPECT_TRUE(delivered() == as_text(damaged));
  // A good copy goes before what can be said of a bad one.
  signal("recovery.signal");
  store(kName, sample_segment(kSegment, 2), 1);
  ASSERT_OK(ask(kName));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 2)));
  EXPECT_EQ(files(), 1u);
}

TEST_F(ArchiveHole, IsToldByTheIndexWherePagesLookWell) {
  testing::WalBuilder builder(
      {.segment_bytes = SampleWal{}.segment_bytes, .start = Lsn{0x500000}, .prev = Lsn{0x4fff00}});
  for (int i = 0; i < 100; ++i) builder.add_bytes(2000);
  builder.add_switch();
  std::vector<std::byte>& bytes = builder.bytes();
  bytes[150'000] ^= std::byte{1};
  ASSERT_OK_AND_ASSIGN(const pg::WalIndex index, pg::make_wal_index(bytes, kSegment));
  ASSERT_FALSE(index.is_complete());
  ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("main", 1, kName));
  ASSERT_OK(write_stored_file(*repository_, key, bytes, "{}", Codec::kZstd, 1, 1, pg::encode_wal_index(index)));
  signal("recovery.signal");
  ASSERT_OK(ask(kName));
  EXPECT_TRUE(delivered() == as_text(bytes));
  ASSERT_OK(write_file_durable(destination(), kBefore));
  store_segment(1, 6);
  expect_hole(kName, segment_file(1, 6));
}

TEST_F(ArchiveHole, IsAHistoryWhoseTimelineIsThere) {
  signal("recovery.signal");
  store_segment(1, 4);
  expect_absent("00000002.history");
  store_history(3, "1\t0/780000\tpromoted\n\n2\t0/980000\tpromoted\n");
  expect_hole("00000002.history", "00000003.history");
  expect_absent("00000004.history");
  store_segment(4, 9);
  expect_hole("00000004.history", segment_file(4, 9));
  expect_absent("00000001.history");  // It never has one.
  signal("standby.signal");
  expect_absent("00000002.history");
}

/// A second repository, and the order in which they are tried.
class ArchiveGetTwo : public ArchiveHole {
 protected:
  void SetUp() override {
    ArchiveHole::SetUp();
    store2_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository2_ = new_repository(*store2_);
    ASSERT_OK_AND_ASSIGN(const ClusterRecord record, current_cluster(*repository_, "main"));
    ASSERT_OK(write_cluster(*repository2_, "main", record));
    signal("recovery.signal");
  }
  void store2_segment(uint64_t number, unsigned generation = 0) {
    ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("main", 1, segment_file(1, number), generation));
    ASSERT_OK(write_stored_file(*repository2_, key, sample_segment({TimelineId{1}, number}, number), "{}"));
  }
  Result<ArchiveGetOutcome> ask_both(const std::string& name, bool first_opens = true) {
    const ArchiveSource sources[] = {
        {.name = "repo1",
         .open = [&]() -> Result<const Repository*> {
           if (!first_opens) return Error(Errc::kTransient, "it is not mounted");
           return repository_.get();
         }},
        {.name = "repo2", .open = [&]() -> Result<const Repository*> { return repository2_.get(); }}};
    return archive_get(sources, clock_, options(name));
  }
  std::unique_ptr<FaultStore> store2_;
  std::unique_ptr<Repository> repository2_;
};

TEST_F(ArchiveGetTwo, SecondHasWhatTheFirstLacks) {
  store_segment(1, 4);
  store_segment(1, 6);
  store2_segment(5);
  ASSERT_OK_AND_ASSIGN(const auto outcome, ask_both(kName));
  EXPECT_EQ(outcome, ArchiveGetOutcome::kFetched);
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 5)));
  // A damaged one is as good as none.
  store(kName, sample_segment(kSegment, 1, {.system_id = 42}));
  ASSERT_OK(write_file_durable(destination(), kBefore));
  ASSERT_OK(ask_both(kName));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 5)));
}

TEST_F(ArchiveGetTwo, OneThatCannotBeSearchedMakesAbsenceUnproven) {
  store2_segment(4);
  ASSERT_OK_AND_ASSIGN(const auto absent, ask_both(kName));
  EXPECT_EQ(absent, ArchiveGetOutcome::kAbsent);
  const auto outcome = ask_both(kName, false);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_THAT(outcome.error().to_string(), HasSubstr("it is not mounted"));
  store2_segment(5);
  ASSERT_OK(ask_both(kName, false));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 5)));
}

/// WAL may go on in the copy that could not be asked for.
TEST_F(ArchiveGetTwo, SegmentThatEndsEarlyIsDeliveredOnlyIfNoneCanHaveABetterOne) {
  Buffer damaged = sample_segment(kSegment, 1);
  for (size_t at = 40 * 8192; at < 41 * 8192; ++at) damaged.data()[at] = std::byte{7};
  ASSERT_OK_AND_ASSIGN(const ObjectKey key, wal_key("main", 1, kName));
  ASSERT_OK(write_stored_file(*repository2_, key, damaged, "{}"));
  ASSERT_OK(ask_both(kName));
  EXPECT_TRUE(delivered() == as_text(damaged));

  const auto expect_refused = [&](bool first_opens, const char* cause) {
    ASSERT_OK(write_file_durable(destination(), kBefore));
    const auto refused = ask_both(kName, first_opens);
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().to_string(), AllOf(HasSubstr("WAL ends at 0/"), HasSubstr("repo1 may have more of it"),
                                                   HasSubstr(cause), HasSubstr("--repo in restore_command")));
    EXPECT_EQ(delivered(), kBefore);
    EXPECT_EQ(files(), 1u);
  };
  expect_refused(false, "it is not mounted");
  // A standby streams on from there.
  signal("standby.signal");
  ASSERT_OK(ask_both(kName, false));
  EXPECT_TRUE(delivered() == as_text(damaged));
  signal("recovery.signal");
  // What cannot be read may have had more.
  store(kName, sample_segment(kSegment, 1, {.system_id = 42}));
  expect_refused(true, "none of 1 stored copy can be used");
  // One that is whole goes before everything.
  store2_segment(5, 1);
  ASSERT_OK(ask_both(kName, false));
  EXPECT_TRUE(delivered() == as_text(sample_segment(kSegment, 5)));
}

TEST_F(ArchiveGetTwo, HoleIsOneOfBothTogether) {
  store_segment(1, 4);
  store2_segment(6);
  const auto outcome = ask_both(kName);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_THAT(outcome.error().to_string(), AllOf(HasSubstr("missing"), HasSubstr(segment_file(1, 6))));
}

/// Whatever one store call does, recovery never ends early: what is there is fetched or an error, what is missing in
/// the middle is an error, and absence is only what is true.
TEST_F(ArchiveGetTwo, NoStoreCallThatGoesWrongEndsRecoveryEarly) {
  wait_ = {};
  store_segment(1, 4);
  store_segment(1, 6);
  store_history(2, "1\t0/780000\tpromoted\n");
  store2_segment(4);
  struct Case {
    std::string name;
    bool there;
    bool absent_is_true;
  };
  const Case cases[] = {{segment_file(1, 4), true, false},
                        {segment_file(1, 5), false, false},
                        {segment_file(1, 6), true, false},
                        {segment_file(1, 8), false, true},
                        {"00000002.history", true, false}};
  const std::pair<Fault, Errc> kinds[] = {{Fault::kFail, Errc::kTransient},      {Fault::kFail, Errc::kPermission},
                                          {Fault::kFailAfter, Errc::kTransient}, {Fault::kDuplicate, Errc::kTransient},
                                          {Fault::kDelay, Errc::kTransient},     {Fault::kTruncate, Errc::kTransient},
                                          {Fault::kCorrupt, Errc::kTransient}};
  size_t faults = 0;
  for (const Case& each : cases) {
    for (const auto& [fault, code] : kinds) {
      for (FaultStore* target : {store_.get(), store2_.get()}) {
        std::vector<StoreCall> calls;  // Any.
        if (fault == Fault::kTruncate || fault == Fault::kCorrupt) calls.push_back(StoreCall::kRead);
        // For a hole, a listing that lacks what proves it would be a second fault besides the missing segment.
        const bool hole = !each.there && !each.absent_is_true;
        if (fault == Fault::kTruncate && !hole) calls.push_back(StoreCall::kList);
        for (uint64_t n = 1;; ++n) {
          SCOPED_TRACE(::testing::Message()
                       << each.name << " fault " << static_cast<int>(fault) << " " << errc_name(code) << " call " << n);
          ASSERT_OK(write_file_durable(destination(), kBefore));
          std::vector<FaultRule> rules;
          for (const StoreCall call : calls) {
            rules.push_back({.call = call, .nth = n, .times_max = 1, .fault = fault, .code = code});
          }
          if (calls.empty()) {
            rules.push_back(
                {.nth = n, .times_max = 1, .fault = fault, .code = code, .delay = std::chrono::milliseconds(1)});
          }
          target->set_rules(rules);
          const auto outcome = ask_both(each.name);
          const bool fired = !target->fired().empty();
          target->set_rules({});
          faults += fired ? 1 : 0;
          if (!outcome) {
            ASSERT_EQ(delivered(), kBefore);
          } else if (*outcome == ArchiveGetOutcome::kFetched) {
            ASSERT_TRUE(each.there);
            ASSERT_NE(delivered(), kBefore);
          } else {
            ASSERT_TRUE(each.absent_is_true);
          }
          ASSERT_EQ(files(), 1u);
          if (!fired) break;
        }
      }
    }
  }
  EXPECT_GT(faults, 200u) << "too few calls went wrong to mean anything";
}

}  // namespace
}  // namespace pgark
