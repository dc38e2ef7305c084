// WAL through pgark with real servers: byte for byte, under load, with pushes killed at random moments, and with every
// exit code PostgreSQL acts on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/file.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/scratch.h"
#include "testing/small_fs.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// archive_command: the archiver tries again after 1 to 125 and ends itself above.
MATCHER(IsPushFailure, "is an exit code of 1 to 125") { return arg.exit_code >= 1 && arg.exit_code <= 125; }
/// restore_command: recovery ends for good above 125, and goes on without the file below.
MATCHER(StopsRecovery, "is an exit code above 125") { return arg.exit_code > 125; }

/// A cluster that archives to a stanza in its own scratch directory.
struct Site {
  std::unique_ptr<PgServer> server;
  PgarkCli cli;

  static Result<Site> create(const PgInstall& install, int segment_mib = 16) {
    PgOptions options;
    options.wal_segment_mib = install.major == 10 ? 16 : segment_mib;
    TRY_ASSIGN(auto server, PgServer::create(install, options));
    TRY_ASSIGN(PgarkCli cli, PgarkCli::create(server->scratch() / "pgark"));
    TRY(cli.archive_from(*server));
    return Site{std::move(server), std::move(cli)};
  }
  Result<> start() const {
    TRY(server->start());
    TRY(cli.run_ok({"stanza-create"}));
    return {};
  }
  std::string wal(const std::string& name) const { return server->data_dir() + "/pg_wal/" + name; }

  /// Empty if archive-get brings exactly the bytes of the file.
  std::string compare(const std::string& name, const std::string& original) const {
    const std::string destination = server->scratch() / "fetched";
    const auto got = cli.run({"archive-get", name, destination});
    if (!got || !got->ok()) return name + ": " + (got ? got->to_string() : got.error().to_string());
    const auto fetched = read_file(destination, 2u << 30);
    const auto expected = read_file(original, 2u << 30);
    if (!fetched || !expected) return name + ": cannot be read";
    return *fetched == *expected ? "" : name + ": differs";
  }
};

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename());
  return names;
}

/// pgark with options of its own instead of the site's.
Result<ProcessResult> run_pgark(std::vector<std::string> options, const std::vector<std::string>& arguments) {
  options.insert(options.begin(), pgark_binary());
  options.insert(options.end(), arguments.begin(), arguments.end());
  return run(std::move(options), {.env = without_test_settings(), .standard_input = "", .working_directory = ""});
}

class ArchiveEach : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Each, ArchiveEach, ::testing::ValuesIn(supported_majors()),
                         [](const auto& parameter) { return major_name(parameter.param); });

TEST_P(ArchiveEach, ServerArchivesAndGetsBackTheSameBytes) {
  PGARK_REQUIRE_PG(install, GetParam());
  ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install));
  ASSERT_OK(site.start());
  ASSERT_OK_AND_ASSIGN(const auto checked, site.cli.run_json({"check"}));
  EXPECT_THAT(check_problems(checked), IsEmpty()) << checked.dump(2);
  ASSERT_OK(site.server->exec("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 100000) g"));
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server->archive_all());
  EXPECT_EQ(site.compare(segment, site.wal(segment)), "");
  EXPECT_EQ(site.compare(checked["wal"]["segment"], site.wal(checked["wal"]["segment"])), "");

  // A later segment size, or another, is recorded as it is.
  ASSERT_OK_AND_ASSIGN(const auto info, site.cli.run_json({"info"}));
  EXPECT_EQ(info["stanzas"][0]["clusters"][0]["pg_major"], GetParam());
  EXPECT_THAT(info["stanzas"][0]["clusters"][0]["gaps"], IsEmpty());
}

