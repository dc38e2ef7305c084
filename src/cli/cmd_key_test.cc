// `pgark key` from its words to the files it leaves: repositories are real directories.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "cli/test_support.h"
#include "codec/age.h"
#include "core/file.h"
#include "core/log.h"
#include "repo/keyring_store.h"
#include "store/posix_store.h"

namespace pgark {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kPassphrase = "correct horse battery staple";

class KeyCommand : public ScratchTest {
 protected:
  void SetUp() override {
    ScratchTest::SetUp();
    std::filesystem::create_directory(directory_ + "/repo");
    write_secret("pass", kPassphrase);
  }
  void TearDown() override {
    LogConfig config;
    config.console = LogLevel::kOff;
    config.standard_error = LogLevel::kWarn;
    ASSERT_TRUE(configure_log(config).has_value());
    ScratchTest::TearDown();
  }

  void write_secret(const std::string& name, std::string_view text) {
    write(name, std::string(text));
    ASSERT_EQ(::chmod((directory_ + "/" + name).c_str(), 0600), 0);
  }
  std::string read(const std::string& name) { return read_file(directory_ + "/" + name).value_or("<none>"); }

  std::unique_ptr<ObjectStore> open_store() { return *PosixStore::open(directory_ + "/repo"); }

  /// A configuration with these lines for repo1, and a keyring made with it.
  void make_repository(const std::string& more_lines = "") {
    configure("repo1-cipher-pass-file=" + directory_ + "/pass\n" + more_lines);
    KeyConfig config;
    config.sealed = true;
    config.passphrase = NamedSecret{"pass", Secret::from_text(kPassphrase)};
    ASSERT_TRUE(Repository::open_or_create(*open_store(), system_clock(), config).has_value());
  }
  void configure(const std::string& lines) {
    write_secret("pgark.conf",
                 fmt::format("[global]\nrepo1-path={}/repo\nrepo1-cipher-type=aes-256-gcm\n{}", directory_, lines));
  }

  int run(std::vector<std::string> words) {
    out_ = StringOutput();
    err_ = StringOutput();
    words.insert(words.begin(), "key");
    words.insert(words.end(), {"--lock-path=" + directory_ + "/lock", "--log-path=" + directory_ + "/log",
                               "--log-level-file=debug"});
    input_.arguments = std::move(words);
    const int code =
        run_program({.input = input_,
                     .out = out_,
                     .err = err_,
                     .cancel = cancel_,
                     .clock = system_clock(),
                     .received_signal = [] { return 0; },
                     .open_store = [this](const Settings&, unsigned, bool) -> Result<std::unique_ptr<ObjectStore>> {
                       return open_store();
                     },
                     .executable = "/usr/bin/pgark"});
    for (const std::string& text : {out_.text(), err_.text()}) {
      EXPECT_THAT(text, Not(HasSubstr("horse")));
      EXPECT_THAT(text, Not(HasSubstr("the new one of all")));
    }
    return code;
  }
  /// Make an identity file with `key generate` and return its recipient.
  std::string generate(const std::string& name) {
    EXPECT_EQ(run({"generate", "--output=json", "--output-file=" + directory_ + "/" + name}), 0) << err_.text();
    return json::parse(out_.text())["recipient"];
  }
  bool opens(const std::string& passphrase) {
    KeyConfig config;
    config.sealed = true;
    config.passphrase = NamedSecret{"test", Secret::copy_of(as_bytes(passphrase))};
    return Repository::open(*open_store(), config).has_value();
  }

  StringOutput out_;
  StringOutput err_;
  CancelToken cancel_;
};

TEST_F(KeyCommand, GeneratesAnIdentityThatOnlyItsOwnerReads) {
  const std::string path = directory_ + "/identity";
  EXPECT_EQ(run({"generate", "--output-file=" + path}), 0) << err_.text();
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const std::string content = read("identity");
  const auto identities = parse_age_identities(content);
  ASSERT_TRUE(identities.has_value());
  EXPECT_EQ(out_.text(), "public key: " + to_string((*identities)[0].recipient) + "\n");
  EXPECT_THAT(content, AllOf(HasSubstr("# created: 20"), HasSubstr("# public key: age1")));

  EXPECT_EQ(run({"generate", "--output-file=" + path}), 4) << "never over a key that is there";
  EXPECT_EQ(read("identity"), content);
}

TEST_F(KeyCommand, GeneratesToStandardOutputAndKeepsLogsClean) {
  EXPECT_EQ(run({"generate"}), 0) << err_.text();
  const auto identities = parse_age_identities(out_.text());
  ASSERT_TRUE(identities.has_value()) << out_.text();
  const std::string secret(format_age_identity((*identities)[0]).text());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_THAT(read_file(entry.path().string()).value_or(""), Not(HasSubstr(secret))) << entry.path();
  }
  EXPECT_THAT(err_.text(), Not(HasSubstr(secret)));
}

