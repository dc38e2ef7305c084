#include "core/local_lock.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace pgark {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class LocalLockTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/pgark-lock-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    directory_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Result<LocalLock> acquire(const std::string& stanza = "main") {
    LockHolder holder;
    holder.command = "backup";
    holder.started = Timestamp(std::chrono::seconds(1795342500));  // 2026-11-22 10:15:00 UTC
    return LocalLock::acquire(directory_ + "/locks/deep", stanza, "backup", holder);
  }
  std::optional<LockHolder> holder() {
    return read_lock_holder(lock_file_path(directory_ + "/locks/deep", "main", "backup")).value();
  }

  std::string directory_;
};

TEST_F(LocalLockTest, RefusesASecondHolderAndNamesTheFirst) {
  auto first = acquire();
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(first->set_label("20261122-101500F").has_value());
  const auto second = acquire();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Errc::kInvalid);
  EXPECT_THAT(second.error().message(),
              AllOf(HasSubstr("another backup of stanza main is running (pid " + std::to_string(::getpid()) + " on "),
                    HasSubstr("since 2026-11-22 10:15:00 UTC, label 20261122-101500F)")));
  EXPECT_TRUE(acquire("other").has_value());
}

TEST_F(LocalLockTest, IsFreeAgainAfterRelease) {
  {
    auto first = acquire();
    ASSERT_TRUE(first.has_value());
    first->release();
    first->release();
    EXPECT_FALSE(holder().has_value());
    EXPECT_TRUE(acquire().has_value());
  }
  EXPECT_TRUE(acquire().has_value());
}

TEST_F(LocalLockTest, TellsItsHolderOnlyWhileItIsHeld) {
  EXPECT_FALSE(holder().has_value());
  auto lock = acquire();
  ASSERT_TRUE(lock.has_value());
  ASSERT_TRUE(holder().has_value());
  EXPECT_EQ(holder()->pid, ::getpid());
  EXPECT_EQ(holder()->command, "backup");
  LocalLock moved = *std::move(lock);
  EXPECT_TRUE(holder().has_value());
  moved.release();
  EXPECT_FALSE(holder().has_value());
}

TEST_F(LocalLockTest, LooksWithoutKeepingOthersFromAcquiring) {
  ASSERT_TRUE(acquire().has_value());  // Creates the file.
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(holder().has_value());
    ASSERT_TRUE(acquire().has_value());
  }
}

TEST_F(LocalLockTest, IsFreedByTheKernelWhenItsHolderIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto lock = acquire();
    const char answer = lock.has_value() ? 'y' : 'n';
    (void)!::write(ready[1], &answer, 1);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_FALSE(acquire().has_value());
  ASSERT_TRUE(holder().has_value());
  EXPECT_EQ(holder()->pid, child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(holder().has_value()) << "the content of a dead holder is no holder";
  EXPECT_TRUE(acquire().has_value());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(LocalLockTest, SurvivesAFileOfGarbage) {
  std::filesystem::create_directories(directory_ + "/locks/deep");
  std::ofstream(lock_file_path(directory_ + "/locks/deep", "main", "backup")) << "[1, {\"pid\": \"x\"";
  auto first = acquire();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(holder()->pid, ::getpid());
}

TEST_F(LocalLockTest, DoesNotFollowALinkSomebodyLeft) {
  std::filesystem::create_directories(directory_ + "/locks/deep");
  std::ofstream(directory_ + "/precious") << "content";
  std::filesystem::create_symlink(directory_ + "/precious",
                                  lock_file_path(directory_ + "/locks/deep", "main", "backup"));
  EXPECT_FALSE(acquire().has_value());
  EXPECT_EQ(std::filesystem::file_size(directory_ + "/precious"), 7u);
}

}  // namespace
}  // namespace pgark
