// What tests of restore without a server share: a repository in memory, a place to restore into, and ways to look at
// it.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "codec/hash.h"
#include "core/file.h"
#include "ops/restore.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_backup.h"
#include "testing/scratch.h"

namespace pgark::testing {

inline const std::string kSampleLabel = "20261122-101500F";

/// From $SEED, else random; printed.
inline uint64_t seed_of_test() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// Printable bytes that hardly compress.
inline std::string noise(Rng& rng, size_t bytes) {
  std::string out(bytes, '\0');
  for (char& c : out) c = static_cast<char>('!' + rng.below(60));
  return out;
}

/// All below a directory, by path: kind, mode, and content with its time, or text of a link.
inline std::map<std::string, std::string> tree_of(const std::string& directory) {
  std::map<std::string, std::string> tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat status {};
    ::lstat(entry.path().c_str(), &status);
    std::string text = fmt::format("mode {:o}", status.st_mode);
    if (S_ISLNK(status.st_mode)) text = "link to " + std::filesystem::read_symlink(entry.path()).string();
    if (S_ISREG(status.st_mode))
      text += fmt::format(", {} bytes, time {}.{:09}, hash {:x}", status.st_size, status.st_mtim.tv_sec,
                          status.st_mtim.tv_nsec,
                          seeded_hash(as_bytes(read_file(entry.path(), 1u << 30).value_or("<unreadable>")), 0));
    tree[entry.path().lexically_relative(directory).string()] = text;
  }
  return tree;
}

/// A clock whose sleep does something: a read that is delayed on it becomes the moment for that.
class HookClock final : public Clock {
 public:
  explicit HookClock(std::function<void()> hook) : hook_(std::move(hook)) {}
  Timestamp now() override { return system_clock().now(); }
  std::chrono::steady_clock::time_point steady() override { return system_clock().steady(); }
  void sleep_for(std::chrono::milliseconds) override { hook_(); }

 private:
  std::function<void()> hook_;
};

/// Suites derive from it.
class RestoreFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("restore");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
  }

  SampleBackup new_backup(const std::string& label = kSampleLabel) { return SampleBackup(*repository_, label); }
  void finish(SampleBackup& backup) {
    backup.commit();
    backup.archive_wal();
  }
  /// A minimal cluster, ready to be restored.
  void make_minimal() {
    SampleBackup backup = new_backup();
    backup.minimal_cluster();
    finish(backup);
  }

  std::string root() const { return scratch_ / "data"; }
  RestoreRequest request() const {
    RestoreRequest request;
    request.data_directory = root();
    request.restore_command = "pgark archive-get %f \"%p\"";
    request.process_max = 4;
    return request;
  }
  Result<RestoreReport> restore(const RestoreRequest& asked) {
    Progress progress;
    return run_restore(*repository_, "main", asked, system_clock(), cancel_, progress);
  }
  std::string failure(const RestoreRequest& asked, Errc code) {
    auto report = restore(asked);
    EXPECT_FALSE(report.has_value());
    if (report) return "";
    EXPECT_EQ(report.error().code(), code) << report.error().to_string();
    return report.error().to_string();
  }

  std::string content(const std::string& path) const { return read_file(root() + "/" + path).value_or("<absent>"); }
  bool exists(const std::string& path) const {
    return std::filesystem::exists(std::filesystem::symlink_status(root() + "/" + path));
  }
  unsigned mode(const std::string& path) const {
    struct stat status {};
    return ::stat((root() + "/" + path).c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
  }
  void expect_files(const SampleBackup& backup) const {
    for (const auto& [path, expected] : backup.files) {
      const auto found = read_file(root() + "/" + path, 1u << 30);
      ASSERT_TRUE(found.has_value()) << path << ": " << found.error().to_string();
      EXPECT_TRUE(*found == expected || path == "postgresql.auto.conf") << path << " differs";
    }
  }
  void expect_not_startable() const {
    EXPECT_FALSE(exists("global/pg_control"));
    EXPECT_TRUE(exists("pgark.restore"));
  }

  /// Restore, and do something just before each read of a pack.
  Result<RestoreReport> restore_with(const RestoreRequest& asked, std::function<void()> hook) {
    HookClock clock(std::move(hook));
    FaultStore store(std::make_unique<ForwardingStore>(*store_),
                     {{.call = StoreCall::kRead,
                       .prefix = "main/pack/",
                       .fault = Fault::kDelay,
                       .delay = std::chrono::milliseconds(1)}},
                     clock);
    TRY_ASSIGN(const auto repository, Repository::open(store));
    Progress progress;
    auto report = run_restore(*repository, "main", asked, system_clock(), cancel_, progress);
    EXPECT_TRUE(store.unfired().empty());
    return report;
  }

  ScratchDir scratch_;
  std::unique_ptr<FaultStore> store_;
  std::unique_ptr<Repository> repository_;
  CancelToken cancel_;
};

}  // namespace pgark::testing
