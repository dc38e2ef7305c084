// Repositories in S3 over a bad network: each request of each command refused, lost, cut, sent twice or held beyond the
// time limit, connections that break, a store that is away, credentials that end. A real server behind a proxy that
// does it, and the real binary.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/file.h"
#include "restore_scene.h"
#include "same_bytes.h"
#include "store_scene.h"
#include "testing/http_fake.h"
#include "testing/object_servers.h"
#include "testing/realistic_data.h"
#include "testing/s3_server.h"
#include "testing/wait.h"

namespace pgark::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using Kind = HttpFault::Kind;

constexpr size_t kForever = SIZE_MAX;

struct NamedFault {
  const char* name;
  const char* test_name;
  HttpFault fault;
  std::vector<std::string> options = {};  // Of the command.

  /// Whether the command hears nothing until it gives up.
  bool holds() const { return fault.kind == Kind::kHoldRequest || fault.kind == Kind::kHoldAnswer; }
};

std::string refusal(const std::string& code) {
  return "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>injected</Message></Error>";
}

/// A single one of them must not even be seen by the caller.
const std::vector<NamedFault>& faults() {
  static const std::vector<NamedFault> all{
      {"answered by 503",
       "AnsweredBy503",
       {.kind = Kind::kAnswer, .answer = {.status = 503, .body = refusal("SlowDown")}}},
      {"answered by 500",
       "AnsweredBy500",
       {.kind = Kind::kAnswer, .answer = {.status = 500, .body = refusal("InternalError")}}},
      {"reset before the server", "Reset", {.kind = Kind::kDrop}},
      {"answer lost", "AnswerLost", {.kind = Kind::kLoseAnswer}},
      {"answer cut", "AnswerCut", {.kind = Kind::kCutAnswer, .cut_after = 1}},
      // As a proxy does that tries again by itself: of a conditional create the second answer is a refusal.
      {"sent twice", "SentTwice", {.kind = Kind::kDuplicate}},
      // Delivered when the one that replaced it has been answered, in the middle of the command or after its end.
      {"held beyond the limit",
       "Held",
       {.kind = Kind::kHoldRequest, .delay = std::chrono::seconds(1)},
       {"--io-timeout=2"}},
      {"done, and the answer held beyond the limit", "AnswerHeld", {.kind = Kind::kHoldAnswer}, {"--io-timeout=2"}}};
  return all;
}

uint64_t seed_of_test() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

template <typename T>
void expect_ok(const Result<T>& result) {
  EXPECT_TRUE(result.has_value()) << result.error().to_string();
}

std::vector<std::string> with_options(std::vector<std::string> args, const NamedFault& fault) {
  args.insert(args.end(), fault.options.begin(), fault.options.end());
  return args;
}

/// A cluster whose archiver reaches the store directly, and a proxy for the commands under test.
class S3Faults : public ::testing::Test {
 protected:
  void SetUp() override {
    PGARK_REQUIRE_S3(endpoint);
    endpoint_ = endpoint;
    raw_.emplace(endpoint_);
    ASSERT_OK_AND_ASSIGN(bucket_, raw_->new_bucket());
    ASSERT_OK_AND_ASSIGN(proxy_, FaultProxy::start(endpoint_.host, endpoint_.port, {.http = true}));
  }

  void make_scene(PgarkOptions more = {}, PgOptions options = {}) {
    PGARK_REQUIRE_PG(install, 15);
    PgarkOptions settings = repository_options(endpoint_, bucket_, "/faults");
    settings.emplace_back("expire-grace", "0");
    for (auto& one : more) settings.push_back(std::move(one));
    options.wal_segment_mib = 1;
    ASSERT_OK_AND_ASSIGN(scene_, RestoreScene::create(install, options, {}, settings));
  }

  PgarkCli& cli() { return *scene_->cli; }
  PgServer& server() { return *scene_->server; }

  /// The arguments of a command that goes through the proxy.
  std::vector<std::string> proxied(std::vector<std::string> args) const {
    args.push_back("--repo1-s3-endpoint=" + proxy_->url());
    return args;
  }
  Result<ProcessResult> run_proxied(std::vector<std::string> args) { return cli().run(proxied(std::move(args))); }

  std::set<std::string> labels() {
    const auto all = listed_labels(cli());
    return {all.begin(), all.end()};
  }

