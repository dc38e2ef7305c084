// expire over a repository made by hand: what goes and what stays, when, and what is left when any call fails.
#include "ops/expire.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "catalog/cluster.h"
#include "catalog/hold.h"
#include "catalog/tombstone.h"
#include "catalog/wal.h"
#include "catalog/wal_expired.h"
#include "pg/timeline_history.h"
#include "repo/manifest.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using namespace std::chrono_literals;
using std::chrono::days;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Outcome = ExpiredBackup::Outcome;

constexpr uint32_t kSegment = 16u << 20;

class SetClock final : public Clock {
 public:
  Timestamp now() override { return time; }
  std::chrono::steady_clock::time_point steady() override {
    return std::chrono::steady_clock::time_point(time - Timestamp{});
  }
  void sleep_for(std::chrono::milliseconds duration) override { time += duration; }
  Timestamp time{std::chrono::sys_days(std::chrono::year(2026) / 3 / 1) + 1h};
};

std::string segment_name(uint32_t timeline, uint64_t number) {
  return pg::segment_name({TimelineId{timeline}, number}, kSegment);
}

/// A repository with a stanza, and a history that is made step by step.
class Scene {
 public:
  Scene() : faults_(std::make_unique<MemoryStore>("repo1", clock_)), repository_(new_repository(faults_)) {
    ClusterRecord cluster;
    cluster.system_identifier = 7654321;
    cluster.pg_major = 15;
    cluster.wal_segment_bytes = kSegment;
    EXPECT_TRUE(write_cluster(*repository_, "main", cluster).has_value());
    options.stanza = "main";
    options.rules.time_zone = "UTC";
  }

  /// A backup that begins in the segment written now and ends in the next one, with `own` packs of its own and the
  /// packs `others`; then three segments more, and a day.
  std::string backup(BackupType type, std::vector<PackName> others = {}, uint32_t own = 1) {
    std::vector<std::string> used = *list_used_labels(*repository_, "main");
    BackupMeta meta;
    meta.label = next_backup_label(type, clock_.time, full_, used);
    if (type == BackupType::kFull) full_ = meta.label;
    meta.type = type;
    meta.prior_label = type == BackupType::kFull ? "" : full_;
    meta.system_identifier = 7654321;
    meta.pg_major = 15;
    meta.wal_segment_bytes = kSegment;
    meta.started = meta.stopped = clock_.time;
    meta.start_timeline = meta.stop_timeline = TimelineId{timeline};
    meta.start_lsn = Lsn{next_segment * kSegment + 40};
    meta.stop_lsn = Lsn{(next_segment + 1) * kSegment + 40};
    meta.wal_start = segment_name(timeline, next_segment);
    meta.wal_stop = segment_name(timeline, next_segment + 1);
    meta.source = "primary";
    meta.backup_label = "x";
    meta.codec = "zst";
    meta.data_directory = "/d";
    meta.bad_page_count = bad_pages;
    std::vector<PackName> packs = std::move(others);
    for (uint32_t i = 1; i <= own; ++i) packs.push_back(pack(meta.label, i));
    wal(2);
    auto writer = ManifestWriter::create(*repository_, "main", meta.label);
    EXPECT_TRUE(writer.has_value());
    EXPECT_TRUE(std::move(*writer).commit(packs, encode_backup_meta(meta)).has_value());
    EXPECT_TRUE(annotate_backup(*repository_, "main", meta.label, {{"made", "by hand"}}).has_value());
    wal(3);
    clock_.time += days(1);
    return meta.label;
  }
  PackName pack(const std::string& label, uint32_t number) {
    EXPECT_TRUE(faults_.put(pack_key("main", label, number), random_bytes(1000, number)).has_value());
    return {label, number};
  }
  void wal(int count) {
    for (int i = 0; i < count; ++i) put_wal(segment_name(timeline, next_segment++));
  }
  void put_wal(const std::string& name, unsigned generation = 0) {
    EXPECT_TRUE(faults_.put(*wal_key("main", 1, name, generation), random_bytes(100, 1)).has_value());
  }
  void put_history(uint32_t of, uint32_t parent, uint64_t fork) {
    const auto text = pg::format_timeline_history(
        {TimelineId{of}, {{TimelineId{parent}, Lsn{fork * kSegment + 40}, "no recovery target specified"}}});
    EXPECT_TRUE(
        write_stored_file(*repository_, *wal_key("main", 1, pg::history_name(TimelineId{of})), as_bytes(text), "{}")
            .has_value());
  }

