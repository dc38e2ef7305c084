// A cluster with one of everything, the stanza that dumps it, and servers to load the dumps into.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "testing/logical_clients.h"
#include "testing/logical_facts.h"
#include "testing/logical_objects.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/scratch.h"

namespace pgark::testing {

inline constexpr int kNewestDumpedMajor = 18;

/// Majors that dumps are made for, 15 first.
inline std::vector<int> dumped_majors() {
  std::vector<int> majors = supported_majors();
  std::erase_if(majors, [](int major) { return major > kNewestDumpedMajor; });
  return majors;
}

/// A started server that holds a dump's many locks.
inline Result<std::unique_ptr<PgServer>> start_logical_server(const PgInstall& install) {
  TRY_ASSIGN(auto server,
             PgServer::create(install, {.config = {"max_locks_per_transaction = 256", "wal_level = logical"}}));
  TRY(server->start());
  return server;
}

/// What differs between the databases of two servers, in kinds that are not `ignored`, beyond what versions and `also`
/// explain; empty if nothing does.
inline Result<std::string> different_databases(const PgServer& source, const std::string& from, const PgServer& target,
                                               const std::string& to, const std::vector<std::string>& ignored = {},
                                               std::vector<ExpectedDifference> also = {}) {
  TRY_ASSIGN(const LogicalFacts left, read_database_facts(conninfo_of(source, from)));
  TRY_ASSIGN(const LogicalFacts right, read_database_facts(conninfo_of(target, to)));
  for (auto& expected : expected_differences(left.major, right.major)) also.push_back(std::move(expected));
  const LogicalComparison comparison = compare_facts(left.without(ignored), right.without(ignored), also);
  return comparison.equal() ? std::string() : comparison.to_string();
}

/// The same for what belongs to the cluster. Tablespaces of servers of one version and machine cannot share their
/// directory, so that these are made beforehand and left out here.
inline Result<std::string> different_globals(const PgServer& source, const PgServer& target) {
  TRY_ASSIGN(const LogicalFacts left, read_global_facts(source.conninfo()));
  TRY_ASSIGN(const LogicalFacts right, read_global_facts(target.conninfo()));
  const std::vector<std::string> ignored =
      left.major == right.major ? std::vector<std::string>{"global tablespace"} : std::vector<std::string>{};
  const LogicalComparison comparison =
      compare_facts(left.without(ignored), right.without(ignored), expected_differences(left.major, right.major));
  return comparison.equal() ? std::string() : comparison.to_string();
}

/// Members in order of destruction.
struct LogicalScene {
  ScratchDir scratch;
  std::unique_ptr<PgServer> server;
  std::optional<PgarkCli> cli;

  /// A server with the database "shop" unless told otherwise, and a stanza for it. `global`: settings of [global].
  static Result<std::unique_ptr<LogicalScene>> create(
      const PgInstall& install, bool with_shop = true,
      const std::vector<std::pair<std::string, std::string>>& global = {}) {
    auto scene = std::make_unique<LogicalScene>();
    TRY_ASSIGN(scene->scratch, ScratchDir::create("logical"));
    TRY_ASSIGN(scene->server, start_logical_server(install));
    if (with_shop) TRY(create_shop(*scene->server));
    TRY_ASSIGN(PgarkCli cli, scene->cli_for(*scene->server, "pgark"));
    scene->cli.emplace(std::move(cli));
    for (const auto& [option, value] : global) TRY(scene->cli->set("global", option, value));
    TRY(scene->cli->run_ok({"stanza-create"}));
    return scene;
  }

  /// Commands whose server is another one, with the same repository.
  Result<PgarkCli> cli_for(const PgServer& other, const std::string& name) const {
    TRY_ASSIGN(PgarkCli other_cli, PgarkCli::create(scratch / name));
    TRY(other_cli.set("global", "repo1-path", scratch / "repo"));
    TRY(other_cli.use_cluster(other));
    return other_cli;
  }

  /// `args` with the directories of the client programs at hand.
  static std::vector<std::string> with_clients(std::vector<std::string> args) {
    for (const int major : client_majors()) {
      if (const auto dir = client_bin_dir(major); dir) args.push_back("--client-path=" + *dir);
    }
    return args;
  }

  /// Dump the database "shop", or what `options` say.
  Result<nlohmann::json> dump(std::vector<std::string> options = {"--dbname=shop"}) const {
    options.insert(options.begin(), "dump");
    return cli->run_json(with_clients(std::move(options)));
  }

  /// Load the newest dump into a server. The result may be of a failure.
  Result<ProcessResult> load_into(const PgServer& target, std::vector<std::string> options) const {
    TRY_ASSIGN(const PgarkCli other, cli_for(target, fmt::format("load_{}", target.port())));
    options.insert(options.begin(), "load");
    return other.run(with_clients(std::move(options)));
  }
};

/// Labels of the dumps that `dump-ls` lists.
inline Result<std::vector<std::string>> listed_dumps(const PgarkCli& cli) {
  TRY_ASSIGN(const nlohmann::json listed, cli.run_json({"dump-ls"}));
  std::vector<std::string> labels;
  for (const nlohmann::json& dump : listed.at("repositories").at(0).at("dumps")) labels.push_back(dump.at("label"));
  return labels;
}

}  // namespace pgark::testing
