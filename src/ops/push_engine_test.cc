#include "ops/push_engine.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "catalog/wal_dropped.h"
#include "core/clock_test_util.h"
#include "core/log.h"
#include "ops/push_drops.h"
#include "store/posix_store.h"
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

/// Calls of one kind, but for those of the first object, wait until `wanted` are under way, or it is clear that they
/// never will be.
class CallsMeet final : public ForwardingStore {
 public:
  enum class Call : unsigned char { kCreate, kCommit };
  CallsMeet(ObjectStore& inner, Call call, unsigned wanted) : ForwardingStore(inner), call_(call), wanted_(wanted) {}
  Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
    const unsigned number = objects_++;
    if (call_ == Call::kCreate) meet(number);
    TRY_ASSIGN(auto writer, inner().create(key));
    return std::unique_ptr<ObjectWriter>(std::make_unique<Writer>(*this, number, std::move(writer)));
  }
  bool met() const { return met_; }

 private:
  class Writer final : public ObjectWriter {
   public:
    Writer(CallsMeet& store, unsigned number, std::unique_ptr<ObjectWriter> inner)
        : store_(store), number_(number), inner_(std::move(inner)) {}
    Result<> append(Bytes data) override { return inner_->append(data); }
    Result<ObjectInfo> commit() && override {
      if (store_.call_ == Call::kCommit) store_.meet(number_);
      return std::move(*inner_).commit();
    }

   private:
    CallsMeet& store_;
    const unsigned number_;
    std::unique_ptr<ObjectWriter> inner_;
  };

  void meet(unsigned number) {
    if (number == 0) return;
    if (++now_ >= wanted_) met_ = true;
    wait_until([&] { return met_.load(); }, std::chrono::seconds(10));
    --now_;
  }

  const Call call_;
  const unsigned wanted_;
  std::atomic<unsigned> objects_ = 0;
  std::atomic<unsigned> now_ = 0;
  std::atomic<bool> met_ = false;
};

PushTarget target_in(ObjectStore& store) {
  return {.name = "repo1", .open = [&]() -> Result<PushTarget::Opened> {
            PushTarget::Opened opened;
            TRY_ASSIGN(opened.repository, Repository::open(store));
            return opened;
          }};
}

/// One thread that compresses.
void push_ten(PushScene& scene, ObjectStore& store) {
  for (uint64_t number = 1; number <= 10; ++number) scene.put_segment(number);
  PushEngine engine({target_in(store)}, system_clock(), engine_options(scene, 1));
  offer(engine, scene);
  for (uint64_t number = 1; number <= 10; ++number) ASSERT_OK(ask(engine, scene.segment_path(number)));
  for (uint64_t number = 1; number <= 10; ++number) EXPECT_TRUE(scene.holds(scene.segment_name(number)));
}

TEST(PushEngine, OneThreadCompressesWhileManyWaitForTheStore) {
  PushScene scene;
  CallsMeet store(scene.store(), CallsMeet::Call::kCommit, 6);
  push_ten(scene, store);
  EXPECT_TRUE(store.met());
}

TEST(PushEngine, NextObjectsAreBegunWhileOneIsCompressed) {
  PushScene scene;
  CallsMeet store(scene.store(), CallsMeet::Call::kCreate, 3);
  push_ten(scene, store);
  EXPECT_TRUE(store.met());
}

TEST(PushEngine, SegmentCostsItsObjectAndNoOtherCall) {
  struct Counting final : ForwardingStore {
    using ForwardingStore::ForwardingStore;
    Result<std::unique_ptr<ObjectWriter>> create(const ObjectKey& key) override {
      ++creates;
      return inner().create(key);
    }
    Result<std::optional<ObjectInfo>> stat(const ObjectKey& key) override {
      ++others;
      return inner().stat(key);
    }
    Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
      ++reads;
      return inner().read(key, offset, into);
    }
    Result<ListPage> list(const ListRequest& request) override {
      ++lists;
      return inner().list(request);
    }
    std::atomic<unsigned> creates = 0, reads = 0, lists = 0, others = 0;
  };
  PushScene scene;
  Counting store(scene.store());
  push_ten(scene, store);
  EXPECT_EQ(store.creates, 10u);
  EXPECT_EQ(store.reads, 2u) << "pgark.json and the cluster's record, once";
  EXPECT_EQ(store.lists, 1u);
  EXPECT_EQ(store.others, 0u);
  scene.put_segment(11);
  ASSERT_OK(
      archive_push_all({target_in(store)}, system_clock(), scene.options(scene.segment_path(11)), PushQueueLimit{}));
  EXPECT_EQ(store.creates, 11u);
  EXPECT_EQ(store.reads, 4u);
  EXPECT_EQ(store.lists, 2u);
  EXPECT_EQ(store.others, 0u);
}

