// Running the SQL that makes a cluster with one of everything.
#include "testing/logical_objects.h"

#include <fmt/format.h>

#include "core/file.h"
#include "testing/logical_script.h"

namespace pgark::testing {
namespace {

constexpr const char* kTablespacePlaceholder = "{tablespace}";

std::string with_tablespace(std::string sql, const std::string& directory) {
  for (size_t at = 0; (at = sql.find(kTablespacePlaceholder)) != std::string::npos;) {
    sql.replace(at, std::string_view(kTablespacePlaceholder).size(), directory);
  }
  return sql;
}

Result<> run_sections(PgServer& server, const std::string& file_name, const std::string& database,
                      const std::string& tablespace) {
  TRY_ASSIGN(const auto sections, read_sql_sections(file_name));
  TRY_ASSIGN(PgConnection connection, server.connect(database));
  for (const auto& section : sections) {
    if (!section.applies_to(server.major())) continue;
    const std::vector<std::string> statements =
        section.each ? sql_statements(section) : std::vector<std::string>{section.sql};
    for (const auto& statement : statements) {
      TRY_CTX(connection.exec(with_tablespace(statement, tablespace)),
              fmt::format("make {} in PostgreSQL {}", section.name, server.major()));
    }
  }
  return {};
}

}  // namespace

std::string conninfo_of(const PgServer& server, const std::string& database) {
  std::string quoted = "'";
  for (const char c : database) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return fmt::format("host={} port={} user=postgres connect_timeout=20 dbname={}'", server.socket_dir(), server.port(),
                     quoted);
}

Result<> create_shop(PgServer& server) {
  const std::string tablespace = server.scratch() / "shop_space";
  TRY(make_directories(tablespace, 0700));
  TRY(run_sections(server, "logical_globals.sql", "postgres", tablespace));
  return run_sections(server, "logical_objects.sql", kShopDatabase, tablespace);
}

Result<> create_shop_tablespace(PgServer& server) {
  const std::string tablespace = server.scratch() / "shop_space";
  TRY(make_directories(tablespace, 0700));
  return server.exec(fmt::format("CREATE TABLESPACE shop_space LOCATION {}", sql_literal(tablespace)));
}

Result<> drop_shop(PgServer& server) {
  {
    // A database that a subscription belongs to is not dropped.
    TRY_ASSIGN(PgConnection connection, server.connect(kShopDatabase));
    TRY(connection.exec("DROP SUBSCRIPTION IF EXISTS sub_none"));
  }
  return server.exec(fmt::format("DROP DATABASE {}", kShopDatabase));
}

}  // namespace pgark::testing
