#include "ops/push_engine.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "catalog/wal_dropped.h"
#include "core/log.h"
#include "ops/push_drops.h"
#include "testing/forwarding_store.h"
#include "testing/pg_server.h"
#include "testing/push_scene.h"
#include "testing/wait.h"

namespace pgark {
namespace {

using ::pgark::testing::ForwardingStore;
using ::pgark::testing::PushScene;
using ::pgark::testing::wait_until;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

PushEngineOptions engine_options(const PushScene& scene, unsigned threads = 2) {
  PushEngineOptions options;
  options.push = scene.options();
  options.threads = threads;
  options.spool_directory = scene.spool();
  options.retry_first = milliseconds(20);
  options.retry_max = milliseconds(50);
  return options;
}

/// Ask for a file and wait for the answer.
Result<> ask(PushEngine& engine, const std::string& path) {
  engine.request(path);
  std::optional<Result<>> answer;
  const bool answered = wait_until([&] {
    answer = engine.answer(path);
    return answer.has_value();
  });
  engine.release(path);
  if (!answered) return Error(Errc::kTransient, "the engine gave no answer");
  return *answer;
}

void offer(PushEngine& engine, const PushScene& scene) {
  auto ready = list_ready_files(scene.wal());
  ASSERT_OK(ready);
  engine.offer(scene.wal(), std::move(*ready));
}

/// Keys of objects that were begun, in their order.
std::vector<std::string> begun(FaultStore& store) {
  std::vector<std::string> keys;
  for (const FiredFault& fired : store.fired()) keys.push_back(fired.key.substr(fired.key.rfind('/') + 1));
  return keys;
}
FaultRule note_begun() {
  return {.call = StoreCall::kCreate, .prefix = "main/wal", .nth = 1, .every = 1, .fault = Fault::kDelay};
}

/// Commits, but for the first one, wait for another, or until it is clear that none comes.
class CommitsMeet final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    TRY_ASSIGN(auto writer, inner().create(key));
    return std::unique_ptr<ObjectWriter>(std::make_unique<Writer>(*this, std::move(writer)));
  }
  bool met() const { return met_; }

 private:
  class Writer final : public ObjectWriter {
   public:
    Writer(CommitsMeet& store, std::unique_ptr<ObjectWriter> inner) : store_(store), inner_(std::move(inner)) {}
    Result<> append(Bytes data) override { return inner_->append(data); }
    Result<ObjectInfo> commit() && override {
      if (store_.commits_++ > 0) {
        if (++store_.now_ > 1) store_.met_ = true;
        wait_until([&] { return store_.met_.load(); }, std::chrono::seconds(2));
        --store_.now_;
      }
      return std::move(*inner_).commit();
    }

   private:
    CommitsMeet& store_;
    std::unique_ptr<ObjectWriter> inner_;
  };

  std::atomic<unsigned> commits_ = 0;
  std::atomic<unsigned> now_ = 0;
  std::atomic<bool> met_ = false;
};

TEST(PushEngine, OneThreadCompressesWhileAnotherWaitsForTheStore) {
  PushScene scene;
  for (const uint64_t number : {5u, 6u, 7u}) scene.put_segment(number);
  CommitsMeet store(scene.store());
  const PushTarget target{.name = "repo1", .open = [&]() -> Result<PushTarget::Opened> {
                            PushTarget::Opened opened;
                            TRY_ASSIGN(opened.repository, Repository::open(store));
                            return opened;
                          }};
  PushEngine engine({target}, system_clock(), engine_options(scene, 1));
  offer(engine, scene);
  for (const uint64_t number : {5u, 6u, 7u}) ASSERT_OK(ask(engine, scene.segment_path(number)));
  EXPECT_TRUE(store.met());
}

