// Planning a load: what is chosen of a dump, in which order, with which programs, and what stands in its way.
#include "ops/load_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/log.h"

namespace pgark {
namespace {

using Severity = DumpWarning::Severity;

constexpr size_t kObjectsShown = 10'000;

LoadChoice choice_of(const LoadRequest& request) {
  LoadChoice choice;
  choice.schemas = request.schemas;
  choice.exclude_schemas = request.exclude_schemas;
  choice.tables = request.tables;
  choice.exclude_tables = request.exclude_tables;
  choice.data_only = request.data_only;
  choice.schema_only = request.schema_only;
  choice.acl = !load_has_argument(request, "--no-acl", "-x");
  choice.comments = !load_has_argument(request, "--no-comments");
  // What is to be renamed is what is wanted.
  if (choice.schemas.empty() && choice.tables.empty())
    for (const auto& [from, to] : request.schema_map) choice.schemas.push_back(pg::quote_identifier(from));
  return choice;
}

/// Each of the names is one of the dump; the hint names those.
Result<> check_database_names(const LoadRequest& request, const std::vector<std::string>& known) {
  std::vector<std::string> asked = request.databases;
  for (const auto& [from, to] : request.database_map) asked.push_back(from);
  for (const std::string& name : asked) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string all;
    for (const std::string& one : known) all += (all.empty() ? "" : ", ") + one;
    return Error(Errc::kNotFound, fmt::format("the dump holds no database {}", name))
        .with_hint("it holds " + (all.empty() ? std::string("none") : all));
  }
  return {};
}

/// A dump from standard input may not say which database it is of.
std::string database_of(const DumpUnit& unit, const std::optional<pg::DumpToc>& toc, const LoadRequest& request) {
  if (!unit.database.empty()) return unit.database;
  if (toc && !toc->database.empty()) return toc->database;
  return request.databases.empty() ? request.server.database : request.databases.front();
}

class Planner {
 public:
  Planner(const LoadRequest& request, const Dump& dump, const DumpReader& reader, const CancelToken& cancel)
      : request_(request), dump_(dump), reader_(reader), cancel_(cancel), choice_(choice_of(request)) {}

  Result<PreparedLoad> plan() {
    prepared_.plan.label = dump_.meta.label;
    TRY(check_request());
    TRY(gather_units());
    TRY_ASSIGN(auto session, open_pg_session(request_.server, cancel_));
    TRY_ASSIGN(prepared_.server, read_load_server_facts(*session));
    prepared_.plan.server_version_num = prepared_.server.version_num;
    TRY(choose_client());
    inspect_server();
    for (LoadDatabase& database : prepared_.databases) TRY(plan_database(database));
    report_unmatched();
    return std::move(prepared_);
  }

 private:
  void find(Severity severity, std::string code, std::string database, std::string what, std::string mend) {
    prepared_.plan.findings.push_back(
        {severity, std::move(code), std::move(database), std::move(what), std::move(mend)});
  }

  Result<> check_request() const {
    if (request_.data_only && request_.schema_only)
      return Error(Errc::kInvalid, "--data-only and --schema-only exclude each other");
    if (request_.if_exists && !request_.clean)
      return Error(Errc::kInvalid, "--if-exists says how --clean drops, and needs it");
    if (request_.data_only && (request_.clean || request_.create))
      return Error(Errc::kInvalid, "--data-only leaves definitions alone: without --clean and --create");
    if (!request_.schema_map.empty() && (request_.data_only || request_.clean))
      return Error(Errc::kInvalid, "--schema-map makes a schema anew: without --data-only and --clean");
    if (!request_.schema_map.empty() && request_.single_transaction == false)
      return Error(Errc::kInvalid, "--schema-map renames schemas within one transaction, and cannot do without");
    if (request_.create && !choice_.whole())
      return Error(Errc::kInvalid, "--create makes whole databases; a part is loaded into one that exists")
          .with_hint("create it first: CREATE DATABASE ...");
    return {};
  }

  Result<> gather_units() {
    std::vector<std::string> known;
    for (uint32_t index = 0; index < dump_.meta.units.size(); ++index) {
      const DumpUnit& unit = dump_.meta.units[index];
      if (unit.kind == DumpUnit::Kind::kGlobals) {
        if (request_.globals) prepared_.globals = &unit;
        continue;
      }
      if (!unit.database.empty()) known.push_back(unit.database);
      const auto& wanted = request_.databases;
      const bool is_wanted = wanted.empty() || std::find(wanted.begin(), wanted.end(), unit.database) != wanted.end();
      if (!is_wanted && !unit.database.empty()) continue;
      LoadUnit taken;
      taken.index = index;
      taken.unit = &unit;
      taken.index_streams();
      TRY_ASSIGN(taken.toc, read_unit_toc(unit, reader_, cancel_));
      if (taken.toc) TRY(map_toc_roles(*taken.toc, request_.role_map));
      const std::string name = database_of(unit, taken.toc, request_);
      known.push_back(name);
      place(name).units.push_back(std::move(taken));
    }
    for (const DumpDatabase& database : dump_.meta.databases) known.push_back(database.name);
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    if (request_.globals && prepared_.globals == nullptr)
      find(Severity::kError, "missing_globals", "", "the dump holds no roles and tablespaces",
           "load without --globals; --no-owner --no-acl does without the roles");
    return check_database_names(request_, known);
  }

