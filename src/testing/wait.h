// Waiting for a condition with a bound: what tests do instead of sleeping.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "core/result.h"

namespace pgark::testing {

/// Long enough for a machine that does much else; only a test that fails waits so long.
constexpr std::chrono::seconds kWaitBound{180};

/// Poll `condition` until it holds; false if it did not within `bound`.
bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds bound = kWaitBound);

/// Poll `condition` until it is true.
/// Errors: of the condition, at once; kTransient "wait for WHAT: ..." when the bound passes.
Result<> wait_for(std::string_view what, const std::function<Result<bool>()>& condition,
                  std::chrono::milliseconds bound = kWaitBound);

}  // namespace pgark::testing
