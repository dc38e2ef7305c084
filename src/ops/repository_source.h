// A repository that is opened when its turn comes: what commands go through that need one of several.
#pragma once

#include <functional>
#include <string>

#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct RepositorySource {
  std::string name;                                   // For messages: "repo1".
  std::function<Result<const Repository*>()> open{};  // May be called again, by one thread at a time; what it gives
                                                      // lives as long as the source.
};

}  // namespace pgark
