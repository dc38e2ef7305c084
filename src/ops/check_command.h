// What can be wrong with an archive_command, told from its text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pgark {

enum class CommandRisk : uint8_t {
  kHidesFailure,  // It reports success when archiving failed: the server then recycles what was not archived.
  kNoPath,        // pgark archive-push is not given %p.
  kUnsafeCopy,    // It copies with a program that returns before the bytes are on disk, or overwrites what is there.
};

struct CommandFault {
  CommandRisk risk = CommandRisk::kHidesFailure;
  std::string part;  // Of the command, that is at fault: "|| true", "cp".
};

/// Pure: the faults that are certain. What a script does that the command calls is not known, and no fault.
std::vector<CommandFault> archive_command_faults(const std::string& command);

/// A simple command of a command line and the operator before it: "", "&&", "||", ";", "|", "&".
struct ShellPart {
  std::string joiner;
  std::string text;
};
/// Split a command line at the operators of the shell that are not quoted. A trailing "&" yields an empty part.
std::vector<ShellPart> split_shell(const std::string& command);

}  // namespace pgark
