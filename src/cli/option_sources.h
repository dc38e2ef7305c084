// Options as they were given on the command line, in the environment and in configuration files, before precedence.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/option_table.h"
#include "cli/settings.h"
#include "core/ini.h"

namespace pgark {

/// One option from one source.
struct GivenOption {
  std::string name;       // In full: "repo1-path".
  std::string_view base;  // As in the table.
  unsigned index = 1;
  std::vector<std::string> texts;  // Several if repeated; none after --reset-NAME or --no-config.
  std::string where;               // "--repo1-path", "PGARK_REPO1_PATH", "repo1-path in FILE [main]".
  bool reset = false;              // Back to the default, whatever lower sources say.
};

struct CommandLine {
  Command command = Command::kHelp;
  std::vector<std::string> arguments;
  std::vector<GivenOption> options;
};

/// Split a command line into command, arguments and options. Values are not checked yet.
/// Errors: kInvalid, kUnsupported, naming word, option and the nearest names.
Result<CommandLine> parse_command_line(const std::vector<std::string>& words);

/// Options of the variables PGARK_...; a variable that names no option becomes a warning.
std::vector<GivenOption> environment_options(const SettingsInput& input, std::vector<std::string>& warnings);

/// What applies to one stanza and command from the entries of all files, in the order of precedence of sections.
/// Every name in the files is checked, also of other stanzas.
/// Errors: kInvalid, naming file, line and the nearest names.
Result<std::vector<GivenOption>> file_options(const std::vector<IniEntry>& entries, const std::string& stanza,
                                              Command command, std::vector<std::string>& warnings);

/// "did you mean A or B?"; empty for no names. `prefix` is put before each.
std::string did_you_mean(const std::vector<std::string>& names, std::string_view prefix);

}  // namespace pgark
