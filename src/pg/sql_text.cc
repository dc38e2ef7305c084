// Cutting SQL into tokens and statements, and writing names and strings as SQL takes them.
#include "pg/sql_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pg/sql_lexer.h"

namespace pgark::pg {
namespace {

// Words that are no identifiers everywhere, in any version from 10 to 19 (pg_get_keywords(), all but category U).
constexpr std::array kKeywords = std::to_array<std::string_view>({
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "graph_table",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
});

static_assert(std::is_sorted(kKeywords.begin(), kKeywords.end()));

bool is_plain_identifier(std::string_view name) {
  const auto is_first = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
  return !name.empty() && is_first(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_first(c) || (c >= '0' && c <= '9'); }) &&
         !is_sql_keyword(name);
}

std::string between(char quote, std::string_view text, char doubled_too) {
  std::string result(1, quote);
  for (const char c : text) result.append(c == quote || c == doubled_too ? 2 : 1, c);
  return result + quote;
}

}  // namespace

Result<std::vector<SqlToken>> split_sql_tokens(std::string_view sql) {
  TRY_ASSIGN(LexedSql lexed, lex_sql(sql));
  return std::move(lexed.tokens);
}

Result<std::vector<std::string>> split_sql_statements(std::string_view script) {
  TRY_ASSIGN(const LexedSql lexed, lex_sql(script));
  std::vector<std::string> statements;
  for (const LexedSql::Statement& statement : lexed.statements) {
    const char* first = lexed.tokens[statement.parts.front()].text.data();
    const std::string_view last = lexed.tokens[statement.data.value_or(statement.parts.back())].text;
    statements.emplace_back(first, last.data() + last.size());
  }
  return statements;
}

bool is_sql_keyword(std::string_view word) { return std::binary_search(kKeywords.begin(), kKeywords.end(), word); }

std::string quote_identifier(std::string_view name) {
  return is_plain_identifier(name) ? std::string(name) : between('"', name, '"');
}

std::string quote_literal(std::string_view text) {
  const bool has_backslash = text.find('\\') != std::string_view::npos;
  return (has_backslash ? "E" : "") + between('\'', text, has_backslash ? '\\' : '\'');
}

std::string identifier_name(std::string_view token) {
  std::string name;
  if (token.size() >= 2 && token.front() == '"' && token.back() == '"') {
    token = token.substr(1, token.size() - 2);
    for (size_t i = 0; i < token.size(); ++i) {
      name += token[i];
      if (token[i] == '"') ++i;
    }
    return name;
  }
  name = token;
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return name;
}

}  // namespace pgark::pg
