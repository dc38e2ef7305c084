// Reading and comparing what databases are made of.
#include "testing/logical_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "testing/logical_script.h"
#include "testing/pg_connection.h"

namespace pgark::testing {
namespace {

constexpr std::string_view kGlobal = "global ";

// What two servers must have alike for the same value to have the same text.
constexpr const char* kSession =
    "SET search_path = pg_catalog; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; "
    "SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; SET quote_all_identifiers = off; "
    "SET statement_timeout = 0; SET row_security = off";

// The shorthands that the head of logical_catalog.sql explains.
std::string expand(std::string sql) {
  static const std::regex user(R"(\{user ([^{}]+)\})");
  static const std::regex acl(R"(\{acl (\S+) (\w) (\S+)\})");
  static const std::regex own(R"(\{own (\w+) (\S+)\})");
  sql = std::regex_replace(sql, user, "pg_get_userbyid($1)::text");
  sql = std::regex_replace(sql, acl,
                           R"((SELECT coalesce(string_agg(x::text, ' ' ORDER BY x::text COLLATE "C"), '') )"
                           R"(FROM unnest(coalesce($1, acldefault('$2', $3))) x))");
  return std::regex_replace(sql, own,
                            "($2 >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '$1'::regclass "
                            "AND e.objid = $2 AND e.deptype = 'e'))");
}

// Read and expanded once: expressions of the standard library are slow.
const Result<std::vector<SqlSection>>& catalog_sections() {
  static const Result<std::vector<SqlSection>> expanded = []() -> Result<std::vector<SqlSection>> {
    TRY_ASSIGN(std::vector<SqlSection> sections, read_sql_sections("logical_catalog.sql"));
    for (auto& section : sections) section.sql = expand(section.sql);
    return sections;
  }();
  return expanded;
}

Result<> read_catalog(PgConnection& connection, bool globals, LogicalFacts& facts) {
  const auto& sections = catalog_sections();
  if (!sections) return sections.error();
  for (const auto& section : *sections) {
    if (!section.applies_to(facts.major) || section.name.starts_with(kGlobal) != globals) continue;
    TRY_ASSIGN_CTX(const PgRows rows, connection.query(section.sql), "read catalog for " + section.name);
    for (size_t i = 0; i < rows.size(); ++i) facts.facts.push_back({section.name, rows.text(i, 0), rows.text(i, 1)});
  }
  return {};
}

Result<> read_sequences(PgConnection& connection, LogicalFacts& facts) {
  TRY_ASSIGN(const PgRows sequences, connection.query(expand("SELECT seqrelid::regclass FROM pg_sequence WHERE "
                                                             "{own pg_class seqrelid} ORDER BY 1")));
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::string name = sequences.text(i, 0);
    TRY_ASSIGN(const PgRows value, connection.query("SELECT last_value, is_called FROM " + name));
    facts.facts.push_back({"value of sequence", name,
                           fmt::format("{}{}", value.text(0, 0), value.text(0, 1) == "t" ? "" : ", not yet called")});
  }
  return {};
}

// Rows as text, column by column in the order of their names, so that a table whose columns came in another order has
// the same content; floating-point numbers in their binary form, because their text differs between versions.
constexpr const char* kContentQueries = R"(
SELECT CASE c.relkind WHEN 'v' THEN 'content of view' WHEN 'm' THEN 'content of materialized view' ELSE 'content of table' END,
  c.oid::regclass::text,
  format('SELECT count(*), coalesce(md5(string_agg(h, '''' ORDER BY h COLLATE "C")), '''') FROM (SELECT md5(ROW(%s)::text) AS h FROM %s %s) rows',
    (SELECT string_agg(CASE atttypid WHEN 'float8'::regtype THEN format('float8send(%I)', attname)
        WHEN 'float4'::regtype THEN format('float4send(%I)', attname) ELSE format('%I', attname) END, ', ' ORDER BY attname::text COLLATE "C")
      FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    CASE WHEN c.relkind = 'r' THEN 'ONLY' END, c.oid::regclass)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'v') AND c.relispopulated AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND {own pg_class c.oid})";

