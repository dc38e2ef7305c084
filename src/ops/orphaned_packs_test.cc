#include "ops/orphaned_packs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "catalog/backup.h"
#include "pipe/task_group.h"
#include "repo/stored_file.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kFull[] = "20261122-101500F";
constexpr char kIncr[] = "20261122-101500F_20261122-111500I";
constexpr char kLater[] = "20261123-101500F";

/// A file as a test makes it up: content of each block that is not zero.
using BlockMap = std::map<uint64_t, uint64_t>;  // Block, seed of its content.

Buffer block_of(uint64_t seed) { return random_bytes(kHashBlockBytes, seed); }
uint64_t hash_of(uint64_t seed) {
  static std::map<uint64_t, uint64_t> known;
  const auto [at, absent] = known.try_emplace(seed);
  if (absent) at->second = block_hash(block_of(seed));
  return at->second;
}

class OrphanedPacksTest : public ::testing::Test {
 protected:
  /// Write files as a backup's worker does: blocks fill extents, small files share them. What was written of each.
  void write(const std::string& label, const std::map<std::string, BlockMap>& files, uint64_t pack_bytes = 150000) {
    PackSet set(*repository_, "main", label);
    PackWriter writer(set, Codec::kZstd, 1, pack_bytes);
    Buffer raw;
    std::vector<ExtentPiece> pieces;
    const auto flush = [&] {
      if (raw.empty()) return;
      ASSERT_TRUE(writer.append(raw, std::exchange(pieces, {})).has_value());
      raw.clear();
    };
    for (const auto& [path, blocks] : files)
      for (const auto& [block, seed] : blocks) {
        const auto offset = static_cast<uint32_t>(raw.size());
        const bool goes_on = !pieces.empty() && pieces.back().path == path &&
                             pieces.back().file_offset + pieces.back().bytes == block * kHashBlockBytes;
        if (goes_on)
          pieces.back().bytes += kHashBlockBytes;
        else
          pieces.push_back({path, block * kHashBlockBytes, offset, kHashBlockBytes});
        raw.append(block_of(seed));
        if (raw.size() == kExtentBytes) flush();
      }
    flush();
    ASSERT_TRUE(writer.close().has_value());
    ASSERT_TRUE(set.finish().has_value());
  }

  void commit_manifest(const std::string& label, const std::vector<PackName>& packs) {
    auto writer = ManifestWriter::create(*repository_, "main", label);
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE(std::move(*writer).commit(packs, "{}").has_value());
  }

  OrphanedPacks find(const OrphanedPacks::Options& options = {}) {
    auto found = OrphanedPacks::find(*repository_, "main", options);
    EXPECT_TRUE(found.has_value()) << (found.has_value() ? "" : found.error().to_string());
    return std::move(*found);
  }

  /// The block that a place names, read from its pack.
  Buffer read(const OrphanedPacks& orphans, const OrphanedBlock& place) {
    const PackName& pack = orphans.packs().at(place.extent.pack);
    const ObjectKey key = pack_key("main", pack.label, pack.number);
    Buffer stored(place.extent.stored_bytes);
    EXPECT_TRUE(store_.read_exact(key, place.extent.offset, stored.bytes()).has_value());
    Buffer raw(place.extent.raw_bytes);
    Decompressor decompressor;
    EXPECT_TRUE(decode_frame(*repository_, key, place.extent.frame(), stored, decompressor, raw.bytes()).has_value());
    Buffer block;
    block.append(raw.bytes().subspan(place.extent_offset, kHashBlockBytes));
    return block;
  }

  /// Whether the block is found and is the right one.
  ::testing::AssertionResult holds(OrphanedPacks& orphans, const std::string& path, uint64_t block, uint64_t seed) {
    const auto place = orphans.find_block(path, block * kHashBlockBytes, hash_of(seed));
    if (!place.has_value()) return ::testing::AssertionFailure() << path << " block " << block << " is not found";
    if (as_text(read(orphans, *place)) != as_text(block_of(seed)))
      return ::testing::AssertionFailure() << path << " block " << block << " is another block";
    return ::testing::AssertionSuccess();
  }

