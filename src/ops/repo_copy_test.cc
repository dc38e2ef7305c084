// Copies between repositories in memory: what arrives, what is left alone, and what damage and interruption do.
#include "ops/repo_copy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/cluster.h"
#include "catalog/hold.h"
#include "catalog/tombstone.h"
#include "ops/verify.h"
#include "repo/keyring.h"
#include "store/fault_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_backup.h"
#include "testing/sample_cluster_record.h"
#include "testing/sample_dump.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string kFull = "20261122-101500F";
const std::string kIncr = "20261122-101500F_20261122-111500I";

KeyConfig passphrase_config() {
  KeyConfig config;
  config.sealed = true;
  config.passphrase = NamedSecret{"repo2-cipher-pass", Secret::from_text("a passphrase for tests")};
  return config;
}

class RepoCopy : public ::testing::Test {
 protected:
  void SetUp() override {
    from_ = new_repository(from_store_);
    ASSERT_TRUE(write_cluster(*from_, "main", testing::sample_cluster_record(7654321, 16u << 20)).has_value());
    for (const std::string& label : {kFull, kIncr}) {
      testing::SampleBackup backup(*from_, label);
      if (label == kIncr) backup.meta.prior_label = kFull;
      backup.file("PG_VERSION", "15\n");
      backup.file("base/1/100", content_);
      backup.commit();
    }
    for (const char* segment : {"000000010000000000000002", "000000010000000000000003", "000000010000000000000009"})
      put_wal(segment, "wal of " + std::string(segment));
    put_wal("00000002.history", "1\t0/3000100\tno recovery target specified\n");
    ASSERT_TRUE(annotate_backup(*from_, "main", kFull, {{"why", "before the upgrade"}}).has_value());
  }

  void put_wal(const std::string& name, const std::string& content) {
    const auto key = wal_key("main", 1, name);
    ASSERT_TRUE(key.has_value());
    ASSERT_TRUE(write_stored_file(*from_, *key, as_bytes(content), "{}").has_value());
  }

  Result<RepoCopyReport> copy(const Repository& to, std::vector<std::string> sets = {}) {
    Progress progress;
    return copy_stanza(*from_, to, {.stanza = "main", .sets = std::move(sets), .process_max = 3}, system_clock(),
                       cancel_, progress);
  }

  /// What the first file of a backup holds, read through its manifest.
  std::string file_in(const Repository& repository, const std::string& label, const std::string& path) {
    const auto manifest = ManifestReader::open(repository, "main", label);
    EXPECT_TRUE(manifest.has_value());
    if (!manifest) return "";
    const auto packs = manifest->packs().value();
    std::string content;
    Decompressor decompressor;
    for (size_t i = 0; i < manifest->chunk_count(); ++i) {
      const FileChunk chunk = manifest->chunk(i).value();
      for (const FileEntry& file : chunk.files) {
        if (file.path != path) continue;
        content.resize(file.bytes);
        for (const auto& run : file.runs) {
          const ExtentRef& extent = chunk.extents.at(run.extent);
          const PackName& pack = packs.at(extent.pack);
          const ObjectKey key = pack_key("main", pack.label, pack.number);
          Buffer stored(extent.stored_bytes);
          EXPECT_TRUE(repository.store().read_exact(key, extent.offset, stored.bytes()).has_value());
          Buffer raw(extent.raw_bytes);
          const auto decoded = decode_frame(repository, key, extent.frame(), stored, decompressor, raw.bytes());
          EXPECT_TRUE(decoded.has_value()) << (decoded ? "" : decoded.error().to_string());
          std::memcpy(content.data() + run.file_offset, raw.data() + run.extent_offset, run.bytes);
        }
      }
    }
    return content;
  }

  std::string content_ = std::string(as_text(random_bytes(300000, 7)));
  MemoryStore from_store_;
  MemoryStore to_store_{"repo2"};
  std::unique_ptr<Repository> from_;
  CancelToken cancel_;
};

TEST_F(RepoCopy, BringsEverythingOverAndNothingTwice) {
  const auto to = new_repository(to_store_);
  const auto first = copy(*to);
  ASSERT_TRUE(first.has_value()) << first.error().to_string();
  EXPECT_THAT(first->labels, ElementsAre(kFull, kIncr));
  EXPECT_EQ(first->wal.copied, 4u);
  EXPECT_THAT(first->damages, IsEmpty());
  EXPECT_EQ(file_in(*to, kIncr, "base/1/100"), content_);
  EXPECT_EQ(read_backup(*to, "main", kFull).value().annotations.at("why"), "before the upgrade");
  const auto key = wal_key("main", 1, "000000010000000000000009").value();
  EXPECT_EQ(as_text(read_stored_file(*to, key).value().raw), "wal of 000000010000000000000009");

  const auto second = copy(*to);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->backups.copied + second->packs.copied + second->wal.copied + second->records.copied, 0u);
  EXPECT_EQ(second->backups.present, 2u);
}

