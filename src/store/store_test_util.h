// What the tests of this folder share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/clock.h"
#include "core/thread_annotations.h"

namespace pgark {

enum class ScratchPlace : unsigned char {
  kDisk,
  kMemory,  // A tmpfs where there is one: for tests of what is not about disks, whose many fsyncs would take their
            // time.
};

/// A directory of its own, removed at the end.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(ScratchPlace place = ScratchPlace::kDisk) {
    if (place == ScratchPlace::kMemory && ::access("/dev/shm", W_OK) == 0) path_ = "/dev/shm/pgark-store-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "cannot make " << path_;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = ::testing::TempDir() + "pgark-store-XXXXXX";
};

/// Tells the machine's time and never waits, but notes for how long it was asked to.
class NoWaitClock final : public Clock {
 public:
  Timestamp now() override { return system_clock().now(); }
  std::chrono::steady_clock::time_point steady() override { return system_clock().steady(); }
  void sleep_for(std::chrono::milliseconds duration) override {
    MutexLock lock(mu_);
    waits_.push_back(duration);
  }
  std::vector<std::chrono::milliseconds> waits() {
    MutexLock lock(mu_);
    return waits_;
  }

 private:
  Mutex mu_;
  std::vector<std::chrono::milliseconds> waits_ GUARDED_BY(mu_);
};

/// The seed of a random test: SEED from the environment, else a new one; printed when the test fails.
inline uint64_t test_seed() {
  const char* text = std::getenv("SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : random_seed();
}

}  // namespace pgark
