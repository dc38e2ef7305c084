#include "ops/stanza.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "catalog/wal.h"
#include "core/file.h"
#include "ops/archive_get.h"
#include "ops/archive_push.h"
#include "ops/cluster_files.h"
#include "ops/info.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using ::pgark::testing::ScratchDir;
using ::testing::HasSubstr;

/// Data directories as far as pgark looks at them, made of the samples of src/pg.
class Stanza : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("stanza");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    make_data_directory("data", "15");
  }

  void make_data_directory(const std::string& name, const std::string& major) {
    const std::string samples = std::string(PGARK_SOURCE_DIR) + "/src/pg/testdata/" + major;
    ASSERT_OK(make_directories(scratch_ / (name + "/global")));
    for (const auto& [from, to] : {std::pair{"PG_VERSION", "PG_VERSION"}, {"pg_control", "global/pg_control"}}) {
      ASSERT_OK_AND_ASSIGN(const std::string content, read_file(samples + "/" + from));
      ASSERT_OK(write_file_durable(scratch_ / (name + "/" + to), content));
    }
  }

  Result<StanzaCreateResult> create(const std::string& data = "data", const std::string& stanza = "main") {
    return stanza_create(*store_, system_clock(), nullptr, {stanza, scratch_ / data});
  }
  void renew() { store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>()); }

  ScratchDir scratch_;
  std::unique_ptr<FaultStore> store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
};

TEST_F(Stanza, CreateTiesStanzaToClusterAndCanBeRepeated) {
  ASSERT_OK_AND_ASSIGN(const StanzaCreateResult first, create());
  EXPECT_TRUE(first.created);
  EXPECT_EQ(first.cluster.number, 1u);
  EXPECT_EQ(first.cluster.pg_major, 15u);
  ASSERT_OK_AND_ASSIGN(const auto files, read_cluster_files(scratch_ / "data", system_clock()));
  EXPECT_EQ(first.cluster.system_identifier, files.control.system_id);
  ASSERT_OK_AND_ASSIGN(const StanzaCreateResult second, create());
  EXPECT_FALSE(second.created);
  EXPECT_EQ(second.cluster.system_identifier, first.cluster.system_identifier);
}

TEST_F(Stanza, CreateRefusesAnotherClustersStanza) {
  ASSERT_OK(create());
  make_data_directory("other", "16");
  const auto refused = create("other");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("belongs to the cluster with system identifier"));
  ASSERT_OK(create("other", "second"));
}

TEST_F(Stanza, CreateRefusesWhatIsNoDataDirectory) {
  const auto refused = create("nowhere");
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("HINT: check pg1-path"));
  ASSERT_OK(write_file_durable(scratch_ / "data/global/pg_control", std::string(8192, 'x')));
  EXPECT_FALSE(create().has_value());
  EXPECT_TRUE(store_->list_all("")->empty()) << "nothing is made for a cluster that cannot be read";
}

TEST_F(Stanza, CreateSurvivesEveryFailingStoreCall) {
  for (const auto& [fault, code] :
       {std::pair{Fault::kFail, Errc::kTransient}, {Fault::kFailAfter, Errc::kOutcomeUnknown}}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(n);
      renew();
      store_->set_rules({{.nth = n, .times_max = 1, .fault = fault, .code = code}});
      const auto created = create();
      const bool fired = !store_->fired().empty();
      store_->set_rules({});
      if (!fired) {
        ASSERT_OK(created);
        ASSERT_GT(n, 6u);
        break;
      }
      ASSERT_OK_AND_ASSIGN(const StanzaCreateResult again, create());
      EXPECT_EQ(again.cluster.number, 1u);
      EXPECT_FALSE(created.has_value() && again.created);
    }
  }
}

