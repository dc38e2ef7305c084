// Putting names into an order in which each comes after those it depends on, and finding those that depend on each
// other.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace pgark {

struct DependencyOrder {
  std::vector<std::string> order;                // Members of a cycle stand together, by name.
  std::vector<std::vector<std::string>> cycles;  // Each of two names or more, by name; in their order.
};

/// Pure. Shape: `names` are distinct; `depends` has pairs (name, what it needs); pairs with a name that is not in
///         `names`, or with itself, count for nothing. Where nothing else decides, names come by name.
DependencyOrder order_by_dependencies(std::vector<std::string> names,
                                      const std::vector<std::pair<std::string, std::string>>& depends);

}  // namespace pgark
