// Archives are read by the program tar; what it does not tell is looked at in the bytes.
#include "ops/tar_writer.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "testing/process.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

class Archive {
 public:
  TarWriter writer{[this](Bytes part) -> Result<> {
                     bytes_ += as_text(part);
                     return {};
                   },
                   Timestamp(std::chrono::seconds(1'795'000'000))};
  void add(const std::string& name, const std::string& content) {
    ASSERT_TRUE(writer.begin(name, content.size()).has_value());
    ASSERT_TRUE(writer.append(as_bytes(content)).has_value());
    ASSERT_TRUE(writer.end().has_value());
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

TEST(TarWriter, WritesWhatTarReads) {
  Archive archive;
  const std::string long_name(99, 'n');
  archive.add("toc.dat", std::string(700, 'x'));
  archive.add("empty", "");
  archive.add(long_name, std::string(512, 'y'));
  ASSERT_TRUE(archive.writer.finish().has_value());
  EXPECT_EQ(archive.bytes().size() % 512, 0u);
  auto scratch = testing::ScratchDir::create("tar").value();
  ASSERT_TRUE(write_file_durable(scratch / "a.tar", archive.bytes()).has_value());
  const auto listed = testing::run_ok({"tar", "--utc", "-tvf", scratch / "a.tar"});
  ASSERT_TRUE(listed.has_value()) << listed.error().to_string();
  EXPECT_NE(listed->find("-rw-------"), std::string::npos) << *listed;
  EXPECT_NE(listed->find("700 2026-11-18"), std::string::npos) << *listed;
  ASSERT_TRUE(testing::run_ok({"tar", "-C", scratch.path(), "-xf", scratch / "a.tar"}).has_value());
  EXPECT_EQ(read_file(scratch / "toc.dat").value(), std::string(700, 'x'));
  EXPECT_EQ(read_file(scratch / "empty").value(), "");
  EXPECT_EQ(read_file(scratch / long_name).value(), std::string(512, 'y'));
}

TEST(TarWriter, WritesSizesPastEightGibibytes) {
  Archive archive;
  ASSERT_TRUE(archive.writer.begin("big", uint64_t{9} << 30).has_value());
  const auto scratch = testing::ScratchDir::create("tar").value();
  ASSERT_TRUE(write_file_durable(scratch / "a.tar", archive.bytes()).has_value());
  const auto listed = testing::run({"tar", "-tvf", scratch / "a.tar"});
  ASSERT_TRUE(listed.has_value());
  EXPECT_NE(listed->out.find("9663676416"), std::string::npos) << listed->to_string();
}

TEST(TarWriter, RefusesMembersOfAnotherSizeThanWasSaid) {
  Archive archive;
  ASSERT_TRUE(archive.writer.begin("a", 3).has_value());
  EXPECT_EQ(archive.writer.append(as_bytes("four")).error().code(), Errc::kCorrupt);
  ASSERT_TRUE(archive.writer.append(as_bytes("tw")).has_value());
  EXPECT_EQ(archive.writer.end().error().code(), Errc::kCorrupt);
}

TEST(TarWriter, RefusesNamesThatLeadElsewhere) {
  Archive archive;
  for (const std::string name : {"", ".", "..", "a/b", "/etc/passwd", "../x"})
    EXPECT_EQ(archive.writer.begin(name, 0).error().code(), Errc::kInvalid) << name;
  EXPECT_EQ(archive.writer.begin(std::string(100, 'n'), 0).error().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace pgark
