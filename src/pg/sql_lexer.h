// SQL as tokens that know which statement they belong to. Pure; for sql_text alone.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "pg/sql_text.h"

namespace pgark::pg {

struct LexedSql {
  struct Statement {
    std::vector<size_t> parts;   // Its tokens but for spaces, comments and the semicolon. Never empty.
    std::optional<size_t> data;  // The token of COPY's data that belongs to it.
  };
  std::vector<SqlToken> tokens;
  std::vector<Statement> statements;
};

/// Cut a script as psql does: a semicolon within parentheses, or within the body of a function between BEGIN and END,
/// ends no statement; COPY ... FROM stdin is followed by its data.
/// Errors: kInvalid with the line where something begins that does not end.
Result<LexedSql> lex_sql(std::string_view sql);

/// Whether a word in lower case is no identifier everywhere: pg_dump quotes names that are.
bool is_sql_keyword(std::string_view word);

}  // namespace pgark::pg
