#include "repo/container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "repo/stored_file.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

const ObjectKey kKey{"main/wal/1/00000001/00000000/000000010000000000000001"};

TEST(Repository, OpenOrCreateKeepsTheFirstId) {
  MemoryStore store;
  const auto first = new_repository(store);
  const auto second = new_repository(store);
  EXPECT_EQ(first->id(), second->id());
  EXPECT_EQ(Repository::open(store).value()->id(), first->id());
}

TEST(Repository, OpenOfNothingSaysWhatToRun) {
  MemoryStore store;
  const auto opened = Repository::open(store);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code(), Errc::kNotFound);
  EXPECT_THAT(opened.error().to_string(), testing::HasSubstr("stanza-create"));
}

TEST(Repository, EveryFlippedBitOfItsRootIsNoticed) {
  MemoryStore store;
  new_repository(store);
  const ObjectKey root{"pgark.json"};
  const uint64_t bits = store.get(root)->size() * 8;
  for (uint64_t bit = 0; bit < bits; ++bit) {
    MemoryStore damaged;
    copy_with_flipped_bit(store, damaged, root, bit);
    const auto opened = Repository::open(damaged);
    if (opened.has_value()) {
      // Blanks between members carry nothing; everything else does.
      EXPECT_EQ(opened.value()->id(), Repository::open(store).value()->id()) << "bit " << bit;
      continue;
    }
    EXPECT_TRUE(opened.error().code() == Errc::kCorrupt || opened.error().code() == Errc::kUnsupported)
        << "bit " << bit << ": " << opened.error().to_string();
  }
}

TEST(Repository, RefusesANewerFormat) {
  MemoryStore store;
  ASSERT_TRUE(store.put({"pgark.json"}, as_bytes(R"({"format": 3, "anything": true})")).has_value());
  EXPECT_EQ(Repository::open(store).error().code(), Errc::kUnsupported);
}

class StoredFiles : public testing::TestWithParam<size_t> {};

TEST_P(StoredFiles, ReadBackWhatWasWritten) {
  MemoryStore store;
  const auto repository = new_repository(store);
  const Buffer raw = random_bytes(GetParam(), 1);
  ASSERT_TRUE(write_stored_file(*repository, kKey, raw, R"({"a":1})").has_value());
  const auto read = read_stored_file(*repository, kKey);
  ASSERT_TRUE(read.has_value()) << read.error().to_string();
  EXPECT_EQ(as_text(read->raw), as_text(raw));
  EXPECT_EQ(read->document, R"({"a":1})");
  EXPECT_EQ(read_stored_document(*repository, kKey).value(), R"({"a":1})");
}

INSTANTIATE_TEST_SUITE_P(Sizes, StoredFiles, testing::Values(0, 1, 8191, 8192, 8193, 1 << 20, (1 << 20) + 1, 5 << 20));

TEST(Container, EveryFlippedBitIsNoticed) {
  MemoryStore store;
  const auto repository = new_repository(store);
  ASSERT_TRUE(write_stored_file(*repository, kKey, random_bytes(3000, 2), "{}").has_value());
  const uint64_t bits = store.get(kKey)->size() * 8;
  for (uint64_t bit = 0; bit < bits; ++bit) {
    MemoryStore damaged;
    copy_with_flipped_bit(store, damaged, kKey, bit);
    const auto copy = new_repository(damaged);
    const auto read = read_stored_file(*copy, kKey);
    ASSERT_FALSE(read.has_value()) << "bit " << bit;
    EXPECT_TRUE(read.error().code() == Errc::kCorrupt || read.error().code() == Errc::kUnsupported);
    EXPECT_THAT(read.error().message(), testing::HasSubstr(kKey.value));
  }
}

TEST(Container, EveryTruncationIsNoticed) {
  MemoryStore store;
  const auto repository = new_repository(store);
  ASSERT_TRUE(write_stored_file(*repository, kKey, random_bytes(3000, 2), "{}").has_value());
  const Buffer whole = *store.get(kKey);
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_TRUE(store.remove(kKey).value());
    ASSERT_TRUE(store.put(kKey, Bytes(whole).first(size)).has_value());
    EXPECT_EQ(read_stored_file(*repository, kKey).error().code(), Errc::kCorrupt) << size;
  }
}

