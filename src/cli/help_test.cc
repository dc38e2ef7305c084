#include "cli/help.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/output.h"
#include "core/file.h"
#include "core/version.h"

namespace pgark {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Help, ListsEveryCommandOnce) {
  std::multiset<Command> grouped;
  for (const CommandGroup& group : command_groups()) grouped.insert(group.commands.begin(), group.commands.end());
  for (const CommandSpec& command : all_commands()) {
    EXPECT_EQ(grouped.count(command.id), 1u) << command.name;
    EXPECT_THAT(help_text({}).value(), HasSubstr("\n  " + std::string(command.name) + " "));
  }
}

TEST(Help, FitsATerminalOf80Columns) {
  std::vector<std::vector<std::string>> topics = {{}};
  for (const CommandSpec& command : all_commands()) {
    topics.push_back({std::string(command.name)});
    for (const OptionSpec& spec : all_options()) {
      if (spec.commands.has(command.id)) topics.push_back({std::string(command.name), option_full_name(spec)});
    }
  }
  for (const auto& topic : topics) {
    const auto text = help_text(topic);
    ASSERT_TRUE(text.has_value()) << testing::PrintToString(topic);
    EXPECT_TRUE(help_json(topic).has_value()) << testing::PrintToString(topic);
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(display_width(line), 80u) << testing::PrintToString(topic) << ": " << line;
      EXPECT_FALSE(line.ends_with(' ')) << testing::PrintToString(topic) << ": " << line;
    }
  }
}

TEST(Help, ExplainsAnOption) {
  const std::string text = help_text({"backup", "--process-max"}).value();
  EXPECT_THAT(text, HasSubstr("Value: whole number from 1 to 999\nDefault: number of cores, at most 8\n"));
  EXPECT_THAT(text, HasSubstr("PGARK_PROCESS_MAX=N"));
  EXPECT_THAT(text, HasSubstr("process-max=N\nin a section [global]"));
  EXPECT_THAT(help_text({"backup", "type"}).value(), Not(HasSubstr("  file")));
  EXPECT_THAT(help_text({"restore", "type"}).value(), HasSubstr("standby"));
  EXPECT_THAT(help_text({"backup", "repo1-host"}).value(), HasSubstr("refuses"));
}

TEST(Help, RefusesTopicsThatDoNotExistWithTheNearest) {
  EXPECT_EQ(help_text({"bakup"}).error().to_string(),
            "no help for 'bakup': it is no command\nHINT: did you mean backup?");
  EXPECT_EQ(help_text({"manifest"}).error().code(), Errc::kUnsupported);
  EXPECT_EQ(help_text({"backup", "procesmax"}).error().to_string(),
            "backup has no option 'procesmax'\nHINT: did you mean process-max?");
  EXPECT_THAT(help_text({"info", "start-fast"}).error().to_string(), HasSubstr("run 'pgark help info'"));
}

TEST(Help, WrapsTextAtWordsAndKeepsCode) {
  EXPECT_EQ(wrap_text("one two three\n\n  code  stays", 9, 2), "  one two\n  three\n\n    code  stays\n");
  EXPECT_EQ(wrap_text("incompressible", 5), "incompressible\n");
}

TEST(Reference, IsUpToDate) {
  const std::string directory = PGARK_SOURCE_DIR "/docs/reference/";
  EXPECT_TRUE(read_file(directory + "commands.md").value_or("") == commands_markdown())
      << "run: pgark help --markdown=commands > docs/reference/commands.md";
  EXPECT_TRUE(read_file(directory + "options.md").value_or("") == options_markdown())
      << "run: pgark help --markdown=options > docs/reference/options.md";
}

TEST(Version, IsTheOneOfTheBuild) {
  EXPECT_THAT(read_file(PGARK_SOURCE_DIR "/CMakeLists.txt").value(),
              HasSubstr("project(pgark VERSION " + std::string(kVersion) + " "));
}

}  // namespace
}  // namespace pgark
