// Facts of one database for a dump: extensions, collations, tables with sizes and bounds, schemas in the order of their
// dependencies, large objects. Catalogs only, and never longer than a moment behind a lock.

#include "ops/dependency_order.h"
#include "ops/dump_facts_parts.h"

namespace pgark {
namespace {

constexpr uint64_t kTablesAtOnce = 10'000;

/// Schemas of users, as a condition on pg_namespace (alias n).
constexpr std::string_view kUserSchema = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

Result<> read_own_row(PgSession& session, const DumpServerFacts& server, const std::string& name,
                      DumpDatabase& database) {
  for (const DumpDatabase& one : server.databases)
    if (one.name == name) database = one;
  if (!database.name.empty()) return {};
  // A template that was asked for by name.
  TRY_ASSIGN(auto found, read_dump_databases(session, server.version_num, "d.datname = $1", false, {name}));
  if (found.empty()) return Error(Errc::kNotFound, fmt::format("database '{}' does not exist", name));
  database = std::move(found.front().database);
  return {};
}

Result<> read_extensions(PgSession& session, DumpDatabase& database) {
  TRY_ASSIGN(const PgRows rows, session.query("SELECT extname, extversion FROM pg_extension ORDER BY extname"));
  for (const PgRow& row : rows) database.extensions.push_back({database.name, row_text(row, 0), row_text(row, 1)});
  return {};
}

/// Those some object depends on, and that tell their version.
Result<> read_collations(PgSession& session, DumpDatabase& database) {
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT DISTINCT n.nspname || '.' || c.collname, c.collversion FROM pg_depend d "
                           "JOIN pg_collation c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.collnamespace "
                           "WHERE d.refclassid = 'pg_catalog.pg_collation'::regclass AND c.collversion IS NOT NULL "
                           "AND d.deptype <> 'e'"));
  for (const PgRow& row : rows) database.collation_versions.emplace(row_text(row, 0), row_text(row, 1));
  return {};
}

/// One page of relations past an OID. What is locked, or about to be, by someone who changes its definition is
/// estimated: to count its files or to read its bounds would wait for the lock.
std::string relations_sql(bool only_estimates) {
  return fmt::format(
      "WITH held AS (SELECT DISTINCT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND database = (SELECT "
      "oid FROM pg_database WHERE datname = current_database())), "
      "page AS (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relpages, c.relispartition, "
      "c.relpartbound, {} AS locked FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
      "LEFT JOIN held h ON h.relation = c.oid "
      "WHERE c.oid > $1::oid AND c.relkind IN ('r', 'p', 'm', 'S', 'f') AND c.relpersistence <> 't' AND {} "
      // Of extensions only those whose rows pg_dump writes.
      "AND (NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid "
      "AND d.deptype = 'e') OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))) "
      "ORDER BY c.oid LIMIT {}) "
      "SELECT c.oid, c.nspname, c.relname, c.relkind, "
      "CASE WHEN c.locked THEN c.relpages::bigint * current_setting('block_size')::bigint ELSE pg_table_size(c.oid) "
      "END, CASE WHEN c.locked THEN 0 ELSE pg_indexes_size(c.oid) END, "
      "coalesce(quote_ident(pn.nspname) || '.' || quote_ident(pc.relname), ''), "
      "CASE WHEN c.relispartition AND NOT c.locked THEN pg_get_expr(c.relpartbound, c.oid) END, "
      "CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END, c.relpersistence = 'u' "
      "FROM page c LEFT JOIN pg_inherits i ON c.relispartition AND i.inhrelid = c.oid "
      "LEFT JOIN pg_class pc ON pc.oid = i.inhparent LEFT JOIN pg_namespace pn ON pn.oid = pc.relnamespace "
      "ORDER BY c.oid",
      only_estimates ? "true" : "h.relation IS NOT NULL", kUserSchema, kTablesAtOnce);
}

Result<PgRows> read_relations_after(PgSession& session, uint32_t oid) {
  const PgParams after = {std::to_string(oid)};
  auto rows = query_that_may_fail(session, relations_sql(false), after);
  // A lock was taken between the look and the count.
  if (!rows && !is_end_of_session(rows.error())) return session.query(relations_sql(true), after);
  return rows;
}

