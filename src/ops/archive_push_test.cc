#include "ops/archive_push.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "catalog/cluster.h"
#include "catalog/wal.h"
#include "core/file.h"
#include "ops/archive_get.h"
#include "repo/stored_file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/pg_server.h"
#include "testing/sample_cluster_record.h"
#include "testing/scratch.h"
#include "testing/wal_samples.h"

namespace pgark {
namespace {

using ::pgark::testing::sample_segment;
using ::pgark::testing::SampleWal;
using ::pgark::testing::ScratchDir;
using ::testing::HasSubstr;

const ClusterRecord kCluster =
    ::pgark::testing::sample_cluster_record(SampleWal{}.system_id, SampleWal{}.segment_bytes);

constexpr pg::WalSegment kSegment{TimelineId{1}, 5};
const std::string kName = "000000010000000000000005";

/// A stanza in a store that can fail, and a pg_wal to push from.
class ArchivePush : public ::testing::Test {
 protected:
  void SetUp() override {
    auto scratch = ScratchDir::create("push");
    ASSERT_OK(scratch);
    scratch_ = std::move(*scratch);
    renew();
  }

  /// An empty stanza in a new store.
  void renew() {
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
    ASSERT_OK(write_cluster(*repository_, "main", kCluster));
  }

  void put_file(const std::string& name, Bytes content) {
    ASSERT_OK(write_file_durable(scratch_ / name, as_text(content)));
  }
  void put_file(const std::string& name, std::string_view content) { put_file(name, as_bytes(content)); }

  Result<ArchivePushResult> push_path(const std::string& stanza, const std::string& path) {
    return archive_push(
        *repository_, system_clock(),
        {.stanza = stanza, .source_path = path, .data_directory = "", .threads = threads_, .host = "db1"});
  }
  Result<ArchivePushResult> push(const std::string& name) { return push_path("main", scratch_ / name); }

  /// Content of the file as archive_get() delivers it.
  Result<std::string> get(const std::string& name) {
    const std::string destination = scratch_ / "RECOVERYXLOG";
    TRY_ASSIGN(const auto outcome,
               archive_get(*repository_, system_clock(), {"main", name, destination, "", threads_}));
    if (outcome == ArchiveGetOutcome::kAbsent) return Error(Errc::kNotFound, "absent");
    return read_file(destination);
  }

  std::vector<std::string> stored_keys(const std::string& prefix) {
    std::vector<std::string> keys;
    const auto objects = store_->list_all(prefix);
    EXPECT_TRUE(objects.has_value());
    if (objects) {
      for (const ObjectInfo& object : *objects) keys.push_back(object.key.value);
    }
    return keys;
  }

