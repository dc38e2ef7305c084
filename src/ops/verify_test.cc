#include "ops/verify.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "catalog/cluster.h"
#include "catalog/verify_record.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "ops/verify_state.h"
#include "pg/timeline_history.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_backup.h"
#include "testing/sample_cluster.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using pgark::testing::SampleBackup;
using pgark::testing::ScratchDir;
using pgark::testing::StepClock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr uint32_t kSegment = 1u << 20;
constexpr uint64_t kFirst = 32;  // The backup begins in this segment and ends in the next.
constexpr const char* kFull = "20261122-101500F";
constexpr const char* kIncr = "20261122-101500F_20261122-111500I";

std::string segment_name(uint64_t number) { return pg::segment_name({TimelineId{1}, number}, kSegment); }
std::string segment_key(uint64_t number) { return wal_key("main", 1, segment_name(number))->value; }

std::string content_of(size_t blocks, uint64_t seed) {
  return std::string(as_text(random_bytes(blocks * kHashBlockBytes, seed)));
}

/// A repository in memory with a full backup, an incremental that names its packs, and the WAL of both.
struct Scene {
  Scene() { make(); }

  void make() {
    auto memory = std::make_unique<MemoryStore>();
    store = std::make_unique<FaultStore>(std::move(memory));
    repository = new_repository(*store);
    ASSERT_OK(write_cluster(*repository, "main",
                            {.number = 1,
                             .system_identifier = 7654321,
                             .pg_major = 15,
                             .control_version = 1300,
                             .catalog_version = 202209061,
                             .wal_segment_bytes = kSegment,
                             .created = {}}));
    add_full();
    add_incremental();
    ASSERT_OK(annotate_backup(*repository, "main", kFull, {{"ticket", "7"}}));
  }

  static void set_wal(BackupMeta& meta) {
    meta.wal_segment_bytes = kSegment;
    meta.start_lsn = Lsn{kFirst * kSegment + 40};
    meta.stop_lsn = Lsn{(kFirst + 1) * kSegment + 256};
    meta.wal_start = segment_name(kFirst);
    meta.wal_stop = segment_name(kFirst + 1);
  }

  /// Packs of 256 KiB, so that there are several.
  void add_full() {
    SampleBackup backup(*repository, kFull, 256u << 10);
    set_wal(backup.meta);
    backup.minimal_cluster();
    for (int i = 0; i < 4; ++i)
      backup.file(fmt::format("base/1/{}", 100 + i), content_of(24, 100 + static_cast<uint64_t>(i)));
    backup.commit();
    backup.archive_wal(4);
    meta = backup.meta;
  }

  /// Block 3 of base/1/100 is new, everything else is as in the full backup.
  void add_incremental() {
    ASSERT_OK_AND_ASSIGN(const ManifestReader full, ManifestReader::open(*repository, "main", kFull));
    ASSERT_OK_AND_ASSIGN(std::vector<PackName> names, full.packs());
    PackSet packs(*repository, "main", kIncr);
    PackWriter pack(packs, Codec::kZstd, 1);
    ASSERT_OK_AND_ASSIGN(ExtentRef changed, pack.append(random_bytes(kHashBlockBytes, 7),
                                                        {{"base/1/100", 3 * kHashBlockBytes, 0, kHashBlockBytes}}));
    ASSERT_OK(pack.close());
    ASSERT_OK(packs.finish());
    changed.pack = static_cast<uint32_t>(names.size());
    names.push_back({kIncr, 1});
    ASSERT_OK_AND_ASSIGN(auto writer, ManifestWriter::create(*repository, "main", kIncr));
    for (size_t i = 0; i < full.chunk_count(); ++i) {
      ASSERT_OK_AND_ASSIGN(FileChunk chunk, full.chunk(i));
      chunk.extents.push_back(changed);
      for (FileEntry& file : chunk.files) {
        if (file.path == "base/1/100") cut_out(file, static_cast<uint32_t>(chunk.extents.size() - 1));
        if (file.path == "base/1/101") file.bad_blocks = {5, 9};
        ASSERT_OK(writer.add(file, chunk.extents));
      }
    }
    BackupMeta incremental = meta;
    incremental.label = kIncr;
    incremental.type = BackupType::kIncr;
    incremental.prior_label = kFull;
    incremental.start_lsn = Lsn{(kFirst + 2) * kSegment + 40};
    incremental.stop_lsn = Lsn{(kFirst + 3) * kSegment + 4096};
    incremental.stopped = SampleBackup::kCommitTime + std::chrono::minutes(2);
    incremental.wal_start = segment_name(kFirst + 2);
    incremental.wal_stop = segment_name(kFirst + 3);
    ASSERT_OK(std::move(writer).commit(names, encode_backup_meta(incremental)));
  }

