#include "core/ini.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgark {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

Error at(const std::string& file, int line, std::string_view what) {
  return Error(Errc::kInvalid, fmt::format("{}:{}: {}", file, line, what));
}

}  // namespace

Result<std::vector<IniEntry>> parse_ini(std::string_view text, const std::string& file) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<IniEntry> entries;
  // Grown step by step it would leave copies of short values behind, and some values are secrets.
  entries.reserve(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
  std::string section;
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty() || line[0] == '#') continue;
    if (line.find('\0') != std::string_view::npos) return at(file, number, "the line holds a zero byte");
    if (line[0] == '[') {
      if (!line.ends_with(']')) return at(file, number, fmt::format("section '{}' has no closing bracket", line));
      section = trim(line.substr(1, line.size() - 2));
      if (section.empty()) return at(file, number, "the section has no name");
      continue;
    }
    const size_t equals = line.find('=');
    // Not quoted: a secret whose '=' is missing must not end up in a log.
    if (equals == std::string_view::npos) return at(file, number, "the line is neither KEY=VALUE nor [SECTION]");
    const std::string_view key = trim(line.substr(0, equals));
    if (key.empty()) return at(file, number, "there is no key before '='");
    if (section.empty()) return at(file, number, fmt::format("'{}' comes before the first [SECTION]", key));
    entries.push_back({section, std::string(key), std::string(trim(line.substr(equals + 1))), file, number});
  }
  return entries;
}

}  // namespace pgark
