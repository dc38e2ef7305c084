// verify on real clusters: damage is found, named and mended; a run that is killed is gone on with.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "restore_scene.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class VerifyCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    PgOptions options;
    options.wal_segment_mib = 1;
    options.config = {"wal_keep_size = 512MB", "checkpoint_timeout = 1h", "autovacuum = off"};
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install, options));
    ASSERT_OK(scene_->cli->set("global", "repo2-path", scene_->place("repo2")));
    ASSERT_OK(scene_->cli->run_ok({"stanza-create"}));
    ASSERT_OK(scene_->server->exec("CREATE TABLE t (a int, b text)"));
  }

  std::vector<std::string> write_segments(size_t count) {
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(scene_->server->exec(fmt::format("INSERT INTO t VALUES ({}, 'x')", i)).has_value());
      const auto name = scene_->server->archive_all();
      EXPECT_TRUE(name.has_value()) << (name ? "" : name.error().to_string());
      if (name) names.push_back(*name);
    }
    return names;
  }
  std::string segment_path(const std::string& repo, const std::string& name) const {
    return fmt::format("{}/main/wal/1/{}/{}/{}", repo, name.substr(0, 8), name.substr(8, 8), name);
  }
  static void flip_byte(const std::string& path, double place) {
    ASSERT_OK_AND_ASSIGN(const std::string content, read_file(path));
    flip_byte_at(path, static_cast<size_t>(static_cast<double>(content.size()) * place));
  }
  static void flip_byte_at(const std::string& path, size_t at) {
    ASSERT_OK_AND_ASSIGN(std::string content, read_file(path, 1u << 30));
    content[at] = static_cast<char>(content[at] ^ 0x40);
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    ASSERT_OK(write_file_durable(path, content));
  }
  /// What verify printed as JSON; it must exit with `exit_code`.
  json verify(std::vector<std::string> options, int exit_code) const {
    std::vector<std::string> args{"verify", "--output=json"};
    args.insert(args.end(), options.begin(), options.end());
    const auto ran = scene_->cli->run(args);
    EXPECT_TRUE(ran.has_value());
    if (!ran) return {};
    EXPECT_EQ(ran->exit_code, exit_code) << ran->to_string();
    auto parsed = json::parse(ran->out, nullptr, false);
    EXPECT_FALSE(parsed.is_discarded()) << ran->to_string();
    return parsed;
  }
  json info() const {
    const auto shown = scene_->cli->run_json({"info"});
    EXPECT_TRUE(shown.has_value());
    return shown ? (*shown)["stanzas"][0] : json{};
  }

  std::unique_ptr<RestoreScene> scene_;
};

TEST_F(VerifyCommand, DamagedSegmentIsFoundAndHealedFromTheOtherRepository) {
  ASSERT_OK(scene_->backup());
  const auto names = write_segments(4);
  ASSERT_THAT(names, SizeIs(4));
  const json good = verify({}, 0);
  ASSERT_THAT(good["repositories"], SizeIs(2)) << "every repository";
  EXPECT_EQ(good["ok"], true);
  EXPECT_EQ(good["repositories"][0]["packs"]["count"], good["repositories"][0]["packs"]["total"]);
  EXPECT_GT(good["repositories"][1]["segments"]["count"], 3);
  EXPECT_EQ(info()["last_verify"]["damage_count"], 0);

  flip_byte(segment_path(scene_->cli->repo_path(), names[1]), 0.4);
  const json found = verify({"--repo=1"}, 1);
  ASSERT_THAT(found["repositories"], SizeIs(1));
  const json& report = found["repositories"][0];
  ASSERT_THAT(report["damages"], SizeIs(1)) << report.dump(2);
  EXPECT_EQ(report["damages"][0]["kind"], "segment");
  EXPECT_EQ(report["damages"][0]["name"], names[1]);
  EXPECT_EQ(report["damages"][0]["good_copies"], json::array({2}));
  ASSERT_THAT(report["lost"], SizeIs(1));
  EXPECT_EQ(report["lost"][0]["ends"], true);
  EXPECT_THAT(report["backups"], IsEmpty()) << "it lies behind the backup";
  EXPECT_EQ(info()["last_verify"]["damage_count"], 1);

  // As text, the same.
  const auto text = scene_->cli->run({"verify", "--repo=1"});
  ASSERT_OK(text);
  EXPECT_EQ(text->exit_code, 1);
  EXPECT_THAT(text->out, HasSubstr("DAMAGED WAL segment: " + names[1]));
  EXPECT_THAT(text->out, HasSubstr("repo2 has a good copy"));
  EXPECT_THAT(text->out, HasSubstr("CANNOT BE RECOVERED: timeline 1 from"));
  EXPECT_THAT(text->out, HasSubstr("archive-heal --verify"));

  // The step that is named mends it, from the other repository alone.
  ASSERT_OK(scene_->cli->run_ok({"archive-heal", "--verify", "--repo=1", "--pg1-path=/nonexistent", "--pg1-port=1"}));
  EXPECT_EQ(verify({"--repo=1"}, 0)["ok"], true);
  ASSERT_OK(scene_->restore_and_verify("restored", LedgerTarget::latest()));
}

