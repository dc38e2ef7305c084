#include "ops/dump_selection.h"

#include <algorithm>
#include <array>

#include "pg/sql_text.h"

namespace pgark {
namespace {

struct Letter {
  char letter;
  std::string_view name;
  bool takes_value;
};
constexpr std::array kLetters = {
    Letter{'n', "schema", true},        Letter{'N', "exclude-schema", true}, Letter{'t', "table", true},
    Letter{'T', "exclude-table", true}, Letter{'e', "extension", true},      Letter{'a', "data-only", false},
    Letter{'s', "schema-only", false},  Letter{'b', "large-objects", false}, Letter{'B', "no-large-objects", false}};

constexpr std::array kPatternOptions = {"schema",
                                        "exclude-schema",
                                        "table",
                                        "exclude-table",
                                        "table-and-children",
                                        "exclude-table-and-children",
                                        "exclude-table-data",
                                        "exclude-table-data-and-children"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// "public.\"Orders\"", as the server quotes.
std::pair<std::string, std::string> split_quoted_name(std::string_view text) {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (text[i] == '.' && !quoted)
      return {pg::identifier_name(text.substr(0, i)), pg::identifier_name(text.substr(i + 1))};
  }
  return {};
}

/// Older names of options.
std::string option_name(std::string name) {
  if (name == "blobs") return "large-objects";
  if (name == "no-blobs") return "no-large-objects";
  return name;
}

}  // namespace

bool DumpPattern::Part::matches(std::string_view name) const {
  if (any) return true;
  if (expression) return std::regex_match(name.begin(), name.end(), *expression);
  return name == literal;
}

DumpPattern::Part DumpPattern::part(std::string_view text) {
  static constexpr std::string_view kSigns = "*?|+()[]{}\\^";
  Part result;
  std::string expression;
  bool quoted = false;
  bool is_expression = false;
  const auto add_literal = [&](char c) {
    result.literal += c;
    if (kSigns.find(c) != std::string_view::npos || c == '.' || c == '$') expression += '\\';
    expression += c;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      const bool doubled = quoted && i + 1 < text.size() && text[i + 1] == '"';
      if (doubled) add_literal(text[++i]);
      if (!doubled) quoted = !quoted;
    } else if (quoted || kSigns.find(c) == std::string_view::npos) {
      add_literal(quoted ? c : lower(c));
    } else {
      is_expression = true;
      expression += c == '*' ? std::string(".*") : c == '?' ? std::string(".") : std::string(1, c);
    }
  }
  if (!is_expression) return result;
  if (text == "*") {
    result.any = true;
    return result;
  }
  try {
    result.expression.emplace(expression, std::regex::extended);
  } catch (const std::regex_error&) {
    result.any = true;
  }
  return result;
}

DumpPattern::DumpPattern(std::string_view text) {
  size_t dot = std::string_view::npos;  // The last outside of quotes and brackets.
  size_t before = std::string_view::npos;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (text[i] != '.' || quoted) continue;
    before = dot;
    dot = i;
  }
  if (dot == std::string_view::npos) {
    last_ = part(text);
    return;
  }
  last_ = part(text.substr(dot + 1));
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;  // A database before it (14) is ours.
  schema_ = part(text.substr(begin, dot - begin));
}

bool DumpPattern::matches_name(std::string_view name) const { return last_.matches(name); }

bool DumpPattern::matches(std::string_view schema, std::string_view name, const std::vector<std::string>& path) const {
  if (!last_.matches(name)) return false;
  if (schema_) return schema_->matches(schema);
  return std::find(path.begin(), path.end(), schema) != path.end();
}

