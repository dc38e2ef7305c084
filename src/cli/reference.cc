// Generator of docs/reference/commands.md and docs/reference/options.md.
#include <fmt/format.h>

#include <algorithm>

#include "cli/help.h"

namespace pgark {
namespace {

constexpr std::string_view kGenerated =
    "<!-- Generated from src/cli/option_specs.cc by `pgark help --markdown={}`; a test keeps it up to date. -->\n";

std::string sentence(std::string_view phrase) {
  std::string text(phrase);
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  if (!text.ends_with('.')) text += '.';
  return text;
}

/// Text of the table as Markdown: indented lines become code.
std::string markdown_paragraphs(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find("\n\n"), text.size());
    const std::string_view paragraph = text.substr(0, end);
    text.remove_prefix(std::min(end + 2, text.size()));
    out += paragraph.starts_with(' ') ? fmt::format("```\n{}\n```\n\n", paragraph.substr(2))
                                      : wrap_text(paragraph, 120) + "\n";
  }
  return out;
}

std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) escaped += c == '|' ? "\\|" : std::string(1, c);
  return escaped;
}

std::string names_of(CommandSet commands) {
  std::string text;
  for (const CommandSpec& command : all_commands()) {
    if (commands.has(command.id)) text += fmt::format("{}`{}`", text.empty() ? "" : ", ", command.name);
  }
  return text;
}

std::string command_section(const CommandSpec& command) {
  std::string text =
      fmt::format("## {}\n\n{}\n\n```\npgark [options] {}{}{}\n```\n\n", command.name, sentence(command.summary),
                  command.name, command.usage.empty() ? "" : " ", command.usage);
  text += markdown_paragraphs(command.description);
  if (command.stoppable) text += "Refused while `pgark stop` is in force.\n\n";
  std::string rows;
  std::string shared;
  for (const OptionSpec& spec : all_options()) {
    if (!spec.commands.has(command.id) || spec.internal || spec.state != OptionState::kActive) continue;
    const std::string name = option_full_name(spec);
    if (spec.group != OptionGroup::kCommand && !spec.required.has(command.id)) {
      shared += fmt::format("{}`{}`", shared.empty() ? "" : ", ", name);
      continue;
    }
    rows += fmt::format("| `{}` | {}{} | {} |\n", cell(option_usage(spec)), cell(spec.summary),
                        spec.required.has(command.id) ? " (required)" : "", cell(default_text(spec)));
  }
  if (!rows.empty()) text += "| option | meaning | default |\n|---|---|---|\n" + rows + "\n";
  if (!shared.empty()) text += wrap_text("Also: " + shared + ".", 120) + "\n";
  return text;
}

std::string option_section(const OptionSpec& spec, bool several) {
  std::string text = several ? fmt::format("### {} ({})\n\n", option_full_name(spec), names_of(spec.commands))
                             : fmt::format("### {}\n\n", option_full_name(spec));
  std::string body = sentence(spec.summary);
  if (!spec.description.empty()) body += fmt::format(" {}", spec.description);
  text += wrap_text(body, 120) + "\n";
  text += fmt::format("- value: {}\n", value_rule(spec));
  if (!default_text(spec).empty()) text += fmt::format("- default: {}\n", default_text(spec));
  if (spec.source == OptionSource::kCommandLine) text += "- command line and environment only\n";
  if (!spec.required.empty()) text += fmt::format("- required for {}\n", names_of(spec.required));
  if (!several) text += fmt::format("- taken by {}\n", names_of(spec.commands));
  return text + "\n";
}

std::string state_table(OptionState state) {
  std::string rows;
  for (const OptionSpec& spec : all_options()) {
    if (spec.state != state) continue;
    std::string harmless;
    for (const char c : spec.harmless) harmless += c == '|' ? "`, `" : std::string(1, c);
    if (!harmless.empty()) harmless = "`" + harmless + "`";
    rows += fmt::format("| `{}` | {} | {} |\n", option_full_name(spec), harmless, cell(spec.state_note));
  }
  return "| option | accepted silently | because |\n|---|---|---|\n" + rows + "\n";
}