  /// Blocks 0 to `count` of a file, each with content of its own.
  static BlockMap sequence(uint64_t count, uint64_t seed) {
    BlockMap blocks;
    for (uint64_t i = 0; i < count; ++i) blocks[i] = seed + i;
    return blocks;
  }

  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(OrphanedPacksTest, AreNoneInARepositoryWithoutAny) {
  EXPECT_TRUE(find().empty());
  write(kFull, {{"base/1/1", sequence(5, 0)}});
  commit_manifest(kFull, {{kFull, 1}});
  OrphanedPacks orphans = find();
  EXPECT_TRUE(orphans.empty());
  EXPECT_THAT(orphans.labels(), IsEmpty());
  EXPECT_FALSE(orphans.find_block("base/1/1", 0, hash_of(0)).has_value());
}

TEST_F(OrphanedPacksTest, HoldTheBlocksOfAnInterruptedBackup) {
  write(kFull, {{"base/1/1", sequence(200, 1000)}, {"base/1/2", sequence(1, 1)}, {"base/1/3", sequence(3, 50)}});
  OrphanedPacks orphans = find();
  EXPECT_THAT(orphans.labels(), ElementsAre(kFull));
  EXPECT_GT(orphans.packs().size(), 2u);
  EXPECT_EQ(orphans.left_out(), 0u);
  uint64_t stored = 0;
  const auto objects = store_.list_all("main/pack/");
  for (const ObjectInfo& info : *objects) stored += info.bytes;
  EXPECT_EQ(orphans.stored_bytes(), stored);
  for (uint64_t i = 0; i < 200; ++i) EXPECT_TRUE(holds(orphans, "base/1/1", i, 1000 + i));
  EXPECT_TRUE(holds(orphans, "base/1/2", 0, 1));
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(holds(orphans, "base/1/3", i, 50 + i));
}

TEST_F(OrphanedPacksTest, DoNotHoldABlockThatChangedMovedOrIsOfAnotherFile) {
  write(kFull, {{"base/1/1", sequence(20, 1000)}});
  OrphanedPacks orphans = find();
  EXPECT_FALSE(orphans.find_block("base/1/1", 3 * 8192, hash_of(77)).has_value()) << "changed";
  EXPECT_FALSE(orphans.find_block("base/1/1", 4 * 8192, hash_of(1003)).has_value()) << "moved";
  EXPECT_FALSE(orphans.find_block("base/1/11", 3 * 8192, hash_of(1003)).has_value()) << "of another file";
  EXPECT_FALSE(orphans.find_block("base/1/1", 20 * 8192, hash_of(1019)).has_value()) << "past the end";
  EXPECT_TRUE(holds(orphans, "base/1/1", 3, 1003));
}

TEST_F(OrphanedPacksTest, AgreeWithAModelForRandomFilesOfSeveralBackups) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  Rng rng(seed);
  std::map<std::string, std::map<std::string, BlockMap>> written;  // Label, path.
  for (const char* label : {kFull, kIncr, kLater}) {
    for (int file = 0; file < 30; ++file) {
      BlockMap& blocks = written[label]["base/5/" + std::to_string(file)];
      // A few contents for each block, so that backups agree on some and not on others; holes now and then. Some files
      // begin just below the block where the key of a file changes.
      const uint64_t first = rng.below(4) == 0 ? (1u << 24) - rng.below(40) : rng.below(3);
      for (uint64_t i = 0, count = rng.below(60); i < count; ++i)
        if (rng.below(12) != 0) blocks[first + i] = static_cast<uint64_t>(file) * 100 + rng.below(3);
    }
    write(label, written[label], 100000 + rng.below(100000));
  }
  OrphanedPacks orphans = find();
  EXPECT_THAT(orphans.labels(), ElementsAre(kLater, kIncr, kFull));
  uint64_t found = 0;
  for (int file = 0; file < 30; ++file) {
    const std::string path = "base/5/" + std::to_string(file);
    for (const uint64_t origin : {uint64_t{0}, uint64_t{(1u << 24) - 45}})
      for (uint64_t i = 0; i < 110; ++i)
        for (uint64_t variant = 0; variant < 3; ++variant) {
          const uint64_t content = static_cast<uint64_t>(file) * 100 + variant;
          std::string expected;
          for (const char* label : {kFull, kIncr, kLater}) {
            const BlockMap& blocks = written[label][path];
            if (const auto at = blocks.find(origin + i); at != blocks.end() && at->second == content) expected = label;
          }
          const auto place = orphans.find_block(path, (origin + i) * kHashBlockBytes, hash_of(content));
          if (place.has_value()) {
            ++found;
            ASSERT_EQ(orphans.packs().at(place->extent.pack).label, expected) << path << " block " << origin + i;
            ASSERT_EQ(as_text(read(orphans, *place)), as_text(block_of(content)));
          } else {
            ASSERT_EQ(expected, "") << path << " block " << origin + i;
          }
        }
  }
  EXPECT_GT(found, 1000u);
}

