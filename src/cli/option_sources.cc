#include "cli/option_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace pgark {
namespace {

bool repeatable(OptionType type) { return type == OptionType::kList || type == OptionType::kMap; }

/// The entry that says how an option is written, before the command is known.
const OptionSpec& any_spec(const OptionName& name) { return *find_option(name.base); }

Error unknown_option(std::string_view written) {
  Error error(Errc::kInvalid, fmt::format("unknown option --{}", written));
  const std::string hint = did_you_mean(nearest_options(written), "--");
  return std::move(error).with_hint(hint.empty() ? "run 'pgark help COMMAND' for its options" : hint);
}

Error unknown_command(std::string_view word) {
  for (const RefusedCommand& refused : refused_commands()) {
    if (refused.name != word) continue;
    return Error(Errc::kUnsupported, fmt::format("command {} is not provided in this version", word))
        .with_hint(std::string(refused.note));
  }
  Error error(Errc::kInvalid, fmt::format("unknown command '{}'", word));
  const std::string hint = did_you_mean(nearest_commands(word), "");
  return std::move(error).with_hint(hint.empty() ? "run 'pgark help' for the commands" : hint);
}

std::string environment_name(std::string_view option) {
  std::string name = "PGARK_";
  for (const char c : option) name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return name;
}

/// The options of a command line, word by word.
class CommandLineParser {
 public:
  explicit CommandLineParser(const std::vector<std::string>& words) : words_(words) {}

  Result<CommandLine> parse() {
    bool options_ended = false;
    for (at_ = 0; at_ < words_.size(); ++at_) {
      const std::string& word = words_[at_];
      if (!options_ended && word == "--") {
        options_ended = true;
      } else if (!options_ended && word.starts_with("--")) {
        TRY(option(std::string_view(word).substr(2)));
      } else if (!options_ended && (word == "-h" || word == "-?")) {
        help_ = true;
      } else if (!options_ended && word.size() > 1 && word[0] == '-') {
        TRY(letters(std::string_view(word).substr(1)));
      } else if (!command_) {
        command_ = word;
      } else {
        line_.arguments.push_back(word);
      }
    }
    return finish();
  }

 private:
  Result<> option(std::string_view text) {
    const size_t equals = text.find('=');
    const std::string_view written = text.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string_view::npos) value = text.substr(equals + 1);
    if (written == "help" || written == "version") {
      if (value) return Error(Errc::kInvalid, fmt::format("--{} takes no value", written));
      (written == "help" ? help_ : version_) = true;
      return {};
    }
    if (const auto name = split_option_name(written)) return plain(*name, std::move(value));
    if (written.starts_with("no-") || written.starts_with("reset-")) {
      const size_t dash = written.find('-');
      if (const auto name = split_option_name(written.substr(dash + 1))) {
        return modified(*name, written.substr(0, dash), value.has_value());
      }
    }
    return unknown_option(written);
  }

  /// "-n VALUE", "-nVALUE", "-sO": options of pg_dump as its users write them.
  Result<> letters(std::string_view text) {
    while (!text.empty()) {
      const OptionSpec* spec = find_option_letter(text[0]);
      if (spec == nullptr) {
        return Error(Errc::kInvalid, fmt::format("unknown option -{}", text[0]))
            .with_hint("most options begin with two dashes");
      }
      text.remove_prefix(1);
      const OptionName name{spec->name};
      if (spec->type != OptionType::kBoolean) {
        std::optional<std::string> value;
        if (!text.empty()) value = text;
        return plain(name, std::move(value));
      }
      TRY(plain(name, "y"));
    }
    return {};
  }

  Result<> plain(const OptionName& name, std::optional<std::string> value) {
    const OptionSpec& spec = any_spec(name);
    const std::string full = option_full_name(spec, name.index);
    if (!value && spec.type == OptionType::kBoolean) value = "y";
    if (!value) {
      if (at_ + 1 >= words_.size()) return Error(Errc::kInvalid, fmt::format("--{} needs a value", full));
      value = words_[++at_];
    }
    GivenOption& option = add(name);
    if (!option.texts.empty() && !repeatable(spec.type)) {
      return Error(Errc::kInvalid, fmt::format("--{} is given twice", full));
    }
    option.texts.push_back(std::move(*value));
    return {};
  }

  Result<> modified(const OptionName& name, std::string_view modifier, bool has_value) {
    const OptionSpec& spec = any_spec(name);
    const std::string full = option_full_name(spec, name.index);
    if (has_value) return Error(Errc::kInvalid, fmt::format("--{}-{} takes no value", modifier, full));
    const bool reset = modifier == "reset";
    if (!reset && spec.type != OptionType::kBoolean && name.base != "config") {
      return Error(Errc::kInvalid, fmt::format("--no-{} is not allowed: {} is not a y/n option", full, full))
          .with_hint(fmt::format("--reset-{} goes back to the default", full));
    }
    GivenOption& option = add(name);
    if (!option.texts.empty() || option.reset) return Error(Errc::kInvalid, fmt::format("--{} is given twice", full));
    option.reset = reset;
    if (!reset && spec.type == OptionType::kBoolean) option.texts.emplace_back("n");
    return {};
  }

