// Reading files of SQL sections.
#include "testing/logical_script.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>
#include <string_view>

#include "core/file.h"

namespace pgark::testing {
namespace {

constexpr std::string_view kHeading = "--- ";

bool parse_major(const std::string& word, int& major) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), major);
  return error == std::errc() && end == word.data() + word.size();
}

// The words of a heading, read from its end: what is no qualifier belongs to the name.
Result<SqlSection> parse_heading(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line.substr(kHeading.size()));
  for (std::string word; stream >> word;) words.push_back(word);
  SqlSection section;
  while (!words.empty()) {
    if (words.back() == "each") {
      section.each = true;
      words.pop_back();
      continue;
    }
    const std::string keyword = words.size() >= 2 ? words[words.size() - 2] : "";
    if (keyword != "from" && keyword != "until") break;
    int& major = keyword == "from" ? section.from_major : section.until_major;
    if (!parse_major(words.back(), major)) break;
    words.resize(words.size() - 2);
  }
  if (words.empty()) return Error(Errc::kInvalid, "read heading of SQL: no name in: " + line);
  section.name = fmt::format("{}", fmt::join(words, " "));
  return section;
}

}  // namespace

Result<std::vector<SqlSection>> parse_sql_sections(const std::string& text) {
  std::vector<SqlSection> sections;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(kHeading)) {
      TRY_ASSIGN(SqlSection section, parse_heading(line));
      sections.push_back(std::move(section));
    } else if (!sections.empty()) {
      sections.back().sql += line + "\n";
    }
  }
  return sections;
}

Result<std::vector<SqlSection>> read_sql_sections(const std::string& file_name) {
  const std::string path = std::string(PGARK_SOURCE_DIR) + "/src/testing/" + file_name;
  TRY_ASSIGN(const std::string text, read_file(path));
  return parse_sql_sections(text);
}

std::vector<std::string> sql_statements(const SqlSection& section) {
  std::vector<std::string> statements;
  std::string statement;
  std::istringstream stream(section.sql);
  for (std::string line; std::getline(stream, line);) {
    statement += line + "\n";
    if (line.ends_with(";")) statements.push_back(std::exchange(statement, {}));
  }
  return statements;
}

}  // namespace pgark::testing