TEST(PushEngine, PushesAheadHistoriesFirstThenOldestFirst) {
  PushScene scene;
  for (const uint64_t number : {7u, 5u, 6u}) scene.put_segment(number);
  scene.put("00000002.history", "1\t0/800000\tno recovery target specified\n");
  scene.put_segment(8, 1, 2);
  scene.store().set_rules({note_begun()});
  PushEngine engine(scene.targets(), system_clock(), engine_options(scene, 1));
  offer(engine, scene);
  ASSERT_TRUE(wait_until([&] { return begun(scene.store()).size() == 5; }));
  EXPECT_EQ(begun(scene.store()),
            (std::vector<std::string>{"00000002.history", scene.segment_name(5), scene.segment_name(6),
                                      scene.segment_name(7), scene.segment_name(8, 2)}));
  const uint64_t calls = scene.store().calls();
  ASSERT_OK(ask(engine, scene.segment_path(6)));
  EXPECT_EQ(scene.store().calls(), calls) << "what is remembered costs no call";
}

TEST(PushEngine, AsksForWhatIsNotReadyToo) {
  PushScene scene;
  scene.put(scene.segment_name(5), as_text(::pgark::testing::sample_segment({TimelineId{1}, 5}, 5)), false);
  PushEngine engine(scene.targets(), system_clock(), engine_options(scene));
  ASSERT_OK(ask(engine, scene.segment_path(5)));
  EXPECT_TRUE(scene.holds(scene.segment_name(5)));
  const auto absent = ask(engine, scene.segment_path(6));
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), Errc::kNotFound);
}

TEST(PushEngine, ChangedFileIsPushedAgainAndComparedWithTheStoredOne) {
  PushScene scene;
  scene.put_segment(5);
  PushEngine engine(scene.targets(), system_clock(), engine_options(scene));
  ASSERT_OK(ask(engine, scene.segment_path(5)));
  scene.put_segment(5);  // Another file with the same bytes.
  ASSERT_OK(ask(engine, scene.segment_path(5)));
  scene.put_segment(5, 99);
  const auto other = ask(engine, scene.segment_path(5));
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code(), Errc::kInvalid);
  EXPECT_THAT(other.error().message(), HasSubstr("differs from"));
}

TEST(PushEngine, RepositoryThatIsDownDelaysOnlyItself) {
  PushScene scene(2);
  for (uint64_t number = 1; number <= 9; ++number) scene.put_segment(number);
  std::atomic<bool> down = true;
  std::vector<PushTarget> targets = scene.targets();
  targets[1].open = [&, open = targets[1].open]() -> Result<PushTarget::Opened> {
    if (down) return Error(Errc::kPermission, "open repo2: no such directory");
    return open();
  };
  PushEngine engine(std::move(targets), system_clock(), engine_options(scene));
  offer(engine, scene);
  const auto first = ask(engine, scene.segment_path(1));
  ASSERT_FALSE(first.has_value());
  EXPECT_EQ(first.error().code(), Errc::kPermission);
  EXPECT_THAT(first.error().to_string(), AllOf(HasSubstr("repo2: open repo2"), HasSubstr("9 files wait for repo2"),
                                               HasSubstr("1 of 2 repositories have it")));
  EXPECT_TRUE(wait_until([&] { return scene.holds(scene.segment_name(9), 0); })) << "WAL flows to the other";
  EXPECT_FALSE(scene.holds(scene.segment_name(1), 1));
  EXPECT_EQ(engine.missing_in(scene.segment_path(1)), std::vector<std::string>{"repo2"});
  down = false;
  offer(engine, scene);
  EXPECT_TRUE(wait_until([&] {
    offer(engine, scene);
    return scene.holds(scene.segment_name(9), 1);
  })) << "it catches up without being asked";
  for (uint64_t number = 1; number <= 9; ++number) ASSERT_OK(ask(engine, scene.segment_path(number)));
}

