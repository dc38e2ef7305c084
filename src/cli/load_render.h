// What `pgark load` would do, and did: text for people, JSON for programs (docs/reference/json.md).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ops/load.h"

namespace pgark {

nlohmann::ordered_json load_plan_json(const LoadPlan& plan, const std::string& stanza);
std::string load_plan_text(const LoadPlan& plan);

nlohmann::ordered_json load_report_json(const LoadReport& report, const std::string& stanza);
std::string load_report_text(const LoadReport& report);

}  // namespace pgark
