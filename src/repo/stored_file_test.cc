#include "repo/stored_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/memory_store.h"
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

}  // namespace
}  // namespace pgark
