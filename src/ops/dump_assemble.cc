#include "ops/dump_assemble.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "catalog/cluster.h"
#include "core/log.h"
#include "core/version.h"
#include "ops/dump_selection.h"

namespace pgark {
namespace {

std::string_view split_name(DumpSplit split) {
  switch (split) {
    case DumpSplit::kSchema:
      return "schema";
    case DumpSplit::kPartition:
      return "partition";
    case DumpSplit::kNone:
      break;
  }
  return "none";
}

/// Find a table of the facts by what a dump says of it.
class TableIndex {
 public:
  explicit TableIndex(const std::vector<DumpTable>& tables) {
    for (size_t i = 0; i < tables.size(); ++i) {
      by_oid_[tables[i].oid] = i;
      by_name_[{tables[i].schema, tables[i].name}] = i;
    }
  }
  std::optional<size_t> find(const SeenTable& seen) const {
    if (seen.oid != 0) {
      const auto found = by_oid_.find(seen.oid);
      if (found != by_oid_.end()) return found->second;
      return std::nullopt;
    }
    const auto found = by_name_.find({seen.schema, seen.name});
    if (found != by_name_.end()) return found->second;
    return std::nullopt;
  }

 private:
  std::map<uint32_t, size_t> by_oid_;
  std::map<std::pair<std::string, std::string>, size_t> by_name_;
};

/// Which unit has the data of a table, where the units' output does not tell.
std::optional<uint32_t> unit_by_plan(const std::vector<DumpUnitResult>& units, const DumpTable& table) {
  std::optional<uint32_t> other;
  for (uint32_t i = 0; i < units.size(); ++i) {
    const DumpUnit& unit = units[i].unit;
    switch (unit.kind) {
      case DumpUnit::Kind::kPartition:
        if (unit.schema == table.schema && unit.name == table.name) return i;
        break;
      case DumpUnit::Kind::kSchema:
        if (unit.name == table.schema) return i;
        break;
      case DumpUnit::Kind::kWhole:
      case DumpUnit::Kind::kDefinition:
        other = i;
        break;
      case DumpUnit::Kind::kCommon:
      case DumpUnit::Kind::kGlobals:
      case DumpUnit::Kind::kGiven:
        break;
    }
  }
  return other;
}

}  // namespace

Result<> check_dump_cluster(const DumpRequest& request, const RepositorySet& repositories, uint64_t system_identifier) {
  if (system_identifier == 0) return {};
  for (size_t i = 0; i < repositories.size(); ++i) {
    auto clusters = list_clusters(repositories.at(i), request.stanza);
    if (!clusters.has_value()) {
      TRY(repositories.fail(i, std::move(clusters).error()));
      continue;
    }
    if (clusters->empty()) continue;
    const bool known = std::any_of(clusters->begin(), clusters->end(), [&](const ClusterRecord& record) {
      return record.system_identifier == system_identifier;
    });
    if (known) continue;
    const std::string text =
        fmt::format("stanza {} belongs to the cluster with system identifier {}; {} is another, with {}",
                    request.stanza, clusters->back().system_identifier, request.server.where(), system_identifier);
    if (!request.force)
      return Error(Errc::kInvalid, text)
          .with_hint("check where pg1-host and its kin lead, or use another stanza for this server")
          .with_hint("--force dumps it into this stanza all the same");
    log_warn("{}", text);
    return {};
  }
  return {};
}

Result<std::string> choose_dump_label(const DumpRequest& request, const RepositorySet& repositories,
                                      Timestamp started) {
  std::vector<std::string> used;
  for (size_t i = 0; i < repositories.size(); ++i) {
    if (repositories.has_failed(i)) continue;
    auto labels = list_used_dump_labels(repositories.at(i), request.stanza);
    if (!labels.has_value()) {
      TRY(repositories.fail(i, std::move(labels).error()));
      continue;
    }
    used.insert(used.end(), labels->begin(), labels->end());
  }
  const std::string label = next_dump_label(started, used);
  if (request.on_label) TRY(request.on_label(label));
  return label;
}

Result<> publish_dump(const DumpRequest& request, const RepositorySet& repositories, const Dump& dump, DumpPacks& packs,
                      DumpProgress& progress) {
  if (request.before_manifest) {
    if (auto may = request.before_manifest(repositories); !may.has_value()) {
      packs.discard();
      return may;
    }
  }
  progress.totals.phase = "write manifest";
  auto written = write_dump(repositories, request.stanza, dump);
  if (written.has_value()) return {};
  // Of an outcome that is not known, the manifest may be there: then its packs must stay.
  if (written.error().code() != Errc::kOutcomeUnknown) packs.discard();
  return std::move(written).error();
}

DumpAssembly::DumpAssembly(const DumpRequest& request, std::string label, Timestamp started) : request_(request) {
  DumpMeta& meta = dump_.meta;
  meta.label = std::move(label);
  meta.name = request.name;
  meta.selection = request.selection;
  for (const std::string& pattern : request.exclude_databases)
    meta.selection.push_back("--exclude-database=" + pattern);
  meta.series = dump_series(request.databases, meta.selection, request.name);
  meta.pgark_version = kVersion;
  meta.host = request.host;
  meta.started = started;
  meta.split = split_name(request.split);
  meta.codec = codec_name(request.codec);
}

void DumpAssembly::add_globals(DumpUnitResult globals, bool role_passwords) {
  dump_.meta.globals = true;
  dump_.meta.role_passwords = role_passwords;
  for (std::string& warning : globals.warnings) warn(std::move(warning));
  dump_.meta.units.push_back(std::move(globals.unit));
}

void DumpAssembly::add_tables(DumpedDatabase& database, uint32_t first_unit) {
  std::vector<DumpTable>& tables = database.facts.tables;
  const TableIndex index(tables);
  std::set<size_t> dumped;
  bool all_known = true;
  for (uint32_t i = 0; i < database.units.size(); ++i) {
    const DumpUnitResult& unit = database.units[i];
    all_known = all_known && unit.tables_known;
    for (const SeenTable& seen : unit.tables) {
      const auto at = index.find(seen);
      if (!at) continue;
      dumped.insert(*at);
      if (!seen.data) continue;
      DumpTable& table = tables[*at];
      table.unit = first_unit + i;
      table.rows = seen.rows;
      table.stream = seen.stream;
    }
  }
  // SQL and tar tell nothing of what has no rows in it: then options do, near enough.
  std::optional<DumpSelection> selection;
  if (!all_known) selection.emplace(request_.arguments, std::vector<std::string>{"public"}, tables);
  for (size_t i = 0; i < tables.size(); ++i) {
    DumpTable& table = tables[i];
    if (!dumped.contains(i)) {
      if (all_known || !selection->includes(table)) continue;
      if (selection->includes_data(table) && table.kind != 'p' && table.kind != 'f')
        if (const auto unit = unit_by_plan(database.units, table)) table.unit = first_unit + *unit;
    }
    dump_.tables.push_back(std::move(table));
  }
}

void DumpAssembly::add_database(DumpedDatabase database) {
  DumpMeta& meta = dump_.meta;
  for (const DumpWarning& warning : database.warnings)
    if (warning.severity != DumpWarning::Severity::kInfo) warn(dump_warning_text(warning));
  if (!database.dumped) return;
  const size_t first_table = dump_.tables.size();
  add_tables(database, static_cast<uint32_t>(meta.units.size()));
  DumpDatabase facts = std::move(database.facts.database);
  facts.table_count = 0;
  facts.row_count = 0;
  for (size_t i = first_table; i < dump_.tables.size(); ++i) {
    if (dump_.tables[i].kind != 'S') ++facts.table_count;
    facts.row_count += dump_.tables[i].rows.value_or(0);
  }
  const DumpSelection selection(request_.arguments, {"public"}, {});
  facts.large_object_count = selection.large_objects() ? database.facts.large_objects : 0;
  meta.databases.push_back(std::move(facts));
  for (DumpUnitResult& unit : database.units) {
    for (std::string& warning : unit.warnings) warn(fmt::format("database {}: {}", unit.unit.database, warning));
    meta.units.push_back(std::move(unit.unit));
  }
}

void DumpAssembly::add_given(DumpUnitResult given, DumpDatabase database) {
  const auto unit = static_cast<uint32_t>(dump_.meta.units.size());
  for (SeenTable& seen : given.tables) {
    DumpTable table;
    table.database = database.name;
    table.oid = seen.oid;
    table.schema = std::move(seen.schema);
    table.name = std::move(seen.name);
    table.rows = seen.rows;
    if (seen.data) table.unit = unit;
    ++database.table_count;
    database.row_count += seen.rows.value_or(0);
    dump_.tables.push_back(std::move(table));
  }
  for (std::string& warning : given.warnings) warn(std::move(warning));
  dump_.meta.databases.push_back(std::move(database));
  dump_.meta.units.push_back(std::move(given.unit));
}

Dump DumpAssembly::finish(const DumpServerPlan& server, const DumpPacks& packs, Timestamp stopped) && {
  DumpMeta& meta = dump_.meta;
  meta.server = request_.server.where();
  meta.system_identifier = server.facts.system_identifier;
  meta.pg_version_num = server.facts.version_num;
  meta.server_version = server.facts.version;
  meta.in_recovery = server.facts.in_recovery;
  meta.roles = server.facts.roles;
  meta.tablespaces = server.facts.tablespaces;
  std::vector<std::string> of_server;
  for (const DumpWarning& warning : server.warnings)
    if (warning.database.empty() && warning.severity != DumpWarning::Severity::kInfo)
      of_server.push_back(dump_warning_text(warning));
  meta.warnings.insert(meta.warnings.begin(), of_server.begin(), of_server.end());
  return std::move(*this).finish(packs, stopped);
}

Dump DumpAssembly::finish(const DumpPacks& packs, Timestamp stopped) && {
  DumpMeta& meta = dump_.meta;
  meta.stopped = stopped;
  for (const DumpUnit& unit : meta.units) {
    meta.raw_bytes += unit.raw_bytes();
    meta.stream_count += unit.streams.size();
  }
  meta.stored_bytes = packs.stored_bytes();
  meta.pack_count = packs.pack_count();
  return std::move(dump_);
}

}  // namespace pgark
