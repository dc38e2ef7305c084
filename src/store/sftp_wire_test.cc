#include "store/sftp_wire.h"

#include <gtest/gtest.h>

#include "core/clock.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

using namespace std::string_literals;

/// Big-endian, as a server writes it.
std::string u32(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>((value >> shift) & 0xff));
  return out;
}
std::string u64(uint64_t value) { return u32(static_cast<uint32_t>(value >> 32)) + u32(static_cast<uint32_t>(value)); }
std::string text(std::string_view value) { return u32(static_cast<uint32_t>(value.size())) + std::string(value); }
std::string packet(std::string_view body) { return u32(static_cast<uint32_t>(body.size())) + std::string(body); }

TEST(SftpWire, RequestsAreWhatTheDraftSays) {
  EXPECT_EQ(sftp_init_packet(), "\0\0\0\5\1\0\0\0\3"s);
  EXPECT_EQ(SftpRequest(SftpType::kLstat, 0x01020304).string("/a").packet(), "\0\0\0\x0b\7\1\2\3\4\0\0\0\2/a"s);
  EXPECT_EQ(SftpRequest(SftpType::kRead, 1).string("h").u64(0x0102030405060708).u32(32768).packet(),
            packet("\5" + u32(1) + text("h") + u64(0x0102030405060708) + u32(32768)));
  EXPECT_EQ(SftpRequest(SftpType::kMkdir, 1).string("d").permissions(0750).packet(),
            packet("\x0e" + u32(1) + text("d") + u32(4) + u32(0750)));
}

TEST(SftpWire, PacketIsKnownByItsLength) {
  EXPECT_FALSE(sftp_packet_bytes(as_bytes("\0\0\0"s)).value().has_value());
  EXPECT_EQ(sftp_packet_bytes(as_bytes("\0\0\0\x09"s)).value().value(), 13u);
  EXPECT_EQ(sftp_packet_bytes(as_bytes(u32(256u << 10))).value().value(), (256u << 10) + 4);
}

TEST(SftpWire, TextInsteadOfSftpIsSaid) {
  // What a shell prints before the subsystem starts.
  const auto refused = sftp_packet_bytes(as_bytes("Welcome to backup.example!"));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kTransient);
  EXPECT_NE(refused.error().message().find("is not SFTP"), std::string::npos) << refused.error().message();
  EXPECT_FALSE(sftp_packet_bytes(as_bytes("\0\0\0\0"s)).has_value());
}

TEST(SftpWire, VersionHasExtensions) {
  const std::string greeting =
      packet("\2" + u32(3) + text("posix-rename@openssh.com") + text("1") + text("fsync@openssh.com") + text("1"));
  const auto extensions = decode_sftp_version(as_bytes(greeting));
  ASSERT_TRUE(extensions.has_value());
  EXPECT_EQ(*extensions, (SftpExtensions{{"posix-rename@openssh.com", "1"}, {"fsync@openssh.com", "1"}}));
  EXPECT_EQ(decode_sftp_version(as_bytes(packet("\2" + u32(2)))).error().code(), Errc::kUnsupported);
  EXPECT_EQ(decode_sftp_version(as_bytes(packet("\3" + u32(3)))).error().code(), Errc::kTransient);
  EXPECT_EQ(decode_sftp_version(as_bytes(packet("\2" + u32(3) + text("a")))).error().code(), Errc::kTransient);
}

TEST(SftpWire, StatusMayLackItsMessage) {
  const std::string whole = u32(4) + text("Failure") + text("en");
  EXPECT_EQ(decode_sftp_status(as_bytes(whole)).value().code, SftpCode::kFailure);
  EXPECT_EQ(decode_sftp_status(as_bytes(whole)).value().message, "Failure");
  EXPECT_EQ(decode_sftp_status(as_bytes(u32(2))).value().code, SftpCode::kNoSuchFile);
  EXPECT_EQ(decode_sftp_status(as_bytes(u32(4) + text("bad\nline\x1b[2J"))).value().message, "bad?line?[2J");
  EXPECT_EQ(decode_sftp_status(as_bytes(u32(4) + text(std::string(5000, 'x')))).value().message.size(), 200u);
  EXPECT_FALSE(decode_sftp_status(as_bytes("\0\0"s)).has_value());
}

