// Recovery through archive-get with prefetching, with real servers: across timelines, with getters, prefetchers and
// servers killed at random, over holes, with a spool that is full or cannot be written, as a standby and for pg_rewind.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/file.h"
#include "restore_scene.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::string_view kQueueMax = "8MiB";

uint64_t seed_from_environment() {
  const char* given = std::getenv("SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
}

size_t count_of(const std::string& path, std::string_view text) {
  const std::string content = read_file(path).value_or("");
  size_t count = 0;
  for (size_t at = content.find(text); at != std::string::npos; at = content.find(text, at + 1)) ++count;
  return count;
}

/// A scene whose clusters recover with prefetching. 1 MiB segments: many of them, in a few seconds.
class ArchiveGetAsync : public ::testing::Test {
 protected:
  void create(const PgInstall& install, std::vector<std::string> config = {}) {
    PgOptions options;
    options.wal_segment_mib = 1;
    options.config = std::move(config);
    auto scene = RestoreScene::create(install, options);
    ASSERT_OK(scene);
    scene_ = std::move(*scene);
    set("archive-async", "y");
    set("archive-get-queue-max", std::string(kQueueMax));
    set("archive-timeout", "2");
    set("log-level-file", "detail");
  }
  void set(const std::string& option, const std::string& value) {
    ASSERT_OK(scene_->cli->set("global:archive-get", option, value));
  }
  void TearDown() override {
    // Whoever waits for a recovery that has ended does so in the directory that is about to go.
    if (scene_) wait_until([&] { return !prefetcher_runs(); }, std::chrono::seconds(20));
  }
  bool prefetcher_runs() const {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string words = read_file(entry.path() / "cmdline").value_or("");
      if (words.find(scene_->cli->config_path()) != words.npos && words.find("--prefetch") != words.npos) return true;
    }
    return false;
  }

  /// About 15 MiB of WAL.
  Result<> write_wal(PgServer& server, const std::string& table) {
    TRY(server.exec(fmt::format(
        "CREATE TABLE {} AS SELECT g, md5(g::text) || md5((g + 1)::text) a FROM generate_series(1, 90000) g", table)));
    return server.exec(fmt::format("UPDATE {} SET a = a || 'x' WHERE g % 3 = 0", table));
  }
  Result<> fill() {
    TRY(scene_->ledger->commit_rows(10));
    TRY(scene_->backup());
    TRY(scene_->ledger->commit_rows(10));
    TRY(write_wal(*scene_->server, "first"));
    TRY(scene_->ledger->commit_rows(10));
    TRY(scene_->server->archive_all());
    return {};
  }
  /// Recover to the end, promote, go on in the same stanza: a new timeline.
  Result<std::unique_ptr<PgServer>> take_over(const std::string& name) {
    TRY(scene_->server->stop());
    TRY(scene_->cli->run_ok(scene_->restore_args(name)));
    TRY_ASSIGN(auto server, PgServer::adopt(scene_->place(name), scene_->server->install(), {}));
    TRY(server->launch());
    TRY_ASSIGN(const RecoveryEnd end, server->wait_for_recovery_end());
    if (end != RecoveryEnd::kPromoted) return Error(Errc::kInternal, "it was not promoted");
    TRY(scene_->ledger->continue_on(*server));
    TRY(scene_->ledger->commit_rows(10));
    TRY(write_wal(*server, name));
    TRY(scene_->ledger->commit_rows(10));
    TRY(server->archive_all());
    return server;
  }

  /// A pgark for restore_command that takes its time: recovery is slower than the prefetcher then, on any machine.
  Result<std::string> write_slow_pgark() const {
    const std::string path = scene_->place("slow_pgark");
    TRY(write_file_durable(path, fmt::format("#!/bin/bash\nsleep 0.1\nexec {} \"$@\"\n", pgark_binary()), 0755));
    return path;
  }

  std::string get_log() const { return scene_->cli->directory() + "/log/main-archive-get.log"; }
  size_t taken_ahead() const { return count_of(get_log(), " ahead of time"); }
  /// Stored segments of a timeline, in order.
  std::vector<fs::path> stored(int timeline) const {
    std::vector<fs::path> paths;
    const std::string root = fmt::format("{}/main/wal/1/{:08X}", scene_->cli->repo_path(), timeline);
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_regular_file()) paths.push_back(entry.path());
    }
    std::ranges::sort(paths);
    return paths;
  }

  std::unique_ptr<RestoreScene> scene_;
};