  static void cut_out(FileEntry& file, uint32_t extent) {
    std::vector<Run> runs;
    constexpr uint64_t kAt = 3 * kHashBlockBytes;
    for (const Run& run : file.runs) {
      if (kAt < run.file_offset || kAt >= run.file_offset + run.bytes) {
        runs.push_back(run);
        continue;
      }
      const uint64_t before = kAt - run.file_offset;
      if (before > 0) runs.push_back({run.file_offset, before, run.extent, run.extent_offset});
      runs.push_back({kAt, kHashBlockBytes, extent, 0});
      const uint64_t skipped = before + kHashBlockBytes;
      runs.push_back({run.file_offset + skipped, run.bytes - skipped, run.extent,
                      static_cast<uint32_t>(run.extent_offset + skipped)});
    }
    file.runs = runs;
  }

  Buffer get(const std::string& key) {
    auto content = store->get({key});
    EXPECT_TRUE(content.has_value()) << key;
    return content ? std::move(*content) : Buffer();
  }
  void replace(const std::string& key, Bytes content) {
    ASSERT_OK(store->remove({key}));
    ASSERT_OK(store->put({key}, content));
  }
  void flip(const std::string& key, uint64_t offset) {
    Buffer content = get(key);
    content.data()[offset] ^= std::byte{16};
    replace(key, content);
  }
  /// The first extent of a file, and the pack it lies in.
  std::pair<ExtentRef, PackName> extent_of(const std::string& path, size_t run = 0) {
    auto manifest = ManifestReader::open(*repository, "main", kFull);
    auto packs = manifest->packs();
    for (size_t i = 0; i < manifest->chunk_count(); ++i) {
      auto chunk = manifest->chunk(i);
      for (const FileEntry& file : chunk->files) {
        if (file.path != path || run >= file.runs.size()) continue;
        const ExtentRef ref = chunk->extents[file.runs[run].extent];
        return {ref, (*packs)[ref.pack]};
      }
    }
    ADD_FAILURE() << path;
    return {};
  }
  static std::string key_of(const PackName& pack) { return pack_key("main", pack.label, pack.number).value; }
  /// Paths with data in a pack.
  std::set<std::string> paths_in(const PackName& pack) {
    std::set<std::string> paths;
    auto listing = read_pack_listing(*repository, {key_of(pack)});
    for (const PackedExtent& extent : *listing)
      for (const ExtentPiece& piece : extent.pieces) paths.insert(piece.path);
    return paths;
  }

  Result<VerifyReport> try_verify() {
    options.stanza = "main";
    Progress progress;
    Rng rng(seed);
    return run_verify(*repository, others, options, clock, rng, cancel, progress);
  }
  VerifyReport verify() {
    auto report = try_verify();
    EXPECT_TRUE(report.has_value()) << (report ? "" : report.error().to_string());
    return report ? std::move(*report) : VerifyReport{};
  }

  std::unique_ptr<FaultStore> store;
  std::unique_ptr<Repository> repository;
  std::vector<OtherRepository> others;
  VerifyOptions options;
  StepClock clock;
  CancelToken cancel;
  uint64_t seed = 1;
  BackupMeta meta;
};

const DamagedBackup* find(const VerifyReport& report, const std::string& label) {
  for (const DamagedBackup& backup : report.backups)
    if (backup.label == label) return &backup;
  return nullptr;
}
std::set<std::string> paths(const VerifyReport& report, const std::string& label) {
  std::set<std::string> out;
  const DamagedBackup* backup = find(report, label);
  if (backup == nullptr) return out;
  for (const DamagedFile& file : backup->files) out.insert(file.path);
  return out;
}

/// Calls a function once, before the first read of an object whose key begins with a prefix.
class HookStore final : public testing::ForwardingStore {
 public:
  HookStore(ObjectStore& inner, std::string prefix, std::function<void()> hook)
      : ForwardingStore(inner), prefix_(std::move(prefix)), hook_(std::move(hook)) {}
  Result<size_t> read(const ObjectKey& key, uint64_t offset, MutableBytes into) override {
    if (key.value.starts_with(prefix_)) {
      if (const auto hook = std::exchange(hook_, nullptr)) hook();
    }
    return inner().read(key, offset, into);
  }
  bool fired() const { return hook_ == nullptr; }

 private:
  const std::string prefix_;
  std::function<void()> hook_;
};

class Verify : public ::testing::Test {
 protected:
  Scene scene_;
};

