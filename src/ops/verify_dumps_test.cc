// verify and dumps: damage of every object of a dump is found, named, and looked for elsewhere.
#include "ops/verify_dumps.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/hold.h"
#include "catalog/verify_record.h"
#include "core/file.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/memory_repository.h"
#include "testing/sample_dump.h"
#include "testing/scratch.h"

namespace pgark {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kLabel = "20261122-101500L";
const std::string kOther = "20261123-101500L";

/// repo1 and repo2 hold the same two dumps: one in small packs with a table that fills several of them, one small.
class VerifyDumps : public ::testing::Test {
 protected:
  void SetUp() override {
    const RepositorySet both({repository_.get(), repository2_.get()});
    testing::SampleDump dump(both, kLabel, 512u << 10);
    for (uint64_t i = 0; i < 5; ++i) dump.table(fmt::format("t{}", i), random_bytes(200'000 + i, i));
    dump.table("large", random_bytes(5u << 20, 9));
    dump.stream("toc.dat", as_bytes("toc"));
    dump.commit();
    dump_ = dump.dump;
    testing::SampleDump other(both, kOther);
    other.table("small", as_bytes("1\n"));
    other.commit();
    ASSERT_TRUE(write_hold(*repository_, "main", kLabel, {Timestamp::max(), "audit", {}}).has_value());
  }

  VerifyReport verify(VerifyOptions options = {.stanza = "main"}) {
    options.process_max = 2;
    Rng rng(1);
    Progress progress;
    const std::vector<OtherRepository> others{{2, repository2_.get()}};
    auto report = run_verify(*repository_, others, options, system_clock(), rng, cancel_, progress);
    EXPECT_TRUE(report.has_value()) << report.error().to_string();
    return report.has_value() ? std::move(*report) : VerifyReport();
  }
  static void flip(ObjectStore& store, const ObjectKey& key, size_t byte) {
    auto content = store.get(key);
    ASSERT_TRUE(content.has_value());
    content->data()[byte] ^= std::byte{8};
    ASSERT_TRUE(store.remove(key).value());
    ASSERT_TRUE(store.put(key, *content).has_value());
  }
  const DumpStream& stream(size_t index) const { return dump_.meta.units[0].streams[index]; }
  /// A byte inside a frame of a stream.
  std::pair<ObjectKey, size_t> inside(const DumpRun& run) const {
    const ObjectKey key = dump_pack_key("main", kLabel, run.pack);
    const auto pack = ContainerReader::open(*repository_, key, ContainerKind::kDump);
    EXPECT_TRUE(pack.has_value());
    return {key, pack->frames()[run.first_frame].offset + 30};
  }

  CancelToken cancel_;
  FaultStore store_{std::make_unique<MemoryStore>("repo1")};
  MemoryStore store2_{"repo2"};
  std::unique_ptr<Repository> repository_ = new_repository(store_);
  std::unique_ptr<Repository> repository2_ = new_repository(store2_);
  Dump dump_;
};

TEST_F(VerifyDumps, ReadsEverythingAndFindsItGood) {
  ASSERT_GT(stream(5).runs.size(), 2u);
  const VerifyReport report = verify();
  EXPECT_TRUE(report.ok()) << (report.damages.empty() ? "" : report.damages[0].cause);
  EXPECT_TRUE(report.finished);
  EXPECT_THAT(report.dump_labels, ElementsAre(kLabel, kOther));
  EXPECT_EQ(report.dump_pack_count, report.dump_pack_total);
  EXPECT_EQ(report.dump_pack_total, dump_.meta.pack_count + 1);
  EXPECT_EQ(report.dump_frame_count, 5u + 1 + 1) << "the large table is read on its own";
  EXPECT_EQ(report.record_count, 1u) << "the hold";
  const auto verdicts = verify_verdicts(list_verify_records(*repository_, "main").value());
  EXPECT_TRUE(verdicts.at(kLabel).verified.has_value());
}

TEST_F(VerifyDumps, DamagedFrameNamesTheTableAndTheGoodCopy) {
  const auto [key, byte] = inside(stream(2).runs[0]);
  flip(store_.inner(), key, byte);
  const VerifyReport report = verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].kind, DamageKind::kDumpPack);
  EXPECT_EQ(report.damages[0].object, key.value);
  EXPECT_THAT(report.damages[0].backups, ElementsAre(kLabel));
  EXPECT_THAT(report.damages[0].good_copies, ElementsAre(2u));
  ASSERT_THAT(report.dumps, SizeIs(1));
  EXPECT_EQ(report.dumps[0].label, kLabel);
  EXPECT_THAT(report.dumps[0].streams, ElementsAre("app: public.t2 (16387.dat)"));
  EXPECT_THAT(report.dumps[0].good_copies, ElementsAre(2u));
  EXPECT_THAT(report.next_steps, ::testing::Contains(HasSubstr("--repo=2 load --set=" + kLabel)));
  const auto verdicts = verify_verdicts(list_verify_records(*repository_, "main").value());
  EXPECT_EQ(verdicts.at(kLabel).damage, "1 stream is damaged");
  EXPECT_EQ(verdicts.at(kOther).damage, "");
}

TEST_F(VerifyDumps, DamageInAStreamOfSeveralPacksIsFoundInItsPack) {
  const auto [key, byte] = inside(stream(5).runs[1]);
  flip(store_.inner(), key, byte);
  flip(store2_, key, byte);
  const VerifyReport report = verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].object, key.value);
  EXPECT_THAT(report.damages[0].good_copies, IsEmpty());
  ASSERT_THAT(report.dumps, SizeIs(1));
  EXPECT_THAT(report.dumps[0].streams, ElementsAre("app: public.large (16390.dat)"));
  EXPECT_THAT(report.dumps[0].good_copies, IsEmpty());
}

