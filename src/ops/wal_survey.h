// What can be recovered from a cluster's WAL in a repository: the survey of catalog/coverage.h, with everything it
// wants to know read from the store.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/backup.h"
#include "catalog/cluster.h"
#include "catalog/coverage.h"
#include "catalog/wal_archive.h"
#include "core/result.h"
#include "repo/repository.h"

namespace pgark {

struct WalSurveyOptions {
  std::optional<TimelineId> current;              // Of the running cluster; none: the newest.
  std::map<pg::WalSegment, std::string> damaged;  // Known to be of no use, and why.
};

/// Survey the WAL in `wal`. Backups of other clusters and unreadable ones are passed over.
/// Errors: as wal_coverage(); of listing.
Result<WalCoverage> survey_wal(const Repository& repository, const std::string& stanza, RepositoryWal& wal,
                               const std::vector<ListedBackup>& backups, const WalSurveyOptions& options = {});

/// Names of the ".partial" segments, in order.
Result<std::vector<std::string>> list_partial_segments(const Repository& repository, const std::string& stanza,
                                                       unsigned cluster_number);

}  // namespace pgark
