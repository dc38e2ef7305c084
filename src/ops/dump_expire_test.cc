// dump-expire over a repository made by hand: series among themselves, safeguards, holds, remains of dumps that
// crashed, readers that are still at it, and a store that refuses.
#include "ops/dump_expire.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "catalog/tombstone.h"
#include "ops/dump_listing.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;
using std::chrono::days;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Outcome = ExpiredBackup::Outcome;

class DumpClock final : public Clock {
 public:
  Timestamp now() override { return time; }
  std::chrono::steady_clock::time_point steady() override {
    return std::chrono::steady_clock::time_point(time - Timestamp{});
  }
  void sleep_for(std::chrono::milliseconds duration) override { time += duration; }
  Timestamp time{std::chrono::sys_days(std::chrono::year(2026) / 3 / 1) + 1h};
};

class DumpExpire : public ::testing::Test {
 protected:
  DumpExpire() : faults_(std::make_unique<MemoryStore>("repo1", clock_)), repository_(new_repository(faults_)) {
    options.stanza = "main";
    options.rules.time_zone = "UTC";
  }

  /// A dump of today with two packs; then a day.
  std::string dump(const std::string& database) {
    Dump one;
    one.meta.label = next_dump_label(clock_.time, *list_used_dump_labels(*repository_, "main"));
    one.meta.series = dump_series({database}, {}, "");
    one.meta.started = one.meta.stopped = clock_.time;
    one.meta.databases.emplace_back().name = database;
    one.meta.pack_count = 2;
    put_packs(one.meta.label);
    EXPECT_TRUE(write_dump(*repository_, "main", one).has_value());
    clock_.time += days(1);
    return one.meta.label;
  }
  void put_packs(const std::string& label) {
    for (const uint32_t number : {1u, 2u})
      EXPECT_TRUE(faults_.put(dump_pack_key("main", label, number), random_bytes(1000, number)).has_value());
  }
  void verify(const std::string& label, bool ok) {
    DumpVerdict verdict;
    verdict.when = clock_.time;
    verdict.ok = ok;
    EXPECT_TRUE(write_dump_verdict(*repository_, "main", label, verdict).has_value());
  }
  void hold(const std::string& label, std::optional<Timestamp> until) {
    EXPECT_TRUE(write_hold(*repository_, "main", label, {until, "", clock_.time}).has_value());
  }

  DumpExpireReport expire() {
    auto report = run_dump_expire(*repository_, clock_, cancel_, options);
    EXPECT_TRUE(report.has_value()) << report.error().to_string();
    return report ? std::move(*report) : DumpExpireReport{};
  }
  std::vector<std::string> labels() { return *list_dump_labels(*repository_, "main"); }
  std::vector<std::string> keys(const std::string& prefix = "main/dump/") {
    std::vector<std::string> all;
    const auto objects = faults_.list_all(prefix);
    for (const ObjectInfo& object : *objects) all.push_back(object.key.value.substr(prefix.size()));
    return all;
  }
  static std::string reason(const DumpExpireReport& report, const std::string& label) {
    for (const ExpiredDump& one : report.dumps)
      if (one.label == label)
        return fmt::format("{} {}", one.decision.keep ? "keep" : "go", one.decision.reasons[0].text);
    return "";
  }

  DumpClock clock_;
  FaultStore faults_;
  std::unique_ptr<Repository> repository_;
  CancelToken cancel_;
  DumpExpireOptions options;
};

TEST_F(DumpExpire, SeriesAreDecidedAmongThemselves) {
  const std::string app1 = dump("app");
  const std::string shop1 = dump("shop");
  const std::string app2 = dump("app");
  const std::string app3 = dump("app");
  options.rules.full = 2;
  const DumpExpireReport report = expire();
  EXPECT_THAT(labels(), ElementsAre(shop1, app2, app3));
  EXPECT_EQ(reason(report, app1), "go older than the last 2 dumps");
  EXPECT_EQ(reason(report, app2), "keep among the last 2 dumps");
  EXPECT_EQ(report.dumps[0].outcome, Outcome::kRemoved);
  EXPECT_EQ(report.dumps[0].series, dump_series({"app"}, {}, ""));
}