class ArchiveGetAsyncEach : public ArchiveGetAsync, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Each, ArchiveGetAsyncEach, ::testing::Values(15, 11),
                         [](const auto& parameter) { return major_name(parameter.param); });

/// pgark that is killed now and then, itself or the prefetcher, while the file "killing" exists. Output: its path.
Result<std::string> write_killing_pgark(const std::string& directory, const PgarkCli& cli, uint64_t seed) {
  TRY(make_directories(directory));
  TRY(write_file_durable(directory + "/killing", ""));
  TRY(write_file_durable(directory + "/calls", ""));
  TRY(write_file_durable(directory + "/kills", ""));
  const std::string script = fmt::format(
      "#!/bin/bash\n"
      "here={0}\n"
      "if [[ -e $here/killing ]]; then\n"
      "  calls=$(wc -l < $here/calls); echo x >> $here/calls\n"
      "  RANDOM=$((({1} + calls * 7919) % 32749)); dice=$((RANDOM % 10)); ms=$((RANDOM % 20))\n"
      "  if ((calls % 11 == 5)); then dice=0 ms=0; fi\n"  // So that some are killed for certain.
      "  if ((dice == 0)); then\n"
      "    {2} \"$@\" & get=$!\n"
      "    ((ms > 0)) && sleep 0.$(printf %03d $ms)\n"
      "    kill -9 $get 2>/dev/null && echo getter >> $here/kills\n"
      "    wait $get; exit $?\n"
      "  elif ((dice < 5)); then\n"
      "    for lock in {3}/lock/*-prefetch_*.lock; do\n"
      "      pid=$(sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' $lock 2>/dev/null)\n"
      "      [[ -n $pid ]] && grep -q -- --prefetch /proc/$pid/cmdline 2>/dev/null &&\n"
      "        kill -9 $pid 2>/dev/null && echo prefetcher >> $here/kills\n"
      "    done\n"
      "  fi\n"
      "fi\n"
      "exec {2} \"$@\"\n",
      directory, seed % 1'000'000, pgark_binary(), cli.directory());
  TRY(write_file_durable(directory + "/pgark", script, 0755));
  return directory + "/pgark";
}

TEST_P(ArchiveGetAsyncEach, RecoversAcrossTimelinesWhateverIsKilled) {
  PGARK_REQUIRE_PG(install, GetParam());
  const uint64_t seed = seed_from_environment();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  ASSERT_NO_FATAL_FAILURE(create(install));
  ASSERT_OK(fill());
  ASSERT_OK_AND_ASSIGN(const auto second, take_over("second"));
  const size_t taken_before = taken_ahead();

  const std::string directory = scene_->place("kill");
  ASSERT_OK_AND_ASSIGN(const std::string killing, write_killing_pgark(directory, *scene_->cli, seed));
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("third", {"--cmd=" + killing})));
  ASSERT_OK_AND_ASSIGN(const auto third, scene_->adopt("third"));
  size_t launches = 0;
  size_t server_kills = 0;
  std::optional<RecoveryEnd> end;
  while (!end && ++launches <= 80) {
    if (launches > 40) fs::remove(directory + "/killing");
    if (!third->launch()) continue;  // What the one before left in shared memory may still be going.
    if (server_kills < 3) {
      const size_t until = count_of(directory + "/calls", "x") + 2 + rng.below(8);
      const bool reached = wait_until([&] { return count_of(directory + "/calls", "x") >= until || !third->running(); },
                                      std::chrono::seconds(60));
      ASSERT_TRUE(reached) << third->log_tail();
      if (third->running()) {
        ASSERT_OK(third->kill());
        ++server_kills;
      }
      continue;
    }
    const auto recovered = third->wait_for_recovery_end();
    if (recovered) end = *recovered;  // Else a getter was killed, and the server with it.
  }
  ASSERT_TRUE(end.has_value()) << third->log_tail();
  EXPECT_EQ(*end, RecoveryEnd::kPromoted);
  ASSERT_OK(scene_->ledger->verify(*third, LedgerTarget::latest()));
  ASSERT_OK_AND_ASSIGN(const TimelineId timeline, third->timeline());
  EXPECT_EQ(timeline.value, 3u);
  EXPECT_GT(count_of(directory + "/kills", "getter"), 0u);
  EXPECT_GT(count_of(directory + "/kills", "prefetcher"), 0u);
  EXPECT_GT(taken_ahead() - taken_before, 5u) << "hardly anything came from the spool";
}

