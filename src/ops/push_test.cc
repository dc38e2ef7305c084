// archive-push into several repositories: forks, what is given up, and what a push costs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/wal.h"
#include "catalog/wal_dropped.h"
#include "ops/archive_push.h"
#include "ops/push_drops.h"
#include "ops/push_ready.h"
#include "repo/stored_file.h"
#include "testing/pg_server.h"
#include "testing/push_scene.h"

namespace pgark {
namespace {

using ::pgark::testing::PushScene;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kHistory = "00000002.history";

Result<ArchivePushAllResult> push_all(PushScene& scene, const std::string& name,
                                      std::optional<uint64_t> queue_bytes_max = {}) {
  return archive_push_all(scene.targets(), system_clock(), scene.options(scene.path(name)),
                          {.queue_bytes_max = queue_bytes_max, .spool_directory = scene.spool()});
}

TEST(PushCost, NewSegmentCostsOneWriteAndNothingElse) {
  PushScene scene;
  scene.put_segment(5);
  ASSERT_OK_AND_ASSIGN(const auto pusher, StanzaPusher::open(scene.repository(), system_clock(), scene.options()));
  ASSERT_OK_AND_ASSIGN(const PushSource source, read_push_source(scene.segment_path(5)));
  FaultStore& store = scene.store();
  const uint64_t before = store.calls();
  const uint64_t appends = store.calls(StoreCall::kAppend);
  ASSERT_OK(pusher->push(source));
  EXPECT_EQ(store.calls() - before - (store.calls(StoreCall::kAppend) - appends), 2u) << "create and commit";
}

TEST(PushCost, SegmentOfAKnownTimelineCostsOneWriteToo) {
  PushScene scene;
  scene.put(kHistory, "1\t0/500100\tno recovery target specified\n");
  scene.put_segment(5, 1, 2);
  scene.put_segment(6, 1, 2);
  ASSERT_OK_AND_ASSIGN(const auto pusher, StanzaPusher::open(scene.repository(), system_clock(), scene.options()));
  ASSERT_OK_AND_ASSIGN(const PushSource first, read_push_source(scene.segment_path(5, 2)));
  ASSERT_OK_AND_ASSIGN(const PushSource second, read_push_source(scene.segment_path(6, 2)));
  ASSERT_OK(pusher->push(first));
  EXPECT_TRUE(scene.holds(kHistory)) << "before the first segment of its timeline";
  ASSERT_OK(pusher->push(first));
  FaultStore& store = scene.store();
  const uint64_t reads = store.calls(StoreCall::kRead) + store.calls(StoreCall::kStat) + store.calls(StoreCall::kList);
  ASSERT_OK(pusher->push(second));
  EXPECT_EQ(store.calls(StoreCall::kRead) + store.calls(StoreCall::kStat) + store.calls(StoreCall::kList), reads);
}

TEST(PushFork, SegmentsOfATimelineThatBeganElsewhereAreRefused) {
  PushScene scene;
  scene.put(kHistory, "1\t0/500100\tbefore 2026-11-22 10:15:00+00\n");
  ASSERT_OK(push_all(scene, kHistory));
  scene.put(kHistory, "1\t0/600200\tno recovery target specified\n");
  scene.put_segment(6, 1, 2);
  for (const std::string& name : {kHistory, scene.segment_name(6, 2)}) {
    const auto refused = push_all(scene, name);
    ASSERT_FALSE(refused.has_value()) << name;
    EXPECT_EQ(refused.error().code(), Errc::kInvalid);
    EXPECT_THAT(refused.error().to_string(), AllOf(HasSubstr("timeline 1 at 0/600200 (no recovery target specified)"),
                                                   HasSubstr("timeline 1 at 0/500100 (before 2026-11-22 10:15:00+00)"),
                                                   HasSubstr("a stanza of its own"), HasSubstr("archive_mode=off")));
  }
  EXPECT_FALSE(scene.holds(scene.segment_name(6, 2)));
}

TEST(PushFork, SegmentWithoutAnyHistoryIsRefused) {
  PushScene scene;
  scene.put_segment(6, 1, 2);
  const auto refused = push_all(scene, scene.segment_name(6, 2));
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("there is no history of timeline 2"));
}

TEST(PushFork, HistoryThatCannotBePushedKeepsItsSegmentsBack) {
  PushScene scene;
  scene.put(kHistory, "no history\n");
  scene.put_segment(6, 1, 2);
  EXPECT_FALSE(push_all(scene, scene.segment_name(6, 2)).has_value());
  EXPECT_FALSE(scene.holds(scene.segment_name(6, 2)));
}

TEST(PushFork, DamagedStoredHistoryIsMendedFromTheLocalOne) {
  PushScene scene;
  scene.put(kHistory, "1\t0/500100\tno recovery target specified\n");
  ASSERT_OK(push_all(scene, kHistory));
  scene.put_segment(6, 1, 2);
  MemoryStore damaged;
  copy_with_flipped_bit(scene.store(), damaged, {"main/wal/1/" + kHistory}, uint64_t{8} * 80);
  ASSERT_OK_AND_ASSIGN(const auto repository, Repository::open(damaged));
  ASSERT_OK(archive_push(*repository, system_clock(), scene.options(scene.segment_path(6, 2))));
  ASSERT_OK_AND_ASSIGN(const StoredFile mended, read_stored_file(*repository, {"main/wal/1/" + kHistory + ".r1"}));
  EXPECT_EQ(as_text(mended.raw), "1\t0/500100\tno recovery target specified\n");
}

TEST(PushAll, EveryRepositoryIsTriedAndTheFailingOnesAreNamed) {
  PushScene scene(3);
  scene.put_segment(5);
  scene.store(1).set_rules({{.nth = 1, .every = 1, .fault = Fault::kFail, .code = Errc::kNoSpace}});
  const auto failed = push_all(scene, scene.segment_name(5));
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code(), Errc::kNoSpace);
  EXPECT_THAT(failed.error().to_string(), AllOf(HasSubstr("repo2: "), HasSubstr("2 of 3 repositories have it")));
  EXPECT_TRUE(scene.holds(scene.segment_name(5), 0));
  EXPECT_FALSE(scene.holds(scene.segment_name(5), 1));
  EXPECT_TRUE(scene.holds(scene.segment_name(5), 2));
  scene.store(1).set_rules({});
  ASSERT_OK_AND_ASSIGN(const auto pushed, push_all(scene, scene.segment_name(5)));
  ASSERT_EQ(pushed.stored.size(), 3u);
  EXPECT_EQ(pushed.stored[0].outcome, ArchivePushOutcome::kAlreadyThere);
  EXPECT_EQ(pushed.stored[1].outcome, ArchivePushOutcome::kStored);
}

