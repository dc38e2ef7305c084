// How check tells what it found: to people, to programs, and to Nagios and its kin.
#pragma once

#include <string>

#include "ops/check.h"

namespace pgark {

/// Errors first, each with why and mend; then what was proven.
std::string render_check_text(const CheckState& state);
/// docs/reference/json.md is the contract.
std::string render_check_json(const CheckState& state);

/// Exit codes of the Nagios plugin interface.
enum class NagiosStatus : int { kOk = 0, kWarning = 1, kCritical = 2, kUnknown = 3 };
NagiosStatus nagios_status(const CheckState& state);
/// One line: "PGARK OK - main: ...|" and performance data.
std::string render_check_nagios(const CheckState& state);

}  // namespace pgark