TEST(Container, AnObjectUnderAnothersNameIsNoticed) {
  MemoryStore store;
  const auto repository = new_repository(store);
  const ObjectKey other{"main/wal/1/00000001/00000000/000000010000000000000002"};
  ASSERT_TRUE(write_stored_file(*repository, kKey, random_bytes(3000, 2), "{}").has_value());
  ASSERT_TRUE(store.put(other, *store.get(kKey)).has_value());
  EXPECT_EQ(read_stored_file(*repository, other).error().code(), Errc::kCorrupt);
}

TEST(Container, AnObjectOfAnotherRepositoryIsNoticed) {
  MemoryStore store;
  MemoryStore foreign;
  const auto repository = new_repository(store);
  const auto foreign_repository = new_repository(foreign);
  ASSERT_TRUE(write_stored_file(*foreign_repository, kKey, random_bytes(3000, 2), "{}").has_value());
  ASSERT_TRUE(store.put(kKey, *foreign.get(kKey)).has_value());
  const auto read = read_stored_file(*repository, kKey);
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error().message(), testing::HasSubstr("another repository"));
}

TEST(Container, FramesOfOneObjectCannotBeSwapped) {
  MemoryStore store;
  const auto repository = new_repository(store);
  auto writer = ContainerWriter::create(*repository, kKey, ContainerKind::kPack);
  Compressor compressor(Codec::kNone, 0);
  const auto first = writer->append(FrameType::kExtent, random_bytes(8192, 1), compressor);
  const auto second = writer->append(FrameType::kExtent, random_bytes(8192, 2), compressor);
  ASSERT_TRUE(std::move(*writer).commit().has_value());
  const Buffer object = *store.get(kKey);
  Buffer raw(8192);
  Decompressor decompressor;
  const auto stored = [&](const FrameRef& ref) { return Bytes(object).subspan(ref.offset, ref.stored_bytes); };
  EXPECT_TRUE(decode_frame(*repository, kKey, *first, stored(*first), decompressor, raw.bytes()).has_value());
  EXPECT_FALSE(decode_frame(*repository, kKey, *first, stored(*second), decompressor, raw.bytes()).has_value());
  FrameRef renamed = *first;
  renamed.type = FrameType::kWalData;
  EXPECT_FALSE(decode_frame(*repository, kKey, renamed, stored(*first), decompressor, raw.bytes()).has_value());
}

class Codecs : public testing::TestWithParam<std::pair<Codec, int>> {};

TEST_P(Codecs, DecodeWhatTheyCodeAndKeepWhatDoesNotShrink) {
  Compressor compressor(GetParam().first, GetParam().second);
  Decompressor decompressor;
  for (const uint64_t seed : {1u, 2u, 3u}) {
    const Buffer raw = random_bytes(100000 * seed, seed);
    Buffer coded;
    const auto codec = compressor.compress(raw, coded);
    ASSERT_TRUE(codec.has_value());
    Buffer back(raw.size());
    ASSERT_TRUE(decompressor.decompress(*codec, coded, back.bytes()).has_value());
    EXPECT_EQ(as_text(back), as_text(raw));
    back.resize(raw.size() - 1);
    EXPECT_EQ(decompressor.decompress(*codec, coded, back.bytes()).error().code(), Errc::kCorrupt);
  }
  Rng rng(7);
  Buffer noise(65536);
  for (std::byte& b : noise.bytes()) b = static_cast<std::byte>(rng.next());
  Buffer coded;
  EXPECT_EQ(compressor.compress(noise, coded).value(), Codec::kNone);
  EXPECT_EQ(coded.size(), noise.size());
}

INSTANTIATE_TEST_SUITE_P(All, Codecs,
                         testing::Values(std::pair{Codec::kNone, 0}, std::pair{Codec::kLz4, 1},
                                         std::pair{Codec::kLz4, 9}, std::pair{Codec::kZstd, 1},
                                         std::pair{Codec::kZstd, 9}));

}  // namespace
}  // namespace pgark
