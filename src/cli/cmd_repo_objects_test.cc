// repo-put, repo-rm and repo-check as commands, on a store in memory that lasts from one command to the next.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cli/test_support.h"
#include "core/file.h"
#include "core/log.h"
#include "testing/forwarding_store.h"

namespace pgark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class RepoObjectCommands : public ScratchTest {
 protected:
  void TearDown() override {
    LogConfig config;
    config.console = LogLevel::kOff;
    config.standard_error = LogLevel::kWarn;
    ASSERT_TRUE(configure_log(config).has_value());
    ScratchTest::TearDown();
  }

  int run(std::vector<std::string> words) {
    out_ = StringOutput();
    err_ = StringOutput();
    words.insert(words.end(),
                 {"--lock-path=" + directory_, "--log-path=" + directory_ + "/log", "--log-level-console=off"});
    input_.arguments = std::move(words);
    return run_program({.input = input_,
                        .out = out_,
                        .err = err_,
                        .cancel = cancel_,
                        .clock = system_clock(),
                        .received_signal = [] { return 0; },
                        .open_store = [this](const Settings&, unsigned, bool) -> Result<std::unique_ptr<ObjectStore>> {
                          return std::unique_ptr<ObjectStore>(std::make_unique<testing::ForwardingStore>(store_));
                        },
                        .executable = "/usr/bin/pgark"});
  }
  void put(const std::string& name, std::string_view text) {
    ASSERT_TRUE(store_.put(ObjectKey{name}, as_bytes(text)).has_value());
  }
  std::string names() {
    std::string all;
    const auto listed = store_.list_all("");
    for (const ObjectInfo& object : *listed) all += object.key.value + " ";
    return all;
  }

  MemoryStore store_;
  StringOutput out_;
  StringOutput err_;
  CancelToken cancel_;
};

TEST_F(RepoObjectCommands, PutStoresAFileAsItIsAndNeverOverwrites) {
  write("file", "some text");
  EXPECT_EQ(run({"repo-put", "notes/a", directory_ + "/file", "--output=json"}), 0) << err_.text();
  EXPECT_EQ(nlohmann::json::parse(out_.text()), nlohmann::json({{"name", "notes/a"}, {"bytes", 9}}));
  for (const auto& words : {std::vector<std::string>{"repo-get", "notes/a"}, {"repo-get", "--raw", "notes/a"}}) {
    EXPECT_EQ(run(words), 0) << err_.text();
    EXPECT_EQ(out_.text(), "some text");
  }
  EXPECT_EQ(run({"repo-put", "notes/a", directory_ + "/file"}), 4) << "also with the same content";
  EXPECT_EQ(run({"repo-put", "notes/b", directory_ + "/absent"}), 3);
  EXPECT_EQ(run({"repo-put", "notes/../b", directory_ + "/file"}), 2);
  EXPECT_EQ(names(), "notes/a ");
}

TEST_F(RepoObjectCommands, PutKeepsOffNamesOfPgark) {
  write("file", "x");
  put("main/cluster/1", "cluster");
  for (const char* name : {"pgark.json", "keyring.2", "main/notes", "other/cluster/1", "other/wal/x"}) {
    EXPECT_EQ(run({"repo-put", name, directory_ + "/file"}), 2) << name;
    EXPECT_THAT(err_.text(), AllOf(HasSubstr("a name that pgark itself writes"), HasSubstr("HINT: --force")));
  }
  EXPECT_EQ(names(), "main/cluster/1 ");
  EXPECT_EQ(run({"repo-put", "main/wal/x", directory_ + "/file", "--force"}), 0) << err_.text();
  EXPECT_EQ(run({"repo-put", "main/cluster/1", directory_ + "/file", "--force"}), 4)
      << "force is no leave to overwrite";
  EXPECT_EQ(names(), "main/cluster/1 main/wal/x ");
}

TEST_F(RepoObjectCommands, RmRemovesWhatIsNamedAndNothingElse) {
  put("main/cluster/1", "cluster");
  put("main/pack/L/1", "pack");
  for (const char* name : {"notes/a", "notes/b", "notes-c"}) put(name, "12345");
  EXPECT_EQ(run({"repo-rm", "notes"}), 2);
  EXPECT_THAT(err_.text(), HasSubstr("--recurse"));
  EXPECT_EQ(run({"repo-rm", "/notes/a"}), 0);
  EXPECT_EQ(out_.text(), "removed 1 object of 5B\n");
  EXPECT_EQ(run({"repo-rm", "notes/a"}), 3);
  EXPECT_EQ(run({"repo-rm", "notes/", "--recurse", "--output=json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.text()), nlohmann::json({{"removed_count", 1}, {"removed_bytes", 5}}));
  EXPECT_EQ(names(), "main/cluster/1 main/pack/L/1 notes-c ");
  EXPECT_EQ(run({"repo-rm", "/", "--recurse", "--force"}), 2) << "never the repository as a whole";
  for (const char* name : {"main", "main/pack", "main/pack/L/1"}) {
    EXPECT_EQ(run({"repo-rm", name, "--recurse"}), 2) << name;
    EXPECT_THAT(err_.text(), HasSubstr("pgark stanza-delete"));
  }
  EXPECT_EQ(names(), "main/cluster/1 main/pack/L/1 notes-c ");
  EXPECT_EQ(run({"repo-rm", "main/pack/L/1", "--force"}), 0);
  EXPECT_EQ(names(), "main/cluster/1 notes-c ");
}

TEST_F(RepoObjectCommands, CheckTellsWhatTheStorePromises) {
  put("main/cluster/1", "cluster");
  EXPECT_EQ(run({"repo-check", "--process-max=4"}), 0) << err_.text();
  EXPECT_THAT(out_.text(), AllOf(HasSubstr("repo1 in memory (memory):\n"), HasSubstr("pgark can rely on this store"),
                                 HasSubstr("throughput:"), Not(HasSubstr("broken"))));
  EXPECT_EQ(run({"repo-check", "--output=json"}), 0);
  const auto document = nlohmann::json::parse(out_.text());
  EXPECT_EQ(document["ok"], true);
  EXPECT_EQ(document["kind"], "memory");
  EXPECT_EQ(document["left_behind_count"], 0);
  EXPECT_GE(document["promises"].size(), 20u);
  for (const auto& promise : document["promises"]) EXPECT_EQ(promise["state"], "kept") << promise.dump();
  EXPECT_EQ(document["latency"].size(), 5u);
  EXPECT_GT(document["get"]["bytes_per_second"], 0);
  EXPECT_EQ(names(), "main/cluster/1 ");
}

}  // namespace
}  // namespace pgark