TEST_F(Verify, FindsNothingInAWholeRepositoryAndRecordsIt) {
  scene_.options.process_max = 3;
  const VerifyReport report = scene_.verify();
  EXPECT_TRUE(report.ok()) << (report.damages.empty() ? "" : report.damages[0].cause);
  EXPECT_TRUE(report.finished);
  EXPECT_THAT(report.labels, ElementsAre(kFull, kIncr));
  EXPECT_EQ(report.pack_count, report.pack_total);
  EXPECT_GE(report.pack_total, 3u);
  EXPECT_EQ(report.segment_count, 6u);
  EXPECT_EQ(report.record_count, 2u);  // Cluster record and annotation.
  EXPECT_EQ(report.unreferenced_pack_count, 0u);
  EXPECT_THAT(report.lost, IsEmpty());
  EXPECT_THAT(report.next_steps, IsEmpty());
  // Damage of the cluster is told, and is none of the repository.
  EXPECT_EQ(report.bad_page_count, 2u);
  ASSERT_THAT(report.bad_pages, SizeIs(1));
  EXPECT_EQ(report.bad_pages[0], (VerifiedBadPages{kIncr, "base/1/101", {5, 9}, 2}));

  ASSERT_OK_AND_ASSIGN(const auto records, list_verify_records(*scene_.repository, "main"));
  ASSERT_THAT(records, SizeIs(1));
  EXPECT_EQ(records[0].name, report.record);
  EXPECT_EQ(records[0].damage_count, 0u);
  EXPECT_THAT(records[0].verified, ElementsAre(kFull, kIncr));
  // The next round reads the record of this one, too.
  EXPECT_EQ(scene_.verify().record_count, 3u);
}

TEST_F(Verify, FindsABitFlipAnywhereInEveryObject) {
  ASSERT_OK(scene_.try_verify());  // Leaves a record, which is an object as well.
  ASSERT_OK(write_stored_file(*scene_.repository, *wal_key("main", 1, "00000002.history"),
                              as_bytes("1\t0/2600000\tno recovery target specified\n"), "{}"));
  ASSERT_OK_AND_ASSIGN(const auto objects, scene_.store->list_all("main/"));
  Rng rng(7);
  for (const ObjectInfo& object : objects) {
    const std::string& key = object.key.value;
    std::set<uint64_t> places{0, 20, 60, object.bytes / 2, object.bytes - 70, object.bytes - 1};
    for (int i = 0; i < 3; ++i) places.insert(rng.below(object.bytes));
    for (const uint64_t place : places) {
      SCOPED_TRACE(fmt::format("{} of {} bytes, bit flipped at {}", key, object.bytes, place));
      MemoryStore damaged;
      copy_with_flipped_bit(*scene_.store, damaged, object.key, place * 8 + rng.below(8));
      const auto repository = Repository::open(damaged);
      ASSERT_OK(repository);
      VerifyOptions options{.stanza = "main"};
      Progress progress;
      CancelToken cancel;
      const auto report = run_verify(**repository, {}, options, scene_.clock, rng, cancel, progress);
      ASSERT_OK(report);
      ASSERT_THAT(report->damages, SizeIs(1));
      EXPECT_EQ(report->damages[0].object, key);
      EXPECT_FALSE(report->damages[0].missing);
      EXPECT_FALSE(report->damages[0].cause.empty());
      EXPECT_FALSE(report->next_steps.empty() && !report->damages[0].harmless);
    }
  }
}

TEST_F(Verify, NamesExactlyTheFilesAndBlocksThatAreHit) {
  // The first extent of the file is its blocks 0 to 15; block 3 of the incremental lies elsewhere.
  const auto [extent, pack] = scene_.extent_of("base/1/100");
  scene_.flip(scene_.key_of(pack), extent.offset + extent.stored_bytes / 2);
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  const VerifyDamage& damage = report.damages[0];
  EXPECT_EQ(damage.kind, DamageKind::kPack);
  EXPECT_EQ(damage.name, fmt::format("{}/{:06}", pack.label, pack.number));
  EXPECT_THAT(damage.places, ElementsAre(DamagedPlace{extent.offset, extent.stored_bytes}));
  EXPECT_THAT(damage.cause, HasSubstr("checksum does not match"));
  EXPECT_THAT(damage.backups, ElementsAre(kFull, kIncr));
  ASSERT_THAT(report.backups, SizeIs(2));
  ASSERT_EQ(paths(report, kFull), std::set<std::string>{"base/1/100"});
  ASSERT_EQ(paths(report, kIncr), std::set<std::string>{"base/1/100"});
  EXPECT_THAT(find(report, kFull)->files[0].blocks, ElementsAre(DamagedRange{0, 15}));
  EXPECT_THAT(find(report, kIncr)->files[0].blocks, ElementsAre(DamagedRange{0, 2}, DamagedRange{4, 15}));
  EXPECT_EQ(find(report, kIncr)->files[0].block_count, 15u);
  EXPECT_THAT(report.next_steps, ElementsAre(HasSubstr("backup --type=full")));
  // Nothing can be restored whole, so nothing can be recovered.
  ASSERT_THAT(report.lost, SizeIs(1));
  EXPECT_EQ(report.lost[0].from_lsn, scene_.meta.stop_lsn);
  EXPECT_TRUE(report.lost[0].ends);
}

