// What can be recovered, as info, check and archive-heal tell and mend it on real servers: gaps, damage, and forks.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "restore_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class CoverageScene : public ::testing::Test {
 protected:
  /// A cluster that archives, keeps its WAL in pg_wal, and has a backup.
  void set_up(const PgInstall& install) {
    PgOptions options;
    options.wal_segment_mib = install.major == 10 ? 16 : 1;
    options.config = {install.major < 13 ? "wal_keep_segments = 64" : "wal_keep_size = 256MB",
                      "checkpoint_timeout = 1h", "autovacuum = off"};
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install, options));
    ASSERT_OK(scene_->server->exec("CREATE TABLE t (a int, b text)"));
    ASSERT_OK(scene_->backup());
  }

  /// Segments, each with a commit of its own, that are archived.
  std::vector<std::string> write_segments(PgServer& server, size_t count) {
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(server.exec(fmt::format("INSERT INTO t VALUES ({}, 'x')", i)).has_value());
      const auto name = server.archive_all();
      EXPECT_TRUE(name.has_value()) << (name ? "" : name.error().to_string());
      if (name) names.push_back(*name);
    }
    return names;
  }

  /// The object of a segment's first copy.
  std::string object(const std::string& name) const {
    return fmt::format("{}/main/wal/1/{}/{}/{}", scene_->cli->repo_path(), name.substr(0, 8), name.substr(8, 8), name);
  }
  static std::string pg_wal(const PgServer& server, const std::string& name) {
    return server.data_dir() + "/pg_wal/" + name;
  }
  void lose(const std::string& name) const { ASSERT_TRUE(fs::remove(object(name))) << name; }
  /// Turn a byte in the middle of the stored segment, past the header.
  void damage(const std::string& name) const {
    ASSERT_OK_AND_ASSIGN(std::string content, read_file(object(name)));
    content[content.size() / 3] = static_cast<char>(content[content.size() / 3] ^ 0x40);
    ASSERT_EQ(::chmod(object(name).c_str(), 0600), 0);
    ASSERT_OK(write_file_durable(object(name), content));
  }

  /// Document of a command, whatever it exits with.
  json document(std::vector<std::string> args, int exit_code) const {
    args.emplace_back("--output=json");
    const auto ran = scene_->cli->run(args);
    EXPECT_TRUE(ran.has_value());
    if (!ran) return {};
    EXPECT_EQ(ran->exit_code, exit_code) << ran->to_string();
    auto parsed = json::parse(ran->out, nullptr, false);
    EXPECT_FALSE(parsed.is_discarded()) << ran->to_string();
    return parsed;
  }
  json cluster() const { return document({"info"}, 0)["stanzas"][0]["clusters"][0]; }
  json timeline(unsigned number) const {
    const json all = cluster()["timelines"];
    for (const json& one : all)
      if (one["timeline"] == number) return one;
    return {};
  }
  std::string text(const std::vector<std::string>& args) const {
    const auto ran = scene_->cli->run(args);
    return ran ? ran->out : ran.error().to_string();
  }
  static std::vector<std::string> codes(const json& checked) { return check_problems(checked); }

  std::unique_ptr<RestoreScene> scene_;
};

class TimelineCoverage : public CoverageScene {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    set_up(install);
  }
};

class TimelineCoverageEach : public CoverageScene, public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, GetParam());
    set_up(install);
  }
};

