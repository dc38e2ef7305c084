// What the parts of reading facts for a dump share: values of rows, and statements that may be refused.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "ops/dump_facts.h"

namespace pgark {

/// A number in a row; `otherwise` for NULL and what is none.
template <typename T>
T row_number(const PgRow& row, size_t column, T otherwise = T{}) {
  if (column >= row.size() || !row[column].has_value()) return otherwise;
  const std::string& text = *row[column];
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc() && end == text.data() + text.size() ? value : otherwise;
}
inline std::string row_text(const PgRow& row, size_t column) {
  return column < row.size() ? row[column].value_or("") : std::string();
}
inline bool row_true(const PgRow& row, size_t column) { return column < row.size() && row[column] == "t"; }

/// Whether nothing more can be asked: stopped, or no connection.
bool is_end_of_session(const Error& error);

/// Run a statement that a server may refuse inside of a transaction, so that it goes on.
/// Errors: of the statement; kCancelled.
Result<PgRows> query_that_may_fail(PgSession& session, const std::string& sql, const PgParams& params = {});

/// Databases of pg_database (alias d) for which `condition` holds, and whether the role may connect to each.
struct FoundDatabase {
  DumpDatabase database;
  bool connectable = false;
};
Result<std::vector<FoundDatabase>> read_dump_databases(PgSession& session, uint32_t version_num,
                                                       const std::string& condition, bool sizes,
                                                       const PgParams& params = {});

}  // namespace pgark