  unsigned threads_ = 1;
  ScratchDir scratch_;
  std::unique_ptr<FaultStore> store_;
  std::unique_ptr<Repository> repository_;
};

TEST_F(ArchivePush, ThreadsDoNotChangeWhatIsStored) {
  constexpr uint32_t kBytes = 32u << 20;
  const Buffer segment = sample_segment(kSegment, 1, {.segment_bytes = kBytes});
  ClusterRecord cluster = kCluster;
  cluster.wal_segment_bytes = kBytes;
  put_file(kName, segment);
  std::vector<uint64_t> stored;
  for (const unsigned threads : {1u, 2u, 3u, 8u, 100u}) {
    store_ = std::make_unique<FaultStore>(std::make_unique<MemoryStore>());
    repository_ = new_repository(*store_);
    ASSERT_OK(write_cluster(*repository_, "main", cluster));
    threads_ = threads;
    ASSERT_OK_AND_ASSIGN(const ArchivePushResult result, push(kName));
    ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
    EXPECT_TRUE(back == as_text(segment)) << threads << " threads";
    stored.push_back(store_->bytes_appended());
  }
  // Times and ids differ in the documents around it, by a few bytes at most once compressed.
  for (const uint64_t bytes : stored) EXPECT_NEAR(static_cast<double>(bytes), static_cast<double>(stored[0]), 64.0);
}

TEST_F(ArchivePush, ThreadsEndWhenTheStoreFails) {
  threads_ = 3;
  const Buffer segment = sample_segment(kSegment, 1, {.segment_bytes = 32u << 20});
  ClusterRecord cluster = kCluster;
  cluster.number = 2;
  cluster.wal_segment_bytes = 32u << 20;
  ASSERT_OK(write_cluster(*repository_, "main", cluster));
  put_file(kName, segment);
  for (uint64_t n = 1;; ++n) {
    store_->set_rules({{.call = StoreCall::kAppend, .nth = n, .times_max = 1, .fault = Fault::kFail}});
    const auto result = push(kName);
    if (store_->fired().empty()) {
      ASSERT_OK(result);
      ASSERT_GT(n, 32u);
      break;
    }
    EXPECT_FALSE(result.has_value());
  }
}

TEST_F(ArchivePush, StoresSegmentThatComesBackAsItWas) {
  const Buffer segment = sample_segment(kSegment, 1);
  put_file(kName, segment);
  ASSERT_OK_AND_ASSIGN(const ArchivePushResult result, push(kName));
  EXPECT_EQ(result.outcome, ArchivePushOutcome::kStored);
  EXPECT_EQ(result.key.value, "main/wal/1/00000001/00000000/" + kName);
  ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
  EXPECT_TRUE(back == as_text(segment));

  ASSERT_OK_AND_ASSIGN(const std::string text, read_stored_document(*repository_, result.key));
  const auto document = nlohmann::json::parse(text);
  EXPECT_EQ(document["system_identifier"], std::to_string(kCluster.system_identifier));
  EXPECT_EQ(document["raw_bytes"], segment.size());
  EXPECT_EQ(document["host"], "db1");
  EXPECT_FALSE(document.contains("valid_bytes"));
}

TEST_F(ArchivePush, StoresEveryKindOfFile) {
  const std::string backup = "00000001000000000000000" + std::string("5.00000028.backup");
  put_file("00000002.history", "1\t0/600000\tno recovery target specified\n");
  put_file(kName + ".partial", sample_segment(kSegment, 2));
  put_file(backup,
           "START WAL LOCATION: 0/500028 (file 000000010000000000000005)\n"
           "STOP WAL LOCATION: 0/500100 (file 000000010000000000000005)\n"
           "CHECKPOINT LOCATION: 0/500060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n"
           "START TIME: 2026-11-22 10:00:00 UTC\nLABEL: test\nSTART TIMELINE: 1\n"
           "STOP TIME: 2026-11-22 10:00:01 UTC\nSTOP TIMELINE: 1\n");
  for (const std::string& name : {std::string("00000002.history"), kName + ".partial", backup}) {
    ASSERT_OK(push(name));
    ASSERT_OK_AND_ASSIGN(const std::string pushed, read_file(scratch_ / name));
    ASSERT_OK_AND_ASSIGN(const std::string back, get(name));
    EXPECT_TRUE(back == pushed) << name;
  }
  EXPECT_THAT(stored_keys("main/wal/"),
              ::testing::UnorderedElementsAre("main/wal/1/00000002.history", "main/wal/1/" + kName + ".partial",
                                              "main/wal/1/" + backup));
}

TEST_F(ArchivePush, SameBytesAgainIsSuccess) {
  put_file(kName, sample_segment(kSegment, 1));
  ASSERT_OK(push(kName));
  const auto before = stored_keys("");
  ASSERT_OK_AND_ASSIGN(const ArchivePushResult result, push(kName));
  EXPECT_EQ(result.outcome, ArchivePushOutcome::kAlreadyThere);
  EXPECT_EQ(stored_keys(""), before);
}

TEST_F(ArchivePush, OtherBytesUnderSameNameAreRefusedAndFirstStays) {
  const Buffer first = sample_segment(kSegment, 1);
  put_file(kName, first);
  ASSERT_OK(push(kName));
  put_file(kName, sample_segment(kSegment, 2));
  const auto result = push(kName);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Errc::kInvalid);
  EXPECT_THAT(result.error().message(), HasSubstr("differs from main/wal/1/00000001/00000000/" + kName));
  EXPECT_THAT(result.error().to_string(), HasSubstr("two clusters may archive to stanza main"));
  ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
  EXPECT_TRUE(back == as_text(first));
}

TEST_F(ArchivePush, DamagedCopyGetsGoodGenerationBesideIt) {
  const Buffer segment = sample_segment(kSegment, 1);
  put_file(kName, segment);
  ASSERT_OK_AND_ASSIGN(const ArchivePushResult first, push(kName));
  auto damaged = std::make_unique<MemoryStore>();
  copy_with_flipped_bit(*store_, *damaged, first.key, 8 * 5000);
  store_ = std::make_unique<FaultStore>(std::move(damaged));
  repository_ = new_repository(*store_);
  const auto lost = get(kName);
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code(), Errc::kCorrupt);
  EXPECT_THAT(lost.error().to_string(), HasSubstr("push it again"));

