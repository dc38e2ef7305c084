#include "ops/relation_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/log.h"

namespace pgark {
namespace {

struct Database {
  std::string name;
  bool takes_connections = false;
};

Result<std::map<uint32_t, Database>> read_databases(PgSession& session) {
  TRY_ASSIGN(const PgRows rows, session.query("SELECT oid, datname, datallowconn::int FROM pg_database"));
  std::map<uint32_t, Database> databases;
  for (const PgRow& row : rows) {
    const auto oid = static_cast<uint32_t>(std::strtoul(row.at(0).value_or("0").c_str(), nullptr, 10));
    databases[oid] = {row.at(1).value_or(""), row.at(2).value_or("0") == "1"};
  }
  return databases;
}

/// Add the names of `relations`, all of the session's database or shared.
Result<> read_names(PgSession& session, const std::vector<pg::WalRelation>& relations, const std::string& database,
                    std::map<pg::WalRelation, RelationName>& names) {
  std::string tablespaces;
  std::string files;
  for (const pg::WalRelation& relation : relations) {
    tablespaces += fmt::format("{}{}", tablespaces.empty() ? "" : ",", relation.tablespace_oid);
    files += fmt::format("{}{}", files.empty() ? "" : ",", relation.relfilenode);
  }
  TRY_ASSIGN(const PgRows rows,
             session.query("SELECT f.place, format('%I.%I', n.nspname, c.relname)"
                           " FROM unnest($1::oid[], $2::oid[]) WITH ORDINALITY AS f(tablespace, file, place)"
                           " JOIN pg_class c ON c.oid = pg_filenode_relation(f.tablespace, f.file)"
                           " JOIN pg_namespace n ON n.oid = c.relnamespace",
                           {"{" + tablespaces + "}", "{" + files + "}"}));
  for (const PgRow& row : rows) {
    const size_t place = std::strtoul(row.at(0).value_or("0").c_str(), nullptr, 10);
    if (place == 0 || place > relations.size()) continue;
    names[relations[place - 1]] = {database, row.at(1).value_or("")};
  }
  return {};
}

}  // namespace

Result<std::map<pg::WalRelation, RelationName>> find_relation_names(
    const std::vector<pg::WalRelation>& relations,
    const std::function<Result<std::unique_ptr<PgSession>>(const std::string& database)>& open) {
  std::map<pg::WalRelation, RelationName> names;
  std::map<uint32_t, std::vector<pg::WalRelation>> by_database;
  for (const pg::WalRelation& relation : relations) {
    auto& list = by_database[relation.database_oid];
    if (std::find(list.begin(), list.end(), relation) == list.end()) list.push_back(relation);
  }
  TRY_ASSIGN(const auto session, open(""));
  TRY_ASSIGN(const auto databases, read_databases(*session));
  for (const auto& [oid, list] : by_database) {
    if (oid == 0) {  // Shared relations are in the catalog of every database.
      TRY(read_names(*session, list, "", names));
      continue;
    }
    const auto database = databases.find(oid);
    if (database == databases.end()) continue;
    for (const pg::WalRelation& relation : list) names[relation] = {database->second.name, ""};
    if (!database->second.takes_connections) continue;
    const auto own = open(database->second.name);
    const auto read = own ? read_names(**own, list, database->second.name, names) : Error(own.error());
    if (!read) log_debug("names of database {} are not known: {}", database->second.name, read.error().message());
  }
  return names;
}

}  // namespace pgark