  Result<ExpireReport> try_expire() {
    const CancelToken cancel;
    return run_expire(*repository_, clock_, cancel, options);
  }
  ExpireReport expire() {
    auto report = try_expire();
    EXPECT_TRUE(report.has_value()) << report.error().to_string();
    return report ? std::move(*report) : ExpireReport{};
  }

  std::vector<std::string> keys(const std::string& prefix) {
    std::vector<std::string> out;
    const auto objects = faults_.inner().list_all(prefix);
    for (const ObjectInfo& object : *objects) out.push_back(object.key.value.substr(prefix.size()));
    return out;
  }
  std::vector<std::string> labels() { return *list_backup_labels(*repository_, "main"); }
  /// Segments of the timeline by number.
  std::vector<uint64_t> segments(uint32_t of = 1) {
    std::vector<uint64_t> out;
    const auto names = list_wal_segments(*repository_, "main", 1, TimelineId{of});
    for (const std::string& name : *names) out.push_back(pg::parse_segment_name(name, kSegment)->number);
    return out;
  }

  /// What a backup that is listed must have: every pack it names, and its WAL.
  void expect_whole() {
    for (const std::string& label : labels()) {
      const auto manifest = ManifestReader::open(*repository_, "main", label);
      ASSERT_TRUE(manifest.has_value()) << manifest.error().to_string();
      const auto packs = manifest->packs();
      ASSERT_TRUE(packs.has_value());
      for (const PackName& one : *packs)
        EXPECT_TRUE(faults_.inner().stat(pack_key("main", one.label, one.number))->has_value())
            << label << " lacks " << one.label << "/" << one.number;
      const auto meta = read_backup(*repository_, "main", label);
      ASSERT_TRUE(meta.has_value());
      for (const std::string& name : {meta->wal_start, meta->wal_stop})
        EXPECT_FALSE(find_wal_copies(*repository_, "main", 1, name)->empty()) << label << " lacks " << name;
    }
  }

  SetClock clock_;
  FaultStore faults_;
  std::unique_ptr<Repository> repository_;
  ExpireOptions options;
  uint64_t next_segment = 1;
  uint32_t timeline = 1;
  uint64_t bad_pages = 0;

 private:
  std::string full_;
};

std::vector<uint64_t> range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> out;
  for (; first <= last; ++first) out.push_back(first);
  return out;
}

TEST(Expire, WithoutRulesRemovesNothing) {
  Scene scene;
  scene.backup(BackupType::kFull);
  scene.wal(5);
  scene.backup(BackupType::kFull);
  scene.clock_.time += days(1000);
  const auto before = scene.keys("");
  const ExpireReport report = scene.expire();
  EXPECT_EQ(scene.keys(""), before);
  EXPECT_EQ(report.freed_bytes(), 0u);
  EXPECT_EQ(report.backups.size(), 2u);
}

/// Counts and answers remove_stale_temporaries(), which no store in memory needs.
class LitteredStore final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  Result<bool> remove(const ObjectKey& key) override {
    ++removals;
    return inner().remove(key);
  }
  std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override {
    ++batches;
    return ObjectStore::remove_many(keys);
  }
  Result<StaleTemporaries> remove_stale_temporaries(std::chrono::seconds age_min) override {
    ages.push_back(age_min);
    removals_before = removals;
    return answer;
  }

  uint64_t removals = 0;
  uint64_t removals_before = 0;
  uint64_t batches = 0;
  std::vector<std::chrono::seconds> ages;
  Result<StaleTemporaries> answer = StaleTemporaries{3, 4096, 1};
};

