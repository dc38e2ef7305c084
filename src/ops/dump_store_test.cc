// The bytes of dumps: what goes in comes out, from whichever repository is good, with few objects and few requests.
#include "ops/dump_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipe/task_group.h"
#include "repo/copy_container.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::SizeIs;

const std::string kLabel = "20261122-101500L";
constexpr size_t kMiB = 1u << 20;

/// A memory store that says it is behind a network.
class FarStore final : public testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  StoreCaps caps() const override { return {.kind = "far"}; }
};

class DumpStoreTest : public ::testing::Test {
 protected:
  DumpPackOptions options(uint64_t pack_bytes = 64u << 20) const {
    return {.stanza = "main", .label = kLabel, .codec = Codec::kZstd, .level = 1, .pack_bytes = pack_bytes};
  }
  static Result<DumpStream> store(DumpPacks& packs, const std::string& name, Bytes content, size_t piece = 8192) {
    TRY_ASSIGN(DumpPacks::Writer writer, packs.begin(name));
    for (size_t at = 0; at < content.size(); at += piece)
      TRY(writer.append(content.subspan(at, std::min(piece, content.size() - at))));
    EXPECT_EQ(writer.bytes(), content.size());
    return std::move(writer).finish();
  }
  /// One stream of this content, as all of a dump.
  DumpStream store_one(const RepositorySet& repositories, Bytes content, uint64_t pack_bytes = 64u << 20) {
    DumpPacks packs(repositories, options(pack_bytes));
    auto stream = store(packs, "3456.dat", content);
    EXPECT_TRUE(stream.has_value()) << stream.error().to_string();
    const auto finished = packs.finish();
    EXPECT_TRUE(finished.has_value()) << finished.error().to_string();
    return *stream;
  }
  DumpReader reader() const { return {{repository_.get()}, "main", kLabel}; }
  Result<std::string> read(const DumpReader& from, const DumpStream& stream) const {
    return from.read_whole(stream, cancel_, uint64_t{1} << 30);
  }
  size_t packs_in(ObjectStore& store) { return store.list_all("main/dump/")->size(); }

  const CancelToken cancel_;
  FaultStore store_{std::make_unique<MemoryStore>("repo1")};
  std::unique_ptr<Repository> repository_ = new_repository(store_);
};

TEST_F(DumpStoreTest, GivesBackStreamsOfEverySize) {
  for (const size_t piece : {size_t{1000}, kMiB, 3 * kMiB + 1}) {
    DumpPacks packs(*repository_, {.stanza = "main", .label = fmt::format("2026112{}-000000L", piece % 10)});
    std::vector<std::pair<DumpStream, Buffer>> stored;
    for (const size_t size : {size_t{0}, size_t{1}, kMiB - 1, kMiB, kMiB + 1, 5 * kMiB + 17}) {
      Buffer content = random_bytes(size, size);
      auto stream = store(packs, fmt::format("{}.dat", size), content, piece);
      ASSERT_TRUE(stream.has_value()) << stream.error().to_string();
      EXPECT_EQ(stream->raw_bytes, size);
      EXPECT_EQ(stream->runs.empty(), size == 0);
      stored.emplace_back(std::move(*stream), std::move(content));
    }
    ASSERT_TRUE(packs.finish().has_value());
    EXPECT_EQ(packs.pack_count(), 1u);
    EXPECT_GT(packs.stored_bytes(), kMiB);
    const DumpReader from({repository_.get()}, "main", fmt::format("2026112{}-000000L", piece % 10));
    for (const auto& [stream, content] : stored) EXPECT_EQ(read(from, stream).value(), as_text(content));
  }
}

TEST_F(DumpStoreTest, ManySmallStreamsMakeFewObjects) {
  DumpPacks packs(*repository_, options());
  std::vector<DumpStream> streams;
  for (int i = 0; i < 2000; ++i) {
    auto stream = store(packs, fmt::format("{}.dat", i), as_bytes(fmt::format("row {}", i)));
    ASSERT_TRUE(stream.has_value());
    streams.push_back(std::move(*stream));
  }
  ASSERT_TRUE(packs.finish().has_value());
  EXPECT_EQ(packs_in(store_), 1u);
  const DumpReader from = reader();
  for (int i = 0; i < 2000; i += 97)
    EXPECT_EQ(read(from, streams[static_cast<size_t>(i)]).value(), fmt::format("row {}", i));
}