TEST(PushEngine, SlowRepositoryIsNamedWithWhatWaits) {
  PushScene scene(2);
  for (uint64_t number = 1; number <= 3; ++number) scene.put_segment(number);
  std::atomic<bool> stuck = true;
  std::vector<PushTarget> targets = scene.targets();
  targets[1].open = [&, open = targets[1].open]() -> Result<PushTarget::Opened> {
    while (stuck) system_clock().sleep_for(milliseconds(1));
    return open();
  };
  PushEngine engine(std::move(targets), system_clock(), engine_options(scene));
  offer(engine, scene);
  const std::string path = scene.segment_path(1);
  engine.request(path);
  EXPECT_TRUE(wait_until([&] { return scene.holds(scene.segment_name(3), 0); }));
  EXPECT_FALSE(engine.answer(path).has_value());
  const Error lag = engine.lag(path);
  EXPECT_EQ(lag.code(), Errc::kTransient);
  EXPECT_THAT(lag.message(),
              AllOf(HasSubstr("repo2 lags: 3 files wait for repo2"), ::testing::Not(HasSubstr("repo1"))));
  stuck = false;
  EXPECT_TRUE(wait_until([&] { return engine.answer(path).has_value(); }));
  engine.release(path);
}

/// A clone's later segments must not get into the chain past the one that was refused.
TEST(PushEngine, RefusedSegmentHoldsBackItsTimeline) {
  PushScene scene;
  scene.put_segment(5);
  ASSERT_OK(archive_push(scene.repository(), system_clock(), scene.options(scene.segment_path(5))));
  for (uint64_t number = 5; number <= 12; ++number) scene.put_segment(number, 50);  // 5 differs now.
  PushEngineOptions options = engine_options(scene, 4);
  options.retry_max = std::chrono::minutes(5);
  PushEngine engine(scene.targets(), system_clock(), options);
  offer(engine, scene);
  const auto refused = ask(engine, scene.segment_path(5));
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("differs from"));
  for (int round = 0; round < 5; ++round) offer(engine, scene);
  engine.stop();
  for (uint64_t number = 6; number <= 12; ++number) EXPECT_FALSE(scene.holds(scene.segment_name(number))) << number;
}

TEST(PushEngine, NothingOfATimelineWhoseHistoryIsRefused) {
  PushScene scene;
  scene.put("00000002.history", "1\t0/500100\tno recovery target specified\n");
  ASSERT_OK(archive_push(scene.repository(), system_clock(), scene.options(scene.path("00000002.history"))));
  scene.put("00000002.history", "1\t0/500200\tno recovery target specified\n");
  for (uint64_t number = 5; number <= 8; ++number) scene.put_segment(number, 1, 2);
  PushEngine engine(scene.targets(), system_clock(), engine_options(scene, 3));
  for (int round = 0; round < 5; ++round) {
    offer(engine, scene);
    const auto refused = ask(engine, scene.segment_path(5, 2));
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().message(),
                AllOf(HasSubstr("timeline 1 at 0/500200"), HasSubstr("timeline 1 at 0/500100")));
  }
  engine.stop();
  for (uint64_t number = 5; number <= 8; ++number) EXPECT_FALSE(scene.holds(scene.segment_name(number, 2)));
}

TEST(PushEngine, AnotherRepositoryInItsPlaceIsNotBelievedToHoldAnything) {
  PushScene scene(2);
  for (uint64_t number = 1; number <= 3; ++number) scene.put_segment(number);
  std::atomic<size_t> where = 0;
  const std::vector<PushTarget> both = scene.targets();
  PushEngineOptions options = engine_options(scene);
  options.trust = milliseconds(30);
  PushEngine engine({{.name = "repo1", .open = [&] { return both[where].open(); }}}, system_clock(), options);
  offer(engine, scene);
  ASSERT_TRUE(wait_until([&] { return scene.holds(scene.segment_name(3), 0); }));
  where = 1;
  EXPECT_TRUE(wait_until([&] {
    EXPECT_TRUE(ask(engine, scene.segment_path(3)).has_value());
    return scene.holds(scene.segment_name(3), 1);
  })) << "once the trust has run out";
}