TEST(Expire, RemovesWhatKilledWritersLeftBehindLastAndNeverYoung) {
  Scene scene;
  scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  LitteredStore littered(scene.faults_);
  const auto repository = Repository::open(littered);
  ASSERT_TRUE(repository.has_value());
  const CancelToken cancel;
  SetClock clock;
  clock.time += days(30);
  scene.options.rules.full = 1;
  scene.options.dry_run = true;
  EXPECT_EQ(run_expire(**repository, clock, cancel, scene.options)->temporaries.count, 0u);
  EXPECT_THAT(littered.ages, IsEmpty());
  scene.options.dry_run = false;
  auto report = run_expire(**repository, clock, cancel, scene.options);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->temporaries.count, 3u);
  EXPECT_EQ(report->temporaries.bytes, 4096u);
  EXPECT_GT(littered.removals, 0u);
  EXPECT_EQ(littered.removals_before, littered.removals) << "the sweep comes after everything else";
  scene.options.grace = 0ms;
  littered.answer = Error(Errc::kPermission, "no right to look");
  report = run_expire(**repository, clock, cancel, scene.options);
  ASSERT_TRUE(report.has_value()) << "it is no reason to fail";
  EXPECT_THAT(report->warnings, Contains(HasSubstr("no right to look")));
  EXPECT_THAT(littered.ages, ElementsAre(std::chrono::hours(24), std::chrono::hours(1)))
      << "0 is no age: a writer of another machine may be at work";
}

TEST(Expire, RemovesTogetherWhatGoesTogether) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  scene.backup(BackupType::kFull, {}, 3);
  scene.wal(700);
  scene.backup(BackupType::kFull);
  LitteredStore littered(scene.faults_);
  const auto repository = Repository::open(littered);
  ASSERT_TRUE(repository.has_value());
  const CancelToken cancel;
  SetClock clock;
  clock.time += days(30);
  const auto report = run_expire(**repository, clock, cancel, scene.options);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_GT(report->wal.count, 600u);
  EXPECT_EQ(report->packs.count, 3u);
  EXPECT_GT(littered.removals, 600u);
  EXPECT_LE(littered.batches, 6u);
}

/// Counts reads of manifests.
class ManifestReads final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    if (key.value.ends_with("/manifest")) ++reads[key.value];
    return inner().read(key, offset, into);
  }
  std::map<std::string, int> reads;
};

TEST(Expire, ReadsEachManifestOnce) {
  Scene scene;
  scene.options.rules.full = 2;
  for (int i = 0; i < 5; ++i) scene.backup(BackupType::kFull, {}, 2);
  ManifestReads counted(scene.faults_);
  const auto repository = Repository::open(counted);
  ASSERT_TRUE(repository.has_value());
  const CancelToken cancel;
  const auto report = run_expire(**repository, scene.clock_, cancel, scene.options);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_EQ(scene.labels().size(), 2u);
  EXPECT_EQ(counted.reads.size(), 5u);
  for (const auto& [key, count] : counted.reads) EXPECT_EQ(count, 1) << key;
}

TEST(Expire, NeedsAStanza) {
  Scene scene;
  scene.options.stanza = "other";
  const auto report = scene.try_expire();
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kNotFound);
}

