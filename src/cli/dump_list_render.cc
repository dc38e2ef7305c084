#include "cli/dump_list_render.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "catalog/target.h"
#include "cli/output.h"
#include "cli/retention_settings.h"

namespace pgark {
namespace {

using nlohmann::ordered_json;
using Outcome = ExpiredBackup::Outcome;

int64_t microseconds(Timestamp time) { return time.time_since_epoch().count(); }

struct Totals {
  uint64_t tables = 0;
  uint64_t rows = 0;
  uint64_t large_objects = 0;
};
Totals totals_of(const DumpMeta& meta) {
  Totals totals;
  for (const DumpDatabase& database : meta.databases) {
    totals.tables += database.table_count;
    totals.rows += database.row_count;
    totals.large_objects += database.large_object_count;
  }
  return totals;
}

std::vector<std::string> database_names(const DumpMeta& meta) {
  std::vector<std::string> names;
  for (const DumpDatabase& database : meta.databases) names.push_back(database.name);
  return names;
}

/// "app, shop and 7 more".
std::string short_list(const std::vector<std::string>& names, size_t shown_max) {
  if (names.size() <= shown_max + 1) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more",
                     fmt::join(names.begin(), names.begin() + static_cast<ptrdiff_t>(shown_max), ", "),
                     names.size() - shown_max);
}

std::string reasons_text(const RetentionDecision& decision) {
  std::string text;
  for (const RetentionReason& reason : decision.reasons) text += (text.empty() ? "" : "; ") + reason.text;
  return text;
}

std::string age_text(Timestamp then, Timestamp now) {
  return then > now ? "in the future" : format_duration(now - then);
}

std::string verdict_text(const DumpVerdict& verdict, Timestamp now) {
  return fmt::format("{}, {} ago", verdict.ok ? "ok" : "FAILED", age_text(verdict.when, now));
}

ordered_json verdict_json(const DumpVerdict* verdict) {
  if (verdict == nullptr) return {};
  return {{"when_us", microseconds(verdict->when)}, {"ok", verdict->ok},         {"where", verdict->where},
          {"findings", verdict->findings},          {"tables", verdict->tables}, {"checks", verdict->checks}};
}

ordered_json hold_json(const Hold* hold) {
  if (hold == nullptr) return {};
  ordered_json until;
  if (*hold->until != Timestamp::max()) until = microseconds(*hold->until);
  return {{"until_us", until}, {"reason", hold->reason}};
}

ordered_json reasons_json(const RetentionDecision& decision) {
  ordered_json reasons = ordered_json::array();
  for (const RetentionReason& reason : decision.reasons)
    reasons.push_back({{"rule", reason.rule}, {"text", reason.text}});
  return reasons;
}

ordered_json decision_json(const RetentionDecision* decision) {
  if (decision == nullptr) return {};
  return {{"keep", decision->keep}, {"reasons", reasons_json(*decision)}};
}

ordered_json meta_json(const DumpMeta& meta) {
  const Totals totals = totals_of(meta);
  return {{"series", meta.series},
          {"name", meta.name},
          {"databases", database_names(meta)},
          {"selection", meta.selection},
          {"split", meta.split},
          {"globals", meta.globals},
          {"started_us", microseconds(meta.started)},
          {"stopped_us", microseconds(meta.stopped)},
          {"raw_bytes", meta.raw_bytes},
          {"stored_bytes", meta.stored_bytes},
          {"tables", totals.tables},
          {"rows", totals.rows},
          {"large_objects", totals.large_objects},
          {"units", meta.units.size()},
          {"pg_version_num", meta.pg_version_num},
          {"server_version", meta.server_version},
          {"warnings", meta.warnings.size()}};
}

ordered_json database_json(const DumpDatabase& database) {
  ordered_json settings = ordered_json::array();
  for (const auto& [role, setting] : database.settings) settings.push_back({{"role", role}, {"setting", setting}});
  ordered_json extensions = ordered_json::array();
  for (const BackupExtension& extension : database.extensions)
    extensions.push_back({{"name", extension.name}, {"version", extension.version}});
  return {{"name", database.name},
          {"oid", database.oid},
          {"owner", database.owner},
          {"encoding", database.encoding},
          {"collate", database.collate},
          {"ctype", database.ctype},
          {"locale_provider", database.locale_provider},
          {"collation_version", database.collation_version},
          {"tablespace", database.tablespace},
          {"bytes", database.bytes},
          {"acl", database.acl},
          {"connection_limit", database.connection_limit},
          {"settings", std::move(settings)},
          {"extensions", std::move(extensions)},
          {"collation_versions", database.collation_versions},
          {"lsn", database.lsn},
          {"snapshot_us", microseconds(database.snapshot_time)},
          {"tables", database.table_count},
          {"rows", database.row_count},
          {"large_objects", database.large_object_count}};
}

ordered_json unit_json(const DumpUnit& unit) {
  return {{"kind", dump_unit_kind_name(unit.kind)},
          {"database", unit.database},
          {"schema", unit.schema},
          {"name", unit.name},
          {"format", dump_format_name(unit.format)},
          {"client", unit.client},
          {"arguments", unit.arguments},
          {"raw_bytes", unit.raw_bytes()},
          {"streams", unit.streams.size()}};
}

ordered_json table_json(const DumpTable& table) {
  return {{"database", table.database},
          {"schema", table.schema},
          {"name", table.name},
          {"kind", std::string(1, table.kind)},
          {"rows", table.rows ? ordered_json(*table.rows) : ordered_json()},
          {"bytes", table.bytes},
          {"total_bytes", table.total_bytes},
          {"parent", table.parent},
          {"bound", table.bound},
          {"partition_key", table.partition_key},
          {"unlogged", table.unlogged},
          {"unit", table.unit ? ordered_json(*table.unit) : ordered_json()}};
}

std::string count(uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

std::string moment(Timestamp time) { return format_utc(time); }

/// What every way of showing one dump begins with.
std::string head_text(const DumpMeta& meta) {
  std::string text = fmt::format("    dump: {}{}\n", meta.label, meta.name.empty() ? "" : ", name " + meta.name);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(meta.stopped - meta.started);
  text +=
      fmt::format("        time: {} to {} ({})\n", moment(meta.started), moment(meta.stopped), format_duration(took));
  if (!meta.databases.empty())
    text += fmt::format("        {}: {}\n", meta.databases.size() == 1 ? "database" : "databases",
                        short_list(database_names(meta), 10));
  if (!meta.selection.empty()) text += fmt::format("        only: {}\n", fmt::join(meta.selection, " "));
  if (meta.split != "none")
    text += fmt::format("        split: by {}, {}\n", meta.split, count(meta.units.size(), "part"));
  const Totals totals = totals_of(meta);
  text += fmt::format("        size: {}, stored {}; {} with {}", format_size(meta.raw_bytes),
                      format_size(meta.stored_bytes), count(totals.tables, "table"), count(totals.rows, "row"));
  if (totals.large_objects > 0) text += ", " + count(totals.large_objects, "large object");
  return text + "\n";
}

std::string notes_text(const DumpListing& listing, const std::string& label, Timestamp now) {
  std::string text;
  if (const DumpVerdict* verdict = listing.verdict(label); verdict != nullptr) {
    text += fmt::format("        {}: {} in {}, {}\n", verdict->ok ? "verified" : "ERROR: NOT VERIFIED",
                        moment(verdict->when), verdict->where, count(verdict->tables, "table"));
    for (const std::string& finding : verdict->findings) text += fmt::format("            {}\n", finding);
  }
  if (const Hold* hold = listing.hold(label, now); hold != nullptr && !hold->reason.empty())
    text += fmt::format("        hold: {}\n", hold->reason);
  if (const RetentionDecision* decision = listing.decision(label); decision != nullptr)
    text += fmt::format("        retention: {}, {}\n", decision->keep ? "kept" : "next to go", reasons_text(*decision));
  return text;
}

std::string table_name(const DumpTable& table) {
  std::string name = table.schema + "." + table.name;
  if (table.unlogged) name += " (unlogged)";
  return name;
}

std::string kind_text(const DumpTable& table) {
  switch (table.kind) {
    case 'p':
      return "partitioned by " + table.partition_key;
    case 'm':
      return "materialized view";
    case 'S':
      return "sequence";
    case 'f':
      return "foreign table";
    default:
      return table.bound.empty() ? "" : fmt::format("{} {}", table.parent, table.bound);
  }
}

std::string tables_text(const Dump& dump, const std::string& database) {
  TextTable table("            ");
  table.column("");
  table.column("", TextTable::Align::kRight);
  table.column("", TextTable::Align::kRight);
  table.column("");
  for (const DumpTable& one : dump.tables) {
    if (one.database != database || one.kind == 'S') continue;
    table.row({table_name(one), one.rows ? count(*one.rows, "row") : "", format_size(one.bytes), kind_text(one)});
  }
  return table.empty() ? "" : table.to_string();
}

std::string database_text(const Dump& dump, const DumpDatabase& database) {
  std::string text = fmt::format("        database {}: {}, owner {}, encoding {}, collation {}{}\n", database.name,
                                 format_size(database.bytes), database.owner, database.encoding, database.collate,
                                 database.collation_version.empty() ? "" : " version " + database.collation_version);
  if (database.snapshot_time != Timestamp{})
    text += fmt::format("            as of {}{}\n", moment(database.snapshot_time),
                        database.lsn.empty() ? "" : " at " + database.lsn);
  for (const auto& [role, setting] : database.settings)
    text += fmt::format("            setting: {}{}\n", setting, role.empty() ? "" : " of role " + role);
  for (const BackupExtension& extension : database.extensions)
    text += fmt::format("            extension: {} {}\n", extension.name, extension.version);
  for (const auto& [name, version] : database.collation_versions)
    text += fmt::format("            collation: {} version {}\n", name, version);
  return text + tables_text(dump, database.name);
}

}  // namespace

ordered_json listed_dump_json(const DumpListing& listing, const ListedDump& dump, Timestamp now) {
  ordered_json document{{"label", dump.label}};
  if (dump.meta) document.update(meta_json(*dump.meta));
  document["error"] = dump.error ? error_json(*dump.error) : ordered_json();
  document["verified"] = verdict_json(listing.verdict(dump.label));
  document["hold"] = hold_json(listing.hold(dump.label, now));
  document["retention"] = decision_json(listing.decision(dump.label));
  return document;
}

std::string dump_table_text(const DumpListing& listing, Timestamp now) {
  if (listing.dumps.empty()) return "";
  const bool known = !listing.retention.empty();
  TextTable table("    ");
  for (const char* title : {"label", "series", "databases"}) table.column(title);
  for (const char* title : {"size", "stored", "tables", "rows", "age"}) table.column(title, TextTable::Align::kRight);
  table.column("verified");
  if (known) table.column("retention");
  for (const ListedDump& dump : listing.dumps) {
    std::vector<std::string> cells{dump.label};
    if (dump.meta) {
      const DumpMeta& meta = *dump.meta;
      const Totals totals = totals_of(meta);
      cells.insert(cells.end(), {meta.series, short_list(database_names(meta), 2), format_size(meta.raw_bytes),
                                 format_size(meta.stored_bytes), std::to_string(totals.tables),
                                 std::to_string(totals.rows), age_text(meta.stopped, now)});
    } else {
      cells.insert(cells.end(), {"ERROR: cannot be read", "", "", "", "", "", ""});
    }
    const DumpVerdict* verdict = listing.verdict(dump.label);
    cells.push_back(verdict == nullptr ? "no" : verdict_text(*verdict, now));
    if (const RetentionDecision* decision = listing.decision(dump.label); known && decision != nullptr)
      cells.push_back((decision->keep ? "keep: " : "remove: ") + decision->reasons.front().text);
    table.row(std::move(cells));
  }
  std::string text = table.to_string();
  for (const ListedDump& dump : listing.dumps)
    if (dump.error) text += fmt::format("    ERROR: {}\n", dump.error->message());
  for (const Error& error : listing.errors) text += fmt::format("    ERROR: {}\n", error.message());
  return text;
}

std::string listed_dump_text(const DumpListing& listing, const ListedDump& dump, Timestamp now) {
  if (dump.meta) return head_text(*dump.meta) + notes_text(listing, dump.label, now);
  std::string text = fmt::format("    dump: {}\n", dump.label);
  if (dump.error) text += fmt::format("        ERROR: {}\n", dump.error->message());
  return text + notes_text(listing, dump.label, now);
}

ordered_json dump_detail_json(const DumpListing& listing, const Dump& dump, Timestamp now) {
  const DumpMeta& meta = dump.meta;
  ordered_json document = listed_dump_json(listing, {meta.label, meta, std::nullopt}, now);
  document["pgark_version"] = meta.pgark_version;
  document["host"] = meta.host;
  document["server"] = meta.server;
  document["system_identifier"] =
      meta.system_identifier == 0 ? ordered_json() : ordered_json(std::to_string(meta.system_identifier));
  document["in_recovery"] = meta.in_recovery;
  document["role_passwords"] = meta.role_passwords;
  document["codec"] = meta.codec;
  document["packs"] = meta.pack_count;
  document["streams"] = meta.stream_count;
  ordered_json databases = ordered_json::array();
  for (const DumpDatabase& database : meta.databases) databases.push_back(database_json(database));
  document["databases"] = std::move(databases);
  ordered_json units = ordered_json::array();
  for (const DumpUnit& unit : meta.units) units.push_back(unit_json(unit));
  document["units"] = std::move(units);
  ordered_json roles = ordered_json::array();
  for (const DumpRole& role : meta.roles)
    roles.push_back(
        {{"name", role.name}, {"login", role.login}, {"superuser", role.superuser}, {"member_of", role.member_of}});
  document["roles"] = std::move(roles);
  document["tablespaces"] = meta.tablespaces;
  ordered_json tables = ordered_json::array();
  for (const DumpTable& table : dump.tables) tables.push_back(table_json(table));
  document["tables"] = std::move(tables);
  document["warnings"] = meta.warnings;
  return document;
}

std::string dump_detail_text(const DumpListing& listing, const Dump& dump, Timestamp now) {
  const DumpMeta& meta = dump.meta;
  std::string text = head_text(meta) + notes_text(listing, meta.label, now);
  text += fmt::format("        series: {}\n", meta.series);
  if (!meta.server.empty())
    text += fmt::format("        server: {}, PostgreSQL {}{}\n", meta.server, meta.server_version,
                        meta.in_recovery ? ", a standby" : "");
  for (const DumpDatabase& database : meta.databases) text += database_text(dump, database);
  if (!meta.roles.empty()) {
    std::vector<std::string> names;
    for (const DumpRole& role : meta.roles) names.push_back(role.name);
    text += fmt::format("        roles{}: {}\n",
                        !meta.globals         ? " (known, not dumped)"
                        : meta.role_passwords ? ""
                                              : " (without passwords)",
                        fmt::join(names, ", "));
  }
  if (!meta.tablespaces.empty()) text += fmt::format("        tablespaces: {}\n", fmt::join(meta.tablespaces, ", "));
  TextTable units("            ");
  for (int column = 0; column < 3; ++column) units.column("");
  units.column("", TextTable::Align::kRight);
  units.column("");
  for (const DumpUnit& unit : meta.units) {
    const std::string name = unit.kind == DumpUnit::Kind::kPartition ? unit.schema + "." + unit.name : unit.name;
    units.row({std::string(dump_unit_kind_name(unit.kind)), unit.database, name, format_size(unit.raw_bytes()),
               fmt::format("{}{}", dump_format_name(unit.format),
                           unit.client.empty() ? "" : ", pg_dump " + unit.client.substr(0, unit.client.find(' ')))});
  }
  if (!units.empty()) text += "        parts:\n" + units.to_string();
  for (const std::string& warning : meta.warnings) text += fmt::format("        WARNING: {}\n", warning);
  return text;
}

ordered_json dump_expire_json(const DumpExpireReport& report) {
  ordered_json dumps = ordered_json::array();
  for (const ExpiredDump& dump : report.dumps) {
    const int64_t stopped = microseconds(dump.stopped);
    dumps.push_back({{"label", dump.label},
                     {"series", dump.series},
                     {"stopped_us", stopped == 0 ? ordered_json() : ordered_json(stopped)},
                     {"keep", dump.decision.keep},
                     {"outcome", expire_outcome_name(dump.outcome)},
                     {"reasons", reasons_json(dump.decision)}});
  }
  return {{"dumps", std::move(dumps)},
          {"freed_bytes", report.objects.bytes + report.orphans.bytes},
          {"objects", expire_count_json(report.objects)},
          {"orphans", expire_count_json(report.orphans)},
          {"waiting", expire_count_json(report.waiting)},
          {"refused", expire_count_json(report.refused)},
          {"warnings", report.warnings}};
}

std::string dump_expire_text(const DumpExpireReport& report, std::chrono::milliseconds grace, bool dry_run) {
  TextTable table("    ");
  for (int column = 0; column < 4; ++column) table.column("");
  for (const ExpiredDump& dump : report.dumps)
    table.row({expire_action(dump.outcome), dump.label, dump.series, reasons_text(dump.decision)});
  const auto removed =
      static_cast<uint64_t>(std::count_if(report.dumps.begin(), report.dumps.end(),
                                          [](const ExpiredDump& dump) { return dump.outcome == Outcome::kRemoved; }));
  std::string text = table.to_string();
  text += fmt::format("    {}removed: {} of {}, {}; {} freed\n", dry_run ? "would be " : "", removed,
                      count(report.dumps.size(), "dump"), count(report.objects.count + report.orphans.count, "object"),
                      format_size(report.objects.bytes + report.orphans.bytes));
  if (report.orphans.count > 0)
    text += fmt::format("    of dumps that never were complete: {} ({})\n", count(report.orphans.count, "object"),
                        format_size(report.orphans.bytes));
  if (report.waiting.count > 0)
    text += fmt::format("    not needed, and kept for the grace period of {}: {} ({})\n", format_duration(grace),
                        count(report.waiting.count, "object"), format_size(report.waiting.bytes));
  for (const std::string& warning : report.warnings) text += fmt::format("    WARNING: {}\n", warning);
  return text;
}

}  // namespace pgark
