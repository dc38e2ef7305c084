#include "cli/dump_render.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ops/dump_plan.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;

constexpr size_t kUnitsShown = 20;  // Of a database, in the text.

std::chrono::microseconds elapsed_of(const DumpMeta& meta) { return meta.stopped - meta.started; }

uint64_t rate_of(const DumpMeta& meta) {
  const auto elapsed = elapsed_of(meta).count();
  if (elapsed <= 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(meta.raw_bytes) * 1e6 / static_cast<double>(elapsed));
}

std::string plural(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string unit_text(const DumpUnit& unit) {
  switch (unit.kind) {
    case DumpUnit::Kind::kSchema:
      return "schema " + unit.name;
    case DumpUnit::Kind::kPartition:
      return fmt::format("partition {}.{}", unit.schema, unit.name);
    case DumpUnit::Kind::kCommon:
      return "what is in none of the schemas";
    case DumpUnit::Kind::kDefinition:
      return "everything but the data of partitions";
    case DumpUnit::Kind::kWhole:
      return "whole";
    case DumpUnit::Kind::kGlobals:
      return "roles and tablespaces";
    case DumpUnit::Kind::kGiven:
      return "from standard input";
  }
  return "";
}

ordered_json unit_json(const DumpUnit& unit, bool made) {
  ordered_json document{{"kind", dump_unit_kind_name(unit.kind)},
                        {"name", unit.name},
                        {"schema", unit.schema},
                        {"database", unit.database},
                        {"format", dump_format_name(unit.format)},
                        {"client", unit.client},
                        {"arguments", unit.arguments}};
  if (made) {
    document["raw_bytes"] = unit.raw_bytes();
    document["streams"] = unit.streams.size();
  }
  return document;
}

ordered_json database_json(const DumpDatabase& database) {
  ordered_json document{{"name", database.name}, {"bytes", database.bytes}, {"snapshot", database.snapshot}};
  document["lsn"] = database.lsn.empty() ? ordered_json() : ordered_json(database.lsn);
  const int64_t time = database.snapshot_time.time_since_epoch().count();
  document["snapshot_us"] = time == 0 ? ordered_json() : ordered_json(time);
  document["tables"] = database.table_count;
  document["rows"] = database.row_count;
  document["large_objects"] = database.large_object_count;
  return document;
}

ordered_json warnings_json(const std::vector<DumpWarning>& warnings) {
  ordered_json all = ordered_json::array();
  for (const DumpWarning& warning : warnings) all.push_back(dump_warning_json(warning));
  return all;
}

ordered_json expire_after_json(const ExpireAfterDump& expired) {
  if (expired.error) return {{"error", error_json(*expired.error)}};
  if (!expired.report) return {};
  ordered_json removed = ordered_json::array();
  for (const ExpiredDump& dump : expired.report->dumps)
    if (dump.outcome == ExpiredBackup::Outcome::kRemoved) removed.push_back(dump.label);
  return {{"removed", std::move(removed)},
          {"freed_bytes", expired.report->objects.bytes + expired.report->orphans.bytes},
          {"warnings", expired.report->warnings}};
}

std::string database_text(const DumpMeta& meta, const DumpDatabase& database) {
  uint64_t bytes = 0;
  size_t units = 0;
  for (const DumpUnit& unit : meta.units) {
    if (unit.database != database.name || unit.kind == DumpUnit::Kind::kGlobals) continue;
    bytes += unit.raw_bytes();
    ++units;
  }
  std::string text = fmt::format("  database {}: {}, {}, {}", database.name, plural(database.table_count, "table"),
                                 plural(database.row_count, "row"), format_size(bytes));
  if (database.large_object_count > 0) text += ", " + plural(database.large_object_count, "large object");
  if (units > 1) text += fmt::format(", in {} parts", units);
  if (database.snapshot_time.time_since_epoch().count() != 0)
    text += fmt::format("; as of {}", format_utc(database.snapshot_time));
  if (!database.lsn.empty()) text += fmt::format(", LSN {}", database.lsn);
  return text + "\n";
}

}  // namespace

