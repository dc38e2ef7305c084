// Tests of copying: every byte comes back, zeros cost nothing, and files that change under the copy are dealt with.
#include "ops/backup_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/page_cache.h"
#include "store/fault_store.h"
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

constexpr uint64_t kMiB = 1u << 20;
const std::string kLabel = "20261122-100000F";

/// What a backup says of one file.
struct Copied {
  FileEntry entry;
  std::vector<ExtentRef> extents;
};

class BackupCopyTest : public ::testing::Test {
 protected:
  BackupPlan plan() {
    pg::ExclusionContext exclusions;
    exclusions.major = {15};
    auto made = plan_backup(cluster_.data(), exclusions, {}, cancel_);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return std::move(*made);
  }

  BackupCopyOptions options() {
    BackupCopyOptions options;
    options.data_directory = cluster_.data();
    options.workers = 2;
    options.check_pages = true;
    options.start_lsn = {0x1000};
    return options;
  }

  /// Copy all of a plan, and collect what became of it.
  Result<> copy(const BackupPlan& made, const BackupCopyOptions& wanted) {
    InsertPosition position;
    position.update({0x2000});
    PackSet packs(*repository_, "main", kLabel);
    BackupCopier copier(made, wanted, packs, position, clock_, progress_);
    TRY(copier.copy_files(cancel_, [&]() -> Result<> {
      position.update({0x2000});
      return {};
    }));
    const auto control = read_file(cluster_.at("global/pg_control"));
    TRY(copier.copy_control(as_bytes(*control)));
    TRY(packs.finish());
    TRY(copier.for_each_entry([&](const FileEntry& entry, const std::vector<ExtentRef>& extents) -> Result<> {
      order_.push_back(entry.path);
      copied_[entry.path] = {entry, extents};
      return {};
    }));
    totals_ = copier.totals();
    return {};
  }
  Result<> copy() { return copy(plan(), options()); }

  /// Bytes of a file as a restore would write them.
  std::string content(const std::string& path) {
    const Copied& copied = copied_.at(path);
    std::string bytes(copied.entry.bytes, '\0');
    for (const pgark::Run& run : copied.entry.runs) {
      const ExtentRef& extent = copied.extents.at(run.extent);
      Buffer stored(extent.stored_bytes);
      const ObjectKey key = pack_key("main", kLabel, extent.pack + 1);
      EXPECT_TRUE(store_.read_exact(key, extent.offset, stored.bytes()).has_value());
      Buffer raw(extent.raw_bytes);
      Decompressor decompressor;
      EXPECT_TRUE(decode_frame(*repository_, key, extent.frame(), stored, decompressor, raw.bytes()).has_value());
      std::memcpy(bytes.data() + run.file_offset, raw.data() + run.extent_offset, run.bytes);
    }
    return bytes;
  }

  /// Content in which some blocks are zero.
  static std::string random_content(Rng& rng, uint64_t bytes) {
    std::string content(bytes, '\0');
    for (uint64_t at = 0; at < bytes; at += 8192) {
      if (rng.below(3) == 0) continue;
      for (uint64_t i = at; i < std::min(bytes, at + 8192); ++i) content[i] = static_cast<char>(rng.below(7));
    }
    return content;
  }

  SampleCluster cluster_;
  CancelToken cancel_;
  StepClock clock_;
  Progress progress_;
  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
  std::map<std::string, Copied> copied_;
  std::vector<std::string> order_;
  BackupCopyTotals totals_;
};

TEST_F(BackupCopyTest, EveryByteOfEverySizeComesBack) {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  Rng rng(seed);
  std::map<std::string, std::string> contents;
  for (const uint64_t bytes :
       {uint64_t{0}, uint64_t{1}, uint64_t{8191}, uint64_t{8192}, uint64_t{8193}, 128 * 1024 - 1ul, 128 * 1024ul,
        128 * 1024 + 1ul, 512 * 1024 + 8192ul, kMiB + 5, 3 * kMiB + 777})
    contents["file" + std::to_string(bytes)] = random_content(rng, bytes);
  for (int i = 0; i < 600; ++i) contents["small" + std::to_string(i)] = random_content(rng, rng.below(40000));
  for (const auto& [path, bytes] : contents) cluster_.put(path, bytes);
  const auto result = copy();
  ASSERT_TRUE(result.has_value()) << result.error().to_string();
  for (const auto& [path, bytes] : contents) EXPECT_EQ(content(path), bytes) << path;
  EXPECT_EQ(content("global/pg_control"), *read_file(cluster_.at("global/pg_control")));
  EXPECT_EQ(progress_.bytes_done.load() + 8192, progress_.bytes_total.load());
}

