// `pgark stanza-delete`: remove everything a repository holds of a stanza.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/job_lease.h"
#include "core/local_lock.h"
#include "core/log.h"
#include "ops/cluster_files.h"
#include "ops/stanza.h"

namespace pgark {
namespace {

/// How it is known that the cluster runs; empty if it does not, as far as can be told from here.
Result<std::string> evidence_of_life(const CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& path = settings.text("pg1-path");
  if (path.empty()) return std::string();  // Not the cluster's machine: nothing to ask.
  TRY_ASSIGN_CTX(const bool runs, postmaster_runs(path), "see whether the cluster runs");
  if (runs) return fmt::format("'{}/postmaster.pid' names a running process", path);
  const auto session = open_pg_session(server_endpoint(settings), context.cancel);
  TRY(context.cancel.check());
  if (!session) {
    // Refusing the user is an answer, too.
    return session.error().code() == Errc::kTransient ? std::string() : session.error().message();
  }
  const auto server = read_server_info(**session);
  const auto files = read_cluster_files(path, context.clock);
  if (server && files && server->system_id != files->control.system_id) return std::string();  // Another one's server.
  return fmt::format("{} answers", (*session)->describe());
}

/// Most stanzas have none.
std::string dumps_text(uint64_t dumps) {
  return dumps == 0 ? std::string() : fmt::format("{} dump{}, ", dumps, dumps == 1 ? "" : "s");
}

}  // namespace

Result<int> cmd_stanza_delete(CommandContext& context) {
  const Settings& settings = context.settings;
  const std::string& stanza = settings.stanza();
  if (!settings.boolean("force")) {
    TRY_ASSIGN(const std::string evidence, evidence_of_life(context));
    if (!evidence.empty()) {
      return Error(Errc::kInvalid, fmt::format("delete stanza {}: its cluster is running: {}", stanza, evidence))
          .with_hint("without the stanza, its archive_command fails: stop the server or its archiving first")
          .with_hint("--force deletes the stanza all the same");
    }
  }
  // A backup that runs would leave objects behind that nobody looks for.
  TRY_ASSIGN(const LocalLock lock,
             LocalLock::acquire(
                 settings.text("lock-path"), stanza, "backup",
                 {.pid = 0, .command = "stanza-delete", .label = "", .host = "", .started = context.clock.now()}));
  TRY_ASSIGN(const OpenedRepository opened, open_repository(context));
  {
    // Nor may one of another host: released at once, because what it leaves is deleted with the rest.
    JobLeases leases(context);
    TRY(leases.take(*opened.repository));
  }
  TRY_ASSIGN(const StanzaDeleteResult result, stanza_delete(*opened.repository, stanza, context.cancel));
  if (context.json()) {
    TRY(context.out.print_json({{"stanza", stanza},
                                {"backups", result.backups},
                                {"dumps", result.dumps},
                                {"objects", result.objects},
                                {"bytes", result.bytes}}));
    return kExitOk;
  }
  TRY(context.out.print(fmt::format("stanza {} deleted: {} backup{}, {}{} objects, {}\n", stanza, result.backups,
                                    result.backups == 1 ? "" : "s", dumps_text(result.dumps), result.objects,
                                    format_size(result.bytes))));
  return kExitOk;
}

}  // namespace pgark