TEST_F(Stanza, DeleteRemovesManifestsFirstAndRecordsLastAndCanBeRepeated) {
  const CancelToken cancel;
  const std::vector<std::string> keys = {"main/backup/20261122-101500F/annotation.1",
                                         "main/backup/20261122-101500F/manifest",
                                         "main/backup/20261123-101500F/manifest",
                                         "main/dump/20261122-101500L/000001",
                                         "main/dump/20261122-101500L/manifest",
                                         "main/dump/20261122-101500L/verified.1",
                                         "main/pack/20261122-101500F/000001",
                                         "main/wal/1/00000002.history",
                                         "main/probe/0123"};
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    renew();
    ASSERT_OK(create());
    ASSERT_OK(create("data", "main2"));
    for (const std::string& key : keys) ASSERT_OK(store_->put({key}, as_bytes("x")));
    const auto repository = Repository::open(*store_);
    ASSERT_OK(repository);
    store_->set_rules({{.nth = n, .times_max = 1, .fault = Fault::kFail}});
    const auto deleted = stanza_delete(**repository, "main", cancel);
    const bool fired = !store_->fired().empty();
    store_->set_rules({});
    bool manifests = false, packs = false, others = false, records = false, dumps = false, dump_packs = false;
    ASSERT_OK_AND_ASSIGN(const auto left, store_->list_all("main/"));
    for (const ObjectInfo& object : left) {
      const std::string& key = object.key.value;
      manifests |= key.starts_with("main/backup/") && key.ends_with("/manifest");
      dumps |= key.starts_with("main/dump/") && key.ends_with("/manifest");
      dump_packs |= key.starts_with("main/dump/") && key.ends_with("/000001");
      packs |= key.starts_with("main/pack/");
      others |= !key.starts_with("main/cluster/");
      records |= key.starts_with("main/cluster/");
    }
    EXPECT_TRUE(!manifests || packs) << "a listed backup lacks its packs";
    EXPECT_TRUE(!dumps || dump_packs) << "a listed dump lacks its packs";
    EXPECT_TRUE(!others || records) << "what is left has no stanza";
    if (!fired) {
      ASSERT_OK(deleted);
      EXPECT_EQ(deleted->backups, 2u);
      EXPECT_EQ(deleted->dumps, 1u);
      EXPECT_EQ(deleted->objects, keys.size() + 1);
      ASSERT_GT(n, keys.size());
      break;
    }
    EXPECT_FALSE(deleted.has_value());
    const auto again = stanza_delete(**repository, "main", cancel);
    EXPECT_TRUE(again.has_value() || again.error().code() == Errc::kNotFound);
    EXPECT_TRUE(store_->list_all("main/")->empty());
    EXPECT_FALSE(store_->list_all("main2/")->empty()) << "another stanza's name begins with this one's";
  }
}

TEST_F(Stanza, DeleteOfMissingStanzaSaysSo) {
  const CancelToken cancel;
  const auto repository = new_repository(*store_);
  const auto deleted = stanza_delete(*repository, "main", cancel);
  ASSERT_FALSE(deleted.has_value());
  EXPECT_EQ(deleted.error().code(), Errc::kNotFound);
}

TEST_F(Stanza, PostmasterRunsIfItsProcessLives) {
  const std::string data = scratch_ / "data";
  ASSERT_OK_AND_ASSIGN(const bool without, postmaster_runs(data));
  EXPECT_FALSE(without);
  for (const auto& [content, runs] : {std::pair{std::to_string(::getpid()) + "\n/data\n", true},
                                      {"-" + std::to_string(::getpid()) + "\n", true},
                                      {std::string("4194305\n"), false}}) {
    ASSERT_OK(write_file_durable(data + "/postmaster.pid", content));
    ASSERT_OK_AND_ASSIGN(const bool found, postmaster_runs(data));
    EXPECT_EQ(found, runs) << content;
  }
  ASSERT_OK(write_file_durable(data + "/postmaster.pid", ""));
  EXPECT_FALSE(postmaster_runs(data).has_value());
}

