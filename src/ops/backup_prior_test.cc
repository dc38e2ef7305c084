// Tests of building on an older backup: what is taken from it, what is read, and what is written again.
#include "ops/backup_prior.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "core/page_cache.h"
#include "ops/backup_copy.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_cluster.h"

namespace pgark {
namespace {

using ::pgark::testing::sample_page;
using ::pgark::testing::SampleCluster;
using ::pgark::testing::StepClock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kBlock = 8192;
constexpr Lsn kPriorStart{0x1000};
constexpr Lsn kStart{0x2000};

std::vector<pgark::Run> kept(const std::vector<pgark::Run>& runs, uint64_t begin, uint64_t end,
                             const std::vector<BlockRange>& ranges) {
  std::vector<pgark::Run> found;
  for_each_kept(runs, begin, end, ranges, [&](const pgark::Run& run) { found.push_back(run); });
  return found;
}

TEST(BlockRanges, AreSortedAndJoined) {
  std::vector<BlockRange> ranges = {{7, 9}, {1, 2}, {2, 4}, {5, 5}, {8, 12}, {20, 19}};
  join_ranges(ranges);
  EXPECT_THAT(ranges, ElementsAre(BlockRange{1, 4}, BlockRange{7, 12}));
}

TEST(KeptRuns, LeaveOutTheRangesAndWhatIsOutside) {
  const std::vector<pgark::Run> runs = {{0, 4 * kBlock, 0, 8 * kBlock}, {6 * kBlock, 4 * kBlock, 1, 0}};
  EXPECT_THAT(kept(runs, 0, 10 * kBlock, {}), ElementsAre(runs[0], runs[1]));
  EXPECT_THAT(kept(runs, 0, 10 * kBlock, {{1, 2}, {3, 7}, {9, 20}}),
              ElementsAre(pgark::Run{0, kBlock, 0, 8 * kBlock}, pgark::Run{2 * kBlock, kBlock, 0, 10 * kBlock},
                          pgark::Run{7 * kBlock, 2 * kBlock, 1, kBlock}));
  EXPECT_THAT(kept(runs, 2 * kBlock, 7 * kBlock, {{0, 3}}),
              ElementsAre(pgark::Run{3 * kBlock, kBlock, 0, 11 * kBlock}, pgark::Run{6 * kBlock, kBlock, 1, 0}));
  EXPECT_THAT(kept(runs, 0, 10 * kBlock, {{0, 10}}), IsEmpty());
}

/// The kept blocks of random runs and ranges, counted one by one.
TEST(KeptRuns, AgreeWithAModel) {
  const uint64_t seed =
      std::getenv("SEED") != nullptr ? std::strtoull(std::getenv("SEED"), nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  Rng rng(seed);
  for (int round = 0; round < 2000; ++round) {
    std::vector<pgark::Run> runs;
    for (uint64_t at = rng.below(3); at < 40;) {
      const uint64_t length = 1 + rng.below(6);
      runs.push_back({at * kBlock, length * kBlock, static_cast<uint32_t>(runs.size()),
                      static_cast<uint32_t>(rng.below(8)) * kBlock});
      at += length + rng.below(4);
    }
    std::vector<BlockRange> ranges;
    for (uint64_t i = rng.below(6); i > 0; --i) {
      const auto begin = static_cast<uint32_t>(rng.below(45));
      ranges.push_back({begin, begin + static_cast<uint32_t>(rng.below(8))});
    }
    join_ranges(ranges);
    const uint64_t begin = rng.below(20);
    const uint64_t end = begin + rng.below(30);
    std::map<uint64_t, std::pair<uint32_t, uint64_t>> expected;  // Block to extent and offset in it.
    for (const pgark::Run& run : runs)
      for (uint64_t block = run.file_offset / kBlock; block < (run.file_offset + run.bytes) / kBlock; ++block)
        if (block >= begin && block < end && std::none_of(ranges.begin(), ranges.end(), [&](const BlockRange& r) {
              return r.begin <= block && block < r.end;
            }))
          expected[block] = {run.extent, run.extent_offset + block * kBlock - run.file_offset};
    std::map<uint64_t, std::pair<uint32_t, uint64_t>> actual;
    for (const pgark::Run& run : kept(runs, begin * kBlock, end * kBlock, ranges))
      for (uint64_t at = 0; at < run.bytes; at += kBlock)
        actual[(run.file_offset + at) / kBlock] = {run.extent, run.extent_offset + at};
    ASSERT_EQ(actual, expected) << "round " << round;
  }
}

/// A cluster of which backups are made one after the other.
class BackupOnPrior : public ::testing::Test {
 protected:
  struct Made {
    BackupCopyTotals totals;
    std::vector<PackName> packs;
    PriorSurvey survey;
    std::optional<std::string> silent;
  };

  static pg::WalIndex index_of(const std::map<pg::WalFork, pg::WalForkChanges>& changes) {
    pg::WalIndex index;
    index.major = {15};
    index.changes = changes;
    return index;
  }

  /// Copy the cluster into a backup with this label, on top of `prior` if given, and write its manifest.
  Made back_up(const std::string& label, const std::string& prior = "", ScanMode scan = ScanMode::kWal,
               const std::map<pg::WalFork, pg::WalForkChanges>& changes = {}, size_t samples = 1000) {
    Made made;
    pg::ExclusionContext exclusions;
    exclusions.major = {15};
    auto plan = plan_backup(cluster_.data(), exclusions, {}, cancel_);
    EXPECT_TRUE(plan.has_value());
    BackupCopyOptions options;
    options.data_directory = cluster_.data();
    options.workers = 2;
    options.start_lsn = kStart;
    std::optional<ManifestReader> manifest;
    std::optional<BlockHashes> hashes;
    std::optional<PlanIndex> index;
    std::optional<PriorBackup> older;
    ChangedBlocks changed(131072);
    changed.add(index_of(changes));
    if (!prior.empty()) {
      manifest = std::move(*ManifestReader::open(*repository_, "main", prior));
      options.older_packs = *manifest->packs();
      hashes.emplace(*repository_, "main", options.older_packs);
      index.emplace(*plan);
      older.emplace(PriorBackup{*manifest, scan, scan == ScanMode::kHash ? nullptr : &changed, kPriorStart, kBlock});
      Rng rng(1);
      auto survey = survey_prior(*older, *plan, *index, samples, rng, cancel_);
      EXPECT_TRUE(survey.has_value());
      made.survey = std::move(*survey);
      auto silent = find_silent_change(*older, made.survey, *plan, cluster_.data(), kStart, cancel_);
      EXPECT_TRUE(silent.has_value());
      made.silent = *silent;
      options.prior.emplace(CopyPrior{*older, made.survey, *index, *hashes});
    }
    InsertPosition position;
    position.update({0x9000});
    Progress progress;
    PackSet packs(*repository_, "main", label);
    BackupCopier copier(*plan, options, packs, position, clock_, progress);
    EXPECT_TRUE(copier.copy_files(cancel_, []() -> Result<> { return {}; }).has_value());
    const auto control = read_file(cluster_.at("global/pg_control"));
    EXPECT_TRUE(copier.copy_control(as_bytes(*control)).has_value());
    EXPECT_TRUE(packs.finish().has_value());
    auto writer = ManifestWriter::create(*repository_, "main", label);
    EXPECT_TRUE(writer.has_value());
    EXPECT_TRUE(copier
                    .for_each_entry([&](const FileEntry& entry, const std::vector<ExtentRef>& extents) {
                      return writer->add(entry, extents);
                    })
                    .has_value());
    made.packs = copier.pack_table(label, packs.count());
    EXPECT_TRUE(std::move(*writer).commit(made.packs, "{}").has_value());
    made.totals = copier.totals();
    EXPECT_EQ(progress.bytes_done.load() + kBlock, progress.bytes_total.load());
    return made;
  }

  /// Every file of a backup as a restore would write it.
  std::map<std::string, std::string> contents(const std::string& label) {
    std::map<std::string, std::string> files;
    const auto manifest = ManifestReader::open(*repository_, "main", label);
    const auto packs = manifest->packs();
    EXPECT_TRUE(for_each_chunk(*manifest, [&](const FileChunk& chunk) -> Result<> {
                  for (const FileEntry& file : chunk.files) {
                    if (file.kind != EntryKind::kFile) continue;
                    std::string& bytes = files[file.path];
                    bytes.assign(file.bytes, '\0');
                    for (const pgark::Run& run : file.runs) {
                      const ExtentRef& extent = chunk.extents.at(run.extent);
                      const PackName& pack = packs->at(extent.pack);
                      const ObjectKey key = pack_key("main", pack.label, pack.number);
                      Buffer stored(extent.stored_bytes);
                      TRY(store_.read_exact(key, extent.offset, stored.bytes()));
                      Buffer raw(extent.raw_bytes);
                      Decompressor decompressor;
                      TRY(decode_frame(*repository_, key, extent.frame(), stored, decompressor, raw.bytes()));
                      std::memcpy(bytes.data() + run.file_offset, raw.data() + run.extent_offset, run.bytes);
                    }
                  }
                  return {};
                }).has_value());
    return files;
  }

  /// A relation of some pages that are all different.
  static std::string relation(uint32_t blocks, char fill, Lsn lsn = {0x500}) {
    std::string bytes;
    for (uint32_t block = 0; block < blocks; ++block)
      bytes += sample_page(block, lsn, static_cast<char>(fill + static_cast<char>(block % 7)));
    return bytes;
  }
  static void set_page(std::string& bytes, uint32_t block, Lsn lsn, char fill) {
    bytes.replace(block * kBlock, kBlock, sample_page(block, lsn, fill));
  }
  static pg::WalFork fork(uint32_t relfilenode) { return {{1663, 1, relfilenode}, pg::Fork::kMain}; }

  void expect_same(const std::string& label) {
    for (const auto& [path, bytes] : contents(label)) EXPECT_EQ(bytes, *read_file(cluster_.at(path))) << path;
  }

  SampleCluster cluster_;
  CancelToken cancel_;
  StepClock clock_;
  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

const std::string kFull = "20261122-100000F";
const std::string kIncr = "20261122-100000F_20261122-110000I";
const std::string kNext = "20261122-100000F_20261122-120000I";

TEST_F(BackupOnPrior, ReadsOnlyWhatTheWalNames) {
  std::string bytes = relation(100, 'a');
  cluster_.put("base/1/16500", bytes);
  cluster_.put("base/1/16501", relation(50, 'b'));
  back_up(kFull);
  set_page(bytes, 17, {0x1500}, 'x');
  set_page(bytes, 18, {0x1500}, 'y');
  set_page(bytes, 60, {0x1500}, 'z');
  cluster_.put("base/1/16500", bytes);
  const Made made = back_up(kIncr, kFull, ScanMode::kWal, {{fork(16500), {{}, {17, 18, 60}}}});
  expect_same(kIncr);
  EXPECT_FALSE(made.silent.has_value()) << *made.silent;
  EXPECT_GE(made.totals.referenced_bytes, 147u * kBlock);
  EXPECT_LT(made.totals.read_bytes, 30u * kBlock) << "the small files of the cluster and three blocks";
}

TEST_F(BackupOnPrior, TakesNothingPastATruncationOrTheOldEnd) {
  std::string bytes = relation(40, 'a');
  cluster_.put("base/1/16500", bytes);
  back_up(kFull);
  // Cut to 10, grown to 60: of the new pages only one was ever logged, the others stayed zero.
  bytes.resize(10 * kBlock);
  bytes.resize(60 * kBlock, '\0');
  set_page(bytes, 12, {0x1500}, 'x');
  cluster_.put("base/1/16500", bytes);
  back_up(kIncr, kFull, ScanMode::kWal, {{fork(16500), {10, {12}}}});
  expect_same(kIncr);
}

TEST_F(BackupOnPrior, ComparesFilesThatShrankWithoutATrace) {
  std::string bytes = relation(40, 'a');
  cluster_.put("base/1/16500", bytes);
  back_up(kFull);
  bytes.resize(30 * kBlock);
  set_page(bytes, 5, {0x500}, 'x');
  cluster_.put("base/1/16500", bytes);
  back_up(kIncr, kFull, ScanMode::kWal, {});
  expect_same(kIncr);
}

TEST_F(BackupOnPrior, ComparesWhatWalDoesNotTellOf) {
  cluster_.put("base/1/16500_vm", relation(3, 'a'));
  cluster_.put("base/1/16500_fsm", relation(5, 'b'));
  cluster_.put("pg_xact/0000", std::string(3 * kBlock, 'c'));
  cluster_.put("odd", std::string(20000, 'd'));
  back_up(kFull);
  std::string vm = relation(3, 'a');
  vm[2 * kBlock + 100] = 'X';  // The LSN of the page stays, as PostgreSQL leaves it.
  cluster_.put("base/1/16500_vm", vm);
  cluster_.put("pg_xact/0000", std::string(2 * kBlock, 'c') + std::string(kBlock, 'e'));
  cluster_.put("odd", std::string(20001, 'd'));
  const Made made = back_up(kIncr, kFull);
  expect_same(kIncr);
  EXPECT_GE(made.totals.referenced_bytes, 11u * kBlock) << "only blocks that differ are stored";
}

TEST_F(BackupOnPrior, FindsASilentChangeInTheSampleAndThenByHash) {
  std::string bytes = relation(40, 'a');
  cluster_.put("base/1/16500", bytes);
  back_up(kFull);
  set_page(bytes, 5, {0x1800}, 'x');  // Newer than the prior's start, and no WAL tells of it.
  cluster_.put("base/1/16500", bytes);
  const Made trusting = back_up(kIncr, kFull);
  ASSERT_TRUE(trusting.silent.has_value());
  EXPECT_THAT(*trusting.silent, HasSubstr("block 5 of file 'base/1/16500' was changed at 0/1800"));
  back_up(kNext, kFull, ScanMode::kHash);
  expect_same(kNext);
}

TEST_F(BackupOnPrior, LooksAtSamplesThatAreNotInMemoryAndLeavesThemThere) {
  std::string bytes = relation(40, 'a');
  cluster_.put("base/1/16500", bytes);
  back_up(kFull);
  set_page(bytes, 39, {0x1800}, 'x');
  cluster_.put("base/1/16500", bytes);
  auto file = File::open(cluster_.at("base/1/16500"), O_RDWR);
  ASSERT_TRUE(file.has_value());
  ASSERT_EQ(::fdatasync(file->fd()), 0);
  ::posix_fadvise(file->fd(), 0, 0, POSIX_FADV_DONTNEED);
  const std::vector<bool> none(40 * kBlock / 4096);
  auto cached = cached_pages(*file, 0, 40 * kBlock);
  if (!cached.has_value() || *cached != none) GTEST_SKIP() << "this file system keeps everything in memory";
  const Made trusting = back_up(kIncr, kFull);
  ASSERT_TRUE(trusting.silent.has_value());
  EXPECT_THAT(*trusting.silent, HasSubstr("block 39 of file 'base/1/16500' was changed at 0/1800"));
  cached = cached_pages(*file, 0, 40 * kBlock);
  ASSERT_TRUE(cached.has_value());
  EXPECT_EQ(*cached, none);
}

TEST_F(BackupOnPrior, ByLsnFindsNewerPagesAndZeroedOnes) {
  std::string bytes = relation(40, 'a');
  cluster_.put("base/1/16500", bytes);
  back_up(kFull);
  set_page(bytes, 5, {0x1800}, 'x');
  bytes.replace(9 * kBlock, kBlock, std::string(kBlock, '\0'));
  cluster_.put("base/1/16500", bytes);
  const Made made = back_up(kIncr, kFull, ScanMode::kLsn);
  expect_same(kIncr);
  EXPECT_GE(made.totals.referenced_bytes, 38u * kBlock);
}

TEST_F(BackupOnPrior, WritesThinExtentsAgain) {
  std::string bytes = relation(160, 'a');  // Ten extents.
  cluster_.put("base/1/16500", bytes);
  back_up(kFull);
  // Of the second extent 9 of 16 blocks change, of the third 8.
  pg::WalForkChanges changes;
  for (uint32_t block = 16; block < 25; ++block) changes.blocks.push_back(block);
  for (uint32_t block = 32; block < 40; ++block) changes.blocks.push_back(block);
  for (const uint32_t block : changes.blocks) set_page(bytes, block, {0x1500}, 'x');
  cluster_.put("base/1/16500", bytes);
  const Made made = back_up(kIncr, kFull, ScanMode::kWal, {{fork(16500), changes}});
  expect_same(kIncr);
  EXPECT_EQ(made.survey.sparse.size(), 1u);
  const auto manifest = ManifestReader::open(*repository_, "main", kIncr);
  const auto packs = manifest->packs();
  ASSERT_TRUE(for_each_chunk(*manifest, [&](const FileChunk& chunk) -> Result<> {
                for (const FileEntry& file : chunk.files) {
                  if (file.path != "base/1/16500") continue;
                  for (const pgark::Run& run : file.runs) {
                    const bool ours = packs->at(chunk.extents[run.extent].pack).label == kIncr;
                    const uint64_t block = run.file_offset / kBlock;
                    EXPECT_EQ(ours, block >= 16 && block < 40) << block;
                  }
                }
                return {};
              }).has_value());
}

TEST_F(BackupOnPrior, NamesOnlyPacksThatItNeedsAndNeedsNoChain) {
  std::string bytes = relation(64, 'a');
  cluster_.put("base/1/16500", bytes);
  cluster_.put("base/1/16501", relation(64, 'f'));
  back_up(kFull);
  pg::WalForkChanges all;
  for (uint32_t block = 0; block < 64; ++block) all.blocks.push_back(block);
  bytes = relation(64, 'k', {0x1500});
  cluster_.put("base/1/16500", bytes);
  back_up(kIncr, kFull, ScanMode::kWal, {{fork(16500), all}});
  const Made made = back_up(kNext, kIncr);
  expect_same(kNext);
  // Manifests of the others may go; what this one names is enough.
  ASSERT_TRUE(store_.remove(manifest_key("main", kFull)).has_value());
  ASSERT_TRUE(store_.remove(manifest_key("main", kIncr)).has_value());
  const auto objects = store_.list_all("main/pack/");
  std::set<std::string> named;
  for (const PackName& pack : made.packs) named.insert(pack_key("main", pack.label, pack.number).value);
  for (const ObjectInfo& object : *objects)
    if (!named.contains(object.key.value)) {
      ASSERT_TRUE(store_.remove(object.key).has_value());
    }
  expect_same(kNext);
}

TEST_F(BackupOnPrior, StoresAgainWhatADamagedPackHeld) {
  cluster_.put("odd", std::string(100'000, 'd'));
  back_up(kFull);
  const auto objects = store_.list_all("main/pack/");
  for (const ObjectInfo& object : *objects) {
    auto content = store_.get(object.key);
    (*content).data()[object.bytes - 5] ^= std::byte{1};
    ASSERT_TRUE(store_.remove(object.key).has_value());
    ASSERT_TRUE(store_.put(object.key, *content).has_value());
  }
  const Made made = back_up(kIncr, kFull, ScanMode::kHash);
  EXPECT_EQ(made.totals.referenced_bytes, 0u);
  expect_same(kIncr);
}

}  // namespace
}  // namespace pgark