/// Every call of either store failed in turn: ok only with the segment durable in both.
TEST(PushAll, NeverOkWithoutEveryRepository) {
  for (const auto& [fault, code] : {std::pair{Fault::kFail, Errc::kTransient},
                                    {Fault::kFail, Errc::kOutcomeUnknown},
                                    {Fault::kFailAfter, Errc::kTransient},
                                    {Fault::kFailAfter, Errc::kOutcomeUnknown}}) {
    for (const size_t victim : {size_t{0}, size_t{1}}) {
      for (uint64_t n = 1;; ++n) {
        PushScene scene(2);
        scene.put(kHistory, "1\t0/500100\tno recovery target specified\n");
        scene.put_segment(5, 1, 2);
        const std::string name = scene.segment_name(5, 2);
        scene.store(victim).set_rules({{.nth = n, .times_max = 1, .fault = fault, .code = code}});
        const auto pushed = push_all(scene, name);
        if (pushed) {
          for (size_t i = 0; i < 2; ++i) ASSERT_TRUE(scene.holds(name, i) && scene.holds(kHistory, i)) << n;
        }
        const bool fired = !scene.store(victim).fired().empty();
        ASSERT_TRUE(fired || pushed.has_value());
        scene.store(victim).set_rules({});
        ASSERT_OK(push_all(scene, name));
        for (size_t i = 0; i < 2; ++i) ASSERT_TRUE(scene.holds(name, i) && scene.holds(kHistory, i)) << n;
        if (fired) continue;
        ASSERT_GT(n, 8u) << "too few calls were failed to mean anything";
        break;
      }
    }
  }
}

TEST(PushQueueMax, GivesUpOnlySegmentsAndOnlyPastTheLimit) {
  PushScene scene(2);
  for (uint64_t number = 5; number <= 8; ++number) scene.put_segment(number);
  scene.put(kHistory, "1\t0/500100\tno recovery target specified\n");
  const uint64_t segment = ::pgark::testing::SampleWal{}.segment_bytes;
  ASSERT_OK_AND_ASSIGN(const auto stored, push_all(scene, scene.segment_name(5), 4 * segment));
  EXPECT_FALSE(stored.dropped) << "as much as the limit is no more than it";
  ASSERT_OK_AND_ASSIGN(const auto dropped, push_all(scene, scene.segment_name(6), 4 * segment - 1));
  EXPECT_TRUE(dropped.dropped);
  EXPECT_FALSE(scene.holds(scene.segment_name(6), 0));
  ASSERT_OK_AND_ASSIGN(const auto history, push_all(scene, kHistory, 1));
  EXPECT_FALSE(history.dropped);
  EXPECT_TRUE(scene.holds(kHistory, 1));
}

