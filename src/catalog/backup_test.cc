// Tests of the manifest's document, of labels, and of what a repository says it holds.
#include "catalog/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "repo/pack.h"
#include "store/memory_store.h"
#include "testing/meeting_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Timestamp at(int year, unsigned month, unsigned day, int second_of_day) {
  return Timestamp(std::chrono::sys_days(std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day))) +
         seconds(second_of_day);
}

BackupMeta sample() {
  BackupMeta meta;
  meta.label = "20261122-101500F";
  meta.pgark_version = "0.1.0";
  meta.system_identifier = 7575757575757575757u;
  meta.pg_major = 15;
  meta.pg_version_num = 150020;
  meta.control_version = 1300;
  meta.catalog_version = 202209061;
  meta.wal_segment_bytes = 16u << 20;
  meta.checksum_version = 1;
  meta.started = at(2026, 11, 22, 36900);
  meta.stopped = meta.started + std::chrono::microseconds(61'000'123);
  meta.start_lsn = {0x12000028};
  meta.stop_lsn = {0x1'12000138};
  meta.checkpoint_lsn = {0x12000060};
  meta.start_timeline = meta.stop_timeline = {3};
  meta.wal_start = "000000030000000000000012";
  meta.wal_stop = "000000030000000100000012";
  meta.source = "primary";
  meta.backup_label = "START WAL LOCATION: 0/12000028\nLABEL: x\n";
  meta.tablespace_map = "16400 /mnt/\xff\xfe\n";  // A path that is no UTF-8.
  meta.logical_bytes = 1ull << 40;
  meta.read_bytes = 5;
  meta.stored_bytes = 6;
  meta.file_count = 7;
  meta.bad_page_count = 8;
  meta.referenced_bytes = 9;
  meta.reused_bytes = 10;
  meta.extent_count = 11;
  meta.scan = "wal";
  meta.codec = "zst";
  meta.data_directory = "/var/lib/postgresql/15/main";
  meta.settings = {{"max_connections", "100"}, {"shared_preload_libraries", ""}};
  meta.databases = {{5, "postgres", 16383, "c", ""}, {16384, "\xe9t\xe9", 16383, "i", "153.80"}};
  meta.extensions = {{"postgres", "plpgsql", "1.0"}};
  meta.tablespaces = {{16400, "fast", "/mnt/\xff\xfe"}};
  meta.outside_files = {{"/etc/postgresql/15/main/pg_hba.conf", "local all all peer\n"}};
  meta.libc_version = "2.36";
  meta.annotations = {{"reason", "before upgrade"}};
  return meta;
}

TEST(BackupMeta, ComesBackByteForByte) {
  const BackupMeta meta = sample();
  const auto decoded = decode_backup_meta(encode_backup_meta(meta));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().to_string();
  // What was left out by the encoder or the decoder would show as a difference of a second encoding, or here.
  EXPECT_EQ(encode_backup_meta(*decoded), encode_backup_meta(meta));
  EXPECT_EQ(decoded->tablespace_map, meta.tablespace_map);
  EXPECT_EQ(decoded->system_identifier, meta.system_identifier);
  EXPECT_EQ(decoded->stop_lsn, meta.stop_lsn);
  EXPECT_EQ(decoded->stopped, meta.stopped);
  EXPECT_EQ(decoded->databases[1].name, "\xe9t\xe9");
  EXPECT_EQ(decoded->databases[1].collation_version, "153.80");
  EXPECT_EQ(decoded->extensions[0].version, "1.0");
  EXPECT_EQ(decoded->tablespaces[0].path, meta.tablespaces[0].path);
  EXPECT_EQ(decoded->outside_files[0].content, meta.outside_files[0].content);
  EXPECT_EQ(decoded->settings, meta.settings);
  EXPECT_EQ(decoded->annotations, meta.annotations);
  EXPECT_EQ(decoded->start_timeline, meta.start_timeline);
}

TEST(BackupMeta, UnknownMembersAreIgnoredAndMissingOnesNamed) {
  nlohmann::json document = nlohmann::json::parse(encode_backup_meta(sample()));
  document["from_the_future"] = 1;
  EXPECT_TRUE(decode_backup_meta(document.dump()).has_value());

  document["wal"].erase("stop_lsn");
  const auto missing = decode_backup_meta(document.dump());
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), Errc::kCorrupt);
  EXPECT_THAT(missing.error().message(), HasSubstr("'wal.stop_lsn' is missing"));
}

