// What `pgark dump` tells of a dump it made, or would make. docs/reference/json.md is the contract.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "ops/dump.h"
#include "ops/dump_expire.h"

namespace pgark {

/// Of one repository after the dump.
struct ExpireAfterDump {
  unsigned repo = 1;
  std::optional<DumpExpireReport> report;
  std::optional<Error> error;
};

/// A dump and what came of it in the repositories.
struct DumpOutcome {
  const DumpReport& report;
  const std::vector<std::string>& stored_in;  // "repo1"
  const std::vector<std::pair<std::string, Error>>& left_behind;
  const std::vector<ExpireAfterDump>& expired;
};

nlohmann::ordered_json dump_outcome_json(const DumpOutcome& outcome, const std::string& stanza);
std::string dump_outcome_text(const DumpOutcome& outcome);

nlohmann::ordered_json dump_plan_json(const DumpPlan& plan, const DumpRate& rate, const std::string& stanza);
std::string dump_plan_text(const DumpPlan& plan, const DumpRate& rate);

/// A warning in JSON: severity, code, database, what, why, mend.
nlohmann::ordered_json dump_warning_json(const DumpWarning& warning);
std::string_view dump_severity_name(DumpWarning::Severity severity);  // "info", "warning", "error"

}  // namespace pgark
