// Where roles stand in the statements of pg_dump and pg_dumpall. Names are looked for where the grammar has them, not
// by what they look like: a role may be called like a keyword, a table like a role.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "pg/sql_lexer.h"
#include "pg/sql_text.h"

namespace pgark::pg {
namespace {

using Kind = SqlToken::Kind;

class RoleFinder {
 public:
  RoleFinder(const std::vector<SqlToken>& tokens, const std::vector<size_t>& parts) : tokens_(tokens), parts_(parts) {
    size_t depth = 0;
    for (const size_t part : parts) {
      const std::string_view text = tokens[part].text;
      if (text == ")" && depth > 0) --depth;
      depths_.push_back(depth);
      if (text == "(") ++depth;
    }
  }

  // Indices of tokens that name roles.
  std::vector<size_t> find() {
    const std::string first = word(0);
    if (first == "grant" || first == "revoke") privileges(0);
    if (first == "alter") alter();
    if (first == "create") create();
    if (first == "drop") drop();
    if (first == "set") set();
    if (first == "comment" && is(1, {"on", "role"})) name(3);
    if (first == "security") {
      const size_t on = next_word(1, {"on"});
      if (word(on + 1) == "role") name(on + 2);
    }
    if (first == "reassign" && is(1, {"owned", "by"})) {
      const size_t to = names(3);
      if (word(to) == "to") name(to + 1);
    }
    return std::move(found_);
  }

 private:
  size_t count() const { return parts_.size(); }
  const SqlToken& token(size_t at) const { return tokens_[parts_[at]]; }
  bool is_symbol(size_t at, std::string_view symbol) const {
    return at < count() && token(at).kind == Kind::kSymbol && token(at).text == symbol;
  }
  // Empty for what is no word, and behind a dot, where any word is a name.
  std::string word(size_t at) const {
    if (at >= count() || token(at).kind != Kind::kWord || (at > 0 && is_symbol(at - 1, "."))) return {};
    return identifier_name(token(at).text);
  }
  bool is(size_t at, std::initializer_list<std::string_view> words) const {
    return std::all_of(words.begin(), words.end(), [&](std::string_view wanted) { return word(at++) == wanted; });
  }
  // The next of these words outside of parentheses; count() if there is none.
  size_t next_word(size_t from, std::initializer_list<std::string_view> words) const {
    for (; from < count(); ++from) {
      if (depths_[from] != 0) continue;
      const std::string found = word(from);
      if (!found.empty() && std::find(words.begin(), words.end(), found) != words.end()) return from;
    }
    return count();
  }

  void name(size_t at) {
    if (at >= count()) return;
    if (token(at).kind == Kind::kQuotedIdentifier) return found_.push_back(parts_[at]);
    const std::string plain = word(at);
    if (!plain.empty() && plain != "public" && !is_sql_keyword(plain)) found_.push_back(parts_[at]);
  }
  // One or more with commas between; where the list ended.
  size_t names(size_t at) {
    while (true) {
      if (word(at) == "group") ++at;
      name(at++);
      if (!is_symbol(at, ",")) return at;
      ++at;
    }
  }
  void name_after(size_t from, std::string_view keyword) {
    const size_t at = next_word(from, {keyword});
    if (at < count()) name(at + 1);
  }

  // GRANT and REVOKE, of privileges on objects (ON) or of memberships.
  void privileges(size_t at) {
    const bool is_revoke = word(at++) == "revoke";
    if (is_revoke && word(at + 1) == "option" && word(at + 2) == "for") at += 3;
    const size_t on = next_word(at, {"on", "to", "from"});
    const size_t to = next_word(on, {is_revoke ? "from" : "to"});
    if (word(on) != "on") names(at);
    if (to >= count()) return;
    for (size_t rest = names(to + 1); rest + 2 < count(); ++rest)
      if (is(rest, {"granted", "by"})) return name(rest + 2);
  }

  void alter() {
    if (is(1, {"default", "privileges"})) return default_privileges();
    if (is(1, {"user", "mapping"}) && word(3) == "for") return name(4);
    const std::string kind = word(1);
    if (kind == "role" || kind == "user" || kind == "group") {
      name(2);
      if (is(3, {"rename", "to"})) name(5);
      if (kind == "group" && word(4) == "user") names(5);
      return;
    }
    if (kind == "policy") {
      const size_t to = next_word(3, {"to"});
      if (to < count() && word(to - 1) != "rename") names(to + 1);
      return;
    }
    // OWNER TO is the last of any ALTER; before it is an object's name, not the beginning of RENAME owner TO.
    if (count() < 5 || !is(count() - 3, {"owner", "to"})) return;
    const std::string before = word(count() - 4);
    if (before == "column" || before == "attribute" || (before == "rename" && count() - 4 > 2)) return;
    name(count() - 1);
  }

