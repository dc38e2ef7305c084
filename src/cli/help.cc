#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/option_sources.h"
#include "cli/output.h"
#include "core/version.h"

namespace pgark {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kTextColumn = 30;
constexpr char kHardSpace = '\x01';

std::string words_of(std::string_view bar_separated) {
  std::string text;
  for (const char c : bar_separated) text += c == '|' ? ", " : std::string(1, c);
  return text;
}

std::string general_help() {
  std::string text =
      fmt::format("pgark {} - backup, WAL archiving and point-in-time recovery for PostgreSQL\n\n", kVersion);
  text += "Usage: pgark [--stanza=NAME] COMMAND [options]\n";
  for (const CommandGroup& group : command_groups()) {
    TextTable table("  ");
    table.column("");
    table.column("");
    for (const Command id : group.commands) {
      table.row({std::string(command_spec(id).name), std::string(command_spec(id).summary)});
    }
    text += fmt::format("\n{}:\n{}", group.title, table.to_string());
  }
  text +=
      "\nA first backup, with repo1-path and pg1-path set in /etc/pgark/pgark.conf:\n"
      "  pgark --stanza=main stanza-create\n"
      "  (now set archive_mode=on in postgresql.conf, and\n"
      "   archive_command = 'pgark --stanza=main archive-push %p')\n"
      "  pgark --stanza=main check\n"
      "  pgark --stanza=main backup\n"
      "\nAnd back, to one second before a mistake:\n"
      "  pgark --stanza=main --type=time --target='2026-11-22 10:14:59' restore\n"
      "\nOptions may also be set in the environment (PGARK_STANZA=main) or in the\n"
      "configuration file. 'pgark help COMMAND' lists them, and 'pgark help COMMAND\n"
      "OPTION' explains one.\n";
  return text;
}

/// A space that wrap_text() keeps, while what is in brackets must stay together.
std::string together(std::string text) {
  std::ranges::replace(text, ' ', kHardSpace);
  return text;
}

/// One entry of an option list: the name, then the summary in its own column.
std::string option_entry(const OptionSpec& spec, Command command) {
  std::string summary(spec.summary);
  if (spec.required.has(command)) summary += " [required]";
  if (!default_text(spec).empty()) summary += " " + together(fmt::format("[default: {}]", default_text(spec)));
  const std::string name = "  " + option_usage(spec);
  std::string text = wrap_text(summary, kWidth, kTextColumn);
  std::ranges::replace(text, kHardSpace, ' ');
  if (name.size() + 1 >= kTextColumn) return name + "\n" + text;
  return name + text.substr(name.size());
}

std::string command_help(const CommandSpec& command) {
  std::string text = fmt::format("pgark {} - {}\n\nUsage: pgark [options] {}{}{}\n", command.name, command.summary,
                                 command.name, command.usage.empty() ? "" : " ", command.usage);
  if (!command.description.empty()) text += "\n" + wrap_text(command.description, kWidth);
  for (const OptionGroup group : {OptionGroup::kCommand, OptionGroup::kGeneral, OptionGroup::kLog,
                                  OptionGroup::kRepository, OptionGroup::kStanza}) {
    std::string entries;
    for (const OptionSpec& spec : all_options()) {
      if (spec.group != group || !spec.commands.has(command.id) || spec.internal) continue;
      if (spec.state == OptionState::kActive) entries += option_entry(spec, command.id);
    }
    if (!entries.empty()) text += fmt::format("\n{}:\n{}", option_group_title(group), entries);
  }
  return text;
}

std::string how_to_set(const OptionSpec& spec) {
  TextTable table("  ");
  table.column("");
  table.column("");
  std::string line = option_usage(spec);
  if (spec.type == OptionType::kBoolean) line = fmt::format("--{0} or --no-{0}", option_full_name(spec));
  table.row({"command line", line});
  table.row({"environment", fmt::format("{}={}", environment_variable(spec), option_type_name(spec.type))});
  if (spec.source == OptionSource::kCommandLine) return table.to_string();
  table.row({"file", fmt::format("{}={}", option_full_name(spec), option_type_name(spec.type))});
  return table.to_string() + (spec.group == OptionGroup::kStanza
                                  ? "in a section [STANZA] or [STANZA:COMMAND].\n"
                                  : "in a section [global], [global:COMMAND], [STANZA] or [STANZA:COMMAND].\n");
}

std::string option_help(const OptionSpec& spec, const CommandSpec& command) {
  std::string text = fmt::format("pgark {} - option {}\n\n", command.name, option_full_name(spec));
  if (spec.state != OptionState::kActive) {
    return text + wrap_text(fmt::format("An option of pgBackRest that {}: {}.",
                                        spec.state == OptionState::kIgnored
                                            ? "is accepted and ignored"
                                            : "this version of pgark does not provide and refuses",
                                        spec.state_note),
                            kWidth);
  }
  std::string summary(spec.summary);
  summary[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(summary[0])));
  text += wrap_text(summary + ".", kWidth);
  if (!spec.description.empty()) text += "\n" + wrap_text(spec.description, kWidth);
  text += "\n" + wrap_text("Value: " + value_rule(spec), kWidth);
  if (!default_text(spec).empty()) text += fmt::format("Default: {}\n", default_text(spec));
  if (spec.required.has(command.id)) text += fmt::format("Required for {}.\n", command.name);
  return text + "\nTo be set by\n" + how_to_set(spec);
}

