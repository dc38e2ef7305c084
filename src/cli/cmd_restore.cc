// `pgark restore`: options to a request, the restore or its plan alone, and what to do next.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/access.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/restore_render.h"
#include "ops/restore.h"
#include "ops/restore_select.h"
#include "ops/restore_source.h"
#include "ops/restore_target.h"

namespace pgark {
namespace {

/// A word for the shell that runs restore_command, with '%' doubled because PostgreSQL expands it first.
std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,+@%";
  const bool quote = text.empty() || text.find_first_not_of(kPlain) != std::string::npos;
  std::string word = quote ? "'" : "";
  for (const char c : text) {
    if (c == '\'') {
      word += "'\\''";
    } else {
      word += c;
      if (c == '%') word += '%';
    }
  }
  return quote ? word + "'" : word;
}

std::string restore_command_of(const CommandContext& context) {
  const Settings& settings = context.settings;
  std::string command = shell_word(settings.has("cmd") ? settings.text("cmd") : context.program);
  for (const std::string& word : settings.words_for(Command::kArchiveGet)) command += " " + shell_word(word);
  return command + " " + shell_word("--stanza=" + settings.stanza()) + " archive-get %f \"%p\"";
}

Result<RestoreTarget> target_of(const Settings& settings) {
  if (!settings.given("before-xid"))
    return parse_restore_target(settings.text("type"), settings.text("target"), settings.boolean("target-exclusive"));
  for (const std::string_view other : {"type", "target", "target-exclusive"})
    if (settings.given(other))
      return Error(Errc::kInvalid, fmt::format("--before-xid and --{} exclude each other", other))
          .with_hint("--before-xid=N means --type=xid --target=N --target-exclusive");
  return parse_restore_target("xid", settings.text("before-xid"), true);
}

Result<RestoreRequest> request_of(const CommandContext& context) {
  const Settings& settings = context.settings;
  RestoreRequest request;
  request.data_directory = settings.text("pg1-path");
  TRY_ASSIGN(request.target, target_of(settings));
  if (settings.given("set") && settings.text("set") != "latest") request.set = settings.text("set");
  if (settings.given("target-action")) request.target_action = settings.text("target-action");
  request.target_timeline = settings.text("target-timeline");
  request.restore_command = restore_command_of(context);
  request.recovery_options = settings.map("recovery-option");
  request.archive_mode_off = settings.text("archive-mode") == "off";
  for (const auto& [key, value] : settings.map("tablespace-map")) request.tablespace_map[key] = value;
  request.tablespace_map_all = settings.text("tablespace-map-all");
  request.link_all = settings.boolean("link-all");
  for (const auto& [key, value] : settings.map("link-map")) request.link_map[key] = value;
  request.force = settings.boolean("force");
  request.delta = settings.boolean("delta");
  request.db_include = settings.list("db-include");
  request.db_exclude = settings.list("db-exclude");
  request.process_max = static_cast<unsigned>(settings.integer("process-max"));
  return request;
}

double seconds_of(const RestoreReport& report) { return static_cast<double>(report.elapsed.count()) / 1e6; }

uint64_t rate_of(const RestoreReport& report) {
  // Of what was made right, which for a delta restore is mostly what was so already.
  const uint64_t bytes = report.written_bytes + (report.delta ? report.delta->matched_bytes : 0);
  return report.elapsed.count() <= 0 ? 0 : static_cast<uint64_t>(static_cast<double>(bytes) / seconds_of(report));
}

std::string next_step(const RestoreReport& report, const RestoreRequest& request) {
  const TargetKind kind = request.target.kind;
  const std::string start = fmt::format("start the server: pg_ctl -D '{}' start", report.data_directory);
  if (kind == TargetKind::kNone || kind == TargetKind::kPreserve) return start;
  if (kind == TargetKind::kStandby) return start + "; it follows the archive as a standby until it is promoted";
  if (kind == TargetKind::kDefault) return start + "; it replays the archived WAL to its end, then takes writes";
  if (request.target_action == "promote") return start + "; it replays WAL to the target, then takes writes";
  if (request.target_action == "shutdown") return start + "; it replays WAL to the target, then shuts down";
  return start + "; it pauses at the target: look, then SELECT pg_wal_replay_resume() to take writes";
}

nlohmann::ordered_json delta_json(const RestoreReport& report) {
  if (!report.delta) return {};
  return {{"compared_bytes", report.delta->compared_bytes},
          {"matched_bytes", report.delta->matched_bytes},
          {"changed_file_count", report.delta->changed_file_count},
          {"removed_count", report.delta->removed_count}};
}

std::string delta_text(const DeltaReport& delta) {
  return fmt::format("  compared {}: {} matched; {} {} mended; {} that did not belong {} removed\n",
                     format_size(delta.compared_bytes), format_size(delta.matched_bytes), delta.changed_file_count,
                     delta.changed_file_count == 1 ? "file was" : "files were", delta.removed_count,
                     delta.removed_count == 1 ? "was" : "were");
}

nlohmann::ordered_json left_out_json(const std::vector<LeftOutDatabase>& left_out) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const LeftOutDatabase& database : left_out)
    json.push_back({{"oid", database.oid}, {"name", database.name}, {"drop", database.drop}});
  return json;
}

