// What waits to be archived: the ".ready" files of a cluster's archive_status.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace pgark {

struct ReadyFiles {
  std::vector<std::string> names;  // In the order to push them: histories first, then oldest first.
  uint64_t segment_count = 0;      // Segments and partial ones among them: each has the cluster's segment size.
};

/// Whether `a` is pushed before `b`, as PostgreSQL orders them: histories first, then by name.
bool ready_before(const std::string& a, const std::string& b);

/// List `<wal_directory>/archive_status`. Errors: of reading the directory.
Result<ReadyFiles> list_ready_files(const std::string& wal_directory);

}  // namespace pgark