TEST(PushEngine, ForgetsWhatWaitsNoMore) {
  PushScene scene;
  scene.put_segment(1);
  PushEngine engine(scene.targets(), system_clock(), engine_options(scene));
  offer(engine, scene);
  ASSERT_OK(ask(engine, scene.segment_path(1)));
  EXPECT_TRUE(engine.missing_in(scene.segment_path(1)).empty());
  scene.mark_done(scene.segment_name(1));
  offer(engine, scene);
  EXPECT_EQ(engine.missing_in(scene.segment_path(1)), std::vector<std::string>{"repo1"});
}

TEST(PushEngine, CarriesOverWhatWasGivenUp) {
  PushScene scene(2);
  scene.put_segment(9);
  const DropNotes notes(scene.spool());
  for (const uint64_t number : {5u, 6u, 8u}) {
    ASSERT_OK(notes.add({.segment = scene.segment_name(number),
                         .host = "db1",
                         .queue_bytes = 10,
                         .limit_bytes = 5,
                         .waiting = {"repo1", "repo2"}}));
  }
  PushEngine engine(scene.targets(), system_clock(), engine_options(scene));
  for (size_t i = 0; i < 2; ++i) {
    std::vector<DroppedWal> dropped;
    EXPECT_TRUE(wait_until([&] {
      dropped = list_dropped_wal(scene.repository(i), "main", 1).value_or(std::vector<DroppedWal>{});
      return dropped.size() == 2;
    }));
    ASSERT_EQ(dropped.size(), 2u);
    EXPECT_EQ(dropped[0].first, scene.segment_name(5));
    EXPECT_EQ(dropped[0].last, scene.segment_name(6));
    EXPECT_EQ(dropped[1].first, scene.segment_name(8));
  }
  EXPECT_TRUE(wait_until([&] { return !read_file(scene.spool() + "/dropped.jsonl").has_value(); })) << "all know";
}

/// Whatever the n-th call of either store does, what is acknowledged is in both, and what is not can be asked for
/// again.
TEST(PushEngine, EveryFailingStoreCallLeavesItAcknowledgedOrRepeatable) {
  const std::pair<Fault, Errc> kinds[] = {
      {Fault::kFail, Errc::kTransient},      {Fault::kFail, Errc::kOutcomeUnknown},
      {Fault::kFailAfter, Errc::kTransient}, {Fault::kFailAfter, Errc::kOutcomeUnknown},
      {Fault::kTruncate, Errc::kTransient},  {Fault::kDelay, Errc::kTransient}};
  for (const auto& [fault, code] : kinds) {
    for (const size_t victim : {size_t{0}, size_t{1}}) {
      for (uint64_t n = 1;; ++n) {
        SCOPED_TRACE(
            fmt::format("fault {} {} of call {} of store {}", static_cast<int>(fault), errc_name(code), n, victim));
        PushScene scene(2);
        scene.put("00000002.history", "1\t0/500100\tno recovery target specified\n");
        for (uint64_t number = 5; number <= 6; ++number) scene.put_segment(number, 1, 2);
        FaultRule rule{.nth = n, .times_max = 1, .fault = fault, .code = code, .delay = milliseconds(1)};
        if (fault == Fault::kTruncate) rule.call = StoreCall::kAppend;
        scene.store(victim).set_rules({rule});
        PushEngine engine(scene.targets(), system_clock(), engine_options(scene));
        if (n % 2 == 0) offer(engine, scene);  // Pushed ahead, or only when asked for.
        for (const std::string& name :
             {std::string("00000002.history"), scene.segment_name(5, 2), scene.segment_name(6, 2)}) {
          Result<> answer = ask(engine, scene.path(name));
          if (!answer) answer = ask(engine, scene.path(name));
          ASSERT_OK(answer);
          for (size_t i = 0; i < 2; ++i) ASSERT_TRUE(scene.holds(name, i)) << name << " in store " << i;
        }
        if (!scene.store(victim).fired().empty()) continue;
        ASSERT_GT(n, 9u) << "too few calls were failed to mean anything";
        break;
      }
    }
  }
}

}  // namespace
}  // namespace pgark