  GivenOption& add(const OptionName& name) {
    std::string full = option_full_name(any_spec(name), name.index);
    for (GivenOption& option : line_.options) {
      if (option.name == full) return option;
    }
    GivenOption& option = line_.options.emplace_back();
    option.where = "--" + full;
    option.name = std::move(full);
    option.base = name.base;
    option.index = name.index;
    return option;
  }

  Result<CommandLine> finish() {
    if (version_) return simple(Command::kVersion, {});
    if (help_)
      return simple(Command::kHelp, command_ ? std::vector<std::string>{*command_} : std::vector<std::string>{});
    if (!command_) {
      if (words_.empty()) return std::move(line_);
      return Error(Errc::kInvalid, "no command is given").with_hint("run 'pgark help' for the commands");
    }
    const CommandSpec* spec = find_command(*command_);
    if (spec == nullptr) return unknown_command(*command_);
    line_.command = spec->id;
    TRY(check_arguments(*spec));
    TRY(check_taken(*spec));
    return std::move(line_);
  }

  /// --help and --version: whatever else is on the line does not matter, except how to print.
  Result<CommandLine> simple(Command command, std::vector<std::string> arguments) {
    std::erase_if(line_.options, [](const GivenOption& option) { return option.base != "output"; });
    line_.command = command;
    line_.arguments = std::move(arguments);
    return std::move(line_);
  }

  Result<> check_arguments(const CommandSpec& spec) const {
    const auto count = static_cast<int>(line_.arguments.size());
    const std::string usage =
        fmt::format("usage: pgark [options] {}{}{}", spec.name, spec.usage.empty() ? "" : " ", spec.usage);
    if (count < spec.arguments_min) {
      return Error(Errc::kInvalid, fmt::format("{} needs {} argument{}, {} given", spec.name, spec.arguments_min,
                                               spec.arguments_min == 1 ? "" : "s", count))
          .with_hint(usage);
    }
    if (count > spec.arguments_max) {
      return Error(Errc::kInvalid, fmt::format("{} does not take the argument '{}'", spec.name,
                                               line_.arguments[static_cast<size_t>(spec.arguments_max)]))
          .with_hint(usage);
    }
    return {};
  }

  Result<> check_taken(const CommandSpec& spec) const {
    for (const GivenOption& option : line_.options) {
      const OptionSpec* taken = find_option(option.base, spec.id);
      if (taken == nullptr) {
        return Error(Errc::kInvalid, fmt::format("option --{} is not valid for {}", option.name, spec.name))
            .with_hint(fmt::format("run 'pgark help {}' for its options", spec.name));
      }
      if (taken->secret && !option.texts.empty()) {
        return Error(Errc::kInvalid,
                     fmt::format("--{} is a secret, and a command line can be read by every user", option.name))
            .with_hint(fmt::format("put it into the configuration file, or into the variable {}",
                                   environment_name(option.name)));
      }
    }
    return {};
  }

  const std::vector<std::string>& words_;
  size_t at_ = 0;
  CommandLine line_;
  std::optional<std::string> command_;
  bool help_ = false;
  bool version_ = false;
};

/// What pgark's own tests are told by, and pass on to the program.
bool is_of_the_tests(std::string_view variable) {
  constexpr std::string_view kNames[] = {"PGARK_BINARY", "PGARK_KEEP", "PGARK_SERVERS", "PGARK_SLOW"};
  return variable.starts_with("PGARK_TEST_") || std::ranges::find(kNames, variable) != std::end(kNames);
}

std::vector<std::string> split_at_colons(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t colon = std::min(text.find(':', at), text.size());
    parts.push_back(text.substr(at, colon - at));
    at = colon + 1;
  }
  return parts;
}

/// Section names: [global], [global:COMMAND], [STANZA], [STANZA:COMMAND].
struct SectionName {
  std::string_view stanza;
  std::string_view command;
};

SectionName split_section(std::string_view section) {
  const size_t colon = section.find(':');
  if (colon == std::string_view::npos) return {section, {}};
  return {section.substr(0, colon), section.substr(colon + 1)};
}

Result<> check_section(const IniEntry& entry) {
  const SectionName section = split_section(entry.section);
  if (section.command.empty() && entry.section.find(':') == std::string::npos) return {};
  if (find_command(section.command) != nullptr) return {};
  const auto is_named = [&](const RefusedCommand& refused) { return refused.name == section.command; };
  if (std::ranges::any_of(refused_commands(), is_named)) return {};
  Error error(Errc::kInvalid,
              fmt::format("{}:{}: section [{}] names no command", entry.file, entry.line, entry.section));
  const std::string hint = did_you_mean(nearest_commands(section.command), "");
  if (hint.empty()) return error;
  return std::move(error).with_hint(hint);
}