TEST(BackupMeta, WrongTypesAreNamed) {
  const auto broken = [](const char* pointer, const nlohmann::json& value) {
    nlohmann::json document = nlohmann::json::parse(encode_backup_meta(sample()));
    document[nlohmann::json::json_pointer(pointer)] = value;
    const auto decoded = decode_backup_meta(document.dump());
    return decoded.has_value() ? std::string("accepted") : decoded.error().message();
  };
  EXPECT_THAT(broken("/cluster/pg_major", "x"), HasSubstr("'cluster.pg_major'"));
  EXPECT_THAT(broken("/cluster/pg_major", -1), HasSubstr("'cluster.pg_major'"));
  EXPECT_THAT(broken("/cluster", 5), HasSubstr("'cluster' is no object"));
  EXPECT_THAT(broken("/wal/start_lsn", "nonsense"), HasSubstr("'wal.start_lsn'"));
  EXPECT_THAT(broken("/type", "half"), HasSubstr("'type'"));
  EXPECT_THAT(broken("/tablespaces", 1), HasSubstr("'tablespaces' is no array"));
  EXPECT_THAT(broken("/tablespaces/0", 1), HasSubstr("'tablespaces[0]'"));
  EXPECT_THAT(broken("/backup_label", nlohmann::json{{"hex", "0"}}), HasSubstr("'backup_label'"));
  EXPECT_THAT(broken("/cluster/system_identifier", "seven"), HasSubstr("system_identifier"));
  EXPECT_FALSE(decode_backup_meta("{").has_value());
  EXPECT_FALSE(decode_backup_meta("[]").has_value());
  EXPECT_FALSE(decode_backup_meta("").has_value());
}

