// Known answers for the digests and key derivations, and what the text encodings refuse.
#include "codec/kdf.h"

#include <gtest/gtest.h>

#include <random>

#include "codec/secret.h"

namespace pgark {
namespace {

std::vector<std::byte> hex(std::string_view text) { return *from_hex(text); }

template <size_t kSize>
std::array<std::byte, kSize> filled(uint8_t value) {
  std::array<std::byte, kSize> bytes;
  bytes.fill(std::byte{value});
  return bytes;
}

// FIPS 180-4 examples.
TEST(Sha256, MatchesPublishedDigests) {
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) {
  const std::string text(100'000, 'x');
  Sha256 hash;
  for (int round = 0; round < 2; ++round) {  // finish() starts over.
    for (size_t at = 0, step = 1; at < text.size(); at += step, step = step * 3 + 1) {
      step = std::min(step, text.size() - at);
      hash.update(std::string_view(text).substr(at, step));
      hash.update(Bytes{});
    }
    EXPECT_EQ(hash.finish(), sha256(text));
  }
  EXPECT_EQ(hash.finish(), sha256(""));
}

TEST(HmacSha256, MatchesRfc4231) {
  EXPECT_EQ(to_hex(hmac_sha256(filled<20>(0x0b), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(filled<20>(0xaa), filled<50>(0xdd))),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  EXPECT_EQ(to_hex(hmac_sha256(hex("0102030405060708090a0b0c0d0e0f10111213141516171819"), filled<50>(0xcd))),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
  EXPECT_EQ(to_hex(hmac_sha256(filled<131>(0xaa), "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(HmacSha256, TakesAnEmptyKeyAndAnEmptyMessage) {
  EXPECT_EQ(to_hex(hmac_sha256(Bytes{}, Bytes{})), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
  // Not the key of the call before.
  hmac_sha256(as_bytes("another key"), "x");
  EXPECT_EQ(to_hex(hmac_sha256(Bytes{}, Bytes{})), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Md5, MatchesRfc1321) {
  EXPECT_EQ(to_hex(*md5({})), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(to_hex(*md5(as_bytes("message digest"))), "f96b697d7cb7938d525a2f31aaf161d0");
}

TEST(ConstantTimeEqual, ComparesContentAndLength) {
  EXPECT_TRUE(constant_time_equal({}, {}));
  EXPECT_TRUE(constant_time_equal(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(constant_time_equal(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(constant_time_equal(as_bytes("abc"), as_bytes("ab")));
}

// RFC 5869, appendix A.
TEST(Hkdf, MatchesRfc5869) {
  std::vector<std::byte> out(42);
  hkdf_sha256(filled<22>(0x0b), hex("000102030405060708090a0b0c"), hex("f0f1f2f3f4f5f6f7f8f9"), out);
  EXPECT_EQ(to_hex(out), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");

  const auto run = [](uint8_t from, uint8_t to) {
    std::vector<std::byte> bytes;
    for (unsigned i = from; i <= to; ++i) bytes.push_back(static_cast<std::byte>(i));
    return bytes;
  };
  out.resize(82);
  hkdf_sha256(run(0x00, 0x4f), run(0x60, 0xaf), run(0xb0, 0xff), out);
  EXPECT_EQ(to_hex(out),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da"
            "3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");

  out.resize(42);
  hkdf_sha256(filled<22>(0x0b), Bytes{}, Bytes{}, out);
  EXPECT_EQ(to_hex(out), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

Result<std::string> scrypt_hex(std::string_view pass, std::string_view salt, const ScryptCost& cost) {
  std::array<std::byte, 64> out;
  TRY(scrypt(as_bytes(pass), as_bytes(salt), cost, out));
  return to_hex(out);
}

// RFC 7914, section 12; its fourth vector takes 1 GiB.
TEST(Scrypt, MatchesRfc7914) {
  EXPECT_EQ(*scrypt_hex("", "", {4, 1, 1}),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f832"
            "6a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906");
  EXPECT_EQ(*scrypt_hex("password", "NaCl", {10, 8, 16}),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf"
            "30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640");
  EXPECT_EQ(*scrypt_hex("pleaseletmein", "SodiumChloride", {14, 8, 1}),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d"
            "651e40dfcf"
            "017b45575887");
}

TEST(Scrypt, RefusesParametersThatWouldTakeTheMachineDown) {
  EXPECT_TRUE(check_scrypt_cost({15, 8, 1}).has_value());
  EXPECT_TRUE(check_scrypt_cost({18, 8, 1}).has_value()) << "256 MiB exactly";
  for (const ScryptCost& cost :
       {ScryptCost{19, 8, 1}, ScryptCost{18, 9, 1}, ScryptCost{63, 8, 1}, ScryptCost{64, 8, 1}, ScryptCost{0, 8, 1},
        ScryptCost{15, 0, 1}, ScryptCost{15, 8, 0}, ScryptCost{15, 8, 1u << 31}, ScryptCost{1, 1u << 31, 1},
        ScryptCost{15, 8, 65}, ScryptCost{0xffffffff, 8, 1}}) {
    const auto derived = scrypt_hex("x", "y", cost);
    ASSERT_FALSE(derived.has_value()) << cost.log_n << " " << cost.r << " " << cost.p;
    EXPECT_EQ(derived.error().code(), Errc::kInvalid);
  }
}

// RFC 4648, section 10.
TEST(Base64, MatchesRfc4648) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [raw, text] : cases) {
    EXPECT_EQ(base64_encode(raw), text);
    const auto decoded = base64_decode(text);
    ASSERT_TRUE(decoded.has_value()) << text;
    EXPECT_EQ(as_text(*decoded), raw);
  }
  EXPECT_EQ(base64_encode(hex("fbefff")), "++//");
  EXPECT_EQ(base64_encode(hex("fbefff"), Base64::kUrl), "--__");
  EXPECT_EQ(base64_encode("f", Base64::kStandardNoPadding), "Zg");
  EXPECT_EQ(base64_encode("f", Base64::kUrlNoPadding), "Zg");
}

TEST(Base64, ReadsBackWhatItWroteInEveryForm) {
  std::mt19937_64 random(7);
  for (size_t size = 0; size < 200; ++size) {
    std::vector<std::byte> bytes(size);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    for (const Base64 form : {Base64::kStandard, Base64::kStandardNoPadding, Base64::kUrl, Base64::kUrlNoPadding}) {
      const auto decoded = base64_decode(base64_encode(bytes, form), form);
      ASSERT_TRUE(decoded.has_value());
      EXPECT_EQ(*decoded, bytes);
    }
  }
}

TEST(Base64, RefusesEverySecondSpelling) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v=", "====", "=", "Zm 9v", "Zm9v\n", "Zm-_",
                           "Z=g=", "Zg==Zg==", "Zm9v===="})
    EXPECT_FALSE(base64_decode(text).has_value()) << text;
  for (const char* text : {"Zg==", "Z", "Zh", "Zm9", "Zm9vZ", "++//", "="})
    EXPECT_FALSE(base64_decode(text, Base64::kUrlNoPadding).has_value()) << text;
  const auto failed = base64_decode("c2VjcmV0!");
  EXPECT_EQ(failed.error().message().find("c2Vj"), std::string::npos) << "the text may be a secret";
}

TEST(Hex, ReadsBothCasesAndRefusesTheRest) {
  EXPECT_EQ(to_hex(hex("00ffAb")), "00ffab");
  for (const char* text : {"0", "0g", "0x00", " 00", "00 "}) EXPECT_FALSE(from_hex(text).has_value()) << text;
}

TEST(Secret, MovesClonesAndTruncates) {
  std::string text = "correct horse battery staple, long enough to live on the heap";
  const char* const was_at = text.data();
  const std::string copy = text;
  Secret secret = Secret::from_text(std::move(text));
  EXPECT_EQ(secret.text(), copy);
  EXPECT_NE(std::string_view(was_at, 7), "correct") << "the text it was taken from still holds it";  // NOLINT
  Secret clone = secret.clone();
  Secret moved = std::move(secret);
  EXPECT_TRUE(secret.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(moved.text(), clone.text());
  moved.truncate(7);
  EXPECT_EQ(moved.text(), "correct");
  clone = std::move(moved);
  EXPECT_EQ(clone.text(), "correct");
  EXPECT_TRUE(Secret(0).empty());
  EXPECT_EQ(to_hex(Secret(3).bytes()), "000000");
  static_assert(!std::is_copy_constructible_v<Secret>);
}

TEST(RandomBytes, Differ) {
  std::array<std::byte, 32> a{}, b{};
  ASSERT_TRUE(random_bytes(a).has_value());
  ASSERT_TRUE(random_bytes(b).has_value());
  EXPECT_NE(a, b);
  EXPECT_TRUE(random_bytes({}).has_value());
}

}  // namespace
}  // namespace pgark