  /// Objects of packs that are there.
  size_t pack_count() {
    const auto names = raw_->list(bucket_, "faults/main/pack/");
    return names ? names->size() : 0;
  }

  /// A table whose pages do not compress, so that bytes on the way are as many as its own.
  /// Autovacuum would set hint bits in every page while a test waits, and then no stored block is like that on disk.
  Result<> create_noise(int mib) {
    TRY(
        server().exec(fmt::format("CREATE TABLE noise WITH (autovacuum_enabled = off) AS SELECT g AS id, (SELECT "
                                  "string_agg(md5(g || ':' || i), '') "
                                  "FROM generate_series(1, 60) i) AS pad FROM generate_series(1, {}) g",
                                  mib * 512)));
    return server().exec("CHECKPOINT");
  }

  S3Endpoint endpoint_;
  std::optional<RawS3> raw_;
  std::string bucket_;
  std::unique_ptr<FaultProxy> proxy_;
  std::unique_ptr<RestoreScene> scene_;
};

// -- Every request of every command.

/// A command that is run again and again, once for each fault.
struct Subject {
  std::string name;
  std::function<void()> prepare = [] {};  // Before each run.
  std::function<std::vector<std::string>()> args = nullptr;
  /// After each run, however it ended.
  std::function<void(const ProcessResult& ended)> check = [](const ProcessResult&) {};
};

/// Each test for one kind of fault, of which every request has its turn; and for a few requests and faults chosen at
/// random, which does not take minutes.
class S3FaultSweep : public S3Faults, public ::testing::WithParamInterface<const NamedFault*> {
 protected:
  void SetUp() override {
    if (GetParam() != nullptr) PGARK_REQUIRE_SLOW();
    S3Faults::SetUp();
  }

  /// Run the subject with the n-th request spoilt; whether a fault happened.
  bool run_with(const Subject& subject, const NamedFault& fault, size_t n) {
    SCOPED_TRACE(fmt::format("request {} of {} {}", n, subject.name, fault.name));
    subject.prepare();
    if (HasFatalFailure()) return false;
    HttpFault one = fault.fault;
    one.skip = n - 1;
    const size_t before = proxy_->faults_fired();
    const size_t given_up_before = proxy_->given_up();
    proxy_->clear_faults();
    proxy_->add_fault(one);
    const auto ended = run_proxied(with_options(subject.args(), fault));
    proxy_->clear_faults();
    const bool fired = proxy_->faults_fired() > before;
    // What is late has to have come before the check, and before the next run.
    EXPECT_TRUE(wait_until([&] { return proxy_->holding() == 0; }));
    EXPECT_EQ(proxy_->given_up() - given_up_before, fired && fault.holds() ? 1u : 0u);
    if (!ended) {
      ADD_FAILURE() << ended.error().to_string();
      return fired;
    }
    EXPECT_TRUE(ended->ok()) << ended->to_string();
    subject.check(*ended);
    return fired;
  }

  void sweep(const Subject& subject, Rng& rng) {
    if (GetParam() == nullptr) return sample(subject, rng);
    const NamedFault& fault = *GetParam();
    size_t n = 1;
    while (run_with(subject, fault, n) && !HasFailure()) ++n;
    if (HasFailure()) return;
    EXPECT_GT(n, 2u) << subject.name << " made no requests";
    std::printf("%s: %zu requests %s\n", subject.name.c_str(), n - 1, fault.name);
  }

  void sample(const Subject& subject, Rng& rng) {
    subject.prepare();
    const size_t before = proxy_->request_count();
    ASSERT_OK_AND_ASSIGN(const ProcessResult clean, run_proxied(subject.args()));
    ASSERT_TRUE(clean.ok()) << clean.to_string();
    subject.check(clean);
    const size_t requests = proxy_->request_count() - before;
    ASSERT_GE(requests, 2u);
    std::printf("%s: %zu requests\n", subject.name.c_str(), requests);
    // Those that hold have a turn each.
    std::vector<const NamedFault*> chosen;
    for (const NamedFault& fault : faults())
      if (fault.holds()) chosen.push_back(&fault);
    for (int i = 0; i < 3; ++i) chosen.push_back(&faults()[rng.below(faults().size())]);
    for (const NamedFault* fault : chosen) {
      if (HasFailure()) return;
      // The last ones need not be made every time, and how often it has to look whether WAL has come is up to the
      // archiver: a run that makes fewer than the one that was counted shows nothing, and an earlier one has its turn.
      size_t n = 1 + rng.below(std::max<size_t>(requests * 3 / 4, 1));
      bool fired = run_with(subject, *fault, n);
      while (!fired && n > 1 && !HasFailure()) fired = run_with(subject, *fault, n /= 2);
      EXPECT_TRUE(fired) << "the fault did not happen: request " << n << " of " << subject.name;
    }
  }
};

