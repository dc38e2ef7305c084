// The checks every object store must pass: run by our tests on each backend, and by users on theirs (pgark repo-check).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/object_store.h"

namespace pgark {

/// One promise of ObjectStore, and the code that tries to catch a store breaking it.
struct ConformanceCheck {
  std::string name;     // "CreateOnlyKeepsFirstWriter"
  std::string promise;  // The same as a sentence, for people.
  /// Shape:  every key it makes begins with `prefix` and a slash; nothing else is below it. `threads` call the store at
  /// once. Errors: kUnsupported if the promise is broken, saying how; the store's own if a call failed that must not.
  std::function<Result<>(ObjectStore& store, const std::string& prefix, unsigned threads)> run;
};

/// All checks, in an order in which the first failure tells most.
const std::vector<ConformanceCheck>& conformance_checks();

struct ConformanceOutcome {
  const ConformanceCheck* check = nullptr;
  Result<> result;
};

/// Run one check below `<prefix>/<name>` and remove what it left there.
/// Errors: of the check, or else of the removal.
Result<> run_conformance_check(const ConformanceCheck& check, ObjectStore& store, const std::string& prefix,
                               unsigned threads);

/// Run all; one outcome for each, in their order.
std::vector<ConformanceOutcome> run_conformance(ObjectStore& store, const std::string& prefix, unsigned threads = 16);

}  // namespace pgark