Result<> read_relations(PgSession& session, DumpDatabaseFacts& facts) {
  TRY(session.exec("SET LOCAL lock_timeout = '10s'"));
  uint32_t last = 0;
  for (;;) {
    TRY_ASSIGN(const PgRows rows, read_relations_after(session, last));
    for (const PgRow& row : rows) {
      DumpTable table;
      table.database = facts.database.name;
      table.oid = last = row_number<uint32_t>(row, 0);
      table.schema = row_text(row, 1);
      table.name = row_text(row, 2);
      table.kind = row_text(row, 3).empty() ? 'r' : row_text(row, 3).front();
      table.bytes = row_number<uint64_t>(row, 4);
      table.total_bytes = table.bytes + row_number<uint64_t>(row, 5);
      table.parent = row_text(row, 6);
      table.bound = row_text(row, 7);
      table.partition_key = row_text(row, 8);
      table.unlogged = row_true(row, 9);
      if (table.kind != 'S') ++facts.database.table_count;
      facts.tables.push_back(std::move(table));
    }
    if (rows.size() < kTablesAtOnce) break;
  }
  return session.exec("SET LOCAL lock_timeout = 0");
}

/// Which schema has an object in it that needs an object in which other schema. Bodies of functions written as text
/// are known to nobody. Of a foreign key there are triggers at the table it refers to, which are not dumped.
constexpr std::string_view kSchemaDependencies =
    "WITH placed(class, object, schema) AS ("
    "SELECT 'pg_catalog.pg_class'::regclass, oid, relnamespace FROM pg_class UNION ALL "
    "SELECT 'pg_catalog.pg_type'::regclass, oid, typnamespace FROM pg_type UNION ALL "
    "SELECT 'pg_catalog.pg_proc'::regclass, oid, pronamespace FROM pg_proc UNION ALL "
    "SELECT 'pg_catalog.pg_operator'::regclass, oid, oprnamespace FROM pg_operator UNION ALL "
    "SELECT 'pg_catalog.pg_opclass'::regclass, oid, opcnamespace FROM pg_opclass UNION ALL "
    "SELECT 'pg_catalog.pg_opfamily'::regclass, oid, opfnamespace FROM pg_opfamily UNION ALL "
    "SELECT 'pg_catalog.pg_collation'::regclass, oid, collnamespace FROM pg_collation UNION ALL "
    "SELECT 'pg_catalog.pg_conversion'::regclass, oid, connamespace FROM pg_conversion UNION ALL "
    "SELECT 'pg_catalog.pg_ts_config'::regclass, oid, cfgnamespace FROM pg_ts_config UNION ALL "
    "SELECT 'pg_catalog.pg_ts_dict'::regclass, oid, dictnamespace FROM pg_ts_dict UNION ALL "
    "SELECT 'pg_catalog.pg_ts_parser'::regclass, oid, prsnamespace FROM pg_ts_parser UNION ALL "
    "SELECT 'pg_catalog.pg_ts_template'::regclass, oid, tmplnamespace FROM pg_ts_template UNION ALL "
    "SELECT 'pg_catalog.pg_statistic_ext'::regclass, oid, stxnamespace FROM pg_statistic_ext UNION ALL "
    "SELECT 'pg_catalog.pg_constraint'::regclass, oid, connamespace FROM pg_constraint UNION ALL "
    "SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid, c.relnamespace FROM pg_rewrite r JOIN pg_class c ON c.oid = "
    "r.ev_class UNION ALL "
    "SELECT 'pg_catalog.pg_attrdef'::regclass, a.oid, c.relnamespace FROM pg_attrdef a JOIN pg_class c ON c.oid = "
    "a.adrelid UNION ALL "
    "SELECT 'pg_catalog.pg_trigger'::regclass, t.oid, c.relnamespace FROM pg_trigger t JOIN pg_class c ON c.oid = "
    "t.tgrelid WHERE NOT t.tgisinternal UNION ALL "
    "SELECT 'pg_catalog.pg_policy'::regclass, p.oid, c.relnamespace FROM pg_policy p JOIN pg_class c ON c.oid = "
    "p.polrelid), "
    "users AS (SELECT p.* FROM placed p JOIN pg_namespace n ON n.oid = p.schema WHERE ";

using SchemaPairs = std::vector<std::pair<std::string, std::string>>;