TEST(SftpWire, AttributesThatAreLeftOutAreEmpty) {
  const auto all =
      decode_sftp_attrs(as_bytes(u32(0x8000000f) + u64(5'000'000'000) + u32(1000) + u32(1000) + u32(0100640) + u32(1) +
                                 u32(1'700'000'000) + u32(1) + text("acl") + text("x")))
          .value();
  EXPECT_EQ(all.bytes, 5'000'000'000u);
  EXPECT_EQ(all.modified_unix, 1'700'000'000u);
  EXPECT_TRUE(all.is_regular());
  const auto none = decode_sftp_attrs(as_bytes(u32(0))).value();
  EXPECT_FALSE(none.bytes.has_value());
  EXPECT_FALSE(none.is_regular() || none.is_directory());
  EXPECT_TRUE(decode_sftp_attrs(as_bytes(u32(4) + u32(0040755))).value().is_directory());
}

TEST(SftpWire, CountsThatPromiseTooMuchAreRefused) {
  // Four thousand million names, and extended attributes, of which there is none.
  EXPECT_FALSE(decode_sftp_names(as_bytes(u32(0xffffffff))).has_value());
  EXPECT_FALSE(decode_sftp_attrs(as_bytes(u32(0x80000000) + u32(0xffffffff))).has_value());
  EXPECT_FALSE(decode_sftp_data(as_bytes(u32(0xffffffff) + "abc")).has_value());
  EXPECT_FALSE(decode_sftp_handle(as_bytes(text(std::string(257, 'h')))).has_value());
}

TEST(SftpWire, NamesHaveAttributes) {
  const std::string body =
      u32(2) + text("a") + text("-rw-r--r-- 1 a") + u32(1) + u64(7) + text("b") + text("") + u32(0);
  const auto names = decode_sftp_names(as_bytes(body)).value();
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[0].name, "a");
  EXPECT_EQ(names[0].attrs.bytes, 7u);
  EXPECT_EQ(names[1].name, "b");
}

TEST(SftpWire, FreeSpaceDoesNotOverflow) {
  EXPECT_EQ(decode_sftp_space(as_bytes(u64(4096) + u64(4096) + u64(9) + u64(8) + u64(7))).value().bytes_available,
            7u * 4096);
  EXPECT_EQ(decode_sftp_space(as_bytes(u64(1) + u64(UINT64_MAX) + u64(9) + u64(8) + u64(7))).value().bytes_available,
            UINT64_MAX);
}

TEST(SftpWire, EveryCutOfAReplyIsNoticed) {
  const std::string names =
      u32(1) + text("name") + text("long") + u32(0x0f) + u64(1) + u32(2) + u32(3) + u32(4) + u32(5) + u32(6);
  ASSERT_TRUE(decode_sftp_names(as_bytes(names)).has_value());
  for (size_t length = 0; length < names.size(); ++length)
    EXPECT_FALSE(decode_sftp_names(as_bytes(std::string_view(names).substr(0, length))).has_value()) << length;
  const std::string reply = packet("\x65" + u32(7));
  for (size_t length = 0; length < reply.size(); ++length)
    EXPECT_FALSE(decode_sftp_reply(as_bytes(std::string_view(reply).substr(0, length))).has_value()) << length;
}

TEST(SftpWire, RandomBytesAreRefusedOrRead) {
  const uint64_t seed = test_seed();
  SCOPED_TRACE(testing::Message() << "SEED=" << seed);
  Rng rng(seed);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(rng.below(64), '\0');
    // Small numbers more often, so that lengths fit at times.
    for (char& c : bytes) c = static_cast<char>(rng.below(4) != 0 ? rng.below(4) : rng.below(256));
    const Bytes body = as_bytes(bytes);
    static_cast<void>(sftp_packet_bytes(body));
    static_cast<void>(decode_sftp_version(body));
    static_cast<void>(decode_sftp_status(body));
    static_cast<void>(decode_sftp_handle(body));
    static_cast<void>(decode_sftp_attrs(body));
    static_cast<void>(decode_sftp_space(body));
    const auto data = decode_sftp_data(body);
    EXPECT_TRUE(!data.has_value() || data->size() + 4 <= bytes.size());
    const auto names = decode_sftp_names(body);
    EXPECT_TRUE(!names.has_value() || names->size() * 12 <= bytes.size());
  }
}

}  // namespace
}  // namespace pgark