TEST(Expire, FreesAfterTheGracePeriodWhatNothingNeeds) {
  Scene scene;
  const std::string first = scene.backup(BackupType::kFull, {}, 3);                    // Segments 1, 2; to 5.
  const std::string incr = scene.backup(BackupType::kIncr, {{first, 1}, {first, 2}});  // 6, 7; to 10.
  const std::string second = scene.backup(BackupType::kFull);                          // 11, 12; to 15.
  ASSERT_TRUE(write_hold(*scene.repository_, "main", incr, {Timestamp::max(), "", scene.clock_.time}).has_value());
  scene.options.rules.full = 1;

  const ExpireReport report = scene.expire();
  EXPECT_THAT(scene.labels(), ElementsAre(incr, second));
  EXPECT_EQ(report.backups[0].outcome, Outcome::kRemoved);
  EXPECT_EQ(report.backups[0].decision.reasons[0].rule, "retention-full");
  EXPECT_EQ(report.backups[1].decision.reasons[0].rule, "hold");
  EXPECT_EQ(report.records.count, 2u);  // Manifest and annotation.
  EXPECT_EQ(report.packs.count, 0u);
  EXPECT_EQ(report.waiting_packs.count, 1u);
  EXPECT_EQ(report.waiting_wal.count, 5u);
  EXPECT_THAT(scene.keys("main/backup/" + first + "/"), IsEmpty());
  EXPECT_THAT(scene.keys("main/expire/"), ElementsAre(first));
  EXPECT_EQ(scene.segments(), range(1, 15));
  // A label that was used is not used again while anything of it is there.
  EXPECT_THAT(*list_used_labels(*scene.repository_, "main"), Contains(first));
  EXPECT_THAT(*list_used_labels(*scene.repository_, "main"), Not(Contains(first + ".r1")));

  scene.clock_.time += 23h;
  EXPECT_EQ(scene.expire().freed_bytes(), 0u);
  scene.clock_.time += 1h;
  const ExpireReport late = scene.expire();
  EXPECT_EQ(scene.segments(), range(6, 15));
  EXPECT_EQ(late.wal.count, 5u);
  ASSERT_EQ(late.wal_ranges.size(), 1u);
  EXPECT_EQ(late.wal_ranges[0].first, segment_name(1, 1));
  EXPECT_EQ(late.wal_ranges[0].last, segment_name(1, 5));
  EXPECT_THAT(scene.keys("main/pack/"),
              ElementsAre(first + "/000001", first + "/000002", incr + "/000001", second + "/000001"));
  EXPECT_EQ(late.packs.count, 1u);
  EXPECT_THAT(scene.keys("main/expire/"), IsEmpty());
  scene.expect_whole();

  // Once the hold is gone, packs of the first go as well, though their backup went long ago.
  ASSERT_TRUE(write_hold(*scene.repository_, "main", incr, {std::nullopt, "", scene.clock_.time}).has_value());
  scene.expire();
  scene.clock_.time += days(1);
  scene.expire();
  EXPECT_THAT(scene.keys("main/pack/"), ElementsAre(second + "/000001"));
  EXPECT_THAT(scene.labels(), ElementsAre(second));
  EXPECT_EQ(scene.segments(), range(11, 15));
  EXPECT_EQ(scene.expire().freed_bytes(), 0u);
}

TEST(Expire, WithoutGraceFreesAtOnce) {
  Scene scene;
  scene.backup(BackupType::kFull);
  const std::string second = scene.backup(BackupType::kFull);
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  const ExpireReport report = scene.expire();
  EXPECT_EQ(report.packs.count, 1u);
  EXPECT_EQ(report.wal.count, 5u);
  EXPECT_EQ(scene.segments(), range(6, 10));
  EXPECT_THAT(scene.keys("main/expire/"), IsEmpty());
  EXPECT_THAT(scene.keys("main/pack/"), ElementsAre(second + "/000001"));
}

TEST(Expire, DryRunSaysTheSameAndChangesNothing) {
  for (const auto grace : {0h, 24h}) {
    Scene scene;
    scene.options.grace = grace;
    scene.options.rules.full = 1;
    scene.backup(BackupType::kFull);
    scene.pack("20260101-000000F", 1);
    scene.backup(BackupType::kFull);
    scene.clock_.time += days(2);
    scene.options.dry_run = true;
    const auto before = scene.keys("");
    const ExpireReport told = scene.expire();
    EXPECT_EQ(scene.keys(""), before);
    scene.options.dry_run = false;
    const ExpireReport done = scene.expire();
    EXPECT_EQ(told.wal.count, done.wal.count);
    EXPECT_EQ(told.packs.count, done.packs.count);
    EXPECT_EQ(told.waiting_packs.bytes, done.waiting_packs.bytes);
    EXPECT_EQ(told.waiting_wal.bytes, done.waiting_wal.bytes);
    EXPECT_EQ(told.wal_ranges.size(), done.wal_ranges.size());
    ASSERT_EQ(told.backups.size(), done.backups.size());
    for (size_t i = 0; i < told.backups.size(); ++i) EXPECT_EQ(told.backups[i].outcome, done.backups[i].outcome);
    EXPECT_GE(done.packs.count, 1u);
  }
}