TEST_F(RepoCopy, SealsAnewOnTheWayIntoAnEncryptedRepositoryAndBack) {
  const auto sealed = Repository::open_or_create(to_store_, system_clock(), passphrase_config());
  ASSERT_TRUE(sealed.has_value()) << sealed.error().to_string();
  const auto there = copy(**sealed);
  ASSERT_TRUE(there.has_value()) << there.error().to_string();
  EXPECT_EQ(file_in(**sealed, kFull, "base/1/100"), content_);
  const auto objects = to_store_.list_all("main/").value();
  for (const ObjectInfo& object : objects)
    EXPECT_EQ(as_text(to_store_.get(object.key).value()).find("base/1/100"), std::string_view::npos)
        << object.key.value;

  MemoryStore back_store("repo3");
  const auto back = new_repository(back_store);
  Progress progress;
  const auto returned =
      copy_stanza(**sealed, *back, {.stanza = "main", .sets = {}, .process_max = 2}, system_clock(), cancel_, progress);
  ASSERT_TRUE(returned.has_value()) << returned.error().to_string();
  EXPECT_EQ(file_in(*back, kIncr, "base/1/100"), content_);
  const auto key = wal_key("main", 1, "000000010000000000000002").value();
  EXPECT_EQ(as_text(read_stored_file(*back, key).value().raw), "wal of 000000010000000000000002");
}

TEST_F(RepoCopy, OfOneBackupOnlyWhatItNeeds) {
  const auto to = new_repository(to_store_);
  const auto report = copy(*to, {kIncr});
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->labels, ElementsAre(kIncr));
  EXPECT_EQ(report->wal.copied, 3u) << "two segments and the history";
  EXPECT_EQ(file_in(*to, kIncr, "base/1/100"), content_);
  EXPECT_EQ(read_backup(*to, "main", kFull).error().code(), Errc::kNotFound);
  EXPECT_EQ(copy(*to, {"20300101-000000F"}).error().code(), Errc::kNotFound);
}

TEST_F(RepoCopy, DamageKeepsBackOneBackupAndNothingElse) {
  const ObjectKey victim = pack_key("main", kIncr, 1);
  MemoryStore damaged_store;
  copy_with_flipped_bit(from_store_, damaged_store, victim, 300 * 8);
  from_ = std::move(*Repository::open(damaged_store));
  const auto to = new_repository(to_store_);
  const auto report = copy(*to);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->labels, ElementsAre(kFull));
  EXPECT_THAT(report->incomplete, ElementsAre(kIncr));
  ASSERT_EQ(report->damages.size(), 1u);
  EXPECT_EQ(report->damages[0].object, victim.value);
  EXPECT_FALSE(to_store_.stat(victim).value().has_value());
}

TEST_F(RepoCopy, RefusesAnotherCluster) {
  const auto to = new_repository(to_store_);
  ClusterRecord other = testing::sample_cluster_record(7654321, 16u << 20);
  other.system_identifier += 1;
  ASSERT_TRUE(write_cluster(*to, "main", other).has_value());
  const auto report = copy(*to);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code(), Errc::kInvalid);
}

TEST_F(RepoCopy, FailureOfAnyWriteLeavesNoBackupThatLacksAPack) {
  for (uint64_t nth = 1;; ++nth) {
    FaultStore faulty(std::make_unique<MemoryStore>("repo2"));
    const auto to = new_repository(faulty);
    faulty.set_rules({{.call = StoreCall::kCommit, .nth = nth, .code = Errc::kNoSpace}});
    const auto report = copy(*to);
    const bool fired = !faulty.fired().empty();
    EXPECT_EQ(report.has_value(), !fired) << "commit " << nth;
    const auto labels = list_backup_labels(*to, "main").value();
    for (const std::string& label : labels) EXPECT_EQ(file_in(*to, label, "base/1/100"), content_) << "commit " << nth;
    if (!fired) break;
    const auto again = copy(*to);
    ASSERT_TRUE(again.has_value()) << again.error().to_string();
    EXPECT_EQ(again->backups.copied + again->backups.present, 2u);
    ASSERT_LT(nth, 100u);
  }
}

