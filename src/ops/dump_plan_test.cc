#include "ops/dump_plan.h"

#include <gmock/gmock.h>

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

DumpServerFacts server() {
  DumpServerFacts facts;
  for (const auto& [name, bytes] : {std::pair<const char*, uint64_t>{"small", 10}, {"big", 1000}, {"test_1", 500}}) {
    DumpDatabase database;
    database.name = name;
    database.bytes = bytes;
    facts.databases.push_back(std::move(database));
  }
  return facts;
}

TEST(DumpDatabases, AreAllTheLargestFirstOrThoseAskedFor) {
  DumpRequest request;
  EXPECT_THAT(choose_databases(request, server()).value(), ElementsAre("big", "test_1", "small"));
  request.exclude_databases = {"test_*"};
  EXPECT_THAT(choose_databases(request, server()).value(), ElementsAre("big", "small"));
  request.databases = {"small", "test_1", "small"};
  EXPECT_THAT(choose_databases(request, server()).value(), ElementsAre("small"));
  request.databases = {"test_1"};
  EXPECT_EQ(choose_databases(request, server()).error().code(), Errc::kInvalid) << "none is left";
  request.databases = {"gone"};
  const auto missing = choose_databases(request, server());
  EXPECT_EQ(missing.error().code(), Errc::kNotFound);
  EXPECT_THAT(missing.error().to_string(), HasSubstr("there are small, big, test_1"));
}

TEST(DumpJobs, GoToTheLargeAndNobodyGetsNone) {
  EXPECT_EQ(share_of_jobs(8, 5, 5, 1), 8u) << "one has them all";
  EXPECT_EQ(share_of_jobs(8, 90, 100, 3), 7u);
  EXPECT_EQ(share_of_jobs(8, 1, 100, 3), 1u);
  EXPECT_EQ(share_of_jobs(8, 0, 0, 4), 2u) << "sizes are not known";
  EXPECT_EQ(share_of_jobs(1, 90, 100, 3), 1u);
  EXPECT_EQ(share_of_jobs(0, 0, 0, 1), 1u);
}

TEST(DumpWarnings, AreOneLine) {
  const DumpWarning warning{DumpWarning::Severity::kWarning, "code", "app", "what", "why", "mend"};
  EXPECT_EQ(dump_warning_text(warning), "database app: what: why (mend)");
}

TEST(DumpRates, AreOfTheSameSeriesWhereThereIsOne) {
  const auto dump = [](std::string label, std::string series, uint64_t bytes, int64_t seconds) {
    ListedDump listed;
    listed.label = label;
    listed.meta.emplace();
    listed.meta->series = std::move(series);
    listed.meta->raw_bytes = bytes;
    listed.meta->stopped = listed.meta->started + std::chrono::seconds(seconds);
    return listed;
  };
  std::vector<ListedDump> dumps = {dump("1L", "a", 1000, 10), dump("2L", "b", 5000, 10), dump("3L", "b", 0, 10)};
  dumps.push_back({"4L", std::nullopt, Error(Errc::kCorrupt, "damaged")});
  EXPECT_EQ(last_dump_rate(dumps, "a").of_label, "1L");
  EXPECT_EQ(last_dump_rate(dumps, "a").bytes_per_second, 100);
  EXPECT_EQ(last_dump_rate(dumps, "new").of_label, "2L") << "one without bytes tells nothing";
  EXPECT_EQ(last_dump_rate({}, "a").bytes_per_second, 0);
}

}  // namespace
}  // namespace pgark