TEST_F(OrphanedPacksTest, OfTheNewestBackupWinAndOlderOnesFillTheRest) {
  write(kFull, {{"f", sequence(40, 0)}});
  write(kLater, {{"f", sequence(20, 0)}});
  OrphanedPacks orphans = find();
  for (uint64_t i = 0; i < 40; ++i) {
    const auto place = orphans.find_block("f", i * kHashBlockBytes, hash_of(i));
    ASSERT_TRUE(place.has_value());
    EXPECT_EQ(orphans.packs()[place->extent.pack].label, i < 20 ? kLater : kFull) << i;
  }
}

TEST_F(OrphanedPacksTest, AreNotThoseOfAnExpiredBackup) {
  write(kFull, {{"f", sequence(10, 0)}});
  ASSERT_TRUE(write_record(*repository_, {std::string("main/expire/") + kFull}, "{}").has_value());
  EXPECT_TRUE(find().empty()) << "its tombstone is there: expire is about to remove its packs";
}

TEST_F(OrphanedPacksTest, AreNotThoseThatAManifestNames) {
  write(kFull, {{"f", sequence(10, 0)}});
  write(kIncr, {{"f", sequence(3, 50)}});
  commit_manifest(kIncr, {{kIncr, 1}, {kFull, 1}});
  EXPECT_TRUE(find().empty()) << "an expired backup lives on in the packs of a later one";
}

TEST_F(OrphanedPacksTest, LeaveOutADamagedPackAndKeepTheOthers) {
  write(kFull, {{"f", sequence(100, 0)}});
  const size_t whole = find().packs().size();
  ASSERT_GT(whole, 2u);
  const ObjectKey victim = pack_key("main", kFull, 2);
  const auto info = store_.stat(victim);
  MemoryStore damaged;
  copy_with_flipped_bit(store_, damaged, victim, ((*info)->bytes - 20) * 8);
  const auto repository = Repository::open(damaged);
  auto orphans = OrphanedPacks::find(**repository, "main");
  ASSERT_TRUE(orphans.has_value());
  EXPECT_THAT(orphans->packs(), SizeIs(whole - 1));
  EXPECT_EQ(orphans->left_out(), 1u);
  size_t found = 0;
  for (uint64_t i = 0; i < 100; ++i)
    if (const auto place = orphans->find_block("f", i * kHashBlockBytes, hash_of(i)); place.has_value()) {
      EXPECT_NE(orphans->packs()[place->extent.pack].number, 2u);
      EXPECT_EQ(as_text(read(*orphans, *place)), as_text(block_of(i)));
      ++found;
    }
  EXPECT_GT(found, 50u);
  EXPECT_LT(found, 100u);
}

