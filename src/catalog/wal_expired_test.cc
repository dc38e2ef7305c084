// Records of where whole WAL begins: the newest counts, and few are kept.
#include "catalog/wal_expired.h"

#include <gtest/gtest.h>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

constexpr uint32_t kSegment = 16u << 20;
constexpr Timestamp kNow{std::chrono::seconds(1795342500)};
constexpr TimelineId kOne{1}, kTwo{2};

TEST(ExpiredWal, NewestRecordCountsAndOlderOnesGo) {
  MemoryStore store;
  const auto repository = new_repository(store);
  const auto write = [&](const ExpiredWal& expired) {
    return write_expired_wal(*repository, "main", 1, kSegment, expired, kNow).has_value();
  };
  const auto read = [&] { return *read_expired_wal(*repository, "main", 1, kSegment); };
  EXPECT_TRUE(read().empty());
  ASSERT_TRUE(write({{kOne, 7}, {kTwo, std::nullopt}}));
  EXPECT_EQ(read(), (ExpiredWal{{kOne, 7}, {kTwo, std::nullopt}}));
  ASSERT_TRUE(write({{kOne, 7}, {kTwo, std::nullopt}}));  // Says nothing new.
  ASSERT_TRUE(write({{kOne, 300}}));
  EXPECT_EQ(read(), (ExpiredWal{{kOne, 300}, {kTwo, std::nullopt}}));
  for (uint64_t i = 301; i < 320; ++i) ASSERT_TRUE(write({{kOne, i}}));
  EXPECT_EQ(read().at(kOne), 319u);
  const auto left = store.list_all("main/wal/1/expired/");
  ASSERT_EQ(left->size(), 2u);
  EXPECT_EQ(left->front().key.value, "main/wal/1/expired/00000001.21");
}

TEST(ExpiredWal, StoreThatRefusesKeepsTheOlderOnes) {
  FaultStore store(std::make_unique<MemoryStore>());
  const auto repository = new_repository(store);
  store.set_rules({{.call = StoreCall::kRemove, .every = 1, .code = Errc::kPermission}});
  for (uint64_t i = 1; i < 12; ++i)
    ASSERT_TRUE(write_expired_wal(*repository, "main", 1, kSegment, {{kOne, i}}, kNow).has_value());
  EXPECT_EQ(read_expired_wal(*repository, "main", 1, kSegment)->at(kOne), 11u);
}

}  // namespace
}  // namespace pgark
