// The whole of it at once: a cluster under load that archives in the background, fails over twice and is taken back in
// time once, and then recoveries to random targets of every kind anywhere on that way, each held against the ledger.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "restore_scene.h"

namespace pgark::testing {
namespace {

uint64_t test_seed() {
  const char* given = std::getenv("SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

struct Backup {
  std::string label;
  Lsn stop;
  Timestamp stopped;
};

struct Point {
  std::string name;
  Lsn lsn;
};

/// The stanza's life, server after server; each archives into the same stanza, in the background.
class Story {
 public:
  explicit Story(std::unique_ptr<RestoreScene> scene, uint64_t seed) : scene_(std::move(scene)), rng_(seed) {}

  RestoreScene& scene() { return *scene_; }

  Result<> live() {
    TRY(load());
    TRY(back_up());
    TRY(load());
    TRY(fail_over("second"));
    TRY(load());
    TRY(back_up());
    TRY(load());
    TRY(go_back("third"));
    TRY(load());
    TRY(fail_over("fourth"));
    TRY(load());
    TRY(back_up());
    TRY(load());
    target_rows_ = ledger().rows();
    TRY(ledger().commit_rows(10));
    TRY(server().archive_all());
    return {};
  }

  /// A target of a random kind, and the backup it has to be restored from where that is not for pgark to choose.
  std::pair<LedgerTarget, std::vector<std::string>> any_target() {
    const LedgerRow row = any_row();
    const bool exclusive = rng_.below(2) == 0;
    switch (rng_.below(6)) {
      case 0:
        return {LedgerTarget::at_time(row.committed_at, exclusive), {}};
      case 1:
        return {LedgerTarget::at_xid(row.xid, exclusive), {}};
      case 2:
        return {LedgerTarget::at_lsn(exclusive ? row.before_commit : row.after_commit, exclusive), {}};
      case 3:
        return {LedgerTarget::at_name(points_[rng_.below(points_.size())].name), {}};
      case 4: {
        const Backup& backup = backups_[rng_.below(backups_.size())];
        return {LedgerTarget::immediate(backup.stop), {"--set=" + backup.label}};
      }
      default:
        return {LedgerTarget::latest(), {}};
    }
  }

 private:
  Ledger& ledger() { return *scene_->ledger; }
  PgServer& server() { return servers_.empty() ? *scene_->server : *servers_.back(); }

  LedgerRow any_row() {
    for (;;) {
      const LedgerRow& row = target_rows_[rng_.below(target_rows_.size())];
      if (row.acknowledged && row.before_commit > backups_.front().stop && row.committed_at > backups_.front().stopped)
        return row;
    }
  }

  /// Rows from several clients, with a named point among them.
  Result<> load() {
    TRY(ledger().start());
    TRY(ledger().wait_for_rows(30));
    Point point{fmt::format("point {}", ++points_made_), {}};
    TRY_ASSIGN(point.lsn, ledger().restore_point(point.name));
    TRY(server().exec("SELECT pg_switch_wal()"));
    TRY(ledger().wait_for_rows(30));
    TRY(ledger().stop());
    if (!backups_.empty()) points_.push_back(point);
    return {};
  }

  Result<> back_up() {
    TRY(ledger().start());
    TRY(ledger().wait_for_rows(5));
    TRY_ASSIGN(const nlohmann::json made, scene_->backup());
    TRY(ledger().stop());
    Backup backup;
    backup.label = made["label"].get<std::string>();
    TRY_ASSIGN(backup.stop, parse_lsn(made["stop_lsn"].get<std::string>()));
    backup.stopped = Timestamp(std::chrono::microseconds(made["stopped_us"].get<int64_t>()));
    backups_.push_back(backup);
    return {};
  }

  Result<> take_over(std::unique_ptr<PgServer> next) {
    servers_.push_back(std::move(next));
    TRY(scene_->cli->use_cluster(server()));
    return ledger().continue_on(server());
  }

  /// The server ends in good order, a standby that followed the archive takes over on a new timeline.
  Result<> fail_over(const std::string& name) {
    TRY(server().archive_all());
    TRY(server().stop());
    TRY(scene_->cli->run_ok(scene_->restore_args(name, {"--type=standby"})));
    TRY_ASSIGN(auto next, PgServer::adopt(scene_->place(name), scene_->server->install(), {}));
    TRY(next->start());
    TRY(next->promote());
    return take_over(std::move(next));
  }

  /// Back to a row in the middle of what was written since the last backup; the rest never happened.
  Result<> go_back(const std::string& name) {
    TRY(server().archive_all());
    TRY(server().stop());
    std::vector<LedgerRow> since;
    for (const LedgerRow& row : ledger().rows())
      if (row.acknowledged && row.before_commit > backups_.back().stop) since.push_back(row);
    const LedgerTarget target = LedgerTarget::at_xid(since.at(since.size() / 2).xid);
    std::vector<std::string> options = target.restore_options();
    options.emplace_back("--target-action=promote");
    TRY(scene_->cli->run_ok(scene_->restore_args(name, options)));
    TRY_ASSIGN(auto next, PgServer::adopt(scene_->place(name), scene_->server->install(), {}));
    TRY(next->launch());
    TRY_ASSIGN(const RecoveryEnd end, next->wait_for_recovery_end());
    if (end != RecoveryEnd::kPromoted) return Error(Errc::kInternal, "recovery did not end in a promotion");
    TRY(ledger().verify(*next, target));
    TRY(take_over(std::move(next)));
    // Points on the branch that was left are out of reach. Where the row's commit ends is not known exactly: what
    // others wrote before its client asked for the position lies before `after_commit`, and yet behind the fork.
    const Lsn fork = since.at(since.size() / 2).before_commit;
    std::erase_if(points_, [&](const Point& point) { return point.lsn > fork; });
    return {};
  }

  std::unique_ptr<RestoreScene> scene_;
  std::vector<std::unique_ptr<PgServer>> servers_;  // After the scene's own; stopped before its files go.
  Rng rng_;
  std::vector<Backup> backups_;
  std::vector<Point> points_;  // That can be reached.
  int points_made_ = 0;
  std::vector<LedgerRow> target_rows_;
};

class Proof : public ::testing::TestWithParam<int> {};

TEST_P(Proof, EveryTargetOnTheWayIsReachedExactly) {
  PGARK_REQUIRE_PG(install, GetParam());
  const int major = GetParam();
  const int targets = (major == 15 ? 100 : 10) * (slow_tests() ? 5 : 1);
  const uint64_t seed = test_seed();
  LedgerOptions rows;
  rows.seed = seed;
  ASSERT_OK_AND_ASSIGN(auto made, RestoreScene::create(install, {}, rows));
  ASSERT_OK(made->cli->set("global", "archive-async", "y"));
  Story story(std::move(made), seed);
  ASSERT_OK(story.live());
  for (int i = 0; i < targets; ++i) {
    const auto [target, options] = story.any_target();
    SCOPED_TRACE(fmt::format("target {}: {}", i, target.to_string()));
    const std::string name = "restored" + std::to_string(i);
    ASSERT_OK(story.scene().restore_and_verify(name, target, options));
    ASSERT_OK(remove_tree(story.scene().place(name)));
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, Proof, ::testing::Values(10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
                         [](const auto& param) { return "Pg" + std::to_string(param.param); });

}  // namespace
}  // namespace pgark::testing