TEST(Expire, ArchiveWindowLeavesOlderBackupsWhatMakesThemConsistent) {
  Scene scene;
  scene.backup(BackupType::kFull);  // 1, 2; to 5.
  scene.backup(BackupType::kFull);  // 6, 7; to 10.
  scene.backup(BackupType::kFull);  // 11, 12; to 15.
  scene.options.rules.full = 3;
  scene.options.rules.archive = 1;
  const ExpireReport report = scene.expire();
  EXPECT_THAT(scene.segments(), ElementsAre(1, 2, 6, 7, 11, 12, 13, 14, 15));
  EXPECT_EQ(report.wal_ranges.size(), 2u);
  EXPECT_FALSE(report.backups[0].whole_wal);
  EXPECT_TRUE(report.backups[2].whole_wal);
  EXPECT_EQ(scene.labels().size(), 3u);
  scene.expect_whole();
  EXPECT_EQ(scene.expire().wal.count, 0u);
  EXPECT_EQ(*read_expired_wal(*scene.repository_, "main", 1, kSegment), (ExpiredWal{{TimelineId{1}, 11}}));
}

TEST(Expire, FilesOfASegmentGoWithItAndHistoriesStay) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  scene.put_wal(segment_name(1, 1) + ".00000028.backup");
  scene.put_wal(segment_name(1, 7) + ".00000028.backup");
  scene.put_wal(segment_name(1, 3) + ".partial");
  scene.put_wal(segment_name(1, 4), 1);
  scene.put_wal(segment_name(1, 4), 2);
  scene.put_wal(segment_name(1, 9), 1);
  scene.put_history(2, 1, 900);
  EXPECT_TRUE(scene.faults_.put({"main/wal/1/stream/piece"}, random_bytes(10, 1)).has_value());
  scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  const ExpireReport report = scene.expire();
  EXPECT_EQ(report.wal.count, 9u);
  const auto keys = scene.keys("main/wal/1/");
  EXPECT_THAT(keys, Contains("00000002.history"));
  EXPECT_THAT(keys, Contains(segment_name(1, 7) + ".00000028.backup"));
  EXPECT_THAT(keys, Contains("00000001/00000000/" + segment_name(1, 9) + ".r1"));
  EXPECT_THAT(keys, Contains("stream/piece"));
  EXPECT_EQ(keys.size(), 9u);  // And the segments 6 to 10.
  // Of the copies of a segment the first goes last.
  EXPECT_EQ(report.wal_ranges.size(), 1u);
}

TEST(Expire, FirstCopyGoesLast) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  scene.put_wal(segment_name(1, 4), 1);
  scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  const std::string first = "main/wal/1/00000001/00000000/" + segment_name(1, 4);
  scene.faults_.set_rules({{.call = StoreCall::kRemove, .prefix = first, .nth = 1}});
  EXPECT_FALSE(scene.try_expire().has_value());
  ASSERT_EQ(scene.faults_.fired().size(), 1u);
  EXPECT_EQ(scene.faults_.fired()[0].key, first + ".r1");
}

TEST(Expire, TimelineNoBackupLeadsToGoesAfterTheGracePeriod) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.backup(BackupType::kFull);  // Timeline 1: 1, 2; to 5.
  scene.put_history(2, 1, 4);       // Two leaves it in 4.
  for (uint64_t n = 4; n <= 8; ++n) scene.put_wal(segment_name(2, n));
  scene.backup(BackupType::kFull);  // Timeline 1: 6, 7; to 10.
  EXPECT_EQ(scene.segments(2), range(4, 8));
  scene.expire();
  EXPECT_EQ(scene.segments(2), range(4, 8)) << "the backup that leads there went just now";
  scene.clock_.time += days(1);
  scene.expire();
  EXPECT_THAT(scene.segments(2), IsEmpty());
  EXPECT_EQ(scene.segments(1), range(6, 10));
  // WAL that arrives on a timeline without a backup stays for a while: one may be on its way.
  scene.put_history(3, 1, 5);
  scene.put_wal(segment_name(3, 9));
  EXPECT_EQ(scene.expire().waiting_wal.count, 1u);
  EXPECT_EQ(scene.segments(3).size(), 1u);
  scene.clock_.time += days(1);
  scene.expire();
  EXPECT_THAT(scene.segments(3), IsEmpty());
}

TEST(Expire, WalStaysWithoutABackup) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  scene.wal(9);
  scene.expire();
  EXPECT_EQ(scene.segments(), range(1, 9));
}

