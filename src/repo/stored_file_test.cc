#include "repo/stored_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/memory_store.h"
#include "testing/meeting_store.h"
#include "testing/memory_repository.h"

namespace pgark {
namespace {

const ObjectKey kKey{"main/wal/1/00000001/00000000/000000010000000000000001"};

class StoredFileIndex : public ::testing::Test {
 protected:
  void write(Bytes index) {
    ASSERT_TRUE(write_stored_file(*repository_, kKey, raw_, "{}", Codec::kZstd, 1, 1, index).has_value());
  }
  Result<std::vector<std::byte>> read() {
    TRY_ASSIGN(const auto index, read_stored_index(*repository_, kKey));
    if (!index) return Error(Errc::kNotFound, "no index");
    const Bytes bytes = *index;
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  }

  MemoryStore store_;
  std::unique_ptr<Repository> repository_ = new_repository(store_);
  Buffer raw_ = random_bytes(3u << 20, 1);
};

TEST_F(StoredFileIndex, ComesBackAsItWas) {
  const Buffer index = random_bytes(5000, 2);
  write(index);
  const auto got = read();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_TRUE(as_text(*got) == as_text(index));
  EXPECT_EQ(read_stored_document(*repository_, kKey).value(), "{}");
}

TEST_F(StoredFileIndex, LongOneIsCutIntoFramesAndPutTogether) {
  const Buffer index = random_bytes((32u << 20) + 7, 3);
  write(index);
  const auto got = read();
  ASSERT_TRUE(got.has_value()) << got.error().to_string();
  EXPECT_TRUE(as_text(*got) == as_text(index));
}

TEST_F(StoredFileIndex, AbsenceIsAValue) {
  write({});
  const auto got = read_stored_index(*repository_, kKey);
  ASSERT_TRUE(got.has_value());
  EXPECT_FALSE(got->has_value());
}

TEST_F(StoredFileIndex, DamageInItLeavesTheFileReadable) {
  write(random_bytes(200'000, 4));  // Most of what lies at the object's end.
  auto object = store_.get(kKey);
  ASSERT_TRUE(object.has_value());
  object->data()[object->size() - 40'000] ^= std::byte{1};
  ASSERT_TRUE(store_.remove(kKey).value());
  ASSERT_TRUE(store_.put(kKey, *object).has_value());
  EXPECT_EQ(read().error().code(), Errc::kCorrupt);
  const auto file = read_stored_file(*repository_, kKey);
  ASSERT_TRUE(file.has_value()) << file.error().to_string();
  EXPECT_TRUE(as_text(file->raw) == as_text(raw_));
}

class FarStore : public StoredFileIndex {
 protected:
  /// Requests that `ask` makes of a repository in a store of this kind.
  template <typename Ask>
  unsigned requests(Ask ask, const char* kind = "s3") {
    testing::MeetingStore far(store_, kind, 1);
    const auto opened = Repository::open(far);
    EXPECT_TRUE(opened.has_value()) << opened.error().to_string();
    if (!opened) return 0;
    const unsigned before = far.reads() + far.stats() + far.lists();
    ask(**opened);
    return far.reads() + far.stats() + far.lists() - before;
  }
};

TEST_F(FarStore, IsOpenedWithOneRequest) {
  testing::MeetingStore far(store_, "s3", 1);
  ASSERT_TRUE(Repository::open(far).has_value());
  EXPECT_EQ(far.reads() + far.stats(), 1u);
}

TEST_F(FarStore, GivesASegmentInOneRequestAsANearOneDoes) {
  raw_ = random_bytes(16u << 20, 5);
  write(random_bytes(5000, 2));
  for (const char* kind : {"s3", "posix"}) {
    const auto read_whole = [&](const Repository& repository) {
      const auto file = read_stored_file(repository, kKey, raw_.size());
      ASSERT_TRUE(file.has_value()) << file.error().to_string();
      EXPECT_TRUE(as_text(file->raw) == as_text(raw_));
      EXPECT_EQ(file->document, "{}");
    };
    EXPECT_EQ(1u, requests(read_whole, kind)) << kind;
  }
}

TEST_F(FarStore, GivesARecordInOneRequestUnlessItIsLarge) {
  const std::string small(1000, 'x');
  std::string large;
  for (int i = 0; large.size() < (1u << 20); ++i) large += std::to_string(content_hash(as_bytes(std::to_string(i))));
  for (const std::string& document : {small, large}) {
    const ObjectKey key{"main/record/" + std::to_string(document.size())};
    ASSERT_TRUE(write_record(*repository_, key, document).has_value());
    const unsigned made = requests([&](const Repository& far) {
      const auto read = read_record(far, key);
      ASSERT_TRUE(read.has_value()) << read.error().to_string();
      EXPECT_TRUE(*read == document);
    });
    EXPECT_EQ(made, document == small ? 1u : 4u);
  }
}

TEST_F(FarStore, SaysOfAnAbsentRecordThatItIsNotThere) {
  requests([&](const Repository& far) {
    EXPECT_EQ(read_record(far, {"main/record/none"}).error().code(), Errc::kNotFound);
    EXPECT_EQ(far.store().get({"none"}).error().code(), Errc::kNotFound);
    ASSERT_TRUE(store_.put({"empty"}, {}).has_value());
    EXPECT_EQ(far.store().get({"empty"})->size(), 0u);
    ASSERT_TRUE(store_.put({"main/record/empty"}, {}).has_value());
    EXPECT_EQ(read_record(far, {"main/record/empty"}).error().code(), Errc::kCorrupt);
    ASSERT_TRUE(store_.put({"large"}, random_bytes(100'000, 3)).has_value());
    EXPECT_EQ(far.store().get({"large"})->size(), 100'000u);
    EXPECT_EQ(far.store().get({"large"}, 1000).error().code(), Errc::kInvalid);
  });
}

}  // namespace
}  // namespace pgark
