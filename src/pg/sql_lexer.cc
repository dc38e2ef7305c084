// The rules are psql's: what it would send as one statement is one here.
#include "pg/sql_lexer.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark::pg {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_first(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_word(char c) { return is_word_first(c) || is_digit(c) || c == '$'; }

class Lexer {
 public:
  explicit Lexer(std::string_view sql) : sql_(sql) {}

  Result<LexedSql> run() {
    while (at_ < sql_.size()) {
      TRY(next());
    }
    end_statement();
    return std::move(out_);
  }

 private:
  using Kind = SqlToken::Kind;

  char peek(size_t ahead) const { return at_ + ahead < sql_.size() ? sql_[at_ + ahead] : '\0'; }

  void push(Kind kind, size_t end) {
    out_.tokens.push_back({kind, sql_.substr(at_, end - at_)});
    at_ = end;
  }

  Error endless(std::string_view what) const {
    const auto line = 1 + std::count(sql_.begin(), sql_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    return {Errc::kInvalid, fmt::format("read SQL: {} that begins in line {} does not end", what, line)};
  }

  Result<> next() {
    const char c = sql_[at_];
    if (is_space(c)) {
      push(Kind::kSpace, skip(at_, is_space));
      return {};
    }
    if (c == '-' && peek(1) == '-') {
      push(Kind::kComment, std::min(sql_.find('\n', at_), sql_.size()));
      return {};
    }
    if (c == '/' && peek(1) == '*') return block_comment();
    if (c == ';' && depth_ == 0 && blocks_ == 0) return semicolon();
    if (c == '\\') {  // For psql, as far as the line goes.
      push(Kind::kSymbol, std::min(sql_.find('\n', at_), sql_.size()));
      const bool is_alone = current_.parts.empty();
      take();
      if (is_alone) end_statement();
      return {};
    }
    TRY(part());
    take();
    return {};
  }

  Result<> part() {
    const char c = sql_[at_];
    if (c == '\'') return string(at_, backslash_escapes_);
    if (c == '"') return quoted_identifier(at_);
    if (c == '$' && !is_digit(peek(1))) return dollar();
    if (peek(1) == '\'' && std::string_view("eEbBxXnN").find(c) != std::string_view::npos)
      return string(at_ + 1, c == 'e' || c == 'E' || backslash_escapes_);
    if ((c == 'u' || c == 'U') && peek(1) == '&') {
      if (peek(2) == '\'') return string(at_ + 2, false);
      if (peek(2) == '"') return quoted_identifier(at_ + 2);
    }
    if (is_word_first(c) || is_digit(c) || c == '$') {
      push(Kind::kWord, skip(at_ + 1, is_word));
      count_blocks();
      return {};
    }
    if (c == '(') ++depth_;
    if (c == ')' && depth_ > 0) --depth_;
    push(Kind::kSymbol, at_ + 1);
    return {};
  }

  template <typename Test>
  size_t skip(size_t from, Test test) const {
    while (from < sql_.size() && test(sql_[from])) ++from;
    return from;
  }

  Result<> block_comment() {
    size_t depth = 1;
    for (size_t end = at_ + 2; end + 1 < sql_.size(); ++end) {
      const std::string_view two = sql_.substr(end, 2);
      if (two == "/*") {
        ++depth;
        ++end;
      } else if (two == "*/") {
        ++end;
        if (--depth == 0) {
          push(Kind::kComment, end + 1);
          return {};
        }
      }
    }
    return endless("a comment");
  }

  Result<> string(size_t quote, bool has_escapes) {
    for (size_t end = quote + 1; end < sql_.size(); ++end) {
      if (has_escapes && sql_[end] == '\\') {
        ++end;
      } else if (sql_[end] == '\'') {
        if (end + 1 < sql_.size() && sql_[end + 1] == '\'') {
          ++end;
          continue;
        }
        push(Kind::kString, end + 1);
        return {};
      }
    }
    return endless("a string");
  }

  Result<> quoted_identifier(size_t quote) {
    size_t end = quote + 1;
    while (true) {
      end = sql_.find('"', end);
      if (end == std::string_view::npos) return endless("a quoted identifier");
      if (end + 1 >= sql_.size() || sql_[end + 1] != '"') break;
      end += 2;
    }
    push(Kind::kQuotedIdentifier, end + 1);
    return {};
  }

  Result<> dollar() {
    const size_t tag_end = skip(at_ + 1, [](char c) { return c != '$' && is_word(c); });
    if (tag_end >= sql_.size() || sql_[tag_end] != '$') {
      push(Kind::kSymbol, at_ + 1);
      return {};
    }
    const std::string_view tag = sql_.substr(at_, tag_end + 1 - at_);
    const size_t end = sql_.find(tag, tag_end + 1);
    if (end == std::string_view::npos) return endless("a dollar-quoted string");
    push(Kind::kString, end + tag.size());
    return {};
  }

  // ---- statements ---------------------------------------------------------------------------------------------------

  void take() { current_.parts.push_back(out_.tokens.size() - 1); }

  std::string word(size_t part) const {
    if (part >= current_.parts.size()) return {};
    const SqlToken& token = out_.tokens[current_.parts[part]];
    return token.kind == Kind::kWord ? identifier_name(token.text) : std::string();
  }

  // BEGIN ... END around a function's body hold its semicolons; within, CASE has an END of its own.
  void count_blocks() {
    if (depth_ > 0 || word(0) != "create") return;
    const size_t kind = word(1) == "or" ? 3 : 1;
    if (word(kind) != "function" && word(kind) != "procedure") return;
    const std::string last = identifier_name(out_.tokens.back().text);
    if (last == "begin" || (last == "case" && blocks_ > 0)) ++blocks_;
    if (last == "end" && blocks_ > 0) --blocks_;
  }

  Result<> semicolon() {
    push(Kind::kSymbol, at_ + 1);
    const size_t count = current_.parts.size();
    if (count >= 4 && word(0) == "copy" && word(count - 2) == "from" && word(count - 1) == "stdin") {
      const size_t end = end_of_data();
      if (end == std::string_view::npos) return endless("data of COPY");
      push(Kind::kString, end);
      current_.data = out_.tokens.size() - 1;
    }
    if (count >= 4 && word(0) == "set" && word(1) == "standard_conforming_strings")
      backslash_escapes_ = out_.tokens[current_.parts.back()].text.find("off") != std::string_view::npos;
    end_statement();
    return {};
  }

  // Behind the line "\." (not its line end).
  size_t end_of_data() const {
    for (size_t line = sql_.find('\n', at_); line != std::string_view::npos; line = sql_.find('\n', line + 1)) {
      if (sql_.substr(line + 1, 2) == "\\." && (line + 3 == sql_.size() || sql_[line + 3] == '\n')) return line + 3;
    }
    return std::string_view::npos;
  }

  void end_statement() {
    depth_ = 0;
    blocks_ = 0;
    if (current_.parts.empty()) return;
    out_.statements.push_back(std::move(current_));
    current_ = {};
  }

  std::string_view sql_;
  size_t at_ = 0;
  size_t depth_ = 0;                // Of parentheses.
  size_t blocks_ = 0;               // BEGIN and CASE without their END.
  bool backslash_escapes_ = false;  // standard_conforming_strings was set off.
  LexedSql::Statement current_;
  LexedSql out_;
};

}  // namespace

Result<LexedSql> lex_sql(std::string_view sql) { return Lexer(sql).run(); }

}  // namespace pgark::pg
