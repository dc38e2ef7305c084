#include "catalog/verify_record.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "repo/manifest.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Timestamp day(int number) {
  return Timestamp(std::chrono::sys_days(std::chrono::year(2026) / 11 / 1) + std::chrono::days(number));
}

VerifyRecord record(int number, double share, std::vector<std::string> verified,
                    std::vector<std::string> damaged = {}) {
  VerifyRecord one;
  one.name = fmt::format("202611{:02}-000000", number + 1);
  one.started = day(number) - std::chrono::hours(1);
  one.finished = day(number);
  one.pgark_version = "0.1.0";
  one.host = "db1";
  one.share = share;
  one.verified = std::move(verified);
  one.read_bytes = 1u << 20;
  one.damage_count = damaged.size();
  for (const std::string& label : damaged) one.damaged.push_back({label, 3, "3 files are damaged"});
  return one;
}

std::vector<std::string> names(const std::vector<VerifyRecord>& records) {
  std::vector<std::string> out;
  for (const VerifyRecord& one : records) out.push_back(one.name);
  return out;
}

TEST(VerifyRecords, AreReadAsTheyWereWritten) {
  MemoryStore store;
  const auto repository = new_repository(store);
  VerifyRecord written = record(3, 0.05, {"A", "B"}, {"B"});
  written.sets = {"A", "B"};
  written.objects = {"main/pack/A/000001"};
  ASSERT_TRUE(write_verify_record(*repository, "main", written).has_value());
  auto records = list_verify_records(*repository, "main");
  ASSERT_TRUE(records.has_value()) << records.error().to_string();
  EXPECT_THAT(*records, ElementsAre(written));
  EXPECT_THAT(*list_verify_records(*repository, "other"), IsEmpty());
}

TEST(VerifyRecords, NewestHasTheGreatestNameEvenWhenTheClockWentBack) {
  MemoryStore store;
  const auto repository = new_repository(store);
  for (const int number : {5, 5, 2}) {
    ASSERT_TRUE(write_verify_record(*repository, "main", record(number, 1, {"A"})).has_value());
  }
  const auto records = list_verify_records(*repository, "main");
  EXPECT_THAT(names(*records), ElementsAre("20261106-000000", "20261106-000001", "20261106-000002"));
  EXPECT_EQ(records->back().finished, day(2));
}

TEST(VerifyRecords, DamagedOneIsPassedOver) {
  MemoryStore store;
  const auto repository = new_repository(store);
  ASSERT_TRUE(write_verify_record(*repository, "main", record(1, 1, {"A"})).has_value());
  ASSERT_TRUE(store.put({"main/verify/20261103-000000"}, as_bytes("rubbish")).has_value());
  ASSERT_TRUE(store.put({"main/verify/something-else"}, as_bytes("rubbish")).has_value());
  EXPECT_THAT(*list_verify_records(*repository, "main"), SizeIs(1));
  // The name of the damaged one stays taken.
  EXPECT_EQ(*write_verify_record(*repository, "main", record(1, 1, {"A"})), "20261103-000001");
}

TEST(VerifyRecords, OnlyTheLastTenAreKeptAsFarAsTheStoreAllows) {
  FaultStore store(std::make_unique<MemoryStore>());
  const auto repository = new_repository(store);
  for (int i = 0; i < 15; ++i) ASSERT_TRUE(write_verify_record(*repository, "main", record(i, 1, {"A"})).has_value());
  const auto kept = list_verify_records(*repository, "main");
  ASSERT_THAT(*kept, SizeIs(kVerifyRecordsMax));
  EXPECT_EQ(kept->front().name, "20261106-000000");
  store.set_rules({{.call = StoreCall::kRemove, .nth = 1, .every = 1, .code = Errc::kPermission}});
  ASSERT_TRUE(write_verify_record(*repository, "main", record(20, 1, {"A"})).has_value());
  EXPECT_THAT(store.unfired(), IsEmpty());
  EXPECT_THAT(*list_verify_records(*repository, "main"), SizeIs(kVerifyRecordsMax + 1));
}

TEST(VerifyVerdicts, SampleProvesDamageAndNeverItsAbsence) {
  const auto verdicts = [](std::vector<VerifyRecord> records) { return verify_verdicts(records); };
  EXPECT_EQ(verdicts({record(1, 1, {"A"}, {"A"}), record(2, 0.05, {"A"})}).at("A"),
            (VerifyVerdict{day(1), day(2), "3 files are damaged"}));
  EXPECT_EQ(verdicts({record(1, 1, {"A"}), record(2, 0.05, {"A"}, {"A"})}).at("A"),
            (VerifyVerdict{day(1), day(2), "3 files are damaged"}));
  EXPECT_EQ(verdicts({record(1, 1, {"A"}, {"A"}), record(2, 1, {"A"})}).at("A"),
            (VerifyVerdict{day(2), std::nullopt, ""}));
  // A round that looked at others says nothing of it.
  EXPECT_EQ(verdicts({record(1, 1, {"A"}, {"A"}), record(2, 1, {"B"})}).at("A").damage, "3 files are damaged");
  EXPECT_FALSE(verdicts({record(1, 1, {"A"})}).contains("B"));
}

TEST(VerifyVerdicts, RecordsThatStillTellSomethingAreKept) {
  std::vector<VerifyRecord> records{record(0, 1, {"A", "B"}, {"A"}), record(1, 1, {"B"})};
  for (int i = 2; i < 14; ++i) records.push_back(record(i, 0.05, {"A", "B"}));
  // The first says that A is damaged, the second is the last one that read everything (of what there was).
  EXPECT_THAT(superseded_records(records, {"A", "B"}), ElementsAre(records[2].name, records[3].name));
  // Nobody needs to know of a backup that is gone.
  EXPECT_THAT(superseded_records(records, {"B"}), ElementsAre(records[0].name, records[2].name, records[3].name));
}

}  // namespace
}  // namespace pgark