INSTANTIATE_TEST_SUITE_P(Each, TimelineCoverageEach, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(TimelineCoverageEach, LostAndDamagedSegmentsAreReadFromTheServer) {
  const auto names = write_segments(*scene_->server, 4);
  ASSERT_THAT(names, SizeIs(4));
  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
  lose(names[0]);
  damage(names[2]);
  const json result = document({"archive-heal", "--verify", "--pg1-path=/nonexistent"}, 0)["repositories"][0];
  ASSERT_THAT(result["healed"], SizeIs(2)) << result.dump(2);
  EXPECT_EQ(result["healed"][0]["name"], names[0]);
  EXPECT_EQ(result["healed"][1]["name"], names[2]);
  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
  ASSERT_OK(scene_->restore_and_verify("restored", LedgerTarget::latest()));
}

TEST_F(TimelineCoverage, LostSegmentIsNamedAndHealedFromPgWal) {
  const auto names = write_segments(*scene_->server, 5);
  ASSERT_THAT(names, SizeIs(5));
  EXPECT_THAT(timeline(1)["broken"], IsEmpty());
  ASSERT_THAT(timeline(1)["recoverable"], SizeIs(1));
  lose(names[1]);
  lose(names[2]);

  const json broken = timeline(1)["broken"];
  ASSERT_THAT(broken, SizeIs(1));
  EXPECT_EQ(broken[0]["needs_backup"], true);
  ASSERT_THAT(broken[0]["gaps"], SizeIs(1));
  EXPECT_EQ(broken[0]["gaps"][0]["min"], names[1]);
  EXPECT_EQ(broken[0]["gaps"][0]["max"], names[2]);
  EXPECT_EQ(broken[0]["gaps"][0]["since_commit"], true);
  EXPECT_EQ(broken[0]["gaps"][0]["since_us"], timeline(1)["recoverable"][0]["max_us"]);
  EXPECT_EQ(cluster()["needs_backup"], true);
  EXPECT_THAT(text({"info"}), HasSubstr("MISSING: " + names[1] + " to " + names[2] + " (2 segments)"));

  const json checked = document({"check"}, 1);
  ASSERT_EQ(codes(checked), std::vector<std::string>{"error wal_gap"}) << checked.dump(2);
  EXPECT_THAT(checked["findings"][0]["what"].get<std::string>(), HasSubstr(names[1] + " to " + names[2]));
  EXPECT_THAT(checked["findings"][0]["mend"].get<std::string>(), HasSubstr("archive-heal"));

  const json planned = document({"archive-heal", "--dry-run"}, 1)["repositories"][0];
  EXPECT_THAT(planned["healed"], SizeIs(2));
  EXPECT_FALSE(fs::exists(object(names[1]))) << "a dry run stored something";
  const json healed = document({"archive-heal"}, 0)["repositories"][0];
  ASSERT_THAT(healed["healed"], SizeIs(2)) << healed.dump(2);
  EXPECT_EQ(healed["healed"][0]["name"], names[1]);
  EXPECT_EQ(healed["needs_backup"], false);

  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
  EXPECT_THAT(timeline(1)["broken"], IsEmpty());
  EXPECT_THAT(document({"archive-heal", "--verify"}, 0)["repositories"][0]["healed"], IsEmpty());
  ASSERT_OK(scene_->restore_and_verify("restored", LedgerTarget::latest()));
}

TEST_F(TimelineCoverage, DamagedSegmentGetsAGoodCopyBesideIt) {
  const auto names = write_segments(*scene_->server, 4);
  ASSERT_THAT(names, SizeIs(4));
  damage(names[1]);
  // The server is asked: no directory is at hand.
  const json result = document({"archive-heal", "--verify", "--pg1-path=/nonexistent"}, 0)["repositories"][0];
  ASSERT_THAT(result["healed"], SizeIs(1)) << result.dump(2);
  EXPECT_EQ(result["healed"][0]["name"], names[1]);
  EXPECT_THAT(result["healed"][0]["object"].get<std::string>(), HasSubstr(names[1] + ".r1"));
  EXPECT_THAT(result["warnings"], SizeIs(1));
  EXPECT_GE(result["verified_count"], 4);
  const std::string fetched = scene_->place("fetched");
  ASSERT_OK(scene_->cli->run_ok({"archive-get", names[1], fetched}));
  ASSERT_OK_AND_ASSIGN(const std::string got, read_file(fetched));
  ASSERT_OK_AND_ASSIGN(const std::string original, read_file(pg_wal(*scene_->server, names[1])));
  EXPECT_TRUE(got == original);
  EXPECT_THAT(document({"archive-heal", "--verify"}, 0)["repositories"][0]["healed"], IsEmpty());
}

TEST_F(TimelineCoverage, RepositoriesAreCheckedEachAndHealEachOther) {
  ASSERT_OK(scene_->cli->set("global", "repo2-path", scene_->place("repo2")));
  ASSERT_OK(scene_->cli->run_ok({"stanza-create"}));
  const auto names = write_segments(*scene_->server, 4);
  ASSERT_THAT(names, SizeIs(4));
  const json good = document({"check"}, 0);
  ASSERT_THAT(good["repositories"], SizeIs(2));
  EXPECT_EQ(good["repositories"][1]["last_segment"], good["repositories"][0]["last_segment"]);

  lose(names[1]);
  ASSERT_TRUE(fs::remove(pg_wal(*scene_->server, names[1])));
  const json checked = document({"check"}, 1);
  ASSERT_EQ(codes(checked), std::vector<std::string>{"error wal_gap"});
  EXPECT_EQ(checked["findings"][0]["repo"], 1);
  EXPECT_THAT(codes(document({"check", "--repo=2"}, 0)), IsEmpty());

  const json healed = document({"archive-heal"}, 0);
  ASSERT_THAT(healed["repositories"], SizeIs(2));
  ASSERT_THAT(healed["repositories"][0]["healed"], SizeIs(1)) << healed.dump(2);
  EXPECT_THAT(healed["repositories"][0]["healed"][0]["source"].get<std::string>(), HasSubstr("repo2"));
  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
}

TEST_F(TimelineCoverage, WalThatWasGivenUpIsToldAndHealedWhileItIsThere) {
  ASSERT_OK(scene_->cli->set("global", "archive-push-queue-max", "2MiB"));
  const std::string away = scene_->place("away");
  // The archiver has nothing to do when the repository goes, not even the history file of the backup.
  ASSERT_OK(scene_->server->archive_all());
  fs::rename(scene_->cli->repo_path(), away);
  for (int i = 0; i < 6; ++i) {
    ASSERT_OK(scene_->server->exec(fmt::format("INSERT INTO t VALUES ({}, 'given up')", i)));
    ASSERT_OK(scene_->server->exec("SELECT pg_switch_wal()"));
  }
  const std::string notes = scene_->cli->directory() + "/spool/archive/main/dropped.jsonl";
  ASSERT_TRUE(wait_until([&] { return fs::exists(notes); })) << scene_->server->log_tail();
  fs::rename(away, scene_->cli->repo_path());
  ASSERT_OK(scene_->server->archive_all(std::chrono::seconds(150)));

  const json checked = document({"check"}, 1);
  ASSERT_EQ(codes(checked), std::vector<std::string>{"error wal_dropped"}) << checked.dump(2);
  EXPECT_THAT(checked["findings"][0]["what"].get<std::string>(), HasSubstr("archive-push-queue-max"));
  const json shown = cluster();
  EXPECT_EQ(shown["needs_backup"], true);
  ASSERT_FALSE(shown["given_up"].empty());
  EXPECT_EQ(shown["given_up"][0]["min"], timeline(1)["broken"][0]["gaps"][0]["min"]);
  // pg_wal keeps more than it has to here.
  EXPECT_EQ(document({"archive-heal"}, 0)["whole"], true);
  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
}

TEST_F(TimelineCoverage, WalThatDiedWithThePrimaryIsHealedFromTheStandby) {
  ASSERT_OK(scene_->cli->run_ok(scene_->restore_args(
      "standby", {"--type=standby", "--recovery-option=primary_conninfo=" + scene_->server->conninfo()})));
  ASSERT_OK_AND_ASSIGN(auto standby, PgServer::adopt(scene_->place("standby"), scene_->server->install(),
                                                     {"wal_retrieve_retry_interval=100ms", "archive_mode=on",
                                                      "archive_command=" + scene_->cli->archive_command()}));
  ASSERT_OK(standby->launch());
  // From here on nothing of the primary is archived, and the standby streams it.
  ASSERT_OK(scene_->server->configure("archive_command = 'false'"));
  ASSERT_OK(scene_->server->reload());
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK(scene_->server->exec(fmt::format("INSERT INTO t VALUES ({}, 'streamed')", i)));
    ASSERT_OK(scene_->server->exec("SELECT pg_switch_wal()"));
  }
  ASSERT_OK(scene_->server->exec("INSERT INTO t VALUES (4, 'flushed, so that it is streamed at once')"));
  ASSERT_OK_AND_ASSIGN(const Lsn written, scene_->server->current_lsn());
  ASSERT_OK(wait_for("the standby", [&]() -> Result<bool> {
    TRY_ASSIGN(const auto rows, standby->query("SELECT pg_last_wal_replay_lsn() >= '" + to_string(written) + "'"));
    return rows.text() == "t";
  }));
  ASSERT_OK(scene_->server->kill());
  ASSERT_OK(standby->promote());
  ASSERT_THAT(write_segments(*standby, 2), SizeIs(2));

  // Nothing on timeline 1 follows what is missing; that timeline 2 left it later tells.
  const json child = timeline(2);
  EXPECT_EQ(child["fork"], "promotion");
  ASSERT_THAT(child["broken"], SizeIs(1)) << child.dump(2);
  EXPECT_EQ(child["broken"][0]["needs_backup"], true);
  EXPECT_EQ(child["broken"][0]["gaps"][0]["timeline"], 1);
  EXPECT_GE(child["broken"][0]["gaps"][0]["count"], 2) << "the archiver may have taken the first with its old command";
  ASSERT_OK(scene_->cli->use_cluster(*standby));
  EXPECT_THAT(codes(document({"check"}, 1)), Contains("error wal_gap"));
  EXPECT_EQ(document({"archive-heal"}, 0)["whole"], true);
  EXPECT_THAT(timeline(2)["broken"], IsEmpty());
  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
  ASSERT_OK(standby->stop());
}

