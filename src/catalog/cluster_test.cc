#include "catalog/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "repo/stored_file.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::HasSubstr;

ClusterRecord sample(unsigned number) {
  return {.number = number,
          .system_identifier = 0xfedcba9876543210,  // Past 2^63: must not pass through a signed or floating type.
          .pg_major = 15,
          .control_version = 1300,
          .catalog_version = 202209061,
          .wal_segment_bytes = 16u << 20,
          .created = Timestamp(std::chrono::microseconds(1795430400000001))};
}

class CatalogCluster : public ::testing::Test {
 protected:
  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(CatalogCluster, ComesBackAsWritten) {
  ASSERT_TRUE(write_cluster(*repository_, "main", sample(1)).has_value());
  const auto read = current_cluster(*repository_, "main");
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(read->system_identifier, sample(1).system_identifier);
  EXPECT_EQ(read->pg_major, 15u);
  EXPECT_EQ(read->control_version, 1300u);
  EXPECT_EQ(read->catalog_version, 202209061u);
  EXPECT_EQ(read->wal_segment_bytes, 16u << 20);
  EXPECT_EQ(read->created, sample(1).created);
}

TEST_F(CatalogCluster, HighestNumberIsCurrentAlsoPastNine) {
  for (unsigned number = 1; number <= 11; ++number) {
    ASSERT_TRUE(write_cluster(*repository_, "main", sample(number)).has_value());
  }
  const auto current = current_cluster(*repository_, "main");
  ASSERT_TRUE(current.has_value());
  EXPECT_EQ(current->number, 11u);
}

TEST_F(CatalogCluster, NumberIsTakenOnce) {
  ASSERT_TRUE(write_cluster(*repository_, "main", sample(1)).has_value());
  const auto again = write_cluster(*repository_, "main", sample(1));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code(), Errc::kAlreadyExists);
}

TEST_F(CatalogCluster, MissingStanzaNamesTheNextStep) {
  const auto current = current_cluster(*repository_, "main");
  ASSERT_FALSE(current.has_value());
  EXPECT_EQ(current.error().code(), Errc::kNotFound);
  EXPECT_THAT(current.error().to_string(), HasSubstr("HINT: run 'pgark --stanza=main stanza-create'"));
}

TEST_F(CatalogCluster, WrongDocumentsAreNamed) {
  const std::pair<const char*, const char*> documents[] = {
      {"", "no JSON object"},
      {"[]", "no JSON object"},
      {R"({"number":1})", "'pg_major' is missing"},
      {R"({"number":"1"})", "'number' is no integer"},
      {R"({"number":-1})", "'number' is out of range"},
      {R"({"number":1,"pg_major":15,"control_version":1300,"catalog_version":2,"wal_segment_bytes":16777216,"created_us":0,
           "system_identifier":7})",
       "'system_identifier' is no text"},
      {R"({"number":1,"pg_major":15,"control_version":1300,"catalog_version":2,"wal_segment_bytes":16777216,"created_us":0,
           "system_identifier":"7x"})",
       "'system_identifier' is no number"},
      {R"({"number":1,"pg_major":15,"control_version":1300,"catalog_version":2,"wal_segment_bytes":5,"created_us":0,
           "system_identifier":"7"})",
       "segment size 5 is impossible"},
      {R"({"number":2,"pg_major":15,"control_version":1300,"catalog_version":2,"wal_segment_bytes":16777216,"created_us":0,
           "system_identifier":"7"})",
       "it says it is number 2"},
  };
  int stanza = 0;
  for (const auto& [document, message] : documents) {
    const std::string name = "stanza" + std::to_string(stanza++);
    ASSERT_TRUE(write_record(*repository_, cluster_key(name, 1), *document == '\0' ? "\"\"" : document).has_value());
    const auto read = list_clusters(*repository_, name);
    ASSERT_FALSE(read.has_value()) << document;
    EXPECT_EQ(read.error().code(), Errc::kCorrupt);
    EXPECT_THAT(read.error().message(), HasSubstr(message));
    EXPECT_THAT(read.error().message(), HasSubstr(name + "/cluster/1"));
  }
}

TEST_F(CatalogCluster, ComparisonNamesWhatDiffers) {
  EXPECT_TRUE(check_same_cluster("main", sample(1), sample(1)).has_value());
  ClusterRecord other = sample(1);
  other.catalog_version = 1;  // Pre-releases change it at will.
  other.created = {};
  EXPECT_TRUE(check_same_cluster("main", sample(1), other).has_value());
  const auto message = [](const ClusterRecord& offered) {
    const auto same = check_same_cluster("main", sample(1), offered);
    return same ? "same" : same.error().to_string();
  };
  other = sample(1);
  other.system_identifier = 42;
  EXPECT_THAT(message(other), HasSubstr("with system identifier 18364758544493064720, not 42"));
  other = sample(1);
  other.pg_major = 16;
  EXPECT_THAT(message(other), HasSubstr("stanza-upgrade is not provided"));
  other = sample(1);
  other.wal_segment_bytes = 1u << 20;
  EXPECT_THAT(message(other), HasSubstr("WAL segments of 16777216 bytes, the cluster of 1048576"));
}

}  // namespace
}  // namespace pgark
