// SQL for tests through libpq, apart from the product's own sessions so that a defect there cannot hide itself.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

struct pg_conn;

namespace pgark::testing {

/// Rows of one statement, as text.
struct PgRows {
  std::vector<std::vector<std::optional<std::string>>> rows;

  size_t size() const { return rows.size(); }
  bool empty() const { return rows.empty(); }
  /// A value as text; empty for null. Position out of range is a defect of the test and stops it.
  std::string text(size_t row = 0, size_t column = 0) const;
  /// A value as an integer; 0 for null.
  int64_t integer(size_t row = 0, size_t column = 0) const;
};

/// One connection. Not for use by several threads at once.
class PgConnection {
 public:
  /// Errors: kTransient with the server's words.
  static Result<PgConnection> open(const std::string& conninfo);

  PgConnection() = default;
  bool is_open() const { return conn_ != nullptr; }

  /// Run one or more statements separated by semicolons; the rows of the last.
  /// Errors: kInvalid "run SQL ...: server's message"; kTransient when the connection broke.
  Result<PgRows> query(const std::string& sql);
  /// The same, with the rows of each statement.
  Result<std::vector<PgRows>> query_each(const std::string& sql);
  /// Run statements for their effect.
  Result<> exec(const std::string& sql);
  /// COPY `table` FROM STDIN in text format.
  Result<> copy_in(const std::string& table, const std::string& lines);

 private:
  struct Finish {
    void operator()(pg_conn* conn) const;
  };
  std::unique_ptr<pg_conn, Finish> conn_;
};

/// `text` as an SQL literal with its quotes.
std::string sql_literal(const std::string& text);

}  // namespace pgark::testing