std::string left_out_text(const std::vector<LeftOutDatabase>& left_out) {
  if (left_out.empty()) return "";
  std::string text = "  left out, nobody can connect to them; after recovery run:\n";
  for (const LeftOutDatabase& database : left_out) text += fmt::format("    {}\n", database.drop);
  return text;
}

nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
}

nlohmann::ordered_json sources_json(const std::vector<SourceReport>& sources) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const SourceReport& source : sources) {
    nlohmann::ordered_json failures = nlohmann::ordered_json::array();
    for (const auto& [object, error] : source.failures) {
      nlohmann::ordered_json failure = {{"object", text_or_null(object)}};
      failure.update(error_json(error));
      failures.push_back(std::move(failure));
    }
    json.push_back({{"repository", source.name},
                    {"fetched_bytes", source.fetched_bytes},
                    {"extent_count", source.extent_count},
                    {"failure_count", source.failure_count},
                    {"failures", std::move(failures)}});
  }
  return json;
}

/// What came from where, if not all of it from the repository it was planned on.
std::string sources_text(const RestoreReport& report) {
  std::string text;
  for (const SourceReport& source : report.sources) {
    for (const auto& [object, error] : source.failures)
      text += fmt::format("  NOT FROM {}: {}{}\n", source.name, object.empty() ? "" : object + ": ", error.message());
    if (source.failures.size() < source.failure_count)
      text += fmt::format("  NOT FROM {}: {} more packs\n", source.name, source.failure_count - source.failures.size());
    if (source.name != report.repository && source.fetched_bytes > 0)
      text += fmt::format("  {} came from {}\n", format_size(source.fetched_bytes), source.name);
  }
  return text;
}

/// docs/reference/json.md, section restore.
nlohmann::ordered_json report_json(const RestoreReport& report, const RestoreRequest& request,
                                   const std::string& stanza) {
  nlohmann::ordered_json links = nlohmann::ordered_json::array();
  for (const RestoredLink& link : report.links) {
    nlohmann::ordered_json item = {{"path", link.path}, {"target", link.target}, {"tablespace", nullptr}};
    if (link.oid != 0) item["tablespace"] = {{"oid", link.oid}, {"name", link.name}};
    links.push_back(std::move(item));
  }
  return {{"stanza", stanza},
          {"label", report.plan.backup.label},
          {"target", target_json(request.target)},
          {"timeline", report.plan.timeline.value},
          {"plan", plan_json(report.plan)},
          {"repository", report.repository},
          {"sources", sources_json(report.sources)},
          {"data_directory", report.data_directory},
          {"links", std::move(links)},
          {"file_count", report.file_count},
          {"logical_bytes", report.logical_bytes},
          {"written_bytes", report.written_bytes},
          {"fetched_bytes", report.fetched_bytes},
          {"delta", delta_json(report)},
          {"left_out", left_out_json(report.left_out)},
          {"bad_page_count", report.bad_page_count},
          {"elapsed_ms", std::chrono::duration_cast<std::chrono::milliseconds>(report.elapsed).count()},
          {"recovery_file", text_or_null(report.recovery_file)},
          {"signal_file", text_or_null(report.signal_file)},
          {"outside_files", report.outside_files},
          {"warnings", report.warnings},
          {"next_step", next_step(report, request)}};
}