TEST_P(S3FaultSweep, OfBackup) {
  ASSERT_NO_FATAL_FAILURE(make_scene({{"repo1-retention-full", "2"}}));
  ASSERT_OK(fill_realistic(server(), 10));
  ASSERT_OK(scene_->backup());
  Rng rng(seed_of_test());
  std::set<std::string> known;
  Subject backup{.name = "backup"};
  backup.prepare = [&] {
    known = labels();
    ASSERT_FALSE(known.empty());
  };
  backup.args = [] { return std::vector<std::string>{"backup", "--type=full", "--start-fast", "--output=json"}; };
  backup.check = [&](const ProcessResult& ended) {
    const auto after = labels();
    ASSERT_FALSE(after.empty());
    std::set<std::string> added;
    std::set_difference(after.begin(), after.end(), known.begin(), known.end(), std::inserter(added, added.end()));
    EXPECT_LE(added.size(), 1u) << "old state or new";
    if (ended.ok()) {
      ASSERT_EQ(added.size(), 1u) << ended.to_string();
      const auto report = json::parse(ended.out, nullptr, false);
      ASSERT_TRUE(report.is_object()) << ended.to_string();
      EXPECT_EQ(report.at("label"), *added.begin());
    }
    for (const std::string& label : added) expect_ok(cli().run_ok({"verify", "--set=" + label}));
    known = after;
  };
  sweep(backup, rng);
  ASSERT_OK(cli().run_ok({"verify"}));
  ASSERT_OK(scene_->restore_and_verify("latest", LedgerTarget::latest()));
}

TEST_P(S3FaultSweep, OfArchivePushAndGet) {
  ASSERT_NO_FATAL_FAILURE(make_scene());
  Rng rng(seed_of_test());
  // From now on nobody but the test archives.
  ASSERT_OK(server().configure("archive_command = 'false'"));
  ASSERT_OK(server().reload());
  std::string name;
  std::vector<std::string> acknowledged;
  const auto source = [&](const std::string& segment) { return server().data_dir() + "/pg_wal/" + segment; };
  const auto expect_there = [&](const std::string& segment) {
    const std::string got = scene_->place("got");
    ASSERT_OK(cli().run_ok({"archive-get", segment, got}));
    EXPECT_EQ(read_file(got, 1u << 24).value_or("<absent>"), read_file(source(segment), 1u << 24).value_or("<gone>"));
    fs::remove(got);
  };

  Subject push{.name = "archive-push"};
  push.prepare = [&] {
    ASSERT_OK(scene_->ledger->commit_rows(1));
    const auto rows = server().query("SELECT pg_walfile_name(pg_switch_wal())");
    ASSERT_OK(rows);
    name = rows->text();
  };
  push.args = [&] { return std::vector<std::string>{"archive-push", source(name)}; };
  push.check = [&](const ProcessResult& ended) {
    if (!ended.ok()) return;
    expect_there(name);
    acknowledged.push_back(name);
  };
  sweep(push, rng);
  ASSERT_FALSE(acknowledged.empty());

  Subject get{.name = "archive-get"};
  const std::string into = scene_->place("fetched");
  get.prepare = [&] {
    name = acknowledged[rng.below(acknowledged.size())];
    fs::remove(into);
  };
  get.args = [&] { return std::vector<std::string>{"archive-get", name, into}; };
  get.check = [&](const ProcessResult& ended) {
    // Up to 125 PostgreSQL would take it for absent, and end recovery.
    EXPECT_TRUE(ended.ok() || ended.exit_code > 125) << ended.to_string();
    EXPECT_EQ(fs::exists(into), ended.ok()) << "whole or not at all";
    if (!ended.ok()) return;
    EXPECT_EQ(read_file(into, 1u << 24).value_or("<absent>"), read_file(source(name), 1u << 24).value_or("<gone>"));
  };
  sweep(get, rng);

  for (const std::string& segment : acknowledged) expect_there(segment);
}