  LoadDatabase& place(const std::string& name) {
    for (LoadDatabase& database : prepared_.databases)
      if (database.step.from_database == name) return database;
    LoadDatabase& made = prepared_.databases.emplace_back();
    made.step.from_database = name;
    const auto mapped = request_.database_map.find(name);
    made.step.database = mapped == request_.database_map.end() ? name : mapped->second;
    for (const DumpDatabase& facts : dump_.meta.databases)
      if (facts.name == name) made.facts = &facts;
    return made;
  }

  Result<> choose_client() {
    unsigned newest = 0;
    for (const LoadDatabase& database : prepared_.databases)
      for (const LoadUnit& unit : database.units)
        newest = std::max(newest, unit.toc ? unit.toc->dump_major() : unit.unit->client_major);
    const unsigned server = prepared_.server.version_num / 10000;
    TRY_ASSIGN(prepared_.plan.client, choose_load_client(request_.clients, newest, server));
    for (const std::string_view program : {"pg_restore", "psql"})
      if (!prepared_.plan.client.has(program))
        return Error(Errc::kUnsupported, fmt::format("there is no {} in {}", program, prepared_.plan.client.directory))
            .with_hint("install the client package of PostgreSQL, or name its directory with --client-path");
    return {};
  }

  void inspect_server() {
    const LoadServerFacts& server = prepared_.server;
    if (server.in_recovery)
      find(Severity::kError, "read_only_server", "", "the server is a standby and takes no writes",
           "load into its primary");
    const unsigned from = dump_.meta.pg_version_num / 10000;
    const unsigned to = server.version_num / 10000;
    if (from > to && to != 0)
      find(Severity::kWarning, "server_older", "",
           fmt::format("the dump is of PostgreSQL {}, the server is {}: what only the newer one knows will fail", from,
                       to),
           from - to == 1 ? "typical are options of views, publications and columns, and locale providers"
                          : "load into a server that is not older; this is several versions");
    if (request_.create && !server.create_databases)
      find(Severity::kError, "insufficient_rights", "", fmt::format("role {} may not create databases", server.role),
           fmt::format("as a superuser: ALTER ROLE {} CREATEDB", pg::quote_identifier(server.role)));
  }

  Result<> plan_database(LoadDatabase& database) {
    database.exists = prepared_.server.databases.contains(database.step.database);
    database.step.create = request_.create && !(database.exists && is_of_every_server(database.step.database));
    database.step.drop = database.step.create && request_.clean && database.exists;
    TRY(choose_of(database));
    inspect_presence(database);
    std::unique_ptr<PgSession> session;
    if (database.exists && !database.step.create) {
      PgEndpoint endpoint = request_.server;
      endpoint.database = database.step.database;
      TRY_ASSIGN(session, open_pg_session(endpoint, cancel_));
    }
    TRY(LoadInspector(request_, dump_, prepared_.server, session.get(), database, prepared_.plan.findings)
            .inspect(choice_));
    TRY(check_schema_map(database));
    decide_transaction(database);
    describe(database);
    return {};
  }

  Result<> choose_of(LoadDatabase& database) {
    std::vector<const pg::DumpToc*> tocs;
    for (const LoadUnit& unit : database.units) {
      if (unit.toc) tocs.push_back(&*unit.toc);
      if (!unit.toc && (!choice_.whole() || choice_.data_only || choice_.schema_only || !request_.role_map.empty()))
        return Error(Errc::kInvalid, "a plain dump is SQL text, and can only be loaded whole and as it is")
            .with_hint("dump in the directory format to load parts, or to rename roles and schemas");
      if (!unit.toc && request_.clean && !request_.create)
        return Error(Errc::kInvalid, "a plain dump drops only what it was told to drop when it was made")
            .with_hint("load it into another database (--db-map=OLD:NEW --create)");
    }
    const ChosenRelations relations = choose_relations(tocs, choice_);
    ++databases_looked_at_;
    for (const std::string& text : relations.unmatched) ++unmatched_[text];
    for (LoadUnit& unit : database.units)
      if (unit.toc) unit.chosen = choose_entries(*unit.toc, choice_, relations);
    std::erase_if(database.units, [](const LoadUnit& unit) { return unit.toc && unit.chosen.empty(); });
    return {};
  }

