// What the role that dumps may not read, so that pg_dump fails or leaves rows out; and what pg_dump leaves out for
// everybody, or writes in a way that surprises.
#include <algorithm>

#include "ops/dump_warning_scene.h"
#include "pg/sql_text.h"

namespace pgark {
namespace {

using enum DumpWarning::Severity;

/// What grants everything at once, where there is such a thing.
std::string grant_all_hint(const DumpWarningScene& scene, std::string_view otherwise) {
  const std::string role = pg::quote_identifier(scene.role);
  if (scene.server.version_num >= 140000) return fmt::format("GRANT pg_read_all_data TO {}", role);
  return fmt::format("GRANT {} TO {}", otherwise, role);
}

struct Unreadable {
  std::vector<std::string> schemas;
  std::vector<std::string> tables;
  std::vector<std::string> sequences;
  std::vector<std::string> filtered;  // By row security.
};

Result<Unreadable> find_unreadable(DumpWarningScene& scene) {
  Unreadable unreadable;
  TRY_ASSIGN(const PgRows rows,
             scene.session.query(
                 "SELECT c.oid, has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), "
                 "c.relrowsecurity AND row_security_active(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = "
                 "c.relnamespace WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname !~ "
                 "'^pg_' AND n.nspname <> 'information_schema' AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT "
                 "has_table_privilege(c.oid, 'SELECT') OR (c.relrowsecurity AND row_security_active(c.oid))) ORDER BY "
                 "c.oid"));
  for (const PgRow& row : rows) {
    const DumpTable* table = scene.table(row_number<uint32_t>(row, 0));
    if (table == nullptr || !scene.selection.includes(*table)) continue;
    // Definitions of sequences are in a catalog; only their position is read.
    if (table->kind == 'S' && !scene.selection.includes_data(*table)) continue;
    const std::string name = dump_table_name(*table);
    const std::string schema = pg::quote_identifier(table->schema);
    if (!row_true(row, 1)) {
      auto& schemas = unreadable.schemas;
      if (std::find(schemas.begin(), schemas.end(), schema) == schemas.end()) schemas.push_back(schema);
    } else if (!row_true(row, 2)) {
      (table->kind == 'S' ? unreadable.sequences : unreadable.tables).push_back(name);
    } else if (scene.selection.includes_data(*table)) {
      unreadable.filtered.push_back(name);
    }
  }
  return unreadable;
}

void tell_unreadable(DumpWarningScene& scene, const Unreadable& unreadable) {
  const auto fails = [](std::string_view what) {
    return fmt::format("pg_dump ends with \"permission denied\" at {}", what);
  };
  if (!unreadable.schemas.empty()) {
    scene.add(kError, "unreadable_schemas",
              fmt::format("role {} may not use {}: {}", scene.role, dump_count(unreadable.schemas.size(), "schema"),
                          dump_name_list(unreadable.schemas)),
              fails("the first table in one of them"),
              grant_all_hint(scene, "USAGE ON SCHEMA ...") + ", or leave them out with --exclude-schema");
  }
  if (!unreadable.tables.empty()) {
    scene.add(kError, "unreadable_tables",
              fmt::format("role {} may not read {}: {}", scene.role, dump_count(unreadable.tables.size(), "table"),
                          dump_name_list(unreadable.tables)),
              fails("the first of them, also when only definitions are dumped"),
              grant_all_hint(scene, "SELECT ON ALL TABLES IN SCHEMA ...") + ", or leave them out with --exclude-table");
  }
  if (!unreadable.sequences.empty()) {
    scene.add(
        kError, "unreadable_sequences",
        fmt::format("role {} may not read {}: {}", scene.role, dump_count(unreadable.sequences.size(), "sequence"),
                    dump_name_list(unreadable.sequences)),
        fails("the first of them"),
        grant_all_hint(scene, "SELECT ON ALL SEQUENCES IN SCHEMA ...") + ", or leave them out with --exclude-table");
  }
  if (!unreadable.filtered.empty()) {
    const bool accepted = scene.selection.has("enable-row-security");
    scene.add(accepted ? kWarning : kError, "row_security",
              fmt::format("policies of row security apply to role {} in {}: {}", scene.role,
                          dump_count(unreadable.filtered.size(), "table"), dump_name_list(unreadable.filtered)),
              accepted ? "only the rows the role may see are dumped (--enable-row-security)"
                       : "pg_dump ends with \"query would be affected by row-level security policy\"",
              fmt::format("dump as the owner of the tables or a superuser, or ALTER ROLE {} BYPASSRLS{}",
                          pg::quote_identifier(scene.role),
                          accepted ? "" : "; --enable-row-security dumps only the rows the role may see"));
  }
}

Result<> warn_of_large_object_rights(DumpWarningScene& scene) {
  if (scene.facts.large_objects == 0 || !scene.selection.large_objects()) return {};
  const auto rows = query_that_may_fail(
      scene.session,
      "SELECT count(*) FROM pg_largeobject_metadata m WHERE current_setting('lo_compat_privileges') = 'off' AND NOT "
      "pg_has_role(m.lomowner, 'USAGE') AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = "
      "'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))");
  if (!rows) return is_end_of_session(rows.error()) ? Result<>(rows.error()) : Result<>();
  const auto count = rows->empty() ? 0 : row_number<uint64_t>(rows->front(), 0);
  if (count == 0) return {};
  scene.add(kError, "unreadable_large_objects",
            fmt::format("role {} may not read {}", scene.role, dump_count(count, "large object")),
            "pg_dump ends with \"permission denied for large object\"",
            "GRANT SELECT ON LARGE OBJECT ... to the role, dump as their owner, or leave them out with "
            "--no-large-objects");
  return {};
}

/// Names from one column of a query that may be refused; none then.
Result<std::vector<std::string>> names_of(DumpWarningScene& scene, const std::string& sql) {
  const auto rows = query_that_may_fail(scene.session, sql);
  if (!rows && is_end_of_session(rows.error())) return Error(rows.error());
  std::vector<std::string> names;
  if (!rows) return names;
  for (const PgRow& row : *rows) names.push_back(row_text(row, 0));
  return names;
}

void warn_of_kinds(DumpWarningScene& scene) {
  std::vector<std::string> unlogged;
  std::vector<std::string> foreign;
  for (const DumpTable& table : scene.facts.tables) {
    if (table.unlogged && table.kind == 'r' && scene.selection.includes_data(table))
      unlogged.push_back(dump_table_name(table));
    if (table.kind == 'f' && scene.selection.includes_data(table)) foreign.push_back(dump_table_name(table));
  }
  if (!unlogged.empty()) {
    const std::string what = fmt::format(
        "{} unlogged: {}", unlogged.size() == 1 ? "1 table is" : fmt::format("{} tables are", unlogged.size()),
        dump_name_list(unlogged));
    if (scene.server.in_recovery) {
      scene.add(kWarning, "unlogged_tables", what,
                "a standby has none of their rows: their definitions are dumped, empty",
                "dump them from the primary: --table");
    } else {
      scene.add(kInfo, "unlogged_tables", what, "their rows are dumped, though a crash or a failover would empty them",
                "leave their rows out with --no-unlogged-table-data if nobody needs them");
    }
  }
  if (!foreign.empty() && !scene.selection.has("include-foreign-data")) {
    scene.add(
        kInfo, "foreign_tables",
        fmt::format("{} foreign: {}", foreign.size() == 1 ? "1 table is" : fmt::format("{} tables are", foreign.size()),
                    dump_name_list(foreign)),
        "their definitions are dumped and their rows are not: they are another server's",
        "back up that server, or give --include-foreign-data=SERVER");
  }
}

Result<> warn_of_indexes(DumpWarningScene& scene) {
  TRY_ASSIGN(
      const auto names,
      names_of(scene,
               "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i JOIN pg_class c ON "
               "c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = "
               "c.relnamespace WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind = 'i' AND t.relkind <> 'p' "
               "AND n.nspname !~ '^pg_' ORDER BY 1"));
  if (names.empty()) return {};
  scene.add(
      kWarning, "invalid_indexes",
      fmt::format("{} invalid: {}", names.size() == 1 ? "1 index is" : fmt::format("{} indexes are", names.size()),
                  dump_name_list(names)),
      "pg_dump leaves them out: what they were to enforce or speed up is missing after a load",
      "REINDEX INDEX CONCURRENTLY, or drop what a failed CREATE INDEX CONCURRENTLY left behind");
  return {};
}

/// Tables that extensions made, whose rows they do not give to pg_dump.
Result<> warn_of_extensions(DumpWarningScene& scene) {
  TRY_ASSIGN(const auto names,
             names_of(scene,
                      "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' of ' || e.extname FROM "
                      "pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_class c ON c.oid = d.objid JOIN "
                      "pg_namespace n ON n.oid = c.relnamespace WHERE d.classid = 'pg_catalog.pg_class'::regclass AND "
                      "d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'r' AND "
                      "NOT coalesce(c.oid = ANY (e.extconfig), false) AND (c.relpages > 0 OR c.reltuples > 0 OR EXISTS "
                      "(SELECT FROM pg_stat_user_tables s WHERE s.relid = c.oid AND s.n_live_tup > 0)) ORDER BY 1"));
  if (names.empty() || !scene.selection.data()) return {};
  scene.add(kWarning, "extension_tables",
            fmt::format("{} of extensions {} rows that pg_dump leaves out: {}", dump_count(names.size(), "table"),
                        names.size() == 1 ? "has" : "have", dump_name_list(names)),
            "an extension has to mark the tables whose rows belong to the user (pg_extension_config_dump); CREATE "
            "EXTENSION makes these as it ships them",
            "copy those rows apart if they are not what the extension ships");
  return {};
}

Result<> warn_of_encoding(DumpWarningScene& scene) {
  if (scene.facts.database.encoding == "SQL_ASCII") {
    scene.add(
        kWarning, "sql_ascii", "the encoding of the database is SQL_ASCII",
        "the server never checked which bytes it was given: a load into a database of any other encoding fails at "
        "the first that do not fit",
        "load into a database of encoding SQL_ASCII, or find and mend what is no UTF-8 first");
  }
  std::string sql =
      "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.collname) FROM pg_collation c JOIN pg_namespace n ON "
      "n.oid "
      "= c.collnamespace WHERE c.collversion <> pg_collation_actual_version(c.oid) AND EXISTS (SELECT FROM pg_depend d "
      "WHERE d.refclassid = 'pg_catalog.pg_collation'::regclass AND d.refobjid = c.oid AND d.deptype <> 'e')";
  if (scene.server.version_num >= 150000)
    sql +=
        " UNION ALL SELECT 'the default of the database' FROM pg_database WHERE datname = current_database() AND "
        "datcollversion <> pg_database_collation_actual_version(oid)";
  TRY_ASSIGN(const auto names, names_of(scene, sql));
  if (names.empty()) return {};
  scene.add(kWarning, "collation_version",
            fmt::format("the system's version of {} changed since the database recorded it: {}",
                        dump_count(names.size(), "collation"), dump_name_list(names)),
            "indexes on text may be out of order here: duplicates that slipped through make a load fail",
            "REINDEX the indexes concerned, look for duplicates, then ALTER DATABASE ... REFRESH COLLATION VERSION");
  return {};
}

Result<> warn_of_what_is_left_out(DumpWarningScene& scene) {
  if (!scene.superuser && scene.selection.definitions() && !scene.selection.has("no-subscriptions") &&
      scene.selection.whole()) {
    TRY_ASSIGN(const auto names,
               names_of(scene,
                        "SELECT quote_ident(subname) FROM pg_subscription WHERE subdbid = (SELECT oid FROM "
                        "pg_database WHERE datname = current_database()) ORDER BY 1"));
    if (!names.empty()) {
      scene.add(kWarning, "subscriptions",
                fmt::format("{} left out: {}",
                            names.size() == 1 ? "1 subscription is" : fmt::format("{} subscriptions are", names.size()),
                            dump_name_list(names)),
                "only superusers may read what they connect with",
                "dump as a superuser, or keep CREATE SUBSCRIPTION elsewhere");
    }
  }
  if (scene.server.version_num >= 120000 || !scene.selection.data()) return {};
  TRY_ASSIGN(const auto with_oids,
             names_of(scene,
                      "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN "
                      "pg_namespace n ON n.oid = c.relnamespace WHERE c.relhasoids AND c.relkind = 'r' AND "
                      "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1"));
  if (with_oids.empty()) return {};
  scene.add(kWarning, "tables_with_oids",
            fmt::format("{} an oid for each row: {}",
                        with_oids.size() == 1 ? "1 table has" : fmt::format("{} tables have", with_oids.size()),
                        dump_name_list(with_oids)),
            "pg_dump leaves them out, and from PostgreSQL 12 on there are none",
            "if something refers to rows by them, copy them into a column first");
  return {};
}

void warn_of_cycles(DumpWarningScene& scene) {
  if (scene.facts.schema_cycles.empty()) return;
  std::vector<std::string> cycles;
  for (const auto& cycle : scene.facts.schema_cycles) cycles.push_back(dump_name_list(cycle));
  std::string what;
  for (const std::string& cycle : cycles) what += (what.empty() ? "" : "; ") + cycle;
  scene.add(
      kInfo, "schema_cycle", "schemas need each other: " + what,
      "none of them loads without errors alone into an empty database; --split=schema keeps them together, in the "
      "common part",
      "load all of them together");
}

}  // namespace

Result<> warn_of_rights(DumpWarningScene& scene) {
  if (scene.superuser) return {};
  TRY_ASSIGN(const Unreadable unreadable, find_unreadable(scene));
  tell_unreadable(scene, unreadable);
  return warn_of_large_object_rights(scene);
}

Result<> warn_of_content(DumpWarningScene& scene) {
  warn_of_kinds(scene);
  TRY(warn_of_indexes(scene));
  TRY(warn_of_extensions(scene));
  TRY(warn_of_encoding(scene));
  TRY(warn_of_what_is_left_out(scene));
  warn_of_cycles(scene);
  return {};
}

}  // namespace pgark
