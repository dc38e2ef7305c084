// Encrypted repositories with the real binary and a real cluster: their life, hosts that write and cannot read, and
// where secrets must not be.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "codec/age.h"
#include "core/file.h"
#include "encryption_scene.h"
#include "repo/keyring_store.h"
#include "store/posix_store.h"
#include "store_cycle.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Long enough not to be made by chance, and never on one line with anything that is printed.
constexpr const char* kMarker = "the-salary-of-the-director-is-4711";

/// Names of those of `wanted` that a core file of the process would hold: every mapping but those that are left out of
/// one (VmFlags dd).
Result<std::set<std::string>> in_core(pid_t pid, const std::map<std::string, std::string>& wanted) {
  std::ifstream maps(fmt::format("/proc/{}/smaps", pid));
  TRY_ASSIGN(const File memory, File::open(fmt::format("/proc/{}/mem", pid), O_RDONLY));
  std::set<std::string> found;
  unsigned long begin = 0;
  unsigned long end = 0;
  std::array<char, 8> permissions{};
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %7s", &from, &to, permissions.data()) == 3) {
      begin = from;
      end = to;
    }
    const bool is_written = std::string_view(permissions.data()).starts_with("rw");
    if (!line.starts_with("VmFlags:") || !is_written || line.find(" dd") != std::string::npos) continue;
    std::string bytes(end - begin, '\0');
    const auto count = memory.pread(MutableBytes(reinterpret_cast<std::byte*>(bytes.data()), bytes.size()), begin);
    if (!count) continue;
    for (const auto& [name, text] : wanted)
      if (bytes.find(text) != std::string::npos) found.insert(name);
  }
  return found;
}

TEST(Encryption, LifeOfARepositoryWithAPassphrase) {
  run_store_cycle(
      {.repository = {{"repo1-cipher-type", "aes-256-gcm"}, {"repo1-cipher-pass", kPassphrase}}, .data_mib = 16});
}

TEST(Encryption, NothingOfTheClusterNorAnySecretIsInTheRepository) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(KeyedScene keyed, KeyedScene::create(install, true));
  RestoreScene& scene = *keyed.scene;
  ASSERT_OK(scene.cli->set("global", "compress-type", "none"));
  ASSERT_OK(scene.cli->set("global", "log-level-file", "trace"));
  ASSERT_OK(scene.server->exec(
      fmt::format("CREATE TABLE secret_names AS SELECT '{}'::text FROM generate_series(1, 100)", kMarker)));
  ASSERT_OK(scene.server->exec("CREATE DATABASE hidden_database"));
  ASSERT_OK(scene.server->exec("CHECKPOINT"));
  ASSERT_OK(scene.backup());
  ASSERT_OK(scene.server->archive_all());
  ASSERT_OK(scene.cli->run_ok({"check"}));
  ASSERT_OK(scene.cli->run_ok({"key", "list"}));
  ASSERT_OK(scene.cli->run_ok({"restore", "--pg1-path=" + scene.place("r"), keyed.with_identity()}));

  const std::vector<std::string> data = {kMarker, "hidden_database", "secret_names"};
  EXPECT_THAT(files_with(scene.server->data_dir(), data), Not(IsEmpty())) << "the search itself finds it";
  EXPECT_THAT(files_with(scene.cli->repo_path(), data), IsEmpty());
  // Logs, locks, the configuration, spool, temporary files: everything of pgark but the key files themselves.
  const std::vector<std::string> secrets = {kPassphrase, std::string(format_age_identity(*keyed.identity).text()),
                                            std::string(as_text(keyed.identity->private_key.bytes()))};
  EXPECT_EQ(files_with(keyed.keys.path(), secrets).size(), 2u) << "the search itself finds them";
  EXPECT_THAT(files_with(scene.cli->directory(), secrets), IsEmpty());
  EXPECT_THAT(files_with(scene.server->scratch().path(), secrets), IsEmpty());
}

/// Where a passphrase may be given: in a file of its own, or in the configuration.
class EncryptionCore : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Given, EncryptionCore, ::testing::Bool(),
                         [](const auto& given) { return given.param ? "InTheConfiguration" : "InAFile"; });

