// The one table of commands and options: it feeds the command line parser, the configuration and environment readers,
// `pgark help`, and the generated reference in docs/reference.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace pgark {

enum class Command : unsigned char {
  kAnnotate,
  kArchiveGet,
  kArchiveHeal,
  kArchivePush,
  kBackup,
  kCheck,
  kDump,
  kDumpExpire,
  kDumpGet,
  kDumpLs,
  kDumpVerify,
  kExpire,
  kHelp,
  kHold,
  kInfo,
  kKey,
  kLoad,
  kRepoCheck,
  kRepoCopy,
  kRepoGet,
  kRepoLs,
  kRepoPut,
  kRepoRm,
  kRestore,
  kStanzaCreate,
  kStanzaDelete,
  kStart,
  kStop,
  kTimeline,
  kVerify,
  kVersion,
};
inline constexpr size_t kCommandCount = 31;

/// A set of commands.
struct CommandSet {
  uint32_t bits = 0;
  constexpr CommandSet() = default;
  constexpr CommandSet(Command command) : bits(1u << static_cast<unsigned>(command)) {}
  constexpr bool has(Command command) const { return (bits & CommandSet(command).bits) != 0; }
  constexpr bool empty() const { return bits == 0; }
  friend constexpr CommandSet operator|(CommandSet a, CommandSet b) { return make(a.bits | b.bits); }
  friend constexpr CommandSet operator-(CommandSet a, CommandSet b) { return make(a.bits & ~b.bits); }
  static constexpr CommandSet make(uint32_t bits) {
    CommandSet set;
    set.bits = bits;
    return set;
  }
};
constexpr CommandSet operator|(Command a, Command b) { return CommandSet(a) | CommandSet(b); }

struct CommandSpec {
  Command id;
  std::string_view name;
  std::string_view summary;      // One line, no full stop.
  std::string_view description;  // Paragraphs apart by "\n\n".
  std::string_view usage;        // Positional arguments as help prints them: "WAL-FILE DESTINATION".
  int arguments_min = 0;
  int arguments_max = 0;
  bool stanza_required = false;
  bool stoppable = false;      // Refused while `pgark stop` is in force.
  bool prints_result = false;  // Standard output is the result, so console log lines go to standard error.
};

enum class OptionType : unsigned char {
  kBoolean,
  kInteger,
  kSize,  // Bytes: plain, or with b, k, kb, kib, m, ... (powers of 1024, any case).
  kTime,  // Seconds: plain (decimals allowed), or with ms, s, m, h, d, w.
  kString,
  kPath,  // Absolute.
  kEnum,
  kList,  // Repeatable.
  kMap,   // KEY=VALUE, repeatable.
};

/// Whether an option belongs to a numbered repository or cluster: repo1-path, pg1-port.
enum class OptionFamily : unsigned char { kNone, kRepo, kPg };

/// Where an option may be given. The environment always counts as the command line does.
enum class OptionSource : unsigned char { kAnywhere, kCommandLine };

enum class OptionState : unsigned char {
  kActive,
  kIgnored,  // pgBackRest's, not needed here: accepted, ignored with one warning that names it.
  kRefused,  // Not provided in this version, and ignoring it would change safety or where data goes.
};

enum class OptionGroup : unsigned char { kCommand, kGeneral, kLog, kRepository, kStanza };

struct OptionSpec {
  std::string_view name = {};  // Without the index: repo-path is written repo1-path. See also option_full_name().
  OptionType type = OptionType::kString;
  CommandSet commands = {};
  OptionGroup group = OptionGroup::kCommand;
  OptionFamily family = OptionFamily::kNone;
  OptionSource source = OptionSource::kAnywhere;
  std::string_view value_default = {};  // As it would be written; empty: none.
  std::string_view default_note = {};   // What help prints where the default is computed.
  std::string_view allowed = {};        // kEnum: "none|lz4|zst".
  int64_t min = 0;                      // kInteger: value; kSize: bytes; kTime: milliseconds. Both 0: no bounds.
  int64_t max = 0;
  CommandSet required = {};
  bool secret = false;    // Value is never printed or logged.
  bool internal = false;  // Not shown by help.
  char letter = 0;        // Also written -n VALUE or -nVALUE, as pg_dump has it; the same option for every command.
  /// Given to pg_dump or pg_restore under the same name.
  enum class Passed : unsigned char { kNo, kYes, kSelects };  // kSelects: it chooses a part of the database.
  Passed passed = Passed::kNo;
  OptionState state = OptionState::kActive;
  std::string_view harmless =
      {};  // kIgnored, kRefused: values ("n", "none|off") that change nothing, accepted silently.
  std::string_view state_note = {};   // kIgnored: why; kRefused: what to do instead.
  std::string_view summary = {};      // One line, lower case, no full stop.
  std::string_view description = {};  // More, in sentences; may be empty.
};

/// A value of an enumeration that pgBackRest has and pgark does not (yet), with what to do instead.
struct RefusedValue {
  std::string_view option;
  CommandSet commands;
  std::string_view value;
  std::string_view note;
};

/// A command pgBackRest has and this version has not.
struct RefusedCommand {
  std::string_view name;
  std::string_view note;
};

std::span<const CommandSpec> all_commands();  // Sorted by name; index by static_cast<size_t>(Command).
std::span<const OptionSpec> all_options();  // Sorted by name; one name may have several entries, for disjoint commands.
std::span<const RefusedValue> refused_values();
std::span<const RefusedCommand> refused_commands();

const CommandSpec& command_spec(Command command);
const CommandSpec* find_command(std::string_view name);
/// nullptr if no command of the table takes an option of this name (without index) or `command` does not.
const OptionSpec* find_option(std::string_view name, Command command);
const OptionSpec* find_option(std::string_view name);
/// The option of a letter, nullptr if there is none.
const OptionSpec* find_option_letter(char letter);

/// An option as a user wrote it: "repo1-path", "repo-path" (index 1), "no-start-fast" is not handled here.
struct OptionName {
  std::string_view base;  // As in the table: "repo-path"; a view of the table's text.
  unsigned index = 1;     // Of the family; 1 for options outside a family.
};
/// No value if the table has no such option.
std::optional<OptionName> split_option_name(std::string_view written);

/// "repo1-path", "stanza".
std::string option_full_name(const OptionSpec& spec, unsigned index = 1);
/// Nearest names by edit distance, best first, at most `count`; none if nothing is near.
std::vector<std::string> nearest_options(std::string_view written, size_t count = 3);
std::vector<std::string> nearest_commands(std::string_view written, size_t count = 3);
/// "text", "size", "KEY=VALUE", ... as help names a type.
std::string_view option_type_name(OptionType type);
std::string_view option_group_title(OptionGroup group);

/// Checks of values: the canonical text, or kInvalid that says what is allowed. Messages do not name the option.
Result<bool> parse_boolean(std::string_view text);
Result<int64_t> parse_integer(std::string_view text);
Result<uint64_t> parse_size(std::string_view text);
Result<int64_t> parse_time_ms(std::string_view text);
Result<> check_option_value(const OptionSpec& spec, Command command, std::string_view text);

}  // namespace pgark