TEST_F(S3Faults, AStoreThatAnswersNothingIsNotOneWithoutTheSegment) {
  ASSERT_NO_FATAL_FAILURE(make_scene());
  for (const NamedFault& fault : faults()) {
    proxy_->clear_faults();
    HttpFault often = fault.fault;
    often.times = kForever;
    const size_t before = proxy_->faults_fired();
    proxy_->add_fault(often);
    ASSERT_OK_AND_ASSIGN(
        const ProcessResult ended,
        run_proxied(with_options({"archive-get", "0000000100000FFF00000000", scene_->place("fetched")}, fault)));
    proxy_->clear_faults();
    EXPECT_TRUE(wait_until([&] { return proxy_->holding() == 0; }));
    EXPECT_GT(proxy_->faults_fired(), before);
    const bool answers = fault.fault.kind == Kind::kDuplicate;
    EXPECT_TRUE(answers ? ended.exit_code == 1 : ended.exit_code > 125) << fault.name << ": " << ended.to_string();
  }
}

TEST_P(S3FaultSweep, OfRestore) {
  ASSERT_NO_FATAL_FAILURE(make_scene());
  ASSERT_OK(fill_realistic(server(), 20));
  ASSERT_OK_AND_ASSIGN(const json backup, scene_->backup());
  const std::vector<std::string> options{"--set=" + backup.at("label").get<std::string>(), "--type=immediate"};
  ASSERT_OK(cli().run_ok(scene_->restore_args("expected", options)));
  const auto contents = [&](const std::string& name) {
    std::map<std::string, std::string> out;
    for (const std::string& path : list_files(scene_->place(name)))
      if (path != "postgresql.auto.conf")  // It tells the place.
        out[path] = read_file(scene_->place(name) + "/" + path, 1u << 30).value_or("<unreadable>");
    return out;
  };
  const auto expected = contents("expected");
  Rng rng(seed_of_test());
  Subject restore{.name = "restore"};
  restore.prepare = [&] { fs::remove_all(scene_->place("restored")); };
  restore.args = [&] { return scene_->restore_args("restored", options); };
  restore.check = [&](const ProcessResult& ended) {
    if (!ended.ok()) {
      EXPECT_FALSE(fs::exists(scene_->place("restored") + "/global/pg_control")) << "incomplete, but it would start";
      return;
    }
    const auto found = contents("restored");
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [path, content] : expected) EXPECT_TRUE(found.at(path) == content) << path << " differs";
  };
  sweep(restore, rng);
}

TEST_P(S3FaultSweep, OfExpire) {
  ASSERT_NO_FATAL_FAILURE(make_scene({{"repo1-retention-full", "1"}, {"expire-auto", "n"}}));
  Rng rng(seed_of_test());
  std::string newest;
  const auto back_up = [&] {
    const auto made = scene_->backup();
    ASSERT_OK(made);
    newest = made->at("label");
  };
  ASSERT_NO_FATAL_FAILURE(back_up());
  Subject expire{.name = "expire"};
  expire.prepare = [&] { back_up(); };
  expire.args = [] { return std::vector<std::string>{"expire"}; };
  expire.check = [&](const ProcessResult& ended) {
    const auto left = labels();
    EXPECT_TRUE(left.contains(newest)) << "what is kept is there";
    EXPECT_TRUE(left.size() == 1 || !ended.ok()) << "and nothing else";
    expect_ok(cli().run_ok({"verify"}));
  };
  sweep(expire, rng);
  ASSERT_OK(scene_->restore_and_verify("latest", LedgerTarget::latest()));
}

std::vector<const NamedFault*> sample_and_each_fault() {
  std::vector<const NamedFault*> out{nullptr};
  for (const NamedFault& fault : faults()) out.push_back(&fault);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Requests, S3FaultSweep, ::testing::ValuesIn(sample_and_each_fault()),
                         [](const auto& fault) { return fault.param != nullptr ? fault.param->test_name : "Sample"; });

// -- The network.

