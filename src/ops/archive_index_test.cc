#include "ops/archive_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/wal.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/archive_push.h"
#include "pg/wal_index.h"
#include "repo/stored_file.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_cluster_record.h"
#include "testing/scratch.h"
#include "testing/wal_records.h"

namespace pgark {
namespace {

using ::pgark::testing::end_record;
using ::pgark::testing::WalBuilder;
using ::pgark::testing::WalBuilderOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kName = "000000010000000000000010";

class ArchiveIndex : public ::testing::Test {
 protected:
  void SetUp() override {
    scratch_ = testing::ScratchDir::create("index").value();
    LogConfig config{.console = LogLevel::kOff, .file = LogLevel::kWarn, .file_path = scratch_ / "log"};
    ASSERT_TRUE(configure_log(config).has_value());
    wal_.add(end_record({.xid = Xid{700}}));
    for (int i = 0; i < 20; ++i) wal_.add_bytes(4000);
    last_ = wal_.add(end_record({.xid = Xid{701}}));
  }
  void TearDown() override { ASSERT_TRUE(configure_log({}).has_value()); }

  Result<pg::WalIndex> make() {
    const auto raw = index_to_store(pg::parse_wal_file_name(kName).value(), wal_.bytes(), cluster_);
    if (raw.empty()) return Error(Errc::kNotFound, "no index");
    return pg::decode_wal_index(raw);
  }
  /// What was logged since the start of the test.
  std::string warnings() const {
    const std::string text = read_file(scratch_ / "log").value();
    const size_t first = text.find("WARN");
    return first == std::string::npos ? "" : text.substr(first);
  }

  testing::ScratchDir scratch_;
  WalBuilder wal_;
  Lsn last_;
  ClusterRecord cluster_ =
      testing::sample_cluster_record(WalBuilderOptions{}.system_id, WalBuilderOptions{}.segment_bytes);
};

TEST_F(ArchiveIndex, IsStoredBehindTheSegmentThatIsPushed) {
  wal_.add_switch();
  MemoryStore store;
  const auto repository = new_repository(store);
  ASSERT_TRUE(write_cluster(*repository, "main", cluster_).has_value());
  const std::string path = scratch_ / kName;
  ASSERT_TRUE(write_file_durable(path, as_text(wal_.bytes())).has_value());
  const auto pushed = archive_push(*repository, system_clock(),
                                   {.stanza = "main", .source_path = path, .data_directory = "", .host = "db1"});
  ASSERT_TRUE(pushed.has_value()) << pushed.error().to_string();
  const auto raw = read_stored_index(*repository, pushed->key);
  ASSERT_TRUE(raw.has_value() && raw->has_value());
  const auto index = pg::decode_wal_index(**raw);
  ASSERT_TRUE(index.has_value()) << index.error().to_string();
  EXPECT_TRUE(index->is_complete());
  EXPECT_EQ(index->last_commit->lsn, last_);
  // Who does not know of indexes reads the segment as before.
  const auto file = read_stored_file(*repository, pushed->key);
  ASSERT_TRUE(file.has_value());
  EXPECT_TRUE(as_text(file->raw) == as_text(wal_.bytes()));
  EXPECT_THAT(file->document, HasSubstr(kName));
  EXPECT_THAT(warnings(), IsEmpty());
}

TEST_F(ArchiveIndex, OtherFilesHaveNone) {
  for (const char* name :
       {"00000002.history", "000000010000000000000010.partial", "000000010000000000000010.00000028.backup"})
    EXPECT_THAT(index_to_store(pg::parse_wal_file_name(name).value(), as_bytes("1\t0/1\tx\n"), cluster_), IsEmpty());
}

TEST_F(ArchiveIndex, DamageIsLoggedWithPlaceAndReason) {
  wal_.add_bytes(20000);
  wal_.add_switch();
  wal_.bytes()[last_.bytes - wal_.options().start.bytes + 25] ^= std::byte{1};
  const auto index = make();
  ASSERT_TRUE(index.has_value());
  EXPECT_EQ(index->valid_to, last_);
  EXPECT_THAT(warnings(), AllOf(HasSubstr(kName), HasSubstr(to_string(last_)), HasSubstr("crc:")));
}

TEST_F(ArchiveIndex, WalThatMerelyEndsIsNoDamage) {
  const Lsn end = wal_.position();
  wal_.pad_segment();  // Never written.
  EXPECT_LE(make().value().valid_to, Lsn{(end.bytes + 7) / 8 * 8});
  EXPECT_THAT(warnings(), IsEmpty());
  // What is behind it is of an older use of the file.
  const size_t page = wal_.options().block_bytes;
  for (size_t at = (end.bytes - wal_.options().start.bytes + page - 1) / page * page; at < wal_.bytes().size();
       at += page) {
    std::copy_n(wal_.bytes().begin(), page, wal_.bytes().begin() + static_cast<ptrdiff_t>(at));
  }
  EXPECT_FALSE(make().value().is_complete());
  EXPECT_THAT(warnings(), IsEmpty());
}

TEST_F(ArchiveIndex, SegmentThatCannotBeIndexedHasNoneAndThatIsLogged) {
  wal_.add_switch();
  wal_.bytes()[8] ^= std::byte{1};  // Address of its first page.
  EXPECT_FALSE(make().has_value());
  EXPECT_THAT(warnings(), HasSubstr("stored without an index"));
}

}  // namespace
}  // namespace pgark