Result<OptionName> entry_option(const IniEntry& entry) {
  if (const auto name = split_option_name(entry.key)) return *name;
  Error error(Errc::kInvalid,
              fmt::format("{}:{}: unknown option '{}' in [{}]", entry.file, entry.line, entry.key, entry.section));
  const std::string hint = did_you_mean(nearest_options(entry.key), "");
  return std::move(error).with_hint(hint.empty() ? "see 'pgark help' and docs/reference/options.md" : hint);
}

/// Whether an entry that applies to the command may be used; warns if its place is wrong.
bool usable(const IniEntry& entry, const OptionName& name, Command command, std::vector<std::string>& warnings) {
  const OptionSpec* spec = find_option(name.base, command);
  if (spec == nullptr) {
    if (!split_section(entry.section).command.empty()) {
      warnings.push_back(fmt::format("{}:{}: {} does not take the option '{}': ignored", entry.file, entry.line,
                                     command_spec(command).name, entry.key));
    }
    return false;
  }
  if (spec->source == OptionSource::kCommandLine) {
    warnings.push_back(fmt::format("{}:{}: option '{}' is only valid on the command line: ignored", entry.file,
                                   entry.line, entry.key));
    return false;
  }
  return true;
}

}  // namespace

std::string did_you_mean(const std::vector<std::string>& names, std::string_view prefix) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    text += i == 0 ? "did you mean " : i + 1 == names.size() ? " or " : ", ";
    text += fmt::format("{}{}", prefix, names[i]);
  }
  return text.empty() ? text : text + "?";
}

Result<CommandLine> parse_command_line(const std::vector<std::string>& words) {
  return CommandLineParser(words).parse();
}

std::vector<GivenOption> environment_options(const SettingsInput& input, std::vector<std::string>& warnings) {
  std::vector<GivenOption> options;
  for (const auto& [variable, value] : input.environment) {
    if (!variable.starts_with("PGARK_") || is_of_the_tests(variable)) continue;
    std::string written;
    for (const char c : std::string_view(variable).substr(6)) {
      written += c == '_' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    const auto name = split_option_name(written);
    if (!name) {
      std::vector<std::string> near = nearest_options(written);
      std::ranges::transform(near, near.begin(), environment_name);
      const std::string hint = did_you_mean(near, "");
      warnings.push_back(fmt::format("environment variable {} names no option: ignored{}{}", variable,
                                     hint.empty() ? "" : ", ", hint));
      continue;
    }
    const OptionSpec& spec = any_spec(*name);
    GivenOption& option = options.emplace_back();
    option.name = option_full_name(spec, name->index);
    option.base = name->base;
    option.index = name->index;
    option.where = variable;
    option.texts = repeatable(spec.type) ? split_at_colons(value) : std::vector<std::string>{value};
  }
  return options;
}

Result<std::vector<GivenOption>> file_options(const std::vector<IniEntry>& entries, const std::string& stanza,
                                              Command command, std::vector<std::string>& warnings) {
  const std::string_view command_name = command_spec(command).name;
  struct Wanted {
    SectionName section;
    std::vector<GivenOption> options;
  };
  std::array<Wanted, 4> sections = {
      {{{stanza, command_name}, {}}, {{stanza, {}}, {}}, {{"global", command_name}, {}}, {{"global", {}}, {}}}};
  for (const IniEntry& entry : entries) {
    TRY(check_section(entry));
    TRY_ASSIGN(const OptionName name, entry_option(entry));
    const SectionName section = split_section(entry.section);
    const auto wanted = std::ranges::find_if(sections, [&](const Wanted& candidate) {
      return !candidate.section.stanza.empty() && candidate.section.stanza == section.stanza &&
             candidate.section.command == section.command;
    });
    if (wanted == sections.end() || !usable(entry, name, command, warnings)) continue;
    const OptionSpec& spec = *find_option(name.base, command);
    const std::string full = option_full_name(spec, name.index);
    auto given = std::ranges::find(wanted->options, full, &GivenOption::name);
    if (given == wanted->options.end()) {
      given = wanted->options.emplace(wanted->options.end());
      given->name = full;
      given->base = name.base;
      given->index = name.index;
      given->where = fmt::format("{} in {} [{}]", full, entry.file, entry.section);
    } else if (!repeatable(spec.type)) {
      return Error(Errc::kInvalid, fmt::format("{}:{}: option '{}' is set a second time in [{}]", entry.file,
                                               entry.line, entry.key, entry.section));
    }
    given->texts.push_back(entry.value);
  }
  // A section goes before the less specific ones as a whole: lists are not merged.
  std::vector<GivenOption> options;
  for (Wanted& wanted : sections) {
    for (GivenOption& option : wanted.options) {
      if (std::ranges::find(options, option.name, &GivenOption::name) == options.end())
        options.push_back(std::move(option));
    }
  }
  return options;
}

}  // namespace pgark