TEST_F(Verify, OnlyTheBackupThatUsesAnExtentIsHit) {
  scene_.flip(pack_key("main", kIncr, 1).value, 160);  // Behind header and key frame.
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_THAT(report.damages[0].backups, ElementsAre(kIncr));
  ASSERT_THAT(report.backups, SizeIs(1));
  EXPECT_THAT(report.backups[0].files, SizeIs(1));
  EXPECT_EQ(report.backups[0].files[0].path, "base/1/100");
  EXPECT_THAT(report.backups[0].files[0].blocks, ElementsAre(DamagedRange{3, 3}));
  EXPECT_EQ(report.backups[0].files[0].packs, (std::vector<PackName>{{kIncr, 1}}));
  // With the full backup and WAL every moment can still be reached.
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(Verify, MissingPackHitsEverythingInIt) {
  const auto [extent, pack] = scene_.extent_of("base/1/103");
  const auto inside = scene_.paths_in(pack);
  ASSERT_OK(scene_.store->remove({scene_.key_of(pack)}));
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_TRUE(report.damages[0].missing);
  EXPECT_EQ(paths(report, kFull), inside);
  EXPECT_EQ(paths(report, kIncr), inside);
}

TEST_F(Verify, TruncatedPackHitsOnlyWhatWasCutOff) {
  const auto [extent, pack] = scene_.extent_of("base/1/102", 1);
  const std::string key = scene_.key_of(pack);
  const Buffer whole = scene_.get(key);
  std::set<std::string> cut_off;
  const auto listing = *read_pack_listing(*scene_.repository, {key});
  for (const PackedExtent& one : listing)
    if (one.ref.offset >= extent.offset)
      for (const ExtentPiece& piece : one.pieces) cut_off.insert(piece.path);
  scene_.replace(key, whole.bytes().first(static_cast<size_t>(extent.offset) + 100));
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_FALSE(report.damages[0].missing);
  EXPECT_EQ(paths(report, kFull), cut_off);
  EXPECT_LT(cut_off.size(), scene_.paths_in({kFull, 1}).size() + 10);
}

TEST_F(Verify, DamagedTrailerAloneHitsNoFile) {
  const auto [extent, pack] = scene_.extent_of("base/1/100");
  const std::string key = scene_.key_of(pack);
  scene_.flip(key, scene_.get(key).size() - 1);
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_THAT(report.damages[0].cause, HasSubstr("trailer is damaged"));
  EXPECT_THAT(report.backups, IsEmpty());
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(Verify, SwappedReplayedAndForeignPacksAreFound) {
  // Two packs of one size: an old object under another's name is whole in itself.
  const std::string first = pack_key("main", kFull, 1).value;
  const std::string second = pack_key("main", kFull, 2).value;
  const Buffer one = scene_.get(first);
  const Buffer two = scene_.get(second);
  std::set<std::string> inside = scene_.paths_in({kFull, 1});
  inside.merge(scene_.paths_in({kFull, 2}));
  scene_.replace(first, two);
  scene_.replace(second, one);
  const VerifyReport swapped = scene_.verify();
  EXPECT_THAT(swapped.damages, SizeIs(2));
  EXPECT_EQ(paths(swapped, kFull), inside);
  EXPECT_EQ(paths(swapped, kIncr), inside);

  scene_.make();
  scene_.replace(pack_key("main", kIncr, 1).value, scene_.get(first));
  const VerifyReport foreign = scene_.verify();
  ASSERT_THAT(foreign.damages, SizeIs(1));
  EXPECT_THAT(foreign.damages[0].cause, HasSubstr("of another object"));
  EXPECT_EQ(paths(foreign, kIncr), std::set<std::string>{"base/1/100"});
  EXPECT_THAT(paths(foreign, kFull), IsEmpty());

  // A segment in the place of the one before.
  scene_.make();
  scene_.replace(segment_key(kFirst + 4), scene_.get(segment_key(kFirst + 3)));
  const VerifyReport replayed = scene_.verify();
  ASSERT_THAT(replayed.damages, SizeIs(1));
  EXPECT_EQ(replayed.damages[0].name, segment_name(kFirst + 4));
}

TEST_F(Verify, PackOfThatNameWithOtherExtentsIsTheManifestsDamage) {
  // As after a repository was put together from two states: everything is whole in itself.
  ASSERT_OK(scene_.store->remove(pack_key("main", kIncr, 1)));
  PackSet packs(*scene_.repository, "main", kIncr);
  PackWriter pack(packs, Codec::kZstd, 1);
  ASSERT_OK(pack.append(random_bytes(2 * kHashBlockBytes, 99), {{"base/1/7", 0, 0, 2 * kHashBlockBytes}}));
  ASSERT_OK(pack.close());
  ASSERT_OK(packs.finish());
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].kind, DamageKind::kManifest);
  EXPECT_THAT(report.damages[0].cause, HasSubstr("holds no such extent"));
  EXPECT_EQ(paths(report, kIncr), std::set<std::string>{"base/1/100"});
}

