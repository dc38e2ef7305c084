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
                    {"mend", finding.mend},
                    {"repo", finding.repo == 0 ? ordered_json() : ordered_json(finding.repo)}});
  }
  return list;
}

template <typename T>
ordered_json value_or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json repositories_json(const CheckState& state) {
  ordered_json list = ordered_json::array();
  for (const CheckedRepository& one : state.repositories) {
    ordered_json after;
    if (one.archived_after) after = one.archived_after->count();
    list.push_back({{"repo", one.number},
                    {"location", one.store ? ordered_json(one.store->describe()) : ordered_json()},
                    {"archived_after_ms", after},
                    {"last_segment", one.last_segment.empty() ? ordered_json() : ordered_json(one.last_segment)},
                    {"behind_segments", value_or_null(one.behind_segments)}});
  }
  return list;
}

ordered_json queue_json(const ArchiveQueue& queue) {
  ordered_json since;
  if (queue.oldest_since) since = queue.oldest_since->time_since_epoch().count();
  return {{"ready_count", queue.ready_count},
          {"oldest", queue.oldest.empty() ? ordered_json() : ordered_json(queue.oldest)},
          {"oldest_since_us", since}};
}

/// The repository whose proof took longest; null if there was none.
const CheckedRepository* slowest(const CheckState& state) {
  const CheckedRepository* found = nullptr;
  for (const CheckedRepository& one : state.repositories) {
    if (one.archived_after && (found == nullptr || *one.archived_after > *found->archived_after)) found = &one;
  }
  return found;
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
  if (const auto& first = state.repositories.front(); first.store) {
    document["repository"] = {{"location", first.store->describe()}};
  }
  document["wal"] = nullptr;
  if (const CheckedRepository* proof = slowest(state)) {
    document["wal"] = {{"segment", state.archived_segment}, {"archived_after_ms", proof->archived_after->count()}};
  }
  document["repositories"] = repositories_json(state);
  document["queue"] = state.queue ? queue_json(*state.queue) : ordered_json();
  return document;
}

std::string check_text(const CheckState& state) {
  std::string text;
  const bool several = state.repositories.size() > 1;
  for (const Finding& finding : state.findings) {
    text += fmt::format("{}: {}{}\n", severity_name(finding.severity),
                        several && finding.repo != 0 ? fmt::format("repo{}: ", finding.repo) : "", finding.what);
    if (!finding.why.empty()) text += fmt::format("    why:  {}\n", finding.why);
    if (!finding.mend.empty()) text += fmt::format("    mend: {}\n", finding.mend);
  }
  for (const CheckedRepository& one : state.repositories) {
    if (!one.archived_after) continue;
    text += fmt::format("segment {} reached {} {} after it was ended\n", state.archived_segment, one.store->describe(),
                        format_duration(*one.archived_after));
  }
  if (state.server && state.server->in_recovery) {
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
  options.repositories = settings.chosen_repositories();
  options.data_directory = settings.text("pg1-path");
  for (const unsigned number : settings.clusters()) {
    const std::string& path = settings.text(fmt::format("pg{}-path", number));
    if (number != 1 && !path.empty()) options.other_directories.push_back(path);
  }
  options.archive_timeout = settings.duration("archive-timeout");
  CheckState state(options, context.clock, context.rng, context.cancel);
  const CheckAccess access{
      .open_session = [&] { return open_pg_session(server_endpoint(settings), context.cancel); },
      .open_store = [&](unsigned repo) { return context.open_store(repo, false); },
  };
  TRY(run_check(state, access));
  TRY(context.out.print(context.json()
                            ? check_json(state).dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"
                            : check_text(state)));
  return state.failed() ? kExitNegative : kExitOk;
}

}  // namespace pgark
