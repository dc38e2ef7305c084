#include "repo/frame_view.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "testing/memory_repository.h"

namespace pgark {
namespace {

const ObjectKey kPack{"main/pack/20261122-101500F/000001"};

/// Compresses with every codec.
Buffer repeated(const Buffer& part, int times) {
  Buffer whole;
  for (int i = 0; i < times; ++i) whole.append(part);
  return whole;
}

class FrameViews : public testing::TestWithParam<Codec> {
 protected:
  void SetUp() override {
    auto writer = ContainerWriter::create(*repository_, kPack, ContainerKind::kPack);
    ASSERT_TRUE(writer.has_value());
    Compressor compressor(GetParam(), 1);
    const auto ref = writer->append(FrameType::kExtent, raw_, compressor);
    ASSERT_TRUE(ref.has_value());
    ref_ = *ref;
    ASSERT_TRUE(std::move(*writer).commit().has_value());
    stored_.resize(ref_.stored_bytes);
    ASSERT_TRUE(store_.read_exact(kPack, ref_.offset, stored_.bytes()).has_value());
  }
  Result<Bytes> view() { return view_frame(*repository_, kPack, ref_, stored_, decompressor_, space_.bytes()); }

  MemoryStore store_;
  const std::unique_ptr<Repository> repository_ = new_repository(store_);
  const Buffer raw_ = repeated(random_bytes(8192, 3), 5);
  Buffer space_{raw_.size()};
  Buffer stored_;
  FrameRef ref_;
  Decompressor decompressor_;
};

TEST_P(FrameViews, LeaveWhatIsStoredAsItIsWhereItWasRead) {
  std::fill(space_.bytes().begin(), space_.bytes().end(), std::byte{0x55});
  const auto content = view();
  ASSERT_TRUE(content.has_value()) << content.error().to_string();
  EXPECT_EQ(as_text(*content), as_text(raw_));
  ASSERT_EQ(ref_.codec, GetParam());
  if (GetParam() == Codec::kNone) {
    EXPECT_GE(content->data(), stored_.data());
    EXPECT_LE(content->data() + content->size(), stored_.data() + stored_.size());
    EXPECT_EQ(std::count(space_.data(), space_.data() + space_.size(), std::byte{0x55}),
              static_cast<ptrdiff_t>(space_.size()));
  } else {
    EXPECT_EQ(content->data(), space_.data());
  }
}

TEST_P(FrameViews, NoticeEveryFlippedBit) {
  for (size_t at = 0; at < stored_.size(); at += at < 64 ? 1 : 97) {
    stored_.data()[at] ^= std::byte{4};
    const auto content = view();
    ASSERT_FALSE(content.has_value()) << at;
    EXPECT_EQ(content.error().code(), Errc::kCorrupt);
    stored_.data()[at] ^= std::byte{4};
  }
  EXPECT_TRUE(view().has_value());
}

INSTANTIATE_TEST_SUITE_P(All, FrameViews, testing::Values(Codec::kNone, Codec::kLz4, Codec::kZstd));

}  // namespace
}  // namespace pgark
