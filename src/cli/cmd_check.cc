// `pgark check`: print what the examiners of ops/check.h found.
#include <fmt/format.h>

#include "cli/access.h"
#include "cli/check_render.h"
#include "cli/command.h"
#include "cli/key_settings.h"
#include "cli/retention_settings.h"
#include "ops/check.h"

namespace pgark {
namespace {

/// Codes given with check-ignore, one or several separated by commas at a time.
Result<std::set<std::string>> ignored_codes(const Settings& settings) {
  std::set<std::string> codes;
  for (const std::string& list : settings.list("check-ignore")) {
    for (size_t at = 0; at <= list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      const std::string code = list.substr(at, end - at);
      at = end + 1;
      const FindingCode* known = find_finding_code(code);
      if (known == nullptr) {
        return Error(Errc::kInvalid,
                     fmt::format("{}: '{}' is no code of a finding", settings.origin("check-ignore"), code))
            .with_hint("codes stand in brackets behind each finding; docs/guide/monitoring.md has all");
      }
      if (known->severities == "error") {
        return Error(Errc::kInvalid, fmt::format("{}: {} is an error, and only warnings can be ignored",
                                                 settings.origin("check-ignore"), code));
      }
      codes.insert(code);
    }
  }
  return codes;
}

Result<CheckOptions> check_options(const Settings& settings) {
  CheckOptions options;
  options.stanza = settings.stanza();
  options.repositories = settings.chosen_repositories();
  options.data_directory = settings.text("pg1-path");
  options.dumps_only = options.data_directory.empty();
  if (options.dumps_only && settings.text("pg1-host").empty())
    return Error(Errc::kInvalid, "pg1-path is required for check")
        .with_hint("give --pg1-path, the data directory, or set it in the configuration of the stanza")
        .with_hint("of a server whose files are out of reach only dumps can be made: give its pg1-host");
  for (const unsigned number : settings.clusters()) {
    const std::string& path = settings.text(fmt::format("pg{}-path", number));
    if (number != 1 && !path.empty()) options.other_directories.push_back(path);
  }
  options.archive_timeout = settings.duration("archive-timeout");
  options.thresholds = {.backup_age = settings.duration("check-backup-age"),
                        .drill_age = settings.duration("check-drill-age"),
                        .verify_age = settings.duration("check-verify-age"),
                        .archive_lag = settings.duration("check-archive-lag"),
                        .dump_age = settings.duration("check-dump-age")};
  for (const unsigned number : settings.repositories()) {
    CheckedPlace& place = options.places[number];
    // Of a directory of this host alone can be told what lies beside it.
    if (settings.text(fmt::format("repo{}-type", number)) == "posix")
      place.path = settings.text(fmt::format("repo{}-path", number));
    TRY_ASSIGN(place.retention, retention_rules(settings, number));
  }
  options.foreign_archive_command = !settings.boolean("archive-mode-check");
  TRY_ASSIGN(options.ignored, ignored_codes(settings));
  return options;
}

}  // namespace

Result<int> cmd_check(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const CheckOptions options, check_options(settings));
  CheckState state(options, context.clock, context.rng, context.cancel);
  const auto open_database = [&](const std::string& database) {
    PgEndpoint endpoint = server_endpoint(settings);
    endpoint.database = database;
    return open_pg_session(endpoint, context.cancel);
  };
  const CheckAccess access{
      .open_session = [&] { return open_pg_session(server_endpoint(settings), context.cancel); },
      .open_store = [&](unsigned repo) { return context.open_store(repo, false); },
      .open_repository = [&](unsigned repo, ObjectStore& store) { return open_repository_in(context, repo, store); },
      .key_config = [&](unsigned repo) { return key_config(settings, repo, context.cancel); },
      .open_database = open_database,
  };
  TRY(run_check(state, access));
  const std::string& output = settings.text("output");
  if (output == "nagios") {
    TRY(context.out.print(render_check_nagios(state)));
    return static_cast<int>(nagios_status(state));
  }
  TRY(context.out.print(output == "json" ? render_check_json(state) : render_check_text(state)));
  return state.failed() ? kExitNegative : kExitOk;
}

}  // namespace pgark
