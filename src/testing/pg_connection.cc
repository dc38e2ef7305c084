// libpq for tests.
#include "testing/pg_connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <cstdlib>
#include <string_view>

#include "core/check.h"

namespace pgark::testing {
namespace {

struct ClearResult {
  void operator()(PGresult* result) const { ::PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, ClearResult>;

std::string without_newline(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text);
}

std::string shortened(const std::string& sql) {
  constexpr size_t kShown = 160;
  return sql.size() <= kShown ? sql : sql.substr(0, kShown) + "...";
}

Error sql_error(PGconn* conn, const std::string& sql) {
  const Errc code = ::PQstatus(conn) == CONNECTION_OK ? Errc::kInvalid : Errc::kTransient;
  return Error(code, fmt::format("run SQL {}: {}", shortened(sql), without_newline(::PQerrorMessage(conn))));
}

PgRows rows_of(const PGresult* result) {
  PgRows rows;
  const int columns = ::PQnfields(result);
  for (int row = 0; row < ::PQntuples(result); ++row) {
    auto& values = rows.rows.emplace_back();
    for (int column = 0; column < columns; ++column) {
      if (::PQgetisnull(result, row, column) != 0) {
        values.emplace_back(std::nullopt);
      } else {
        values.emplace_back(
            std::string(::PQgetvalue(result, row, column), static_cast<size_t>(::PQgetlength(result, row, column))));
      }
    }
  }
  return rows;
}

void ignore_notice(void*, const char*) {}

}  // namespace

std::string PgRows::text(size_t row, size_t column) const {
  CHECK(row < rows.size() && column < rows[row].size());
  return rows[row][column].value_or("");
}

int64_t PgRows::integer(size_t row, size_t column) const {
  return std::strtoll(text(row, column).c_str(), nullptr, 10);
}

void PgConnection::Finish::operator()(pg_conn* conn) const { ::PQfinish(conn); }

Result<PgConnection> PgConnection::open(const std::string& conninfo) {
  PgConnection connection;
  connection.conn_.reset(::PQconnectdb(conninfo.c_str()));
  if (::PQstatus(connection.conn_.get()) != CONNECTION_OK) {
    return Error(Errc::kTransient,
                 fmt::format("connect to {}: {}", conninfo, without_newline(::PQerrorMessage(connection.conn_.get()))));
  }
  ::PQsetNoticeProcessor(connection.conn_.get(), ignore_notice, nullptr);
  return connection;
}

Result<std::vector<PgRows>> PgConnection::query_each(const std::string& sql) {
  if (!is_open()) return Error(Errc::kTransient, fmt::format("run SQL {}: not connected", shortened(sql)));
  if (::PQsendQuery(conn_.get(), sql.c_str()) == 0) return sql_error(conn_.get(), sql);
  std::vector<PgRows> all;
  std::optional<Error> error;
  while (ResultPtr result{::PQgetResult(conn_.get())}) {
    switch (::PQresultStatus(result.get())) {
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        all.push_back(rows_of(result.get()));
        break;
      default:
        if (!error) error = sql_error(conn_.get(), sql);
        // After a broken connection, or in a COPY nobody feeds, libpq would hand out results for ever.
        if (::PQstatus(conn_.get()) != CONNECTION_OK) return std::move(*error);
    }
  }
  if (error) return std::move(*error);
  return all;
}

Result<PgRows> PgConnection::query(const std::string& sql) {
  TRY_ASSIGN(auto all, query_each(sql));
  if (all.empty()) return PgRows{};
  return std::move(all.back());
}

Result<> PgConnection::exec(const std::string& sql) {
  TRY(query_each(sql));
  return {};
}

Result<> PgConnection::copy_in(const std::string& table, const std::string& lines) {
  const std::string sql = "COPY " + table + " FROM STDIN";
  if (!is_open()) return Error(Errc::kTransient, "run SQL " + sql + ": not connected");
  PGconn* conn = conn_.get();
  if (ResultPtr begun{::PQexec(conn, sql.c_str())}; ::PQresultStatus(begun.get()) != PGRES_COPY_IN)
    return sql_error(conn, sql);
  if (::PQputCopyData(conn, lines.data(), static_cast<int>(lines.size())) != 1) return sql_error(conn, sql);
  if (::PQputCopyEnd(conn, nullptr) != 1) return sql_error(conn, sql);
  std::optional<Error> error;
  while (ResultPtr result{::PQgetResult(conn)}) {
    if (::PQresultStatus(result.get()) != PGRES_COMMAND_OK && !error) error = sql_error(conn, sql);
  }
  if (error) return std::move(*error);
  return {};
}

std::string sql_literal(const std::string& text) {
  std::string literal = "'";
  for (const char c : text) literal += c == '\'' ? "''" : std::string(1, c);
  return literal + "'";
}

}  // namespace pgark::testing