TEST_F(BackupCopyTest, SmallFilesShareExtents) {
  for (int i = 0; i < 160; ++i) cluster_.put("small" + std::to_string(i), std::string(100, 'a'));
  ASSERT_TRUE(copy().has_value());
  std::set<std::pair<uint32_t, uint64_t>> places;
  for (const auto& [path, copied] : copied_)
    if (path.starts_with("small"))
      for (const ExtentRef& extent : copied.extents) places.insert({extent.pack, extent.offset});
  EXPECT_LE(places.size(), 13u);  // 16 files of a block each in one of 128 KiB, and what the other files need.
}

TEST_F(BackupCopyTest, ZerosAreStoredNowhere) {
  cluster_.put("zeros", std::string(5 * kMiB, '\0'));
  std::string mixed(2 * kMiB, '\0');
  mixed[kMiB + 3] = 'x';
  cluster_.put("mixed", mixed);
  ASSERT_TRUE(copy().has_value());
  EXPECT_THAT(copied_.at("zeros").entry.runs, IsEmpty());
  EXPECT_EQ(copied_.at("zeros").entry.bytes, 5 * kMiB);
  ASSERT_EQ(copied_.at("mixed").entry.runs.size(), 1u);
  EXPECT_EQ(copied_.at("mixed").entry.runs[0].file_offset, kMiB);
  EXPECT_EQ(copied_.at("mixed").entry.runs[0].bytes, 8192u);
  EXPECT_EQ(content("mixed"), mixed);
}

TEST_F(BackupCopyTest, DirectoriesAndEmptyFilesComeFirstThenFilesByPlace) {
  for (int i = 0; i < 50; ++i)
    cluster_.put("file" + std::to_string(i), std::string(200'000, static_cast<char>('a' + i % 20)));
  cluster_.put("empty", "");
  ASSERT_TRUE(copy().has_value());
  bool content_begun = false;
  std::pair<uint32_t, uint64_t> previous{0, 0};
  for (size_t i = 0; i + 1 < order_.size(); ++i) {  // pg_control is last whatever its place.
    const Copied& copied = copied_.at(order_[i]);
    if (copied.entry.runs.empty()) {
      EXPECT_FALSE(content_begun) << order_[i];
      continue;
    }
    content_begun = true;
    const ExtentRef& first = copied.extents.at(copied.entry.runs.front().extent);
    EXPECT_LE(previous, (std::pair<uint32_t, uint64_t>(first.pack, first.offset)));
    previous = {first.pack, first.offset};
  }
  EXPECT_EQ(order_.back(), "global/pg_control");
}

TEST_F(BackupCopyTest, LongFilesAreCopiedInPartsAndAreOneFile) {
  const std::string path = cluster_.at("base/1/16500");
  cluster_.put("base/1/16500", "");
  auto file = File::open(path, O_RDWR);
  ASSERT_TRUE(file.has_value());
  const uint64_t bytes = 2 * kCopyPartBytes + 3 * 8192;
  ASSERT_TRUE(file->truncate(bytes).has_value());
  for (const uint64_t offset : {uint64_t{0}, kCopyPartBytes - 8192, kCopyPartBytes, 2 * kCopyPartBytes + 2 * 8192}) {
    const std::string page = sample_page(static_cast<uint32_t>(offset / 8192), {0x500}, 'q');
    ASSERT_TRUE(file->pwrite(as_bytes(page), offset).has_value());
  }
  ASSERT_TRUE(copy().has_value());
  const Copied& copied = copied_.at("base/1/16500");
  EXPECT_EQ(copied.entry.bytes, bytes);
  EXPECT_THAT(copied.entry.bad_blocks, IsEmpty());
  std::vector<uint64_t> offsets;
  for (const pgark::Run& run : copied.entry.runs) offsets.push_back(run.file_offset);
  EXPECT_THAT(offsets, ElementsAre(0, kCopyPartBytes - 8192, kCopyPartBytes, 2 * kCopyPartBytes + 2 * 8192));
}

TEST_F(BackupCopyTest, FileThatVanishedIsLeftOutAndOneThatGrewOrShrankIsCopiedAsItIs) {
  cluster_.put("base/1/16500", sample_page(0, {0x500}, 'a'));
  cluster_.put("base/1/16501", sample_page(0, {0x500}, 'a'));
  cluster_.put("base/1/16502", sample_page(0, {0x500}, 'a') + sample_page(1, {0x500}, 'b'));
  const BackupPlan made = plan();
  ASSERT_EQ(::unlink(cluster_.at("base/1/16500").c_str()), 0);
  cluster_.put("base/1/16501", sample_page(0, {0x500}, 'a') + sample_page(1, {0x500}, 'b'));
  cluster_.put("base/1/16502", sample_page(0, {0x500}, 'c'));
  ASSERT_TRUE(copy(made, options()).has_value());
  EXPECT_FALSE(copied_.contains("base/1/16500"));
  EXPECT_EQ(totals_.vanished_count, 1u);
  EXPECT_EQ(content("base/1/16501"), sample_page(0, {0x500}, 'a') + sample_page(1, {0x500}, 'b'));
  EXPECT_EQ(content("base/1/16502"), sample_page(0, {0x500}, 'c'));
}

TEST_F(BackupCopyTest, LongFileThatShrankIsZerosWhereItWas) {
  cluster_.put("base/1/16500", "");
  const std::string path = cluster_.at("base/1/16500");
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(kCopyPartBytes + kMiB)), 0);
  const BackupPlan made = plan();
  ASSERT_EQ(::truncate(path.c_str(), 8192), 0);
  ASSERT_TRUE(copy(made, options()).has_value());
  EXPECT_EQ(copied_.at("base/1/16500").entry.bytes, kCopyPartBytes + kMiB);
  EXPECT_GE(totals_.shrunk_count, 1u);
}