TEST_F(DumpExpire, WithoutRulesNothingGoes) {
  const std::string one = dump("app");
  EXPECT_EQ(reason(expire(), one), "keep no retention is configured");
  EXPECT_THAT(labels(), ElementsAre(one));
}

TEST_F(DumpExpire, LastOfASeriesAndLastProvedStay) {
  const std::string proved = dump("app");
  verify(proved, true);
  const std::string unproved = dump("app");
  const std::string broken = dump("app");
  verify(broken, false);
  options.rules.full = 1;
  DumpExpireReport report = expire();
  EXPECT_THAT(labels(), ElementsAre(proved, unproved, broken)) << "a broken one takes the place of no other";
  EXPECT_EQ(reason(report, proved), "keep the last dump of its series that dump-verify proved");
  const std::string newest = dump("app");
  verify(newest, true);
  report = expire();
  EXPECT_THAT(labels(), ElementsAre(newest));

  // Years later the only one of its series is older than any rule reaches.
  options.rules.full.reset();
  options.rules.daily = 1;
  clock_.time += days(1000);
  const std::string shop = dump("shop");
  EXPECT_THAT(expire().dumps.size(), 2u);
  EXPECT_THAT(labels(), ElementsAre(newest, shop));
}

TEST_F(DumpExpire, HoldsKeepUntilTheyEnd) {
  const std::string held = dump("app");
  const std::string forever = dump("app");
  dump("app");
  hold(held, clock_.time + days(2));
  hold(forever, Timestamp::max());
  options.rules.full = 1;
  expire();
  EXPECT_EQ(labels().size(), 3u);
  clock_.time += days(3);
  expire();
  EXPECT_THAT(labels(), AllOf(Not(Contains(held)), Contains(forever)));
  hold(forever, std::nullopt);
  expire();
  EXPECT_EQ(labels().size(), 1u);
}

TEST_F(DumpExpire, ReadersKeepTheirPacksForTheGracePeriod) {
  const std::string old = dump("app");
  const std::string now = dump("app");
  hold(old, std::nullopt);
  options.rules.full = 1;
  DumpExpireReport report = expire();
  EXPECT_THAT(keys("main/dump/" + old + "/"), Not(Contains("manifest")));
  EXPECT_EQ(report.objects.count, 1u);
  EXPECT_EQ(report.waiting.count, 3u) << "two packs and a hold";
  clock_.time += 23h;
  EXPECT_EQ(expire().waiting.count, 3u);
  EXPECT_THAT(keys("main/expire/"), ElementsAre(old));
  clock_.time += 2h;
  report = expire();
  EXPECT_EQ(report.objects.count, 3u);
  EXPECT_THAT(keys(), Each(StartsWith(now + "/")));
  EXPECT_THAT(keys("main/expire/"), IsEmpty());
}

TEST_F(DumpExpire, RemainsOfACrashGoOnceTheyAreOld) {
  dump("app");
  const std::string crashed = next_dump_label(clock_.time, *list_used_dump_labels(*repository_, "main"));
  put_packs(crashed);
  clock_.time += 20h;
  EXPECT_TRUE(faults_.put(dump_pack_key("main", crashed, 3), random_bytes(1000, 3)).has_value());
  clock_.time += 20h;
  DumpExpireReport report = expire();
  EXPECT_EQ(report.orphans.count, 0u) << "its newest pack is young: it may be running";
  EXPECT_EQ(report.waiting.count, 3u);
  clock_.time += 5h;
  report = expire();
  EXPECT_EQ(report.orphans.count, 3u);
  EXPECT_THAT(keys("main/dump/" + crashed + "/"), IsEmpty());
  EXPECT_EQ(labels().size(), 1u);
}

