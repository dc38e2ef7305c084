// Repositories on a real SSH server: keys, host keys, servers that die, hang and come back, and the whole life of a
// repository with the real binary.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/file.h"
#include "pipe/task_group.h"
#include "store/conformance.h"
#include "store/retry_store.h"
#include "store/sftp_host_key.h"
#include "store/sftp_store.h"
#include "store_cycle.h"
#include "store_scene.h"
#include "testing/pg_server.h"
#include "testing/process.h"
#include "testing/sftp_server.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

using namespace std::chrono_literals;

#define EXPECT_OK(expr)                                                                \
  do {                                                                                 \
    const auto& expect_ok_result = (expr);                                             \
    EXPECT_TRUE(expect_ok_result.has_value()) << expect_ok_result.error().to_string(); \
  } while (false)

const ObjectKey kKey{"main/x"};

Result<std::unique_ptr<SftpStore>> open_store(const SftpOptions& options) {
  // As the binary has it.
  ::signal(SIGPIPE, SIG_IGN);
  return SftpStore::open(options);
}

/// A new store with these options can look for an object.
Result<> try_to_look(const SftpOptions& options) {
  TRY_ASSIGN(const auto store, open_store(options));
  TRY(store->stat(kKey));
  return {};
}

void expect_refused(const Result<>& result, Errc code, std::initializer_list<std::string> parts) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), code) << result.error().to_string();
  for (const std::string& part : parts)
    EXPECT_NE(result.error().to_string().find(part), std::string::npos)
        << "'" << part << "' is not in: " << result.error().to_string();
}

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  return files;
}

/// An agent with one key, told of by SSH_AUTH_SOCK while it lives.
class Agent {
 public:
  static Result<std::unique_ptr<Agent>> start(const SftpServer& server, const std::string& key_file) {
    auto agent = std::make_unique<Agent>();
    const std::string socket = server.scratch() / "agent";
    TRY_ASSIGN(agent->process_, Process::start({"ssh-agent", "-D", "-a", socket}));
    ::setenv("SSH_AUTH_SOCK", socket.c_str(), 1);
    // The agent makes its socket before it listens there: only a key taken says that it is up.
    TRY(wait_for("ssh-agent", [&]() -> Result<bool> { return run_ok({"ssh-add", "-q", key_file}).has_value(); }));
    return agent;
  }
  ~Agent() { ::unsetenv("SSH_AUTH_SOCK"); }

 private:
  Process process_;
};

class SftpStoreLogin : public ::testing::TestWithParam<std::string> {};

TEST_P(SftpStoreLogin, TakesKeysOfFileAndAgent) {
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  options.private_key_file = server.key_file(GetParam());
  EXPECT_OK(try_to_look(options));
  options.public_key_file = server.key_file(GetParam()) + ".pub";
  EXPECT_OK(try_to_look(options));

  ASSERT_OK_AND_ASSIGN(const auto agent, Agent::start(server, options.private_key_file));
  options.private_key_file.clear();
  options.public_key_file.clear();
  EXPECT_OK(try_to_look(options));
}

INSTANTIATE_TEST_SUITE_P(Keys, SftpStoreLogin, ::testing::Values("ed25519", "ecdsa", "rsa"),
                         [](const auto& param_info) { return param_info.param; });

TEST(SftpStore, PassphraseOpensAKeyAndIsNeverShown) {
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  ASSERT_OK(run_ok({"ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", options.private_key_file}));
  expect_refused(try_to_look(options), Errc::kInvalid, {options.private_key_file, "repo1-sftp-private-key-passphrase"});
  options.private_key_passphrase = "open says me";
  const auto refused = try_to_look(options);
  expect_refused(refused, Errc::kInvalid, {options.private_key_file, "passphrase is wrong"});
  EXPECT_EQ(refused.error().to_string().find("says me"), std::string::npos);
  options.private_key_passphrase = "open sesame";
  EXPECT_OK(try_to_look(options));
}