TEST_F(TimelineCoverage, WhatNobodyHasDemandsABackupAndABackupCoversIt) {
  const auto names = write_segments(*scene_->server, 4);
  ASSERT_THAT(names, SizeIs(4));
  lose(names[2]);
  ASSERT_TRUE(fs::remove(pg_wal(*scene_->server, names[2])));
  const json result = document({"archive-heal"}, 1)["repositories"][0];
  EXPECT_THAT(result["healed"], IsEmpty());
  ASSERT_THAT(result["missing"], SizeIs(1));
  EXPECT_EQ(result["missing"][0]["name"], names[2]);
  EXPECT_EQ(result["needs_backup"], true);
  const json checked = document({"check"}, 1);
  ASSERT_EQ(codes(checked), std::vector<std::string>{"error wal_gap"});
  EXPECT_THAT(checked["findings"][0]["mend"].get<std::string>(), HasSubstr("take a new backup"));

  ASSERT_OK(scene_->backup());
  EXPECT_EQ(codes(document({"check"}, 0)), std::vector<std::string>{"warning wal_gap"});
  const json broken = timeline(1)["broken"];
  ASSERT_THAT(broken, SizeIs(1));
  EXPECT_EQ(broken[0]["needs_backup"], false);
  EXPECT_GT(broken[0]["max_us"], broken[0]["min_us"]);
  EXPECT_THAT(timeline(1)["recoverable"], SizeIs(2));
  EXPECT_EQ(document({"archive-heal"}, 1)["repositories"][0]["needs_backup"], false);
}