TEST_F(BackupCopyTest, MissingVersionFileIsNoDrop) {
  const BackupPlan made = plan();
  ASSERT_EQ(::unlink(cluster_.at("PG_VERSION").c_str()), 0);
  const auto result = copy(made, options());
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Errc::kNotFound);
  EXPECT_THAT(result.error().message(), HasSubstr("PG_VERSION"));
}

TEST_F(BackupCopyTest, WrongPageChecksumsAreRecordedByBlockAndStopNothing) {
  std::string pages;
  for (uint32_t block = 0; block < 40; ++block) pages += sample_page(block, {0x500}, 'p');
  pages[3 * 8192 + 5000] ^= 1;
  pages[17 * 8192 + 5000] ^= 1;
  cluster_.put("base/1/16500", pages);
  cluster_.put("base/1/notes", pages);  // No relation: has no pages.
  ASSERT_TRUE(copy().has_value());
  EXPECT_THAT(copied_.at("base/1/16500").entry.bad_blocks, ElementsAre(3, 17));
  EXPECT_THAT(copied_.at("base/1/notes").entry.bad_blocks, IsEmpty());
  EXPECT_EQ(totals_.bad_page_count, 2u);
  EXPECT_EQ(content("base/1/16500"), pages) << "a damaged page is kept as it is";
}

TEST_F(BackupCopyTest, BlocksOfLaterSegmentsCountFromTheStartOfTheFork) {
  std::string pages;
  for (uint32_t block = 0; block < 4; ++block) pages += sample_page(2 * 131072 + block, {0x500}, 'p');
  cluster_.put("base/1/16500.2", pages);
  ASSERT_TRUE(copy().has_value());
  EXPECT_THAT(copied_.at("base/1/16500.2").entry.bad_blocks, IsEmpty());
}

TEST_F(BackupCopyTest, PageNewerThanTheStartMayBeTornButNotFromTheFuture) {
  std::string torn = sample_page(0, {0x1800}, 'p');  // Between start and insert position.
  torn[5000] ^= 1;
  std::string garbage = sample_page(1, {0x7777'0000'0000}, 'p');
  garbage[5000] ^= 1;
  cluster_.put("base/1/16500", torn + garbage);
  ASSERT_TRUE(copy().has_value());
  EXPECT_THAT(copied_.at("base/1/16500").entry.bad_blocks, ElementsAre(1));
}

TEST_F(BackupCopyTest, PagesAreNotLookedAtWithoutChecksums) {
  std::string page = sample_page(0, {0x500}, 'p');
  page[5000] ^= 1;
  cluster_.put("base/1/16500", page);
  BackupCopyOptions wanted = options();
  wanted.check_pages = false;
  ASSERT_TRUE(copy(plan(), wanted).has_value());
  EXPECT_THAT(copied_.at("base/1/16500").entry.bad_blocks, IsEmpty());
}