DumpSelection::DumpSelection(const std::vector<std::string>& arguments, std::vector<std::string> path,
                             const std::vector<DumpTable>& tables)
    : path_(std::move(path)) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word.starts_with("--")) {
      const size_t equals = word.find('=');
      const bool joined = equals != std::string::npos;
      given_[option_name(word.substr(2, joined ? equals - 2 : std::string::npos))].push_back(
          joined ? word.substr(equals + 1) : "");
    } else if (word.size() >= 2 && word[0] == '-') {
      const auto* letter =
          std::find_if(kLetters.begin(), kLetters.end(), [&](const Letter& one) { return one.letter == word[1]; });
      if (letter == kLetters.end()) continue;
      std::string value = word.substr(2);
      if (value.empty() && letter->takes_value && i + 1 < arguments.size()) value = arguments[++i];
      given_[std::string(letter->name)].push_back(value);
    }
  }
  for (const char* option : kPatternOptions) {
    const auto found = given_.find(option);
    if (found == given_.end()) continue;
    for (const std::string& text : found->second) patterns_[option].emplace_back(text);
  }
  if (patterns_.contains("table-and-children") || patterns_.contains("exclude-table-and-children") ||
      patterns_.contains("exclude-table-data-and-children")) {
    for (const DumpTable& table : tables)
      if (!table.parent.empty()) parents_.emplace(QualifiedName{table.schema, table.name}, table.parent);
  }
  const auto section = given_.find("section");
  if (section != given_.end()) {
    const auto has_section = [&](std::string_view name) {
      return std::find(section->second.begin(), section->second.end(), name) != section->second.end();
    };
    data_ = has_section("data");
    definitions_ = has_section("pre-data") || has_section("post-data");
  }
  if (has("schema-only") || has("no-data")) data_ = false;
  if (has("data-only") || has("no-schema")) definitions_ = false;
}

bool DumpSelection::has(std::string_view option) const { return given_.contains(std::string(option)); }

std::string DumpSelection::value(std::string_view option) const {
  const auto found = given_.find(std::string(option));
  return found == given_.end() ? std::string() : found->second.back();
}

bool DumpSelection::whole() const {
  return patterns_.empty() && !has("filter") && !has("extension") && !has("exclude-extension");
}

bool DumpSelection::large_objects() const {
  if (!data_ || has("no-large-objects")) return false;
  return has("large-objects") || (!has("table") && !has("table-and-children") && !has("schema"));
}

bool DumpSelection::any_name(const std::string& option, std::string_view name) const {
  const auto found = patterns_.find(option);
  return found != patterns_.end() && std::any_of(found->second.begin(), found->second.end(),
                                                 [&](const DumpPattern& one) { return one.matches_name(name); });
}

bool DumpSelection::any_matches(const std::string& option, const DumpTable& table, bool with_parents) const {
  const auto found = patterns_.find(option);
  if (found == patterns_.end()) return false;
  const auto matches = [&](const std::string& schema, const std::string& name) {
    return std::any_of(found->second.begin(), found->second.end(),
                       [&](const DumpPattern& one) { return one.matches(schema, name, path_); });
  };
  if (matches(table.schema, table.name)) return true;
  std::string parent = with_parents ? table.parent : std::string();
  while (!parent.empty()) {
    const QualifiedName name = split_quoted_name(parent);
    if (matches(name.first, name.second)) return true;
    const auto above = parents_.find(name);
    parent = above == parents_.end() ? std::string() : above->second;
  }
  return false;
}

bool DumpSelection::includes(const DumpTable& table) const {
  if (any_matches("exclude-table", table, false) || any_matches("exclude-table-and-children", table, true))
    return false;
  // Tables that are named come whatever is said of schemas.
  if (patterns_.contains("table") || patterns_.contains("table-and-children"))
    return any_matches("table", table, false) || any_matches("table-and-children", table, true);
  if (any_name("exclude-schema", table.schema)) return false;
  return !patterns_.contains("schema") || any_name("schema", table.schema);
}

bool DumpSelection::includes_data(const DumpTable& table) const {
  if (!data_ || !includes(table)) return false;
  if (table.unlogged && has("no-unlogged-table-data")) return false;
  return !any_matches("exclude-table-data", table, false) &&
         !any_matches("exclude-table-data-and-children", table, true);
}

}  // namespace pgark
