// Pack tables as runs of numbers.
#include "catalog/pack_tables.h"

namespace pgark {

void PackTables::put(const std::string& backup, const std::vector<PackName>& packs) {
  const MutexLock lock(mu_);
  std::vector<Run> runs;
  for (const PackName& pack : packs) {
    const bool follows = !runs.empty() && labels_[runs.back().label] == pack.label &&
                         uint64_t{runs.back().first} + runs.back().count == pack.number;
    if (follows) {
      ++runs.back().count;
      continue;
    }
    const auto [label, added] = label_indexes_.try_emplace(pack.label, static_cast<uint32_t>(labels_.size()));
    if (added) labels_.push_back(pack.label);
    runs.push_back({label->second, pack.number, 1});
  }
  runs.shrink_to_fit();
  tables_.insert_or_assign(backup, std::move(runs));
}

std::optional<std::vector<PackName>> PackTables::get(const std::string& backup) const {
  const MutexLock lock(mu_);
  const auto found = tables_.find(backup);
  if (found == tables_.end()) return std::nullopt;
  std::vector<PackName> packs;
  for (const Run& run : found->second)
    for (uint32_t i = 0; i < run.count; ++i) packs.push_back({labels_[run.label], run.first + i});
  return packs;
}

}  // namespace pgark