TEST(SftpStore, CertificateOfTheServersAuthorityLogsIn) {
  PGARK_REQUIRE_SSHD(probe);
  const std::string authority = probe.key_file("rsa");
  PGARK_REQUIRE_SSHD(server, {.config = {"TrustedUserCAKeys " + authority + ".pub", "AuthorizedKeysFile none"}});
  SftpOptions options = server.options();
  expect_refused(try_to_look(options), Errc::kPermission, {"authorized_keys"});
  ASSERT_OK(run_ok(
      {"ssh-keygen", "-q", "-s", authority, "-I", "test", "-n", server.user(), options.private_key_file + ".pub"}));
  options.public_key_file = options.private_key_file + "-cert.pub";
  EXPECT_OK(try_to_look(options));
}

TEST(SftpStore, WrongKeysAreNamed) {
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  const std::string stranger = server.scratch() / "stranger";
  ASSERT_OK(run_ok({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger}));
  options.private_key_file = stranger;
  expect_refused(try_to_look(options), Errc::kPermission, {stranger, "ssh-ed25519", "SHA256:", "authorized_keys"});
  options.private_key_file = stranger + ".missing";
  expect_refused(try_to_look(options), Errc::kPermission, {stranger + ".missing"});
  options.private_key_file = server.key_file("ed25519");
  options.public_key_file = stranger + ".pub";
  expect_refused(try_to_look(options), Errc::kInvalid, {stranger + ".pub"});
  options.private_key_file.clear();
  options.public_key_file.clear();
  ::unsetenv("SSH_AUTH_SOCK");
  expect_refused(try_to_look(options), Errc::kInvalid, {"SSH_AUTH_SOCK", "repo1-sftp-private-key-file"});
  ASSERT_OK_AND_ASSIGN(const auto agent, Agent::start(server, stranger));
  expect_refused(try_to_look(options), Errc::kPermission, {"agent"});
}

TEST(SftpStore, HostKeysAreEnforced) {
  PGARK_REQUIRE_SSHD(server, {.host_key_types = {"ed25519", "ecdsa", "rsa"}});
  PGARK_REQUIRE_SSHD(impostor, {.host_key_types = {"ed25519"}});
  SftpOptions options = server.options();
  EXPECT_OK(try_to_look(options));
  const std::string file = server.scratch() / "other_known_hosts";
  options.known_hosts = {file};

  // Unknown.
  expect_refused(try_to_look(options), Errc::kPermission,
                 {fmt::format("[127.0.0.1]:{}", server.port()), "SHA256:", "ssh-keyscan", file});
  // Known by any one of its keys.
  for (const char* type : {"ed25519", "ecdsa", "rsa"}) {
    ASSERT_OK_AND_ASSIGN(const std::string key, server.host_key(type));
    ASSERT_OK(write_file_durable(file, fmt::format("[127.0.0.1]:{} {}\n", server.port(), key)));
    EXPECT_OK(try_to_look(options));
  }
  // Another than the known one.
  ASSERT_OK_AND_ASSIGN(const std::string other, impostor.host_key("ed25519"));
  ASSERT_OK(write_file_durable(file, fmt::format("[127.0.0.1]:{} {}\n", server.port(), other)));
  expect_refused(try_to_look(options), Errc::kPermission, {"ssh-ed25519", "SHA256:", file + ":1", "ssh-keygen -R"});
  options.host_key_check = SftpHostKeyCheck::kAcceptNew;
  expect_refused(try_to_look(options), Errc::kPermission, {file + ":1"});
  options.host_key_check = SftpHostKeyCheck::kNone;
  EXPECT_OK(try_to_look(options));

  // New ones are written down, and enforced from then on.
  options.known_hosts = {server.scratch() / "new/known_hosts"};
  options.host_key_check = SftpHostKeyCheck::kAcceptNew;
  EXPECT_OK(try_to_look(options));
  options.host_key_check = SftpHostKeyCheck::kStrict;
  EXPECT_OK(try_to_look(options));
}