TEST_P(EncryptionCore, CoreFilesAndProcessTitlesHoldNoSecret) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(KeyedScene keyed, KeyedScene::create(install));
  RestoreScene& scene = *keyed.scene;
  ASSERT_OK(scene.server->exec("CREATE TABLE filler AS SELECT i, md5(i::text) FROM generate_series(1, 200000) i"));
  ASSERT_OK_AND_ASSIGN(const auto store, PosixStore::open(scene.cli->repo_path()));
  KeyConfig config;
  config.sealed = true;
  config.passphrase = NamedSecret{"pass", Secret::copy_of(as_bytes(kPassphrase))};
  ASSERT_OK_AND_ASSIGN(const auto keyring, find_keyring(*store));
  ASSERT_TRUE(keyring.has_value());
  ASSERT_OK_AND_ASSIGN(const RepositoryKeys keys, keyring->unlock(config));
  ASSERT_TRUE(keys.data_private.has_value());
  const std::map<std::string, std::string> wanted = {
      {"passphrase", kPassphrase},
      {"metadata key", std::string(as_text(keys.metadata_key.bytes()))},
      {"private data key", std::string(as_text(keys.data_private->bytes()))},
      {"no secret", scene.cli->config_path()}};
  if (GetParam()) {
    ASSERT_OK(scene.cli->set("global", "repo1-cipher-pass-file", ""));
    ASSERT_OK(scene.cli->set("global", "repo1-cipher-pass", kPassphrase));
  }

  ASSERT_OK_AND_ASSIGN(Process backup,
                       scene.cli->start({"backup", "--type=full", "--start-fast", "--pg1-bandwidth-max=1MiB"}));
  const std::string packs = scene.cli->repo_path() + "/main/pack";
  ASSERT_TRUE(wait_until([&] { return fs::exists(packs) && !fs::is_empty(packs); }));
  ASSERT_TRUE(backup.running());
  ASSERT_OK_AND_ASSIGN(const auto found, in_core(backup.pid(), wanted));
  EXPECT_THAT(found, ElementsAre("no secret")) << "the search itself finds a path of the configuration";
  const std::string title = read_file(fmt::format("/proc/{}/cmdline", backup.pid())).value_or("");
  EXPECT_THAT(title, AllOf(HasSubstr("backup"), Not(HasSubstr(kPassphrase))));
  ASSERT_OK(backup.kill_and_wait());
}

TEST(Encryption, HostWithRecipientsWritesAndCannotRead) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(KeyedScene keyed, KeyedScene::create(install, true));
  RestoreScene& scene = *keyed.scene;
  ASSERT_OK(scene.ledger->commit_rows(20));
  ASSERT_OK(scene.backup());
  ASSERT_OK(scene.ledger->commit_rows(20));
  ASSERT_OK(scene.server->archive_all());
  ASSERT_OK_AND_ASSIGN(const json incr, scene.cli->run_json({"backup", "--type=incr", "--start-fast"}));
  EXPECT_EQ(incr.at("type"), "incr");
  EXPECT_LT(incr.at("stored_bytes").get<uint64_t>(), 5u << 20) << "an incremental needs no data key";
  ASSERT_OK(scene.ledger->commit_rows(20));
  ASSERT_OK(scene.server->archive_all());
  ASSERT_OK(scene.cli->run_ok({"info"}));
  ASSERT_OK(scene.cli->run_ok({"check"}));

  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene.restore("refused"));
  EXPECT_EQ(refused.exit_code, 8) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("identity"));
  ASSERT_OK(scene.restore_and_verify("latest", LedgerTarget::latest(), {keyed.with_identity()}));
  ASSERT_OK(scene.cli->run_ok({"verify", keyed.with_identity()}));
}

TEST(Encryption, KeysChangeUnderARunningCluster) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(KeyedScene keyed, KeyedScene::create(install));
  RestoreScene& scene = *keyed.scene;
  ASSERT_OK(scene.ledger->commit_rows(10));
  ASSERT_OK(scene.backup());

  // The passphrase.
  ASSERT_OK(write_file_durable(keyed.keys / "new", "another-horse", 0600));
  ASSERT_OK(scene.cli->run_ok({"key", "rotate", "--new-cipher-pass-file=" + (keyed.keys / "new")}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult wrong, scene.cli->run({"info"}));
  EXPECT_EQ(wrong.exit_code, 8) << wrong.to_string();
  EXPECT_THAT(wrong.err,
              AllOf(HasSubstr("the passphrase of repo1-cipher-pass-file is wrong"), Not(HasSubstr("horse"))));
  ASSERT_OK(keyed.set_passphrase("another-horse"));
  ASSERT_OK(scene.ledger->commit_rows(10));
  ASSERT_OK(scene.server->archive_all());

  // A recipient, made by the program itself.
  const std::string identity_path = keyed.keys / "made";
  ASSERT_OK_AND_ASSIGN(const json made, scene.cli->run_json({"key", "generate", "--output-file=" + identity_path}));
  const std::string recipient = made.at("recipient");
  ASSERT_OK(scene.cli->run_ok({"key", "add-recipient", recipient}));
  ASSERT_OK(scene.ledger->commit_rows(10));
  ASSERT_OK(scene.server->archive_all());
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, scene.restore("refused"));
  EXPECT_EQ(refused.exit_code, 8) << refused.to_string();
  ASSERT_OK(
      scene.restore_and_verify("by-identity", LedgerTarget::latest(), {"--repo1-identity-file=" + identity_path}));

  // And away again; everything written meanwhile is readable.
  ASSERT_OK(scene.cli->run_ok({"key", "remove-recipient", recipient, "--repo1-identity-file=" + identity_path}));
  ASSERT_OK(scene.restore_and_verify("by-passphrase", LedgerTarget::latest()));
}

}  // namespace
}  // namespace pgark::testing
