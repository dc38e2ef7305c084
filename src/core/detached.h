// Programs that outlive the one that starts them: the background workers of archiving.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace pgark {

/// The words this process was started with.
Result<std::vector<std::string>> own_command_line();

/// Start `program` in a session of its own, with nothing of ours open: a server's log pipe that stayed open would never
/// end. Standard streams lead to /dev/null; signals are as in a fresh process.
/// Shape:  `report`, if given, is open in it as kReportDescriptor.
Result<> start_detached(const std::string& program, std::vector<std::string> words,
                        std::optional<int> report = std::nullopt);

inline constexpr int kReportDescriptor = 3;

}  // namespace pgark
