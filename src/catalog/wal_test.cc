#include "catalog/wal.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t k16Mib = 16u << 20;

class CatalogWal : public ::testing::Test {
 protected:
  void put(const std::string& key) { ASSERT_TRUE(store_.put({key}, as_bytes("x")).has_value()) << key; }
  std::vector<std::string> copies(const std::string& name) {
    const auto found = find_wal_copies(*repository_, "main", 1, name);
    EXPECT_TRUE(found.has_value());
    std::vector<std::string> keys;
    if (found) {
      for (const ObjectKey& key : *found) keys.push_back(key.value);
    }
    return keys;
  }

  FaultStore store_{std::make_unique<MemoryStore>()};
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(CatalogWal, KeysFollowTheKindOfFile) {
  const auto key = [](const std::string& name, unsigned generation = 0) {
    const auto made = wal_key("main", 3, name, generation);
    return made ? made->value : "error";
  };
  EXPECT_EQ(key("00000002000000A1000000FF"), "main/wal/3/00000002/000000A1/00000002000000A1000000FF");
  EXPECT_EQ(key("00000002000000A1000000FF", 2), "main/wal/3/00000002/000000A1/00000002000000A1000000FF.r2");
  EXPECT_EQ(key("00000002.history"), "main/wal/3/00000002.history");
  EXPECT_EQ(key("00000002000000A1000000FF.partial"), "main/wal/3/00000002000000A1000000FF.partial");
  EXPECT_EQ(key("00000002000000A1000000FF.00000028.backup"), "main/wal/3/00000002000000A1000000FF.00000028.backup");
  for (const char* wrong : {"", "x", "00000002000000a1000000ff", "00000002000000A1000000FF.r1", "../passwd"}) {
    EXPECT_EQ(key(wrong), "error") << wrong;
  }
}

TEST_F(CatalogWal, FindsCopiesByGenerationAndNothingElse) {
  const std::string name = "000000010000000000000005";
  const std::string key = "main/wal/1/00000001/00000000/" + name;
  EXPECT_THAT(copies(name), IsEmpty());
  for (const char* suffix : {".r10", ".r2", "", ".r1", ".r01", ".r0", ".rx", ".r", ".tmp"}) put(key + suffix);
  put("main/wal/1/" + name + ".partial");
  put("main/wal/1/" + name + ".partial.r1");
  put("main/wal/2/00000001/00000000/" + name);
  put("other/wal/1/00000001/00000000/" + name);
  EXPECT_THAT(copies(name), ElementsAre(key, key + ".r1", key + ".r2", key + ".r10"));
  EXPECT_THAT(copies(name + ".partial"),
              ElementsAre("main/wal/1/" + name + ".partial", "main/wal/1/" + name + ".partial.r1"));
}

TEST_F(CatalogWal, FailingListIsNoAbsence) {
  store_.set_rules({{.call = StoreCall::kList, .fault = Fault::kFail, .code = Errc::kTransient}});
  EXPECT_FALSE(find_wal_copies(*repository_, "main", 1, "000000010000000000000005").has_value());
  EXPECT_TRUE(store_.unfired().empty());
}

TEST_F(CatalogWal, ListsEachSegmentOnceInOrder) {
  for (const char* key : {"main/wal/1/00000001/00000000/000000010000000000000001",
                          "main/wal/1/00000001/00000000/000000010000000000000001.r1",
                          "main/wal/1/00000001/00000000/0000000100000000000000FF",
                          "main/wal/1/00000001/00000001/000000010000000100000000",
                          "main/wal/1/00000002/00000001/000000020000000100000000", "main/wal/1/00000002.history",
                          "main/wal/1/000000010000000100000000.partial", "main/wal/1/stream/00000001/whatever",
                          "main/wal/1/00000001/00000000/000000020000000000000001",
                          "main/wal/2/00000001/00000000/000000010000000000000001"}) {
    put(key);
  }
  const auto all = list_wal_segments(*repository_, "main", 1, std::nullopt);
  ASSERT_TRUE(all.has_value());
  EXPECT_THAT(*all, ElementsAre("000000010000000000000001", "0000000100000000000000FF", "000000010000000100000000",
                                "000000020000000100000000"));
  const auto second = list_wal_segments(*repository_, "main", 1, TimelineId{2});
  ASSERT_TRUE(second.has_value());
  EXPECT_THAT(*second, ElementsAre("000000020000000100000000"));
}

TEST_F(CatalogWal, ListsHistoriesWithoutReadingThroughSegments) {
  for (unsigned timeline = 1; timeline <= 3; ++timeline) {
    for (unsigned seg = 0; seg < 1500; ++seg) {
      put(fmt::format("main/wal/1/{0:08X}/00000000/{0:08X}00000000{1:08X}", timeline, seg));
    }
  }
  for (const char* key :
       {"main/wal/1/00000002.history", "main/wal/1/00000003.history", "main/wal/1/00000003.history.r1",
        "main/wal/1/0000000A.history", "main/wal/1/000000010000000000000005.partial"}) {
    put(key);
  }
  const uint64_t before = store_.calls(StoreCall::kList);
  const auto found = list_timeline_histories(*repository_, "main", 1);
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(*found, ElementsAre(TimelineId{2}, TimelineId{3}, TimelineId{10}));
  EXPECT_LE(store_.calls(StoreCall::kList) - before, 5u);
}

TEST_F(CatalogWal, RangesEndAtGapsTimelinesAndNotAtLogs) {
  const auto ranges = wal_ranges({"0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000",
                                  "000000010000000100000002", "000000020000000100000003"},
                                 k16Mib);
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].first, "0000000100000000000000FE");
  EXPECT_EQ(ranges[0].last, "000000010000000100000000");
  EXPECT_EQ(ranges[0].count, 3u);
  EXPECT_EQ(ranges[1].first, "000000010000000100000002");
  EXPECT_EQ(ranges[2].timeline, TimelineId{2});
  // With segments of 1 GiB a log has four of them.
  EXPECT_EQ(wal_ranges({"000000010000000000000003", "000000010000000100000000"}, 1u << 30).size(), 1u);
  EXPECT_EQ(wal_ranges({"0000000100000000000000FF", "000000010000000100000000"}, 1u << 30).size(), 2u)
      << "a name this segment size cannot have stays visible by itself";
  EXPECT_TRUE(wal_ranges({}, k16Mib).empty());
}

}  // namespace
}  // namespace pgark