/// The samples' own segment and histories, archived from their own data directory.
TEST_F(Stanza, ArchivesWhatARealClusterWrote) {
  ASSERT_OK(create());
  make_data_directory("other", "16");
  ASSERT_OK(create("other", "second"));
  const auto repository = Repository::open(*store_);
  ASSERT_OK(repository);
  const std::string history = std::string(PGARK_SOURCE_DIR) + "/src/pg/testdata/15/00000003.history";
  ArchivePushOptions options;
  options.stanza = "main";
  options.source_path = history;
  options.data_directory = scratch_ / "data";
  ASSERT_OK(archive_push(**repository, system_clock(), options));
  options.stanza = "second";
  const auto refused = archive_push(**repository, system_clock(), options);
  ASSERT_FALSE(refused.has_value()) << "a history tells no cluster; its data directory does";
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);

  // A server of another cluster asks.
  ArchiveGetOptions get;
  get.stanza = "main";
  get.name = "00000003.history";
  get.destination = scratch_ / "RECOVERYHISTORY";
  get.data_directory = scratch_ / "other";
  EXPECT_FALSE(archive_get(**repository, system_clock(), get).has_value());
  get.data_directory = scratch_ / "data";
  ASSERT_OK_AND_ASSIGN(const auto outcome, archive_get(**repository, system_clock(), get));
  EXPECT_EQ(outcome, ArchiveGetOutcome::kFetched);
}

TEST(Info, GapsAreNamedWithinTimelines) {
  const auto ranges = wal_ranges({"000000010000000000000001", "000000010000000000000002", "000000010000000000000005",
                                  "000000010000000000000007", "000000020000000000000009"},
                                 16u << 20);
  const auto gaps = wal_gaps(ranges, 16u << 20);
  ASSERT_EQ(gaps.size(), 2u);
  EXPECT_EQ(gaps[0].first, "000000010000000000000003");
  EXPECT_EQ(gaps[0].last, "000000010000000000000004");
  EXPECT_EQ(gaps[0].count, 2u);
  EXPECT_EQ(gaps[1].first, "000000010000000000000006");
  EXPECT_EQ(gaps[1].count, 1u);
}

TEST(Info, ListsStanzasInOrderWhateverTheirNames) {
  MemoryStore store;
  const auto repository = new_repository(store);
  for (const char* key : {"main/cluster/1", "main/wal/1/x", "main-2/cluster/1", "main.old/cluster/1", "mai/cluster/1",
                          "main0/cluster/1", "Z/cluster/1"}) {
    ASSERT_OK(store.put({key}, as_bytes("x")));
  }
  ASSERT_OK_AND_ASSIGN(const auto stanzas, list_stanzas(*repository));
  EXPECT_THAT(stanzas, ::testing::ElementsAre("Z", "mai", "main", "main-2", "main.old", "main0"));
}

TEST_F(Stanza, InfoShowsDamageInsteadOfStopping) {
  ASSERT_OK(create());
  const auto repository = Repository::open(*store_);
  ASSERT_OK(repository);
  ASSERT_OK_AND_ASSIGN(const InfoStanza empty, stanza_info(**repository, "main"));
  EXPECT_EQ(empty.status, StanzaStatus::kNoBackups);
  ASSERT_OK_AND_ASSIGN(const InfoStanza missing, stanza_info(**repository, "other"));
  EXPECT_EQ(missing.status, StanzaStatus::kMissing);

  ASSERT_OK(store_->put({"main/backup/20261122-101500F/manifest"}, as_bytes("rubbish")));
  ASSERT_OK_AND_ASSIGN(const InfoStanza damaged, stanza_info(**repository, "main"));
  EXPECT_EQ(damaged.status, StanzaStatus::kDamaged);
  ASSERT_EQ(damaged.backups.size(), 1u);
  EXPECT_TRUE(damaged.backups[0].error.has_value());
  EXPECT_EQ(damaged.clusters.size(), 1u);

  ASSERT_OK(store_->put({"bad/cluster/1"}, as_bytes("rubbish")));
  ASSERT_OK_AND_ASSIGN(const InfoStanza bad, stanza_info(**repository, "bad"));
  EXPECT_EQ(bad.status, StanzaStatus::kDamaged);
  EXPECT_EQ(bad.errors.size(), 1u);
}

}  // namespace
}  // namespace pgark
