#include "ops/object_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "repo/manifest.h"
#include "repo/stored_file.h"
#include "testing/memory_repository.h"
#include "testing/sample_dump.h"

namespace pgark {
namespace {

class ObjectView : public ::testing::Test {
 protected:
  Result<std::string> decoded(const std::string& key) {
    std::string text;
    const CancelToken cancel;
    TRY(write_decoded_object(*repository_, {key}, cancel, [&](Bytes bytes) -> Result<> {
      text += as_text(bytes);
      return {};
    }));
    return text;
  }

  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(ObjectView, GivesAWalFileAsPostgresqlGaveIt) {
  const Buffer raw = random_bytes(3 << 20, 1);
  ASSERT_TRUE(write_stored_file(*repository_, {"main/wal/1/x"}, raw, "{}").has_value());
  EXPECT_TRUE(decoded("main/wal/1/x").value() == as_text(raw));
}

TEST_F(ObjectView, GivesARecordAsItsDocument) {
  ASSERT_TRUE(write_record(*repository_, {"main/cluster/1"}, R"({"number":1})").has_value());
  EXPECT_EQ(nlohmann::json::parse(decoded("main/cluster/1").value())["number"], 1);
}

TEST_F(ObjectView, GivesManifestAndPackAsJson) {
  PackSet packs(*repository_, "main", "A");
  PackWriter writer(packs, Codec::kZstd, 1);
  const auto extent = writer.append(random_bytes(16384, 1), {{"base/1/2", 0, 0, 16384}});
  ASSERT_TRUE(extent.has_value() && writer.close().has_value() && packs.finish().has_value());
  auto manifest = ManifestWriter::create(*repository_, "main", "A");
  FileEntry file;
  file.path = "base/1/2";
  file.bytes = 16384;
  file.runs = {{0, 16384, 0, 0}};
  ASSERT_TRUE(manifest->add(file, {*extent}).has_value());
  file.path = "base/1/3";
  file.runs.clear();
  ASSERT_TRUE(manifest->add(file, {}).has_value());
  ASSERT_TRUE(std::move(*manifest).commit({{"A", 1}}, R"({"label":"A"})").has_value());

  const auto shown = nlohmann::json::parse(decoded("main/backup/A/manifest").value());
  EXPECT_EQ(shown["backup"]["label"], "A");
  EXPECT_EQ(shown["packs"][0], "main/pack/A/000001");
  ASSERT_EQ(shown["files"].size(), 2u);
  EXPECT_EQ(shown["files"][0]["path"], "base/1/2");
  EXPECT_EQ(shown["files"][0]["runs"][0]["extent"]["offset"], extent->offset);
  EXPECT_TRUE(shown["files"][1]["runs"].empty());
  const auto pack = nlohmann::json::parse(decoded("main/pack/A/000001").value());
  EXPECT_EQ(pack["extents"][0]["pieces"][0]["path"], "base/1/2");
}

TEST_F(ObjectView, GivesADumpAsJson) {
  testing::SampleDump dump(*repository_, "20261122-101500L");
  dump.table("orders", random_bytes(3 << 20, 1));
  dump.stream("toc.dat", as_bytes("toc"));
  dump.commit();
  const auto shown = nlohmann::json::parse(decoded("main/dump/20261122-101500L/manifest").value());
  EXPECT_EQ(shown["dump"]["label"], "20261122-101500L");
  ASSERT_EQ(shown["streams"].size(), 2u);
  EXPECT_EQ(shown["streams"][1]["name"], "toc.dat");
  ASSERT_EQ(shown["tables"].size(), 1u);
  EXPECT_EQ(shown["tables"][0]["name"], "orders");
  const auto pack = nlohmann::json::parse(decoded("main/dump/20261122-101500L/000001").value());
  ASSERT_EQ(pack["frames"].size(), 4u);
  EXPECT_EQ(pack["frames"][0]["frame"], 1);
  EXPECT_EQ(pack["frames"][0]["raw_bytes"], 1 << 20);
}

TEST_F(ObjectView, RefusesWhatIsNoContainer) {
  ASSERT_TRUE(store_.put({"main/wal/1/x"}, as_bytes("text")).has_value());
  EXPECT_EQ(decoded("main/wal/1/x").error().code(), Errc::kCorrupt);
  EXPECT_EQ(decoded("absent").error().code(), Errc::kNotFound);
}

}  // namespace
}  // namespace pgark