// The owner of a view may lack the right to read it through another one: that is content, too.
Result<std::string> read_content_of(PgConnection& connection, const std::string& sql) {
  TRY(connection.exec("SAVEPOINT content"));
  auto content = connection.query(sql);
  if (content) return fmt::format("{} rows, {}", content->text(0, 0), content->text(0, 1));
  if (content.error().code() != Errc::kInvalid) return content.error();
  const std::string message = content.error().message();
  TRY(connection.exec("ROLLBACK TO content"));
  return message.substr(std::min(message.find("ERROR:"), message.size()));
}

Result<> read_content(PgConnection& connection, LogicalFacts& facts) {
  TRY_ASSIGN(const PgRows queries, connection.query(expand(kContentQueries)));
  for (size_t i = 0; i < queries.size(); ++i) {
    TRY_ASSIGN_CTX(std::string content, read_content_of(connection, queries.text(i, 2)),
                   "read content of " + queries.text(i, 1));
    facts.facts.push_back({queries.text(i, 0), queries.text(i, 1), std::move(content)});
  }
  return {};
}

Result<LogicalFacts> read_facts(const std::string& conninfo, bool globals) {
  TRY_ASSIGN(PgConnection connection, PgConnection::open(conninfo));
  LogicalFacts facts;
  TRY_ASSIGN(const PgRows version, connection.query("SHOW server_version_num"));
  facts.major = static_cast<int>(version.integer() / 10000);
  TRY(connection.exec(kSession));
  if (facts.major >= 11) TRY(connection.exec("SET jit = off"));
  TRY(connection.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
  TRY(read_catalog(connection, globals, facts));
  if (!globals) {
    TRY(read_sequences(connection, facts));
    TRY(read_content(connection, facts));
  }
  std::sort(facts.facts.begin(), facts.facts.end());
  return facts;
}

std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n')
      line += "\\n";
    else if (c == '\r')
      line += "\\r";
    else if (c == '\t')
      line += "\\t";
    else
      line += c;
  }
  return line;
}

// Where two definitions part, with a little of what precedes it.
std::string around(const std::string& text, size_t at) {
  constexpr size_t kBefore = 60;
  constexpr size_t kShown = 400;
  const size_t begin = at > kBefore ? at - kBefore : 0;
  return (begin > 0 ? "..." : "") + one_line(text.substr(begin, kShown)) + (text.size() > begin + kShown ? "..." : "");
}

// The rules of one comparison, compiled once.
class Excuses {
 public:
  explicit Excuses(const std::vector<ExpectedDifference>& expected) {
    for (const auto& rule : expected) {
      rules_.push_back({&rule, std::regex(rule.identity), std::regex(rule.pattern)});
    }
  }

  bool excuses_missing(const LogicalFact& fact, ExpectedDifference::What what,
                       std::vector<std::string>& excused) const {
    for (const auto& rule : rules_) {
      if (rule.expected->what != what || !rule.is_of(fact)) continue;
      if (!rule.expected->pattern.empty() && !std::regex_search(fact.definition, rule.pattern)) continue;
      excused.push_back(rule.expected->reason + ": " + fact.to_string());
      return true;
    }
    return false;
  }

  bool excuses_rewritten(const LogicalFact& source, const LogicalFact& target,
                         std::vector<std::string>& excused) const {
    std::string left = source.definition;
    std::string right = target.definition;
    std::string reasons;
    for (const auto& rule : rules_) {
      if (rule.expected->what != ExpectedDifference::What::kRewritten || !rule.is_of(source)) continue;
      std::string new_left = std::regex_replace(left, rule.pattern, rule.expected->replacement);
      std::string new_right = std::regex_replace(right, rule.pattern, rule.expected->replacement);
      if (new_left == left && new_right == right) continue;
      left = std::move(new_left);
      right = std::move(new_right);
      reasons += rule.expected->reason + ": ";
    }
    if (left != right) return false;
    excused.push_back(reasons + source.to_string());
    return true;
  }

 private:
  struct Rule {
    const ExpectedDifference* expected;
    std::regex identity;
    std::regex pattern;
    bool is_of(const LogicalFact& fact) const {
      return fact.kind == expected->kind && std::regex_match(one_line(fact.identity), identity);
    }
  };
  std::vector<Rule> rules_;
};