TEST_F(VerifyCommand, DamagedBackupIsNamedByFileAndShownByInfo) {
  ASSERT_OK(scene_->server->exec("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 100000) i"));
  ASSERT_OK_AND_ASSIGN(const json backup, scene_->backup());
  const auto label = backup["label"].get<std::string>();
  const auto path = scene_->server->query("SELECT pg_relation_filepath('t')");
  ASSERT_OK(path);
  const std::string relation = path->text();
  // The extent with the first block of the table.
  ASSERT_OK_AND_ASSIGN(const std::string listed,
                       scene_->cli->run_ok({"repo-get", "main/backup/" + label + "/manifest"}));
  const json manifest = json::parse(listed);
  const auto file = std::find_if(manifest["files"].begin(), manifest["files"].end(),
                                 [&](const json& one) { return one["path"] == relation; });
  ASSERT_NE(file, manifest["files"].end());
  const json& extent = (*file)["runs"][0]["extent"];
  const auto pack = manifest["packs"][extent["pack"].get<size_t>()].get<std::string>();
  flip_byte_at(scene_->cli->repo_path() + "/" + pack, extent["offset"].get<size_t>() + 100);

  const json report = verify({"--repo=1"}, 1)["repositories"][0];
  ASSERT_THAT(report["damages"], SizeIs(1)) << report.dump(2);
  EXPECT_EQ(report["damages"][0]["object"], pack);
  ASSERT_THAT(report["backups"], SizeIs(1));
  EXPECT_EQ(report["backups"][0]["label"], label);
  ASSERT_THAT(report["backups"][0]["files"], SizeIs(1));
  EXPECT_EQ(report["backups"][0]["files"][0]["path"], relation);
  EXPECT_EQ(report["backups"][0]["files"][0]["blocks"][0]["min"], 0);
  EXPECT_FALSE(report["next_steps"].empty());

  // A restore meets the same damage, info tells of it, and a sample that misses it does not make it good.
  const auto restored = scene_->restore("broken", {"--repo=1", "--set=" + label});
  ASSERT_OK(restored);
  EXPECT_NE(restored->exit_code, 0);
  (void)scene_->cli->run({"verify", "--repo=1", "--sample=0.001%"});
  const json shown = info();
  EXPECT_EQ(shown["status"], "damaged");
  EXPECT_EQ(shown["backups"][0]["damage"], "1 file is damaged");
  EXPECT_GT(shown["backups"][0]["repository_bytes"], 0);
  EXPECT_EQ(shown["backups"][0]["unique_bytes"], shown["backups"][0]["repository_bytes"]);

  // Nothing is built on it: an incremental becomes the full backup that is the step named.
  ASSERT_OK_AND_ASSIGN(const json anew, scene_->cli->run_json({"backup", "--type=incr", "--start-fast", "--repo=1"}));
  EXPECT_EQ(anew["type"], "full");
  const json second = verify({"--repo=1", "--set=" + anew["label"].get<std::string>()}, 0)["repositories"][0];
  EXPECT_EQ(second["backups_verified"], json::array({anew["label"]}));
  ASSERT_OK(scene_->restore_and_verify("restored", LedgerTarget::latest()));
}

TEST_F(VerifyCommand, KilledRunIsGoneOnWith) {
  ASSERT_OK(scene_->backup());
  ASSERT_OK(scene_->server->exec("INSERT INTO t SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 150000) i"));
  ASSERT_OK(scene_->server->archive_all(std::chrono::seconds(180)));
  const std::string state = scene_->cli->directory() + "/spool/main-verify-repo1.json";
  bool resumed = false;
  for (int attempt = 0; attempt < 10 && !resumed; ++attempt) {
    ASSERT_OK_AND_ASSIGN(Process running, scene_->cli->start({"verify", "--repo=1", "--restart", "--process-max=1",
                                                              "--repo1-bandwidth-max=2MiB"}));
    // It is killed once it has noted something, which it does after what it reads first, seconds before the end.
    ASSERT_TRUE(wait_until([&] { return fs::exists(state) || !running.running(); }, std::chrono::seconds(120)));
    ASSERT_OK(running.signal(SIGKILL));
    ASSERT_OK(running.wait());
    if (!fs::exists(state)) continue;  // It was faster.
    const json report = verify({"--repo=1"}, 0)["repositories"][0];
    resumed = report["resumed"].get<bool>();
    EXPECT_EQ(report["finished"], true);
    EXPECT_LT(report["run_read_bytes"], report["read_bytes"]);
    EXPECT_EQ(report["segments"]["count"], report["segments"]["total"]);
    EXPECT_FALSE(fs::exists(state));
  }
  EXPECT_TRUE(resumed);
}

}  // namespace
}  // namespace pgark::testing
