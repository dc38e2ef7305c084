#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "ops/dump_spool.h"
#include "ops/dump_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/scratch.h"
#include "testing/wait.h"

namespace pgark {
namespace {

using ::testing::HasSubstr;
using testing::ScratchDir;
using testing::wait_until;

/// A directory that a shell script fills like pg_dump would, followed into a repository in memory.
class DirectoryFollowing : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("follow");
    ASSERT_TRUE(scratch.has_value());
    scratch_ = std::move(*scratch);
    options_.directory = scratch_ / "unit";
    ASSERT_EQ(::mkdir(options_.directory.c_str(), 0700), 0);
    repository_ = new_repository(store_);
    packs_ = std::make_unique<DumpPacks>(RepositorySet(*repository_), DumpPackOptions{"main", "20261122-101500L"});
  }

  SubprocessOptions script(const std::string& text) const {
    SubprocessOptions options;
    options.program = "/bin/bash";
    options.arguments = {"-c", "set -e; " + text};
    options.directory = options_.directory;
    return options;
  }

  /// Follow a script to its end; what was stored by name.
  Result<std::map<std::string, std::string>> follow(const std::string& text) {
    DirectoryFollower follower(*packs_, progress_, options_);
    TRY(follower.start());
    {
      TRY_ASSIGN(Subprocess writer, Subprocess::start(script(text)));
      TRY_ASSIGN(const SubprocessExit exit, follower.follow(writer, cancel_));
      if (!exit.ok()) return Error(Errc::kInvalid, "script failed: " + exit.error_text);
    }
    TRY_ASSIGN(files_, follower.finish(cancel_));
    peak_ = follower.bytes_peak();
    toc_ = std::string(as_text(follower.toc()));
    TRY(packs_->finish());
    const DumpReader reader({repository_.get()}, "main", "20261122-101500L");
    std::map<std::string, std::string> content;
    for (const FollowedFile& file : files_) {
      TRY_ASSIGN(content[file.stream.name], reader.read_whole(file.stream, cancel_, 1u << 30));
    }
    return content;
  }

  ScratchDir scratch_;
  MemoryStore store_;
  std::unique_ptr<Repository> repository_;
  std::unique_ptr<DumpPacks> packs_;
  FollowOptions options_;
  Progress progress_;
  CancelToken cancel_;
  std::vector<FollowedFile> files_;
  uint64_t peak_ = 0;
  std::string toc_;
};

TEST_F(DirectoryFollowing, StoresEveryFileWholeAndLeavesNone) {
  options_.threads = 3;
  const auto content = follow(
      "printf 'row 1\\nrow 2\\n\\\\.\\n\\n\\n' > 10.dat; : > 11.dat; printf 'obj' > blob_7.dat;"
      "printf '7 blob_7.dat\\n' >> blobs.toc; printf '8 blob_8.dat\\n' >> blobs.toc;"
      "for i in $(seq 100 400); do echo $i > $i.dat; done; printf TOC > toc.dat");
  ASSERT_TRUE(content.has_value()) << content.error().to_string();
  EXPECT_EQ(content->size(), 306u);
  EXPECT_EQ(content->at("10.dat"), "row 1\nrow 2\n\\.\n\n\n");
  EXPECT_EQ(content->at("11.dat"), "");
  EXPECT_EQ(content->at("blobs.toc"), "7 blob_7.dat\n8 blob_8.dat\n") << "appended to after it was closed";
  EXPECT_EQ(content->at("blob_7.dat"), "obj");
  EXPECT_EQ(content->at("400.dat"), "400\n");
  EXPECT_EQ(toc_, "TOC");
  EXPECT_EQ(files_.front().stream.name, "toc.dat");
  EXPECT_EQ(files_[1].stream.name, "10.dat") << "in the order of their numbers";
  EXPECT_EQ(files_[1].rows, 2u);
  EXPECT_TRUE(std::filesystem::is_empty(options_.directory));
  EXPECT_EQ(progress_.bytes_done, [&] {
    uint64_t bytes = 0;
    for (const auto& [name, text] : *content) bytes += text.size();
    return bytes;
  }());
}

TEST_F(DirectoryFollowing, BoundOnDiskHoldsForAFileThatIsLarger) {
  options_.bytes_max = 8u << 20;
  options_.threads = 2;
  // 256 MiB in two files at once, some hundred MiB a second: what is written while nobody looks, as the looking thread
  // has to wait for its turn, stays below the bound.
  const auto content = follow(
      "w() { for i in $(seq 32); do yes $1 | head -c 4194304; sleep 0.02; done; };"
      "w 0123456789abcde > 1.dat & w fedcba987654321 > 2.dat; wait; echo toc > toc.dat");
  ASSERT_TRUE(content.has_value()) << content.error().to_string();
  for (const auto& [name, line] : {std::pair{"1.dat", "0123456789abcde\n"}, {"2.dat", "fedcba987654321\n"}}) {
    const std::string& text = content->at(name);
    ASSERT_EQ(text.size(), 134217728u);
    for (size_t at = 0; at < text.size(); at += 16) ASSERT_EQ(text.compare(at, 16, line), 0) << name << " at " << at;
  }
  // About: it is looked at a hundred times a second.
  EXPECT_LT(peak_, 100u << 20);
  EXPECT_GT(peak_, 1u << 20);
}

