// Databases as a load makes and drops them: from the archive's own statements, and for archives that lack them from
// what the dump recorded.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

#include "core/log.h"
#include "ops/load_steps.h"

namespace pgark {
namespace {

bool is_word(const pg::SqlToken& token, std::string_view upper_word) {
  if (token.kind != pg::SqlToken::Kind::kWord || token.text.size() != upper_word.size()) return false;
  return std::equal(token.text.begin(), token.text.end(), upper_word.begin(),
                    [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; });
}

bool is_name(const pg::SqlToken& token) {
  return token.kind == pg::SqlToken::Kind::kWord || token.kind == pg::SqlToken::Kind::kQuotedIdentifier;
}

const pg::DumpTocEntry* database_entry(const LoadDatabase& database) {
  for (const LoadUnit& unit : database.units)
    if (unit.toc)
      for (const pg::DumpTocEntry& entry : unit.toc->entries)
        if (entry.desc == "DATABASE" && entry.definition) return &entry;
  return nullptr;
}

std::string mapped_role(const LoadRequest& request, const std::string& role) {
  const auto found = request.role_map.find(role);
  return found == request.role_map.end() ? role : found->second;
}

bool is_value(const pg::SqlToken& token) { return is_name(token) || token.kind == pg::SqlToken::Kind::kString; }

/// CREATE DATABASE with some of its options, "NAME = value", replaced.
Result<std::string> replace_options(std::string_view statement,
                                    const std::map<std::string_view, std::vector<std::string_view>>& replacements) {
  TRY_ASSIGN(const auto tokens, pg::split_sql_tokens(statement));
  std::string text;
  const std::vector<std::string_view>* replacing = nullptr;
  for (const pg::SqlToken& token : tokens) {
    if (replacing != nullptr) {
      if (!is_value(token)) continue;  // Space and "=".
      for (const std::string_view name : *replacing)
        text += fmt::format("{}{} = {}", name == replacing->front() ? "" : " ", name, token.text);
      replacing = nullptr;
      continue;
    }
    for (const auto& [name, by] : replacements)
      if (is_word(token, name)) replacing = &by;
    if (replacing == nullptr) text += token.text;
  }
  return text;
}

Result<std::string> create_statement(const LoadTools& tools, const LoadDatabase& database, uint32_t version_num) {
  const std::string& name = database.step.database;
  if (const pg::DumpTocEntry* entry = database_entry(database); entry != nullptr) {
    TRY_ASSIGN(const auto statements, pg::split_sql_statements(*entry->definition));
    for (const std::string& statement : statements) {
      if (!statement.starts_with("CREATE DATABASE ")) continue;
      TRY_ASSIGN(std::string renamed, rename_database_in(statement, entry->tag, name));
      TRY_ASSIGN(renamed, create_database_for_server(renamed, version_num));
      if (!load_has_argument(tools.request, "--no-tablespaces")) return renamed;
      return replace_options(renamed, {{"TABLESPACE", {}}});
    }
  }
  std::string statement = fmt::format("CREATE DATABASE {} WITH TEMPLATE = template0", pg::quote_identifier(name));
  if (database.facts == nullptr) return statement;
  const DumpDatabase& facts = *database.facts;
  if (!facts.encoding.empty()) statement += " ENCODING = " + pg::quote_literal(facts.encoding);
  if (!facts.collate.empty()) statement += " LC_COLLATE = " + pg::quote_literal(facts.collate);
  if (!facts.ctype.empty()) statement += " LC_CTYPE = " + pg::quote_literal(facts.ctype);
  return statement;
}

/// Subscriptions keep a database from being dropped. Those of a database that a load created never were connected: the
/// slots they name belong to the originals.
void forget_subscriptions(const LoadRequest& request, const std::string& database, const CancelToken& cancel) {
  const auto session = open_pg_session(endpoint_of(request, database), cancel);
  if (!session) return;
  const auto subscriptions = (*session)->query(
      "SELECT subname FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE "
      "datname = pg_catalog.current_database())");
  if (!subscriptions) return;
  for (const PgRow& row : *subscriptions) {
    const std::string name = pg::quote_identifier(row[0].value_or(""));
    for (const char* format :
         {"ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)", "DROP SUBSCRIPTION {}"})
      (void)(*session)->exec(fmt::format(fmt::runtime(format), name)).has_value();
  }
}

/// Statements for settings that the dump recorded itself.
void add_recorded_settings(const LoadTools& tools, const LoadDatabase& database, std::vector<std::string>& statements) {
  const std::string name = pg::quote_identifier(database.step.database);
  for (const auto& [role, setting] : database.facts->settings) {
    const size_t equals = setting.find('=');
    if (equals == setting.npos) continue;
    const std::string variable = setting.substr(0, equals);
    // Lists come as they were written, each item quoted as it has to be.
    const bool is_list =
        variable == "search_path" || variable == "temp_tablespaces" || variable.ends_with("_libraries");
    const std::string value = is_list ? setting.substr(equals + 1) : pg::quote_literal(setting.substr(equals + 1));
    const std::string whose = role.empty() ? "ALTER DATABASE " + name
                                           : fmt::format("ALTER ROLE {} IN DATABASE {}",
                                                         pg::quote_identifier(mapped_role(tools.request, role)), name);
    statements.push_back(
        fmt::format("{} SET {} TO {}", whose, pg::quote_identifier(variable), value.empty() ? "''" : value));
  }
  if (database.facts->connection_limit >= 0)
    statements.push_back(fmt::format("ALTER DATABASE {} CONNECTION LIMIT {}", name, database.facts->connection_limit));
}

/// Statements of the archive about the database itself.
Result<std::vector<std::string>> property_statements(const LoadTools& tools, const LoadDatabase& database) {
  std::vector<std::string> statements;
  const std::string& name = database.step.database;
  bool has_properties = false;
  for (const LoadUnit& unit : database.units) {
    if (!unit.toc) continue;
    for (const pg::DumpTocEntry& entry : unit.toc->entries) {
      if (!is_of_database(entry) || entry.desc == "DATABASE" || !entry.definition) continue;
      if (entry.desc == "ACL" && load_has_argument(tools.request, "--no-acl", "-x")) continue;
      if (entry.desc == "COMMENT" && load_has_argument(tools.request, "--no-comments")) continue;
      if (entry.desc == "SECURITY LABEL" && load_has_argument(tools.request, "--no-security-labels")) continue;
      TRY_ASSIGN(const auto parts, pg::split_sql_statements(*entry.definition));
      for (const std::string& part : parts) {
        TRY_ASSIGN(std::string renamed, rename_database_in(part, database.step.from_database, name));
        statements.push_back(std::move(renamed));
      }
    }
    has_properties = has_properties || unit.toc->dump_major() >= 11;
    break;  // Each unit of a dump that was split says the same.
  }
  if (has_properties || database.facts == nullptr) return statements;
  add_recorded_settings(tools, database, statements);
  if (!load_has_argument(tools.request, "--no-acl", "-x"))
    for (std::string& grant : database_grants(name, database.facts->acl, tools.request.role_map))
      statements.push_back(std::move(grant));
  return statements;
}

/// Elements of an array as text.
std::vector<std::string> array_elements(std::string_view text) {
  std::vector<std::string> elements;
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') return elements;
  text = text.substr(1, text.size() - 2);
  std::string element;
  bool quoted = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) {
      element += text[++at];
    } else if (text[at] == '"') {
      quoted = !quoted;
    } else if (text[at] == ',' && !quoted) {
      elements.push_back(std::move(element));
      element.clear();
    } else {
      element += text[at];
    }
  }
  if (!text.empty()) elements.push_back(std::move(element));
  return elements;
}

