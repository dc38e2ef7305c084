// SQL as text: statements and words of what pg_dump and pg_dumpall write, so that a script can be run statement by
// statement and roles in it can be renamed. No parser of SQL: it knows comments, strings, quoted identifiers, dollar
// quotes and COPY data, and nothing more.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace pgark::pg {

/// Parts of a text that lie one after the other and make it up.
struct SqlToken {
  enum class Kind : uint8_t { kSpace, kComment, kWord, kQuotedIdentifier, kString, kSymbol };
  Kind kind = Kind::kSymbol;
  std::string_view text;
};
/// Errors: kInvalid if a string, quote or comment does not end.
Result<std::vector<SqlToken>> split_sql_tokens(std::string_view sql);

/// The statements of a script, without the semicolon, comments and empty ones left out; psql's lines that begin with a
/// backslash (\connect, \restrict) are statements of their own.
Result<std::vector<std::string>> split_sql_statements(std::string_view script);

/// An identifier as SQL takes it: quoted if it has to be.
std::string quote_identifier(std::string_view name);
/// A string literal, with E'' where it has backslashes.
std::string quote_literal(std::string_view text);
/// The name an identifier means: case folded unless quoted.
std::string identifier_name(std::string_view token);

using RoleMap = std::map<std::string, std::string>;
/// Rename roles in statements that name some: GRANT, REVOKE, ALTER ... OWNER TO, ALTER DEFAULT PRIVILEGES FOR ROLE,
/// CREATE POLICY ... TO, CREATE/ALTER/COMMENT ON ROLE, CREATE USER MAPPING FOR, SET SESSION AUTHORIZATION, and what
/// else pg_dump and pg_dumpall write with roles. Strings, and names that are no roles, stay.
Result<std::string> map_roles(std::string_view statements, const RoleMap& roles);
/// Roles that such statements name.
Result<std::vector<std::string>> named_roles(std::string_view statements);

}  // namespace pgark::pg