TEST(PushEngine, PushesAheadHistoriesFirstThenOldestFirst) {
  PushScene scene;
  for (const uint64_t number : {7u, 5u, 6u}) scene.put_segment(number);
  scene.put("00000002.history", "1\t0/800000\tno recovery target specified\n");
  scene.put_segment(8, 1, 2);
  scene.store().set_rules({note_begun()});
  PushEngineOptions options = engine_options(scene, 1);
  options.bytes_max = 1;  // One file at a time.
  PushEngine engine(scene.targets(), system_clock(), options);
  offer(engine, scene);
  ASSERT_TRUE(wait_until([&] { return begun(scene.store()).size() == 5 && !engine.busy(); }));
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

/// A repository in a directory, which a test can move and remove behind the back of an engine that has it open.
class PushEngineInDirectory : public ::testing::TestWithParam<bool> {
 protected:
  PushEngineInDirectory() {
    make_repository(PushScene::cluster());
    for (uint64_t number = 1; number <= 3; ++number) scene_.put_segment(number);
    PosixOptions options;
    options.far_open = GetParam() ? std::chrono::microseconds(0) : std::chrono::hours(1);
    const auto open = [this, options]() -> Result<PushTarget::Opened> {
      PushTarget::Opened opened;
      TRY_ASSIGN(opened.store, PosixStore::open(root(), options));
      TRY_ASSIGN(opened.repository, Repository::open(*opened.store));
      return opened;
    };
    engine_ = std::make_unique<PushEngine>(std::vector<PushTarget>{{.name = "repo1", .open = open}}, system_clock(),
                                           engine_options(scene_));
    EXPECT_TRUE(push(1).has_value());
  }

  std::string root() const { return scene_.path("../repo"); }
  void make_repository(const ClusterRecord& cluster) {
    PosixOptions options;
    options.create_root = true;
    auto store = PosixStore::open(root(), options);
    ASSERT_OK(store);
    const auto repository = Repository::open_or_create(**store, system_clock());
    ASSERT_OK(repository);
    ASSERT_OK(write_cluster(**repository, "main", cluster));
  }
  Result<> push(uint64_t number) { return ask(*engine_, scene_.segment_path(number)); }
  bool holds(uint64_t number) const {
    const auto key = wal_key("main", 1, scene_.segment_name(number));
    return key && std::filesystem::exists(root() + "/" + key->value);
  }
  /// What is said, at once and when it is asked for again, while nothing is made where the stanza was.
  void expect_refused_and_nothing_made() {
    for (int round = 0; round < 3; ++round) {
      const auto refused = push(2);
      ASSERT_FALSE(refused.has_value());
      if (round == 0) continue;
      EXPECT_THAT(refused.error().to_string(),
                  AllOf(HasSubstr("stanza main does not exist"), HasSubstr("stanza-create")));
    }
    EXPECT_FALSE(std::filesystem::exists(root() + "/main"));
  }

  PushScene scene_{0};
  std::unique_ptr<PushEngine> engine_;
};

TEST_P(PushEngineInDirectory, StanzaRemovedMeanwhileIsMissedAndNotMadeAnew) {
  std::filesystem::remove_all(root() + "/main");
  expect_refused_and_nothing_made();
}

TEST_P(PushEngineInDirectory, StanzaMovedAwayMeanwhileIsMissedAndNotMadeAnew) {
  std::filesystem::rename(root() + "/main", root() + "/old");
  expect_refused_and_nothing_made();
  EXPECT_FALSE(std::filesystem::exists(root() + "/old/wal/1/" + scene_.segment_name(2)));
  std::filesystem::rename(root() + "/old", root() + "/main");
  ASSERT_OK(push(2));
  EXPECT_TRUE(holds(2)) << "and it is back";
}

TEST_P(PushEngineInDirectory, RepositoryRemovedMeanwhileIsMissedAndNotMadeAnew) {
  std::filesystem::remove_all(root());
  for (int round = 0; round < 3; ++round) ASSERT_FALSE(push(2).has_value());
  EXPECT_FALSE(std::filesystem::exists(root()));
}

TEST_P(PushEngineInDirectory, StanzaOfAnotherClusterInItsPlaceTakesNothing) {
  std::filesystem::remove_all(root() + "/main");
  ClusterRecord other = PushScene::cluster();
  ++other.system_identifier;
  make_repository(other);
  ASSERT_FALSE(push(2).has_value());
  const auto refused = push(2);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_FALSE(std::filesystem::exists(root() + "/main/wal"));
}

TEST_P(PushEngineInDirectory, AnotherRepositoryInItsPlaceGetsEverything) {
  std::filesystem::rename(root(), root() + ".old");
  make_repository(PushScene::cluster());
  // On a far file system, what the path names is looked at once a second.
  EXPECT_TRUE(wait_until([&] {
    for (const uint64_t number : {2u, 3u}) static_cast<void>(push(number).has_value());
    scene_.put_segment(3);
    return holds(3);
  }));
  ASSERT_OK(push(2));
  ASSERT_OK(push(1));
  EXPECT_TRUE(holds(2));
  EXPECT_TRUE(holds(1)) << "it was in the other repository only";
}

/// As a worker does that had nothing to do for a while: it knows no directory yet that could be missed.
TEST_P(PushEngineInDirectory, StanzaMovedAwayBeforeTheFirstFileIsMissedToo) {
  SleepingClock clock;
  auto store = PosixStore::open(root());
  ASSERT_OK(store);
  const auto repository = Repository::open(**store);
  ASSERT_OK(repository);
  const auto pusher = StanzaPusher::open(**repository, clock, scene_.options());
  ASSERT_OK(pusher);
  clock.sleep_for(std::chrono::seconds(2));
  std::filesystem::rename(root() + "/main", root() + "/old");
  const auto source = read_push_source(scene_.segment_path(2));
  ASSERT_OK(source);
  const auto refused = (*pusher)->push(*source);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("stanza main in"));
  EXPECT_FALSE(std::filesystem::exists(root() + "/main"));
}

INSTANTIATE_TEST_SUITE_P(NearAndFar, PushEngineInDirectory, ::testing::Bool(),
                         [](const auto& is_far) { return is_far.param ? "Far" : "Near"; });

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
