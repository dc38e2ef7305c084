// `pgark stanza-create`: tie a stanza to the cluster in pg1-path.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "core/log.h"
#include "ops/stanza.h"

namespace pgark {

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
  TRY_ASSIGN(const auto store, context.open_store(repository_number(settings), true));
  TRY_ASSIGN(const StanzaCreateResult result,
             stanza_create(*store, context.clock, session.get(), {settings.stanza(), settings.text("pg1-path")}));
  if (context.json()) {
    TRY(context.out.print_json({{"stanza", settings.stanza()},
                                {"created", result.created},
                                {"cluster",
                                 {{"number", result.cluster.number},
                                  {"system_identifier", std::to_string(result.cluster.system_identifier)},
                                  {"pg_major", result.cluster.pg_major},
                                  {"wal_segment_bytes", result.cluster.wal_segment_bytes}}}}));
    return kExitOk;
  }
  TRY(context.out.print(fmt::format("stanza {} {} for the PostgreSQL {} cluster with system identifier {}\n",
                                    settings.stanza(), result.created ? "created" : "exists already",
                                    result.cluster.pg_major, result.cluster.system_identifier)));
  return kExitOk;
}

}  // namespace pgark
