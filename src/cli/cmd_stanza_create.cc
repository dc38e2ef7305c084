// `pgark stanza-create`: tie a stanza to the cluster in pg1-path.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/key_settings.h"
#include "core/log.h"
#include "ops/stanza.h"

namespace pgark {
namespace {

struct Created {
  unsigned repo = 1;
  std::string location;
  StanzaCreateResult result;
};

Result<Created> create_in(const CommandContext& context, unsigned repo, PgSession* session) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const KeyConfig keys, key_config(settings, repo, context.cancel));
  TRY_ASSIGN(const auto store, context.open_store(repo, true));
  TRY_ASSIGN(StanzaCreateResult result,
             stanza_create(*store, context.clock, session, {settings.stanza(), settings.text("pg1-path"), &keys}));
  return Created{repo, store->describe(), std::move(result)};
}

Result<> print(const CommandContext& context, const std::vector<Created>& created) {
  const Settings& settings = context.settings;
  const ClusterRecord& cluster = created.front().result.cluster;
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
                                   {"cluster",
                                    {{"number", cluster.number},
                                     {"system_identifier", std::to_string(cluster.system_identifier)},
                                     {"pg_major", cluster.pg_major},
                                     {"wal_segment_bytes", cluster.wal_segment_bytes}}}});
  }
  for (const Created& one : created) {
    const std::string where = created.size() > 1 ? " in " + one.location : "";
    TRY(context.out.print(fmt::format("stanza {} {}{} for the PostgreSQL {} cluster with system identifier {}\n",
                                      settings.stanza(), one.result.created ? "created" : "exists already", where,
                                      cluster.pg_major, cluster.system_identifier)));
  }
  return {};
}

}  // namespace

Result<int> cmd_stanza_create(CommandContext& context) {
  const Settings& settings = context.settings;
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