TEST_F(DirectoryFollowing, WriterThatIsStoppedGoesOnAndNothingIsLost) {
  options_.bytes_max = 1u << 20;
  const auto content = follow(
      "{ for i in $(seq 1 60); do head -c 1000000 /dev/zero | tr '\\0' \"$((i % 10))\"; done; } > 5.dat; : > toc.dat");
  ASSERT_TRUE(content.has_value()) << content.error().to_string();
  const std::string& text = content->at("5.dat");
  ASSERT_EQ(text.size(), 60'000'000u);
  for (size_t i = 0; i < 60; ++i) ASSERT_EQ(text[i * 1'000'000 + 999'999], static_cast<char>('0' + (i + 1) % 10));
}

TEST_F(DirectoryFollowing, WithoutAWatchTheDirectoryIsReadAgainAndAgain) {
  options_.watch = false;
  options_.bytes_max = 4u << 20;
  const auto content = follow(
      "for i in $(seq 100 150); do echo $i > $i.dat; done; yes 0123456789abcde | head -c 33554432 > 7.dat;"
      "printf TOC > toc.dat");
  ASSERT_TRUE(content.has_value()) << content.error().to_string();
  EXPECT_EQ(content->size(), 53u);
  EXPECT_EQ(content->at("7.dat").size(), 33554432u);
  EXPECT_EQ(content->at("150.dat"), "150\n");
  EXPECT_TRUE(std::filesystem::is_empty(options_.directory));
}

TEST_F(DirectoryFollowing, FileWrittenAgainAfterItsEndIsAnError) {
  const auto content = follow(
      "echo one > 5.dat; for i in $(seq 1 1000); do [ -e 5.dat ] || break; sleep 0.01; done; echo two > 5.dat;"
      "for i in $(seq 1 50); do sleep 0.01; done; : > toc.dat");
  ASSERT_FALSE(content.has_value());
  EXPECT_EQ(content.error().code(), Errc::kInternal);
  EXPECT_THAT(content.error().message(), HasSubstr("'5.dat' again"));
}

TEST_F(DirectoryFollowing, FailureOfTheWriterAndCancellationEnd) {
  const auto failed = follow("echo one > 5.dat; echo oops >&2; exit 3");
  ASSERT_FALSE(failed.has_value());
  EXPECT_THAT(failed.error().message(), HasSubstr("oops"));

  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    cancel_.cancel();
  });
  const auto stopped = follow("while :; do echo row; done > 6.dat");
  later.join();
  ASSERT_FALSE(stopped.has_value());
  EXPECT_EQ(stopped.error().code(), Errc::kCancelled);
}

TEST(DumpSpool, IsRemovedAtItsEndAndLeftoversByTheNext) {
  auto scratch = ScratchDir::create("spool");
  ASSERT_TRUE(scratch.has_value());
  const std::string path = *scratch / "a/b";
  std::string first_path;
  {
    auto first = DumpSpool::create(path);
    ASSERT_TRUE(first.has_value()) << first.error().to_string();
    first_path = first->path();
    ASSERT_TRUE(first->make_directory("000001").has_value());
    // One of a run that was killed: nobody holds its lock.
    const std::string dead = path + "/run-dead00";
    std::filesystem::create_directories(dead + "/000001");
    std::ofstream(dead + "/lock") << "";
    std::ofstream(dead + "/000001/1.dat") << "rows";
    auto second = DumpSpool::create(path);
    ASSERT_TRUE(second.has_value());
    EXPECT_FALSE(std::filesystem::exists(dead));
    EXPECT_TRUE(std::filesystem::exists(first_path + "/000001")) << "it lives";
    struct stat status {};
    ASSERT_EQ(::stat(first_path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0700u);
  }
  EXPECT_FALSE(std::filesystem::exists(first_path));
}

TEST(DumpGuard, ActsOnlyIfWeDie) {
  auto scratch = ScratchDir::create("guard");
  ASSERT_TRUE(scratch.has_value());
  const std::string kept = *scratch / "kept";
  std::filesystem::create_directories(kept);
  SubprocessOptions sleeper;
  sleeper.program = "/bin/sleep";
  sleeper.arguments = {"600"};
  auto writer = Subprocess::start(sleeper);
  ASSERT_TRUE(writer.has_value());
  {
    auto guard = DumpGuard::start(*writer, kept);
    ASSERT_TRUE(guard.has_value()) << guard.error().to_string();
  }
  EXPECT_FALSE(writer->has_ended());
  EXPECT_TRUE(std::filesystem::exists(kept));

  // The end of its input is what our death looks like.
  SubprocessOptions guard;
  guard.program = "/bin/sh";
  guard.arguments = dump_guard_arguments(writer->pid(), kept);
  guard.input = SubprocessOptions::Stream::kPipe;
  auto shell = Subprocess::start(guard);
  ASSERT_TRUE(shell.has_value());
  writer->pause();  // Also one that is stopped.
  shell->close_input();
  EXPECT_TRUE(wait_until([&] { return writer->has_ended(); }));
  EXPECT_TRUE(wait_until([&] { return !std::filesystem::exists(kept); }));
}

}  // namespace
}  // namespace pgark
