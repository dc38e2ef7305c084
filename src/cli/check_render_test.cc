#include "cli/check_render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "store/memory_store.h"
#include "testing/sample_cluster.h"

namespace pgark {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class CheckRender : public ::testing::Test {
 protected:
  CheckRender() : state_(options_, clock_, rng_, cancel_) {
    options_.stanza = "main";
    state_.repositories.emplace_back();
    CheckedRepository& one = state_.repositories.back();
    one.store = std::make_unique<MemoryStore>();
    one.archived_after = std::chrono::milliseconds(159);
    one.behind_segments = 0;
    one.cluster = ClusterRecord{.number = 1};
    BackupMeta meta;
    meta.label = "20261122-060000F";
    meta.stopped = clock_.now() - std::chrono::hours(4);
    one.backups = std::vector<ListedBackup>{{meta.label, meta, {}}};
    one.place = FilePlace{.device = 1, .file_system = "ext4", .total_bytes = 1000, .free_bytes = 250};
    state_.queue =
        ArchiveQueue{.ready_count = 2, .oldest = "x", .oldest_since = clock_.now() - std::chrono::seconds(7)};
    state_.archived_segment = "000000010000000000000005";
  }
  void add(Severity severity, std::string code, std::string what) {
    state_.add({.severity = severity, .code = std::move(code), .what = std::move(what), .why = "why", .mend = "mend"});
  }

  CheckOptions options_;
  testing::StepClock clock_;
  Rng rng_{1};
  CancelToken cancel_;
  CheckState state_;
};

TEST_F(CheckRender, NagiosLineOfAHealthyCluster) {
  EXPECT_EQ(nagios_status(state_), NagiosStatus::kOk);
  EXPECT_EQ(render_check_nagios(state_),
            "PGARK OK - main: backup 20261122-060000F is 4h00m old, WAL archived in 159ms|errors=0 warnings=0 "
            "repo1_backup_age=14400s;93600;280800;0 repo1_archive_time=0.159s;;60;0 repo1_wal_behind=0;2;;0 "
            "repo1_free=250B;;;0;1000 wal_ready=2;;;0 wal_wait=7s;600;;0\n");
  add(Severity::kInfo, "drill_none", "no restore test is recorded");
  EXPECT_EQ(nagios_status(state_), NagiosStatus::kOk);
}

TEST_F(CheckRender, NagiosStatusIsThatOfTheWorstFinding) {
  add(Severity::kWarning, "fsync_off", "fsync is off");
  EXPECT_EQ(nagios_status(state_), NagiosStatus::kWarning);
  EXPECT_THAT(render_check_nagios(state_),
              StartsWith("PGARK WARNING - main: fsync_off: fsync is off|errors=0 warnings=1 "));
  add(Severity::kError, "wal_gap", "recovery is broken");
  EXPECT_EQ(nagios_status(state_), NagiosStatus::kCritical);
  EXPECT_THAT(render_check_nagios(state_), StartsWith("PGARK CRITICAL - main: "));
}

TEST_F(CheckRender, NagiosLineIsOneAndHasOneBar) {
  add(Severity::kError, "archive_command_hides_failure", "by '|| true':\nx | y");
  for (int i = 0; i < 9; ++i) add(Severity::kWarning, "wal_gap", std::string(2000, 'g') + "\u00e4\u00e4");
  const std::string line = render_check_nagios(state_);
  EXPECT_EQ(std::count(line.begin(), line.end(), '|'), 1);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_THAT(line, HasSubstr("by '\u00a6\u00a6 true': x \u00a6 y"));
  EXPECT_THAT(line, HasSubstr("; and 5 more|"));
  EXPECT_LT(line.size(), 4096u);
}

TEST_F(CheckRender, TextHasCodesToIgnoreThemBy) {
  options_.ignored = {"checksums_off"};
  add(Severity::kError, "wal_gap", "recovery is broken");
  add(Severity::kWarning, "checksums_off", "the cluster has no page checksums");
  add(Severity::kWarning, "fsync_off", "fsync is off");
  const std::string text = render_check_text(state_);
  EXPECT_THAT(text, HasSubstr("error: recovery is broken [wal_gap]\n    why:  why\n    mend: mend\n"));
  EXPECT_THAT(text, HasSubstr("ignored: the cluster has no page checksums [checksums_off]\n"));
  EXPECT_THAT(text, EndsWith("stanza main: problems found: 1 error, 1 warning\n"));
}

TEST_F(CheckRender, JsonHasWhatIsKnownAndNullForWhatIsNot) {
  const auto document = nlohmann::json::parse(render_check_json(state_));
  EXPECT_EQ(document["status"], "ok");
  const auto& one = document["repositories"][0];
  EXPECT_EQ(one["newest_backup"]["age_ms"], 4 * 3600 * 1000);
  EXPECT_EQ(one["place"]["free_bytes"], 250);
  EXPECT_TRUE(one["wal"].is_null());
  EXPECT_TRUE(one["forecast"].is_null());
  EXPECT_EQ(document["thresholds"]["backup_age_ms"], 26 * 3600 * 1000);
}

TEST(MonitoringGuide, HasEveryFinding) {
  const auto guide = read_file(std::string(PGARK_SOURCE_DIR) + "/docs/guide/monitoring.md");
  ASSERT_TRUE(guide.has_value()) << guide.error().to_string();
  size_t listed = 0;
  for (size_t at = guide->find("\n| `", guide->find("## Findings")); at != std::string::npos;
       at = guide->find("\n| `", at + 1)) {
    ++listed;
  }
  EXPECT_EQ(listed, finding_codes().size());
  for (const FindingCode& code : finding_codes()) {
    std::string meaning(code.meaning);
    for (size_t at = 0; (at = meaning.find('|', at)) != std::string::npos; at += 2) meaning.insert(at, "\\");
    EXPECT_THAT(*guide, HasSubstr("| `" + std::string(code.code) + "` | " + std::string(code.severities) + " | " +
                                  meaning + " |\n"));
  }
}

}  // namespace
}  // namespace pgark