TEST_F(S3Faults, ConnectionsThatBreakAndLittleBandwidthOnlyTakeTime) {
  ASSERT_NO_FATAL_FAILURE(make_scene());
  ASSERT_OK(create_noise(60));
  proxy_->set_rules({.bytes_per_second = 60u << 20, .drop_after_bytes_mean = 14u << 20});
  ASSERT_OK_AND_ASSIGN(const ProcessResult made, run_proxied({"backup", "--type=full", "--start-fast"}));
  EXPECT_TRUE(made.ok()) << made.to_string();
  const size_t dropped = proxy_->connections_dropped();
  EXPECT_GT(dropped, 0u);
  ASSERT_OK(cli().run_ok({"verify"}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult restored, run_proxied(scene_->restore_args("restored")));
  EXPECT_TRUE(restored.ok()) << restored.to_string();
  EXPECT_GT(proxy_->connections_dropped(), dropped);
  ASSERT_OK_AND_ASSIGN(auto server, scene_->adopt("restored"));
  ASSERT_OK(server->launch());
  ASSERT_OK_AND_ASSIGN(const RecoveryEnd end, server->wait_for_recovery_end());
  EXPECT_EQ(end, RecoveryEnd::kPromoted);
  const std::string question = "SELECT count(*) || ' ' || md5(string_agg(md5(pad), '' ORDER BY id)) FROM noise";
  ASSERT_OK_AND_ASSIGN(const PgRows theirs, server->query(question));
  ASSERT_OK_AND_ASSIGN(const PgRows ours, this->server().query(question));
  EXPECT_EQ(theirs.text(), ours.text());
  const auto left = raw_->unfinished_uploads(bucket_);
  ASSERT_OK(left);
  EXPECT_TRUE(left->empty()) << "uploads that were begun are ended";
}

// -- A store that is away.

class S3Away : public S3Faults {
 protected:
  /// Start a backup of much, and stop answering once it has stored a pack.
  Result<Process> start_and_lose_store(const std::vector<std::string>& more = {}) {
    std::vector<std::string> args{"backup",        "--type=full",          "--start-fast",
                                  "--output=json", "--compress-type=none", "--archive-timeout=600"};
    args.insert(args.end(), more.begin(), more.end());
    proxy_->set_rules({.bytes_per_second = 60u << 20});
    // No WAL arrives before the store is lost: the backup cannot end, however late the pack is seen. What waits to be
    // archived then, the WAL of all the noise, takes its time: hence the timeout.
    const std::string hold = scene_->place("hold");
    TRY(write_file_durable(hold, ""));
    const std::string wait = fmt::format(
        "n=0; while test -e {} && test $n -lt 3000; do n=$((n+1)); sleep 0.1; done; {}", hold, cli().archive_command());
    TRY(server().configure("archive_command = " + sql_literal(wait)));
    TRY(server().reload());
    const size_t packs = pack_count();
    TRY_ASSIGN(Process backup, cli().start(proxied(args)));
    TRY(wait_for("a pack", [&]() -> Result<bool> {
      if (!backup.running()) {
        TRY_ASSIGN(const ProcessResult ended, backup.wait());
        return Error(Errc::kInternal, ended.to_string());
      }
      return pack_count() > packs;
    }));
    before_ = proxy_->faults_fired();
    proxy_->add_fault({.kind = Kind::kDrop, .times = kForever});
    proxy_->drop_connections();
    fs::remove(hold);
    return backup;
  }
  size_t refused() const { return proxy_->faults_fired() - before_; }

  size_t before_ = 0;
};

TEST_F(S3Away, ForAWhileTheBackupWaits) {
  ASSERT_NO_FATAL_FAILURE(make_scene());
  ASSERT_OK(create_noise(220));
  ASSERT_OK_AND_ASSIGN(Process backup, start_and_lose_store());
  // Everybody who sends has asked again, and again.
  ASSERT_TRUE(wait_until([&] { return refused() >= 12 || !backup.running(); }));
  EXPECT_TRUE(backup.running()) << "it does not give up at once";
  proxy_->clear_faults();
  proxy_->set_rules({});
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.wait(std::chrono::seconds(300)));
  ASSERT_TRUE(ended.ok()) << ended.to_string();
  ASSERT_OK(cli().run_ok({"verify"}));
}