/// The role at the front of an ACL item, which is quoted if it has to be; takes it off.
std::string take_role(std::string_view& item) {
  std::string role;
  bool quoted = false;
  while (!item.empty() && (quoted || item.front() != '=')) {
    if (item.starts_with("\"\"") && quoted) {
      role += '"';
      item.remove_prefix(1);
    } else if (item.front() == '"') {
      quoted = !quoted;
    } else {
      role += item.front();
    }
    item.remove_prefix(1);
  }
  return role;
}

}  // namespace

Result<std::string> create_database_for_server(std::string_view statement, uint32_t version_num) {
  std::map<std::string_view, std::vector<std::string_view>> replacements;
  if (version_num < 150000) replacements["LOCALE_PROVIDER"] = {};
  if (version_num < 130000) replacements["LOCALE"] = {"LC_COLLATE", "LC_CTYPE"};
  return replace_options(statement, replacements);
}

std::vector<std::string> database_grants(const std::string& database, const std::string& acl,
                                         const pg::RoleMap& roles) {
  std::vector<std::string> statements;
  const std::vector<std::string> items = array_elements(acl);
  if (items.empty()) return statements;
  const std::string on = "ON DATABASE " + pg::quote_identifier(database);
  statements.push_back(fmt::format("REVOKE ALL {} FROM PUBLIC", on));  // What is left of it is among the items.
  for (const std::string& text : items) {
    std::string_view item = text;
    const std::string role = take_role(item);
    const auto mapped = roles.find(role);
    const std::string to =
        role.empty() ? "PUBLIC" : pg::quote_identifier(mapped == roles.end() ? role : mapped->second);
    std::string with_option;
    std::string without;
    for (size_t at = 1; at < item.size() && item[at] != '/'; ++at) {
      const char* name = item[at] == 'C' ? "CREATE" : item[at] == 'T' ? "TEMPORARY" : item[at] == 'c' ? "CONNECT" : "";
      if (*name == '\0') continue;
      std::string& list = at + 1 < item.size() && item[at + 1] == '*' ? with_option : without;
      list += (list.empty() ? "" : ", ") + std::string(name);
    }
    if (!without.empty()) statements.push_back(fmt::format("GRANT {} {} TO {}", without, on, to));
    if (!with_option.empty())
      statements.push_back(fmt::format("GRANT {} {} TO {} WITH GRANT OPTION", with_option, on, to));
  }
  return statements;
}