struct Topic {
  const CommandSpec* command = nullptr;
  const OptionSpec* option = nullptr;
};

Result<Topic> find_topic(const std::vector<std::string>& topic) {
  Topic found;
  if (topic.empty()) return found;
  found.command = find_command(topic[0]);
  if (found.command == nullptr) {
    for (const RefusedCommand& refused : refused_commands()) {
      if (refused.name != topic[0]) continue;
      return Error(Errc::kUnsupported, fmt::format("command {} is not provided in this version", topic[0]))
          .with_hint(std::string(refused.note));
    }
    const std::string hint = did_you_mean(nearest_commands(topic[0]), "");
    return Error(Errc::kInvalid, fmt::format("no help for '{}': it is no command", topic[0]))
        .with_hint(hint.empty() ? "run 'pgark help' for the commands" : hint);
  }
  if (topic.size() < 2) return found;
  const std::string_view written = std::string_view(topic[1]).substr(topic[1].starts_with("--") ? 2 : 0);
  const auto name = split_option_name(written);
  if (name) found.option = find_option(name->base, found.command->id);
  if (found.option == nullptr) {
    const std::string hint = name ? "" : did_you_mean(nearest_options(written), "");
    return Error(Errc::kInvalid, fmt::format("{} has no option '{}'", topic[0], written))
        .with_hint(hint.empty() ? fmt::format("run 'pgark help {}' for its options", topic[0]) : hint);
  }
  return found;
}

nlohmann::json option_json(const OptionSpec& spec, Command command) {
  nlohmann::json document = {{"name", option_full_name(spec)},
                             {"summary", spec.summary},
                             {"description", spec.description},
                             {"value", value_rule(spec)},
                             {"required", spec.required.has(command)},
                             {"command_line_only", spec.source == OptionSource::kCommandLine},
                             {"environment", environment_variable(spec)},
                             {"state", spec.state == OptionState::kActive    ? "active"
                                       : spec.state == OptionState::kIgnored ? "ignored"
                                                                             : "refused"}};
  document["default"] = default_text(spec).empty() ? nlohmann::json() : nlohmann::json(default_text(spec));
  if (spec.state != OptionState::kActive) document["note"] = spec.state_note;
  return document;
}

}  // namespace

const std::vector<CommandGroup>& command_groups() {
  static const std::vector<CommandGroup> groups = {
      {"Back up and restore",
       {Command::kBackup, Command::kRestore, Command::kInfo, Command::kTimeline, Command::kAnnotate}},
      {"Keep, check and remove backups", {Command::kVerify, Command::kHold, Command::kExpire, Command::kRepoCopy}},
      {"Dump and load databases",
       {Command::kDump, Command::kLoad, Command::kDumpLs, Command::kDumpGet, Command::kDumpVerify,
        Command::kDumpExpire}},
      {"Archive WAL", {Command::kArchivePush, Command::kArchiveGet, Command::kArchiveHeal}},
      {"Set up",
       {Command::kStanzaCreate, Command::kCheck, Command::kKey, Command::kStart, Command::kStop,
        Command::kStanzaDelete}},
      {"Look into the repository",
       {Command::kRepoCheck, Command::kRepoLs, Command::kRepoGet, Command::kRepoPut, Command::kRepoRm}},
      {"About pgark", {Command::kHelp, Command::kVersion}},
  };
  return groups;
}