TEST_F(TimelineCoverage, ForkedTimelinesHaveTheirOwnGaps) {
  const auto before = write_segments(*scene_->server, 2);
  ASSERT_OK(scene_->server->exec("SELECT pg_create_restore_point('here')"));
  const auto after = write_segments(*scene_->server, 4);
  ASSERT_THAT(after, SizeIs(4));

  // A restore that is promoted at the restore point, and goes on archiving to the same stanza.
  ASSERT_OK(
      scene_->cli->run_ok(scene_->restore_args("forked", {"--type=name", "--target=here", "--target-action=promote"})));
  ASSERT_OK(scene_->server->stop());
  ASSERT_OK_AND_ASSIGN(auto forked,
                       PgServer::adopt(scene_->place("forked"), scene_->server->install(),
                                       {"archive_mode=on", "archive_command=" + scene_->cli->archive_command()}));
  ASSERT_OK(forked->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, forked->wait_for_recovery_end());
  ASSERT_EQ(end, RecoveryEnd::kPromoted);
  const auto own = write_segments(*forked, 3);
  ASSERT_THAT(own, SizeIs(3));

  const json child = timeline(2);
  EXPECT_EQ(child["parent"], 1);
  EXPECT_EQ(child["fork"], "target");
  EXPECT_THAT(child["reason"].get<std::string>(), HasSubstr("LSN")) << "restore gives the server the exact position";
  EXPECT_THAT(child["broken"], IsEmpty());
  EXPECT_EQ(timeline(1)["children"], json::array({2}));
  EXPECT_EQ(cluster()["current_timeline"], 2);
  EXPECT_THAT(text({"info"}), HasSubstr("timeline 2 (newest), left timeline 1 at "));

  // Behind the switch the parent's gap is its own affair.
  lose(after[2]);
  EXPECT_THAT(timeline(1)["broken"], SizeIs(1));
  EXPECT_THAT(timeline(2)["broken"], IsEmpty());
  EXPECT_EQ(cluster()["needs_backup"], false);

  // Before it, it breaks both; the old primary's directory still has the segment, and the child's own comes from its.
  lose(before[1]);
  lose(own[1]);
  EXPECT_EQ(timeline(1)["broken"].size(), 2u);
  EXPECT_EQ(timeline(2)["broken"].size(), 2u);
  ASSERT_OK(scene_->cli->set("main", "pg2-path", forked->data_dir()));
  const json healed = document({"archive-heal"}, 0)["repositories"][0];
  EXPECT_THAT(healed["healed"], SizeIs(3)) << healed.dump(2);
  EXPECT_THAT(timeline(1)["broken"], IsEmpty());
  EXPECT_THAT(timeline(2)["broken"], IsEmpty());

  // A lost history hides the child from recovery.
  ASSERT_TRUE(fs::remove(scene_->cli->repo_path() + "/main/wal/1/00000002.history"));
  EXPECT_EQ(timeline(2)["history_missing"], true);
  EXPECT_EQ(document({"archive-heal"}, 0)["repositories"][0]["healed"][0]["name"], "00000002.history");
  EXPECT_EQ(timeline(2)["history_missing"], false);

  // Check follows the timeline of the server it is pointed at.
  ASSERT_OK(scene_->cli->use_cluster(*forked));
  ASSERT_OK(scene_->cli->set("main", "pg2-path", ""));
  EXPECT_THAT(codes(document({"check"}, 0)), IsEmpty());
  ASSERT_OK(forked->stop());
}

