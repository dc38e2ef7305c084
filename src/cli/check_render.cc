#include "cli/check_render.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/output.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

template <typename T>
ordered_json value_or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}
ordered_json text_or_null(const std::string& text) { return text.empty() ? ordered_json() : ordered_json(text); }
int64_t microseconds(Timestamp time) { return time.time_since_epoch().count(); }
int64_t milliseconds(std::chrono::microseconds duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

ordered_json findings_json(const std::vector<Finding>& findings) {
  ordered_json list = ordered_json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"severity", severity_name(finding.severity)},
                    {"code", finding.code},
                    {"what", finding.what},
                    {"why", finding.why},
                    {"mend", finding.mend},
                    {"repo", finding.repo == 0 ? ordered_json() : ordered_json(finding.repo)},
                    {"ignored", finding.ignored}});
  }
  return list;
}

ordered_json newest_backup_json(const CheckState& state, const CheckedRepository& one) {
  const BackupMeta* newest = newest_backup(one);
  if (newest == nullptr) return {};
  return {{"label", newest->label},
          {"type", backup_type_name(newest->type)},
          {"stopped_us", microseconds(newest->stopped)},
          {"age_ms", milliseconds(state.clock.now() - newest->stopped)}};
}

ordered_json wal_rate_json(const WalRate& rate) {
  return {{"segment_count", rate.total_count},
          {"newest_us", microseconds(rate.newest)},
          {"window_ms", milliseconds(rate.until - rate.since)},
          {"window_segment_count", rate.segment_count},
          {"bytes_per_day", value_or_null(rate.raw_bytes_per_day())},
          {"stored_bytes_per_day", value_or_null(rate.stored_bytes_per_day())}};
}

ordered_json place_json(const FilePlace& place) {
  return {{"file_system", place.file_system},
          {"network", place.is_network},
          {"memory", place.is_memory},
          {"total_bytes", place.total_bytes},
          {"free_bytes", place.free_bytes}};
}

ordered_json forecast_json(const SpaceForecast& forecast) {
  return {{"next_full_bytes", forecast.next_full_bytes == 0 ? ordered_json() : ordered_json(forecast.next_full_bytes)},
          {"backup_bytes_per_day", forecast.backup_bytes_per_day},
          {"wal_bytes_per_day", forecast.wal_bytes_per_day},
          {"projected", forecast.projected},
          {"horizon_days", forecast.horizon_days},
          {"full_in_days", value_or_null(forecast.full_in_days)},
          {"growth_bytes_max", forecast.projected ? ordered_json(forecast.growth_bytes_max) : ordered_json()}};
}

ordered_json repositories_json(const CheckState& state) {
  ordered_json list = ordered_json::array();
  for (const CheckedRepository& one : state.repositories) {
    ordered_json after;
    if (one.archived_after) after = one.archived_after->count();
    list.push_back({{"repo", one.number},
                    {"location", one.store ? ordered_json(one.store->describe()) : ordered_json()},
                    {"archived_after_ms", after},
                    {"last_segment", text_or_null(one.last_segment)},
                    {"behind_segments", value_or_null(one.behind_segments)},
                    {"backup_count", one.backups ? ordered_json(one.backups->size()) : ordered_json()},
                    {"newest_backup", newest_backup_json(state, one)},
                    {"wal", one.wal_rate ? wal_rate_json(*one.wal_rate) : ordered_json()},
                    {"place", one.place ? place_json(*one.place) : ordered_json()},
                    {"forecast", one.forecast ? forecast_json(*one.forecast) : ordered_json()}});
  }
  return list;
}

ordered_json queue_json(const ArchiveQueue& queue) {
  ordered_json since;
  if (queue.oldest_since) since = microseconds(*queue.oldest_since);
  return {{"ready_count", queue.ready_count}, {"oldest", text_or_null(queue.oldest)}, {"oldest_since_us", since}};
}

ordered_json thresholds_json(const CheckThresholds& thresholds) {
  return {{"archive_lag_ms", thresholds.archive_lag.count()},
          {"backup_age_ms", thresholds.backup_age.count()},
          {"drill_age_ms", thresholds.drill_age.count()},
          {"dump_age_ms", thresholds.dump_age.count()},
          {"verify_age_ms", thresholds.verify_age.count()}};
}

/// The repository whose proof took longest; null if there was none.
const CheckedRepository* slowest(const CheckState& state) {
  const CheckedRepository* found = nullptr;
  for (const CheckedRepository& one : state.repositories) {
    if (one.archived_after && (found == nullptr || *one.archived_after > *found->archived_after)) found = &one;
  }
  return found;
}

std::string repo_text(const CheckState& state, const Finding& finding) {
  const bool several = state.repositories.size() > 1;
  return several && finding.repo != 0 ? fmt::format("repo{}: ", finding.repo) : "";
}

size_t count_of(const CheckState& state, Severity severity) {
  size_t count = 0;
  for (const Finding& finding : state.findings) count += finding.severity == severity ? 1u : 0u;
  return count;
}

