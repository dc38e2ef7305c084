// Two hosts and one repository in every kind of store that several hosts reach: one of them has the job, another takes
// it over when the first falls silent, and whoever has lost it stops. With the real binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <functional>
#include <ostream>

#include "core/file.h"
#include "restore_scene.h"
#include "store_scene.h"
#include "testing/object_servers.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Where the repository is, and how to look at it behind pgark's back.
struct SharedPlace {
  PgarkOptions options;
  std::function<Result<std::vector<std::string>>()>
      list;  // Names of all objects, each with the repository's before it.
  std::function<Result<>(const std::string& key, const std::string& content)> put;
  std::shared_ptr<SftpServer> server = nullptr;  // Owned with what the functions above hold.
};

Result<SharedPlace> place_on_sftp() {
  TRY_ASSIGN(auto started, SftpServer::start());
  const std::shared_ptr<SftpServer> server = std::move(started);
  const std::string repository = server->root() + "/repository";
  SharedPlace place;
  place.options = repository_options(*server, repository);
  place.list = [repository]() -> Result<std::vector<std::string>> {
    std::vector<std::string> names;
    std::error_code absent;
    for (const auto& entry : fs::recursive_directory_iterator(repository, absent)) names.push_back(entry.path());
    return names;
  };
  place.put = [repository](const std::string& key, const std::string& content) {
    return Result<>(write_file_durable(repository + "/" + key, content));
  };
  place.server = server;
  return place;
}

Result<SharedPlace> place_on_s3() {
  TRY_ASSIGN(const S3Endpoint endpoint, shared_s3());
  const RawS3 raw(endpoint);
  TRY_ASSIGN(const std::string bucket, raw.new_bucket());
  return SharedPlace{.options = repository_options(endpoint, bucket, "/shared"),
                     .list = [=] { return raw.list(bucket); },
                     .put = [=](const std::string& key,
                                const std::string& content) { return raw.put(bucket, "shared/" + key, content); }};
}

Result<SharedPlace> place_on_azure() {
  TRY_ASSIGN(const AzureEndpoint endpoint, shared_azure());
  const RawAzure raw(endpoint);
  TRY_ASSIGN(const std::string container, raw.new_container());
  return SharedPlace{.options = repository_options(endpoint, container, "/shared"),
                     .list = [=] { return raw.list(container); },
                     .put = [=](const std::string& key,
                                const std::string& content) { return raw.put(container, "shared/" + key, content); }};
}

struct KindOfPlace {
  std::string name;
  Result<SharedPlace> (*open)();

  friend std::ostream& operator<<(std::ostream& out, const KindOfPlace& kind) { return out << kind.name; }
};

class JobLease : public ::testing::TestWithParam<KindOfPlace> {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_PG(install, 15);
    auto place = GetParam().open();
    const bool missing =
        !place && (place.error().code() == Errc::kNotFound || place.error().code() == Errc::kUnsupported);
    if (missing && (GetParam().name != "S3" || may_lack_servers())) GTEST_SKIP() << place.error().to_string();
    ASSERT_OK(place);
    place_ = std::move(*place);
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install, {}, {}, place_.options));
    // Another configuration has locks of its own, as on another host.
    ASSERT_OK_AND_ASSIGN(PgarkCli other, PgarkCli::create(scene_->scratch / "other"));
    other_.emplace(std::move(other));
    for (const auto& [option, value] : place_.options) ASSERT_OK(other_->set("global", option, value));
    ASSERT_OK(other_->use_cluster(*scene_->server));
  }

  PgarkCli& first() { return *scene_->cli; }
  PgarkCli& second() { return *other_; }

  /// A backup that takes longer than a test: to be stopped.
  static Result<Process> start_slow_backup(const PgarkCli& host) {
    return host.start({"backup", "--type=full", "--start-fast", "--pg1-bandwidth-max=128KiB"});
  }
  /// Until it has the lease and copies: what it asks last before that is where tablespaces are, and what it asks
  /// meanwhile, again and again, how far the server is.
  Result<> wait_until_it_copies(Process& backup) {
    std::string asked_first;
    return wait_for("a backup to copy", [&]() -> Result<bool> {
      if (!backup.running()) {
        TRY_ASSIGN(const ProcessResult ended, backup.wait());
        return Error(Errc::kInternal, ended.to_string());
      }
      TRY_ASSIGN(
          const PgRows rows,
          scene_->server->query("SELECT query LIKE '%pg_tablespace_location%', query_start::text FROM pg_stat_activity "
                                "WHERE application_name = 'pgark [backup]' AND state = 'idle' AND (query LIKE "
                                "'%pg_tablespace_location%' OR query LIKE 'SELECT pg_current_wal_insert_lsn()%')"));
      if (rows.empty()) return false;
      // Once it asks how far the server is before it copies; the second time it does.
      if (asked_first.empty()) asked_first = rows.text(0, 1);
      return rows.text(0, 0) == "t" || rows.text(0, 1) != asked_first;
    });
  }
  /// Manifests in the store.
  std::vector<std::string> backups() {
    const auto names = place_.list();
    EXPECT_TRUE(names.has_value()) << names.error().to_string();
    std::vector<std::string> found;
    for (const std::string& name : names ? *names : std::vector<std::string>())
      if (name.ends_with("/manifest")) found.push_back(name);
    return found;
  }

  SharedPlace place_;
  std::unique_ptr<RestoreScene> scene_;
  std::optional<PgarkCli> other_;
};