TEST_F(Verify, DamagedManifestLosesItsBackupAlone) {
  scene_.flip(manifest_key("main", kIncr).value, 100);
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].kind, DamageKind::kManifest);
  EXPECT_THAT(report.damages[0].backups, ElementsAre(kIncr));
  ASSERT_THAT(report.backups, SizeIs(1));
  EXPECT_TRUE(report.backups[0].manifest);
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(Verify, DamagedSegmentBreaksTheTimeBehindIt) {
  const std::string key = segment_key(kFirst + 2);
  scene_.flip(key, scene_.get(key).size() / 3);
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].kind, DamageKind::kSegment);
  EXPECT_EQ(report.damages[0].name, segment_name(kFirst + 2));
  // The incremental needs it to become consistent.
  EXPECT_THAT(report.damages[0].backups, ElementsAre(kIncr));
  ASSERT_NE(find(report, kIncr), nullptr);
  EXPECT_EQ(find(report, kIncr)->wal, segment_name(kFirst + 2));
  EXPECT_EQ(find(report, kFull), nullptr);
  ASSERT_THAT(report.lost, SizeIs(1));
  EXPECT_EQ(report.lost[0].from, SampleBackup::kCommitTime);
  EXPECT_EQ(report.lost[0].from_lsn, (Lsn{(kFirst + 2) * kSegment}));
  EXPECT_EQ(report.lost[0].to, SampleBackup::kCommitTime + std::chrono::minutes(4));
  EXPECT_TRUE(report.lost[0].ends);
  EXPECT_THAT(report.next_steps, ::testing::Contains(HasSubstr("archive-heal --verify")));
}

TEST_F(Verify, GapEndsAtTheNextBackup) {
  // Past the backup's own WAL, before the next one's.
  scene_.make();
  ASSERT_OK(scene_.store->remove({manifest_key("main", kIncr)}));
  ASSERT_OK(scene_.store->remove({segment_key(kFirst + 3)}));
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_TRUE(report.damages[0].missing);
  EXPECT_EQ(report.damages[0].count, 1u);
  EXPECT_THAT(report.backups, IsEmpty());
  ASSERT_THAT(report.lost, SizeIs(1));
  EXPECT_EQ(report.lost[0].from, SampleBackup::kCommitTime + std::chrono::minutes(1));
}

TEST_F(Verify, RepairedCopyMakesADamagedSegmentGood) {
  const std::string key = segment_key(kFirst + 2);
  ASSERT_OK_AND_ASSIGN(const StoredFile good, read_stored_file(*scene_.repository, {key}));
  scene_.flip(key, scene_.get(key).size() / 3);
  EXPECT_FALSE(scene_.verify().ok());
  ASSERT_OK(write_stored_file(*scene_.repository, *wal_key("main", 1, segment_name(kFirst + 2), 1), good.raw, "{}"));
  EXPECT_TRUE(scene_.verify().ok());
}

TEST_F(Verify, AsksForNoListingOfAGoodSegment) {
  const auto listings = [&](uint64_t segments) {
    const uint64_t before = scene_.store->calls(StoreCall::kList);
    const VerifyReport report = scene_.verify();
    EXPECT_TRUE(report.ok());
    EXPECT_EQ(report.segment_count, segments);
    return scene_.store->calls(StoreCall::kList) - before;
  };
  const uint64_t of_six = listings(6);
  SampleBackup more(*scene_.repository, "20261122-121500F");
  Scene::set_wal(more.meta);
  more.archive_wal(14);
  EXPECT_EQ(listings(16), of_six);
}

TEST_F(Verify, FirstCopyThatIsGoneLeavesItToTheNext) {
  const std::string key = segment_key(kFirst + 2);
  ASSERT_OK_AND_ASSIGN(const StoredFile good, read_stored_file(*scene_.repository, {key}));
  ASSERT_OK(write_stored_file(*scene_.repository, *wal_key("main", 1, segment_name(kFirst + 2), 1), good.raw, "{}"));
  ASSERT_OK(scene_.store->remove({key}));
  EXPECT_TRUE(scene_.verify().ok());
  scene_.flip(key + ".r1", scene_.get(key + ".r1").size() / 3);
  const VerifyReport report = scene_.verify();
  const auto is_of_copy = [&](const VerifyDamage& damage) { return damage.object == key + ".r1"; };
  EXPECT_EQ(std::ranges::count_if(report.damages, is_of_copy), 1);
}

TEST_F(Verify, SegmentThatDoesNotJoinTheOneBeforeIsFound) {
  // Whole, of this cluster, at its address, and of another run of the server.
  pgark::testing::WalBuilder other({.major = pg::PgMajor{15},
                                    .segment_bytes = kSegment,
                                    .system_id = 7654321,
                                    .timeline = TimelineId{1},
                                    .start = Lsn{(kFirst + 4) * kSegment},
                                    .prev = Lsn{(kFirst + 4) * kSegment - 4000}});
  other.add_bytes(500);
  other.add_switch();
  ASSERT_OK(scene_.store->remove({segment_key(kFirst + 4)}));
  ASSERT_OK(
      write_stored_file(*scene_.repository, {segment_key(kFirst + 4)}, Bytes(other.bytes()).first(kSegment), "{}"));
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].name, segment_name(kFirst + 4));
  EXPECT_THAT(report.damages[0].cause, HasSubstr("does not join"));
}