TEST_F(DumpExpire, DryRunOnlySaysIt) {
  const std::string old = dump("app");
  dump("app");
  options.rules.full = 1;
  options.dry_run = true;
  options.grace = 0ms;
  const auto before = keys("main/");
  const DumpExpireReport report = expire();
  EXPECT_EQ(report.dumps[0].outcome, Outcome::kRemoved);
  EXPECT_EQ(report.objects.count, 3u);
  EXPECT_EQ(keys("main/"), before);
  EXPECT_THAT(labels(), Contains(old));
}

TEST_F(DumpExpire, NamedDumpGoesUnlessItIsHeld) {
  const std::string one = dump("app");
  const std::string two = dump("app");
  options.set = one;
  hold(one, Timestamp::max());
  const auto refused = run_dump_expire(*repository_, clock_, cancel_, options);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().to_string(), AllOf(HasSubstr("is held"), HasSubstr("--release")));
  hold(one, std::nullopt);
  expire();
  EXPECT_THAT(labels(), ElementsAre(two));
  options.set = "20200101-000000L";
  EXPECT_EQ(run_dump_expire(*repository_, clock_, cancel_, options).error().code(), Errc::kNotFound);
}

TEST_F(DumpExpire, UnreadableDumpStaysAndHoldsUpNoOther) {
  const std::string damaged = dump("app");
  const std::string old = dump("app");
  dump("app");
  ASSERT_TRUE(faults_.remove(dump_manifest_key("main", damaged)).has_value());
  ASSERT_TRUE(faults_.put(dump_manifest_key("main", damaged), random_bytes(500, 1)).has_value());
  options.rules.full = 1;
  const DumpExpireReport report = expire();
  EXPECT_THAT(labels(), AllOf(Contains(damaged), Not(Contains(old))));
  EXPECT_THAT(reason(report, damaged), HasSubstr("cannot be read"));
}

TEST_F(DumpExpire, ClockBehindTheStoreRemovesNothing) {
  dump("app");
  dump("app");
  options.rules.full = 1;
  clock_.time -= days(30);
  const DumpExpireReport report = expire();
  EXPECT_EQ(report.dumps[0].outcome, Outcome::kPutOff);
  EXPECT_THAT(report.warnings, Contains(HasSubstr("the clock of this machine is behind")));
  EXPECT_EQ(labels().size(), 2u);
}

TEST_F(DumpExpire, AnyFailedCallLeavesTheOldOrTheNew) {
  for (uint64_t failing = 1;; ++failing) {
    SCOPED_TRACE(failing);
    const std::string old = dump("app");
    const std::string now = dump("app");
    options.rules.full = 1;
    options.grace = 0ms;
    faults_.set_rules({{.nth = failing}});
    const auto report = run_dump_expire(*repository_, clock_, cancel_, options);
    const bool fired = faults_.unfired().empty();
    faults_.set_rules({});
    // What is listed is whole.
    for (const std::string& label : labels()) {
      EXPECT_TRUE(read_dump(*repository_, "main", label).has_value());
      EXPECT_TRUE(faults_.stat(dump_pack_key("main", label, 1))->has_value());
    }
    EXPECT_THAT(labels(), Contains(now));
    expire();
    EXPECT_THAT(keys(), Each(StartsWith(now + "/")));
    if (!fired) {
      EXPECT_TRUE(report.has_value());
      EXPECT_GT(failing, 5u);
      break;
    }
  }
}

TEST_F(DumpExpire, ListingTellsWhatRetentionWouldDo) {
  const std::string old = dump("app");
  const std::string now = dump("app");
  verify(now, true);
  hold(now, Timestamp::max());
  options.rules.full = 1;
  const auto listing = read_dump_listing(*repository_, "main", options.rules, clock_.time);
  ASSERT_TRUE(listing.has_value());
  ASSERT_EQ(listing->dumps.size(), 2u);
  EXPECT_FALSE(listing->decision(old)->keep);
  EXPECT_TRUE(listing->decision(now)->keep);
  EXPECT_TRUE(listing->verdict(now)->ok);
  EXPECT_EQ(listing->verdict(old), nullptr);
  EXPECT_NE(listing->hold(now, clock_.time), nullptr);
  EXPECT_EQ(listing->hold(old, clock_.time), nullptr);
}

}  // namespace
}  // namespace pgark