std::string_view dump_severity_name(DumpWarning::Severity severity) {
  switch (severity) {
    case DumpWarning::Severity::kInfo:
      return "info";
    case DumpWarning::Severity::kError:
      return "error";
    case DumpWarning::Severity::kWarning:
      break;
  }
  return "warning";
}

ordered_json dump_warning_json(const DumpWarning& warning) {
  return {{"severity", dump_severity_name(warning.severity)},
          {"code", warning.code},
          {"database", warning.database},
          {"what", warning.what},
          {"why", warning.why},
          {"mend", warning.mend}};
}

ordered_json dump_outcome_json(const DumpOutcome& outcome, const std::string& stanza) {
  const DumpMeta& meta = outcome.report.dump.meta;
  ordered_json document{{"stanza", stanza},
                        {"label", meta.label},
                        {"series", meta.series},
                        {"name", meta.name},
                        {"split", meta.split},
                        {"started_us", meta.started.time_since_epoch().count()},
                        {"stopped_us", meta.stopped.time_since_epoch().count()},
                        {"elapsed_ms", elapsed_of(meta).count() / 1000},
                        {"server", meta.server},
                        {"server_version", meta.server_version},
                        {"pg_version_num", meta.pg_version_num}};
  document["system_identifier"] =
      meta.system_identifier == 0 ? ordered_json() : ordered_json(std::to_string(meta.system_identifier));
  document["client"] = outcome.report.plan.client.version;
  document["client_path"] = outcome.report.plan.client.directory;
  document["globals"] = meta.globals;
  document["role_passwords"] = meta.role_passwords;
  document["selection"] = meta.selection;
  document["databases"] = ordered_json::array();
  for (const DumpDatabase& database : meta.databases) document["databases"].push_back(database_json(database));
  document["units"] = ordered_json::array();
  for (const DumpUnit& unit : meta.units) document["units"].push_back(unit_json(unit, true));
  document["raw_bytes"] = meta.raw_bytes;
  document["stored_bytes"] = meta.stored_bytes;
  document["pack_count"] = meta.pack_count;
  document["streams"] = meta.stream_count;
  document["bytes_per_second"] = rate_of(meta);
  document["warnings"] = warnings_json(outcome.report.plan.warnings);
  document["notes"] = outcome.report.plan.notes;
  document["repositories"] = outcome.stored_in;
  document["left_behind"] = ordered_json::array();
  for (const auto& [name, error] : outcome.left_behind)
    document["left_behind"].push_back({{"repository", name}, {"error", error_json(error)}});
  document["expire"] = ordered_json::object();
  for (const ExpireAfterDump& one : outcome.expired)
    document["expire"][fmt::format("repo{}", one.repo)] = expire_after_json(one);
  return document;
}

std::string dump_outcome_text(const DumpOutcome& outcome) {
  const DumpMeta& meta = outcome.report.dump.meta;
  const auto format = std::find_if(meta.units.begin(), meta.units.end(),
                                   [](const DumpUnit& unit) { return unit.kind != DumpUnit::Kind::kGlobals; });
  std::string text = fmt::format(
      "dump {} ({}{}{})\n", meta.label, format == meta.units.end() ? "" : dump_format_name(format->format),
      meta.split == "none" ? "" : fmt::format(", split by {}", meta.split), meta.name.empty() ? "" : ", " + meta.name);
  for (const DumpDatabase& database : meta.databases) text += database_text(meta, database);
  if (meta.globals)
    text += fmt::format("  roles and tablespaces, {} passwords\n", meta.role_passwords ? "with" : "without");
  text += fmt::format("  {} written in {} ({}/s), {} stored in {}\n", format_size(meta.raw_bytes),
                      format_duration(elapsed_of(meta)), format_size(rate_of(meta)), format_size(meta.stored_bytes),
                      plural(meta.pack_count, "pack"));
  if (outcome.stored_in.size() + outcome.left_behind.size() > 1) {
    text += fmt::format("  in {}\n", fmt::join(outcome.stored_in, ", "));
    for (const auto& [name, error] : outcome.left_behind)
      text += fmt::format("  NOT IN {}: {}\n", name, error.message());
  }
  if (!meta.warnings.empty()) text += fmt::format("  {}, recorded with it\n", plural(meta.warnings.size(), "warning"));
  for (const ExpireAfterDump& one : outcome.expired) {
    if (!one.report) continue;
    for (const ExpiredDump& dump : one.report->dumps)
      if (dump.outcome == ExpiredBackup::Outcome::kRemoved) text += fmt::format("  expired {}\n", dump.label);
  }
  return text;
}