  ASSERT_OK_AND_ASSIGN(const ArchivePushResult repaired, push(kName));
  EXPECT_EQ(repaired.outcome, ArchivePushOutcome::kRepaired);
  EXPECT_EQ(repaired.key.value, first.key.value + ".r1");
  ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
  EXPECT_TRUE(back == as_text(segment));

  ASSERT_OK_AND_ASSIGN(const ArchivePushResult again, push(kName));
  EXPECT_EQ(again.outcome, ArchivePushOutcome::kAlreadyThere);
  EXPECT_EQ(again.key, repaired.key);
  put_file(kName, sample_segment(kSegment, 9));
  EXPECT_FALSE(push(kName).has_value()) << "other bytes than the good copy's";
}

struct Refusal {
  const char* what;
  SampleWal wal;
  pg::WalSegment segment;
  size_t bytes;
  Errc code;
  const char* message;
};

TEST_F(ArchivePush, RefusesWhatIsNotTheStanzas) {
  const size_t whole = SampleWal{}.segment_bytes;
  const Refusal refusals[] = {
      {"other cluster", {.system_id = 42}, kSegment, whole, Errc::kInvalid, "system identifier is 42"},
      {"other version", {.magic = 0xD10D}, kSegment, whole, Errc::kInvalid, "PostgreSQL 14"},
      {"other address", {}, {TimelineId{1}, 6}, whole, Errc::kCorrupt, "first page is of position 0/600000"},
      {"later timeline", {}, {TimelineId{2}, 5}, whole, Errc::kInvalid, "timeline 2"},
      {"truncated", {}, kSegment, whole - 8192, Errc::kCorrupt, "has 1040384 bytes"},
      {"empty", {}, kSegment, 0, Errc::kCorrupt, "has 0 bytes"},
      {"other size", {.segment_bytes = 2u << 20}, {TimelineId{1}, 5}, 2u << 20, Errc::kCorrupt, "has 2097152 bytes"},
      {"unknown magic", {.magic = 0x1234}, kSegment, whole, Errc::kUnsupported, "1234"},
  };
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.what);
    const Buffer content = sample_segment(refusal.segment, 1, refusal.wal);
    for (const std::string& name : {kName, kName + ".partial"}) {
      put_file(name, Bytes(content).first(refusal.bytes));
      const auto result = push(name);
      ASSERT_FALSE(result.has_value());
      EXPECT_EQ(result.error().code(), refusal.code) << result.error().to_string();
      EXPECT_THAT(result.error().to_string(), HasSubstr(refusal.message));
    }
  }
  EXPECT_TRUE(stored_keys("main/wal/").empty());
}

TEST_F(ArchivePush, RefusesTextFilesThatAreNotWhatTheirNameSays) {
  put_file("00000002.history", "not a history\n");
  EXPECT_FALSE(push("00000002.history").has_value());
  put_file(kName + ".00000028.backup", "START WAL LOCATION: 0/700028 (file 000000010000000000000007)\n");
  EXPECT_FALSE(push(kName + ".00000028.backup").has_value());
  put_file("postgresql.conf", "");
  EXPECT_FALSE(push("postgresql.conf").has_value());
  EXPECT_FALSE(push("000000010000000000000009").has_value()) << "there is no such file";
  EXPECT_TRUE(stored_keys("main/wal/").empty());
}

TEST_F(ArchivePush, RefusesWithoutStanza) {
  put_file(kName, sample_segment(kSegment, 1));
  const auto result = push_path("other", scratch_ / kName);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Errc::kNotFound);
  EXPECT_THAT(result.error().to_string(), HasSubstr("stanza-create"));
}

TEST_F(ArchivePush, TellsHowFarSegmentIsValid) {
  put_file(kName, sample_segment(kSegment, 1, {}, 3 * 8192));  // Switched: zeros are right.
  ASSERT_OK_AND_ASSIGN(const ArchivePushResult switched, push(kName));
  ASSERT_OK_AND_ASSIGN(const std::string text, read_stored_document(*repository_, switched.key));
  EXPECT_FALSE(nlohmann::json::parse(text).contains("valid_bytes"));

  // The upstream's timeline ended in page 3; the rest is a recycled segment's.
  renew();
  Buffer content = sample_segment(kSegment, 1);
  const Buffer old = sample_segment({TimelineId{1}, 2}, 3);
  std::memcpy(content.data() + size_t{3} * 8192, old.data() + size_t{3} * 8192, content.size() - size_t{3} * 8192);
  put_file(kName, content);
  ASSERT_OK_AND_ASSIGN(const ArchivePushResult ended, push(kName));
  ASSERT_OK_AND_ASSIGN(const std::string document, read_stored_document(*repository_, ended.key));
  EXPECT_EQ(nlohmann::json::parse(document)["valid_bytes"], 3 * 8192);
}

