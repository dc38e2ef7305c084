// `pgark stanza-create`: tie a stanza to the cluster in pg1-path, or to the server at pg1-host whose files are out of
// reach.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/key_settings.h"
#include "core/log.h"
#include "ops/stanza.h"
#include "ops/stanza_remote.h"

namespace pgark {
namespace {

struct Created {
  unsigned repo = 1;
  std::string location;
  RemoteStanza result;
};

/// Whether the server's files are out of reach.
bool is_remote(const Settings& settings) { return settings.text("pg1-path").empty(); }

Result<Created> create_in(const CommandContext& context, unsigned repo, PgSession* session) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const KeyConfig keys, key_config(settings, repo, context.cancel));
  TRY_ASSIGN(const auto store, context.open_store(repo, true));
  const StanzaCreateOptions options{settings.stanza(), settings.text("pg1-path"), &keys};
  if (is_remote(settings)) {
    TRY_ASSIGN(RemoteStanza result, create_remote_stanza(*store, context.clock, session, options));
    return Created{repo, store->describe(), std::move(result)};
  }
  TRY_ASSIGN(const StanzaCreateResult result, stanza_create(*store, context.clock, session, options));
  return Created{repo, store->describe(), {result.cluster, result.created}};
}

nlohmann::json cluster_json(const std::optional<ClusterRecord>& cluster) {
  if (!cluster) return nullptr;
  return {{"number", cluster->number},
          {"system_identifier", std::to_string(cluster->system_identifier)},
          {"pg_major", cluster->pg_major},
          {"wal_segment_bytes", cluster->wal_segment_bytes}};
}

std::string created_text(const Settings& settings, const Created& one, const std::string& where) {
  const auto& cluster = one.result.cluster;
  const std::string_view how = one.result.created ? "created" : "exists already";
  if (!cluster)
    return fmt::format("stanza {} {}{} for dumps only: which cluster the server is, is not known\n", settings.stanza(),
                       how, where);
  return fmt::format("stanza {} {}{} for the PostgreSQL {} cluster with system identifier {}\n", settings.stanza(), how,
                     where, cluster->pg_major, cluster->system_identifier);
}

Result<> print(const CommandContext& context, const std::vector<Created>& created) {
  const Settings& settings = context.settings;
  if (context.json()) {
    nlohmann::json repositories = nlohmann::json::array();
    bool any_new = false;
    for (const Created& one : created) {
      repositories.push_back({{"repo", one.repo}, {"location", one.location}, {"created", one.result.created}});
      any_new = any_new || one.result.created;
    }
    return context.out.print_json({{"stanza", settings.stanza()},
                                   {"created", any_new},
                                   {"repositories", repositories},
                                   {"cluster", cluster_json(created.front().result.cluster)}});
  }
  for (const Created& one : created)
    TRY(context.out.print(created_text(settings, one, created.size() > 1 ? " in " + one.location : "")));
  return {};
}

}  // namespace

Result<int> cmd_stanza_create(CommandContext& context) {
  const Settings& settings = context.settings;
  if (is_remote(settings) && settings.text("pg1-host").empty())
    return Error(Errc::kInvalid, "pg1-path is required for stanza-create")
        .with_hint("give --pg1-path, the data directory, or set it in the configuration of the stanza")
        .with_hint("of a server whose files are out of reach only dumps can be made: give its pg1-host");
  std::unique_ptr<PgSession> session;
  if (settings.boolean("online")) {
    auto opened = open_pg_session(server_endpoint(settings), context.cancel);
    if (!opened) {
      return Error(std::move(opened).error()).with_hint("--no-online creates the stanza without the running server");
    }
    session = std::move(*opened);
  }
  // Every repository gets it, also those behind one that fails: archiving needs them all.
  std::vector<Created> created;
  std::optional<Error> failed;
  for (const unsigned repo : settings.chosen_repositories()) {
    auto made = create_in(context, repo, session.get());
    if (made) {
      created.push_back(std::move(*made));
    } else if (failed) {
      log_error("{}", made.error().to_string());
    } else {
      failed = std::move(made).error();
    }
  }
  if (failed && !created.empty()) {
    log_warn("stanza {} exists in the other {} of the repositories", settings.stanza(), created.size());
  }
  if (failed) return std::move(*failed);
  TRY(print(context, created));
  return kExitOk;
}

}  // namespace pgark