uint64_t seed_from_environment() {
  const char* given = std::getenv("SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
}

/// An archive_command that keeps what the server handed over, and kills every other push somewhere in its life, as long
/// as the file "killing" exists. Failures are mapped to 1, or the archiver would pause for ten seconds after each; and
/// no third push of a segment is killed in a row, or it would rest for a minute.
Result<std::string> write_killing_command(const Site& site, const std::string& directory, uint64_t seed) {
  TRY(make_directories(directory + "/shadow"));
  const std::string script = fmt::format(
      "#!/bin/bash\n"
      "cd $(dirname $0); echo $2 >> attempts; cp \"{0}/$1\" shadow/$2 || exit 1\n"
      "RANDOM=$((({1} + $(wc -l < attempts)) % 32749)); ms=$((RANDOM % 50)); lucky=$((RANDOM % 2))\n"
      "[[ $(tail -n 2 kills 2>/dev/null) == $2$'\\n'$2 ]] && lucky=1\n"
      "(cd {0} && exec {2} $1) & push=$!\n"
      "if [[ -e killing && $lucky == 0 ]]; then\n"
      "  sleep 0.$(printf %03d $ms); kill -9 $push && echo $2 >> kills\n"
      "fi\n"
      "wait $push || exit 1\n",
      site.server->data_dir(), seed % 1'000'000,
      fmt::format("{} --config={} --stanza=main archive-push", pgark_binary(), site.cli.config_path()));
  TRY(write_file_durable(directory + "/archive.sh", script, 0750));
  TRY(write_file_durable(directory + "/killing", ""));
  return fmt::format("archive_command = '{}/archive.sh %p %f'", directory);
}

size_t lines_of(const std::string& path) {
  const std::string content = read_file(path).value_or("");
  return static_cast<size_t>(std::count(content.begin(), content.end(), '\n'));
}

/// PostgreSQL may recycle what was acknowledged: so it must be in the repository, whenever the push was killed.
TEST(Archive, KilledPushesLoseNothingAcknowledged) {
  PGARK_REQUIRE_PG(install, 15);
  constexpr size_t kKills = 25;
  const uint64_t seed = seed_from_environment();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install, 1));
  const std::string directory = site.server->scratch() / "kill";
  ASSERT_OK_AND_ASSIGN(const std::string command, write_killing_command(site, directory, seed));
  ASSERT_OK(site.server->configure(command));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->exec("CREATE TABLE t (a text)"));

  const auto waiting = [&] {
    const auto names = names_in(site.wal("archive_status"));
    return std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".ready"); });
  };
  const bool enough = wait_until(
      [&] {
        if (waiting() < 5) {
          EXPECT_TRUE(site.server->exec("INSERT INTO t SELECT md5(g::text) || random() FROM generate_series(1, 5000) g")
                          .has_value());
        }
        return lines_of(directory + "/kills") >= kKills;
      },
      std::chrono::seconds(180));
  EXPECT_TRUE(enough) << lines_of(directory + "/kills") << " kills";
  fs::remove(directory + "/killing");
  ASSERT_OK(site.server->archive_all(std::chrono::seconds(120)));
  ASSERT_OK(site.server->stop());
  size_t compared = 0;
  for (const std::string& name : names_in(directory + "/shadow")) {
    // Everything the server handed over is done by now, except what its shutdown wrote.
    if (fs::exists(site.wal("archive_status/" + name + ".ready"))) continue;
    EXPECT_EQ(site.compare(name, directory + "/shadow/" + name), "");
    ++compared;
  }
  EXPECT_GT(compared, kKills / 4);
  ASSERT_OK_AND_ASSIGN(const auto info, site.cli.run_json({"info"}));
  EXPECT_THAT(info["stanzas"][0]["clusters"][0]["gaps"], IsEmpty());
  EXPECT_EQ(info["stanzas"][0]["status"], "no_backups");
}