TEST(Expire, PacksOfAnInterruptedBackupStayWhileItMayBeRunning) {
  Scene scene;
  scene.options.rules.full = 9;
  scene.backup(BackupType::kFull);
  const std::string orphan = "20260301-120000F";
  for (uint32_t i = 1; i <= 4; ++i) {
    scene.pack(orphan, i);
    scene.clock_.time += 12h;
  }
  // The oldest is two days old, the newest half a day: it still grows.
  EXPECT_EQ(scene.expire().waiting_packs.count, 4u);
  scene.clock_.time += 12h;
  const ExpireReport report = scene.expire();
  EXPECT_EQ(report.packs.count, 4u);
  EXPECT_EQ(report.packs.bytes, 4000u);
  EXPECT_EQ(scene.keys("main/pack/").size(), 1u);
}

TEST(Expire, UnreadableManifestKeepsAllWalAndPacks) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  const std::string first = scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  scene.pack("20260101-000000F", 1);
  scene.faults_.set_rules(
      {{.call = StoreCall::kRead, .prefix = manifest_key("main", first).value, .every = 1, .fault = Fault::kCorrupt}});
  const ExpireReport report = scene.expire();
  EXPECT_TRUE(scene.faults_.unfired().empty());
  EXPECT_EQ(report.backups[0].decision.reasons[0].rule, "unreadable");
  EXPECT_EQ(report.backups[1].outcome, Outcome::kRemoved);
  EXPECT_EQ(report.packs.count + report.wal.count, 0u);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_THAT(report.warnings[0], HasSubstr(first));
  EXPECT_EQ(scene.keys("main/pack/").size(), 4u);
  EXPECT_EQ(scene.segments(), range(1, 15));
  // It is the one thing that can be done about it.
  scene.options.set = first;
  EXPECT_EQ(scene.expire().warnings.size(), 0u);
  EXPECT_EQ(scene.labels().size(), 1u);
  EXPECT_EQ(scene.keys("main/pack/").size(), 1u);
}

TEST(Expire, ClockThatIsBehindRemovesNothing) {
  Scene scene;
  scene.options.rules.full = 1;
  scene.options.grace = 0ms;
  scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  const auto before = scene.keys("");
  scene.clock_.time -= days(300);
  const ExpireReport report = scene.expire();
  EXPECT_EQ(scene.keys(""), before);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_THAT(report.warnings[0], HasSubstr("behind"));
  EXPECT_EQ(report.backups[0].outcome, Outcome::kPutOff);
}

TEST(Expire, LastCleanCopyStays) {
  Scene scene;
  scene.options.rules.full = 1;
  const std::string clean = scene.backup(BackupType::kFull);
  scene.bad_pages = 2;
  scene.backup(BackupType::kFull);
  const std::string last = scene.backup(BackupType::kFull);
  scene.expire();
  EXPECT_THAT(scene.labels(), ElementsAre(clean, last));
}

TEST(Expire, BackupWithoutItsWalTakesNoPlace) {
  Scene scene;
  scene.options.rules.full = 1;
  const std::string good = scene.backup(BackupType::kFull);
  const std::string broken = scene.backup(BackupType::kFull);
  ASSERT_TRUE(*scene.faults_.remove(*wal_key("main", 1, segment_name(1, 7))));
  const ExpireReport report = scene.expire();
  EXPECT_FALSE(report.backups[1].restorable);
  EXPECT_THAT(scene.labels(), ElementsAre(good, broken));
}

// -- --set

TEST(ExpireSet, RemovesThatBackupAndNoOther) {
  Scene scene;
  scene.options.grace = 0ms;
  scene.options.rules.full = 1;
  const std::string first = scene.backup(BackupType::kFull);
  const std::string second = scene.backup(BackupType::kIncr, {{first, 1}});
  const std::string third = scene.backup(BackupType::kFull);
  scene.options.set = first;
  const ExpireReport report = scene.expire();
  EXPECT_THAT(scene.labels(), ElementsAre(second, third));
  EXPECT_EQ(report.backups[0].decision.reasons[0].rule, "set");
  EXPECT_EQ(scene.segments(), range(6, 15));
  scene.expect_whole();
}