TEST(SftpStore, FingerprintStandsForTheHostKey) {
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  options.known_hosts = {"/nonexistent"};
  options.host_key_check = SftpHostKeyCheck::kFingerprint;
  ASSERT_OK_AND_ASSIGN(const std::string key, server.host_key("ed25519"));
  const SftpHostKey right{"ssh-ed25519", key.substr(key.find(' ') + 1)};
  for (const auto hash : {SftpHostKeyHash::kMd5, SftpHostKeyHash::kSha1, SftpHostKeyHash::kSha256}) {
    options.host_key_hash = hash;
    ASSERT_OK_AND_ASSIGN(options.host_fingerprint, host_key_fingerprint(right, hash));
    EXPECT_OK(try_to_look(options));
    char& digit = options.host_fingerprint.front();
    digit = digit == '0' ? '1' : '0';
    expect_refused(try_to_look(options), Errc::kPermission, {"repo1-sftp-host-fingerprint", "ssh-ed25519"});
  }
}

TEST(SftpStore, KeepsThePromisesOfAStoreOverSsh) {
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  options.connections_max = 5;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, open_store(options));
    EXPECT_TRUE(store->caps().atomic_create_only);
    for (const ConformanceOutcome& outcome : run_conformance(*store, "conformance/scratch", 16))
      EXPECT_TRUE(outcome.result.has_value()) << outcome.check->promise << "\n" << outcome.result.error().to_string();
    EXPECT_LE(server.connections(), 5u);
  }
  EXPECT_TRUE(std::filesystem::is_empty(server.root()));
  EXPECT_TRUE(wait_until([&] { return server.connections() == 0; }));
}

TEST(SftpStore, StoresOfTwoHostsShareADirectory) {
  PGARK_REQUIRE_SSHD(server);
  ASSERT_OK_AND_ASSIGN(const auto one, open_store(server.options()));
  ASSERT_OK_AND_ASSIGN(const auto two, open_store(server.options()));
  for (int round = 0; round < 20; ++round) {
    const ObjectKey key{fmt::format("lease/{}", round)};
    std::atomic<int> won = 0;
    TaskGroup group;
    for (const auto* store : {&one, &two})
      group.spawn([&, store]() -> Result<> {
        const auto put = (*store)->put(key, as_bytes(store == &one ? "one" : "two"));
        if (put.has_value()) ++won;
        if (!put.has_value() && put.error().code() != Errc::kAlreadyExists) return put.error();
        return {};
      });
    ASSERT_OK(group.wait());
    EXPECT_EQ(won, 1);
    EXPECT_TRUE(*two->remove(key));
    EXPECT_FALSE(one->stat(key)->has_value());
  }
}

TEST(SftpStore, KeysOfTheConnectionMayChangeInTheMiddle) {
  PGARK_REQUIRE_SSHD(server, {.config = {"RekeyLimit 1M"}});
  ASSERT_OK_AND_ASSIGN(const auto store, open_store(server.options()));
  const Buffer content = noise(24u << 20, 1);
  ASSERT_OK(store->put(kKey, content));
  expect_content(*store, kKey, content);
}

TEST(SftpStore, ServerKilledInMidWriteFailsTheWriteAndNothingElse) {
  PGARK_REQUIRE_SSHD(server);
  ASSERT_OK_AND_ASSIGN(const auto store, open_store(server.options()));
  ASSERT_OK(store->put(ObjectKey{"main/before"}, as_bytes("before")));
  const Buffer piece(4u << 20);
  ASSERT_OK_AND_ASSIGN(auto writer, store->create(kKey));
  ASSERT_OK(writer->append(piece));
  server.kill();
  Result<> written = writer->append(piece);
  // What is under way before the loss is noticed is bounded, so that this ends.
  for (int i = 0; i < 100 && written.has_value(); ++i) written = writer->append(piece);
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code(), Errc::kTransient) << written.error().to_string();
  EXPECT_EQ(std::move(*writer).commit().error().code(), Errc::kTransient);
  writer.reset();
  EXPECT_EQ(store->stat(kKey).error().code(), Errc::kTransient);
  EXPECT_EQ(store->list_all("").error().code(), Errc::kTransient);

  ASSERT_OK(server.restart());
  EXPECT_FALSE(store->stat(kKey)->has_value());
  EXPECT_EQ(files_below(server.root()).size(), 2u) << "the object and the temporary file of the lost writer";
  ASSERT_OK(store->put(kKey, piece));
  EXPECT_EQ(files_below(server.root()).size(), 2u) << "two objects";
  EXPECT_OK(store->get(ObjectKey{"main/before"}));
}