std::string wrap_text(std::string_view text, size_t width, size_t indent) {
  const std::string margin(indent, ' ');
  std::string wrapped;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view paragraph = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (paragraph.starts_with(' ')) {
      wrapped += fmt::format("{}{}\n", margin, paragraph);
      continue;
    }
    std::string line;
    while (!paragraph.empty()) {
      const size_t space = std::min(paragraph.find(' '), paragraph.size());
      const std::string_view word = paragraph.substr(0, space);
      paragraph.remove_prefix(std::min(space + 1, paragraph.size()));
      if (!line.empty() && indent + display_width(line) + 1 + display_width(word) > width) {
        wrapped += margin + line + "\n";
        line.clear();
      }
      if (!line.empty()) line += ' ';
      line += word;
    }
    wrapped += line.empty() ? "\n" : margin + line + "\n";
  }
  return wrapped;
}

std::string value_rule(const OptionSpec& spec) {
  const bool bounded = spec.min != 0 || spec.max != 0;
  switch (spec.type) {
    case OptionType::kBoolean:
      return "y or n";
    case OptionType::kInteger:
      return bounded ? fmt::format("whole number from {} to {}", spec.min, spec.max) : "whole number";
    case OptionType::kSize:
      return "bytes, or a whole number with KiB, MiB, GiB, TiB or PiB";
    case OptionType::kTime:
      return bounded ? fmt::format("seconds, or a number with ms, s, m, h, d or w; from {} to {} seconds",
                                   static_cast<double>(spec.min) / 1000, static_cast<double>(spec.max) / 1000)
                     : "seconds, or a number with ms, s, m, h, d or w";
    case OptionType::kString:
      return "text";
    case OptionType::kPath:
      return "absolute path";
    case OptionType::kEnum:
      return (spec.allowed.find('|') == spec.allowed.npos ? "" : "one of ") + words_of(spec.allowed);
    case OptionType::kList:
      return "text, repeatable";
    case OptionType::kMap:
      return "KEY=VALUE, repeatable";
  }
  return "text";
}

std::string option_usage(const OptionSpec& spec) {
  const std::string name =
      (spec.letter != 0 ? fmt::format("-{}, ", spec.letter) : std::string()) + "--" + option_full_name(spec);
  if (spec.type == OptionType::kBoolean) return name;
  // Short choices say themselves.
  if (spec.type == OptionType::kEnum && spec.allowed.size() <= 20) return fmt::format("{}={}", name, spec.allowed);
  return fmt::format("{}={}", name, option_type_name(spec.type));
}

std::string_view default_text(const OptionSpec& spec) {
  return spec.default_note.empty() ? spec.value_default : spec.default_note;
}

std::string environment_variable(const OptionSpec& spec) {
  std::string name = "PGARK_" + option_full_name(spec);
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

Result<std::string> help_text(const std::vector<std::string>& topic) {
  TRY_ASSIGN(const Topic found, find_topic(topic));
  if (found.command == nullptr) return general_help();
  if (found.option == nullptr) return command_help(*found.command);
  return option_help(*found.option, *found.command);
}

Result<nlohmann::json> help_json(const std::vector<std::string>& topic) {
  TRY_ASSIGN(const Topic found, find_topic(topic));
  if (found.option != nullptr) return option_json(*found.option, found.command->id);
  nlohmann::json document;
  if (found.command == nullptr) {
    document["version"] = kVersion;
    document["commands"] = nlohmann::json::array();
    for (const CommandSpec& command : all_commands()) {
      document["commands"].push_back({{"name", command.name}, {"summary", command.summary}});
    }
    return document;
  }
  document = {{"name", found.command->name},
              {"summary", found.command->summary},
              {"description", found.command->description},
              {"arguments", found.command->usage},
              {"options", nlohmann::json::array()}};
  for (const OptionSpec& spec : all_options()) {
    if (!spec.commands.has(found.command->id) || spec.internal || spec.state != OptionState::kActive) continue;
    document["options"].push_back(option_json(spec, found.command->id));
  }
  return document;
}

}  // namespace pgark
