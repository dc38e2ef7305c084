#include "store/sftp_host_key.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "store/store_test_util.h"

namespace pgark {
namespace {

// Made with ssh-keygen for this test; their private halves are gone.
const SftpHostKey kEd25519{"ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIPgczqSE7A09BFQZdgLpxjUjdJ2rXdxjwIb2nv/fjyZq"};
const SftpHostKey kEcdsa{"ecdsa-sha2-nistp256",
                         "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHkpFmILem/"
                         "nrMgtlD/XCHlAAk7fMYD2YhmrzNBszA1z3iFqQDDxtYGrIQUy5UvbdCz8UsVzwQF8ShOvXDrpUyc="};
constexpr const char* kEd25519Shown = "SHA256:pR1SECluI+i3MI5zL0waucD5Ps3mmEDElk+gJbkjWvk";

std::string line_of(std::string_view hosts, const SftpHostKey& key) {
  return std::string(hosts) + " " + key.type + " " + key.base64 + "\n";
}

class SftpHostKeys : public testing::Test {
 protected:
  SftpOptions options(const std::string& content) {
    SftpOptions made;
    made.host = "backup.example";
    made.user = "pgark";
    made.path = "/backup";
    made.known_hosts = {scratch_.path() + "/known_hosts"};
    EXPECT_TRUE(write_file_durable(made.known_hosts.front(), content).has_value());
    return made;
  }
  /// Check a key as a connection does.
  static Result<> check(const SftpOptions& options, const SftpHostKey& shown) {
    TRY_ASSIGN(const auto known, find_known_host(options));
    return check_host_key(options, known, shown);
  }
  std::string known_hosts() { return read_file(scratch_.path() + "/known_hosts").value_or("missing"); }

  ScratchDirectory scratch_;
};

TEST_F(SftpHostKeys, KnownKeyIsAccepted) {
  EXPECT_TRUE(
      check(options("# a comment\n\n" + line_of("other", kEcdsa) + line_of("backup.example", kEd25519)), kEd25519)
          .has_value());
  EXPECT_TRUE(check(options(line_of("192.0.2.1,backup.example", kEd25519)), kEd25519).has_value());
  EXPECT_TRUE(check(options(line_of("*.example", kEd25519)), kEd25519).has_value());
  auto upper = options(line_of("backup.example", kEd25519));
  upper.host = "Backup.Example";
  EXPECT_TRUE(check(upper, kEd25519).has_value());
}

TEST_F(SftpHostKeys, HashedNamesAreKnown) {
  const auto hashed = options(
      "|1|jIZXxw15ri+nh+NEYWderpom3e8=|cXFvpsKADl7pR7pWStEbWRC6ibc= " + kEd25519.type + " " + kEd25519.base64 +
      "\n|1|sQC7KFW0PHwvW1VlGCftfqC38c4=|qMx+gI3YanmJ4i9KOFdvsNQrnvE= " + kEd25519.type + " " + kEd25519.base64 + "\n");
  EXPECT_TRUE(check(hashed, kEd25519).has_value());
  auto with_port = hashed;
  with_port.port = 2222;
  EXPECT_TRUE(check(with_port, kEd25519).has_value());
  with_port.port = 2223;
  EXPECT_FALSE(check(with_port, kEd25519).has_value());
}

TEST_F(SftpHostKeys, PortIsPartOfTheName) {
  auto made = options(line_of("[backup.example]:2222", kEd25519));
  EXPECT_FALSE(check(made, kEd25519).has_value());
  made.port = 2222;
  EXPECT_TRUE(check(made, kEd25519).has_value());
  auto plain = options(line_of("backup.example", kEd25519));
  plain.port = 2222;
  EXPECT_FALSE(check(plain, kEd25519).has_value());
}

TEST_F(SftpHostKeys, UnknownHostIsRefusedWithTheNextStep) {
  auto made = options(line_of("other", kEd25519));
  made.port = 2222;
  const auto refused = check(made, kEd25519);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Errc::kPermission);
  const std::string text = refused.error().to_string();
  for (const std::string& part :
       {std::string("[backup.example]:2222"), std::string("ssh-ed25519"), std::string(kEd25519Shown),
        made.known_hosts.front(), "ssh-keyscan -p 2222 backup.example >> " + made.known_hosts.front()})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in:\n" << text;
}

TEST_F(SftpHostKeys, ChangedKeyIsRefusedEvenWhereNewOnesAreAccepted) {
  for (const auto how : {SftpHostKeyCheck::kStrict, SftpHostKeyCheck::kAcceptNew}) {
    auto made = options("\n" + line_of("backup.example", kEcdsa));
    made.host_key_check = how;
    const auto refused = check(made, kEd25519);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Errc::kPermission);
    const std::string text = refused.error().to_string();
    for (const std::string& part : {made.known_hosts.front() + ":2", std::string("ecdsa-sha2-nistp256"),
                                    std::string(kEd25519Shown), std::string("ssh-keygen -R 'backup.example'")})
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in:\n" << text;
    EXPECT_EQ(known_hosts(), "\n" + line_of("backup.example", kEcdsa));
  }
}

