#include "core/bytes.h"

#include <gtest/gtest.h>

#include "core/ids.h"

namespace pgark {
namespace {

TEST(ByteReader, ReadsBackWhatByteWriterWrote) {
  ByteWriter writer;
  writer.fixed<uint32_t>(0xdeadbeef);
  for (const uint64_t value : {0ull, 127ull, 128ull, 300ull, ~0ull}) writer.varint(value);
  for (const int64_t value : {0ll, -1ll, 1ll, INT64_MIN + 0ll, INT64_MAX + 0ll}) writer.svarint(value);
  writer.string("name");
  ByteReader reader(writer.bytes());
  EXPECT_EQ(reader.fixed<uint32_t>(), 0xdeadbeef);
  for (const uint64_t value : {0ull, 127ull, 128ull, 300ull, ~0ull}) EXPECT_EQ(reader.varint(), value);
  for (const int64_t value : {0ll, -1ll, 1ll, INT64_MIN + 0ll, INT64_MAX + 0ll}) EXPECT_EQ(reader.svarint(), value);
  EXPECT_EQ(reader.string(), "name");
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(ByteReader, NeverReadsPastTheEndAndStaysFailed) {
  const ByteWriter empty;
  ByteReader reader(empty.bytes());
  EXPECT_EQ(reader.fixed<uint64_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  ByteWriter long_string;
  long_string.varint(1000);
  long_string.raw(as_bytes("short"));
  ByteReader string_reader(long_string.bytes());
  EXPECT_TRUE(string_reader.string().empty());
  EXPECT_FALSE(string_reader.ok());
}

TEST(ByteReader, RejectsVarintsLongerThanSixtyFourBits) {
  ByteWriter writer;
  for (int i = 0; i < 9; ++i) writer.fixed<uint8_t>(0xff);
  writer.fixed<uint8_t>(2);
  ByteReader reader(writer.bytes());
  reader.varint();
  EXPECT_FALSE(reader.ok());
}

TEST(Buffer, KeepsContentWhenItGrows) {
  Buffer buffer;
  buffer.append(as_bytes("abc"));
  buffer.resize(100000);
  EXPECT_EQ(as_text(Bytes(buffer).first(3)), "abc");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % Buffer::kAlignment, 0u);
}

TEST(Lsn, ParsesBothSpellingsAndPrintsTheCommonOne) {
  EXPECT_EQ(parse_lsn("16/B374D848").value().bytes, 0x16B374D848u);
  EXPECT_EQ(parse_lsn("0/0012ABCD").value().bytes, 0x12ABCDu);
  EXPECT_EQ(to_string(Lsn{0x16B374D848u}), "16/B374D848");
  for (const char* bad : {"", "/", "1/", "/1", "16B374D848", "1/123456789", "x/1", "1/1 "})
    EXPECT_EQ(parse_lsn(bad).error().code(), Errc::kInvalid) << bad;
}

}  // namespace
}  // namespace pgark