TEST_F(BackupCopyTest, ReadsAsFastAsTheLimitAllowsAndNoFaster) {
  Rng rng(1);
  for (int i = 0; i < 8; ++i) cluster_.put("base/1/" + std::to_string(16500 + i), random_content(rng, kMiB));
  BackupCopyOptions wanted = options();
  wanted.check_pages = false;
  wanted.workers = 1;  // Of several, each one's sleep would pass time for all.
  RateLimiter limiter(4 * kMiB, clock_);
  wanted.read_limiter = &limiter;
  ASSERT_TRUE(copy(plan(), wanted).has_value());
  const auto took = clock_.steady().time_since_epoch();
  EXPECT_GE(took, std::chrono::milliseconds(2000)) << "8 MiB at 4 MiB a second";
  EXPECT_LE(took, std::chrono::milliseconds(2100)) << "and what a cluster has besides";
  EXPECT_GE(limiter.waited(), std::chrono::milliseconds(1999)) << "but for what rounding up a sleep adds";
}

/// Which pages of a file are in memory.
std::vector<bool> pages_in_memory(const std::string& path) {
  const File file = File::open(path, O_RDONLY).value();
  return cached_pages(file, 0, static_cast<uint64_t>(file.stat().value().st_size)).value();
}

TEST_F(BackupCopyTest, LeavesThePageCacheAsItWas) {
  Rng rng(1);
  // A small file, one with an end of its own, one that is half in memory, and one that is wholly.
  const std::map<std::string, uint64_t> sizes = {
      {"small", 20'000}, {"large", 7 * kMiB + 777}, {"half", 4 * kMiB}, {"warm", 3 * kMiB}};
  std::map<std::string, std::vector<bool>> before;
  for (const auto& [name, bytes] : sizes) {
    cluster_.put(name, random_content(rng, bytes));
    const File file = File::open(cluster_.at(name), O_RDWR).value();
    ASSERT_TRUE(file.fsync().has_value());
    if (name != "warm") {
      ASSERT_EQ(::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
    }
    before[name] = pages_in_memory(cluster_.at(name));
    if (name != "half") continue;
    if (std::count(before[name].begin(), before[name].end(), true) > 0)
      GTEST_SKIP() << "files in " << cluster_.data() << " live in memory (TMPDIR names another place)";
    ASSERT_EQ(::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_RANDOM), 0);
    Buffer part(64 << 10);
    for (uint64_t at = kMiB; at < bytes; at += 2 * part.size())
      ASSERT_EQ(file.pread(part.bytes(), at).value(), part.size());
    before[name] = pages_in_memory(cluster_.at(name));
  }
  ASSERT_GT(std::count(before["half"].begin(), before["half"].end(), true), 0);
  ASSERT_EQ(std::count(before["warm"].begin(), before["warm"].end(), false), 0);
  BackupCopyOptions wanted = options();
  wanted.check_pages = false;
  ASSERT_TRUE(copy(plan(), wanted).has_value());
  for (const auto& [name, bytes] : sizes) {
    EXPECT_EQ(pages_in_memory(cluster_.at(name)), before[name]) << name;
    EXPECT_EQ(copied_.at(name).entry.bytes, bytes);
  }
}

TEST_F(BackupCopyTest, StopsOnRequest) {
  cluster_.put("base/1/16500", std::string(8192, '\0'));
  const BackupPlan made = plan();
  cancel_.cancel();
  EXPECT_EQ(copy(made, options()).error().code(), Errc::kCancelled);
}

TEST_F(BackupCopyTest, FailureOfTheWaitingThreadStopsTheWorkers) {
  for (int i = 0; i < 64; ++i) {  // Enough work that the waiting thread is asked at least once.
    cluster_.put("base/1/" + std::to_string(16500 + i), std::string(64, 'x'));
    ASSERT_EQ(::truncate(cluster_.at("base/1/" + std::to_string(16500 + i)).c_str(), 256l << 20), 0);
  }
  const BackupPlan made = plan();
  InsertPosition position;
  PackSet packs(*repository_, "main", kLabel);
  BackupCopier copier(made, options(), packs, position, clock_, progress_);
  const auto result = copier.copy_files(cancel_, []() -> Result<> { return Error(Errc::kTransient, "session lost"); });
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message(), "session lost");
}

}  // namespace
}  // namespace pgark
