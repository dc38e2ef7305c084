// A cluster that archives with pgark, its ledger, and restores of it beside: what the restore tests start from.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "testing/ledger.h"
#include "testing/pg_server.h"
#include "testing/pgark_cli.h"
#include "testing/scratch.h"

namespace pgark::testing {

/// Labels of the stanza's backups, as `info` lists them.
inline std::vector<std::string> listed_labels(const PgarkCli& cli) {
  std::vector<std::string> out;
  const auto info = cli.run_json({"info"});
  EXPECT_TRUE(info.has_value()) << info.error().to_string();
  if (info)
    for (const nlohmann::json& backup : info->at("stanzas").at(0).at("backups")) out.push_back(backup.at("label"));
  return out;
}

/// Members in order of destruction: the ledger's clients end before the server, the server before its files.
struct RestoreScene {
  ScratchDir scratch;
  std::unique_ptr<PgServer> server;
  std::optional<PgarkCli> cli;
  std::optional<Ledger> ledger;

  /// `global`: settings of the section [global], for example of another kind of repository.
  static Result<std::unique_ptr<RestoreScene>> create(
      const PgInstall& install, PgOptions options = {}, const LedgerOptions& rows = {},
      const std::vector<std::pair<std::string, std::string>>& global = {}) {
    auto scene = std::make_unique<RestoreScene>();
    TRY_ASSIGN(scene->scratch, ScratchDir::create("restore"));
    for (const std::string& line : Ledger::config()) options.config.push_back(line);
    TRY_ASSIGN(scene->server, PgServer::create(install, options));
    TRY_ASSIGN(PgarkCli cli, PgarkCli::create(scene->scratch / "pgark"));
    scene->cli.emplace(std::move(cli));
    for (const auto& [option, value] : global) TRY(scene->cli->set("global", option, value));
    TRY(scene->cli->archive_from(*scene->server));
    TRY(scene->server->start());
    TRY(scene->cli->run_ok({"stanza-create"}));
    scene->ledger.emplace(*scene->server, rows);
    TRY(scene->ledger->create_tables());
    return scene;
  }

  /// What `backup` printed as JSON.
  Result<nlohmann::json> backup(std::vector<std::string> options = {}) const {
    std::vector<std::string> args{"backup", "--type=full", "--start-fast"};
    args.insert(args.end(), options.begin(), options.end());
    return cli->run_json(args);
  }

  std::string place(const std::string& name) const { return scratch / name; }

  /// "restore" with the place and `options`.
  std::vector<std::string> restore_args(const std::string& name, const std::vector<std::string>& options = {}) const {
    std::vector<std::string> args{"restore", "--pg1-path=" + place(name)};
    args.insert(args.end(), options.begin(), options.end());
    return args;
  }
  Result<ProcessResult> restore(const std::string& name, const std::vector<std::string>& options = {}) const {
    return cli->run(restore_args(name, options));
  }

  /// A server on a restored directory, which never archives into the stanza of its original. Not started.
  Result<std::unique_ptr<PgServer>> adopt(const std::string& name) const {
    return PgServer::adopt(place(name), server->install(), {"archive_mode=off"});
  }

  /// Restore to the target, start, wait for the end of recovery and hold the rows against the ledger.
  Result<std::unique_ptr<PgServer>> restore_and_verify(const std::string& name, const LedgerTarget& target,
                                                       const std::vector<std::string>& options = {}) const {
    std::vector<std::string> all = target.restore_options();
    if (target.kind != LedgerTarget::Kind::kLatest) all.emplace_back("--target-action=promote");
    all.insert(all.end(), options.begin(), options.end());
    TRY(cli->run_ok(restore_args(name, all)));
    TRY_ASSIGN(auto restored, adopt(name));
    TRY(restored->launch());
    TRY_ASSIGN(const RecoveryEnd end, restored->wait_for_recovery_end());
    if (end != RecoveryEnd::kPromoted) return Error(Errc::kInternal, "recovery did not end in a promotion");
    TRY(ledger->verify(*restored, target));
    return restored;
  }
};

}  // namespace pgark::testing