std::string report_text(const RestoreReport& report, const RestoreRequest& request) {
  std::string text = fmt::format("restored backup {} to {}\n  target: {}\n{}", report.plan.backup.label,
                                 report.data_directory, target_text(request.target), plan_text(report.plan));
  text += fmt::format("  {} files, {} ({} written, {} fetched) in {}, {}/s\n", report.file_count,
                      format_size(report.logical_bytes), format_size(report.written_bytes),
                      format_size(report.fetched_bytes), format_duration(report.elapsed), format_size(rate_of(report)));
  text += sources_text(report);
  if (report.delta) text += delta_text(*report.delta);
  for (const RestoredLink& link : report.links)
    text += link.oid != 0 ? fmt::format("  tablespace {}: {}\n", link.name, link.target)
                          : fmt::format("  link {}: {}\n", link.path, link.target);
  for (const std::string& path : report.outside_files)
    text += fmt::format("  not restored, lies outside the data directory: {}\n", path);
  text += left_out_text(report.left_out);
  return text + "next: " + next_step(report, request) + "\n";
}

/// docs/reference/json.md, section restore.
nlohmann::ordered_json dry_run_json(const RecoveryPlan& plan, const std::string& repository,
                                    const std::vector<LeftOutDatabase>& left_out, const std::string& stanza) {
  return {{"stanza", stanza},
          {"dry_run", true},
          {"label", plan.backup.label},
          {"target", target_json(plan.target)},
          {"timeline", plan.timeline.value},
          {"plan", plan_json(plan)},
          {"repository", repository},
          {"logical_bytes", plan.backup.logical_bytes},
          {"left_out", left_out_json(left_out)}};
}

std::string dry_run_text(const RecoveryPlan& plan, const std::vector<LeftOutDatabase>& left_out) {
  return fmt::format("would restore backup {} ({}), which ended at {}, {}\n  target: {}\n{}{}nothing was changed\n",
                     plan.backup.label, format_size(plan.backup.logical_bytes),
                     format_timestamp_both(plan.backup.stopped), to_string(plan.backup.stop_lsn),
                     target_text(plan.target), plan_text(plan), left_out_text(left_out));
}

/// Names of restore points and paths may hold any bytes.
Result<> print(Output& out, const nlohmann::ordered_json& document) {
  return out.print(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

Result<int> dry_run(CommandContext& context, std::span<const RepositorySource> sources, const RestoreRequest& request) {
  const std::string& stanza = context.settings.stanza();
  TRY_ASSIGN_CTX(const ChosenSource chosen, SourceChooser(sources, stanza, request, context.clock).choose(),
                 "restore " + stanza);
  const RecoveryPlan& plan = chosen.plan;
  TRY_ASSIGN(const DatabaseSelection selection,
             select_databases(plan.backup, request.db_include, request.db_exclude, request.target.kind));
  const std::vector<LeftOutDatabase> left_out = left_out_databases(selection);
  if (context.json()) {
    TRY(print(context.out, dry_run_json(plan, sources[chosen.index].name, left_out, stanza)));
  } else {
    TRY(context.out.print(dry_run_text(plan, left_out)));
  }
  return kExitOk;
}

}  // namespace

Result<int> cmd_restore(CommandContext& context) {
  const Settings& settings = context.settings;
  TRY_ASSIGN(const RestoreRequest request, request_of(context));
  const ChosenRepositories repositories(context, "restore " + settings.stanza());
  if (settings.boolean("dry-run")) return dry_run(context, repositories.sources(), request);
  Progress progress;
  Result<RestoreReport> report = [&] {
    const ProgressDisplay display(settings, progress, context.clock);
    return run_restore(repositories.sources(), settings.stanza(), request, context.clock, context.cancel, progress);
  }();
  if (!report) return std::move(report).error().with_context("restore " + settings.stanza());
  if (context.json()) {
    TRY(print(context.out, report_json(*report, request, settings.stanza())));
  } else {
    TRY(context.out.print(report_text(*report, request)));
  }
  return kExitOk;
}

}  // namespace pgark