TEST_F(TimelineCoverage, SegmentBeingWrittenOrOfAnotherClusterIsNotTaken) {
  const auto names = write_segments(*scene_->server, 3);
  ASSERT_THAT(names, SizeIs(3));
  lose(names[1]);
  const std::string there = pg_wal(*scene_->server, names[1]);
  ASSERT_OK_AND_ASSIGN(const std::string whole, read_file(there));
  // The end of its records is not there: as if it were being written.
  std::string cut = whole;
  std::fill(cut.begin() + 64, cut.end(), '\0');
  ASSERT_OK(write_file_durable(there, cut));
  const json unwritten = document({"archive-heal"}, 1)["repositories"][0];
  ASSERT_THAT(unwritten["missing"], SizeIs(1));
  EXPECT_THAT(unwritten["missing"][0]["tried"][0].get<std::string>(), HasSubstr("still being written"));
  // Of another cluster.
  std::string foreign = whole;
  foreign[24] = static_cast<char>(foreign[24] ^ 1);
  ASSERT_OK(write_file_durable(there, foreign));
  EXPECT_THAT(document({"archive-heal"}, 1)["repositories"][0]["missing"], SizeIs(1));
  // A recycled one.
  ASSERT_OK_AND_ASSIGN(const std::string other, read_file(pg_wal(*scene_->server, names[0])));
  ASSERT_OK(write_file_durable(there, other));
  EXPECT_THAT(document({"archive-heal"}, 1)["repositories"][0]["missing"], SizeIs(1));
  ASSERT_FALSE(fs::exists(object(names[1])));
  ASSERT_OK(write_file_durable(there, whole));
  EXPECT_THAT(document({"archive-heal"}, 0)["repositories"][0]["healed"], SizeIs(1));
}

}  // namespace
}  // namespace pgark::testing