  void default_privileges() {
    size_t at = 3;
    if (word(at) == "for" && (word(at + 1) == "role" || word(at + 1) == "user")) at = names(at + 2);
    if (is(at, {"in", "schema"})) {
      at += 3;
      while (is_symbol(at, ",")) at += 2;
    }
    if (word(at) == "grant" || word(at) == "revoke") privileges(at);
  }

  void create() {
    const std::string kind = word(1);
    if (kind == "user" && word(2) == "mapping" && (word(3) == "for" || word(3) == "if")) return name_after(3, "for");
    if (kind == "role" || kind == "user" || kind == "group") {
      name(2);
      for (size_t at = next_word(3, {"role", "admin", "user", "group"}); at < count();
           at = next_word(at, {"role", "admin", "user", "group"}))
        at = names(at + 1);
    } else if (kind == "policy") {
      const size_t to = next_word(3, {"to"});
      if (to < count()) names(to + 1);
    } else if (kind == "schema") {
      name_after(2, "authorization");
    } else if (kind == "tablespace") {
      if (word(3) == "owner") name(4);
    } else if (kind == "database") {
      const size_t owner = next_word(3, {"owner"});
      name(is_symbol(owner + 1, "=") ? owner + 2 : owner + 1);
    }
  }

  void drop() {
    const std::string kind = word(1);
    if (kind == "user" && word(2) == "mapping" && (word(3) == "for" || word(3) == "if")) return name_after(3, "for");
    if (kind == "role" || kind == "user" || kind == "group") names(is(2, {"if", "exists"}) ? 4 : 2);
    if (kind == "owned" && word(2) == "by") names(3);
  }

  // SET [SESSION | LOCAL] SESSION AUTHORIZATION and SET [SESSION | LOCAL] ROLE, of which pg_dump writes strings too.
  void set() {
    size_t at = 1;
    if (word(at) == "local" || (word(at) == "session" && word(at + 1) != "authorization")) ++at;
    if (is(at, {"session", "authorization"})) {
      at += 2;
    } else if (word(at) == "role") {
      ++at;
      if (is_symbol(at, "=") || word(at) == "to") ++at;
    } else {
      return;
    }
    if (at < count() && token(at).kind == Kind::kString) return found_.push_back(parts_[at]);
    name(at);
  }

  const std::vector<SqlToken>& tokens_;
  const std::vector<size_t>& parts_;
  std::vector<size_t> depths_;
  std::vector<size_t> found_;
};

// What a string literal stands for, as far as names need it.
std::string literal_text(std::string_view literal) {
  const bool has_escapes = literal.front() != '\'';
  const size_t quote = literal.find('\'');
  if (literal.front() == '$' || quote == std::string_view::npos || literal.size() < quote + 2) return {};
  std::string text;
  for (size_t i = quote + 1; i + 1 < literal.size(); ++i) {
    if (literal[i] == '\'' || (has_escapes && literal[i] == '\\' && i + 2 < literal.size())) ++i;
    text += literal[i];
  }
  return text;
}

std::string role_name(const SqlToken& token) {
  return token.kind == Kind::kString ? literal_text(token.text) : identifier_name(token.text);
}

bool grow_together(char a, char b) {
  const auto is_open = [](char c) {
    return c == '"' || c == '\'' || c == '_' || c == '$' || c == '&' || (c >= '0' && c <= '9') ||
           (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
  };
  return is_open(a) && is_open(b);
}

std::vector<size_t> find_roles(const LexedSql& sql) {
  std::vector<size_t> all;
  for (const LexedSql::Statement& statement : sql.statements) {
    const std::vector<size_t> found = RoleFinder(sql.tokens, statement.parts).find();
    all.insert(all.end(), found.begin(), found.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace

Result<std::string> map_roles(std::string_view statements, const RoleMap& roles) {
  if (roles.empty()) return std::string(statements);
  TRY_ASSIGN_CTX(const LexedSql sql, lex_sql(statements), "rename roles");
  std::string mapped;
  const char* copied = statements.data();
  const char* const end = copied + statements.size();
  for (const size_t at : find_roles(sql)) {
    const SqlToken& token = sql.tokens[at];
    const auto found = roles.find(role_name(token));
    if (found == roles.end()) continue;
    mapped.append(copied, token.text.data());
    const std::string name =
        token.kind == Kind::kString ? quote_literal(found->second) : quote_identifier(found->second);
    // Where nothing separates a name from its neighbours, another name might grow together with them.
    if (!mapped.empty() && grow_together(mapped.back(), name.front())) mapped += ' ';
    mapped += name;
    copied = token.text.data() + token.text.size();
    if (copied != end && grow_together(name.back(), *copied)) mapped += ' ';
  }
  mapped.append(copied, end);
  return mapped;
}

Result<std::vector<std::string>> named_roles(std::string_view statements) {
  TRY_ASSIGN(const LexedSql sql, lex_sql(statements));
  std::vector<std::string> names;
  for (const size_t at : find_roles(sql)) {
    std::string name = role_name(sql.tokens[at]);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace pgark::pg