TEST_F(Verify, GoodCopiesElsewhereAreNamed) {
  Scene other;
  scene_.others = {{2, other.repository.get()}};
  const std::string key = segment_key(kFirst + 2);
  scene_.flip(key, scene_.get(key).size() / 3);
  scene_.flip(manifest_key("main", kFull).value, 100);
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(2));
  const auto segment = std::find_if(report.damages.begin(), report.damages.end(),
                                    [](const auto& one) { return one.kind == DamageKind::kSegment; });
  EXPECT_THAT(segment->good_copies, ElementsAre(2u));
  ASSERT_NE(find(report, kFull), nullptr);
  EXPECT_THAT(find(report, kFull)->copies, ElementsAre(BackupCopy{2, std::nullopt}));
  EXPECT_THAT(report.next_steps, ::testing::Contains(HasSubstr("--repo=2 restore --set=" + std::string(kFull))));

  // A copy that is damaged as well is none.
  other.flip(key, other.get(key).size() / 3);
  const auto known = other.verify();
  EXPECT_FALSE(known.ok());
  const VerifyReport again = scene_.verify();
  for (const VerifyDamage& damage : again.damages) EXPECT_THAT(damage.good_copies, IsEmpty());
  ASSERT_THAT(find(again, kFull)->copies, SizeIs(1));
  EXPECT_TRUE(find(again, kFull)->copies[0].verified.has_value());
}

TEST_F(Verify, ChosenBackupsAloneAreRead) {
  scene_.options.sets = {kFull};
  scene_.flip(pack_key("main", kIncr, 1).value, 100);
  scene_.flip(segment_key(kFirst + 4), 200);
  const VerifyReport report = scene_.verify();
  EXPECT_TRUE(report.ok());
  EXPECT_THAT(report.labels, ElementsAre(kFull));
  EXPECT_EQ(report.segment_total, 2u);
  scene_.options.sets = {"20260101-000000F"};
  const auto unknown = scene_.try_verify();
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code(), Errc::kNotFound);
}

TEST_F(Verify, UnreadableObjectIsDamageAndAnUnreachableRepositoryAnError) {
  const auto [extent, pack] = scene_.extent_of("base/1/100");
  const std::string key = scene_.key_of(pack);
  const auto inside = scene_.paths_in(pack);
  scene_.store->set_rules({{.call = StoreCall::kRead, .prefix = key, .nth = 1, .every = 1}});
  const VerifyReport report = scene_.verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].object, key);
  EXPECT_THAT(report.damages[0].cause, HasSubstr("cannot be read"));
  EXPECT_EQ(paths(report, kFull), inside);
  EXPECT_TRUE(inside.contains("base/1/100"));

  scene_.store->set_rules({{.call = StoreCall::kRead, .nth = 10, .every = 1}});
  const auto unreachable = scene_.try_verify();
  ASSERT_FALSE(unreachable.has_value());
  EXPECT_EQ(unreachable.error().code(), Errc::kTransient);
  EXPECT_THAT(unreachable.error().message(), HasSubstr("verify main"));
}

TEST_F(Verify, StanzaThatDoesNotExistIsAnError) {
  scene_.options.stanza = "other";
  MemoryStore store;
  const auto empty = new_repository(store);
  Progress progress;
  Rng rng(1);
  const auto report = run_verify(*empty, {}, {.stanza = "main"}, scene_.clock, rng, scene_.cancel, progress);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kNotFound);
}

TEST_F(Verify, WhatIsExpiredWhileItIsReadIsNotMissing) {
  // As expire does, long after: the manifest, WAL before the oldest backup left, the packs nobody names.
  for (const std::string prefix : {"main/pack/", "main/wal/", "main/backup/"}) {
    for (const std::string label : {kFull, kIncr}) {
      SCOPED_TRACE(prefix + " " + label);
      scene_.make();
      HookStore store(*scene_.store, prefix, [&] {
        ASSERT_OK(scene_.store->remove(manifest_key("main", label)));
        if (label == kIncr) ASSERT_OK(scene_.store->remove(pack_key("main", kIncr, 1)));
        if (label == kFull) ASSERT_OK(scene_.store->remove({segment_key(kFirst)}));
        if (label == kFull) ASSERT_OK(scene_.store->remove({"main/backup/" + label + "/annotation.1"}));
      });
      ASSERT_OK_AND_ASSIGN(const auto repository, Repository::open(store));
      Progress progress;
      Rng rng(1);
      const auto report = run_verify(*repository, {}, {.stanza = "main"}, scene_.clock, rng, scene_.cancel, progress);
      ASSERT_OK(report);
      EXPECT_TRUE(store.fired());
      EXPECT_TRUE(report->ok()) << report->damages[0].cause;
      EXPECT_THAT(report->labels, ElementsAre(label == kFull ? kIncr : kFull));
    }
  }
}