TEST(ExpireSet, RefusesTheLastOneThatCanBeRestoredAndOneThatIsHeld) {
  Scene scene;
  const std::string first = scene.backup(BackupType::kFull);
  const std::string second = scene.backup(BackupType::kFull);
  ASSERT_TRUE(write_hold(*scene.repository_, "main", first, {Timestamp::max(), "", scene.clock_.time}).has_value());
  scene.options.set = first;
  auto refused = scene.try_expire();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("--release"));
  ASSERT_TRUE(write_hold(*scene.repository_, "main", first, {std::nullopt, "", scene.clock_.time}).has_value());
  scene.expire();
  scene.options.set = second;
  refused = scene.try_expire();
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), HasSubstr("last one that can be restored"));
  scene.options.set = "20990101-000000F";
  EXPECT_EQ(scene.try_expire().error().code(), Errc::kNotFound);
}

// -- A store that keeps what it is told to remove.

TEST(ExpireLocked, RefusalIsCountedAndTriedAgain) {
  Scene scene;
  scene.options.rules.full = 1;
  const std::string first = scene.backup(BackupType::kFull);
  const std::string second = scene.backup(BackupType::kFull);
  const std::vector<FaultRule> locked{{.call = StoreCall::kRemove, .every = 1, .code = Errc::kPermission}};
  size_t tombstones_max = 0;
  for (int day = 0; day < 60; ++day) {
    scene.faults_.set_rules(locked);
    const ExpireReport report = scene.expire();
    EXPECT_EQ(report.backups[0].outcome, Outcome::kRefused);
    EXPECT_EQ(report.freed_bytes(), 0u);
    if (day == 0) {
      EXPECT_EQ(report.refused.count, 1u);
      ASSERT_EQ(report.warnings.size(), 1u);
      EXPECT_THAT(report.warnings[0], HasSubstr("next run"));
    }
    tombstones_max = std::max(tombstones_max, scene.keys("main/expire/").size());
    scene.clock_.time += days(1);
  }
  EXPECT_LE(tombstones_max, 10u);
  scene.expect_whole();
  // The lock ends.
  scene.faults_.set_rules({});
  for (int day = 0; day < 70; ++day) {
    scene.expire();
    scene.clock_.time += days(1);
  }
  EXPECT_THAT(scene.labels(), ElementsAre(second));
  EXPECT_THAT(scene.keys("main/expire/"), IsEmpty());
  EXPECT_EQ(scene.keys("main/pack/").size(), 1u);
  EXPECT_EQ(scene.segments(), range(6, 10));
}

TEST(ExpireLocked, HoldThatComesInBetweenTakesTheTombstoneBack) {
  Scene scene;
  scene.options.rules.full = 1;
  const std::string first = scene.backup(BackupType::kFull);
  scene.backup(BackupType::kFull);
  scene.faults_.set_rules({{.call = StoreCall::kRemove, .every = 1, .code = Errc::kPermission}});
  scene.expire();
  EXPECT_EQ(scene.keys("main/expire/").size(), 1u);
  scene.faults_.set_rules({});
  ASSERT_TRUE(write_hold(*scene.repository_, "main", first, {Timestamp::max(), "", scene.clock_.time}).has_value());
  scene.expire();
  EXPECT_THAT(scene.keys("main/expire/"), IsEmpty());
  EXPECT_EQ(scene.labels().size(), 2u);
}

// -- Ended at any step.

/// Everything there is to remove: backups, WAL with copies, orphans, leftovers, an old tombstone.
void fill(Scene& scene, std::chrono::milliseconds grace) {
  scene.options.rules.full = 2;
  scene.options.rules.archive = 1;
  scene.options.grace = grace;
  const std::string first = scene.backup(BackupType::kFull, {}, 2);
  scene.put_wal(segment_name(1, 3), 1);
  scene.put_wal(segment_name(1, 1) + ".00000028.backup");
  const std::string incr = scene.backup(BackupType::kIncr, {{first, 1}});
  scene.pack("20260301-000000F", 1);
  scene.pack("20260301-000000F", 2);
  const std::string full = scene.backup(BackupType::kFull);
  scene.put_history(2, 1, 3);
  scene.backup(BackupType::kIncr, {{full, 1}});
  scene.backup(BackupType::kFull);
  scene.clock_.time += days(2);
}