TEST(PushQueueMax, WhatWasGivenUpIsToldToEveryRepositoryByTheNextPushThatReachesIt) {
  PushScene scene(2);
  for (uint64_t number = 5; number <= 9; ++number) scene.put_segment(number);
  for (uint64_t number = 5; number <= 7; ++number) {
    ASSERT_OK_AND_ASSIGN(const auto dropped, push_all(scene, scene.segment_name(number), 1));
    ASSERT_TRUE(dropped.dropped);
    scene.mark_done(scene.segment_name(number));
  }
  ASSERT_OK_AND_ASSIGN(const auto nothing, list_dropped_wal(scene.repository(0), "main", 1));
  EXPECT_THAT(nothing, IsEmpty()) << "the repository was not even tried";
  scene.store(1).set_rules({{.nth = 1, .every = 1, .fault = Fault::kFail}});
  EXPECT_FALSE(push_all(scene, scene.segment_name(8)).has_value());
  scene.store(1).set_rules({});
  ASSERT_OK(push_all(scene, scene.segment_name(8)));
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto dropped, list_dropped_wal(scene.repository(i), "main", 1));
    ASSERT_EQ(dropped.size(), 1u);
    EXPECT_EQ(dropped[0].first, scene.segment_name(5));
    EXPECT_EQ(dropped[0].last, scene.segment_name(7));
    EXPECT_EQ(dropped[0].host, "db1");
    EXPECT_EQ(dropped[0].limit_bytes, 1u);
    EXPECT_EQ(dropped[0].queue_bytes, 5 * ::pgark::testing::SampleWal{}.segment_bytes);
  }
  // It is not taken for WAL.
  ASSERT_OK_AND_ASSIGN(const auto segments, list_wal_segments(scene.repository(0), "main", 1, {}));
  EXPECT_THAT(segments, ElementsAre(scene.segment_name(8)));
  ASSERT_OK_AND_ASSIGN(const auto histories, list_timeline_histories(scene.repository(0), "main", 1));
  EXPECT_THAT(histories, IsEmpty());
}

TEST(PushQueueMax, NothingIsGivenUpThatCannotBeNoted) {
  PushScene scene;
  scene.put_segment(5);
  ASSERT_OK(write_file_durable(scene.wal() + "/file", ""));
  const auto refused = archive_push_all(scene.targets(), system_clock(), scene.options(scene.segment_path(5)),
                                        {.queue_bytes_max = 1, .spool_directory = scene.wal() + "/file/spool"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("give up " + scene.segment_name(5)));
}

TEST(DropNotes, LineThatACrashCutShortIsPassedOver) {
  PushScene scene;
  const DropNotes notes(scene.spool());
  const auto note = [&](uint64_t number) {
    return notes.add({.segment = scene.segment_name(number), .host = "", .waiting = {"repo1"}});
  };
  ASSERT_OK(note(5));
  ASSERT_OK_AND_ASSIGN(const std::string text, read_file(scene.spool() + "/dropped.jsonl"));
  ASSERT_OK(write_file_durable(scene.spool() + "/dropped.jsonl", text + text.substr(0, text.size() / 2)));
  ASSERT_OK(note(6));
  ASSERT_OK_AND_ASSIGN(const auto waiting, notes.waiting_for("repo1"));
  ASSERT_EQ(waiting.size(), 2u);
  EXPECT_EQ(waiting[1].segment, scene.segment_name(6));
  ASSERT_OK_AND_ASSIGN(const auto other, notes.waiting_for("repo2"));
  EXPECT_THAT(other, IsEmpty());
}

TEST(DroppedWal, LongerRunAfterACrashAddsOnlyWhatIsNew) {
  PushScene scene;
  const auto run = [&](uint64_t first, uint64_t last) {
    return write_dropped_wal(scene.repository(), "main", 1,
                             {.first = scene.segment_name(first), .last = scene.segment_name(last), .host = "db1"},
                             ::pgark::testing::SampleWal{}.segment_bytes);
  };
  ASSERT_OK(run(5, 6));
  ASSERT_OK(run(5, 6));
  ASSERT_OK(run(5, 9));
  ASSERT_OK_AND_ASSIGN(const auto dropped, list_dropped_wal(scene.repository(), "main", 1));
  ASSERT_EQ(dropped.size(), 2u);
  EXPECT_EQ(dropped[1].first, scene.segment_name(7));
  EXPECT_EQ(dropped[1].last, scene.segment_name(9));
}

TEST(ReadyFiles, AreOrderedAsPostgreSqlOrdersThem) {
  PushScene scene;
  for (const char* name : {"000000020000000000000006", "000000010000000000000007", "00000002.history", "nonsense",
                           "000000010000000000000005.partial"}) {
    scene.mark_ready(name);
  }
  scene.mark_ready("000000010000000000000004");
  scene.mark_done("000000010000000000000004");
  ASSERT_OK_AND_ASSIGN(const ReadyFiles ready, list_ready_files(scene.wal()));
  EXPECT_THAT(ready.names, ElementsAre("00000002.history", "000000010000000000000005.partial",
                                       "000000010000000000000007", "000000020000000000000006"));
  EXPECT_EQ(ready.segment_count, 3u);
}

}  // namespace
}  // namespace pgark
