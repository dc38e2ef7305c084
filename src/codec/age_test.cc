// Known answers for the ciphers and key texts, and age files exchanged with the programs age and age-keygen.
#include "codec/age.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "codec/aead.h"
#include "codec/bech32.h"
#include "codec/encoding.h"

namespace pgark {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::byte> hex(std::string_view text) { return *from_hex(text); }

template <size_t kSize>
std::array<std::byte, kSize> array_of(std::string_view text) {
  std::array<std::byte, kSize> out{};
  const auto bytes = hex(text);
  EXPECT_EQ(bytes.size(), kSize);
  std::copy_n(bytes.begin(), std::min(bytes.size(), kSize), out.begin());
  return out;
}

struct AeadCase {
  Aead kind;
  const char *key, *nonce, *aad, *plain, *sealed, *tag;
};

// McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 to 16; RFC 8439, section 2.8.2.
const AeadCase kAeadCases[] = {
    {Aead::kAes256Gcm, "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {Aead::kAes256Gcm, "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {Aead::kAes256Gcm, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657b"
     "a637b39"
     "1aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0ab"
     "cc9f662"
     "898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {Aead::kAes256Gcm, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657b"
     "a637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0ab"
     "cc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
    {Aead::kChaCha20Poly1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
     "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f66666"
     "57220796f"
     "75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069742e",
     "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b290"
     "5d6a5b67e"
     "cd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116",
     "1ae10b594f09e26a7e902ecbd0600691"},
};

TEST(Aead, MatchesPublishedVectors) {
  for (const AeadCase& one : kAeadCases) {
    const auto key = array_of<32>(one.key);
    const auto nonce = array_of<12>(one.nonce);
    const auto aad = hex(one.aad);
    auto data = hex(one.plain);
    std::array<std::byte, 16> tag;
    ASSERT_TRUE(aead_seal(key, nonce, aad, data, tag, one.kind).has_value());
    EXPECT_EQ(to_hex(data), one.sealed);
    EXPECT_EQ(to_hex(tag), one.tag);
    ASSERT_TRUE(aead_open(key, nonce, aad, data, tag, one.kind).has_value());
    EXPECT_EQ(to_hex(data), one.plain);
  }
}

TEST(Aead, RefusesEveryChangeAndGivesNothingAway) {
  for (const AeadCase& one : kAeadCases) {
    auto key = array_of<32>(one.key);
    auto nonce = array_of<12>(one.nonce);
    auto aad = hex(one.aad);
    auto sealed = hex(one.sealed);
    auto tag = array_of<16>(one.tag);
    for (const MutableBytes part :
         {MutableBytes(key), MutableBytes(nonce), MutableBytes(aad), MutableBytes(sealed), MutableBytes(tag)}) {
      for (std::byte& b : part) {
        b ^= std::byte{1};
        auto data = sealed;
        const auto opened = aead_open(key, nonce, aad, data, tag, one.kind);
        b ^= std::byte{1};
        ASSERT_FALSE(opened.has_value());
        EXPECT_EQ(opened.error().code(), Errc::kCorrupt);
        EXPECT_EQ(data, std::vector<std::byte>(data.size()));
      }
    }
    // The key of a failed call, and the zeros a context is left with, play no part in the next.
    EXPECT_TRUE(aead_open(key, nonce, aad, sealed, tag, one.kind).has_value());
  }
}

// RFC 7748, sections 5.2 and 6.1.
TEST(X25519, MatchesRfc7748) {
  const auto shared_hex = [](const char* private_key, const char* peer) {
    const auto shared = x25519_shared(array_of<32>(private_key), array_of<32>(peer));
    return shared.has_value() ? to_hex(shared->bytes()) : shared.error().message();
  };
  EXPECT_EQ(shared_hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                       "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  const char* const alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
  const char* const alice_public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
  const char* const bob = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
  const char* const bob_public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
  const char* const both = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
  EXPECT_EQ(to_hex(*x25519_public(array_of<32>(alice))), alice_public);
  EXPECT_EQ(to_hex(*x25519_public(array_of<32>(bob))), bob_public);
  EXPECT_EQ(shared_hex(alice, bob_public), both);
  EXPECT_EQ(shared_hex(bob, alice_public), both);
}

TEST(X25519, BothSidesAgree) {
  const auto a = x25519_generate();
  const auto b = x25519_generate();
  ASSERT_TRUE(a && b);
  EXPECT_NE(a->public_key, b->public_key);
  const auto ab = x25519_shared(a->private_view(), b->public_key);
  const auto ba = x25519_shared(b->private_view(), a->public_key);
  ASSERT_TRUE(ab && ba);
  EXPECT_EQ(to_hex(ab->bytes()), to_hex(ba->bytes()));
}

TEST(X25519, RefusesPointsOfLowOrder) {
  const auto pair = x25519_generate();
  ASSERT_TRUE(pair.has_value());
  for (const char* point : {"0000000000000000000000000000000000000000000000000000000000000000",
                            "0100000000000000000000000000000000000000000000000000000000000000",
                            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"}) {
    const auto shared = x25519_shared(pair->private_view(), array_of<32>(point));
    ASSERT_FALSE(shared.has_value()) << point;
    EXPECT_EQ(shared.error().code(), Errc::kInvalid);
  }
}

// BIP-173, test vectors.
TEST(Bech32, TakesWhatBip173Takes) {
  for (const char* text : {"A12UEL5L", "a12uel5l",
                           "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
                           "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
                           "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w", "?1ezyfcl"}) {
    const auto decoded = bech32_decode(text);
    ASSERT_TRUE(decoded.has_value()) << text << ": " << decoded.error().message();
    const auto again = bech32_encode(decoded->prefix, decoded->data);
    ASSERT_TRUE(again.has_value());
    // A prefix without letters does not say which case it is.
    EXPECT_EQ(*again, text);
  }
}

TEST(Bech32, RefusesWhatBip173Refuses) {
  for (const std::string text :
       {" 1nwldj5",
        "\x7f"
        "1axkwrx",
        "\x80"
        "1eym55h",
        "an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pvx", "pzry9x0s0muk",
        "1pzry9x0s0muk", "x1b4n0q5v", "li1dgmt3", "de1lg7wt\xff", "A1G7SGD8", "10a06t8", "1qzzfhee", "", "1",
        "A12uEL5L",
        // Changed, swapped, added and lost characters.
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxx", "abcdef1pqzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxwq", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqx"})
    EXPECT_FALSE(bech32_decode(text).has_value()) << text;
  EXPECT_FALSE(bech32_encode("", {}).has_value());
  EXPECT_FALSE(bech32_encode("aB", {}).has_value());
  EXPECT_FALSE(bech32_encode("age", std::vector<std::byte>(60)).has_value());
}

// ---- age ------------------------------------------------------------------------------------------------------------

std::vector<AgeIdentity> one_identity() {
  std::vector<AgeIdentity> identities;
  identities.push_back(*generate_age_identity());
  return identities;
}

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

constexpr size_t kSizes[] = {0, 1, 32, 65535, 65536, 65537, 131072, 200'000};

TEST(Age, DecryptsWhatItEncrypted) {
  const auto identities = one_identity();
  for (const size_t size : kSizes) {
    const std::string plain = pattern(size);
    const auto file = age_encrypt({{identities[0].recipient}}, as_bytes(plain));
    ASSERT_TRUE(file.has_value());
    const auto decrypted = age_decrypt(identities, *file);
    ASSERT_TRUE(decrypted.has_value()) << size << ": " << decrypted.error().message();
    EXPECT_EQ(decrypted->text(), plain);
  }
}

TEST(AgeEncryptor, GivesTheSameHoweverTheTextComes) {
  const auto identities = one_identity();
  for (const size_t size : kSizes) {
    const std::string plain = pattern(size);
    for (const size_t piece : {size_t{1000}, size_t{65536}, size_t{300'000}}) {
      std::vector<std::byte> file;
      size_t largest = 0;
      auto encryptor = AgeEncryptor::start({{identities[0].recipient}}, [&](Bytes part) -> Result<> {
        file.insert(file.end(), part.begin(), part.end());
        largest = std::max(largest, part.size());
        return {};
      });
      ASSERT_TRUE(encryptor.has_value());
      for (size_t at = 0; at < size; at += piece)
        ASSERT_TRUE(encryptor->write(as_bytes(plain).subspan(at, std::min(piece, size - at))).has_value());
      // What has come so far is no file yet.
      EXPECT_FALSE(age_decrypt(identities, file).has_value());
      ASSERT_TRUE(encryptor->finish().has_value());
      EXPECT_LE(largest, 65536u + 16);
      const auto decrypted = age_decrypt(identities, file);
      ASSERT_TRUE(decrypted.has_value()) << size << ": " << decrypted.error().message();
      EXPECT_EQ(decrypted->text(), plain);
    }
  }
}

TEST(AgeEncryptor, EndsWithTheErrorOfItsSink) {
  const auto identities = one_identity();
  int calls = 0;
  auto encryptor = AgeEncryptor::start({{identities[0].recipient}}, [&](Bytes) -> Result<> {
    if (++calls > 2) return Error(Errc::kNoSpace, "disk full");
    return {};
  });
  ASSERT_TRUE(encryptor.has_value());
  EXPECT_EQ(encryptor->write(as_bytes(pattern(70'000))).error().code(), Errc::kNoSpace);
  EXPECT_EQ(AgeEncryptor::start({}, [](Bytes) -> Result<> { return {}; }).error().code(), Errc::kInvalid);
}

TEST(Age, AnyRecipientOpensAndNobodyElse) {
  std::vector<AgeIdentity> identities;
  std::vector<AgeRecipient> recipients;
  for (int i = 0; i < 4; ++i) {
    identities.push_back(*generate_age_identity());
    if (i < 3) recipients.push_back(identities.back().recipient);
  }
  const auto file = age_encrypt(recipients, as_bytes("shared"));
  ASSERT_TRUE(file.has_value());
  for (size_t i = 0; i < 3; ++i) {
    const auto decrypted = age_decrypt(std::span(identities).subspan(i, 1), *file);
    ASSERT_TRUE(decrypted.has_value());
    EXPECT_EQ(decrypted->text(), "shared");
  }
  const auto refused = age_decrypt(std::span(identities).subspan(3), *file);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kPermission);
  EXPECT_TRUE(age_decrypt(identities, *file).has_value());
  EXPECT_EQ(age_encrypt({}, as_bytes("x")).error().code(), Errc::kInvalid);
}

TEST(Age, NoTwoFilesShareAKeyOrANonce) {
  const auto identities = one_identity();
  std::set<std::vector<std::byte>> seen;
  for (int i = 0; i < 200; ++i) {
    const auto file = age_encrypt({{identities[0].recipient}}, as_bytes("same"));
    ASSERT_TRUE(file.has_value());
    const auto end = as_text(*file).find('\n', as_text(*file).find("\n--- ") + 1) + 1;
    const Bytes share = Bytes(*file).subspan(as_text(*file).find("X25519 "), 50);
    const Bytes nonce = Bytes(*file).subspan(end, 16);
    EXPECT_TRUE(seen.emplace(share.begin(), share.end()).second);
    EXPECT_TRUE(seen.emplace(nonce.begin(), nonce.end()).second);
  }
}

TEST(Age, RefusesEveryChangedByteAndEveryLength) {
  const auto identities = one_identity();
  const auto file = age_encrypt({{identities[0].recipient}}, as_bytes("what is kept"));
  ASSERT_TRUE(file.has_value());
  for (size_t at = 0; at < file->size(); ++at) {
    for (const std::byte flip : {std::byte{1}, std::byte{0x20}, std::byte{0x80}}) {
      auto damaged = *file;
      damaged[at] ^= flip;
      const auto decrypted = age_decrypt(identities, damaged);
      ASSERT_FALSE(decrypted.has_value()) << at;
      EXPECT_THAT(decrypted.error().message(), Not(HasSubstr("what is kept")));
    }
  }
  for (size_t size = 0; size < file->size(); ++size)
    ASSERT_FALSE(age_decrypt(identities, Bytes(*file).first(size)).has_value()) << size;
  auto longer = *file;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(age_decrypt(identities, longer).has_value());
}

TEST(Age, RefusesMovedDroppedAndRepeatedChunks) {
  const auto identities = one_identity();
  const auto file = age_encrypt({{identities[0].recipient}}, as_bytes(pattern(4 * 65536)));
  ASSERT_TRUE(file.has_value());
  constexpr size_t kSealed = 65536 + 16;
  const size_t start = file->size() - 4 * kSealed;
  const auto build = [&](std::initializer_list<size_t> order) {
    std::vector<std::byte> out(file->begin(), file->begin() + static_cast<ptrdiff_t>(start));
    for (const size_t i : order) {
      const Bytes chunk = Bytes(*file).subspan(start + i * kSealed, kSealed);
      out.insert(out.end(), chunk.begin(), chunk.end());
    }
    return out;
  };
  EXPECT_TRUE(age_decrypt(identities, build({0, 1, 2, 3})).has_value());
  for (const auto& order : {build({0, 1, 3}), build({0, 1, 2}), build({1, 0, 2, 3}), build({0, 0, 1, 2, 3}),
                            build({0, 1, 2, 3, 3}), build({}), build({3})})
    EXPECT_EQ(age_decrypt(identities, order).error().code(), Errc::kCorrupt);
}

// Here such a recipient is put in afterwards, which the MAC finds; AgeProgram.SealsForSshKeysBesideUs has an honest
// one.
TEST(Age, ParsesRecipientsOfOtherKindsAndFindsThoseSmuggledIn) {
  const auto identities = one_identity();
  const auto file = age_encrypt({{identities[0].recipient}}, as_bytes("x"));
  ASSERT_TRUE(file.has_value());
  std::string text(as_text(*file));
  text.insert(text.find("-> "), "-> grease \"a b\n" + std::string(64, 'A') + "\n\n");
  const auto decrypted = age_decrypt(identities, as_bytes(text));
  ASSERT_FALSE(decrypted.has_value());
  EXPECT_THAT(decrypted.error().message(), HasSubstr("its header was changed"));
}

TEST(Age, SaysWhatItDoesNotRead) {
  const auto identities = one_identity();
  const auto code = [&](std::string_view text) { return age_decrypt(identities, as_bytes(text)).error().code(); };
  EXPECT_EQ(code("-----BEGIN AGE ENCRYPTED FILE-----\n"), Errc::kUnsupported);
  EXPECT_EQ(code("age-encryption.org/v2\n"), Errc::kUnsupported);
  EXPECT_EQ(code("age-encryption.org/v1\n"), Errc::kCorrupt);
  EXPECT_EQ(code(""), Errc::kCorrupt);
  EXPECT_EQ(code("PGARK"), Errc::kCorrupt);
}

TEST(AgeRecipient, ParsesWhatItPrinted) {
  const auto identity = generate_age_identity();
  const std::string text = to_string(identity->recipient);
  EXPECT_THAT(text, testing::StartsWith("age1"));
  EXPECT_EQ(text.size(), 62u);
  const auto parsed = parse_age_recipient("  " + text + "\n");
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  EXPECT_EQ(*parsed, identity->recipient);
}

TEST(AgeRecipient, RefusesOtherKindsAndNeverShowsAPrivateKey) {
  const auto identity = generate_age_identity();
  const Secret secret = format_age_identity(*identity);
  const auto refused = parse_age_recipient(secret.text());
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().to_string(), Not(HasSubstr(std::string(secret.text().substr(16, 20)))));
  EXPECT_EQ(parse_age_recipient("ssh-ed25519 AAAA").error().code(), Errc::kUnsupported);
  EXPECT_EQ(parse_age_recipient("").error().code(), Errc::kInvalid);
  std::string mistyped = to_string(identity->recipient);
  mistyped[20] = mistyped[20] == 'q' ? 'p' : 'q';
  EXPECT_THAT(parse_age_recipient(mistyped).error().message(), HasSubstr(mistyped));
  EXPECT_EQ(parse_age_recipient(*bech32_encode("age1plugin", std::vector<std::byte>(32))).error().code(),
            Errc::kUnsupported);
  EXPECT_EQ(parse_age_recipient(*bech32_encode("age", std::vector<std::byte>(31))).error().code(), Errc::kInvalid);
}

TEST(AgeIdentities, ParseAFileWithCommentsAndSeveral) {
  const auto a = generate_age_identity();
  const auto b = generate_age_identity();
  std::string text = "# mine\r\n\r\n";
  text += format_age_identity(*a).text();
  text += "\r\n\n# the other\n";
  text += format_age_identity_file(*b, "2026-11-22T10:15:00Z").text();
  const auto parsed = parse_age_identities(text);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  ASSERT_EQ(parsed->size(), 2u);
  EXPECT_EQ((*parsed)[0].recipient, a->recipient);
  EXPECT_EQ((*parsed)[1].recipient, b->recipient);
  EXPECT_EQ((*parsed)[1].private_key.text(), b->private_key.text());
}

TEST(AgeIdentities, NameTheLineAndNotTheKey) {
  const auto identity = generate_age_identity();
  std::string text(format_age_identity(*identity).text());
  text[30] = text[30] == 'Q' ? 'P' : 'Q';
  const auto parsed = parse_age_identities("# one\n" + text + "\n");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_THAT(parsed.error().message(), HasSubstr("line 2"));
  EXPECT_THAT(parsed.error().to_string(), Not(HasSubstr(text.substr(32, 12))));
  EXPECT_EQ(parse_age_identities("# nothing\n").error().code(), Errc::kInvalid);
  EXPECT_EQ(parse_age_identities(to_string(identity->recipient)).error().code(), Errc::kInvalid);
  EXPECT_EQ(parse_age_identities("-----BEGIN OPENSSH PRIVATE KEY-----\n").error().code(), Errc::kUnsupported);
  EXPECT_EQ(parse_age_identities("age-encryption.org/v1\n").error().code(), Errc::kUnsupported);
  EXPECT_EQ(parse_age_identities("AGE-PLUGIN-YUBIKEY-1QQQ\n").error().code(), Errc::kUnsupported);
  std::string lower_case = text;
  for (char& c : lower_case) c = static_cast<char>(std::tolower(c));
  EXPECT_FALSE(parse_age_identities(lower_case).has_value());
}

// The programs age and age-keygen of Debian's package age, if they are here.
class AgeProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v age age-keygen >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "no age on this machine: install Debian's package age";
    std::string name = "/tmp/pgark-age-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name, std::string_view content) const {
    std::ofstream(path(name), std::ios::binary) << content;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool run(const std::string& command) const {
    return std::system(("cd " + directory_ + " && " + command).c_str()) == 0;
  }

  std::string directory_;
};

TEST_F(AgeProgram, OpensWhatWeSeal) {
  const auto identities = one_identity();
  const auto other = generate_age_identity();
  write("key", format_age_identity_file(identities[0], "2026-11-22T10:15:00Z").text());
  for (const size_t size : kSizes) {
    const std::string plain = pattern(size);
    const auto file = age_encrypt({{other->recipient, identities[0].recipient}}, as_bytes(plain));
    ASSERT_TRUE(file.has_value());
    write("sealed", as_text(*file));
    ASSERT_TRUE(run("age --decrypt -i key -o plain sealed")) << size;
    EXPECT_EQ(read("plain"), plain);
  }
}

TEST_F(AgeProgram, SealsWhatWeOpen) {
  ASSERT_TRUE(run("age-keygen -o key 2>/dev/null && age-keygen -o other 2>/dev/null"));
  const auto identities = parse_age_identities(read("key"));
  const auto other = parse_age_identities(read("other"));
  ASSERT_TRUE(identities && other);
  // Both programs name the same recipient.
  EXPECT_THAT(read("key"), HasSubstr("# public key: " + to_string((*identities)[0].recipient) + "\n"));
  const std::string recipients =
      "-r " + to_string((*other)[0].recipient) + " -r " + to_string((*identities)[0].recipient);
  for (const size_t size : kSizes) {
    const std::string plain = pattern(size);
    write("plain", plain);
    ASSERT_TRUE(run("age -o sealed " + recipients + " plain"));
    const auto decrypted = age_decrypt(*identities, as_bytes(read("sealed")));
    ASSERT_TRUE(decrypted.has_value()) << size << ": " << decrypted.error().message();
    EXPECT_EQ(decrypted->text(), plain);
  }
}

TEST_F(AgeProgram, ReadsOurIdentityFileAsItsOwn) {
  const auto identity = generate_age_identity();
  write("key", format_age_identity_file(*identity, "2026-11-22T10:15:00Z").text());
  ASSERT_TRUE(run("age-keygen -y key >public"));
  EXPECT_EQ(read("public"), to_string(identity->recipient) + "\n");
}

TEST_F(AgeProgram, SealsForSshKeysBesideUs) {
  if (!run("command -v ssh-keygen >/dev/null && ssh-keygen -q -t ed25519 -N '' -f ssh"))
    GTEST_SKIP() << "no ssh-keygen to make a recipient of another kind";
  const auto identities = one_identity();
  write("plain", "for two");
  ASSERT_TRUE(run("age -o sealed -R ssh.pub -r " + to_string(identities[0].recipient) + " plain"));
  const auto decrypted = age_decrypt(identities, as_bytes(read("sealed")));
  ASSERT_TRUE(decrypted.has_value()) << decrypted.error().message();
  EXPECT_EQ(decrypted->text(), "for two");
}

}  // namespace
}  // namespace pgark