  /// Databases that are there in a new cluster, or that pgark itself is connected to, are loaded into as they are.
  bool is_of_every_server(const std::string& name) const {
    return name == "postgres" || name == "template1" || name == request_.server.database;
  }

  void inspect_presence(const LoadDatabase& database) {
    const std::string& name = database.step.database;
    if (database.step.create && database.exists && !request_.clean)
      find(Severity::kError, "database_exists", name, fmt::format("database {} exists already", name),
           "replace it with --create --clean, or load as another: --db-map=" + database.step.from_database + ":NEW");
    if (!request_.create && !database.exists)
      find(Severity::kError, "missing_database", name, fmt::format("database {} does not exist", name),
           "have it made with --create, or load into another with --db-map=" + database.step.from_database +
               ":EXISTING");
    if (database.step.create && request_.clean && !request_.if_exists && !database.exists)
      find(Severity::kError, "missing_database", name, fmt::format("there is no database {} to drop", name),
           "add --if-exists");
  }

  /// Objects of other schemas that are loaded together and refer to one that is renamed would refer to the wrong one.
  Result<> check_schema_map(const LoadDatabase& database) const {
    if (request_.schema_map.empty()) return {};
    for (const LoadUnit& unit : database.units) {
      std::map<std::string, const pg::DumpTocEntry*> mapped;
      for (const size_t at : unit.chosen.all()) {
        const pg::DumpTocEntry& entry = unit.toc->entries[at];
        if (request_.schema_map.contains(entry.schema.value_or("")))
          mapped.emplace(std::to_string(entry.dump_id), &entry);
      }
      for (const size_t at : unit.chosen.all()) {
        const pg::DumpTocEntry& entry = unit.toc->entries[at];
        if (!entry.schema || entry.schema->empty() || request_.schema_map.contains(*entry.schema)) continue;
        for (const std::string& id : entry.dependencies)
          if (const auto of = mapped.find(id); of != mapped.end())
            return Error(Errc::kInvalid, fmt::format("{} depends on {}, whose schema is to be renamed",
                                                     entry_label(entry), entry_label(*of->second)))
                .with_hint("load only the schemas that --schema-map names");
      }
    }
    return {};
  }

  void decide_transaction(LoadDatabase& database) {
    uint64_t locks = 0;
    bool has_plain = false;
    for (const LoadUnit& unit : database.units) {
      has_plain = has_plain || !unit.toc;
      if (unit.toc) locks += locks_of(unit);
    }
    const bool fits = prepared_.server.locks == 0 || locks < prepared_.server.locks * 7 / 10;
    const bool by_default = (request_.jobs <= 1 || has_plain) && request_.exit_on_error && fits;
    database.single_transaction = !request_.schema_map.empty() || request_.single_transaction.value_or(by_default);
    if (!fits)
      find(database.single_transaction ? Severity::kWarning : Severity::kInfo, "many_objects", database.step.database,
           fmt::format("about {} objects at once need more locks than the server can be sure to have ({})", locks,
                       prepared_.server.locks),
           database.single_transaction ? "raise max_locks_per_transaction if the load runs out of shared memory"
                                       : "each table is a transaction of its own");
    if (request_.jobs <= 1) return;
    const bool streams = std::any_of(database.units.begin(), database.units.end(),
                                     [](const LoadUnit& unit) { return unit.unit->format != DumpFormat::kDirectory; });
    if (database.single_transaction)
      find(Severity::kInfo, "one_job", database.step.database, "a single transaction has one job", "");
    else if (streams)
      find(Severity::kInfo, "one_job", database.step.database,
           "rows of a dump in one stream are loaded by one job; indexes and constraints by all",
           "dump in the directory format");
  }

  /// Each new relation is locked, and its TOAST table and that one's index.
  static uint64_t locks_of(const LoadUnit& unit) {
    uint64_t locks = 0;
    for (const size_t at : unit.chosen.all()) {
      const pg::DumpTocEntry& entry = unit.toc->entries[at];
      if (entry.desc == "TABLE" || entry.desc == "MATERIALIZED VIEW")
        locks += 3;
      else if (is_relation(entry) || entry.desc == "INDEX" || entry.desc == "CONSTRAINT" || entry.desc == "BLOB")
        ++locks;
      else if (entry.desc == "BLOB METADATA" && entry.definition)
        locks += 1 + static_cast<uint64_t>(std::count(entry.definition->begin(), entry.definition->end(), '\n'));
    }
    return locks;
  }