void report_changed(const LogicalFact& source, const LogicalFact& target, std::vector<std::string>& differences) {
  const auto parted = std::mismatch(source.definition.begin(), source.definition.end(), target.definition.begin(),
                                    target.definition.end());
  const auto at = static_cast<size_t>(parted.first - source.definition.begin());
  differences.push_back(fmt::format("{} {}\n  source: {}\n  target: {}", source.kind, one_line(source.identity),
                                    around(source.definition, at), around(target.definition, at)));
}

}  // namespace

std::string LogicalFact::to_string() const { return kind + " " + one_line(identity) + ": " + one_line(definition); }

std::string LogicalFacts::to_string() const {
  std::string text;
  for (const auto& fact : facts) text += fact.to_string() + "\n";
  return text;
}

LogicalFacts LogicalFacts::only(const std::vector<std::string>& kinds) const {
  LogicalFacts chosen = *this;
  std::erase_if(chosen.facts, [&](const LogicalFact& fact) {
    return std::find(kinds.begin(), kinds.end(), fact.kind) == kinds.end();
  });
  return chosen;
}

LogicalFacts LogicalFacts::without(const std::vector<std::string>& kinds) const {
  LogicalFacts chosen = *this;
  std::erase_if(chosen.facts, [&](const LogicalFact& fact) {
    return std::find(kinds.begin(), kinds.end(), fact.kind) != kinds.end();
  });
  return chosen;
}

Result<LogicalFacts> read_database_facts(const std::string& conninfo) { return read_facts(conninfo, false); }

Result<std::vector<std::string>> kinds_without_facts(const LogicalFacts& facts) {
  const auto& sections = catalog_sections();
  if (!sections) return sections.error();
  std::vector<std::string> kinds{"value of sequence", "content of table", "content of view",
                                 "content of materialized view"};
  for (const auto& section : *sections) {
    if (section.applies_to(facts.major) && !section.name.starts_with(kGlobal)) kinds.push_back(section.name);
  }
  std::erase_if(kinds, [&](const std::string& kind) {
    return std::any_of(facts.facts.begin(), facts.facts.end(),
                       [&](const LogicalFact& fact) { return fact.kind == kind; });
  });
  return kinds;
}

Result<LogicalFacts> read_global_facts(const std::string& conninfo) { return read_facts(conninfo, true); }

LogicalComparison compare_facts(const LogicalFacts& source, const LogicalFacts& target,
                                const std::vector<ExpectedDifference>& expected) {
  using What = ExpectedDifference::What;
  const Excuses excuses(expected);
  LogicalComparison result;
  auto left = source.facts.begin();
  auto right = target.facts.begin();
  while (left != source.facts.end() || right != target.facts.end()) {
    const auto key = [](const LogicalFact& fact) { return std::tie(fact.kind, fact.identity); };
    const bool only_left = right == target.facts.end() || (left != source.facts.end() && key(*left) < key(*right));
    const bool only_right = !only_left && (left == source.facts.end() || key(*right) < key(*left));
    if (only_left) {
      if (!excuses.excuses_missing(*left, What::kOnlyInSource, result.excused)) {
        result.differences.push_back("only in the source: " + around(left->to_string(), 0));
      }
      ++left;
    } else if (only_right) {
      if (!excuses.excuses_missing(*right, What::kOnlyInTarget, result.excused)) {
        result.differences.push_back("only in the target: " + around(right->to_string(), 0));
      }
      ++right;
    } else {
      if (left->definition != right->definition && !excuses.excuses_rewritten(*left, *right, result.excused)) {
        report_changed(*left, *right, result.differences);
      }
      ++left;
      ++right;
    }
  }
  return result;
}

std::string LogicalComparison::to_string(size_t shown_max) const {
  if (equal()) return "equal";
  std::string text = fmt::format("{} differences\n", differences.size());
  for (size_t i = 0; i < std::min(shown_max, differences.size()); ++i) text += differences[i] + "\n";
  return text;
}

}  // namespace pgark::testing