TEST_F(OrphanedPacksTest, ThatVanishMeanwhileAreNotUsedAnyMore) {
  write(kFull, {{"f", sequence(100, 0)}});
  OrphanedPacks orphans = find({.bytes_max = 3000});  // Too little to keep more than one list.
  ASSERT_GT(orphans.packs().size(), 2u);
  for (uint64_t i = 0; i < 100; ++i) static_cast<void>(orphans.find_block("f", i * kHashBlockBytes, hash_of(i)));
  ASSERT_TRUE(store_.remove(pack_key("main", kFull, 1)).value());
  for (uint64_t i = 0; i < 100; ++i)
    if (const auto place = orphans.find_block("f", i * kHashBlockBytes, hash_of(i)); place.has_value()) {
      EXPECT_NE(orphans.packs()[place->extent.pack].number, 1u);
    }
}

TEST_F(OrphanedPacksTest, ThatAreTooOldAreLeftOut) {
  write(kFull, {{"f", sequence(10, 0)}});
  const OrphanedPacks orphans = find({.not_before = system_clock().now() + std::chrono::hours(1)});
  EXPECT_TRUE(orphans.empty());
  EXPECT_EQ(orphans.left_out(), 1u);
}

TEST_F(OrphanedPacksTest, BeyondTheMemoryAreLeftOutTheOldestFirst) {
  std::map<std::string, BlockMap> files;
  for (uint64_t i = 0; i < 300; ++i) files["base/1/" + std::to_string(i)] = {{0, i}};
  write(kFull, files);
  write(kLater, files);
  const OrphanedPacks all = find();
  constexpr size_t kBytes = 20000;
  ASSERT_GT(all.table_bytes(), kBytes);
  OrphanedPacks orphans = find({.bytes_max = kBytes});
  EXPECT_LE(orphans.table_bytes(), kBytes * 2 / 3);
  EXPECT_EQ(orphans.packs().size() + orphans.left_out(), all.packs().size());
  ASSERT_FALSE(orphans.empty());
  EXPECT_EQ(orphans.packs().front().label, kLater);
  for (uint64_t i = 0; i < 300; ++i)
    if (const auto place = orphans.find_block("base/1/" + std::to_string(i), 0, hash_of(i)); place.has_value()) {
      EXPECT_EQ(as_text(read(orphans, *place)), as_text(block_of(i)));
    }
}

TEST_F(OrphanedPacksTest, TakeLittleMemoryForALargeFile) {
  write(kFull, {{"base/1/1", sequence(16 * 100, 0)}}, 64u << 20);
  const OrphanedPacks orphans = find();
  // 1 TiB in 128 MiB: 16 bytes for each extent of 128 KiB.
  EXPECT_LE(orphans.table_bytes(), 100u * 16);
}

TEST_F(OrphanedPacksTest, MayBeAskedByManyThreads) {
  write(kFull, {{"f", sequence(300, 0)}}, 100000);
  OrphanedPacks orphans = find({.bytes_max = 60000});
  ASSERT_EQ(orphans.left_out(), 0u);
  std::vector<uint64_t> hashes;
  for (uint64_t i = 0; i < 300; ++i) hashes.push_back(hash_of(i));
  TaskGroup group;
  for (uint64_t t = 0; t < 4; ++t)
    group.spawn([&, t]() -> Result<> {
      for (uint64_t n = 0; n < 300; ++n) {
        const uint64_t i = (n + t * 75) % 300;
        if (!orphans.find_block("f", i * kHashBlockBytes, hashes[i]).has_value())
          return Error(Errc::kInternal, "block " + std::to_string(i) + " is not found");
      }
      return {};
    });
  const auto result = group.wait();
  EXPECT_TRUE(result.has_value()) << result.error().to_string();
}

}  // namespace
}  // namespace pgark
