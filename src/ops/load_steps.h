// The steps of a load: roles, databases, what is in them, and the count afterwards.
#pragma once

#include <string>
#include <vector>

#include "ops/load_plan.h"

namespace pgark {

/// Make the roles and tablespaces of a dump that are not there yet. What is there stays as it is.
/// Shape:  `notes`: what was made and what stays. Errors never repeat a statement: it may hold a password.
Result<> load_globals(const LoadTools& tools, const DumpUnit& unit, const LoadServerFacts& server,
                      std::vector<std::string>& notes);

/// Pure: statements of pg_dumpall --globals-only that are to be run where `roles` and `tablespaces` are there already.
struct GlobalsScript {
  std::vector<std::string> settings;     // SET ...
  std::vector<std::string> roles;        // In one transaction.
  std::vector<std::string> tablespaces;  // Each alone.
  std::vector<std::string> made;         // "role app"
  std::vector<std::string> kept;
};
Result<GlobalsScript> choose_globals(std::string_view script, const std::set<std::string>& roles,
                                     const std::set<std::string>& tablespaces);

/// Create the database of a step, dropped first if the step says so.
Result<> create_database(const LoadTools& tools, const LoadDatabase& database);
/// Settings, privileges and comment of a database that was created: last, since they may forbid what a load does.
Result<> apply_database_properties(const LoadTools& tools, const LoadDatabase& database,
                                   std::vector<std::string>& errors);
/// Remove a database that was created for a load that failed.
void drop_created_database(const LoadRequest& request, const std::string& name);
/// Pure: a statement with the database `from` named `to`.
Result<std::string> rename_database_in(std::string_view statement, const std::string& from, const std::string& to);
/// Pure: pg_dump's CREATE DATABASE as a server of that version understands it: one before 13 has no LOCALE, one before
/// 15 no LOCALE_PROVIDER. (The pg_dump that wrote it may be newer than the server.)
Result<std::string> create_database_for_server(std::string_view statement, uint32_t version_num);
/// Pure: statements that give a database the privileges in `acl` ("{=Tc/app,reader=c/app}", as pg_database has them).
std::vector<std::string> database_grants(const std::string& database, const std::string& acl, const pg::RoleMap& roles);

/// Load what was chosen into a database that exists: all in one transaction, or step by step.
/// Shape:  `errors`: what failed where the load went on.
Result<> load_database(const LoadTools& tools, const LoadDatabase& database, std::vector<std::string>& errors);

/// Rows of the tables of a step that have recorded counts, seen in one snapshot.
Result<std::vector<LoadedTable>> count_loaded_tables(const LoadTools& tools, const Dump& dump,
                                                     const LoadDatabase& database);
/// Rows that are there already in tables that rows are added to.
Result<std::map<RelationKey, uint64_t>> count_before(const LoadTools& tools, const LoadDatabase& database);

/// Of the server, but with this database.
PgEndpoint endpoint_of(const LoadRequest& request, const std::string& database);

}  // namespace pgark