TEST(Archive, GetTellsAbsentApartFromEveryFailure) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install, 1));
  ASSERT_OK(site.start());
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server->archive_all());
  const std::string original = site.server->scratch() / segment;  // The server recycles its own when it stops.
  fs::copy_file(site.wal(segment), original);
  ASSERT_OK(site.server->stop());
  const std::string destination = site.server->scratch() / "fetched";
  ASSERT_OK(write_file_durable(destination, "before"));
  const auto get = [&](const std::vector<std::string>& arguments) {
    const auto result = site.cli.run(arguments);
    EXPECT_TRUE(result.has_value());
    EXPECT_EQ(read_file(destination).value_or(""), "before");
    return result.value_or(ProcessResult{});
  };
  const std::vector<std::string> present = {"archive-get", segment, destination};
  const auto get_with = [&](const std::vector<std::string>& options) {
    return run_pgark(options, present).value_or(ProcessResult{});
  };

  for (const char* absent : {"0000000100000000000000EE", "00000002.history", "000000010000000000000001.partial"}) {
    EXPECT_EQ(get({"archive-get", absent, destination}).exit_code, 1) << absent;
  }
  EXPECT_THAT(get({"archive-get", "no-wal-file", destination}), StopsRecovery());
  EXPECT_THAT(get({"archive-get", segment}), StopsRecovery()) << "an argument is missing";
  EXPECT_THAT(get({"archive-get", segment, destination, "--no-such-option"}), StopsRecovery());
  EXPECT_THAT(get_with({"--config=" + site.cli.config_path(), "--stanza=other"}), StopsRecovery());
  EXPECT_THAT(get_with({"--config=/nonexistent", "--stanza=main"}), StopsRecovery());
  EXPECT_THAT(get_with({"--config=" + site.cli.config_path()}), StopsRecovery()) << "no stanza is named";
  EXPECT_THAT(get({"archive-get", segment, destination, "--repo1-path=/nonexistent"}), StopsRecovery());

  for (const char* hidden : {"", "/main", "/main/wal/1/00000001/00000000"}) {
    const std::string path = site.cli.repo_path() + hidden;
    fs::permissions(path, fs::perms::none);
    const ProcessResult result = get(present);
    fs::permissions(path, fs::perms::owner_all);
    EXPECT_THAT(result, StopsRecovery()) << path;
    EXPECT_THAT(result.err, HasSubstr("[permission]")) << result.to_string();
  }
  fs::rename(site.cli.repo_path(), site.cli.repo_path() + ".away");
  EXPECT_THAT(get(present), StopsRecovery()) << "a repository that is gone is no absence";
  ASSERT_OK(make_directories(site.cli.repo_path()));
  EXPECT_THAT(get(present), StopsRecovery()) << "an empty directory, such as an unmounted one, is no repository";
  fs::remove(site.cli.repo_path());
  fs::rename(site.cli.repo_path() + ".away", site.cli.repo_path());

  const std::string object = site.cli.repo_path() + "/main/wal/1/00000001/00000000/" + segment;
  ASSERT_OK_AND_ASSIGN(const std::string good, read_file(object));
  for (const size_t length : {good.size() - 1, good.size() / 2, size_t{0}}) {
    fs::remove(object);
    ASSERT_OK(write_file_durable(object, good.substr(0, length)));
    const ProcessResult result = get(present);
    EXPECT_THAT(result, StopsRecovery()) << "truncated to " << length;
    EXPECT_THAT(result.err, HasSubstr("[corrupt]"));
  }
  // Somebody still has the segment: pushing it again mends the archive.
  ASSERT_OK(site.cli.run_ok({"archive-push", original}));
  EXPECT_EQ(site.compare(segment, original), "");
}

TEST(Archive, PushFailsWithoutEndingTheArchiver) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install, 1));
  ASSERT_OK(site.start());
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server->archive_all());
  const auto push = [&](const std::string& path, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"archive-push", path};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result =
        site.cli.run(arguments, {.env = {}, .standard_input = "", .working_directory = site.server->data_dir()});
    EXPECT_TRUE(result.has_value());
    return result.value_or(ProcessResult{});
  };
  EXPECT_EQ(push("pg_wal/" + segment).exit_code, 0) << "the same again";

  const std::string other = site.server->scratch() / segment;
  ASSERT_OK_AND_ASSIGN(std::string content, read_file(site.wal(segment)));
  content.back() = static_cast<char>(content.back() ^ 1);
  ASSERT_OK(write_file_durable(other, content));
  const ProcessResult differs = push(other);
  EXPECT_THAT(differs, IsPushFailure());
  EXPECT_THAT(differs.err, HasSubstr("two clusters may archive to stanza main"));
  EXPECT_EQ(site.compare(segment, site.wal(segment)), "");

  ASSERT_OK_AND_ASSIGN(const Site foreign, Site::create(install, 1));
  ASSERT_OK(foreign.start());
  ASSERT_OK_AND_ASSIGN(const std::string theirs, foreign.server->archive_all());
  const ProcessResult refused = push(foreign.wal(theirs));
  EXPECT_THAT(refused, IsPushFailure());
  EXPECT_THAT(refused.err, HasSubstr("system identifier is"));

  EXPECT_THAT(push("pg_wal/0000000100000000000000EE"), IsPushFailure());
  const auto elsewhere =
      run_pgark({"--config=" + site.cli.config_path(), "--stanza=other"}, {"archive-push", site.wal(segment)});
  ASSERT_OK(elsewhere);
  EXPECT_THAT(*elsewhere, IsPushFailure());
  EXPECT_THAT(elsewhere->err, HasSubstr("stanza other does not exist"));
  EXPECT_THAT(push("pg_wal/" + segment, {"--repo1-path=/nonexistent"}), IsPushFailure());
  EXPECT_THAT(push("pg_wal/" + segment, {"--no-such-option"}), IsPushFailure());

  ASSERT_OK(site.cli.run_ok({"stop"}));
  EXPECT_THAT(push("pg_wal/" + segment), IsPushFailure());
  ASSERT_OK(site.cli.run_ok({"start"}));
  EXPECT_EQ(push("pg_wal/" + segment).exit_code, 0);

  const std::string directory = site.cli.repo_path() + "/main/wal/1/00000001/00000000";
  fs::permissions(directory, fs::perms::owner_read | fs::perms::owner_exec);
  ASSERT_OK(site.server->exec("SELECT pg_create_restore_point('x')"));
  ASSERT_OK(site.server->exec("SELECT pg_switch_wal()"));
  ASSERT_OK(wait_for("the archiver to fail", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, site.server->query("SELECT failed_count FROM pg_stat_archiver"));
    return rows.integer() > 0;
  }));
  fs::permissions(directory, fs::perms::owner_all);
  EXPECT_TRUE(site.server->archive_all(std::chrono::seconds(120)).has_value()) << "it goes on once it can";
}