ordered_json dump_plan_json(const DumpPlan& plan, const DumpRate& rate, const std::string& stanza) {
  ordered_json document{{"stanza", stanza},
                        {"dry_run", true},
                        {"server_version", plan.server.version},
                        {"pg_version_num", plan.server.version_num}};
  document["system_identifier"] =
      plan.server.system_identifier == 0 ? ordered_json() : ordered_json(std::to_string(plan.server.system_identifier));
  document["role"] = plan.server.role;
  document["client"] = plan.client.version;
  document["client_path"] = plan.client.directory;
  document["databases"] = ordered_json::array();
  for (const DumpDatabaseFacts& facts : plan.databases)
    document["databases"].push_back({{"name", facts.database.name},
                                     {"bytes", facts.database.bytes},
                                     {"tables", facts.tables.size()},
                                     {"large_objects", facts.large_objects}});
  document["units"] = ordered_json::array();
  for (const DumpUnit& unit : plan.units) document["units"].push_back(unit_json(unit, false));
  document["estimated_bytes"] = plan.estimated_bytes;
  document["estimated_seconds"] = rate.bytes_per_second > 0
                                      ? ordered_json(static_cast<double>(plan.estimated_bytes) / rate.bytes_per_second)
                                      : ordered_json();
  document["warnings"] = warnings_json(plan.warnings);
  document["notes"] = plan.notes;
  return document;
}

std::string dump_plan_text(const DumpPlan& plan, const DumpRate& rate) {
  std::string text =
      fmt::format("would dump {} of PostgreSQL {}\n", plural(plan.databases.size(), "database"), plan.server.version);
  for (const std::string& note : plan.notes) text += fmt::format("  {}\n", note);
  for (const DumpDatabaseFacts& facts : plan.databases) {
    text += fmt::format("  database {}: {} tables and sequences, {}\n", facts.database.name, facts.tables.size(),
                        format_size(facts.database.bytes));
    size_t count = 0;
    for (const DumpUnit& unit : plan.units)
      if (unit.database == facts.database.name && unit.kind != DumpUnit::Kind::kWhole && ++count <= kUnitsShown)
        text += fmt::format("    {}\n", unit_text(unit));
    if (count > kUnitsShown) text += fmt::format("    and {} more\n", count - kUnitsShown);
  }
  for (const DumpUnit& unit : plan.units)
    if (unit.kind == DumpUnit::Kind::kGlobals) text += "  roles and tablespaces\n";
  text += fmt::format("  about {} of tables", format_size(plan.estimated_bytes));
  if (rate.bytes_per_second > 0) {
    const double seconds = static_cast<double>(plan.estimated_bytes) / rate.bytes_per_second;
    text += fmt::format(", {} at the {}/s of dump {}",
                        format_duration(std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6))),
                        format_size(static_cast<uint64_t>(rate.bytes_per_second)), rate.of_label);
  }
  text += "\n";
  for (const DumpWarning& warning : plan.warnings)
    text += fmt::format("{}: {}\n", dump_severity_name(warning.severity), dump_warning_text(warning));
  return text;
}

}  // namespace pgark
