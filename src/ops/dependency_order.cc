// Tarjan's strongly connected components, without recursion: tenants may be ten thousand schemas in a row.
#include "ops/dependency_order.h"

#include <algorithm>
#include <map>

namespace pgark {
namespace {

class Components {
 public:
  explicit Components(std::vector<std::vector<size_t>> needs) : needs_(std::move(needs)), nodes_(needs_.size()) {}

  /// Each component comes after those it needs.
  std::vector<std::vector<size_t>> find() {
    for (size_t node = 0; node < nodes_.size(); ++node)
      if (!nodes_[node].seen) walk(node);
    return std::move(found_);
  }

 private:
  struct Node {
    bool seen = false;
    bool open = false;  // On `stack_`: its component is not complete.
    size_t index = 0;
    size_t low = 0;   // Smallest index that can be reached.
    size_t next = 0;  // Of its needs, to be looked at.
  };

  void enter(size_t node) {
    nodes_[node] = {true, true, count_, count_, 0};
    ++count_;
    stack_.push_back(node);
    path_.push_back(node);
  }

  void walk(size_t start) {
    enter(start);
    while (!path_.empty()) {
      const size_t node = path_.back();
      Node& one = nodes_[node];
      if (one.next < needs_[node].size()) {
        const size_t need = needs_[node][one.next++];
        if (!nodes_[need].seen) {
          enter(need);
        } else if (nodes_[need].open) {
          one.low = std::min(one.low, nodes_[need].index);
        }
        continue;
      }
      path_.pop_back();
      if (!path_.empty()) nodes_[path_.back()].low = std::min(nodes_[path_.back()].low, one.low);
      if (one.low == one.index) close(node);
    }
  }

  void close(size_t root) {
    std::vector<size_t>& component = found_.emplace_back();
    for (;;) {
      const size_t node = stack_.back();
      stack_.pop_back();
      nodes_[node].open = false;
      component.push_back(node);
      if (node == root) break;
    }
    std::sort(component.begin(), component.end());
  }

  std::vector<std::vector<size_t>> needs_;
  std::vector<Node> nodes_;
  std::vector<size_t> stack_;
  std::vector<size_t> path_;
  std::vector<std::vector<size_t>> found_;
  size_t count_ = 0;
};

}  // namespace

DependencyOrder order_by_dependencies(std::vector<std::string> names,
                                      const std::vector<std::pair<std::string, std::string>>& depends) {
  std::sort(names.begin(), names.end());
  std::map<std::string_view, size_t> number;
  for (size_t i = 0; i < names.size(); ++i) number.emplace(names[i], i);
  std::vector<std::vector<size_t>> needs(names.size());
  for (const auto& [name, need] : depends) {
    const auto from = number.find(name);
    const auto to = number.find(need);
    if (from != number.end() && to != number.end() && from != to) needs[from->second].push_back(to->second);
  }
  for (auto& one : needs) std::sort(one.begin(), one.end());

  DependencyOrder result;
  for (const std::vector<size_t>& component : Components(std::move(needs)).find()) {
    std::vector<std::string> members;
    for (const size_t node : component) members.push_back(names[node]);
    result.order.insert(result.order.end(), members.begin(), members.end());
    if (members.size() > 1) result.cycles.push_back(std::move(members));
  }
  return result;
}

}  // namespace pgark