PgEndpoint endpoint_of(const LoadRequest& request, const std::string& database) {
  PgEndpoint endpoint = request.server;
  endpoint.database = database;
  return endpoint;
}

Result<std::string> rename_database_in(std::string_view statement, const std::string& from, const std::string& to) {
  TRY_ASSIGN(const auto tokens, pg::split_sql_tokens(statement));
  std::string text;
  bool after_word = false;
  for (const pg::SqlToken& token : tokens) {
    const bool is_it = after_word && is_name(token) && pg::identifier_name(token.text) == from;
    text += is_it ? pg::quote_identifier(to) : std::string(token.text);
    if (token.kind != pg::SqlToken::Kind::kSpace) after_word = is_word(token, "DATABASE");
  }
  return text;
}

Result<> create_database(const LoadTools& tools, const LoadDatabase& database) {
  const std::string& name = database.step.database;
  tools.progress.totals.phase = "create database";
  TRY_ASSIGN(auto session, open_pg_session(tools.request.server, tools.cancel));
  TRY_ASSIGN(const std::string version, session->query_value("SHOW server_version_num"));
  uint32_t version_num = 0;
  std::from_chars(version.data(), version.data() + version.size(), version_num);
  TRY_ASSIGN(const std::string create, create_statement(tools, database, version_num));
  if (database.step.drop) {
    auto dropped = session->exec("DROP DATABASE IF EXISTS " + pg::quote_identifier(name));
    if (!dropped)
      return std::move(dropped)
          .error()
          .with_context("drop database " + name)
          .with_hint(
              "end the sessions that use it and drop its subscriptions, or load as another database with --db-map");
  }
  TRY_CTX(session->exec(create), "create database " + name);
  std::string owner;
  if (const pg::DumpTocEntry* entry = database_entry(database); entry != nullptr && entry->owner) owner = *entry->owner;
  if (owner.empty() && database.facts != nullptr) owner = mapped_role(tools.request, database.facts->owner);
  if (owner.empty() || load_has_argument(tools.request, "--no-owner", "-O")) return {};
  auto given = session->exec(
      fmt::format("ALTER DATABASE {} OWNER TO {}", pg::quote_identifier(name), pg::quote_identifier(owner)));
  if (!given) {
    drop_created_database(tools.request, name);
    return std::move(given).error().with_context("give database " + name + " to " + owner);
  }
  return {};
}

Result<> apply_database_properties(const LoadTools& tools, const LoadDatabase& database,
                                   std::vector<std::string>& errors) {
  TRY_ASSIGN(const auto statements, property_statements(tools, database));
  TRY_ASSIGN(auto session, open_pg_session(tools.request.server, tools.cancel));
  for (const std::string& statement : statements) {
    auto applied = session->exec(statement);
    if (applied) continue;
    Error error = std::move(applied).error().with_context("set up database " + database.step.database);
    if (tools.request.exit_on_error || error.code() == Errc::kTransient) return error;
    errors.push_back(error.message());
  }
  return {};
}

void drop_created_database(const LoadRequest& request, const std::string& name) {
  const CancelToken none;  // Also when the load was cancelled.
  forget_subscriptions(request, name, none);
  const auto session = open_pg_session(request.server, none);
  if (!session) return;
  // The server may need a moment until it sees that the sessions of the load have gone.
  const std::string others =
      "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
      "WHERE datname = $1 AND application_name = $2";
  for (int attempt = 0; attempt < 50; ++attempt) {
    (void)(*session)->query(others, {name, request.server.application_name}).has_value();
    if ((*session)->exec("DROP DATABASE IF EXISTS " + pg::quote_identifier(name))) return;
    (void)(*session)->query("SELECT pg_catalog.pg_sleep(0.1)").has_value();
  }
  log_warn("database {} was created for the load and could not be dropped again", name);
}

}  // namespace pgark