/// With a state file.
class VerifyResume : public Verify {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("verify");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    scene_.options.stanza = "main";
    scene_.options.state_path = verify_state_path(scratch_ / "spool", scene_.options);
  }
  bool state_exists() const { return read_file(scene_.options.state_path).has_value(); }

  static std::vector<std::string> summary(const VerifyReport& report) {
    std::vector<std::string> out;
    for (const VerifyDamage& damage : report.damages) {
      out.push_back(fmt::format("{} {} {}", damage.object, damage.cause, fmt::join(damage.backups, ",")));
    }
    for (const DamagedBackup& backup : report.backups) {
      for (const DamagedFile& file : backup.files)
        out.push_back(fmt::format("{} {} {}", backup.label, file.path, file.block_count));
    }
    for (const LostRange& lost : report.lost) out.push_back(to_string(lost.from_lsn) + " " + to_string(lost.to_lsn));
    out.push_back(
        fmt::format("{} {} {} {}", report.pack_count, report.extent_count, report.segment_count, report.read_bytes));
    return out;
  }

  ScratchDir scratch_;
};

TEST_F(VerifyResume, GoesOnWhereItWasAndReachesTheSameReport) {
  const auto [extent, pack] = scene_.extent_of("base/1/100");
  scene_.flip(scene_.key_of(pack), extent.offset + 20);
  const VerifyReport whole = scene_.verify();
  EXPECT_FALSE(state_exists());
  ASSERT_OK_AND_ASSIGN(const auto records, list_verify_records(*scene_.repository, "main"));
  for (const VerifyRecord& record : records) ASSERT_OK(scene_.store->remove({"main/verify/" + record.name}));

  // Fail at ever later reads, each time going on from the run before.
  std::map<std::string, uint64_t> reads_whole = {};
  unsigned runs = 0;
  uint64_t run_bytes = 0;
  for (uint64_t nth = 6;; nth += 4) {
    ASSERT_LT(++runs, 200u);
    scene_.store->set_rules({{.call = StoreCall::kRead, .prefix = "", .nth = nth + 8, .every = 1}});
    const auto report = scene_.try_verify();
    if (report) {
      run_bytes += report->run_read_bytes;
      EXPECT_EQ(summary(*report), summary(whole));
      EXPECT_TRUE(report->resumed);
      EXPECT_LT(report->run_read_bytes, report->read_bytes);
      break;
    }
    EXPECT_EQ(report.error().code(), Errc::kTransient);
    EXPECT_TRUE(runs < 3 || state_exists());
  }
  EXPECT_GT(runs, 2u);
  EXPECT_FALSE(state_exists());
  EXPECT_LE(run_bytes, whole.read_bytes);
}

TEST_F(VerifyResume, ReportDoesNotDependOnTheNumberOfThreads) {
  const auto [extent, pack] = scene_.extent_of("base/1/100");
  const auto [other, other_pack] = scene_.extent_of("base/1/103");
  scene_.flip(scene_.key_of(pack), extent.offset + 20);
  scene_.flip(scene_.key_of(other_pack), other.offset + 20);
  const std::string key = segment_key(kFirst + 3);
  scene_.flip(key, scene_.get(key).size() / 3);
  const auto alone = summary(scene_.verify());
  for (const unsigned threads : {2u, 4u, 8u}) {
    scene_.options.process_max = threads;
    EXPECT_EQ(summary(scene_.verify()), alone) << threads;
  }
}

TEST_F(VerifyResume, WhatWasDoneIsNotReadAgain) {
  // Packs are read first: stop at the first read of WAL.
  scene_.store->set_rules(
      {{.call = StoreCall::kRead, .prefix = "main/wal/", .nth = 1, .every = 1, .code = Errc::kCancelled}});
  ASSERT_FALSE(scene_.try_verify().has_value());
  ASSERT_TRUE(state_exists());
  // From now on no pack can be read but for its end, where the index is.
  scene_.store->set_rules({});
  const uint64_t before = scene_.store->bytes_read();
  const VerifyReport report = scene_.verify();
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(report.resumed);
  EXPECT_GT(report.extent_count, 0u);
  uint64_t pack_bytes = 0;
  const auto packs = scene_.store->list_all("main/pack/");
  for (const ObjectInfo& object : *packs) pack_bytes += object.bytes;
  // Ends of packs are read for the manifests' sake, 64 KiB of each.
  EXPECT_LT(report.run_read_bytes, report.read_bytes - pack_bytes / 2);
  EXPECT_GT(scene_.store->bytes_read(), before);
}