/// Whatever a store call does, a push that is acknowledged can be read back, and one that is not can be repeated.
TEST_F(ArchivePush, EveryFailingStoreCallLeavesItAcknowledgedOrRepeatable) {
  const Buffer segment = sample_segment(kSegment, 1);
  put_file(kName, segment);
  const std::pair<Fault, Errc> kinds[] = {{Fault::kFail, Errc::kTransient},
                                          {Fault::kFail, Errc::kPermission},
                                          {Fault::kFail, Errc::kNoSpace},
                                          {Fault::kFail, Errc::kOutcomeUnknown},
                                          {Fault::kFailAfter, Errc::kOutcomeUnknown},
                                          {Fault::kFailAfter, Errc::kTransient},
                                          {Fault::kDuplicate, Errc::kTransient},
                                          {Fault::kTruncate, Errc::kTransient}};
  for (const bool repeated : {false, true}) {  // The first push, and one of a segment that is there.
    for (const auto& [fault, code] : kinds) {
      for (uint64_t n = 1;; ++n) {
        SCOPED_TRACE(::testing::Message() << "fault " << static_cast<int>(fault) << " " << errc_name(code) << " call "
                                          << n << (repeated ? " again" : ""));
        renew();
        if (repeated) ASSERT_OK(push(kName));
        FaultRule rule{.nth = n, .times_max = 1, .fault = fault, .code = code};
        // A list that hides entries breaks the store's promise; nobody could tell.
        if (fault == Fault::kTruncate) rule.call = StoreCall::kAppend;
        if (fault == Fault::kDuplicate) rule.call = StoreCall::kCommit;  // Sent again on its way.
        store_->set_rules({rule});
        const auto result = push(kName);
        const bool fired = !store_->fired().empty();
        store_->set_rules({});
        if (result) {
          ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
          ASSERT_TRUE(back == as_text(segment));
        }
        if (!fired) {
          ASSERT_TRUE(result.has_value());
          const uint64_t calls_min = !rule.call ? 6 : repeated ? 0 : 1;
          ASSERT_GT(n, calls_min) << "too few calls were failed to mean anything";
          break;
        }
        ASSERT_OK(push(kName));
        ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
        ASSERT_TRUE(back == as_text(segment));
      }
    }
  }
}

TEST_F(ArchivePush, LostAnswersOfCommitAreNoFailure) {
  put_file(kName, sample_segment(kSegment, 1));
  store_->set_rules({{.call = StoreCall::kCommit, .fault = Fault::kFailAfter, .code = Errc::kOutcomeUnknown}});
  ASSERT_OK_AND_ASSIGN(const ArchivePushResult result, push(kName));
  EXPECT_EQ(result.outcome, ArchivePushOutcome::kAlreadyThere);
  EXPECT_TRUE(store_->unfired().empty());
}

TEST_F(ArchivePush, OfRacingPushersOneWinsAndEqualOnesAllSucceed) {
  constexpr int kPushers = 8;
  const std::string other = scratch_ / "other";
  ASSERT_OK(make_directories(other));
  for (int round = 0; round < 20; ++round) {
    renew();
    put_file(kName, sample_segment(kSegment, 1));
    ASSERT_OK(write_file_durable(other + "/" + kName, as_text(sample_segment(kSegment, 2))));
    std::vector<std::thread> threads;
    std::vector<int> ok(kPushers, 0);
    for (size_t i = 0; i < kPushers; ++i) {
      threads.emplace_back([&, i] {
        const std::string path = i % 2 == 0 ? scratch_ / kName : other + "/" + kName;
        ok[i] = push_path("main", path).has_value() ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_OK_AND_ASSIGN(const std::string back, get(kName));
    const bool even_won = back == as_text(sample_segment(kSegment, 1));
    for (size_t i = 0; i < kPushers; ++i) EXPECT_EQ(ok[i] == 1, (i % 2 == 0) == even_won) << "pusher " << i;
    EXPECT_EQ(stored_keys("main/wal/").size(), 1u);
  }
}

}  // namespace
}  // namespace pgark