  void describe(LoadDatabase& database) {
    LoadStep& step = database.step;
    for (const LoadUnit& unit : database.units) {
      step.units.push_back(unit.index);
      if (!unit.toc) {
        step.raw_bytes += unit.unit->raw_bytes();
        continue;
      }
      step.object_count += unit.chosen.count();
      for (const size_t at : unit.chosen.all()) {
        const pg::DumpTocEntry& entry = unit.toc->entries[at];
        if (entry.desc == "TABLE DATA" || (entry.desc == "TABLE" && request_.schema_only)) ++step.table_count;
        step.raw_bytes += entry.has_data ? entry_bytes(unit, entry) : 0;
        if (step.objects.size() < kObjectsShown) step.objects.push_back(entry_label(entry));
      }
      if (unit.unit->format != DumpFormat::kDirectory && !unit.chosen.data.empty())
        step.raw_bytes += unit.unit->raw_bytes();
    }
    prepared_.plan.steps.push_back(step);
  }

  /// A pattern that names nothing in any database is a slip of the pen.
  void report_unmatched() {
    for (const auto& [text, count] : unmatched_)
      if (count == databases_looked_at_)
        find(Severity::kError, "no_match", "", fmt::format("the dump holds nothing that '{}' names", text),
             "'pgark dump-ls' shows what it holds");
  }

  const LoadRequest& request_;
  const Dump& dump_;
  const DumpReader& reader_;
  const CancelToken& cancel_;
  const LoadChoice choice_;
  PreparedLoad prepared_;
  std::map<std::string, size_t> unmatched_;
  size_t databases_looked_at_ = 0;
};

}  // namespace

bool load_has_argument(const LoadRequest& request, std::string_view word, std::string_view letter) {
  return std::any_of(request.arguments.begin(), request.arguments.end(),
                     [&](const std::string& one) { return one == word || (!letter.empty() && one == letter); });
}

std::string text_array(const std::vector<std::string>& texts) {
  std::string array = "{";
  for (const std::string& text : texts) {
    if (array.size() > 1) array += ',';
    array += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return array + "}";
}

std::string quote_qualified(const std::string& schema, const std::string& name) {
  return pg::quote_identifier(schema) + "." + pg::quote_identifier(name);
}

Result<LoadServerFacts> read_load_server_facts(PgSession& session) {
  LoadServerFacts facts;
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(), "
                           "r.rolsuper, r.rolsuper OR r.rolbypassrls, r.rolsuper OR r.rolcreatedb, r.rolname, "
                           "pg_catalog.current_setting('max_locks_per_transaction')::int8 * "
                           "(pg_catalog.current_setting('max_connections')::int8 + "
                           "pg_catalog.current_setting('max_prepared_transactions')::int8) "
                           "FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"));
  if (rows.empty()) return Error(Errc::kInternal, "the server does not know its own role");
  const PgRow& row = rows.front();
  const std::string version = row[0].value_or("0");
  std::from_chars(version.data(), version.data() + version.size(), facts.version_num);
  facts.in_recovery = row[1] == "t";
  facts.superuser = row[2] == "t";
  facts.bypasses_row_security = row[3] == "t";
  facts.create_databases = row[4] == "t";
  facts.role = row[5].value_or("");
  const std::string locks = row[6].value_or("0");
  std::from_chars(locks.data(), locks.data() + locks.size(), facts.locks);
  TRY_ASSIGN(const PgRows roles,
             session.query("SELECT rolname, pg_catalog.pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles"));
  for (const PgRow& role : roles) {
    facts.roles.insert(role[0].value_or(""));
    if (role[1] == "t") facts.usable_roles.insert(role[0].value_or(""));
  }
  TRY_ASSIGN(const PgRows tablespaces, session.query("SELECT spcname FROM pg_catalog.pg_tablespace"));
  for (const PgRow& one : tablespaces) facts.tablespaces.insert(one[0].value_or(""));
  TRY_ASSIGN(const PgRows databases,
             session.query("SELECT datname, pg_catalog.pg_encoding_to_char(encoding) FROM pg_catalog.pg_database"));
  for (const PgRow& one : databases) facts.databases[one[0].value_or("")] = one[1].value_or("");
  const auto extensions = session.query("SELECT name, default_version FROM pg_catalog.pg_available_extensions");
  if (!extensions && extensions.error().code() == Errc::kTransient) return extensions.error();
  if (!extensions) facts.extensions_unknown = extensions.error().message();
  if (extensions)
    for (const PgRow& one : *extensions) facts.available_extensions[one[0].value_or("")] = one[1].value_or("");
  return facts;
}

Result<PreparedLoad> prepare_load(const LoadRequest& request, const Dump& dump, const DumpReader& reader,
                                  const CancelToken& cancel) {
  return Planner(request, dump, reader, cancel).plan();
}

Result<LoadPlan> plan_load(const LoadRequest& request, const Dump& dump, const DumpReader& reader,
                           const CancelToken& cancel) {
  TRY_ASSIGN(PreparedLoad prepared, prepare_load(request, dump, reader, cancel));
  return std::move(prepared.plan);
}

}  // namespace pgark
