// `pgark help`: the table as text, as JSON, or as the pages of docs/reference.
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/help.h"

namespace pgark {

Result<int> cmd_help(CommandContext& context) {
  const std::vector<std::string>& topic = context.settings.arguments();
  if (context.settings.has("markdown")) {
    const bool commands = context.settings.text("markdown") == "commands";
    TRY(context.out.print(commands ? commands_markdown() : options_markdown()));
  } else if (context.json()) {
    TRY_ASSIGN(const nlohmann::json document, help_json(topic));
    TRY(context.out.print_json(document));
  } else {
    TRY_ASSIGN(const std::string text, help_text(topic));
    TRY(context.out.print(text));
  }
  return kExitOk;
}

}  // namespace pgark
