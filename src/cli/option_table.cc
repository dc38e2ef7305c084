#include "cli/option_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "core/check.h"

namespace pgark {
namespace {

constexpr std::string_view family_prefix(OptionFamily family) {
  switch (family) {
    case OptionFamily::kNone:
      return "";
    case OptionFamily::kRepo:
      return "repo";
    case OptionFamily::kPg:
      return "pg";
  }
  return "";
}

/// Changes (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

/// Candidates within a third of the written length, nearest first; a candidate that begins as written counts as near.
std::vector<std::string> nearest(std::string_view written, const std::set<std::string>& candidates, size_t count) {
  std::vector<std::pair<size_t, std::string>> found;
  const size_t limit = std::max<size_t>(1, written.size() / 3);
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(written, candidate);
    const bool prefix = written.size() >= 3 && candidate.starts_with(written);
    if (distance <= limit || prefix) found.emplace_back(distance, candidate);
  }
  std::ranges::stable_sort(found, {}, &std::pair<size_t, std::string>::first);
  std::vector<std::string> names;
  for (size_t i = 0; i < found.size() && i < count; ++i) {
    // Once there is a clear best, the rest only distracts.
    if (i > 0 && found[i].first > found[0].first + 1) break;
    names.push_back(found[i].second);
  }
  return names;
}

/// Split "12.5MiB" into the number's text and the unit in lower case.
std::pair<std::string_view, std::string> split_unit(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789.+-"), text.size());
  std::string unit(text.substr(digits));
  std::ranges::transform(unit, unit.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return {text.substr(0, digits), unit};
}

std::optional<uint64_t> size_factor(std::string_view unit) {
  if (unit.empty() || unit == "b") return 1;
  constexpr std::string_view kPrefixes = "kmgtp";
  const size_t power = kPrefixes.find(unit[0]);
  const std::string_view rest = unit.substr(1);
  if (power == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "ib")) return std::nullopt;
  return uint64_t{1} << (10 * (power + 1));
}

std::optional<int64_t> time_factor_ms(std::string_view unit) {
  if (unit == "ms") return 1;
  if (unit.empty() || unit == "s") return 1000;
  if (unit == "m") return 60'000;
  if (unit == "h") return 3'600'000;
  if (unit == "d") return 86'400'000;
  if (unit == "w") return 7 * int64_t{86'400'000};
  return std::nullopt;
}

std::string quoted_list(std::string_view bar_separated) {
  std::string text;
  for (size_t at = 0; at <= bar_separated.size();) {
    const size_t bar = std::min(bar_separated.find('|', at), bar_separated.size());
    if (!text.empty()) text += ", ";
    text += bar_separated.substr(at, bar - at);
    at = bar + 1;
  }
  return text;
}

Result<> check_bounds(const OptionSpec& spec, int64_t value, std::string_view text) {
  if (spec.min == 0 && spec.max == 0) return {};
  if (value >= spec.min && value <= spec.max) return {};
  if (spec.type == OptionType::kTime) {
    return Error(Errc::kInvalid,
                 fmt::format("'{}' is out of range: allowed are {} to {} seconds", text,
                             static_cast<double>(spec.min) / 1000, static_cast<double>(spec.max) / 1000));
  }
  return Error(Errc::kInvalid, fmt::format("'{}' is out of range: allowed are {} to {}", text, spec.min, spec.max));
}

Result<> check_enum(const OptionSpec& spec, Command command, std::string_view text) {
  for (size_t at = 0; at <= spec.allowed.size();) {
    const size_t bar = std::min(spec.allowed.find('|', at), spec.allowed.size());
    if (spec.allowed.substr(at, bar - at) == text) return {};
    at = bar + 1;
  }
  for (const RefusedValue& refused : refused_values()) {
    if (refused.option != spec.name || refused.value != text || !refused.commands.has(command)) continue;
    return Error(Errc::kUnsupported, fmt::format("'{}' is not provided in this version", text))
        .with_hint(std::string(refused.note));
  }
  return Error(Errc::kInvalid, fmt::format("'{}' is not allowed: use one of {}", text, quoted_list(spec.allowed)));
}

}  // namespace

const CommandSpec& command_spec(Command command) {
  const auto index = static_cast<size_t>(command);
  CHECK(index < all_commands().size() && all_commands()[index].id == command);
  return all_commands()[index];
}

