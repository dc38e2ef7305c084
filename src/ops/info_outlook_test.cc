#include "ops/info_outlook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "repo/stored_file.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_cluster.h"

namespace pgark {
namespace {

using ::testing::HasSubstr;

constexpr Timestamp kNow{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22) + std::chrono::hours(12)};
constexpr uint64_t kGiB = uint64_t{1} << 30;

BackupMeta backup(const std::string& label, BackupType type, Timestamp stopped) {
  BackupMeta meta;
  meta.label = label;
  meta.type = type;
  meta.started = stopped - std::chrono::seconds(100);
  meta.stopped = stopped;
  meta.logical_bytes = 100 * kGiB;
  meta.start_lsn = Lsn{kGiB};
  meta.stop_lsn = Lsn{2 * kGiB};
  return meta;
}

WalRate rate_of(Timestamp newest) {
  return {.segment_bytes = 16u << 20,
          .total_count = 100,
          .newest = newest,
          .oldest = kNow - std::chrono::days(9),
          .since = kNow - std::chrono::days(1),
          .until = kNow,
          .segment_count = 96,
          .stored_bytes_each = 4u << 20};
}

TEST(Outlook, KnowsNothingFromNothing) {
  const InfoOutlook outlook = estimate_outlook({}, {}, {}, kNow);
  EXPECT_EQ(outlook.newest_label, "");
  EXPECT_FALSE(outlook.recovery_point.at_most.has_value());
  EXPECT_FALSE(outlook.recovery_time.total.has_value());
  EXPECT_EQ(outlook.recovery_time.how, "there is no backup");
}

TEST(Outlook, RecoveryTimeIsCopyAndReplay) {
  // A full at 1 GiB/s, an incr that was quick, and 33 GiB of WAL since its start.
  auto incr = backup("20261120-100000F_20261122-100000I", BackupType::kIncr, kNow - std::chrono::hours(2));
  incr.started = incr.stopped - std::chrono::seconds(1);
  const auto outlook = estimate_outlook(
      {backup("20261120-100000F", BackupType::kFull, kNow - std::chrono::days(2)), incr}, {}, Lsn{33 * kGiB}, kNow);
  EXPECT_EQ(outlook.newest_label, incr.label);
  EXPECT_EQ(outlook.newest_age, std::chrono::hours(2));
  EXPECT_EQ(outlook.recovery_time.copy_bytes_per_second, kGiB);
  EXPECT_EQ(outlook.recovery_time.wal_bytes, 32 * kGiB);
  ASSERT_TRUE(outlook.recovery_time.total.has_value());
  EXPECT_EQ(std::chrono::duration_cast<std::chrono::seconds>(*outlook.recovery_time.total).count(),
            100 + static_cast<int64_t>(32 * kGiB / kReplayBytesPerSecondAssumed));
  EXPECT_THAT(outlook.recovery_time.how, HasSubstr("as fast as backup 20261120-100000F went"));
}

TEST(Outlook, RecoveryTimeIsUnknownWithoutAFull) {
  const auto outlook = estimate_outlook({backup("20261120-100000F_20261122-100000I", BackupType::kIncr, kNow)}, {},
                                        Lsn{33 * kGiB}, kNow);
  EXPECT_FALSE(outlook.recovery_time.total.has_value());
  EXPECT_THAT(outlook.recovery_time.how, HasSubstr("no full backup"));
}

TEST(Outlook, RecoveryPointIsTheAgeOfTheNewestSegment) {
  auto full = backup("20261120-100000F", BackupType::kFull, kNow - std::chrono::days(2));
  const auto rate = rate_of(kNow - std::chrono::minutes(3));
  const auto outlook = estimate_outlook({full}, rate, {}, kNow);
  EXPECT_EQ(outlook.recovery_point.at_most, std::chrono::minutes(3));
  full.settings["archive_timeout"] = "1min";
  EXPECT_THAT(estimate_outlook({full}, rate, {}, kNow).recovery_point.how, HasSubstr("archive_timeout was 1min"));
  full.settings["archive_timeout"] = "0";
  EXPECT_THAT(estimate_outlook({full}, rate, {}, kNow).recovery_point.how,
              HasSubstr("an idle server archives nothing"));
  EXPECT_EQ(estimate_outlook({full}, rate_of(kNow + std::chrono::hours(1)), {}, kNow).recovery_point.at_most,
            std::chrono::microseconds(0));
}

TEST(WalRate, IsOfADayOrNothing) {
  WalRate rate = rate_of(kNow);
  EXPECT_EQ(rate.raw_bytes_per_day(), 96 * (uint64_t{16} << 20));
  EXPECT_EQ(rate.stored_bytes_per_day(), 96 * (uint64_t{4} << 20));
  rate.since = kNow - std::chrono::hours(12);
  EXPECT_EQ(rate.raw_bytes_per_day(), 192 * (uint64_t{16} << 20));
  rate.since = kNow - std::chrono::minutes(59);
  EXPECT_FALSE(rate.raw_bytes_per_day().has_value());
}

/// Segments stored at times of the test's choice, on two timelines.
class WalRateOfStore : public ::testing::Test {
 protected:
  WalRateOfStore() : store_("repo1", clock_), repository_(new_repository(store_)) {}
  void store(uint32_t timeline, uint64_t number, Timestamp time, size_t bytes) {
    clock_.set_start(time);
    const std::string name = pg::segment_name({TimelineId{timeline}, number}, 1u << 20);
    ASSERT_OK(store_.put(*wal_key("main", 1, name), Bytes(Buffer(bytes))));
  }
  std::optional<WalRate> measure() {
    const auto wal = RepositoryWal::open(*repository_, "main", {.number = 1, .wal_segment_bytes = 1u << 20});
    EXPECT_TRUE(wal.has_value());
    const auto rate = measure_wal_rate(*repository_, "main", *wal, kNow);
    EXPECT_TRUE(rate.has_value());
    return rate.value_or(std::nullopt);
  }
  testing::StepClock clock_;
  MemoryStore store_;
  std::unique_ptr<Repository> repository_;
};

TEST_F(WalRateOfStore, CountsTheSegmentsOfTheLastDay) {
  EXPECT_FALSE(measure().has_value());
  // One each hour for 100 hours; every fourth on a timeline of its own.
  for (uint32_t i = 0; i < 100; ++i) {
    const Timestamp time = kNow - std::chrono::hours(100 - i) + std::chrono::minutes(30);
    store(i % 4 == 0 ? 2 : 1, 10 + i, time, 1000);
  }
  const auto rate = measure();
  ASSERT_TRUE(rate.has_value());
  EXPECT_EQ(rate->total_count, 100u);
  EXPECT_EQ(rate->segment_count, 24u);
  EXPECT_EQ(rate->since, kNow - std::chrono::days(1));
  EXPECT_EQ(rate->newest, kNow - std::chrono::minutes(30));
  EXPECT_EQ(rate->stored_bytes_each, 1000u);
  EXPECT_EQ(rate->raw_bytes_per_day(), 24 * (uint64_t{1} << 20));
}

TEST_F(WalRateOfStore, OfAYoungArchiveIsOverItsAge) {
  for (uint32_t i = 0; i < 6; ++i) store(1, 10 + i, kNow - std::chrono::hours(6 - i), 1000);
  const auto rate = measure();
  ASSERT_TRUE(rate.has_value());
  EXPECT_EQ(rate->since, kNow - std::chrono::hours(6));
  EXPECT_EQ(rate->stored_bytes_per_day(), 24'000u);
}

TEST_F(WalRateOfStore, WithoutASegmentOfTheDayIsNothingButKnowsTheSize) {
  for (uint32_t i = 0; i < 6; ++i) store(1, 10 + i, kNow - std::chrono::days(6 - i) - std::chrono::hours(1), 1000 + i);
  const auto rate = measure();
  ASSERT_TRUE(rate.has_value());
  EXPECT_EQ(rate->segment_count, 0u);
  EXPECT_EQ(rate->raw_bytes_per_day(), 0u);
  EXPECT_EQ(rate->stored_bytes_each, 1002u);
}

}  // namespace
}  // namespace pgark