TEST_F(VerifyResume, TimeLimitEndsARunAndRestartBeginsAnew) {
  scene_.options.time_limit = std::chrono::milliseconds(0);
  const VerifyReport nothing = scene_.verify();
  EXPECT_FALSE(nothing.finished);
  EXPECT_EQ(nothing.pack_count, 0u);
  EXPECT_TRUE(nothing.ok());
  EXPECT_THAT(nothing.next_steps, ElementsAre(HasSubstr("again")));
  EXPECT_TRUE(nothing.record.empty());
  EXPECT_TRUE(state_exists());
  scene_.options.time_limit.reset();
  const VerifyReport rest = scene_.verify();
  EXPECT_TRUE(rest.resumed);
  EXPECT_TRUE(rest.finished);

  scene_.options.time_limit = std::chrono::milliseconds(0);
  scene_.verify();
  scene_.options.time_limit.reset();
  scene_.options.restart = true;
  EXPECT_FALSE(scene_.verify().resumed);
}

TEST_F(VerifyResume, DamagedSegmentIsLookedAtAgain) {
  const std::string key = segment_key(kFirst + 2);
  const Buffer good = scene_.get(key);
  scene_.flip(key, good.size() / 3);
  scene_.store->set_rules(
      {{.call = StoreCall::kRead, .prefix = "main/backup/", .nth = 12, .every = 1, .code = Errc::kCancelled}});
  auto stopped = scene_.try_verify();
  for (uint64_t nth = 11; stopped && nth > 2; --nth) {
    scene_.store->set_rules(
        {{.call = StoreCall::kRead, .prefix = "main/backup/", .nth = nth, .every = 1, .code = Errc::kCancelled}});
    stopped = scene_.try_verify();
  }
  ASSERT_FALSE(stopped.has_value());
  ASSERT_TRUE(state_exists());
  scene_.store->set_rules({});
  scene_.replace(key, good);
  const VerifyReport report = scene_.verify();
  EXPECT_TRUE(report.resumed);
  EXPECT_TRUE(report.ok());
}

TEST_F(VerifyResume, AnotherScopeHasAStateOfItsOwn) {
  VerifyOptions sample = scene_.options;
  sample.share = 0.05;
  EXPECT_NE(verify_state_path("/spool", sample), verify_state_path("/spool", scene_.options));
  EXPECT_EQ(verify_state_path("/spool", scene_.options), "/spool/main-verify-repo1.json");
  ASSERT_OK(make_directories(scratch_ / "spool"));
  ASSERT_OK(write_file_durable(scene_.options.state_path, "{\"version\":1, rubbish"));
  EXPECT_FALSE(scene_.verify().resumed);
}

TEST_F(VerifyResume, WorksWhereNothingCanBeRemembered) {
  scene_.options.state_path = "/proc/none/state.json";
  EXPECT_TRUE(scene_.verify().ok());
  // A directory in its place can be neither read nor replaced.
  scene_.options.state_path = scratch_.path();
  const VerifyReport report = scene_.verify();
  EXPECT_TRUE(report.finished);
  EXPECT_FALSE(report.resumed);
}

TEST(VerifySampling, ReadsAboutTheShare) {
  MemoryStore memory;
  FaultStore store(std::make_unique<MemoryStore>());
  const auto repository = new_repository(store);
  ASSERT_OK(write_cluster(*repository, "main",
                          {.number = 1,
                           .system_identifier = 7654321,
                           .pg_major = 15,
                           .control_version = 1300,
                           .catalog_version = 202209061,
                           .wal_segment_bytes = kSegment,
                           .created = {}}));
  SampleBackup backup(*repository, kFull, 8u << 20);
  Scene::set_wal(backup.meta);
  backup.minimal_cluster();
  backup.file("base/1/100", content_of(8192, 1));  // 64 MiB of 512 extents.
  backup.commit();
  backup.archive_wal();
  uint64_t stored = 0;
  const auto objects = store.list_all("main/pack/");
  for (const ObjectInfo& object : *objects) stored += object.bytes;
  const uint64_t seed = random_seed();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Rng rng(seed);
  StepClock clock;
  CancelToken cancel;
  Progress progress;
  const uint64_t before = store.bytes_read();
  const auto report = run_verify(*repository, {}, {.stanza = "main", .share = 0.1}, clock, rng, cancel, progress);
  ASSERT_OK(report);
  EXPECT_TRUE(report->ok());
  EXPECT_EQ(report->share, 0.1);
  // 512 extents at 10 %: 51 on average; 20 and 95 are more than four deviations off.
  EXPECT_GT(report->extent_count, 20u);
  EXPECT_LT(report->extent_count, 95u);
  EXPECT_LT(store.bytes_read() - before, stored / 3);
  EXPECT_EQ(report->pack_count, report->pack_total);
}

}  // namespace
}  // namespace pgark