Result<SchemaPairs> read_schema_dependencies(PgSession& session) {
  TRY_ASSIGN(const PgRows pairs,
             session.query(fmt::format("{}{}), pairs AS (SELECT DISTINCT a.schema AS from_schema, b.schema AS "
                                       "to_schema FROM pg_depend d JOIN users a ON a.class = d.classid AND a.object = "
                                       "d.objid JOIN users b ON b.class = d.refclassid AND b.object = d.refobjid "
                                       "WHERE a.schema <> b.schema AND d.deptype NOT IN ('e', 'x')) "
                                       "SELECT f.nspname, t.nspname FROM pairs p JOIN pg_namespace f ON f.oid = "
                                       "p.from_schema JOIN pg_namespace t ON t.oid = p.to_schema",
                                       kSchemaDependencies, kUserSchema)));
  SchemaPairs depends;
  for (const PgRow& row : pairs) depends.emplace_back(row_text(row, 0), row_text(row, 1));
  return depends;
}

/// Schemas that an object of no schema cannot be made without. Publications are made without their tables, and every
/// new database has a schema public for extensions.
Result<std::set<std::string>> read_schemas_needed_by_all(PgSession& session) {
  TRY_ASSIGN(const PgRows rows,
             session.query(fmt::format(
                 "{}{}) SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE {} "
                 "AND n.nspname <> 'public' UNION "
                 "SELECT n.nspname FROM pg_depend d JOIN users b ON b.class = d.refclassid AND b.object = d.refobjid "
                 "JOIN pg_namespace n ON n.oid = b.schema WHERE d.deptype NOT IN ('e', 'x', 'i') AND d.classid IN ("
                 "'pg_catalog.pg_cast'::regclass, 'pg_catalog.pg_event_trigger'::regclass, "
                 "'pg_catalog.pg_language'::regclass, 'pg_catalog.pg_foreign_data_wrapper'::regclass, "
                 "'pg_catalog.pg_am'::regclass, 'pg_catalog.pg_transform'::regclass)",
                 kSchemaDependencies, kUserSchema, kUserSchema)));
  std::set<std::string> names;
  for (const PgRow& row : rows) names.insert(row_text(row, 0));
  return names;
}

/// Add everything that what is there needs, and what that needs.
void add_needed(std::set<std::string>& names, const SchemaPairs& depends) {
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& [from, to] : depends) grown |= names.contains(from) && names.insert(to).second;
  }
}

Result<> read_schemas(PgSession& session, DumpDatabaseFacts& facts) {
  // One that an extension made comes with it.
  TRY_ASSIGN(const PgRows rows,
             session.query(fmt::format("SELECT n.nspname FROM pg_namespace n WHERE {} AND NOT EXISTS (SELECT FROM "
                                       "pg_depend d WHERE d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid "
                                       "= n.oid AND d.deptype = 'e')",
                                       kUserSchema)));
  std::vector<std::string> names;
  for (const PgRow& row : rows) names.push_back(row_text(row, 0));
  SchemaPairs depends;
  if (names.size() > 1) {
    TRY_ASSIGN(depends, read_schema_dependencies(session));
    TRY_ASSIGN(facts.common_schemas, read_schemas_needed_by_all(session));
  }
  DependencyOrder ordered = order_by_dependencies(std::move(names), depends);
  facts.schemas = std::move(ordered.order);
  facts.schema_cycles = std::move(ordered.cycles);
  for (const auto& cycle : facts.schema_cycles) facts.common_schemas.insert(cycle.begin(), cycle.end());
  add_needed(facts.common_schemas, depends);
  return {};
}

Result<> read_large_objects(PgSession& session, DumpDatabaseFacts& facts) {
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT count(*), CASE WHEN count(*) > 0 THEN "
                           "pg_table_size('pg_catalog.pg_largeobject'::regclass) END FROM pg_largeobject_metadata"));
  if (rows.size() != 1) return {};
  facts.large_objects = row_number<uint64_t>(rows.front(), 0);
  facts.large_object_bytes = row_number<uint64_t>(rows.front(), 1);
  facts.database.large_object_count = facts.large_objects;
  return {};
}

}  // namespace

Result<DumpDatabaseFacts> read_dump_database_facts(PgSession& session, const DumpServerFacts& server,
                                                   const std::string& database) {
  DumpDatabaseFacts facts;
  const std::string context = "read facts of database " + database;
  TRY_CTX(read_own_row(session, server, database, facts.database), context);
  TRY_CTX(read_extensions(session, facts.database), context);
  TRY_CTX(read_collations(session, facts.database), context);
  TRY_CTX(read_relations(session, facts), context);
  TRY_CTX(read_schemas(session, facts), context);
  TRY_CTX(read_large_objects(session, facts), context);
  return facts;
}

}  // namespace pgark
