#include "store/early_reads.h"

#include <gmock/gmock.h>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/meeting_store.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;

/// A store of its own with two objects, and what counts the calls to it.
struct Scene {
  Scene() {
    EXPECT_TRUE(memory.put({"root"}, as_bytes("content")).has_value());
    EXPECT_TRUE(memory.put({"main/cluster/1"}, as_bytes("record")).has_value());
  }
  std::unique_ptr<EarlyReads> open(EarlyReads::Wanted wanted, unsigned meeting = 1) {
    auto counting = std::make_unique<testing::MeetingStore>(memory, "s3", meeting);
    counted = counting.get();
    return std::make_unique<EarlyReads>(std::move(counting), std::move(wanted));
  }
  MemoryStore memory;
  testing::MeetingStore* counted = nullptr;
};

std::string text_of(Result<Buffer> content) {
  return content ? std::string(as_text(*content)) : std::string(errc_name(content.error().code()));
}

TEST(EarlyReads, AreUnderWayTogetherAndEachIsUsedOnce) {
  Scene scene;
  const auto store = scene.open({.objects = {{"root"}, {"main/cluster/1"}}, .prefixes = {"main/cluster/"}}, 2);
  EXPECT_EQ(text_of(store->get({"root"})), "content");
  EXPECT_EQ(text_of(store->get({"main/cluster/1"})), "record");
  EXPECT_EQ(store->list_all("main/cluster/").value().size(), 1u);
  EXPECT_EQ(scene.counted->most(), 2u);
  EXPECT_EQ(scene.counted->reads(), 2u);
  EXPECT_EQ(scene.counted->lists(), 1u);
  EXPECT_EQ(text_of(store->get({"root"})), "content");
  EXPECT_EQ(store->list_all("main/cluster/").value().size(), 1u);
  EXPECT_EQ(scene.counted->reads(), 3u) << "what is asked for again is read anew";
  EXPECT_EQ(scene.counted->lists(), 2u);
}

TEST(EarlyReads, OtherReadsAndListingsAreNotTouched) {
  Scene scene;
  const auto store = scene.open({.objects = {{"root"}}, .prefixes = {"main/"}});
  Buffer end(4);
  EXPECT_EQ(store->read({"root"}, 3, end.bytes()).value(), 4u);
  EXPECT_EQ(as_text(end), "tent");
  EXPECT_EQ(store->list({.prefix = "main/", .after = "main/cluster/1"}).value().objects.size(), 0u);
  EXPECT_EQ(store->list({.prefix = "main/", .after = "", .limit = 1}).value().objects.size(), 1u);
  Buffer start(4);
  EXPECT_EQ(store->read({"root"}, 0, start.bytes()).value(), 4u) << "a part of what was read early";
  EXPECT_EQ(as_text(start), "cont");
}

TEST(EarlyReads, LargeObjectsAreReadWhole) {
  MemoryStore memory;
  const std::string large(200'000, 'x');
  ASSERT_TRUE(memory.put({"large"}, as_bytes(large)).has_value());
  EarlyReads store(std::make_unique<testing::ForwardingStore>(memory), {.objects = {{"large"}}, .prefixes = {}});
  EXPECT_EQ(text_of(store.get({"large"})), large);
}

TEST(EarlyReads, FailuresAreThoseOfTheCallAndMetOnce) {
  auto faulty = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
  ASSERT_TRUE(faulty->put({"root"}, as_bytes("content")).has_value());
  faulty->set_rules({{.call = StoreCall::kRead, .nth = 1, .times_max = 1, .fault = Fault::kFail}});
  EarlyReads store(std::move(faulty), {.objects = {{"root"}}, .prefixes = {}});
  EXPECT_EQ(text_of(store.get({"root"})), "transient");
  EXPECT_EQ(text_of(store.get({"root"})), "content");
}

TEST(EarlyReads, AbsenceIsToldAndWhatNobodyAsksForIsDropped) {
  Scene scene;
  const auto store = scene.open({.objects = {{"absent"}, {"main/cluster/1"}}, .prefixes = {"nowhere/"}});
  EXPECT_EQ(store->get({"absent"}).error().code(), Errc::kNotFound);
  EXPECT_TRUE(store->list_all("nowhere/").value().empty());
}

}  // namespace
}  // namespace pgark