const CommandSpec* find_command(std::string_view name) {
  for (const CommandSpec& spec : all_commands()) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

const OptionSpec* find_option(std::string_view name, Command command) {
  for (const OptionSpec& spec : all_options()) {
    if (spec.name == name && spec.commands.has(command)) return &spec;
  }
  return nullptr;
}

const OptionSpec* find_option(std::string_view name) {
  for (const OptionSpec& spec : all_options()) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

const OptionSpec* find_option_letter(char letter) {
  for (const OptionSpec& spec : all_options()) {
    if (spec.letter == letter) return &spec;
  }
  return nullptr;
}

std::optional<OptionName> split_option_name(std::string_view written) {
  if (const OptionSpec* spec = find_option(written)) return OptionName{spec->name, 1};
  for (const OptionFamily family : {OptionFamily::kRepo, OptionFamily::kPg}) {
    const std::string_view prefix = family_prefix(family);
    if (!written.starts_with(prefix)) continue;
    const std::string_view rest = written.substr(prefix.size());
    unsigned index = 0;
    const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
    if (failure != std::errc() || index < 1 || index > 256 || rest[0] == '0') continue;
    const OptionSpec* spec = find_option(fmt::format("{}{}", prefix, std::string_view(end, rest.data() + rest.size())));
    if (spec != nullptr && spec->family == family) return OptionName{spec->name, index};
  }
  return std::nullopt;
}

std::string option_full_name(const OptionSpec& spec, unsigned index) {
  if (spec.family == OptionFamily::kNone) return std::string(spec.name);
  const std::string_view prefix = family_prefix(spec.family);
  return fmt::format("{}{}{}", prefix, index, spec.name.substr(prefix.size()));
}

std::vector<std::string> nearest_options(std::string_view written, size_t count) {
  std::set<std::string> candidates;
  for (const OptionSpec& spec : all_options()) {
    if (!spec.internal) candidates.insert(option_full_name(spec));
  }
  return nearest(written, candidates, count);
}

std::vector<std::string> nearest_commands(std::string_view written, size_t count) {
  std::set<std::string> candidates;
  for (const CommandSpec& spec : all_commands()) candidates.insert(std::string(spec.name));
  return nearest(written, candidates, count);
}

std::string_view option_type_name(OptionType type) {
  switch (type) {
    case OptionType::kBoolean:
      return "y|n";
    case OptionType::kInteger:
      return "N";
    case OptionType::kSize:
      return "SIZE";
    case OptionType::kTime:
      return "TIME";
    case OptionType::kString:
      return "TEXT";
    case OptionType::kPath:
      return "PATH";
    case OptionType::kEnum:
      return "WORD";
    case OptionType::kList:
      return "TEXT";
    case OptionType::kMap:
      return "KEY=VALUE";
  }
  return "TEXT";
}

std::string_view option_group_title(OptionGroup group) {
  switch (group) {
    case OptionGroup::kCommand:
      return "Command options";
    case OptionGroup::kGeneral:
      return "General options";
    case OptionGroup::kLog:
      return "Log options";
    case OptionGroup::kRepository:
      return "Repository options";
    case OptionGroup::kStanza:
      return "Stanza options";
  }
  return "Options";
}

Result<bool> parse_boolean(std::string_view text) {
  if (text == "y") return true;
  if (text == "n") return false;
  return Error(Errc::kInvalid, fmt::format("'{}' is not allowed: use y or n", text));
}

Result<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || text.empty()) {
    return Error(Errc::kInvalid, fmt::format("'{}' is not a whole number", text));
  }
  return value;
}

Result<uint64_t> parse_size(std::string_view text) {
  const auto [number, unit] = split_unit(text);
  const std::optional<uint64_t> factor = size_factor(unit);
  uint64_t value = 0;
  const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (!factor || failure != std::errc() || end != number.data() + number.size() || number.empty() ||
      value > std::numeric_limits<int64_t>::max() / *factor) {
    return Error(Errc::kInvalid,
                 fmt::format("'{}' is not a size: use bytes, or a whole number with KiB, MiB, GiB, TiB or PiB", text));
  }
  return value * *factor;
}

Result<int64_t> parse_time_ms(std::string_view text) {
  const auto [number, unit] = split_unit(text);
  const std::optional<int64_t> factor = time_factor_ms(unit);
  double value = 0;
  const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), value);
  const double milliseconds = factor ? std::round(value * static_cast<double>(*factor)) : 0;
  if (!factor || failure != std::errc() || end != number.data() + number.size() || number.empty() || value < 0 ||
      !(milliseconds < 9e15)) {
    return Error(Errc::kInvalid,
                 fmt::format("'{}' is not a time: use seconds, or a number with ms, s, m, h, d or w", text));
  }
  return static_cast<int64_t>(milliseconds);
}

Result<> check_option_value(const OptionSpec& spec, Command command, std::string_view text) {
  if (text.empty() && spec.type != OptionType::kMap) return Error(Errc::kInvalid, "has an empty value");
  switch (spec.type) {
    case OptionType::kBoolean:
      TRY(parse_boolean(text));
      return {};
    case OptionType::kInteger: {
      TRY_ASSIGN(const int64_t value, parse_integer(text));
      return check_bounds(spec, value, text);
    }
    case OptionType::kSize: {
      TRY_ASSIGN(const uint64_t value, parse_size(text));
      return check_bounds(spec, static_cast<int64_t>(value), text);
    }
    case OptionType::kTime: {
      TRY_ASSIGN(const int64_t value, parse_time_ms(text));
      return check_bounds(spec, value, text);
    }
    case OptionType::kPath:
      if (text[0] != '/') return Error(Errc::kInvalid, fmt::format("'{}' is not an absolute path", text));
      if (text.find("//") != std::string_view::npos) {
        return Error(Errc::kInvalid, fmt::format("'{}' has an empty path component ('//')", text));
      }
      return {};
    case OptionType::kEnum:
      return check_enum(spec, command, text);
    case OptionType::kMap:
      if (const size_t equals = text.find('='); equals == std::string_view::npos || equals == 0) {
        return Error(Errc::kInvalid, fmt::format("'{}' is not of the form KEY=VALUE", text));
      }
      return {};
    case OptionType::kString:
    case OptionType::kList:
      return {};
  }
  return {};
}

}  // namespace pgark