TEST_P(ArchiveGetAsyncEach, StopsAtAHoleInsteadOfPromoting) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_NO_FATAL_FAILURE(create(install));
  ASSERT_OK(fill());
  ASSERT_OK(scene_->server->stop());
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("restored")));
  const std::vector<fs::path> segments = stored(1);
  ASSERT_GT(segments.size(), 12u);
  const fs::path& lost = segments[segments.size() - 6];
  fs::rename(lost, lost.string() + ".away");
  ASSERT_OK_AND_ASSIGN(const auto restored, scene_->adopt("restored"));
  ASSERT_OK(restored->launch());
  const auto ended = restored->wait_for_recovery_end();
  ASSERT_FALSE(ended.has_value()) << "it was promoted without the rest of its WAL";
  const std::string log = read_file(restored->log_path()).value_or("");
  EXPECT_THAT(log, AllOf(HasSubstr("segment " + lost.filename().string() + " is missing from the archive"),
                         HasSubstr(segments[segments.size() - 5].filename()), HasSubstr("archive-heal")));

  // Nothing was decided: with the segment back, recovery goes on where it stopped.
  fs::rename(lost.string() + ".away", lost);
  ASSERT_OK(restored->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, restored->wait_for_recovery_end());
  EXPECT_EQ(end, RecoveryEnd::kPromoted);
  ASSERT_OK(scene_->ledger->verify(*restored, LedgerTarget::latest()));
}

TEST_F(ArchiveGetAsync, StandbyCatchesUpAndStreamsAcrossAHole) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_NO_FATAL_FAILURE(create(install, {"wal_keep_size = 1GB"}));
  ASSERT_OK(fill());
  const std::string conninfo =
      fmt::format("host={} port={} user=postgres", scene_->server->socket_dir(), scene_->server->port());
  ASSERT_OK_AND_ASSIGN(const std::string slow, write_slow_pgark());
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args(
      "standby", {"--type=standby", "--cmd=" + slow, "--recovery-option=primary_conninfo=" + conninfo})));
  const std::vector<fs::path> segments = stored(1);
  fs::rename(segments[segments.size() - 4], scene_->place("lost"));
  ASSERT_OK_AND_ASSIGN(const auto standby, scene_->adopt("standby"));
  ASSERT_OK(standby->start());
  ASSERT_OK(wait_for("the standby to stream", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, scene_->server->query("SELECT count(*) FROM pg_stat_replication WHERE state = "
                                                        "'streaming'"));
    return rows.integer() == 1;
  }));
  ASSERT_OK(scene_->ledger->commit_rows(10));
  ASSERT_OK_AND_ASSIGN(const Lsn written, scene_->server->current_lsn());
  ASSERT_OK(wait_for("the standby to have all", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows,
               standby->query(fmt::format("SELECT (pg_last_wal_replay_lsn() >= '{}')::int", to_string(written))));
    return rows.integer() == 1;
  }));
  EXPECT_GT(taken_ahead(), 3u);
  ASSERT_OK(scene_->server->stop(StopMode::kImmediate));
  ASSERT_OK(standby->promote());
  ASSERT_OK(scene_->ledger->verify(*standby, LedgerTarget::latest()));
}

