// A recovery plan as `restore` prints it: text for people, JSON for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "catalog/recovery_plan.h"

namespace pgark {

/// docs/reference/json.md, section restore.
nlohmann::ordered_json target_json(const RestoreTarget& target);
nlohmann::ordered_json plan_json(const RecoveryPlan& plan);

/// "lsn 16/B374D848, exclusive".
std::string target_text(const RestoreTarget& target);
/// Lines, indented by two spaces, each with what it is at its start.
std::string plan_text(const RecoveryPlan& plan);

}  // namespace pgark
