#include "cli/config_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "cli/test_support.h"

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ConfigFilesTest : public ScratchTest {
 protected:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  ConfigFiles files_;
};

TEST_F(ConfigFilesTest, ReadsFilesAndListsDirectories) {
  write("pgark.conf", "[main]\npg1-path=/pg\n");
  write("conf.d/b.conf", "");
  write("conf.d/a.conf", "");
  write("conf.d/.hidden.conf", "");
  write("conf.d/a.txt", "");
  const auto entries = files_.read(path("pgark.conf"), true);
  ASSERT_TRUE(entries.has_value()) << entries.error().to_string();
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ(entries->front().key, "pg1-path");
  const auto listed = files_.list(path("conf.d"), true);
  ASSERT_TRUE(listed.has_value()) << listed.error().to_string();
  EXPECT_THAT(*listed, ElementsAre(path("conf.d/a.conf"), path("conf.d/b.conf")));
  EXPECT_TRUE(files_.found(path("pgark.conf")));
  EXPECT_TRUE(files_.found(path("conf.d")));
  EXPECT_FALSE(files_.changed());
}

TEST_F(ConfigFilesTest, DemandsOnlyWhatIsRequired) {
  const auto read = files_.read(path("pgark.conf"), true);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code(), Errc::kNotFound);
  const auto listed = files_.list(path("conf.d"), true);
  ASSERT_FALSE(listed.has_value());
  EXPECT_EQ(listed.error().code(), Errc::kNotFound);
  ConfigFiles others;
  EXPECT_THAT(others.read(path("pgark.conf"), false).value(), IsEmpty());
  EXPECT_THAT(others.list(path("conf.d"), false).value(), IsEmpty());
  EXPECT_FALSE(others.found(path("pgark.conf")));
  EXPECT_FALSE(others.changed());
}

TEST_F(ConfigFilesTest, SeesAChangeThatFileTimesAndSizesDoNotShow) {
  write("pgark.conf", "[main]\nprocess-max=1\n");
  struct stat before {};
  ASSERT_EQ(::stat(path("pgark.conf").c_str(), &before), 0);
  ASSERT_TRUE(files_.read(path("pgark.conf"), true).has_value());
  write("pgark.conf", "[main]\nprocess-max=2\n");
  const timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, path("pgark.conf").c_str(), times, 0), 0);
  EXPECT_TRUE(files_.changed());
  write("pgark.conf", "[main]\nprocess-max=1\n");
  EXPECT_FALSE(files_.changed());
}

TEST_F(ConfigFilesTest, SeesWhatIsGoneAndWhatHasCome) {
  EXPECT_TRUE(files_.read(path("pgark.conf"), false).has_value());
  write("pgark.conf", "");
  EXPECT_TRUE(files_.changed());

  ConfigFiles with_directory;
  write("conf.d/a.conf", "");
  ASSERT_TRUE(with_directory.read(path("pgark.conf"), false).has_value());
  ASSERT_TRUE(with_directory.list(path("conf.d"), false).has_value());
  EXPECT_FALSE(with_directory.changed());
  write("conf.d/note.txt", "");
  EXPECT_FALSE(with_directory.changed());
  write("conf.d/b.conf", "");
  EXPECT_TRUE(with_directory.changed());
  std::filesystem::remove(path("conf.d/b.conf"));
  EXPECT_FALSE(with_directory.changed());
  std::filesystem::remove(path("pgark.conf"));
  EXPECT_TRUE(with_directory.changed());
}

}  // namespace
}  // namespace pgark
