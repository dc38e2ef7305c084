#include "core/page_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace pgark {
namespace {

constexpr uint64_t kMiB = 1u << 20;
constexpr uint64_t kBytes = 9 * kMiB + 5000;

class CachePassTest : public testing::TestWithParam<CachePass::Ask> {
 protected:
  /// A file on the disk, none of which is in memory.
  void SetUp() override {
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    file_ = File::open(directory_ + "/f", O_RDWR | O_CREAT | O_EXCL).value();
    ASSERT_TRUE(file_.write(as_bytes(std::string(kBytes, 'x'))).has_value());
    ASSERT_TRUE(file_.fsync().has_value());
    ASSERT_EQ(::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
    // So that what a test reads is all that comes into memory.
    ASSERT_EQ(::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_RANDOM), 0);
    if (const auto pages = cached(); std::count(pages.begin(), pages.end(), true) > 0)
      GTEST_SKIP() << "files in " << directory_ << " live in memory (TMPDIR names another place)";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::vector<bool> cached() const { return cached_pages(file_, 0, kBytes).value(); }
  void read(uint64_t begin, uint64_t end) const {
    Buffer into(static_cast<size_t>(end - begin));
    ASSERT_EQ(file_.pread(into.bytes(), begin).value(), into.size());
  }
  /// The whole file, as a copy does it.
  void pass_over(uint64_t step, uint64_t ahead) const {
    CachePass pass(file_, GetParam());
    for (uint64_t at = 0; at < kBytes; at += step) {
      const uint64_t end = std::min(kBytes, at + step);
      pass.announce(at, std::min(kBytes, end + ahead));
      read(at, end);
      pass.passed(end);
    }
  }

  std::string directory_ = testing::TempDir() + "pgark-cache-XXXXXX";
  File file_;
};

TEST_P(CachePassTest, WhatWasNotInMemoryIsNotAfterwards) {
  pass_over(512 * 1024, 2 * kMiB);
  const auto pages = cached();
  EXPECT_EQ(std::count(pages.begin(), pages.end(), true), 0);
}

TEST_P(CachePassTest, WhatWasInMemoryStays) {
  read(0, kBytes);
  const auto before = cached();
  ASSERT_EQ(std::count(before.begin(), before.end(), false), 0);
  pass_over(512 * 1024, 2 * kMiB);
  EXPECT_EQ(cached(), before);
}

TEST_P(CachePassTest, SinglePagesAreToldApart) {
  read(3 * kMiB, 5 * kMiB + 8192);
  for (uint64_t at = 6 * kMiB; at < 7 * kMiB; at += 64 * 1024) read(at, at + 8192);
  read(kBytes - 10, kBytes);
  const auto before = cached();
  ASSERT_GT(std::count(before.begin(), before.end(), true), 0);
  ASSERT_GT(std::count(before.begin(), before.end(), false), 0);
  pass_over(512 * 1024, 3 * kMiB);
  EXPECT_EQ(cached(), before);
}

TEST_P(CachePassTest, WhatIsLeftHalfwayGoesToo) {
  {
    CachePass pass(file_, GetParam());
    pass.announce(0, 6 * kMiB);
    read(0, 5 * kMiB);
    pass.passed(kMiB);
  }
  // What the disk still brings comes after the pass has gone: only what was read is told of.
  const auto pages = cached_pages(file_, 0, 5 * kMiB).value();
  EXPECT_EQ(std::count(pages.begin(), pages.end(), true), 0);
}

TEST_P(CachePassTest, StretchesThatOverlapAreLookedAtOnce) {
  CachePass pass(file_, GetParam());
  pass.announce(0, kMiB, false);
  read(0, kMiB);
  pass.announce(0, 2 * kMiB, false);  // The first half is in memory by now, but only through this pass.
  read(kMiB, 2 * kMiB);
  pass.passed(2 * kMiB);
  const auto pages = cached();
  EXPECT_EQ(std::count(pages.begin(), pages.end(), true), 0);
}

TEST(CachedPages, TellsOfEveryPageThatIsTouched) {
  std::string directory = testing::TempDir() + "pgark-cache-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  const File file = File::open(directory + "/f", O_RDWR | O_CREAT).value();
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  ASSERT_TRUE(file.write(as_bytes(std::string(3 * page, 'x'))).has_value());
  EXPECT_EQ(cached_pages(file, 0, 3 * page).value(), std::vector<bool>(3, true)) << "just written";
  EXPECT_EQ(cached_pages(file, page - 1, page + 1).value(), std::vector<bool>(2, true));
  EXPECT_EQ(cached_pages(file, page, page).value(), std::vector<bool>());
  EXPECT_FALSE(cached_pages(File::adopt(-1, "nothing"), 0, 1).has_value());
  std::filesystem::remove_all(directory);
}

INSTANTIATE_TEST_SUITE_P(Asks, CachePassTest, testing::Values(CachePass::Ask::kCacheStat, CachePass::Ask::kMincore),
                         [](const auto& run) {
                           return run.param == CachePass::Ask::kMincore ? "Mincore" : "CacheStat";
                         });

}  // namespace
}  // namespace pgark
