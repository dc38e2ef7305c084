// What stands in the way of a load, looked for on the server before anything is changed.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ops/load_plan.h"

namespace pgark {
namespace {

constexpr size_t kNamesShown = 10;

std::string join_some(const std::vector<std::string>& names) {
  std::string text;
  for (size_t at = 0; at < names.size() && at < kNamesShown; ++at) text += (at == 0 ? "" : ", ") + names[at];
  if (names.size() > kNamesShown) text += fmt::format(" and {} more", names.size() - kNamesShown);
  return text;
}

/// The query that tells whether an entry's object is there: a regclass lookup and its kin; empty: cannot be told.
std::string lookup_of(const pg::DumpTocEntry& entry) {
  static constexpr std::array<std::string_view, 3> kRoutines = {"FUNCTION", "PROCEDURE", "AGGREGATE"};
  static constexpr std::array<std::string_view, 3> kTypes = {"TYPE", "DOMAIN", "SHELL TYPE"};
  const auto in = [&](const auto& words) { return std::find(words.begin(), words.end(), entry.desc) != words.end(); };
  if (is_relation(entry) || entry.desc == "INDEX") return "pg_catalog.to_regclass(n) IS NOT NULL";
  if (in(kTypes)) return "pg_catalog.to_regtype(n) IS NOT NULL";
  if (in(kRoutines)) return "pg_catalog.to_regprocedure(n) IS NOT NULL";
  if (entry.desc == "SCHEMA") return "EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = n)";
  if (entry.desc == "EXTENSION") return "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = n)";
  if (entry.desc == "PROCEDURAL LANGUAGE") return "EXISTS (SELECT FROM pg_catalog.pg_language WHERE lanname = n)";
  return {};
}

std::string lookup_name(const pg::DumpTocEntry& entry) {
  if (entry.desc == "SCHEMA" || entry.desc == "EXTENSION" || entry.desc == "PROCEDURAL LANGUAGE") return entry.tag;
  // Functions are named with their arguments, quoted as they need to be.
  if (entry.tag.find('(') != std::string::npos && !is_relation(entry) && entry.desc != "INDEX")
    return pg::quote_identifier(entry.schema.value_or("public")) + "." + entry.tag;
  return quote_qualified(entry.schema.value_or("public"), entry.tag);
}

}  // namespace

void LoadInspector::find(Severity severity, std::string code, std::string what, std::string mend) {
  findings_.push_back({severity, std::move(code), database_.step.database, std::move(what), std::move(mend)});
}

Result<> LoadInspector::inspect(const LoadChoice& choice) {
  inspect_roles();
  inspect_tablespaces();
  TRY(inspect_extensions(choice));
  for (LoadUnit& unit : database_.units)
    if (unit.toc) TRY(leave_out_schemas(unit));
  if (session_ == nullptr) return {};
  TRY(inspect_encoding());
  TRY(inspect_collations());
  TRY(inspect_schema_map());
  TRY(inspect_needed(choice));
  TRY(inspect_existing());
  return inspect_rights();
}

void LoadInspector::inspect_roles() {
  std::set<std::string> named;
  const bool owners = !load_has_argument(request_, "--no-owner", "-O");
  for (const LoadUnit& unit : database_.units) {
    if (!unit.toc) continue;
    for (const size_t at : unit.chosen.all()) {
      const pg::DumpTocEntry& entry = unit.toc->entries[at];
      if (owners && entry.owner && !entry.owner->empty() && !entry.has_data) named.insert(*entry.owner);
      const bool names_roles = entry.desc == "ACL" || entry.desc == "DEFAULT ACL" || entry.desc == "POLICY";
      if (!names_roles || !entry.definition) continue;
      if (const auto roles = pg::named_roles(*entry.definition); roles) named.insert(roles->begin(), roles->end());
    }
  }
  std::set<std::string> coming;
  if (request_.globals)
    for (const DumpRole& role : dump_.meta.roles) {
      const auto mapped = request_.role_map.find(role.name);
      coming.insert(mapped == request_.role_map.end() ? role.name : mapped->second);
    }
  std::vector<std::string> missing;
  for (const std::string& role : named)
    if (!server_.roles.contains(role) && !coming.contains(role) && !role.starts_with("pg_")) missing.push_back(role);
  if (missing.empty()) return;
  find(Severity::kError, "missing_role",
       fmt::format("role{} {} {} not on the server", missing.size() == 1 ? "" : "s", join_some(missing),
                   missing.size() == 1 ? "is" : "are"),
       "make the dump's roles first with --globals, give theirs to others with --role-map=OLD:NEW, or load with "
       "--no-owner --no-acl");
}

void LoadInspector::inspect_tablespaces() {
  if (load_has_argument(request_, "--no-tablespaces")) return;
  std::set<std::string> missing;
  const bool coming = request_.globals && dump_.meta.globals;
  for (const LoadUnit& unit : database_.units) {
    if (!unit.toc) continue;
    for (const size_t at : unit.chosen.all()) {
      const auto& tablespace = unit.toc->entries[at].tablespace;
      if (!tablespace || tablespace->empty() || server_.tablespaces.contains(*tablespace)) continue;
      const auto& dumped = dump_.meta.tablespaces;
      if (!coming || std::find(dumped.begin(), dumped.end(), *tablespace) == dumped.end()) missing.insert(*tablespace);
    }
  }
  if (missing.empty()) return;
  find(Severity::kError, "missing_tablespace",
       "tablespace " + join_some({missing.begin(), missing.end()}) + " is not on the server",
       "create it, or load with --no-tablespaces");
}

Result<> LoadInspector::inspect_extensions(const LoadChoice& choice) {
  std::map<std::string, std::string> recorded;
  if (database_.facts != nullptr)
    for (const BackupExtension& extension : database_.facts->extensions) recorded[extension.name] = extension.version;
  std::set<std::string> chosen;
  for (const LoadUnit& unit : database_.units)
    if (unit.toc)
      for (const size_t at : unit.chosen.all())
        if (unit.toc->entries[at].desc == "EXTENSION") chosen.insert(unit.toc->entries[at].tag);
  std::map<std::string, std::string> installed;
  if (session_ != nullptr) {
    TRY_ASSIGN(const PgRows rows, session_->query("SELECT extname, extversion FROM pg_catalog.pg_extension"));
    for (const PgRow& row : rows) installed[row[0].value_or("")] = row[1].value_or("");
  }
  // A part that is loaded alone may need what only the whole brings.
  if (!choice.whole() && !choice.data_only)
    for (const auto& [name, version] : recorded)
      if (!chosen.contains(name) && !installed.contains(name) && name != "plpgsql")
        find(Severity::kInfo, "missing_extension",
             fmt::format("the dumped database had extension {} {}, this one has not", name, version),
             fmt::format("if what is loaded needs it: CREATE EXTENSION {}", pg::quote_identifier(name)));
  if (!server_.extensions_unknown.empty() && !chosen.empty()) {
    find(Severity::kWarning, "missing_extension",
         "the server cannot tell which extensions it has: " + server_.extensions_unknown,
         "mend what it names, or load and see");
    return {};
  }
  for (const std::string& name : chosen) {
    const auto available = server_.available_extensions.find(name);
    const auto there = installed.find(name);
    if (available == server_.available_extensions.end() && there == installed.end()) {
      find(Severity::kError, "missing_extension", fmt::format("extension {} is not available on the server", name),
           "install its package on the server's host");
      continue;
    }
    const std::string version = there != installed.end() ? there->second : available->second;
    const auto dumped = recorded.find(name);
    if (dumped != recorded.end() && dumped->second != version)
      find(Severity::kWarning, "extension_version",
           fmt::format("extension {} was {} when it was dumped, and {} {}", name, dumped->second,
                       there != installed.end() ? "is" : "will be", version),
           "an application that needs the older version has to be tried with this one");
  }
  return {};
}

Result<> LoadInspector::inspect_encoding() {
  if (database_.facts == nullptr || database_.facts->encoding.empty()) return {};
  const auto there = server_.databases.find(database_.step.database);
  if (there == server_.databases.end() || there->second == database_.facts->encoding) return {};
  find(Severity::kWarning, "other_encoding",
       fmt::format("the dumped database is in {}, this one in {}", database_.facts->encoding, there->second),
       "a character that has no place in the other encoding ends the load; --create makes a database of the same");
  return {};
}

/// Of the database itself, if it is of the same name.
Result<> LoadInspector::inspect_default_collation() {
  if (database_.facts->collation_version.empty() || server_.version_num < 150000) return {};
  TRY_ASSIGN(const PgRows rows,
             session_->query("SELECT datcollate, pg_catalog.pg_database_collation_actual_version(oid) "
                             "FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"));
  if (rows.empty() || rows[0][0] != database_.facts->collate || !rows[0][1]) return {};
  if (*rows[0][1] == database_.facts->collation_version) return {};
  find(Severity::kInfo, "collation_version",
       fmt::format("text sorts by version {} of collation {} here, in the dumped database by {}", *rows[0][1],
                   database_.facts->collate, database_.facts->collation_version),
       "indexes are built anew and are right; partitions by ranges of text, and checks that compare text, may refuse "
       "rows");
  return {};
}

Result<> LoadInspector::inspect_collations() {
  if (database_.facts == nullptr) return {};
  TRY(inspect_default_collation());
  if (database_.facts->collation_versions.empty()) return {};
  TRY_ASSIGN(const PgRows rows,
             session_->query("SELECT n.nspname || '.' || c.collname, pg_catalog.pg_collation_actual_version(c.oid) "
                             "FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace "
                             "WHERE c.collprovider <> 'd'"));
  std::vector<std::string> differ;
  for (const PgRow& row : rows) {
    const auto dumped = database_.facts->collation_versions.find(row[0].value_or(""));
    if (dumped == database_.facts->collation_versions.end() || !row[1] || *row[1] == dumped->second) continue;
    differ.push_back(fmt::format("{} was {}, is {}", dumped->first, dumped->second, *row[1]));
  }
  if (!differ.empty())
    find(Severity::kInfo, "collation_version", "collations sort by other versions here: " + join_some(differ),
         "indexes are built anew and are right; partitions by ranges of text, and checks that compare text, may refuse "
         "rows");
  return {};
}

Result<std::set<std::string>> LoadInspector::which_exist(const std::string& lookup,
                                                         const std::vector<std::string>& names) {
  std::set<std::string> found;
  if (names.empty()) return found;
  TRY_ASSIGN(
      const PgRows rows,
      session_->query("SELECT n FROM pg_catalog.unnest($1::text[]) AS names(n) WHERE " + lookup, {text_array(names)}));
  for (const PgRow& row : rows) found.insert(row[0].value_or(""));
  return found;
}

Result<std::set<size_t>> LoadInspector::which_entries_exist(const LoadUnit& unit, const std::vector<size_t>& entries) {
  std::map<std::string, std::vector<std::string>> names;  // By lookup.
  for (const size_t at : entries)
    if (const std::string lookup = lookup_of(unit.toc->entries[at]); !lookup.empty())
      names[lookup].push_back(lookup_name(unit.toc->entries[at]));
  std::map<std::string, std::set<std::string>> found;
  for (const auto& [lookup, list] : names) {
    auto exist = which_exist(lookup, list);
    // Arguments of a type that is missing make the lookup of a function fail: then it is not there.
    if (!exist && lookup.find("to_regprocedure") == lookup.npos) return std::move(exist).error();
    if (exist) found[lookup] = std::move(*exist);
  }
  std::set<size_t> there;
  for (const size_t at : entries)
    if (found[lookup_of(unit.toc->entries[at])].contains(lookup_name(unit.toc->entries[at]))) there.insert(at);
  return there;
}

Result<> LoadInspector::inspect_needed(const LoadChoice& choice) {
  if (choice.whole() || choice.data_only) return {};
  for (LoadUnit& unit : database_.units)
    if (unit.toc) TRY(inspect_needed_of(choice, unit));
  return {};
}

/// Schemas, types and functions that are missing come along; a table that is missing is the user's choice.
Result<> LoadInspector::inspect_needed_of(const LoadChoice& choice, LoadUnit& unit) {
  static constexpr std::array<std::string_view, 3> kLeftOut = {"FK CONSTRAINT", "TABLE ATTACH", "INDEX ATTACH"};
  std::vector<std::string> brought;
  std::set<size_t> left_out;
  std::set<size_t> missing;
  for (bool more = true; more;) {
    more = false;
    const auto needed = needed_entries(*unit.toc, unit.chosen);
    std::vector<size_t> places;
    for (const NeededEntry& one : needed) places.push_back(one.entry);
    TRY_ASSIGN(const auto there, which_entries_exist(unit, places));
    std::set<size_t> bring;
    for (const NeededEntry& one : needed) {
      const pg::DumpTocEntry& entry = unit.toc->entries[one.entry];
      if (lookup_of(entry).empty() || there.contains(one.entry)) continue;
      const std::string& desc = unit.toc->entries[one.of].desc;
      if (std::find(kLeftOut.begin(), kLeftOut.end(), desc) != kLeftOut.end()) {
        left_out.insert(one.of);
        continue;
      }
      if (!is_relation(entry) || entry.desc == "SEQUENCE") {
        if (bring.insert(one.entry).second) brought.push_back(entry_label(entry));
        continue;
      }
      if (!missing.insert(one.entry).second) continue;
      find(Severity::kError, "missing_object",
           fmt::format("{} needs {}, which is not in this database", entry_label(unit.toc->entries[one.of]),
                       entry_label(entry)),
           fmt::format("load it too: --table={}", quote_qualified(entry.schema.value_or(""), entry.tag)));
    }
    if (!bring.empty()) {
      add_entries(*unit.toc, choice, {bring.begin(), bring.end()}, unit.chosen);
      more = true;
    }
  }
  TRY_ASSIGN(const auto dangling, dangling_references(unit));
  left_out.insert(dangling.begin(), dangling.end());
  for (const size_t at : left_out)
    if (unit.toc->entries[at].desc != "INDEX ATTACH")  // The table's own says it.
      find(Severity::kWarning, "reference_left_out",
           entry_label(unit.toc->entries[at]) + " is left out: the table it refers to is not in this database",
           "load that table too, or add the reference by hand");
  remove_entries(*unit.toc, left_out, unit.chosen);
  if (!brought.empty())
    find(Severity::kInfo, "needed_object", "needed, and not there: " + join_some(brought) + " will be made too", "");
  return {};
}

/// Foreign keys to tables that are neither loaded nor there.
Result<std::set<size_t>> LoadInspector::dangling_references(const LoadUnit& unit) {
  RelationKeys loaded;
  for (const LoadUnit& one : database_.units)
    if (one.toc)
      for (const size_t at : one.chosen.pre)
        if (is_relation(one.toc->entries[at]))
          loaded.emplace(one.toc->entries[at].schema.value_or(""), one.toc->entries[at].tag);
  std::map<size_t, std::string> names;
  for (const size_t at : unit.chosen.post)
    if (const auto table = referenced_table(unit.toc->entries[at]); table && !loaded.contains(*table))
      names.emplace(at, quote_qualified(table->first, table->second));
  std::vector<std::string> all;
  for (const auto& [at, name] : names) all.push_back(name);
  TRY_ASSIGN(const auto there, which_exist("pg_catalog.to_regclass(n) IS NOT NULL", all));
  std::set<size_t> dangling;
  for (const auto& [at, name] : names)
    if (!there.contains(name)) dangling.insert(at);
  return dangling;
}

/// Schemas that are there are not made. "public" is there in every new database, and is never dropped: its privileges
/// and comment are loaded, those of others that are there stay as they are.
Result<> LoadInspector::leave_out_schemas(LoadUnit& unit) {
  std::vector<size_t> schemas;
  for (const size_t at : unit.chosen.pre)
    if (const pg::DumpTocEntry& entry = unit.toc->entries[at];
        entry.desc == "SCHEMA" && !request_.schema_map.contains(entry.tag))
      schemas.push_back(at);
  std::set<size_t> there;
  if (session_ != nullptr) {
    TRY_ASSIGN(there, which_entries_exist(unit, schemas));
  }
  const auto is_public = [&](size_t at) { return unit.toc->entries[at].tag == "public"; };
  std::erase_if(unit.chosen.pre, [&](size_t at) {
    return unit.toc->entries[at].desc == "SCHEMA" && is_public(at) && (session_ == nullptr || there.contains(at)) &&
           !request_.schema_map.contains("public");
  });
  std::erase_if(there, is_public);
  // With --clean a schema is dropped and made anew, if all of it is loaded.
  if (!request_.clean || !request_.tables.empty()) remove_entries(*unit.toc, std::move(there), unit.chosen);
  return {};
}

Result<> LoadInspector::inspect_existing() {
  for (LoadUnit& unit : database_.units) {
    if (!unit.toc) continue;
    std::vector<size_t> relations;
    for (const size_t at : request_.data_only ? unit.chosen.data : unit.chosen.pre) {
      const pg::DumpTocEntry& entry = unit.toc->entries[at];
      if (is_relation(entry) && !request_.schema_map.contains(entry.schema.value_or(""))) relations.push_back(at);
    }
    TRY_ASSIGN(const auto there, which_entries_exist(unit, relations));
    std::vector<std::string> names;
    for (const size_t at : there) names.push_back(entry_label(unit.toc->entries[at]));
    if (names.empty()) continue;
    if (request_.clean)
      find(Severity::kInfo, "object_dropped", "will be dropped and made anew: " + join_some(names), "");
    else
      find(Severity::kError, "object_exists", "already in the database: " + join_some(names),
           "drop them first with --clean --if-exists, load only rows with --data-only, load into another database "
           "(--db-map=OLD:NEW --create), or a schema under another name (--schema-map=OLD:NEW)");
  }
  if (!request_.data_only) return {};
  for (const LoadUnit& unit : database_.units) {
    std::vector<std::string> names;
    if (!unit.toc) continue;
    for (const size_t at : unit.chosen.data)
      if (unit.toc->entries[at].desc == "TABLE DATA")
        names.push_back(quote_qualified(unit.toc->entries[at].schema.value_or(""), unit.toc->entries[at].tag));
    TRY_ASSIGN(const auto there, which_exist("pg_catalog.to_regclass(n) IS NOT NULL", names));
    std::erase_if(names, [&](const std::string& name) { return there.contains(name); });
    if (!names.empty())
      find(Severity::kError, "missing_object", "there is no table for rows of " + join_some(names),
           "load it with its definition: without --data-only");
  }
  return {};
}

Result<> LoadInspector::inspect_schema_map() {
  if (request_.schema_map.empty()) return {};
  std::vector<std::string> names;
  for (const auto& [from, to] : request_.schema_map) {
    names.push_back(from);
    names.push_back(to);
  }
  TRY_ASSIGN(const auto there, which_exist("EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = n)", names));
  for (const auto& [from, to] : request_.schema_map) {
    if (there.contains(from)) database_.aside.insert(from);
    if (there.contains(to))
      find(Severity::kError, "object_exists",
           fmt::format("schema {} cannot be loaded as {}: there is a schema of that name", from, to),
           fmt::format("choose another name, or drop it: DROP SCHEMA {} CASCADE", pg::quote_identifier(to)));
  }
  return {};
}

Result<> LoadInspector::inspect_rights() {
  if (server_.superuser) return {};
  TRY_ASSIGN(
      const std::string may_create,
      session_->query_value("SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')"));
  const bool makes_schemas = std::any_of(database_.units.begin(), database_.units.end(), [](const LoadUnit& unit) {
    return unit.toc && std::any_of(unit.chosen.pre.begin(), unit.chosen.pre.end(), [&](size_t at) {
             return unit.toc->entries[at].desc == "SCHEMA" || unit.toc->entries[at].desc == "EXTENSION";
           });
  });
  if (may_create != "t" && (makes_schemas || !request_.schema_map.empty()))
    find(Severity::kError, "insufficient_rights",
         fmt::format("role {} may not create schemas in database {}", server_.role, database_.step.database),
         fmt::format("as a superuser: GRANT CREATE ON DATABASE {} TO {}", pg::quote_identifier(database_.step.database),
                     pg::quote_identifier(server_.role)));
  std::set<std::string> foreign;
  bool row_security = false;
  for (const LoadUnit& unit : database_.units) {
    if (!unit.toc) continue;
    for (const size_t at : unit.chosen.all()) {
      const pg::DumpTocEntry& entry = unit.toc->entries[at];
      if (entry.owner && !entry.owner->empty() && !server_.usable_roles.contains(*entry.owner) && !entry.has_data)
        foreign.insert(*entry.owner);
      row_security = row_security || entry.desc == "ROW SECURITY";
    }
  }
  if (!foreign.empty() && !load_has_argument(request_, "--no-owner", "-O"))
    find(Severity::kError, "insufficient_rights",
         fmt::format("role {} may not give objects to {}", server_.role, join_some({foreign.begin(), foreign.end()})),
         "load as a superuser, have the role made a member of them, or load with --no-owner");
  if (row_security && request_.data_only && !server_.bypasses_row_security)
    find(Severity::kWarning, "row_security", "tables with row security take rows only from who bypasses it",
         "load as their owner or a superuser, or with --enable-row-security");
  return {};
}

}  // namespace pgark