TEST_F(DumpStoreTest, LargeStreamGoesOnInTheNextPack) {
  const Buffer content = random_bytes(9 * kMiB + 5, 1);
  const DumpStream stream = store_one(*repository_, content, 2 * kMiB);
  EXPECT_GE(packs_in(store_), 2u);
  EXPECT_EQ(stream.runs.size(), packs_in(store_));
  EXPECT_EQ(read(reader(), stream).value(), as_text(content));
}

TEST_F(DumpStoreTest, WritersOfSeveralThreadsShareThePacks) {
  constexpr size_t kThreads = 4;
  constexpr size_t kEach = 40;
  DumpPacks packs(*repository_, options(kMiB));
  std::vector<std::vector<DumpStream>> streams(kThreads);
  TaskGroup group;
  for (size_t t = 0; t < kThreads; ++t)
    group.spawn([&, t]() -> Result<> {
      for (size_t i = 0; i < kEach; ++i) {
        TRY_ASSIGN(DumpStream stream, store(packs, fmt::format("{}-{}", t, i), random_bytes(i * 9000, t * 1000 + i)));
        streams[t].push_back(std::move(stream));
      }
      return {};
    });
  const auto done = group.wait();
  ASSERT_TRUE(done.has_value()) << done.error().to_string();
  ASSERT_TRUE(packs.finish().has_value());
  const DumpReader from = reader();
  TaskGroup readers;
  for (size_t t = 0; t < kThreads; ++t)
    readers.spawn([&, t]() -> Result<> {
      for (size_t i = 0; i < kEach; ++i) {
        TRY_ASSIGN(const std::string text, read(from, streams[t][i]));
        EXPECT_EQ(text, as_text(random_bytes(i * 9000, t * 1000 + i)));
      }
      return {};
    });
  const auto all_read = readers.wait();
  EXPECT_TRUE(all_read.has_value()) << all_read.error().to_string();
}

TEST_F(DumpStoreTest, StreamThatIsGivenUpHarmsNoOther) {
  DumpPacks packs(*repository_, options());
  {
    auto given_up = packs.begin("broken");
    ASSERT_TRUE(given_up->append(random_bytes(3 * kMiB, 4)).has_value());
  }
  const Buffer content = random_bytes(2 * kMiB, 5);
  const auto stream = store(packs, "good", content);
  ASSERT_TRUE(packs.finish().has_value());
  EXPECT_EQ(read(reader(), *stream).value(), as_text(content));
}

TEST_F(DumpStoreTest, FailureOfAPackIsWhatFinishReports) {
  store_.set_rules({{.call = StoreCall::kCommit, .prefix = "main/dump/", .code = Errc::kNoSpace}});
  DumpPacks packs(*repository_, options(kMiB));
  Result<> appended;
  auto writer = packs.begin("3456.dat");
  ASSERT_TRUE(writer.has_value());
  const Buffer piece = random_bytes(kMiB, 6);
  for (int i = 0; i < 1000 && appended.has_value(); ++i) appended = writer->append(piece);
  ASSERT_FALSE(appended.has_value());
  EXPECT_EQ(appended.error().code(), Errc::kNoSpace) << appended.error().to_string();
  EXPECT_EQ(packs.begin("next").error().code(), Errc::kNoSpace);
  const auto finished = packs.finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().code(), Errc::kNoSpace);
  EXPECT_THAT(finished.error().message(), HasSubstr("main/dump/" + kLabel + "/0000"));
  EXPECT_FALSE(store_.fired().empty());
}

TEST_F(DumpStoreTest, DiscardLeavesNothing) {
  DumpPacks packs(*repository_, options(kMiB));
  ASSERT_TRUE(store(packs, "3456.dat", random_bytes(6 * kMiB, 7)).has_value());
  packs.discard();
  EXPECT_EQ(packs_in(store_), 0u);
}