/// The same with dumps: one in small packs, one held and verified.
class RepoCopyDumps : public RepoCopy {
 protected:
  void SetUp() override {
    RepoCopy::SetUp();
    testing::SampleDump first(*from_, kDump, 256u << 10);
    for (uint64_t i = 0; i < 4; ++i) first.table(fmt::format("t{}", i), random_bytes(900'000, i));
    first.commit();
    contents_ = first.contents;
    testing::SampleDump second(*from_, kDump2);
    second.table("small", as_bytes("1\n"));
    second.commit();
    ASSERT_TRUE(write_hold(*from_, "main", kDump, {Timestamp::max(), "audit", {}}).has_value());
    ASSERT_TRUE(write_dump_verdict(*from_, "main", kDump, {{}, true, "scratch", {}, 4, 0}).has_value());
  }
  const std::string kDump = "20261123-000000L";
  const std::string kDump2 = "20261124-000000L";
  std::vector<std::string> contents_;
};

TEST_F(RepoCopyDumps, ComeWithTheirHoldsAndVerdicts) {
  const auto sealed = Repository::open_or_create(to_store_, system_clock(), passphrase_config());
  ASSERT_TRUE(sealed.has_value()) << sealed.error().to_string();
  const auto report = copy(**sealed);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->labels, ElementsAre(kFull, kIncr, kDump, kDump2));
  EXPECT_EQ(report->dumps.copied, 2u);
  testing::expect_dump(**sealed, kDump, contents_);
  testing::expect_dump(**sealed, kDump2, {"1\n"});
  EXPECT_EQ(read_dump_holds(**sealed, "main").value().at(kDump).reason, "audit");
  EXPECT_EQ(read_dump_verdicts(**sealed, "main").value().at(kDump).tables, 4u);
  const auto again = copy(**sealed);
  EXPECT_EQ(again->dumps.copied + again->packs.copied + again->records.copied, 0u);
  EXPECT_EQ(again->dumps.present, 2u);
}

TEST_F(RepoCopyDumps, OneByItsLabel) {
  const auto to = new_repository(to_store_);
  const auto report = copy(*to, {kDump});
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->labels, ElementsAre(kDump));
  EXPECT_EQ(report->wal.copied + report->backups.copied, 0u);
  testing::expect_dump(*to, kDump, contents_);
  EXPECT_THAT(list_dump_labels(*to, "main").value(), ElementsAre(kDump));
  EXPECT_EQ(copy(*to, {"20300101-000000L"}).error().code(), Errc::kNotFound);
}

TEST_F(RepoCopyDumps, DamageAndAbsenceKeepBackThatDumpAlone) {
  MemoryStore damaged_store;
  copy_with_flipped_bit(from_store_, damaged_store, dump_pack_key("main", kDump, 2), 300 * 8);
  ASSERT_TRUE(damaged_store.remove(dump_pack_key("main", kDump, 1)).value());
  from_ = std::move(*Repository::open(damaged_store));
  const auto to = new_repository(to_store_);
  const auto report = copy(*to);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->incomplete, ElementsAre(kDump));
  EXPECT_EQ(report->damages.size(), 2u);
  EXPECT_THAT(list_dump_labels(*to, "main").value(), ElementsAre(kDump2));
}

TEST_F(RepoCopyDumps, StayAwayWhereARuleRemovedThem) {
  const auto to = new_repository(to_store_);
  Tombstone tombstone;
  tombstone.label = kDump;
  ASSERT_TRUE(write_tombstone(*to, "main", tombstone).has_value());
  const auto report = copy(*to);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  EXPECT_THAT(report->expired, ElementsAre(kDump));
  EXPECT_THAT(list_dump_labels(*to, "main").value(), ElementsAre(kDump2));
}

TEST_F(RepoCopyDumps, AStanzaOfNothingElseNeedsNoClusterRecord) {
  MemoryStore only_dumps("repo3");
  const auto from = new_repository(only_dumps);
  testing::SampleDump dump(*from, kDump);
  dump.table("small", as_bytes("1\n"));
  dump.commit();
  from_ = new_repository(only_dumps);
  const auto to = new_repository(to_store_);
  const auto report = copy(*to);
  ASSERT_TRUE(report.has_value()) << report.error().to_string();
  testing::expect_dump(*to, kDump, {"1\n"});
}

TEST_F(RepoCopyDumps, FailureOfAnyWriteLeavesNoDumpThatLacksAPack) {
  for (uint64_t nth = 1;; nth += 2) {
    FaultStore faulty(std::make_unique<MemoryStore>("repo2"));
    const auto to = new_repository(faulty);
    faulty.set_rules({{.call = StoreCall::kCommit, .prefix = "main/dump/", .nth = nth, .code = Errc::kNoSpace}});
    const auto report = copy(*to, {kDump});
    const bool fired = !faulty.fired().empty();
    EXPECT_EQ(report.has_value(), !fired) << "commit " << nth;
    if (!list_dump_labels(*to, "main").value().empty()) testing::expect_dump(*to, kDump, contents_);
    if (!fired) break;
    ASSERT_LT(nth, 100u);
  }
}

}  // namespace
}  // namespace pgark
