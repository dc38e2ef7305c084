// Text of `pgark help` and of the generated reference, all from the one table.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/option_table.h"
#include "core/result.h"

namespace pgark {

/// Help for no topic, a command, or a command and one of its options.
/// Errors: kInvalid, kUnsupported for topics that do not exist.
Result<std::string> help_text(const std::vector<std::string>& topic);
/// The same as data.
Result<nlohmann::json> help_json(const std::vector<std::string>& topic);

/// docs/reference/commands.md and docs/reference/options.md.
std::string commands_markdown();
std::string options_markdown();

/// Break paragraphs into lines of at most `width` cells, each after `indent` spaces; lines that begin with a space are
/// kept as they are. Ends with a newline.
std::string wrap_text(std::string_view text, size_t width, size_t indent = 0);
/// What values an option takes, as a phrase: "whole number from 1 to 999", "one of none, lz4, zst".
std::string value_rule(const OptionSpec& spec);
/// "--start-fast", "--process-max=N".
std::string option_usage(const OptionSpec& spec);
/// Default as help prints it; empty if there is none.
std::string_view default_text(const OptionSpec& spec);
/// "PGARK_REPO1_PATH".
std::string environment_variable(const OptionSpec& spec);

/// Commands under the headings of `pgark help`.
struct CommandGroup {
  std::string_view title;
  std::vector<Command> commands;
};
const std::vector<CommandGroup>& command_groups();

}  // namespace pgark