std::string counted(size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string verdict(const CheckState& state) {
  const size_t errors = count_of(state, Severity::kError);
  const size_t warnings = count_of(state, Severity::kWarning);
  std::string text = errors > 0 ? "problems found" : "ok";
  if (errors > 0) text += ": " + counted(errors, "error");
  if (warnings > 0) text += ", " + counted(warnings, "warning");
  return text;
}

/// Text that cannot end the line or begin the performance data.
std::string on_one_line(std::string_view text) {
  constexpr size_t kBytesMax = 300;
  std::string line;
  for (const char c : text) {
    if (c == '|') {
      line += "\u00a6";
    } else {
      line += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
    }
    // Only between characters.
    if (line.size() >= kBytesMax && (static_cast<unsigned char>(c) & 0x80u) == 0) return line + "...";
  }
  return line;
}

/// What a person on call wants to read first.
std::string nagios_text(const CheckState& state) {
  constexpr size_t kShownMax = 5;
  std::vector<std::string> parts;
  for (const Finding& finding : state.findings) {
    if (finding.severity == Severity::kInfo) continue;
    if (parts.size() == kShownMax) {
      const size_t all = count_of(state, Severity::kError) + count_of(state, Severity::kWarning);
      parts.push_back(fmt::format("and {} more", all - kShownMax));
      break;
    }
    parts.push_back(fmt::format("{}: {}{}", finding.code, repo_text(state, finding), on_one_line(finding.what)));
  }
  if (!parts.empty()) return fmt::format("{}", fmt::join(parts, "; "));
  for (const CheckedRepository& one : state.repositories) {
    const std::string repo = state.repositories.size() > 1 ? fmt::format("repo{}: ", one.number) : "";
    if (const BackupMeta* newest = newest_backup(one)) {
      parts.push_back(fmt::format("{}backup {} is {} old", repo, newest->label,
                                  format_duration(state.clock.now() - newest->stopped)));
    }
    if (one.archived_after)
      parts.push_back(fmt::format("{}WAL archived in {}", repo, format_duration(*one.archived_after)));
  }
  return parts.empty() ? "no problem found" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string performance_data(const CheckState& state) {
  std::vector<std::string> data;
  data.push_back(fmt::format("errors={}", count_of(state, Severity::kError)));
  data.push_back(fmt::format("warnings={}", count_of(state, Severity::kWarning)));
  const auto seconds = [](auto duration) { return std::chrono::duration_cast<std::chrono::seconds>(duration).count(); };
  for (const CheckedRepository& one : state.repositories) {
    const std::string repo = fmt::format("repo{}_", one.number);
    if (const BackupMeta* newest = newest_backup(one)) {
      const auto limit = seconds(state.options.thresholds.backup_age);
      data.push_back(fmt::format("{}backup_age={}s;{};{};0", repo, seconds(state.clock.now() - newest->stopped), limit,
                                 3 * limit));
    }
    if (one.archived_after) {
      data.push_back(fmt::format("{}archive_time={:.3f}s;;{};0", repo,
                                 std::chrono::duration<double>(*one.archived_after).count(),
                                 seconds(state.options.archive_timeout)));
    }
    if (one.behind_segments) data.push_back(fmt::format("{}wal_behind={};2;;0", repo, *one.behind_segments));
    if (one.wal_rate) {
      if (const auto rate = one.wal_rate->raw_bytes_per_day()) {
        data.push_back(fmt::format("{}wal_per_day={}B;;;0", repo, *rate));
      }
    }
    if (one.place)
      data.push_back(fmt::format("{}free={}B;;;0;{}", repo, one.place->free_bytes, one.place->total_bytes));
  }
  if (state.queue) {
    data.push_back(fmt::format("wal_ready={};;;0", state.queue->ready_count));
    const auto waits = state.queue->oldest_since ? seconds(state.clock.now() - *state.queue->oldest_since) : 0;
    data.push_back(
        fmt::format("wal_wait={}s;{};;0", std::max<int64_t>(waits, 0), seconds(state.options.thresholds.archive_lag)));
  }
  return fmt::format("{}", fmt::join(data, " "));
}

}  // namespace

std::string render_check_json(const CheckState& state) {
  ordered_json document;
  document["stanza"] = state.options.stanza;
  document["ok"] = !state.failed();
  document["status"] = state.failed() ? "error" : state.worst() == Severity::kWarning ? "warning" : "ok";
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
  document["thresholds"] = thresholds_json(state.options.thresholds);
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string render_check_text(const CheckState& state) {
  std::string text;
  for (const Finding& finding : state.findings) {
    if (finding.ignored) {
      text += fmt::format("ignored: {}{} [{}]\n", repo_text(state, finding), finding.what, finding.code);
      continue;
    }
    text += fmt::format("{}: {}{} [{}]\n", severity_name(finding.severity), repo_text(state, finding), finding.what,
                        finding.code);
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
  text += fmt::format("stanza {}: {}\n", state.options.stanza, verdict(state));
  return text;
}

NagiosStatus nagios_status(const CheckState& state) {
  switch (state.worst()) {
    case Severity::kInfo:
      return NagiosStatus::kOk;
    case Severity::kWarning:
      return NagiosStatus::kWarning;
    case Severity::kError:
      return NagiosStatus::kCritical;
  }
  return NagiosStatus::kUnknown;
}

std::string render_check_nagios(const CheckState& state) {
  static constexpr const char* kNames[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
  return fmt::format("PGARK {} - {}: {}|{}\n", kNames[static_cast<int>(nagios_status(state))], state.options.stanza,
                     nagios_text(state), performance_data(state));
}

}  // namespace pgark
