#include "ops/dump_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/log.h"
#include "ops/dump_client.h"
#include "ops/dump_run.h"
#include "ops/dump_selection.h"
#include "pg/dump_toc.h"

namespace pgark {
namespace {

constexpr size_t kProbeBytesMax = size_t{1} << 30;

const DumpDatabase* find_database(const DumpServerFacts& facts, std::string_view name) {
  const auto found = std::find_if(facts.databases.begin(), facts.databases.end(),
                                  [&](const DumpDatabase& database) { return database.name == name; });
  return found == facts.databases.end() ? nullptr : &*found;
}

std::string version_text(uint32_t version_num) {
  return fmt::format("{}.{}", version_num / 10000, version_num % 10000);
}

/// The table of contents of what options choose, by asking pg_dump itself: nobody else reads its patterns the same.
Result<pg::DumpToc> probe(const DumpRequest& request, const DumpServerPlan& server, const std::string& database,
                          const std::string& snapshot, const CancelToken& cancel) {
  DumpMessages messages;
  SubprocessOptions options = dump_program(request, server.client, "pg_dump", database, messages);
  for (std::string& word : dump_probe_arguments(request, server.client)) options.arguments.push_back(std::move(word));
  options.arguments.emplace_back("--compress=0");
  if (!snapshot.empty()) options.arguments.push_back("--snapshot=" + snapshot);
  auto written = run_program(std::move(options), cancel, kProbeBytesMax);
  if (!written.has_value()) {
    const std::string error = messages.error();
    if (written.error().code() == Errc::kCancelled || error.empty()) return std::move(written).error();
    return explain_dump_error(fmt::format("pg_dump {}", server.client.major), error);
  }
  return pg::read_dump_toc(as_bytes(*written));
}

bool chooses_by_name(const DumpRequest& request) {
  for (const std::string_view option :
       {"--schema", "--exclude-schema", "--table", "--table-and-children", "--exclude-table",
        "--exclude-table-and-children", "--extension", "--exclude-extension", "--filter"})
    if (has_dump_option(request.arguments, option)) return true;
  return false;
}

bool includes_by_name(const DumpRequest& request) {
  for (const std::string_view option : {"--schema", "--table", "--table-and-children", "--extension"})
    if (has_dump_option(request.arguments, option)) return true;
  return false;
}

/// Keep what pg_dump chose.
void take_probe(const pg::DumpToc& toc, DumpDatabasePlan& plan) {
  std::set<std::string> schemas;
  plan.choice.tables.emplace();
  for (const SeenTable& table : tables_of_toc(toc, {}, {})) plan.choice.tables->insert(table.oid);
  for (const pg::DumpTocEntry& entry : toc.entries) {
    if (entry.desc == "SCHEMA") schemas.insert(entry.tag);
    if (entry.schema) schemas.insert(*entry.schema);
  }
  std::erase_if(plan.choice.schemas, [&](const std::string& schema) { return !schemas.contains(schema); });
}

Result<> choose(const DumpRequest& request, const DumpServerPlan& server, const std::string& database,
                const CancelToken& cancel, DumpDatabasePlan& plan) {
  plan.choice.schemas = plan.facts.schemas;
  plan.choice.everything = !includes_by_name(request);
  // What is asked for by name is dumped apart, whatever needs it.
  if (plan.choice.everything && request.split == DumpSplit::kSchema) {
    std::erase_if(plan.choice.schemas,
                  [&](const std::string& schema) { return plan.facts.common_schemas.contains(schema); });
    if (!plan.facts.common_schemas.empty())
      plan.warnings.push_back(
          {DumpWarning::Severity::kInfo, "schemas_together", database,
           "schemas that are not dumped apart: " + fmt::format("{}", fmt::join(plan.facts.common_schemas, ", ")),
           "objects of no schema need them (extensions, casts, event triggers), or they need each "
           "other",
           "load takes single schemas out of the common part, too"});
  }
  if (chooses_by_name(request)) {
    const bool one_of_many = server.databases.size() > 1 && !has_dump_option(request.arguments, "--strict-names");
    if (request.split != DumpSplit::kNone || (one_of_many && includes_by_name(request))) {
      auto toc = probe(request, server, database, plan.snapshot.id, cancel);
      if (!toc.has_value() && one_of_many && toc.error().message().find("no matching ") != std::string::npos) {
        plan.nothing_chosen = true;
        plan.warnings.push_back({DumpWarning::Severity::kWarning, "nothing_chosen", database, "it is left out",
                                 "nothing in it matches what was asked for", "--dbname chooses databases"});
        return {};
      }
      if (!toc.has_value())
        return std::move(toc).error().with_context("find out what is chosen of database " + database);
      take_probe(*toc, plan);
    } else {
      // For estimates only.
      const DumpSelection selection(request.arguments, {"public"}, plan.facts.tables);
      plan.choice.tables.emplace();
      for (const DumpTable& table : plan.facts.tables)
        if (selection.includes_data(table)) plan.choice.tables->insert(table.oid);
    }
  }
  for (const DumpTable& table : plan.facts.tables) {
    const bool chosen = !plan.choice.tables || plan.choice.tables->contains(table.oid);
    if (chosen && table.kind == 'r' && !table.bound.empty() && table.bytes > 0)
      plan.choice.partitions.push_back(&table);
  }
  return {};
}

/// What concerns the server as a whole, of what is asked for.
std::vector<DumpWarning> server_warnings(const DumpRequest& request, const DumpServerFacts& facts) {
  auto warnings = find_dump_server_warnings(facts, request.globals && request.role_passwords);
  if (!request.databases.empty())
    std::erase_if(warnings, [](const DumpWarning& warning) { return warning.code == "databases_left_out"; });
  return warnings;
}

void note_client(const DumpServerPlan& plan, std::vector<std::string>& notes) {
  const unsigned server_major = plan.facts.version_num / 10000;
  std::string why = "of the server's version";
  if (plan.client.major > server_major) why = "the nearest newer version on this machine";
  notes.push_back(fmt::format("pg_dump {} ({}) for PostgreSQL {}: {}", plan.client.version, plan.client.directory,
                              version_text(plan.facts.version_num), why));
}

/// Which table is in which publication goes with neither: pg_dump leaves publications out of a schema, and tables that
/// are dumped apart out of publications.
Result<> warn_of_publications(const std::string& database, DumpDatabasePlan& plan) {
  const std::set<std::string> apart(plan.choice.schemas.begin(), plan.choice.schemas.end());
  std::string sql =
      "SELECT p.pubname, n.nspname, n.nspname || '.' || c.relname FROM pg_publication_rel r "
      "JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid "
      "JOIN pg_namespace n ON n.oid = c.relnamespace";
  TRY_ASSIGN(const std::string version, plan.session->query_value("SHOW server_version_num"));
  if (version.size() >= 6 && version >= "150000")
    sql +=
        " UNION ALL SELECT p.pubname, n.nspname, n.nspname || '.*' FROM pg_publication_namespace r "
        "JOIN pg_publication p ON p.oid = r.pnpubid JOIN pg_namespace n ON n.oid = r.pnnspid";
  TRY_ASSIGN_CTX(const PgRows rows, plan.session->query(sql + " ORDER BY 1, 3"), "look for publications");
  std::vector<std::string> lost;
  for (const PgRow& row : rows)
    if (row.size() == 3 && row[1] && apart.contains(*row[1]))
      lost.push_back(fmt::format("{} ({})", row[0].value_or(""), row[2].value_or("")));
  if (lost.empty()) return {};
  constexpr size_t kShown = 5;
  const size_t more = lost.size() - std::min(lost.size(), kShown);
  lost.resize(std::min(lost.size(), kShown));
  plan.warnings.push_back({DumpWarning::Severity::kWarning, "publication_tables", database,
                           fmt::format("publications come back without tables of schemas dumped apart: {}{}",
                                       fmt::join(lost, ", "), more > 0 ? fmt::format(" and {} more", more) : ""),
                           "pg_dump writes that a table is in a publication only if it dumps both",
                           "ALTER PUBLICATION ... ADD TABLE after a load, or dump without split"});
  return {};
}

}  // namespace

Result<std::vector<std::string>> choose_databases(const DumpRequest& request, const DumpServerFacts& facts) {
  std::vector<std::string> chosen;
  for (const std::string& name : request.databases) {
    if (find_database(facts, name) == nullptr) {
      std::vector<std::string> there;
      for (const DumpDatabase& database : facts.databases) there.push_back(database.name);
      return Error(Errc::kNotFound,
                   fmt::format("database {} does not exist, is a template, or allows no connections", name))
          .with_hint(fmt::format("there are {}", fmt::join(there, ", ")));
    }
    if (std::find(chosen.begin(), chosen.end(), name) == chosen.end()) chosen.push_back(name);
  }
  if (request.databases.empty())
    for (const DumpDatabase& database : facts.databases) chosen.push_back(database.name);
  for (const std::string& pattern : request.exclude_databases) {
    const DumpPattern excluded(pattern);
    std::erase_if(chosen, [&](const std::string& name) { return excluded.matches_name(name); });
  }
  if (chosen.empty()) return Error(Errc::kInvalid, "no database is left to dump");
  std::stable_sort(chosen.begin(), chosen.end(), [&](const std::string& a, const std::string& b) {
    return find_database(facts, a)->bytes > find_database(facts, b)->bytes;
  });
  return chosen;
}

unsigned share_of_jobs(unsigned all, uint64_t bytes, uint64_t bytes_total, size_t count) {
  if (count <= 1) return std::max(1u, all);
  const double part = bytes_total == 0 ? 1.0 / static_cast<double>(count)
                                       : static_cast<double>(bytes) / static_cast<double>(bytes_total);
  return std::clamp(static_cast<unsigned>(static_cast<double>(all) * part), 1u, std::max(1u, all));
}

uint64_t DumpDatabasePlan::bytes() const {
  uint64_t bytes = 0;
  for (const PlannedUnit& unit : units) bytes += unit.bytes;
  return bytes;
}

Result<DumpServerPlan> plan_dump_server(const DumpRequest& request, const CancelToken& cancel) {
  TRY(check_dump_request(request));
  DumpServerPlan plan;
  TRY_ASSIGN(const auto session, open_pg_session(request.server, cancel));
  TRY_ASSIGN_CTX(plan.facts, read_dump_server_facts(*session), "look at the server");
  TRY_ASSIGN(plan.client, choose_dump_client(request.clients, plan.facts.version_num / 10000));
  if (request.globals && !plan.client.has("pg_dumpall"))
    return Error(Errc::kUnsupported, fmt::format("there is no pg_dumpall in {}", plan.client.directory))
        .with_hint("install all client programs, or leave roles and tablespaces out with --no-globals");
  note_client(plan, plan.notes);
  TRY_ASSIGN(plan.databases, choose_databases(request, plan.facts));
  plan.role_passwords = request.role_passwords && plan.facts.can_read_passwords;
  plan.warnings = server_warnings(request, plan.facts);
  return plan;
}

Result<DumpDatabasePlan> plan_dump_database(const DumpRequest& request, const DumpServerPlan& server,
                                            const std::string& database, const DumpRate& rate,
                                            const CancelToken& cancel) {
  DumpDatabasePlan plan;
  PgEndpoint endpoint = request.server;
  endpoint.database = database;
  TRY_ASSIGN_CTX(plan.session, open_pg_session(endpoint, cancel), "dump database " + database);
  const std::string context = "look at database " + database;
  TRY_ASSIGN_CTX(plan.snapshot, begin_dump_snapshot(*plan.session, request.serializable_deferrable), context);
  TRY_ASSIGN_CTX(plan.facts, read_dump_database_facts(*plan.session, server.facts, database), context);
  plan.facts.database.snapshot = plan.snapshot.id;
  plan.facts.database.lsn = plan.snapshot.lsn;
  plan.facts.database.snapshot_time = plan.snapshot.time;
  TRY_ASSIGN_CTX(plan.warnings, find_dump_warnings(*plan.session, server.facts, plan.facts, rate, request.arguments),
                 context);
  TRY(choose(request, server, database, cancel, plan));
  if (plan.nothing_chosen) return plan;
  if (request.split == DumpSplit::kSchema && plan.choice.everything &&
      !has_dump_option(request.arguments, "--no-publications"))
    TRY(warn_of_publications(database, plan));
  plan.units = plan_dump_units(request, server.client, plan.facts, plan.choice);
  if (plan.snapshot.id.empty() && plan.units.size() > 1)
    plan.warnings.push_back({DumpWarning::Severity::kWarning, "no_snapshot", database,
                             "the parts are not of one snapshot", "the server exports none here",
                             "dump the primary, without a pooler between, for parts that agree"});
  for (DumpWarning& warning : plan.warnings)
    if (warning.database.empty()) warning.database = database;
  return plan;
}

std::string dump_warning_text(const DumpWarning& warning) {
  std::string text = warning.database.empty() ? "" : fmt::format("database {}: ", warning.database);
  text += warning.what;
  if (!warning.why.empty()) text += ": " + warning.why;
  if (!warning.mend.empty()) text += " (" + warning.mend + ")";
  return text;
}

Result<DumpPlan> plan_dump(const DumpRequest& request, const DumpRate& rate, const CancelToken& cancel) {
  TRY_ASSIGN(DumpServerPlan server, plan_dump_server(request, cancel));
  DumpPlan plan;
  if (request.globals) {
    DumpUnit globals;
    globals.kind = DumpUnit::Kind::kGlobals;
    globals.name = "globals";
    globals.format = DumpFormat::kPlain;
    globals.client = server.client.version;
    globals.client_major = server.client.major;
    plan.units.push_back(std::move(globals));
  }
  for (const std::string& database : server.databases) {
    TRY_ASSIGN(DumpDatabasePlan one, plan_dump_database(request, server, database, rate, cancel));
    if (one.nothing_chosen) {
      for (DumpWarning& warning : one.warnings) server.warnings.push_back(std::move(warning));
      continue;
    }
    plan.estimated_bytes += one.bytes();
    for (PlannedUnit& unit : one.units) plan.units.push_back(std::move(unit.unit));
    for (DumpWarning& warning : one.warnings) server.warnings.push_back(std::move(warning));
    plan.databases.push_back(std::move(one.facts));
  }
  plan.server = std::move(server.facts);
  plan.client = std::move(server.client);
  plan.warnings = std::move(server.warnings);
  plan.notes = std::move(server.notes);
  return plan;
}

}  // namespace pgark