std::vector<std::string> clean_end(std::chrono::milliseconds grace) {
  Scene scene;
  fill(scene, grace);
  scene.expire();
  scene.clock_.time += grace;
  scene.expire();
  return scene.keys("");
}

class ExpireFault : public ::testing::TestWithParam<std::tuple<Fault, std::chrono::hours>> {};

TEST_P(ExpireFault, AnyCallThatFailsLosesNothingAndTheNextRunGoesOn) {
  const auto [fault, grace] = GetParam();
  const auto expected = clean_end(grace);
  for (uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE(fmt::format("call {}", nth));
    Scene scene;
    fill(scene, grace);
    scene.faults_.set_rules({{.nth = nth, .times_max = 1, .fault = fault}});
    (void)scene.try_expire();
    const bool fired = !scene.faults_.fired().empty();
    scene.faults_.set_rules({});
    ASSERT_NO_FATAL_FAILURE(scene.expect_whole());
    scene.expire();
    ASSERT_NO_FATAL_FAILURE(scene.expect_whole());
    scene.clock_.time += grace;
    scene.expire();
    ASSERT_EQ(scene.keys(""), expected);
    if (!fired) {
      EXPECT_GT(nth, 60u);
      return;
    }
  }
}
TEST_P(ExpireFault, DeadFromAnyCallOnLosesNothingAndTheNextRunGoesOn) {
  const auto [fault, grace] = GetParam();
  const auto expected = clean_end(grace);
  for (uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE(fmt::format("from call {}", nth));
    Scene scene;
    fill(scene, grace);
    scene.faults_.set_rules({{.nth = nth, .every = 1, .fault = fault}});
    const bool ended_well = scene.try_expire().has_value() && scene.faults_.fired().empty();
    scene.faults_.set_rules({});
    ASSERT_NO_FATAL_FAILURE(scene.expect_whole());
    scene.expire();
    scene.clock_.time += grace;
    scene.expire();
    ASSERT_NO_FATAL_FAILURE(scene.expect_whole());
    ASSERT_EQ(scene.keys(""), expected);
    if (ended_well) {
      EXPECT_GT(nth, 60u);
      return;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Each, ExpireFault,
                         ::testing::Combine(::testing::Values(Fault::kFail, Fault::kFailAfter),
                                            ::testing::Values(0h, 24h)));

TEST(Expire, LeavesDumpsAndTheirTombstonesAlone) {
  Scene scene;
  fill(scene, 0ms);
  for (const char* key : {"main/dump/20260101-000000L/000001", "main/dump/20260101-000000L/manifest",
                          "main/dump/20260101-000000L/hold.1", "main/dump/20260102-000000L/000001"})
    ASSERT_TRUE(scene.repository_->store().put({key}, as_bytes("x")).has_value());
  Tombstone young;
  young.label = "20260102-000000L";
  young.expired = scene.clock_.time - days(100);
  ASSERT_TRUE(write_tombstone(*scene.repository_, "main", young).has_value());
  // One that cannot be read is dump-expire's, too: it does not keep packs of backups.
  ASSERT_TRUE(scene.repository_->store().put({"main/expire/20260103-000000L"}, as_bytes("x")).has_value());
  const auto dumps = scene.keys("main/dump/");
  scene.expire();
  scene.clock_.time += days(30);
  const auto report = scene.try_expire();
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->warnings, ::testing::IsEmpty());
  EXPECT_EQ(scene.keys("main/dump/"), dumps);
  EXPECT_TRUE(scene.repository_->store().stat({"main/expire/20260102-000000L"}).value().has_value());
  EXPECT_TRUE(scene.repository_->store().stat({"main/expire/20260103-000000L"}).value().has_value());
}

TEST(Expire, StopsWhenItIsAskedTo) {
  Scene scene;
  fill(scene, 0ms);
  CancelToken cancel;
  cancel.cancel();
  const auto report = run_expire(*scene.repository_, scene.clock_, cancel, scene.options);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kCancelled);
  scene.expect_whole();
}

}  // namespace
}  // namespace pgark