TEST_F(DumpStoreTest, DamageIsFoundAndNamed) {
  const Buffer content = random_bytes(3 * kMiB, 8);
  const DumpStream stream = store_one(*repository_, content);
  const ObjectKey pack = dump_pack_key("main", kLabel, 1);
  const uint64_t bytes = store_.stat(pack).value()->bytes;
  // Frames begin behind the header and the key frame; the index at the end is damage of another kind.
  for (const uint64_t byte : {uint64_t{300}, bytes / 2, bytes - 100, bytes - 10}) {
    MemoryStore damaged;
    copy_with_flipped_bit(store_, damaged, pack, byte * 8);
    const auto repository = Repository::open(damaged);
    const DumpReader from({repository->get()}, "main", kLabel);
    const auto got = read(from, stream);
    ASSERT_FALSE(got.has_value()) << byte;
    EXPECT_EQ(got.error().code(), Errc::kCorrupt);
    EXPECT_THAT(got.error().message(), HasSubstr(pack.value));
    EXPECT_THAT(got.error().message(), HasSubstr("3456.dat"));
  }
}

TEST_F(DumpStoreTest, ManifestThatNamesOtherFramesIsFoundOut) {
  DumpPacks packs(*repository_, options());
  const auto a = store(packs, "a", random_bytes(kMiB, 1));
  const auto b = store(packs, "b", random_bytes(kMiB, 2));
  ASSERT_TRUE(packs.finish().has_value());
  DumpStream swapped = *a;
  swapped.runs = b->runs;
  EXPECT_EQ(read(reader(), swapped).error().code(), Errc::kCorrupt);
  DumpStream past = *a;
  past.runs[0].frame_count = 1000;
  EXPECT_EQ(read(reader(), past).error().code(), Errc::kCorrupt);
  DumpStream key_frame = *a;
  key_frame.runs[0].first_frame = 0;
  EXPECT_EQ(read(reader(), key_frame).error().code(), Errc::kCorrupt);
  DumpStream shorter = *a;
  shorter.raw_bytes -= 1;
  EXPECT_EQ(read(reader(), shorter).error().code(), Errc::kCorrupt);
}

TEST_F(DumpStoreTest, ErrorOfTheSinkComesBackUnchanged) {
  const DumpStream stream = store_one(*repository_, random_bytes(3 * kMiB, 9));
  int pieces = 0;
  const auto got = reader().read(stream, cancel_, [&](Bytes) -> Result<> {
    if (++pieces == 2) return Error(Errc::kNoSpace, "write: no space left");
    return {};
  });
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().message(), "write: no space left");
  EXPECT_EQ(pieces, 2);
  CancelToken cancelled;
  cancelled.cancel();
  EXPECT_EQ(reader().read(stream, cancelled, [](Bytes) -> Result<> { return {}; }).error().code(), Errc::kCancelled);
  EXPECT_EQ(reader().read_whole(stream, cancel_, 1000).error().code(), Errc::kInvalid);
}

TEST_F(DumpStoreTest, FarStoreIsReadInLargePiecesAhead) {
  FarStore far(store_);
  const auto repository = new_repository(far);
  const Buffer content = random_bytes(20 * kMiB, 10);
  const DumpStream stream = store_one(*repository, content, 8 * kMiB);
  const DumpReader from({repository.get()}, "main", kLabel);
  const uint64_t before = store_.calls(StoreCall::kRead);
  size_t at = 0;
  const auto got = from.read(stream, cancel_, [&](Bytes piece) -> Result<> {
    EXPECT_TRUE(std::equal(piece.begin(), piece.end(), content.bytes().begin() + static_cast<ptrdiff_t>(at)));
    at += piece.size();
    return {};
  });
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(at, content.size());
  // Of each pack of about 16 MiB raw its end, and 8 MiB stored in two or three reads.
  EXPECT_THAT(store_.calls(StoreCall::kRead) - before, Le(stream.runs.size() * 4));
  int pieces = 0;
  const auto ended = from.read(stream, cancel_, [&](Bytes) -> Result<> {
    if (++pieces == 7) return Error(Errc::kInvalid, "enough");
    return {};
  });
  EXPECT_EQ(ended.error().message(), "enough");
}

/// The same dump in two repositories.
class DumpFailover : public DumpStoreTest {
 protected:
  void SetUp() override {
    const RepositorySet both({repository_.get(), repository2_.get()});
    stream_ = store_one(both, content_, 2 * kMiB);
    dump_.meta.label = kLabel;
    dump_.meta.series = "database app";
    dump_.meta.units.emplace_back().streams = {stream_};
    ASSERT_TRUE(write_dump(both, "main", dump_).has_value());
  }
  DumpReader both() const { return {{repository_.get(), repository2_.get()}, "main", kLabel}; }
  static void flip(FaultStore& store, const ObjectKey& key, double place) {
    auto content = store.inner().get(key);
    ASSERT_TRUE(content.has_value());
    content->data()[static_cast<size_t>(place * static_cast<double>(content->size()))] ^= std::byte{8};
    ASSERT_TRUE(store.inner().remove(key).value());
    ASSERT_TRUE(store.inner().put(key, *content).has_value());
  }

