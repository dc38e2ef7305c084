// Names of relations that WAL knows by the number of their files, as the running server's catalogs have them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "pg/wal_record.h"
#include "pgwire/pg_session.h"

namespace pgark {

struct RelationName {
  std::string database;
  std::string relation;  // "public.orders", quoted where SQL needs it; empty if the catalog has it no more.
};

/// Look up names.
/// Shape:  the result has what was found; what was dropped meanwhile, or lies in a database that takes no connections,
/// has
///         a database name at most. `open` opens a session with the database of that name, or the default one for "".
/// Errors: of the first session; that one database cannot be connected to is no error.
Result<std::map<pg::WalRelation, RelationName>> find_relation_names(
    const std::vector<pg::WalRelation>& relations,
    const std::function<Result<std::unique_ptr<PgSession>>(const std::string& database)>& open);

}  // namespace pgark
