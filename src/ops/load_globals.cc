// Roles and tablespaces of a dump: those that are missing are made, those that are there stay as they are.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/log.h"
#include "ops/load_steps.h"

namespace pgark {
namespace {

constexpr uint64_t kGlobalsBytesMax = 256u << 20;

/// Words and names of a statement, without spaces and comments.
Result<std::vector<std::string>> words_of(std::string_view statement) {
  TRY_ASSIGN(const auto tokens, pg::split_sql_tokens(statement));
  std::vector<std::string> words;
  for (const pg::SqlToken& token : tokens) {
    using Kind = pg::SqlToken::Kind;
    if (token.kind == Kind::kSpace || token.kind == Kind::kComment) continue;
    words.emplace_back(token.text);
  }
  return words;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

/// Sorts the statements of a script.
class GlobalsChooser {
 public:
  GlobalsChooser(const std::set<std::string>& roles, const std::set<std::string>& tablespaces)
      : roles_(roles), tablespaces_(tablespaces) {}

  Result<> add(const std::string& statement) {
    if (statement.starts_with("\\")) return {};  // psql's own.
    TRY_ASSIGN(words_, words_of(statement));
    if (words_.size() < 2) return {};
    if (is(0, "SET")) {
      if (!is(1, "transaction_timeout")) script_.settings.push_back(statement);
    } else if (const auto tablespace = named_tablespace()) {
      add_tablespace(*tablespace, statement);
    } else if (is(0, "CREATE") && is(1, "ROLE") && words_.size() > 2) {
      const std::string role = pg::identifier_name(words_[2]);
      const bool is_there = roles_.contains(role);
      (is_there ? script_.kept : script_.made).push_back("role " + role);
      if (is_there) return {};
      made_roles_.insert(role);
      script_.roles.push_back(statement);
    } else if (is_about_made_role()) {
      script_.roles.push_back(statement);
    }
    return {};
  }
  GlobalsScript take() { return std::move(script_); }

 private:
  bool is(size_t at, std::string_view word) const {
    return at < words_.size() && upper(words_[at]) == upper(std::string(word));
  }
  std::string name(size_t at) const { return at < words_.size() ? pg::identifier_name(words_[at]) : std::string(); }

  std::optional<std::string> named_tablespace() const {
    for (size_t at = 1; at + 1 < words_.size() && at < 8; ++at)
      if (is(at, "TABLESPACE")) return name(at + 1);
    return std::nullopt;
  }
  void add_tablespace(const std::string& tablespace, const std::string& statement) {
    if (is(0, "CREATE")) {
      const bool is_there = tablespaces_.contains(tablespace);
      (is_there ? script_.kept : script_.made).push_back("tablespace " + tablespace);
      if (!is_there) made_tablespaces_.insert(tablespace);
    }
    if (made_tablespaces_.contains(tablespace)) script_.tablespaces.push_back(statement);
  }
  /// Attributes and comments of roles that were made, and memberships that one of them has part in.
  bool is_about_made_role() const {
    if (is(0, "ALTER") && (is(1, "ROLE") || is(1, "USER")))
      return made_roles_.contains(name(2)) && !(is(3, "IN") && is(4, "DATABASE"));
    if ((is(0, "COMMENT") && is(1, "ON") && is(2, "ROLE"))) return made_roles_.contains(name(3));
    if (is(0, "SECURITY"))
      for (size_t at = 2; at + 1 < words_.size(); ++at)
        if (is(at, "ROLE")) return made_roles_.contains(name(at + 1));
    if (!is(0, "GRANT")) return false;
    // Privileges on parameters, and memberships.
    const bool on_parameter =
        std::any_of(words_.begin(), words_.end(), [](const std::string& word) { return upper(word) == "PARAMETER"; });
    if (on_parameter) {
      for (size_t at = 1; at + 1 < words_.size(); ++at)
        if (is(at, "TO")) return made_roles_.contains(name(at + 1));
      return false;
    }
    for (size_t at = 1; at + 1 < words_.size(); ++at)
      if (is(at, "TO")) return made_roles_.contains(name(1)) || made_roles_.contains(name(at + 1));
    return false;
  }

  const std::set<std::string>& roles_;
  const std::set<std::string>& tablespaces_;
  std::set<std::string> made_roles_;
  std::set<std::string> made_tablespaces_;
  std::vector<std::string> words_;
  GlobalsScript script_;
};

/// What a statement is about, without its values.
std::string about(const std::string& statement) {
  const auto words = words_of(statement);
  if (!words) return "statement";
  std::string text;
  for (size_t at = 0; at < words->size() && at < 4; ++at) {
    if (upper((*words)[at]) == "WITH" || (*words)[at].starts_with("'")) break;
    text += (at == 0 ? "" : " ") + (*words)[at];
  }
  return text;
}

}  // namespace

Result<GlobalsScript> choose_globals(std::string_view script, const std::set<std::string>& roles,
                                     const std::set<std::string>& tablespaces) {
  TRY_ASSIGN(const auto statements, pg::split_sql_statements(script));
  GlobalsChooser chooser(roles, tablespaces);
  for (const std::string& statement : statements) TRY(chooser.add(statement));
  return chooser.take();
}

Result<> load_globals(const LoadTools& tools, const DumpUnit& unit, const LoadServerFacts& server,
                      std::vector<std::string>& notes) {
  tools.progress.totals.phase = "make roles";
  LoadUnit view;
  view.unit = &unit;
  TRY_ASSIGN(const DumpStream* stream, view.only_stream());
  TRY_ASSIGN(std::string text, tools.reader.read_whole(*stream, tools.cancel, kGlobalsBytesMax));
  if (!tools.request.role_map.empty()) {
    TRY_ASSIGN(text, pg::map_roles(text, tools.request.role_map));
  }
  TRY_ASSIGN(const GlobalsScript script, choose_globals(text, server.roles, server.tablespaces));
  TRY_ASSIGN(auto session, open_pg_session(tools.request.server, tools.cancel));
  // Hashes of passwords do not belong into the server's log; who may not set this has to live with it.
  for (const char* quiet :
       {"SET log_statement = 'none'", "SET log_min_duration_statement = -1", "SET log_min_error_statement = 'panic'"})
    (void)session->exec(quiet).has_value();
  const auto run = [&](const std::string& statement) -> Result<> {
    TRY_CTX(session->exec(statement), "run " + about(statement));
    return {};
  };
  for (const std::string& setting : script.settings) TRY(run(setting));
  TRY(session->exec("BEGIN"));
  for (const std::string& statement : script.roles) TRY(run(statement));
  TRY(session->exec("COMMIT"));
  for (const std::string& statement : script.tablespaces) TRY(run(statement));
  for (const std::string& made : script.made) notes.push_back("made " + made);
  for (const std::string& kept : script.kept) notes.push_back(kept + " was there and stays as it is");
  return {};
}

}  // namespace pgark
