#include "cli/load_render.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/dump_render.h"
#include "cli/output.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

constexpr size_t kObjectsShown = 20;  // In the text; the document has up to 10,000.
constexpr size_t kErrorsShown = 20;

std::string plural(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

ordered_json step_json(const LoadStep& step) {
  return {{"database", step.database},
          {"from_database", step.from_database},
          {"create", step.create},
          {"drop", step.drop},
          {"units", step.units},
          {"object_count", step.object_count},
          {"table_count", step.table_count},
          {"raw_bytes", step.raw_bytes},
          {"objects", step.objects}};
}

ordered_json plan_parts_json(const LoadPlan& plan) {
  ordered_json steps = ordered_json::array();
  for (const LoadStep& step : plan.steps) steps.push_back(step_json(step));
  ordered_json findings = ordered_json::array();
  for (const LoadFinding& finding : plan.findings)
    findings.push_back({{"severity", dump_severity_name(finding.severity)},
                        {"code", finding.code},
                        {"database", finding.database.empty() ? ordered_json() : ordered_json(finding.database)},
                        {"what", finding.what},
                        {"mend", finding.mend}});
  return {{"client", {{"version", plan.client.version}, {"directory", plan.client.directory}}},
          {"server_version_num", plan.server_version_num},
          {"steps", std::move(steps)},
          {"findings", std::move(findings)}};
}

std::string step_text(const LoadStep& step, bool with_objects) {
  std::string text = fmt::format("  database {}", step.database);
  if (step.from_database != step.database) text += fmt::format(" (dumped as {})", step.from_database);
  text += step.drop ? ": dropped and created anew, " : step.create ? ": created, " : ": ";
  if (step.object_count == 0) {
    text += step.raw_bytes == 0 ? "nothing to load\n" : fmt::format("SQL text, {}\n", format_size(step.raw_bytes));
  } else {
    text += fmt::format("{}, rows of {}, {}\n", plural(step.object_count, "object"), plural(step.table_count, "table"),
                        format_size(step.raw_bytes));
  }
  if (!with_objects) return text;
  const size_t shown = std::min(kObjectsShown, step.objects.size());
  for (size_t at = 0; at < shown; ++at) text += "    " + step.objects[at] + "\n";
  if (step.object_count > shown) text += fmt::format("    and {} more\n", step.object_count - shown);
  return text;
}

std::string findings_text(const LoadPlan& plan) {
  std::string text;
  for (const LoadFinding& finding : plan.findings) {
    text += fmt::format("  {}: {}{}\n", dump_severity_name(finding.severity),
                        finding.database.empty() ? "" : finding.database + ": ", finding.what);
    if (!finding.mend.empty()) text += fmt::format("    {}\n", finding.mend);
  }
  return text;
}

std::string counts_text(const LoadReport& report) {
  if (report.tables.empty()) return "";
  uint64_t compared = 0;
  for (const LoadedTable& table : report.tables)
    if (table.expected) ++compared;
  if (compared == 0) return "  rows were not compared: the dump recorded none\n";
  std::string text = report.mismatches == 0
                         ? fmt::format("  rows of {} compared with the dump: all equal\n", plural(compared, "table"))
                         : fmt::format("  rows of {} compared with the dump: {} DIFFER\n", plural(compared, "table"),
                                       report.mismatches);
  for (const LoadedTable& table : report.tables)
    if (!table.ok())
      text += fmt::format("    {}.{} in {}: {} rows, recorded were {}\n", table.schema, table.name, table.database,
                          table.found, *table.expected);
  return text;
}

}  // namespace

ordered_json load_plan_json(const LoadPlan& plan, const std::string& stanza) {
  ordered_json document{{"stanza", stanza}, {"dry_run", true}, {"label", plan.label}};
  document.update(plan_parts_json(plan));
  return document;
}

std::string load_plan_text(const LoadPlan& plan) {
  std::string text = fmt::format("would load dump {} into PostgreSQL {} with the programs of {}\n", plan.label,
                                 plan.server_version_num / 10000, plan.client.version);
  for (const LoadStep& step : plan.steps) text += step_text(step, true);
  return text + findings_text(plan) + "nothing was changed\n";
}

ordered_json load_report_json(const LoadReport& report, const std::string& stanza) {
  ordered_json tables = ordered_json::array();
  for (const LoadedTable& table : report.tables)
    tables.push_back({{"database", table.database},
                      {"schema", table.schema},
                      {"name", table.name},
                      {"expected", table.expected ? ordered_json(*table.expected) : ordered_json()},
                      {"found", table.found},
                      {"ok", table.ok()}});
  ordered_json document{{"stanza", stanza}, {"dry_run", false}, {"label", report.plan.label}, {"ok", report.ok()}};
  document.update(plan_parts_json(report.plan));
  document["tables"] = std::move(tables);
  document["mismatch_count"] = report.mismatches;
  document["errors"] = report.errors;
  document["notes"] = report.notes;
  document["elapsed_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(report.ended - report.started).count();
  return document;
}

std::string load_report_text(const LoadReport& report) {
  std::string text =
      fmt::format("loaded dump {} in {}\n", report.plan.label, format_duration(report.ended - report.started));
  for (const std::string& note : report.notes) text += "  " + note + "\n";
  for (const LoadStep& step : report.plan.steps) text += step_text(step, false);
  text += findings_text(report.plan) + counts_text(report);
  const size_t shown = std::min(kErrorsShown, report.errors.size());
  for (size_t at = 0; at < shown; ++at) text += fmt::format("  FAILED: {}\n", report.errors[at]);
  if (report.errors.size() > shown) text += fmt::format("  and {} more errors\n", report.errors.size() - shown);
  return text;
}

}  // namespace pgark