TEST(BackupLabel, NamesTypeAndTimeInUtc) {
  const Timestamp time = at(2026, 11, 22, 36900) + std::chrono::microseconds(999'999);
  EXPECT_EQ(make_backup_label(BackupType::kFull, time, ""), "20261122-101500F");
  EXPECT_EQ(make_backup_label(BackupType::kIncr, at(2026, 11, 23, 1), "20261122-101500F"),
            "20261122-101500F_20261123-000001I");
  EXPECT_EQ(make_backup_label(BackupType::kDiff, at(2026, 11, 23, 1), "20261122-101500F"),
            "20261122-101500F_20261123-000001D");
}

TEST(BackupLabel, ParsesWhatItMakesAndNothingElse) {
  const auto incremental = parse_backup_label("20261122-101500F_20261123-000001I");
  ASSERT_TRUE(incremental.has_value());
  EXPECT_EQ(incremental->type, BackupType::kIncr);
  EXPECT_EQ(incremental->full_label, "20261122-101500F");
  EXPECT_EQ(parse_backup_label("20261122-101500F")->type, BackupType::kFull);
  for (const char* wrong : {"", "latest", "20261122-101500", "20261122-101500I", "20261322-101500F", "20261122-251500F",
                            "20261122-101500F_", "20261122-101500F_20261123-000001F", "20261122-101500F/",
                            "20261122-101500Fx", "2026112a-101500F"}) {
    const auto parsed = parse_backup_label(wrong);
    ASSERT_FALSE(parsed.has_value()) << wrong;
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
    EXPECT_THAT(parsed.error().to_string(), HasSubstr("20261122-101500F_20261123-101500I"));
  }
}

TEST(BackupLabel, NextIsLaterThanAllUsedAlsoWhenTheClockWentBack) {
  const Timestamp now = at(2026, 11, 22, 36900);
  EXPECT_EQ(next_backup_label(BackupType::kFull, now, "", {}), "20261122-101500F");
  EXPECT_EQ(next_backup_label(BackupType::kFull, now, "", {"20261122-101500F", "no label"}), "20261122-101501F");
  EXPECT_EQ(next_backup_label(BackupType::kFull, now, "", {"20261231-235959F", "20261122-101500F"}),
            "20270101-000000F");
  EXPECT_EQ(next_backup_label(BackupType::kFull, now, "", {"20261122-101500F_20261123-101500I"}), "20261123-101501F");
  EXPECT_EQ(next_backup_label(BackupType::kFull, now, "", {"20261121-101500F"}), "20261122-101500F");
}

class BackupCatalog : public ::testing::Test {
 protected:
  void write_backup(const std::string& label) {
    BackupMeta meta = sample();
    meta.label = label;
    auto writer = ManifestWriter::create(*repository_, "main", label);
    ASSERT_TRUE(writer.has_value());
    const auto committed = std::move(*writer).commit({{label, 1}}, encode_backup_meta(meta));
    ASSERT_TRUE(committed.has_value()) << committed.error().to_string();
  }

  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(BackupCatalog, ListsOnlyWhatHasAManifestAndNamesWhatIsUsed) {
  EXPECT_THAT(*list_backup_labels(*repository_, "main"), IsEmpty());
  EXPECT_THAT(*list_used_labels(*repository_, "main"), IsEmpty());
  write_backup("20261122-101500F");
  write_backup("20261121-101500F");
  // Packs of a backup that was killed: used, not listed. Another stanza's say nothing about this one.
  for (const char* key : {"main/pack/20261120-000000F/000001", "main/pack/20261120-000000F/000002",
                          "main/pack/20261122-101500F/000001", "mainly/pack/20261119-000000F/000001"})
    ASSERT_TRUE(store_.put({key}, as_bytes("x")).has_value());
  EXPECT_THAT(*list_backup_labels(*repository_, "main"), ElementsAre("20261121-101500F", "20261122-101500F"));
  EXPECT_THAT(*list_used_labels(*repository_, "main"),
              ElementsAre("20261120-000000F", "20261121-101500F", "20261122-101500F"));
}

TEST_F(BackupCatalog, LabelsInUseTakeAFarStoreOneListingForEachKindOfObject) {
  for (int pack = 1; pack <= 1500; ++pack)  // More than a page.
    ASSERT_TRUE(
        store_.put(pack_key("main", "20261120-000000F", static_cast<uint32_t>(pack)), as_bytes("x")).has_value());
  ASSERT_TRUE(store_.put(pack_key("main", "20261121-000000F", 1), as_bytes("x")).has_value());
  write_backup("20261122-101500F");
  testing::MeetingStore far(store_, "s3", 1);
  const auto opened = Repository::open(far);
  ASSERT_TRUE(opened.has_value());
  EXPECT_THAT(*list_used_labels(**opened, "main"),
              ElementsAre("20261120-000000F", "20261121-000000F", "20261122-101500F"));
  EXPECT_EQ(far.lists(), 4u) << "two pages of packs";
}

TEST_F(BackupCatalog, AnnotationsAreAppliedInOrderAndRemovedByAnEmptyValue) {
  write_backup("20261122-101500F");
  ASSERT_TRUE(
      annotate_backup(*repository_, "main", "20261122-101500F", {{"owner", "ops"}, {"reason", ""}}).has_value());
  for (int i = 0; i < 12; ++i)  // More than nine: numbers, not names, decide the order.
    ASSERT_TRUE(annotate_backup(*repository_, "main", "20261122-101500F", {{"n", std::to_string(i)}}).has_value());
  const auto meta = read_backup(*repository_, "main", "20261122-101500F");
  ASSERT_TRUE(meta.has_value()) << meta.error().to_string();
  EXPECT_EQ(meta->annotations, (std::map<std::string, std::string>{{"owner", "ops"}, {"n", "11"}}));
}

TEST_F(BackupCatalog, AbsentBackupIsNotFoundWithAHint) {
  for (const auto& error : {read_backup(*repository_, "main", "20261122-101500F").error(),
                            annotate_backup(*repository_, "main", "20261122-101500F", {{"a", "b"}}).error()}) {
    EXPECT_EQ(error.code(), Errc::kNotFound);
    EXPECT_THAT(error.to_string(), HasSubstr("info"));
  }
}

TEST_F(BackupCatalog, UnreadableBackupIsListedWithItsErrorBesideTheOthers) {
  write_backup("20261121-101500F");
  ASSERT_TRUE(store_.put(manifest_key("main", "20261122-101500F"), as_bytes("rubbish")).has_value());
  const auto listed = list_backups(*repository_, "main");
  ASSERT_TRUE(listed.has_value());
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_TRUE((*listed)[0].meta.has_value());
  EXPECT_FALSE((*listed)[1].meta.has_value());
  ASSERT_TRUE((*listed)[1].error.has_value());
  EXPECT_THAT((*listed)[1].error->to_string(), HasSubstr("20261122-101500F"));
}

TEST_F(BackupCatalog, ManifestsInAFarStoreAreReadSideBySideAfterOneListing) {
  const int count = 9;
  for (int day = 1; day <= count; ++day) write_backup("2026110" + std::to_string(day) + "-101500F");
  for (const char* owner : {"me", "you"})
    ASSERT_TRUE(annotate_backup(*repository_, "main", "20261103-101500F", {{"owner", owner}}).has_value());
  testing::MeetingStore far(
      store_, "s3", 8, [](const ObjectKey& key, size_t) { return key.value.find("/manifest") != std::string::npos; });
  const auto opened = Repository::open(far);
  ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  const unsigned lists_before = far.lists();
  const auto listed = list_backups(**opened, "main");
  ASSERT_TRUE(listed.has_value()) << listed.error().to_string();
  ASSERT_EQ(listed->size(), static_cast<size_t>(count));
  for (int day = 1; day <= count; ++day) {
    const ListedBackup& backup = (*listed)[static_cast<size_t>(day - 1)];
    ASSERT_TRUE(backup.meta.has_value()) << backup.error->to_string();
    EXPECT_EQ(backup.meta->label, "2026110" + std::to_string(day) + "-101500F") << "in the order of time";
    EXPECT_EQ(backup.meta->annotations.count("owner"), day == 3 ? 1u : 0u);
  }
  EXPECT_EQ((*listed)[2].meta->annotations.at("owner"), "you");
  EXPECT_EQ(far.lists() - lists_before, 1u);
  EXPECT_EQ(far.most(), 8u);
}

}  // namespace
}  // namespace pgark
