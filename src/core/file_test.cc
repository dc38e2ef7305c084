#include "core/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace pgark {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(directory_.data()), nullptr); }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  std::string directory_ = testing::TempDir() + "pgark-file-XXXXXX";
};

TEST_F(FileTest, ReadsBackWhatItWroteAtAnyOffset) {
  auto file = File::open(path("f"), O_RDWR | O_CREAT | O_EXCL);
  ASSERT_TRUE(file.has_value()) << file.error().to_string();
  ASSERT_TRUE(file->write(as_bytes("hello world")).has_value());
  ASSERT_TRUE(file->pwrite(as_bytes("W"), 6).has_value());
  Buffer into(100);
  EXPECT_EQ(file->pread(into.bytes().first(5), 6).value(), 5u);
  EXPECT_EQ(as_text(into.bytes().first(5)), "World");
  EXPECT_EQ(file->pread(into.bytes(), 6).value(), 5u) << "short only at the end of the file";
  EXPECT_EQ(file->pread(into.bytes(), 11).value(), 0u);
  EXPECT_EQ(file->pread(into.bytes(), 5000).value(), 0u);
  ASSERT_TRUE(file->truncate(5).has_value());
  EXPECT_EQ(file->stat().value().st_size, 5);
  EXPECT_TRUE(file->fsync().has_value());
  EXPECT_TRUE(file->close().has_value());
  EXPECT_FALSE(file->is_open());
}

TEST_F(FileTest, ErrorsNameOperationAndPath) {
  const auto absent = File::open(path("absent"), O_RDONLY);
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), Errc::kNotFound);
  EXPECT_EQ(absent.error().message(), "open '" + path("absent") + "': No such file or directory");
  ASSERT_TRUE(write_file_durable(path("f"), "x").has_value());
  const auto taken = File::open(path("f"), O_WRONLY | O_CREAT | O_EXCL);
  EXPECT_EQ(taken.error().code(), Errc::kAlreadyExists);
  const File read_only = File::open(path("f"), O_RDONLY).value();
  const auto written = read_only.write(as_bytes("y"));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().message(), "write '" + path("f") + "': Bad file descriptor");
}

TEST_F(FileTest, MovingLeavesOneOwnerOfTheDescriptor) {
  File first = File::open(path("f"), O_RDWR | O_CREAT).value();
  const int fd = first.fd();
  File second(std::move(first));
  EXPECT_FALSE(first.is_open());  // NOLINT(bugprone-use-after-move): what is left is what is tested.
  EXPECT_EQ(second.fd(), fd);
  {
    const File third(std::move(second));
    EXPECT_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1) << "the descriptor is closed with its last owner";
  const int raw = ::open(path("f").c_str(), O_RDONLY | O_CLOEXEC);
  const File adopted = File::adopt(raw, "elsewhere");
  EXPECT_EQ(adopted.fd(), raw);
  EXPECT_EQ(adopted.path(), "elsewhere");
}

TEST_F(FileTest, WriteFileDurableReplacesWholeAndLeavesNoTemporary) {
  ASSERT_TRUE(write_file_durable(path("f"), std::string(100'000, 'a'), 0600).has_value());
  ASSERT_TRUE(write_file_durable(path("f"), "short").has_value());
  EXPECT_EQ(read_file(path("f")).value(), "short");
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_)) ++entries;
  EXPECT_EQ(entries, 1u);
  EXPECT_FALSE(write_file_durable(path("absent/f"), "x").has_value());
}

TEST_F(FileTest, ReadFileBoundsWhatItReads) {
  const std::string content(200'000, 'x');
  ASSERT_TRUE(write_file_durable(path("f"), content).has_value());
  EXPECT_EQ(read_file(path("f"), 200'000).value(), content);
  EXPECT_EQ(read_file(path("f"), 199'999).error().code(), Errc::kInvalid);
  EXPECT_FALSE(read_file("/proc/self/status").value().empty()) << "a file whose size reads 0";
}

TEST_F(FileTest, MakeDirectoriesAcceptsWhatIsThereAndRefusesFiles) {
  EXPECT_TRUE(make_directories(path("a/b/c")).has_value());
  EXPECT_TRUE(make_directories(path("a/b/c")).has_value());
  EXPECT_TRUE(make_directories(path("a/b/d/")).has_value());
  ASSERT_TRUE(write_file_durable(path("a/f"), "x").has_value());
  EXPECT_EQ(make_directories(path("a/f")).error().code(), Errc::kAlreadyExists);
  EXPECT_FALSE(make_directories(path("a/f/g")).has_value());
  EXPECT_TRUE(fsync_directory(path("a/b")).has_value());
  EXPECT_FALSE(fsync_directory(path("a/f")).has_value()) << "a file is no directory";
}

TEST(ParentPath, IsThePartBeforeTheLastSlash) {
  EXPECT_EQ(parent_path("/a/b"), "/a");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(parent_path("a/b"), "a");
  EXPECT_EQ(parent_path("a"), ".");
}

}  // namespace
}  // namespace pgark
