// `pgark check`: print what the examiners of ops/check.h found.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "ops/check.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

ordered_json findings_json(const std::vector<Finding>& findings) {
  ordered_json list = ordered_json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"severity", severity_name(finding.severity)},
                    {"code", finding.code},
                    {"what", finding.what},
                    {"why", finding.why},
                    {"mend", finding.mend}});
  }
  return list;
}

ordered_json check_json(const CheckState& state) {
  ordered_json document;
  document["stanza"] = state.options.stanza;
  document["ok"] = !state.failed();
  document["findings"] = findings_json(state.findings);
  document["server"] = nullptr;
  if (state.server) {
    document["server"] = {{"version_num", state.server->version_num},
                          {"system_identifier", std::to_string(state.server->system_id)},
                          {"timeline", state.server->timeline.value},
                          {"in_recovery", state.server->in_recovery}};
  }
  document["repository"] = nullptr;
  if (state.store) document["repository"] = {{"location", state.store->describe()}};
  document["wal"] = nullptr;
  if (state.archived_after) {
    document["wal"] = {{"segment", state.archived_segment}, {"archived_after_ms", state.archived_after->count()}};
  }
  return document;
}

std::string check_text(const CheckState& state) {
  std::string text;
  for (const Finding& finding : state.findings) {
    text += fmt::format("{}: {}\n", severity_name(finding.severity), finding.what);
    if (!finding.why.empty()) text += fmt::format("    why:  {}\n", finding.why);
    if (!finding.mend.empty()) text += fmt::format("    mend: {}\n", finding.mend);
  }
  if (state.archived_after) {
    text += fmt::format("segment {} reached {} {} after it was ended\n", state.archived_segment,
                        state.store->describe(), format_duration(*state.archived_after));
  } else if (state.server && state.server->in_recovery) {
    text += "the server is a standby: archiving was not tried, run check on the primary\n";
  }
  text += fmt::format("stanza {}: {}\n", state.options.stanza, state.failed() ? "problems found" : "ok");
  return text;
}

}  // namespace

Result<int> cmd_check(CommandContext& context) {
  const Settings& settings = context.settings;
  CheckOptions options;
  options.stanza = settings.stanza();
  options.data_directory = settings.text("pg1-path");
  options.archive_timeout = settings.duration("archive-timeout");
  CheckState state(options, context.clock, context.rng, context.cancel);
  const CheckAccess access{
      .open_session = [&] { return open_pg_session(server_endpoint(settings), context.cancel); },
      .open_store = [&] { return context.open_store(repository_number(settings), false); },
  };
  TRY(run_check(state, access));
  TRY(context.out.print(context.json()
                            ? check_json(state).dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"
                            : check_text(state)));
  return state.failed() ? kExitNegative : kExitOk;
}

}  // namespace pgark