TEST_F(S3Away, ForTooLongItFailsAndTheNextBackupUsesWhatWasStored) {
  ASSERT_NO_FATAL_FAILURE(make_scene());
  ASSERT_OK(create_noise(220));
  ASSERT_OK_AND_ASSIGN(Process backup, start_and_lose_store({"--io-timeout=2"}));
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.wait(std::chrono::seconds(300)));
  // 7 if it went away in the middle of putting a pack together: that may have happened.
  EXPECT_THAT(ended.exit_code, ::testing::AnyOf(6, 7)) << ended.to_string();
  EXPECT_THAT(ended.err, HasSubstr("repo1 at s3://"));
  EXPECT_GE(refused(), 5u);
  EXPECT_TRUE(labels().empty());
  proxy_->clear_faults();
  proxy_->set_rules({});
  ASSERT_OK_AND_ASSIGN(const json next,
                       cli().run_json({"backup", "--type=full", "--start-fast", "--archive-timeout=300"}));
  EXPECT_GT(next.at("reused_bytes").get<uint64_t>(), 32u << 20) << next.dump();
  ASSERT_OK(cli().run_ok({"verify"}));
}

// -- Credentials.

TEST_F(S3Away, CredentialsThatEndInTheMiddleAreReplaced) {
  // A user of its own, whose keys come from a service as that of a container.
  const std::string user = unique_name("keys");
  ASSERT_OK_AND_ASSIGN(const S3Keys first, create_s3_user(endpoint_, user));
  const S3Keys second{.access_key = "SECOND" + user, .secret = "second/secret+" + user};
  ASSERT_OK(radosgw_admin(endpoint_, {"key", "create", "--uid=" + user, "--key-type=s3",
                                      "--access-key=" + second.access_key, "--secret-key=" + second.secret}));
  const RawS3 raw = raw_->with_keys(second);
  ASSERT_OK_AND_ASSIGN(bucket_, raw.new_bucket());
  std::atomic<bool> replaced = false;
  ASSERT_OK_AND_ASSIGN(
      const auto service, HttpFake::start([&](const HttpRequest&) {
        const S3Keys& keys = replaced ? second : first;
        return HttpAnswer{.body = fmt::format(R"({{"AccessKeyId": "{}", "SecretAccessKey": "{}", "Token": "", )"
                                              R"("Expiration": "2999-01-01T00:00:00Z"}})",
                                              keys.access_key, keys.secret)};
      }));
  // The archiver has the second keys from the start.
  endpoint_.keys = second;
  ASSERT_NO_FATAL_FAILURE(make_scene());
  ASSERT_OK(create_noise(120));
  proxy_->set_rules({.bytes_per_second = 20u << 20});
  const uint64_t before = proxy_->bytes_to_server();
  ProcessOptions options;
  options.env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + service->url("/credentials"),
                 "AWS_EC2_METADATA_DISABLED=true"};
  ASSERT_OK_AND_ASSIGN(Process backup,
                       cli().start(proxied({"backup", "--type=full", "--start-fast", "--compress-type=none",
                                            "--repo1-s3-key-type=auto", "--archive-timeout=300"}),
                                   options));
  ASSERT_TRUE(wait_until([&] { return proxy_->bytes_to_server() > before + (24u << 20) || !backup.running(); }));
  // So that most of it is still to come when the keys are gone: radosgw-admin takes seconds.
  proxy_->set_rules({.bytes_per_second = 1u << 20});
  ASSERT_TRUE(backup.running());
  EXPECT_EQ(service->request_count(), 1u);
  replaced = true;
  ASSERT_OK(
      radosgw_admin(endpoint_, {"key", "rm", "--uid=" + user, "--key-type=s3", "--access-key=" + first.access_key}));
  ASSERT_OK_AND_ASSIGN(const HttpReply refused, raw_->with_keys(first).request("GET", "/" + bucket_));
  ASSERT_EQ(refused.status, 403) << refused.body;
  ASSERT_TRUE(backup.running());
  proxy_->set_rules({});
  ASSERT_OK_AND_ASSIGN(const ProcessResult ended, backup.wait(std::chrono::seconds(300)));
  EXPECT_TRUE(ended.ok()) << ended.to_string();
  EXPECT_GE(service->request_count(), 2u) << "the first keys had not ended";
  ASSERT_OK(cli().run_ok({"verify"}));
}

}  // namespace
}  // namespace pgark::testing