TEST_F(ArchiveGetAsync, PgRewindGetsWhatItNeeds) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_NO_FATAL_FAILURE(create(install, {"wal_log_hints = on", "checkpoint_timeout = 1h", "max_wal_size = 4GB"}));
  ASSERT_OK(fill());
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args("target", {"--type=standby"})));
  ASSERT_OK_AND_ASSIGN(const auto source, scene_->adopt("target"));
  ASSERT_OK(source->start());
  ASSERT_OK(source->promote());
  ASSERT_OK(source->exec("CREATE TABLE only_on_the_source (a int)"));
  ASSERT_OK(source->exec("CHECKPOINT"));
  // The old primary goes on by itself. The checkpoint of its shutdown recycles the WAL that holds the last one of both.
  ASSERT_OK(write_wal(*scene_->server, "diverged"));
  ASSERT_OK(scene_->server->archive_all());
  ASSERT_OK(scene_->server->stop());
  const std::string data = scene_->server->data_dir();
  const size_t fetched_before = count_of(get_log(), "fetched 0000000100000000");
  ASSERT_OK(
      scene_->server->configure(fmt::format("restore_command = '{} --config={} --stanza=main archive-get %f "
                                            "\"%p\"'",
                                            pgark_binary(), scene_->cli->config_path())));
  const auto rewound = run({install.bin_dir + "/pg_rewind", "-c", "--target-pgdata=" + data,
                            "--source-server=" + source->conninfo(), "--no-sync"},
                           {.env = without_test_settings()});
  ASSERT_OK(rewound);
  ASSERT_TRUE(rewound->ok()) << rewound->to_string();
  EXPECT_GT(count_of(get_log(), "fetched 0000000100000000") - fetched_before, 5u);
}

TEST_F(ArchiveGetAsync, FullSpoolOnAnotherFileSystemOnlyMakesItSlower) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const ScratchDir mount_point, ScratchDir::create("small"));
  auto small = SmallFs::mount(mount_point.path(), (5u << 20) / 2);
  if (!small) GTEST_SKIP() << small.error().to_string();
  ASSERT_NO_FATAL_FAILURE(create(install));
  set("spool-path", mount_point.path());
  ASSERT_OK(fill());
  ASSERT_OK(scene_->server->stop());
  ASSERT_OK_AND_ASSIGN(const std::string slow, write_slow_pgark());
  ASSERT_OK(scene_->restore_and_verify("restored", LedgerTarget::latest(), {"--cmd=" + slow}));
  EXPECT_GT(taken_ahead(), 3u) << "what there is room for is used, and copied across file systems";
  EXPECT_EQ(count_of(get_log(), "prefetch no more than there is room for"), 1u);
  EXPECT_TRUE(wait_until([&] { return !prefetcher_runs(); }));
}

TEST_F(ArchiveGetAsync, UnwritableSpoolOnlyMakesItSlower) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_NO_FATAL_FAILURE(create(install));
  const std::string spool = scene_->cli->directory() + "/spool";
  fs::permissions(spool, fs::perms::owner_read | fs::perms::owner_exec);
  ASSERT_OK(fill());
  ASSERT_OK(scene_->server->stop());
  const auto restored = scene_->restore_and_verify("restored", LedgerTarget::latest());
  fs::permissions(spool, fs::perms::owner_all);
  ASSERT_OK(restored);
  EXPECT_EQ(taken_ahead(), 0u);
  EXPECT_THAT(read_file(get_log()).value_or(""), HasSubstr("prefetch: create spool"));
}

}  // namespace
}  // namespace pgark::testing