TEST_F(KeyCommand, ListsKeysAndTriesTheConfiguredOnes) {
  make_repository();
  EXPECT_EQ(run({"list"}), 0) << err_.text();
  EXPECT_THAT(out_.text(), AllOf(HasSubstr("passphrase  all"), HasSubstr("repo1-cipher-pass-file opens all"),
                                 HasSubstr("warning: one key alone")));
  write_secret("pass", "a wrong horse");
  EXPECT_EQ(run({"list", "--output=json"}), 1);
  const json document = json::parse(out_.text());
  const json& one = document["repositories"][0];
  EXPECT_EQ(one["repo"], 1);
  EXPECT_EQ(one["keyring"], 1);
  EXPECT_EQ(one["keys"][0]["kind"], "passphrase");
  EXPECT_TRUE(one["configured"][0]["opens"].is_null());
  EXPECT_EQ(one["configured"][0]["error"], "the passphrase of repo1-cipher-pass-file is wrong");
}

TEST_F(KeyCommand, RotatesThePassphrase) {
  make_repository();
  write_secret("new", "the new one of all\nsecond line\n");
  EXPECT_EQ(run({"rotate"}), 2);
  EXPECT_THAT(err_.text(), HasSubstr("--new-cipher-pass-file"));
  EXPECT_EQ(run({"rotate", "--new-cipher-pass-file=" + directory_ + "/pass"}), 2) << "the same again";
  EXPECT_EQ(run({"rotate", "--new-cipher-pass-file=" + directory_ + "/new"}), 0) << err_.text();
  EXPECT_FALSE(opens(kPassphrase));
  EXPECT_TRUE(opens("the new one of all"));
  EXPECT_EQ(run({"rotate", "--new-cipher-pass-file=" + directory_ + "/new"}), 8) << "the configured one is wrong now";
  EXPECT_THAT(err_.text(),
              AllOf(HasSubstr("open repository"), HasSubstr("the passphrase of repo1-cipher-pass-file is wrong")));
  EXPECT_THAT(read("repo/keyring.2"), HasSubstr("\"keyring\": 1"));
  EXPECT_EQ(read("repo/keyring.1"), "<none>");
}

TEST_F(KeyCommand, GivesAndTakesRecipients) {
  make_repository();
  const std::string alice = generate("alice");
  const std::string bob = generate("bob");
  // Configured before it is added: everything else refuses to believe it, this command mends it.
  make_repository("repo1-recipient=" + alice + "\n");
  EXPECT_EQ(run({"add-recipient", alice, "--output=json"}), 0) << err_.text();
  const json document = json::parse(out_.text());
  ASSERT_EQ(document["repositories"].size(), 1u);
  EXPECT_EQ(document["repositories"][0]["keys"][0]["opens"], "metadata");
  EXPECT_EQ(document["repositories"][0]["keys"][1]["recipient"], alice);
  EXPECT_EQ(run({"add-recipient", alice}), 4);
  EXPECT_EQ(run({"add-recipient", bob}), 8) << "this host cannot read the data any more";
  EXPECT_THAT(err_.text(), HasSubstr("repo-identity-file"));

  configure("repo1-cipher-pass-file=" + directory_ + "/pass\nrepo1-identity-file=" + directory_ + "/alice\n");
  EXPECT_EQ(run({"add-recipient", bob}), 0) << err_.text();
  EXPECT_EQ(run({"list"}), 0) << err_.text();
  EXPECT_THAT(out_.text(), AllOf(HasSubstr(alice + "  all"), HasSubstr(bob + "  all"), Not(HasSubstr("warning"))));
  EXPECT_EQ(run({"remove-recipient", bob}), 0) << err_.text();
  EXPECT_EQ(run({"remove-recipient", bob}), 3);
  EXPECT_EQ(run({"remove-recipient", alice}), 0) << err_.text();
  EXPECT_THAT(out_.text(), HasSubstr("passphrase  all"));
  EXPECT_TRUE(opens(kPassphrase));
}

TEST_F(KeyCommand, RefusesWhatMakesNoSense) {
  make_repository();
  EXPECT_EQ(run({"frobnicate"}), 2);
  EXPECT_THAT(err_.text(), HasSubstr("add-recipient"));
  EXPECT_EQ(run({"list", "x"}), 2);
  EXPECT_EQ(run({"add-recipient"}), 2);
  EXPECT_EQ(run({"add-recipient", "age1nonsense"}), 2);
  write_secret("pgark.conf", fmt::format("[global]\nrepo1-path={}/repo\n", directory_));
  EXPECT_EQ(run({"list"}), 2);
  EXPECT_THAT(err_.text(), HasSubstr("repo1-cipher-type is none"));
  write_secret(
      "pgark.conf",
      fmt::format("[global]\nrepo1-path={0}/repo\nrepo1-cipher-type=aes-256-gcm\nrepo1-cipher-pass-file={0}/pass\n"
                  "repo2-path={0}/repo2\nrepo2-cipher-type=aes-256-gcm\nrepo2-cipher-pass-file={0}/pass\n",
                  directory_));
  EXPECT_EQ(run({"rotate", "--new-cipher-pass-file=" + directory_ + "/pass"}), 2);
  EXPECT_THAT(err_.text(), HasSubstr("--repo"));
}

}  // namespace
}  // namespace pgark
