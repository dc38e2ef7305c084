// The pack tables of many manifests, kept small.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/thread_annotations.h"
#include "repo/pack.h"

namespace pgark {

/// Which packs each backup names, in a few bytes for each run of numbers, so that the tables of very many backups can
/// be held. Thread-safe: made to be filled by list_backups().
class PackTables {
 public:
  void put(const std::string& backup, const std::vector<PackName>& packs);
  /// None if nothing was put for it.
  std::optional<std::vector<PackName>> get(const std::string& backup) const;

 private:
  struct Run {
    uint32_t label = 0;  // Index into labels_.
    uint32_t first = 0;
    uint32_t count = 0;
  };

  mutable Mutex mu_;
  std::vector<std::string> labels_ GUARDED_BY(mu_);
  std::unordered_map<std::string, uint32_t> label_indexes_ GUARDED_BY(mu_);
  std::unordered_map<std::string, std::vector<Run>> tables_ GUARDED_BY(mu_);
};

}  // namespace pgark