TEST_F(VerifyDumps, MissingPackHitsAllThatLiesInIt) {
  const ObjectKey key = dump_pack_key("main", kLabel, stream(0).runs[0].pack);
  ASSERT_TRUE(store_.remove(key).value());
  const VerifyReport report = verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_TRUE(report.damages[0].missing);
  EXPECT_GE(report.dumps.at(0).stream_count, 2u);
}

TEST_F(VerifyDumps, UnreadableManifestIsDamageOfTheDump) {
  const ObjectKey key = dump_manifest_key("main", kLabel);
  flip(store_.inner(), key, 100);
  const VerifyReport report = verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].kind, DamageKind::kDumpManifest);
  EXPECT_THAT(report.damages[0].good_copies, ElementsAre(2u));
  ASSERT_THAT(report.dumps, SizeIs(1));
  EXPECT_TRUE(report.dumps[0].manifest);
}

TEST_F(VerifyDumps, ManifestThatTellsOfOtherBytesIsFound) {
  // As if a defect had swapped two streams: every frame is good.
  for (const auto& [a, b] : {std::pair(size_t{0}, size_t{1}), std::pair(size_t{5}, size_t{5})}) {
    MemoryStore fresh;
    const auto repository = new_repository(fresh);
    testing::SampleDump dump(*repository, kLabel, 512u << 10);
    for (uint64_t i = 0; i < 5; ++i) dump.table(fmt::format("t{}", i), random_bytes(200'000 + i, i));
    dump.table("large", random_bytes(5u << 20, 9));
    auto& streams = dump.meta().units[0].streams;
    std::swap(streams[a].hash, streams[b].hash);
    if (a == b) streams[a].hash = std::string(32, '0');
    dump.commit();
    repository_ = new_repository(fresh);
    const VerifyReport report = verify();
    EXPECT_THAT(report.damages, SizeIs(a == b ? 1 : 2));
    for (const VerifyDamage& damage : report.damages) EXPECT_EQ(damage.kind, DamageKind::kDumpManifest);
    ASSERT_THAT(report.dumps, SizeIs(1));
    EXPECT_EQ(report.dumps[0].stream_count, a == b ? 1u : 2u);
    EXPECT_FALSE(report.dumps[0].manifest);
  }
  repository_ = new_repository(store_);
}

TEST_F(VerifyDumps, OneByItsLabel) {
  flip(store_.inner(), dump_manifest_key("main", kLabel), 100);
  const VerifyReport report = verify({.stanza = "main", .sets = {kOther}});
  EXPECT_TRUE(report.ok());
  EXPECT_THAT(report.dump_labels, ElementsAre(kOther));
  EXPECT_THAT(report.labels, IsEmpty());
  EXPECT_FALSE(verify({.stanza = "main", .sets = {kLabel}}).ok());
  Rng rng(1);
  Progress progress;
  const auto absent = run_verify(*repository_, {}, {.stanza = "main", .sets = {"20300101-000000L"}}, system_clock(),
                                 rng, cancel_, progress);
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code(), Errc::kNotFound);
}

TEST_F(VerifyDumps, SampleReadsAShare) {
  const VerifyReport report = verify({.stanza = "main", .share = 0.5});
  EXPECT_TRUE(report.ok());
  EXPECT_GT(report.dump_frame_count, 0u);
  EXPECT_LT(report.dump_frame_count, 14u);
}

TEST_F(VerifyDumps, InterruptedRoundGoesOnAndKeepsWhatItFound) {
  const auto scratch = testing::ScratchDir::create("verify-dumps");
  const auto [key, byte] = inside(stream(0).runs[0]);
  flip(store_.inner(), key, byte);
  VerifyOptions options{.stanza = "main", .state_path = *scratch / "state.json"};
  Rng rng(1);
  Progress progress;
  store_.set_rules({{.call = StoreCall::kRead, .prefix = dump_pack_key("main", kOther, 1).value, .every = 1},
                    {.call = StoreCall::kRead, .prefix = "pgark.json", .every = 1}});
  const auto ended = run_verify(*repository_, {}, options, system_clock(), rng, cancel_, progress);
  ASSERT_FALSE(ended.has_value());
  EXPECT_FALSE(store_.fired().empty());
  store_.set_rules({});
  const uint64_t before = store_.bytes_read();
  const VerifyReport report = verify(options);
  EXPECT_TRUE(report.resumed);
  EXPECT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.dump_pack_count, report.dump_pack_total);
  EXPECT_LT(store_.bytes_read() - before, 2u << 20) << "the packs of the first dump are not read again";
}

TEST_F(VerifyDumps, BitsAreFoundWhereverTheyTurn) {
  const ObjectKey key = dump_pack_key("main", kLabel, stream(0).runs[0].pack);
  const size_t bytes = store_.stat(key).value()->bytes;
  for (size_t byte = 5; byte < bytes; byte += bytes / 12) {
    flip(store_.inner(), key, byte);
    const VerifyReport report = verify({.stanza = "main", .sets = {kLabel}});
    EXPECT_FALSE(report.ok()) << byte;
    flip(store_.inner(), key, byte);
  }
}

}  // namespace
}  // namespace pgark
