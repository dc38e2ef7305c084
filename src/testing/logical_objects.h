// A cluster with one of every kind of object that its version can hold: what dumps are tried on.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "testing/pg_server.h"

namespace pgark::testing {

/// The database that has it all.
inline constexpr const char* kShopDatabase = "shop";

/// A connection string of libpq for a database of any name.
std::string conninfo_of(const PgServer& server, const std::string& database);

/// Make roles, a tablespace in the server's scratch directory and the database "shop" with everything in it
/// (logical_globals.sql, logical_objects.sql).
/// Errors: kInvalid naming the section that failed.
Result<> create_shop(PgServer& server);

/// Make only the tablespace, in the scratch directory of the server: its place on another machine is the operator's
/// business, and two servers of one machine cannot share it.
Result<> create_shop_tablespace(PgServer& server);

/// Take away what keeps the database "shop" from being dropped.
Result<> drop_shop(PgServer& server);

}  // namespace pgark::testing