TEST_P(JobLease, IsHadByOneOfTwoThatStartAtOnce) {
  std::array<PgarkCli*, 2> hosts{&first(), &second()};
  std::array<Process, 2> backups;
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_OK_AND_ASSIGN(backups[i], start_slow_backup(*hosts[i]));
  }
  ASSERT_TRUE(wait_until([&] { return !backups[0].running() || !backups[1].running(); }));
  const size_t loser = backups[0].running() ? 1 : 0;
  const size_t winner = 1 - loser;
  ASSERT_OK_AND_ASSIGN(const ProcessResult lost, backups[loser].wait());
  EXPECT_EQ(lost.exit_code, 2) << lost.to_string();
  EXPECT_THAT(lost.err, HasSubstr("backup on "));
  ASSERT_OK_AND_ASSIGN(const ProcessResult refused, hosts[loser]->run({"expire"}));
  EXPECT_EQ(refused.exit_code, 2) << refused.to_string();
  EXPECT_THAT(refused.err, HasSubstr("backup on "));
  ASSERT_TRUE(backups[winner].running());
  ASSERT_OK(backups[winner].signal(SIGTERM));
  ASSERT_OK(backups[winner].wait());
  // It gave the lease back: nobody waits for it.
  ASSERT_OK(hosts[loser]->run_ok({"backup", "--type=full", "--start-fast"}));
  ASSERT_OK(hosts[winner]->run_ok({"expire"}));
  ASSERT_OK(hosts[loser]->run_ok({"verify"}));
}

TEST_P(JobLease, OfAHolderThatFellSilentIsTakenOverAndItStops) {
  // The expiry is a minute: by default on one kind of store only.
  if (GetParam().name != "S3") {
    PGARK_REQUIRE_SLOW();
  }
  ASSERT_OK_AND_ASSIGN(Process silent, start_slow_backup(first()));
  ASSERT_OK(wait_until_it_copies(silent));
  ASSERT_OK(silent.signal(SIGSTOP));
  ASSERT_OK_AND_ASSIGN(const ProcessResult next, second().run({"backup", "--type=full", "--start-fast"}));
  EXPECT_TRUE(next.ok()) << next.to_string();
  EXPECT_THAT(next.out, HasSubstr("has expired and is taken over: backup on "));
  const auto made = backups();
  ASSERT_EQ(made.size(), 1u);
  // As if it had been dead; but it lives, and must not go on.
  ASSERT_OK(silent.signal(SIGCONT));
  ASSERT_OK_AND_ASSIGN(const ProcessResult late, silent.wait());
  EXPECT_THAT(late.exit_code, AnyOf(2, 6)) << late.to_string();
  EXPECT_THAT(late.err, AnyOf(HasSubstr("the lease was taken over"), HasSubstr("could not be renewed")));
  EXPECT_EQ(backups(), made);
  ASSERT_OK(first().run_ok({"expire"}));
  ASSERT_OK(first().run_ok({"verify"}));
}

TEST_P(JobLease, LostInTheMiddleEndsTheJob) {
  ASSERT_OK_AND_ASSIGN(Process backup, start_slow_backup(first()));
  ASSERT_OK(wait_until_it_copies(backup));
  ASSERT_OK(place_.put("main/lease/backup.00000009", "of a host that took it over"));
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.wait());
  EXPECT_EQ(ended.exit_code, 2) << ended.to_string();
  EXPECT_THAT(ended.err, HasSubstr("the lease was taken over"));
  EXPECT_THAT(backups(), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto names, place_.list());
  for (const std::string& name : names)
    EXPECT_FALSE(name.find("/main/lease/backup.00000009.") != name.npos) << "it is another's to end: " << name;
}

INSTANTIATE_TEST_SUITE_P(Stores, JobLease,
                         ::testing::Values(KindOfPlace{"Sftp", place_on_sftp}, KindOfPlace{"S3", place_on_s3},
                                           KindOfPlace{"Azure", place_on_azure}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace pgark::testing