TEST_F(SftpHostKeys, RevokedKeyIsRefused) {
  auto made = options(line_of("backup.example", kEd25519) + "@revoked " + line_of("*", kEd25519));
  const auto refused = check(made, kEd25519);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("revokes"), std::string::npos) << refused.error().message();
}

TEST_F(SftpHostKeys, CertificateAuthoritiesVouchForNothing) {
  EXPECT_FALSE(check(options("@cert-authority " + line_of("backup.example", kEd25519)), kEd25519).has_value());
}

TEST_F(SftpHostKeys, AcceptNewAddsOnceAndThenEnforces) {
  auto made = options("other ssh-ed25519 AAAA");  // The last line has no end.
  made.host_key_check = SftpHostKeyCheck::kAcceptNew;
  EXPECT_TRUE(check(made, kEd25519).has_value());
  EXPECT_TRUE(check(made, kEd25519).has_value());
  EXPECT_EQ(known_hosts(), "other ssh-ed25519 AAAA\n" + line_of("backup.example", kEd25519));
  EXPECT_FALSE(check(made, kEcdsa).has_value());
  made.host_key_check = SftpHostKeyCheck::kStrict;
  EXPECT_TRUE(check(made, kEd25519).has_value());
}

TEST_F(SftpHostKeys, AcceptNewMakesTheFile) {
  SftpOptions made = options("");
  made.known_hosts = {scratch_.path() + "/ssh/known_hosts"};
  made.host_key_check = SftpHostKeyCheck::kAcceptNew;
  EXPECT_TRUE(check(made, kEd25519).has_value());
  EXPECT_EQ(read_file(made.known_hosts.front()).value(), line_of("backup.example", kEd25519));
}

TEST_F(SftpHostKeys, SecondFileCountsToo) {
  SftpOptions made = options("");
  const std::string second = scratch_.path() + "/second";
  ASSERT_TRUE(write_file_durable(second, line_of("backup.example", kEd25519)).has_value());
  made.known_hosts = {scratch_.path() + "/missing", made.known_hosts.front(), second};
  EXPECT_TRUE(check(made, kEd25519).has_value());
}

TEST_F(SftpHostKeys, FingerprintsOfEveryKindAndForm) {
  struct Case {
    SftpHostKeyHash hash;
    const char* fingerprint;
  };
  SftpOptions made = options("");
  made.host_key_check = SftpHostKeyCheck::kFingerprint;
  for (const Case& good :
       {Case{SftpHostKeyHash::kMd5, "6a1b455ef626f9a1747228b76c2bb165"},
        Case{SftpHostKeyHash::kMd5, "MD5:6a:1b:45:5e:f6:26:f9:a1:74:72:28:b7:6c:2b:b1:65"},
        Case{SftpHostKeyHash::kSha1, "e5b759850eff1655eb5a9d61ba20cd1f53d9e24a"},
        Case{SftpHostKeyHash::kSha1, "SHA1:5bdZhQ7/FlXrWp1huiDNH1PZ4ko"},
        Case{SftpHostKeyHash::kSha256, "A51D5210296E23E8B7308E732F4C1AB9C0F93ECDE69840C4964FA025B9235AF9"},
        Case{SftpHostKeyHash::kSha256, kEd25519Shown}}) {
    made.host_key_hash = good.hash;
    made.host_fingerprint = good.fingerprint;
    EXPECT_TRUE(check(made, kEd25519).has_value()) << good.fingerprint;
    const auto refused = check(made, kEcdsa);
    ASSERT_FALSE(refused.has_value()) << good.fingerprint;
    EXPECT_EQ(refused.error().code(), Errc::kPermission);
  }
  for (const char* bad : {"", "SHA256:", "SHA256:pR1SECluI", "zz", "a5"}) {
    made.host_fingerprint = bad;
    EXPECT_FALSE(check(made, kEd25519).has_value()) << bad;
  }
}

TEST_F(SftpHostKeys, KindsOfKeysThatAreKnownAreAskedForFirst) {
  EXPECT_EQ(host_key_algorithms({}), "");
  const std::string algorithms = host_key_algorithms({{"f:1", {"ssh-rsa", "AAAA"}, false}});
  EXPECT_TRUE(algorithms.starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519,")) << algorithms;
  EXPECT_EQ(host_key_algorithms({{"f:1", {"ssh-rsa", "AAAA"}, true}}), "");
}

}  // namespace
}  // namespace pgark
