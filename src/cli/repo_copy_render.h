// What a copy between repositories did, as text and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ops/repo_copy.h"

namespace pgark {

std::string repo_copy_text(const RepoCopyReport& report);
/// docs/reference/json.md.
nlohmann::ordered_json repo_copy_json(const RepoCopyReport& report);

}  // namespace pgark