TEST(SftpStore, LostConnectionsAreReplaced) {
  PGARK_REQUIRE_SSHD(server);
  ASSERT_OK_AND_ASSIGN(auto store, open_store(server.options()));
  RetryStore retrying(std::move(store), {}, system_clock(), 1);
  ASSERT_OK(retrying.put(kKey, as_bytes("x")));
  for (int round = 0; round < 3; ++round) {
    server.kill_connections();
    EXPECT_OK(retrying.get(kKey));
    server.kill_connections();
    EXPECT_OK(retrying.put(ObjectKey{fmt::format("main/{}", round)}, as_bytes("y")));
  }
  EXPECT_EQ(retrying.list_all("")->size(), 4u);
}

TEST(SftpStore, SilentServerIsGivenUpInTime) {
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  // Long enough for a busy machine to log in and to answer, here and at the end.
  options.io_timeout = 5s;
  options.connect_timeout = 10s;
  ASSERT_OK_AND_ASSIGN(const auto store, open_store(options));
  ASSERT_OK(store->put(kKey, as_bytes("x")));
  ASSERT_OK_AND_ASSIGN(auto writer, store->create(ObjectKey{"main/y"}));
  server.freeze(true);
  const Buffer much(32u << 20);
  const auto written = writer->append(much);
  const auto found = store->stat(kKey);
  server.freeze(false);
  EXPECT_EQ(written.error().code(), Errc::kTransient) << written.error().to_string();
  EXPECT_NE(written.error().message().find("did not answer"), std::string::npos) << written.error().message();
  EXPECT_EQ(found.error().code(), Errc::kTransient) << found.error().to_string();
  writer.reset();
  ASSERT_OK_AND_ASSIGN(const auto again, store->stat(kKey));
  EXPECT_TRUE(again.has_value());
}

TEST(SftpStore, ServerOfFewConnectionsServesManyThreads) {
  PGARK_REQUIRE_SSHD(server, {.config = {"MaxStartups 1"}});
  SftpOptions options = server.options();
  options.connections_max = 8;
  ASSERT_OK_AND_ASSIGN(auto store, open_store(options));
  RetryStore retrying(std::move(store), {}, system_clock(), 1);
  TaskGroup group;
  for (int i = 0; i < 8; ++i)
    group.spawn([&, i]() -> Result<> {
      for (int round = 0; round < 5; ++round)
        TRY(retrying.put(ObjectKey{fmt::format("main/{}-{}", i, round)}, as_bytes("x")));
      return {};
    });
  EXPECT_OK(group.wait());
  EXPECT_EQ(retrying.list_all("main/")->size(), 40u);
}

TEST(SftpStore, FullDiskIsSaidAndLeavesWhatWasGood) {
  ASSERT_OK_AND_ASSIGN(const ScratchDir scratch, ScratchDir::create("full"));
  ASSERT_OK(make_directories(scratch / "disk"));
  auto mounted = SmallFs::mount(scratch / "disk", 8u << 20);
  if (!mounted) GTEST_SKIP() << mounted.error().to_string();
  PGARK_REQUIRE_SSHD(server);
  SftpOptions options = server.options();
  options.path = mounted->directory() + "/repository";
  options.create = true;
  ASSERT_OK_AND_ASSIGN(const auto store, open_store(options));
  ASSERT_OK(store->put(kKey, as_bytes("x")));
  const Buffer much(16u << 20);
  const auto full = store->put(ObjectKey{"main/y"}, much);
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code(), Errc::kNoSpace) << full.error().to_string();
  EXPECT_OK(store->get(kKey));
  EXPECT_OK(store->put(ObjectKey{"main/z"}, as_bytes("z")));
}

TEST(SftpRepository, LivesAWholeLife) {
  PGARK_REQUIRE_SSHD(server);
  const std::string repository = server.root() + "/deep/repository";
  run_store_cycle({.repository = repository_options(server, repository),
                   .list = [&]() -> Result<std::vector<std::string>> { return files_below(repository); }});
  for (const std::string& file : files_below(repository)) EXPECT_EQ(file.find("/.tmp-"), std::string::npos) << file;
}

}  // namespace
}  // namespace pgark::testing