constexpr std::string_view kOptionsHead = R"(# Options

Names, units and meanings are pgBackRest's. An option is written

- on the command line as `--process-max=4` or `--process-max 4`, before or after the command; a y/n option also as
  `--start-fast` and `--no-start-fast`; `--reset-NAME` goes back to the default whatever environment and file say;
- in the environment as `PGARK_PROCESS_MAX=4`; the values of a repeatable option are separated by colons;
- in the configuration file as `process-max=4`; a repeatable option has a line for each value.

The first of these that gives an option wins: command line, environment, file sections `[STANZA:COMMAND]`, `[STANZA]`,
`[global:COMMAND]`, `[global]`, default. The lists of two sections are not merged.

The file is `/etc/pgark/pgark.conf`, then every `*.conf` in `/etc/pgark/conf.d`. Lines that begin with `#` are comments; a value
goes to the end of its line. A name that neither pgark nor pgBackRest has is an error that names file, line and the nearest
names.

| value | is written |
|---|---|
| y/n | `y` or `n` |
| time | seconds (`60`, `0.5`), or a number with `ms`, `s`, `m`, `h`, `d` or `w` (`5m`) |
| size | bytes, or a whole number with `k`, `m`, `g`, `t` or `p`, each also as `kb` or `KiB`; always powers of 1024 |
| path | absolute |

)";

}  // namespace

std::string commands_markdown() {
  std::string text = fmt::format(fmt::runtime(kGenerated), "commands");
  text += "# Commands\n\nOptions are explained in [options.md](options.md), exit codes in [errors.md](errors.md).\n\n";
  for (const CommandGroup& group : command_groups()) {
    text += fmt::format("- {}:", group.title);
    for (const Command id : group.commands) text += fmt::format(" [{0}](#{0})", command_spec(id).name);
    text += "\n";
  }
  text += "\n";
  for (const CommandSpec& command : all_commands()) text += command_section(command);
  text += "## Commands of pgBackRest that this version does not provide\n\n| command | instead |\n|---|---|\n";
  for (const RefusedCommand& refused : refused_commands())
    text += fmt::format("| `{}` | {} |\n", refused.name, cell(refused.note));
  return text;
}

std::string options_markdown() {
  std::string text = fmt::format(fmt::runtime(kGenerated), "options");
  text += kOptionsHead;
  for (const OptionGroup group : {OptionGroup::kCommand, OptionGroup::kGeneral, OptionGroup::kLog,
                                  OptionGroup::kRepository, OptionGroup::kStanza}) {
    text += fmt::format("## {}\n\n", option_group_title(group));
    for (const OptionSpec& spec : all_options()) {
      if (spec.group != group || spec.internal || spec.state != OptionState::kActive) continue;
      const auto same_name = [&](const OptionSpec& other) {
        return other.name == spec.name && other.state == OptionState::kActive;
      };
      text += option_section(spec, std::ranges::count_if(all_options(), same_name) > 1);
    }
  }
  text +=
      "## Options of pgBackRest that are ignored\n\nAccepted with one warning that names them, because nothing goes "
      "wrong "
      "without them.\n\n" +
      state_table(OptionState::kIgnored);
  text += "## Options of pgBackRest that are refused\n\nIgnoring them would change safety, or where data goes.\n\n" +
          state_table(OptionState::kRefused);
  text += "Values of options that are refused:\n\n| value | instead |\n|---|---|\n";
  for (const RefusedValue& refused : refused_values()) {
    const OptionSpec* spec = nullptr;
    for (const OptionSpec& candidate : all_options()) {
      if (candidate.name == refused.option && (candidate.commands.bits & refused.commands.bits) != 0) spec = &candidate;
    }
    text += fmt::format("| `{}={}` | {} |\n", option_full_name(*spec), refused.value, cell(refused.note));
  }
  return text;
}

}  // namespace pgark
