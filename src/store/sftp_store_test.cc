// What of the SFTP store needs no server; the rest is in tests/e2e/sftp_test.cc.
#include "store/sftp_store.h"

#include <gtest/gtest.h>

#include "testing/tcp.h"

namespace pgark {
namespace {

SftpOptions good_options() {
  SftpOptions options;
  options.host = "127.0.0.1";
  options.user = "pgark";
  options.path = "/backup";
  options.known_hosts = {"/nonexistent/known_hosts"};
  options.connect_timeout = std::chrono::seconds(5);
  return options;
}

TEST(SftpStore, DescriptionHoldsPlaceAndNoSecret) {
  SftpOptions options = good_options();
  options.label = "repo3";
  options.private_key_passphrase = "sesame";
  EXPECT_EQ(SftpStore::open(options).value()->describe(), "repo3 at sftp://pgark@127.0.0.1/backup");
  options.port = 2222;
  options.host = "2001:db8::1";
  options.path = "/backup//";
  EXPECT_EQ(SftpStore::open(options).value()->describe(), "repo3 at sftp://pgark@[2001:db8::1]:2222/backup");
  options.path = "/";
  EXPECT_EQ(SftpStore::open(options).value()->describe(), "repo3 at sftp://pgark@[2001:db8::1]:2222/");
}

TEST(SftpStore, OptionsThatLackSomethingAreNamed) {
  struct Case {
    void (*spoil)(SftpOptions&);
    const char* named;
  };
  for (const Case& bad : {Case{[](SftpOptions& o) { o.host.clear(); }, "repo1-sftp-host"},
                          Case{[](SftpOptions& o) { o.user.clear(); }, "repo1-sftp-host-user"},
                          Case{[](SftpOptions& o) { o.path = "backup"; }, "repo1-path"},
                          Case{[](SftpOptions& o) { o.port = 0; }, "repo1-sftp-host-port"},
                          Case{[](SftpOptions& o) { o.connections_max = 17; }, "17 connections"},
                          Case{[](SftpOptions& o) { o.host_key_check = SftpHostKeyCheck::kFingerprint; },
                               "repo1-sftp-host-fingerprint"}}) {
    SftpOptions options = good_options();
    bad.spoil(options);
    const auto refused = SftpStore::open(options);
    ASSERT_FALSE(refused.has_value()) << bad.named;
    EXPECT_EQ(refused.error().code(), Errc::kInvalid);
    EXPECT_NE(refused.error().message().find(bad.named), std::string::npos) << refused.error().message();
  }
}

TEST(SftpStore, ServerThatIsNotThereIsNeverAbsence) {
  SftpOptions options = good_options();
  options.port = static_cast<uint16_t>(testing::free_port().value());
  const auto store = SftpStore::open(options).value();
  const ObjectKey key{"main/x"};
  const auto expect_transient = [&](const Error& error, std::string_view operation) {
    EXPECT_EQ(error.code(), Errc::kTransient) << error.message();
    for (const std::string_view part : {operation, std::string_view("main/x"), std::string_view("repo1 at sftp://")})
      EXPECT_NE(error.message().find(part), std::string::npos) << error.message();
  };
  expect_transient(store->stat(key).error(), "stat object");
  Buffer byte(1);
  expect_transient(store->read(key, 0, byte.bytes()).error(), "read object");
  expect_transient(store->list({.prefix = "main/x"}).error(), "list objects of");
  expect_transient(store->remove(key).error(), "remove object");
  expect_transient(store->create(key).error(), "create object");
  EXPECT_FALSE(store->caps().atomic_create_only);
}

TEST(SftpStore, ServerThatIsNotThereFailsToMakeTheRepository) {
  SftpOptions options = good_options();
  options.port = static_cast<uint16_t>(testing::free_port().value());
  options.create = true;
  EXPECT_EQ(SftpStore::open(options).error().code(), Errc::kTransient);
}

TEST(SftpStore, ServerThatSaysNothingIsGivenUp) {
  const File listener = testing::listen_on_loopback().value();
  SftpOptions options = good_options();
  options.port = static_cast<uint16_t>(testing::local_port(listener).value());
  options.connect_timeout = std::chrono::seconds(1);
  const auto store = SftpStore::open(options).value();
  EXPECT_EQ(store->stat(ObjectKey{"x"}).error().code(), Errc::kTransient);
}

TEST(SftpStore, IllegalKeysNeedNoServer) {
  const auto store = SftpStore::open(good_options()).value();
  EXPECT_EQ(store->stat(ObjectKey{"../x"}).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->create(ObjectKey{"/etc/passwd"}).error().code(), Errc::kInvalid);
  EXPECT_EQ(store->list({.prefix = "", .after = "", .limit = 0}).error().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace pgark
