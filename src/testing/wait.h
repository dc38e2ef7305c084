// Waiting for a condition with a bound: what tests do instead of sleeping.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "core/result.h"

namespace pgark::testing {

/// Poll `condition` until it holds; false if it did not within `bound`.
bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds bound = std::chrono::seconds(60));

/// Poll `condition` until it is true.
/// Errors: of the condition, at once; kTransient "wait for WHAT: ..." when the bound passes.
Result<> wait_for(std::string_view what, const std::function<Result<bool>()>& condition,
                  std::chrono::milliseconds bound = std::chrono::seconds(60));

}  // namespace pgark::testing
