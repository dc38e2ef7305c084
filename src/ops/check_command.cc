#include "ops/check_command.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace pgark {
namespace {

constexpr std::string_view kBlank = " \t\n";

std::string trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kBlank) - begin + 1));
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  size_t at = 0;
  while ((at = text.find_first_not_of(kBlank, at)) != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kBlank, at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

/// The program of a simple command without its directory: assignments and "test ! -f x &&" are parts of their own.
std::string program_of(const std::string& part) {
  for (std::string word : words_of(part)) {
    if (word == "{" || word == "(" || word == "!" || word == "exec" || word == "sudo" || word == "env") continue;
    while (word.starts_with('(')) word.erase(0, 1);
    while (word.ends_with(')') && word.size() > 1) word.pop_back();
    const size_t equals = word.find('=');
    const size_t slash = word.rfind('/');
    if (equals != std::string::npos && (slash == std::string::npos || equals < slash) && word[0] != '-') continue;
    return slash == std::string::npos ? word : word.substr(slash + 1);
  }
  return "";
}

bool calls_push(const ShellPart& part) { return part.text.find("archive-push") != std::string::npos; }

/// Programs that are done before the bytes are on disk.
bool copies_unsafely(const std::string& part, const std::string& program) {
  static constexpr std::array<std::string_view, 10> kCopiers = {"cp",   "mv",   "scp",  "rsync", "rclone",
                                                                "gzip", "pigz", "zstd", "lz4",   "cat"};
  if (program == "dd") return part.find("fsync") == std::string::npos && part.find("fdatasync") == std::string::npos;
  return std::find(kCopiers.begin(), kCopiers.end(), program) != kCopiers.end();
}

bool always_succeeds(const ShellPart& part) {
  static constexpr std::array<std::string_view, 6> kSucceeding = {"true", ":", "echo", "printf", "logger", "touch"};
  const std::string program = program_of(part.text);
  if (program == "exit" || program == "return") {
    const auto words = words_of(part.text);
    return words.size() > 1 && words[1].starts_with('0');
  }
  return std::find(kSucceeding.begin(), kSucceeding.end(), program) != kSucceeding.end();
}

bool is_one_of(const std::string& word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Whether the group of commands that begins with parts[at], "( a; b )" or "{ a; b; }", ends with a failure of its own.
bool is_group_that_fails(const std::vector<ShellPart>& parts, size_t at) {
  if (!parts[at].text.starts_with('(') && !parts[at].text.starts_with('{')) return false;
  return std::any_of(parts.begin() + static_cast<std::ptrdiff_t>(at), parts.end(), [](const ShellPart& part) {
    return is_one_of(program_of(part.text), {"exit", "return", "false"}) && !always_succeeds(part);
  });
}

/// What makes the command line end with success although the part at `main` failed; none if that is not certain.
std::optional<std::string> hidden_by(const std::vector<ShellPart>& parts, size_t main) {
  for (const ShellPart& part : parts) {
    // Whoever looks at the outcome may hand it on.
    if (part.text.find("$?") != std::string::npos || part.text.find("PIPESTATUS") != std::string::npos) return {};
  }
  if (is_one_of(program_of(parts[main].text), {"if", "while", "until", "for", "case"})) return {};
  for (size_t i = main + 1; i < parts.size(); ++i) {
    const ShellPart& part = parts[i];
    const std::string program = program_of(part.text);
    const std::string shown = trim(part.joiner + " " + part.text);
    if (part.joiner == "&") return shown;
    if (part.joiner == "&&" || part.text.empty()) continue;
    if (part.joiner == "||" && !always_succeeds(part)) continue;
    if (is_group_that_fails(parts, i)) return {};
    if (is_one_of(program, {"}", ")", "fi", "done", "esac"})) continue;
    if (part.joiner == ";" && is_one_of(program, {"exit", "return", "false"}) && !always_succeeds(part)) return {};
    return shown;
  }
  return {};
}

}  // namespace

std::vector<ShellPart> split_shell(const std::string& command) {
  std::vector<ShellPart> parts;
  ShellPart part;
  char quote = '\0';
  const auto next = [&](size_t i) { return i + 1 < command.size() ? command[i + 1] : '\0'; };
  const auto cut = [&](std::string joiner) {
    part.text = trim(part.text);
    parts.push_back(std::move(part));
    part = ShellPart{std::move(joiner), ""};
  };
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (c == '\\' && quote != '\'') {
      part.text += c;
      if (i + 1 < command.size()) part.text += command[++i];
    } else if (quote != '\0') {
      if (c == quote) quote = '\0';
      part.text += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      part.text += c;
    } else if (c == '&' && next(i) == '&') {
      cut("&&");
      ++i;
    } else if (c == '|' && next(i) == '|') {
      cut("||");
      ++i;
    } else if (c == '|' && (part.text.empty() || part.text.back() != '>')) {
      if (next(i) == '&') ++i;
      cut("|");
    } else if (c == ';' || c == '\n') {
      cut(";");
    } else if (c == '&' && next(i) != '>' &&
               (part.text.empty() || (part.text.back() != '>' && part.text.back() != '<'))) {
      cut("&");
    } else {
      part.text += c;
    }
  }
  part.text = trim(part.text);
  parts.push_back(std::move(part));
  return parts;
}

std::vector<CommandFault> archive_command_faults(const std::string& command) {
  std::vector<CommandFault> faults;
  const std::vector<ShellPart> parts = split_shell(command);
  const auto has_path = [](const ShellPart& part) { return part.text.find("%p") != std::string::npos; };
  // The last push counts: pgark, then pgark for another repository if that failed.
  auto main = std::find_if(parts.rbegin(), parts.rend(), calls_push);
  const bool pushes = main != parts.rend();
  if (!pushes) main = std::find_if(parts.rbegin(), parts.rend(), has_path);
  if (main == parts.rend()) return faults;
  const auto at = static_cast<size_t>(std::distance(main, parts.rend()) - 1);
  if (pushes && !has_path(*main)) faults.push_back({CommandRisk::kNoPath, main->text});
  if (!pushes && copies_unsafely(main->text, program_of(main->text))) {
    faults.push_back({CommandRisk::kUnsafeCopy, program_of(main->text)});
  }
  const bool pipefail = command.find("pipefail") != std::string::npos;
  if (const auto hidden = hidden_by(parts, at); hidden && !(pipefail && hidden->starts_with("| "))) {
    faults.push_back({CommandRisk::kHidesFailure, *hidden});
  }
  return faults;
}

}  // namespace pgark