TEST(Archive, PromotionArchivesHistoryAndPartialSegment) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const Site site, Site::create(install, 1));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->archive_all());
  ASSERT_OK(site.server->stop());
  ASSERT_OK(write_file_durable(site.server->data_dir() + "/recovery.signal", ""));
  ASSERT_OK(site.server->configure(fmt::format("restore_command = '{} --config={} --stanza=main archive-get %f \"%p\"'",
                                               pgark_binary(), site.cli.config_path())));
  ASSERT_OK(site.server->configure("recovery_target_action = promote"));
  ASSERT_OK(site.server->start());
  ASSERT_OK(site.server->wait_for_recovery_end());
  ASSERT_OK_AND_ASSIGN(const std::string segment, site.server->archive_all());
  EXPECT_EQ(segment.substr(0, 8), "00000002");
  EXPECT_EQ(site.compare("00000002.history", site.wal("00000002.history")), "");
  EXPECT_EQ(site.compare(segment, site.wal(segment)), "");
  ASSERT_OK_AND_ASSIGN(const auto info, site.cli.run_json({"info"}));
  const auto& ranges = info["stanzas"][0]["clusters"][0]["wal"];
  EXPECT_EQ(ranges[ranges.size() - 1]["timeline"], 2);
}

TEST(Archive, FullRepositoryIsRefusedAndArchivingGoesOnOnceThereIsRoom) {
  PGARK_REQUIRE_PG(install, 15);
  ASSERT_OK_AND_ASSIGN(const ScratchDir mount_point, ScratchDir::create("small"));
  auto small = SmallFs::mount(mount_point.path(), 3u << 20);
  if (!small) GTEST_SKIP() << small.error().to_string();
  ASSERT_OK_AND_ASSIGN(Site site, Site::create(install, 1));
  ASSERT_OK(site.cli.set("global", "repo1-path", mount_point.path()));
  ASSERT_OK(site.cli.set("global:archive-push", "compress-type", "none"));
  ASSERT_OK(site.start());
  ASSERT_OK(site.server->exec("CREATE TABLE t AS SELECT md5(g::text) || random() a FROM generate_series(1, 60000) g"));
  ASSERT_OK(wait_for("the archiver to fail", [&]() -> Result<bool> {
    TRY_ASSIGN(const PgRows rows, site.server->query("SELECT failed_count FROM pg_stat_archiver"));
    return rows.integer() > 0;
  }));
  ASSERT_OK_AND_ASSIGN(const PgRows failed, site.server->query("SELECT last_failed_wal FROM pg_stat_archiver"));
  ASSERT_OK_AND_ASSIGN(const auto pushed, site.cli.run({"archive-push", site.wal(failed.text())}));
  EXPECT_THAT(pushed, IsPushFailure());
  EXPECT_THAT(pushed.err, HasSubstr("[no_space]"));
  ASSERT_OK(small->resize(64u << 20));
  ASSERT_OK_AND_ASSIGN(const std::string last, site.server->archive_all(std::chrono::seconds(120)));
  EXPECT_EQ(site.compare(last, site.wal(last)), "");
  EXPECT_EQ(site.compare(failed.text(), site.wal(failed.text())), "");
}

}  // namespace
}  // namespace pgark::testing