  FaultStore store2_{std::make_unique<MemoryStore>("repo2")};
  std::unique_ptr<Repository> repository2_ = new_repository(store2_);
  const Buffer content_ = random_bytes(12 * kMiB, 11);
  DumpStream stream_;
  Dump dump_;
};

TEST_F(DumpFailover, DamagedFramesComeFromTheOther) {
  flip(store_, dump_pack_key("main", kLabel, 1), 0.5);
  flip(store2_, dump_pack_key("main", kLabel, 2), 0.5);
  flip(store_, dump_pack_key("main", kLabel, 3), 0.9999);  // Its trailer.
  const auto got = read(both(), stream_);
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(*got, as_text(content_));
}

TEST_F(DumpFailover, RepositoryGoneInTheMiddleIsReplaced) {
  int pieces = 0;
  std::string text;
  const auto got = both().read(stream_, cancel_, [&](Bytes piece) -> Result<> {
    if (++pieces == 3) store_.set_rules({{.call = StoreCall::kRead, .every = 1}});
    text += as_text(piece);
    return {};
  });
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_EQ(text, as_text(content_));
  EXPECT_FALSE(store_.fired().empty());
}

TEST_F(DumpFailover, PackThatIsMissingComesFromTheOther) {
  ASSERT_TRUE(store_.remove(dump_pack_key("main", kLabel, 2)).value());
  EXPECT_EQ(read(both(), stream_).value(), as_text(content_));
}

TEST_F(DumpFailover, DamageInBothIsSaidOfBoth) {
  flip(store_, dump_pack_key("main", kLabel, 1), 0.2);
  flip(store2_, dump_pack_key("main", kLabel, 1), 0.2);
  const auto got = read(both(), stream_);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code(), Errc::kCorrupt);
  EXPECT_THAT(got.error().message(), HasSubstr(dump_pack_key("main", kLabel, 1).value));
}

TEST_F(DumpFailover, AnotherDumpOfTheSameNameIsNotMixedIn) {
  ASSERT_TRUE(store2_.remove(dump_manifest_key("main", kLabel)).value());
  Dump other = dump_;
  other.meta.host = "another";
  ASSERT_TRUE(write_dump(*repository2_, "main", other).has_value());
  EXPECT_EQ(read(both(), stream_).value(), as_text(content_));
  flip(store_, dump_pack_key("main", kLabel, 1), 0.5);
  const auto got = read(both(), stream_);
  ASSERT_FALSE(got.has_value());
  EXPECT_THAT(got.error().message(), HasSubstr("another one of the same name"));
}

TEST_F(DumpFailover, CopyOfADumpIsReadTheSame) {
  MemoryStore third;
  const auto repository3 = new_repository(third);
  const auto objects = store_.list_all("main/dump/");
  ASSERT_TRUE(objects.has_value());
  for (const ObjectInfo& object : *objects) {
    const bool is_manifest = object.key.value.ends_with("/manifest");
    const auto copied = copy_container(*repository_, *repository3, object.key,
                                       is_manifest ? ContainerKind::kManifest : ContainerKind::kDump);
    ASSERT_TRUE(copied.has_value()) << copied.error().to_string();
  }
  EXPECT_EQ(read({{repository3.get()}, "main", kLabel}, stream_).value(), as_text(content_));
}

TEST_F(DumpFailover, RepositoryLeftBehindDoesNotEndTheDump) {
  FaultStore third(std::make_unique<MemoryStore>("repo3"));
  FaultStore fourth(std::make_unique<MemoryStore>("repo4"));
  const auto repository3 = new_repository(third);
  const auto repository4 = new_repository(fourth);
  fourth.set_rules({{.call = StoreCall::kAppend, .nth = 20, .every = 1}});
  const RepositorySet set({repository3.get(), repository4.get()});
  const DumpStream stream = store_one(set, content_, 2 * kMiB);
  EXPECT_TRUE(set.has_failed(1));
  EXPECT_EQ(read({{repository3.get()}, "main", kLabel}, stream).value(), as_text(content_));
}

}  // namespace
}  // namespace pgark
